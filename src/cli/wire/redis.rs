//! A server that speaks Redis's protocol: where it is and who to be there, commands out, answers in.
//!
//! A password in an address is sent at once, for whoever wrote it there meant this server; that of `--user`
//! only where the server asks for one. What must stay true: an answer longer than the caller allows is read
//! past and never kept.

use std::time::Duration;
use std::{fmt, io};

use socket2::Socket;

use super::connection::{Connection, Trouble};
use super::resp::{self, Head, Step};
use super::{Address, Terms};
use crate::cli::{Exit, Failure};

/// The forms of an address, for a help text.
pub(crate) const REDIS_FORMS: &str =
    "redis://[user:password@]host[:port][/db], host:port, unix:FILE or a path";

const PORT_DEFAULT: u16 = 6379;

/// Words of an answer that a message shows.
const SHOWN_BYTES_MAX: usize = 200;

/// Where a server is, as whom to log in there, and which of its databases is meant.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    address: Address,
    /// User, empty for the default one, and password.
    login: Option<(Vec<u8>, Vec<u8>)>,
    database: u32,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.database {
            0 => write!(f, "{}", self.address),
            database => write!(f, "{}/{database}", self.address),
        }
    }
}

impl Place {
    /// What was written, judged. What is wrong is not repeated, for it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            let what = format!("the address of the Redis server {what}; write {REDIS_FORMS}");
            Failure::new(Exit::Usage, what)
        };
        if text.starts_with("rediss://") {
            return Err(wrong("asks for TLS: that is redis:// with --tls"));
        }
        let Some(rest) = text.strip_prefix("redis://") else {
            if text.contains("://") || text.contains('@') {
                return Err(wrong("is of a kind that is not known"));
            }
            let address = Address::parse_with(text, PORT_DEFAULT)?;
            return Ok(Self { address, login: None, database: 0 });
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => {
                let (user, password) = login.split_once(':').unwrap_or(("", login));
                let pair = decode(user).zip(decode(password)).filter(|(_, word)| !word.is_empty());
                (Some(pair.ok_or_else(|| wrong("has no password that can be read"))?), rest)
            }
            None => (None, rest),
        };
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            digits => digits.parse().map_err(|_| wrong("has no number as its database"))?,
        };
        let address = match host {
            "" => "127.0.0.1",
            host => host,
        };
        let address = Address::parse_with(address, PORT_DEFAULT)
            .ok()
            .filter(|address| matches!(address, Address::Tcp { .. }))
            .ok_or_else(|| wrong("has no host and port that can be understood"))?;
        Ok(Self { address, login, database })
    }
}

/// `%XX` as in every URL.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        rest = others;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, others) = others.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = others;
    }
    Some(bytes)
}

/// An answer, or an element of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Simple(Vec<u8>),
    /// A server's words for no.
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// A bulk of more bytes than may be kept.
    Long(u64),
    /// So many answers follow.
    Array(u64),
    Null,
}

/// A connection on which commands are sent and answered in their order.
#[derive(Debug)]
pub(crate) struct Redis {
    connection: Connection,
    place: Place,
}

impl Redis {
    /// Connects, logs in where that is asked for, and chooses the database.
    pub(crate) fn open(place: &Place, terms: &Terms) -> Result<Self, Failure> {
        let connection = Connection::reach(&place.address, terms)?;
        let mut redis = Self { connection, place: place.clone() };
        if let Some((user, password)) = &place.login {
            redis.log_in(user, password)?;
        }
        match redis.ask(&[b"PING"])? {
            Answer::Simple(_) => {}
            Answer::Error(words) if words.starts_with(b"NOAUTH") && place.login.is_none() => {
                let Some(login) = &terms.login else { return Err(redis.refused(&words)) };
                let (user, password) = login.words();
                redis.log_in(user, password)?;
                redis.expect_simple(&[b"PING"])?;
            }
            Answer::Error(words) => return Err(redis.refused(&words)),
            other => return Err(redis.strange(&other).into()),
        }
        if place.database > 0 {
            redis.expect_simple(&[b"SELECT", place.database.to_string().as_bytes()])?;
        }
        Ok(redis)
    }

