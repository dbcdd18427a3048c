//! `--http`: figures in Prometheus' text, which agree with `stats`; health; and nothing of an item.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::daemon::{Daemon, Launch, open_database};
use common::ground::{PATIENCE, needs, until};
use common::packages;
use common::wire::Client;
use tempfile::TempDir;

/// Series to value, as written.
type Series = BTreeMap<String, String>;

struct Server {
    daemon: Daemon,
    // After the daemon, so that it is removed when the daemon has gone.
    _folder: TempDir,
}

impl Server {
    fn start(arguments: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let launch = Launch::new(folder.path()).with("--http 127.0.0.1:0").with(arguments);
        Self { daemon: launch.start(), _folder: folder }
    }

    /// Sends bytes to the HTTP server, and gives all that it answers.
    fn http(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("the request is taken");
        answer(&mut stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.daemon.http_port())).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");
        stream
    }

    /// Status and body of a page.
    fn page(&self, path: &str) -> (u16, String) {
        let text = self.http(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        (status(head), body.to_owned())
    }

    fn metrics(&self) -> Series {
        let (status, text) = self.page("/metrics");
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("a series and its value");
                (series.to_owned(), value.to_owned())
            })
            .collect()
    }
}

fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and then the end");
    text
}

fn status(head: &str) -> u16 {
    let words = head.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no HTTP: {head:?}"));
    words[..3].parse().expect("a status is a number")
}

/// `stats` or one of its sections.
fn stats(client: &mut Client, section: &str) -> BTreeMap<String, String> {
    client.send(format!("stats {section}\r\n"));
    let mut found = BTreeMap::new();
    loop {
        let line = client.line();
        if line == "END" {
            return found;
        }
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [_, name, value] = words[..] else { panic!("no STAT line: {line}") };
        found.insert(name.to_owned(), value.to_owned());
    }
}

/// A little of everything.
fn exercise(client: &mut Client, round: usize) {
    let key = format!("key{}", round % 50);
    client.set(&key, format!("{round}"));
    client.get(&key);
    client.get("missing");
    for request in [
        "incr counter 1\r\n",
        "set counter 0 0 1\r\n5\r\n",
        "incr counter 1\r\n",
        "decr counter 1\r\n",
        "incr nothing 1\r\n",
        "decr nothing 1\r\n",
        "add counter 0 0 1\r\n1\r\n",
        "cas counter 0 0 1 1\r\n1\r\n",
        "cas nothing 0 0 1 1\r\n1\r\n",
        "touch counter 100\r\n",
        "touch nothing 100\r\n",
        "delete short\r\n",
        "set short 0 -1 1\r\n1\r\n",
        "delete nothing\r\n",
        "set large 0 0 2000000\r\n",
        "fooble\r\n",
    ] {
        if request.contains("2000000") {
            client.send(format!("{request}{}\r\n", "x".repeat(2_000_000)));
            client.line();
        } else {
            client.ask(request);
        }
    }
    client.send("gat 100 counter\r\n");
    client.try_values().expect("gat answers");
}

