//! `litecached client` at a terminal (expect's), and what it leaves out where there is none.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::daemon::{Daemon, Launch};
use common::ground::needs;
use common::tools::folder;

/// The words of all conversations: `say LINE EXPECTED...` waits for the next prompt, `leave` ends.
const WORDS: &str = r#"
set timeout 20
proc fail {what} { send_user "\nfailed: $what\n"; exit 1 }
proc see {text} {
    expect {
        -ex $text {}
        timeout { fail "no '$text'" }
        eof { fail "it ended before '$text'" }
    }
}
proc say {line args} {
    send -- "$line\r"
    foreach text $args { see $text }
    see "> "
}
proc asked {number} {
    global folder
    for {set tries 0} {![file exists $folder/asked-$number]} {incr tries} {
        if {$tries > 2000} { fail "the server was not asked" }
        after 10
    }
}
proc gone {} { expect { eof {} timeout { fail "it stays" } } }
proc leave {} { send -- "\004"; gone }
proc begin {} {
    global spawn_id program address
    spawn $program client $address
    see "Connected to $address."
    see "$address> "
}
set program $env(PROGRAM)
set address $env(ADDRESS)
set folder $env(FOLDER)
"#;

/// Has expect perform it; the terminal's text.
fn converse(address: &str, folder: &Path, variables: &[(&str, &str)], script: &str) -> String {
    let output = Command::new("timeout")
        .args(["60", "expect", "-c"])
        .arg(format!("{WORDS}\n{script}\nsend_user \"\\npassed\\n\""))
        .env("PROGRAM", env!("CARGO_BIN_EXE_litecached"))
        .env("ADDRESS", address)
        .env("FOLDER", folder)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env("LITECACHED_HISTORY", folder.join("history"))
        .envs(variables.iter().copied())
        .output()
        .expect("timeout is one of the core utilities");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("\npassed"), "{said}");
    said
}

fn started() -> Option<(Daemon, String, tempfile::TempDir)> {
    if !needs("expect") {
        return None;
    }
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    Some((daemon, address, folder))
}

#[test]
fn files_both_ways() {
    let Some((_daemon, address, folder)) = started() else { return };
    fs::write(folder.path().join("in"), b"a\0b").expect("the folder can be written");
    let script = r#"
begin
say "set k < $folder/in" "STORED"
say "get k > $folder/out" "3 bytes written to"
say "set one x" "STORED"
say "get one" "one: 1 byte\033\[0m"
say "get one > $folder/one" "1 byte written to"
say "get missing > $folder/none" "not there: missing"
say "set k < $folder/nothing" "cannot be read"
say "set a -3" "STORED"
say "get a" "a: 2 bytes" "-3"
say "pretty" "write pretty on | off; see help pretty"
say "quit now" "write quit; see help quit"
say "help pretty" "    pretty on" "    pretty off"
say "get" "write get KEY..."
leave
"#;
    converse(&address, folder.path(), &[], script);
    assert_eq!(fs::read(folder.path().join("out")).expect("it was written"), b"a\0b");
    assert_eq!(fs::read(folder.path().join("one")).expect("it was written"), b"x");
    assert!(!folder.path().join("none").exists());
}

