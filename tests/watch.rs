//! `watch`: a client is told what the others do, line by line; and nobody waits for it.
//!
//! What the lines say of each command is in `tests/scripts`; here is what takes several clients, a slow
//! one, or the end.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, now, until};
use common::in_process::InProcess;
use common::target::Target;
use common::wire::Client;
use litecached::cache::Key;
use litecached::limits::WATCHERS_MAX;
use litecached::server::Evicted;
use nix::sys::signal::Signal;
use tempfile::TempDir;

fn started(arguments: &str) -> (Daemon, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (Launch::new(folder.path()).with(arguments).start(), folder)
}

/// Becomes a watcher.
fn watching(mut client: Client, kinds: &str) -> Client {
    assert_eq!(client.ask(format!("watch {kinds}\r\n")), "OK");
    client
}

/// The number of a client in `stats conns`, by the port at its end.
fn id(asker: &mut Client, port: u16) -> u64 {
    asker.send("stats conns\r\n");
    let mut found = None;
    loop {
        let line = asker.line();
        if line == "END" {
            return found.expect("it is connected");
        }
        if line.ends_with(&format!(":addr tcp:127.0.0.1:{port}")) {
            let words: Vec<&str> = line.split([' ', ':']).collect();
            found = Some(words[1].parse().expect("a number"));
        }
    }
}

/// The next line's time, number, and what it tells.
fn told(watcher: &mut Client) -> (f64, u64, String) {
    let line = watcher.log_line();
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let [time, gid, what] = words[..] else { panic!("no line of a log: {line:?}") };
    let number = |word: &str, name: &str| {
        word.strip_prefix(name).unwrap_or_else(|| panic!("{name} in {line:?}")).to_owned()
    };
    let time = number(time, "ts=").parse().expect("seconds and microseconds");
    (time, number(gid, "gid=").parse().expect("a number"), what.to_owned())
}

fn what(watcher: &mut Client) -> String {
    told(watcher).2
}

#[test]
fn each_watcher_is_told_its_kinds_in_order() {
    let (daemon, _folder) = started("-t 2");
    let mut all = watching(daemon.client(), "fetchers mutations deletions");
    let mut stores = watching(daemon.client(), "mutations");
    let mut deaf = watching(daemon.client(), "sysevents rawcmds proxyreqs proxyevents proxyuser");
    // On both event loops.
    let mut clients = [daemon.client(), daemon.client()];
    let ids = [0, 1].map(|at: usize| {
        let port = clients[at].local_port();
        id(&mut clients[at], port)
    });
    let before = unix_time();
    for (client, id) in clients.iter_mut().zip(ids) {
        client.send(format!("set k{id} 7 30 2\r\nab\r\nget k{id}\r\ndelete k{id}\r\n"));
        assert_eq!(client.line(), "STORED");
        assert_eq!(client.try_values().expect("get answers").len(), 1);
        assert_eq!(client.line(), "DELETED");
    }
    let mut last = 0;
    for id in ids {
        for expected in [
            format!("type=item_get key=k{id} status=not_found clsid=0 cfd={id} size=0"),
            format!(
                "type=item_store key=k{id} status=stored cmd=set ttl=30 clsid=1 cfd={id} size=2"
            ),
            format!("type=item_get key=k{id} status=found clsid=1 cfd={id} size=2"),
            format!("type=item_get key=k{id} status=found clsid=1 cfd={id} size=2"),
            format!("type=deleted key=k{id} cmd=delete clsid=1 size=2"),
        ] {
            let (time, gid, what) = told(&mut all);
            assert_eq!(what, expected);
            assert!(gid > last, "numbers go up: {last}, {gid}");
            assert!(time >= before && time < before + 60.0, "{time} since {before}");
            last = gid;
        }
    }
    for id in ids {
        assert!(what(&mut stores).starts_with(&format!("type=item_store key=k{id} ")));
    }
    deaf.stream().set_nonblocking(true).expect("a socket may be so");
    assert!(deaf.try_exactly(1).is_err(), "there is nothing to tell of these");
}

#[allow(clippy::disallowed_methods, reason = "the daemon's clock is the system's")]
fn unix_time() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Whole seconds: what stands behind the point is not padded.
    Duration::from_secs(since.expect("after 1970").as_secs()).as_secs_f64()
}

#[test]
fn what_is_dead_is_told_so() {
    let mut daemon = InProcess::start();
    let connect = |daemon: &InProcess| Client::connect(daemon.address().port());
    let mut client = connect(&daemon);
    let mut watcher = watching(connect(&daemon), "fetchers");
    // In one commit: nothing removes the item between them.
    client.set("k", "v");
    client.send("flush_all\r\nget k\r\n");
    assert_eq!((client.line(), client.line()), ("OK".into(), "END".into()));
    assert!(what(&mut watcher).contains(" status=not_found "));
    let flushed = what(&mut watcher);
    assert!(flushed.starts_with("type=item_get key=k status=flushed clsid=0 "), "{flushed}");
    until("an expired item is found before it is swept away", PATIENCE, || {
        client.ask("set k 0 1 1\r\nv\r\n");
        daemon.advance(2);
        assert_eq!(client.get("k"), None);
        what(&mut watcher);
        let read = what(&mut watcher);
        assert!(read.contains(" clsid=0 ") && read.ends_with(" size=0"), "{read}");
        read.starts_with("type=item_get key=k status=expired ").then_some(())
    });
}

