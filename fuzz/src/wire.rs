//! What must hold for a decoder and the replies to what it accepts, whatever the bytes.
//!
//! However the bytes are cut, the requests come out the same. The first bytes of an input say how the
//! rest is cut. The rest is decoded whole, cut, and one byte at a time, the way a connection does it:
//! what a call did not use is given again with what came since. What comes out is compared, what is
//! accepted is checked, and every outcome that it might have is written.

use litecached::cache::{
    Absence, Deadline, Exptime, Failure, Head, Hit, Item, Key, Marks, Op, Outcome, Store, Value,
    Written,
};
use litecached::clock::Seconds;
use litecached::limits::{ITEM_BYTES_LEAST, KEY_BYTES_MAX};
use litecached::protocol::{Decoder, Form, Protocol, Reject, Request, Sizes, Step, encode};

/// Bytes of the input that say how the rest is cut. The first also says whether values come in pieces.
const CUTS: usize = 8;

/// Of values over so many bytes, and of a piece.
const PIECES: (u64, usize) = (9, 5);

/// What a decoder said, without borrowing from the bytes.
#[derive(Debug, PartialEq)]
enum Said {
    Operate(Vec<u8>, Op, Form<'static>),
    TooLarge(Vec<u8>, Store, Form<'static>),
    Begin(Vec<u8>, Store, Form<'static>, u64),
    Piece(Vec<u8>),
    LastPiece(Vec<u8>),
    EndOfKeys,
    Noop(Form<'static>),
    FlushAll(Exptime, Form<'static>),
    Session(String),
    Reject(Reject, bool),
}

/// memcached's classic text commands and the short `set`.
pub fn classic(data: &[u8]) {
    hold(data);
}

/// Meta commands: an input that does not begin with one is given to `ms`, `mg` and their like.
pub fn meta(data: &[u8]) {
    hold(data);
    // What a key and flags may be, without having to find the command first.
    let (cuts, line) = data.split_at(data.len().min(CUTS));
    for command in ["mg ", "ms ", "ms k 2 ", "md ", "ma ", "me ", "mg a2s= b "] {
        let mut input = cuts.to_vec();
        input.resize(CUTS, 0);
        input.extend_from_slice(command.as_bytes());
        input.extend_from_slice(line);
        hold(&input);
    }
}

/// Frames of the binary protocol: whatever the bytes are, they come behind a header that has its magic.
pub fn binary(data: &[u8]) {
    /// Bytes of a frame's header.
    const HEADER: usize = 24;
    let mut input = data.to_vec();
    if let Some(magic) = input.get_mut(CUTS) {
        *magic = 0x80;
    }
    hold(&input);
    // The same with a body that is as long as what came, so that values need not be found by chance.
    if let Some(body) = input.len().checked_sub(CUTS + HEADER) {
        let length = u32::try_from(body).expect("a short input").to_be_bytes();
        input[CUTS + 8..CUTS + 12].copy_from_slice(&length);
        hold(&input);
    }
}

/// Holds one input to the rules.
fn hold(data: &[u8]) {
    let (cuts, bytes) = data.split_at(data.len().min(CUTS));
    let mut takes = Sizes::from(ITEM_BYTES_LEAST);
    if cuts.first().is_some_and(|cut| cut & 1 != 0) {
        (takes.large_value_bytes, takes.piece_bytes) = PIECES;
    }
    let whole = decode(bytes, takes, std::iter::repeat(bytes.len().max(1)));
    let sizes = cuts.iter().cycle().map(|&cut| usize::from(cut) + 1);
    assert_eq!(whole, decode(bytes, takes, sizes.chain(std::iter::repeat(1))), "cut");
    assert_eq!(whole, decode(bytes, takes, std::iter::repeat(1)), "byte by byte");
    check_pieces(&whole);
    let outcomes = outcomes();
    for said in &whole {
        if let Said::Operate(key, op, form) = said {
            answer(key, op, form, &outcomes);
        }
    }
}

/// Feeds a decoder pieces of these sizes until the bytes or the connection end.
fn decode(bytes: &[u8], takes: Sizes, sizes: impl Iterator<Item = usize>) -> Vec<Said> {
    let mut decoder = Decoder::new(Protocol::Auto, takes);
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
            check_key(&key, &form);
            Said::Operate(key, op, form.into_owned())
        }
        Request::TooLarge { key, how, form } => {
            let key = key.as_key().bytes().to_vec();
            check_key(&key, &form);
            Said::TooLarge(key, how, form.into_owned())
        }
        Request::Begin { key, how, form, value_bytes } => {
            let key = key.as_key().bytes().to_vec();
            check_key(&key, &form);
            Said::Begin(key, how, form.into_owned(), value_bytes)
        }
        Request::Piece(bytes) => Said::Piece(bytes),
        Request::LastPiece(bytes) => Said::LastPiece(bytes),
        Request::EndOfKeys => Said::EndOfKeys,
        Request::Noop { form } => Said::Noop(form.into_owned()),
        Request::FlushAll { delay, form } => Said::FlushAll(delay, form.into_owned()),
        Request::Session { command, form } => Said::Session(format!("{command:?} {form:?}")),
    }
}

/// Pieces follow a beginning, all of one length but the last, and are as long together as was announced.
fn check_pieces(said: &[Said]) {
    let mut left = None;
    for said in said {
        match said {
            Said::Begin(_, _, _, bytes) => left = Some(*bytes),
            Said::Piece(piece) => {
                assert_eq!(piece.len(), PIECES.1);
                let more = left.expect("a piece of something") - PIECES.1 as u64;
                assert!(more > 0, "the last piece is told");
                left = Some(more);
            }
            Said::LastPiece(piece) => assert_eq!(left.take(), Some(piece.len() as u64)),
            // A value that does not end as it should.
            _ => left = None,
        }
    }
}

fn check_key(key: &[u8], form: &Form<'_>) {
    assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes", key.len());
    let text = matches!(form, Form::Classic { .. } | Form::Simple { .. } | Form::Retrieval { .. });
    if text {
        assert!(!key.iter().any(|byte| matches!(byte, b' ' | b'\n')), "not a key: {key:?}");
    }
}

/// Each kind of outcome, with figures as long as they get.
fn outcomes() -> Vec<Outcome> {
    let written = Written {
        cas: u64::MAX,
        value_bytes: u64::from(u32::MAX),
        flags: u32::MAX,
        seconds_left: Some(u64::MAX),
        seconds_left_before: None,
        created: true,
    };
    let head = Head {
        flags: u32::MAX,
        deadline: Deadline::from_unix(i64::MAX),
        cas: u64::MAX,
        marks: Marks::fresh(true).stale().won(),
        stored: Seconds(0),
        accessed: Seconds(1),
        value_bytes: 5,
    };
    let item = Item { head, value: Value::from(&b"value"[..]).into() };
    let mut hit = Hit::unchanged(item, Seconds(i64::MAX / 2));
    hit.won = true;
    vec![
        Outcome::Hit(hit),
        Outcome::Miss(Absence::Unknown),
        Outcome::Stored(written),
        Outcome::NotStored,
        Outcome::Exists,
        Outcome::NotFound,
        Outcome::Deleted,
        Outcome::Touched(written),
        Outcome::Number(u64::MAX, written),
        Outcome::NotNumeric,
        Outcome::TooLarge,
        Outcome::Failed(Failure::NoMemory),
        Outcome::Failed(Failure::Unavailable),
    ]
}

/// Whether the operation may have the outcome.
fn fits(op: &Op, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Hit(_) | Outcome::Miss(_) => matches!(op, Op::Fetch(_)),
        Outcome::Failed(_) => true,
        Outcome::Stored(_) | Outcome::NotStored | Outcome::TooLarge => matches!(op, Op::Store(..)),
        Outcome::Exists => matches!(op, Op::Store(..) | Op::Delete(_) | Op::Arithmetic(_)),
        Outcome::NotFound => !matches!(op, Op::Fetch(_)),
        Outcome::Deleted => matches!(op, Op::Delete(_)),
        Outcome::Touched(_) => matches!(op, Op::Touch { .. }),
        Outcome::Number(..) | Outcome::NotNumeric => matches!(op, Op::Arithmetic(_)),
        Outcome::Flushed => false,
    }
}

fn answer(key: &[u8], op: &Op, form: &Form<'_>, outcomes: &[Outcome]) {
    let key = Key::new(key).expect("it was checked");
    for outcome in outcomes.iter().filter(|outcome| fits(op, outcome)) {
        let mut reply = Vec::new();
        encode::outcome(form, key, outcome, &mut reply);
        assert!(reply.len() < 4_096, "a reply of {} bytes", reply.len());
    }
}
