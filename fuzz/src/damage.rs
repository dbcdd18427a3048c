//! Files that are damaged: an error that can be read, or a store that works. Never a panic.
//!
//! The first byte of an input says what the rest of it is: changes to a file of schema version 1, changes
//! to one of today's version, a file, a rollback journal or a log beside a file that is whole.

use std::fs;
use std::path::Path;
use std::time::Duration;

use litecached::clock::{Clock, Seconds};
use litecached::store::inspect::{Inspection, Lists};
use litecached::store::schema::VERSION;
use litecached::store::{migrate, schema_of};

use super::desk::{Desk, Failed};

const OLD: &[u8] = include_bytes!("../../tests/frozen/version-1.sqlite");
const TODAYS: &[u8] = include_bytes!("../../tests/frozen/version-3.sqlite");

/// Bytes of one change: where (2), how (1), what (1).
const CHANGE: usize = 4;

/// Changes to a file that are made at most: a few suffice for any one cause.
const CHANGES_MAX: usize = 64;

pub(super) fn hold(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let folder = folder();
    let path = folder.path().join("cache.db");
    let beside = |end: &str| folder.path().join(format!("cache.db{end}"));
    let file = match kind % 5 {
        0 => changed(OLD, rest),
        1 => changed(TODAYS, rest),
        2 => rest.to_vec(),
        _ => TODAYS.to_vec(),
    };
    fs::write(&path, file).expect("the folder is ours");
    match kind % 5 {
        3 => fs::write(beside("-journal"), rest).expect("the folder is ours"),
        4 => fs::write(beside("-wal"), rest).expect("the folder is ours"),
        _ => {}
    }
    look(&path);
    if kind & 0x80 != 0 {
        match migrate(&path) {
            Ok(schema) => {
                assert_eq!(
                    schema_of(&path).map(|now| now.version).ok(),
                    Some(VERSION),
                    "{schema:?}"
                );
            }
            Err(error) => readable(&error),
        }
    }
    serve(&path);
    look(&path);
}

fn changed(file: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for change in changes.chunks_exact(CHANGE).take(CHANGES_MAX) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % file.len().max(1);
        let (how, what) = (change[2], change[3]);
        let end = file.len().min(at + usize::from(how >> 2));
        match how % 4 {
            0 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte = what),
            1 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= what),
            2 => file[at.min(end)..end].fill(what),
            // The end is lost.
            _ => file.truncate(at),
        }
    }
    file
}

/// Tools look at files as well, and change none.
fn look(path: &Path) {
    if let Err(error) = schema_of(path) {
        readable(&error);
    }
    let before = fs::read(path).ok();
    match Inspection::open(path, Seconds(1_800_000_000), Duration::from_secs(20), 1 << 30) {
        Ok(inspection) => {
            let lists = Lists { items: 5, prefixes: 5, inner: 5 };
            if let Err(error) = inspection.check(false) {
                readable(&error);
            }
            if let Err(error) = inspection.summary(lists, |_| ()) {
                readable(&error);
            }
        }
        Err(error) => readable(&error),
    }
    assert!(fs::read(path).ok() == before, "it was only looked at");
}

fn serve(path: &Path) {
    let clock = Clock::manual(1_800_000_000);
    let options = Desk::options(path);
    let mut desk = match Desk::open(&options, &clock) {
        Ok(desk) => desk,
        Err(error) => return readable(&error),
    };
    let stored = work(&mut desk);
    drop(desk);
    // What was acknowledged is there after a restart, if the file can be opened then.
    match Desk::open(&options, &clock) {
        Ok(mut desk) if stored == Ok(true) => {
            let got = desk.say(b"get fresh\r\n").expect("a read needs no commit");
            let got = String::from_utf8_lossy(&got).into_owned();
            assert!(
                got == "VALUE fresh 7 5\r\nvalue\r\nEND\r\n" || got.contains("SERVER_ERROR"),
                "an acknowledged item is lost: {got:?}"
            );
        }
        Ok(_) => {}
        Err(error) => readable(&error),
    }
}

/// A little of everything. Whether the last item was stored.
fn work(desk: &mut Desk) -> Result<bool, Failed> {
    for request in [
        "gets plain empty counter long-lived big k0 k1 k2\r\n",
        "incr counter 1\r\ntouch plain 100\r\nappend big 0 0 1\r\nx\r\n",
        "set plain 0 0 3\r\nnew\r\ndelete empty\r\n",
        "flush_all 100\r\n",
    ] {
        desk.say(request.as_bytes())?;
        desk.forget_memory();
    }
    let stored = desk.say(b"set fresh 7 0 5\r\nvalue\r\n")? == b"STORED\r\n";
    if stored {
        let got = String::from_utf8_lossy(&desk.say(b"get fresh\r\n")?).into_owned();
        assert!(
            got == "VALUE fresh 7 5\r\nvalue\r\nEND\r\n" || got.contains("SERVER_ERROR"),
            "a pipelined get sees the set: {got:?}"
        );
    }
    Ok(stored)
}

fn readable(error: &dyn std::fmt::Display) {
    let line = error.to_string();
    assert!(!line.is_empty() && line.len() < 2_000, "an error of {} bytes", line.len());
}

/// In memory where that can be had: the disk adds nothing but time.
pub(super) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.expect("a temporary folder can be made")
}
