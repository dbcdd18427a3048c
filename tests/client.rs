//! `litecached client` and `litecached check`, driven as people and scripts drive them.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, in_namespace, needs, run, until};
use common::tools::{Memcached, feed};

#[test]
fn one_command() {
    let server = Server::start();
    let cases: &[(&[&str], &str, i32)] = &[
        (&["set", "greeting", "hello world", "--ttl", "10m", "--flags", "7"], "STORED\n", 0),
        (&["get", "greeting"], "hello world", 0),
        (&["set", "counter", "5"], "STORED\n", 0),
        (&["incr", "counter", "37"], "42\n", 0),
        (
            &["get", "counter", "greeting"],
            "VALUE counter 0 2\n42\nVALUE greeting 7 11\nhello world\nEND\n",
            0,
        ),
        (&["get", "missing"], "", 1),
        (&["add", "greeting", "x"], "", 1),
        (&["delete", "counter", "noreply"], "", 0),
        (&["delete", "counter"], "", 1),
        (&["incr", "greeting", "1"], "", 1),
        (&["set", "a", "--", "--ttl"], "STORED\n", 0),
        (&["get", "a"], "--ttl", 0),
        (&["--json", "get", "greeting", "missing"], "", 1),
        (&["frobnicate"], "", 64),
        (&["set"], "", 64),
        (&["get", "a b"], "", 64),
        (&["get", "a\r\nflush_all"], "", 64),
        (&["--timeout", "0", "get", "a"], "", 64),
        (&["help", "set"], "", 0),
    ];
    for (words, printed, code) in cases {
        let output = server.client(words, b"");
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {output:?}");
        if !printed.is_empty() {
            assert_eq!(String::from_utf8_lossy(&output.stdout), *printed, "{words:?}");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), usize::from(*code != 0), "{words:?}: {said}");
        assert!(
            said.is_empty() || said.starts_with("litecached: ") && said.contains("; "),
            "{said}"
        );
    }
    let mut wire = server.daemon.client();
    assert_eq!(wire.get("a"), Some(b"--ttl".to_vec()));
}

#[test]
fn values_of_any_bytes_go_through_pipes() {
    let server = Server::start();
    let value: Vec<u8> =
        (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let set = server.client(&["set", "picture"], &value);
    assert_eq!(set.status.code(), Some(0), "{set:?}");
    assert!(server.client(&["get", "picture"], b"").stdout == value, "the bytes differ");
    for (announced, code) in [("3", 0), ("4", 64), ("2", 64)] {
        let output = server.client(&["set", "k", "1", "0", announced], b"abc");
        assert_eq!(output.status.code(), Some(code), "{announced}: {output:?}");
    }
    let document = server.client(&["--json", "get", "picture"], b"");
    let text = String::from_utf8(document.stdout).expect("JSON is text");
    let document: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(document["items"][0]["size"], 300_000);
    assert!(document["items"][0]["value_base64"].is_string());
}

#[test]
fn a_script_reads_like_telnet() {
    let server = Server::start();
    let folder = server.folder.path();
    fs::write(folder.join("in"), b"from\0file").expect("the folder can be written");
    let script = format!(
        "# a comment\r\nset k 5\r\nhello\r\nget k\nset z \"a b\"\nset y\nthe value\nget z y\n\
         set q 0 0 7 noreply\n1\n\n2\n34\nget q\nset f < {0}/in\nget f > {0}/out\ngets nothing\n\
         set j '{{\"a\":[1]}}'\nget j --pretty\nquit\nget k\n",
        folder.display()
    );
    let output = server.client(&[], script.as_bytes());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "STORED\nVALUE k 0 5\nhello\nEND\nSTORED\nSTORED\nVALUE z 0 3\na b\nVALUE y 0 9\nthe value\nEND\n\
         VALUE q 0 7\n1\n\n2\n34\nEND\nSTORED\nEND\nEND\nSTORED\n\
         VALUE j 0 9\n{\n  \"a\": [\n    1\n  ]\n}\nEND\n"
    );
    assert_eq!(output.status.code(), Some(1), "a key was missing: {output:?}");
    assert_eq!(fs::read(folder.join("out")).expect("it was written"), b"from\0file");

    let output = server.client(&[], b"set k 1\nab\ndelete k\n");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("litecached: line 1: the value is longer"), "{said}");
    assert!(server.daemon.client().get("k").is_some(), "what followed was no command");
}

