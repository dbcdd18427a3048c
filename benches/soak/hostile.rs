//! Small requests at a steady pace beside clients that mean no good, thousands of each kind: silent ones,
//! those that dribble, that never read, that flood, that come and go. What waits, and what each costs.
//!
//! The hostile ones have the lowest priority that the system gives, so that it is the daemon's time they take and
//! not that of the clients which are measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::daemon::{Daemon, Observer, connect};
use crate::large::{Waits, beside, elsewhere};
use crate::{Arguments, folder, millis};

/// p99 beside hostile clients, as many times that without them.
const TIMES_MAX: f64 = 2.0;

/// Places for those that are measured, and those that look.
const PLACES: usize = 50;

/// Requests that one that floods sends at once.
const BURST: usize = 64;

/// The value that is asked for and not taken.
const UNTAKEN_BYTES: usize = 200_000;

/// How often those that dribble send a byte.
const DRIBBLE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Say something once, and then a byte a second.
    Dribble { what: &'static str, begins: &'static [u8], goes_on: &'static [u8] },
    /// Ask and never read.
    Deaf { what: &'static str, asks: &'static [u8] },
    /// Send so much at once, again and again, and read the answers.
    Flood { what: &'static str, asks: &'static [u8] },
    /// Connect, say this, and vanish.
    Vanish,
    /// Connect while all places are taken.
    TooMany,
}

const KINDS: [Kind; 9] = [
    Kind::Dribble { what: "silent", begins: b"", goes_on: b"" },
    Kind::Dribble { what: "half a line", begins: b"get k", goes_on: b"k" },
    Kind::Dribble { what: "half a value", begins: b"set k 0 0 100000\r\nk", goes_on: b"k" },
    Kind::Dribble { what: "half a frame", begins: b"\x80\x01\0", goes_on: b"" },
    Kind::Deaf { what: "never read", asks: b"get untaken\r\n" },
    Kind::Flood { what: "flood of gets", asks: b"get small-1\r\n" },
    Kind::Flood { what: "flood of sets", asks: b"set flood 0 0 5\r\nflood\r\n" },
    Kind::Vanish,
    Kind::TooMany,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Dribble { what, .. } | Self::Deaf { what, .. } | Self::Flood { what, .. } => what,
            Self::Vanish => "connect and vanish",
            Self::TooMany => "beyond -c",
        }
    }
}

