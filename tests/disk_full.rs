//! A disk that is full although the budget is not reached: writes are refused, reads go on, nothing that
//! was acknowledged is lost, and when there is room again everything goes on by itself, evictions too.

mod common;

use std::fs;

use common::daemon::{Launch, check_integrity, open_database};
use common::ground::{PATIENCE, in_namespace, run, until};

const FULL: &str = "SERVER_ERROR out of memory storing object";

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let name = "a_full_disk_refuses_writes_until_there_is_room";
    if !in_namespace("--mount", name) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("the folder can be written");
    let place = disk.to_string_lossy();
    run("mount", &["-t", "tmpfs", "-o", "size=24m", "none", &place]);
    let launch = Launch::new(folder.path())
        .database(disk.join("cache.db"))
        .with("--max-disk 40m --wal-max 16m");
    let mut daemon = launch.start();
    let mut client = daemon.client();
    let value = |n: usize| format!("{n:08}").repeat(12_500);
    let set = |n: usize| format!("set k{n} 0 0 100000\r\n{}\r\n", value(n));

    let mut stored = 0;
    let refused = until("the disk is full", PATIENCE, || {
        let answer = client.ask(set(stored));
        if answer == "STORED" {
            stored += 1;
            return None;
        }
        Some(answer)
    });
    assert_eq!(refused, FULL);
    assert!((50..300).contains(&stored), "{stored} of 100 KB on a disk of 24 MB");
    assert_eq!(client.stat("evictions"), 0, "the budget is not reached");

    // Again and again.
    for n in 0..20 {
        assert_eq!(client.ask(set(1_000 + n)), FULL);
        assert_eq!(client.get(&format!("k{}", 1_000 + n)), None);
    }
    for n in 0..stored {
        assert_eq!(client.get(&format!("k{n}")), Some(value(n).into_bytes()), "{n} of {stored}");
    }
    assert_eq!(
        client.ask("add other 0 0 100000 noreply\r\n".to_owned() + &value(1) + "\r\nmn\r\n"),
        "MN"
    );

    // Started anew on the full disk it has what it acknowledged.
    daemon.kill();
    run("mount", &["-o", "remount,size=25m", &place]);
    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.get("k0"), Some(value(0).into_bytes()));

    run("mount", &["-o", "remount,size=200m", &place]);
    until("writes go on", PATIENCE, || (client.ask(set(stored)) == "STORED").then_some(()));
    for n in 0..=stored {
        assert_eq!(client.get(&format!("k{n}")), Some(value(n).into_bytes()), "{n}");
    }
    for n in 2_000..2_500 {
        assert_eq!(client.ask(set(n)), "STORED", "beyond the budget room is made");
    }
    assert!(client.stat("evictions") > 0);
    assert_eq!(client.get("k2499"), Some(value(2_499).into_bytes()));
    daemon.stop();
    check_integrity(&disk.join("cache.db"));
    run("umount", &[&place]);
}

/// Another program's commit finds the little room that there is, between two of ours that find none.
#[test]
fn on_a_full_disk_deletes_and_other_programs_commits_are_whole_or_nothing() {
    let name = "on_a_full_disk_deletes_and_other_programs_commits_are_whole_or_nothing";
    if !in_namespace("--mount", name) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("the folder can be written");
    let place = disk.to_string_lossy();
    run("mount", &["-t", "tmpfs", "-o", "size=24m", "none", &place]);
    let filler = disk.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).expect("there is room");
    let path = disk.join("cache.db");
    let launch = Launch::new(folder.path()).database(&path).with("--max-disk 40m --wal-max 16m");
    let mut daemon = launch.start();
    let mut client = daemon.client();
    let value = |n: usize| format!("{n:08}").repeat(1_250);
    let set = |n: usize| format!("set k{n} 0 0 10000\r\n{}\r\n", value(n));
    let fill = |client: &mut common::wire::Client, mut number: usize| {
        let most = number + 3_000;
        while number < most {
            let answer = client.ask(set(number));
            if answer != "STORED" {
                assert_eq!(answer, FULL);
                return number;
            }
            number += 1;
        }
        panic!("more than the disk holds");
    };
    let stored = fill(&mut client, 0);

    let is_deleted = |client: &mut common::wire::Client, n: usize| {
        let answer = client.ask(format!("delete k{n}\r\n"));
        assert!(answer == "DELETED" || answer.starts_with("SERVER_ERROR"), "{n}: {answer}");
        let found = client.get(&format!("k{n}"));
        assert_eq!(found.is_none(), answer == "DELETED", "{n}: {answer}");
        answer == "DELETED"
    };
    let mut gone: Vec<bool> = (0..10).map(|n| is_deleted(&mut client, n)).collect();
    println!(
        "{} of {} small deletes on the full disk",
        gone.iter().filter(|gone| **gone).count(),
        10
    );

    fs::remove_file(&filler).expect("it is there");
    let changed = stored - 1;
    let statement = format!("UPDATE item SET flags = 7 WHERE key = CAST('k{changed}' AS BLOB)");
    let rows = open_database(&path).execute(&statement, []).expect("there is room for one");
    assert_eq!(rows, 1);
    // Full again, and each is refused or whole.
    let number = fill(&mut client, 10_000);
    gone.extend((10..20).map(|n| is_deleted(&mut client, n)));
    until("the other's commit is seen", PATIENCE, || {
        client.send(format!("get k{changed}\r\n"));
        let head = client.line();
        client.exactly(10_000 + "\r\nEND\r\n".len());
        (head == format!("VALUE k{changed} 7 10000")).then_some(())
    });

    let look = |client: &mut common::wire::Client| {
        for n in (0..stored).chain(10_000..number) {
            let right = (!gone.get(n).is_some_and(|gone| *gone)).then(|| value(n).into_bytes());
            assert_eq!(client.get(&format!("k{n}")), right, "{n} of {stored} and {number}");
        }
    };
    look(&mut client);
    daemon.kill();
    run("mount", &["-o", "remount,size=200m", &place]);
    daemon.restart();
    let mut client = daemon.client();
    look(&mut client);
    assert_eq!(client.ask(set(20_000)), "STORED");
    assert_eq!(client.ask("delete k19\r\n"), if gone[19] { "NOT_FOUND" } else { "DELETED" });
    daemon.stop();
    check_integrity(&path);
    run("umount", &[&place]);
}
