//! The HTTP server of `--http`: figures and health, for programs and browsers. Nothing of an item but,
//! where they are counted and everybody may ask for them, the beginnings of keys.
//!
//! One thread of its own, so that no web client costs an event loop anything but the reading of its
//! counters. Everything is bounded: clients, bytes of a request, time. A client that dawdles is ended
//! when its time is over, and at once when another needs its place. Each connection gets one answer.
//!
//! - `exchange`: bytes to a page that is asked for, and an answer to bytes; no I/O
//! - `page`: the status page for people, from `assets/status`
//! - `health`: whether the daemon lives, and whether it serves

mod exchange;
mod health;
mod page;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::clock::Stamp;
use crate::limits::{HTTP_CLIENTS_MAX, HTTP_HEAD_BYTES_MAX};
use crate::server::context::Context;
use crate::server::inbox::Inbox;
use crate::stats;
use exchange::{Asked, Page, Refused, Reply, Status};

const WAKE: Token = Token(usize::MAX);

/// How often the event loops are called.
const CALL_EVERY: Duration = Duration::from_secs(1);

/// How long a client may take to send its request, and to take the answer.
const REQUEST_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long to wait for a client to see that the answer was all: what it sends after its request would
/// else make the system throw the answer away.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 64 << 10;

/// How often somebody who is late is looked for.
const TICK: Duration = Duration::from_millis(250);

/// Ends the thread.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    closed: AtomicBool,
}

impl Bell {
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("the HTTP thread could not be woken: {error}");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Http {
    poll: Poll,
    bell: Arc<Bell>,
    listeners: Vec<TcpListener>,
    clients: Vec<Option<Client>>,
    context: Arc<Context>,
    loops: Vec<Arc<Inbox>>,
    called: Stamp,
}

/// One connection, and how far it has come.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    is_local: bool,
    stage: Stage,
    /// Since when it is at this stage.
    since: Stamp,
}

#[derive(Debug)]
enum Stage {
    /// The request so far.
    Asking(Vec<u8>),
    /// The answer, and how much of it is sent.
    Answered(Vec<u8>, usize),
    /// All is sent; so many bytes that still come are thrown away.
    Parting(usize),
}

impl Stage {
    fn longest(&self) -> Duration {
        match self {
            Self::Asking(_) => REQUEST_MAX,
            Self::Answered(..) => ANSWER_MAX,
            Self::Parting(_) => FAREWELL_MAX,
        }
    }
}

