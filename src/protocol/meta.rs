//! memcached's meta commands, one line at a time: `mg ms md ma me`, each a key and flags of one letter.
//!
//! A line is read twice: here into an operation, and when its outcome is known once more for what it
//! wants to have sent back, in its order. Holds to one rule: what was accepted here has nothing in it
//! that the second reading could refuse. Follows memcached 1.6.45.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::cache::{
    Arithmetic, Creation, Delete, Direction, Exptime, Fetch, Key, Mode, Op, Outcome, Store,
};
use crate::limits::KEY_BYTES_MAX;
use crate::protocol::classic::{Line, StoreLine, exptime, reject, value_length};
use crate::protocol::decoder::RequestKey;
use crate::protocol::form::Form;
use crate::protocol::reject::Reject;
use crate::protocol::tokens::{Tokens, unsigned};

/// Words of a line, the command and the key included (memcached: `MFLAG_MAX_OPT_LENGTH`).
const WORDS_MAX: usize = 20;

/// An opaque token with its letter (memcached: `MFLAG_MAX_OPAQUE_LENGTH`).
const OPAQUE_BYTES_MAX: usize = 32;

/// The standard alphabet with padding. memcached takes any bits behind the last whole byte.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// How the answer to a meta command is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta<'b> {
    /// Which command.
    pub(super) command: Command,
    /// The words behind the key (behind the length, for `ms`), as they came.
    pub(super) words: Cow<'b, [u8]>,
    /// The nominal answer is left out (`q`).
    pub(super) quiet: bool,
    /// The value is asked for (`v`).
    pub(super) value: bool,
    /// The key was sent in base64 (`b`).
    pub(super) binary_key: bool,
}

/// A meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Get,
    Set,
    Delete,
    Arithmetic,
    Debug,
}

impl Meta<'_> {
    /// Whether its answer may carry an item's value.
    pub(super) fn carries_value(&self) -> bool {
        self.value && self.command == Command::Get
    }

    /// Whether an outcome is the nominal one, which `q` leaves out.
    pub(super) fn is_left_out(&self, outcome: &Outcome) -> bool {
        self.quiet
            && match self.command {
                Command::Get => matches!(outcome, Outcome::Miss(_)),
                Command::Set => matches!(outcome, Outcome::Stored(_)),
                Command::Delete => matches!(outcome, Outcome::Deleted),
                Command::Arithmetic => matches!(outcome, Outcome::Number(..)),
                Command::Debug => false,
            }
    }

    /// The letters of the words and what stands behind them.
    pub(super) fn flags(&self) -> impl Iterator<Item = (u8, &[u8])> {
        Tokens::new(&self.words)
            .filter_map(|word| word.split_first())
            .map(|(&flag, rest)| (flag, rest))
    }
}

/// What the flags of a line say.
#[derive(Debug, Default)]
struct Flags {
    binary_key: bool,
    quiet: bool,
    value: bool,
    unnoticed: bool,
    invalidate: bool,
    empty: bool,
    touch: Option<Exptime>,
    create: Option<Exptime>,
    recache: Option<Exptime>,
    compare: Option<u64>,
    cas: Option<u64>,
    client_flags: u32,
    mode: Option<u8>,
    initial: u64,
    delta: Option<u64>,
    /// `T` stands before `R`, and behind `N`.
    touch_before_recache: bool,
    touch_behind_create: bool,
    opaque_too_long: bool,
}

