//! The same requests among ever more items.

use std::fs;

use crate::chart::{Line, Panel, Picture, short};
use crate::load::{Figures, fill, measure as load};
use crate::{Wishes, folder};

/// Keys that are in the memory tier after the first moments.
const HOT: u64 = 10_000;

/// Name, whether the memory tier is off (`-m 0`), and the load; `KEYS` stands for all of them, `HOT` for the first.
const LOADS: [(&str, bool, &str); 4] = [
    ("GET, 10,000 hot keys", false, "--mix 1:0 --keys HOT"),
    ("SET, one in flight", false, "--mix 0:1 --keys KEYS"),
    ("SET, 50 pipelined", false, "--mix 0:1 --keys KEYS --pipeline 50"),
    ("GET, any key, -m 0", true, "--mix 1:0 --keys KEYS"),
];

pub(crate) fn measure(wishes: &Wishes) -> Result<Picture, String> {
    println!("50 connections, values of 100 B; the default -m 64 unless it says otherwise\n");
    println!("| items | file B/item | load | requests/s | p99 ms | CPU us |");
    println!("| --: | --: | --- | --: | --: | --: |");
    let counts = wishes.item_counts();
    let mut figures: [Vec<(f64, Figures)>; 4] = Default::default();
    let mut bytes = Vec::new();
    for &count in &counts {
        let folder = folder()?;
        let shape = |load: &str| {
            let hot = count.min(HOT).to_string();
            load.replace("KEYS", &count.to_string()).replace("HOT", &hot)
        };
        let daemon = wishes.daemon(folder.path(), "")?;
        let database = daemon.database.clone();
        fill(&daemon, &shape("--keys KEYS"))?;
        daemon.stop()?;
        let length = fs::metadata(&database).map_err(|error| error.to_string())?.len();
        let each = length as f64 / count as f64;
        bytes.push((count as f64, each));
        for is_off in [false, true] {
            let daemon = wishes.daemon(folder.path(), if is_off { "-m 0" } else { "" })?;
            for (index, (name, _, words)) in
                LOADS.iter().enumerate().filter(|(_, (_, off, _))| *off == is_off)
            {
                let found = load(wishes, &daemon, &shape(words))?;
                println!("| {} | {each:.0} | {name} | {} |", short(count as f64), found.cells());
                figures[index].push((count as f64, found));
            }
            daemon.stop()?;
        }
    }
    let lines = |of: fn(&Figures) -> Option<f64>| {
        let pairs = LOADS.iter().zip(&figures);
        pairs.map(|((name, ..), points)| Line::of(name, points, of)).collect()
    };
    Ok(Picture {
        title: "Items of 100 B, 50 connections",
        axis: "items",
        ticks: counts.iter().map(|&count| (count as f64, short(count as f64))).collect(),
        panels: vec![
            Panel::new("Requests", "1/s", lines(|it| Some(it.rate))),
            Panel::new("p99", "ms", lines(|it| it.p99_ms)),
            Panel::new("Processor time of the daemon", "us a request", lines(|it| it.cpu_us)),
            Panel::from_nought(
                "File",
                "B an item",
                vec![Line { name: "the file after the fill", points: bytes }],
            ),
        ],
    })
}
