//! An item is the same wherever it is read from: memory, the file once memory was emptied, pushed out by
//! others or switched off, and the file after a restart. One row of the table for each field.

mod common;

use std::fmt::Write as _;

use common::in_process::InProcess;
use common::target::Target;
use common::wire::Client;

/// What happens between the writing of the items and their reading.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    MemoryOff,
    MemoryEmptied,
    /// Far more than the memory tier holds is stored and read.
    PushedOut,
    Restart,
    /// As above, and memory is filled by a read first.
    RestartAndRead,
}

const MEANWHILE: [Meanwhile; 6] = [
    Meanwhile::Nothing,
    Meanwhile::MemoryOff,
    Meanwhile::MemoryEmptied,
    Meanwhile::PushedOut,
    Meanwhile::Restart,
    Meanwhile::RestartAndRead,
];

/// Field, the requests that make the item `k` (lines that `|` ends), the request that shows the field, and its reply.
const FIELDS: [(&str, &str, &str, &str); 17] = [
    ("value", "set k 0 0 5|a\r\nb\0|", "mg k v u|", "VA 5|a\r\nb\0|"),
    ("empty value", "set k 0 0 0||", "get k|", "VALUE k 0 0||END|"),
    ("flags", "set k 4294967295 0 1|v|", "get k|", "VALUE k 4294967295 1|v|END|"),
    ("cas", "ms k 1 E4711|v|", "gets k|", "VALUE k 0 1 4711|v|END|"),
    ("largest cas", "ms k 1 E18446744073709551615|v|", "mg k c u|", "HD c18446744073709551615|"),
    ("expiry", "set k 0 1000 1|v|", "mg k t u|", "HD t1000|"),
    ("no expiry", "set k 0 0 1|v|", "mg k t u|", "HD t-1|"),
    ("expiry of a touch", "set k 0 1000 1|v|touch k 77|", "mg k t u|", "HD t77|"),
    ("expired", "set k 0 -1 1|v|", "mg k v|", "EN|"),
    ("flushed", "set k 0 0 1|v|flush_all|", "mg k v|", "EN|"),
    ("deleted", "set k 0 0 1|v|delete k|", "mg k v|", "EN|"),
    ("padding", "set k 0 0 2|10|decr k 1|", "mg k v u|", "VA 2|9 |"),
    ("stale", "set k 0 0 1|v|md k I|", "mg k|", "HD X W|"),
    ("token of a stale item", "set k 0 0 1|v|md k I|mg k|", "mg k|", "HD Z X|"),
    ("token of N", "mg k N1000|", "mg k v|", "VA 0 Z||"),
    ("key in base64", "ms aw== 1 b|v|", "mg k k|", "HD kaw== b|"),
    ("fetched", "set k 0 0 1|v|get k|", "mg k h u|", "HD h1|"),
];

/// Room for a few of the others.
const MEMORY_BYTES: u64 = 256 << 10;

/// Items of 10,000 bytes that push out what is in memory.
const OTHERS: u64 = 100;

#[test]
fn every_field_is_the_same_wherever_the_item_is_read_from() {
    for meanwhile in MEANWHILE {
        let mut daemon = InProcess::start_with(&[], |_, store| {
            store.memory_bytes = MEMORY_BYTES;
            if matches!(meanwhile, Meanwhile::MemoryOff) {
                store.memory_bytes = 0;
            }
        });
        for (field, made, asked, expected) in FIELDS {
            let mut client = Client::connect(daemon.address().port());
            client.send(format!("{}mn\r\n", made.replace('|', "\r\n")));
            while client.line() != "MN" {}
            let asked = asked.replace('|', "\r\n");
            pass(meanwhile, &mut daemon, &asked);
            let expected = expected.replace('|', "\r\n");
            let mut client = Client::connect(daemon.address().port());
            client.send(asked);
            let found = client.exactly(expected.len());
            assert_eq!(String::from_utf8_lossy(&found), expected, "{field}, {meanwhile:?}");
            assert_eq!(client.ask("mn\r\n"), "MN", "{field}, {meanwhile:?}");
            client.ask("md k\r\n");
        }
    }
}

fn pass(meanwhile: Meanwhile, daemon: &mut InProcess, asked: &str) {
    match meanwhile {
        Meanwhile::Nothing | Meanwhile::MemoryOff => {}
        Meanwhile::MemoryEmptied => daemon.forget_memory(),
        Meanwhile::PushedOut => {
            let mut requests = String::new();
            for number in 0..OTHERS {
                let value = "x".repeat(10_000);
                write!(requests, "set other-{number} 0 0 10000 noreply\r\n{value}\r\n")
                    .expect("a text grows");
            }
            let mut client = Client::connect(daemon.address().port());
            client.send(requests + "mn\r\n");
            assert_eq!(client.line(), "MN");
            let stayed = daemon.store().snapshot().memory_items;
            assert!(
                stayed < OTHERS,
                "{stayed} of {OTHERS} others have room: nothing is pushed out"
            );
        }
        Meanwhile::Restart => assert!(daemon.restart(), "it can be restarted"),
        Meanwhile::RestartAndRead => {
            assert!(daemon.restart(), "it can be restarted");
            // Only what changes nothing may be asked twice.
            if asked.contains(" u\r\n") || asked.starts_with("get") {
                let mut client = Client::connect(daemon.address().port());
                client.send(asked.to_owned() + "mn\r\n");
                while client.line() != "MN" {}
            }
        }
    }
}
