//! What a connection's bytes mean before its client has logged in.
//!
//! Stands in front of the [`Decoder`](super::Decoder), which sees only what comes behind a login in text; a
//! login by frames is the decoder's own. Knows no accounts: whether a user and a password belong together is asked outside. What it keeps is bounded
//! by the longest account, whatever length a client announces. Holds to one rule: however the bytes are cut, the
//! same comes out.

use std::fmt;

use crate::limits::{ACCOUNT_BYTES_MAX, LINE_BYTES_MAX, LOGIN_BYTES_MAX, LOGIN_LINE_BYTES_LEAST};
use crate::protocol::tokens::{Tokens, unsigned};

/// A client that has yet to log in.
#[derive(Debug)]
pub struct Login(State);

#[derive(Debug)]
enum State {
    /// A line of text comes next (`-Y`).
    Line,
    /// Inside the data behind `set <any> <any> <any> <length>`.
    Data(Data),
}

/// What the bytes come to so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The bytes end inside something. `used` of them are remembered here or not needed any more.
    NeedMore { used: usize },
    /// A user and a password. If they belong together, all behind is the decoder's.
    Attempt { credentials: Credentials, used: usize },
    /// Not acceptable.
    Refuse { refusal: Refusal, used: usize },
}

/// A line that is answered, or an end without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Any command.
    Unauthenticated,
    /// A login with more than [`LOGIN_BYTES_MAX`] bytes.
    TooLong,
    /// The data does not end where its length says.
    BadTermination,
    /// There is no space in it.
    BadFormat,
    /// A line that is too short or too long: closed without a word.
    Closed,
}

impl Refusal {
    /// The line to answer, with its line end; `None` where memcached closes without a word.
    pub fn line(self) -> Option<&'static [u8]> {
        match self {
            Self::Unauthenticated => Some(b"CLIENT_ERROR unauthenticated\r\n"),
            Self::TooLong => Some(b"CLIENT_ERROR auth token too long\r\n"),
            Self::BadTermination => Some(b"CLIENT_ERROR bad command line termination\r\n"),
            Self::BadFormat => Some(b"CLIENT_ERROR bad authentication token format\r\n"),
            Self::Closed => None,
        }
    }
}

/// What a client says who it is.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    data: Vec<u8>,
    /// Where the space between user and password is.
    space: usize,
}

impl Credentials {
    /// The user: all before the first space.
    pub fn user(&self) -> &[u8] {
        &self.data[..self.space]
    }

    /// The password: all behind it, further spaces included. 1.6.18 ends it at the next one.
    pub fn password(&self) -> &[u8] {
        self.data.get(self.space + 1..).unwrap_or_default()
    }
}

/// Nothing of it.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Data that is arriving.
struct Data {
    /// Bytes that are missing before the `\r\n`.
    left: usize,
    /// Its beginning: one byte more than anybody's, so that what is cut off is nobody's.
    kept: Vec<u8>,
    has_space: bool,
    /// The first byte behind it, if that has come.
    ending: Option<u8>,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} left)", self.left)
    }
}

impl Login {
    /// Of a client that logs in by text.
    pub fn by_text() -> Self {
        Self(State::Line)
    }