/// What `stats` calls it, and what `/metrics` does; several series are added up.
const BOTH: &[(&str, &str, &[&str])] = &[
    ("", "max_connections", &["litecached_connections_limit"]),
    ("", "curr_connections", &["litecached_connections"]),
    ("", "connection_structures", &["litecached_connections"]),
    ("", "total_connections", &["litecached_connections_accepted_total"]),
    ("", "rejected_connections", &["litecached_connections_refused_total"]),
    ("", "cmd_get", &["litecached_commands_total{command=\"get\""]),
    ("", "cmd_flush", &["litecached_commands_total{command=\"flush_all\""]),
    ("", "cmd_touch", &["litecached_commands_total{command=\"touch\""]),
    ("", "get_hits", &["litecached_commands_total{command=\"get\",outcome=\"hit\"}"]),
    ("", "get_misses", &["litecached_commands_total{command=\"get\",outcome=\"miss\"}"]),
    ("", "get_expired", &["litecached_dead_misses_total{reason=\"expired\"}"]),
    ("", "get_flushed", &["litecached_dead_misses_total{reason=\"flushed\"}"]),
    ("", "delete_misses", &["litecached_commands_total{command=\"delete\",outcome=\"miss\"}"]),
    ("", "delete_hits", &["litecached_commands_total{command=\"delete\",outcome=\"hit\"}"]),
    ("", "incr_misses", &["litecached_commands_total{command=\"incr\",outcome=\"miss\"}"]),
    ("", "incr_hits", &["litecached_commands_total{command=\"incr\",outcome=\"hit\"}"]),
    ("", "decr_misses", &["litecached_commands_total{command=\"decr\",outcome=\"miss\"}"]),
    ("", "decr_hits", &["litecached_commands_total{command=\"decr\",outcome=\"hit\"}"]),
    ("", "cas_misses", &["litecached_commands_total{command=\"cas\",outcome=\"not_found\"}"]),
    ("", "cas_hits", &["litecached_commands_total{command=\"cas\",outcome=\"stored\"}"]),
    ("", "cas_badval", &["litecached_commands_total{command=\"cas\",outcome=\"exists\"}"]),
    ("", "touch_hits", &["litecached_commands_total{command=\"touch\",outcome=\"hit\"}"]),
    ("", "touch_misses", &["litecached_commands_total{command=\"touch\",outcome=\"miss\"}"]),
    ("", "store_too_large", &["litecached_errors_total{kind=\"too_large\"}"]),
    ("", "bytes_read", &["litecached_received_bytes_total"]),
    ("", "bytes_written", &["litecached_sent_bytes_total"]),
    ("", "limit_maxbytes", &["litecached_items_limit_bytes"]),
    ("", "accepting_conns", &["litecached_accepting"]),
    ("", "listen_disabled_num", &["litecached_accept_suspensions_total"]),
    ("", "threads", &["litecached_event_loops"]),
    ("", "conn_yields", &["litecached_connection_yields_total"]),
    ("", "log_worker_dropped", &["litecached_watch_events_total{fate=\"dropped\"}"]),
    ("", "log_worker_written", &["litecached_watch_events_total{fate=\"written\"}"]),
    ("", "log_watcher_skipped", &["litecached_watch_lines_total{fate=\"skipped\"}"]),
    ("", "log_watcher_sent", &["litecached_watch_lines_total{fate=\"sent\"}"]),
    ("", "log_watchers", &["litecached_watchers"]),
    ("", "bytes", &["litecached_items_bytes"]),
    ("", "curr_items", &["litecached_items"]),
    ("", "total_items", &["litecached_items_stored_total"]),
    ("", "expired_unfetched", &["litecached_reclaimed_unfetched_items_total"]),
    ("", "evictions", &["litecached_evicted_items_total"]),
    ("", "reclaimed", &["litecached_reclaimed_items_total{"]),
    ("storage", "memory_items", &["litecached_memory_items"]),
    ("storage", "memory_bytes", &["litecached_memory_bytes"]),
    ("storage", "memory_bytes_max", &["litecached_memory_limit_bytes"]),
    ("storage", "memory_hits", &["litecached_memory_hits_total"]),
    ("storage", "disk_reads", &["litecached_memory_misses_total"]),
    ("storage", "disk_read_failures", &["litecached_database_read_failures_total"]),
    ("storage", "file_bytes", &["litecached_database_bytes"]),
    ("storage", "free_bytes", &["litecached_database_free_bytes"]),
    ("storage", "vacuumed_pages", &["litecached_database_vacuumed_pages_total"]),
    ("storage", "wal_bytes", &["litecached_wal_bytes"]),
    ("storage", "wal_bytes_max", &["litecached_wal_limit_bytes"]),
    ("storage", "wal_file_bytes", &["litecached_wal_file_bytes"]),
    ("storage", "commits", &["litecached_commit_operations_count"]),
    ("storage", "commits", &["litecached_commit_duration_seconds_count"]),
    ("storage", "commit_ops", &["litecached_commit_operations_sum"]),
    ("storage", "batches_handed_over", &["litecached_batches_handed_over_total"]),
    ("storage", "commits_failed", &["litecached_write_failures_total{"]),
    ("storage", "foreign_commits", &["litecached_foreign_commits_total"]),
    ("storage", "checkpoints_hindered", &["litecached_checkpoints_hindered_total"]),
    ("storage", "checkpoints_failed", &["litecached_checkpoint_failures_total"]),
    ("latency", "get:count", &["litecached_command_duration_seconds_count{command=\"get\"}"]),
    ("latency", "set:count", &["litecached_command_duration_seconds_count{command=\"set\"}"]),
    ("latency", "delete:count", &["litecached_command_duration_seconds_count{command=\"delete\"}"]),
    ("latency", "incr:count", &["litecached_command_duration_seconds_count{command=\"incr\"}"]),
    ("latency", "touch:count", &["litecached_command_duration_seconds_count{command=\"touch\"}"]),
    (
        "latency",
        "flush_all:count",
        &["litecached_command_duration_seconds_count{command=\"flush_all\"}"],
    ),
    ("latency", "other:count", &["litecached_command_duration_seconds_count{command=\"other\"}"]),
    ("latency", "other:count", &["litecached_commands_total{command=\"other\""]),
    ("latency", "commit:count", &["litecached_commit_duration_seconds_count"]),
    ("latency", "sync:count", &["litecached_sync_duration_seconds_count"]),
    ("latency", "checkpoint:count", &["litecached_checkpoint_duration_seconds_count"]),
];

