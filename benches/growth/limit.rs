//! A bound on the memory of a process and of the page cache that it fills: a control group.
//!
//! Version 1 by a group of our own below the one we are in; version 2 by systemd, whose groups they are.
//! A machine that lets us do neither says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the controller of version 1 is, if it is.
const VERSION_1: &str = "/sys/fs/cgroup/memory";

/// A control group; it is gone when this is dropped, which must be after its process has ended.
#[derive(Debug)]
pub(crate) enum Limit {
    Group(PathBuf),
    Scope(Vec<String>),
}

impl Limit {
    /// Why there is none is said in words.
    pub(crate) fn new(bytes: u64) -> Result<Self, String> {
        Self::group(bytes).or_else(|group| match Self::scope(bytes) {
            Ok(scope) => Ok(scope),
            Err(scope) => Err(format!("{group}; {scope}")),
        })
    }

    fn group(bytes: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // `number:controllers:path`.
        let own = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let is_it = fields.next()?.split(',').any(|name| name == "memory");
            fields.next().filter(|_| is_it)
        });
        let own = own.ok_or("no control groups of version 1 for memory")?;
        let group = Path::new(VERSION_1)
            .join(own.trim_start_matches('/'))
            .join(format!("growth-{}", std::process::id()));
        let failed = |error: std::io::Error| format!("{}: {error}", group.display());
        fs::create_dir(&group).map_err(failed)?;
        let made = Self::Group(group.clone());
        fs::write(group.join("memory.limit_in_bytes"), bytes.to_string()).map_err(failed)?;
        Ok(made)
    }

    fn scope(bytes: u64) -> Result<Self, String> {
        let mut words = vec!["systemd-run".to_owned(), "--scope".to_owned(), "--quiet".to_owned()];
        if !nix::unistd::Uid::effective().is_root() {
            words.push("--user".to_owned());
        }
        for property in [format!("MemoryMax={bytes}"), "MemorySwapMax=0".to_owned()] {
            words.extend(["-p".to_owned(), property]);
        }
        let tried = Command::new(&words[0])
            .args(&words[1..])
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("systemd-run: {error}"))?;
        if tried.status.success() {
            Ok(Self::Scope(words))
        } else {
            Err(format!("systemd-run: {}", String::from_utf8_lossy(&tried.stderr).trim()))
        }
    }

    /// What becomes this program, within the limit.
    pub(crate) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Group(group) => {
                let mut command = Command::new("sh");
                command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
                command.arg(group.join("cgroup.procs")).arg(program);
                command
            }
            Self::Scope(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(program);
                command
            }
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Self::Group(group) = self
            && let Err(error) = fs::remove_dir(&*group)
        {
            eprintln!("growth: {} stays: {error}", group.display());
        }
    }
}
