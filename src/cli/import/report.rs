//! What became of the records: counted, and told to people or to programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::json::put;
use crate::cli::transfer::{Position, Refusal};
use crate::cli::{Exit, Failure};

/// Refusals that are kept by position; the others are counted.
const REFUSALS_TOLD_MAX: usize = 100;

/// See the module.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) dry_run: bool,
    pub(crate) imported: u64,
    /// Keys and values of these.
    pub(crate) imported_bytes: u64,
    /// Left alone, for there was an item.
    pub(crate) skipped: u64,
    /// Past their time already.
    pub(crate) expired: u64,
    pub(crate) refused: u64,
    /// The first of these.
    pub(crate) refusals: Vec<Refused>,
    /// What is to be known beside the counts.
    pub(crate) notes: Vec<String>,
    /// A signal ended it before the source did.
    pub(crate) interrupted: bool,
    pub(crate) seconds: f64,
    #[serde(skip)]
    pub(crate) strict: bool,
}

/// One that was refused.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    position: String,
    #[serde(flatten)]
    key: Map<String, Value>,
    #[serde(skip)]
    key_shown: Option<String>,
    reason: String,
}

impl Report {
    /// Records seen.
    pub(crate) fn seen(&self) -> u64 {
        self.imported + self.skipped + self.expired + self.refused
    }

    /// One more that is stored.
    pub(crate) fn import(&mut self, bytes: usize) {
        self.imported += 1;
        self.imported_bytes += bytes as u64;
    }

    /// One more that is not taken; with `--strict` the end.
    pub(crate) fn refuse(&mut self, position: Position, refusal: Refusal) -> Result<(), Failure> {
        self.refused += 1;
        let mut refused = Refused {
            position: position.to_string(),
            key: Map::new(),
            key_shown: refusal.key.as_ref().map(|key| key.escape_ascii().to_string()),
            reason: refusal.reason,
        };
        refusal.key.iter().for_each(|key| put(&mut refused.key, "key", key));
        let result = if self.strict {
            let what = format!("{refused}; correct it, or go on without --strict");
            Err(Failure::new(Exit::Data, what))
        } else {
            Ok(())
        };
        if self.refusals.len() < REFUSALS_TOLD_MAX {
            self.refusals.push(refused);
        }
        result
    }

    /// What the source has that is no item, by its kind.
    pub(crate) fn note_others<'k>(&mut self, others: impl Iterator<Item = (&'k str, u64)>) {
        let counts: Vec<String> = others.map(|(kind, count)| format!("{count} {kind}")).collect();
        if !counts.is_empty() {
            let note = format!("left out, for only strings are items: {}", counts.join(", "));
            self.notes.push(note);
        }
    }

    pub(crate) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a figure for people"
        )]
        let rate = (self.seen() as f64 / self.seconds.max(0.001)) as u64;
        let verb = if self.dry_run { "would import" } else { "imported" };
        let mut lines = vec![format!(
            "{verb} {} items ({} bytes), skipped {}, expired {}, refused {}; {:.1} s, {rate} a second",
            self.imported,
            self.imported_bytes,
            self.skipped,
            self.expired,
            self.refused,
            self.seconds
        )];
        lines.extend(self.refusals.iter().map(|refused| format!("refused: {refused}")));
        let untold = self.refused - self.refusals.len() as u64;
        if untold > 0 {
            lines.push(format!("refused: {untold} more"));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.join("\n") + "\n"
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON") + "\n"
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key_shown {
            Some(key) => write!(f, "{}, key \"{key}\": {}", self.position, self.reason),
            None => write!(f, "{}: {}", self.position, self.reason),
        }
    }
}
