//! A file in figures: one pass over its items, in memory that does not grow with them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::ops::ControlFlow;

use crate::limits::ITEM_HEADER_BYTES;
use crate::store::inspect::{InspectError, Inspection, Item, Life};
use crate::store::open::beside;

/// Prefixes that are counted each for itself.
const PREFIXES_MAX: usize = 10_000;
/// Items between two words on how far it is.
const TOLD_AT_ONCE: u64 = 1_000;
/// What may end a prefix.
const SEPARATORS: &[u8] = b":/.|_-";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Upper ends of the bars of times, in seconds.
const TIMES: [(i64, &str); 8] = [
    (MINUTE, "under 1 m"),
    (10 * MINUTE, "under 10 m"),
    (HOUR, "under 1 h"),
    (6 * HOUR, "under 6 h"),
    (DAY, "under 1 d"),
    (7 * DAY, "under 7 d"),
    (30 * DAY, "under 30 d"),
    (i64::MAX, "30 d or more"),
];

/// Upper ends of the bars of sizes, in bytes.
const SIZES: [(u64, &str); 9] = [
    (64, "up to 64 B"),
    (256, "up to 256 B"),
    (1 << 10, "up to 1 KiB"),
    (4 << 10, "up to 4 KiB"),
    (16 << 10, "up to 16 KiB"),
    (64 << 10, "up to 64 KiB"),
    (256 << 10, "up to 256 KiB"),
    (1 << 20, "up to 1 MiB"),
    (u64::MAX, "above 1 MiB"),
];

/// One bar of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    pub label: &'static str,
    /// The greatest that it counts, in seconds or bytes; none where it has no end.
    pub up_to: Option<u64>,
    pub of: Group,
}

/// How long lists are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// Of the biggest and of the oldest items.
    pub items: usize,
    /// Of prefixes up to their first separator.
    pub prefixes: usize,
    /// Of prefixes up to their second one; with 0 these are not counted.
    pub inner: usize,
}

impl Lists {
    /// The same length for all, and no inner prefixes.
    pub fn of(length: usize) -> Self {
        Self { items: length, prefixes: length, inner: 0 }
    }
}

/// Items that belong together. Bytes are keys and values and 59 each, as the daemon counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    pub items: u64,
    pub bytes: u64,
}

impl Group {
    fn add(&mut self, item: &Item<'_>) {
        let beside = (item.key.len() + ITEM_HEADER_BYTES) as u64;
        *self = self.with(Self { items: 1, bytes: item.stored_bytes.saturating_add(beside) });
    }

    /// Both together. What rows say of their sizes may be anything in a file that is damaged.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            items: self.items.saturating_add(other.items),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Summary {
    pub schema_version: i64,
    pub live: Group,
    pub expired: Group,
    pub flushed: Group,
    /// Live items whose last fetch is written down; none where no fetch at all is, which does not say
    /// that there was none.
    pub fetched: Option<u64>,
    /// When live items expire.
    pub expiry: Vec<Bar>,
    /// How long ago live items were stored.
    pub ages: Vec<Bar>,
    /// How long ago live items were last fetched; the last bar has those of which no fetch is written down.
    pub accesses: Vec<Bar>,
    /// Sizes of live items' values.
    pub sizes: Vec<Bar>,
    /// Value bytes and key, biggest first.
    pub biggest: Vec<(u64, Vec<u8>)>,
    /// When it was stored, Unix seconds, and key, oldest first.
    pub oldest: Vec<(i64, Vec<u8>)>,
    /// Prefixes of live keys up to their first separator, the greatest first.
    pub prefixes: Vec<(Vec<u8>, Group)>,
    /// The same up to the second separator, of all that have one.
    pub inner_prefixes: Vec<(Vec<u8>, Group)>,
    /// Live keys without a prefix.
    pub unprefixed: Group,
    /// Live keys whose prefix is one too many to count each for itself.
    pub other_prefixes: Group,
    pub page_bytes: u64,
    pub pages: u64,
    pub free_pages: u64,
    pub file_bytes: u64,
    pub wal_bytes: u64,
}

