//! When items were fetched, without a write per read.
//!
//! A table of fixed size in memory: for the hash of a key the second of its last fetch, and the mark
//! that eviction goes by. One fetch looks at one cache line. Where there is no room it forgets the
//! stalest of four; the row then looks as it did when it was last written. What it holds is written to
//! rows that eviction finds beside those it removes, and as it is, a part at a time, to a table of the file
//! (`recency/kept.rs`).
//!
//! What it says is advice: no promise rests on it. A reader that is late may note a fetch of the value
//! before the last.

pub(super) mod kept;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::cache::Head;
use crate::clock::Seconds;
use crate::limits::{
    KEYS_PER_BUCKET, RECENCY_BYTES_LEAST, RECENCY_BYTES_MAX, RECENCY_DIVISOR, RECENCY_PART_BYTES,
};
use crate::store::eviction::policy::{Mark, set_of};

/// Places that a key may have: 64 bytes, a cache line.
const PLACES: usize = 4;

/// Sets that are written down together.
const SETS_PER_PART: usize = RECENCY_PART_BYTES / size_of::<Set>();

/// See the module.
#[derive(Debug)]
pub(super) struct Recency {
    sets: Box<[Set]>,
    /// Of each part of the table: whether it has changed since it was last written down.
    changed: Box<[AtomicBool]>,
    /// Of the clock that marks go by: whoever writes moves it.
    tick: AtomicU32,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([Place; PLACES]);

/// The two parts are written one after the other: one of them may belong to another key for a moment.
#[derive(Debug, Default)]
struct Place {
    /// 0: nobody's.
    hash: AtomicU64,
    /// The second in the upper half, the mark in the lower.
    seen: AtomicU64,
}

/// What is remembered of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) last: Seconds,
    pub(super) mark: Mark,
}

impl Seen {
    fn from_bits(bits: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        let mark = Mark::from_bits(bits as u32);
        Self { last: Seconds((bits >> 32).cast_signed()), mark }
    }

    fn bits(self) -> u64 {
        // Seconds of a clock that is wrong, or of the year 2106, stay within their half.
        let seconds = u32::try_from(self.last.0.max(0)).unwrap_or(u32::MAX);
        u64::from(seconds) << 32 | u64::from(self.mark.bits())
    }
}

impl Recency {
    /// For a memory tier of so many bytes: an eighth of that, beside it.
    pub(super) fn new(memory_bytes: u64, tick: u32) -> Self {
        let bytes = (memory_bytes / RECENCY_DIVISOR).clamp(RECENCY_BYTES_LEAST, RECENCY_BYTES_MAX);
        let sets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Set>();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            changed: (0..sets.div_ceil(SETS_PER_PART)).map(|_| AtomicBool::new(false)).collect(),
            tick: AtomicU32::new(tick),
        }
    }

    pub(super) fn set_tick(&self, tick: u32) {
        self.tick.store(tick, Ordering::Relaxed);
    }

    fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Notes a fetch of a row with this mark. Says when the one before was, if that is remembered.
    #[inline]
    pub(super) fn note(&self, hash: u64, now: Seconds, stored: Mark) -> Option<Seconds> {
        let (hash, at) = self.place(hash);
        let (set, tick) = (&self.sets[at], self.tick());
        if let Some(place) = find(set, hash) {
            let bits = place.seen.load(Ordering::Relaxed);
            let before = Seen::from_bits(bits);
            let seen = Seen { last: now, mark: before.mark.read(tick) };
            if seen.bits() != bits {
                place.seen.store(seen.bits(), Ordering::Relaxed);
                self.change(at);
            }
            return Some(before.last);
        }
        if let Some(place) = set.0.iter().min_by_key(|place| place.worth(tick)) {
            place.take(hash, Seen { last: now, mark: stored.read(tick) });
            self.change(at);
        }
        None
    }

    /// What an earlier run remembered of a key. What has been noted since counts for more.
    fn restore(&self, hash: u64, seen: Seen) {
        let (hash, at) = self.place(hash);
        let (set, tick) = (&self.sets[at], self.tick());
        if hash == 0 || find(set, hash).is_some() {
            return;
        }
        let newcomer = Place::default();
        newcomer.take(hash, seen);
        if let Some(place) = set.0.iter().min_by_key(|place| place.worth(tick))
            && place.worth(tick) < newcomer.worth(tick)
        {
            place.take(hash, seen);
        }
    }

    /// What is remembered of a key.
    pub(super) fn seen(&self, hash: u64) -> Option<Seen> {
        let (hash, at) = self.place(hash);
        let place = find(&self.sets[at], hash)?;
        Some(Seen::from_bits(place.seen.load(Ordering::Relaxed)))
    }

    /// The mark of a key whose row has this one: after a crash the row may know better than what was
    /// written down of this table.
    pub(super) fn mark(&self, hash: u64, written: Mark) -> Mark {
        self.seen(hash).map_or(written, |seen| seen.mark.or_later(written, self.tick()))
    }

    /// When a key was last fetched, if that is remembered.
    pub(super) fn last(&self, hash: u64) -> Option<Seconds> {
        self.seen(hash).map(|seen| seen.last)
    }

    /// When an item was last fetched, as its row or this table has it.
    pub(super) fn last_of(&self, hash: u64, head: &Head) -> Seconds {
        later(head, self.last(hash))
    }

    /// The row of a key was written with this mark.
    pub(super) fn written(&self, hash: u64, mark: Mark) {
        let (hash, at) = self.place(hash);
        if let Some(place) = find(&self.sets[at], hash) {
            let seen = Seen { mark, ..Seen::from_bits(place.seen.load(Ordering::Relaxed)) };
            place.seen.store(seen.bits(), Ordering::Relaxed);
            self.change(at);
        }
    }

    /// The key has a new value, which nobody has fetched, or none.
    pub(super) fn forget(&self, hash: u64) {
        let (hash, at) = self.place(hash);
        if let Some(place) = find(&self.sets[at], hash) {
            place.hash.store(0, Ordering::Relaxed);
            place.seen.store(0, Ordering::Relaxed);
            self.change(at);
        }
    }

    /// Everything that is remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Seen)> {
        taken(&self.sets)
    }

    fn parts(&self) -> usize {
        self.changed.len()
    }

    /// What is in a part of the table.
    fn part(&self, part: usize) -> impl Iterator<Item = (u64, Seen)> {
        let first = part * SETS_PER_PART;
        taken(&self.sets[first..self.sets.len().min(first + SETS_PER_PART)])
    }

    fn part_of(&self, hash: u64) -> usize {
        self.place(hash).1 / SETS_PER_PART
    }

    /// Looked at before it is written: every fetch comes by, and all loops share it.
    #[inline]
    fn change(&self, at: usize) {
        self.change_part(at / SETS_PER_PART);
    }

    fn change_part(&self, part: usize) {
        let changed = &self.changed[part];
        if !changed.load(Ordering::Relaxed) {
            changed.store(true, Ordering::Relaxed);
        }
    }

    /// The hash as it is kept, without the bits that tell colliding keys apart, and where its set is.
    fn place(&self, hash: u64) -> (u64, usize) {
        let hash = hash & !(KEYS_PER_BUCKET - 1).cast_unsigned();
        (hash, set_of(hash, self.sets.len()))
    }
}

