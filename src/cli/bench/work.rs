//! What one thread asks next: drawn keys in a mix of gets and sets, the lines of a trace, or each key once
//! to fill a server.
//!
//! Knows nothing of connections and of time. Says when there is nothing more.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::keys::{Distribution, Draw, Mix, Names};
use super::sizes::Sizes;
use super::trace::Trace;

/// A key, and how large its value is to be where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) key: u32,
    pub(super) bytes: u32,
}

/// All that can be asked for.
#[derive(Debug)]
pub(super) enum Matter {
    Numbered { names: Names, keys: u32, distribution: Distribution, mix: Mix, sizes: Sizes },
    Traced(Trace),
}

impl Matter {
    pub(super) fn names(&self) -> &Names {
        match self {
            Self::Numbered { names, .. } => names,
            Self::Traced(trace) => &trace.names,
        }
    }

    /// How many different keys.
    pub(super) fn keys(&self) -> u64 {
        match self {
            Self::Numbered { keys, .. } => u64::from(*keys),
            Self::Traced(trace) => trace.keys.len() as u64,
        }
    }

    /// How many requests a trace has; none where they are drawn.
    pub(super) fn lines(&self) -> Option<u64> {
        match self {
            Self::Numbered { .. } => None,
            Self::Traced(trace) => Some(trace.lines.len() as u64),
        }
    }

    /// The largest value.
    pub(super) fn most_bytes(&self) -> u32 {
        match self {
            Self::Numbered { sizes, .. } => sizes.most(),
            Self::Traced(trace) => trace.most_bytes(),
        }
    }

    pub(super) fn asks_for_sets(&self) -> bool {
        matches!(self, Self::Numbered { mix, .. } if mix.sets > 0)
    }

    /// The key at a place of the order in which a server is filled.
    fn at(&self, place: u64) -> Option<Asked> {
        match self {
            Self::Numbered { keys, sizes, .. } => {
                let key = u32::try_from(place).ok().filter(|key| key < keys)?;
                Some(Asked { key, bytes: sizes.of(key) })
            }
            Self::Traced(trace) => trace.keys.get(usize::try_from(place).ok()?).copied(),
        }
    }
}

/// One thread's part.
#[derive(Debug)]
pub(super) struct Work<'m> {
    matter: &'m Matter,
    random: fastrand::Rng,
    way: Way<'m>,
}

#[derive(Debug)]
enum Way<'m> {
    Fill {
        next: u64,
        end: u64,
    },
    Draw {
        draw: Draw,
        mix: Mix,
        sizes: &'m Sizes,
    },
    /// The place in the trace is all threads' together, so that its order stays about what it was.
    Replay {
        lines: &'m [Asked],
        place: &'m AtomicUsize,
        again: bool,
    },
}

impl<'m> Work<'m> {
    /// The part `share` of `of` of all keys, each once.
    pub(super) fn fill(matter: &'m Matter, share: usize, of: usize) -> Self {
        let edge = |share: usize| matter.keys() * share as u64 / of as u64;
        let way = Way::Fill { next: edge(share), end: edge(share + 1) };
        Self { matter, random: fastrand::Rng::with_seed(0), way }
    }

    /// As the matter is; a trace ends unless it is to be played `again`.
    pub(super) fn new(
        matter: &'m Matter,
        place: &'m AtomicUsize,
        again: bool,
        seed: u64,
        share: usize,
        of: usize,
    ) -> Self {
        let way = match matter {
            Matter::Numbered { keys, distribution, mix, sizes, .. } => {
                let first = u64::from(*keys) * share as u64 / of as u64;
                let first = u32::try_from(first).expect("a part of the keys");
                Way::Draw { draw: Draw::new(*distribution, *keys, first), mix: *mix, sizes }
            }
            Matter::Traced(trace) => Way::Replay { lines: &trace.lines, place, again },
        };
        let random = fastrand::Rng::with_seed(seed.wrapping_add(share as u64 * 0x9e37_79b9));
        Self { matter, random, way }
    }

    /// Whether the next request is a set.
    pub(super) fn is_set(&mut self) -> bool {
        match &self.way {
            Way::Fill { .. } => true,
            Way::Draw { mix, .. } => mix.is_set(&mut self.random),
            Way::Replay { .. } => false,
        }
    }

    /// The next key, or none where all was asked for.
    pub(super) fn next(&mut self) -> Option<Asked> {
        match &mut self.way {
            Way::Fill { next, end } => {
                let place = *next;
                (place < *end).then(|| *next += 1)?;
                self.matter.at(place)
            }
            Way::Draw { draw, sizes, .. } => {
                let key = draw.next(&mut self.random);
                Some(Asked { key, bytes: sizes.of(key) })
            }
            Way::Replay { lines, place, again } => {
                let at = place.fetch_add(1, Ordering::Relaxed);
                let at = if *again { at % lines.len() } else { at };
                lines.get(at).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(keys: u32) -> Matter {
        Matter::Numbered {
            names: Names::Numbered(b"k".to_vec()),
            keys,
            distribution: Distribution::Sequential,
            mix: Mix { gets: 1, sets: 1 },
            sizes: Sizes::Fixed(7),
        }
    }

    #[test]
    fn a_fill_asks_for_each_key_once() {
        for (keys, of) in [(1, 1), (10, 3), (2, 4), (1_000, 7)] {
            let matter = numbered(keys);
            let mut all = Vec::new();
            for share in 0..of {
                let mut work = Work::fill(&matter, share, of);
                assert!(work.is_set());
                while let Some(asked) = work.next() {
                    all.push(asked.key);
                }
            }
            all.sort_unstable();
            assert_eq!(all, (0..keys).collect::<Vec<_>>(), "{keys} of {of}");
        }
    }

    #[test]
    fn a_trace_is_played_once_or_again() {
        let asked = |key| Asked { key, bytes: 1 };
        let names = Names::Listed { text: b"ab".to_vec(), ends: vec![1, 2] };
        let lines = vec![asked(0), asked(1), asked(0)];
        let keys = vec![asked(0), asked(1)];
        let matter = Matter::Traced(Trace { names, lines, keys });
        for (again, expected) in [(false, vec![0, 1, 0]), (true, vec![0, 1, 0, 0, 1, 0, 0])] {
            let place = AtomicUsize::new(0);
            let mut one = Work::new(&matter, &place, again, 1, 0, 2);
            let mut two = Work::new(&matter, &place, again, 1, 1, 2);
            let mut found = Vec::new();
            for turn in 0..7 {
                let work = if turn % 2 == 0 { &mut one } else { &mut two };
                found.extend(work.next().map(|asked| asked.key));
            }
            assert_eq!(found, expected);
        }
    }
}
