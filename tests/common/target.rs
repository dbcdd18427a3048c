//! What a conversation is held with: the daemon in this process, or a real memcached elsewhere.
//!
//! Knows nothing of either's insides; `in_process` implements `Target` for the daemon.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a reply may take before the test fails. Long, for a busy machine: only failures wait.
pub const REPLY_WAIT: Duration = Duration::from_secs(20);

/// A server under test.
pub trait Target: fmt::Debug {
    fn address(&self) -> SocketAddr;

    /// Unix seconds by the server's clock.
    fn now(&mut self) -> i64;

    /// Moves the clock; false if that cannot be done here.
    fn advance(&mut self, seconds: i64) -> bool;

    /// Stops the server and starts it on what it kept; false if that cannot be done here.
    fn restart(&mut self) -> bool;

    /// Empties the memory tier, if there is one.
    fn forget_memory(&mut self);

    /// The version of memcached, if that is what this is.
    fn memcached_version(&self) -> Option<&str>;

    /// A new connection, ready for small packets and not waiting for ever.
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WAIT))?;
        stream.set_write_timeout(Some(REPLY_WAIT))?;
        Ok(stream)
    }
}

/// A memcached that runs already; `LITECACHED_TEST_ADDR` names it.
#[derive(Debug)]
pub struct Memcached {
    address: SocketAddr,
    version: String,
}

impl Memcached {
    /// The one named in the environment; none if there is no name.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var("LITECACHED_TEST_ADDR").ok()?;
        let address = name
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .unwrap_or_else(|| panic!("LITECACHED_TEST_ADDR is no host:port: {name}"));
        let mut memcached = Self { address, version: String::new() };
        let answer = memcached.ask("version");
        answer.trim_start_matches("VERSION ").clone_into(&mut memcached.version);
        Some(memcached)
    }

    /// Takes away what earlier tests left.
    pub fn empty(&self) {
        // Without cas ids a flush also takes what is stored in the same second, so scripts for
        // other flags clean up behind themselves.
        if Self::flags_from_environment().is_empty() {
            self.ask("flush_all");
        }
        self.ask("stats reset");
    }

    /// The flags it was started with, as `LITECACHED_TEST_FLAGS` says.
    pub fn flags_from_environment() -> Vec<String> {
        let flags = std::env::var("LITECACHED_TEST_FLAGS").unwrap_or_default();
        flags.split_whitespace().map(str::to_owned).collect()
    }

    /// The first line of the reply.
    fn ask(&self, command: &str) -> String {
        self.lines(command).next().expect("memcached answers every command")
    }

    fn lines(&self, command: &str) -> impl Iterator<Item = String> {
        let mut stream = self.connect().expect("memcached accepts connections");
        write!(stream, "{command}\r\n").expect("memcached reads commands");
        BufReader::new(stream).lines().map(|line| line.expect("memcached answers in time"))
    }
}

impl Target for Memcached {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn now(&mut self) -> i64 {
        self.lines("stats")
            .find_map(|line| line.strip_prefix("STAT time ")?.parse().ok())
            .expect("memcached's stats say the time")
    }

    fn advance(&mut self, _seconds: i64) -> bool {
        false
    }

    fn restart(&mut self) -> bool {
        false
    }

    fn forget_memory(&mut self) {}

    fn memcached_version(&self) -> Option<&str> {
        // Our own daemon may be there too, installed and in its sandbox.
        (!self.version.contains("litecached")).then_some(&self.version)
    }
}
