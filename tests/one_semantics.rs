//! The same operation in memcached's three forms has one outcome, and leaves one item.
//!
//! Each case is asked for as a line of text, as a meta command and as a frame, from the same state, each on a
//! key of its own; what each form answers is read into one word, and what is there afterwards is
//! read in one form.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::in_process::InProcess;
use common::target::Target;

/// What is under the key before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Missing,
    /// `10`, flags 5, an expiry 1,000 seconds away.
    Number,
    /// `text`, likewise.
    Text,
    /// It was there, and its time has passed.
    Expired,
    /// It was there, and everything was flushed.
    Flushed,
}

/// What is asked for. A cas is that of the item, or another one.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Get,
    /// A get with a new expiry.
    GetAndTouch,
    Touch,
    Delete,
    /// The mode as text names it, the value's length, and a cas: the item's (true) or another.
    Store(&'static str, usize, Option<bool>),
    Count(&'static str, u64),
}

const BEFORE: [Before; 5] =
    [Before::Missing, Before::Number, Before::Text, Before::Expired, Before::Flushed];

const TOO_LARGE: usize = 1 << 20;

const ASKED: [Asked; 20] = [
    Asked::Get,
    Asked::GetAndTouch,
    Asked::Touch,
    Asked::Delete,
    Asked::Store("set", 3, None),
    Asked::Store("add", 3, None),
    Asked::Store("replace", 3, None),
    Asked::Store("append", 3, None),
    Asked::Store("prepend", 3, None),
    Asked::Store("set", 3, Some(true)),
    Asked::Store("set", 3, Some(false)),
    Asked::Store("set", 0, None),
    Asked::Store("set", TOO_LARGE, None),
    // A length that just fits, with a key of ten bytes, and does not together with what is there.
    Asked::Store("append", TOO_LARGE - 59 - 10, None),
    Asked::Count("incr", 5),
    Asked::Count("incr", u64::MAX),
    Asked::Count("decr", 1),
    Asked::Count("decr", 100),
    Asked::Count("incr", 0),
    Asked::Store("add", 0, None),
];

#[derive(Debug, Clone, Copy)]
enum Form {
    Classic,
    Meta,
    Binary,
}

/// Two connections: one speaks text, one frames.
#[derive(Debug)]
struct Talk {
    text: TcpStream,
    frames: TcpStream,
}

impl Talk {
    fn new(daemon: &InProcess) -> Self {
        let connect = || daemon.connect().expect("the daemon takes connections");
        Self { text: connect(), frames: connect() }
    }

    /// A request, with an `mn` behind it; what came before `MN`.
    fn text(&mut self, request: &[u8]) -> Vec<u8> {
        self.text.write_all(&[request, b"mn\r\n"].concat()).expect("the daemon reads");
        let mut reply = Vec::new();
        while !reply.ends_with(b"MN\r\n") {
            let mut some = [0; 4_096];
            let count = self.text.read(&mut some).expect("the daemon answers");
            assert!(count > 0, "the daemon closed");
            reply.extend_from_slice(&some[..count]);
        }
        reply.truncate(reply.len() - 4);
        reply
    }

    /// A request as a frame: the reply's status, extras, and value.
    fn frame(&mut self, opcode: u8, extras: &[u8], key: &str, value: &[u8], cas: u64) -> Frame {
        let body = u32::try_from(extras.len() + key.len() + value.len()).expect("a short body");
        let mut request = vec![0x80, opcode, 0, u8::try_from(key.len()).expect("a short key")];
        request.extend([u8::try_from(extras.len()).expect("short extras"), 0, 0, 0]);
        request.extend(body.to_be_bytes());
        request.extend(b"opaq");
        request.extend(cas.to_be_bytes());
        request.extend([extras, key.as_bytes(), value].concat());
        self.frames.write_all(&request).expect("the daemon reads");
        let mut header = [0; 24];
        self.frames.read_exact(&mut header).expect("the daemon answers");
        assert_eq!((header[0], header[1], &header[12..16]), (0x81, opcode, &b"opaq"[..]));
        let length = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        let mut body = vec![0; length as usize];
        self.frames.read_exact(&mut body).expect("the daemon answers");
        let value = body.split_off(usize::from(header[4]));
        let cas = u64::from_be_bytes(header[16..24].try_into().expect("eight bytes"));
        Frame { status: header[7], extras: body, value, cas }
    }

    /// Value, flags and time left of what is there, and its cas.
    fn item(&mut self, key: &str) -> (String, u64) {
        let reply = self.text(format!("mg {key} u v f t c\r\n").as_bytes());
        let text = String::from_utf8_lossy(&reply).into_owned();
        let Some((head, value)) = text.split_once("\r\n").filter(|(head, _)| *head != "EN") else {
            return ("nothing".into(), 0);
        };
        let mut words = head.split(' ');
        let cas = words.next_back().and_then(|word| word[1..].parse().ok()).expect("a cas");
        let words: Vec<&str> = words.collect();
        let shown: String = value.trim_end_matches("\r\n").chars().take(40).collect();
        (format!("{} {shown}", words.join(" ")), cas)
    }
}

#[derive(Debug)]
struct Frame {
    status: u8,
    extras: Vec<u8>,
    value: Vec<u8>,
    cas: u64,
}

fn prepare(daemon: &mut InProcess, talk: &mut Talk, key: &str, before: Before) {
    let (value, exptime) = match before {
        Before::Missing => return,
        Before::Number | Before::Flushed => ("10", 1_000),
        Before::Text => ("text", 1_000),
        Before::Expired => ("10", 10),
    };
    let line = format!("set {key} 5 {exptime} {}\r\n{value}\r\n", value.len());
    assert_eq!(talk.text(line.as_bytes()), b"STORED\r\n");
    match before {
        Before::Expired => {
            daemon.advance(11);
        }
        Before::Flushed => assert_eq!(talk.text(b"flush_all\r\n"), b"OK\r\n"),
        _ => {}
    }
}

/// One word for what a form answered, and the number or the value where there is one.
fn ask(talk: &mut Talk, form: Form, asked: Asked, key: &str, cas: u64) -> String {
    let word = match form {
        Form::Classic => classic(talk, asked, key, cas),
        Form::Meta => meta(talk, asked, key, cas),
        Form::Binary => return binary(talk, asked, key, cas),
    };
    match word.as_str() {
        "STORED" | "DELETED" | "TOUCHED" | "HD" => "done".into(),
        "NOT_STORED" | "NS" => "not stored".into(),
        "EXISTS" | "EX" => "exists".into(),
        "NOT_FOUND" | "NF" | "EN" | "END" => "nothing there".into(),
        "SERVER_ERROR object too large for cache" => "too large".into(),
        "CLIENT_ERROR cannot increment or decrement non-numeric value" => "no number".into(),
        other => other.to_owned(),
    }
}

/// The reply's line; of a value, `value` and what it is.
fn line(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if first.starts_with("VALUE ") || first.starts_with("VA ") {
        return format!("value {}", lines.next().unwrap_or_default());
    }
    first.to_owned()
}

fn classic(talk: &mut Talk, asked: Asked, key: &str, cas: u64) -> String {
    let request = match asked {
        Asked::Get => format!("get {key}\r\n"),
        Asked::GetAndTouch => format!("gat 50 {key}\r\n"),
        Asked::Touch => format!("touch {key} 50\r\n"),
        Asked::Delete => format!("delete {key}\r\n"),
        Asked::Store(_, length, Some(_)) => {
            format!("cas {key} 7 60 {length} {cas}\r\n{}\r\n", "v".repeat(length))
        }
        Asked::Store(mode, length, None) => {
            format!("{mode} {key} 7 60 {length}\r\n{}\r\n", "v".repeat(length))
        }
        Asked::Count(direction, delta) => format!("{direction} {key} {delta}\r\n"),
    };
    line(&talk.text(request.as_bytes()))
}

fn meta(talk: &mut Talk, asked: Asked, key: &str, cas: u64) -> String {
    let request = match asked {
        Asked::Get => format!("mg {key} v\r\n"),
        Asked::GetAndTouch => format!("mg {key} v T50\r\n"),
        Asked::Touch => format!("mg {key} T50\r\n"),
        Asked::Delete => format!("md {key}\r\n"),
        Asked::Store(mode, length, compare) => {
            // The letter of `add` is that of `empty`.
            let mode = if mode == "add" { "E".into() } else { mode[..1].to_uppercase() };
            let compare = compare.map_or(String::new(), |_| format!(" C{cas}"));
            let value = "v".repeat(length);
            format!("ms {key} {length} M{mode} F7 T60{compare}\r\n{value}\r\n")
        }
        Asked::Count(direction, delta) => {
            let mode = direction[..1].to_uppercase();
            format!("ma {key} M{mode} D{delta} v\r\n")
        }
    };
    let line = line(&talk.text(request.as_bytes()));
    match asked {
        Asked::Count(..) => line.strip_prefix("value ").map(str::to_owned).unwrap_or(line),
        _ => line,
    }
}

fn binary(talk: &mut Talk, asked: Asked, key: &str, cas: u64) -> String {
    let exptime = 50u32.to_be_bytes();
    let reply = match asked {
        Asked::Get => talk.frame(0x00, b"", key, b"", 0),
        Asked::GetAndTouch => talk.frame(0x1d, &exptime, key, b"", 0),
        Asked::Touch => talk.frame(0x1c, &exptime, key, b"", 0),
        Asked::Delete => talk.frame(0x04, b"", key, b"", 0),
        Asked::Store(mode, length, compare) => {
            let opcode = match mode {
                "set" => 0x01,
                "add" => 0x02,
                "replace" => 0x03,
                "append" => 0x0e,
                _ => 0x0f,
            };
            let extras = [7u32.to_be_bytes(), 60u32.to_be_bytes()].concat();
            let extras = if opcode > 0x03 { &b""[..] } else { &extras };
            talk.frame(opcode, extras, key, &vec![b'v'; length], compare.map_or(0, |_| cas))
        }
        Asked::Count(direction, delta) => {
            let opcode = if direction == "incr" { 0x05 } else { 0x06 };
            let extras = [&delta.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat();
            talk.frame(opcode, &extras, key, b"", 0)
        }
    };
    // Why a store's condition does not hold is told by its opcode.
    let is_condition = matches!(asked, Asked::Store("add" | "replace", _, None));
    match (reply.status, asked) {
        (0, Asked::Get | Asked::GetAndTouch) => {
            assert_eq!(reply.extras, 5u32.to_be_bytes());
            format!("value {}", String::from_utf8_lossy(&reply.value))
        }
        (0, Asked::Count(..)) => {
            assert_ne!(reply.cas, 0);
            u64::from_be_bytes(reply.value.try_into().expect("eight bytes")).to_string()
        }
        (0, Asked::Store(..)) => {
            assert_ne!(reply.cas, 0);
            "done".into()
        }
        (0, _) => "done".into(),
        (1 | 2, _) if is_condition => "not stored".into(),
        (1, _) => "nothing there".into(),
        (2, _) => "exists".into(),
        (3, _) => "too large".into(),
        (5, _) => "not stored".into(),
        (6, _) => "no number".into(),
        (status, _) => format!("status {status:x}"),
    }
}

#[test]
fn three_forms_and_one_meaning() {
    let mut daemon = InProcess::start();
    let mut talk = Talk::new(&daemon);
    for before in BEFORE {
        for asked in ASKED {
            let told = [Form::Classic, Form::Meta, Form::Binary].map(|form| {
                let key = format!("{:-<9.9}{}", format!("{before:?}"), form as u8);
                prepare(&mut daemon, &mut talk, &key, before);
                let (_, cas) = talk.item(&key);
                let is_other = matches!(asked, Asked::Store(_, _, Some(false)));
                let cas = if is_other || cas == 0 { cas + 1_000_000 } else { cas };
                let outcome = ask(&mut talk, form, asked, &key, cas);
                let (left, cas_left) = talk.item(&key);
                talk.text(format!("delete {key}\r\n").as_bytes());
                // The number itself is each item's own: what matters is whether it is a new one.
                format!(
                    "{outcome}, then {left}, {}",
                    if cas_left == cas { "as it was" } else { "new" }
                )
            });
            assert_eq!(told[0], told[1], "{asked:?} on {before:?}: text and meta");
            assert_eq!(told[0], told[2], "{asked:?} on {before:?}: text and frames");
        }
    }
}

/// What is expected of some of them, so that the three do not agree on something wrong.
#[test]
fn and_the_meaning_is_memcacheds() {
    let mut daemon = InProcess::start();
    let mut talk = Talk::new(&daemon);
    for (before, asked, outcome, left) in [
        (Before::Number, Asked::Get, "value 10", "VA 2 f5 t1000 10"),
        (Before::Number, Asked::GetAndTouch, "value 10", "VA 2 f5 t50 10"),
        (Before::Expired, Asked::Touch, "nothing there", "nothing"),
        (Before::Flushed, Asked::Store("add", 3, None), "done", "VA 3 f7 t60 vvv"),
        (Before::Number, Asked::Store("add", 3, None), "not stored", "VA 2 f5 t1000 10"),
        (Before::Text, Asked::Store("append", 3, None), "done", "VA 7 f5 t1000 textvvv"),
        (Before::Text, Asked::Store("set", 3, Some(false)), "exists", "VA 4 f5 t1000 text"),
        (Before::Text, Asked::Store("set", TOO_LARGE, None), "too large", "nothing"),
        (Before::Number, Asked::Count("incr", 5), "15", "VA 2 f5 t1000 15"),
        (Before::Number, Asked::Count("decr", 1), "9", "VA 2 f5 t1000 9 "),
        (Before::Text, Asked::Count("incr", 5), "no number", "VA 4 f5 t1000 text"),
        (Before::Missing, Asked::Count("incr", 5), "nothing there", "nothing"),
    ] {
        prepare(&mut daemon, &mut talk, "k", before);
        let (_, cas) = talk.item("k");
        let told = ask(&mut talk, Form::Binary, asked, "k", cas + 1_000_000);
        assert_eq!(told, outcome, "{asked:?} on {before:?}");
        assert_eq!(talk.item("k").0, left, "{asked:?} on {before:?}");
        talk.text(b"delete k\r\n");
    }
}
