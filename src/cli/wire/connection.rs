//! One connection to a server: bytes out, replies in, and nobody waits without end.
//!
//! What is written is sent when there is enough of it, or when an answer is waited for. Every way in which a connection ends is a [`Trouble`] that says what to do about
//! it; making a new one is the caller's decision, for only the caller knows whether a request may be
//! sent twice.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::login::Login;
use super::tls::{Channel, Unsecured};
use super::{Address, Terms, interrupt};
use crate::cli::{Exit, Failure};
use crate::clock::Stamp;
use crate::limits::REPLY_BUFFER_BYTES;
use crate::protocol::reply::{Piece, Reader, Shape, Step};

/// Why there is no answer, or no place to put it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection could be made.
    Unreachable(String),
    /// There was a connection, and it ended.
    Lost(String),
    /// The user did not want to wait any longer.
    GivenUp,
    /// The server at this address answers nobody who has not logged in.
    LoginWanted(Address),
    /// It does not know this user with this password.
    LoginRefused(Address),
    /// The user has no right to what a tool asks for.
    RightWanted { address: Address, missing: String },
    /// What came is not memcached's protocol, or no answer to what was asked.
    Malformed(String),
    /// The same of a server that was to speak that of Redis.
    NotRedis(String),
    /// The answer came, and could not be written where it should go.
    Output(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "{why}"),
            Self::Lost(why) => write!(f, "the connection was lost ({why})"),
            Self::GivenUp => write!(f, "the wait was given up"),
            Self::LoginWanted(address) => write!(f, "the server at {address} asks for a login"),
            Self::LoginRefused(address) => write!(f, "the server at {address} refused the login"),
            Self::RightWanted { address, missing } => {
                write!(f, "the server at {address} refused it, missing right: {missing}")
            }
            Self::Malformed(why) => write!(f, "this is not memcached's protocol: {why}"),
            Self::NotRedis(why) => write!(f, "this is not Redis's protocol: {why}"),
            Self::Output(error) => write!(f, "writing the answer failed: {error}"),
        }
    }
}

impl Trouble {
    /// As the end of a tool that knows what to do about a lost connection.
    pub(crate) fn advised(self, if_lost: &str) -> Failure {
        let (exit, advice) = match &self {
            Self::Unreachable(_) => (Exit::Unavailable, "check that a server listens there"),
            Self::Lost(_) => (Exit::Io, if_lost),
            Self::GivenUp => (Exit::Interrupted, if_lost),
            Self::LoginWanted(_) => (Exit::Permission, "give --user"),
            Self::LoginRefused(_) => (Exit::Permission, "check user and password"),
            Self::RightWanted { .. } => {
                (Exit::Permission, "have it given to the user in the server's --auth-file")
            }
            Self::Malformed(_) | Self::NotRedis(_) => {
                (Exit::Unavailable, "check what listens there")
            }
            Self::Output(_) => (Exit::Io, "check where it leads"),
        };
        Failure::new(exit, format!("{self}; {advice}"))
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        trouble.advised("the command may or may not have been carried out: look before repeating")
    }
}

/// What a server answers to everything before a login.
const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated";

/// How litecached begins its answer to what a user has no right to.
const REFUSED: &[u8] = b"CLIENT_ERROR missing right: ";

/// How a server of TLS, of any version, begins to say why it ends a connection: RFC 8446, 5.1.
const TLS_ALERT: [u8; 2] = [21, 3];

/// What waits to be sent.
const UNSENT_BYTES_MAX: usize = 64 << 10;

/// A wait is cut into pieces of this, to look between them whether the user has had enough: a signal
/// that comes just before a wait would not end it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// For how long an answer may still come when a signal has, where it is worth knowing.
const GRACE: Duration = Duration::from_secs(1);

/// What a signal does to waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signals {
    EndWaits,
    /// Those in which nothing has come for a while.
    EndVainWaits,
    Ignored,
}

/// A connection, what is to be sent on it, and what was received but not looked at.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    channel: Channel,
    /// How long a wait may last without a byte going either way.
    patience: Duration,
    signals: Signals,
    /// The server has said something.
    is_heard: bool,
    unsent: Vec<u8>,
    received: Vec<u8>,
    from: usize,
    to: usize,
}

impl Connection {
    /// Connects, and logs in where there is a user and the server asks for it.
    pub(crate) fn open(address: &Address, terms: &Terms) -> Result<Self, Trouble> {
        let mut connection = Self::reach(address, terms)?;
        if let Some(login) = &terms.login {
            connection.log_in(login)?;
        }
        Ok(connection)
    }

