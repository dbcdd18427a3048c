//! SIGHUP: what changes while the daemon serves, what is said about it, and that a wrong file changes
//! nothing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, until};
use common::wire::Client;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

/// A daemon with a configuration file.
struct Bench {
    folder: TempDir,
    daemon: Daemon,
    /// Bytes of the log that are read.
    read: usize,
}

impl Bench {
    fn new(text: &str, arguments: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("litecached.toml");
        fs::write(&file, text).expect("the folder can be written");
        let arguments = format!("--config {} {arguments}", file.display());
        let daemon = Launch::new(folder.path()).with(&arguments).start();
        let read = daemon.log().len();
        Self { folder, daemon, read }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("litecached.toml")
    }

    /// Writes the file, sends the signal, and gives what is said about it, up to a line with `last`.
    fn reload(&mut self, text: &str, last: &str) -> String {
        fs::write(self.file(), text).expect("the folder can be written");
        self.signal(last)
    }

    fn signal(&mut self, last: &str) -> String {
        self.daemon.signal(Signal::SIGHUP);
        let read = self.read;
        let said = until(&format!("it says {last:?}"), PATIENCE, || {
            let log = self.daemon.log();
            let line = log[read..].lines().find(|line| line.contains(last))?;
            log.contains(&format!("{line}\n")).then(|| log[read..].to_owned())
        });
        self.read = read + said.len();
        said
    }

    fn setting(&self, name: &str) -> String {
        figure(&mut self.daemon.client(), "settings", name)
    }
}

/// The value of a line of `stats`.
fn figure(client: &mut Client, report: &str, name: &str) -> String {
    client.send(format!("stats {report}\r\n"));
    let mut found = None;
    loop {
        let line = client.line();
        if line == "END" {
            return found.unwrap_or_else(|| panic!("stats {report} has no {name}"));
        }
        if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
            found = Some(value.to_owned());
        }
    }
}

#[test]
fn limits_change_while_it_serves() {
    let before =
        "max-disk = \"10g\"\nmemory-limit = 64\nwal-max = \"256m\"\nmax-item-size = \"1m\"\n";
    let after = "max-disk = \"5g\"\nmemory-limit = 32\nwal-max = \"64m\"\nmax-item-size = \"2m\"\n\
                 conn-limit = 50\nmax-reqs-per-event = 7\ndisable-flush-all = true\ndisable-watch = true\ndisable-dumping = true\n";
    let mut bench = Bench::new(before, "");
    let mut client = bench.daemon.client();
    let large = "x".repeat(3 << 19);
    client.send(format!("set large 0 0 {}\r\n{large}\r\n", large.len()));
    assert_eq!(client.line(), "SERVER_ERROR object too large for cache");

    let said = bench.reload(after, "disable-dumping: false -> true");
    for change in [
        "reloaded max-disk: 10g -> 5g",
        "reloaded memory-limit: 64m -> 32m",
        "reloaded wal-max: 256m -> 64m",
        "reloaded max-item-size: 1m -> 2m",
        "reloaded conn-limit: 1024 -> 50",
        "reloaded max-reqs-per-event: 64 -> 7",
        "reloaded disable-flush-all: false -> true",
        "reloaded disable-watch: false -> true",
        "reloaded disable-dumping: false -> true",
    ] {
        assert_eq!(said.matches(change).count(), 1, "{change} in:\n{said}");
    }
    assert_eq!(said.lines().count(), 9, "a line each:\n{said}");
    for (name, value) in [
        ("maxbytes", (5_u64 << 30).to_string()),
        ("item_size_max", (2 << 20).to_string()),
        ("wal_max", (64 << 20).to_string()),
        ("memory_max", (32 << 20).to_string()),
        ("maxconns", "50".to_owned()),
        ("reqs_per_event", "7".to_owned()),
        ("flush_enabled", "no".to_owned()),
        ("dump_enabled", "no".to_owned()),
    ] {
        assert_eq!(bench.setting(name), value, "{name}");
    }
    // Also on a connection that was there before.
    client.send(format!("set large 0 0 {}\r\n{large}\r\n", large.len()));
    assert_eq!(client.line(), "STORED");
    assert_eq!(client.ask("flush_all\r\n"), "CLIENT_ERROR flush_all not allowed");
    assert_eq!(client.ask("watch\r\n"), "CLIENT_ERROR watch commands not allowed");
    let refused = client.ask("lru_crawler metadump all\r\n");
    assert_eq!(refused, "ERROR metadump not allowed");
    assert_eq!(client.get("large").as_deref(), Some(large.as_bytes()));

    let said = bench.signal("nothing has changed");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = bench.reload("", "disable-flush-all: true -> false");
    assert!(said.contains("reloaded max-disk: 5g -> 10g"), "defaults hold again:\n{said}");
    assert_eq!(client.ask("flush_all\r\n"), "OK");
    drop(client);
    bench.daemon.stop();
    let wal = bench.daemon.launch().wal_path();
    assert!(!wal.exists(), "whoever reloads does not keep the file open");
}

