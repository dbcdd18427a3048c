//! An open loop: when each request is due, whatever became of those before.
//!
//! A loop that sends the next request only after the last answer falls silent while the server stalls, and
//! then sees one slow request where its users would have seen hundreds ("coordinated omission"). Here a
//! request that is late to be sent has its latency counted from when it was due. Pure: time is an argument.

/// Nanoseconds since the run began.
pub(super) type Moment = u64;

const SECOND: f64 = 1e9;

/// One thread's requests, at even distances.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    nanos_apart: f64,
    offset: f64,
    sent: u64,
}

impl Pace {
    /// `share` of `of` threads that send `per_second` together, in turns.
    #[allow(clippy::cast_precision_loss, reason = "there are few threads")]
    pub(super) fn new(per_second: u32, share: usize, of: usize) -> Self {
        let together = SECOND / f64::from(per_second);
        Self { nanos_apart: together * of as f64, offset: together * share as f64, sent: 0 }
    }

    /// When the next request is due.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "2^53 ns are a hundred days, and it is never negative"
    )]
    pub(super) fn next(&self) -> Moment {
        (self.offset + self.nanos_apart * self.sent as f64) as Moment
    }

    /// The next request, if it is due: the moment from which its latency counts.
    pub(super) fn take(&mut self, now: Moment) -> Option<Moment> {
        let due = self.next();
        if due > now {
            return None;
        }
        self.sent += 1;
        Some(due)
    }

    /// Requests that are due before `end` and were not sent.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "as in next"
    )]
    pub(super) fn left_until(&self, end: Moment) -> u64 {
        let due = ((end as f64 - self.offset) / self.nanos_apart).ceil().max(0.0) as u64;
        due.saturating_sub(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn threads_take_turns() {
        let mut due = Vec::new();
        for share in 0..3 {
            let mut pace = Pace::new(1_000, share, 3);
            while let Some(moment) = pace.take(9 * MS - 1) {
                due.push(moment);
            }
        }
        due.sort_unstable();
        assert_eq!(due, (0..9).map(|n| n * MS).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_taken_before_it_is_due() {
        let mut pace = Pace::new(1_000, 1, 2);
        assert_eq!(pace.take(MS - 1), None);
        assert_eq!(pace.take(MS), Some(MS));
        assert_eq!(pace.next(), 3 * MS);
        assert_eq!(pace.left_until(7 * MS), 2);
        assert_eq!(pace.left_until(7 * MS + 1), 3);
    }

    /// A server that answers each request after 1 ms, but nothing between 100 and 1,100 ms; one connection.
    #[test]
    fn a_stall_is_felt_by_every_request_that_was_due_in_it() {
        let mut pace = Pace::new(100, 0, 1);
        let mut now = 0;
        let mut latencies = Vec::new();
        while latencies.len() < 200 {
            now = now.max(pace.next());
            let due = pace.take(now).expect("it is due");
            let is_stalled = (100 * MS..1_100 * MS).contains(&now);
            now = if is_stalled { 1_100 * MS } else { now } + MS;
            latencies.push(now - due);
        }
        // Those before and long after it do not feel it.
        assert!(latencies[..10].iter().all(|&latency| latency == MS));
        assert!(latencies[130..].iter().all(|&latency| latency == MS));
        // The first waits for all of it, each further one 10 ms less, and 1 ms longer for those before it.
        for (later, latency) in latencies[10..100].iter().enumerate() {
            assert_eq!(*latency, 1_001 * MS - later as u64 * 9 * MS, "{later}");
        }
        let slow = latencies.iter().filter(|&&latency| latency > 10 * MS).count();
        assert!(slow >= 100, "a closed loop would have seen one; here {slow}");
    }
}
