//! Real power cuts: a file system that forgets all that was not synced, with the daemon at work on it.
//!
//! An ext4 image on a loop device is shut down in the middle of a load (`FS_IOC_SHUTDOWN` without
//! flushing its journal), mounted again and looked at. Needs root. Twenty rounds of each kind:
//! `LITECACHED_POWER_ROUNDS=20 cargo test --release --test power_cut -- --nocapture`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::daemon::{Daemon, Launch, check_integrity};
use common::ground::{PATIENCE, in_namespace, needs, now, rounds, run, seed, skipped, until};
use common::ledger::Ledger;
use common::wire::Client;
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Connections that work at once.
const WORKERS: usize = 4;

/// What a power cut may lose with `--durability process`: about a second, and what a busy machine adds.
const WINDOW_MAX: Duration = Duration::from_secs(4);

/// A disk that can lose its power.
#[derive(Debug)]
struct Disk {
    folder: TempDir,
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk =
            Self { image: folder.path().join("image"), place: folder.path().join("disk"), folder };
        fs::create_dir(&disk.place).expect("the folder can be written");
        fs::File::create(&disk.image)
            .and_then(|file| file.set_len(256 << 20))
            .expect("a file with holes takes no room");
        run("mkfs.ext4", &["-qF", &text(&disk.image)]);
        disk.mount();
        disk
    }

    /// How to start a daemon on it. Its log and port file are elsewhere: they outlive the power.
    fn launch(&self) -> Launch {
        Launch::new(self.folder.path()).database(self.place.join("cache.db"))
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", &text(&self.image), &text(&self.place)]);
    }

    /// Power off: what is not on the image now will never be. The daemon goes with it, at the latest
    /// now.
    fn cut(&self, daemon: Pid) {
        // FS_IOC_SHUTDOWN with FS_SHUTDOWN_FLAGS_NOLOGFLUSH.
        let call = r#"open my $disk, "<", $ARGV[0] or die $!;
            my $flags = pack "I", 2;
            ioctl $disk, 0x8004587D, $flags or die $!"#;
        let output = Command::new("perl").args(["-e", call]).arg(&self.place).output();
        kill(daemon, Signal::SIGKILL).expect("a child can be signalled until it is waited for");
        let output = output.expect("perl runs");
        assert!(
            output.status.success(),
            "no power cut: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Power on. Nothing holds the disk any more.
    fn boot(&self) {
        until("the disk is let go", PATIENCE, || {
            let output = Command::new("umount").arg(&self.place).output().expect("umount runs");
            output.status.success().then_some(())
        });
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // With a failing test the daemon may still be there; the namespace takes it all away.
        drop(Command::new("umount").args(["-l".as_ref(), self.place.as_os_str()]).output());
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Inside a mount namespace with everything that is needed.
fn possible(name: &str) -> bool {
    if !(in_namespace("--mount", name) && needs("mkfs.ext4") && needs("perl")) {
        return false;
    }
    let loops = Command::new("losetup").arg("-f").output();
    loops.is_ok_and(|output| output.status.success()) || skipped("no loop device to be had")
}

/// The daemon is gone with the power; the disk comes back, and the file on it is whole.
fn reboot(disk: &Disk, daemon: &mut Daemon) {
    daemon.kill();
    disk.boot();
    daemon.restart();
}

#[test]
fn power_loses_nothing_that_was_acknowledged() {
    if !possible("power_loses_nothing_that_was_acknowledged") {
        return;
    }
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let disk = Disk::new();
    let mut daemon = disk.launch().with("--durability power").start();
    let mut ledger = Ledger::new(seed, WORKERS);
    ledger.settle(&mut daemon.client());
    let rounds = rounds("LITECACHED_POWER_ROUNDS", 3);
    let mut replies = 0;
    for _ in 0..rounds {
        let pid = daemon.pid();
        let blow = || disk.cut(pid);
        replies += ledger.load_until_dark(daemon.port(), rng.u64(500..4_000), &blow);
        reboot(&disk, &mut daemon);
        ledger.settle(&mut daemon.client());
    }
    println!("power: {rounds} power cuts, {replies} replies, nothing lost");
    daemon.stop();
    check_integrity(daemon.launch().database_path());
    disk.boot();
    check_integrity(daemon.launch().database_path());
}

/// What one connection stored, in order, and when it was told so.
#[derive(Debug, Default)]
struct Told {
    at: Vec<Instant>,
}

#[test]
fn process_loses_about_a_second_at_most() {
    if !possible("process_loses_about_a_second_at_most") {
        return;
    }
    let mut rng = Rng::with_seed(seed());
    let disk = Disk::new();
    let mut daemon = disk.launch().with("--durability process").start();
    let rounds = rounds("LITECACHED_POWER_ROUNDS", 3);
    let mut widest = Duration::ZERO;
    for round in 0..rounds {
        let work = Duration::from_millis(rng.u64(500..3_500));
        let (told, cut) = store_until_cut(&disk, &mut daemon, round, work);
        reboot(&disk, &mut daemon);
        let window = told
            .iter()
            .enumerate()
            .filter_map(|(worker, told)| first_lost(&mut daemon.client(), round, worker, told))
            .map(|at| cut.saturating_duration_since(at))
            .max();
        let window = window.unwrap_or_default();
        let count: usize = told.iter().map(|told| told.at.len()).sum();
        println!("round {round}: {count} stored in {work:?}, lost: the last {window:?}");
        widest = widest.max(window);
        daemon.stop();
        check_integrity(daemon.launch().database_path());
        disk.boot();
        daemon.restart();
    }
    println!("process: {rounds} power cuts, at most the last {widest:?} lost");
    assert!(widest < WINDOW_MAX, "lost what was acknowledged {widest:?} before the cut");
}

/// Stores from several connections for a while, then cuts the power. Gives what each was told, and the
/// time of the cut.
fn store_until_cut(
    disk: &Disk,
    daemon: &mut Daemon,
    round: u64,
    work: Duration,
) -> (Vec<Told>, Instant) {
    let port = daemon.port();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let is_over = &is_over;
                scope.spawn(move || store(port, round, worker, is_over))
            })
            .collect();
        let start = now();
        until("the load has run for a while", work + PATIENCE, || {
            (start.elapsed() >= work).then_some(())
        });
        let cut = now();
        is_over.store(true, Ordering::SeqCst);
        disk.cut(daemon.pid());
        let told = workers.into_iter().map(|worker| worker.join().expect("it was served"));
        (told.collect(), cut)
    })
}

