//! Figures to STAT lines, by memcached's names and in its order, and to Prometheus' text.
//!
//! What has a meaning here is true; what has none (slab moves, LRU maintenance, hash table) is 0, so that
//! existing dashboards and exporters find every name they look for. Stays true: both are written from
//! the same [`Figures`], so they never contradict each other.

mod classes;
mod exposition;
mod settings;
mod status;

use std::fmt::{Display, Write};

use crate::metrics::{Percentiles, StorageTotals, Totals};
use crate::store::Snapshot;

pub use classes::{items, slabs};
pub use exposition::{CONTENT_TYPE, exposition};
pub use settings::{Parts, Settings, TlsSettings, settings};
pub use status::{PREFIXES_SHOWN, PrefixList, Status, status};

/// Everything that is counted or measured, as it was at one time.
#[derive(Debug)]
pub struct Figures {
    /// The process and its sockets.
    pub process: Process,
    /// What the event loops counted.
    pub totals: Totals,
    /// The state of the store.
    pub store: Snapshot,
    /// What the store counted and timed.
    pub storage: StorageTotals,
}

/// What `version` answers: our own version in memcached's form. Clients gate on the first numbers.
pub const VERSION: &str = concat!("1.6.45-litecached-", env!("CARGO_PKG_VERSION"));

/// STAT lines.
#[derive(Debug, Default)]
pub struct Lines(String);

impl Lines {
    /// One line.
    pub fn line(&mut self, name: impl Display, value: impl Display) {
        writeln!(self.0, "STAT {name} {value}\r").expect("a String takes everything");
    }

    /// Names and values.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("STAT "));
        lines.filter_map(|line| line.split_once(' '))
    }

    /// The text, with the line that ends it.
    pub fn end(mut self) -> String {
        self.0.push_str("END\r\n");
        self.0
    }

    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.line(name, 0));
    }
}

/// What the process and its sockets say of themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Seconds since the start.
    pub uptime: i64,
    /// Unix time.
    pub time: i64,
    /// User and system time in microseconds.
    pub user_us: u64,
    /// See `user_us`.
    pub system_us: u64,
    /// Memory that is its own right now, and addresses in use; where the system tells.
    pub resident_bytes: Option<u64>,
    /// See `resident_bytes`.
    pub virtual_bytes: Option<u64>,
    /// Open descriptors, and the most it may have.
    pub open_files: Option<u64>,
    /// See `open_files`.
    pub open_files_max: Option<u64>,
    /// `-c`.
    pub connections_max: u64,
    /// Bytes held in memory for clients.
    pub held_bytes: u64,
    /// Clients now, so far, and turned away.
    pub connections: u64,
    /// See `connections`.
    pub connections_total: u64,
    /// See `connections`.
    pub connections_rejected: u64,
    /// Whether clients are accepted now, how often they were not, and for how long.
    pub accepting: bool,
    /// See `accepting`.
    pub suspended: u64,
    /// See `accepting`.
    pub suspended_us: u64,
    /// Clients that watch.
    pub watchers: u64,
    /// Event loops.
    pub threads: u64,
}

/// What memcached shows in plain `stats` only with some options.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// `rejected_connections`: clients above `-c` are refused.
    pub refused: bool,
    /// `idle_kicks`: there is an idle time-out.
    pub idle_kicks: bool,
    /// The figures of these parts.
    pub parts: Parts,
    /// The figures of TLS.
    pub tls: Option<ShownTls>,
}

/// Of what TLS shows, what is not counted.
#[derive(Debug, Clone, Copy)]
pub struct ShownTls {
    /// `ssl_new_sessions`: there are others.
    pub resumes: bool,
    /// `time_since_server_cert_refresh`.
    pub seconds_since_refresh: i64,
}

