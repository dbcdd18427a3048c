//! The daemon has no more memory: the kernel ends it, where a control group bounds what it may have, or what it asks
//! for is refused it, where its address space is bounded. Either comes amid a load, and again after the next start.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::daemon::{Daemon, Launch, check_integrity};
use crate::common::ground::PATIENCE;

/// Starts under the limit, each of which comes to it.
const ROUNDS: usize = 2;

/// More than a limit lets be kept in memory, which is a few hundred of these.
const VALUES_MAX: usize = 10_000;

fn value(number: usize) -> Vec<u8> {
    format!("{number};").repeat(100_000).into_bytes()[..100_000].to_vec()
}

/// Stores values until there is an answer that is none of success, or none at all; gives which it was.
fn store(daemon: &Daemon, acknowledged: &mut usize) -> String {
    let mut client = daemon.client();
    while *acknowledged < VALUES_MAX {
        let value = value(*acknowledged);
        let request = format!("set k{acknowledged} 0 0 {}\r\n", value.len());
        let sent = client.try_send(&[request.as_bytes(), &value, b"\r\n"].concat());
        match sent.and_then(|()| client.try_line()) {
            Ok(line) if line == "STORED" => *acknowledged += 1,
            Ok(line) => return line,
            Err(_) => return "it has ended".to_owned(),
        }
    }
    panic!("{acknowledged} values of 100 kB did not come to the limit");
}

/// Nothing that was acknowledged under a limit is lost.
fn keeps_its_promise(limit: impl IntoIterator<Item = String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launch = Launch::new(folder.path()).with("-t 2 -m 512");
    let limited = launch.clone().through(limit);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut daemon = limited.start();
        let before = acknowledged;
        let ended_by = store(&daemon, &mut acknowledged);
        let status = if ended_by.starts_with("SERVER_ERROR") {
            daemon.kill();
            "it was killed".to_owned()
        } else {
            daemon.wait(PATIENCE).to_string()
        };
        println!(
            "round {round}: {} acknowledged, then {ended_by}: {status}",
            acknowledged - before
        );
        assert!(acknowledged > before, "it serves under its limit: {}", daemon.log());
    }
    let mut daemon = launch.start();
    let mut client = daemon.client();
    for number in 0..acknowledged {
        assert!(client.get(&format!("k{number}")) == Some(value(number)), "k{number} is lost");
    }
    daemon.stop();
    check_integrity(launch.database_path());
}

/// What a started daemon has, in KiB.
fn address_space() -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with("-t 2 -m 512").start();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.and_then(|size| size.split_whitespace().next()).expect("the kernel tells it");
    size.parse().expect("a number")
}

#[test]
fn an_allocation_that_fails_loses_nothing_that_was_acknowledged() {
    let most = address_space() + (128 << 10);
    let limit = ["sh", "-c", &format!("ulimit -v {most} && exec \"$@\""), "sh"];
    keeps_its_promise(limit.map(str::to_owned));
}

/// A control group for one daemon at a time.
struct Group(PathBuf);

impl Group {
    /// Below the one that we are in, if we may make one and bound its memory.
    fn new(bytes: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        // `number:controllers:path`; version 2 has number 0 and no controllers.
        let path = |controller: &str| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let is_it = fields.next()?.split(',').any(|name| name == controller);
                Some(fields.next()?.trim_start_matches('/').to_owned()).filter(|_| is_it)
            })
        };
        let versions = [
            (path("memory"), "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            (path(""), "/sys/fs/cgroup", "memory.max"),
        ];
        let mut why = Vec::new();
        for (own, root, bound) in versions {
            let Some(own) = own else { continue };
            let group =
                Path::new(root).join(own).join(format!("litecached-{}", std::process::id()));
            let made = fs::create_dir(&group).map(|()| Self(group.clone()));
            let bounded =
                |made: Self| fs::write(group.join(bound), bytes.to_string()).map(|()| made);
            match made.and_then(bounded) {
                Ok(made) => return Ok(made),
                Err(error) => why.push(format!("{}: {error}", group.display())),
            }
        }
        Err(why.join("; "))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that is still in use would stay, and says so.
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

#[test]
fn ended_for_its_memory_it_has_lost_nothing_that_was_acknowledged() {
    let group = match Group::new(192 << 20) {
        Ok(group) => group,
        // Also with CI=true: in a container they may be nobody's to make.
        Err(why) => return println!("skipped: no control group can be made: {why}"),
    };
    let procs = group.0.join("cgroup.procs");
    let limit = ["sh", "-c", "echo $$ >\"$0\" && exec \"$@\"", &procs.to_string_lossy()];
    keeps_its_promise(limit.map(str::to_owned));
}