    /// A server at the other end of this socket, who has nobody log in.
    pub(crate) fn on_socket(socket: Socket, place: &Place, patience: Duration) -> io::Result<Self> {
        let connection = Connection::on_socket(socket, &place.address, patience)?;
        Ok(Self { connection, place: place.clone() })
    }

    fn log_in(&mut self, user: &[u8], password: &[u8]) -> Result<(), Failure> {
        // Servers before Redis 6 have no users, and the word alone is that of the default one.
        if user.is_empty() || user == b"default" {
            self.expect_simple(&[b"AUTH", password])
        } else {
            self.expect_simple(&[b"AUTH", user, password])
        }
    }

    fn expect_simple(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        match self.ask(words)? {
            Answer::Simple(_) => Ok(()),
            Answer::Error(words) => Err(self.refused(&words)),
            other => Err(self.strange(&other).into()),
        }
    }

    /// Has answers still come in when a signal has, as long as they come: they say what was done.
    pub(crate) fn hear_out(&mut self) {
        self.connection.hear_out();
    }

    /// Sends a command, sooner or later.
    pub(crate) fn send(&mut self, words: &[&[u8]]) -> Result<(), Trouble> {
        let mut command = Vec::new();
        resp::write(&mut command, words);
        self.connection.write(&command)
    }

    /// Sends a command and waits for its answer, which has to be short.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Result<Answer, Trouble> {
        self.send(words)?;
        self.answer(SHOWN_BYTES_MAX as u64)
    }

    /// The next answer, or the next element of one; a bulk is kept up to so many bytes.
    pub(crate) fn answer(&mut self, bulk_bytes_max: u64) -> Result<Answer, Trouble> {
        let bytes = loop {
            match resp::head(self.connection.received()) {
                Step::NeedMore => self.connection.fill()?,
                Step::Foreign => {
                    let bytes = self.connection.received();
                    let shown = bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii();
                    let what = format!("{} answered \"{shown}\"", self.place);
                    return Err(Trouble::NotRedis(what));
                }
                Step::Head { head, used } => {
                    let answer = match head {
                        Head::Simple(words) => Some(Answer::Simple(words.to_vec())),
                        Head::Error(words) => Some(Answer::Error(words.to_vec())),
                        Head::Integer(number) => Some(Answer::Integer(number)),
                        Head::Array(elements) => Some(Answer::Array(elements)),
                        Head::Null => Some(Answer::Null),
                        Head::Bulk(_) => None,
                    };
                    let bulk_bytes = if let Head::Bulk(bytes) = head { bytes } else { 0 };
                    self.connection.used(used);
                    match answer {
                        Some(answer) => return Ok(answer),
                        None => break bulk_bytes,
                    }
                }
            }
        };
        self.bulk(bytes, bulk_bytes_max)
    }

    fn bulk(&mut self, bytes: u64, bytes_max: u64) -> Result<Answer, Trouble> {
        let (mut kept, mut left) = (Vec::new(), bytes);
        while left > 0 {
            let received = self.connection.received();
            let there =
                usize::try_from(left).map_or(received.len(), |left| left.min(received.len()));
            if bytes <= bytes_max {
                kept.extend_from_slice(&received[..there]);
            }
            self.connection.used(there);
            left -= there as u64;
            if left > 0 {
                self.connection.fill()?;
            }
        }
        while self.connection.received().len() < 2 {
            self.connection.fill()?;
        }
        if !self.connection.received().starts_with(b"\r\n") {
            let what = format!("{} sent a value that is longer than was announced", self.place);
            return Err(Trouble::NotRedis(what));
        }
        self.connection.used(2);
        Ok(if bytes <= bytes_max { Answer::Bulk(kept) } else { Answer::Long(bytes) })
    }

    /// For an answer that does not fit what was asked.
    pub(crate) fn strange(&self, answer: &Answer) -> Trouble {
        let shown = match answer {
            Answer::Simple(words) | Answer::Error(words) | Answer::Bulk(words) => {
                words[..words.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string()
            }
            Answer::Integer(number) => number.to_string(),
            Answer::Long(bytes) => format!("{bytes} bytes"),
            Answer::Array(elements) => format!("a list of {elements}"),
            Answer::Null => "nothing".to_owned(),
        };
        Trouble::NotRedis(format!("{} answered \"{shown}\"", self.place))
    }

    /// The end of a tool whose command was refused with these words.
    pub(crate) fn refused(&self, words: &[u8]) -> Failure {
        let (exit, todo) = kind(words).unwrap_or((Exit::Unavailable, "check what it can do"));
        let shown = words[..words.len().min(SHOWN_BYTES_MAX)].escape_ascii();
        Failure::new(exit, format!("{} says {shown}; {todo}", self.place))
    }
}

