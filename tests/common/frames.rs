//! Frames of memcached's binary protocol, as a script writes them.
//!
//!     > #set k=foo v=bar flags=5 exp=60 cas={cas} opaque=0000abcd
//!     < #set cas={cas2} opaque=0000abcd
//!     > #get k=foo
//!     < #get flags=5 v=bar cas={cas2}
//!
//! Behind `#` stands the opcode by its name or as `0x1b`, then what is not nothing. Texts are written as
//! elsewhere in a script, a space as `\s`; numbers are decimal, or a word taken from a reply. No line end
//! follows a frame.
//!
//! | | |
//! | --- | --- |
//! | `k=` `v=` `cas=` `opaque=` | in both; the opaque as 8 hex digits. `cas=*` is any, in a reply |
//! | `flags=` `exp=` `delta=` `initial=` | a request's extras; those that its opcode needs are 0 if not written. `flags=` are a reply's |
//! | `extras=` | a request's extras as hex, whatever its opcode needs |
//! | `magic=` `keylen=` `extlen=` `bodylen=` | what a request's header says, true or not |
//! | `status=` | of a reply, as hex |
//! | `number=` | a reply's value of 8 bytes |
//! | `< #*` | any number of frames, as few as fit |

use super::runner::{Match, Words, matched, word_plus};
use super::script::{Piece, pieces};

const HEADER_BYTES: usize = 24;

/// Names by opcode; what is empty has none.
const NAMES: [&str; 0x25] = [
    "get",
    "set",
    "add",
    "replace",
    "delete",
    "incr",
    "decr",
    "quit",
    "flush",
    "getq",
    "noop",
    "version",
    "getk",
    "getkq",
    "append",
    "prepend",
    "stat",
    "setq",
    "addq",
    "replaceq",
    "deleteq",
    "incrq",
    "decrq",
    "quitq",
    "flushq",
    "appendq",
    "prependq",
    "",
    "touch",
    "gat",
    "gatq",
    "",
    "sasl-list",
    "sasl-auth",
    "sasl-step",
    "gatk",
    "gatkq",
];

/// A reply's frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    opcode: u8,
    status: u16,
    opaque: [u8; 4],
    /// None is any.
    cas: Option<Piece>,
    extras: Vec<Piece>,
    key: Vec<Piece>,
    value: Vec<Piece>,
}

/// A frame's words, by their names.
struct Fields<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Fields<'t> {
    fn split(text: &'t str) -> Result<(u8, Self), String> {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default();
        let fields = words.map(|word| word.split_once('=').ok_or(format!("no field: {word}")));
        Ok((opcode(name)?, Self(fields.collect::<Result<_, _>>()?)))
    }

    fn take(&mut self, name: &str) -> Option<&'t str> {
        let at = self.0.iter().position(|(field, _)| *field == name)?;
        Some(self.0.remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<Vec<Piece>, String> {
        self.take(name).map_or(Ok(Vec::new()), pieces)
    }

    /// Where it is not written, `or`.
    fn number(&mut self, name: &str, width: usize, or: u64) -> Result<Piece, String> {
        match self.take(name) {
            Some(text) => number(text, width),
            None => number(&or.to_string(), width),
        }
    }

    fn opaque(&mut self) -> Result<[u8; 4], String> {
        let text = self.take("opaque").unwrap_or("00000000");
        let bytes = hex(text)?;
        bytes.try_into().map_err(|_| format!("not 8 hex digits: {text}"))
    }

    /// A length that the header says, if not that which is true.
    fn length(&mut self, name: &str, or: usize) -> Result<usize, String> {
        self.take(name).map_or(Ok(or), |text| text.parse().map_err(|_| format!("{name}={text}")))
    }

    fn end(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("no field of this frame, or twice: {name}")),
            None => Ok(()),
        }
    }
}

