//! `litecached top`: the figures of a memcached-protocol server, live in a terminal.
//!
//! Asks for `stats` as any client may, and changes nothing: what a server does not tell has no panel. A
//! thread of its own asks, so that keys are answered while a server is not. Where there is no terminal it
//! prints one snapshot and ends.
//!
//! - `sample`: what a server said at one time
//! - `trend`: what changed between two samples
//! - `shown`: numbers for people, and which of them there are
//! - `app`: what is on the screen, and what a key does to it; no I/O
//! - `draw`, `charts`: the screen, from that
//! - `terminal`: the terminal, and giving it back however it ends

mod app;
mod charts;
mod draw;
mod sample;
mod shown;
mod terminal;
mod trend;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::client::tell;
use crate::cli::interrupt::Interrupt;
use crate::cli::wire::{
    ADDRESS_FORMS, Address, Connection, Terms, Trouble, address_argument, terms_arguments,
};
use crate::cli::{Exit, Failure, print};
use crate::clock::Stamp;
use crate::config::units;

use app::{App, Asked};
use sample::Sample;
use terminal::Screen;
use trend::Trend;

/// Seconds between samples, at most.
const INTERVAL_SECONDS_MAX: u64 = 3_600;

/// How long a key, a signal or a sample may wait for another one.
const TICK: Duration = Duration::from_millis(100);

/// Samples that wait to be shown.
const SAMPLES_WAITING_MAX: usize = 2;

const KEYS: &str = "\
Keys: q quit, p pause, + and - the interval, Tab or the arrows another view, up and down scroll,
? help.
Where stdout or stdin is no terminal it prints one snapshot, as with --once.
Exit codes: 0; 69 when no server is there; 77 when it wants a login, or refused it.";

/// Its arguments and its help.
pub(crate) fn command() -> Command {
    Command::new("top")
        .about("Show what a memcached-protocol server does, live in the terminal")
        .arg(address_argument())
        .args(terms_arguments())
        .arg(Arg::new("server").value_name("ADDRESS").help(format!("The server: {ADDRESS_FORMS}")))
        .arg(
            Arg::new("interval")
                .short('i')
                .long("interval")
                .value_name("TIME")
                .default_value("1s")
                .help("Time between two looks, 1s to 1h"),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print what happens within one interval as text, and end"),
        )
        .after_help(KEYS)
}

/// Runs it.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let positional = flags.get_one::<String>("server").map(String::as_str);
    let address = Address::choose(flags, positional)?;
    let interval = interval(flags)?;
    let terms = Terms::from_flags(flags)?;
    let mut source = Source { address, terms, connection: None };
    let first = source.sample().map_err(Failure::from)?;
    let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb;
    if flags.get_flag("once") || !is_terminal {
        if !flags.get_flag("once") {
            tell("no terminal to draw on: one snapshot; --once says that this is meant");
        }
        return snapshot(&mut source, first, interval);
    }
    watch(source, first, interval)
}

fn interval(flags: &ArgMatches) -> Result<Duration, Failure> {
    let text = flags.get_one::<String>("interval").map_or("1s", String::as_str);
    let seconds =
        units::seconds(text).filter(|seconds| (1..=INTERVAL_SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--interval {text} is no time; write 1s to 1h"))
    })
}

/// Two samples, and what was between them.
fn snapshot(source: &mut Source, first: Sample, interval: Duration) -> Result<(), Failure> {
    let address = source.address.to_string();
    // Nobody sends: it is the wait, which a signal ends as it ends the process.
    let (_sender, nobody) = sync_channel::<()>(0);
    let waited = nobody.recv_timeout(interval);
    debug_assert!(waited.is_err(), "nobody sends");
    let second = source.sample().map_err(Failure::from)?;
    let mut trend = Trend::default();
    trend.add(first);
    trend.add(second);
    print(&shown::text(&address, &trend))
}

/// A server, and the connection to it while there is one.
struct Source {
    address: Address,
    terms: Terms,
    connection: Option<Connection>,
}

impl Source {
    fn sample(&mut self) -> Result<Sample, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.terms)?,
        };
        let sample = Sample::take(&mut connection)?;
        self.connection = Some(connection);
        Ok(sample)
    }
}

/// What the asking thread tells.
enum Heard {
    Sample(Box<Sample>),
    /// Nothing could be had, and why.
    Trouble(String),
}

/// Asks until nobody listens any more. `pace`: another interval, from now on.
fn ask(
    mut source: Source,
    mut interval: Duration,
    told: &SyncSender<Heard>,
    pace: &Receiver<Duration>,
) {
    loop {
        match pace.recv_timeout(interval) {
            Ok(other) => {
                interval = other;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let heard = match source.sample() {
            Ok(sample) => Heard::Sample(Box::new(sample)),
            Err(trouble) => Heard::Trouble(trouble.to_string()),
        };
        if told.send(heard).is_err() {
            return;
        }
    }
}

fn watch(source: Source, first: Sample, interval: Duration) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut app = App::new(source.address.to_string(), interval, first);
    let (told, heard) = sync_channel(SAMPLES_WAITING_MAX);
    let (pace, paced) = sync_channel(1);
    std::thread::Builder::new()
        .name("asks".into())
        .spawn(move || ask(source, interval, &told, &paced))
        .map_err(|error| {
            Failure::new(Exit::System, format!("no thread can be had: {error}; try again"))
        })?;
    let mut screen = Screen::enter().map_err(|error| unusable(&error))?;
    let mut shown_at = None::<Stamp>;
    while interrupt.exit().is_none() {
        let is_news = take_news(&heard, &mut app)?;
        let is_due = shown_at.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        let asked = screen.wait(TICK, &mut app).map_err(|error| unusable(&error))?;
        match asked {
            Some(Asked::End) => return Ok(()),
            // One that waits already is an older wish.
            Some(Asked::Pace(interval)) => drop(pace.try_send(interval)),
            Some(Asked::Suspend) => screen.suspend().map_err(|error| unusable(&error))?,
            Some(Asked::Draw) | None => {}
        }
        if is_news || is_due || asked.is_some() {
            screen.draw(&app).map_err(|error| unusable(&error))?;
            shown_at = Some(Stamp::now());
        }
    }
    drop(screen);
    let exit = interrupt.exit().unwrap_or(Exit::Interrupted);
    Err(Failure::new(exit, "ended by a signal; nothing was changed"))
}

/// Takes what was heard; whether there was something.
fn take_news(heard: &Receiver<Heard>, app: &mut App) -> Result<bool, Failure> {
    let mut is_news = false;
    loop {
        match heard.try_recv() {
            Ok(Heard::Sample(sample)) => app.add(*sample),
            Ok(Heard::Trouble(why)) => app.lose(why),
            Err(TryRecvError::Empty) => return Ok(is_news),
            Err(TryRecvError::Disconnected) => {
                return Err(Failure::new(Exit::System, "the asking thread has ended; start again"));
            }
        }
        is_news = true;
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("the terminal cannot be used: {error}; --once needs none"))
}
