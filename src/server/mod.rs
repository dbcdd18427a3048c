//! Sockets, event loops, and the way from a request to its reply.
//!
//! One thread accepts and hands connections round; each event loop carries thousands of them. A pass
//! of a loop reads from sockets, answers what can be read at once, commits what it gathered, and
//! writes. Nothing in a pass waits.
//!
//! - `listen`, `accept`: binding or taking over sockets, accepting, the limit of connections
//! - `worker`: the event loop
//! - `connection`, `output`: one client: its bytes, its replies in order
//! - `stream`, `tls`: a client's socket, and TLS on it; certificates
//! - `login`: what comes before, where clients have to log in
//! - `dispatch`: a request is answered here, or becomes an operation
//! - `lister`: listings of all keys, on threads beside the loops
//! - `upload`, `sender`: values in pieces, on their way in and out
//! - `account`: what is held in memory for clients, and its bound
//! - `count`, `help`: memcached's counting rules; the answer to `help`
//! - `inbox`: what other threads have for a loop
//! - `watch`: clients that are told what others do, served by a thread of their own
//! - `notify`: what the service manager is told
//! - `admin`: commands for parts of memcached, and what `stats detail` counts
//! - `report`, `process`: what `stats` and `/metrics` say
//! - `http`: figures and health for web clients, on a thread of its own
//! - `waits`: how long a client is waited for in the midst of a request or a reply
//! - `context`, `live`: what all threads of a server share, and what of it a reload changes

mod accept;
mod account;
mod admin;
mod connection;
mod context;
mod count;
mod dispatch;
mod guesses;
mod help;
mod http;
mod inbox;
mod listen;
mod lister;
mod live;
mod login;
mod mail;
pub mod notify;
mod options;
mod output;
mod primitives;
mod process;
mod report;
mod rights;
mod sender;
mod stream;
mod tls;
mod upload;
mod waits;
mod watch;
mod worker;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::limits::{LISTINGS_MAX, SENDERS};
use crate::store::Store;
use context::Context;

pub use crate::stats::Parts;
pub use context::StopHandle;
pub use listen::{Listeners, StartError};
pub use live::ReloadHandle;
pub use options::{Listen, Options, Protocol};
pub use tls::{Certificates, TlsError, TlsFiles, TlsVersion, Verify};
pub use watch::{Evicted, Evictions};

/// A server that serves. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    context: Arc<Context>,
    addresses: Vec<SocketAddr>,
    acceptor: Arc<accept::Door>,
    workers: Vec<Arc<inbox::Inbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    senders: Mutex<Vec<JoinHandle<()>>>,
    logger: Mutex<Option<JoinHandle<()>>>,
    http_addresses: Vec<SocketAddr>,
    http: Mutex<Option<(Arc<http::Bell>, JoinHandle<()>)>>,
}

impl Server {
    /// Binds what `options` names and serves.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound; a system that gives no threads or descriptors.
    pub fn start(options: &Options, store: Arc<Store>, clock: Clock) -> Result<Self, StartError> {
        Self::serve(Listeners::bind(options)?, options, store, clock)
    }

    /// Serves on sockets that are bound already.
    ///
    /// # Errors
    ///
    /// A system that gives no threads or descriptors.
    pub fn serve(
        mut listeners: Listeners,
        options: &Options,
        store: Arc<Store>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let addresses = listeners.addresses().to_vec();
        let bound = listeners.bound();
        let for_http = std::mem::take(&mut listeners.http);
        let context = Arc::new(Context::new(options.clone(), store, clock, bound));
        let evictions = Evictions::new(&context);
        context.store.when_evicting(move |key, item| evictions.evicted(key, item));
        let logger = watch::Logger::new(Arc::clone(&context)).map_err(StartError::system)?;
        let logger = spawn("logger", move || logger.run())?;
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..options.threads {
            let (worker, inbox) =
                worker::Worker::new(Arc::clone(&context)).map_err(StartError::system)?;
            threads.push(spawn(&format!("worker-{number}"), move || worker.run())?);
            workers.push(inbox);
        }
        for number in 0..LISTINGS_MAX {
            let context = Arc::clone(&context);
            let list = move || context.lister.run(&context.store);
            threads.push(spawn(&format!("lister-{number}"), list)?);
        }
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let context = Arc::clone(&context);
            let send = move || context.sender.run(&context.store);
            senders.push(spawn(&format!("sender-{number}"), send)?);
        }
        let (acceptor, door) =
            accept::Acceptor::new(listeners, Arc::clone(&context), workers.clone())
                .map_err(StartError::system)?;
        threads.push(spawn("accept", move || acceptor.run())?);
        context.doors(Arc::clone(&door));
        let http_addresses = for_http.iter().map(std::net::TcpListener::local_addr);
        let http_addresses =
            http_addresses.collect::<Result<_, _>>().map_err(StartError::system)?;
        let mut http = None;
        if !for_http.is_empty() {
            let (thread, bell) = http::Http::new(for_http, Arc::clone(&context), workers.clone())
                .map_err(StartError::system)?;
            http = Some((bell, spawn("http", move || thread.run())?));
        }
        Ok(Self {
            context,
            addresses,
            acceptor: door,
            workers,
            threads: Mutex::new(threads),
            senders: Mutex::new(senders),
            logger: Mutex::new(Some(logger)),
            http_addresses,
            http: Mutex::new(http),
        })
    }

    /// The TCP addresses it listens on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of `--http`, with the ports that the system chose.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Asks for the end, from any thread or signal handler's thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.context.stop_handle()
    }

    /// Tells the service manager, where there is one, that it serves, and from then on how it does:
    /// its state, and that all of its threads move.
    ///
    /// # Errors
    ///
    /// A system that gives no thread.
    pub fn announce(&self) -> Result<(), StartError> {
        let Some(reporter) = notify::Reporter::new(
            Arc::clone(&self.context),
            Arc::clone(&self.acceptor),
            self.workers.clone(),
        ) else {
            return Ok(());
        };
        let thread = spawn("notify", move || reporter.run())?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Changes options while it serves.
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle::new(Arc::downgrade(&self.context), self.workers.clone())
    }

    /// For whoever removes items to make room: watchers are told of each.
    pub fn evictions(&self) -> Evictions {
        Evictions::new(&self.context)
    }

    /// Waits until somebody asks for the end: a [`StopHandle`] or a client's `shutdown`.
    pub fn wait(&self) {
        self.context.wait_for_stop();
    }

    /// Stops accepting, answers what is in flight, and ends the threads, within seconds whatever
    /// clients do.
    pub fn stop(&self) {
        self.context.request_stop();
        self.acceptor.close();
        self.context.lister.stop();
        for worker in &self.workers {
            worker.stop();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // Behind the loops, which may still send.
        let senders =
            std::mem::take(&mut *self.senders.lock().unwrap_or_else(PoisonError::into_inner));
        let senders = senders.into_iter().inspect(|_| self.context.sender.stop());
        // Behind those whose doings it tells.
        let logger = self.logger.lock().unwrap_or_else(PoisonError::into_inner).take();
        let logger = logger.into_iter().inspect(|_| self.context.watchers.close());
        // The last to go: whoever asks how it goes is told that it stops, until it has.
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner).take();
        let http = http.into_iter().map(|(bell, thread)| {
            bell.close();
            thread
        });
        for thread in threads.into_iter().chain(senders).chain(logger).chain(http) {
            if thread.join().is_err() {
                log::error!("a thread of the server panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(StartError::system)
}
