//! The run at a full budget: a sample a second, a line a minute, a picture, a verdict.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::chart::{Panel, draw};
use crate::daemon::{Daemon, Observer};
use crate::traffic::{Tally, Traffic, VALUE_BYTES_MEAN};
use crate::{Arguments, folder, millis};

const MIB: u64 = 1 << 20;

/// Keys are worth so many budgets.
const KEYS_WORTH: u64 = 10;

/// The part of what can be done that is asked for.
const PACE: f64 = 0.6;

/// The greatest value, with `-I`.
const ITEM_MIB_MAX: u64 = 8;

/// Filling must come to an end.
const FILL_MAX: Duration = Duration::from_mins(10);

/// What the process may have more in the last tenth than in the tenth at the half: what an allocator
/// keeps varies with what passes, and pages of the memory tier's table are touched late.
const MEMORY_GROWTH_MAX: u64 = 8 * MIB;

/// What was seen at the end of a second.
#[derive(Debug, Clone)]
struct Sample {
    file: u64,
    wal: u64,
    memory: u64,
    requests: u64,
    gets: u64,
    hits: u64,
    refused: u64,
    waits: Histogram<u64>,
    evicted: u64,
    expired: u64,
}

pub(crate) fn measure(arguments: &Arguments) -> Result<bool, String> {
    let folder = folder(arguments)?;
    let options = format!(
        "--max-disk {}m -m {} --wal-max {}m -I {ITEM_MIB_MAX}m",
        arguments.max_disk_mib, arguments.memory_mib, arguments.wal_max_mib
    );
    let words: Vec<String> = options.split(' ').map(str::to_owned).collect();
    let mut daemon = Daemon::start(&arguments.daemon, folder.path(), &words)?;
    let keys = KEYS_WORTH * arguments.max_disk_mib * MIB / VALUE_BYTES_MEAN;
    let traffic = Traffic::new(arguments.connections, keys);
    println!("litecached {options}; {} connections, {keys} keys", arguments.connections);
    let samples = thread::scope(|scope| {
        for number in 0..arguments.connections {
            let (traffic, address) = (&traffic, daemon.address);
            thread::Builder::new()
                .name(format!("client-{number}"))
                .spawn_scoped(scope, move || traffic.drive(number, address))
                .map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        let samples = observe(arguments, &mut daemon, &traffic);
        traffic.end();
        samples
    })?;
    println!("{}", table(&samples));
    if let Some(path) = &arguments.chart {
        let title = format!("litecached {options}");
        let picture = draw(&title, &panels(arguments, &samples));
        std::fs::write(path, picture).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(judge(arguments, &samples, &traffic.wrong()))
}

fn observe(
    arguments: &Arguments,
    daemon: &mut Daemon,
    traffic: &Traffic,
) -> Result<Vec<Sample>, String> {
    let mut observer = Observer::connect(daemon.address)?;
    let began = Instant::now();
    while observer.stats()?.get("evictions") == Some(&0) {
        thread::sleep(Duration::from_millis(100));
        daemon.lives()?;
        if began.elapsed() > FILL_MAX || !traffic.wrong().is_empty() {
            return Err(format!("filling it: {:?}; {}", traffic.wrong(), daemon.log()));
        }
    }
    println!("full after {:.1} s", began.elapsed().as_secs_f64());
    let pace = if let Some(pace) = arguments.pace {
        pace
    } else {
        let seconds = arguments.seconds.min(100) as f64 / 10.0;
        traffic.take();
        thread::sleep(Duration::from_secs_f64(seconds));
        let all = traffic.take().requests as f64 / seconds;
        println!("{all:.0} requests a second are possible");
        all * PACE
    };
    println!("{pace:.0} requests a second");
    traffic.set_pace(pace);
    // The first second at this pace is nobody's.
    thread::sleep(Duration::from_secs(1));
    traffic.take();
    let mut before = observer.stats()?;
    let mut samples = Vec::new();
    let began = Instant::now();
    for second in 1..=arguments.seconds {
        let due = began + Duration::from_secs(second);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        daemon.lives()?;
        let stats = observer.stats()?;
        let (file, wal) = daemon.files();
        let Tally { requests, gets, hits, refused, waits } = traffic.take();
        let more = |name: &str| counted(&stats, name) - counted(&before, name);
        let expired = more("items:1:reclaimed") + more("items:1:crawler_reclaimed");
        samples.push(Sample {
            memory: daemon.memory("VmRSS")?,
            evicted: more("evictions"),
            expired,
            file,
            wal,
            requests,
            gets,
            hits,
            refused,
            waits,
        });
        before = stats;
    }
    Ok(samples)
}

fn counted(stats: &HashMap<String, u64>, name: &str) -> u64 {
    stats.get(name).copied().unwrap_or(0)
}

/// A line for each minute.
fn table(samples: &[Sample]) -> String {
    let mut text = String::from(
        "| minute | file MiB | WAL MiB | memory MiB | requests/s | hits | evicted/s | expired/s | p50 ms | p99 ms | max ms |\n\
         | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    for (minute, some) in samples.chunks(60).enumerate() {
        let most = |figure: fn(&Sample) -> u64| some.iter().map(figure).max().unwrap_or(0);
        let sum = |figure: fn(&Sample) -> u64| some.iter().map(figure).sum::<u64>();
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        let rate = |count: u64| count as f64 / some.len() as f64;
        let mut waits = some[0].waits.clone();
        for sample in &some[1..] {
            waits.add(&sample.waits).expect("all have the same shape");
        }
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.3} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} |",
            minute + 1,
            mib(most(|sample| sample.file)),
            mib(most(|sample| sample.wal)),
            mib(most(|sample| sample.memory)),
            rate(sum(|sample| sample.requests)),
            sum(|sample| sample.hits) as f64 / sum(|sample| sample.gets).max(1) as f64,
            rate(sum(|sample| sample.evicted)),
            rate(sum(|sample| sample.expired)),
            millis(waits.value_at_quantile(0.5)),
            millis(waits.value_at_quantile(0.99)),
            millis(waits.max()),
        )
        .expect("a string takes any text");
    }
    text
}