#[test]
fn connections_come_and_go() {
    let (daemon, _folder) = started("-o idle_timeout=1");
    let mut watcher = watching(daemon.client(), "connevents");
    let mut id = 2;
    let mut new = |watcher: &mut Client| {
        id += 1;
        let client = daemon.client();
        let origin = format!("rip=127.0.0.1 rport={} transport=tcp", client.local_port());
        assert_eq!(what(watcher), format!("type=conn_new {origin} cfd={id}"));
        (client, move |reason| format!("type=conn_close {origin} reason={reason} cfd={id}"))
    };
    let (mut client, closed) = new(&mut watcher);
    client.send("quit\r\n");
    assert_eq!(what(&mut watcher), closed("normal"));
    let (client, closed) = new(&mut watcher);
    drop(client);
    assert_eq!(what(&mut watcher), closed("normal"));
    let (mut client, closed) = new(&mut watcher);
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(what(&mut watcher), closed("error"));
    let (client, closed) = new(&mut watcher);
    client.vanish();
    assert_eq!(what(&mut watcher), closed("error"));
    // A watcher is told of another's end, and is itself not idle though it says nothing.
    let (client, closed) = new(&mut watcher);
    drop(watching(client, "mutations"));
    assert_eq!(what(&mut watcher), closed("error"));
    let (client, closed) = new(&mut watcher);
    assert_eq!(what(&mut watcher), closed("idle_timeout"));
    drop(client);
    let (_client, _) = new(&mut watcher);
}

#[test]
fn a_watcher_is_one_for_good() {
    let (daemon, _folder) = started("");
    let mut watcher = daemon.client();
    // Also what comes with the word is the last that is read of it.
    watcher.send("watch mutations\r\nset own 0 0 1\r\nx\r\n");
    assert_eq!(watcher.line(), "OK");
    watcher.send("version\r\nquit\r\nset own 0 0 1\r\nx\r\n".repeat(2_000));
    let mut client = daemon.client();
    client.set("k", "v");
    assert!(what(&mut watcher).starts_with("type=item_store key=k "));
    assert_eq!(client.get("own"), None);
    client.send("stats conns\r\n");
    let mut states = BTreeSet::new();
    loop {
        let line = client.line();
        if line == "END" {
            break;
        }
        states.extend(line.split_once(":state ").map(|(_, state)| state.to_owned()));
    }
    assert!(states.contains("conn_watch"), "{states:?}");
}

#[test]
fn who_has_gone_is_not_told() {
    let (daemon, _folder) = started("");
    let mut client = daemon.client();
    client.get("unwatched");
    assert_eq!(client.stat("log_worker_written"), 0, "nobody watches");
    let mut stays = watching(daemon.client(), "fetchers");
    for ends in [|watcher| drop(watcher), |watcher: Client| watcher.vanish()] {
        let mut goes = watching(daemon.client(), "fetchers mutations");
        assert_eq!(client.stat("log_watchers"), 2);
        client.get("k");
        assert!(what(&mut goes).contains(" key=k "));
        assert!(what(&mut stays).contains(" key=k "));
        ends(goes);
        until("it is noticed", PATIENCE, || (client.stat("log_watchers") == 1).then_some(()));
        until("its place is free", PATIENCE, || {
            (client.stat("curr_connections") == 2).then_some(())
        });
    }
    client.set("k", "v");
    assert!(what(&mut stays).contains(" key=k "));
    drop(stays);
    until("it is noticed", PATIENCE, || (client.stat("log_watchers") == 0).then_some(()));
    let written = client.stat("log_worker_written");
    assert_eq!((written, client.stat("log_watcher_sent")), (3, 5));
    client.get("k");
    assert_eq!(client.stat("log_worker_written"), written, "nobody watches any more");
    client.ask("stats reset\r\n");
    assert_eq!(client.stat("log_watcher_sent"), 0);
}

#[test]
fn as_many_watch_as_may() {
    let (daemon, _folder) = started("");
    let mut watchers: Vec<_> =
        (0..WATCHERS_MAX).map(|_| watching(daemon.client(), "mutations")).collect();
    let mut client = daemon.client();
    for request in ["watch\r\n", "watch mutations\r\n"] {
        assert_eq!(client.ask(request), "WATCHER_TOO_MANY log watcher limit reached");
    }
    client.set("k", "v");
    for watcher in &mut watchers {
        assert!(what(watcher).starts_with("type=item_store key=k status=stored cmd=set "));
    }
    watchers.pop();
    until("there is room for one", PATIENCE, || (client.ask("watch\r\n") == "OK").then_some(()));
}

