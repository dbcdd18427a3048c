//! Figures to Prometheus' text format 0.0.4, the page `/metrics`.
//!
//! Names follow the conventions of the field: base units, `_total` for what is counted, and the names
//! that client libraries use for what every process has. No key and no value is ever a label: labels
//! come from the words below only.

use std::fmt::{Arguments, Display, Write};
use std::time::Duration;

use super::{Figures, VERSION};
use crate::metrics::{SIZES_MAX, TIMES_NANOS_MAX, Timed, Totals};

/// What the format calls itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. `commands` are the times of commands by kind, `stalled` how long an event loop has been
/// at one thing.
pub fn exposition(
    figures: &Figures,
    commands: &[(&'static str, Timed)],
    stalled: Duration,
) -> String {
    let mut page = Page(String::with_capacity(32 << 10));
    process(&mut page, figures, stalled);
    requests(&mut page, &figures.totals, commands);
    connections(&mut page, figures);
    items(&mut page, figures);
    compression(&mut page, figures);
    writes(&mut page, figures);
    page.0
}

fn process(page: &mut Page, figures: &Figures, stalled: Duration) {
    let process = &figures.process;
    page.family("litecached_build_info", "gauge", "The version that runs; always 1.");
    page.sample("litecached_build_info", format_args!("{{version=\"{VERSION}\"}}"), 1);
    page.gauge(
        "process_start_time_seconds",
        "When the process started serving, in Unix seconds.",
        process.time - process.uptime,
    );
    page.gauge("litecached_uptime_seconds", "Seconds since the start.", process.uptime);
    page.counter(
        "process_cpu_seconds_total",
        "User and system time spent, in seconds.",
        Decimal(u128::from(process.user_us + process.system_us) * 1_000),
    );
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory, in bytes.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory, in bytes.", process.virtual_bytes),
        ("process_open_fds", "Open file descriptors.", process.open_files),
        ("process_max_fds", "File descriptors that may be open.", process.open_files_max),
    ] {
        if let Some(value) = value {
            page.gauge(name, help, value);
        }
    }
    page.gauge("litecached_event_loops", "Event loops (-t).", process.threads);
    page.gauge(
        "litecached_event_loop_stalled_seconds",
        "How long an event loop has not answered a call, the longest of all; 0 if all have.",
        Decimal(stalled.as_nanos()),
    );
}

fn requests(page: &mut Page, totals: &Totals, commands: &[(&'static str, Timed)]) {
    page.family(
        "litecached_commands_total",
        "counter",
        "Commands answered (a get counts once a key). set is every storage command but cas; touch is \
         gat, too; other is stats, version and the like.",
    );
    for (command, outcome, count) in outcomes(totals) {
        let labels = format_args!("{{command=\"{command}\",outcome=\"{outcome}\"}}");
        page.sample("litecached_commands_total", labels, count);
    }
    page.labelled(
        "litecached_dead_misses_total",
        "Misses of get whose item was there, but dead: expired or flushed.",
        "reason",
        &[("expired", totals.get_expired), ("flushed", totals.get_flushed)],
    );
    page.counter(
        "litecached_items_stored_total",
        "Values stored by any command (total_items).",
        totals.total_items(),
    );
    page.labelled(
        "litecached_errors_total",
        "Errors that clients were told. client: not acceptable or not allowed; too_large: beyond -I; \
         full: the item budget or the disk; wal_full: the log at --wal-max; busy: another program has \
         the write lock; constraint: an index or a check of the user's forbids it; unavailable: the \
         database cannot be read or written; memory: too much held for clients.",
        "kind",
        &[
            ("client", totals.refused_client),
            ("too_large", totals.store_too_large),
            ("full", totals.failed_full),
            ("wal_full", totals.failed_wal_full),
            ("busy", totals.failed_busy),
            ("constraint", totals.failed_constraint),
            ("unavailable", totals.failed_unavailable),
            ("memory", totals.refused_memory),
        ],
    );
    page.times(
        "litecached_command_duration_seconds",
        "Time in the server: for what is answered at once (get, other) from the decoded request to its \
         encoded reply, for what waits for a commit from the beginning of the event loop's pass to the \
         encoded reply. Of reads answered at once one in 64 is timed and counts for all of them.",
        commands.iter().map(|(kind, timed)| (Some(("command", *kind)), timed)),
    );
}

/// Commands with what became of them. `cmd_get` and its like are the sums, but that memcached does not
/// count a value that is too large as a `cmd_set`.
fn outcomes(totals: &Totals) -> [(&'static str, &'static str, u64); 26] {
    [
        ("get", "hit", totals.get_hits),
        ("get", "miss", totals.get_misses),
        ("get", "error", totals.get_errors),
        ("set", "stored", totals.set_stored),
        ("set", "not_stored", totals.set_not_stored),
        ("set", "too_large", totals.store_too_large),
        ("set", "error", totals.set_errors),
        ("cas", "stored", totals.cas_hits),
        ("cas", "exists", totals.cas_badval),
        ("cas", "not_found", totals.cas_misses),
        ("cas", "error", totals.cas_errors),
        ("touch", "hit", totals.touch_hits),
        ("touch", "miss", totals.touch_misses),
        ("touch", "error", totals.touch_errors),
        ("delete", "hit", totals.delete_hits),
        ("delete", "miss", totals.delete_misses),
        ("delete", "error", totals.delete_errors),
        ("incr", "hit", totals.incr_hits),
        ("incr", "miss", totals.incr_misses),
        ("incr", "error", totals.incr_errors),
        ("decr", "hit", totals.decr_hits),
        ("decr", "miss", totals.decr_misses),
        ("decr", "error", totals.decr_errors),
        ("flush_all", "done", totals.flush_done),
        ("flush_all", "error", totals.flush_errors),
        ("other", "done", totals.other_done),
    ]
}

fn connections(page: &mut Page, figures: &Figures) {
    let Figures { process, totals, .. } = figures;
    page.gauge("litecached_connections", "Clients connected.", process.connections);
    page.gauge(
        "litecached_connections_limit",
        "Clients that may be connected at once (-c).",
        process.connections_max,
    );
    page.counter(
        "litecached_connections_accepted_total",
        "Clients accepted.",
        process.connections_total,
    );
    page.counter(
        "litecached_connections_refused_total",
        "Clients turned away, because there were as many as -c allows.",
        process.connections_rejected,
    );
    page.counter(
        "litecached_connections_idle_closed_total",
        "Clients let go because they sent nothing (-o idle_timeout).",
        totals.idle_kicks,
    );
    page.counter(
        "litecached_connections_late_closed_total",
        "Clients let go in the midst of a request, a login or a reply (--request-timeout).",
        totals.request_kicks,
    );
    page.labelled(
        "litecached_logins_total",
        "Logins of clients (auth_cmds), where they have to log in (-Y).",
        "outcome",
        &[
            ("accepted", totals.auth_cmds.saturating_sub(totals.auth_errors)),
            ("refused", totals.auth_errors),
        ],
    );
    page.counter(
        "litecached_denied_total",
        "Requests refused because their user has no right to them (auth_denied), or none any more.",
        totals.auth_denied,
    );
    page.gauge(
        "litecached_accepting",
        "1 while clients are accepted, 0 while they have to wait.",
        u8::from(process.accepting),
    );
    page.counter(
        "litecached_accept_suspensions_total",
        "Times that clients had to wait to be accepted.",
        process.suspended,
    );
    page.counter(
        "litecached_accept_suspended_seconds_total",
        "How long they had to wait; a wait that goes on is not in it yet.",
        Decimal(u128::from(process.suspended_us) * 1_000),
    );
    page.counter(
        "litecached_connection_yields_total",
        "Turns of clients that ended after -R requests, so that others had theirs.",
        totals.conn_yields,
    );
    page.gauge("litecached_watchers", "Clients that watch (the watch command).", process.watchers);
    page.labelled(
        "litecached_watch_events_total",
        "What happened while somebody watched for it. dropped: more than was told in time; nobody heard \
         of it.",
        "fate",
        &[("written", totals.log_worker_written), ("dropped", totals.log_worker_dropped)],
    );
    page.labelled(
        "litecached_watch_lines_total",
        "Lines for watchers. skipped: the watcher did not take them in time.",
        "fate",
        &[("sent", totals.log_watcher_sent), ("skipped", totals.log_watcher_skipped)],
    );
    page.counter(
        "litecached_tls_sessions_total",
        "TLS sessions that were negotiated anew, not taken up again.",
        totals.ssl_new_sessions,
    );
    page.labelled(
        "litecached_tls_failures_total",
        "Connections that TLS ended. handshake: no session came about. protocol: later.",
        "reason",
        &[("handshake", totals.ssl_handshake_errors), ("protocol", totals.ssl_proto_errors)],
    );
    page.gauge(
        "litecached_held_bytes",
        "Bytes held in memory for clients: values that arrive or wait, replies that are not taken.",
        process.held_bytes,
    );
    page.counter("litecached_received_bytes_total", "Bytes read from clients.", totals.bytes_read);
    page.counter("litecached_sent_bytes_total", "Bytes sent to clients.", totals.bytes_written);
}

fn items(page: &mut Page, figures: &Figures) {
    let Figures { totals, store, storage, .. } = figures;
    page.gauge(
        "litecached_items",
        "Items stored, expired ones that nothing has removed yet included.",
        store.items,
    );
    page.gauge(
        "litecached_items_bytes",
        "Their keys and values, and 59 bytes each: what --max-disk limits.",
        store.bytes,
    );
    page.gauge(
        "litecached_items_limit_bytes",
        "The item budget (--max-disk); 0 is none.",
        store.bytes_max,
    );
    page.gauge(
        "litecached_items_limit",
        "The same in items (--max-items); 0 is none.",
        store.items_max,
    );
    page.gauge(
        "litecached_evicts",
        "1 if items are removed to make room, 0 if writes are refused (-M).",
        u64::from(store.evicts),
    );
    page.counter(
        "litecached_memory_hits_total",
        "Items that a get found in the memory tier.",
        totals.memory_hits,
    );
    page.counter(
        "litecached_memory_misses_total",
        "Keys of gets that were looked up in the database, for the memory tier did not have them.",
        storage.counted.reads,
    );
    page.counter(
        "litecached_database_read_failures_total",
        "Of these, failed.",
        storage.counted.read_failures,
    );
    page.gauge("litecached_memory_items", "Items in the memory tier.", store.memory_items);
    page.gauge("litecached_memory_bytes", "Bytes in the memory tier.", store.memory_bytes);
    page.gauge(
        "litecached_memory_limit_bytes",
        "Bytes that the memory tier may hold (-m).",
        store.memory_bytes_max,
    );
    page.labelled(
        "litecached_reclaimed_items_total",
        "Dead items removed from the database.",
        "reason",
        &[
            ("expired", storage.counted.reclaimed_expired),
            ("flushed", storage.counted.reclaimed_flushed),
            ("replaced", storage.counted.reclaimed_replaced),
        ],
    );
    page.counter(
        "litecached_reclaimed_unfetched_items_total",
        "Of these, never fetched.",
        storage.counted.expired_unfetched,
    );
    page.counter(
        "litecached_evicted_items_total",
        "Living items removed to make room.",
        storage.counted.evicted,
    );
    page.counter(
        "litecached_evicted_unfetched_items_total",
        "Of these, never fetched.",
        storage.counted.evicted_unfetched,
    );
    page.counter(
        "litecached_direct_reclaims_total",
        "Writes that had to make room themselves, as housekeeping had not kept up.",
        storage.counted.direct_reclaims,
    );
}

fn compression(page: &mut Page, figures: &Figures) {
    let counted = &figures.storage.counted;
    page.labelled(
        "litecached_compressed_items_total",
        "Values that were to be compressed, by whether that saved enough.",
        "outcome",
        &[("compressed", counted.packed), ("in_vain", counted.packed_in_vain)],
    );
    page.counter(
        "litecached_compressed_value_bytes_total",
        "Bytes of the values that were compressed.",
        counted.packed_value_bytes,
    );
    page.counter(
        "litecached_compressed_stored_bytes_total",
        "Bytes in the file for them.",
        counted.packed_stored_bytes,
    );
}

fn writes(page: &mut Page, figures: &Figures) {
    let Figures { store, storage, .. } = figures;
    let counted = &storage.counted;
    page.gauge("litecached_schema_version", "The schema of the file.", store.schema_version);
    page.gauge("litecached_database_bytes", "Size of the database file.", store.file_bytes);
    page.gauge(
        "litecached_database_free_bytes",
        "Of these, in pages that hold nothing.",
        store.free_bytes,
    );
    page.counter(
        "litecached_database_vacuumed_pages_total",
        "Pages by which the file became shorter.",
        counted.vacuumed_pages,
    );
    page.gauge(
        "litecached_large_arriving_bytes",
        "Bytes of values in pieces that are arriving, as announced.",
        store.large_arriving_bytes,
    );
    page.gauge(
        "litecached_large_leaving_bytes",
        "Bytes of values in pieces that were removed or overwritten and are still in the file, those \
         that a client is being sent aside.",
        store.large_leaving_bytes,
    );
    page.gauge(
        "litecached_wal_bytes",
        "Length of the write-ahead log since it last started over.",
        store.wal_bytes,
    );
    page.gauge(
        "litecached_wal_limit_bytes",
        "Its limit (--wal-max), beyond which writes are refused.",
        store.wal_bytes_max,
    );
    page.gauge(
        "litecached_wal_file_bytes",
        "Size of its file, which keeps its length when the log starts over.",
        store.wal_file_bytes,
    );
    page.gauge(
        "litecached_writes_refused",
        "1 while the log is at its limit, or another program has the write lock, else 0.",
        u8::from(store.wal_is_stuck || store.is_locked_out),
    );
    page.sizes(
        "litecached_commit_operations",
        "Operations in each transaction.",
        &storage.sizes,
        storage.operations,
    );
    for (name, help, timed) in [
        (
            "litecached_commit_duration_seconds",
            "Time of a transaction, from BEGIN to the end of COMMIT.",
            &storage.commit,
        ),
        (
            "litecached_sync_duration_seconds",
            "Time of a sync of the write-ahead log.",
            &storage.sync,
        ),
        (
            "litecached_checkpoint_duration_seconds",
            "Time of a checkpoint of the write-ahead log.",
            &storage.checkpoint,
        ),
    ] {
        page.times(name, help, std::iter::once((None, timed)));
    }
    page.counter(
        "litecached_checkpoints_hindered_total",
        "Checkpoints that a reader kept from copying all; tried again soon.",
        counted.checkpoints_hindered,
    );
    page.counter(
        "litecached_checkpoint_failures_total",
        "Checkpoints that failed; tried again.",
        counted.checkpoints_failed,
    );
    page.counter(
        "litecached_batches_handed_over_total",
        "Batches that another event loop committed.",
        counted.handed_over,
    );
    page.labelled(
        "litecached_write_failures_total",
        "Operations that the database refused.",
        "reason",
        &[
            ("disk_full", counted.failed_disk_full),
            ("constraint", counted.failed_constraint),
            ("other", counted.failed_otherwise),
        ],
    );
    page.counter(
        "litecached_foreign_commits_total",
        "Commits by other programs that were noticed; each empties the memory tier.",
        counted.foreign_commits,
    );
}

/// Nanoseconds, written as seconds.
#[derive(Clone, Copy)]
struct Decimal(u128);

impl Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const BILLION: u128 = 1_000_000_000;
        let (seconds, rest) = (self.0 / BILLION, self.0 % BILLION);
        if rest == 0 {
            return write!(f, "{seconds}");
        }
        let rest = format!("{rest:09}");
        write!(f, "{seconds}.{}", rest.trim_end_matches('0'))
    }
}

struct Page(String);

impl Page {
    fn write(&mut self, text: Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes everything");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: Arguments<'_>, value: impl Display) {
        self.write(format_args!("{name}{labels} {value}\n"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, format_args!(""), value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, format_args!(""), value);
    }

    fn labelled(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (of, value) in values {
            self.sample(name, format_args!("{{{label}=\"{of}\"}}"), value);
        }
    }

    fn times<'t>(
        &mut self,
        name: &str,
        help: &str,
        parts: impl Iterator<Item = (Option<(&'t str, &'t str)>, &'t Timed)>,
    ) {
        self.family(name, "histogram", help);
        for (label, timed) in parts {
            let bounds = TIMES_NANOS_MAX.map(|nanos| Decimal(u128::from(nanos)));
            let sum = Decimal(u128::from(timed.nanos));
            self.histogram(name, label, bounds.iter().zip(&timed.buckets), timed.count(), &sum);
        }
    }

    fn sizes(&mut self, name: &str, help: &str, buckets: &[u64], sum: u64) {
        self.family(name, "histogram", help);
        let count = buckets.iter().sum();
        self.histogram(name, None, SIZES_MAX.iter().zip(buckets), count, &sum);
    }

    fn histogram<'b>(
        &mut self,
        name: &str,
        label: Option<(&str, &str)>,
        buckets: impl Iterator<Item = (&'b (impl Display + 'b), &'b u64)>,
        count: u64,
        sum: &dyn Display,
    ) {
        let own = label.map_or(String::new(), |(label, of)| format!("{label}=\"{of}\""));
        let comma = if own.is_empty() { "" } else { "," };
        let mut so_far = 0;
        for (bound, here) in buckets {
            so_far += here;
            self.write(format_args!("{name}_bucket{{{own}{comma}le=\"{bound}\"}} {so_far}\n"));
        }
        self.write(format_args!("{name}_bucket{{{own}{comma}le=\"+Inf\"}} {count}\n"));
        let labels = if own.is_empty() { own } else { format!("{{{own}}}") };
        self.write(format_args!("{name}_sum{labels} {sum}\n{name}_count{labels} {count}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_in_decimals() {
        let cases = [
            (0, "0"),
            (1, "0.000000001"),
            (250, "0.00000025"),
            (2_500_000_000, "2.5"),
            (10_000_000_000, "10"),
            (60_000_000_001, "60.000000001"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Decimal(nanos).to_string(), text);
        }
    }

    #[test]
    fn buckets_are_cumulated() {
        let mut page = Page(String::new());
        let mut timed = Timed::default();
        (timed.buckets[0], timed.buckets[2], timed.buckets[TIMES_NANOS_MAX.len()]) = (3, 1, 2);
        timed.nanos = 1_500_000_000;
        page.times("t", "Help.", std::iter::once((Some(("of", "a")), &timed)));
        let lines: Vec<&str> = page.0.lines().collect();
        assert_eq!(lines[..2], ["# HELP t Help.", "# TYPE t histogram"]);
        assert_eq!(lines[2], "t_bucket{of=\"a\",le=\"0.00000025\"} 3");
        assert_eq!(lines[4], "t_bucket{of=\"a\",le=\"0.000001\"} 4");
        let end =
            ["t_bucket{of=\"a\",le=\"+Inf\"} 6", "t_sum{of=\"a\"} 1.5", "t_count{of=\"a\"} 6"];
        assert_eq!(lines[lines.len() - 3..], end);
    }
}
