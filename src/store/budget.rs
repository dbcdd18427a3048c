//! How much may be stored, and how much is.
//!
//! Items are charged key, value and 59 bytes each; where the pages that the file uses are more, these
//! are charged. Three levels follow from a budget: above the first housekeeping evicts, above the
//! second commits do what they need themselves, above the third writes are refused. What must stay
//! true: where items may go, a budget that is lowered stops no write, for the levels sink with what is
//! stored. Where none may (`-M`), it refuses those that need room until there is some, as in memcached.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::limits::{
    BUDGET_SLACK_BYTES_LEAST, BUDGET_SLACK_BYTES_MAX, BUDGET_SLACK_DIVISOR,
    BUDGET_SLACK_ITEMS_LEAST, FILE_BYTES_FREE_OF_CHARGE, HELD_DIVISOR, ITEM_HEADER_BYTES,
};
use crate::store::Options;

/// Rows of a little over half a page leave the rest of it empty; pages that have just been split are half
/// full, too.
const PAGES_PER_ROW_BYTES: u64 = 4;

/// Bytes and items: what is stored, or what is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    pub(super) items: u64,
}

/// What a write adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct More {
    pub(super) bytes: i64,
    pub(super) items: i64,
    /// Of the bytes, what the file has already.
    pub(super) written: i64,
}

/// What an amount is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// A little below the budget: down to here housekeeping evicts, so that each turn is worth its
    /// while.
    Ease,
    /// The budget itself.
    Budget,
    /// Half of the slack is used: commits evict.
    Pressing,
    /// All of it is: writes are refused.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    evicts: bool,
    exact: bool,
    bytes: Bound,
    items: Bound,
    /// Pages of the file that are in use, in bytes.
    file_bytes: AtomicU64,
    /// Bytes changed since those were counted.
    uncounted: AtomicU64,
    /// Housekeeping has been asked to evict.
    pub(super) asked: AtomicBool,
}

/// A limit, and what holds while more than that is stored because it was lowered.
#[derive(Debug)]
struct Bound {
    /// 0: none.
    max: AtomicU64,
    ceiling: AtomicU64,
}

impl Bound {
    fn new(max: u64) -> Self {
        Self { max: AtomicU64::new(max), ceiling: AtomicU64::new(u64::MAX) }
    }

    fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    fn level(&self, level: Level, slack: u64) -> u64 {
        let max = self.max();
        if max == 0 {
            return u64::MAX;
        }
        let ceiling = self.ceiling.load(Ordering::Relaxed).max(max);
        match level {
            Level::Ease => max - slack / 16,
            Level::Budget => max,
            Level::Pressing => ceiling.saturating_add(slack / 2),
            Level::Full => ceiling.saturating_add(slack),
        }
    }

    /// So much is stored now: from here on no more than that, or the limit.
    fn settle(&self, used: u64) {
        let max = self.max();
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        if ceiling > max {
            self.ceiling.store(ceiling.min(used).max(max), Ordering::Relaxed);
        }
    }

