//! `--durability power` as the kernel sees it: the log is synced before the reply leaves, and when a
//! sync fails there is no reply any more.
//!
//! The daemon runs under strace, which writes down system calls in the order in which it saw them begin
//! and end.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, needs, skipped, until};
use common::wire::Client;
use tempfile::TempDir;

/// A launch under strace with these further arguments, and where the trace will be.
fn traced(folder: &Path, arguments: &[&str]) -> (Launch, PathBuf) {
    let trace = folder.join("trace");
    let path = trace.to_string_lossy();
    // -D: the daemon stays our child. -yy: files by path, sockets by address.
    let mut words = vec!["strace", "-D", "-f", "-q", "-yy", "-s", "200000", "-o", &path];
    words.extend(arguments);
    let launch = Launch::new(folder).with("--durability power -t 2").through(words);
    (launch, trace)
}

fn can_trace(folder: &TempDir) -> bool {
    if !needs("strace") {
        return false;
    }
    let probe = folder.path().join("probe");
    let mut command = std::process::Command::new("strace");
    command.args(["-o", &probe.to_string_lossy(), "true"]);
    let works = command.status().is_ok_and(|status| status.success());
    works || skipped("strace is not allowed here")
}

/// Something that began or ended.
#[derive(Debug)]
enum Event {
    /// This text was written to the log file.
    Logged(String),
    /// A sync of the log began.
    SyncBegins,
    /// A sync of the log that began there ended well.
    Synced(usize),
    /// So many `STORED` began to leave to the client on this port.
    Told(u16, usize),
}

#[test]
fn no_reply_leaves_before_its_sync() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if !can_trace(&folder) {
        return;
    }
    let calls = "trace=pwrite64,pwritev,write,writev,sendto,sendmsg,fdatasync,fsync";
    let (launch, trace) = traced(folder.path(), &["-e", calls]);
    let mut daemon = launch.start();
    let mut markers = HashMap::new();
    let mut clients: Vec<Client> = (0..3).map(|_| daemon.client()).collect();
    // One at a time, then pipelined, then from all at once.
    let (first, rest) = clients.split_at_mut(1);
    for number in 0..20 {
        let (marker, request) = marked(&first[0], number);
        markers.entry(first[0].local_port()).or_insert_with(Vec::new).push(marker);
        assert_eq!(first[0].ask(request), "STORED");
    }
    for client in rest {
        let mut requests = String::new();
        for number in 0..60 {
            let (marker, request) = marked(client, number);
            markers.entry(client.local_port()).or_insert_with(Vec::new).push(marker);
            requests.push_str(&request);
        }
        client.send(requests);
    }
    for client in &mut clients[1..] {
        (0..60).for_each(|_| assert_eq!(client.line(), "STORED"));
    }
    daemon.stop();
    let events = read_trace(&trace, &daemon);
    let told = assert_synced_first(&events, &markers);
    assert_eq!(told, 140, "every reply is in the trace");
    let syncs = events.iter().filter(|event| matches!(event, Event::Synced(_))).count();
    println!("{told} replies, {syncs} syncs of the log");
    assert!(syncs >= 20, "requests one at a time need a sync each");
}

/// A request whose value can be found in the trace.
fn marked(client: &Client, number: usize) -> (String, String) {
    let marker = format!("<marker-{}-{number}>", client.local_port());
    let request =
        format!("set key-{}-{number} 0 0 {}\r\n{marker}\r\n", client.local_port(), marker.len());
    (marker, request)
}

/// For each reply: the value was written to the log, then a sync of the log began, that sync ended, and
/// then the reply left. Gives the number of replies.
fn assert_synced_first(events: &[Event], markers: &HashMap<u16, Vec<String>>) -> usize {
    let mut told_to: HashMap<u16, usize> = HashMap::new();
    let mut total = 0;
    for (here, event) in events.iter().enumerate() {
        let Event::Told(port, count) = event else { continue };
        let told = told_to.entry(*port).or_default();
        for marker in &markers[port][*told..*told + count] {
            let before = &events[..here];
            let logged = before
                .iter()
                .position(|event| matches!(event, Event::Logged(text) if text.contains(marker)))
                .unwrap_or_else(|| panic!("{marker} was answered before it was logged"));
            let covered =
                before.iter().any(|event| matches!(event, Event::Synced(began) if *began > logged));
            assert!(covered, "{marker} was answered before a sync that covers it");
        }
        *told += count;
        total += count;
    }
    total
}

/// The text of a trace once it is complete: the first thread's end comes last.
fn whole_trace(path: &Path, daemon: &Daemon) -> String {
    // A short process id is padded.
    let begin = format!("{} ", daemon.pid());
    let is_end = |line: &str| line.starts_with(&begin) && line.contains(" +++ ");
    until("strace writes the end", PATIENCE, || {
        fs::read_to_string(path).ok().filter(|text| text.lines().any(is_end))
    })
}

fn read_trace(path: &Path, daemon: &Daemon) -> Vec<Event> {
    let text = whole_trace(path, daemon);
    let mut events = Vec::new();
    // What a thread has begun and not ended: the text of the call, and the event of its beginning.
    let mut begun: HashMap<&str, (&str, usize)> = HashMap::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').expect("-f begins lines with the thread");
        let call = call.trim_start();
        if let Some(resumed) = call.strip_prefix("<... ") {
            if let Some((beginning, at)) = begun.remove(thread) {
                ends(beginning, resumed, at, &mut events);
            }
            continue;
        }
        let at = events.len();
        begins(call, &mut events);
        if call.ends_with("<unfinished ...>") {
            begun.insert(thread, (call, at));
        } else {
            ends(call, call, at, &mut events);
        }
    }
    events
}

