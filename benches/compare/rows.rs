//! The loads that are compared.

use crate::peers::Peer;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) peer: Peer,
    /// For `litecached bench`.
    pub(crate) load: &'static str,
    /// For `litecached serve`.
    pub(crate) ours: &'static str,
    /// Where it is not the run's own: for how long, and once.
    pub(crate) seconds: Option<f64>,
    /// The least part of the peer's requests a second that is fast enough.
    pub(crate) floor: Option<f64>,
}

const fn row(name: &'static str, peer: Peer, load: &'static str) -> Row {
    Row { name, peer, load, ours: "", seconds: None, floor: None }
}

use Peer::{Memcached, RedisAlways, RedisEverysec};

pub(crate) const ROWS: &[Row] = &[
    Row { floor: Some(0.8), ..row("GET hot, one in flight", Memcached, "--mix 1:0") },
    row("GET hot, 50 pipelined", Memcached, "--mix 1:0 --pipeline 50"),
    row("get of 50 keys", Memcached, "--mix 1:0 --keys-per-get 50"),
    Row { ours: "-m 0", ..row("GET, memory tier off", Memcached, "--mix 1:0") },
    Row { floor: Some(0.5), ..row("SET, one in flight", RedisEverysec, "--mix 0:1") },
    row("SET, one in flight", Memcached, "--mix 0:1"),
    row("SET, 50 pipelined", RedisEverysec, "--mix 0:1 --pipeline 50"),
    row("SET, 1,000,000 keys of 100 B", RedisEverysec, "--mix 0:1 --keys 1000000"),
    row("SET, 300,000 keys of 1 KB", RedisEverysec, "--mix 0:1 --keys 300000 --size 1000"),
    row("SET, 30,000 keys of 10 KB", RedisEverysec, "--mix 0:1 --keys 30000 --size 10000"),
    Row { ours: "--durability power", ..row("SET power, one in flight", RedisAlways, "--mix 0:1") },
    Row {
        ours: "--durability power",
        ..row("SET power, 50 pipelined", RedisAlways, "--mix 0:1 --pipeline 50")
    },
    row("10 GET : 1 SET", RedisEverysec, "--mix 10:1"),
    row("SET, 8 connections", RedisEverysec, "--mix 0:1 --connections 8"),
    Row { seconds: Some(60.0), ..row("10 GET : 1 SET for 60 s", RedisEverysec, "--mix 10:1") },
];
