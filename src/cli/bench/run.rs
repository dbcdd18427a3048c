//! One run against one server: threads with their connections, the measured time, processor time at both
//! of its ends.
//!
//! Whatever ends a run early, what was measured until then is told.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use mio::Poll;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::interrupt::Interrupt;
use crate::cli::wire;
use crate::cli::{Exit, Failure};
use crate::clock::Stamp;
use crate::limits::BENCH_FILL_BYTES_MAX;

use super::connection::{Broken, Connection, unblocked};
use super::drive::{Job, Window, drive};
use super::options::{Load, Plan, Span, Target};
use super::pace::{Moment, Pace};
use super::process;
use super::tally::Tally;
use super::work::Work;

/// Between two looks at the progress and at signals.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Sets that a connection sends at once to fill a server.
const FILL_DEPTH: u64 = 50;

/// Descriptors of the process beside its connections: a poll for each thread, files.
const DESCRIPTORS_BESIDE: u64 = 200;

/// For how long servers may go on with what the last run left them to do.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What one run came to.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) seconds: f64,
    pub(super) tally: Tally,
    /// In the measured time, where the process is known.
    pub(super) server_cpu: Option<Duration>,
    pub(super) client_cpu: Option<Duration>,
    /// Why it ended early.
    pub(super) end: Option<Failure>,
}

/// What is asked for in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Each key once, as fast as it goes.
    Fill,
    Measure {
        seed: u64,
    },
}

/// How a run is shaped, which for a fill is not the load's own.
struct Shape {
    connections: usize,
    threads: usize,
    depth: usize,
    warm_up: Duration,
    span: Option<Duration>,
}

impl Shape {
    fn of(load: &Load, phase: Phase) -> Self {
        if phase == Phase::Fill {
            let each = u64::from(load.matter.most_bytes()).max(1);
            let in_flight = BENCH_FILL_BYTES_MAX / each;
            let connections = (load.connections as u64).min(in_flight).max(1);
            let depth = (in_flight / connections).clamp(1, FILL_DEPTH);
            let connections = usize::try_from(connections).expect("it is no more than there were");
            return Self {
                connections,
                threads: load.threads.min(connections),
                depth: usize::try_from(depth).expect("it is small"),
                warm_up: Duration::ZERO,
                span: None,
            };
        }
        let span = match load.span {
            Span::Time(time) => Some(time),
            Span::Requests(_) | Span::Trace => None,
        };
        Self {
            connections: load.connections,
            threads: load.threads,
            depth: load.depth,
            warm_up: load.warm_up,
            span,
        }
    }
}

