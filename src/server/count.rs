//! What an operation is counted as, by memcached's rules.

use crate::cache::{
    Absence, Arithmetic, Delete, Direction, Failure, Fetch, Mode, Op, Outcome, Store, Written,
};
use crate::metrics::{Counters, Kind, Tally};
use crate::protocol::Form;

/// Which counters an outcome moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Fetch,
    FetchAndTouch,
    /// `mg` with `T`.
    FetchOrTouch,
    Store,
    CompareAndStore,
    Up,
    Down,
    Touch,
    Delete,
    /// `md` with `I`.
    Invalidate,
    Flush,
    TooLarge,
    /// `me`.
    Meta,
}

/// What an operation is timed and counted as.
pub(super) fn kind_of(op: &Op, form: &Form<'_>) -> (Kind, Counted) {
    match op {
        Op::Fetch(_) if form.is_debug() => (Kind::Get, Counted::Meta),
        Op::Fetch(Fetch { touch: None, .. }) => (Kind::Get, Counted::Fetch),
        Op::Fetch(_) if matches!(form, Form::Meta(_)) => (Kind::Touch, Counted::FetchOrTouch),
        Op::Fetch(_) => (Kind::Touch, Counted::FetchAndTouch),
        Op::Store(Store { compare: Some(_), mode: Mode::Set | Mode::Replace, .. }, _) => {
            (Kind::Set, Counted::CompareAndStore)
        }
        Op::Store(..) => (Kind::Set, Counted::Store),
        Op::Arithmetic(Arithmetic { direction: Direction::Up, .. }) => {
            (Kind::Arithmetic, Counted::Up)
        }
        Op::Arithmetic(_) => (Kind::Arithmetic, Counted::Down),
        Op::Touch { .. } => (Kind::Touch, Counted::Touch),
        Op::Delete(Delete { invalidate: true, .. }) => (Kind::Delete, Counted::Invalidate),
        Op::Delete(_) => (Kind::Delete, Counted::Delete),
        Op::Discard { .. } => (Kind::Set, Counted::TooLarge),
    }
}

/// memcached's counting rules.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a fetch needs little of it")]
pub(super) fn count(counters: &Counters, counted: Counted, outcome: &Outcome) {
    let hit_or_miss = |hit: &Tally, miss: &Tally, error: &Tally| match outcome {
        Outcome::NotFound | Outcome::Miss(_) => miss.up(),
        Outcome::Failed(_) | Outcome::NotNumeric | Outcome::Exists => error.up(),
        _ => hit.up(),
    };
    match outcome {
        Outcome::Failed(Failure::NoMemory) => counters.failed_full.up(),
        Outcome::Failed(Failure::WalFull) => counters.failed_wal_full.up(),
        Outcome::Failed(Failure::Busy) => counters.failed_busy.up(),
        Outcome::Failed(Failure::Constraint) => counters.failed_constraint.up(),
        Outcome::Failed(Failure::Unavailable) => counters.failed_unavailable.up(),
        Outcome::NotNumeric => counters.refused_client.up(),
        Outcome::Hit(hit) if hit.created.is_some() => counters.created.up(),
        Outcome::Number(_, Written { created: true, .. }) => {
            counters.created.up();
            return;
        }
        _ => {}
    }
    // memcached: an `mg` that was to touch and found nothing is a fetch.
    let finds_nothing = matches!(outcome, Outcome::Miss(_));
    let counted =
        if counted == Counted::FetchOrTouch && finds_nothing { Counted::Fetch } else { counted };
    match counted {
        Counted::Fetch => {
            counters.cmd_get.up();
            hit_or_miss(&counters.get_hits, &counters.get_misses, &counters.get_errors);
            match outcome {
                Outcome::Miss(Absence::Expired) => counters.get_expired.up(),
                Outcome::Miss(Absence::Flushed) => counters.get_flushed.up(),
                _ => {}
            }
        }
        Counted::Meta => counters.cmd_meta.up(),
        Counted::FetchAndTouch | Counted::FetchOrTouch | Counted::Touch => {
            counters.cmd_touch.up();
            hit_or_miss(&counters.touch_hits, &counters.touch_misses, &counters.touch_errors);
        }
        Counted::Store | Counted::CompareAndStore => {
            counters.cmd_set.up();
            let compares = counted == Counted::CompareAndStore;
            match outcome {
                Outcome::Stored(_) if compares => counters.cas_hits.up(),
                Outcome::Stored(_) => counters.set_stored.up(),
                Outcome::Exists if compares => counters.cas_badval.up(),
                Outcome::NotFound if compares => counters.cas_misses.up(),
                Outcome::NotStored | Outcome::NotFound | Outcome::Exists => {
                    counters.set_not_stored.up();
                }
                _ if compares => counters.cas_errors.up(),
                _ => counters.set_errors.up(),
            }
            if *outcome == Outcome::Failed(Failure::NoMemory) {
                counters.store_no_memory.up();
            }
        }
        Counted::Up => {
            hit_or_miss(&counters.incr_hits, &counters.incr_misses, &counters.incr_errors);
        }
        Counted::Down => {
            hit_or_miss(&counters.decr_hits, &counters.decr_misses, &counters.decr_errors);
        }
        // memcached: what is only marked counts as no delete, and what has another cas as missed.
        Counted::Invalidate if *outcome == Outcome::Deleted => counters.other_done.up(),
        Counted::Delete | Counted::Invalidate if *outcome == Outcome::Exists => {
            counters.delete_misses.up();
        }
        Counted::Delete | Counted::Invalidate => {
            hit_or_miss(&counters.delete_hits, &counters.delete_misses, &counters.delete_errors);
        }
        Counted::Flush if *outcome == Outcome::Flushed => counters.flush_done.up(),
        Counted::Flush => counters.flush_errors.up(),
        Counted::TooLarge => {}
    }
}
