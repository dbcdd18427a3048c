//! Listings of all keys: complete while others write, bounded for whoever reads slowly, and ended when
//! their client or the server goes.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use litecached::limits::{LISTING_BYTES_MAX, LISTINGS_MAX, WAL_BYTES_LEAST};
use nix::sys::signal::Signal;
use socket2::SockRef;

use common::daemon::{Daemon, Launch, check_integrity};
use common::ground::{PATIENCE, needs, now, run, until};
use common::in_process::InProcess;
use common::target::Target;
use common::tools::{done, folder};
use common::wire::Client;

const OK: &[u8] = b"OK\r\n";
const END: &[u8] = b"END\r\n";
const BUSY: &[u8] = b"BUSY currently processing crawler request\r\n";

/// Enough items with long keys that no socket holds their listing: some 16 MB.
const LONG: usize = 20_000;

/// A connection that asks for a listing and reads its lines as they are.
struct Reader(BufReader<TcpStream>);

impl Reader {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");
        // Else the system would take a whole listing for who reads none of it.
        SockRef::from(&stream).set_recv_buffer_size(64 << 10).expect("a socket has a buffer");
        Self(BufReader::new(stream))
    }

    fn ask(port: u16, request: &str) -> Self {
        let mut reader = Self::connect(port);
        reader.send(request);
        reader
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).expect("the daemon takes what is sent");
    }

    /// The next line with its end; empty at the end of the connection.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("the daemon answers");
        line
    }

    /// Reads items up to another line, and gives that.
    fn items(&mut self, mut each: impl FnMut(&[u8])) -> Vec<u8> {
        loop {
            let line = self.line();
            match line.strip_prefix(b"key=").or(line.strip_prefix(b"mg ")) {
                Some(item) => each(item.split(|byte| *byte <= b' ').next().expect("a key")),
                None => return line,
            }
        }
    }

    /// How many items there are up to another line, and that line.
    fn count(&mut self) -> (usize, Vec<u8>) {
        let mut count = 0;
        let last = self.items(|_| count += 1);
        (count, last)
    }
}

/// Stores so many items, whose keys have a prefix and a number.
fn fill(port: u16, prefix: &str, count: usize) {
    let mut client = Client::connect(port);
    for first in (0..count).step_by(1_000) {
        let set = |n| format!("set {prefix}{n} 0 0 1 noreply\r\nx\r\n");
        client.send((first..count.min(first + 1_000)).map(set).collect::<String>());
        assert!(client.ask("version\r\n").starts_with("VERSION "));
    }
}

/// A prefix whose bytes are written as three each.
fn long() -> String {
    "\u{1}".repeat(243)
}

fn started(arguments: &str) -> (tempfile::TempDir, Daemon) {
    let folder = folder();
    let daemon = Launch::new(folder.path()).with(arguments).start();
    (folder, daemon)
}

