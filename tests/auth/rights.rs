//! Rights of users while they are connected: a reload gives and takes them at the next command. What each command
//! needs is in `tests/scripts`, by the names `auth-rights-*` and `binary-rights`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::ground::{PATIENCE, until};
use crate::common::tools::texts;
use crate::common::wire::Client;
use crate::{Bench, write};

const NO_WRITE: &str = "CLIENT_ERROR missing right: write";

fn set(client: &mut Client, key: &str) -> String {
    client.ask(format!("set {key} 0 0 1\r\nv\r\n"))
}

#[test]
fn a_reload_takes_and_gives_them_at_the_next_command() {
    let bench = Bench::new("anna:secret\nbert:his");
    let reload = |text: &str| {
        write(&bench.users(), text);
        bench.reload("reloaded the users of --auth-file (-Y): 2");
    };
    let (mut anna, _) = bench.login("anna", "secret");
    let (mut bert, _) = bench.login("bert", "his");
    assert_eq!(set(&mut anna, "k"), "STORED");
    reload("anna:secret\nrights anna read\nbert:his");
    assert_eq!(set(&mut anna, "k"), NO_WRITE);
    assert_eq!(anna.get("k"), Some(b"v".to_vec()));
    assert_eq!(set(&mut bert, "k"), "STORED", "others keep theirs");
    assert_eq!(set(&mut bench.login("anna", "secret").0, "k"), NO_WRITE);

    // What is wrong with a line changes nothing, neither these nor the passwords.
    for (text, said) in [
        (
            "anna:other\nrights anna read,delete\nbert:his",
            "users line 2: there is a verb in it that",
        ),
        (
            "rights carl read\nanna:other",
            "users line 1: there is no such user in the file; write rights",
        ),
        (
            "anna:other\nrights anna read\nrights anna read",
            "users line 3: there are rights for this",
        ),
    ] {
        write(&bench.users(), text);
        let line = bench.reload("not reloaded, everything stays as it was: ");
        assert!(line.contains(said) && !line.contains("carl"), "{line}");
        assert_eq!(set(&mut anna, "k"), NO_WRITE);
    }
    reload("anna:secret\nrights anna read,write a:\nbert:his");
    assert_eq!(set(&mut anna, "a:k"), "STORED");
    assert_eq!(set(&mut anna, "k"), "CLIENT_ERROR missing right: write of this key");
    reload("anna:secret\nbert:his");
    assert_eq!(set(&mut anna, "k"), "STORED");
    assert_eq!(anna.stat("auth_denied"), 6);

    // Who is gone is let go, whatever it asks for; a value behind it is not read as a command.
    write(&bench.users(), "bert:his");
    bench.reload("reloaded the users of --auth-file (-Y): 1");
    anna.send("set k 0 0 11\r\nflush_all\r\n\r\nflush_all\r\n");
    assert_eq!(anna.line(), "CLIENT_ERROR unauthenticated");
    assert_eq!(anna.rest(), b"");
    assert_eq!(bert.get("a:k"), Some(b"v".to_vec()));
    assert!(!bench.daemon.log().contains("secret"));
}

#[test]
fn who_may_not_watch_any_more_is_told_no_more() {
    let bench = Bench::new("anna:secret\nbert:his");
    let (mut watcher, _) = bench.login("anna", "secret");
    let (mut bert, _) = bench.login("bert", "his");
    assert_eq!(watcher.ask("watch mutations\r\n"), "OK");
    bert.set("before", "v");
    assert!(watcher.log_line().contains("key=before"));
    write(&bench.users(), "anna:secret\nrights anna admin a:\nbert:his");
    bench.reload("reloaded the users of --auth-file (-Y): 2");
    bert.set("after", "v");
    assert_eq!(watcher.rest(), b"", "it ends, and no key is told");
    until("its place is free", PATIENCE, || (bert.stat("log_watchers") == 0).then_some(()));
}

