//! However the bytes are cut, the requests come out the same.

use proptest::prelude::*;

use super::*;
use crate::limits::{LINE_BYTES_MAX, VALUE_STEP_BYTES};
use crate::protocol::{Decoder, Protocol};

/// A frame with what it announces being true.
fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = u32::try_from(extras.len() + key.len() + value.len()).expect("a short body");
    let mut frame = vec![REQUEST, opcode];
    frame.extend(u16::try_from(key.len()).expect("a short key").to_be_bytes());
    frame.extend([u8::try_from(extras.len()).expect("short extras"), 0, 0, 0]);
    frame.extend(body.to_be_bytes());
    frame.extend(*b"opaq\0\0\0\0\0\0\0\0");
    [frame.as_slice(), extras, key, value].concat()
}

/// What a client's bytes mean, in words, when they arrive in pieces of the given sizes.
fn decoded(bytes: &[u8], sizes: &[usize], item_bytes_max: u64) -> Vec<String> {
    let mut decoder = Decoder::new(Protocol::Auto, item_bytes_max);
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
                Step::Request { request: Request::Operate { key, op, form }, used } => {
                    seen.push(format!("{:?} {op:?} {form:?}", key.as_key()));
                    (used, false)
                }
                Step::Request { request: Request::TooLarge { key, how, form }, used } => {
                    let discards = form.discards_too_large(&how);
                    seen.push(format!("{:?} too large, {discards}", key.as_key()));
                    (used, false)
                }
                Step::Request { request, used } => {
                    seen.push(format!("{request:?}"));
                    (used, false)
                }
                Step::Reject { reject, used, .. } => {
                    seen.push(format!("{reject:?}"));
                    if reject.closes() {
                        return seen;
                    }
                    (used, false)
                }
            };
            waiting.drain(..used);
            // What does not begin as a frame is text, and may be a line.
            let most = (HEADER_BYTES + 300 + SASL_BYTES_MAX).max(LINE_BYTES_MAX);
            assert!(waiting.len() <= most || !ended, "waits for more");
            if ended {
                break;
            }
        }
    }
    seen
}

#[test]
fn what_is_remembered_of_a_value_grows_with_what_came() {
    let mut decoder = Decoder::new(Protocol::Auto, 1 << 21);
    let mut bytes = frame(0x01, &[0; 8], b"k", b"");
    bytes[8..12].copy_from_slice(&1_000_009u32.to_be_bytes());
    bytes.extend(b"abc");
    assert!(matches!(decoder.decode(&bytes), Step::NeedMore { used } if used == bytes.len()));
    assert!(!decoder.is_between_requests());
    assert!(decoder.arriving_bytes() <= VALUE_STEP_BYTES, "{}", decoder.arriving_bytes());
    assert!(matches!(decoder.abandon_value(), Some(Form::Binary(_))));
    assert_eq!((decoder.arriving_bytes(), decoder.abandon_value()), (0, None));
    assert!(matches!(decoder.decode(b"def"), Step::NeedMore { used: 3 }), "the rest is dropped");
}

#[test]
fn the_size_limit_counts_key_and_header() {
    for (value_bytes, fits) in [(1_024 - 60, true), (1_024 - 59, false)] {
        let mut bytes = frame(0x01, &[0; 8], b"k", &vec![b'v'; value_bytes]);
        bytes.extend(frame(0x0a, b"", b"", b""));
        for sizes in [&[usize::MAX][..], &[1], &[100]] {
            let seen = decoded(&bytes, sizes, 1_024);
            assert_eq!(seen[0].ends_with("too large, true"), !fits, "{value_bytes}: {seen:?}");
            assert_eq!(seen.len(), 2, "the value is swallowed");
        }
    }
}

#[test]
fn a_wrong_header_is_answered_whatever_it_announces() {
    let mut bytes = frame(0x00, b"", b"", b"");
    bytes[2..4].copy_from_slice(&[0xff, 0xff]);
    bytes[8..12].copy_from_slice(&[0xff; 4]);
    let mut decoder = Decoder::new(Protocol::Binary, 1 << 20);
    let step = decoder.decode(&bytes);
    assert!(matches!(step, Step::Reject { reject, used: 24, .. } if reject.closes()), "{step:?}");
}

#[test]
fn a_request_begins_where_what_was_refused_ends() {
    let noop = frame(0x0a, b"", b"", b"");
    let bytes = [frame(0x50, b"12", b"key", b"value"), noop.clone()].concat();
    let mut decoder = Decoder::new(Protocol::Auto, 1 << 20);
    let Step::Reject { used, .. } = decoder.decode(&bytes) else { panic!("unknown") };
    let Step::Skip { used: skipped } = decoder.decode(&bytes[used..]) else { panic!("a body") };
    // Asked twice without using it, the decoder says the same twice.
    for _ in 0..2 {
        let step = decoder.decode(&bytes[used + skipped..]);
        assert!(matches!(step, Step::Request { used: 24, request: Request::Noop { .. } }));
    }
}

#[test]
fn the_first_byte_chooses_for_good() {
    let noop = frame(0x0a, b"", b"", b"");
    let frames = [noop.as_slice(), b"version\r\n"].concat();
    assert_eq!(decoded(&frames, &[usize::MAX], 1 << 20)[1..], ["NoFrame"]);
    let text = [b"version\r\n".as_slice(), &noop, b"\r\n"].concat();
    assert_eq!(decoded(&text, &[usize::MAX], 1 << 20)[1..], ["BadFormat", "UnknownCommand"]);
    let mut ascii = Decoder::new(Protocol::Ascii, 1 << 20);
    let step = ascii.decode(&noop);
    assert!(matches!(step, Step::Reject { reject: Reject::BadFormat, used: 2, .. }), "{step:?}");
    let mut binary = Decoder::new(Protocol::Binary, 1 << 20);
    let step = binary.decode(b"v");
    assert!(matches!(step, Step::Reject { reject: Reject::NoFrame, .. }), "{step:?}");
}

/// Frames as clients send them, whole and broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![8 => 0u8..0x26, 1 => any::<u8>()];
    let extras =
        prop_oneof![3 => Just(0usize), 2 => Just(4), 3 => Just(8), 3 => Just(20), 1 => 0usize..30];
    let key = prop_oneof![6 => 1usize..4, 2 => Just(0), 1 => 248usize..253];
    let value = prop_oneof![4 => Just(0usize), 3 => 0usize..40, 2 => 900usize..1_200];
    let whole = (opcode, extras, key, value).prop_map(|(opcode, extras, key, value)| {
        frame(opcode, &vec![1; extras], &vec![b'k'; key], &vec![b'v'; value])
    });
    // One byte of the header is another: mostly a length that is not true.
    let broken =
        (whole.clone(), 0usize..HEADER_BYTES, any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            bytes[at] = byte;
            bytes
        });
    prop_oneof![20 => whole, 1 => broken]
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut(
        pieces in prop::collection::vec(piece(), 1..20),
        sizes in prop::collection::vec(1usize..200, 1..20),
    ) {
        let bytes = pieces.concat();
        let seen = decoded(&bytes, &[usize::MAX], 1_024);
        prop_assert_eq!(&decoded(&bytes, &sizes, 1_024), &seen);
        prop_assert_eq!(&decoded(&bytes, &[1], 1_024), &seen);
    }
}
