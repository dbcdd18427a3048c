//! However the bytes are cut, the requests come out the same.

use proptest::prelude::*;

use super::*;
use crate::protocol::{Decoder, Protocol};

/// What a client's bytes mean, in words, when they arrive in pieces of the given sizes.
fn decoded(bytes: &[u8], sizes: &[usize], item_bytes_max: u64) -> Vec<String> {
    decoded_by(Decoder::new(Protocol::Auto, item_bytes_max), bytes, sizes)
}

fn decoded_by(mut decoder: Decoder, bytes: &[u8], sizes: &[usize]) -> Vec<String> {
    let (mut waiting, mut seen) = (Vec::new(), Vec::new());
    let mut sizes = sizes.iter().copied().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        waiting.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        loop {
            let (used, ended) = match decoder.decode(&waiting) {
                Step::NeedMore { used } => (used, true),
                Step::Skip { used } => (used, false),
                Step::Request { request, used } => {
                    seen.push(words(&request));
                    (used, false)
                }
                Step::Reject { reject, quiet, used } => {
                    seen.push(format!("{reject:?} quiet={quiet}"));
                    if reject.closes() {
                        return seen;
                    }
                    (used, false)
                }
            };
            waiting.drain(..used);
            if ended {
                break;
            }
        }
    }
    seen
}

fn words(request: &Request<'_>) -> String {
    match request {
        Request::Operate { key, op, form } => format!("{:?} {op:?} {form:?}", key.as_key()),
        Request::Session { command, .. } => format!("Session({command:?})"),
        other => format!("{other:?}"),
    }
}

fn whole(bytes: &[u8]) -> Vec<String> {
    decoded(bytes, &[usize::MAX], 1 << 20)
}

#[test]
fn a_line_of_any_length_is_answered_key_by_key() {
    let keys: Vec<String> = (0..20_000).map(|n| format!("key{n:07}")).collect();
    let line = format!("get {}\r\n", keys.join(" "));
    let seen = whole(line.as_bytes());
    assert_eq!(seen.len(), 20_001);
    assert_eq!(seen.last().map(String::as_str), Some("EndOfKeys"));
    assert_eq!(decoded(line.as_bytes(), &[1_000, 7], 1 << 20), seen);
}

#[test]
fn a_bad_key_replaces_the_reply_of_a_line_that_can_be_seen_whole() {
    let bad = "k".repeat(251);
    assert_eq!(whole(format!("get a {bad}\r\n").as_bytes()), ["BadFormat quiet=false"]);
    let long = format!("get {} {bad} c\r\nversion\r\n", "a ".repeat(5_000));
    let seen = whole(long.as_bytes());
    assert_eq!(seen.len(), 5_000 + 2, "answered as it arrived, then refused, then went on");
    assert_eq!(seen[5_000..], ["BadFormat quiet=false", "Session(Version)"]);
}

#[test]
fn a_line_is_2048_bytes_or_less_unless_it_reads() {
    let fits = format!("touch k {:>2$}{}\r\n", 1, " ".repeat(100), 2_048 - 110);
    assert_eq!(fits.len(), 2_048);
    assert_eq!(whole(fits.as_bytes()).len(), 1);
    let over = format!(" {fits}").replacen(" touch k", "touch k ", 1);
    for sizes in [&[usize::MAX][..], &[1], &[2_047, 2]] {
        assert_eq!(decoded(over.as_bytes(), sizes, 1 << 20), ["LineTooLong quiet=true"]);
    }
}

#[test]
fn what_is_remembered_of_a_value_grows_with_what_came() {
    let mut decoder = Decoder::new(Protocol::Auto, 1 << 30);
    let line = b"set k 0 0 1000000\r\nabc";
    assert!(matches!(decoder.decode(line), Step::NeedMore { used } if used == line.len()));
    assert!(decoder.arriving_bytes() <= VALUE_STEP_BYTES, "{}", decoder.arriving_bytes());
    assert_eq!(decoder.abandon_value(), Some(Form::Classic { quiet: false }));
    assert_eq!(decoder.arriving_bytes(), 0);
}

