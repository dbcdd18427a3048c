//! What happened, and the line that tells it: memcached's words in memcached's order.
//!
//! Knows neither clients nor threads. A line ends in a line feed alone, as memcached's do.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use super::Kinds;
use crate::cache::Absence;

/// Everything is in one slab class: there are none.
const CLASS: u8 = 1;

/// Something that happened, with its number and time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Numbers all that happens, on all threads.
    pub(super) gid: u64,
    /// Unix time in microseconds.
    pub(super) micros: i64,
    /// Whose doing it is: the number of `stats conns`.
    pub(super) client: u64,
    pub(super) event: Event,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A key was looked up, by whatever command: bytes of its value, or why there was nothing.
    Get(Result<u64, Absence>),
    /// A value was to be stored.
    Store { status: &'static str, command: &'static str, ttl: u32, size: u64 },
    /// An item was removed by a client.
    Deleted { command: &'static str, size: u64 },
    /// An item was removed to make room.
    Eviction(Evicted),
    /// A client came; without an address over a Unix socket.
    Connected(Option<SocketAddr>),
    /// A client went.
    Closed(Option<SocketAddr>, Reason),
}

pub use crate::store::Evicted;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Reason {
    /// It broke, or broke the rules. So does a watcher's end always count.
    Error,
    /// Its client ended it.
    Normal,
    /// It sent nothing for too long.
    IdleTimeout,
    /// The server stops.
    Shutdown,
}

impl Event {
    /// The kind that has to be watched for it.
    pub(super) fn kind(&self) -> Kinds {
        match self {
            Self::Get(_) => Kinds::FETCHERS,
            Self::Store { .. } => Kinds::MUTATIONS,
            Self::Deleted { .. } => Kinds::DELETIONS,
            Self::Eviction(_) => Kinds::EVICTIONS,
            Self::Connected(_) | Self::Closed(..) => Kinds::CONNEVENTS,
        }
    }
}

impl Record {
    /// Writes its line. `key` is empty where there is none.
    pub(super) fn write(&self, key: &[u8], out: &mut String) {
        self.try_write(key, out).expect("a String takes everything");
    }

    fn try_write(&self, key: &[u8], out: &mut String) -> fmt::Result {
        let Self { gid, client, .. } = self;
        let key = Encoded(key);
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        // memcached pads the microseconds with nothing, and what reads its lines expects that.
        write!(out, "ts={seconds}.{micros} gid={gid} type=")?;
        match self.event {
            Event::Get(found) => {
                let (status, class, size) = match found {
                    Ok(size) => ("found", CLASS, size),
                    Err(Absence::Unknown) => ("not_found", 0, 0),
                    Err(Absence::Flushed) => ("flushed", 0, 0),
                    Err(Absence::Expired) => ("expired", 0, 0),
                };
                write!(
                    out,
                    "item_get key={key} status={status} clsid={class} cfd={client} size={size}"
                )?;
            }
            Event::Store { status, command, ttl, size } => write!(
                out,
                "item_store key={key} status={status} cmd={command} ttl={ttl} clsid={CLASS} \
                 cfd={client} size={size}"
            )?,
            Event::Deleted { command, size } => {
                write!(out, "deleted key={key} cmd={command} clsid={CLASS} size={size}")?;
            }
            Event::Eviction(item) => {
                let fetched = if item.fetched { "yes" } else { "no" };
                let ttl = item.seconds_left.map_or(-1, u64::cast_signed);
                let Evicted { idle_seconds, value_bytes, .. } = item;
                write!(
                    out,
                    "eviction key={key} fetch={fetched} ttl={ttl} la={idle_seconds} clsid={CLASS} \
                     size={value_bytes}"
                )?;
            }
            Event::Connected(from) => write!(out, "conn_new {} cfd={client}", Origin(from))?,
            Event::Closed(from, reason) => {
                let reason = match reason {
                    Reason::Error => "error",
                    Reason::Normal => "normal",
                    Reason::IdleTimeout => "idle_timeout",
                    Reason::Shutdown => "shutdown",
                };
                write!(out, "conn_close {} reason={reason} cfd={client}", Origin(from))?;
            }
        }
        out.push('\n');
        Ok(())
    }
}

/// Where a client came from.
struct Origin(Option<SocketAddr>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(from) => write!(f, "rip={} rport={} transport=tcp", from.ip(), from.port()),
            None => f.write_str("rip=unix rport=0 transport=local"),
        }
    }
}

/// A key without anything in it that would end a word: percent-encoded, as in a URI.
struct Encoded<'k>(&'k [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of an event, from its type on.
    fn line(event: Event, key: &[u8]) -> String {
        let mut line = String::new();
        Record { gid: 7, micros: 1_800_000_000_006_505, client: 29, event }.write(key, &mut line);
        let line = line.strip_suffix('\n').expect("a line feed");
        line.strip_prefix("ts=1800000000.6505 gid=7 type=").expect("time and number").to_owned()
    }

    #[test]
    fn lines_are_memcacheds() {
        let evicted =
            Evicted { fetched: true, seconds_left: Some(50), idle_seconds: 3, value_bytes: 10 };
        let forever = Evicted { fetched: false, seconds_left: None, ..evicted };
        let v4 = "127.0.0.1:49546".parse().ok();
        let v6 = "[::1]:80".parse().ok();
        let stored = Event::Store { status: "stored", command: "set", ttl: 30, size: 1 };
        for (event, expected) in [
            (Event::Get(Ok(3)), "item_get key=k status=found clsid=1 cfd=29 size=3"),
            (
                Event::Get(Err(Absence::Unknown)),
                "item_get key=k status=not_found clsid=0 cfd=29 size=0",
            ),
            (
                Event::Get(Err(Absence::Flushed)),
                "item_get key=k status=flushed clsid=0 cfd=29 size=0",
            ),
            (
                Event::Get(Err(Absence::Expired)),
                "item_get key=k status=expired clsid=0 cfd=29 size=0",
            ),
            (stored, "item_store key=k status=stored cmd=set ttl=30 clsid=1 cfd=29 size=1"),
            (
                Event::Deleted { command: "delete", size: 3 },
                "deleted key=k cmd=delete clsid=1 size=3",
            ),
            (Event::Eviction(evicted), "eviction key=k fetch=yes ttl=50 la=3 clsid=1 size=10"),
            (Event::Eviction(forever), "eviction key=k fetch=no ttl=-1 la=3 clsid=1 size=10"),
            (Event::Connected(v4), "conn_new rip=127.0.0.1 rport=49546 transport=tcp cfd=29"),
            (Event::Connected(None), "conn_new rip=unix rport=0 transport=local cfd=29"),
            (
                Event::Closed(v6, Reason::IdleTimeout),
                "conn_close rip=::1 rport=80 transport=tcp reason=idle_timeout cfd=29",
            ),
            (
                Event::Closed(None, Reason::Normal),
                "conn_close rip=unix rport=0 transport=local reason=normal cfd=29",
            ),
        ] {
            assert_eq!(line(event, b"k"), expected);
        }
    }

    #[test]
    fn keys_are_encoded() {
        let line = line(Event::Get(Err(Absence::Unknown)), b"k%d/a\x01b~-_.!*\xff\0");
        assert!(line.starts_with("item_get key=k%25d%2Fa%01b~-_.%21%2A%FF%00 "), "{line}");
    }
}