/// The frame that a request's line (without its `#`) sends.
pub fn request(text: &str) -> Result<Vec<Piece>, String> {
    let (opcode, mut fields) = Fields::split(text)?;
    let opaque = fields.opaque()?;
    let cas = fields.number("cas", 8, 0)?;
    let extras = extras(opcode, &mut fields)?;
    let (key, value) = (literal(fields.text("k")?)?, literal(fields.text("v")?)?);
    let extras_bytes = extras.iter().map(width_of).sum::<Result<usize, String>>()?;
    let magic = fields.take("magic").map_or(Ok(vec![0x80]), hex)?;
    let key_length = u16::try_from(fields.length("keylen", key.len())?).map_err(said)?;
    let extras_length = u8::try_from(fields.length("extlen", extras_bytes)?).map_err(said)?;
    let body_bytes = extras_bytes + key.len() + value.len();
    let body_length = u32::try_from(fields.length("bodylen", body_bytes)?).map_err(said)?;
    fields.end()?;
    let mut header = magic;
    header.push(opcode);
    header.extend(key_length.to_be_bytes());
    header.extend([extras_length, 0, 0, 0]);
    header.extend(body_length.to_be_bytes());
    header.extend(opaque);
    let mut frame = vec![Piece::Bytes(header), cas];
    frame.extend(extras);
    frame.push(Piece::Bytes([key, value].concat()));
    Ok(frame)
}

fn extras(opcode: u8, fields: &mut Fields<'_>) -> Result<Vec<Piece>, String> {
    if let Some(text) = fields.take("extras") {
        return Ok(vec![Piece::Bytes(hex(text)?)]);
    }
    let is_flush = name(opcode).starts_with("flush");
    let needed: &[(&str, usize)] = match name(opcode) {
        "set" | "add" | "replace" | "setq" | "addq" | "replaceq" => &[("flags", 4), ("exp", 4)],
        "incr" | "decr" | "incrq" | "decrq" => &[("delta", 8), ("initial", 8), ("exp", 4)],
        "touch" | "gat" | "gatq" | "gatk" | "gatkq" => &[("exp", 4)],
        _ if is_flush && fields.0.iter().any(|(field, _)| *field == "exp") => &[("exp", 4)],
        _ => &[],
    };
    needed.iter().map(|&(field, width)| fields.number(field, width, 0)).collect()
}

/// What a reply's line (without its `#`) expects.
pub fn reply(text: &str) -> Result<Piece, String> {
    if text == "*" {
        return Ok(Piece::AnyFrames);
    }
    let (opcode, mut fields) = Fields::split(text)?;
    let opaque = fields.opaque()?;
    let status = fields.take("status").unwrap_or("0");
    let status = u16::from_str_radix(status, 16).map_err(said)?;
    let cas = match fields.take("cas") {
        Some("*") => None,
        Some(text) => Some(number(text, 8)?),
        None => Some(number("0", 8)?),
    };
    let extras = fields.take("flags").map(|text| number(text, 4)).transpose()?;
    let mut value = fields.text("v")?;
    value.extend(fields.take("number").map(|text| number(text, 8)).transpose()?);
    let key = fields.text("k")?;
    fields.end()?;
    let extras = extras.into_iter().collect();
    Ok(Piece::Frame(Box::new(Expected { opcode, status, opaque, cas, extras, key, value })))
}

impl Expected {
    /// Whether `input` has this frame at `at`.
    pub fn matched(&self, input: &[u8], at: usize, words: &mut Words) -> Match {
        let Some((extras_at, key_at, value_at, end)) = parts(input, at) else {
            return Match::NeedMore;
        };
        let header = &input[at..extras_at];
        let status = self.status.to_be_bytes();
        if header[..2] != [0x81, self.opcode]
            || header[5] != 0
            || header[6..8] != status
            || header[12..16] != self.opaque
        {
            return Match::Mismatch;
        }
        let saved = words.clone();
        let cas: &[Piece] = self.cas.as_slice();
        let cas_end = if cas.is_empty() { at + 16 } else { extras_at };
        for (pieces, from, to) in [
            (cas, at + 16, cas_end),
            (&self.extras, extras_at, key_at),
            (&self.key, key_at, value_at),
            (&self.value, value_at, end),
        ] {
            // As little as fits is what a wildcard takes, and here it is all that is left.
            let (pieces, any) = match pieces.split_last() {
                Some((Piece::AnyInLine, before)) => (before, true),
                _ => (pieces, false),
            };
            let fits = match matched(pieces, &input[..to], from, words) {
                Match::Whole(length) => any || length == to,
                _ => false,
            };
            if !fits {
                *words = saved;
                return Match::Mismatch;
            }
        }
        Match::Whole(end)
    }
}

/// Whether `input` has a number of so many bytes at `at`, which is a word, or becomes one.
pub fn matched_number(
    (name, plus, width): (&str, i128, usize),
    input: &[u8],
    at: usize,
    words: &mut Words,
) -> Match {
    let Some(bytes) = input.get(at..at + width) else {
        return Match::NeedMore;
    };
    let number = bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let number = number.to_string().into_bytes();
    let word = words.entry(name.to_owned()).or_insert_with(|| number.clone());
    if word_plus(word, plus) == Ok(number) { Match::Whole(at + width) } else { Match::Mismatch }
}