/// Names of `stats` that are no figure, always 0, compared in another way, or a sum of figures that
/// `/metrics` cuts otherwise. Whatever else is new has to be in both.
const ONLY_STATS: &[&str] = &[
    "slab_reassign_last_busy_status",
    "crawler_reclaimed",
    "pid",
    "uptime",
    "time",
    "version",
    "libevent",
    "pointer_size",
    "rusage_user",
    "rusage_system",
    "cmd_set",
    "cmd_meta",
    "store_no_memory",
    "time_in_listen_disabled_us",
    "durability",
];

fn number(series: &Series, wanted: &str) -> u64 {
    let values: Vec<u64> = series
        .iter()
        .filter(|(name, _)| *name == wanted || wanted.contains('{') && name.starts_with(wanted))
        .map(|(name, value)| value.parse().unwrap_or_else(|_| panic!("{name} is {value}")))
        .collect();
    assert!(!values.is_empty(), "/metrics has no {wanted}");
    values.iter().sum()
}

/// What moves by itself.
fn at_rest(mut series: Series) -> Series {
    series.retain(|name, _| !name.starts_with("process_") && name != "litecached_uptime_seconds");
    series
}

/// Compares every figure that is in both, once nothing moves between two scrapes.
fn assert_agree(server: &Server, client: &mut Client) {
    for section in ["", "storage", "latency"] {
        let request = format!("stats {section}\r\n").len() as u64;
        let (before, said) = until("nothing moves", PATIENCE, || {
            let before = server.metrics();
            let said = stats(client, section);
            let mut after = at_rest(server.metrics());
            // This very question: it is received when it is answered, and counted after.
            let read = number(&after, "litecached_received_bytes_total") - request;
            after.insert("litecached_received_bytes_total".into(), read.to_string());
            let mut same = at_rest(before.clone());
            for series in [&mut same, &mut after] {
                series.retain(|name, _| {
                    !name.contains("command=\"other\"") && name != "litecached_sent_bytes_total"
                });
            }
            // The answer before this one may be counted a moment after it was read.
            let sent = number(&before, "litecached_sent_bytes_total").to_string();
            let is_counted = said.get("bytes_written").is_none_or(|written| *written == sent);
            (same == after && is_counted).then_some((before, said))
        });
        for (_, name, parts) in BOTH.iter().filter(|(of, ..)| *of == section) {
            let shown: u64 = parts.iter().map(|part| number(&before, part)).sum();
            let own = if *name == "bytes_read" { request } else { 0 };
            assert_eq!(said[*name], (shown + own).to_string(), "{name} and {parts:?}");
        }
        for (name, value) in &said {
            let known = BOTH.iter().any(|(of, both, _)| *of == section && both == name)
                || ONLY_STATS.contains(&name.as_str())
                || name.contains(":p")
                || name.ends_with(":max_us");
            assert!(known || value == "0", "{name} is {value}, and /metrics has no word for it");
        }
        if section.is_empty() {
            let figure = |name: &str| said[name].parse::<u64>().expect("a number");
            let start = figure("time") - figure("uptime");
            assert_eq!(number(&before, "process_start_time_seconds"), start);
            let stores = number(&before, "litecached_commands_total{command=\"set\"")
                + number(&before, "litecached_commands_total{command=\"cas\"");
            let too_large = number(&before, "litecached_errors_total{kind=\"too_large\"}");
            assert_eq!(said["cmd_set"], (stores - too_large).to_string());
            let version = format!("litecached_build_info{{version=\"{}\"}}", said["version"]);
            assert_eq!(before[&version], "1");
        }
    }
}

#[test]
fn stats_and_metrics_agree() {
    let server = Server::start("-m 1 --max-disk 64m");
    let mut client = server.daemon.client();
    assert_agree(&server, &mut client);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = server.daemon.client();
                (0..60).for_each(|round| exercise(&mut client, round));
            });
        }
    });
    client.ask("flush_all\r\n");
    client.get("counter");
    // What is dead is swept away meanwhile.
    until("the flushed items are removed", PATIENCE, || {
        (client.stat("curr_items") == 0).then_some(())
    });
    assert_agree(&server, &mut client);
    assert!(number(&server.metrics(), "litecached_reclaimed_items_total{reason=\"flushed\"}") > 0);
    assert_eq!(client.ask("stats reset\r\n"), "RESET");
    assert_agree(&server, &mut client);
    assert_eq!(number(&server.metrics(), "litecached_commands_total{command=\"set\""), 0);
    exercise(&mut client, 0);
    assert_agree(&server, &mut client);
}

