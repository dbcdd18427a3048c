//! No secret of the file of users is told anywhere, whatever goes wrong.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::daemon::Launch;
use crate::common::ground::{PATIENCE, until};
use crate::common::tools::{command, texts};
use crate::common::wire::Client;
use crate::{Bench, write};

/// What the passwords of this chapter have in common, right, nearly right and wrong ones.
const MARK: &str = "xyzzy";
const USERS: &str =
    "anna:xyzzy-Plugh\nrights anna read,write,admin\nbert:xyzzy-Plover\nrights bert read b:";
const PASSWORDS: [&str; 5] =
    ["xyzzy-Plugh", "xyzzy-Plugg", "xyzzy-Plugh ", "xyzzy-Plug", "not-xyzzy-at-all"];

/// Everything the daemon says to a client, up to the end or to a line that is known to be its last.
fn asked(client: &mut Client, request: &str, last: &str) -> String {
    client.send(request);
    let mut said = String::new();
    loop {
        // Of some listings a line feed alone ends a line.
        let line = client.log_line();
        said += &line;
        said.push('\n');
        if line.starts_with(last) {
            return said;
        }
    }
}

fn page(bench: &Bench, path: &str) -> String {
    let mut web = TcpStream::connect(("127.0.0.1", bench.daemon.http_port())).expect("connects");
    web.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("it listens");
    let mut page = String::new();
    web.read_to_string(&mut page).expect("it answers");
    page
}

/// Has the file broken with a secret in the line, and gives what is said of it.
fn reloads(bench: &Bench) -> String {
    let broken = [
        "anna xyzzy-Plugh",
        ":xyzzy-Plugh",
        "anna:xyzzy-Plugh\nrights xyzzy-Plugh read",
        "anna:xyzzy-Plugh\nrights anna xyzzy-Plugh",
        "anna:xyzzy-Plugh\nrights anna:xyzzy-Plugh",
        "anna:xyzzy\0Plugh",
    ];
    let said = broken.map(|text| {
        write(&bench.users(), text);
        let said = bench.reload("not reloaded, everything stays as it was: ");
        let refused = Launch::new(bench.folder.path())
            .database(bench.folder.path().join("other.db"))
            .with("-vvv -Y users")
            .refused();
        let checked = command(bench.folder.path(), &["config", "check", "-Y", "users"]).output();
        let (out, err) = texts(&checked.expect("it runs"));
        [said, refused.log, out, err].concat()
    });
    write(&bench.users(), USERS);
    bench.reload("nothing has changed");
    let shown = command(bench.folder.path(), &["config", "show", "-Y", "users"]).output();
    let (out, err) = texts(&shown.expect("it runs"));
    [said.concat(), out, err].concat()
}

/// What is said of logins by lines, and where they are out of place.
fn lines(bench: &Bench) -> String {
    let mut said = String::new();
    for password in PASSWORDS {
        let length = 5 + password.len();
        for request in [
            format!("set login 0 0 {length}\r\nanna {password}\r\nversion\r\nquit\r\n"),
            format!("set login 0 0 {}\r\nanna {password}\r\nversion\r\nquit\r\n", length - 2),
            format!("set login 0 0 x\r\nanna {password}\r\nquit\r\n"),
            format!("anna {password}\r\nauth anna {password}\r\n"),
            format!("\u{1}!{password}\r\nget {password}\r\n"),
        ] {
            let mut client = bench.daemon.client();
            client.send(request);
            client.stream().shutdown(std::net::Shutdown::Write).expect("it is connected");
            said += &String::from_utf8_lossy(&client.rest());
        }
    }
    said
}

/// The same once more by somebody who has logged in.
fn out_of_place(client: &mut Client) -> String {
    let mut said = String::new();
    for password in PASSWORDS {
        let length = 5 + password.len();
        for request in [
            format!("set login 0 0 {length}\r\nanna {password}\r\nmn\r\n"),
            format!("set login 0 0 {}\r\nanna {password}\r\nmn\r\n", length - 3),
            format!("set login 0 0 x\r\nanna {password}\r\nmn\r\n"),
            format!("auth anna {password}\r\nmn\r\n"),
        ] {
            said += &asked(client, &request, "MN");
        }
    }
    said
}

