//! What the command line asks for, judged: a plan exists only if it can be followed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::client::json_argument;
use crate::cli::import::switch;
use crate::cli::wire::{ADDRESS_FORMS, Address, Terms, address_argument, terms_arguments};
use crate::cli::{Exit, Failure};
use crate::config::units::{self, Size};
use crate::limits::{
    BENCH_BUFFER_BYTES_MAX, BENCH_CONNECTIONS_MAX, BENCH_DEPTH_MAX, BENCH_KEYS_MAX,
    BENCH_KEYS_PER_GET_MAX, BENCH_RATE_MAX, BENCH_REQUESTS_MAX, BENCH_ROUNDS_MAX,
    BENCH_SECONDS_MAX, THREADS_MAX,
};

use super::keys::{Distribution, Mix, Names};
use super::process;
use super::requests::Protocol;
use super::sizes::Sizes;
use super::trace::Trace;
use super::work::Matter;

/// How long a run measures unless it is told.
const SPAN_DEFAULT: Duration = Duration::from_secs(10);

/// Rounds where two servers take turns.
const ROUNDS_DEFAULT: u64 = 5;

/// A server under load.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) protocol: Protocol,
    /// Whose processor time counts.
    pub(super) pid: Option<u32>,
}

/// How long the measured time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Time(Duration),
    Requests(u64),
    /// All of a trace, once.
    Trace,
}

/// The shape of the load.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) matter: Matter,
    pub(super) connections: usize,
    pub(super) threads: usize,
    pub(super) depth: usize,
    pub(super) keys_per_get: usize,
    pub(super) ttl: u32,
    /// Requests a second; none is as fast as they are answered.
    pub(super) rate: Option<u32>,
    pub(super) span: Span,
    pub(super) warm_up: Duration,
    pub(super) set_on_miss: bool,
    pub(super) seed: u64,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// One, or two that take turns.
    pub(super) targets: Vec<Target>,
    pub(super) terms: Terms,
    pub(super) load: Load,
    pub(super) fill: bool,
    pub(super) rounds: usize,
    pub(super) json: bool,
    pub(super) plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  litecached bench --fill                              10 gets to a set, on 127.0.0.1:60000
  litecached bench cache:11211 --mix 1:0 --pipeline 50 --threads 2
  litecached bench --fill --vs :11211 --plot latency.svg
  litecached bench --fill --rate 20000 --duration 60s  open loop: latency since a request was due
  litecached bench --trace requests.txt                lines 'key size': get, and set upon a miss
  litecached bench --vs :6379 --vs-protocol redis --mix 0:1

A value testifies for its key and length, and each answer is judged. Exit codes: 0; 1 when an answer
was wrong, an error or never came; 64 for a wrong command line; 69 when no server is there, or it
speaks something else; 74 when a connection was lost; 130 when Ctrl-C ended it, with the results so
far.";

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn number(name: &'static str, most: u64, help: &'static str) -> Arg {
    let range: RangedU64ValueParser<u64> = value_parser!(u64).range(1..=most);
    text(name, "NUM", help).value_parser(range)
}

