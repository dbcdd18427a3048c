//! Small requests at a steady pace: alone, beside a large value that comes in, beside one that goes out,
//! and beside its removal. memcached, which keeps nothing, shows what the machine can do.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rusqlite::{Connection, OpenFlags};

use crate::daemon::{Daemon, connect};
use crate::value::Head;
use crate::{Arguments, folder, millis};

const MIB: u64 = 1 << 20;

/// Clients of small requests, and what they ask for together in a second. Half of them set and half of
/// them get, so that none of the ones waits behind one of the others.
const CLIENTS: u64 = 4;
const PACE: u64 = 2_000;

const KEYS: u64 = 10_000;
const VALUE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789\
                     012345678901234567890123456789";

/// The removal goes on after its answer.
const REMOVAL_MAX: Duration = Duration::from_mins(5);

/// p99 beside a large value, as many times that of small requests alone.
const TIMES_MAX: f64 = 3.0;

pub(crate) struct Waits {
    pub(crate) gets: Histogram<u64>,
    pub(crate) sets: Histogram<u64>,
}

impl Waits {
    fn new() -> Self {
        let new = || Histogram::new(3).expect("three digits are possible");
        Self { gets: new(), sets: new() }
    }
}

pub(crate) fn measure(arguments: &Arguments) -> Result<bool, String> {
    let folder = folder(arguments)?;
    let (name, options) = if arguments.peer {
        ("memcached", "-I 1024m -m 3072 -t 2".to_owned())
    } else {
        ("litecached", format!("-I 1g --max-disk 16g -m {}", arguments.memory_mib))
    };
    let words: Vec<String> = options.split(' ').map(str::to_owned).collect();
    let daemon = if arguments.peer {
        Daemon::start_memcached(folder.path(), &words)?
    } else {
        Daemon::start(&arguments.daemon, folder.path(), &words)?
    };
    println!(
        "{name} {options}; {CLIENTS} clients, {PACE} requests a second; a value of {} MiB\n",
        arguments.large_mib
    );
    println!(
        "| | s | get p50 | p99 | p99.9 | max | set p50 | p99 | p99.9 | max (ms) | p99 times that alone | memory, MiB more |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    let bytes = (arguments.large_mib * MIB).min((1 << 30) - 4_096);
    let head = Head { key: 1, version: 1, deadline: 0 };
    // What is measured first would pay for the table's first pages.
    beside(&daemon, || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    let mut alone = None;
    let mut worst: f64 = 0.0;
    type Step<'a> = (&'a str, Box<dyn FnOnce() -> Result<(), String> + Send + 'a>);
    let steps: [Step<'_>; 4] = [
        (
            "alone",
            Box::new(|| {
                thread::sleep(Duration::from_secs(arguments.alone_seconds));
                Ok(())
            }),
        ),
        ("upload", Box::new(|| elsewhere(|| upload(&daemon, head, bytes)))),
        ("download", Box::new(|| elsewhere(|| download(&daemon, head, bytes)))),
        (
            "removal",
            Box::new(|| {
                remove(&daemon)?;
                if arguments.peer { Ok(()) } else { await_removal(&daemon) }
            }),
        ),
    ];
    for (name, step) in steps {
        daemon.forget_peak()?;
        let before = daemon.memory("VmRSS")?;
        let began = Instant::now();
        let waits = beside(&daemon, step)?;
        let seconds = began.elapsed().as_secs_f64();
        let more = daemon.memory("VmHWM")?.saturating_sub(before);
        let p99 = [&waits.gets, &waits.sets].map(|waits| millis(waits.value_at_quantile(0.99)));
        let [get, set] = *alone.get_or_insert(p99);
        let times = [p99[0] / get, p99[1] / set];
        worst = times.into_iter().fold(worst, f64::max);
        println!(
            "| {name} | {seconds:.1} | {} | {} | {:.1}, {:.1} | {:.1} |",
            shown(&waits.gets),
            shown(&waits.sets),
            times[0],
            times[1],
            more as f64 / MIB as f64
        );
    }
    println!("\np99 at most {worst:.1} times that alone; {TIMES_MAX} are wanted");
    Ok(worst <= TIMES_MAX)
}

fn shown(waits: &Histogram<u64>) -> String {
    let at = |part: f64| millis(waits.value_at_quantile(part));
    format!("{:.2} | {:.2} | {:.2} | {:.1}", at(0.5), at(0.99), at(0.999), millis(waits.max()))
}

/// Small requests for as long as `step` takes.
pub(crate) fn beside(
    daemon: &Daemon,
    step: impl FnOnce() -> Result<(), String> + Send,
) -> Result<Waits, String> {
    let ends = AtomicBool::new(false);
    let all = Mutex::new(Waits::new());
    thread::scope(|scope| {
        let (ends, all) = (&ends, &all);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || -> Result<(), String> {
                    let waits = ask_steadily(daemon, number, ends)?;
                    let mut all = all.lock().map_err(|_| "a client panicked".to_owned())?;
                    all.gets.add(&waits.gets).expect("both have the same shape");
                    all.sets.add(&waits.sets).expect("both have the same shape");
                    Ok(())
                })
            })
            .collect();
        let done = step();
        ends.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked".to_owned())??;
        }
        done
    })?;
    all.into_inner().map_err(|_| "a client panicked".to_owned())
}

