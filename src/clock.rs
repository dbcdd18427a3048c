//! Time comes in through this door: wall-clock seconds for what is stored, stamps for durations.
//!
//! Nothing else asks the system what time it is, so a test can move the seconds by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time in whole seconds: the resolution of memcached's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(pub i64);

/// Tells the time; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
    made: Stamp,
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self { manual: None, made: Stamp::now() }
    }

    /// A clock that stands at `unix` seconds until somebody moves it.
    pub fn manual(unix: i64) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(unix))), made: Stamp::now() }
    }

    /// Moves a manual clock. A system clock stays as it is.
    pub fn advance(&self, seconds: i64) {
        if let Some(manual) = &self.manual {
            manual.fetch_add(seconds, Ordering::SeqCst);
        }
    }

    /// The time of day.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now(&self) -> Seconds {
        if let Some(manual) = &self.manual {
            return Seconds(manual.load(Ordering::SeqCst));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Seconds that pass evenly, whatever becomes of the time of day: of use only for their differences. A
    /// manual clock tells the seconds it stands at.
    pub fn steady(&self) -> Seconds {
        self.steady_at(Stamp::now())
    }

    /// The same at a moment since it was made.
    pub fn steady_at(&self, moment: Stamp) -> Seconds {
        if self.manual.is_some() {
            return self.now();
        }
        Seconds(i64::try_from(moment.since(self.made).as_secs()).unwrap_or(i64::MAX))
    }

    /// The time of day in microseconds, for who tells what happened when.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn unix_micros(&self) -> i64 {
        if self.manual.is_some() {
            return self.now().0.saturating_mul(1_000_000);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

/// A moment, for measuring how long something took. Never compared with wall-clock seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(Instant);

impl Stamp {
    /// This moment.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Time since this moment.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Time from an earlier moment to this one.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The moment so much later.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0 + time)
    }

    /// Microseconds since this moment.
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
