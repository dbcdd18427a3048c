//! The same load by ever more connections, and what each costs when it only stays.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::chart::{Line, Panel, Picture};
use crate::daemon::{Daemon, connect};
use crate::load::{Figures, fill, measure as load};
use crate::{Wishes, folder};

const COUNTS: [u64; 5] = [1, 10, 50, 200, 1_000];

/// With fewer, one of them is less than what the process varies by.
const IDLE_LEAST: u64 = 50;

/// Room for all of them at once.
const OPTIONS: &str = "-c 4096";

pub(crate) fn measure(wishes: &Wishes) -> Result<Picture, String> {
    println!(
        "10 GET : 1 SET, values of 100 B, one in flight each. Idle: each has set and got once\n"
    );
    println!("| connections | requests/s | p99 ms | CPU us | B of memory, idle |");
    println!("| --: | --: | --: | --: | --: |");
    let folder = folder()?;
    let keys = wishes.items_max.min(100_000);
    let keys = format!("--keys {keys}");
    let daemon = wishes.daemon(folder.path(), OPTIONS)?;
    fill(&daemon, &keys)?;
    let mut figures = Vec::new();
    let mut idle = Vec::new();
    for count in COUNTS {
        let found = load(wishes, &daemon, &format!("{keys} --mix 10:1 --connections {count}"))?;
        let bytes = if count < IDLE_LEAST { None } else { Some(idle_bytes(wishes, count)?) };
        let shown = bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
        println!("| {count} | {} | {shown} |", found.cells());
        figures.push((count as f64, found));
        idle.extend(bytes.map(|bytes| (count as f64, bytes)));
    }
    let line = |of: fn(&Figures) -> Option<f64>| vec![Line::of("10 GET : 1 SET", &figures, of)];
    Ok(Picture {
        title: "10 GET : 1 SET by ever more connections, values of 100 B",
        axis: "connections",
        ticks: COUNTS.map(|count| (count as f64, count.to_string())).into(),
        panels: vec![
            Panel::new("Requests", "1/s", line(|it| Some(it.rate))),
            Panel::new("p99", "ms", line(|it| it.p99_ms)),
            Panel::from_nought(
                "Processor time of the daemon",
                "us a request",
                line(|it| it.cpu_us),
            ),
            Panel::from_nought(
                "Resident memory",
                "B an idle connection",
                vec![Line { name: "idle connections", points: idle }],
            ),
        ],
    })
}

/// Resident memory that so many idle connections take, each, of a daemon that has no freed memory to give
/// them. The first pays for what is made once, and does not count.
fn idle_bytes(wishes: &Wishes, count: u64) -> Result<f64, String> {
    let folder = folder()?;
    let daemon = wishes.daemon(folder.path(), OPTIONS)?;
    let first = used(&daemon)?;
    let before = daemon.memory("VmRSS")?;
    let idle = (0..count).map(|_| used(&daemon)).collect::<Result<Vec<_>, _>>()?;
    let after = daemon.memory("VmRSS")?;
    drop((first, idle));
    Ok((after as f64 - before as f64) / count as f64)
}

/// A connection that has set and got.
fn used(daemon: &Daemon) -> Result<TcpStream, String> {
    let mut stream = connect(daemon.address)?;
    let mut lines = Vec::new();
    let asked = stream.write_all(b"set idle 0 0 4\r\nidle\r\nget idle\r\n").and_then(|()| {
        let mut answers = BufReader::new(&stream).lines();
        for _ in 0..4 {
            lines.extend(answers.next().transpose()?);
        }
        Ok(())
    });
    asked.map_err(|error| format!("a connection that is to be idle: {error}"))?;
    match lines.join(" ").as_str() {
        "STORED VALUE idle 0 4 idle END" => Ok(stream),
        other => Err(format!("a connection that is to be idle was answered {other:?}")),
    }
}
