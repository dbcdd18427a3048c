//! What `stats detail` counts: gets, hits, sets and deletes by the beginning of the key.
//!
//! Off, it costs a command one relaxed load. What must stay true: there are at most so many prefixes,
//! whatever keys clients send; a key whose prefix finds no place is not counted.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It was asked for, and found or not.
    Get { hit: bool },
    /// A value was to be stored.
    Set,
    /// It was to be removed, whether or not there was something.
    Delete,
}

/// The counts of one prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PrefixCounts {
    pub gets: u64,
    pub hits: u64,
    pub sets: u64,
    pub deletes: u64,
}

/// Counts by prefix: what stands before the first delimiter. A key without one has none.
#[derive(Debug)]
pub struct Prefixes {
    on: AtomicBool,
    delimiter: u8,
    most: usize,
    /// Taken for moments, while it is on, by each loop for each key.
    counts: Mutex<HashMap<Box<[u8]>, PrefixCounts>>,
}

impl Prefixes {
    /// Counts for at most so many prefixes.
    pub fn new(delimiter: u8, on: bool, most: usize) -> Self {
        Self { on: AtomicBool::new(on), delimiter, most, counts: Mutex::default() }
    }

    /// `stats detail on` and `off`. What was counted stays.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether keys are looked at.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The byte behind a prefix.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Counts one key.
    pub fn count(&self, key: &[u8], access: Access) {
        let Some(prefix) = self.prefix(key) else { return };
        let mut counts = lock(&self.counts);
        if counts.len() >= self.most && !counts.contains_key(prefix) {
            return;
        }
        let entry = match counts.get_mut(prefix) {
            Some(entry) => entry,
            None => counts.entry(prefix.into()).or_default(),
        };
        match access {
            Access::Get { hit } => {
                entry.gets += 1;
                entry.hits += u64::from(hit);
            }
            Access::Set => entry.sets += 1,
            Access::Delete => entry.deletes += 1,
        }
    }

    /// Keys may be any bytes; what would break the line of a dump is no prefix.
    fn prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let length = key.iter().position(|&byte| byte == self.delimiter)?;
        let prefix = &key[..length];
        let breaks = |byte: &u8| *byte == b' ' || byte.is_ascii_control();
        (!prefix.iter().any(breaks)).then_some(prefix)
    }

    /// Every prefix with its counts, in order.
    pub fn dump(&self) -> Vec<(Box<[u8]>, PrefixCounts)> {
        let mut counts: Vec<_> =
            lock(&self.counts).iter().map(|(prefix, counts)| (prefix.clone(), *counts)).collect();
        counts.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        counts
    }

    /// The `most` prefixes with the most counts, in that order; those with equal counts in order of their
    /// names, so that none changes places for nothing.
    pub fn top(&self, most: usize) -> Vec<(Box<[u8]>, PrefixCounts)> {
        let counts = lock(&self.counts);
        let mut all: Vec<(&[u8], PrefixCounts)> =
            counts.iter().map(|(prefix, counts)| (&**prefix, *counts)).collect();
        let sum = |counts: PrefixCounts| counts.gets + counts.sets + counts.deletes;
        let before = |one: &(&[u8], PrefixCounts), other: &(&[u8], PrefixCounts)| {
            sum(other.1).cmp(&sum(one.1)).then_with(|| one.0.cmp(other.0))
        };
        if all.len() > most {
            all.select_nth_unstable_by(most, before);
            all.truncate(most);
        }
        all.sort_unstable_by(before);
        all.into_iter().map(|(prefix, counts)| (prefix.into(), counts)).collect()
    }

    /// Forgets all (`stats reset`).
    pub fn reset(&self) {
        lock(&self.counts).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(prefixes: &Prefixes) -> Vec<(String, [u64; 4])> {
        let text = |prefix: &[u8]| String::from_utf8_lossy(prefix).into_owned();
        let numbers = |c: PrefixCounts| [c.gets, c.hits, c.sets, c.deletes];
        prefixes.dump().into_iter().map(|(prefix, c)| (text(&prefix), numbers(c))).collect()
    }

    #[test]
    fn keys_count_for_their_prefix() {
        let prefixes = Prefixes::new(b':', true, 10);
        for (key, access) in [
            ("user:1", Access::Get { hit: true }),
            ("user:2:3", Access::Get { hit: false }),
            ("user:", Access::Set),
            ("use:1", Access::Delete),
            (":1", Access::Set),
            ("user", Access::Set),
            ("line\r\nEND:1", Access::Set),
            ("a b:1", Access::Set),
        ] {
            prefixes.count(key.as_bytes(), access);
        }
        let expected = [("", [0, 0, 1, 0]), ("use", [0, 0, 0, 1]), ("user", [2, 1, 1, 0])];
        assert_eq!(counts(&prefixes), expected.map(|(prefix, c)| (prefix.to_owned(), c)));
        prefixes.reset();
        assert!(prefixes.dump().is_empty());
    }

    #[test]
    fn there_are_so_many_prefixes_and_no_more() {
        let prefixes = Prefixes::new(b'-', true, 3);
        for number in 0..9 {
            prefixes.count(format!("{number}-k").as_bytes(), Access::Set);
        }
        prefixes.count(b"0-k", Access::Set);
        let seen = counts(&prefixes);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].1, [0, 0, 2, 0], "those that are there go on");
        let top = |most| -> Vec<_> {
            let top = prefixes.top(most).into_iter();
            top.map(|(prefix, _)| String::from_utf8_lossy(&prefix).into_owned()).collect()
        };
        prefixes.count(b"2-k", Access::Delete);
        prefixes.count(b"2-k", Access::Get { hit: false });
        assert_eq!(top(0), [""; 0]);
        assert_eq!(top(1), ["2"]);
        assert_eq!(top(2), ["2", "0"]);
        assert_eq!(top(9), ["2", "0", "1"]);
    }
}
