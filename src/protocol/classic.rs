//! memcached's classic text commands, one line at a time.
//!
//! A line is parsed into what the decoder does next; nothing here looks at what follows it. Where
//! memcached's versions differ, 1.6.45 is followed, but for `delete` (1.6.18), which client test
//! suites insist on.

use crate::cache::{Arithmetic, Delete, Direction, Exptime, Key, Mode, Op, Store};
use crate::limits::VALUE_LENGTH_READABLE_MAX;
use crate::protocol::decoder::{RequestKey, Session};
use crate::protocol::form::Form;
use crate::protocol::listing;
use crate::protocol::reject::Reject;
use crate::protocol::tokens::{Tokens, integer, unsigned, unsigned_32};
use crate::protocol::{admin, meta, simple};

/// What a command line asks for.
pub(super) enum Line<'b> {
    /// A retrieval: keys follow from this offset of the line on.
    Keys { with_cas: bool, touch: Option<Exptime>, keys_at: usize },
    /// A storage command: a value follows.
    Store(StoreLine<'b>),
    /// An operation that is complete.
    Operate { key: RequestKey<'b>, op: Op, form: Form<'b> },
    /// `mn`: its answer shows that everything before it has been answered.
    Noop,
    /// `flush_all`: now, or when the exptime says.
    FlushAll { delay: Exptime, quiet: bool },
    /// A command about the session or the server.
    Session(Session<'b>),
    /// Not acceptable. `swallow` bytes of data behind the line are dropped.
    Reject { reject: Reject, quiet: bool, swallow: Option<u64> },
}

/// A storage command's line.
pub(super) struct StoreLine<'b> {
    pub(super) key: RequestKey<'b>,
    pub(super) how: Store,
    pub(super) value_bytes: u64,
    pub(super) form: Form<'b>,
}

const NOREPLY: &[u8] = b"noreply";

/// Whether a line is a retrieval, which may be of any length.
pub(super) fn is_retrieval(bytes: &[u8]) -> bool {
    [b"get ".as_slice(), b"gets ", b"gat ", b"gats "]
        .iter()
        .any(|command| bytes.starts_with(command))
}

pub(super) fn reject<'b>(reject: Reject, quiet: bool) -> Line<'b> {
    Line::Reject { reject, quiet, swallow: None }
}

/// Parses a line, which has lost its line end.
pub(super) fn parse(line: &[u8]) -> Line<'_> {
    let mut tokens = Tokens::new(line);
    let command = tokens.next().unwrap_or_default();
    if line.starts_with(b" ") && !takes_space_before(command) {
        return unknown(line);
    }
    match command {
        b"get" => keys(command, false),
        b"gets" => keys(command, true),
        b"gat" => keys_touch(line, tokens, false),
        b"gats" => keys_touch(line, tokens, true),
        b"set" => store(line, Mode::Set, false),
        b"add" => store(line, Mode::Add, false),
        b"replace" => store(line, Mode::Replace, false),
        b"append" => store(line, Mode::Append, false),
        b"prepend" => store(line, Mode::Prepend, false),
        b"cas" => store(line, Mode::Set, true),
        b"mg" => meta::get(line),
        b"ms" => meta::store(line),
        b"md" => meta::delete(line),
        b"ma" => meta::arithmetic(line),
        b"mn" => Line::Noop,
        b"me" => meta::debug(line),
        b"touch" => with_key(line, |argument| {
            let exptime = exptime(argument).ok_or(Reject::InvalidExptime)?;
            Ok(Op::Touch { exptime })
        }),
        b"incr" => arithmetic(line, Direction::Up),
        b"decr" => arithmetic(line, Direction::Down),
        b"delete" => delete(line),
        b"flush_all" => flush_all(line),
        b"version" => Line::Session(Session::Version),
        b"quit" => Line::Session(Session::Quit),
        b"help" => Line::Session(Session::Help),
        b"stats" => listing::cachedump(line)
            .unwrap_or(Line::Session(Session::Stats { arguments: &line[command.len()..] })),
        b"watch" => Line::Session(Session::Watch { words: &line[command.len()..] }),
        b"lru_crawler" => listing::crawler(line).unwrap_or_else(|| tuning(line)),
        b"verbosity" => verbosity(line),
        b"cache_memlimit" => cache_memlimit(line),
        b"shutdown" => {
            let quiet = Tokens::new(line).last() == Some(NOREPLY);
            let known = tokens.next().is_none_or(|mode| mode == b"graceful");
            Line::Session(Session::Shutdown { known, quiet })
        }
        _ => tuning(line),
    }
}