/// A word's number as so many bytes.
pub fn number_of(word: &[u8], width: usize) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(word);
    let number: u64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
    Ok(number.to_be_bytes()[8 - width..].to_vec())
}

/// Where the parts of the frame at `at` begin, and where it ends, if it is there whole.
fn parts(input: &[u8], at: usize) -> Option<(usize, usize, usize, usize)> {
    let header = input.get(at..at + HEADER_BYTES)?;
    let key_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let body_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let key_at = at + HEADER_BYTES + usize::from(header[4]);
    let value_at = key_at + key_bytes;
    let end = at + HEADER_BYTES + body_bytes;
    (end <= input.len() && value_at <= end).then_some((at + HEADER_BYTES, key_at, value_at, end))
}

/// Where the frame at `at` ends, if it is there whole.
pub fn end_of(input: &[u8], at: usize) -> Option<usize> {
    parts(input, at).map(|(.., end)| end)
}

/// Frames as a script would write them; what is no frame is left to the caller.
pub fn shown(input: &[u8]) -> (String, &[u8]) {
    let (mut text, mut at) = (String::new(), 0);
    while input.get(at) == Some(&0x81)
        && let Some((extras_at, key_at, value_at, end)) = parts(input, at)
    {
        let header = &input[at..extras_at];
        let cas = u64::from_be_bytes(header[16..24].try_into().expect("eight bytes"));
        let part = |from: usize, to: usize| input[from..to].escape_ascii();
        let (status, opaque) = (&header[6..8], &header[12..16]);
        let frame = format!(
            "\n        #{} status={status:02x?} opaque={opaque:02x?} cas={cas} extras={} k={} v={}",
            name(header[1]),
            part(extras_at, key_at),
            part(key_at, value_at),
            part(value_at, end.min(value_at + 200)),
        );
        text.push_str(&frame);
        at = end;
    }
    (text, &input[at..])
}

/// A request that every binary client may send, and its reply.
pub fn noop() -> (Vec<u8>, Piece) {
    let pieces = request("noop opaque=5ee4c0de").expect("a request");
    let bytes = pieces.into_iter().flat_map(|piece| match piece {
        Piece::Bytes(bytes) => bytes,
        _ => unreachable!("there is no word in it"),
    });
    (bytes.collect(), reply("noop opaque=5ee4c0de").expect("a reply"))
}

fn opcode(name: &str) -> Result<u8, String> {
    if let Some(number) = name.strip_prefix("0x") {
        return u8::from_str_radix(number, 16).map_err(said);
    }
    let known = NAMES.iter().position(|known| *known == name && !name.is_empty());
    known.map(|at| u8::try_from(at).expect("a short table")).ok_or(format!("no opcode: {name}"))
}

fn name(opcode: u8) -> &'static str {
    NAMES.get(usize::from(opcode)).copied().filter(|name| !name.is_empty()).unwrap_or("unknown")
}

/// A big-endian number of this many bytes: literal, or a word of the script.
fn number(text: &str, width: usize) -> Result<Piece, String> {
    if text.starts_with('{') {
        return match pieces(text)?.as_slice() {
            [Piece::Word { name, plus }] => {
                Ok(Piece::Number { name: name.clone(), plus: *plus, width })
            }
            _ => Err(format!("neither a number nor a word: {text}")),
        };
    }
    let number: u64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
    Ok(Piece::Bytes(number.to_be_bytes()[8 - width..].to_vec()))
}

fn width_of(piece: &Piece) -> Result<usize, String> {
    match piece {
        Piece::Bytes(bytes) => Ok(bytes.len()),
        Piece::Number { width, .. } => Ok(*width),
        other => Err(format!("of no known length: {other:?}")),
    }
}

fn literal(pieces: Vec<Piece>) -> Result<Vec<u8>, String> {
    let bytes = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => Ok(bytes),
        other => Err(format!("of no known length: {other:?}")),
    });
    Ok(bytes.collect::<Result<Vec<_>, _>>()?.concat())
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes().chunks(2);
    let byte =
        |pair| std::str::from_utf8(pair).ok().and_then(|two| u8::from_str_radix(two, 16).ok());
    digits.map(|pair| byte(pair).ok_or(format!("not hex: {text}"))).collect()
}

fn said(failed: impl std::fmt::Display) -> String {
    failed.to_string()
}
