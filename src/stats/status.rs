//! Figures to the JSON that the status page asks for, `/status.json`.
//!
//! The reports of `stats` stand in it as objects, made from their very lines: what `stats` says is what it
//! says. Beside them is what the page needs for its charts and `stats` has no line for. Nothing grows with
//! what is stored: of key prefixes there are so many and no more.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Figures, Lines, Shown, general, latency, storage};
use crate::metrics::{Percentiles, PrefixCounts, TIMES_NANOS_MAX, Timed};

/// Key prefixes that are shown, those with the most counts first.
pub const PREFIXES_SHOWN: usize = 16;

/// What may be shown of `stats detail`.
#[derive(Debug)]
pub enum PrefixList {
    /// Nothing is counted.
    Off,
    /// Whoever looks at the page may not ask for it.
    Withheld,
    /// The first of them.
    Top(Vec<(Box<[u8]>, PrefixCounts)>),
}

/// What is in it beside the [`Figures`].
#[derive(Debug)]
pub struct Status<'a> {
    /// Since the daemon began, by a clock that never goes back: rates are differences over this.
    pub elapsed: Duration,
    /// Why it does not serve as it should.
    pub trouble: Option<String>,
    /// Which lines `stats` has.
    pub shown: Shown,
    /// `stats latency`.
    pub percentiles: &'a [(&'static str, Percentiles)],
    /// The times of commands in buckets.
    pub commands: &'a [(&'static str, Timed)],
    /// The prefixes of `stats detail`.
    pub prefixes: PrefixList,
}

/// The document.
pub fn status(figures: &Figures, status: Status<'_>) -> String {
    let Figures { process, store, storage: stored, .. } = figures;
    let mut buckets: Map<String, Value> =
        status.commands.iter().map(|(kind, timed)| ((*kind).into(), bucketed(timed))).collect();
    buckets.insert("commit".into(), bucketed(&stored.commit));
    let prefixes: Value = match status.prefixes {
        PrefixList::Off => "off".into(),
        PrefixList::Withheld => "withheld".into(),
        PrefixList::Top(top) => {
            top.iter().map(|(prefix, counts)| prefix_row(prefix, *counts)).collect()
        }
    };
    json!({
        "elapsed_ms": u64::try_from(status.elapsed.as_millis()).unwrap_or(u64::MAX),
        "trouble": status.trouble,
        "stats": object(&general(figures, status.shown)),
        "storage": object(&storage(figures)),
        "latency": object(&latency(status.percentiles.iter().copied())),
        "process": {
            "resident_bytes": process.resident_bytes,
            "held_bytes": process.held_bytes,
        },
        "items_max": store.items_max,
        "evicts": store.evicts,
        "bounds_nanos": TIMES_NANOS_MAX,
        "buckets": buckets,
        "prefixes": prefixes,
    })
    .to_string()
}

/// Counts of each bucket, without the empty ones at the end.
fn bucketed(timed: &Timed) -> Value {
    let used = timed.buckets.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    timed.buckets[..used].into()
}

fn prefix_row(prefix: &[u8], counts: PrefixCounts) -> Value {
    let PrefixCounts { gets, hits, sets, deletes } = counts;
    // The page tells them apart by this: what is no text, or looks like what is none, is escaped.
    let prefix: Cow<'_, str> = match str::from_utf8(prefix) {
        Ok(text) if !text.contains('\\') => text.into(),
        _ => prefix.escape_ascii().to_string().into(),
    };
    json!({ "prefix": prefix, "get": gets, "hit": hits, "set": sets, "del": deletes })
}

/// STAT lines by their names; what reads as a number is one.
fn object(lines: &Lines) -> Value {
    let number = |text: &str| text.parse::<serde_json::Number>().map(Value::Number);
    let pairs = lines.pairs();
    pairs
        .map(|(name, value)| (name.into(), number(value).unwrap_or_else(|_| value.into())))
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_object() {
        let mut lines = Lines::default();
        lines.line("count", u64::MAX);
        lines.line("seconds", "0.000120");
        lines.line("version", "1.6.45-x");
        lines.line("get:p50_us", "3.5");
        lines.line("state", "a b");
        let expected = json!({
            "count": u64::MAX, "seconds": 0.00012, "version": "1.6.45-x", "get:p50_us": 3.5,
            "state": "a b",
        });
        assert_eq!(object(&lines), expected);
    }

    #[test]
    fn no_two_prefixes_have_one_name() {
        let name = |prefix: &[u8]| prefix_row(prefix, PrefixCounts::default())["prefix"].clone();
        assert_eq!(
            [&b"user"[..], "é".as_bytes(), b"", b"\xff", b"\xfe", b"\\xff"].map(name),
            ["user", "é", "", "\\xff", "\\xfe", "\\\\xff"]
        );
    }

    #[test]
    fn buckets_end_with_the_last_that_is_used() {
        let mut timed = Timed::default();
        assert_eq!(bucketed(&timed), json!([]));
        (timed.buckets[1], timed.buckets[3]) = (2, 1);
        assert_eq!(bucketed(&timed), json!([0, 2, 0, 1]));
    }
}