/// Colour is for terminals that have it, and for people who want it.
#[test]
fn colour() {
    let Some((daemon, address, folder)) = started() else { return };
    daemon.client().set("k", "value");
    let script = "begin\nsay {get k} {k: 5 bytes}\nsay {frobnicate} {ERROR}\nleave\n";
    for (variables, is_coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let said = converse(&address, folder.path(), variables, script);
        let has_colour = ["\x1b[2m", "\x1b[31m"].map(|code| said.contains(code));
        assert_eq!(has_colour, [is_coloured; 2], "{variables:?}: {said:?}");
    }
    // A pipe is no terminal, whatever the environment says.
    for words in [vec!["get", "k"], vec!["--pretty", "get", "k"], vec!["get", "none"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_litecached"))
            .args(["client", &address])
            .args(&words)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .output()
            .expect("it runs");
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{output:?}");
    }
}

/// Lines of two prompts at once are kept, also of one that is killed.
#[test]
fn history_lasts() {
    let Some((_daemon, address, folder)) = started() else { return };
    let script = r#"
begin
set first $spawn_id
say "get from-first" "not there"
begin
set second $spawn_id
say "get from-second" "not there"
set spawn_id $first
say "get again-first" "not there"
exec kill -HUP [exp_pid]
gone
set spawn_id $second
say "get last-second" "not there"
exec kill -KILL [exp_pid]
gone
begin
send -- "\033\[A"
see "get last-second"
send -- "\003"
see "> "
leave
"#;
    converse(&address, folder.path(), &[], script);
    let history = fs::read_to_string(folder.path().join("history")).expect("it was written");
    for line in ["get from-first", "get from-second", "get again-first", "get last-second"] {
        assert_eq!(history.matches(line).count(), 1, "{line}: {history}");
    }
}

#[test]
fn a_bad_history_is_no_obstacle() {
    let Some((_daemon, address, folder)) = started() else { return };
    let file = folder.path().join("bad");
    fs::write(&file, b"get a\n\xff\xfe\n").expect("the folder can be written");
    let missing = folder.path().join("none").join("history");
    let script = "begin\nsay {get k} {not there}\nsay {get l} {not there}\nleave\n";
    for path in [&file, folder.path(), &missing] {
        let path = path.to_str().expect("text");
        let said = converse(&address, folder.path(), &[("LITECACHED_HISTORY", path)], script);
        let told = said.matches(&format!("no lines are remembered in {path}: ")).count();
        assert_eq!(told, 1, "{said}");
    }
    assert_eq!(fs::read(&file).expect("it is there"), b"get a\n\xff\xfe\n", "it is as it was");
}

/// Ctrl-C gives up the wait for a server that says nothing; a file that was to be written stays.
#[test]
fn ctrl_c_gives_up_a_wait() {
    if !needs("expect") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("out"), "old").expect("the folder can be written");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let at = folder.path().to_owned();
    let server = thread::Builder::new().spawn(move || {
        // Every other connection gets an answer, the first begins one.
        for (index, answer) in ["VALUE k 0 9\r\nhal", "END\r\n", "", "END\r\n"].iter().enumerate() {
            let (mut stream, _) = listener.accept().expect("the client comes");
            let mut bytes = [0; 64];
            let mut heard = stream.read(&mut bytes).expect("it asks");
            stream.write_all(answer.as_bytes()).expect("it listens");
            fs::write(at.join(format!("asked-{index}")), "").expect("the folder can be written");
            while index % 2 == 0 && heard > 0 {
                heard = stream.read(&mut bytes).unwrap_or_default();
            }
        }
    });
    let script = r#"
begin
send -- "get k > $folder/out\r"
asked 0
send -- "\003"
see "the wait was given up; nothing was changed"
see "> "
say "get b" "not there: b"
send -- "delete b\r"
asked 2
send -- "\003"
see "the wait was given up; the command may or may not"
see "> "
say "get c" "not there: c"
leave
"#;
    converse(&address, folder.path(), &[], script);
    server.expect("a thread").join().expect("it ends");
    assert_eq!(fs::read(folder.path().join("out")).expect("it is there"), b"old");
}

/// The server goes and comes back between two commands.
#[test]
fn a_lost_connection_is_told_and_made_again() {
    if !needs("expect") {
        return;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let server = thread::Builder::new().spawn(move || {
        let mut heard = Vec::new();
        let mut listener = Some(listener);
        for answer in ["END\r\n", "END\r\n", "", "VERSION 1\r\n"] {
            let open = listener.as_ref().expect("it is closed with the last answer");
            let (mut stream, _) = open.accept().expect("the client comes");
            // Before the last client is let go, or it could come in once more.
            listener = listener.filter(|_| !answer.starts_with("VERSION"));
            let mut bytes = [0; 64];
            let count = stream.read(&mut bytes).expect("it asks");
            heard.push(String::from_utf8_lossy(&bytes[..count]).trim_end().to_owned());
            stream.write_all(answer.as_bytes()).expect("it listens");
        }
        heard
    });
    let script = r#"
begin
say "get a" "not there: a"
say "get b" "the connection was lost" "connected to $address again" "not there: b"
say "delete c" "may or may not have been carried out"
say "version" "VERSION 1"
say "get d" "no connection to $address"
leave
"#;
    converse(&address, folder().path(), &[], script);
    let heard = server.expect("a thread").join().expect("it ends");
    assert_eq!(heard, ["get a", "get b", "delete c", "version"]);
}
