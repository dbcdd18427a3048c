//! What the server needs to know before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Accounts;
use crate::limits;
pub use crate::protocol::Protocol;
use crate::server::tls::{Certificates, TlsFiles};
use crate::stats::Parts;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The same, with TLS on every connection. Needs `certificates`.
    Tls(SocketAddr),
    /// A Unix socket at this path, created with this mode (memcached `-s` and `-a`).
    Unix { path: PathBuf, mode: u32 },
}

/// The server's part of the settings. Numbers are checked by `config`; here they are taken as they are.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is one of memcached's switches")]
pub struct Options {
    /// Addresses to bind, in order. Empty: nothing listens (memcached `-p 0`).
    pub listen: Vec<Listen>,
    /// Where figures and health are served over HTTP (`--http`). Empty: nowhere.
    pub http: Vec<SocketAddr>,
    /// Event loops, 1 or more (`-t`).
    pub threads: usize,
    /// Clients at once, 1 or more (`-c`).
    pub connections_max: usize,
    /// Connections waiting to be accepted (`-b`).
    pub backlog: u32,
    /// Requests of one connection before its neighbours have their turn, 1 or more (`-R`).
    pub requests_per_turn: usize,
    /// 0 warnings, 1 errors of clients, 2 every command with its time (`-v`, `-vv`, `verbosity`).
    pub verbosity: u8,
    /// `-F` turns it off: `flush_all` is refused.
    pub flush_enabled: bool,
    /// `-W` turns it off: `watch` is refused.
    pub watch_enabled: bool,
    /// `-X` turns it off: nobody is told all keys.
    pub dump_enabled: bool,
    /// How long a listing of all keys may take.
    pub listing_longest: Duration,
    /// `-A`: the `shutdown` command is allowed.
    pub shutdown_enabled: bool,
    /// `-C` turns it off: `gets` shows 0 and every `cas` on an existing key answers `EXISTS`.
    pub cas_enabled: bool,
    /// Over `-c`, refuse with an error (true, memcached's `maxconns_fast`) or leave clients in the
    /// backlog (`-o no_maxconns_fast`).
    pub connections_refused_fast: bool,
    /// Close clients that send nothing for this many seconds; 0 never (`-o idle_timeout=N`).
    pub idle_timeout_seconds: u32,
    /// Close clients that do not end within this many seconds what they have begun, a request, a login or
    /// the taking of replies; 0 never (`--request-timeout`).
    pub request_timeout_seconds: u32,
    /// Who may log in (`-Y`). None: everybody is served, and nobody is asked.
    pub accounts: Option<Arc<Accounts>>,
    /// Where certificates are (`-Z`). None: there is no TLS.
    pub tls: Option<TlsFiles>,
    /// What was read there.
    pub certificates: Option<Arc<Certificates>>,
    /// `-S`: only the binary protocol, whose clients log in with SASL. Needs `accounts`.
    pub sasl: bool,
    /// Which protocols clients may speak (`-B`).
    pub protocol: Protocol,
    /// What ends a key's prefix in `stats detail` (`-D`).
    pub prefix_delimiter: u8,
    /// Prefixes are counted from the start on (`-D`).
    pub prefixes_counted: bool,
    /// Parts of memcached that only its statistics and its commands show here (`-o`).
    pub parts: Parts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], limits::PORT_DEFAULT)))],
            http: Vec::new(),
            threads: limits::THREADS_DEFAULT,
            connections_max: limits::CONNECTIONS_DEFAULT,
            backlog: limits::BACKLOG_DEFAULT,
            requests_per_turn: limits::REQUESTS_PER_TURN_DEFAULT,
            verbosity: 0,
            flush_enabled: true,
            watch_enabled: true,
            dump_enabled: true,
            listing_longest: Duration::from_secs(limits::LISTING_SECONDS_MAX),
            shutdown_enabled: false,
            cas_enabled: true,
            connections_refused_fast: true,
            idle_timeout_seconds: 0,
            request_timeout_seconds: limits::REQUEST_SECONDS_DEFAULT,
            accounts: None,
            tls: None,
            certificates: None,
            sasl: false,
            protocol: Protocol::Auto,
            prefix_delimiter: b':',
            prefixes_counted: false,
            parts: Parts { lru_crawler: true, lru_maintainer: true, slab_reassign: true },
        }
    }
}
