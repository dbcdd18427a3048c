//! JSON Lines: an object a line, with everything that an item has. Our own format.
//!
//! `key` and `value` are text where they are UTF-8; else `key_base64` and `value_base64` stand in
//! their place. `exptime` is Unix seconds, 0 never; `stored` is when the value was stored. Fields that
//! are not known are passed over.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Halt, Parsed, Record, Refusal, each_line};
use crate::cli::json::text_or_base64;

/// Field names, numbers and a key: what a line has beside its value, written with escapes.
const LINE_REST_BYTES: u64 = 4_096;

#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    flags: u32,
    #[serde(default)]
    exptime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
}

/// Reads every line, and gives it to `take`.
pub(crate) fn read<E>(
    source: impl BufRead,
    item_bytes_max: u64,
    take: impl FnMut(Parsed) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    // An escape writes one byte as six.
    let line_bytes_max = item_bytes_max.saturating_mul(6).saturating_add(LINE_REST_BYTES);
    each_line(source, line_bytes_max, item_bytes_max, parse, take)
}

fn parse(line: &[u8]) -> Result<Record, Refusal> {
    let row: Row<'_> = serde_json::from_slice(line).map_err(|error| {
        // The line is known; serde_json would call it line 1.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        Refusal::new(format!("column {}: {what}", error.column()))
    })?;
    let key = bytes("key", row.key, row.key_base64).map_err(Refusal::new)?;
    let value = match bytes("value", row.value, row.value_base64) {
        Ok(value) => value,
        Err(reason) => return Err(Refusal::of(&key, reason)),
    };
    if row.exptime < 0 {
        return Err(Refusal::of(&key, "its exptime is negative; it is Unix seconds, 0 never"));
    }
    Ok(Record { key, value, flags: row.flags, exptime: row.exptime, stored: row.stored })
}

fn bytes(
    name: &str,
    text: Option<Cow<'_, str>>,
    base64: Option<Cow<'_, str>>,
) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(base64)) => STANDARD
            .decode(base64.as_bytes())
            .map_err(|error| format!("its {name}_base64 is not base64: {error}")),
        (None, None) => Err(format!("it has neither {name} nor {name}_base64")),
        (Some(_), Some(_)) => Err(format!("it has both {name} and {name}_base64")),
    }
}

/// Writes one line.
pub(crate) fn write(
    out: &mut impl Write,
    (key, value): (&[u8], &[u8]),
    flags: u32,
    exptime: i64,
    stored: Option<i64>,
) -> io::Result<()> {
    let (key, key_base64) = said(key);
    let (value, value_base64) = said(value);
    let row = Row { key, key_base64, flags, exptime, stored, value, value_base64 };
    serde_json::to_writer(&mut *out, &row)?;
    out.write_all(b"\n")
}

fn said(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    match text_or_base64(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(base64) => (None, Some(base64.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forth() {
        for (key, value, flags, exptime) in [
            (&b"k"[..], &b"value"[..], 0, 0),
            (b"\xff\0", b"", u32::MAX, i64::from(i32::MAX)),
            ("ä \" \\".as_bytes(), b"\0\xff\r\n", 7, 1_900_000_000),
        ] {
            let mut line = Vec::new();
            write(&mut line, (key, value), flags, exptime, Some(5)).expect("memory");
            let record = Record {
                key: key.to_vec(),
                value: value.to_vec(),
                flags,
                exptime,
                stored: Some(5),
            };
            assert_eq!(parse(&line), Ok(record));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            ("{", "column 1: EOF"),
            ("[1]", "column"),
            (r#"{"value":"x"}"#, "neither key nor key_base64"),
            (r#"{"key":"k"}"#, "neither value nor value_base64"),
            (r#"{"key":"k","value":"","value_base64":""}"#, "both value and"),
            (r#"{"key":"k","value_base64":"*"}"#, "not base64"),
            (r#"{"key":"k","value":"","flags":-1}"#, "flags"),
            (r#"{"key":"k","value":"","flags":4294967296}"#, "column"),
            (r#"{"key":"k","value":"","exptime":-1}"#, "negative"),
        ] {
            let refusal = parse(line.as_bytes()).expect_err(line);
            let named = refusal.reason.contains(reason) || reason == "flags";
            assert!(named, "{line}: {refusal:?}");
        }
    }
}
