//! What is not acceptable, and what becomes of the connection that sent it.

use std::borrow::Cow;

use crate::protocol::binary::Refusal;

/// Something a client sent that is no request. Its line is memcached's, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// No such command.
    UnknownCommand,
    /// Too few words, a bad number, a key over 250 bytes.
    BadFormat,
    /// `delete` with words it does not know.
    DeleteUsage,
    /// The old dialect's `set` with a size that is none.
    SimpleSetUsage,
    /// A value that does not end where its length says.
    BadDataChunk,
    /// A value that is too large for the limits, where no operation follows from it.
    TooLarge,
    /// An exptime that is no number.
    InvalidExptime,
    /// A delta that is no number.
    InvalidDelta,
    /// A meta flag that does not exist.
    InvalidFlag,
    /// A meta flag twice, or one beyond ASCII.
    DuplicateFlag,
    /// More than 20 words in a meta line.
    TooManyFlags,
    /// A meta flag without the number it needs.
    BadToken,
    /// `J` of `ma` without a number.
    InvalidInitial,
    /// `D` of `ma` without a number.
    InvalidDeltaValue,
    /// A key that is no base64, behind `b`.
    UndecodableKey,
    /// An opaque token over 31 bytes.
    OpaqueTooLong,
    /// Anything wrong with the flags of `ma` but its mode.
    InvalidOrDuplicateFlag,
    /// `M` of `ms`.
    InvalidStoreMode,
    /// `M` of `ma`.
    InvalidArithmeticMode,
    /// `shutdown` with a mode other than `graceful`.
    InvalidShutdownMode,
    /// `cache_memlimit` under 8 MB.
    MemlimitTooSmall,
    /// `cache_memlimit` over 10^9 MB.
    MemlimitFailed,
    /// `stats cachedump` with too few words.
    BadLine,
    /// `stats cachedump` with a class that memcached has not.
    IllegalClass,
    /// `lru_crawler` with one.
    BadClass,
    /// No newline in the first 2,048 bytes: closed without a word, as memcached does.
    LineTooLong,
    /// An HTTP request: closed without a word, as memcached does.
    Http,
    /// Where a binary frame should begin, something else does: closed without a word, as memcached does.
    NoFrame,
    /// A binary frame, which is answered by one.
    Frame(Refusal),
}

impl Reject {
    /// What to answer: a line with its line end, or a frame; `None` where memcached closes without a word.
    pub fn answer(self) -> Option<Cow<'static, [u8]>> {
        let line: &[u8] = match self {
            Self::UnknownCommand => b"ERROR\r\n",
            Self::BadFormat => b"CLIENT_ERROR bad command line format\r\n",
            Self::DeleteUsage => {
                b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
            }
            Self::SimpleSetUsage => {
                b"CLIENT_ERROR bad command line format.  Usage: set <key> <size> [noreply]\r\n"
            }
            Self::BadDataChunk => b"CLIENT_ERROR bad data chunk\r\n",
            Self::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
            Self::InvalidExptime => b"CLIENT_ERROR invalid exptime argument\r\n",
            Self::InvalidDelta => b"CLIENT_ERROR invalid numeric delta argument\r\n",
            Self::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Self::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Self::TooManyFlags => b"CLIENT_ERROR options flags are too long\r\n",
            Self::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Self::InvalidInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Self::InvalidDeltaValue => b"CLIENT_ERROR invalid numeric delta value\r\n",
            Self::UndecodableKey => b"CLIENT_ERROR error decoding key\r\n",
            Self::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
            Self::InvalidOrDuplicateFlag => b"CLIENT_ERROR invalid or duplicate flag\r\n",
            Self::InvalidStoreMode => b"CLIENT_ERROR invalid mode for ms M token\r\n",
            Self::InvalidArithmeticMode => b"CLIENT_ERROR invalid mode for ma M token\r\n",
            Self::InvalidShutdownMode => b"CLIENT_ERROR invalid shutdown mode\r\n",
            Self::MemlimitTooSmall => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
            Self::MemlimitFailed => {
                b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
            }
            Self::BadLine => b"CLIENT_ERROR bad command line\r\n",
            Self::IllegalClass => b"CLIENT_ERROR Illegal slab id\r\n",
            Self::BadClass => b"BADCLASS invalid class id\r\n",
            Self::Frame(refusal) => return Some(refusal.answer().into()),
            Self::LineTooLong | Self::Http | Self::NoFrame => return None,
        };
        Some(line.into())
    }

    /// Whether the connection ends with it.
    pub fn closes(self) -> bool {
        match self {
            Self::LineTooLong | Self::Http | Self::NoFrame => true,
            Self::Frame(refusal) => refusal.closes,
            _ => false,
        }
    }
}