fn begins(call: &str, events: &mut Vec<Event>) {
    if is_sync_of_log(call) {
        events.push(Event::SyncBegins);
    }
    let sends =
        ["sendto(", "sendmsg(", "write(", "writev("].iter().any(|&name| call.starts_with(name));
    if let (true, Some(port)) = (sends, client_port(call)) {
        let count = call.matches(r"STORED\r\n").count();
        if count > 0 {
            events.push(Event::Told(port, count));
        }
    }
}

fn ends(beginning: &str, end: &str, at: usize, events: &mut Vec<Event>) {
    let result = end.rsplit_once(" = ").map_or("", |(_, result)| result);
    if is_sync_of_log(beginning) && result.trim() == "0" {
        events.push(Event::Synced(at));
    }
    let writes = beginning.starts_with("pwrite64(") || beginning.starts_with("pwritev(");
    if writes && file_of(beginning).is_some_and(|file| file.ends_with("-wal")) {
        events.push(Event::Logged(beginning.to_owned()));
    }
}

fn is_sync_of_log(call: &str) -> bool {
    let syncs = call.starts_with("fdatasync(") || call.starts_with("fsync(");
    syncs && file_of(call).is_some_and(|file| file.ends_with("-wal"))
}

/// What the first argument stands for: `9</a/path>` or `9<TCP:[here->there]>`.
fn file_of(call: &str) -> Option<&str> {
    let (_, rest) = call.split_once('<')?;
    let socket = rest.starts_with("TCP");
    let end = if socket { rest.find("]>")? + 1 } else { rest.find('>')? };
    Some(&rest[..end])
}

fn client_port(call: &str) -> Option<u16> {
    let (_, there) = file_of(call)?.strip_prefix("TCP:[")?.split_once("->")?;
    there.trim_end_matches(']').rsplit(':').next()?.parse().ok()
}

/// A launch on which each thread's syncs fail from its tenth on, for ever. The database is there
/// already, so that none are used up to create it.
fn failing(folder: &TempDir) -> (Launch, PathBuf) {
    Launch::new(folder.path()).start().stop();
    let fails = "inject=fdatasync,fsync:error=EIO:when=10+";
    traced(folder.path(), &["--seccomp-bpf", "-e", "trace=fdatasync,fsync", "-e", fails])
}

#[test]
fn a_failing_sync_is_never_followed_by_a_reply() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if !can_trace(&folder) {
        return;
    }
    let (launch, trace) = failing(&folder);
    let mut daemon = launch.start();
    let mut client = daemon.client();
    let mut stored = 0;
    let silence = loop {
        let sent = client.try_send(format!("set key-{stored} 0 0 1\r\nv\r\n").as_bytes());
        match sent.and_then(|()| client.try_line()) {
            Ok(line) => assert_eq!(line, "STORED", "there is no reply to a failed sync"),
            Err(error) => break error,
        }
        stored += 1;
        assert!(stored < 100, "no sync failed, or a failed one was answered");
    };
    println!("{stored} stored, then {silence}");
    assert!(stored > 0, "it began in good order");
    let status = daemon.wait(PATIENCE);
    assert!(!status.success(), "it stops, and not as if all were well: {status}");
    assert!(daemon.log().contains("sync"), "the log says why: {}", daemon.log());
    assert!(whole_trace(&trace, &daemon).contains("EIO"), "the fault was injected");
    // Whatever was told is there.
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    for number in 0..stored {
        assert!(
            client.get(&format!("key-{number}")).is_some(),
            "key-{number} was told and is lost"
        );
    }
    daemon.stop();
}

#[test]
fn a_failing_sync_ends_all_who_wait() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if !can_trace(&folder) {
        return;
    }
    let (launch, _trace) = failing(&folder);
    let mut daemon = launch.start();
    let mut clients: Vec<Client> = (0..10).map(|_| daemon.client()).collect();
    let mut told = Vec::new();
    // Pipelined from many, so that replies wait together when the sync fails.
    for (who, client) in clients.iter_mut().enumerate() {
        let requests: Vec<String> =
            (0..50).map(|n| format!("set key-{who}-{n} 0 0 1\r\nv\r\n")).collect();
        // Whoever comes late finds it gone.
        if client.try_send(requests.concat().as_bytes()).is_err() {
            break;
        }
    }
    for (who, client) in clients.iter_mut().enumerate() {
        for number in 0..50 {
            let Ok(line) = client.try_line() else { break };
            assert_eq!(line, "STORED", "there is no reply to a failed sync");
            told.push(format!("key-{who}-{number}"));
        }
    }
    // All may have fitted into few syncs: more, until one fails.
    let mut more = daemon.ended().is_none().then(|| Client::try_connect(daemon.port()));
    while let Some(Ok(client)) = &mut more {
        let key = format!("more-{}", told.len());
        let sent = client.try_send(format!("set {key} 0 0 1\r\nv\r\n").as_bytes());
        match sent.and_then(|()| client.try_line()) {
            Ok(line) => assert_eq!(line, "STORED"),
            Err(_) => break,
        }
        told.push(key);
    }
    assert!(!daemon.wait(PATIENCE).success());
    let daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    let lost: Vec<&String> = told.iter().filter(|key| client.get(key).is_none()).collect();
    assert!(lost.is_empty(), "told and lost: {lost:?}");
    println!("{} told, none lost", told.len());
    assert!(!told.is_empty(), "it began in good order");
}
