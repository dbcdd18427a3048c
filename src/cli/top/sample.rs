//! What a server said at one time: the reports of `stats`, read into figures by their names.
//!
//! Every server says `stats`; ours says `stats storage` and `stats latency`, too. What a server sends is
//! bounded and made harmless here, so that nothing behind this needs to ask who wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::wire::{Connection, Trouble};
use crate::clock::Stamp;
use crate::logging::OneLine;
use crate::protocol::reply::{Piece, Shape};

/// Lines of a report that are kept. Ours has 95; a dump of prefixes may have 4,096.
const LINES_MAX: usize = 5_000;

/// Bytes of a name or value that are kept.
const TEXT_BYTES_MAX: usize = 256;

/// The greatest figure that is taken for one: all 64 bits of a counter.
const NUMBER_MAX: f64 = 18_446_744_073_709_551_616.0;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Stamp,
    /// How long `stats` took, there and back.
    pub(super) round_trip: Duration,
    /// Names and values of `stats`, `stats storage` and a little of `stats settings`.
    pub(super) figures: BTreeMap<String, String>,
    pub(super) latencies: Vec<Latency>,
    /// None where they are not counted.
    pub(super) prefixes: Option<Vec<Prefix>>,
}

/// How long one kind of command took since the server's start, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latency {
    pub(super) kind: String,
    pub(super) count: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) longest: f64,
}

/// Counts of one beginning of keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prefix {
    pub(super) name: String,
    pub(super) gets: f64,
    pub(super) hits: f64,
    pub(super) sets: f64,
    pub(super) deletes: f64,
}

impl Prefix {
    pub(super) fn all(&self) -> f64 {
        self.gets + self.sets + self.deletes
    }
}

impl Sample {
    /// Asks for it.
    pub(super) fn take(connection: &mut Connection) -> Result<Self, Trouble> {
        let begun = Stamp::now();
        let lines = report(connection, b"stats\r\n")?;
        let mut sample = Self::new(&lines, begun, begun.elapsed());
        if sample.figures.is_empty() {
            let answer = lines.first().map_or("nothing", String::as_str);
            return Err(connection.strange(format!("{answer} to stats").as_bytes()));
        }
        let settings = pairs(&report(connection, b"stats settings\r\n")?);
        for name in ["items_max", "detail_enabled"] {
            if let Some(value) = settings.get(name) {
                sample.figures.insert(name.into(), value.clone());
            }
        }
        if sample.text("version").is_some_and(|version| version.contains("litecached")) {
            sample.figures.extend(pairs(&report(connection, b"stats storage\r\n")?));
            sample.latencies = latencies(&pairs(&report(connection, b"stats latency\r\n")?));
        }
        if sample.text("detail_enabled") == Some("yes") {
            sample.prefixes = Some(prefixes(&report(connection, b"stats detail dump\r\n")?));
        }
        Ok(sample)
    }

    /// From the lines of `stats`.
    pub(super) fn new(lines: &[String], at: Stamp, round_trip: Duration) -> Self {
        Self { at, round_trip, figures: pairs(lines), latencies: Vec::new(), prefixes: None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.figures.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        number(self.text(name)?)
    }

    /// The sum of those that the server tells; none if it tells none of them.
    pub(super) fn sum(&self, names: &[&str]) -> Option<f64> {
        let told = names.iter().filter_map(|name| self.number(name));
        told.fold(None, |sum, number| Some(sum.unwrap_or(0.0) + number))
    }
}

/// A figure that a server can have: of others come sums and rates that nobody can show.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number| (0.0..=NUMBER_MAX).contains(number))
}

/// The lines of an answer, without its `END`; an error is no line.
fn report(connection: &mut Connection, request: &[u8]) -> Result<Vec<String>, Trouble> {
    connection.write(request)?;
    let mut lines = Vec::new();
    connection.reply(Shape::Lines, |piece| {
        if let Piece::Line(line) = piece
            && line != b"END"
            && lines.len() < LINES_MAX
        {
            lines.push(shown(&line[..line.len().min(2 * TEXT_BYTES_MAX)]));
        }
        Ok(())
    })?;
    Ok(lines)
}

/// A line as it may stand on a screen. Of key prefixes that are no text no two become the same one.
fn shown(line: &[u8]) -> String {
    match str::from_utf8(line) {
        Ok(text) => OneLine(text).to_string(),
        Err(_) => line.escape_ascii().to_string(),
    }
}