/// Runs it.
pub(super) fn run(
    plan: &Plan,
    target: &Target,
    phase: Phase,
    interrupt: &Interrupt,
    bar: &ProgressBar,
) -> Result<Round, Failure> {
    let load = &plan.load;
    let shape = Shape::of(load, phase);
    // Before the sockets, so that their descriptors are small enough for select.
    let polls = (0..shape.threads).map(|_| Poll::new().map_err(|error| system(&error)));
    let polls = polls.collect::<Result<Vec<_>, _>>()?;
    let mut shares: Vec<Vec<Connection>> = (0..shape.threads).map(|_| Vec::new()).collect();
    for index in 0..shape.connections {
        let connected = wire::Connection::open(&target.address, &plan.terms);
        let socket =
            connected.map_err(|trouble| trouble.advised("nothing was measured"))?.into_socket();
        shares[index % shape.threads].push(unblocked(socket).map_err(|error| system(&error))?);
    }

    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(Moment::MAX);
    let begin = nanos(shape.warm_up);
    let end = shape.span.map_or(Moment::MAX, |span| begin.saturating_add(nanos(span)));
    let window = Window {
        start: Stamp::now(),
        begin,
        end: AtomicU64::new(end),
        is_cut: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    };
    let place = AtomicUsize::new(0);
    let again = load.span != Span::Trace;
    let jobs = (0..shape.threads).map(|share| Job {
        window: &window,
        protocol: target.protocol,
        names: load.matter.names(),
        work: match phase {
            Phase::Fill => Work::fill(&load.matter, share, shape.threads),
            Phase::Measure { seed } => {
                Work::new(&load.matter, &place, again, seed, share, shape.threads)
            }
        },
        pace: match (phase, load.rate) {
            (Phase::Measure { .. }, Some(rate)) => Some(Pace::new(rate, share, shape.threads)),
            _ => None,
        },
        quota: match (phase, load.span) {
            (Phase::Measure { .. }, Span::Requests(all)) => {
                let of = shape.threads as u64;
                Some(all / of + u64::from((share as u64) < all % of))
            }
            _ => None,
        },
        depth: shape.depth,
        keys_per_get: load.keys_per_get,
        ttl: load.ttl,
        set_on_miss: load.set_on_miss && phase != Phase::Fill,
        patience: plan.terms.patience,
    });
    let (watched, results) = thread::scope(|scope| {
        let (alive, ended) = channel::<()>();
        let mut threads = Vec::new();
        for ((job, poll), connections) in jobs.zip(polls).zip(shares) {
            let alive = alive.clone();
            let work = move || {
                let result = drive(job, poll, connections);
                drop(alive);
                result
            };
            let name = format!("bench-{}", threads.len());
            match thread::Builder::new().name(name).spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    window.cut();
                    return Err(system(&error));
                }
            }
        }
        drop(alive);
        let mut watch = Watch { target, window: &window, first: None, last: None };
        loop {
            let pause = watch.look();
            show(bar, phase, load, &window);
            if interrupt.exit().is_some() {
                window.cut();
            }
            if ended.recv_timeout(pause.min(LOOK_EVERY)) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        watch.end();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        Ok((watch.cost(), threads.into_iter().map(join).collect::<Vec<_>>()))
    })?;

    let mut tally = Tally::new();
    let mut broken = None;
    for (part, end) in results {
        tally.add(&part);
        broken = broken.or(end);
    }
    let until = match window.end.load(Ordering::Relaxed) {
        Moment::MAX => tally.last,
        end => end,
    };
    let seconds = Duration::from_nanos(until.saturating_sub(begin)).as_secs_f64();
    let end = match (interrupt.exit(), broken) {
        (Some(exit), _) => Some(Failure::new(exit, interrupted(phase, &tally))),
        (None, Some(broken)) => Some(failure(target, plan, broken, tally.last > 0)),
        (None, None) => None,
    };
    let (server_cpu, client_cpu) = watched;
    Ok(Round { seconds, tally, server_cpu, client_cpu, end })
}

/// Processor time at both ends of the measured time.
struct Watch<'w> {
    target: &'w Target,
    window: &'w Window,
    first: Option<Times>,
    last: Option<Times>,
}

/// The server's and our own.
type Times = (Option<Duration>, Option<Duration>);

impl Watch<'_> {
    fn times(&self) -> Times {
        let of = |pid| process::cpu_of(pid).ok();
        (self.target.pid.and_then(of), of(std::process::id()))
    }

    /// Takes what is due to be taken, and says how long that is not so again.
    fn look(&mut self) -> Duration {
        let (now, end) = (self.window.now(), self.window.end.load(Ordering::Relaxed));
        if self.first.is_none() && now >= self.window.begin {
            self.first = Some(self.times());
        }
        if self.last.is_none() && now >= end {
            self.last = Some(self.times());
        }
        let next = match (&self.first, &self.last) {
            (None, _) => self.window.begin,
            (_, None) => end,
            _ => Moment::MAX,
        };
        Duration::from_nanos(next.saturating_sub(now))
    }

    fn end(&mut self) {
        if self.last.is_none() {
            self.last = Some(self.times());
        }
    }

    fn cost(&self) -> Times {
        let between = |of: fn(&Times) -> Option<Duration>| {
            let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
            Some(of(last)?.saturating_sub(of(first)?))
        };
        (between(|times| times.0), between(|times| times.1))
    }
}