/// Its arguments and its help.
pub(super) fn command() -> Command {
    let protocol = |name: &'static str, help: &'static str| {
        text(name, "NAME", help).value_parser(Protocol::NAMES).hide_possible_values(true)
    };
    let pid = |name: &'static str, help: &'static str| {
        text(name, "PID", help).value_parser(value_parser!(u32).range(1..))
    };
    Command::new("bench")
        .about("Load a memcached-protocol server, and measure how it answers")
        .arg(address_argument())
        .arg(Arg::new("server").value_name("ADDRESS").help(format!("The server: {ADDRESS_FORMS}")))
        .arg(
            protocol("protocol", "classic, meta, binary; redis to compare")
                .short('B')
                .default_value("classic"),
        )
        .args(terms_arguments())
        .next_help_heading("Load")
        .arg(
            number("connections", BENCH_CONNECTIONS_MAX, "Connections of all threads together")
                .short('c')
                .default_value("50"),
        )
        .arg(number("threads", THREADS_MAX as u64, "Threads").short('t').default_value("1"))
        .arg(
            number("pipeline", BENCH_DEPTH_MAX, "Requests that a connection sends at once")
                .short('P')
                .default_value("1"),
        )
        .arg(text("mix", "GETS:SETS", "Gets and sets, by chance").default_value("10:1"))
        .arg(number("keys-per-get", BENCH_KEYS_PER_GET_MAX, "Keys of each get").default_value("1"))
        .arg(
            number(
                "rate",
                BENCH_RATE_MAX,
                "Requests a second; latency counts from when they are due",
            )
            .short('r'),
        )
        .next_help_heading("Keys and values")
        .arg(
            number("keys", BENCH_KEYS_MAX, "How many keys there are")
                .short('k')
                .default_value("100000"),
        )
        .arg(text("prefix", "TEXT", "How keys begin; ten digits follow").default_value("bench:"))
        .arg(
            text("distribution", "NAME", "uniform, zipf[:EXPONENT] or sequential")
                .short('d')
                .default_value("uniform"),
        )
        .arg(
            text("size", "SIZES", "Bytes: 100, 50..2000, or by weight 100:70,1k:30")
                .short('s')
                .default_value("100"),
        )
        .arg(text("ttl", "TIME", "How long values live").default_value("0"))
        .arg(switch("fill", "Store every key first"))
        .arg(switch("set-on-miss", "Store a key that a get has missed"))
        .arg(
            text("trace", "FILE", "Ask for what its lines 'key size' say, and set upon a miss")
                .value_parser(value_parser!(PathBuf))
                .value_hint(clap::ValueHint::FilePath)
                .conflicts_with_all(["keys", "prefix", "distribution", "size", "mix"]),
        )
        .arg(
            text("seed", "NUM", "For every choice")
                .value_parser(value_parser!(u64))
                .default_value("1"),
        )
        .next_help_heading("Measurement")
        .arg(text("duration", "TIME", "How long to measure [default: 10s, or the trace once]"))
        .arg(
            number("requests", BENCH_REQUESTS_MAX, "Measure so many requests")
                .short('n')
                .conflicts_with("duration"),
        )
        .arg(text(
            "warm-up",
            "TIME",
            "Load before that [default: 1s; 0 with --requests or a trace]",
        ))
        .arg(number(
            "rounds",
            BENCH_ROUNDS_MAX,
            "Measure so often; medians [default: 1; 5 with --vs]",
        ))
        .arg(text("vs", "ADDRESS", "Take turns with this server, and say the ratios"))
        .arg(
            protocol("vs-protocol", "What that one speaks [default: that of --protocol]")
                .requires("vs"),
        )
        .arg(pid("pid", "The server's process [default: found where it is local]"))
        .arg(pid("vs-pid", "That of the other").requires("vs"))
        .next_help_heading("Results")
        .arg(json_argument())
        .arg(
            text("plot", "FILE", "Draw the percentiles of latency, as SVG")
                .value_parser(value_parser!(PathBuf))
                .value_hint(clap::ValueHint::FilePath),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("No progress"),
        )
        .after_help(EXAMPLES)
}

impl Plan {
    pub(super) fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        let terms = Terms::from_flags(flags)?;
        if terms.has_tls() {
            let what = "bench does not speak TLS; measure an address with notls: before it";
            return Err(Failure::new(Exit::Usage, what));
        }
        let targets = targets(flags)?;
        let speaks_text =
            |target: &Target| matches!(target.protocol, Protocol::Classic | Protocol::Meta);
        if flags.contains_id("user") && !targets.iter().all(speaks_text) {
            let what = "--user logs in over the text protocol; use --protocol classic or meta";
            return Err(usage(what));
        }
        let load = Load::from_flags(flags)?;
        let rounds = number_of(flags, "rounds").unwrap_or(if targets.len() > 1 {
            ROUNDS_DEFAULT
        } else {
            1
        });
        Ok(Self {
            targets,
            terms,
            load,
            fill: flags.get_flag("fill"),
            rounds: usize::try_from(rounds).expect("there are few"),
            json: flags.get_flag("json"),
            plot: flags.get_one::<PathBuf>("plot").cloned(),
        })
    }
}