fn pairs(lines: &[String]) -> BTreeMap<String, String> {
    let words = lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `get:p50_us` and its like; kinds in the order of their counts.
fn latencies(figures: &BTreeMap<String, String>) -> Vec<Latency> {
    let part = |kind: &str, part: &str| number(figures.get(&format!("{kind}:{part}"))?);
    let kinds = figures.keys().filter_map(|name| name.strip_suffix(":count"));
    let mut rows: Vec<Latency> = kinds
        .filter_map(|kind| {
            let seconds = |name| part(kind, name).map(|micros| micros / 1e6);
            Some(Latency {
                kind: kind.to_owned(),
                count: part(kind, "count").filter(|&count| count > 0.0)?,
                p50: seconds("p50_us")?,
                p99: seconds("p99_us")?,
                p999: seconds("p999_us")?,
                longest: seconds("max_us")?,
            })
        })
        .collect();
    rows.sort_by(|one, other| other.count.total_cmp(&one.count));
    rows
}

/// Lines `PREFIX user get 1 hit 1 set 1 del 0`, the greatest first.
fn prefixes(lines: &[String]) -> Vec<Prefix> {
    let mut rows: Vec<Prefix> = lines
        .iter()
        .filter_map(|line| {
            let mut words = line.strip_prefix("PREFIX ")?.rsplitn(9, ' ');
            let mut counted = |name: &str| {
                let count = number(words.next()?)?;
                (words.next()? == name).then_some(count)
            };
            let (deletes, sets) = (counted("del")?, counted("set")?);
            let (hits, gets) = (counted("hit")?, counted("get")?);
            Some(Prefix { name: words.next()?.to_owned(), gets, hits, sets, deletes })
        })
        .collect();
    rows.sort_by(|one, other| other.all().total_cmp(&one.all()).then(one.name.cmp(&other.name)));
    rows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sample with these figures, taken so many seconds after `start`.
    pub(in crate::cli::top) fn sample(
        start: Stamp,
        seconds: u64,
        figures: &[(&str, u64)],
    ) -> Sample {
        let lines: Vec<String> =
            figures.iter().map(|(name, value)| format!("STAT {name} {value}")).collect();
        let round_trip = Duration::from_micros(250);
        Sample::new(&lines, start.after(Duration::from_secs(seconds)), round_trip)
    }

    #[test]
    fn reports_are_read() {
        let lines = [
            "STAT get:count 5",
            "STAT get:p50_us 1.5",
            "STAT get:p99_us 2",
            "STAT get:p999_us 3",
            "STAT get:max_us 1000000.0",
            "STAT set:count 0",
            "STAT set:p50_us 0",
            "ERROR",
        ];
        let read = latencies(&pairs(&lines.map(str::to_owned)));
        let expected = Latency {
            kind: "get".into(),
            count: 5.0,
            p50: 1.5e-6,
            p99: 2e-6,
            p999: 3e-6,
            longest: 1.0,
        };
        assert_eq!(read, [expected]);

        let lines = [
            "PREFIX a get 1 hit 1 set 0 del 0",
            "PREFIX  get 4 hit 3 set 2 del 1",
            "PREFIX b get 1 hit",
            "PREFIX b get NaN hit 1 set 1e308 del 0",
            "PREFIX b\\u{1b} get 2 hit 0 set 0 del 0",
            "OK",
        ];
        let read = prefixes(&lines.map(str::to_owned));
        let names: Vec<_> = read.iter().map(|row| (row.name.as_str(), row.all())).collect();
        assert_eq!(names, [("", 7.0), ("b\\u{1b}", 2.0), ("a", 1.0)]);
    }

    #[test]
    fn what_is_no_text_is_shown_as_its_bytes() {
        let lines = [&b"PREFIX \xff get 1"[..], b"PREFIX \xfe get 1", b"a\x1b[2J", "é".as_bytes()];
        let expected = ["PREFIX \\xff get 1", "PREFIX \\xfe get 1", "a\\u{1b}[2J", "é"];
        assert_eq!(lines.map(shown), expected);
    }

    #[test]
    fn what_is_not_told_is_none() {
        let sample = sample(Stamp::now(), 0, &[("a", 1), ("b", 2)]);
        assert_eq!(sample.sum(&["a", "b", "c"]), Some(3.0));
        assert_eq!((sample.sum(&["c"]), sample.number("c")), (None, None));
        assert_eq!(
            ["7", "0.5", "18446744073709551615", "-1", "1e300", "inf", "NaN", "x"].map(number),
            [Some(7.0), Some(0.5), Some(NUMBER_MAX), None, None, None, None, None]
        );
    }
}
