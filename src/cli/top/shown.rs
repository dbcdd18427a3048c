//! Numbers for people, and which of them a server has: the same for the screen and for the snapshot.

use std::fmt::Write;
use std::time::Duration;

use super::trend::{Rate, Trend};

/// What stands where there is nothing to say.
const NONE: &str = "-";

/// 12, 3.50 k, 1.20 M.
pub(super) fn count(number: f64) -> String {
    if number < 999.5 {
        let is_whole = number.fract() == 0.0 || number >= 99.95;
        return if is_whole { format!("{number:.0}") } else { format!("{number:.1}") };
    }
    let (number, unit) = scaled(number, 1_000.0, &["", "k", "M", "G", "T"]);
    format!("{} {unit}", digits(number))
}

/// 512 B, 1.50 MiB.
pub(super) fn bytes(number: f64) -> String {
    match scaled(number, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"]) {
        (number, "B") => format!("{number:.0} B"),
        (number, unit) => format!("{} {unit}", digits(number)),
    }
}

/// 250 ns, 1.50 ms.
pub(super) fn seconds(number: f64) -> String {
    if number < 0.9995e-6 {
        return format!("{:.0} ns", number * 1e9);
    }
    let (number, unit) = scaled(number * 1e6, 1_000.0, &["µs", "ms", "s"]);
    format!("{} {unit}", digits(number))
}

/// 99.5 %.
pub(super) fn percent(number: f64) -> String {
    if number >= 99.95 { format!("{number:.0} %") } else { format!("{number:.1} %") }
}

/// 1,234,567.
pub(super) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 3 h 20 min.
pub(super) fn span(time: Duration) -> String {
    const PARTS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    let Some(first) = PARTS.iter().position(|(size, _)| seconds >= *size) else {
        return "0 s".into();
    };
    let (size, unit) = PARTS[first];
    match PARTS.get(first + 1) {
        Some((next, name)) if !(seconds % size / next).eq(&0) => {
            format!("{} {unit} {} {name}", seconds / size, seconds % size / next)
        }
        _ => format!("{} {unit}", seconds / size),
    }
}

fn scaled(mut number: f64, base: f64, units: &[&'static str]) -> (f64, &'static str) {
    let mut unit = 0;
    while unit + 1 < units.len() && number >= base * 0.9995 {
        number /= base;
        unit += 1;
    }
    (number, units[unit])
}

/// Three digits that count, so that a number keeps its width.
fn digits(number: f64) -> String {
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.decimals$}")
}

/// A figure with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// The most important figures, as far as the server has them.
pub(super) fn figures(trend: &Trend) -> Vec<Figure> {
    let (Some(sample), Some(point)) = (&trend.last, trend.point()) else { return Vec::new() };
    let rate = |rate, write: fn(f64) -> String| {
        let is_told = sample.sum(super::trend::RATES[rate as usize].1).is_some();
        let value = point.rate(rate).map_or(NONE.into(), |number| format!("{}/s", write(number)));
        is_told.then_some(value)
    };
    let requests = point.requests().map_or(NONE.into(), |number| format!("{}/s", count(number)));
    let rows = [
        ("Requests", Some(requests)),
        ("Hits", Some(point.hits.map_or(NONE.into(), percent))),
        ("Items", sample.number("curr_items").map(whole)),
        ("Clients", sample.number("curr_connections").map(whole)),
        ("Evicted", rate(Rate::Evicted, count)),
        ("Expired", rate(Rate::Expired, count)),
        ("In", rate(Rate::Received, bytes)),
        ("Out", rate(Rate::Sent, bytes)),
        ("CPU", point.processor.map(percent)),
        ("Answer", Some(seconds(point.round_trip))),
    ];
    rows.into_iter().filter_map(|(name, value)| Some(Figure { name, value: value? })).collect()
}

/// Something that has a limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gauge {
    pub(super) name: &'static str,
    /// 0 to 1; none where there is no limit.
    pub(super) part: Option<f64>,
    pub(super) value: String,
}

