//! The same requests for ever larger values.

use crate::chart::{Line, Panel, Picture};
use crate::load::{Figures, fill, measure as load};
use crate::{Wishes, folder};

/// Bytes and their names.
const SIZES: [(u64, &str); 5] = [
    (100, "100 B"),
    (1 << 10, "1 KiB"),
    (10 << 10, "10 KiB"),
    (100 << 10, "100 KiB"),
    (1 << 20, "1 MiB"),
];

/// All values of a size together: half of the default memory tier.
const BYTES: u64 = 32 << 20;

/// Name, whether the memory tier is off (`-m 0`), mix.
const LOADS: [(&str, bool, &str); 3] =
    [("GET", false, "--mix 1:0"), ("SET", false, "--mix 0:1"), ("GET, -m 0", true, "--mix 1:0")];

pub(crate) fn measure(wishes: &Wishes) -> Result<Picture, String> {
    println!(
        "50 connections, one in flight each; as many values as make 32 MiB, 100,000 at most\n"
    );
    println!("| value | keys | load | requests/s | p99 ms | CPU us | MB/s |");
    println!("| --: | --: | --- | --: | --: | --: | --: |");
    let mut figures: [Vec<(f64, Figures)>; 3] = Default::default();
    for (bytes, size) in SIZES {
        let folder = folder()?;
        let keys = (BYTES / bytes).min(wishes.items_max).min(100_000);
        let shape = format!("--keys {keys} --size {bytes}");
        for is_off in [false, true] {
            // With its key the largest is over the default -I.
            let options = if is_off { "-I 2m -m 0" } else { "-I 2m" };
            let daemon = wishes.daemon(folder.path(), options)?;
            if !is_off {
                fill(&daemon, &shape)?;
            }
            for (index, (name, _, mix)) in
                LOADS.iter().enumerate().filter(|(_, (_, off, _))| *off == is_off)
            {
                let found = load(wishes, &daemon, &format!("{shape} {mix}"))?;
                let megabytes = found.rate * bytes as f64 / 1e6;
                println!("| {size} | {keys} | {name} | {} | {megabytes:.0} |", found.cells());
                figures[index].push((bytes as f64, found));
            }
            daemon.stop()?;
        }
    }
    let lines = |of: fn(&Figures) -> Option<f64>| -> Vec<Line> {
        let pairs = LOADS.iter().zip(&figures);
        pairs.map(|((name, ..), points)| Line::of(name, points, of)).collect()
    };
    let mut bytes = lines(|it| Some(it.rate));
    let points = bytes.iter_mut().flat_map(|line| &mut line.points);
    points.for_each(|(size, rate)| *rate *= *size / 1e6);
    Ok(Picture {
        title: "Values by size, 50 connections, one in flight each",
        axis: "bytes of a value",
        ticks: SIZES.map(|(bytes, name)| (bytes as f64, name.to_owned())).into(),
        panels: vec![
            Panel::new("Requests", "1/s", lines(|it| Some(it.rate))),
            Panel::new("Values", "MB/s", bytes),
            Panel::new("p99", "ms", lines(|it| it.p99_ms)),
            Panel::new("Processor time of the daemon", "us a request", lines(|it| it.cpu_us)),
        ],
    })
}