#[test]
fn a_slow_watcher_holds_up_nobody() {
    // Each key becomes three times as long in its line.
    let key = "#".repeat(250);
    let (daemon, _folder) = started("");
    let mut slow = watching(daemon.client(), "fetchers");
    let mut quick = watching(daemon.client(), "fetchers");
    let mut client = daemon.client();
    let request = format!("get {key}\r\n").repeat(50);
    let started = now();
    until("the slow one has no room", PATIENCE, || {
        client.send(&request);
        for _ in 0..50 {
            assert_eq!(client.line(), "END");
            assert!(what(&mut quick).contains("%23%23"), "the quick one misses nothing");
        }
        (client.stat("log_watcher_skipped") > 0).then_some(())
    });
    println!("it took {:?}", started.elapsed());
    let skipped = client.stat("log_watcher_skipped");
    assert_eq!(client.stat("log_worker_dropped"), 0);
    assert_eq!(
        client.stat("log_watcher_sent") + skipped,
        2 * client.stat("log_worker_written"),
        "each line of two watchers is accounted for"
    );
    // When it reads again it is told how many lines it missed, before the next that has room.
    let mut lines = 0;
    let missed: u64 = loop {
        let line = slow.log_line();
        if let Some(missed) = line.strip_prefix("skipped=") {
            break missed.parse().expect("a number");
        }
        assert!(line.contains(" type=item_get key=%23%23"), "{line}");
        lines += 1;
        // There may be room now: the next line would say so.
        if lines % 100 == 0 {
            client.get(&key);
            what(&mut quick);
        }
    };
    println!("{lines} lines, then {missed} missed");
    assert!(missed >= skipped, "{missed} of {skipped}");
    assert!(slow.log_line().contains(" type=item_get "));
    println!("all took {:?}", started.elapsed());
    assert_eq!(client.stat("log_watcher_skipped"), missed);
}

#[test]
fn what_happens_too_fast_is_dropped_and_counted() {
    const READS: usize = 20_000;
    let (daemon, _folder) = started("-t 1");
    let _watcher = watching(daemon.client(), "fetchers");
    let mut client = daemon.client();
    client.send(format!("get{}\r\n", " k".repeat(READS)));
    assert_eq!(client.line(), "END");
    let told = client.stat("log_worker_written") + client.stat("log_worker_dropped");
    assert_eq!(told, READS as u64, "each is accounted for");
}

#[test]
fn an_end_with_watchers_is_prompt() {
    let (mut daemon, _folder) = started("");
    let mut watcher = watching(daemon.client(), "connevents");
    let mut asleep = watching(daemon.client(), "fetchers");
    what(&mut watcher);
    let client = daemon.client();
    what(&mut watcher);
    let started = now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(PATIENCE).code(), Some(0), "{}", daemon.log());
    println!("it took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
    let rest = String::from_utf8(watcher.rest()).expect("lines are text");
    let port = format!("rport={} transport=tcp reason=shutdown", client.local_port());
    assert!(rest.contains(&port), "{rest}");
    assert_eq!(asleep.rest(), b"");
}

#[test]
fn evictions_are_told_to_who_watches_them() {
    let daemon = InProcess::start();
    let connect = || Client::connect(daemon.address().port());
    let evictions = daemon.server().evictions();
    let key = |text: &'static str| Key::new(text.as_bytes()).expect("a key");
    let item = Evicted { fetched: true, seconds_left: None, idle_seconds: 7, value_bytes: 3 };
    evictions.evicted(key("unwatched"), item);
    let mut watcher = watching(connect(), "mutations evictions");
    evictions.evicted(key("old"), item);
    evictions.evicted(key("a/b"), Evicted { fetched: false, seconds_left: Some(5), ..item });
    for expected in [
        "type=eviction key=old fetch=yes ttl=-1 la=7 clsid=1 size=3",
        "type=eviction key=a%2Fb fetch=no ttl=5 la=7 clsid=1 size=3",
    ] {
        assert_eq!(what(&mut watcher), expected);
    }
}

#[test]
fn a_full_cache_tells_what_it_removes() {
    let (daemon, _folder) = started("--max-items 100");
    let mut watcher = watching(daemon.client(), "evictions");
    let mut client = daemon.client();
    for n in 0..200 {
        client.set(&format!("key{n}"), "four");
    }
    let (_, _, line) = told(&mut watcher);
    assert!(line.starts_with("type=eviction key=key"), "{line}");
    // A second may have gone by.
    assert!(line.contains(" fetch=no ttl=-1 la="), "{line}");
    assert!(line.ends_with(" clsid=1 size=4"), "{line}");
    until("housekeeping has evicted", PATIENCE, || {
        (daemon.client().stat("curr_items") <= 100).then_some(())
    });
    let evicted = client.stat("evictions");
    assert_eq!(evicted, 200 - client.stat("curr_items"));
    assert_eq!(client.stat("evicted_unfetched"), evicted);
    assert!(client.get("key199").is_some(), "what is new stays");
}