fn show(bar: &ProgressBar, phase: Phase, load: &Load, window: &Window) {
    let answered = window.answered.load(Ordering::Relaxed);
    let (length, position) = match (phase, load.span) {
        (Phase::Fill, _) => (load.matter.keys(), answered),
        (_, Span::Requests(requests)) => (requests, answered),
        (_, Span::Time(time)) => {
            let all = (load.warm_up + time).as_millis();
            let passed = u128::from(window.now() / 1_000_000);
            let length = |millis: u128| u64::try_from(millis).unwrap_or(u64::MAX);
            (length(all), length(passed.min(all)))
        }
        (_, Span::Trace) => (load.matter.lines().unwrap_or(answered), answered),
    };
    bar.set_length(length);
    bar.set_position(position);
    let passed = window.now().saturating_sub(window.begin);
    if passed > 0 {
        let rate = u128::from(answered) * 1_000_000_000 / u128::from(passed);
        bar.set_message(format!("{rate} requests/s"));
    }
}

fn interrupted(phase: Phase, tally: &Tally) -> &'static str {
    match phase {
        Phase::Fill => "interrupted while keys were stored; nothing was measured",
        Phase::Measure { .. } if tally.requests() == 0 => {
            "interrupted before anything was measured"
        }
        Phase::Measure { .. } => "interrupted; what is shown was measured until then",
    }
}

fn failure(target: &Target, plan: &Plan, broken: Broken, was_answered: bool) -> Failure {
    let (address, protocol) = (&target.address, target.protocol);
    match broken {
        Broken::Lost(why) if was_answered => {
            let what = format!(
                "a connection to {address} was lost ({why}); what is shown was measured until then, \
                 see the server's log"
            );
            Failure::new(Exit::Io, what)
        }
        Broken::Lost(why) => {
            let what = format!(
                "{address} answered nothing ({why}); check that it speaks the protocol {protocol}, \
                 see --protocol"
            );
            Failure::new(Exit::Unavailable, what)
        }
        Broken::Foreign(what) => {
            let what = format!(
                "{address} sent {what}, which the protocol {protocol} has not there; check --protocol, \
                 and what listens there"
            );
            Failure::new(Exit::Unavailable, what)
        }
        Broken::Silent if !was_answered => {
            let what = format!(
                "{address} answered nothing at all for {} s; check that it speaks the protocol \
                 {protocol}, see --protocol",
                plan.terms.patience.as_secs()
            );
            Failure::new(Exit::Unavailable, what)
        }
        Broken::Silent => {
            let seconds = plan.terms.patience.as_secs();
            let what = format!("{address} answered nothing for {seconds} s; see --timeout");
            Failure::new(Exit::Io, what)
        }
    }
}

fn system(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::System,
        format!("the system refused: {error}; try less connections or threads"),
    )
}

/// Has the system allow so many connections.
pub(super) fn allow_descriptors(connections: usize) -> Result<(), Failure> {
    let wanted = connections as u64 + DESCRIPTORS_BESIDE;
    let refused = |why: &str| {
        let what = format!(
            "{connections} connections need {wanted} open files, and {why}; give less --connections, \
             or raise the limit (ulimit -n)"
        );
        Failure::new(Exit::System, what)
    };
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| refused(&error.to_string()))?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        return Err(refused(&format!("{hard} are allowed")));
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_err(|error| refused(&error.to_string()))
}

/// Waits until these servers do nothing any more (a checkpoint, a log that is written anew), so that
/// one's housekeeping is not counted against the other.
pub(super) fn settle(targets: &[Target], interrupt: &Interrupt) {
    let total = || targets.iter().filter_map(|it| process::cpu_of(it.pid?).ok()).sum::<Duration>();
    let (_alive, never) = channel::<()>();
    let begun = Stamp::now();
    let mut before = total();
    while begun.elapsed() < SETTLE_MAX && interrupt.exit().is_none() {
        // Nobody sends anything: it is a wait.
        if never.recv_timeout(2 * LOOK_EVERY).is_ok() {
            return;
        }
        let after = total();
        if after <= before + process::TICK {
            return;
        }
        before = after;
    }
}