#[test]
fn the_memory_tier_shrinks_and_the_items_stay() {
    let mut bench = Bench::new("memory-limit = \"16m\"\nmax-disk = \"1g\"\n", "");
    let mut client = bench.daemon.client();
    let value = "x".repeat(1_000);
    for n in 0..8_000 {
        client.send(format!("set key{n} 0 0 {} noreply\r\n{value}\r\n", value.len()));
    }
    assert_eq!(client.get("key0").as_deref(), Some(value.as_bytes()));
    let tier = |client: &mut Client| -> u64 {
        figure(client, "storage", "memory_bytes").parse().expect("a number")
    };
    assert!(tier(&mut client) > 4 << 20);
    bench.reload("memory-limit = \"2m\"\nmax-disk = \"1g\"\n", "memory-limit: 16m -> 2m");
    assert!(tier(&mut client) <= 2 << 20);
    bench.reload("memory-limit = 0\nmax-disk = \"1g\"\n", "memory-limit: 2m -> 0");
    assert_eq!(tier(&mut client), 0);
    for n in [0, 4_000, 7_999] {
        assert_eq!(client.get(&format!("key{n}")).as_deref(), Some(value.as_bytes()));
    }
    bench.reload("memory-limit = 16\nmax-disk = \"1g\"\n", "memory-limit: 0 -> 16m");
    client.get("key0");
    assert!(tier(&mut client) > 0);
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let mut bench = Bench::new("", "");
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/litecached.toml");
    let text = fs::read_to_string(packaged).expect("the packaged file");
    let written = text.lines().filter_map(|line| line.strip_prefix('#'));
    // Threads depend on the machine; what takes a name has no default.
    let written: Vec<_> = written
        .filter(|line| line.contains(" = ") && !line.contains('<') && !line.starts_with("threads"))
        .collect();
    assert!(written.contains(&"memory-limit = 64"), "{written:?}");
    let said = bench.reload(&written.join("\n"), "reload");
    assert!(said.contains("reloaded, nothing has changed"), "{said}");
}

#[test]
fn fewer_connections_drop_nobody() {
    let mut bench = Bench::new("", "");
    let mut clients: Vec<Client> = (0..5).map(|_| bench.daemon.client()).collect();
    for client in &mut clients {
        client.set("k", "v");
    }
    bench.reload("conn-limit = 2\n", "conn-limit: 1024 -> 2");
    for client in &mut clients {
        assert_eq!(client.get("k").as_deref(), Some(&b"v"[..]), "who is in stays in");
    }
    let mut late = bench.daemon.client();
    assert_eq!(late.line(), "ERROR Too many open connections");
    // Two are in: still full. One is in: there is room.
    clients.truncate(1);
    until("there is room for one", PATIENCE, || {
        let mut client = bench.daemon.client();
        client.send("version\r\n");
        client.line().starts_with("VERSION").then_some(())
    });
    bench.reload("conn-limit = 100\n", "conn-limit: 2 -> 100");
    let mut more: Vec<Client> = (0..10).map(|_| bench.daemon.client()).collect();
    for client in &mut more {
        assert_eq!(client.get("k").as_deref(), Some(&b"v"[..]));
    }
}

