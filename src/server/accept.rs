//! The thread that accepts: hands connections round the event loops, and keeps to the limit.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::clock::Stamp;
use crate::limits::ACCEPTS_PER_TURN_MAX;
use crate::logging::Limited;
use crate::protocol::encode;
use crate::server::connection::{Address, Peer};
use crate::server::context::Context;
use crate::server::inbox::{Inbox, Message};
use crate::server::listen::{Listeners, Tcp};
use crate::server::stream::Stream;
use crate::server::tls::Tls;

const WAKE: Token = Token(usize::MAX);

/// How soon to try again when the system gives no descriptor.
const BACK_OFF: Duration = Duration::from_millis(50);

static COMPLAINTS: Limited = Limited::new(5, 10_000);

/// Tells the thread that accepts that something has changed.
#[derive(Debug)]
pub(super) struct Door {
    waker: Waker,
    closed: AtomicBool,
    /// Looks of the thread so far.
    turns: AtomicU64,
}

impl Door {
    /// A connection has ended.
    pub(super) fn look(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("the accepting thread could not be woken: {error}");
        }
    }

    /// Nobody comes in any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.look();
    }

    /// How often the thread has looked, and asks it to look once more.
    pub(super) fn turns(&self) -> u64 {
        let turns = self.turns.load(Ordering::Relaxed);
        self.look();
        turns
    }
}