    fn set(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
        self.ceiling.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            evicts: options.evicts,
            exact: options.exact_budget,
            bytes: Bound::new(options.disk_bytes_max),
            items: Bound::new(options.items_max),
            file_bytes: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// Whether items go when there is no room, not writes (`-M`).
    pub(super) fn evicts(&self) -> bool {
        self.evicts
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes.max()
    }

    pub(super) fn items_max(&self) -> u64 {
        self.items.max()
    }

    /// Bytes of old versions that clients may hold.
    pub(super) fn held_bytes_max(&self) -> u64 {
        match self.bytes_max() {
            0 => u64::MAX,
            max => max / HELD_DIVISOR,
        }
    }

    pub(super) fn set_bytes_max(&self, max: u64) {
        self.bytes.set(max);
    }

    pub(super) fn set_items_max(&self, max: u64) {
        self.items.set(max);
    }

    /// More is stored than anybody was asked about: it stands for the limits until it has settled.
    pub(super) fn yield_to_what_is_stored(&self) {
        self.bytes.set(self.bytes_max());
        self.items.set(self.items_max());
    }

    /// What these figures of the database are charged, and so many bytes more of its file, or less.
    pub(super) fn charged(&self, bytes: i64, items: i64, more_file: i64) -> Amount {
        let (bytes, items) = (u64::try_from(bytes).unwrap_or(0), u64::try_from(items).unwrap_or(0));
        if self.exact {
            let headers = items.saturating_mul(ITEM_HEADER_BYTES as u64);
            return Amount { bytes: bytes.saturating_sub(headers), items };
        }
        let file = self.file_bytes.load(Ordering::Relaxed).saturating_add_signed(more_file);
        // Where nothing is evicted items are held to the budget to the byte: their pages may take the slack.
        let slack = if self.evicts { 0 } else { self.slack().0 };
        Amount { bytes: bytes.max(file.saturating_sub(FILE_BYTES_FREE_OF_CHARGE + slack)), items }
    }

    /// What a write is charged where nothing else is stored.
    pub(super) fn alone(&self, more: More) -> Amount {
        let header =
            if self.exact { more.items * (ITEM_HEADER_BYTES as u64).cast_signed() } else { 0 };
        let positive = |figure: i64| u64::try_from(figure).unwrap_or(0);
        Amount { bytes: positive(more.bytes - header), items: positive(more.items) }
    }

    /// Whether it is held to the byte.
    pub(super) fn is_exact(&self) -> bool {
        self.exact
    }

    /// What one item of so many bytes takes of each budget, for the clock of evictions.
    pub(super) fn shares(&self, item_bytes: u64) -> [(u64, u64); 2] {
        let header = if self.exact { ITEM_HEADER_BYTES as u64 } else { 0 };
        let bytes = item_bytes.saturating_sub(header);
        [(bytes, self.bytes_max()), (1, self.items_max())]
    }

    /// Whether so much is beyond a level.
    pub(super) fn exceeds(&self, used: Amount, level: Level) -> bool {
        let (bytes_slack, items_slack) = self.slack();
        used.bytes > self.bytes.level(level, bytes_slack)
            || used.items > self.items.level(level, items_slack)
    }

    /// Whether a write must be refused where nothing is evicted: to the byte, as far as items go. Their
    /// pages may take the slack.
    pub(super) fn refuses(&self, used: Amount) -> bool {
        let over = |bound: &Bound, amount: u64| bound.max() > 0 && amount > bound.max();
        over(&self.bytes, used.bytes) || over(&self.items, used.items)
    }

    /// Beyond the budget, in bytes and items.
    fn slack(&self) -> (u64, u64) {
        if self.exact {
            return (0, 0);
        }
        let bytes = self.bytes_max();
        let least = BUDGET_SLACK_BYTES_LEAST.min(bytes / 4);
        let bytes = (bytes / BUDGET_SLACK_DIVISOR).clamp(least, BUDGET_SLACK_BYTES_MAX);
        let items = self.items_max();
        let least = BUDGET_SLACK_ITEMS_LEAST.min(items / 4);
        (bytes, (items / BUDGET_SLACK_DIVISOR).max(least))
    }

    /// How long the file may be, free pages included, and how much of that is slack.
    pub(super) fn file_bytes_max(&self) -> Option<(u64, u64)> {
        let (max, (slack, _)) = (self.bytes_max(), self.slack());
        let all = max.saturating_add(slack).saturating_add(FILE_BYTES_FREE_OF_CHARGE);
        (max > 0 && !self.exact).then_some((all, slack))
    }

    /// So many pages are in use, in bytes.
    pub(super) fn count_file(&self, bytes: u64) {
        self.file_bytes.store(bytes, Ordering::Relaxed);
        self.uncounted.store(0, Ordering::Relaxed);
    }

    /// So many bytes were changed: whether it is time to count the pages again.
    pub(super) fn is_stale(&self, changed: u64) -> bool {
        let uncounted = self.uncounted.fetch_add(changed, Ordering::Relaxed) + changed;
        self.bytes_max() > 0 && uncounted >= self.slack().0 / 16
    }

    /// Whether what was changed since the pages were counted may have brought the file to its limit: a
    /// row takes up to so many times its bytes.
    pub(super) fn may_be_full(&self) -> bool {
        let uncounted = self.uncounted.load(Ordering::Relaxed).saturating_mul(PAGES_PER_ROW_BYTES);
        let file = self.file_bytes.load(Ordering::Relaxed).saturating_add(uncounted);
        let max = self.bytes_max();
        max > 0 && uncounted > 0 && file > max.saturating_add(self.slack().0)
    }

    /// What was counted has been rolled back.
    pub(super) fn count_again(&self) {
        self.uncounted.store(u64::MAX / 2, Ordering::Relaxed);
    }

    /// So much is stored after a commit.
    pub(super) fn settle(&self, used: Amount) {
        self.bytes.settle(used.bytes);
        self.items.settle(used.items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(bytes: u64, items: u64) -> Budget {
        let options =
            Options { disk_bytes_max: bytes, items_max: items, ..Options::new("unused.db") };
        Budget::new(&options)
    }

    fn amount(bytes: u64, items: u64) -> Amount {
        Amount { bytes, items }
    }

    fn levels(budget: &Budget, used: Amount) -> [bool; 3] {
        [Level::Budget, Level::Pressing, Level::Full].map(|level| budget.exceeds(used, level))
    }

    #[test]
    fn the_levels_stand_where_the_limits_say() {
        let mega = |n: u64| amount(n << 20, 0);
        let budget = budget(640 << 20, 0);
        budget.settle(mega(0));
        assert_eq!(levels(&budget, mega(640)), [false; 3]);
        assert_eq!(levels(&budget, mega(641)), [true, false, false]);
        assert_eq!(levels(&budget, mega(646)), [true, true, false]);
        assert_eq!(levels(&budget, mega(651)), [true; 3]);
        let refuses = |used| budget.refuses(used);
        assert!(!refuses(mega(640)) && refuses(amount((640 << 20) + 1, 0)));
        let small = self::budget(1 << 20, 0);
        small.settle(mega(0));
        assert_eq!(levels(&small, amount(5 << 18, 0)), [true, true, false], "a quarter at most");
        assert_eq!(levels(&small, amount(5 << 18 | 1, 0)), [true; 3]);
    }

    #[test]
    fn items_are_counted_beside_bytes() {
        let budget = budget(0, 128);
        budget.settle(Amount::default());
        assert_eq!(levels(&budget, amount(u64::MAX, 128)), [false; 3]);
        assert_eq!(levels(&budget, amount(0, 150)), [true, true, false]);
        assert_eq!(levels(&budget, amount(0, 161)), [true; 3]);
    }

    #[test]
    fn a_lowered_budget_sinks_with_what_is_stored() {
        let budget = budget(1 << 30, 0);
        let used = |mega: u64| amount(mega << 20, 0);
        budget.settle(used(1_000));
        budget.set_bytes_max(100 << 20);
        budget.settle(used(1_000));
        assert_eq!(levels(&budget, used(1_000)), [true, false, false], "no write waits or fails");
        assert_eq!(levels(&budget, used(1_003)), [true; 3], "but it does not grow");
        budget.settle(used(500));
        assert_eq!(levels(&budget, used(500)), [true, false, false]);
        assert_eq!(levels(&budget, used(1_000)), [true; 3]);
        budget.settle(used(90));
        assert_eq!(levels(&budget, used(103)), [true; 3]);
    }

    #[test]
    fn the_file_is_charged_where_it_is_more() {
        let budget = budget(100 << 20, 0);
        budget.count_file(50 << 20);
        assert_eq!(budget.charged(40 << 20, 9, 0).bytes, (50 << 20) - FILE_BYTES_FREE_OF_CHARGE);
        assert_eq!(budget.charged(60 << 20, 9, 0), amount(60 << 20, 9));
        let exact = Budget { exact: true, ..self::budget(100, 0) };
        exact.count_file(50 << 20);
        assert_eq!(exact.charged(1_000, 10, 0), amount(410, 10));
    }
}