#[test]
fn what_is_there_all_the_time_is_listed_once_while_others_write() {
    const ITEMS: usize = 200_000;
    let (_folder, daemon) = started("-m 8 --max-disk 1g");
    let port = daemon.port();
    fill(port, "stays-", ITEMS);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2 {
            let done = &done;
            let write = move || {
                let mut client = Client::connect(port);
                let mut round = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let key = format!("moves-{writer}-{}", round % 1_000);
                    if round.is_multiple_of(3) {
                        client.ask(format!("delete {key}\r\n"));
                    } else {
                        client.set(&key, "x".repeat(100));
                    }
                }
                round
            };
            thread::Builder::new().spawn_scoped(scope, write).expect("a thread can be had");
        }
        for (request, closing) in [
            ("lru_crawler metadump all\r\n", END),
            ("lru_crawler mgdump hash\r\n", b"EN\r\n".as_slice()),
        ] {
            let start = now();
            let mut reader = Reader::ask(port, request);
            assert_eq!(reader.line(), OK);
            let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
            let last = reader.items(|key| *seen.entry(key.to_vec()).or_default() += 1);
            println!("{} items in {:?}", seen.len(), start.elapsed());
            assert_eq!(last, closing);
            assert!(seen.values().all(|&times| times == 1), "none twice");
            let stays = |n: &usize| !seen.contains_key(format!("stays-{n}").as_bytes());
            assert_eq!((0..ITEMS).find(stays), None, "none is missing");
            assert!(
                seen.keys().all(|key| key.starts_with(b"stays-") || key.starts_with(b"moves-"))
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(daemon.client().get("stays-7").as_deref(), Some(&b"x"[..]));
}

#[test]
fn slow_readers_cost_little_memory_and_one_too_many_is_told() {
    // All listings together are some 64 MB.
    const SLACK: u64 = 24 << 20;
    let (_folder, daemon) = started("-m 1 -t 2 --max-disk 1g");
    let port = daemon.port();
    fill(port, &long(), LONG);
    let before = daemon.resident_bytes();
    let mut readers: Vec<Reader> = (0..LISTINGS_MAX)
        .map(|_| {
            let mut reader = Reader::ask(port, "lru_crawler metadump all\r\nversion\r\n");
            assert_eq!(reader.line(), OK);
            reader
        })
        .collect();
    let mut one_more = Reader::ask(port, "lru_crawler mgdump all\r\n");
    assert_eq!(one_more.line(), BUSY);
    one_more.send("stats cachedump 1 0\r\n");
    assert_eq!(one_more.line(), b"SERVER_ERROR currently processing crawler request\r\n");
    one_more.send("lru_crawler mgdump 2\r\n");
    assert_eq!(one_more.line(), OK);
    assert_eq!(one_more.line(), b"EN\r\n", "an empty class needs nobody");

    let mut most = before;
    for reader in &mut readers {
        // The others wait meanwhile.
        let mut count = 0_usize;
        let last = reader.items(|_| {
            count += 1;
            if count.is_multiple_of(1_000) {
                most = most.max(daemon.resident_bytes());
            }
        });
        assert_eq!((count, last.as_slice()), (LONG, END));
        assert!(reader.line().starts_with(b"VERSION "), "what came behind it is answered");
    }
    println!("{before} bytes before, {most} at most");
    let most_held = (LISTINGS_MAX * LISTING_BYTES_MAX) as u64;
    assert!(most < before + most_held + SLACK, "{before} bytes before, then {most}");
    one_more.send("lru_crawler mgdump all\r\n");
    assert_eq!(one_more.line(), OK);
    assert_eq!(one_more.count().1, b"EN\r\n");
}

#[test]
fn a_reader_that_takes_too_long_is_told_so_and_its_snapshot_ends() {
    let server = InProcess::start_with(&[], |server, _| {
        server.listing_longest = Duration::from_millis(100);
    });
    let port = server.address().port();
    fill(port, &long(), LONG);
    Client::connect(port).set("k", "v");
    let mut slow: Vec<Reader> = (0..LISTINGS_MAX)
        .map(|_| Reader::ask(port, "lru_crawler metadump all\r\nget k\r\n"))
        .collect();
    slow.iter_mut().for_each(|reader| assert_eq!(reader.line(), OK));
    until("there is room for one more, without a word from those who wait", PATIENCE, || {
        let mut reader = Reader::ask(port, "lru_crawler metadump all\r\n");
        (reader.line() == OK).then_some(())
    });
    for reader in &mut slow {
        let (count, last) = reader.count();
        assert_eq!(last, b"SERVER_ERROR listing took too long\r\n", "after {count} items");
        assert!((1..LONG).contains(&count), "{count}");
        assert_eq!(reader.line(), b"VALUE k 0 1\r\n", "the connection goes on");
        assert_eq!((reader.line(), reader.line()), (b"v\r\n".to_vec(), END.to_vec()));
    }
}

#[test]
fn a_listing_gives_way_before_the_wal_is_full() {
    let server = InProcess::start_with(&[], |_, store| store.wal_bytes_max = WAL_BYTES_LEAST);
    let port = server.address().port();
    fill(port, &long(), LONG);
    let mut reader = Reader::ask(port, "lru_crawler metadump all\r\n");
    assert_eq!(reader.line(), OK);
    let mut writer = Client::connect(port);
    for round in 0..100 {
        // Each of these is an eighth of what the WAL has left for it; all are stored.
        writer.set(&format!("large-{}", round % 4), vec![round; 1_000_000]);
    }
    let (count, last) = reader.count();
    assert_eq!(
        String::from_utf8_lossy(&last),
        "SERVER_ERROR listing ended: write-ahead log fills up\r\n",
        "after {count} items"
    );
    // The WAL starts over with a checkpoint, which is housekeeping's, and the write behind it.
    until("there is room for another listing", PATIENCE, || {
        writer.set("small", "v");
        reader.send("lru_crawler mgdump all\r\n");
        (reader.line() == OK && reader.count().1 == b"EN\r\n").then_some(())
    });
}

#[test]
fn a_client_that_goes_ends_its_listing() {
    let (_folder, daemon) = started("");
    let port = daemon.port();
    fill(port, &long(), LONG);
    for is_rude in [false, true, false] {
        let readers = until("all places are free", PATIENCE, || {
            let mut readers: Vec<Reader> = (0..LISTINGS_MAX)
                .map(|_| Reader::ask(port, "lru_crawler metadump all\r\n"))
                .collect();
            readers.iter_mut().all(|reader| reader.line() == OK).then_some(readers)
        });
        assert_eq!(Reader::ask(port, "lru_crawler metadump all\r\n").line(), BUSY);
        for reader in readers.iter().filter(|_| is_rude) {
            let socket = SockRef::from(reader.0.get_ref());
            socket.set_linger(Some(Duration::ZERO)).expect("a socket has linger");
        }
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_listing() {
    let (_folder, daemon) = started("");
    fill(daemon.port(), &long(), LONG);
    let mut reader = Reader::ask(daemon.port(), "lru_crawler mgdump all\r\nversion\r\n");
    reader.0.get_ref().shutdown(std::net::Shutdown::Write).expect("it is connected");
    assert_eq!(reader.line(), OK);
    assert_eq!(reader.count(), (LONG, b"EN\r\n".to_vec()));
    assert!(reader.line().starts_with(b"VERSION "));
    assert_eq!(reader.line(), b"");
}

#[test]
fn a_stop_ends_listings() {
    let (_folder, mut daemon) = started("");
    fill(daemon.port(), &long(), LONG);
    let mut reader = Reader::ask(daemon.port(), "lru_crawler metadump all\r\n");
    assert_eq!(reader.line(), OK);
    let deaf = Reader::ask(daemon.port(), "lru_crawler metadump all\r\n");
    daemon.signal(Signal::SIGTERM);
    let (count, last) = reader.count();
    assert_eq!(
        String::from_utf8_lossy(&last),
        "SERVER_ERROR server is stopping\r\n",
        "after {count} items"
    );
    assert_eq!(reader.line(), b"", "and then the connection ends");
    let status = daemon.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    let left = daemon.launch().wal_path().metadata().map_or(0, |metadata| metadata.len());
    assert_eq!(left, 0, "nobody's snapshot kept the log from the last checkpoint");
    check_integrity(daemon.launch().database_path());
    drop(deaf);
}

#[test]
fn cachedump_tells_two_megabytes() {
    let (_folder, daemon) = started("");
    fill(daemon.port(), &"k".repeat(200), 12_000);
    let mut reader = Reader::ask(daemon.port(), "stats cachedump 1 0\r\n");
    let (mut bytes, mut items) = (0, 0);
    let last = loop {
        let line = reader.line();
        if !line.starts_with(b"ITEM ") {
            break line;
        }
        bytes += line.len();
        items += 1;
    };
    assert_eq!(last, END);
    assert!((2_090_000..=2_097_152).contains(&bytes), "{items} items in {bytes} bytes");
    reader.send("stats cachedump 1 500\r\n");
    assert_eq!((0..500).filter(|_| reader.line().starts_with(b"ITEM ")).count(), 500);
    assert_eq!(reader.line(), END);
}

#[test]
fn memcdump_tells_every_key() {
    if !needs("memcdump") {
        return;
    }
    let (_folder, daemon) = started("");
    fill(daemon.port(), "key-", 1_000);
    let told = run("memcdump", &[&format!("--servers=127.0.0.1:{}", daemon.port())]);
    let mut keys: Vec<_> = told.lines().collect();
    keys.sort_unstable();
    let mut expected: Vec<_> = (0..1_000).map(|n| format!("key-{n}")).collect();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[test]
fn items_move_from_one_of_ours_to_another() {
    let (_folder, one) = started("");
    let (_other_folder, two) = started("");
    fill(one.port(), "key-", 5_000);
    let mut client = one.client();
    assert_eq!(client.ask("set odd%/\u{1}\u{7f} 7 1000 3\r\na\nb\r\n"), "STORED");
    let folder = folder();
    let (from, to) = (format!("127.0.0.1:{}", one.port()), format!("127.0.0.1:{}", two.port()));
    let told = done(folder.path(), &["import", "--from", "memcached", &from, "--to-server", &to]);
    assert!(told.contains("imported 5001 items"), "{told}");
    assert_eq!(two.client().get("key-4999").as_deref(), Some(&b"x"[..]));
    assert_eq!(two.client().get("odd%/\u{1}\u{7f}").as_deref(), Some(&b"a\nb"[..]));
}

#[test]
fn our_client_shows_keys_and_no_more() {
    let (_folder, daemon) = started("");
    daemon.client().set("k", "v");
    let folder = folder();
    let server = format!("127.0.0.1:{}", daemon.port());
    for (command, expected) in [("metadump", "key=k exp=-1 "), ("mgdump", "mg k")] {
        let words = ["client", &server, "lru_crawler", command, "all"];
        let told = done(folder.path(), &words);
        assert!(told.starts_with(expected) && told.lines().count() == 1, "{told}");
    }
}
