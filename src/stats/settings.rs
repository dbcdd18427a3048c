//! `stats settings`: memcached's names in its order, then ours.
//!
//! What can be set shows what holds. What tunes a part that does not exist here is 0, but for three
//! switches of memcached (its crawler, its LRU maintainer, slab reassignment), which show what was asked
//! for: tools look at them to learn which commands are answered. memcached's `ext_` names are left out,
//! as in a memcached without external storage.

use super::Lines;
use crate::store::Snapshot;

/// memcached's parts that can be switched off. Nothing here works differently; the lines that memcached
/// shows only with a part, and the commands that it takes only then, go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are memcached's")]
pub struct Parts {
    pub lru_crawler: bool,
    pub lru_maintainer: bool,
    pub slab_reassign: bool,
}

/// What `stats settings` tells beside the store's figures.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is one of memcached's switches")]
#[allow(missing_docs, reason = "the names are those of the options")]
pub struct Settings<'a> {
    pub connections_max: u64,
    pub tcp_port: u16,
    pub interface: &'a str,
    pub verbosity: u8,
    pub domain_socket: &'a str,
    pub umask: u32,
    pub shutdown_enabled: bool,
    pub threads: u64,
    pub prefix_delimiter: char,
    pub prefixes_counted: bool,
    pub requests_per_turn: u64,
    pub cas_enabled: bool,
    pub backlog: u32,
    pub protocol: &'a str,
    pub refused_fast: bool,
    pub parts: Parts,
    pub flush_enabled: bool,
    pub dump_enabled: bool,
    pub idle_timeout: u32,
    pub request_timeout: u32,
    pub login_by_text: bool,
    pub login_by_sasl: bool,
    pub memory_file: &'a str,
    pub tls: Option<TlsSettings<'a>>,
}

/// What `stats settings` tells of TLS where there is TLS.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names are those of the options")]
pub struct TlsSettings<'a> {
    pub chain: &'a str,
    pub key: &'a str,
    pub authorities: Option<&'a str>,
    pub verify: u8,
    pub resumes: bool,
    pub version_least: &'a str,
}

/// `stats settings`.
pub fn settings(settings: &Settings<'_>, store: &Snapshot) -> Lines {
    let yes = |value| if value { "yes" } else { "no" };
    let parts = settings.parts;
    let mut lines = Lines::default();
    lines.line("maxbytes", store.bytes_max);
    lines.line("maxconns", settings.connections_max);
    lines.line("tcpport", settings.tcp_port);
    lines.line("udpport", 0);
    lines.line("inter", settings.interface);
    lines.line("verbosity", settings.verbosity);
    lines.line("oldest", 0);
    lines.line("evictions", if store.evicts { "on" } else { "off" });
    lines.line("domain_socket", settings.domain_socket);
    lines.line("umask", format_args!("{:o}", settings.umask));
    lines.line("shutdown_command", yes(settings.shutdown_enabled));
    lines.line("growth_factor", "0.00");
    lines.line("chunk_size", 0);
    lines.line("num_threads", settings.threads);
    lines.line("num_threads_per_udp", 0);
    lines.line("stat_key_prefix", settings.prefix_delimiter);
    lines.line("detail_enabled", yes(settings.prefixes_counted));
    lines.line("reqs_per_event", settings.requests_per_turn);
    lines.line("cas_enabled", yes(settings.cas_enabled));
    lines.line("tcp_backlog", settings.backlog);
    lines.line("binding_protocol", settings.protocol);
    lines.line("auth_enabled_sasl", yes(settings.login_by_sasl));
    lines.line("auth_enabled_ascii", yes(settings.login_by_text));
    lines.line("item_size_max", store.item_bytes_max);
    lines.line("maxconns_fast", yes(settings.refused_fast));
    lines.line("hashpower_init", 0);
    lines.line("slab_reassign", yes(parts.slab_reassign));
    lines.line("slab_automove", 0);
    lines.line("slab_automove_ratio", "0.00");
    lines.line("slab_automove_window", 0);
    lines.line("slab_chunk_max", 0);
    lines.line("lru_crawler", yes(parts.lru_crawler));
    lines.line("lru_crawler_sleep", 0);
    lines.line("lru_crawler_tocrawl", 0);
    lines.line("tail_repair_time", 0);
    lines.line("flush_enabled", yes(settings.flush_enabled));
    lines.line("dump_enabled", yes(settings.dump_enabled));
    lines.line("hash_algorithm", "xxh3");
    lines.line("lru_maintainer_thread", yes(parts.lru_maintainer));
    lines.line("lru_segmented", "no");
    lines.line("hot_lru_pct", 0);
    lines.line("warm_lru_pct", 0);
    lines.line("hot_max_factor", "0.00");
    lines.line("warm_max_factor", "0.00");
    lines.line("temp_lru", "no");
    lines.line("temporary_ttl", 0);
    lines.line("idle_timeout", settings.idle_timeout);
    lines.line("watcher_logbuf_size", 0);
    lines.line("worker_logbuf_size", 0);
    lines.line("read_buf_mem_limit", 0);
    lines.line("track_sizes", "no");
    lines.line("inline_ascii_response", "no");
    lines.line("ssl_enabled", yes(settings.tls.is_some()));
    if let Some(tls) = settings.tls {
        tls_settings(&mut lines, &tls);
    }
    lines.line("num_napi_ids", 0);
    lines.line("memory_file", settings.memory_file);
    lines.line("client_flags_size", 4);
    lines.line("memory_max", store.memory_bytes_max);
    lines.line("items_max", store.items_max);
    lines.line("request_timeout", settings.request_timeout);
    lines.line("wal_max", store.wal_bytes_max);
    lines.line("compress_from", store.compress_from);
    lines.line("durability", store.durability.name());
    lines.line("on_corruption", store.on_corruption.name());
    lines
}

/// memcached shows these without TLS, too, if it was built with it.
fn tls_settings(lines: &mut Lines, tls: &TlsSettings<'_>) {
    /// OpenSSL's constant for PEM, of which alone keys are read.
    const PEM: u8 = 1;
    lines.line("ssl_chain_cert", tls.chain);
    lines.line("ssl_key", tls.key);
    lines.line("ssl_verify_mode", tls.verify);
    lines.line("ssl_keyformat", PEM);
    lines.line("ssl_ciphers", "NULL");
    lines.line("ssl_ca_cert", tls.authorities.unwrap_or("NULL"));
    lines.line("ssl_wbuf_size", 0);
    lines.line("ssl_session_cache", if tls.resumes { "yes" } else { "no" });
    lines.line("ssl_kernel_tls", "no");
    lines.line("ssl_min_version", tls.version_least);
}