/// 1.6.45 refuses a space before a command, but for those that it looks up in a table.
fn takes_space_before(command: &[u8]) -> bool {
    const TABLE: [&[u8]; 7] = [
        b"shutdown",
        b"slabs",
        b"cache_memlimit",
        b"flush_all",
        b"lru_crawler",
        b"verbosity",
        b"lru",
    ];
    TABLE.contains(&command)
}

/// A command that tunes memcached or has it look at its files, or none at all.
fn tuning(line: &[u8]) -> Line<'_> {
    if Tokens::new(line).next() == Some(b"refresh_certs") {
        let quiet = Tokens::new(line).last() == Some(NOREPLY);
        return Line::Session(Session::RefreshCertificates { quiet });
    }
    match admin::parse(line) {
        Some(command) => {
            let quiet = Tokens::new(line).last() == Some(NOREPLY);
            Line::Session(Session::Admin { command, quiet })
        }
        None => unknown(line),
    }
}

/// An unknown command. Browsers and port scanners are let go without a word.
fn unknown(line: &[u8]) -> Line<'_> {
    let last = Tokens::new(line).last().unwrap_or_default();
    if last.starts_with(b"HTTP/") {
        return reject(Reject::Http, false);
    }
    reject(Reject::UnknownCommand, last == NOREPLY)
}

fn keys<'b>(command: &[u8], with_cas: bool) -> Line<'b> {
    Line::Keys { with_cas, touch: None, keys_at: command.len() }
}

fn keys_touch<'b>(line: &'b [u8], mut tokens: Tokens<'b>, with_cas: bool) -> Line<'b> {
    let Some(argument) = tokens.next() else {
        return reject(Reject::BadFormat, false);
    };
    if tokens.next().is_none() {
        return reject(Reject::BadFormat, false);
    }
    let Some(exptime) = exptime(argument) else {
        return reject(Reject::InvalidExptime, false);
    };
    let keys_at = argument.as_ptr().addr() - line.as_ptr().addr() + argument.len();
    Line::Keys { with_cas, touch: Some(exptime), keys_at }
}

/// An exptime: any 64-bit number, cut to 32 bits.
pub(super) fn exptime(token: &[u8]) -> Option<Exptime> {
    #[allow(clippy::cast_possible_truncation, reason = "memcached cuts it to 32 bits")]
    integer(token).map(|number| Exptime(i64::from(number as i32)))
}

/// The length of a value, if it is one that could be followed by that many bytes.
pub(super) fn value_length(token: &[u8]) -> Option<u64> {
    let length = u64::try_from(integer(token)?).ok()?;
    (length <= VALUE_LENGTH_READABLE_MAX).then_some(length)
}

fn store(line: &[u8], mode: Mode, compares: bool) -> Line<'_> {
    let mut words = [b"".as_slice(); 7];
    let mut count = 0;
    let mut last = b"".as_slice();
    for token in Tokens::new(line) {
        if let Some(word) = words.get_mut(count) {
            *word = token;
        }
        last = token;
        count += 1;
    }
    let quiet = last == NOREPLY && count > 2;
    let [command, key, flags, exptime_word, length, unique, _] = words;
    if command == b"set" && (count == 3 || (count == 4 && quiet)) {
        return simple::set(key, flags, quiet);
    }
    // Told even where `noreply` is said, as in 1.6.45: the data will be read as commands.
    if count < 5 {
        return reject(Reject::BadFormat, false);
    }
    let Some(value_bytes) = value_length(length) else {
        return reject(Reject::BadFormat, false);
    };
    // A `cas` without its id says how long the value is: it is swallowed.
    let parsed = (|| {
        Some(StoreLine {
            key: RequestKey::Here(Key::new(key)?),
            how: Store {
                mode,
                // memcached takes any unsigned number here and keeps its lower 32 bits.
                #[allow(clippy::cast_possible_truncation, reason = "memcached cuts it to 32 bits")]
                flags: unsigned(flags)? as u32,
                exptime: exptime(exptime_word)?,
                compare: if compares { Some(unsigned(unique)?) } else { None },
                ..Store::default()
            },
            value_bytes,
            form: Form::Classic { quiet },
        })
    })();
    match parsed {
        Some(store) => Line::Store(store),
        None => Line::Reject { reject: Reject::BadFormat, quiet, swallow: Some(value_bytes + 2) },
    }
}

