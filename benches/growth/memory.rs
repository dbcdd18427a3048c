//! A database that is smaller and larger than the memory the daemon and the page cache may have.

use std::fs;

use crate::chart::{Line, Panel, Picture};
use crate::daemon::Daemon;
use crate::limit::Limit;
use crate::load::{Figures, fill, measure as load};
use crate::start::forget;
use crate::{Wishes, folder};

/// What the process may have with all that it reads and writes: room for its caches and little more.
const LIMIT: u64 = 128 << 20;
const OPTIONS: &str = "-m 16";

/// The database, as a part of that.
const PARTS: [(f64, &str); 3] = [(0.1, "0.1"), (1.0, "1"), (10.0, "10")];

/// A value, and what its row takes of the file: a page, so that it is soon filled.
const VALUE_BYTES: u64 = 1_900;
const ROW_BYTES: u64 = 2_060;

const LOADS: [(&str, &str); 3] = [
    ("GET zipf", "--mix 1:0 --distribution zipf"),
    ("GET uniform", "--mix 1:0"),
    ("SET uniform", "--mix 0:1"),
];

/// None where the machine sets no limit.
pub(crate) fn measure(wishes: &Wishes) -> Result<Option<Picture>, String> {
    let limit = match Limit::new(LIMIT) {
        Ok(limit) => limit,
        Err(why) => {
            println!("skipped: no memory limit can be set here: {why}");
            return Ok(None);
        }
    };
    println!(
        "Daemon ({OPTIONS}) and page cache have {} MiB together; 50 connections, values of {VALUE_BYTES} B\n",
        LIMIT >> 20
    );
    println!("| of the limit | items | file MiB | load | requests/s | p99 ms | CPU us |");
    println!("| --: | --: | --: | --- | --: | --: | --: |");
    let mut figures: [Vec<(f64, Figures)>; 3] = Default::default();
    for (part, name) in PARTS {
        let folder = folder()?;
        // By default that is all of them.
        let items = ((LIMIT as f64 * part) as u64 / ROW_BYTES).min(3 * wishes.items_max);
        let shape = format!("--keys {items} --size {VALUE_BYTES}");
        let daemon = wishes.daemon(folder.path(), "")?;
        let database = daemon.database.clone();
        fill(&daemon, &shape)?;
        daemon.stop()?;
        // Whoever reads it first pays for it.
        forget(&database)?;
        let length = fs::metadata(&database).map_err(|error| error.to_string())?.len();
        let words: Vec<String> = OPTIONS.split(' ').map(str::to_owned).collect();
        let daemon = Daemon::start_by(limit.command(&wishes.daemon), folder.path(), &words)?;
        // What fits is in memory then, as it is after an hour.
        load(wishes, &daemon, &format!("{shape} --mix 1:0"))?;
        for (index, (load_name, words)) in LOADS.iter().enumerate() {
            let found = load(wishes, &daemon, &format!("{shape} {words}"))?;
            println!("| {name} | {items} | {} | {load_name} | {} |", length >> 20, found.cells());
            figures[index].push((part, found));
        }
    }
    let lines = |of: fn(&Figures) -> Option<f64>| {
        LOADS.iter().zip(&figures).map(|((name, _), points)| Line::of(name, points, of)).collect()
    };
    Ok(Some(Picture {
        title: "128 MiB for the daemon and its page cache, values of 1,900 B",
        axis: "database, times the memory",
        ticks: PARTS.map(|(part, name)| (part, name.to_owned())).into(),
        panels: vec![
            Panel::new("Requests", "1/s", lines(|it| Some(it.rate))),
            Panel::new("p99", "ms", lines(|it| it.p99_ms)),
        ],
    }))
}