#[test]
fn where_the_server_is() {
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.daemon.port());
    for words in [vec![&address[..], "version"], vec!["-a", &address, "version"]] {
        let output = command("client").args(&words).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    }
    let mut by_environment = command("client");
    by_environment.env("LITECACHED_ADDRESS", &address).arg("version");
    assert_eq!(by_environment.output().expect("it runs").status.code(), Some(0));
    let twice = command("client").args(["-a", &address, &address]).output().expect("it runs");
    assert_eq!(twice.status.code(), Some(64));

    let socket = server.folder.path().join("sock");
    let folder = tempfile::tempdir_in(server.folder.path()).expect("the folder can be written");
    let mut unix = command("serve")
        .args(["-s", &socket.display().to_string(), "--db"])
        .arg(folder.path().join("cache.db"))
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    until("the socket is there", PATIENCE, || socket.exists().then_some(()));
    let output = command("client").arg(&socket).arg("version").output().expect("it runs");
    unix.kill().expect("a child can be killed");
    unix.wait().expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn nobody_there() {
    // A bound port that does not listen refuses, and nobody else can get it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a socket can be had");
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let port = socket.local_addr().expect("it is bound").as_socket().expect("it is TCP").port();
    let address = format!("127.0.0.1:{port}");
    for tool in ["client", "check"] {
        let mut tool = command(tool);
        let output = tool.arg(&address).stdin(Stdio::null()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with(&format!("litecached: no connection to {address}: ")), "{said}");
    }
}

