//! A start that cannot succeed fails at once, with one line that says what to do and an exit code by
//! kind, and leaves what it found as it was.

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::daemon::{Launch, Refused, check_integrity, open_database};
use common::ground::{PATIENCE, in_namespace, needs, run, until};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// The command line is wrong.
const USAGE: i32 = 64;
/// The database is not one of ours, or not one we can read.
const DATA: i32 = 65;
/// The address cannot be had.
const ADDRESS: i32 = 69;
/// The database cannot be created.
const CREATE: i32 = 73;
/// Another daemon has the database.
const LOCKED: i32 = 75;
/// Not allowed.
const PERMISSION: i32 = 77;
/// The configuration cannot work.
const CONFIGURATION: i32 = 78;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// One line, one of these codes, and all of these words.
fn assert_refused(refused: &Refused, codes: &[i32], words: &[&str]) {
    assert!(refused.code.is_some_and(|code| codes.contains(&code)), "{codes:?}: {refused:?}");
    assert_eq!(refused.log.lines().count(), 1, "one line: {refused:?}");
    assert!(refused.log.ends_with('\n'), "a whole line: {refused:?}");
    for word in words {
        assert!(refused.log.contains(word), "says {word:?}: {refused:?}");
    }
}

/// What a launch that must not touch its database file leaves behind is what was there.
fn assert_untouched(path: &Path, before: &[u8]) {
    assert_eq!(fs::read(path).expect("the file is still there"), before, "{}", path.display());
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_made() {
    let table = [
        ("-l 127.0.0.1:notaport", "notaport"),
        ("-p 70000", "70000"),
        ("-t 0", "-t"),
        ("-t fooble", "-t"),
        ("-c 0", "-c"),
        ("-c -1", "-c"),
        ("-I 1000", "-I"),
        ("-I 1025m", "-I"),
        ("-m 64 -I 256m", "-I"),
        ("-B http", "-B"),
        ("-o fooble", "fooble"),
        ("-o no_such_option=1", "no_such_option"),
        ("-o hashpower=5", "hashpower=5"),
        ("-o idle_timeout", "idle_timeout"),
        ("-o ext_path=/tmp/x:64m", "ext_path"),
        ("-o proxy_config=x.lua", "proxy_config"),
        ("-o ssl_key=x", "ssl_key"),
        ("-U 11211", "amplification"),
        ("-U -1", "amplification"),
        ("-D ::", "-D"),
        ("-S", "-S"),
        ("-Z", "-Z"),
        ("-Z -o ssl_ciphers=HIGH", "ssl_ciphers"),
        ("-Z -o ssl_chain_cert=/c,ssl_min_version=1", "ssl_min_version"),
        ("-l notls:127.0.0.1", "notls"),
        ("-d", "-d"),
        ("--durability never", "never"),
        ("--max-disk plenty", "--max-disk"),
        ("--fooble", "--fooble"),
        ("fooble", "fooble"),
    ];
    for (arguments, word) in table {
        let folder = folder();
        let launch = Launch::new(folder.path()).with(arguments);
        let refused = launch.refused();
        assert_refused(&refused, &[USAGE], &[word]);
        assert!(!launch.database_path().exists(), "{arguments}: nothing was created");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for argument in ["-h", "--help", "-V", "--version"] {
        let folder = folder();
        let launch = Launch::new(folder.path()).with(argument);
        let ended = launch.refused();
        assert_eq!(ended.code, Some(0), "{argument}: {ended:?}");
        assert!(ended.answer.contains("litecached"), "{argument} answers on stdout: {ended:?}");
        assert_eq!(ended.log, "", "{argument} has nothing to complain about");
        assert!(!launch.database_path().exists(), "{argument} creates nothing");
    }
}

/// Tools look there for words by which memcached's help shows what it was built with.
#[test]
fn help_tells_what_there_is_and_nothing_else() {
    let folder = folder();
    let help = Launch::new(folder.path()).with("-h").refused().answer;
    for word in
        ["unix-socket", "enable-ssl", "enable-sasl", "auth-file", "disable-cas", "max-item-size"]
    {
        assert!(help.contains(word), "{word} in {help}");
    }
    for word in ["ext_path", "proxy_config", "no_drop_privileges"] {
        assert!(!help.contains(word), "{word} in {help}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let folder = folder();
    let other = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = other.local_addr().expect("it has an address").port();
    let refused = Launch::new(folder.path()).port(port).refused();
    assert_refused(&refused, &[ADDRESS], &[&port.to_string()]);
}

/// A port of a socket that does not listen: a start waits seconds for it.
fn taken_port() -> (Socket, u16) {
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    taken.bind(&any.into()).expect("some port is free");
    let address = taken.local_addr().expect("an address").as_socket().expect("an IP address");
    (taken, address.port())
}

#[test]
fn a_signal_during_the_start_is_heard() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        let folder = folder();
        let (_taken, port) = taken_port();
        let starting = Launch::new(folder.path()).port(port).spawn();
        starting.signal(signal);
        let ended = starting.listening().expect_err("it ends before it listens");
        assert_eq!(ended.code, Some(0), "{signal}: {ended:?}");
    }
    let folder = folder();
    let (taken, port) = taken_port();
    let starting = Launch::new(folder.path()).port(port).spawn();
    starting.signal(Signal::SIGHUP);
    drop(taken);
    let mut daemon = starting.listening().expect("it starts all the same");
    until("it reloads when it serves", PATIENCE, || {
        daemon.log().contains("reloaded, nothing has changed").then_some(())
    });
    daemon.client().set("k", "v");
    daemon.stop();
}

#[test]
fn an_address_that_is_none_is_named() {
    let folder = folder();
    let launch = Launch::new(folder.path()).with("-l fooble");
    // Not an address; whether it is a name is for the system to say.
    assert_refused(&launch.refused(), &[USAGE, ADDRESS], &["fooble"]);
    assert!(!launch.database_path().exists(), "nothing was created");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let folder = folder();
    // Reserved for documentation: no machine has it.
    let refused = Launch::new(folder.path()).with("-l 192.0.2.1").refused();
    assert_refused(&refused, &[ADDRESS], &["192.0.2.1"]);
}

#[test]
fn a_database_has_one_daemon() {
    let folder = folder();
    let first = Launch::new(folder.path()).start();
    let mut client = first.client();
    client.set("k", "kept");
    let second = Launch::new(folder.path()).refused();
    assert_refused(&second, &[LOCKED], &["cache.db"]);
    assert_eq!(client.get("k").as_deref(), Some(&b"kept"[..]), "the first goes on");
    for name in ["cache.db", "cache.db-wal", "cache.db-lock"] {
        let mode =
            fs::metadata(folder.path().join(name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name} is its owner's alone");
    }
    client.set("k", "changed");
    drop(first);
    let third = Launch::new(folder.path()).start();
    assert_eq!(third.client().get("k").as_deref(), Some(&b"changed"[..]));
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    launch.start().stop();
    open_database(launch.database_path())
        .pragma_update(None, "user_version", 1_000)
        .expect("the file can be written");
    let before = fs::read(launch.database_path()).expect("the file is there");
    let refused = launch.refused();
    assert_refused(&refused, &[DATA], &["cache.db", "1000"]);
    assert_untouched(launch.database_path(), &before);
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    let text = "a letter to somebody\n".repeat(500);
    fs::write(launch.database_path(), &text).expect("the folder can be written");
    let refused = launch.refused();
    assert_refused(&refused, &[DATA], &["cache.db"]);
    assert_untouched(launch.database_path(), text.as_bytes());
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    for pragma in ["PRAGMA application_id = 0", "PRAGMA application_id = 1196444487"] {
        let folder = folder();
        let launch = Launch::new(folder.path());
        fs::write(launch.database_path(), "").expect("the folder can be written");
        open_database(launch.database_path())
            .execute_batch(&format!(
                "{pragma}; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)"
            ))
            .expect("an empty file is an empty database");
        let before = fs::read(launch.database_path()).expect("the file is there");
        let refused = launch.refused();
        assert_refused(&refused, &[DATA], &["cache.db"]);
        assert_untouched(launch.database_path(), &before);
    }
}

#[test]
fn an_empty_file_is_a_new_database() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    fs::write(launch.database_path(), "").expect("the folder can be written");
    let mut daemon = launch.start();
    daemon.client().set("k", "v");
    daemon.stop();
    check_integrity(launch.database_path());
}

#[test]
fn a_missing_folder_is_named() {
    let folder = folder();
    let missing = folder.path().join("missing").join("cache.db");
    let refused = Launch::new(folder.path()).database(&missing).refused();
    assert_refused(&refused, &[CREATE], &["missing"]);
}

#[test]
fn a_folder_in_place_of_the_database_is_named() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    fs::create_dir(launch.database_path()).expect("the folder can be written");
    let refused = launch.refused();
    assert_refused(&refused, &[DATA, CREATE], &["cache.db"]);
}

#[test]
fn more_clients_than_descriptors_are_no_matter_of_time() {
    let folder = folder();
    let limited = ["bash", "-c", "ulimit -n 200; exec \"$@\"", "bash"];
    let refused = Launch::new(folder.path()).with("-c 100").through(limited).refused();
    assert_refused(&refused, &[CONFIGURATION], &["228", "200", "LimitNOFILE=", "-c"]);
}

/// A launch that permissions hold for, also when root runs the tests.
fn unprivileged(launch: Launch) -> Option<Launch> {
    if !geteuid().is_root() {
        return Some(launch);
    }
    let words = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    needs("setpriv").then(|| launch.through(words))
}

#[test]
fn a_file_that_may_not_be_written_is_named() {
    let folder = folder();
    let launch = Launch::new(folder.path());
    let Some(held) = unprivileged(launch.clone()) else { return };
    launch.start().stop();
    permit(launch.database_path(), "0400");
    let refused = held.refused();
    assert_refused(&refused, &[PERMISSION], &["cache.db"]);
    permit(launch.database_path(), "0000");
    let refused = held.refused();
    assert_refused(&refused, &[PERMISSION], &["cache.db"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    let folder = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("the folder can be written");
    let launch = Launch::new(folder.path()).database(closed.join("cache.db"));
    let Some(held) = unprivileged(launch.clone()) else { return };
    permit(&closed, "0500");
    assert_refused(&held.refused(), &[CREATE, PERMISSION], &["closed"]);
    // The same with a database in it: SQLite has to create the log beside it.
    permit(&closed, "0700");
    launch.start().stop();
    permit(&closed, "0500");
    assert_refused(&held.refused(), &[CREATE, PERMISSION], &["closed"]);
    permit(&closed, "0700");
}

fn permit(path: &Path, mode: &str) {
    run("chmod", &[mode, &path.to_string_lossy()]);
}

#[test]
fn a_read_only_disk_is_named() {
    if !in_namespace("--mount", "a_read_only_disk_is_named") {
        return;
    }
    let folder = folder();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("the folder can be written");
    let place = disk.to_string_lossy();
    run("mount", &["-t", "tmpfs", "-o", "size=16m", "none", &place]);
    let launch = Launch::new(folder.path()).database(disk.join("cache.db"));
    run("mount", &["-o", "remount,ro", &place]);
    assert_refused(&launch.refused(), &[CREATE, PERMISSION], &["disk"]);
    run("mount", &["-o", "remount,rw", &place]);
    launch.start().stop();
    run("mount", &["-o", "remount,ro", &place]);
    assert_refused(&launch.refused(), &[CREATE, PERMISSION], &["disk"]);
    run("umount", &[&place]);
}

#[test]
fn a_network_file_system_is_named() {
    if !needs("cc") {
        return;
    }
    let folder = folder();
    // Every file system says that it is NFS.
    let (source, library) = (folder.path().join("nfs.c"), folder.path().join("nfs.so"));
    let text = "#include <string.h>\n#include <sys/vfs.h>\n\
        int statfs(const char *p, struct statfs *s) { memset(s, 0, sizeof *s); s->f_type = 0x6969; return 0; }\n\
        int statfs64(const char *p, struct statfs64 *s) { memset(s, 0, sizeof *s); s->f_type = 0x6969; return 0; }\n";
    fs::write(&source, format!("#define _GNU_SOURCE\n{text}")).expect("the shim's source");
    let (from, to) = (source.display().to_string(), library.display().to_string());
    run("cc", &["-shared", "-fPIC", "-o", &to, &from]);
    let launch = Launch::new(folder.path());
    let refused = Launch::new(folder.path())
        .through(["env".to_owned(), format!("LD_PRELOAD={to}")])
        .refused();
    assert_refused(&refused, &[CONFIGURATION], &["NFS", "--db", "local disk"]);
    assert!(!launch.database_path().exists(), "nothing was made");
}
