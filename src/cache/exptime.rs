//! When items expire. The one place that knows memcached's three readings of a number.

use crate::clock::Seconds;

/// Up to here an exptime counts from now; above it is an absolute Unix time (memcached:
/// `REALTIME_MAXDELTA`, 30 days).
const RELATIVE_SECONDS_MAX: i64 = 60 * 60 * 24 * 30;

/// An expiry as it was asked for. A server's clients have it cut to 32 bits and signed, as in memcached,
/// by the protocol; who works on the file may say any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Exptime(pub i64);

impl Exptime {
    /// What it means at `now`: 0 never, negative at once, up to 30 days from now, above that Unix
    /// time.
    pub fn deadline(self, now: Seconds) -> Deadline {
        match self.0 {
            0 => Deadline::NEVER,
            negative if negative < 0 => Deadline::PAST,
            relative if relative <= RELATIVE_SECONDS_MAX => {
                Deadline(now.0.saturating_add(relative).max(1))
            }
            absolute => Deadline(absolute),
        }
    }
}

/// The Unix second at which an item is gone, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadline(i64);

impl Deadline {
    /// The item stays until something removes it.
    pub const NEVER: Self = Self(0);
    /// The item is gone already.
    pub const PAST: Self = Self(1);

    /// From the number in the database: 0 is never.
    pub fn from_unix(unix: i64) -> Self {
        Self(unix.max(0))
    }

    /// The number for the database: 0 is never.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// Seconds until then, at least 0; `None` if it never comes.
    pub fn seconds_left(self, now: Seconds) -> Option<u64> {
        (self != Self::NEVER).then(|| u64::try_from(self.0 - now.0).unwrap_or(0))
    }

    /// Whether it has passed: an item with exptime e is gone when the clock shows e.
    pub fn is_past(self, now: Seconds) -> bool {
        self.0 != 0 && self.0 <= now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_an_exptime() {
        let now = Seconds(1_800_000_000);
        for (exptime, unix, past) in [
            (0, 0, false),
            (1, 1_800_000_001, false),
            (2_592_000, 1_802_592_000, false),
            (2_592_001, 2_592_001, true),
            (1_800_000_000, 1_800_000_000, true),
            (1_800_000_001, 1_800_000_001, false),
            (2_147_483_647, 2_147_483_647, false),
            (i64::MAX, i64::MAX, false),
            (-1, 1, true),
            (i64::MIN, 1, true),
        ] {
            let deadline = Exptime(exptime).deadline(now);
            assert_eq!((deadline.unix(), deadline.is_past(now)), (unix, past), "{exptime}");
        }
    }

    #[test]
    fn gone_in_the_second_it_names() {
        let deadline = Exptime(60).deadline(Seconds(100));
        assert!(!deadline.is_past(Seconds(159)));
        assert!(deadline.is_past(Seconds(160)));
    }
}