#[test]
fn the_text_is_read_by_prometheus_own_parser_under_load() {
    let Some(packages) = packages::python() else {
        return;
    };
    let server = Server::start("");
    let done = AtomicBool::new(false);
    let output = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = server.daemon.client();
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    exercise(&mut client, round);
                    round += 1;
                }
            });
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/scrape.py");
        let output = Command::new("timeout")
            .args(["--kill-after=5", "180", "python3"])
            .arg(script)
            .args(["127.0.0.1", &server.daemon.http_port().to_string(), "30"])
            .env("PYTHONPATH", packages)
            .output();
        done.store(true, Ordering::Relaxed);
        output.expect("timeout is one of the core utilities")
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("passed: 30 scrapes"), "{said}{why}");
}

#[test]
fn promtool_finds_nothing() {
    if !needs("promtool") {
        return;
    }
    let server = Server::start("");
    exercise(&mut server.daemon.client(), 0);
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut input = check.stdin.take().expect("it is piped");
    input.write_all(server.page("/metrics").1.as_bytes()).expect("promtool reads");
    drop(input);
    let output = check.wait_with_output().expect("promtool ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let rules = asset("prometheus-alerts.yml");
    let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output();
    let output = output.expect("promtool runs");
    assert!(output.status.success(), "{output:?}");
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| word.starts_with("litecached_") || word.starts_with("process_"))
        .collect()
}

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let server = Server::start("");
    let metrics = server.metrics();
    let known: BTreeSet<&str> =
        metrics.keys().map(|series| series.split('{').next().unwrap_or(series)).collect();
    for (file, least) in [("grafana-dashboard.json", 40), ("prometheus-alerts.yml", 12)] {
        let text = std::fs::read_to_string(asset(file)).expect("the asset is there");
        let names = names(&text);
        assert!(names.len() >= least, "{file}: only {} metrics", names.len());
        let unknown: Vec<_> = names.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let text = std::fs::read_to_string(asset("grafana-dashboard.json")).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "an id twice: {panel}");
        let has_targets = panel["targets"].as_array().is_some_and(|targets| !targets.is_empty());
        assert!(has_targets || panel["type"] == "row", "{panel}");
    }
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    // Names of tests may begin as metrics do.
    let readme = readme.expect("there is a README").replace("::", "::test_");
    // There a histogram has its own name, in queries those of its parts.
    let is_known =
        |name: &str| known.contains(name) || known.contains(format!("{name}_bucket").as_str());
    let unknown: Vec<_> = names(&readme).into_iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "README.md: {unknown:?}");
}

#[test]
fn a_web_client_sees_no_item_and_changes_nothing() {
    let server = Server::start("");
    let mut client = server.daemon.client();
    client.set("secretkey", "secretvalue");
    client.get("secretkey");
    let requests = [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /secretkey HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("DELETE /secretkey HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nflush_all\r\n",
            405,
        ),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        ("get secretkey\r\n", 400),
        ("delete secretkey\r\nflush_all\r\n", 400),
    ];
    for (request, expected) in requests {
        let text = server.http(request);
        assert_eq!(status(&text), expected, "{request:?}: {text}");
        assert!(!text.contains("secretvalue"), "{request:?}: {text}");
        assert!(!text.contains("secretkey"), "{request:?}: {text}");
        assert!(!text.to_lowercase().contains("access-control"), "{request:?}: {text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{request:?}: {text}");
        assert_eq!(text.contains("\r\nAllow: GET, HEAD\r\n"), expected == 405, "{request:?}");
    }
    let head = server.http("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(client.get("secretkey").as_deref(), Some(&b"secretvalue"[..]));
    assert_eq!(client.stat("curr_connections"), 1, "web clients are not its clients");
}

#[test]
fn who_dawdles_or_floods_holds_up_nobody() {
    let server = Server::start("");
    // More than have a place, each in the middle of its request, and some that take no answer.
    let mut late: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = server.connect();
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ";
            let request = if number % 2 == 0 { &request[..] } else { b"GET" };
            stream.write_all(request).expect("it is taken");
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.page("/healthz"), (200, "ok\n".to_owned()));
        assert_eq!(server.page("/metrics").0, 200);
    }
    // The last of them has kept its place so far, and gets its answer a byte at a time.
    let last = late.last_mut().expect("there are a hundred");
    for byte in b" /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        last.write_all(&[*byte]).expect("it is taken");
    }
    assert_eq!(status(&answer(last)), 200);

    let mut long = server.connect();
    let mut head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    head.resize(20_000, b'x');
    long.write_all(&head).expect("it is taken");
    assert_eq!(status(&answer(&mut long)), 431);

    let early = server.connect();
    early.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(answer(&mut { early }), "", "nothing asked, nothing answered");
    assert_eq!(server.daemon.client().ask("version\r\n").get(..7), Some("VERSION"));
}

