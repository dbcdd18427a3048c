//! However the bytes are cut, the requests come out the same.
//!
//! The first bytes of the input say how the rest is cut. The rest is decoded whole, cut, and one byte
//! at a time, the way a connection does it: what a call did not use is given again with what came
//! since. What comes out is compared, and what is accepted is checked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use litecached::cache::{Exptime, Mode, Op};
use litecached::limits::{ITEM_BYTES_LEAST, KEY_BYTES_MAX};
use litecached::protocol::{Decoder, Form, Reject, Request, Step};

/// Bytes of the input that say how the rest is cut.
const CUTS: usize = 8;

/// What a decoder said, without borrowing from the bytes.
#[derive(Debug, PartialEq)]
enum Said {
    Operate(Vec<u8>, Op, Form),
    TooLarge(Vec<u8>, Mode, Form),
    EndOfKeys,
    FlushAll(Exptime, bool),
    Session(String),
    Reject(Reject, bool),
}

fuzz_target!(|data: &[u8]| {
    let (cuts, bytes) = data.split_at(data.len().min(CUTS));
    let whole = decode(bytes, std::iter::repeat(bytes.len().max(1)));
    let sizes = cuts.iter().cycle().map(|&cut| usize::from(cut) + 1);
    assert_eq!(whole, decode(bytes, sizes.chain(std::iter::repeat(1))), "cut");
    assert_eq!(whole, decode(bytes, std::iter::repeat(1)), "byte by byte");
});

/// Feeds a decoder pieces of these sizes until the bytes or the connection end.
fn decode(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Vec<Said> {
    let mut decoder = Decoder::new(ITEM_BYTES_LEAST);
    let mut said = Vec::new();
    let mut start = 0;
    let mut end = 0;
    let mut stuck;
    for size in sizes {
        if end == bytes.len() {
            break;
        }
        end = bytes.len().min(end + size);
        stuck = 0;
        loop {
            let given = &bytes[start..end];
            let step = decoder.decode(given);
            let goes_on = !matches!(step, Step::NeedMore { .. });
            let (step, used) = match step {
                Step::NeedMore { used } | Step::Skip { used } => (None, used),
                Step::Request { request, used } => (Some(request_said(request)), used),
                Step::Reject { reject, quiet, used } => (Some(Said::Reject(reject, quiet)), used),
            };
            assert!(used <= given.len(), "used more than was given");
            assert!(decoder.arriving_bytes() as u64 <= ITEM_BYTES_LEAST, "keeps too much");
            start += used;
            stuck = if used == 0 { stuck + 1 } else { 0 };
            assert!(!goes_on || stuck < 3, "goes on without using anything: {step:?}");
            if !goes_on {
                break;
            }
            let Some(step) = step else { continue };
            let closes = matches!(&step, Said::Reject(reject, _) if reject.closes());
            said.push(step);
            if closes {
                return said;
            }
        }
    }
    said
}

fn request_said(request: Request<'_>) -> Said {
    match request {
        Request::Operate { key, op, form } => {
            let key = key.as_key().bytes().to_vec();
            check_key(&key);
            Said::Operate(key, op, form)
        }
        Request::TooLarge { key, mode, form } => {
            check_key(key.bytes());
            Said::TooLarge(key.bytes().to_vec(), mode, form)
        }
        Request::EndOfKeys => Said::EndOfKeys,
        Request::FlushAll { delay, quiet } => Said::FlushAll(delay, quiet),
        Request::Session(session) => Said::Session(format!("{session:?}")),
    }
}

fn check_key(key: &[u8]) {
    assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes", key.len());
    assert!(!key.iter().any(|byte| matches!(byte, b' ' | b'\n')), "not a key: {key:?}");
}
