//! What was counted: requests, hits, latencies, and everything that was not as it should be.
//!
//! Figures are of the measured time alone; a wrong answer or an error counts whenever it comes.

use hdrhistogram::Histogram;

use super::pace::Moment;

/// Different words of servers that are kept; a further one is counted with the last.
const COMPLAINTS_MAX: usize = 5;

/// Bytes of such words.
const COMPLAINT_BYTES_MAX: usize = 120;

/// Latencies above this, in nanoseconds, are counted as this: 1,000 s.
const LATENCY_MAX: u64 = 1_000_000_000_000;

#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Requests that were answered; a get of several keys is one.
    pub(super) gets: u64,
    pub(super) sets: u64,
    /// Keys that were there, and that were not.
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Values that are not what was stored, or not of the key that was asked for.
    pub(super) wrong: u64,
    /// Requests that the server refused.
    pub(super) errors: u64,
    /// Requests that were sent and not answered when the run had ended.
    pub(super) unanswered: u64,
    /// Requests that were due and could not be sent, as none before them was answered.
    pub(super) unsent: u64,
    pub(super) complaints: Vec<(String, u64)>,
    /// Nanoseconds from when a request was sent, or due, to its answer.
    pub(super) get_nanos: Histogram<u64>,
    pub(super) set_nanos: Histogram<u64>,
    /// When the last answer came.
    pub(super) last: Moment,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("these bounds are in order");
        Self {
            gets: 0,
            sets: 0,
            hits: 0,
            misses: 0,
            bytes_in: 0,
            bytes_out: 0,
            wrong: 0,
            errors: 0,
            unanswered: 0,
            unsent: 0,
            complaints: Vec::new(),
            get_nanos: histogram(),
            set_nanos: histogram(),
            last: 0,
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.gets + self.sets
    }

    /// Gets and sets together.
    pub(super) fn all_nanos(&self) -> Histogram<u64> {
        let mut all = self.get_nanos.clone();
        all.add(&self.set_nanos).expect("their bounds are the same");
        all
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.gets += other.gets;
        self.sets += other.sets;
        self.hits += other.hits;
        self.misses += other.misses;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.last = self.last.max(other.last);
        self.get_nanos.add(&other.get_nanos).expect("their bounds are the same");
        self.set_nanos.add(&other.set_nanos).expect("their bounds are the same");
        other.complaints.iter().for_each(|(words, count)| self.note(words.clone(), *count));
    }

    pub(super) fn latency(&mut self, is_set: bool, nanos: u64) {
        let nanos_of = if is_set { &mut self.set_nanos } else { &mut self.get_nanos };
        nanos_of.saturating_record(nanos);
    }

    /// A server said no.
    pub(super) fn refused(&mut self, words: &[u8]) {
        self.errors += 1;
        let shown = &words[..words.len().min(COMPLAINT_BYTES_MAX)];
        self.note(format!("\"{}\"", shown.escape_ascii()), 1);
    }

    /// It answered something else.
    pub(super) fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.note(what, 1);
    }

    fn note(&mut self, words: String, count: u64) {
        let is_full = self.complaints.len() >= COMPLAINTS_MAX;
        let known = self.complaints.iter_mut().find(|(known, _)| *known == words);
        match known {
            Some((_, before)) => *before += count,
            None if !is_full => self.complaints.push((words, count)),
            None => {
                let last = self.complaints.last_mut().expect("there are as many as may be");
                // Whoever reads on sees that there were others.
                if !last.0.ends_with(OTHERS) {
                    last.0.push_str(OTHERS);
                }
                last.1 += count;
            }
        }
    }

    /// Whether every answer was right.
    pub(super) fn is_clean(&self) -> bool {
        self.wrong == 0 && self.errors == 0 && self.unanswered == 0
    }
}

const OTHERS: &str = " and others";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..20 {
            tally.refused(format!("SERVER_ERROR {number}").as_bytes());
            tally.refused(b"SERVER_ERROR 0");
        }
        assert_eq!(tally.errors, 40);
        assert_eq!(tally.complaints.len(), COMPLAINTS_MAX);
        assert_eq!(tally.complaints[0], ("\"SERVER_ERROR 0\"".to_owned(), 21));
        assert_eq!(tally.complaints[4], ("\"SERVER_ERROR 4\" and others".to_owned(), 16));
        let mut sum = Tally::new();
        sum.add(&tally);
        sum.add(&tally);
        assert_eq!(sum.complaints.iter().map(|(_, count)| count).sum::<u64>(), 80);
        assert_eq!(sum.complaints.len(), COMPLAINTS_MAX);
    }
}
