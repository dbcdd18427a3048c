//! What the figures of a benchmark were measured on, in one line.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Cores, kernel, processor, and the file system that holds the directory.
pub(crate) fn machine(directory: &Path) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name))
        .unwrap_or("unknown processor");
    let file_system = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(directory)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}, files on {file_system}", kernel.trim())
}