fn targets(flags: &ArgMatches) -> Result<Vec<Target>, Failure> {
    let protocol =
        |name: &str| flags.get_one::<String>(name).and_then(|name| Protocol::named(name));
    let positional = flags.get_one::<String>("server").map(String::as_str);
    let target = |address: Address, protocol, pid: &str| {
        let pid = flags.get_one::<u32>(pid).copied().or_else(|| process::listening_at(&address));
        Target { address, protocol, pid }
    };
    let own = protocol("protocol").unwrap_or(Protocol::Classic);
    let mut all = vec![target(Address::choose(flags, positional)?, own, "pid")];
    if let Some(other) = flags.get_one::<String>("vs") {
        let protocol = protocol("vs-protocol").unwrap_or(own);
        all.push(target(Address::parse(other)?, protocol, "vs-pid"));
    }
    for pid in ["pid", "vs-pid"].iter().filter_map(|name| flags.get_one::<u32>(name)) {
        process::cpu_of(*pid).map_err(|why| {
            usage(format!("there is no process {pid} whose time could be read: {why}; see --pid"))
        })?;
    }
    Ok(all)
}

impl Load {
    fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        let count = |name| {
            let number = number_of(flags, name).unwrap_or(1);
            usize::try_from(number).expect("its range fits")
        };
        let trace = flags.get_one::<PathBuf>("trace");
        let matter = match trace {
            Some(path) => Matter::Traced(Trace::read(path)?),
            None => numbered(flags)?,
        };
        let (connections, threads) = (count("connections"), count("threads"));
        if threads > connections {
            let what = format!(
                "{threads} threads have nothing to do with {connections} connections; give as many --connections at least"
            );
            return Err(usage(what));
        }
        let span = match (time_of(flags, "duration")?, number_of(flags, "requests")) {
            (Some(time), _) => Span::Time(time),
            (None, Some(requests)) => Span::Requests(requests),
            (None, None) if trace.is_some() => Span::Trace,
            (None, None) => Span::Time(SPAN_DEFAULT),
        };
        if span == Span::Time(Duration::ZERO) {
            return Err(usage("--duration 0 measures nothing; write 500ms, 10s or 1m"));
        }
        let warm_up = match (time_of(flags, "warm-up")?, span) {
            (Some(_), Span::Trace) => {
                return Err(usage(
                    "a trace that is played once has no warm-up; give --duration, too",
                ));
            }
            (Some(time), _) => time,
            (None, Span::Time(time)) => Duration::from_secs(1).min(time / 5),
            (None, _) => Duration::ZERO,
        };
        let load = Self {
            connections,
            threads,
            depth: count("pipeline"),
            keys_per_get: count("keys-per-get"),
            ttl: ttl(flags)?,
            rate: number_of(flags, "rate").map(|rate| u32::try_from(rate).expect("its range fits")),
            span,
            warm_up,
            set_on_miss: flags.get_flag("set-on-miss") || trace.is_some(),
            seed: flags.get_one::<u64>("seed").copied().unwrap_or(1),
            matter,
        };
        load.fits_into_memory()?;
        Ok(load)
    }

    /// Requests are built in memory, as many as may be in flight.
    fn fits_into_memory(&self) -> Result<(), Failure> {
        if !self.matter.asks_for_sets() && !self.set_on_miss {
            return Ok(());
        }
        let in_flight = (self.connections * self.depth) as u64;
        let bytes = in_flight * u64::from(self.matter.most_bytes());
        if bytes > BENCH_BUFFER_BYTES_MAX {
            return Err(usage(format!(
                "{in_flight} sets in flight of {} bytes need more memory than the {} they may have; give less \
                 --connections, --pipeline or --size",
                self.matter.most_bytes(),
                Size(BENCH_BUFFER_BYTES_MAX)
            )));
        }
        Ok(())
    }
}

fn numbered(flags: &ArgMatches) -> Result<Matter, Failure> {
    let text = |name| flags.get_one::<String>(name).map_or("", String::as_str);
    let wrong = |name: &'static str| move |why: String| usage(format!("--{name} {why}"));
    let prefix = text("prefix").as_bytes().to_vec();
    let is_sayable = prefix.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii());
    if prefix.len() > Names::PREFIX_BYTES_MAX || !is_sayable {
        let what = format!(
            "--prefix is no beginning of a key; give up to {} bytes without spaces",
            Names::PREFIX_BYTES_MAX
        );
        return Err(usage(what));
    }
    let keys = number_of(flags, "keys").unwrap_or(1);
    Ok(Matter::Numbered {
        names: Names::Numbered(prefix),
        keys: u32::try_from(keys).expect("its range fits"),
        distribution: Distribution::parse(text("distribution")).map_err(wrong("distribution"))?,
        mix: Mix::parse(text("mix")).map_err(wrong("mix"))?,
        sizes: Sizes::parse(text("size")).map_err(wrong("size"))?,
    })
}