/// What takes long is looked at again while it lasts.
#[test]
fn who_may_not_any_more_neither_ends_a_large_value_nor_a_listing() {
    let bench = Bench::with("anna:secret\nbert:his", "-I 64m");
    let (mut anna, _) = bench.login("anna", "secret");
    let (mut bert, _) = bench.login("bert", "his");
    let value = vec![b'v'; 8 << 20];
    let begin = |client: &mut Client, key: &str| {
        client.send(format!("set {key} 0 0 {}\r\n", value.len()));
        client.send(&value[1..]);
    };
    begin(&mut anna, "narrowed");
    write(&bench.users(), "anna:secret\nrights anna read,write a:\nbert:his");
    bench.reload("reloaded the users");
    anna.send("v\r\n");
    assert_eq!(anna.line(), "CLIENT_ERROR missing right: write of this key");
    assert_eq!(set(&mut anna, "a:k"), "STORED", "and it goes on");
    begin(&mut anna, "a:gone");

    let (mut lister, _) = bench.login("bert", "his");
    // More than is on its way to a client who does not read.
    for key in 0..60_000 {
        bert.send(format!("set {}{key:06} 0 0 1 noreply\r\nv\r\n", "k".repeat(200)));
    }
    assert_eq!(set(&mut bert, "last"), "STORED");
    lister.send("lru_crawler metadump all\r\n");
    let first = lister.log_line();
    assert_eq!(first.trim_end(), "OK");
    write(&bench.users(), "carl:new");
    bench.reload("reloaded the users");
    anna.send("v\r\n");
    assert_eq!(anna.line(), "CLIENT_ERROR unauthenticated");
    assert_eq!(anna.rest(), b"");
    let rest = lister.rest();
    assert!(!rest.ends_with(b"END\r\n") && rest.len() < 60_000 * 200, "{} bytes", rest.len());
    let (mut carl, _) = bench.login("carl", "new");
    assert_eq!((carl.get("narrowed"), carl.get("a:gone")), (None, None));
}

#[test]
fn our_tools_say_which_right_is_missing() {
    let bench = Bench::new("anna:secret\nrights anna write\nbert:secret\nrights bert read");
    let address = format!("127.0.0.1:{}", bench.daemon.port());
    let import = ["import", "--user", "bert", "--from", "memcached", &address, "--db", "other.db"];
    let top = ["top", "--once", "--user", "anna"];
    for (words, missing) in [(&top[..], "read"), (&import[..], "admin")] {
        let output = bench.tool(words, "secret", b"");
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(77), "{words:?}: {err}");
        let said = format!("the server at {address} refused it, missing right: {missing}");
        assert!(err.contains(&said) && err.contains("--auth-file"), "{words:?}: {err}");
    }
}

#[test]
fn with_sasl_too() {
    let bench = Bench::with("anna:secret\nbert:his", "-S --http 127.0.0.1:0");
    let frame = |opcode: u8, key: &[u8], value: &[u8]| {
        let mut bytes = vec![0; 24];
        let [key_bytes, body_bytes] = [key.len(), key.len() + value.len()]
            .map(|length| u8::try_from(length).expect("a short one"));
        (bytes[0], bytes[1], bytes[3], bytes[11]) = (0x80, opcode, key_bytes, body_bytes);
        [&bytes, key, value].concat()
    };
    let ask = |client: &mut Client, frame: Vec<u8>| {
        client.send(frame);
        let header = client.exactly(24);
        let body = client.exactly(header[11].into());
        (header[7], String::from_utf8(body).expect("it is text"))
    };
    let mut anna = bench.daemon.client();
    let said = ask(&mut anna, frame(0x21, b"PLAIN", b"\0anna\0secret"));
    assert_eq!(said, (0, "Authenticated".to_owned()));
    assert_eq!(ask(&mut anna, frame(0x00, b"k", b"")).0, 1);
    write(&bench.users(), "anna:secret\nrights anna write\nbert:his");
    bench.reload("reloaded the users");
    let said = ask(&mut anna, frame(0x00, b"k", b""));
    assert_eq!(said, (0x20, "missing right: read".to_owned()));
    assert_eq!(ask(&mut anna, frame(0x04, b"k", b"")).0, 1, "deleting is writing");
    write(&bench.users(), "anna:other\nbert:his");
    bench.reload("reloaded the users");
    // A login anew is one, on the same connection.
    let said = ask(&mut anna, frame(0x21, b"PLAIN", b"\0bert\0his"));
    assert_eq!(said, (0, "Authenticated".to_owned()));
    assert_eq!(ask(&mut anna, frame(0x00, b"k", b"")).0, 1);
    write(&bench.users(), "anna:other");
    bench.reload("reloaded the users");
    assert_eq!(ask(&mut anna, frame(0x0a, b"", b"")), (0x20, "Auth failure.".to_owned()));
    assert_eq!(anna.rest(), b"");

    let mut web = TcpStream::connect(("127.0.0.1", bench.daemon.http_port())).expect("connects");
    web.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it listens");
    let mut page = String::new();
    web.read_to_string(&mut page).expect("it answers");
    assert!(page.contains("litecached_denied_total 2\n"), "{page}");
}