/// Plain `stats`.
pub fn general(figures: &Figures, shown: Shown) -> Lines {
    let Figures { process, totals, store, storage } = figures;
    let mut lines = Lines::default();
    let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    lines.line("pid", std::process::id());
    lines.line("uptime", process.uptime);
    lines.line("time", process.time);
    lines.line("version", VERSION);
    lines.line("libevent", 0);
    lines.line("pointer_size", usize::BITS);
    lines.line("rusage_user", seconds(process.user_us));
    lines.line("rusage_system", seconds(process.system_us));
    lines.line("max_connections", process.connections_max);
    lines.line("curr_connections", process.connections);
    lines.line("total_connections", process.connections_total);
    if shown.refused {
        lines.line("rejected_connections", process.connections_rejected);
    }
    lines.line("connection_structures", process.connections);
    lines.zeros(&[
        "response_obj_oom",
        "response_obj_count",
        "response_obj_bytes",
        "read_buf_count",
        "read_buf_bytes",
        "read_buf_bytes_free",
        "read_buf_oom",
        "reserved_fds",
    ]);
    commands(&mut lines, totals, shown.idle_kicks);
    lines.line("bytes_read", totals.bytes_read);
    lines.line("bytes_written", totals.bytes_written);
    lines.line("limit_maxbytes", store.bytes_max);
    lines.line("accepting_conns", u8::from(process.accepting));
    lines.line("listen_disabled_num", process.suspended);
    lines.line("time_in_listen_disabled_us", process.suspended_us);
    lines.line("threads", process.threads);
    lines.line("conn_yields", totals.conn_yields);
    lines.zeros(&["hash_power_level", "hash_bytes", "hash_is_expanding"]);
    if shown.parts.slab_reassign {
        lines.zeros(&[
            "slab_reassign_rescues",
            "slab_reassign_chunk_rescues",
            "slab_reassign_inline_reclaim",
            "slab_reassign_busy_items",
            "slab_reassign_busy_deletes",
            "slab_reassign_busy_nomem",
        ]);
        lines.line("slab_reassign_last_busy_status", "none");
        lines.zeros(&["slab_reassign_running", "slabs_moved"]);
    }
    if shown.parts.lru_crawler {
        lines.zeros(&["lru_crawler_running", "lru_crawler_starts"]);
    }
    if shown.parts.lru_maintainer {
        lines.zeros(&["lru_maintainer_juggles"]);
    }
    lines.zeros(&["malloc_fails"]);
    lines.line("log_worker_dropped", totals.log_worker_dropped);
    lines.line("log_worker_written", totals.log_worker_written);
    lines.line("log_watcher_skipped", totals.log_watcher_skipped);
    lines.line("log_watcher_sent", totals.log_watcher_sent);
    lines.line("log_watchers", process.watchers);
    if let Some(tls) = shown.tls {
        if tls.resumes {
            lines.line("ssl_new_sessions", totals.ssl_new_sessions);
        }
        lines.line("ssl_handshake_errors", totals.ssl_handshake_errors);
        lines.line("ssl_proto_errors", totals.ssl_proto_errors);
        lines.line("time_since_server_cert_refresh", tls.seconds_since_refresh);
    }
    lines.zeros(&["unexpected_napi_ids", "round_robin_fallback"]);
    lines.line("bytes", store.bytes);
    lines.line("curr_items", store.items);
    lines.line("total_items", totals.total_items());
    lines.line("slab_global_page_pool", 0);
    lines.line("expired_unfetched", storage.counted.expired_unfetched);
    lines.line("evicted_unfetched", storage.counted.evicted_unfetched);
    if shown.parts.lru_maintainer {
        lines.line("evicted_active", storage.counted.evicted_active);
    }
    lines.line("evictions", storage.counted.evicted);
    lines.line("reclaimed", storage.reclaimed());
    lines.line("crawler_reclaimed", storage.swept());
    lines.zeros(&["crawler_items_checked", "lrutail_reflocked"]);
    if shown.parts.lru_maintainer {
        lines.zeros(&["moves_to_cold", "moves_to_warm", "moves_within_lru"]);
        lines.line("direct_reclaims", storage.counted.direct_reclaims);
        lines.zeros(&["lru_bumps_dropped"]);
    }
    if totals.auth_denied > 0 {
        lines.line("auth_denied", totals.auth_denied);
    }
    if totals.request_kicks > 0 {
        lines.line("request_kicks", totals.request_kicks);
    }
    if store.compress_from > 0 || storage.counted.packed > 0 {
        compression(&mut lines, storage);
    }
    lines
}