fn panels(arguments: &Arguments, samples: &[Sample]) -> Vec<Panel<'static>> {
    let values = |figure: &dyn Fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<f64>>();
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let file_max = mib(file_bytes_max(arguments));
    let plain = |title, unit, values| Panel { title, unit, values, bound: None, top: 0.0 };
    vec![
        Panel {
            bound: Some((file_max, "max-disk and its slack")),
            ..plain("File", "MiB", values(&|sample| mib(sample.file)))
        },
        Panel {
            bound: Some((arguments.wal_max_mib as f64, "wal-max")),
            ..plain("Write-ahead log", "MiB", values(&|sample| mib(sample.wal)))
        },
        plain("Resident memory", "MiB", values(&|sample| mib(sample.memory))),
        plain(
            "p99 of small requests",
            "ms",
            values(&|sample| millis(sample.waits.value_at_quantile(0.99))),
        ),
        Panel {
            top: 1.0,
            ..plain(
                "Hits of gets",
                "share",
                values(&|sample| sample.hits as f64 / sample.gets.max(1) as f64),
            )
        },
        plain("Evicted items", "1/s", values(&|sample| sample.evicted as f64)),
        plain("Expired items removed", "1/s", values(&|sample| sample.expired as f64)),
    ]
}

/// README, "Size": the budget and a 64th of it, at least 1 MiB.
fn file_bytes_max(arguments: &Arguments) -> u64 {
    let budget = arguments.max_disk_mib * MIB;
    budget + (budget / 64).clamp(MIB, 256 * MIB)
}

/// Whether all is as it is promised; says what is not.
fn judge(arguments: &Arguments, samples: &[Sample], wrong: &[String]) -> bool {
    let most = |figure: fn(&Sample) -> u64| samples.iter().map(figure).max().unwrap_or(0);
    let tenth = samples.len().div_ceil(10);
    let mean = |some: &[Sample]| {
        some.iter().map(|sample| sample.memory).sum::<u64>() / some.len().max(1) as u64
    };
    let (half, last) = (samples.len() / 2, samples.len() - tenth);
    let half = mean(&samples[half..(half + tenth).min(samples.len())]);
    let growth = mean(&samples[last..]).saturating_sub(half);
    let refused = samples.iter().map(|sample| sample.refused).sum::<u64>();
    let at_most = |what: &str, found: u64, bound: u64| {
        let holds = found <= bound;
        println!("{what}: {found}, at most {bound}: {}", if holds { "holds" } else { "FAILS" });
        holds
    };
    let verdicts = [
        at_most("bytes of the file", most(|sample| sample.file), file_bytes_max(arguments)),
        // And one transaction, which is a piece of a value, or a batch.
        at_most("bytes of the WAL", most(|sample| sample.wal), (arguments.wal_max_mib + 8) * MIB),
        at_most("bytes of memory more in the second half", growth, MEMORY_GROWTH_MAX),
        at_most("values refused", refused, 0),
        at_most("wrong answers", wrong.len() as u64, 0),
    ];
    wrong.iter().for_each(|what| println!("  {what}"));
    verdicts.into_iter().all(|holds| holds)
}
