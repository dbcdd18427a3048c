//! What a report knows: the summary of a snapshot, and what would be evicted next. All of it stands in
//! the page as JSON too, from which a later report reads it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::{Map, Value, json};

use crate::cli::inspect::daemon::{self, Reads};
use crate::cli::inspect::{evict, show, summary};
use crate::cli::json::{self, put};
use crate::store::inspect::{Group, InspectError, Inspection, Summary, Worth, prefix_end};

/// What the page's JSON says of itself, and the form it has. Another form has another number.
pub(super) const KIND: &str = "litecached";
pub(super) const FORM: u64 = 1;

/// Around the JSON in the page.
pub(super) const BEGIN: &str = "<script type=\"application/json\" id=\"litecached-report\">";
pub(super) const END: &str = "</script>";

/// See the module.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) database: String,
    /// Unix seconds.
    pub(super) at: i64,
    pub(super) summary: Summary,
    pub(super) reads: Option<Reads>,
    /// What would go next, in that order.
    pub(super) next: Vec<Next>,
    pub(super) are_keys_hidden: bool,
    /// As `inspect summary --json` has them.
    figures: Value,
}

/// An item that would be evicted.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) key: Vec<u8>,
    pub(super) value_bytes: u64,
    pub(super) worth: Worth,
    pub(super) why: &'static str,
}

/// What grows: a report's few figures, for those that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Unix seconds.
    pub(super) at: i64,
    /// Live ones.
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) file_bytes: u64,
}

impl Found {
    pub(super) fn new(inspection: &Inspection, mut summary: Summary) -> Self {
        // Inside a prefix that is not listed nothing is shown.
        let listed = |inner: &[u8], summary: &Summary| {
            prefix_end(inner)
                .is_some_and(|end| summary.prefixes.iter().any(|(outer, _)| *outer == inner[..end]))
        };
        let mut inner = std::mem::take(&mut summary.inner_prefixes);
        inner.retain(|(prefix, _)| listed(prefix, &summary));
        summary.inner_prefixes = inner;
        Self {
            database: show::path(inspection.path()),
            at: inspection.now().0,
            summary,
            reads: daemon::reads(inspection.path()),
            next: Vec::new(),
            are_keys_hidden: false,
            figures: Value::Null,
        }
    }

    pub(super) fn take_next(
        &mut self,
        inspection: &Inspection,
        count: u64,
    ) -> Result<(), InspectError> {
        inspection.victims(count, |item, worth| {
            let why = evict::why(item, worth.reads);
            let (key, value_bytes) = (item.key.to_vec(), item.value_bytes);
            self.next.push(Next { key, value_bytes, worth, why });
            ControlFlow::Continue(())
        })
    }

    /// Gives keys and prefixes numbers for names, the same one the same: whatever is made of this afterwards
    /// has none of them.
    pub(super) fn hide_keys(&mut self) {
        let (mut keys, mut outer, mut within) = (HashMap::new(), HashMap::new(), HashMap::new());
        let summary = &mut self.summary;
        let biggest = summary.biggest.iter_mut().map(|(_, key)| key);
        let oldest = summary.oldest.iter_mut().map(|(_, key)| key);
        let next = self.next.iter_mut().map(|next| &mut next.key);
        for key in biggest.chain(oldest).chain(next) {
            *key = format!("key {}", numbered(&mut keys, key)).into_bytes();
        }
        for (prefix, _) in &mut summary.inner_prefixes {
            let end = prefix_end(prefix).unwrap_or(prefix.len());
            let (first, second) = prefix.split_at(end);
            // Numbers follow the greatest outer ones, below.
            *prefix = [first, format!("{}:", numbered(&mut within, second)).as_bytes()].concat();
        }
        for (prefix, _) in &mut summary.prefixes {
            *prefix = format!("prefix {}:", numbered(&mut outer, prefix)).into_bytes();
        }
        for (prefix, _) in &mut summary.inner_prefixes {
            let end = prefix_end(prefix).unwrap_or(prefix.len());
            let (first, second) = prefix.split_at(end);
            let first = format!("prefix {}:", numbered(&mut outer, first)).into_bytes();
            *prefix = [&first, second].concat();
        }
        self.are_keys_hidden = true;
    }

    /// When everything else is there.
    pub(super) fn take_figures(&mut self, inspection: &Inspection) {
        self.figures = summary::as_object(inspection, &self.summary, self.reads);
    }

    pub(super) fn point(&self) -> Point {
        Point {
            at: self.at,
            items: self.summary.live.items,
            bytes: self.summary.live.bytes,
            file_bytes: self.summary.file_bytes,
        }
    }

    /// The element of the page that has it all: JSON that no HTML is in.
    pub(super) fn element(&self, points: &[Point]) -> String {
        let next = self.next.iter();
        let next: Vec<Value> = next
            .map(|next| evict::as_object(&next.key, next.value_bytes, next.worth, next.why))
            .collect();
        let inner = self.summary.inner_prefixes.iter().map(|(prefix, of)| {
            let mut object = Map::new();
            put(&mut object, "prefix", prefix);
            object.insert("items".into(), of.items.into());
            object.insert("bytes".into(), of.bytes.into());
            Value::from(object)
        });
        let points = points
            .iter()
            .map(|point| json!([point.at, point.items, point.bytes, point.file_bytes]));
        let value = json!({
            "report": KIND,
            "form": FORM,
            "version": env!("CARGO_PKG_VERSION"),
            "keys_hidden": self.are_keys_hidden,
            "figures": self.figures,
            "inner_prefixes": inner.collect::<Vec<_>>(),
            "next": next,
            "points": points.collect::<Vec<_>>(),
        });
        // They stand in strings alone, where JSON has another way to write them.
        let line = json::line(&value)
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026");
        format!("{BEGIN}{line}{END}\n")
    }
}

/// A number for each, in the order in which they come.
fn numbered(numbers: &mut HashMap<Vec<u8>, usize>, name: &[u8]) -> usize {
    let next = numbers.len() + 1;
    *numbers.entry(name.to_vec()).or_insert(next)
}

/// Inner prefixes of one, the greatest first.
pub(super) fn inner_of<'s>(
    summary: &'s Summary,
    outer: &'s [u8],
) -> impl Iterator<Item = &'s (Vec<u8>, Group)> {
    summary.inner_prefixes.iter().filter(move |(inner, _)| inner.starts_with(outer))
}