impl Flags {
    /// Reads flags. An unknown or repeated letter ends it; a bad number is told at the end, the last
    /// one of them (memcached).
    fn read<'b>(words: impl Iterator<Item = &'b [u8]>) -> Result<Self, Reject> {
        let mut flags = Self::default();
        let mut seen = 0u128;
        let mut wrong = None;
        for word in words {
            let Some((&letter, token)) = word.split_first() else { continue };
            let bit = 1u128.checked_shl(u32::from(letter)).filter(|bit| seen & bit == 0);
            seen |= bit.ok_or(Reject::DuplicateFlag)?;
            match letter {
                b'F' if flags.take(letter, token).is_none() => {
                    wrong = wrong.or(Some(Reject::BadFormat));
                }
                b'J' if flags.take(letter, token).is_none() => wrong = Some(Reject::InvalidInitial),
                b'D' if flags.take(letter, token).is_none() => {
                    wrong = Some(Reject::InvalidDeltaValue)
                }
                b'N' | b'T' | b'R' | b'C' | b'E' if flags.take(letter, token).is_none() => {
                    wrong = Some(Reject::BadToken);
                }
                b'F' | b'J' | b'D' | b'N' | b'T' | b'R' | b'C' | b'E' => {}
                b'M' => flags.mode = Some(token.first().copied().unwrap_or(0)),
                b'O' => flags.opaque_too_long = word.len() >= OPAQUE_BYTES_MAX,
                b'b' => flags.binary_key = true,
                b'q' => flags.quiet = true,
                b'v' => flags.value = true,
                b'u' => flags.unnoticed = true,
                b'I' => flags.invalidate = true,
                b'x' => flags.empty = true,
                b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'h' | b'l' => {}
                _ => return Err(Reject::InvalidFlag),
            }
        }
        wrong.map_or(Ok(flags), Err)
    }

    /// Takes a number behind its letter; `None` if it is none.
    fn take(&mut self, letter: u8, token: &[u8]) -> Option<()> {
        match letter {
            // memcached takes any unsigned number here and keeps its lower 32 bits.
            #[allow(clippy::cast_possible_truncation, reason = "memcached cuts it to 32 bits")]
            b'F' => self.client_flags = unsigned(token)? as u32,
            b'J' => self.initial = unsigned(token)?,
            b'D' => self.delta = Some(unsigned(token)?),
            b'C' => self.compare = Some(unsigned(token)?),
            b'E' => self.cas = Some(unsigned(token)?),
            b'N' => self.create = Some(exptime(token)?),
            b'R' => {
                self.recache = Some(exptime(token)?);
                self.touch_before_recache = self.touch.is_some();
            }
            _ => {
                self.touch = Some(exptime(token)?);
                self.touch_behind_create = self.create.is_some();
            }
        }
        Some(())
    }

    fn creation(&self) -> Option<Creation> {
        let exptime = self.create?;
        let exptime = self.touch.filter(|_| self.touch_behind_create).unwrap_or(exptime);
        Some(Creation { exptime, cas: self.cas, binary_key: self.binary_key })
    }

    fn form<'b>(&self, command: Command, words: &'b [u8]) -> Form<'b> {
        Form::Meta(Meta {
            command,
            words: Cow::Borrowed(words),
            quiet: self.quiet,
            value: self.value,
            binary_key: self.binary_key,
        })
    }
}

/// The key as it was sent, and the words behind it.
fn key_and_words(line: &[u8]) -> Result<(&[u8], &[u8]), Reject> {
    let mut tokens = Tokens::new(line);
    tokens.next();
    match tokens.next() {
        Some(key) if key.len() <= KEY_BYTES_MAX => Ok((key, tokens.rest())),
        _ => Err(Reject::BadFormat),
    }
}

fn check_count(line: &[u8]) -> Result<(), Reject> {
    if Tokens::new(line).count() > WORDS_MAX { Err(Reject::TooManyFlags) } else { Ok(()) }
}

fn key(sent: &[u8], binary: bool) -> Result<RequestKey<'_>, Reject> {
    if binary {
        let bytes = BASE64.decode(sent).map_err(|_| Reject::UndecodableKey)?;
        return Key::new(&bytes)
            .map(|key| RequestKey::Kept(key.to_owned()))
            .ok_or(Reject::UndecodableKey);
    }
    Key::new(sent).map(RequestKey::Here).ok_or(Reject::BadFormat)
}

