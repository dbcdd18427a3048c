//! What `stats` and `/metrics` say: gathers the figures, and lets `stats` write them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::metrics::{Kind, Percentiles, PrefixCounts, Prefixes};
use crate::protocol::encode;
use crate::server::connection::Address;
use crate::server::context::Context;
use crate::server::process;
use crate::stats::{
    self, Figures, Lines, PREFIXES_SHOWN, Parts, PrefixList, Process, Shown, ShownTls, Status,
    TlsSettings,
};

/// Writes the answer to `stats` for the client `asker`; `false` if there is no such report.
pub(super) fn stats(context: &Context, arguments: &[u8], asker: u64, out: &mut Vec<u8>) -> bool {
    let mut words = arguments.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let parts = parts(context);
    let lines = match words.next() {
        None => stats::general(&figures(context), shown(context)),
        Some(b"settings") => settings(context),
        Some(b"conns") => connections(context, asker),
        Some(b"latency") => latency(context),
        Some(b"storage") => stats::storage(&figures(context)),
        Some(b"items") => stats::items(&figures(context), parts.lru_maintainer),
        Some(b"slabs") => stats::slabs(&figures(context)),
        Some(b"sizes") => {
            let mut lines = Lines::default();
            lines.line("sizes_status", "disabled");
            lines
        }
        // Clients wait for the END of an empty section.
        Some(b"extstore") => Lines::default(),
        // Binary, too, where memcached looks at `-X` in text alone.
        Some(b"detail") if !context.live.dump_enabled() => {
            out.extend_from_slice(b"CLIENT_ERROR stats detail not allowed\r\n");
            return true;
        }
        Some(b"detail") => {
            detail(&context.prefixes, words.next(), out);
            return true;
        }
        Some(b"reset") => {
            context.metrics.reset();
            context.store.metrics().reset();
            context.connections.reset();
            context.prefixes.reset();
            out.extend_from_slice(b"RESET\r\n");
            return true;
        }
        Some(_) => return false,
    };
    out.extend_from_slice(lines.end().as_bytes());
    true
}