#[test]
fn by_lines() {
    let bench = Bench::with(USERS, "-vvv --http 127.0.0.1:0");
    let (mut anna, said) = bench.login("anna", PASSWORDS[0]);
    assert_eq!(said, "STORED");
    let (mut watcher, _) = bench.login("anna", PASSWORDS[0]);
    let kinds = "watch fetchers mutations deletions evictions connevents rawcmds\r\n";
    assert_eq!(watcher.ask(kinds), "OK");
    let (mut bert, _) = bench.login("bert", "xyzzy-Plover");
    let mut said = bert.ask("set k 0 0 12\r\nxyzzy-Plover\r\n");
    said += &reloads(&bench);
    said += &lines(&bench);
    said += &out_of_place(&mut anna);
    for section in ["", " settings", " conns", " items", " storage", " latency", " sizes"] {
        said += &asked(&mut anna, &format!("stats{section}\r\n"), "END");
    }
    said += &asked(&mut anna, "stats cachedump 1 0\r\n", "END");
    said += &asked(&mut anna, "lru_crawler metadump all\r\n", "END");
    said += &["/metrics", "/status.json", "/", "/healthz", "/readyz"]
        .map(|path| page(&bench, path))
        .concat();
    anna.set("last", "v");
    loop {
        let line = watcher.log_line();
        said += &line;
        said.push('\n');
        if line.contains("key=last") {
            break;
        }
    }
    told_no_secret(&bench, &said, "set last");
    assert!(said.contains("authentication failure") && said.contains("missing right"), "{said}");
}

#[test]
fn by_frames() {
    let bench = Bench::with(USERS, "-S -vvv --http 127.0.0.1:0");
    let mut said = reloads(&bench);
    for password in PASSWORDS {
        for (opcode, mechanism) in
            [(0x21, "PLAIN"), (0x22, "PLAIN"), (0x21, "LOGIN"), (0x01, "k"), (0x99, "k")]
        {
            for message in [format!("\0anna\0{password}"), format!("root\0anna\0{password}")] {
                let [key_bytes, body_bytes] = [mechanism.len(), mechanism.len() + message.len()]
                    .map(|length| u8::try_from(length).expect("a short one"));
                let mut header = vec![0; 24];
                (header[0], header[1], header[3]) = (0x80, opcode, key_bytes);
                header[11] = body_bytes;
                let mut client = bench.daemon.client();
                client.send([&header, mechanism.as_bytes(), message.as_bytes()].concat());
                client.stream().shutdown(std::net::Shutdown::Write).expect("it is connected");
                said += &String::from_utf8_lossy(&client.rest());
            }
        }
    }
    // A login by lines, which is ended without a word.
    let mut client = bench.daemon.client();
    client.send(format!("set login 0 0 16\r\nanna {}\r\n", PASSWORDS[0]));
    said += &String::from_utf8_lossy(&client.rest());
    said += &["/metrics", "/status.json", "/", "/healthz", "/readyz"]
        .map(|path| page(&bench, path))
        .concat();
    let mut last = bench.daemon.client();
    last.send(b"\x80\x21\0\x05\0\0\0\0\0\0\0\x16\0\0\0\0\0\0\0\0\0\0\0\0PLAIN\0anna\0xyzzy-Plugh");
    last.send(b"\x80\x04\0\x04\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0last");
    told_no_secret(&bench, &said, "delete last");
    assert!(said.contains("Auth failure.") && said.contains("Authenticated"), "{said}");
}

/// `last`: what the log has of the last request.
fn told_no_secret(bench: &Bench, said: &str, last: &str) {
    // Lines about single requests are written by a thread of their own.
    until("the log has it all", PATIENCE, || bench.daemon.log().contains(last).then_some(()));
    let log = bench.daemon.log();
    assert!(log.contains("failed to log in"), "{log}");
    for text in [said, log.as_str()] {
        let line = text.lines().find(|line| line.contains(MARK));
        assert_eq!(line, None);
    }
}