/// What a server takes as seconds from now.
fn ttl(flags: &ArgMatches) -> Result<u32, Failure> {
    const MONTH: u64 = 30 * 24 * 60 * 60;
    let text = flags.get_one::<String>("ttl").map_or("0", String::as_str);
    let seconds = units::seconds(text).filter(|&seconds| seconds <= MONTH);
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| {
        usage(format!("--ttl {text} is no time that a value may live; write 60, 10m or up to 30d"))
    })
}

fn number_of(flags: &ArgMatches, name: &str) -> Option<u64> {
    flags.get_one::<u64>(name).copied()
}

fn time_of(flags: &ArgMatches, name: &str) -> Result<Option<Duration>, Failure> {
    let Some(text) = flags.get_one::<String>(name) else { return Ok(None) };
    let time = match text.strip_suffix("ms") {
        Some(digits) => units::number(digits).map(Duration::from_millis),
        None => units::seconds(text).map(Duration::from_secs),
    };
    let most = Duration::from_secs(BENCH_SECONDS_MAX);
    time.filter(|&time| time <= most).map(Some).ok_or_else(|| {
        usage(format!("--{name} {text} is no time; write 500ms, 10s or 5m, up to 1d"))
    })
}

pub(super) fn usage(what: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> Result<Plan, String> {
        let words = ["bench"].into_iter().chain(words.split_ascii_whitespace());
        let flags = command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        Plan::from_flags(&flags).map_err(|failure| failure.message)
    }

    #[test]
    fn what_nobody_says() {
        let plan = plan(":1").expect("a plan");
        assert_eq!(plan.targets[0].address.to_string(), "127.0.0.1:1");
        assert_eq!((plan.rounds, plan.load.connections, plan.load.depth), (1, 50, 1));
        assert_eq!(plan.load.span, Span::Time(Duration::from_secs(10)));
        assert_eq!(plan.load.warm_up, Duration::from_secs(1));
        assert_eq!(plan.load.matter.keys(), 100_000);
    }

    #[test]
    fn what_follows_from_what_is_said() {
        let with = |words: &str| plan(words).expect(words);
        assert_eq!(with(":1 --vs :2").rounds, 5);
        assert_eq!(with(":1 --vs :2 --vs-protocol redis").targets[1].protocol, Protocol::Redis);
        assert_eq!(with(":1 -B meta --vs :2").targets[1].protocol, Protocol::Meta);
        assert_eq!(with(":1 -n 7").load.span, Span::Requests(7));
        assert_eq!(with(":1 -n 7").load.warm_up, Duration::ZERO);
        assert_eq!(with(":1 --duration 500ms").load.warm_up, Duration::from_millis(100));
        assert_eq!(with(":1 --ttl 10m").load.ttl, 600);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("-c 0", "--connections"),
            ("-c 10001", "--connections"),
            ("-c 2 -t 3", "3 threads have nothing to do with 2 connections"),
            ("-P 0", "--pipeline"),
            ("--mix 1", "--mix '1' is no mix"),
            ("--size 1..x", "--size 'x' is no size"),
            ("--distribution zipf:x", "--distribution 'zipf:x' has no exponent"),
            ("--duration 0", "--duration 0 measures nothing"),
            ("--duration 2d", "--duration 2d is no time"),
            ("--duration 5s -n 5", "cannot be used with"),
            ("--ttl 31d", "--ttl 31d is no time"),
            ("--prefix a\u{7f}b", "--prefix is no beginning"),
            ("--rate 0", "--rate"),
            ("--protocol http", "--protocol"),
            ("--vs-protocol redis", "--vs <ADDRESS>"),
            ("--vs :x", "':x' is no address"),
            ("--trace t --size 5", "cannot be used with"),
            ("--pid 4294967295", "there is no process"),
            ("--size 64m -c 100", "100 sets in flight of 67108864 bytes need more memory"),
        ];
        for (words, expected) in cases {
            let found = plan(&format!(":1 {words}")).expect_err(words);
            assert!(found.contains(expected), "{words}: {found}");
        }
        plan(":1 --size 64m -c 100 --mix 1:0").expect("gets need no room");
    }
}
