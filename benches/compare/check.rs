//! The same load by another client: memcaslap, of libmemcached's tools. Figures of clients differ; a
//! ratio of servers that only one client sees would be that client's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Wishes;
use crate::measure::Pairing;
use crate::peers::{Core, Peer, Server};
use crate::rows::Row;

const CLIENT: &str = "memcaslap";

/// Keys of 16 bytes, values of 100, nine gets to a set.
const SHAPE: &str = "key\n16 16 1\nvalue\n100 100 1\ncmd\n0 0.1\n1 0.9\n";

/// The nearest that `litecached bench` has to it.
const ROW: Row = Row {
    name: "9 GET : 1 SET",
    peer: Peer::Memcached,
    load: "--mix 9:1 --keys 50000",
    ours: "",
    seconds: None,
    floor: None,
};

/// A line that says both clients' ratios.
pub(crate) fn with_another_client(parent: &Path, wishes: &Wishes) -> Result<String, String> {
    if Command::new(CLIENT).arg("--version").output().is_err() {
        return Ok(format!("{CLIENT} is not installed: no cross-check"));
    }
    let own = Pairing::of(&ROW, wishes).run(parent)?;
    let directory = tempfile::Builder::new()
        .prefix("compare-")
        .tempdir_in(parent)
        .map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))?;
    let shape = directory.path().join("shape");
    fs::write(&shape, SHAPE).map_err(|error| format!("{}: {error}", shape.display()))?;
    let servers = [
        Peer::Litecached.start(directory.path(), "", Core::Any)?,
        Peer::Memcached.start(directory.path(), "", Core::Any)?,
    ];
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..wishes.rounds as usize {
        for turn in 0..2 {
            let index = (round + turn) % 2;
            rates[index].push(rate(&servers[index], &shape, wishes)?);
        }
    }
    let [ours, theirs] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    let ratio = own.ratio("requests_per_second").unwrap_or_default();
    let [our_own, their_own] = own.medians("requests_per_second").map(Option::unwrap_or_default);
    Ok(format!(
        "cross-check, {}: memcaslap {ours:.0} / {theirs:.0} = {:.2} requests/s of memcached's; \
         litecached bench {our_own:.0} / {their_own:.0} = {ratio:.2}",
        ROW.name,
        ours / theirs
    ))
}

/// Requests a second, by its last line: `... TPS: 71305 Net_rate: ...`.
fn rate(server: &Server, shape: &Path, wishes: &Wishes) -> Result<f64, String> {
    let seconds = format!("{:.0}s", wishes.seconds.ceil());
    let output = Command::new(CLIENT)
        .args(["-s", &server.address.to_string(), "-T", "1", "-c", "50", "-w", "1k"])
        .args(["-t", &seconds, "-F"])
        .arg(shape)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {CLIENT}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace().skip_while(|word| *word != "TPS:").skip(1);
    let rate = words.next().and_then(|word| word.parse().ok());
    rate.ok_or_else(|| format!("{CLIENT} said no TPS: {text}"))
}
