//! Which ids somebody holds, and how many do.
//!
//! Old and new versions of a value have pieces in common, so what is held overlaps. It is kept as spans that
//! do not: neighbours differ in how often they are held. To ask for a run costs one look into an ordered map,
//! however many hold pieces.

use std::collections::BTreeMap;

use crate::cache::Run;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<i64, Span>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    last: i64,
    times: usize,
}

impl Spans {
    pub(super) fn add(&mut self, runs: &[Run]) {
        for run in runs {
            let (first, end) = self.cut_out(run);
            let inside: Vec<(i64, i64)> =
                self.0.range(first..end).map(|(&first, span)| (first, span.last)).collect();
            let mut next = first;
            for (first, last) in inside {
                if next < first {
                    self.0.insert(next, Span { last: first - 1, times: 1 });
                }
                self.0.entry(first).and_modify(|span| span.times += 1);
                next = last + 1;
            }
            if next < end {
                self.0.insert(next, Span { last: end - 1, times: 1 });
            }
            self.mend(first);
            self.mend(end);
        }
    }

    /// Takes back what was added.
    pub(super) fn remove(&mut self, runs: &[Run]) {
        for run in runs {
            let (first, end) = self.cut_out(run);
            let mut gone = Vec::new();
            for (&first, span) in self.0.range_mut(first..end) {
                span.times -= 1;
                if span.times == 0 {
                    gone.push(first);
                }
            }
            for first in gone {
                self.0.remove(&first);
            }
            self.mend(first);
            self.mend(end);
        }
    }

    /// Whether one of these is among them.
    pub(super) fn meet(&self, runs: &[Run]) -> bool {
        runs.iter().any(|run| {
            let before = self.0.range(..=run.last()).next_back();
            before.is_some_and(|(_, span)| span.last >= run.first)
        })
    }

    /// Sees to it that spans begin and end where a run does: its first id, and the one behind its last.
    fn cut_out(&mut self, run: &Run) -> (i64, i64) {
        let (first, end) = (run.first, run.last() + 1);
        for at in [first, end] {
            if let Some((_, span)) = self.0.range_mut(..at).next_back()
                && span.last >= at
            {
                let rest = *span;
                span.last = at - 1;
                self.0.insert(at, rest);
            }
        }
        (first, end)
    }

    /// Makes one of two neighbours that are held equally often.
    fn mend(&mut self, at: i64) {
        let Some(&behind) = self.0.get(&at) else { return };
        if let Some((_, before)) = self.0.range_mut(..at).next_back()
            && before.last + 1 == at
            && before.times == behind.times
        {
            before.last = behind.last;
            self.0.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_found_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut spans = Spans::default();
        let mut held: Vec<Vec<Run>> = Vec::new();
        let mut some = |most: i64| -> Vec<Run> {
            let count = random.i64(1..=most);
            let mut run =
                || Run { first: random.i64(1..100), count: random.i64(1..=20), bytes: 20 };
            (0..count).map(|_| run()).collect()
        };
        for turn in 0..2_000 {
            if turn % 5 < 3 && held.len() < 12 {
                let runs = some(4);
                spans.add(&runs);
                held.push(runs);
            } else if !held.is_empty() {
                let runs = held.swap_remove(turn % held.len());
                spans.remove(&runs);
            }
            let asked = some(2);
            let expected =
                held.iter().flatten().any(|held| asked.iter().any(|run| run.meets(held)));
            assert_eq!(spans.meet(&asked), expected, "turn {turn}: {asked:?} in {spans:?}");
        }
        for runs in held.drain(..) {
            spans.remove(&runs);
        }
        assert_eq!(spans.0.len(), 0);
    }

    #[test]
    fn what_is_held_alike_is_one_span() {
        let run = |first, count| Run { first, count, bytes: 9 };
        let mut spans = Spans::default();
        spans.add(&[run(1, 4), run(5, 4)]);
        spans.add(&[run(3, 2)]);
        assert_eq!(spans.0.len(), 3);
        spans.remove(&[run(3, 2)]);
        assert_eq!(spans.0.len(), 1);
        assert!(spans.meet(&[run(8, 1)]) && !spans.meet(&[run(9, 1)]));
    }
}
