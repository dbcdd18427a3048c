//! The words of the binary protocol: opcodes, statuses, and the frame that says one of them.
//!
//! Numbers and texts are memcached's. A quiet opcode is the same command as its loud one.

use crate::cache::{Direction, Mode};
use crate::protocol::binary::HEADER_BYTES;

/// The first byte of a response.
const RESPONSE: u8 = 0x81;

/// What an opcode stands for, quiet or loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Fetch,
    FetchAndTouch,
    Touch,
    Store(Mode),
    Delete,
    Arithmetic(Direction),
    Flush,
    Noop,
    Version,
    Quit,
    Stats,
    SaslList,
    SaslLogin,
}

/// What of a request's header its answers repeat: they are written by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    opcode: u8,
    opaque: [u8; 4],
}

impl Frame {
    pub(super) fn new(opcode: u8, opaque: [u8; 4]) -> Self {
        Self { opcode, opaque }
    }

    /// `None` for opcodes that nobody answers; 0x1b, `verbosity`, is one of them in memcached.
    pub(super) fn command(self) -> Option<Command> {
        Some(match self.opcode {
            0x00 | 0x09 | 0x0c | 0x0d => Command::Fetch,
            0x01 | 0x11 => Command::Store(Mode::Set),
            0x02 | 0x12 => Command::Store(Mode::Add),
            0x03 | 0x13 => Command::Store(Mode::Replace),
            0x04 | 0x14 => Command::Delete,
            0x05 | 0x15 => Command::Arithmetic(Direction::Up),
            0x06 | 0x16 => Command::Arithmetic(Direction::Down),
            0x07 | 0x17 => Command::Quit,
            0x08 | 0x18 => Command::Flush,
            0x0a => Command::Noop,
            0x0b => Command::Version,
            0x0e | 0x19 => Command::Store(Mode::Append),
            0x0f | 0x1a => Command::Store(Mode::Prepend),
            0x10 => Command::Stats,
            0x1c => Command::Touch,
            0x1d | 0x1e | 0x23 | 0x24 => Command::FetchAndTouch,
            0x20 => Command::SaslList,
            0x21 | 0x22 => Command::SaslLogin,
            _ => return None,
        })
    }

    /// Whether it is for those, too, who have not logged in.
    pub(super) fn is_before_login(self) -> bool {
        matches!(self.command(), Some(Command::SaslList | Command::SaslLogin | Command::Version))
    }

    /// Whether a login goes on rather than begins: PLAIN has nothing to go on with.
    pub(in crate::protocol) fn is_step(self) -> bool {
        self.opcode == 0x22
    }

    /// The mode of a command that stores, whatever its cas makes of it.
    pub(in crate::protocol) fn mode(self) -> Option<Mode> {
        match self.command() {
            Some(Command::Store(mode)) => Some(mode),
            _ => None,
        }
    }

    /// What went as expected is not answered: for a fetch, that there is nothing.
    pub(in crate::protocol) fn is_quiet(self) -> bool {
        matches!(self.opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
    }

    /// `getk` and `gatk`: the answer has the key.
    pub(in crate::protocol) fn tells_key(self) -> bool {
        matches!(self.opcode, 0x0c | 0x0d | 0x23 | 0x24)
    }

    /// Whether the answer may carry an item's value.
    pub(in crate::protocol) fn carries_value(self) -> bool {
        matches!(self.command(), Some(Command::Fetch | Command::FetchAndTouch))
    }

    /// A response's header, for a body of this length with the key and the extras in it.
    pub(in crate::protocol) fn header(
        self,
        status: Status,
        cas: u64,
        extras_bytes: u8,
        key_bytes: usize,
        body_bytes: usize,
    ) -> [u8; HEADER_BYTES] {
        let key_bytes = u16::try_from(key_bytes).expect("a key has 250 bytes at most");
        let body_bytes = u32::try_from(body_bytes).expect("a value has 1 GiB at most");
        let mut header = [0; HEADER_BYTES];
        (header[0], header[1], header[4]) = (RESPONSE, self.opcode, extras_bytes);
        header[2..4].copy_from_slice(&key_bytes.to_be_bytes());
        header[6..8].copy_from_slice(&(status as u16).to_be_bytes());
        header[8..12].copy_from_slice(&body_bytes.to_be_bytes());
        header[12..16].copy_from_slice(&self.opaque);
        header[16..].copy_from_slice(&cas.to_be_bytes());
        header
    }

    /// A whole response with a text for its body.
    pub(in crate::protocol) fn says(self, status: Status, text: &[u8]) -> Vec<u8> {
        [self.header(status, 0, 0, 0, text.len()).as_slice(), text].concat()
    }

    /// What went wrong, in memcached's words.
    pub(in crate::protocol) fn refused(self, status: Status) -> Vec<u8> {
        self.says(status, status.text().as_bytes())
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(in crate::protocol) enum Status {
    Success = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    InvalidArguments = 0x04,
    NotStored = 0x05,
    NotNumeric = 0x06,
    AuthFailure = 0x20,
    UnknownCommand = 0x81,
    OutOfMemory = 0x82,
    /// In the protocol's list, but never said by memcached, like the next two.
    Internal = 0x84,
    Busy = 0x85,
    Temporary = 0x86,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::Success => "",
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::InvalidArguments => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NotNumeric => "Non-numeric server-side value for incr or decr",
            Self::AuthFailure => "Auth failure.",
            Self::UnknownCommand => "Unknown command",
            Self::OutOfMemory => "Out of memory",
            Self::Internal => "Internal error",
            Self::Busy => "Busy",
            Self::Temporary => "Temporary failure",
        }
    }
}

/// A frame that is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub(in crate::protocol) frame: Frame,
    pub(in crate::protocol) status: Status,
    pub(in crate::protocol) closes: bool,
}

impl Refusal {
    pub(in crate::protocol) fn answer(self) -> Vec<u8> {
        self.frame.refused(self.status)
    }
}
