//! When items were fetched, without a write per read.
//!
//! A table of fixed size in memory: the hash of a key and the second of its last fetch. It forgets the
//! oldest of four where it has no room, and what it holds is written to the rows when the file is
//! closed, as far as they are small and that takes moments. What it says is advice: no promise rests on it. A reader that is late may note a fetch of the
//! value before the last.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::clock::Seconds;
use crate::limits::FETCHES_REMEMBERED;

/// Places that a key may have: 64 bytes, a cache line.
const PLACES: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Recency {
    sets: Box<[Set]>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([Place; PLACES]);

/// The two parts are written one after the other: one of them may belong to another key for a moment.
#[derive(Debug, Default)]
struct Place {
    /// 0: nobody's.
    hash: AtomicU64,
    seconds: AtomicI64,
}

impl Recency {
    pub(super) fn new() -> Self {
        Self { sets: (0..FETCHES_REMEMBERED / PLACES).map(|_| Set::default()).collect() }
    }

    /// Notes a fetch. Says when the one before was, if that is remembered.
    pub(super) fn note(&self, hash: u64, now: Seconds) -> Option<Seconds> {
        let set = self.set(hash);
        if let Some(place) = find(set, hash) {
            let before = place.seconds.load(Ordering::Relaxed);
            if before != now.0 {
                place.seconds.store(now.0, Ordering::Relaxed);
            }
            return Some(Seconds(before));
        }
        let oldest = set.0.iter().min_by_key(|place| place.seconds.load(Ordering::Relaxed));
        if let Some(place) = oldest {
            place.hash.store(hash, Ordering::Relaxed);
            place.seconds.store(now.0, Ordering::Relaxed);
        }
        None
    }

    /// When a key was last fetched, if that is remembered.
    pub(super) fn last(&self, hash: u64) -> Option<Seconds> {
        find(self.set(hash), hash).map(|place| Seconds(place.seconds.load(Ordering::Relaxed)))
    }

    /// The key has a new value, which nobody has fetched.
    pub(super) fn forget(&self, hash: u64) {
        if let Some(place) = find(self.set(hash), hash) {
            place.hash.store(0, Ordering::Relaxed);
            place.seconds.store(0, Ordering::Relaxed);
        }
    }

    /// Everything that is remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Seconds)> {
        self.sets.iter().flat_map(|set| &set.0).filter_map(|place| {
            let hash = place.hash.load(Ordering::Relaxed);
            (hash != 0).then(|| (hash, Seconds(place.seconds.load(Ordering::Relaxed))))
        })
    }

    fn set(&self, hash: u64) -> &Set {
        // The lowest three bits of a hash are always the same.
        #[allow(clippy::cast_possible_truncation, reason = "some bits of the hash are enough")]
        let index = (hash >> 24) as usize % self.sets.len();
        &self.sets[index]
    }
}

fn find(set: &Set, hash: u64) -> Option<&Place> {
    set.0.iter().find(|place| place.hash.load(Ordering::Relaxed) == hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fetch_is_remembered_and_forgotten() {
        let recency = Recency::new();
        assert_eq!(recency.note(8, Seconds(5)), None);
        assert_eq!(recency.note(8, Seconds(7)), Some(Seconds(5)));
        assert_eq!(recency.last(8), Some(Seconds(7)));
        assert_eq!(recency.last(16), None);
        recency.forget(8);
        assert_eq!((recency.last(8), recency.note(8, Seconds(9))), (None, None));
        assert_eq!(recency.all().collect::<Vec<_>>(), [(8, Seconds(9))]);
    }

    #[test]
    fn the_oldest_gives_way() {
        let recency = Recency::new();
        // All of one set.
        for n in 1..=5 {
            recency.note(n << 3, Seconds(n.cast_signed()));
        }
        assert_eq!(recency.last(1 << 3), None);
        assert!((2..=5).all(|n| recency.last(n << 3).is_some()));
    }
}
