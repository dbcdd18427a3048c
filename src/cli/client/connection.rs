//! One connection to a server: bytes out, replies in, and nobody waits without end.
//!
//! Knows no commands. Every way in which a connection ends is a [`Trouble`] that says what to do about
//! it; making a new one is the caller's decision, for only the caller knows whether a request may be
//! sent twice.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::ToSocketAddrs;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::cli::client::address::Address;
use crate::cli::{Exit, Failure};
use crate::limits::REPLY_BUFFER_BYTES;
use crate::protocol::reply::{Piece, Reader, Shape, Step};

/// Why there is no answer, or no place to put it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection could be made.
    Unreachable(String),
    /// There was a connection, and it ended.
    Lost(String),
    /// What came is not memcached's protocol.
    Malformed(&'static str),
    /// The answer came, and could not be written where it should go.
    Output(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "{why}"),
            Self::Lost(why) => write!(f, "the connection was lost ({why})"),
            Self::Malformed(why) => write!(f, "the answer is not memcached's protocol: {why}"),
            Self::Output(error) => write!(f, "writing the answer failed: {error}"),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let (exit, advice) = match &trouble {
            Trouble::Unreachable(_) => (Exit::Unavailable, "check that a server listens there"),
            Trouble::Lost(_) => (
                Exit::Io,
                "the command may or may not have been carried out: look before repeating",
            ),
            Trouble::Malformed(_) => (Exit::Data, "check what listens there"),
            Trouble::Output(_) => (Exit::Io, "check where it leads"),
        };
        Self::new(exit, format!("{trouble}; {advice}"))
    }
}

/// A connection, and what was received on it but not looked at.
pub(crate) struct Connection {
    socket: Socket,
    received: Vec<u8>,
    from: usize,
    to: usize,
}

impl Connection {
    /// Connects. Every wait, now and later, has this limit.
    pub(crate) fn open(address: &Address, patience: Duration) -> Result<Self, Trouble> {
        let refused = |why: &dyn fmt::Display| {
            Trouble::Unreachable(format!("no connection to {address}: {why}"))
        };
        let socket = match address {
            Address::Unix(path) => {
                let place = SockAddr::unix(path).map_err(|error| refused(&error))?;
                connected(&place, patience).map_err(|error| refused(&error))?
            }
            Address::Tcp { host, port } => {
                let places = (host.as_str(), *port).to_socket_addrs();
                let places = places.map_err(|error| refused(&error))?;
                let mut outcome = Err(ErrorKind::AddrNotAvailable.into());
                for place in places {
                    outcome = connected(&place.into(), patience);
                    if outcome.is_ok() {
                        break;
                    }
                }
                outcome.map_err(|error| refused(&error))?
            }
        };
        Ok(Self { socket, received: vec![0; REPLY_BUFFER_BYTES], from: 0, to: 0 })
    }

    /// Why it is of no further use: the server has ended it, or sent what nobody asked for. Does not
    /// wait.
    pub(crate) fn staleness(&self) -> Option<&'static str> {
        const SURPLUS: &str = "the server said more than was asked";
        if self.from < self.to {
            return Some(SURPLUS);
        }
        let mut byte = [MaybeUninit::uninit()];
        let peeked = self.socket.set_nonblocking(true).and_then(|()| self.socket.peek(&mut byte));
        let is_silent = peeked.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        match peeked {
            _ if is_silent && self.socket.set_nonblocking(false).is_ok() => None,
            Ok(1..) => Some(SURPLUS),
            _ => Some("the server closed it"),
        }
    }

    /// Sends these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.socket.write_all(bytes).map_err(|error| lost(&error))
    }

    /// Reads one reply and gives its pieces away.
    pub(crate) fn reply(
        &mut self,
        shape: Shape,
        mut take: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let mut reader = Reader::new(shape);
        while !reader.is_done() {
            match reader.next(&self.received[self.from..self.to]) {
                Step::NeedMore => self.fill()?,
                Step::Malformed(why) => return Err(Trouble::Malformed(why)),
                Step::Piece { piece, used } => {
                    self.from += used;
                    take(piece).map_err(Trouble::Output)?;
                }
            }
        }
        Ok(())
    }

    /// Receives more behind what is there. The buffer holds a longest line, so there is room.
    fn fill(&mut self) -> Result<(), Trouble> {
        self.received.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        loop {
            match self.socket.read(&mut self.received[self.to..]) {
                Ok(0) => return Err(Trouble::Lost("the server closed it".into())),
                Ok(count) => {
                    self.to += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(&error)),
            }
        }
    }
}

fn lost(error: &io::Error) -> Trouble {
    Trouble::Lost(match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time, see --timeout".into(),
        _ => error.to_string(),
    })
}

fn connected(place: &SockAddr, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(place.domain(), Type::STREAM, None)?;
    socket.connect_timeout(place, patience)?;
    if place.domain() != Domain::UNIX {
        // Where nobody listens on a port that the system gives out, a socket can meet itself, and
        // would then keep the server from getting its port.
        let is_itself = socket.local_addr()?.as_socket() == socket.peer_addr()?.as_socket();
        if is_itself {
            socket.set_linger(Some(Duration::ZERO))?;
            return Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                "nobody listens there (the connection met itself)",
            ));
        }
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    Ok(socket)
}
