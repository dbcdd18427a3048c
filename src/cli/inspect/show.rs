//! How bytes, times and sizes are shown, and where they go.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::json::{self, obeyed};
use crate::cli::{Exit, Failure};

/// stdout, with its first error kept: what writes is told to stop, and the end says why.
#[derive(Debug)]
pub(super) struct Out {
    to: BufWriter<StdoutLock<'static>>,
    error: Option<io::Error>,
}

impl Out {
    pub(super) fn stdout() -> Self {
        Self { to: BufWriter::with_capacity(64 << 10, io::stdout().lock()), error: None }
    }

    pub(super) fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Writes these bytes; breaks when nobody takes them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.error.is_none() {
            self.error = self.to.write_all(bytes).err();
        }
        if self.error.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(super) fn line(&mut self, text: &str) -> ControlFlow<()> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    pub(super) fn json(&mut self, value: &Value) -> ControlFlow<()> {
        self.bytes(json::line(value).as_bytes())
    }

    /// A reader that has gone away (`| head -1`) has read enough.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let error = match self.error.take() {
            Some(error) => error,
            None => match self.to.flush() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        // What it still holds can go nowhere, and must not be tried again.
        drop(self.to.into_parts());
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Ok(());
        }
        let message = format!("writing to stdout failed: {error}; check where it leads");
        Err(Failure::new(Exit::Io, message))
    }
}

/// A word to the person at the keyboard, beside the output. Nobody there is no error.
pub(super) fn note(text: &str) {
    let told = writeln!(io::stderr(), "litecached: {text}");
    drop(told);
}

/// As text where it is text, with everything else escaped.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if obeyed(character) || character == '\\' {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str("\\x");
            shown.extend(hex(*byte));
        }
    }
    shown
}

/// A path as text.
pub(super) fn path(path: &Path) -> String {
    text(path.as_os_str().as_encoded_bytes())
}

/// A byte in two digits.
fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?'))
}

/// Cut to so many columns, with a sign where something was cut.
pub(super) fn short(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |character: &char| {
        let width = character.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// `1.4 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1,234 items`.
pub(super) fn items(number: u64) -> String {
    format!("{} item{}", count(number), if number == 1 { "" } else { "s" })
}

/// `12.3 %`, and never nothing for something.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1_000).checked_div(u128::from(whole)).unwrap_or(0);
    match tenths {
        0 if part > 0 => "<0.1 %".into(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// `2026-11-23 05:10`, in UTC.
pub(super) fn time(unix: i64) -> String {
    // Years begin in March here, so that the leap day is the last: of 400 of them there are 146,097
    // days, and the months follow in groups of five with 153.
    let (days, seconds) = (unix.div_euclid(86_400) + 719_468, unix.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", seconds / 3_600, seconds / 60 % 60)
}

/// `3d 4h`, the two greatest units.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let first = parts.iter().position(|&(count, _)| count > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|&&(count, _)| count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}

/// When it expires, seen from now.
pub(super) fn expiry(exptime: i64, now: i64) -> String {
    match exptime {
        0 => "never".into(),
        at if at > now => format!("in {}", span(at - now)),
        at => format!("{} ago", span(now.saturating_sub(at))),
    }
}

/// Lines of columns: the widths are those of the first rows, and longer cells push.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Set once the first rows are out.
    widths: Option<Vec<usize>>,
}

/// Rows that are looked at for the widths.
const ROWS_MEASURED: usize = 200;
/// A cell of a table has at most so many columns; other formats cut nothing.
pub(super) const CELL_COLUMNS_MAX: usize = 80;

impl Table {
    pub(super) fn row(&mut self, out: &mut Out, cells: Vec<String>) -> ControlFlow<()> {
        if let Some(widths) = &self.widths {
            return out.line(&aligned(&cells, widths));
        }
        self.rows.push(cells);
        if self.rows.len() > ROWS_MEASURED { self.end(out) } else { ControlFlow::Continue(()) }
    }

    /// Writes what waits.
    pub(super) fn end(&mut self, out: &mut Out) -> ControlFlow<()> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(row.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        for row in std::mem::take(&mut self.rows) {
            out.line(&aligned(&row, &widths))?;
        }
        self.widths = Some(widths);
        ControlFlow::Continue(())
    }
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, &width) in cells.iter().zip(widths) {
        line.push_str(cell);
        let gap = width.saturating_sub(cell.width()) + 2;
        line.extend(std::iter::repeat_n(' ', gap));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_harmless() {
        for (bytes, shown) in [
            (&b"user:1"[..], "user:1"),
            ("grüße".as_bytes(), "grüße"),
            (b"a\x1b[2J\n", "a\\u{1b}[2J\\n"),
            (b"\xff\x00", "\\xff\\u{0}"),
            (b"back\\slash", "back\\\\slash"),
            ("a\u{202e}b\u{9b}".as_bytes(), "a\\u{202e}b\\u{9b}"),
        ] {
            assert_eq!(text(bytes), shown);
        }
    }

    #[test]
    fn columns_are_counted_as_a_terminal_does() {
        for (whole, most, cut) in
            [("abcd", 4, "abcd"), ("abcd", 3, "ab…"), ("鍵鍵鍵", 4, "鍵…"), ("a鍵鍵", 4, "a鍵…")]
        {
            assert_eq!(short(whole, most), cut, "{whole}");
        }
        assert_eq!(aligned(&["鍵".into(), "x".into()], &[4, 1]), "鍵    x");
        assert_eq!(aligned(&["key".into(), "x".into()], &[4, 1]), "key   x");
    }

    #[test]
    fn counts_shares_and_dates() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), shown);
        }
        for (part, whole, shown) in [
            (0, 0, "0.0 %"),
            (1, 3, "33.3 %"),
            (1, 100_000, "<0.1 %"),
            (u64::MAX, u64::MAX, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole), shown);
        }
        for (unix, shown) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (951_868_800, "2000-03-01 00:00"),
            (1_709_251_199, "2024-02-29 23:59"),
            (1_800_000_000, "2027-01-15 08:00"),
            (4_107_542_399, "2100-02-28 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
            (-1, "1969-12-31 23:59"),
        ] {
            assert_eq!(time(unix), shown, "{unix}");
        }
    }

    #[test]
    fn sizes_and_spans() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")]
        {
            assert_eq!(size(bytes), shown);
        }
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (3_600, "1h"), (3_661, "1h 1m"), (273_600, "3d 4h")]
        {
            assert_eq!(span(seconds), shown);
        }
    }
}
