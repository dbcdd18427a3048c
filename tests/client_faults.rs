//! `litecached client` before servers that refuse, break off, go away, or are none; each case drives the
//! binary.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use common::daemon::Launch;
use common::tools::{Memcached, feed, folder, texts};

fn client(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litecached"));
    command.env_remove("LITECACHED_ADDRESS").args(["client", "-a", address]);
    command
}

/// Answers every line by `answer` until the client goes or the answer ends with a blank, which breaks
/// off. What it heard comes through the channel.
fn fake(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (told, heard) = channel();
    let serve = move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client comes");
            let mut lines = BufReader::new(stream.try_clone().expect("a descriptor"));
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
                let said = answer(line.trim_end());
                if told.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
                let breaks_off = said.ends_with(' ');
                if stream.write_all(said.trim_end_matches(' ').as_bytes()).is_err() || breaks_off {
                    break;
                }
            }
        }
    };
    drop(thread::Builder::new().spawn(serve).expect("a thread can be had"));
    (address, heard)
}

/// A server that does not know `ms` takes its value for commands: it must not get one.
#[test]
fn a_value_is_never_taken_for_commands() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    daemon.client().set("victim", "precious");
    let script = feed(&mut client(&address), b"ms k 9\nflush_all\nget victim\n");
    let (printed, said) = texts(&script);
    assert_eq!(printed, "HD\nVALUE victim 0 8\nprecious\nEND\n", "{said}");

    let (address, heard) = fake(|_| "ERROR\r\n".into());
    let output = feed(client(&address).args(["ms", "k", "9"]), b"flush_all");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["mn"]);
    let script = feed(&mut client(&address), b"ms k 9\nflush_all\nversion\n");
    let (_, said) = texts(&script);
    assert!(said.contains("does not know meta commands; nothing was sent"), "{said}");
    let heard: Vec<String> = heard.try_iter().collect();
    assert!(!heard.iter().any(|line| line == "flush_all"), "{heard:?}");

    let long = "k".repeat(251);
    let memcached = Memcached::start(&["-l", "127.0.0.1"]);
    let address = memcached.as_ref().map_or(&address, |server| &server.address);
    if let Some(server) = &memcached {
        server.client().set("victim", "precious");
    }
    for words in [
        &["set", &long, "flush_all"][..],
        &["set", "k", "flush_all", "--ttl", "99999999999"],
        &["cas", "k", "99999999999999999999", "flush_all"],
        &["get", &long],
        &["mg", &long],
    ] {
        let output = client(address).args(words).output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{words:?}: {output:?}");
    }
    let output = feed(&mut client(address), b"set k -1 0 9\nflush_all\n");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    if let Some(server) = &memcached {
        assert!(server.client().get("victim").is_some(), "a value was executed");
        let output = feed(client(address).args(["ms", "k", "9"]), b"flush_all");
        assert_eq!(texts(&output).0, "HD\n", "{output:?}");
    }
}

#[test]
fn only_what_a_server_may_say_is_an_answer() {
    let (address, _heard) =
        fake(|_| "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n ".into());
    let commands: [&[&str]; 8] = [
        &["set", "a", "b"],
        &["--json", "set", "a", "b"],
        &["get", "a"],
        &["delete", "a"],
        &["incr", "a", "1"],
        &["stats"],
        &["version"],
        &["mg", "a"],
    ];
    for words in commands {
        let output = client(&address).args(words).output().expect("it runs");
        let (printed, said) = texts(&output);
        assert_eq!(output.status.code(), Some(69), "{words:?}: {output:?}");
        assert!(said.contains("not memcached's protocol"), "{said}");
        assert_eq!(printed, "", "{words:?}");
    }
    let (other, _heard) = fake(|line| match line {
        "get a b" => "VALUE b 0 1\r\nx\r\nVALUE a 0 1\r\ny\r\nEND\r\n".into(),
        "get aa" => "VALUE aa 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n".into(),
        _ => "VALUE other 0 1\r\nx\r\nEND\r\n".into(),
    });
    for (words, code) in [
        (&["get", "a"][..], 69),
        (&["gats", "5", "a"], 69),
        (&["--json", "get", "a"], 69),
        (&["get", "aa"], 69),
        (&["get", "a", "b"], 0),
    ] {
        let output = client(&other).args(words).output().expect("it runs");
        let (printed, said) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(
            !printed.contains("other")
                && (code == 0 || said.contains("other") || said.contains("VALUE b")),
            "{said}"
        );
    }
    let check = Command::new(env!("CARGO_BIN_EXE_litecached")).args(["check", &address]).output();
    assert_eq!(check.expect("it runs").status.code(), Some(69));
    let script = feed(&mut client(&address), b"# nothing\nset a 1\nb\n");
    let (_, said) = texts(&script);
    assert_eq!(script.status.code(), Some(69), "{said}");
    assert!(said.starts_with("litecached: line 2: "), "{said}");
}