    /// Its socket, for whoever writes and reads in a way of his own. What was received and not looked at is lost.
    /// Not with TLS.
    pub(crate) fn into_socket(self) -> Socket {
        match self.channel {
            Channel::Plain(socket) => socket,
            Channel::Tls(_) => unreachable!("who needs the socket itself refuses --tls"),
        }
    }

    fn log_in(&mut self, login: &Login) -> Result<(), Trouble> {
        match self.write(b"version\r\n").and_then(|()| self.line()) {
            Ok(answer) if answer.starts_with(b"VERSION ") => return Ok(()),
            Ok(answer) => return Err(self.strange(&answer)),
            Err(Trouble::LoginWanted(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        self.write(&login.request())?;
        match &self.line()?[..] {
            b"STORED" => Ok(()),
            answer if answer.starts_with(b"CLIENT_ERROR ") => {
                Err(Trouble::LoginRefused(self.address.clone()))
            }
            answer => Err(self.strange(answer)),
        }
    }

    /// Connects, and says nothing. Every wait, now and later, has this limit.
    pub(super) fn reach(address: &Address, terms: &Terms) -> Result<Self, Trouble> {
        let patience = terms.patience;
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
        looks_up(&socket, patience).map_err(|error| refused(&error))?;
        let channel = match (&terms.tls, address) {
            (None, _) => Channel::Plain(socket),
            (Some(config), Address::Tcp { host, .. }) => {
                let secured = Channel::secured(socket, config, host, patience);
                secured.map_err(|error| match error {
                    Unsecured::GivenUp => Trouble::GivenUp,
                    Unsecured::Failed(error) => refused(&format_args!("TLS: {error}")),
                })?
            }
            (Some(_), Address::Unix(_)) => {
                return Err(refused(&"a Unix socket has no TLS, leave out --tls"));
            }
        };
        Ok(Self::on(channel, address, patience))
    }

    /// On a socket that is there, whose other end somebody in this process has.
    pub(super) fn on_socket(
        socket: Socket,
        address: &Address,
        patience: Duration,
    ) -> io::Result<Self> {
        looks_up(&socket, patience)?;
        Ok(Self::on(Channel::Plain(socket), address, patience))
    }

    fn on(channel: Channel, address: &Address, patience: Duration) -> Self {
        Self {
            address: address.clone(),
            channel,
            patience,
            signals: Signals::EndWaits,
            is_heard: false,
            unsent: Vec::new(),
            received: vec![0; REPLY_BUFFER_BYTES],
            from: 0,
            to: 0,
        }
    }

    /// Has waits go on when a signal comes, for what has to be tidied up all the same.
    pub(crate) fn ignore_signals(&mut self) {
        self.signals = Signals::Ignored;
    }

    /// Has answers still come in when a signal has, as long as they come: they say what was done.
    pub(crate) fn hear_out(&mut self) {
        self.signals = Signals::EndVainWaits;
    }

    /// Why it is of no further use: the server has ended it, or sent what nobody asked for. Does not
    /// wait.
    pub(crate) fn staleness(&mut self) -> Option<&'static str> {
        const SURPLUS: &str = "the server said more than was asked";
        if self.from < self.to {
            return Some(SURPLUS);
        }
        // Whatever comes is too much, so that it may as well be taken. What TLS has for itself is no byte.
        let awake = self.channel.socket().set_nonblocking(true);
        let looked = awake.and_then(|()| self.channel.read(&mut [0]));
        let is_silent = looked.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        match looked {
            _ if is_silent && self.channel.socket().set_nonblocking(false).is_ok() => None,
            Ok(1..) => Some(SURPLUS),
            _ => Some("the server closed it"),
        }
    }

    /// Sends these bytes, sooner or later.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        if self.unsent.len() + bytes.len() > UNSENT_BYTES_MAX {
            self.flush()?;
        }
        if bytes.len() > UNSENT_BYTES_MAX {
            return self.send(bytes);
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what was written. Whoever waits for an answer has this done.
    pub(crate) fn flush(&mut self) -> Result<(), Trouble> {
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        let mut start = Stamp::now();
        while !bytes.is_empty() {
            self.heed()?;
            match self.channel.write(bytes) {
                Ok(0) => return Err(self.lost(&ErrorKind::WriteZero.into())),
                Ok(count) => {
                    bytes = &bytes[count..];
                    start = Stamp::now();
                }
                Err(error) => self.go_on(&error, start)?,
            }
        }
        Ok(())
    }

    /// After a wait that brought nothing: whether there is to be another one.
    fn go_on(&self, error: &io::Error, start: Stamp) -> Result<(), Trouble> {
        let is_over = match error.kind() {
            ErrorKind::Interrupted => false,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let is_vain = self.signals == Signals::EndVainWaits && start.elapsed() >= GRACE;
                if is_vain && interrupt::is_asked() {
                    return Err(Trouble::GivenUp);
                }
                start.elapsed() >= self.patience
            }
            _ => true,
        };
        if is_over { Err(self.lost(error)) } else { Ok(()) }
    }

    /// Whether the user has had enough, also of bytes that come without end.
    fn heed(&self) -> Result<(), Trouble> {
        let ends = self.signals == Signals::EndWaits && interrupt::is_asked();
        if ends { Err(Trouble::GivenUp) } else { Ok(()) }
    }

    /// Reads a reply of one line.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut line = Vec::new();
        self.reply(Shape::Line, |piece| {
            if let Piece::Line(bytes) = piece {
                line = bytes.to_vec();
            }
            Ok(())
        })?;
        Ok(line)
    }

