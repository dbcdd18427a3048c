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
    Arithmetic, Creation, Delete, Direction, Exptime, Fetch, Key, KeyBuf, Mode, Op, Outcome, Store,
};
use crate::limits::KEY_BYTES_MAX;
use crate::protocol::classic::{Line, StoreLine, reject, value_length};
use crate::protocol::decoder::RequestKey;
use crate::protocol::form::Form;
use crate::protocol::reject::Reject;
use crate::protocol::tokens::{Tokens, integer, unsigned};

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
    /// Bytes of the value that was sent (`ms`).
    pub(super) sent_bytes: u64,
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
#[allow(clippy::struct_excessive_bools, reason = "each is a letter of its own")]
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
    /// The client's own 32 bits (`F`).
    stored_as: u32,
    mode: Option<u8>,
    initial: u64,
    delta: Option<u64>,
    /// `T` stands before `R`, and behind `N`.
    touch_before_recache: bool,
    touch_behind_create: bool,
    opaque_too_long: bool,
}

impl Flags {
    /// Reads the flags behind a key. An unknown or repeated letter ends it; a bad number or key is told
    /// at the end, the last one of them (memcached).
    fn read<'b>(
        sent: &'b [u8],
        words: impl Iterator<Item = &'b [u8]>,
    ) -> Result<(Self, RequestKey<'b>), Reject> {
        let mut flags = Self::default();
        let mut key = Key::new(sent).map(RequestKey::Here);
        let mut seen = 0u128;
        let mut wrong = None;
        for word in words {
            let Some((&letter, token)) = word.split_first() else { continue };
            let bit = 1u128.checked_shl(u32::from(letter)).ok_or(Reject::InvalidFlag)?;
            if seen & bit != 0 {
                return Err(Reject::DuplicateFlag);
            }
            seen |= bit;
            match letter {
                b'F' | b'J' | b'D' | b'N' | b'T' | b'R' | b'C' | b'E' => {
                    if flags.take(letter, token).is_none() {
                        wrong = match letter {
                            b'F' => wrong.or(Some(Reject::BadFormat)),
                            b'J' => Some(Reject::InvalidInitial),
                            b'D' => Some(Reject::InvalidDeltaValue),
                            _ => Some(Reject::BadToken),
                        };
                    }
                }
                b'b' => {
                    flags.binary_key = true;
                    key = decode_key(sent).map(RequestKey::Kept);
                    wrong = if key.is_none() { Some(Reject::UndecodableKey) } else { wrong };
                }
                b'M' => flags.mode = Some(token.first().copied().unwrap_or(0)),
                b'O' => flags.opaque_too_long = word.len() > OPAQUE_BYTES_MAX,
                b'q' => flags.quiet = true,
                b'v' => flags.value = true,
                b'u' => flags.unnoticed = true,
                b'I' => flags.invalidate = true,
                b'x' => flags.empty = true,
                b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'h' | b'l' => {}
                _ => return Err(Reject::InvalidFlag),
            }
        }
        match (wrong, key) {
            (Some(wrong), _) => Err(wrong),
            (None, Some(key)) => Ok((flags, key)),
            (None, None) => Err(Reject::BadFormat),
        }
    }

    /// Takes a number behind its letter; `None` if it is none.
    fn take(&mut self, letter: u8, token: &[u8]) -> Option<()> {
        match letter {
            b'F' => self.stored_as = u32::try_from(digits(token)?).ok()?,
            b'J' => self.initial = digits(token)?,
            b'D' => self.delta = Some(digits(token)?),
            b'C' => self.compare = Some(digits(token)?),
            // 0 is as good as none: no item has it.
            b'E' => self.cas = Some(digits(token)?).filter(|&cas| cas != 0),
            b'N' => self.create = Some(time(token)?),
            b'R' => {
                self.recache = Some(time(token)?);
                self.touch_before_recache = self.touch.is_some();
            }
            _ => {
                self.touch = Some(time(token)?);
                self.touch_behind_create = self.create.is_some();
            }
        }
        Some(())
    }

    fn creation(&self) -> Option<Creation> {
        Some(Creation { exptime: self.create?, cas: self.cas, binary_key: self.binary_key })
    }

    fn form<'b>(&self, command: Command, words: &'b [u8], sent_bytes: u64) -> Form<'b> {
        Form::Meta(Meta {
            command,
            words: Cow::Borrowed(words),
            quiet: self.quiet,
            value: self.value,
            binary_key: self.binary_key,
            sent_bytes,
        })
    }
}

