//! What the service manager is told: that it serves, how it does, and that it moves.
//!
//! systemd's protocol (`sd_notify`). Without a `$NOTIFY_SOCKET` nothing is said and no thread runs.
//!
//! What must stay true: the watchdog is answered only for threads that have moved since its last
//! answer. A loop that has nothing to do is woken to make a pass; whoever hangs makes none, and the
//! manager ends the process when its time is over.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Stamp;
use crate::server::accept::Door;
use crate::server::connection::Address;
use crate::server::context::Context;
use crate::server::inbox::Inbox;

/// How often the state is told anew, if it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How often the watchdog is answered in the time it has. More than twice, for an answer waits for
/// the question before it.
const ANSWERS_PER_TIMEOUT: u32 = 4;

/// How long whoever finds no address holds back.
const HOLD_BACK: Duration = Duration::from_secs(2);

/// Slowest that a disk is believed to copy a file and change the copy.
const CHANGED_BYTES_PER_SECOND: u64 = 2 << 20;

/// A file of this size is copied and changed before it serves, which may take longer than a start.
pub fn changing(bytes: u64) {
    tell(&[NotifyState::ExtendTimeoutUsec(patience_us(bytes))]);
}

/// An hour and some minutes at most: more cannot be said.
fn patience_us(bytes: u64) -> u32 {
    const LEAST_SECONDS: u64 = 90;
    let seconds = LEAST_SECONDS + bytes / CHANGED_BYTES_PER_SECOND;
    u32::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(u32::MAX)
}

/// What is being done before it serves.
pub fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
}

/// Tells a manager why there is nothing to serve on, and waits a little, as it starts the daemon again
/// at once: an address does not come sooner where it is asked for ten times a second.
pub fn hold_back(why: &str) {
    if env::var_os("NOTIFY_SOCKET").is_some() {
        status(why);
        #[allow(clippy::disallowed_methods, reason = "nothing tells when an address comes")]
        std::thread::sleep(HOLD_BACK);
    }
}

/// Runs `reload`, which gives why it was refused, if it was; until it is done the unit is reloading.
pub fn reloading(reload: impl FnOnce() -> Result<(), String>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!("the monotonic clock cannot be read: {error}"),
    }
    match reload() {
        Ok(()) => tell(&[NotifyState::Ready]),
        Err(why) => tell(&[NotifyState::Ready, NotifyState::Status(&not_reloaded(&why))]),
    }
}

fn not_reloaded(why: &str) -> String {
    format!("Not reloaded: {why}")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager could not be told: {error}");
    }
}

/// Speaks for a server that serves.
#[derive(Debug)]
pub(super) struct Reporter {
    context: Arc<Context>,
    door: Arc<Door>,
    workers: Vec<Arc<Inbox>>,
    /// Where it listens, as a person is told.
    address: String,
    watchdog: Option<Duration>,
    /// What the counters of all other threads were when they were last asked.
    seen: Vec<u64>,
    told: Option<State>,
}

impl Reporter {
    /// None where there is nobody to tell.
    pub(super) fn new(
        context: Arc<Context>,
        door: Arc<Door>,
        workers: Vec<Arc<Inbox>>,
    ) -> Option<Self> {
        env::var_os("NOTIFY_SOCKET")?;
        let watchdog = sd_notify::watchdog_enabled().filter(|longest| !longest.is_zero());
        let address = place(&context.addresses);
        let (seen, told) = (Vec::new(), None);
        let mut reporter = Self { context, door, workers, address, watchdog, seen, told };
        reporter.seen = reporter.ask();
        let state = reporter.state();
        tell(&[NotifyState::Ready, NotifyState::Status(&state.told(&reporter.address))]);
        reporter.told = Some(state);
        Some(reporter)
    }

    /// Until the server stops.
    pub(super) fn run(mut self) {
        let answer_every = self.watchdog.map(|longest| longest / ANSWERS_PER_TIMEOUT);
        let turn = answer_every.unwrap_or(STATUS_EVERY).min(STATUS_EVERY);
        let (mut asked, mut told) = (Stamp::now(), Stamp::now());
        while !self.context.stops_within(turn) {
            if let Some(every) = answer_every
                && asked.elapsed() >= every
            {
                asked = Stamp::now();
                self.answer(every);
            }
            if told.elapsed() >= STATUS_EVERY {
                told = Stamp::now();
                self.tell_state();
            }
        }
    }

