//! Lines in the journal: entries with fields where it listens, lines with a priority where it does not.
//!
//! The journal is this test: a socket in its place, in a mount namespace.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use common::daemon::Launch;
use common::ground::{PATIENCE, in_namespace, run, until};
use nix::sys::signal::Signal;

const SOCKET: &str = "/run/systemd/journal/socket";

/// Says what systemd would: that stderr is the journal's.
const AS_SYSTEMD: &str = "JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) exec \"$@\"";

#[test]
fn a_line_is_an_entry_with_fields() {
    if !in_namespace("--mount", "a_line_is_an_entry_with_fields") {
        return;
    }
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    let folder = Path::new(SOCKET).parent().expect("a folder");
    fs::create_dir_all(folder).expect("the file system is ours");
    let journal = UnixDatagram::bind(SOCKET).expect("nobody else is there");
    journal.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let launch = Launch::new(folder.path()).with("--log-level info,request=trace");
    let daemon = launch.through(["sh", "-c", AS_SYSTEMD, "sh"]).start();
    let entry = entry_with(&journal, "listening on 127.0.0.1:");
    for field in [
        "PRIORITY=6\n",
        "SYSLOG_IDENTIFIER=litecached\n",
        &with_length("LITECACHED_AREA", "cli"),
        "CODE_MODULE=litecached::cli::serve\n",
        "CODE_FILE=src/cli/serve.rs\n",
    ] {
        assert!(entry.contains(field), "{field:?} in {entry:?}");
    }
    daemon.client().set("k", "v");
    let entry = entry_with(&journal, "set k");
    for field in ["PRIORITY=7\n", &with_length("LITECACHED_AREA", "request")] {
        assert!(entry.contains(field), "{field:?} in {entry:?}");
    }
    assert_eq!(daemon.log(), "", "nothing is said twice");

    fs::remove_file(SOCKET).expect("it is there");
    daemon.signal(Signal::SIGHUP);
    until("the line goes to stderr", PATIENCE, || daemon.log().contains('\n').then_some(()));
    assert_eq!(daemon.log(), "<6>reloaded, nothing has changed\n");
}

/// A field whose value might have more than a line.
fn with_length(name: &str, value: &str) -> String {
    let length = u8::try_from(value.len()).expect("a short value");
    format!("{name}\n{}\0\0\0\0\0\0\0{value}\n", char::from(length))
}

/// The next entry with this text.
fn entry_with(journal: &UnixDatagram, text: &str) -> String {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = journal.recv(&mut bytes).unwrap_or_else(|error| panic!("no {text}: {error}"));
        let entry = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if entry.contains(text) {
            return entry;
        }
    }
}