/// A request that begins late because the one before took long is counted from when it was due.
fn ask_steadily(daemon: &Daemon, number: u64, ends: &AtomicBool) -> Result<Waits, String> {
    let failed = |error: std::io::Error| format!("a small request: {error}");
    let mut stream = BufReader::new(connect(daemon.address)?);
    let mut rng = fastrand::Rng::with_seed(number);
    let mut waits = Waits::new();
    let mut due = Instant::now() + Duration::from_nanos(rng.u64(..1_000_000_000 * CLIENTS / PACE));
    let mut line = String::new();
    let is_get = number.is_multiple_of(2);
    while !ends.load(Ordering::Relaxed) {
        due += Duration::from_nanos(1_000_000_000 * CLIENTS / PACE);
        let began = match due.checked_duration_since(Instant::now()) {
            Some(early) => {
                thread::sleep(early);
                Instant::now()
            }
            None => due,
        };
        let key = rng.u64(..KEYS);
        let request = if is_get {
            format!("get small-{key}\r\n")
        } else {
            format!("set small-{key} 0 0 {}\r\n{VALUE}\r\n", VALUE.len())
        };
        stream.get_mut().write_all(request.as_bytes()).map_err(failed)?;
        loop {
            line.clear();
            if stream.read_line(&mut line).map_err(failed)? == 0 {
                return Err("the daemon closed a connection".to_owned());
            }
            match line.trim_end() {
                "END" if is_get => break,
                "STORED" if !is_get => break,
                VALUE => {}
                line if is_get && line.starts_with("VALUE small-") => {}
                line => return Err(format!("a small request was answered {line:?}")),
            }
        }
        let to = if is_get { &mut waits.gets } else { &mut waits.sets };
        let nanos = began.elapsed().as_nanos() as u64;
        to.record(nanos).expect("a histogram takes any number");
    }
    Ok(waits)
}

/// As on a machine of its own: whoever makes or looks at the large value takes no core from those that are
/// measured, as far as the system can see to it.
pub(crate) fn elsewhere(
    transfer: impl FnOnce() -> Result<(), String> + Send,
) -> Result<(), String> {
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            #[cfg(target_os = "linux")]
            rustix::process::nice(19).map_err(|error| format!("a lower priority: {error}"))?;
            transfer()
        });
        client.join().map_err(|_| "the client of the large value panicked".to_owned())?
    })
}

fn upload(daemon: &Daemon, head: Head, bytes: u64) -> Result<(), String> {
    let send = || -> std::io::Result<String> {
        let mut stream = connect(daemon.address).map_err(std::io::Error::other)?;
        write!(stream, "set large 0 0 {bytes}\r\n")?;
        head.write(bytes, &mut stream)?;
        stream.write_all(b"\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    match send() {
        Ok(line) if line == "STORED\r\n" => Ok(()),
        other => Err(format!("the upload: {other:?}")),
    }
}

fn download(daemon: &Daemon, head: Head, bytes: u64) -> Result<(), String> {
    let take = || -> std::io::Result<bool> {
        let mut stream = connect(daemon.address).map_err(std::io::Error::other)?;
        stream.write_all(b"get large\r\n")?;
        let mut stream = BufReader::new(stream);
        let (mut line, mut end) = (String::new(), [0; 7]);
        stream.read_line(&mut line)?;
        let is_it = line == format!("VALUE large 0 {bytes}\r\n")
            && Head::read(bytes, &mut stream)? == Ok(head);
        stream.read_exact(&mut end)?;
        Ok(is_it && end == *b"\r\nEND\r\n")
    };
    match take() {
        Ok(true) => Ok(()),
        other => Err(format!("the download: {other:?}")),
    }
}

fn remove(daemon: &Daemon) -> Result<(), String> {
    let mut stream = connect(daemon.address)?;
    let failed = |error: std::io::Error| format!("the removal: {error}");
    stream.write_all(b"delete large\r\n").map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    if line != "DELETED\r\n" {
        return Err(format!("the removal: {line:?}"));
    }
    Ok(())
}

/// Until nothing of it is in the file.
fn await_removal(daemon: &Daemon) -> Result<(), String> {
    let since = Instant::now();
    let left = || -> rusqlite::Result<i64> {
        let db = Connection::open_with_flags(&daemon.database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(Duration::from_secs(1))?;
        db.query_row("SELECT count(*) FROM loose", [], |row| row.get(0))
    };
    while left().map_err(|error| format!("the removal: {error}"))? > 0 {
        if since.elapsed() > REMOVAL_MAX {
            return Err("the removal does not end".to_owned());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