/// Whether an error is about the server as a whole, so that the next command would get it too.
pub(crate) fn is_general(words: &[u8]) -> bool {
    kind(words).is_some()
}

/// What to do about an error that does not come from one command's words, and the exit code for it.
fn kind(words: &[u8]) -> Option<(Exit, &'static str)> {
    let first = words.split(|&byte| byte == b' ').next().unwrap_or_default();
    Some(match first {
        b"NOAUTH" => (Exit::Permission, "give --user, or redis://user:password@host"),
        b"WRONGPASS" => (Exit::Permission, "check user and password"),
        b"NOPERM" => (Exit::Permission, "log in as a user who may do that"),
        b"DENIED" => (Exit::Permission, "ask from its own machine, or give it a password"),
        b"LOADING" => (Exit::Temporary, "start again when it has loaded its data"),
        b"BUSY" | b"MASTERDOWN" | b"TRYAGAIN" | b"NOREPLICAS" => {
            (Exit::Temporary, "start again when it is well")
        }
        b"MISCONF" => (Exit::Temporary, "see to what its log says, then start again"),
        b"OOM" => (Exit::CannotCreate, "raise its maxmemory, or let it evict"),
        b"READONLY" => (Exit::Unavailable, "it is a replica, name its master"),
        b"MOVED" | b"ASK" | b"CLUSTERDOWN" => {
            (Exit::Unavailable, "it is one node of a cluster and has not all keys, name the others")
        }
        _ if words.starts_with(b"ERR invalid password") => {
            (Exit::Permission, "check user and password")
        }
        _ if words.starts_with(b"ERR max number of clients") => {
            (Exit::Temporary, "start again when it has fewer clients")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text");
        for (written, shown, login) in [
            ("redis://localhost", "localhost:6379", None),
            ("redis://", "127.0.0.1:6379", None),
            ("redis://host:1/3", "host:1/3", None),
            ("redis://[::1]:1/0", "[::1]:1", None),
            ("redis://:p%40ss%3a@host", "host:6379", Some(("", "p@ss:"))),
            ("redis://me:p@ss@host:1/", "host:1", Some(("me", "p@ss"))),
            ("localhost", "localhost:6379", None),
            (":7000", "127.0.0.1:7000", None),
            ("unix:sock", "unix:sock", None),
            ("/run/redis.sock", "unix:/run/redis.sock", None),
        ] {
            let place = Place::parse(written).expect(written);
            assert_eq!(place.to_string(), shown, "{written}");
            let found = place.login.as_ref().map(|(user, word)| (text(user), text(word)));
            let login = login.map(|(user, word)| (user.to_owned(), word.to_owned()));
            assert_eq!(found, login, "{written}");
            assert!(!format!("{place:?}").contains("p@ss"));
        }
        for written in [
            "rediss://secret@host",
            "http://secret@host",
            "secret@host",
            "redis://me:@host",
            "redis://me:%zz@host",
            "redis://me:secret@host:x",
            "redis://me:secret@host/x",
            "redis://host/1/2",
        ] {
            let failure = Place::parse(written).expect_err(written);
            assert_eq!(failure.exit, Exit::Usage, "{written}");
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
    }

    #[test]
    fn what_is_wrong_with_the_server_is_not_what_is_wrong_with_a_command() {
        for words in ["OOM command not allowed", "READONLY You can't", "NOAUTH", "LOADING Redis"] {
            assert!(is_general(words.as_bytes()), "{words}");
        }
        for words in ["ERR invalid expire time in 'set' command", "WRONGTYPE Operation", ""] {
            assert!(!is_general(words.as_bytes()), "{words}");
        }
    }
}