/// An unsigned number without a sign.
fn digits(token: &[u8]) -> Option<u64> {
    unsigned(token).filter(|_| token[0].is_ascii_digit())
}

/// A 32-bit number that only a minus may stand before. What is larger is refused here, not cut as in
/// the classic commands.
fn time(token: &[u8]) -> Option<Exptime> {
    let number = integer(token).filter(|_| token[0] != b'+')?;
    i32::try_from(number).ok().map(|number| Exptime(number.into()))
}

/// What a key in base64 stands for. As memcached reads it: other characters are passed over, and what
/// follows a padded group of four is not looked at.
fn decode_key(sent: &[u8]) -> Option<KeyBuf> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut text: Vec<u8> = sent.iter().copied().filter(is_of_it).collect();
    if let Some(group) = text.chunks(4).position(|group| group.contains(&b'=')) {
        text.truncate(group * 4 + 4);
    }
    let bytes = BASE64.decode(text).ok()?;
    Key::new(&bytes).map(Key::to_owned)
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

/// Puts together a line that has no data behind it.
fn operate(
    line: &[u8],
    command: Command,
    judge: impl FnOnce(Reject) -> Reject,
    op: impl FnOnce(&Flags) -> Result<Op, Reject>,
) -> Line<'_> {
    let parsed = (|| {
        let (sent, words) = key_and_words(line)?;
        let read = check_count(line).and_then(|()| Flags::read(sent, Tokens::new(words)));
        let (flags, key) = read.map_err(judge)?;
        let op = op(&flags)?;
        if flags.opaque_too_long {
            return Err(Reject::OpaqueTooLong);
        }
        Ok(Line::Operate { key, op, form: flags.form(command, words, 0) })
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
                touch_last: flags.touch_behind_create,
            }))
        },
    )
}

/// `me key [b]`, and words that mean nothing.
pub(super) fn debug(line: &[u8]) -> Line<'_> {
    let parsed = (|| {
        let (sent, words) = key_and_words(line)?;
        let binary_key = Tokens::new(words).any(|word| word == b"b");
        let words = if binary_key { b"b".as_slice() } else { b"" };
        let (flags, key) = Flags::read(sent, Tokens::new(words)).map_err(|_| Reject::BadFormat)?;
        let op = Op::Fetch(Fetch { unnoticed: true, ..Fetch::default() });
        Ok(Line::Operate { key, op, form: flags.form(Command::Debug, words, 0) })
    })();
    parsed.unwrap_or_else(|why| reject(why, false))
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
                empty: flags.empty.then_some(flags.stored_as),
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
                create: flags.creation().map(|creation| {
                    let touch = flags.touch.filter(|_| flags.touch_behind_create);
                    (
                        flags.initial,
                        Creation { exptime: touch.unwrap_or(creation.exptime), ..creation },
                    )
                }),
            }))
        },
    )
}

/// `ms key length flags`, with a value behind it.
pub(super) fn store(line: &[u8]) -> Line<'_> {
    let mut tokens = Tokens::new(line);
    let length = tokens.nth(2).filter(|word| word[0].is_ascii_digit()).and_then(value_length);
    let words = tokens.rest();
    let Some(value_bytes) = length else { return reject(Reject::BadFormat, false) };
    let parsed = (|| {
        let (sent, _) = key_and_words(line)?;
        check_count(line)?;
        let (flags, key) = Flags::read(sent, Tokens::new(words))?;
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
        let joins = matches!(mode, Mode::Append | Mode::Prepend);
        let how = Store {
            mode,
            flags: flags.stored_as,
            exptime: flags.touch.unwrap_or_default(),
            // memcached: 0 is no condition for what is joined.
            compare: flags.compare.filter(|&cas| cas != 0 || !joins),
            invalidate: flags.invalidate,
            cas: flags.cas,
            create: flags.create,
            binary_key: flags.binary_key,
            stored: None,
        };
        let form = flags.form(Command::Set, words, value_bytes);
        Ok(Line::Store(StoreLine { key, how, value_bytes, form }))
    })();
    parsed.unwrap_or_else(|reject| Line::Reject {
        reject,
        quiet: false,
        swallow: Some(value_bytes + 2),
    })
}
