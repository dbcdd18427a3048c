//! Runs every conversation of `tests/scripts` in every mode.
//!
//! `LITECACHED_TEST_ADDR=host:port` holds them with a memcached there instead, in the modes that fit;
//! `LITECACHED_TEST_FLAGS` says which flags it runs with, and only scripts for these are run.
//! `LITECACHED_SCRIPT=part-of-a-name` runs some of them, `LITECACHED_SEED` repeats a failing split.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use common::in_process::InProcess;
use common::runner::{self, Mode};
use common::script::{self, Script};
use common::target::{Memcached, Target};
use common::tls::{Authority, Tunnel};
use litecached::server::Listen;

/// In `~ not in`: a memcached elsewhere, in any mode; with a mode's name behind it, in that one; with
/// a version behind it, those that begin so.
const MEMCACHED_MODE: &str = "memcached";

/// One mode at a time may use the memcached elsewhere: all share its keys.
static MEMCACHED: Mutex<()> = Mutex::new(());

#[test]
fn whole() {
    run_all(Mode::Whole);
}

#[test]
fn byte_by_byte() {
    run_all(Mode::Bytes);
}

#[test]
fn split_at_random() {
    run_all(Mode::Split);
}

#[test]
fn pipelined() {
    run_all(Mode::Pipelined);
}

#[test]
fn memory_tier_off() {
    run_all(Mode::MemoryOff);
}

#[test]
fn compressed() {
    run_all(Mode::Compressed);
}

#[test]
fn memory_tier_emptied_after_each_command() {
    run_all(Mode::MemoryEmptied);
}

#[test]
fn restarted_after_each_command() {
    run_all(Mode::Restarted);
}

