//! The settings as they could be written: for `config show`, and to tell what a reload changes.

use serde_json::Value;

use super::options::{Id, ROWS};
use super::raw::Raw;
use super::row::{Fate, Kind, Row};
use super::settings::Settings;
use super::storage::says_budget;
use super::units::Size;

/// Where an option comes from that nobody wrote.
pub(crate) const DEFAULT: &str = "default";

/// One option: what holds, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) row: &'static Row,
    /// Null where there is nothing to say, as with a socket that does not exist.
    pub(crate) value: Value,
    /// [`DEFAULT`], or the place where it was written.
    pub(crate) from: String,
}

impl Shown {
    /// Every option that acts, in the order of the table.
    pub(crate) fn all(raw: &Raw, settings: &Settings) -> Vec<Self> {
        let rows = ROWS.iter().filter(|row| row.fate == Fate::Acts);
        rows.map(|row| Self {
            row,
            value: value(row, raw, settings),
            from: from(row, raw, settings),
        })
        .collect()
    }

    /// For people: `10g`, `127.0.0.1,::1`, `-`.
    pub(crate) fn text(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match &self.value {
            Value::Null => "-".to_owned(),
            Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
            value => text(value),
        }
    }
}

fn value(row: &Row, raw: &Raw, settings: &Settings) -> Value {
    let (server, store) = (&settings.server, &settings.store);
    let size = |bytes: u64| Value::from(Size(bytes).to_string());
    match row.id {
        Id::Db => store.path.to_string_lossy().into_owned().into(),
        Id::MaxDisk => size(store.disk_bytes_max),
        Id::WalMax => size(store.wal_bytes_max),
        Id::CompressFrom => size(store.compress_from),
        Id::Memory => size(store.memory_bytes),
        Id::ItemSize => size(store.item_bytes_max),
        Id::Threads => server.threads.into(),
        Id::Verbose => server.verbosity.into(),
        _ => as_written(row, raw),
    }
}

/// The text of whoever wrote it, or of the default.
fn as_written(row: &Row, raw: &Raw) -> Value {
    let written = || raw.all(row.id).map(|written| written.text.to_string_lossy().into_owned());
    let default = (!row.default.is_empty()).then(|| row.default.to_owned());
    match row.kind {
        Kind::Switch => raw.is_on(row.id).into(),
        Kind::List(_) if raw.has(row.id) => written().collect(),
        Kind::List(_) => default.map_or(Value::Null, |text| Value::from(vec![text])),
        Kind::Count | Kind::Value(_) => {
            written().last().or(default).map_or(Value::Null, |text| number_or_text(&text))
        }
    }
}

/// `60000` is a number, `0770` and `10g` are not.
pub(super) fn number_or_text(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

fn from(row: &Row, raw: &Raw, settings: &Settings) -> String {
    if let Some(written) = raw.last(row.id) {
        return written.origin.to_string();
    }
    // One default follows another option.
    let other = match row.id {
        Id::MaxDisk if settings.store.memory_bytes > 0 && says_budget(raw) => raw.last(Id::Memory),
        _ => None,
    };
    other.map_or_else(
        || DEFAULT.to_owned(),
        |other| format!("{}, {}", other.id.row().name, other.origin),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{facts, raw};
    use std::collections::BTreeMap;

    fn shown(words: &str) -> BTreeMap<&'static str, (String, String)> {
        let raw = raw(words);
        let settings = Settings::from_raw(&raw, &facts()).expect("settings");
        let all = Shown::all(&raw, &settings);
        all.into_iter().map(|shown| (shown.row.name, (shown.text(), shown.from))).collect()
    }

    #[test]
    fn what_holds_and_who_says_so() {
        let cases = [
            ("", "port", "60000", "default"),
            ("", "threads", "4", "default"),
            ("", "unix-socket", "-", "default"),
            ("", "listen", "127.0.0.1", "default"),
            ("", "disable-cas", "false", "default"),
            ("", "db", "/here/litecached.db", "default"),
            ("-C", "disable-cas", "true", "command line"),
            ("-m 100", "memory-limit", "100m", "command line"),
            ("-m 100", "max-disk", "100m", "memory-limit, command line"),
            ("-m 0", "max-disk", "10g", "default"),
            ("-I 1g", "wal-max", "256m", "default"),
            ("--max-disk 1024m", "max-disk", "1g", "command line"),
            ("-l a:1 -l localhost", "listen", "a:1,localhost", "command line"),
            ("-vv", "verbose", "2", "command line"),
        ];
        for (words, name, text, from) in cases {
            let words = words.replace("a:1", "10.0.0.1:1");
            let text = text.replace("a:1", "10.0.0.1:1");
            assert_eq!(shown(&words)[name], (text, from.to_owned()), "{words}");
        }
    }
}