    /// For an answer that does not fit what was asked.
    pub(crate) fn strange(&self, answer: &[u8]) -> Trouble {
        let shown = String::from_utf8_lossy(answer);
        if let Some(missing) = answer.strip_prefix(REFUSED) {
            let missing = String::from_utf8_lossy(missing).into_owned();
            return Trouble::RightWanted { address: self.address.clone(), missing };
        }
        Trouble::Malformed(format!("{} answered {shown:?}", self.address))
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
                Step::Malformed(why) => {
                    return Err(Trouble::Malformed(format!("{}: {why}", self.address)));
                }
                Step::Piece { piece, used } => {
                    self.from += used;
                    if piece == Piece::Line(UNAUTHENTICATED) {
                        return Err(Trouble::LoginWanted(self.address.clone()));
                    }
                    take(piece).map_err(Trouble::Output)?;
                }
            }
        }
        Ok(())
    }

    /// What was received and not looked at.
    pub(super) fn received(&self) -> &[u8] {
        &self.received[self.from..self.to]
    }

    /// So many bytes of it were looked at.
    pub(super) fn used(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Receives more behind what is there. The buffer holds a longest line, so there is room.
    pub(super) fn fill(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        self.received.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let start = Stamp::now();
        loop {
            self.heed()?;
            match self.channel.read(&mut self.received[self.to..]) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => {
                    self.is_heard = true;
                    self.to += count;
                    return Ok(());
                }
                Err(error) => self.go_on(&error, start)?,
            }
        }
    }

    /// The server has ended it. One that waits for TLS does so at the first bytes of anything else.
    fn closed(&self) -> Trouble {
        let address = &self.address;
        let is_plain = matches!(self.channel, Channel::Plain(_));
        let may_want_tls = !self.is_heard || self.received().starts_with(&TLS_ALERT);
        Trouble::Lost(match address {
            Address::Tcp { .. } if is_plain && may_want_tls => {
                format!("{address} closed it at the first bytes; if it speaks TLS, give --tls")
            }
            _ => format!("{address} closed it"),
        })
    }

    fn lost(&self, error: &io::Error) -> Trouble {
        let address = &self.address;
        Trouble::Lost(match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return self.closed(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no answer of {address} in time, see --timeout")
            }
            _ => format!("{address}: {error}"),
        })
    }
}

/// Has its waits end often enough to look for a signal between them.
fn looks_up(socket: &Socket, patience: Duration) -> io::Result<()> {
    let look = Some(patience.min(LOOK_EVERY));
    socket.set_read_timeout(look)?;
    socket.set_write_timeout(look)
}

fn connected(place: &SockAddr, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(place.domain(), Type::STREAM, None)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    if place.domain() == Domain::UNIX {
        // Waits as long as a write where many want to be accepted; a connect with a limit of its own
        // would fail at once.
        socket.connect(place)?;
        return Ok(socket);
    }
    socket.connect_timeout(place, patience)?;
    // Where nobody listens on a port that the system gives out, a socket can meet itself, and would
    // then keep the server from getting its port.
    if socket.local_addr()?.as_socket() == socket.peer_addr()?.as_socket() {
        socket.set_linger(Some(Duration::ZERO))?;
        return Err(io::Error::new(
            ErrorKind::ConnectionRefused,
            "nobody listens there (the connection met itself)",
        ));
    }
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}
