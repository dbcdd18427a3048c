//! The generation of what is alive, and when a delayed flush is due: two numbers that are read as one.
//!
//! Whoever saw them from different moments would take a flushed item for a living one, or a fresh one for
//! flushed. Every read comes by: it takes no lock and waits for nobody. Written by whoever holds the
//! writing connection. `models` explores every interleaving of this file.

use super::primitives::{AtomicI64, AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub(super) struct Flushes {
    /// Times these have been written. The lowest bit says which of the two holds; the other one is
    /// written next.
    turn: AtomicU64,
    both: [Pair; 2],
}

#[derive(Debug)]
struct Pair {
    /// Items of an older generation are gone. Rises after the commit of a flush.
    generation: AtomicI64,
    /// When a delayed flush is due, Unix seconds; 0 none.
    due_at: AtomicI64,
}

impl Pair {
    fn new(generation: i64, due_at: i64) -> Self {
        Self { generation: AtomicI64::new(generation), due_at: AtomicI64::new(due_at) }
    }
}

impl Flushes {
    pub(super) fn new(generation: i64, due_at: i64) -> Self {
        let both = [Pair::new(generation, due_at), Pair::new(generation, due_at)];
        Self { turn: AtomicU64::new(0), both }
    }

    /// The generation, and when a flush is due.
    pub(super) fn read(&self) -> (i64, i64) {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let pair = &self.both[usize::from(turn % 2 == 1)];
            // Whoever sees a number of a later turn here sees below that it is later.
            let generation = pair.generation.load(Ordering::Acquire);
            let due_at = pair.due_at.load(Ordering::Acquire);
            // It is tried again only where a flush has finished meanwhile.
            if self.turn.load(Ordering::Relaxed) == turn {
                return (generation, due_at);
            }
        }
    }

    /// Only for whoever holds the writing connection.
    pub(super) fn write(&self, generation: i64, due_at: i64) {
        let turn = self.turn.load(Ordering::Relaxed) + 1;
        let pair = &self.both[usize::from(turn % 2 == 1)];
        pair.generation.store(generation, Ordering::Release);
        pair.due_at.store(due_at, Ordering::Release);
        self.turn.store(turn, Ordering::Release);
    }
}
