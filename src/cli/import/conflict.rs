//! What becomes of a record where there is an item already: the one place that says so, for an import
//! and for its rehearsal.
//!
//! Within one source the last record of a key wins, as a reader of JSON keeps the last. So what this run
//! has stored itself is never in the way of what comes behind it.

use crate::cache::Mode;
use crate::clock::Seconds;

/// What to do where there is an item already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    Skip,
    Replace,
    Newer,
}

/// The item that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) stored: Seconds,
    /// Its version, where what was read is to be what is overwritten.
    pub(super) cas: u64,
    /// Stored by this run.
    pub(super) is_own: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// With this mode, over this version.
    Store(Mode, Option<u64>),
}

impl Conflict {
    /// Whether [`Conflict::decide`] has to know what is there.
    pub(super) fn looks(self) -> bool {
        self != Self::Replace
    }

    /// About a record that says when it was stored, or does not.
    pub(super) fn decide(self, existing: Option<Existing>, stored: Option<i64>) -> Verdict {
        let Some(existing) = existing.filter(|_| self.looks()) else {
            // Where nothing was seen, nothing is overwritten that has come since.
            let mode = if self.looks() { Mode::Add } else { Mode::Set };
            return Verdict::Store(mode, None);
        };
        let wins = match self {
            Self::Newer if existing.is_own => stored.is_some_and(|new| new >= existing.stored.0),
            Self::Newer => stored.is_some_and(|new| new > existing.stored.0),
            Self::Skip | Self::Replace => existing.is_own,
        };
        if wins { Verdict::Store(Mode::Set, Some(existing.cas)) } else { Verdict::Keep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wins() {
        let own = Some(Existing { stored: Seconds(5), cas: 7, is_own: true });
        let other = own.map(|own| Existing { is_own: false, ..own });
        let (add, set) = (Verdict::Store(Mode::Add, None), Verdict::Store(Mode::Set, None));
        let over = Verdict::Store(Mode::Set, Some(7));
        for (conflict, existing, stored, verdict) in [
            (Conflict::Skip, None, None, add),
            (Conflict::Skip, other, Some(9), Verdict::Keep),
            (Conflict::Skip, own, Some(1), over),
            (Conflict::Replace, other, None, set),
            (Conflict::Replace, own, None, set),
            (Conflict::Newer, None, Some(1), add),
            (Conflict::Newer, other, Some(5), Verdict::Keep),
            (Conflict::Newer, other, Some(6), over),
            (Conflict::Newer, own, Some(4), Verdict::Keep),
            (Conflict::Newer, own, Some(5), over),
        ] {
            let seen = conflict.decide(existing, stored);
            assert_eq!(seen, verdict, "{conflict:?} {existing:?} {stored:?}");
        }
    }
}