/// Some of them, as the bytes of one are those of all. What they ask is cut and gathered as without TLS, so
/// that it comes in records of any size.
#[test]
fn over_tls() {
    if std::env::var_os("LITECACHED_TEST_ADDR").is_some() {
        return;
    }
    const FILES: [&str; 8] = [
        "binary-half-close",
        "binary-pipeline",
        "cas-two-connections",
        "data-cut-off",
        "data-half-close",
        "large-other",
        "meta-pipelined",
        "values-many-sizes",
    ];
    let seed = runner::seed();
    let mut wrong = Vec::new();
    let authority = Authority::new();
    for mode in [Mode::Whole, Mode::Bytes, Mode::Split, Mode::Pipelined, Mode::Restarted] {
        let some = scripts().into_iter().filter(|script| {
            FILES.iter().any(|name| script.name.trim_end_matches(".txt") == *name)
                && !script.excluded.iter().any(|name| name == mode.name())
        });
        for script in some {
            let mut daemon = Secured::start(&authority, &script.flags);
            wrong.extend(runner::run(&script, mode, seed, &mut daemon).err());
        }
    }
    assert!(wrong.is_empty(), "{} scripts went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The daemon with TLS, and a tunnel to it.
#[derive(Debug)]
struct Secured {
    daemon: InProcess,
    tunnel: Tunnel,
}

impl Secured {
    fn start(authority: &Authority, flags: &[String]) -> Self {
        let daemon = InProcess::start_with(flags, |server, _| {
            server.listen = vec![Listen::Tls(SocketAddr::from(([127, 0, 0, 1], 0)))];
            server.certificates = Some(authority.certificates("server"));
        });
        let tunnel = Tunnel::to(daemon.address().port(), authority.client(None));
        Self { daemon, tunnel }
    }
}

impl Target for Secured {
    fn address(&self) -> SocketAddr {
        self.tunnel.address()
    }

    fn now(&mut self) -> i64 {
        self.daemon.now()
    }

    fn advance(&mut self, seconds: i64) -> bool {
        self.daemon.advance(seconds)
    }

    fn restart(&mut self) -> bool {
        let restarted = self.daemon.restart();
        self.tunnel.leads_to(self.daemon.address().port());
        restarted
    }

    fn forget_memory(&mut self) {
        self.daemon.forget_memory();
    }

    fn memcached_version(&self) -> Option<&str> {
        None
    }
}

fn run_all(mode: Mode) {
    let seed = runner::seed();
    let elsewhere = std::env::var_os("LITECACHED_TEST_ADDR").is_some();
    if elsewhere && !mode.fits_memcached() {
        return;
    }
    let scripts: Vec<Script> = scripts()
        .into_iter()
        .filter(|script| !script.excluded.iter().any(|name| name == mode.name()))
        .collect();
    // A restart waits for the disk most of the time: several scripts at once.
    let lanes = if mode == Mode::Restarted { 4 } else { 1 };
    let lane = |lane: usize| {
        let run = |script: &Script| {
            let run = if elsewhere { run_elsewhere } else { run_here };
            run(script, mode, seed).err()
        };
        scripts.iter().skip(lane).step_by(lanes).filter_map(run).collect::<Vec<String>>()
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = (0..lanes)
            .map(|number| {
                let lane = &lane;
                thread::Builder::new()
                    .spawn_scoped(scope, move || lane(number))
                    .expect("a thread can be had")
            })
            .collect();
        running.into_iter().flat_map(|lane| lane.join().expect("a script panicked")).collect()
    });
    assert!(wrong.is_empty(), "{} scripts went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn run_here(script: &Script, mode: Mode, seed: u64) -> Result<(), String> {
    let mut daemon = InProcess::start_with(&script.flags, |_, store| {
        if matches!(mode, Mode::MemoryOff | Mode::Compressed) {
            store.memory_bytes = 0;
        }
        if mode == Mode::Compressed {
            store.compress_from = 1;
        }
    });
    runner::run(script, mode, seed, &mut daemon)
}

fn run_elsewhere(script: &Script, mode: Mode, seed: u64) -> Result<(), String> {
    let names = [MEMCACHED_MODE.to_owned(), format!("{MEMCACHED_MODE}-{}", mode.name())];
    if script.excluded.iter().any(|name| names.contains(name))
        || script.flags != Memcached::flags_from_environment()
    {
        return Ok(());
    }
    let _alone = MEMCACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut memcached = Memcached::from_environment().expect("its address is in the environment");
    if let Some(version) = memcached.memcached_version()
        && script
            .excluded
            .iter()
            .filter_map(|name| excluded_version(name))
            .any(|excluded| version.starts_with(excluded))
    {
        return Ok(());
    }
    memcached.empty();
    runner::run(script, mode, seed, &mut memcached)
}

/// The version in a name of `~ not in`, if there is one.
fn excluded_version(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(MEMCACHED_MODE)?.strip_prefix('-')?;
    rest.starts_with(|first: char| first.is_ascii_digit()).then_some(rest)
}

#[test]
fn an_excluded_version_is_told_from_a_mode() {
    assert_eq!(excluded_version("memcached-1.6.18"), Some("1.6.18"));
    assert_eq!(excluded_version("memcached-pipelined"), None);
    assert_eq!(excluded_version("memcached"), None);
    assert_eq!(excluded_version("restarted"), None);
}

#[test]
fn excluded_modes_exist() {
    for script in scripts() {
        for name in script.excluded.iter().filter(|name| excluded_version(name).is_none()) {
            let mode = name
                .strip_prefix(MEMCACHED_MODE)
                .map_or(name.as_str(), |rest| rest.strip_prefix('-').unwrap_or("whole"));
            let known = Mode::ALL.iter().any(|known| known.name() == mode);
            assert!(known, "{}: there is no mode {name}", script.name);
        }
    }
}

fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let wanted = std::env::var("LITECACHED_SCRIPT").unwrap_or_default();
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the scripts can be listed")
        .map(|entry| entry.expect("the scripts can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let scripts: Vec<Script> = paths
        .iter()
        .map(|path| {
            let name = path.file_name().expect("a listed file has a name").to_string_lossy();
            let text = fs::read_to_string(path).expect("a script is text");
            script::parse(&name, &text).unwrap_or_else(|malformed| panic!("{malformed}"))
        })
        .filter(|script| script.name.contains(&wanted))
        .collect();
    assert!(!scripts.is_empty(), "no script is named like {wanted:?}");
    scripts
}
