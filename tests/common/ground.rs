//! What a test stands on: a deadline for every wait, a seed for every choice, a namespace for what
//! would disturb the machine, and a plain word when something is missing.
//!
//! `until` is the only place where a test lets time pass.

use std::env;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

/// How long a test waits for what should happen at once. Long, for the machine may be busy; a test
/// that needs it all has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Set inside a namespace that [`in_namespace`] made.
const INSIDE: &str = "LITECACHED_TEST_NAMESPACE";

/// The time, for deadlines and for figures that are printed.
#[allow(clippy::disallowed_methods, reason = "tests measure the daemon from outside")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks `probe` again and again until it has an answer. Panics when `patience` is over.
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain: {what}");
        #[allow(clippy::disallowed_methods, reason = "the one place that waits, with a deadline")]
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// True on the machine that judges: there a test that cannot run has failed.
pub fn on_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Says why a test did not run. Always false, so that it can end a condition.
pub fn skipped(reason: &str) -> bool {
    assert!(!on_ci(), "cannot run here, and must: {reason}");
    eprintln!("skipped: {reason}");
    false
}

/// Whether `program` is installed.
pub fn needs(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_path_buf);
    env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
        || skipped(&format!("needs the program {program}"))
}

/// Whether the test runs as root.
pub fn needs_root() -> bool {
    geteuid().is_root() || skipped("needs root")
}

/// Runs the test `name` once more in a namespace of its own (`--net`, `--mount`). True in there; the
/// caller outside gets false and returns.
pub fn in_namespace(kind: &str, name: &str) -> bool {
    if env::var(INSIDE).is_ok_and(|inside| inside == kind) {
        return true;
    }
    if !(needs_root() && needs("unshare")) {
        return false;
    }
    let possible = Command::new("unshare").args([kind, "true"]).output().expect("unshare runs");
    if !possible.status.success() {
        return skipped(&format!("unshare {kind} is not allowed here"));
    }
    let inside = Command::new("unshare")
        .arg(kind)
        .arg(env::current_exe().expect("a test knows its own file"))
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, kind)
        .output()
        .expect("unshare runs");
    print!("{}", String::from_utf8_lossy(&inside.stdout));
    eprint!("{}", String::from_utf8_lossy(&inside.stderr));
    assert!(inside.status.success(), "{name} failed inside unshare {kind}");
    let ran = String::from_utf8_lossy(&inside.stdout).contains("1 passed");
    assert!(ran, "{name} is not the name of a test in this file");
    false
}

/// Runs a program that has to succeed, and gives what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The seed of this run, printed: `LITECACHED_SEED` or a fresh one.
pub fn seed() -> u64 {
    let seed = number("LITECACHED_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("to repeat: LITECACHED_SEED={seed}");
    seed
}

/// How often to repeat: the variable's number, else `default`.
pub fn rounds(variable: &str, default: u64) -> u64 {
    number(variable).unwrap_or(default)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Raises the limit of open files as far as it goes without asking anybody, and gives it.
pub fn raise_open_files() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("soft may go up to hard");
    hard
}