/// Puts together a line that has no data behind it.
fn operate<'b>(
    line: &'b [u8],
    command: Command,
    judge: impl FnOnce(Reject) -> Reject,
    op: impl FnOnce(&Flags) -> Result<Op, Reject>,
) -> Line<'b> {
    let parsed = (|| {
        let (sent, words) = key_and_words(line)?;
        check_count(line)?;
        let read = Flags::read(Tokens::new(words)).and_then(|flags| {
            let key = key(sent, flags.binary_key)?;
            Ok((flags, key))
        });
        let (flags, key) = read.map_err(judge)?;
        let op = op(&flags)?;
        if flags.opaque_too_long {
            return Err(Reject::OpaqueTooLong);
        }
        Ok(Line::Operate { key, op, form: flags.form(command, words) })
    })();
    parsed.unwrap_or_else(|why| reject(why, false))
}

/// `mg key flags`.
pub(super) fn get(line: &[u8]) -> Line<'_> {
    operate(
        line,
        Command::Get,
        |why| why,
        |flags| {
            Ok(Op::Fetch(Fetch {
                unnoticed: flags.unnoticed,
                touch: flags.touch,
                claims: true,
                recache: flags.recache,
                touch_first: flags.touch_before_recache,
                create: flags.creation(),
            }))
        },
    )
}

/// `me key [b]`.
pub(super) fn debug(line: &[u8]) -> Line<'_> {
    operate(
        line,
        Command::Debug,
        |_| Reject::BadFormat,
        |_| Ok(Op::Fetch(Fetch { unnoticed: true, ..Fetch::default() })),
    )
}

/// `md key flags`.
pub(super) fn delete(line: &[u8]) -> Line<'_> {
    operate(
        line,
        Command::Delete,
        |why| why,
        |flags| {
            Ok(Op::Delete(Delete {
                compare: flags.compare,
                invalidate: flags.invalidate,
                empty: flags.empty,
                touch: flags.touch,
                cas: flags.cas,
            }))
        },
    )
}

/// `ma key flags`.
pub(super) fn arithmetic(line: &[u8]) -> Line<'_> {
    operate(
        line,
        Command::Arithmetic,
        |_| Reject::InvalidOrDuplicateFlag,
        |flags| {
            let direction = match flags.mode {
                None | Some(b'I' | b'+') => Direction::Up,
                Some(b'D' | b'-') => Direction::Down,
                Some(_) => return Err(Reject::InvalidArithmeticMode),
            };
            Ok(Op::Arithmetic(Arithmetic {
                direction,
                delta: flags.delta.unwrap_or(1),
                // memcached: 0 is no condition here.
                compare: flags.compare.filter(|&cas| cas != 0),
                cas: flags.cas,
                touch: flags.touch,
                create: flags.creation().map(|creation| (flags.initial, creation)),
            }))
        },
    )
}

/// `ms key length flags`, with a value behind it.
pub(super) fn store(line: &[u8]) -> Line<'_> {
    let mut tokens = Tokens::new(line);
    let length = tokens.nth(2).and_then(value_length);
    let words = tokens.rest();
    let Some(value_bytes) = length else { return reject(Reject::BadFormat, false) };
    let parsed = (|| {
        let (sent, _) = key_and_words(line)?;
        check_count(line)?;
        let flags = Flags::read(Tokens::new(words))?;
        let key = key(sent, flags.binary_key)?;
        let mode = match flags.mode {
            None | Some(b'S') => Mode::Set,
            Some(b'E') => Mode::Add,
            Some(b'A') => Mode::Append,
            Some(b'P') => Mode::Prepend,
            Some(b'R') => Mode::Replace,
            Some(_) => return Err(Reject::InvalidStoreMode),
        };
        if flags.opaque_too_long {
            return Err(Reject::OpaqueTooLong);
        }
        let how = Store {
            mode,
            flags: flags.client_flags,
            exptime: flags.touch.unwrap_or_default(),
            compare: flags.compare,
            invalidate: flags.invalidate,
            cas: flags.cas,
            create: flags.create,
            binary_key: flags.binary_key,
            stored: None,
        };
        let form = flags.form(Command::Set, words);
        Ok(Line::Store(StoreLine { key, how, value_bytes, form }))
    })();
    parsed.unwrap_or_else(|reject| Line::Reject {
        reject,
        quiet: false,
        swallow: Some(value_bytes + 2),
    })
}
