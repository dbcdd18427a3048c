//! Which rows to evict: the stalest for how often they were asked for.
//!
//! Each row carries a [`Mark`]: when it was last read, by a clock that counts what is stored, and how
//! many separate times it was read. [`choose`] is offered one stretch of the table at a time and names
//! the few with the largest age / (1 + slope x reads). Keys evicted lately leave a two-byte trace
//! ([`Ghosts`]), so that one that comes back keeps its count of reads and gains one.
//!
//! Does no I/O, asks nobody for the time or for chance: hashes come in seeded. What must stay true:
//! memory is fixed at the start, and losing all of it costs some accuracy, never correctness.

use std::cmp::Reverse;

/// Ticks of the clock in the time it takes to store one budget's worth of items. Finer does not help;
/// 64 costs 0.3 % of the misses.
pub(crate) const TICKS_PER_BUDGET: u16 = 256;

/// Reads closer together than this count once: a burst tells that a key is in use now, which its age
/// says already. Counting every read costs 2 % of the misses, and loses to LRU where bursts are many.
const TICKS_PER_READ: u32 = 16;

/// Reads that a mark can count.
const READS_MAX: u32 = 15;

const READS_BITS: u32 = 4;
const _: () = assert!(READS_MAX < 1 << READS_BITS && TICKS_PER_READ.is_power_of_two());
const TICK_MASK: u32 = u32::MAX >> READS_BITS;

/// What eviction remembers of a row: 28 bits for the tick of its last read, 4 for its reads.
///
/// The tick wraps after a million budgets; a row that old is no longer there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark(u32);

impl Mark {
    pub(crate) fn new(tick: u32, reads: u32) -> Self {
        Self(tick << READS_BITS | reads.min(READS_MAX))
    }

    /// From the row's column. Another program may have written any number there.
    pub(crate) fn from_column(bits: Option<i64>) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        Self(bits.unwrap_or_default() as u32)
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// For the row's column.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    fn tick(self) -> u32 {
        self.0 >> READS_BITS
    }

    pub(crate) fn reads(self) -> u32 {
        self.0 & READS_MAX
    }

    /// Ticks since the last read. A mark that is ahead of the clock, as another program may have written
    /// one, is new.
    pub(crate) fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.tick()) & TICK_MASK;
        if age > TICK_MASK / 2 { 0 } else { age }
    }

    /// Of two marks of one row the later one; this one where they are of one tick.
    pub(crate) fn or_later(self, other: Self, now: u32) -> Self {
        if other.age(now) < self.age(now) { other } else { self }
    }

    /// The mark after a read now.
    pub(crate) fn read(self, now: u32) -> Self {
        let separate = now / TICKS_PER_READ != self.tick() / TICKS_PER_READ;
        Self::new(now, self.reads() + u32::from(separate))
    }

    /// How little a row is worth keeping, in ticks of one that was never read.
    pub(crate) fn coldness(self, now: u32, slope: Slope) -> u64 {
        ((u64::from(self.age(now)) + 1) << 32) / (16 + slope.0 * u64::from(self.reads()))
    }
}

/// Logical time: it moves as items are stored, and stands still while there is no budget.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    tick: u32,
    /// Of the next tick, in 2^32nds.
    part: u64,
}

impl Clock {
    /// `tick` is where a former run left off, zero for a new database.
    pub(crate) fn new(tick: i64) -> Self {
        Self { tick: Mark::from_column(Some(tick)).0 & TICK_MASK, part: 0 }
    }

    /// Something was stored that takes so much of one budget or another, whichever it takes more of.
    pub(crate) fn store(&mut self, shares: [(u64, u64); 2]) {
        let ticks = shares.map(|(amount, budget)| {
            let parts = (u128::from(amount) * u128::from(TICKS_PER_BUDGET)) << 32;
            parts.checked_div(u128::from(budget)).unwrap_or(0)
        });
        let sum = u128::from(self.part) + ticks[0].max(ticks[1]);
        // An item takes half a budget at most; the mask is for budgets that shrink meanwhile.
        #[allow(clippy::cast_possible_truncation, reason = "the mask says how much")]
        let (whole, part) = ((sum >> 32) as u32, (sum & u128::from(u32::MAX)) as u64);
        self.tick = self.tick.wrapping_add(whole) & TICK_MASK;
        self.part = part;
    }

