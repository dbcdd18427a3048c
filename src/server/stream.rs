//! A client's socket: TCP, with TLS or without, or Unix.

use std::io::{self, IoSlice, Read, Write};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::server::tls::{News, Tls};

/// A client's socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

impl Stream {
    /// Sets what a new connection needs; a client that is gone already shows when it is read from.
    pub(super) fn prepare(&self) {
        if let Self::Tcp(stream) = self {
            let socket = socket2::SockRef::from(stream);
            for result in [socket.set_tcp_nodelay(true), socket.set_keepalive(true)] {
                if let Err(error) = result {
                    log::debug!("a socket option was refused: {error}");
                }
            }
        }
    }

    /// Whether a read that filled less than the buffer left nothing.
    pub(super) fn is_drained(&self) -> bool {
        if let Self::Tls(tls) = self { tls.is_drained() } else { true }
    }

    /// Whether some of what it took is not on its way.
    pub(super) fn is_behind(&self) -> bool {
        if let Self::Tls(tls) = self { tls.is_behind() } else { false }
    }

    /// Whether its client has yet to agree on a session.
    pub(super) fn is_shaking_hands(&self) -> bool {
        if let Self::Tls(tls) = self { tls.is_shaking_hands() } else { false }
    }

    /// What became of the session since the last time.
    pub(super) fn take_news(&mut self) -> Option<News> {
        if let Self::Tls(tls) = self { tls.take_news() } else { None }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(bytes),
            Self::Unix(stream) => stream.write_vectored(bytes),
            Self::Tls(stream) => stream.write_vectored(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self { tls.flush() } else { Ok(()) }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(registry, token, what),
            Self::Unix(stream) => stream.register(registry, token, what),
            Self::Tls(tls) => tls.socket().register(registry, token, what),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(registry, token, what),
            Self::Unix(stream) => stream.reregister(registry, token, what),
            Self::Tls(tls) => tls.socket().reregister(registry, token, what),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
            Self::Tls(tls) => tls.socket().deregister(registry),
        }
    }
}