/// `stats detail on`, `off` and `dump`.
fn detail(prefixes: &Prefixes, what: Option<&[u8]>, out: &mut Vec<u8>) {
    match what {
        Some(b"on") => prefixes.switch(true),
        Some(b"off") => prefixes.switch(false),
        Some(b"dump") => {
            for (prefix, counts) in prefixes.dump() {
                let PrefixCounts { gets, hits, sets, deletes } = counts;
                out.extend_from_slice(b"PREFIX ");
                out.extend_from_slice(&prefix);
                let numbers = format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n");
                out.extend_from_slice(numbers.as_bytes());
            }
            out.extend_from_slice(encode::END);
            return;
        }
        _ => {
            out.extend_from_slice(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n");
            return;
        }
    }
    out.extend_from_slice(encode::OK);
}

/// memcached's parts as they are switched now.
fn parts(context: &Context) -> Parts {
    Parts { lru_crawler: context.crawler.load(Ordering::Relaxed), ..context.options.parts }
}

fn shown(context: &Context) -> Shown {
    Shown {
        refused: context.live.connections_refused_fast(),
        idle_kicks: context.live.idle_timeout_seconds() > 0,
        parts: parts(context),
        tls: context.live.certificates().map(|(certificates, since)| ShownTls {
            resumes: certificates.files().resumes,
            seconds_since_refresh: context.clock.now().0 - since.0,
        }),
    }
}

/// All figures as they are now: what `stats` and `/metrics` are written from.
fn figures(context: &Context) -> Figures {
    let now = context.clock.now();
    let connections = &context.connections;
    let counts = connections.counts();
    let process = Process {
        uptime: now.0 - context.started.0,
        time: now.0,
        connections_max: context.live.connections_max(),
        held_bytes: context.held_bytes.load(Ordering::Relaxed),
        connections: connections.current.load(Ordering::Relaxed),
        connections_total: counts.total,
        connections_rejected: counts.rejected,
        accepting: connections.accepting.load(Ordering::Relaxed),
        suspended: counts.suspended,
        suspended_us: counts.suspended_us,
        watchers: context.watchers.count(),
        threads: context.options.threads as u64,
        ..process::times()
    };
    Figures {
        process,
        totals: context.metrics.totals(),
        store: context.store.snapshot(),
        storage: context.store.metrics().totals(),
    }
}

/// The page `/metrics`. Asks the system more than `stats` does, and is no event loop's work.
pub(super) fn metrics(context: &Context, stalled: Duration) -> String {
    let mut figures = figures(context);
    process::measure(&mut figures.process);
    let commands = Kind::ALL.map(|kind| (kind.name(), context.metrics.timed(kind)));
    stats::exposition(&figures, &commands, stalled)
}

/// `/status.json`. `trouble`: why clients should not come.
pub(super) fn status(context: &Context, trouble: Option<String>) -> String {
    let mut figures = figures(context);
    process::measure_memory(&mut figures.process);
    let commands = Kind::ALL.map(|kind| (kind.name(), context.metrics.timed(kind)));
    let percentiles: Vec<_> = percentiles(context).collect();
    let prefixes = if !context.live.dump_enabled() || context.options.accounts.is_some() {
        PrefixList::Withheld
    } else if context.prefixes.is_on() {
        PrefixList::Top(context.prefixes.top(PREFIXES_SHOWN))
    } else {
        PrefixList::Off
    };
    let status = Status {
        elapsed: context.began.elapsed(),
        trouble,
        shown: shown(context),
        percentiles: &percentiles,
        commands: &commands,
        prefixes,
    };
    stats::status(&figures, status)
}

fn settings(context: &Context) -> Lines {
    let options = &context.options;
    let (mut port, mut interface, mut socket, mut umask) = (0, None, None, 0o700);
    // As bound, or as handed over: the options need not be in use.
    for address in &context.addresses {
        match address {
            Address::Tcp(address) => {
                port = address.port();
                interface.get_or_insert_with(|| address.ip().to_string());
            }
            Address::Unix(path) => {
                socket.get_or_insert_with(|| path.display().to_string());
                umask = mode(path).unwrap_or(umask);
            }
        }
    }
    let certificates = context.live.certificates();
    let files = certificates.as_ref().map(|(certificates, _)| certificates.files());
    let shown = |path: &PathBuf| path.display().to_string();
    let paths = files.map(|files| {
        (shown(&files.chain), shown(&files.key), files.authorities.as_ref().map(shown))
    });
    let tls = files.zip(paths.as_ref()).map(|(files, (chain, key, authorities))| TlsSettings {
        chain,
        key,
        authorities: authorities.as_deref(),
        verify: files.verify.bits(),
        resumes: files.resumes,
        version_least: files.version_least.name(),
    });
    let settings = stats::Settings {
        connections_max: context.live.connections_max(),
        tcp_port: port,
        interface: interface.as_deref().unwrap_or("NULL"),
        verbosity: context.verbosity.load(Ordering::Relaxed),
        domain_socket: socket.as_deref().unwrap_or("NULL"),
        umask,
        shutdown_enabled: context.live.shutdown_enabled(),
        threads: options.threads as u64,
        requests_per_turn: context.live.requests_per_turn() as u64,
        prefix_delimiter: char::from(context.prefixes.delimiter()),
        prefixes_counted: context.prefixes.is_on(),
        cas_enabled: options.cas_enabled,
        protocol: context.protocol().name(),
        parts: parts(context),
        memory_file: &context.store.path().display().to_string(),
        backlog: options.backlog,
        refused_fast: context.live.connections_refused_fast(),
        flush_enabled: context.live.flush_enabled(),
        dump_enabled: context.live.dump_enabled(),
        idle_timeout: context.live.idle_timeout_seconds(),
        request_timeout: context.live.request_timeout_seconds(),
        login_by_text: options.accounts.is_some() && !options.sasl,
        login_by_sasl: options.sasl,
        tls,
    };
    stats::settings(&settings, &context.store.snapshot())
}

/// Who may use a socket.
fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777)
}

fn connections(context: &Context, asker: u64) -> Lines {
    let (now, steady) = (context.clock.now().0, context.clock.steady().0);
    let mut lines = Lines::default();
    for (index, address) in context.addresses.iter().enumerate() {
        let id = index + 1;
        lines.line(format_args!("{id}:addr"), address);
        lines.line(format_args!("{id}:state"), "conn_listening");
        lines.line(format_args!("{id}:secs_since_last_cmd"), now - context.started.0);
    }
    context.connections.for_each(|id, card| {
        let state = if card.watches.load(Ordering::Relaxed) {
            "conn_watch"
        } else if card.in_value.load(Ordering::Relaxed) {
            "conn_nread"
        } else if id == asker {
            "conn_parse_cmd"
        } else {
            "conn_read"
        };
        lines.line(format_args!("{id}:addr"), &card.peer.client);
        lines.line(format_args!("{id}:listen_addr"), &card.peer.local);
        lines.line(format_args!("{id}:state"), state);
        let since = steady - card.last_command.load(Ordering::Relaxed);
        lines.line(format_args!("{id}:secs_since_last_cmd"), since);
    });
    lines
}

fn latency(context: &Context) -> Lines {
    stats::latency(percentiles(context))
}

fn percentiles(context: &Context) -> impl Iterator<Item = (&'static str, Percentiles)> {
    let kinds = Kind::ALL.map(|kind| (kind.name(), context.metrics.percentiles(kind)));
    kinds.into_iter().chain(context.store.metrics().percentiles())
}