    /// For keeping across a restart; behind by a little is harmless.
    pub(crate) fn tick(self) -> u32 {
        self.tick
    }
}

/// The part of a seeded hash that finds a set: its upper half, so that the sets lie in the order of
/// the table, and a stretch of rows touches neighbours.
pub(crate) fn set_of(hash: u64, sets: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "it is less than the number of sets")]
    let set = (((hash >> 32) * sets as u64) >> 32) as usize;
    set
}

/// Keys evicted lately, two bytes each: 12 bits of the hash and the reads at eviction.
///
/// A set is a queue: what enters pushes out the oldest. One lookup in 128 of a full set finds another
/// key's trace, and a row starts with a few reads too many.
#[derive(Debug)]
pub(crate) struct Ghosts {
    /// 0 is nobody's.
    traces: Vec<u16>,
    /// Sets in use: as many ghosts as rows, or up to four times. Who was evicted long ago is no better than
    /// a newcomer: with a hundred ghosts a row, 4 % more misses.
    sets: usize,
}

const GHOST_WAYS: usize = 16;

impl Ghosts {
    pub(crate) fn new(entries: usize) -> Self {
        Self { traces: vec![0; entries.div_ceil(GHOST_WAYS) * GHOST_WAYS], sets: 1 }
    }

    fn set(&mut self, hash: u64) -> (&mut [u16], u16) {
        let at = set_of(hash, self.sets) * GHOST_WAYS;
        let end = (at + GHOST_WAYS).min(self.traces.len());
        // The lowest three bits are the same for all keys.
        #[allow(clippy::cast_possible_truncation, reason = "twelve bits are kept")]
        let tag = (hash >> 3) as u16 & (u16::MAX >> READS_BITS) | 1;
        (&mut self.traces[at..end], tag)
    }

    /// The table has so many rows. What moves to another set by that is forgotten, so it does not follow
    /// every change.
    pub(crate) fn fit(&mut self, rows: u64) {
        let most = (self.traces.len() / GHOST_WAYS).max(1);
        let wanted = usize::try_from(rows).unwrap_or(most).div_ceil(GHOST_WAYS);
        let wanted = wanted.checked_next_power_of_two().unwrap_or(most).clamp(1, most);
        if wanted > self.sets || 2 * wanted < self.sets {
            self.sets = wanted;
        }
    }

    /// A key was evicted.
    pub(crate) fn put(&mut self, hash: u64, reads: u32) {
        let (set, tag) = self.set(hash);
        let Some(last) = set.len().checked_sub(1) else { return };
        let free = set.iter().position(|&trace| trace == 0).unwrap_or(last);
        set[..=free].rotate_right(1);
        #[allow(clippy::cast_possible_truncation, reason = "four bits")]
        let reads = reads.min(READS_MAX) as u16;
        set[0] = tag << READS_BITS | reads;
    }

    /// The reads of a key that was evicted lately; its trace is spent.
    pub(crate) fn take(&mut self, hash: u64) -> Option<u32> {
        let (set, tag) = self.set(hash);
        let at = set.iter().position(|&trace| trace >> READS_BITS == tag)?;
        let reads = u32::from(set[at]) & READS_MAX;
        set[at..].rotate_left(1);
        let last = set.len() - 1;
        set[last] = 0;
        Some(reads)
    }

    /// What a read is worth in a table of so many rows.
    pub(crate) fn slope(&self, rows: u64) -> Slope {
        let rows = rows.max(1);
        Slope(16 + 32 * (self.traces.len() as u64).min(rows) / rows)
    }
}

/// What a read is worth, in sixteenths of the first age: 3 where every row could have a ghost, down
/// to 1 without ghosts. Who favours the often read must give newcomers a second chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slope(u64);

impl Slope {
    /// Where the ghosts cover the table.
    pub(crate) const FULL: Self = Self(48);