pub(crate) fn measure(arguments: &Arguments) -> Result<bool, String> {
    let folder = folder(arguments)?;
    let count = arguments.hostile;
    let places = count + PLACES;
    let (name, options) = if arguments.peer {
        ("memcached", format!("-m 1024 -t 2 -c {places}"))
    } else {
        ("litecached", format!("-t 2 -m {} --max-disk 1g -c {places}", arguments.memory_mib))
    };
    let words: Vec<String> = options.split(' ').map(str::to_owned).collect();
    let mut daemon = if arguments.peer {
        Daemon::start_memcached(folder.path(), &words)?
    } else {
        Daemon::start(&arguments.daemon, folder.path(), &words)?
    };
    println!("{name} {options}; {count} hostile clients of each kind\n");
    println!(
        "| beside | get p50 | p99 | alone | times | set p50 | p99 | alone | times (ms) | KiB each | \
         processor, % | done |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
    store_untaken(daemon.address)?;
    let seconds = Duration::from_secs(arguments.alone_seconds);
    let mut worst: f64 = 0.0;
    for kind in KINDS.into_iter().filter(|kind| kind.name().contains(&arguments.only)) {
        let (alone, _) = quiet(&daemon, seconds)?;
        let before = daemon.memory("VmRSS")?;
        let attack = Attack { address: daemon.address, kind, count, done: AtomicU64::new(0) };
        let ends = AtomicBool::new(false);
        let ready = AtomicBool::new(false);
        let (with, percent, memory) = thread::scope(|scope| {
            let attacker = scope.spawn(|| elsewhere(|| attack.run(&ready, &ends)));
            while !ready.load(Ordering::Relaxed) && !attacker.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            attack.done.store(0, Ordering::Relaxed);
            let measured = quiet(&daemon, seconds);
            let memory = daemon.memory("VmRSS");
            ends.store(true, Ordering::Relaxed);
            attacker.join().map_err(|_| "a hostile client panicked".to_owned())??;
            let (with, percent) = measured?;
            Ok::<_, String>((with, percent, memory?))
        })?;
        let times = [(&with.gets, &alone.gets), (&with.sets, &alone.sets)].map(|(with, alone)| {
            with.value_at_quantile(0.99) as f64 / alone.value_at_quantile(0.99) as f64
        });
        worst = times.into_iter().fold(worst, f64::max);
        let [gets, sets] =
            [(&with.gets, &alone.gets), (&with.sets, &alone.sets)].map(|(with, alone)| {
                let at = |part: f64| millis(with.value_at_quantile(part));
                format!(
                    "{:.2} | {:.2} | {:.2}",
                    at(0.5),
                    at(0.99),
                    millis(alone.value_at_quantile(0.99))
                )
            });
        println!(
            "| {} | {gets} | {:.1} | {sets} | {:.1} | {:.1} | {percent:.0} | {} |",
            kind.name(),
            times[0],
            times[1],
            memory.saturating_sub(before) as f64 / count as f64 / 1024.0,
            attack.done.load(Ordering::Relaxed)
        );
        daemon.lives()?;
        await_leave(daemon.address)?;
    }
    println!("\np99 at most {worst:.1} times that alone; {TIMES_MAX} are wanted");
    Ok(arguments.quick || worst <= TIMES_MAX)
}

/// The small requests alone, for so long, and what of a core the daemon took.
fn quiet(daemon: &Daemon, seconds: Duration) -> Result<(Waits, f64), String> {
    let (began, before) = (Instant::now(), daemon.processor()?);
    let waits = beside(daemon, || {
        thread::sleep(seconds);
        Ok(())
    })?;
    let used = daemon.processor()?.saturating_sub(before);
    Ok((waits, 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64()))
}

fn store_untaken(address: SocketAddr) -> Result<(), String> {
    let mut stream = connect(address)?;
    let request = format!("set untaken 0 0 {UNTAKEN_BYTES}\r\n{}\r\n", "x".repeat(UNTAKEN_BYTES));
    let mut answer = [0; 8];
    let done = stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
    done.map_err(|error| format!("the value that is not taken: {error}"))?;
    if answer == *b"STORED\r\n" { Ok(()) } else { Err("it was not stored".to_owned()) }
}

/// Until the daemon has seen that they are gone: what comes next begins alone.
fn await_leave(address: SocketAddr) -> Result<(), String> {
    const LEAVE_MAX: Duration = Duration::from_secs(20);
    let since = Instant::now();
    loop {
        if let Ok(mut observer) = Observer::connect(address)
            && let Ok(stats) = observer.stats()
            && stats.get("curr_connections").is_some_and(|count| *count <= 3)
        {
            return Ok(());
        }
        if since.elapsed() > LEAVE_MAX {
            return Err("hostile clients that have left still have their places".to_owned());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

struct Attack {
    address: SocketAddr,
    kind: Kind,
    count: usize,
    /// Requests that were answered, or connections that were made.
    done: AtomicU64,
}

impl Attack {
    fn run(&self, ready: &AtomicBool, ends: &AtomicBool) -> Result<(), String> {
        let goes_on = || !ends.load(Ordering::Relaxed);
        match self.kind {
            Kind::Dribble { begins, goes_on: byte, .. } => {
                let mut clients = self.clients()?;
                clients.retain_mut(|client| client.write_all(begins).is_ok());
                ready.store(true, Ordering::Relaxed);
                while goes_on() {
                    let next = Instant::now() + DRIBBLE;
                    // Those that were let go come no more.
                    clients.retain_mut(|client| client.write_all(byte).is_ok());
                    while goes_on() && Instant::now() < next {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            }
            Kind::Deaf { asks, .. } => {
                let mut clients = self.clients()?;
                clients.retain_mut(|client| client.write_all(&asks.repeat(BURST)).is_ok());
                ready.store(true, Ordering::Relaxed);
                while goes_on() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            Kind::Flood { asks, .. } => self.flood(asks, ready, &goes_on)?,
            Kind::Vanish => {
                ready.store(true, Ordering::Relaxed);
                while goes_on() {
                    let Ok(mut client) = TcpStream::connect(self.address) else { continue };
                    // It may be refused at once: that is how it is meant.
                    client.write_all(b"get small-1\r\nset small-1 0 0 5\r\n").ok();
                    vanish(&client);
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Kind::TooMany => {
                // All places but those of the clients that are measured, who come first.
                ready.store(true, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(200));
                let mut clients = self.clients()?;
                clients.extend((0..PLACES).filter_map(|_| TcpStream::connect(self.address).ok()));
                while goes_on() {
                    let Ok(client) = TcpStream::connect(self.address) else { continue };
                    client.set_read_timeout(Some(Duration::from_millis(100))).ok();
                    let told = (&client).read(&mut [0; 64]).unwrap_or(0);
                    vanish(&client);
                    self.done.fetch_add(u64::from(told > 0), Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn clients(&self) -> Result<Vec<TcpStream>, String> {
        let connect = || -> std::io::Result<TcpStream> {
            let client = TcpStream::connect(self.address)?;
            client.set_nodelay(true)?;
            client.set_nonblocking(true)?;
            SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
            Ok(client)
        };
        let clients: Result<Vec<_>, _> = (0..self.count).map(|_| connect()).collect();
        clients.map_err(|error| format!("hostile clients cannot connect: {error}"))
    }

    /// Each sends when it has its answers, or when it can.
    fn flood(
        &self,
        asks: &[u8],
        ready: &AtomicBool,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let mut clients = self.clients()?;
        let (burst, mut answers) = (asks.repeat(BURST), vec![0; 256 << 10]);
        let mut sent = vec![0; clients.len()];
        ready.store(true, Ordering::Relaxed);
        while goes_on() {
            for (client, sent) in clients.iter_mut().zip(&mut sent) {
                if !goes_on() {
                    break;
                }
                match client.write(&burst[*sent..]) {
                    Ok(count) => *sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(format!("one that floods: {error}")),
                }
                if *sent == burst.len() {
                    *sent = 0;
                    self.done.fetch_add(BURST as u64, Ordering::Relaxed);
                }
                while matches!(client.read(&mut answers), Ok(count) if count == answers.len()) {}
            }
        }
        Ok(())
    }
}

fn vanish(client: &TcpStream) {
    // A socket that is gone already needs no linger.
    SockRef::from(client).set_linger(Some(Duration::ZERO)).ok();
}