impl Http {
    pub(super) fn new(
        bound: Vec<std::net::TcpListener>,
        context: Arc<Context>,
        loops: Vec<Arc<Inbox>>,
    ) -> io::Result<(Self, Arc<Bell>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let bell = Arc::new(Bell { waker, closed: AtomicBool::new(false) });
        let mut listeners: Vec<_> = bound.into_iter().map(TcpListener::from_std).collect();
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(HTTP_CLIENTS_MAX + index);
            poll.registry().register(listener, token, Interest::READABLE)?;
        }
        let clients = (0..HTTP_CLIENTS_MAX).map(|_| None).collect();
        let called = Stamp::now();
        let http =
            Self { poll, bell: Arc::clone(&bell), listeners, clients, context, loops, called };
        Ok((http, bell))
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(HTTP_CLIENTS_MAX);
        while !self.bell.closed.load(Ordering::SeqCst) {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience()))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("the HTTP thread cannot wait for clients and ends: {error}");
                return;
            }
            if self.called.elapsed() >= CALL_EVERY {
                self.called = Stamp::now();
                self.loops.iter().for_each(|inbox| inbox.call());
            }
            for event in &events {
                if let Token(place @ 0..HTTP_CLIENTS_MAX) = event.token() {
                    self.proceed(place);
                }
            }
            self.end_late();
            // Also where no listener had an event: the system may have had no descriptor before.
            self.accept();
        }
    }

    fn patience(&self) -> Duration {
        let quiet = self.clients.iter().all(Option::is_none);
        if quiet { CALL_EVERY } else { TICK }
    }

    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            // At most as many as have a place: the next pass comes soon.
            for _ in 0..HTTP_CLIENTS_MAX {
                match self.listeners[index].accept() {
                    Ok((stream, _)) => self.enter(stream),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        log::debug!("an HTTP client cannot be accepted: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn enter(&mut self, mut stream: TcpStream) {
        let place = self.place();
        let is_local = stream.local_addr().is_ok_and(|address| is_loopback(&address));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(place), interest) {
            log::debug!("an HTTP client cannot be watched: {error}");
            return;
        }
        let stage = Stage::Asking(Vec::new());
        self.clients[place] = Some(Client { stream, is_local, stage, since: Stamp::now() });
        self.proceed(place);
    }

    /// A free place, or that of the client that has dawdled longest: one that has its answer before one
    /// that still asks, and that before one that is being answered.
    fn place(&mut self) -> usize {
        if let Some(free) = self.clients.iter().position(Option::is_none) {
            return free;
        }
        let rank = |client: &Client| match client.stage {
            Stage::Parting(_) => 0,
            Stage::Asking(_) => 1,
            Stage::Answered(..) => 2,
        };
        let clients = self.clients.iter().enumerate();
        let occupied = clients.filter_map(|(place, client)| client.as_ref().map(|c| (place, c)));
        let (place, _) = occupied
            .min_by_key(|(_, client)| (rank(client), client.since))
            .expect("no place is free, so there are clients");
        self.clients[place] = None;
        place
    }

    /// Goes as far with a client as it lets us.
    fn proceed(&mut self, place: usize) {
        let Some(mut client) = self.clients[place].take() else { return };
        let answer = |asked: Result<Asked, Refused>| self.answer(asked);
        match client.proceed(answer) {
            Ok(true) => {}
            Ok(false) => self.clients[place] = Some(client),
            Err(error) => log::debug!("an HTTP client has gone: {error}"),
        }
    }

    fn end_late(&mut self) {
        for place in &mut self.clients {
            if place.as_ref().is_some_and(|client| client.since.elapsed() > client.stage.longest())
            {
                *place = None;
            }
        }
    }

    fn answer(&self, asked: Result<Asked, Refused>) -> Vec<u8> {
        let (page, with_body) = match asked {
            Ok(Asked { page, with_body }) => (page, with_body),
            Err(Refused { status, with_body }) => return Reply::status(status).bytes(with_body),
        };
        let reply = match page {
            Page::Status => Reply::ok("text/html; charset=utf-8", page::HTML),
            Page::Script => Reply::ok("text/javascript; charset=utf-8", page::SCRIPT),
            Page::Style => Reply::ok("text/css; charset=utf-8", page::STYLE),
            Page::Figures => {
                let trouble = health::serves(&self.context, &self.loops).err();
                Reply::ok("application/json", super::report::status(&self.context, trouble))
            }
            Page::Metrics => {
                let stalled = health::stalled(&self.loops);
                Reply::ok(stats::CONTENT_TYPE, super::report::metrics(&self.context, stalled))
            }
            Page::Health => verdict(health::lives(&self.context, &self.loops)),
            Page::Ready => verdict(health::serves(&self.context, &self.loops)),
        };
        reply.bytes(with_body)
    }
}

fn verdict(verdict: Result<(), String>) -> Reply {
    match verdict {
        Ok(()) => Reply::text(Status::Ok, "ok\n".into()),
        Err(reason) => Reply::text(Status::Unavailable, reason + "\n"),
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Client {
    /// Reads, answers and sends until the socket has or takes no more. `true` when it is done with.
    fn proceed(
        &mut self,
        answer: impl FnOnce(Result<Asked, Refused>) -> Vec<u8>,
    ) -> io::Result<bool> {
        let mut answer = Some(answer);
        loop {
            let next = match &mut self.stage {
                Stage::Asking(received) => {
                    let mut piece = [0; 1_024];
                    let Some(count) = unless_blocked(self.stream.read(&mut piece))? else {
                        return Ok(false);
                    };
                    if count == 0 {
                        return Ok(true);
                    }
                    received.extend_from_slice(&piece[..count]);
                    let asked = match exchange::read(received, self.is_local) {
                        Some(asked) => asked,
                        None if received.len() < HTTP_HEAD_BYTES_MAX => continue,
                        None => Err(Status::TooLong.into()),
                    };
                    let answer = answer.take().expect("a connection asks once");
                    Stage::Answered(answer(asked), 0)
                }
                Stage::Answered(bytes, sent) if *sent < bytes.len() => {
                    let Some(count) = unless_blocked(self.stream.write(&bytes[*sent..]))? else {
                        return Ok(false);
                    };
                    *sent += count;
                    continue;
                }
                Stage::Answered(..) => {
                    self.stream.shutdown(Shutdown::Write)?;
                    Stage::Parting(FAREWELL_BYTES_MAX)
                }
                Stage::Parting(left) => {
                    let mut piece = [0; 1_024];
                    match unless_blocked(self.stream.read(&mut piece))? {
                        None => return Ok(false),
                        Some(count) if count == 0 || count >= *left => return Ok(true),
                        Some(count) => *left -= count,
                    }
                    continue;
                }
            };
            self.stage = next;
            self.since = Stamp::now();
        }
    }
}

/// The count; none where the socket has or takes nothing for now.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