    /// What an age is divided by.
    pub(crate) fn shared_by(self, reads: u32) -> f64 {
        (16.0 + f64::from(u32::try_from(self.0).unwrap_or(0)) * f64::from(reads)) / 16.0
    }
}

/// Places in `stretch` of the rows to evict, the worst first: one in `share`, and at least one.
pub(crate) fn choose(stretch: &[Mark], now: u32, slope: Slope, share: usize) -> Vec<usize> {
    let coldness = |mark: &Mark| Reverse(mark.coldness(now, slope));
    let mut order: Vec<(Reverse<u64>, usize)> =
        stretch.iter().map(coldness).enumerate().map(|(at, cold)| (cold, at)).collect();
    let few = (stretch.len() / share).max(1).min(order.len());
    if few < order.len() {
        order.select_nth_unstable(few);
        order.truncate(few);
    }
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ahead_of_the_clock_is_new() {
        assert_eq!(Mark::new(100, 0).age(90), 0);
        assert_eq!(Mark::new(TICK_MASK - 5, 0).age(4), 10, "the clock has gone round");
    }

    #[test]
    fn the_oldest_goes_first_unless_it_was_read() {
        let slope = Slope::FULL;
        let mut marks = [0, 10, 20, 30].map(|tick| Mark::new(tick, 0));
        assert_eq!(choose(&marks, 40, slope, 16), [0]);
        marks[0] = marks[0].read(16);
        assert_eq!(choose(&marks, 40, slope, 16), [1], "24 ticks and a read are less than 30");
        assert_eq!(choose(&marks, 40, slope, 2), [1, 2]);
        assert!(choose(&[], 40, slope, 16).is_empty());
    }

    #[test]
    fn a_burst_counts_as_one_read() {
        let mut mark = Mark::new(0, 0);
        for tick in 16..32 {
            mark = mark.read(tick);
        }
        assert_eq!((mark.reads(), mark.age(33)), (1, 2));
        assert_eq!((0..99).fold(mark, |mark, n| mark.read(n * 16)).reads(), READS_MAX);
    }

    #[test]
    fn a_ghost_gives_its_reads_back_once() {
        let mut ghosts = Ghosts::new(64);
        ghosts.fit(64);
        ghosts.put(0xabcd_ef80, 2);
        assert_eq!((ghosts.take(0xabcd_ef80), ghosts.take(0xabcd_ef80)), (Some(2), None));
        for n in 0..=GHOST_WAYS as u64 {
            ghosts.put(n << 4, 1);
        }
        assert_eq!(ghosts.take(0), None, "the oldest of a full set was pushed out");
        assert_eq!(ghosts.take(1 << 4), Some(1));
    }

    #[test]
    fn without_ghosts_reads_count_less() {
        let mut none = Ghosts::new(0);
        none.put(1 << 40, 3);
        assert_eq!(none.take(1 << 40), None);
        let marks = [Mark::new(20, 0), Mark::new(0, 1)];
        assert_eq!(choose(&marks, 59, none.slope(2), 16), [0], "39 against 60 / 2");
        assert_eq!(choose(&marks, 99, none.slope(2), 16), [0]);
        let marks = [Mark::new(39, 0), Mark::new(0, 1)];
        assert_eq!(choose(&marks, 59, none.slope(2), 16), [1]);
        assert_eq!(choose(&marks, 59, Slope::FULL, 16), [0]);
    }

    #[test]
    fn the_clock_keeps_fractions_and_survives_the_wrap() {
        let mut clock = Clock::new(i64::from(TICK_MASK));
        for _ in 0..1000 {
            clock.store([(1, 1000), (0, 0)]);
        }
        assert!((254..=255).contains(&clock.tick()), "{}", clock.tick());
        assert_eq!(Mark::new(TICK_MASK, 0).age(clock.tick()), clock.tick() + 1);
        let mut clock = Clock::new(0);
        clock.store([(1, 1000), (1, 2)]);
        assert_eq!(clock.tick(), 128, "the budget of items is the narrower");
        clock.store([(1, 0), (1, 0)]);
        assert_eq!(clock.tick(), 128, "none at all");
    }
}