#[test]
fn ready_is_who_takes_writes_and_clients() {
    let server = Server::start("--wal-max 16m -c 2 -o no_maxconns_fast");
    let ready = || server.page("/readyz");
    assert_eq!(ready(), (200, "ok\n".to_owned()));
    let mut client = server.daemon.client();
    client.set("a", "1");
    let reader = open_database(server.daemon.launch().database_path());
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").expect("a snapshot");
    let mut n = 0;
    until("the WAL is full", PATIENCE, || {
        // A value that is there already writes nothing.
        n += 1;
        let value = format!("{n:08}").repeat(50_000);
        let answer = client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()));
        (answer != "STORED").then_some(())
    });
    let (status, reason) = ready();
    assert!(status == 503 && reason.contains("writes are refused"), "{status} {reason}");
    assert_eq!(server.page("/healthz").0, 200, "to start it again would not help");
    let metrics = server.metrics();
    assert_eq!(metrics["litecached_writes_refused"], "1");
    assert!(number(&metrics, "litecached_errors_total{kind=\"wal_full\"}") > 0);
    assert!(number(&metrics, "litecached_checkpoints_hindered_total") > 0);
    reader.execute_batch("COMMIT").expect("it ends");
    until("it is ready again", PATIENCE, || (ready().0 == 200).then_some(()));

    reader.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    assert_eq!(ready().0, 200, "others may write for a moment");
    let refused = client.ask("set a 0 0 1\r\n2\r\n");
    assert!(refused.starts_with("SERVER_ERROR database is locked"), "{refused}");
    let (status, reason) = ready();
    assert!(status == 503 && reason.contains("write lock"), "{status} {reason}");
    assert_eq!(server.metrics()["litecached_writes_refused"], "1");
    reader.execute_batch("COMMIT").expect("it ends");
    until("it is ready again", PATIENCE, || (ready().0 == 200).then_some(()));
    assert_eq!(server.metrics()["litecached_writes_refused"], "0");
    let log = server.daemon.log();
    assert!(log.contains("refused until it ends") && log.contains("writes go on"), "{log}");

    let more: Vec<_> = (0..3).map(|_| server.daemon.client()).collect();
    let reason = until("it accepts nobody", PATIENCE, || {
        let (status, reason) = ready();
        (status == 503).then_some(reason)
    });
    assert!(reason.contains("-c"), "{reason}");
    drop(more);
    until("it is ready again", PATIENCE, || (ready().0 == 200).then_some(()));
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("there is a README");
    let (_, text) = Server::start("").page("/metrics");
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    let is_told = |name: &&str| {
        readme.contains(&format!("`{name}`")) || readme.contains(&format!("`{name}{{"))
    };
    let missing: Vec<_> = names.filter(|name| !is_told(name)).collect();
    assert!(missing.is_empty() && text.len() > 1_000, "{missing:?}");
}

#[test]
fn whoever_turns_clients_away_is_not_ready() {
    let server = Server::start("-c 2");
    assert_eq!(server.page("/readyz").0, 200);
    let mut clients: Vec<_> = (0..2).map(|_| server.daemon.client()).collect();
    // Their answers show that they are in.
    clients.iter_mut().for_each(|client| assert!(!client.ask("version\r\n").is_empty()));
    let mut late = server.daemon.client();
    assert_eq!(late.line(), "ERROR Too many open connections");
    let (status, reason) = server.page("/readyz");
    assert!(status == 503 && reason.contains("-c"), "{status} {reason}");
    clients.pop();
    until("there is room again", PATIENCE, || (server.page("/readyz").0 == 200).then_some(()));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::start("");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = format!("--http 127.0.0.1:{}", server.daemon.http_port());
    let refused = Launch::new(folder.path()).with(&taken).refused();
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(refused.log.contains("--http"), "{refused:?}");
    assert_eq!(refused.log.lines().count(), 1, "{refused:?}");

    let refused = Launch::new(folder.path()).with("--http 203.0.113.1:9").refused();
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(refused.log.contains("--http"), "{refused:?}");
}