impl Place {
    /// The least of a set is the first to go.
    fn worth(&self, tick: u32) -> impl Ord + use<> {
        let seen = Seen::from_bits(self.seen.load(Ordering::Relaxed));
        let is_taken = self.hash.load(Ordering::Relaxed) != 0;
        (is_taken, std::cmp::Reverse(seen.mark.age(tick)), seen.last)
    }

    fn take(&self, hash: u64, seen: Seen) {
        self.hash.store(hash, Ordering::Relaxed);
        self.seen.store(seen.bits(), Ordering::Relaxed);
    }
}

fn taken(sets: &[Set]) -> impl Iterator<Item = (u64, Seen)> {
    sets.iter().flat_map(|set| &set.0).filter_map(|place| {
        let hash = place.hash.load(Ordering::Relaxed);
        (hash != 0).then(|| (hash, Seen::from_bits(place.seen.load(Ordering::Relaxed))))
    })
}

/// The last fetch of an item, with what is remembered of its key. A fetch from before it was stored was of
/// the value before: after a crash that may be remembered still.
#[inline]
pub(super) fn later(head: &Head, remembered: Option<Seconds>) -> Seconds {
    let of_this = remembered.filter(|&last| last >= head.stored);
    of_this.map_or(head.accessed, |last| last.max(head.accessed))
}

#[inline]
fn find(set: &Set, hash: u64) -> Option<&Place> {
    set.0.iter().find(|place| place.hash.load(Ordering::Relaxed) == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: Mark = Mark::from_bits(0);

    #[test]
    fn the_last_fetch_is_remembered_and_forgotten() {
        let recency = Recency::new(0, 40);
        assert_eq!(recency.note(8, Seconds(5), STORED), None);
        assert_eq!(recency.note(8, Seconds(7), STORED), Some(Seconds(5)));
        assert_eq!(recency.last(8), Some(Seconds(7)));
        assert_eq!(recency.seen(8).map(|seen| seen.mark), Some(Mark::new(40, 1)));
        assert_eq!(recency.last(16), None);
        recency.forget(8);
        assert_eq!((recency.last(8), recency.note(8, Seconds(9), STORED)), (None, None));
        let seen = Seen { last: Seconds(9), mark: Mark::new(40, 1) };
        assert_eq!(recency.all().collect::<Vec<_>>(), [(8, seen)]);
        recency.written(8, Mark::new(50, 7));
        assert_eq!(recency.seen(8), Some(Seen { mark: Mark::new(50, 7), ..seen }));
    }

    #[test]
    fn the_stalest_gives_way() {
        let recency = Recency::new(0, 0);
        // All of one set.
        for n in 1..=5 {
            recency.note(n << 3, Seconds(n.cast_signed()), STORED);
        }
        assert_eq!(recency.last(1 << 3), None);
        assert!((2..=5).all(|n| recency.last(n << 3).is_some()));
        // The clock of marks comes before that of seconds, which may be moved back.
        recency.set_tick(100);
        recency.note(2 << 3, Seconds(0), STORED);
        recency.note(6 << 3, Seconds(0), STORED);
        assert!(recency.last(2 << 3).is_some() && recency.last(3 << 3).is_none());
    }

    #[test]
    fn it_is_bounded_by_the_memory_tier() {
        let bytes = |memory| Recency::new(memory, 0).sets.len() * size_of::<Set>();
        assert_eq!(bytes(0) as u64, RECENCY_BYTES_LEAST);
        assert_eq!(bytes(64 << 20), 8 << 20);
    }
}
