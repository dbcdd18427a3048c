//! What the system knows of this process: time, memory, descriptors.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use crate::stats::Process;

/// The time it has used.
pub(super) fn times() -> Process {
    let mut process = Process::default();
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let micros = |time: nix::sys::time::TimeVal| {
            u64::try_from(i128::from(time.tv_sec()) * 1_000_000 + i128::from(time.tv_usec()))
                .unwrap_or(0)
        };
        process.user_us = micros(usage.user_time());
        process.system_us = micros(usage.system_time());
    }
    process
}

/// What takes opening files to find out: not for an event loop. Without `/proc` some of it stays out.
pub(super) fn measure(process: &mut Process) {
    measure_memory(process);
    // The descriptor that lists the others is one of them.
    process.open_files =
        std::fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as u64);
    process.open_files_max = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft);
}

/// The part of it whose cost does not grow with the number of clients.
pub(super) fn measure_memory(process: &mut Process) {
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        process.resident_bytes = kilobytes(&status, "VmRSS:");
        process.virtual_bytes = kilobytes(&status, "VmSize:");
    }
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_a_status() {
        let status = "Name:\tx\nVmSize:\t  123 kB\nVmRSS:\t 2 kB\nThreads:\t9\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(2_048));
        assert_eq!(kilobytes(status, "VmSize:"), Some(123 << 10));
        assert_eq!(kilobytes(status, "VmPeak:"), None);
        assert_eq!(kilobytes(status, "Threads:"), None);
    }
}