#[test]
fn a_server_that_does_not_let_itself_be_ended_has_refused() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let memcached = Memcached::start(&["-l", "127.0.0.1"]);
    let ours = format!("127.0.0.1:{}", daemon.port());
    for address in [Some(&ours), memcached.as_ref().map(|server| &server.address)] {
        let Some(address) = address else { continue };
        let output = client(address).arg("shutdown").output().expect("it runs");
        let (_, said) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("ERROR: shutdown not enabled"), "{said}");
    }
}

#[test]
fn words_that_are_missing_are_not_the_servers_affair() {
    let (address, heard) = fake(|_| "ERROR\r\n".into());
    for words in [
        &["get"][..],
        &["gat", "5"],
        &["delete"],
        &["touch", "a"],
        &["incr", "a"],
        &["decr", "a"],
        &["mg"],
        &["verbosity"],
        // No value, and none on stdin.
        &["set", "a"],
        &["append", "a"],
    ] {
        let output = client(&address).args(words).stdin(Stdio::null()).output().expect("it runs");
        let (_, said) = texts(&output);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(heard.try_iter().count(), 0);
    let output = client(&address).arg("get").output().expect("it runs");
    assert!(texts(&output).1.contains("write get KEY..."), "{output:?}");
    let (address, heard) = fake(|line| if line.is_empty() { "STORED\r\n" } else { "" }.into());
    let output = client(&address).args(["set", "a", ""]).stdin(Stdio::null()).output();
    assert_eq!(output.expect("it runs").status.code(), Some(0));
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["set a 0 0 0", ""]);
    let output = client("::1:41781").arg("version").output().expect("it runs");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

/// An answer that breaks off leaves the file that is there; one that comes whole replaces it, and only
/// its owner can read it.
#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").expect("the folder can be written");
    let (address, heard) = fake(|line| match line {
        "get whole" => "VALUE whole 0 3\r\nnew\r\nEND\r\n".into(),
        "get missing" => "END\r\n".into(),
        "get late" => "VALUE late 0 3\r\nnew\r\n ".into(),
        _ => "VALUE half 0 10\r\nhalf ".into(),
    });
    for (key, code) in [("half", 1), ("late", 1), ("missing", 1)] {
        let script = format!("get {key} > {}\n", file.display());
        let output = feed(&mut client(&address), script.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{key}: {output:?}");
        let (_, said) = texts(&output);
        let told = format!("'get {key}' was not answered and changed nothing");
        assert_eq!(said.contains(&told), key != "missing", "{said}");
        assert!(!said.contains("unknown"), "{said}");
        assert_eq!(fs::read(&file).expect("it is there"), b"precious", "{key}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "{key}");
    }
    // A read may be asked twice, and nothing had been shown.
    assert_eq!(heard.try_iter().filter(|line| line == "get half").count(), 2);
    let script = format!("get whole > {}\n", file.display());
    let output = feed(&mut client(&address), script.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read(&file).expect("it is there"), b"new");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // From the shell too a read is no change.
    let output = client(&address).args(["get", "half"]).output().expect("it runs");
    let (_, said) = texts(&output);
    assert!(said.contains("nothing was changed") && !said.contains("carried out"), "{said}");
}

/// A restart is waited for; who does not come back is named, with the line.
#[test]
fn a_script_waits_for_a_restart() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let mut child = client(&address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("it has an input");
    let mut stdout = BufReader::new(child.stdout.take().expect("it has an output"));
    let mut line = String::new();
    stdin.write_all(b"set a 1\nx\n").expect("it listens");
    stdout.read_line(&mut line).expect("it answers");
    assert_eq!(line, "STORED\n");
    daemon.kill();
    stdin.write_all(b"get a\n").expect("it listens");
    let mut stderr = child.stderr.take().expect("it has one");
    let mut said = String::new();
    let mut bytes = [0; 512];
    while !said.contains("connecting again") {
        let count = stderr.read(&mut bytes).expect("it speaks");
        said += &String::from_utf8_lossy(&bytes[..count]);
    }
    daemon.restart();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("it answers");
    assert_eq!(rest, "VALUE a 0 1\nx\nEND\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));

    // Nobody comes back: after the time that one waits for an answer it is over.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let gone = thread::Builder::new().spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        drop(listener);
        let mut bytes = [0; 64];
        drop(stream.read(&mut bytes));
    });
    let output = feed(client(&address).args(["--timeout", "1s"]), b"version\nversion\nversion\n");
    gone.expect("a thread").join().expect("it ends");
    let (_, said) = texts(&output);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("litecached: line 1: no connection to"), "{said}");
}