/// What has a limit. A server without a file has no log, and its items are in memory.
pub(super) fn gauges(trend: &Trend) -> Vec<Gauge> {
    let Some(sample) = &trend.last else { return Vec::new() };
    let has_file = sample.number("file_bytes").is_some();
    let gauge = |name, used, limit, write: fn(f64) -> String| {
        let used = sample.number(used)?;
        let limit = sample.number(limit).filter(|&limit| limit > 0.0);
        let part = limit.map(|limit| used / limit);
        let value = match limit {
            Some(limit) => {
                format!("{} of {}, {}", write(used), write(limit), percent(100.0 * used / limit))
            }
            None => format!("{}, no limit", write(used)),
        };
        Some(Gauge { name, part, value })
    };
    let items = if has_file { "Disk" } else { "Memory" };
    // Of the memory tier, and of nothing else, 0 is not without a limit.
    let tier = gauge("Memory", "memory_bytes", "memory_bytes_max", bytes)
        .map(|tier| if tier.part.is_none() { Gauge { value: "off".into(), ..tier } } else { tier });
    [
        gauge(items, "bytes", "limit_maxbytes", bytes),
        sample
            .number("items_max")
            .filter(|&most| most > 0.0)
            .and_then(|_| gauge("Items", "curr_items", "items_max", whole)),
        gauge("Log", "wal_bytes", "wal_bytes_max", bytes),
        tier,
        gauge("Clients", "curr_connections", "max_connections", whole),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The server's own name and how long it has been up.
pub(super) fn server(trend: &Trend) -> String {
    let Some(sample) = &trend.last else { return String::new() };
    let uptime = sample.text("uptime").and_then(|uptime| uptime.parse().ok());
    let version = sample.text("version").unwrap_or("of no version");
    match uptime {
        Some(uptime) => format!("{version}, up {}", span(Duration::from_secs(uptime))),
        None => version.to_owned(),
    }
}

/// A table's cells.
pub(super) type Row = Vec<String>;

pub(super) const LATENCY_HEAD: [&str; 6] = ["what", "count", "p50", "p99", "p99.9", "longest"];

pub(super) fn latencies(trend: &Trend) -> Vec<Row> {
    let Some(sample) = &trend.last else { return Vec::new() };
    let row = |row: &super::sample::Latency| {
        let times = [row.p50, row.p99, row.p999, row.longest].map(seconds);
        [row.kind.clone(), whole(row.count)].into_iter().chain(times).collect()
    };
    sample.latencies.iter().map(row).collect()
}

pub(super) const PREFIX_HEAD: [&str; 6] =
    ["prefix", "requests/s", "hits", "gets", "sets", "deletes"];

/// None where they are not counted.
pub(super) fn prefixes(trend: &Trend) -> Option<Vec<Row>> {
    let rows = trend.last.as_ref()?.prefixes.as_ref()?;
    let before = trend.before.as_ref().and_then(|sample| sample.prefixes.as_ref());
    let apart = match (&trend.before, &trend.last) {
        (Some(before), Some(last)) => last.at.since(before.at).as_secs_f64(),
        _ => 0.0,
    };
    let row = |row: &super::sample::Prefix| {
        let old = before.and_then(|rows| rows.iter().find(|old| old.name == row.name));
        let grown =
            old.map(|old| row.all() - old.all()).filter(|&grown| grown >= 0.0 && apart > 0.0);
        let rate = grown.map_or(NONE.into(), |grown| count(grown / apart));
        let hits = if row.gets > 0.0 { percent(100.0 * row.hits / row.gets) } else { NONE.into() };
        let name = if row.name.is_empty() { "(empty)".into() } else { row.name.clone() };
        vec![name, rate, hits, whole(row.gets), whole(row.sets), whole(row.deletes)]
    };
    // As many as anybody scrolls through; looking for each among the old ones takes its time.
    Some(rows.iter().take(200).map(row).collect())
}

/// The snapshot.
pub(super) fn text(address: &str, trend: &Trend) -> String {
    let mut text = format!("{address}  {}\n\n", server(trend));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<12} {value}").expect("a String takes everything");
    };
    for Figure { name, value } in figures(trend) {
        line(name, &value);
        if name == "Requests"
            && let Some(point) = trend.point()
        {
            for (rate, kind) in
                Rate::REQUESTS.iter().zip(["get", "set", "delete", "incr, decr", "touch"])
            {
                if let Some(number) = point.rate(*rate) {
                    line(&format!("  {kind}"), &format!("{}/s", count(number)));
                }
            }
        }
    }
    for Gauge { name, value, .. } in gauges(trend) {
        line(&format!("{name} used"), &value);
    }
    let mut table = |head: [&str; 6], rows: Vec<Row>| {
        if rows.is_empty() {
            return;
        }
        let rows: Vec<Row> = std::iter::once(head.map(str::to_owned).into()).chain(rows).collect();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        text.push('\n');
        for row in &rows {
            let mut cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}"));
            let first = cells.next().map(|_| format!("{:<1$}", row[0], widths[0]));
            let cells: Vec<String> = first.into_iter().chain(cells).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
    };
    table(LATENCY_HEAD, latencies(trend));
    table(PREFIX_HEAD, prefixes(trend).unwrap_or_default().into_iter().take(16).collect());
    text
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::sample;
    use super::*;
    use crate::clock::Stamp;

    #[test]
    fn numbers() {
        assert_eq!(
            [0.0, 9.5, 99.94, 999.0, 1_500.0, 999_999.0].map(count),
            ["0", "9.5", "99.9", "999", "1.50 k", "1.00 M"]
        );
        assert_eq!(
            [0.0, 1_023.0, 1_536.0, 3e9].map(bytes),
            ["0 B", "1023 B", "1.50 KiB", "2.79 GiB"]
        );
        assert_eq!([2.5e-7, 0.0015, 2.0].map(seconds), ["250 ns", "1.50 ms", "2.00 s"]);
        assert_eq!([0.0, 99.9, 99.96, 100.0].map(percent), ["0.0 %", "99.9 %", "100 %", "100 %"]);
        assert_eq!(
            [0.0, 999.0, 1_000.0, 1_234_567.0].map(whole),
            ["0", "999", "1,000", "1,234,567"]
        );
        let spans = [0, 59, 60, 3_661, 90_061].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_memory_tier_of_nothing_is_off() {
        let mut trend = Trend::default();
        let figures = [
            ("bytes", 0),
            ("limit_maxbytes", 0),
            ("file_bytes", 1),
            ("memory_bytes", 0),
            ("memory_bytes_max", 0),
        ];
        trend.add(sample(Stamp::now(), 0, &figures));
        let said: Vec<_> =
            gauges(&trend).into_iter().map(|gauge| (gauge.name, gauge.value)).collect();
        assert_eq!(said, [("Disk", "0 B, no limit".into()), ("Memory", "off".into())]);
    }

    #[test]
    fn a_server_without_a_file_has_no_log() {
        let mut trend = Trend::default();
        let figures = [
            ("bytes", 512),
            ("limit_maxbytes", 1_024),
            ("curr_connections", 1),
            ("max_connections", 4),
        ];
        trend.add(sample(Stamp::now(), 0, &figures));
        let names: Vec<_> =
            gauges(&trend).into_iter().map(|gauge| (gauge.name, gauge.part)).collect();
        assert_eq!(names, [("Memory", Some(0.5)), ("Clients", Some(0.25))]);
        let text = text("here", &trend);
        assert!(text.contains("Memory used  512 B of 1.00 KiB, 50.0 %\n"), "{text}");
        assert!(!text.contains("Log") && !text.contains("p99"), "{text}");
    }
}