#[test]
fn an_idle_time_out_begins_to_count() {
    let mut bench = Bench::new("", "");
    let mut client = bench.daemon.client();
    client.set("k", "v");
    bench.reload("extended = \"idle_timeout=1s\"\n", "extended: - -> idle_timeout=1s");
    assert_eq!(client.rest(), b"", "an idle client is let go");
    assert_eq!(bench.setting("idle_timeout"), "1");
    assert!(bench.daemon.client().stat("idle_kicks") >= 1);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let mut bench = Bench::new("conn-limit = 100\n", "");
    let place = bench.file().display().to_string();
    for (text, said) in [
        (
            "conn-limit = 5\nmax-disk = \"much\"\n",
            " line 2: max-disk cannot be \"much\"; give a size",
        ),
        (
            "conn-limit = 5\nmax-dsk = 1\n",
            " line 2: there is no option \"max-dsk\"; did you mean max-disk?",
        ),
        ("conn-limit = 5\nmax-item-size = \"1g\"\nmax-disk = \"64m\"\n", " line 2: "),
        ("conn-limit = 5\nport = \n", " line 2: "),
        ("conn-limit = 5\nconn-limit = 6\n", " line 2: duplicate key"),
        ("conn-limit = 5\ndaemon = true\n", " line 2: daemon would return at once"),
    ] {
        let line = bench.reload(text, "everything stays as it was: ");
        assert!(line.contains(&format!("{place}{said}")), "{text}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(bench.setting("maxconns"), "100", "{text}");
    }
    fs::remove_file(bench.file()).expect("it is there");
    mkfifo(&bench.file(), Mode::S_IRWXU).expect("a pipe that nobody writes to");
    assert!(bench.signal("everything stays as it was: ").contains("it is no regular file"));
    fs::remove_file(bench.file()).expect("it is there");
    assert!(bench.signal("everything stays as it was: ").contains("cannot read "));
    assert_eq!(bench.setting("maxconns"), "100");
    bench.reload("conn-limit = 5\n", "conn-limit: 100 -> 5");
}

#[test]
fn what_takes_a_restart_is_said_and_flags_stay() {
    let mut bench = Bench::new("threads = 2\nmax-disk = \"1g\"\n", "--max-disk 3g");
    let text = "threads = 3\ndurability = \"power\"\nmax-disk = \"2g\"\nconn-limit = 9\n";
    let said = bench.reload(text, "threads: 2 -> 3 takes a restart");
    assert!(said.contains("durability: process -> power takes a restart"), "{said}");
    assert!(!said.contains("max-disk"), "the command line stays above the file:\n{said}");
    assert_eq!(bench.setting("num_threads"), "2");
    assert_eq!(bench.setting("maxbytes"), (3_u64 << 30).to_string());
    let said = bench.signal("threads: 2 -> 3 takes a restart");
    assert!(!said.contains("conn-limit"), "what is done is not said again:\n{said}");
}

#[test]
fn the_log_is_turned_up_by_area() {
    let mut bench = Bench::new("", "");
    let mut client = bench.daemon.client();
    bench.reload("log-level = \"warn,cli=info,request=trace\"\n", "log-level: info -> ");
    client.set("k", "v");
    until("the command is logged", PATIENCE, || bench.daemon.log().contains("set k").then_some(()));
    bench.reload("log-level = \"info\"\n", "log-level: ");
    let read = bench.daemon.log().len();
    client.get("k");
    client.set("other", "v");
    bench.reload("verbose = 2\n", "verbose: 0 -> 2");
    client.set("third", "v");
    until("it is logged again", PATIENCE, || {
        bench.daemon.log().contains("set third").then_some(())
    });
    assert!(!bench.daemon.log()[read..].contains("set other"), "quiet in between");
    assert_eq!(bench.setting("verbosity"), "2");
}

#[test]
fn a_log_that_is_turned_down_or_up_tells_of_it() {
    let mut bench = Bench::new("", "");
    for (text, last) in [
        ("log-level = \"error\"\nconn-limit = 9\n", "log-level: info -> error"),
        ("max-disk = \"1g\"\nthreads = 1\n", "log-level: error -> info"),
        ("log-level = \"error\"\nverbose = 2\n", "log-level: info -> error"),
        ("log-level = \"error\"\n", "verbose: 2 -> 0"),
        ("verbose = 1\n", "log-level: error -> info"),
    ] {
        let said = bench.reload(text, last);
        let changes = said.lines().filter(|line| line.contains(" -> ")).count();
        assert!(changes >= 1 && said.contains(last), "{text}: {said}");
        if text.contains("conn-limit") {
            assert!(said.contains("conn-limit: 1024 -> 9"), "{said}");
        }
        if text.contains("max-disk") {
            assert!(said.contains("max-disk: 10g -> 1g"), "{said}");
        }
    }
}