    /// Says what `bytes` mean: those that the last call did not use, and those that came since.
    pub fn decode(&mut self, bytes: &[u8]) -> Step {
        match &mut self.0 {
            State::Line => self.line(bytes),
            State::Data(_) => self.data(bytes, 0),
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Step {
        let newline = memchr::memchr(b'\n', bytes);
        let length = newline.map_or(bytes.len(), |at| at + 1);
        if length > LINE_BYTES_MAX || newline.is_some() && length < LOGIN_LINE_BYTES_LEAST {
            return Step::Refuse { refusal: Refusal::Closed, used: bytes.len() };
        }
        let Some(newline) = newline else { return Step::NeedMore { used: 0 } };
        let line = &bytes[..newline];
        let refuse = |refusal| Step::Refuse { refusal, used: length };
        match announced(line.strip_suffix(b"\r").unwrap_or(line)) {
            None => refuse(Refusal::Unauthenticated),
            Some(announced) if announced > LOGIN_BYTES_MAX => refuse(Refusal::TooLong),
            Some(announced) => {
                let left = announced as usize;
                let kept = Vec::with_capacity(left.min(ACCOUNT_BYTES_MAX + 1));
                self.0 = State::Data(Data { left, kept, has_space: false, ending: None });
                self.data(bytes, length)
            }
        }
    }

    /// The data goes on from offset `at`.
    fn data(&mut self, bytes: &[u8], at: usize) -> Step {
        let State::Data(data) = &mut self.0 else { unreachable!("only called inside data") };
        let (piece, behind) = bytes[at..].split_at(data.left.min(bytes.len() - at));
        data.take(piece);
        let (ending, used) = match (data.ending, behind) {
            (_, []) => return Step::NeedMore { used: bytes.len() },
            (None, [first]) => {
                data.ending = Some(*first);
                return Step::NeedMore { used: bytes.len() };
            }
            (None, [first, second, ..]) => ([*first, *second], at + piece.len() + 2),
            (Some(first), [second, ..]) => ([first, *second], at + 1),
        };
        let State::Data(data) = std::mem::replace(&mut self.0, State::Line) else {
            unreachable!("it is data: see above")
        };
        if ending != *b"\r\n" {
            return Step::Refuse { refusal: Refusal::BadTermination, used };
        }
        data.credentials()
            .map_or(Step::Refuse { refusal: Refusal::BadFormat, used }, |credentials| {
                Step::Attempt { credentials, used }
            })
    }
}

impl Data {
    fn take(&mut self, piece: &[u8]) {
        self.left -= piece.len();
        self.has_space |= piece.contains(&b' ');
        let room = ACCOUNT_BYTES_MAX + 1 - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn credentials(self) -> Option<Credentials> {
        let space = memchr::memchr(b' ', &self.kept);
        // A space behind what is kept ends a user who is longer than anybody.
        let space = space.or(self.has_space.then_some(self.kept.len()))?;
        Some(Credentials { data: self.kept, space })
    }
}

/// The length in a line that announces a login; none for any other line.
fn announced(line: &[u8]) -> Option<u32> {
    let mut words = Tokens::new(line);
    // Key, flags and expiry may be anything, and so may what follows the length.
    let is_set = words.next() == Some(b"set");
    let length = words.nth(3).filter(|_| is_set)?;
    u32::try_from(unsigned(length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client's bytes come to, given in pieces of this size: `user|password` or a refusal.
    fn told(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut login = Login::by_text();
        let (mut told, mut unused, mut most) = (Vec::new(), Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            unused.extend_from_slice(piece);
            loop {
                let (used, refusal) = match login.decode(&unused) {
                    Step::NeedMore { used } => {
                        unused.drain(..used);
                        break;
                    }
                    Step::Attempt { credentials, used } => {
                        let (user, password) = (credentials.user(), credentials.password());
                        most = most.max(user.len() + password.len());
                        let text = format!("{}|{}", user.escape_ascii(), password.escape_ascii());
                        told.push(text);
                        (used, None)
                    }
                    Step::Refuse { refusal, used } => {
                        told.push(format!("{refusal:?}"));
                        (used, Some(refusal))
                    }
                };
                unused.drain(..used);
                if refusal == Some(Refusal::Closed) {
                    return told;
                }
            }
        }
        assert!(most <= ACCOUNT_BYTES_MAX + 1, "{most}");
        told
    }

    #[test]
    fn however_it_is_cut() {
        let space_late = format!("set k 0 0 401\r\n{} x\r\nversion\r\n", "u".repeat(399));
        let none = format!("set k 0 0 16384\r\n{}\r\nversion\r\n", "u".repeat(16_384));
        let cases: [(&[u8], &[&str]); 29] = [
            (b"set k 0 0 7\r\nfoo bar\r\n", &["foo|bar"]),
            (b"set k 0 0 7\nfoo bar\r\n", &["foo|bar"]),
            (b"set k 0 0 7 noreply x\r\nfoo bar\r\n", &["foo|bar"]),
            (b" set  k x y  +7 \r\nfoo bar\r\n", &["foo|bar"]),
            (b"set k 0 0 11\r\nfoo bar baz\r\n", &["foo|bar baz"]),
            (b"set k 0 0 8\r\nfoo  bar\r\n", &["foo| bar"]),
            (b"set k 0 0 8\r\n foo bar\r\n", &["|foo bar"]),
            (b"set k 0 0 1\r\n \r\n", &["|"]),
            (b"set k 0 0 7\r\na\r\nb cd\r\nversion\r\n", &["a\\r\\nb|cd", "Unauthenticated"]),
            (b"set k 0 0 6\r\nfoobar\r\nversion\r\n", &["BadFormat", "Unauthenticated"]),
            (b"set k 0 0 0\r\n\r\nversion\r\n", &["BadFormat", "Unauthenticated"]),
            (b"set k 0 0 7\r\nfoo barXYversion\r\n", &["BadTermination", "Unauthenticated"]),
            (b"set k 0 0 7\r\nfoo bar\n\nversion\r\n", &["BadTermination", "Unauthenticated"]),
            (b"set k 0 0 7\r\nfoo bar\r\rversion\r\n", &["BadTermination", "Unauthenticated"]),
            (b"set k 0 0 -1\r\nfoo bar\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"set k 0 0 7x\r\nfoo bar\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"set k 0 0\r\nfoo bar\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"set key 5\r\nhello\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"SET k 0 0 7\r\nfoo bar\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"setx k 0 0 7\r\nfoo bar\r\n", &["Unauthenticated", "Unauthenticated"]),
            (b"set k 0 0 2147483646\r\nversion\r\n", &["TooLong", "Unauthenticated"]),
            (b"set k 0 0 4294967295\r\n", &["TooLong"]),
            (b"set k 0 0 4294967296\r\n", &["Unauthenticated"]),
            (b"set k 0 0 16385\r\n", &["TooLong"]),
            (none.as_bytes(), &["BadFormat", "Unauthenticated"]),
            (b"quit\r\n", &["Unauthenticated"]),
            (b"quit\n", &["Closed"]),
            (b"\r\n", &["Closed"]),
            (&[b'x'; LINE_BYTES_MAX + 1], &["Closed"]),
        ];
        for (bytes, expected) in cases {
            for piece in [1, 2, 3, 7, 100, bytes.len()] {
                assert_eq!(told(bytes, piece), expected, "{} by {piece}", bytes.escape_ascii());
            }
        }
        assert!(told(&[b'x'; LINE_BYTES_MAX], 1).is_empty(), "it may go on");
        for piece in [1, 100, space_late.len()] {
            let told = told(space_late.as_bytes(), piece);
            assert_eq!(told, [&format!("{}|", "u".repeat(255)), "Unauthenticated"], "by {piece}");
        }
    }

    #[test]
    fn debug_tells_no_secret() {
        let mut login = Login::by_text();
        login.decode(b"set k 0 0 12\r\nfoo secret");
        assert_eq!(format!("{login:?}"), "Login(Data(Data(2 left)))");
        let step = Login::by_text().decode(b"set k 0 0 10\r\nfoo secret\r\n");
        assert!(!format!("{step:?}").contains("secret"), "{step:?}");
    }
}