/// What compression has saved, of the values stored since the start.
fn compression(lines: &mut Lines, StorageTotals { counted, .. }: &StorageTotals) {
    let stored = counted.packed_stored_bytes.max(1);
    let hundredths = counted.packed_value_bytes.saturating_mul(100) / stored;
    lines.line("compressed_items", counted.packed);
    lines.line("compressed_items_in_vain", counted.packed_in_vain);
    lines.line("compressed_bytes_in", counted.packed_value_bytes);
    lines.line("compressed_bytes_out", counted.packed_stored_bytes);
    lines.line("compression_ratio", format!("{}.{:02}", hundredths / 100, hundredths % 100));
}

fn commands(lines: &mut Lines, totals: &Totals, idle_kicks: bool) {
    for (name, value) in [
        ("cmd_get", totals.cmd_get),
        ("cmd_set", totals.cmd_set),
        ("cmd_flush", totals.cmd_flush),
        ("cmd_touch", totals.cmd_touch),
        ("cmd_meta", totals.cmd_meta),
        ("get_hits", totals.get_hits),
        ("get_misses", totals.get_misses),
        ("get_expired", totals.get_expired),
        ("get_flushed", totals.get_flushed),
        ("delete_misses", totals.delete_misses),
        ("delete_hits", totals.delete_hits),
        ("incr_misses", totals.incr_misses),
        ("incr_hits", totals.incr_hits),
        ("decr_misses", totals.decr_misses),
        ("decr_hits", totals.decr_hits),
        ("cas_misses", totals.cas_misses),
        ("cas_hits", totals.cas_hits),
        ("cas_badval", totals.cas_badval),
        ("touch_hits", totals.touch_hits),
        ("touch_misses", totals.touch_misses),
        ("store_too_large", totals.store_too_large),
        ("store_no_memory", totals.store_no_memory),
        ("auth_cmds", totals.auth_cmds),
        ("auth_errors", totals.auth_errors),
    ] {
        lines.line(name, value);
    }
    if idle_kicks {
        lines.line("idle_kicks", totals.idle_kicks);
    }
}

/// `stats storage`: our own figures, which memcached has no names for.
pub fn storage(figures: &Figures) -> Lines {
    let Figures { totals, store, storage, .. } = figures;
    let mut lines = Lines::default();
    for (name, value) in [
        ("memory_items", store.memory_items),
        ("memory_bytes", store.memory_bytes),
        ("memory_bytes_max", store.memory_bytes_max),
        ("memory_hits", totals.memory_hits),
        ("disk_reads", storage.counted.reads),
        ("disk_read_failures", storage.counted.read_failures),
        ("file_bytes", store.file_bytes),
        ("free_bytes", store.free_bytes),
        ("vacuumed_pages", storage.counted.vacuumed_pages),
        ("wal_bytes", store.wal_bytes),
        ("wal_bytes_max", store.wal_bytes_max),
        ("wal_file_bytes", store.wal_file_bytes),
        ("commits", storage.commits()),
        ("commit_ops", storage.operations),
        ("batches_handed_over", storage.counted.handed_over),
        ("commits_failed", storage.failed()),
        ("foreign_commits", storage.counted.foreign_commits),
        ("checkpoints_hindered", storage.counted.checkpoints_hindered),
        ("checkpoints_failed", storage.counted.checkpoints_failed),
    ] {
        lines.line(name, value);
    }
    lines.line("durability", store.durability.name());
    lines
}

/// `stats latency`: microseconds, with what is below in decimals.
pub fn latency<'a>(kinds: impl Iterator<Item = (&'a str, Percentiles)>) -> Lines {
    let mut lines = Lines::default();
    for (name, seen) in kinds {
        lines.line(format_args!("{name}:count"), seen.count);
        for (part, nanos) in
            [("p50", seen.p50), ("p99", seen.p99), ("p999", seen.p999), ("max", seen.max)]
        {
            let (micros, rest) = (nanos / 1_000, nanos % 1_000 / 100);
            lines.line(format_args!("{name}:{part}_us"), format_args!("{micros}.{rest}"));
        }
    }
    lines
}