/// A server that restarts between two commands is met again, and what was asked is asked again; a
/// change whose answer did not come is not made twice.
#[test]
fn a_lost_connection_is_made_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let server = thread::Builder::new().spawn(move || {
        let mut heard = Vec::new();
        for answer in ["", "END\r\n", "", "VERSION 1\r\n"] {
            let (mut stream, _) = listener.accept().expect("the client comes");
            let mut line = [0; 64];
            let count = stream.read(&mut line).expect("the client asks");
            heard.push(String::from_utf8_lossy(&line[..count]).into_owned());
            stream.write_all(answer.as_bytes()).expect("the client listens");
        }
        heard
    });
    let server = server.expect("a thread can be had");
    let output = feed(command("client").arg(&address), b"get k\ndelete k\nversion\n");
    let heard = server.join().expect("the server saw four requests");
    // The delete may have gone to the connection that was just ending: then nobody heard it.
    let heard: Vec<&str> = heard.iter().map(|line| line.trim_end()).collect();
    let once = heard == ["get k", "get k", "delete k", "version"];
    assert!(once || heard == ["get k", "get k", "version", "version"], "{heard:?} {output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("asking again"), "{said}");
    assert!(said.contains("whether 'delete k' happened is unknown"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let server = Server::start();
    server.daemon.client().set("big", vec![b'x'; 1_000_000]);
    let mut child = server.command("client");
    let child = child.args(["get", "big"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = child.spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn check_passes_here_and_leaves_nothing() {
    let server = Server::start();
    let output = server.command("check").args(["-c", "8", "-n", "20", "--json"]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rows: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row is JSON"))
        .collect();
    let (summary, rows) = rows.split_last().expect("there are rows");
    assert!(rows.len() >= 7 && rows.iter().all(|row| row["ok"] == true), "{rows:?}");
    assert_eq!(
        (summary["failed"].as_u64(), summary["cases"].as_u64()),
        (Some(0), Some(rows.len() as u64))
    );
    assert_eq!(server.daemon.client().stat("curr_items"), 0);
}

/// With room for nothing the cases fail, each says why, and the exit code tells.
#[test]
fn check_fails_where_the_server_fails() {
    let server = Server::start_with("--max-disk 4k -I 1k -M");
    let output = server.command("check").args(["-c", "8", "-n", "16"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows = String::from_utf8_lossy(&output.stdout);
    assert!(rows.contains("FAILED: ") && rows.contains("SERVER_ERROR"), "{rows}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("litecached: "), "{output:?}");
}

/// The same against memcached, where it is installed.
#[test]
fn with_memcached() {
    let Some(memcached) = Memcached::start(&["-l", "127.0.0.1"]) else { return };
    let address = &memcached.address;
    let script = b"set k \"a b\"\nms m 2 T0\nhi\nmg m v\nmg m v q\nmn\nset s 0 0 2 noreply\nxy\nget k s\nfrob\n";
    let scripted = feed(command("client").arg(address), script);
    let checked = command("check").args([address, "-c", "8", "-n", "20"]).output();
    let left = memcached.client().stat("curr_items");
    assert_eq!(
        String::from_utf8_lossy(&scripted.stdout),
        "STORED\nHD\nVA 2\nhi\nVA 2\nhi\nMN\nVALUE k 0 3\na b\nVALUE s 0 2\nxy\nEND\nERROR\n"
    );
    let checked = checked.expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_eq!(left, 3, "what the script stored, and nothing of the check");
}

/// Every form of an address, and a server that takes larger values than most.
#[test]
fn check_wherever_the_server_is() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let socket = folder.path().join("sock").display().to_string();
    let Some(unix) = Memcached::start(&["-s", &socket, "-I", "8m"]) else { return };
    let Some(tcp) = Memcached::start(&["-l", "127.0.0.1", "-I", "8m"]) else { return };
    let port = tcp.address.rsplit(':').next().unwrap_or_default().to_owned();
    let mut addresses =
        vec![unix.address.clone(), format!("unix:{socket}"), format!(":{port}"), port];
    let ipv6 = if TcpListener::bind("[::1]:0").is_ok() {
        Memcached::start(&["-l", "[::1]", "-I", "8m"])
    } else {
        None
    };
    addresses.extend(ipv6.iter().map(|server| server.address.clone()));
    for address in addresses {
        let output = command("check").args([&address, "-c", "8", "-n", "20", "--json"]).output();
        let output = output.expect("it runs");
        let rows = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{address}: {rows}");
        // As large as the server says, and one beyond that is refused.
        assert!(rows.contains("values up to 8388096 bytes"), "{address}: {rows}");
        assert!(!rows.contains("not tried"), "{address}: {rows}");
    }
    let answer = feed(command("client").arg(&socket), b"stats\n");
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(text.contains("STAT curr_items 0"), "the checks left nothing: {text}");
}

/// A port of the range that the system gives to outgoing connections can be given to the connection
/// that asks for it: then there is no server.
#[test]
fn a_connection_that_meets_itself_is_refused() {
    if !in_namespace("--net", "a_connection_that_meets_itself_is_refused") {
        return;
    }
    run("ip", &["link", "set", "lo", "up"]);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "60000 60000").expect("root may");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    fs::write(folder.path().join("in"), "a 1 YQ==\n").expect("the folder can be written");
    for words in [
        &["client", "127.0.0.1:60000", "version"][..],
        &["check"],
        &["import", "--from", "lines", "in", "--to-server", ":60000"],
        &["import", "--from", "memcached", "60000"],
    ] {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_litecached"));
        let tool = tool.env_remove("LITECACHED_ADDRESS").current_dir(folder.path()).args(words);
        let output = tool.stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{words:?}: {said}");
        assert!(said.contains("nobody listens there (the connection met itself)"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// At a terminal: editing, history, completion, a value on the next line.
#[test]
fn at_a_prompt() {
    if !needs("expect") {
        return;
    }
    let server = Server::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/prompt.exp");
    let output = Command::new("timeout")
        .args(["60", "expect"])
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_litecached"))
        .arg(format!("127.0.0.1:{}", server.daemon.port()))
        .env("LITECACHED_HISTORY", server.folder.path().join("history"))
        .env("TERM", "xterm")
        .output()
        .expect("timeout is one of the core utilities");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("passed: prompt"), "{said}");
}

struct Server {
    daemon: Daemon,
    // After the daemon, so that it is removed when the daemon has gone.
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(flags: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        Self { daemon: Launch::new(folder.path()).with(flags).start(), folder }
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = command(tool);
        command.env("LITECACHED_ADDRESS", format!("127.0.0.1:{}", self.daemon.port()));
        command
    }

    fn client(&self, words: &[&str], input: &[u8]) -> Output {
        feed(self.command("client").args(words), input)
    }
}

fn command(tool: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litecached"));
    command.env_remove("LITECACHED_ADDRESS").arg(tool);
    command
}