/// A command with a key and one argument behind it, and words it does not know.
fn with_key(line: &[u8], op: impl FnOnce(&[u8]) -> Result<Op, Reject>) -> Line<'_> {
    let quiet = Tokens::new(line).skip(2).last() == Some(NOREPLY);
    let mut tokens = Tokens::new(line).skip(1);
    let (Some(key), Some(argument)) = (tokens.next(), tokens.next()) else {
        return reject(Reject::BadFormat, quiet);
    };
    let Some(key) = Key::new(key) else {
        return reject(Reject::BadFormat, quiet);
    };
    match op(argument) {
        Ok(op) => Line::Operate { key: RequestKey::Here(key), op, form: Form::Classic { quiet } },
        Err(why) => reject(why, quiet),
    }
}

fn arithmetic(line: &[u8], direction: Direction) -> Line<'_> {
    with_key(line, |argument| {
        let delta = unsigned(argument).ok_or(Reject::InvalidDelta)?;
        Ok(Op::Arithmetic(Arithmetic::plain(direction, delta)))
    })
}

/// `delete k`, `delete k 0`, each with or without noreply. Old clients send the 0 (it was a time);
/// any other word is refused, as 1.6.18 does and memccapable expects.
fn delete(line: &[u8]) -> Line<'_> {
    let mut tokens = Tokens::new(line).skip(1);
    let Some(key) = tokens.next() else {
        return reject(Reject::BadFormat, false);
    };
    let words = [tokens.next(), tokens.next(), tokens.next()];
    let quiet = Tokens::new(line).skip(2).last() == Some(NOREPLY);
    let known = match words {
        [None, ..] => true,
        [Some(word), None, _] => word == b"0" || word == NOREPLY,
        [Some(zero), Some(noreply), None] => zero == b"0" && noreply == NOREPLY,
        _ => false,
    };
    if !known {
        return reject(Reject::DeleteUsage, quiet);
    }
    match Key::new(key) {
        Some(key) => Line::Operate {
            key: RequestKey::Here(key),
            op: Op::Delete(Delete::default()),
            form: Form::Classic { quiet },
        },
        None => reject(Reject::BadFormat, quiet),
    }
}

fn flush_all(line: &[u8]) -> Line<'_> {
    let quiet = Tokens::new(line).skip(1).last() == Some(NOREPLY);
    match Tokens::new(line).nth(1) {
        None => Line::FlushAll { delay: Exptime(0), quiet },
        Some(NOREPLY) => Line::FlushAll { delay: Exptime(0), quiet },
        Some(word) => match exptime(word) {
            Some(delay) => Line::FlushAll { delay, quiet },
            None => reject(Reject::InvalidExptime, quiet),
        },
    }
}

fn verbosity(line: &[u8]) -> Line<'_> {
    let quiet = Tokens::new(line).skip(1).last() == Some(NOREPLY);
    match Tokens::new(line).nth(1).and_then(unsigned_32) {
        Some(level) => {
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            Line::Session(Session::Verbosity { level, quiet })
        }
        None => reject(Reject::BadFormat, quiet),
    }
}

fn cache_memlimit(line: &[u8]) -> Line<'_> {
    const MEGABYTES_LEAST: u32 = 8;
    const MEGABYTES_MAX: u32 = 1_000_000_000;
    let quiet = Tokens::new(line).skip(1).last() == Some(NOREPLY);
    match Tokens::new(line).nth(1).and_then(unsigned_32) {
        None => reject(Reject::UnknownCommand, quiet),
        Some(megabytes) if megabytes < MEGABYTES_LEAST => reject(Reject::MemlimitTooSmall, quiet),
        Some(megabytes) if megabytes > MEGABYTES_MAX => reject(Reject::MemlimitFailed, quiet),
        Some(megabytes) => {
            Line::Session(Session::Memlimit { bytes: u64::from(megabytes) << 20, quiet })
        }
    }
}