/// Stores one key after the other until the power is gone.
fn store(port: u16, round: u64, worker: usize, is_over: &AtomicBool) -> Told {
    let mut client = Client::connect(port);
    let mut told = Told::default();
    loop {
        let number = told.at.len();
        let request = format!("set {} 0 0 100\r\n{number:0100}\r\n", name(round, worker, number));
        match client.try_send(request.as_bytes()).and_then(|()| client.try_line()) {
            // In the dark nobody is told anything.
            Ok(_) if is_over.load(Ordering::SeqCst) => return told,
            Ok(line) if line == "STORED" => told.at.push(now()),
            outcome => {
                assert!(is_over.load(Ordering::SeqCst), "worker {worker}: {outcome:?}");
                return told;
            }
        }
    }
}

fn name(round: u64, worker: usize, number: usize) -> String {
    format!("round-{round}-worker-{worker}-{number}")
}

/// When the first lost one was acknowledged. What is lost has to be the end: nothing after it is there.
fn first_lost(client: &mut Client, round: u64, worker: usize, told: &Told) -> Option<Instant> {
    let mut lost = None;
    for (number, &at) in told.at.iter().enumerate() {
        match (client.get(&name(round, worker, number)), lost) {
            (Some(value), None) => assert_eq!(value, format!("{number:0100}").as_bytes()),
            (None, None) => lost = Some(at),
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                panic!("worker {worker}: {number} is there, an earlier one is not")
            }
        }
    }
    lost
}
