//! `litecached bench`: a load for any memcached-protocol server, and how it was answered.
//!
//! Split along the road: `options` judges the command line, `work` says what to ask (`keys`, `sizes`,
//! `trace`), `requests` and `replies` know the protocols, `connection` judges answers, `drive` is one
//! thread, `pace` when what is due, `run` one run, and the rest tells what came of it.
//!
//! Every answer is judged: a fast server that answers wrongly has failed. Refuses to follow a server
//! that goes away; a run ends there, with what was measured until then.

mod connection;
mod document;
mod drive;
mod figures;
mod keys;
mod options;
mod pace;
mod plot;
mod process;
mod replies;
mod report;
mod requests;
mod run;
mod sizes;
mod tally;
mod trace;
mod value;
mod work;

use std::io::Write;
use std::path::Path;

use clap::{ArgMatches, Command};
use indicatif::ProgressBar;

use crate::cli::import::progress::progress_bar;
use crate::cli::interrupt::Interrupt;
use crate::cli::whole::Whole;
use crate::cli::wire;
use crate::cli::{Exit, Failure, print};

use figures::Kind;
use options::{Plan, Target};
use plot::Curve;
use report::Series;
use requests::Protocol;
use run::{Phase, Round, run as run_once};
use tally::Tally;

/// Its arguments and its help.
pub(crate) fn command() -> Command {
    options::command()
}

/// Runs it.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let plan = Plan::from_flags(flags)?;
    // Now, so that a slip in its name is told before the work.
    let picture = plan.plot.as_deref().map(begin_picture).transpose()?;
    let interrupt = Interrupt::watch()?;
    run::allow_descriptors(plan.load.connections)?;
    let mut all = Vec::new();
    for target in &plan.targets {
        all.push(Series { target, version: version(&plan, target)?, rounds: Vec::new() });
    }
    if !plan.json {
        print(&report::heading(&plan, &all))?;
    }
    let shows_progress = !flags.get_flag("quiet");
    if plan.fill {
        for target in &plan.targets {
            let bar = bar(shows_progress, &format!("filling {}", target.address));
            let filled = run_once(&plan, target, Phase::Fill, &interrupt, &bar)?;
            bar.finish_and_clear();
            judge_fill(&plan, target, filled)?;
        }
    }
    let ended = measure(&plan, &mut all, &interrupt, shows_progress)?;
    let is_empty = all.iter().flat_map(|it| &it.rounds).all(|round| round.tally.requests() == 0);
    let results = if plan.json {
        document::document(&plan, &all)
    } else if is_empty && ended.is_some() {
        String::new()
    } else {
        report::results(&plan, &all)
    };
    print(&results)?;
    if let Some((file, path)) = picture {
        draw(&plan, &all, file, path)?;
    }
    if let Some(failure) = ended {
        return Err(failure);
    }
    if all.iter().all(Series::is_clean) {
        return Ok(());
    }
    let sum = |of: fn(&Tally) -> u64| {
        all.iter().flat_map(|it| &it.rounds).map(|round| of(&round.tally)).sum::<u64>()
    };
    let what = format!(
        "{} wrong answers, {} errors, {} requests without an answer; see above what was answered",
        sum(|it| it.wrong),
        sum(|it| it.errors),
        sum(|it| it.unanswered)
    );
    Err(Failure::new(Exit::No, what))
}

/// All rounds, in which two servers take turns to be the first. Says why it ended early, if so.
fn measure(
    plan: &Plan,
    all: &mut [Series<'_>],
    interrupt: &Interrupt,
    shows_progress: bool,
) -> Result<Option<Failure>, Failure> {
    let count = all.len();
    for round in 0..plan.rounds {
        for turn in 0..count {
            let index = (round + turn) % count;
            if plan.rounds > 1 || plan.fill {
                run::settle(&plan.targets, interrupt);
            }
            let series = &mut all[index];
            let bar =
                bar(shows_progress, &format!("{} round {}", series.target.address, round + 1));
            // The servers of a round are asked for the same.
            let seed = plan.load.seed.wrapping_add(round as u64 * 1_000_003);
            let mut done = run_once(plan, series.target, Phase::Measure { seed }, interrupt, &bar)?;
            bar.finish_and_clear();
            let end = done.end.take();
            // What ends it is told by the run's end, and in the document of this round.
            done.end = end.as_ref().map(|end| Failure::new(end.exit, end.message.clone()));
            series.rounds.push(done);
            if end.is_some() {
                return Ok(end);
            }
        }
    }
    Ok(None)
}

/// What it calls itself, where it speaks text; or that it speaks something else.
fn version(plan: &Plan, target: &Target) -> Result<Option<String>, Failure> {
    if !matches!(target.protocol, Protocol::Classic | Protocol::Meta) {
        return Ok(None);
    }
    let mut connection = wire::Connection::open(&target.address, &plan.terms)?;
    connection.write(b"version\r\n")?;
    let line = connection.line()?;
    if let Some(version) = line.strip_prefix(b"VERSION ") {
        return Ok(Some(version.escape_ascii().to_string()));
    }
    let trouble = connection.strange(&line);
    let what = format!("{trouble}; see --protocol, and what listens there");
    Err(Failure::new(Exit::Unavailable, what))
}

/// A server that is not filled would be measured as something else than was asked for.
fn judge_fill(plan: &Plan, target: &Target, filled: Round) -> Result<(), Failure> {
    if let Some(end) = filled.end {
        return Err(end);
    }
    let tally = filled.tally;
    let Some((words, _)) = tally.complaints.first() else { return Ok(()) };
    let what = format!(
        "{} refused {} of {} keys: {words}; give less --keys or --size, or the server more room",
        target.address,
        tally.errors,
        plan.load.matter.keys(),
    );
    Err(Failure::new(Exit::No, what))
}

fn bar(is_shown: bool, what: &str) -> ProgressBar {
    if !is_shown {
        return ProgressBar::hidden();
    }
    progress_bar(Some(1), "{prefix} {wide_bar} {msg}").with_prefix(what.to_owned())
}

fn begin_picture(path: &Path) -> Result<(Whole, &Path), Failure> {
    let file = Whole::create(path).map_err(|error| {
        let what = format!("cannot write {}: {error}; see --plot", path.display());
        Failure::new(Exit::CannotCreate, what)
    })?;
    Ok((file, path))
}

fn draw(plan: &Plan, all: &[Series<'_>], mut file: Whole, path: &Path) -> Result<(), Failure> {
    let mut curves = Vec::new();
    for (server, series) in all.iter().enumerate() {
        let mut sum = Tally::new();
        series.rounds.iter().for_each(|round| sum.add(&round.tally));
        for (kind, nanos) in [(Kind::Get, sum.get_nanos), (Kind::Set, sum.set_nanos)] {
            let name = format!("{} {}", series.target.address, kind.name());
            curves.push(Curve { name, nanos, server, is_dashed: kind == Kind::Set });
        }
    }
    let from = if plan.load.rate.is_some() { "due" } else { "sent" };
    let rounds = if plan.rounds > 1 { " of all rounds" } else { "" };
    let title = format!("Latency{rounds}, from when a request was {from} to its answer");
    let svg = plot::svg(&title, &report::shape(plan), &curves);
    file.write_all(svg.as_bytes()).and_then(|()| file.finish()).map_err(|error| {
        let what = format!("writing {} failed: {error}; see --plot", path.display());
        Failure::new(Exit::Io, what)
    })
}
