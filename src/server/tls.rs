//! TLS between a client's socket and its connection: bytes are sealed and opened on their way, nothing else.
//!
//! Knows neither requests nor replies, and never waits: what the socket does not take stays in the session,
//! which takes no more than [`TLS_UNSENT_BYTES_MAX`] before that is sent. What must stay true: plaintext is
//! handed on only of records that are whole and genuine, and nothing of a client's goes out unsealed.

mod certificates;

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use mio::net::TcpStream;
use rustls::{HandshakeKind, ServerConnection};

use crate::limits::{TLS_READS_PER_TURN_MAX, TLS_UNSENT_BYTES_MAX};
use crate::logging::{Client, Limited};
use crate::server::connection::Connection;
use crate::server::dispatch::Desk;

pub use certificates::{Certificates, TlsError, TlsFiles, TlsVersion, Verify};
pub(super) use certificates::{Refresh, refresh};

/// A client's socket with the session on it.
#[derive(Debug)]
pub(super) struct Tls {
    socket: TcpStream,
    session: ServerConnection,
    /// The socket had less than was asked for: it tells when there is more.
    is_drained: bool,
    /// The client has said that it sends no more.
    has_ended: bool,
    news: Option<News>,
}

/// What the loop counts of a session.
#[derive(Debug)]
pub(super) enum News {
    /// The handshake is done; whether the session is one of before.
    Agreed { is_resumed: bool },
    /// The client left before it was.
    Left,
    /// There is none, for this reason.
    Refused(rustls::Error),
    /// It was done, and then something else came than TLS has there.
    Broken(rustls::Error),
}

impl Tls {
    /// Begins a session: the client speaks first.
    pub(super) fn begin(
        socket: TcpStream,
        certificates: &Certificates,
    ) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(certificates.config())?;
        session.set_buffer_limit(Some(TLS_UNSENT_BYTES_MAX));
        Ok(Self { socket, session, is_drained: true, has_ended: false, news: None })
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_drained && !self.has_ended
    }

    /// Whether sealed bytes wait for the socket.
    pub(super) fn is_behind(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn is_shaking_hands(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Takes what the socket has, and answers what the handshake wants answered.
    fn receive(&mut self) -> io::Result<()> {
        let was_shaking_hands = self.session.is_handshaking();
        let mut inlet = Inlet { socket: &mut self.socket, is_drained: false };
        let count = self.session.read_tls(&mut inlet)?;
        self.is_drained = inlet.is_drained;
        match self.session.process_new_packets() {
            Ok(state) => self.has_ended = state.peer_has_closed(),
            Err(error) => {
                // The client is told why, if it still listens.
                if let Err(error) = self.push() {
                    log::debug!("a TLS alert was not sent: {error}");
                }
                let news = if was_shaking_hands { News::Refused } else { News::Broken };
                self.news = Some(news(error));
                return Err(ErrorKind::InvalidData.into());
            }
        }
        if was_shaking_hands {
            if !self.session.is_handshaking() {
                let is_resumed = self.session.handshake_kind() == Some(HandshakeKind::Resumed);
                self.news = Some(News::Agreed { is_resumed });
            } else if count == 0 {
                self.news = Some(News::Left);
            }
        }
        match self.push() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends what is sealed. An error, of kind `WouldBlock`, also where some of it has to wait.
    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Notes whether the socket gave all it had.
struct Inlet<'s> {
    socket: &'s mut TcpStream,
    is_drained: bool,
}

impl Read for Inlet<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.is_drained = count < buffer.len();
        Ok(count)
    }
}

impl Read for Tls {
    /// An end without `close_notify` is an end all the same: what is stored says its own length.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // What was opened before may be all that this reads: more may have come to the socket since it was seen empty,
        // and nobody would be told of it again.
        self.is_drained = false;
        for _ in 0..TLS_READS_PER_TURN_MAX {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
        }
        // Its neighbours have their turn.
        Err(ErrorKind::Interrupted.into())
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// What it takes is sealed, and sent when the socket has room.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let count = self.session.writer().write_vectored(pieces)?;
        match self.push() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}

impl Drop for Tls {
    /// Tells the client that no more comes, as far as the socket takes it at once.
    fn drop(&mut self) {
        if self.session.is_handshaking() {
            return;
        }
        self.session.send_close_notify();
        if let Err(error) = self.push() {
            log::debug!("a client was not told that no more comes: {error}");
        }
    }
}

static COMPLAINTS: Limited = Limited::new(5, 10_000);

impl Desk {
    /// Counts what became of a client's handshake, and tells the log of those that failed.
    pub(super) fn tls_news(&self, connection: &Connection, news: &News) {
        let counters = &self.metrics.counters;
        let (what, error) = match news {
            News::Agreed { is_resumed: true } => return,
            News::Agreed { is_resumed: false } => return counters.ssl_new_sessions.up(),
            News::Left => return counters.ssl_handshake_errors.up(),
            News::Refused(error) => {
                counters.ssl_handshake_errors.up();
                ("no TLS session came about", error)
            }
            News::Broken(error) => {
                counters.ssl_proto_errors.up();
                ("its TLS session broke", error)
            }
        };
        let now_ms = u64::try_from(self.now.0).unwrap_or(0) * 1_000;
        if let Some(left_out) = COMPLAINTS.admit(now_ms) {
            let client = &connection.card.peer.client;
            let error = error.to_string();
            let error = Client(error.as_bytes());
            log::warn!("a client at {client} is let go, as {what}: {error}{left_out}");
        }
    }
}