/// What changes something is not asked twice, though it is `stats`.
#[test]
fn stats_reset_is_not_repeated() {
    let (address, heard) = fake(|_| " ".into());
    for topic in ["reset", "settings"] {
        let output = client(&address).args(["stats", topic]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(74), "{output:?}");
    }
    let heard: Vec<String> = heard.try_iter().collect();
    assert_eq!(heard, ["stats reset", "stats settings", "stats settings"]);
}

#[test]
fn json_has_all_in_its_place() {
    let (address, _heard) = fake(|line| match line {
        "stats" => "STAT pid 7\r\nSTAT version 1.6\r\nSTAT uptime -1\r\nEND\r\n".into(),
        "mg a v f" => "VA 1 f5\r\nx\r\n".into(),
        "mg a v f k" => "VA 1 f5 kb c9 t-1\r\nx\r\n".into(),
        "mg YWI= b v" => "VA 1\r\nx\r\n".into(),
        "get a b" => "VALUE a 0 1\r\nx\r\nEND\r\n".into(),
        "x" => "STORED\r\n".into(),
        _ => String::new(),
    });
    let ask = |words: &[&str]| {
        let output = client(&address).arg("--json").args(words).output().expect("it runs");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("it is JSON")
    };
    let stats = ask(&["stats"]);
    assert_eq!(
        (&stats["stats"], &stats["reply"]),
        (&serde_json::json!({"pid": 7, "version": "1.6", "uptime": -1}), &serde_json::json!([]))
    );
    assert_eq!(ask(&["set", "a", "x"])["command"], "set a 0 0 1");
    let got = ask(&["get", "a", "b"]);
    assert_eq!((&got["missing"][0]["key"], &got["ok"]), (&"b".into(), &false.into()));
    assert_eq!(got["missing"].as_array().map(Vec::len), Some(1));
    let item = &ask(&["mg", "a", "v", "f"])["items"][0];
    assert_eq!((&item["key"], &item["flags"]), (&"a".into(), &5.into()), "{item}");
    let item = &ask(&["mg", "a", "v", "f", "k"])["items"][0];
    assert_eq!(
        (&item["key"], &item["cas"], &item["ttl"]),
        (&"b".into(), &9.into(), &(-1).into()),
        "{item}"
    );
    let item = &ask(&["mg", "YWI=", "b", "v"])["items"][0];
    assert_eq!(item["key"], "ab", "{item}");
}

#[test]
fn each_command_of_a_script_can_tell_its_time() {
    let (address, _heard) = fake(|_| "VERSION 1\r\n".into());
    let output = feed(client(&address).arg("--time"), b"\nversion\nversion\n");
    let (_, said) = texts(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("litecached: line 2: answered in "), "{said}");
}