impl Inspection {
    /// Counts everything; `advance` is told from time to time how many items more it has seen.
    pub fn summary(
        &self,
        lists: Lists,
        mut advance: impl FnMut(u64),
    ) -> Result<Summary, InspectError> {
        let mut count = Count::new(self.now().0, lists);
        let mut untold = 0;
        self.each(None, |item| {
            count.add(item);
            untold += 1;
            if untold == TOLD_AT_ONCE {
                advance(untold);
                untold = 0;
            }
            ControlFlow::Continue(())
        })?;
        let number = |pragma: &str| -> Result<u64, InspectError> {
            let number = self.look.db.query_row(pragma, [], |row| row.get::<_, i64>(0));
            number.map(i64::cast_unsigned).map_err(|error| self.judge(&error))
        };
        let bytes = |path| fs::metadata(path).map_or(0, |file| file.len());
        let mut summary = count.end(lists);
        summary.schema_version = self.look.version.into();
        summary.page_bytes = number("PRAGMA page_size")?;
        summary.pages = number("PRAGMA page_count")?;
        summary.free_pages = number("PRAGMA freelist_count")?;
        summary.file_bytes = bytes(self.path().to_owned());
        summary.wal_bytes = bytes(beside(self.path(), "-wal"));
        Ok(summary)
    }
}

struct Count {
    now: i64,
    summary: Summary,
    never: Group,
    until: [Group; TIMES.len()],
    ages: [Group; TIMES.len()],
    unfetched: Group,
    accesses: [Group; TIMES.len()],
    sizes: [Group; SIZES.len()],
    biggest: Top<u64>,
    /// The least time of storing is the oldest.
    oldest: Top<Reverse<i64>>,
    prefixes: HashMap<Vec<u8>, Group>,
    /// None where nobody asked.
    inner: Option<HashMap<Vec<u8>, Group>>,
}

impl Count {
    fn new(now: i64, lists: Lists) -> Self {
        Self {
            now,
            summary: Summary {
                schema_version: 0,
                live: Group::default(),
                expired: Group::default(),
                flushed: Group::default(),
                fetched: None,
                expiry: Vec::new(),
                ages: Vec::new(),
                accesses: Vec::new(),
                sizes: Vec::new(),
                biggest: Vec::new(),
                oldest: Vec::new(),
                prefixes: Vec::new(),
                inner_prefixes: Vec::new(),
                unprefixed: Group::default(),
                other_prefixes: Group::default(),
                page_bytes: 0,
                pages: 0,
                free_pages: 0,
                file_bytes: 0,
                wal_bytes: 0,
            },
            never: Group::default(),
            until: Default::default(),
            ages: Default::default(),
            unfetched: Group::default(),
            accesses: Default::default(),
            sizes: Default::default(),
            biggest: Top::new(lists.items),
            oldest: Top::new(lists.items),
            prefixes: HashMap::new(),
            inner: (lists.inner > 0).then(HashMap::new),
        }
    }

    fn add(&mut self, item: &Item<'_>) {
        match item.life {
            Life::Live => self.summary.live.add(item),
            Life::Expired => return self.summary.expired.add(item),
            Life::Flushed => return self.summary.flushed.add(item),
        }
        let ago = |time: i64| bar_of_time(self.now.saturating_sub(time));
        let access = if item.accessed == 0 {
            &mut self.unfetched
        } else {
            *self.summary.fetched.get_or_insert(0) += 1;
            &mut self.accesses[ago(item.accessed)]
        };
        access.add(item);
        let expiry = if item.exptime == 0 {
            &mut self.never
        } else {
            &mut self.until[bar_of_time(item.exptime.saturating_sub(self.now))]
        };
        expiry.add(item);
        self.ages[ago(item.stored)].add(item);
        let size = SIZES.iter().position(|&(end, _)| item.value_bytes <= end);
        self.sizes[size.unwrap_or(SIZES.len() - 1)].add(item);
        self.biggest.offer(item.value_bytes, item.key);
        self.oldest.offer(Reverse(item.stored), item.key);
        self.group(item);
    }

    fn group(&mut self, item: &Item<'_>) {
        let Some(end) = prefix_end(item.key) else {
            return self.summary.unprefixed.add(item);
        };
        counted(&mut self.prefixes, &item.key[..end])
            .unwrap_or(&mut self.summary.other_prefixes)
            .add(item);
        if let Some(inner) = &mut self.inner
            && let Some(more) = prefix_end(&item.key[end..])
            && let Some(group) = counted(inner, &item.key[..end + more])
        {
            group.add(item);
        }
    }

