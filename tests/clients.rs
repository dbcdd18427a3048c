//! Clients that other people wrote, unchanged: pymemcache, libmemcached's tools, telnet.
//!
//! Beside them a script in the manner of the old client. What a client needs is named at its test;
//! where it is missing the test says so and passes, but with `CI=true` it fails. Each client gets a
//! daemon of its own, for some of them empty it.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::daemon::{Daemon, Launch};
use common::ground::needs;
use common::pypi;

/// Seconds after which a client that hangs is ended.
const CLIENT_SECONDS_MAX: &str = "180";

#[test]
fn pymemcache() {
    let Some(package) = pypi::package("pymemcache", "4.0.0", "pymemcache") else {
        return;
    };
    let server = Server::start();
    let mut client = client("python3");
    client.env("PYTHONPATH", package).arg(script("pymemcache_client.py"));
    let said = succeeds(client.args(["127.0.0.1", &server.port()]));
    assert!(said.contains("passed: "), "{said}");
}

#[test]
fn memccapable() {
    if !needs("memccapable") {
        return;
    }
    let server = Server::start();
    let mut client = client("memccapable");
    let said = succeeds(client.args(["-a", "-h", "127.0.0.1", "-p", &server.port()]));
    assert!(said.contains("All tests passed"), "{said}");
    assert_eq!(said.matches("[pass]").count(), 27, "{said}");
}

#[test]
fn memcslap() {
    if !needs("memcslap") {
        return;
    }
    let server = Server::start();
    let address = format!("--servers=127.0.0.1:{}", server.port());
    for (test, further) in [
        ("set", "--tcp-nodelay"),
        ("set", "--noreply"),
        ("get", "--tcp-nodelay"),
        ("mget", "--tcp-nodelay"),
    ] {
        let mut client = client("memcslap");
        client.args([&address, "--test", test, further, "--concurrency=8", "--execute-number=500"]);
        // It exits with 0 even if every request failed, but counts only what worked.
        let said = succeeds(&mut client);
        let counted = said.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&["Time", "to", test, "4000", "keys"])
        });
        assert!(counted && !said.contains("error"), "{test} {further}: {said}");
    }
}

/// The tools that people use by hand: copy a file in, look at it, take it out.
#[test]
fn libmemcached_tools() {
    if !needs("memccp") {
        return;
    }
    let server = Server::start();
    let file = server.folder.path().join("a-file");
    let content = "some text\n".repeat(10_000);
    std::fs::write(&file, &content).expect("the test's folder can be written");
    let back = server.folder.path().join("back");
    let into = format!("--file={}", back.display());
    let tool = |program: &str, arguments: &[&str]| {
        let mut command = client(program);
        command.arg(format!("--servers=127.0.0.1:{}", server.port())).args(arguments);
        command.output().expect("the program is installed").status.success()
    };

    assert!(!tool("memcexist", &["a-file"]), "nothing is there yet");
    assert!(tool("memccp", &[&file.display().to_string()]));
    assert!(tool("memcexist", &["a-file"]));
    assert!(tool("memctouch", &["--expire=1000", "a-file"]));
    assert!(tool("memccat", &[&into, "a-file"]));
    assert_eq!(std::fs::read_to_string(&back).expect("memccat wrote it"), content);
    assert!(tool("memcrm", &["a-file"]));
    assert!(!tool("memcrm", &["a-file"]), "it is gone");
    assert!(tool("memcping", &[]));
    assert!(tool("memcstat", &[]));
    assert!(tool("memccp", &[&file.display().to_string()]));
    assert!(tool("memcflush", &[]));
    assert!(!tool("memcexist", &["a-file"]), "it is flushed");
}

#[test]
fn telnet() {
    if !(needs("expect") && needs("telnet")) {
        return;
    }
    let server = Server::start();
    let mut client = client("expect");
    client.arg(script("telnet.exp"));
    let said = succeeds(client.args(["127.0.0.1", &server.port()]));
    assert!(said.contains("passed: telnet"), "{said}");
}

/// The scenario that the old server was tried with.
#[test]
fn many_old_clients_one_of_which_pauses() {
    if !needs("python3") {
        return;
    }
    let server = Server::start();
    let mut client = client("python3");
    client.arg(script("old_client.py"));
    let said = succeeds(client.args(["127.0.0.1", &server.port()]));
    assert!(said.contains("passed: 20 clients"), "{said}");
}

/// A daemon in a folder of its own.
struct Server {
    daemon: Daemon,
    // After the daemon, so that it is removed when the daemon has gone.
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        Self { daemon: Launch::new(folder.path()).start(), folder }
    }

    fn port(&self) -> String {
        self.daemon.port().to_string()
    }
}

/// Runs a client that has to succeed, and gives what it said on both streams.
fn succeeds(client: &mut Command) -> String {
    let output = client.output().expect("timeout is one of the core utilities");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client:?}: {}\n{said}", output.status);
    said
}

/// A command that runs `program` for a bounded time.
fn client(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", CLIENT_SECONDS_MAX, program]);
    command.stdin(std::process::Stdio::null());
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}