    /// Answers the watchdog if everybody has moved since the last answer, and asks them to move again.
    fn answer(&mut self, every: Duration) {
        let loops_move = self.workers.iter().all(|worker| worker.unanswered() < every);
        let now = self.ask();
        if loops_move && now.iter().zip(&self.seen).all(|(now, seen)| now != seen) {
            self.seen = now;
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Calls the event loops. The counters of the others: the accepting thread's, the commits' and the
    /// syncs'.
    fn ask(&self) -> Vec<u64> {
        self.workers.iter().for_each(|worker| worker.call());
        let mut counters = vec![self.door.turns()];
        counters.extend(self.context.store.steps());
        counters
    }

    fn tell_state(&mut self) {
        let state = self.state();
        if self.told.as_ref() != Some(&state) {
            tell(&[NotifyState::Status(&state.told(&self.address))]);
            self.told = Some(state);
        }
    }

    fn state(&self) -> State {
        let totals = self.context.metrics.totals();
        let gets = totals.get_hits + totals.get_misses;
        State {
            items: self.context.store.snapshot().items,
            hit_tenths: (totals.get_hits * 1_000).checked_div(gets),
            refusal: self.context.live.refusal(),
        }
    }
}

/// What `systemctl status` shows, no finer than it is shown.
#[derive(Debug, PartialEq, Eq)]
struct State {
    items: u64,
    /// Of a thousand reads, those that found something; none before the first read.
    hit_tenths: Option<u64>,
    /// Of the last reload, until one succeeds.
    refusal: Option<Arc<str>>,
}

impl State {
    fn told(&self, place: &str) -> String {
        let items = if self.items == 1 { "item" } else { "items" };
        let hits = self
            .hit_tenths
            .map_or(String::new(), |tenths| format!(", {}.{} % hits", tenths / 10, tenths % 10));
        let serving = format!("Serving {} {items}{place}{hits}", self.items);
        match &self.refusal {
            Some(why) => format!("{serving}. {}", not_reloaded(why)),
            None => serving,
        }
    }
}

/// ` on 127.0.0.1:60000 and 1 more`; nothing where it listens nowhere.
fn place(addresses: &[Address]) -> String {
    let first = match addresses.first() {
        Some(Address::Tcp(address)) => address.to_string(),
        Some(Address::Unix(path)) => path.display().to_string(),
        None => return String::new(),
    };
    match addresses.len() - 1 {
        0 => format!(" on {first}"),
        more => format!(" on {first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_gets_the_time_that_it_may_need() {
        assert_eq!(patience_us(0), 90_000_000);
        assert_eq!(patience_us(1 << 30), (90 + 512) * 1_000_000);
        assert_eq!(patience_us(u64::MAX), u32::MAX);
    }

    #[test]
    fn the_state_is_a_short_sentence() {
        let cases = [
            (0, None, "Serving 0 items on a"),
            (1, Some(1_000), "Serving 1 item on a, 100.0 % hits"),
            (2_000_000, Some(987), "Serving 2000000 items on a, 98.7 % hits"),
            (3, Some(4), "Serving 3 items on a, 0.4 % hits"),
        ];
        for (items, hit_tenths, text) in cases {
            let state = State { items, hit_tenths, refusal: None };
            assert_eq!(state.told(" on a"), text);
        }
        let refused = State { items: 1, hit_tenths: None, refusal: Some("no file; see x".into()) };
        let text = "Serving 1 item on a. Not reloaded: no file; see x";
        assert_eq!(refused.told(" on a"), text);
        let tcp = Address::Tcp(([127, 0, 0, 1], 60_000).into());
        let unix = Address::Unix("/run/a.sock".into());
        assert_eq!(place(&[]), "");
        assert_eq!(place(std::slice::from_ref(&unix)), " on /run/a.sock");
        assert_eq!(place(&[tcp, unix]), " on 127.0.0.1:60000 and 1 more");
    }
}