    fn end(self, lists: Lists) -> Summary {
        let mut summary = self.summary;
        let bars = |ends: &[(Option<u64>, &'static str)], groups: &[Group]| -> Vec<Bar> {
            let bars = ends.iter().zip(groups);
            bars.map(|(&(up_to, label), &of)| Bar { label, up_to, of }).collect()
        };
        // Whole seconds: under a minute is up to 59.
        let times =
            TIMES.map(|(end, label)| ((end < i64::MAX).then_some(end.unsigned_abs() - 1), label));
        let sizes = SIZES.map(|(end, label)| ((end < u64::MAX).then_some(end), label));
        summary.expiry = bars(&times, &self.until);
        summary.expiry.push(Bar { label: "never", up_to: None, of: self.never });
        summary.ages = bars(&times, &self.ages);
        summary.accesses = bars(&times, &self.accesses);
        summary.accesses.push(Bar { label: "not written down", up_to: None, of: self.unfetched });
        summary.sizes = bars(&sizes, &self.sizes);
        summary.biggest = self.biggest.into_sorted();
        summary.oldest =
            self.oldest.into_sorted().into_iter().map(|(at, key)| (at.0, key)).collect();
        summary.prefixes = greatest_first(self.prefixes);
        for (_, group) in summary.prefixes.drain(lists.prefixes.min(summary.prefixes.len())..) {
            summary.other_prefixes = summary.other_prefixes.with(group);
        }
        summary.inner_prefixes = self.inner.map(greatest_first).unwrap_or_default();
        summary.inner_prefixes.truncate(lists.inner);
        summary
    }
}

/// Up to its first separator, and with it.
pub fn prefix_end(key: &[u8]) -> Option<usize> {
    key.iter().position(|byte| SEPARATORS.contains(byte)).map(|at| at + 1)
}

/// The group of a prefix, if there is room for it. Rows come in the order of a seeded hash: a prefix with
/// many items is met early, and has its place before the places are gone.
fn counted<'g>(groups: &'g mut HashMap<Vec<u8>, Group>, prefix: &[u8]) -> Option<&'g mut Group> {
    if !groups.contains_key(prefix) {
        if groups.len() == PREFIXES_MAX {
            return None;
        }
        groups.insert(prefix.to_vec(), Group::default());
    }
    groups.get_mut(prefix)
}

fn greatest_first(groups: HashMap<Vec<u8>, Group>) -> Vec<(Vec<u8>, Group)> {
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|(a, x), (b, y)| y.bytes.cmp(&x.bytes).then_with(|| a.cmp(b)));
    groups
}

fn bar_of_time(seconds: i64) -> usize {
    TIMES.iter().position(|&(end, _)| seconds < end).unwrap_or(TIMES.len() - 1)
}

/// The greatest so many, in a heap that is never larger.
struct Top<R> {
    most: usize,
    heap: BinaryHeap<Reverse<(R, Vec<u8>)>>,
}

impl<R: Ord + Copy> Top<R> {
    fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, rank: R, key: &[u8]) {
        if self.heap.len() == self.most {
            match self.heap.peek() {
                Some(Reverse((least, _))) if *least < rank => drop(self.heap.pop()),
                _ => return,
            }
        }
        self.heap.push(Reverse((rank, key.to_vec())));
    }

    fn into_sorted(self) -> Vec<(R, Vec<u8>)> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_kept_and_no_more() {
        for most in [0, 1, 3, 200] {
            let mut top = Top::new(most);
            (0..100_u64).for_each(|n| top.offer(n * 37 % 100, b"k"));
            assert!(top.heap.len() <= most);
            let ranks: Vec<u64> = top.into_sorted().into_iter().map(|(rank, _)| rank).collect();
            let expected: Vec<u64> = (0..100).rev().take(most).collect();
            assert_eq!(ranks, expected);
        }
    }

    #[test]
    fn bars_meet_without_a_gap() {
        for (seconds, bar) in [(-5, 0), (59, 0), (60, 1), (HOUR, 3), (40 * DAY, 7), (i64::MAX, 7)] {
            assert_eq!(bar_of_time(seconds), bar, "{seconds}");
        }
    }
}