#[derive(Debug)]
enum Listener {
    Tcp { listener: TcpListener, address: SocketAddr, is_tls: bool },
    Unix(UnixListener, PathBuf),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Acceptor {
    poll: Poll,
    door: Arc<Door>,
    listeners: Vec<Listener>,
    /// Sockets' files that go when nobody is accepted any more.
    files: Vec<PathBuf>,
    context: Arc<Context>,
    workers: Vec<Arc<Inbox>>,
    next: usize,
    /// Since when nobody is accepted (`-o no_maxconns_fast`, or no descriptors).
    suspended: Option<Stamp>,
}

/// Why accepting stopped for now.
enum Pause {
    /// Nobody waits.
    Empty,
    /// No room; look again when told, or after a while.
    Full,
    /// Others have their turn; look again at once.
    Turn,
}

impl Acceptor {
    pub(super) fn new(
        bound: Listeners,
        context: Arc<Context>,
        workers: Vec<Arc<Inbox>>,
    ) -> io::Result<(Self, Arc<Door>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let door =
            Arc::new(Door { waker, closed: AtomicBool::new(false), turns: AtomicU64::new(0) });
        let mut listeners = Vec::new();
        let files = bound.own_paths().map(Path::to_owned).collect();
        for Tcp { listener, is_tls } in bound.tcp {
            let address = listener.local_addr()?;
            let listener = TcpListener::from_std(listener);
            listeners.push(Listener::Tcp { listener, address, is_tls });
        }
        for unix in bound.unix {
            listeners.push(Listener::Unix(UnixListener::from_std(unix.listener), unix.path));
        }
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(index);
            match listener {
                Listener::Tcp { listener, .. } => {
                    poll.registry().register(listener, token, Interest::READABLE)?;
                }
                Listener::Unix(unix, _) => {
                    poll.registry().register(unix, token, Interest::READABLE)?;
                }
            }
        }
        // From here on clients may wait in the backlog, and are accepted as soon as the thread runs.
        context.connections.accepting.store(true, Ordering::SeqCst);
        let acceptor = Self {
            poll,
            door: Arc::clone(&door),
            listeners,
            files,
            context,
            workers,
            next: 0,
            suspended: None,
        };
        Ok((acceptor, door))
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(16);
        let mut more = false;
        loop {
            let longest =
                if more { Some(Duration::ZERO) } else { self.suspended.map(|_| BACK_OFF) };
            if let Err(error) = self.poll.poll(&mut events, longest)
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("the accepting thread cannot wait for clients: {error}");
                self.context.request_stop();
                return;
            }
            if self.door.closed.load(Ordering::SeqCst) {
                self.close();
                return;
            }
            // Readiness is told once: after a pause every listener may have clients waiting.
            let mut full = false;
            more = false;
            for index in 0..self.listeners.len() {
                match self.accept(index) {
                    Pause::Empty => {}
                    Pause::Full => full = true,
                    Pause::Turn => more = true,
                }
            }
            self.suspend(full);
            self.door.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Accepts who waits there, but no more than have a turn: who connects without end must keep neither the
    /// other listeners nor the end of the server waiting.
    fn accept(&mut self, index: usize) -> Pause {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let connections = &self.context.connections;
            let maximum = self.context.live.connections_max();
            let is_full = connections.current.load(Ordering::SeqCst) >= maximum;
            if is_full && !self.context.live.connections_refused_fast() {
                return Pause::Full;
            }
            let (stream, peer) = match self.listeners[index].accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Pause::Empty,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => {
                        self.complain(&error);
                        return Pause::Full;
                    }
                },
            };
            if is_full {
                self.turn_away(stream);
                continue;
            }
            stream.prepare();
            let Some(stream) = self.secured(index, stream) else { continue };
            connections.current.fetch_add(1, Ordering::SeqCst);
            let worker = &self.workers[self.next % self.workers.len()];
            self.next = self.next.wrapping_add(1);
            worker.post(Message::Connected { stream, peer });
        }
        Pause::Turn
    }

    /// The stream as its listener has it: with TLS or as it is.
    fn secured(&self, index: usize, stream: Stream) -> Option<Stream> {
        let is_tls = matches!(self.listeners[index], Listener::Tcp { is_tls: true, .. });
        let socket = match stream {
            Stream::Tcp(socket) if is_tls => socket,
            stream => return Some(stream),
        };
        // Without certificates there is no such listener; if there were, nothing would go unsealed.
        let (certificates, _) = self.context.live.certificates()?;
        match Tls::begin(socket, &certificates) {
            Ok(tls) => Some(Stream::Tls(Box::new(tls))),
            Err(error) => {
                log::error!("a client is let go, as TLS cannot begin: {error}");
                None
            }
        }
    }

    /// memcached's words for a client too many. It may be gone before it hears them.
    fn turn_away(&self, mut stream: Stream) {
        self.context.connections.rejected.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = stream.write(encode::TOO_MANY_CONNECTIONS) {
            log::debug!("a client too many was gone before it was told: {error}");
        }
    }

    fn complain(&self, error: &io::Error) {
        let now_ms = u64::try_from(self.context.clock.now().0).unwrap_or(0) * 1_000;
        if let Some(left_out) = COMPLAINTS.admit(now_ms) {
            log::warn!(
                "a client cannot be accepted: {error}; those that are connected are served on \
                 {left_out}"
            );
        }
    }

    fn suspend(&mut self, full: bool) {
        let connections = &self.context.connections;
        match (self.suspended, full) {
            (None, true) => {
                self.suspended = Some(Stamp::now());
                connections.suspended.fetch_add(1, Ordering::SeqCst);
            }
            (Some(since), false) => {
                connections.suspended_us.fetch_add(since.micros(), Ordering::SeqCst);
                self.suspended = None;
            }
            _ => {}
        }
        connections.accepting.store(!full, Ordering::SeqCst);
    }

    fn close(self) {
        self.context.connections.accepting.store(false, Ordering::SeqCst);
        drop(self.listeners);
        for path in self.files {
            if let Err(error) = std::fs::remove_file(&path) {
                log::warn!("{} could not be removed: {error}", path.display());
            }
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp { listener, address, .. } => {
                let (stream, peer) = listener.accept()?;
                let peer = Peer { client: Address::Tcp(peer), local: Address::Tcp(*address) };
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                let address = Address::Unix(path.clone());
                let peer = Peer { client: address.clone(), local: address };
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}