#[test]
fn pieces_are_the_same_however_they_are_cut() {
    const SIZES: Sizes = Sizes { item_bytes_max: 1 << 20, large_value_bytes: 5, piece_bytes: 4 };
    let text = b"set k 0 0 10\r\n0123456789\r\nset k 5\r\nabcde\r\nms k 8\r\nABCDEFGH\r\n\
                 set k 0 0 9\r\n012345678xyset k 6\r\nabcdef\nmn\r\n";
    let mut frame = vec![0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 0, 9 + 6, 0, 0, 0, 0];
    frame.extend([0; 16]);
    frame.extend(b"kabcdef");
    for bytes in [&text[..], &frame] {
        let expected = decoded_by(Decoder::new(Protocol::Auto, SIZES), bytes, &[usize::MAX]);
        for first in 1..bytes.len() {
            for sizes in [&[first, usize::MAX][..], &[first], &[first, 1, 1, 1, 1, 1, 1]] {
                let seen = decoded_by(Decoder::new(Protocol::Auto, SIZES), bytes, sizes);
                assert_eq!(seen, expected, "{sizes:?}");
            }
        }
        let pieces = expected.iter().filter(|words| words.contains("Piece")).count();
        assert_eq!(pieces, if bytes[0] == 0x80 { 2 } else { 3 + 2 + 2 + 2 }, "{expected:?}");
    }
}

#[test]
fn the_size_limit_counts_key_and_header() {
    for (value_bytes, fits) in [(1_024 - 60, true), (1_024 - 59, false)] {
        let bytes = format!("set k 0 0 {value_bytes}\r\n{}\r\n", "v".repeat(value_bytes));
        let seen = decoded(bytes.as_bytes(), &[usize::MAX], 1_024);
        assert_eq!(seen[0].starts_with("TooLarge"), !fits, "{value_bytes}: {seen:?}");
        assert_eq!(seen.len(), 1, "the value is swallowed");
    }
}

/// Lines as clients write them, whole and broken, and what may stand between.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let line_end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("")];
    let command = prop_oneof![
        Just("get"),
        Just("gets"),
        Just("gat"),
        Just("set"),
        Just("add"),
        Just("cas"),
        Just("append"),
        Just("incr"),
        Just("delete"),
        Just("touch"),
        Just("flush_all"),
        Just("stats"),
        Just("verbosity"),
        Just("version"),
        Just(" get"),
        Just("x"),
        Just("help")
    ];
    let word = prop_oneof![
        4 => "[a-c]{1,3}", 4 => "-?[0-9]{1,3}", 1 => "k{249,252}", 1 => Just("noreply".into()),
        1 => Just(String::new()), 1 => Just("HTTP/1.0".into())
    ];
    let line = (command, prop::collection::vec(word, 0..6), line_end)
        .prop_map(|(command, words, end)| format!("{command} {}{end}", words.join(" ")).into());
    prop_oneof![
        4 => line,
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(Just(b'v'), 0..300),
        1 => Just(b"\r\n".to_vec()),
    ]
}

#[test]
fn a_request_begins_where_what_was_refused_ends() {
    let mut decoder = Decoder::new(Protocol::Auto, 1 << 20);
    let bytes = b"set k bad 0 3\r\nxyz\r\nversion\r\n";
    let Step::Reject { used, .. } = decoder.decode(bytes) else { panic!("bad flags") };
    let Step::Skip { used: skipped } = decoder.decode(&bytes[used..]) else { panic!("a value") };
    // Asked twice without using it, the decoder says the same twice.
    for _ in 0..2 {
        let step = decoder.decode(&bytes[used + skipped..]);
        let (command, form) = (Session::Version, Form::Classic { quiet: false });
        assert_eq!(step, Step::Request { request: Request::Session { command, form }, used: 9 });
    }
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut(
        pieces in prop::collection::vec(piece(), 1..30),
        sizes in prop::collection::vec(1usize..200, 1..20),
    ) {
        let bytes = pieces.concat();
        let seen = decoded(&bytes, &[usize::MAX], 1_024);
        prop_assert_eq!(&decoded(&bytes, &sizes, 1_024), &seen);
        prop_assert_eq!(&decoded(&bytes, &[1], 1_024), &seen);
    }
}
