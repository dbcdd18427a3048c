//! Real power cuts: a file system that forgets all that was not synced, with the daemon at work on it.
//!
//! An ext4 or xfs image on a loop device is shut down in the middle of a load (`FS_IOC_SHUTDOWN` without
//! flushing its journal), mounted again and looked at. Needs root. Two hundred rounds, fifty of each
//! level on each file system:
//! `LITECACHED_POWER_ROUNDS=50 cargo test --release --test power_cut -- --nocapture`.

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

/// What is on the disk. Both know `FS_IOC_SHUTDOWN` by the same number.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    fn mkfs(self) -> (&'static str, &'static str) {
        match self {
            Self::Ext4 => ("mkfs.ext4", "-qF"),
            Self::Xfs => ("mkfs.xfs", "-qf"),
        }
    }
}

/// A disk that can lose its power.
#[derive(Debug)]
struct Disk {
    folder: TempDir,
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk =
            Self { image: folder.path().join("image"), place: folder.path().join("disk"), folder };
        fs::create_dir(&disk.place).expect("the folder can be written");
        fs::File::create(&disk.image)
            .and_then(|file| file.set_len(512 << 20))
            .expect("a file with holes takes no room");
        let (mkfs, flags) = kind.mkfs();
        run(mkfs, &[flags, &text(&disk.image)]);
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
fn possible(kind: Kind, name: &str) -> bool {
    if !(in_namespace("--mount", name) && needs(kind.mkfs().0) && needs("perl")) {
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
    power_loses_nothing(Kind::Ext4, "power_loses_nothing_that_was_acknowledged");
}

#[test]
fn power_loses_nothing_that_was_acknowledged_on_xfs() {
    power_loses_nothing(Kind::Xfs, "power_loses_nothing_that_was_acknowledged_on_xfs");
}

fn power_loses_nothing(kind: Kind, name: &str) {
    if !possible(kind, name) {
        return;
    }
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let disk = Disk::new(kind);
    let mut daemon = disk.launch().with("--durability power").start();
    let mut ledger = Ledger::new(seed, WORKERS).in_all_forms();
    ledger.settle(&mut daemon.client());
    let rounds = rounds("LITECACHED_POWER_ROUNDS", 2);
    let (mut replies, mut slowest) = (0, Duration::ZERO);
    for _ in 0..rounds {
        let pid = daemon.pid();
        let blow = || disk.cut(pid);
        replies += ledger.load_until_dark(daemon.port(), rng.u64(500..4_000), &blow);
        let start = now();
        reboot(&disk, &mut daemon);
        assert!(daemon.client().ask("version\r\n").starts_with("VERSION "));
        slowest = slowest.max(start.elapsed());
        ledger.settle(&mut daemon.client());
        check_integrity(daemon.launch().database_path());
    }
    println!(
        "power, {kind:?}: {rounds} power cuts, {replies} acknowledged, none lost, \
         at most {slowest:?} from the mount to the first answer"
    );
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

/// As ext4 does itself after an error, with files open for writing. It can be written again after a mount.
#[test]
fn a_disk_that_becomes_read_only_loses_nothing_that_was_acknowledged() {
    let name = "a_disk_that_becomes_read_only_loses_nothing_that_was_acknowledged";
    if !possible(Kind::Ext4, name) {
        return;
    }
    for durability in ["power", "process"] {
        let disk = Disk::new(Kind::Ext4);
        let launch = disk.launch().with(&format!("-m 0 --durability {durability}"));
        let mut daemon = launch.start();
        let mut client = daemon.client();
        (0..100).for_each(|key| client.set(&format!("k{key}"), b"before"));
        // With `process` it is the last second that may go.
        run("sync", &[]);
        run("mount", &["-o", "remount,abort", &text(&disk.place)]);
        let mut acknowledged = 0;
        let ended = until("writes are refused, or it ends", PATIENCE, || {
            let set = format!("set n{acknowledged} 0 0 5\r\nafter\r\n");
            let answer = client.try_send(set.as_bytes()).and_then(|()| client.try_line());
            match answer.as_deref() {
                Ok("STORED") => acknowledged += 1,
                Ok(refused) => {
                    assert!(refused.starts_with("SERVER_ERROR"), "{refused}");
                    assert_eq!(client.get("k1"), Some(b"before".to_vec()), "reads go on");
                    return Some(false);
                }
                Err(_) => return Some(true),
            }
            None
        });
        assert!(durability == "process" || acknowledged == 0, "{acknowledged} without a sync");
        println!("{durability}: {acknowledged} acknowledged after it, ended: {ended}");
        if ended {
            assert_eq!(daemon.wait(PATIENCE).code(), Some(74), "{}", daemon.log());
        } else {
            daemon.kill();
        }
        // For as long as it cannot be written it is refused by name.
        let refused = daemon.launch().refused();
        assert!(refused.log.contains("Read-only file system"), "{}", refused.log);
        disk.boot();
        let mut daemon = daemon.launch().clone().start();
        let mut client = daemon.client();
        for key in 0..100 {
            assert_eq!(client.get(&format!("k{key}")), Some(b"before".to_vec()), "k{key}");
        }
        client.set("new", "value");
        daemon.stop();
        check_integrity(daemon.launch().database_path());
    }
}

#[test]
fn process_loses_about_a_second_at_most() {
    process_loses_little(Kind::Ext4, "process_loses_about_a_second_at_most");
}

#[test]
fn process_loses_about_a_second_at_most_on_xfs() {
    process_loses_little(Kind::Xfs, "process_loses_about_a_second_at_most_on_xfs");
}

fn process_loses_little(kind: Kind, name: &str) {
    if !possible(kind, name) {
        return;
    }
    let mut rng = Rng::with_seed(seed());
    let disk = Disk::new(kind);
    let mut daemon = disk.launch().with("--durability process").start();
    let rounds = rounds("LITECACHED_POWER_ROUNDS", 2);
    let (mut widest, mut lost, mut acknowledged) = (Duration::ZERO, 0, 0);
    for round in 0..rounds {
        let work = Duration::from_millis(rng.u64(500..3_500));
        let (told, cut) = store_until_cut(&disk, &mut daemon, round, work);
        reboot(&disk, &mut daemon);
        let mut window = Duration::ZERO;
        for (worker, told) in told.iter().enumerate() {
            let kept = kept(&mut daemon.client(), round, worker, told);
            lost += told.at.len() - kept;
            if let Some(&at) = told.at.get(kept) {
                window = window.max(cut.saturating_duration_since(at));
            }
        }
        let count: usize = told.iter().map(|told| told.at.len()).sum();
        println!("round {round}: {count} stored in {work:?}, lost: the last {window:?}");
        widest = widest.max(window);
        acknowledged += count;
        daemon.stop();
        check_integrity(daemon.launch().database_path());
        disk.boot();
        daemon.restart();
    }
    println!(
        "process, {kind:?}: {rounds} power cuts, {acknowledged} acknowledged, {lost} lost, \
         at most the last {widest:?}"
    );
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

/// How many are there. What is lost has to be the end: nothing after it is there.
fn kept(client: &mut Client, round: u64, worker: usize, told: &Told) -> usize {
    let mut kept = None;
    for number in 0..told.at.len() {
        match (client.get(&name(round, worker, number)), kept) {
            (Some(value), None) => assert_eq!(value, format!("{number:0100}").as_bytes()),
            (None, None) => kept = Some(number),
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                panic!("worker {worker}: {number} is there, an earlier one is not")
            }
        }
    }
    kept.unwrap_or(told.at.len())
}
