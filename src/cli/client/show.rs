//! How answers look: on a screen, in a pipe, as JSON.
//!
//! On a screen nothing that a server sends can steer the terminal: what is not text is shown as hex. In
//! a pipe values are what they are, byte for byte. A value is held only as far as it is shown.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::cli::json::put;
use crate::cli::whole::Whole;
use crate::limits::{DOCUMENT_VALUE_BYTES_MAX, SHOWN_BYTES_MAX, SHOWN_HEX_BYTES_MAX};
use crate::logging::OneLine;
use crate::protocol::reply::{Head, Piece, refuses};

use super::json::indented;
use super::request::Request;

/// Which of the forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Screen { has_colour: bool },
    /// The server's lines, and values between them, as in telnet.
    Lines,
    /// The bytes of values and nothing beside them; other replies as lines.
    Bytes,
    /// One object per command.
    Json,
}

/// What an answer came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) items: usize,
    /// Their keys.
    pub(crate) keys: Vec<Vec<u8>>,
    /// The first line that refuses.
    pub(crate) refusal: Option<String>,
}

/// Takes the pieces of one answer.
pub(crate) struct Show<'w> {
    style: Style,
    is_pretty: bool,
    /// Whether `END` and the line of a sync are answers, or only the end of one.
    hides: Hides,
    out: &'w mut dyn Write,
    file: Option<(PathBuf, Option<BufWriter<Whole>>)>,
    item: Option<Item>,
    tally: Tally,
    items: Vec<Value>,
    lines: Vec<Value>,
    /// The lines of `stats`, by name.
    stats: Map<String, Value>,
    /// What is told when all has come.
    written: Option<String>,
}

/// Lines of a reply that say nothing to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hides {
    Nothing,
    End,
    /// What a listing of keys begins and ends with.
    Ends,
    Version,
}

/// A value as far as it has come and is kept.
struct Item {
    key: Vec<u8>,
    flags: u32,
    unique: Option<u64>,
    meta: Option<String>,
    value_bytes: u64,
    kept: Vec<u8>,
}

impl<'w> Show<'w> {
    pub(crate) fn new(
        style: Style,
        is_pretty: bool,
        hides: Hides,
        file: Option<PathBuf>,
        out: &'w mut dyn Write,
    ) -> Self {
        Self {
            style,
            is_pretty,
            hides,
            out,
            file: file.map(|path| (path, None)),
            item: None,
            tally: Tally::default(),
            items: Vec::new(),
            lines: Vec::new(),
            stats: Map::new(),
            written: None,
        }
    }

    pub(crate) fn take(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Item(head) => self.begin(head),
            Piece::Data(data) => self.data(data),
            Piece::ItemEnd => self.end_item(),
            Piece::Line(line) => self.line(line),
        }
    }

    /// Whether anything was said: then the request must not be sent again.
    pub(crate) fn has_begun(&self) -> bool {
        let has_items = self.tally.items > 0 || self.item.is_some();
        // A file gets its name at the end.
        self.tally.refusal.is_some() || has_items && self.file.is_none()
    }

    /// Whether the server could not read the request, so that a value behind it was none to it.
    pub(crate) fn is_misunderstood(&self) -> bool {
        let refusal = self.tally.refusal.as_deref().unwrap_or_default();
        refusal == "ERROR" || refusal.starts_with("CLIENT_ERROR")
    }

    /// The last words of an answer that came whole. All but itself is for JSON.
    pub(crate) fn finish(
        mut self,
        request: &Request,
        value: Option<&[u8]>,
        micros: u64,
    ) -> io::Result<Tally> {
        if let Some((_, Some(file))) = self.file.take() {
            file.into_inner()?.finish()?;
        }
        if let Some(written) = self.written.take() {
            writeln!(self.out, "{written}")?;
        }
        if self.style == Style::Json {
            let mut object = Map::new();
            put(&mut object, "command", request.opening(value).trim_ascii_end());
            let is_good = self.tally.refusal.is_none() && self.tally.items >= request.asked();
            drop(object.insert("ok".into(), is_good.into()));
            for item in &mut self.items {
                complete(item, request);
            }
            drop(object.insert("items".into(), self.items.into()));
            if request.asked() > 0 && self.tally.refusal.is_none() {
                let mut missing = Vec::new();
                for key in request.keys.iter().filter(|key| !self.tally.keys.contains(key)) {
                    let mut one = Map::new();
                    put(&mut one, "key", key);
                    missing.push(Value::from(one));
                }
                drop(object.insert("missing".into(), missing.into()));
            }
            if !self.stats.is_empty() {
                drop(object.insert("stats".into(), self.stats.into()));
            }
            drop(object.insert("reply".into(), self.lines.into()));
            drop(object.insert("micros".into(), micros.into()));
            writeln!(self.out, "{}", Value::from(object))?;
        }
        Ok(self.tally)
    }

    fn begin(&mut self, head: Head<'_>) -> io::Result<()> {
        if let Some((path, place)) = &mut self.file {
            *place = Some(BufWriter::new(Whole::create(path)?));
        } else if self.style == Style::Lines {
            self.out.write_all(head.line)?;
            self.out.write_all(b"\n")?;
        }
        self.item = Some(Item {
            key: head.key.unwrap_or_default().to_vec(),
            flags: head.flags,
            unique: head.unique,
            meta: head.key.is_none().then(|| String::from_utf8_lossy(head.line).into_owned()),
            value_bytes: head.value_bytes,
            kept: Vec::new(),
        });
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        if let Some((_, Some(file))) = &mut self.file {
            return file.write_all(data);
        }
        let Some(item) = &mut self.item else { return Ok(()) };
        let kept_max = match self.style {
            Style::Bytes | Style::Lines if !self.is_pretty => return self.out.write_all(data),
            Style::Json => DOCUMENT_VALUE_BYTES_MAX,
            _ if self.is_pretty => DOCUMENT_VALUE_BYTES_MAX,
            _ => SHOWN_BYTES_MAX,
        };
        let room = kept_max - item.kept.len();
        item.kept.extend_from_slice(&data[..room.min(data.len())]);
        Ok(())
    }

    fn end_item(&mut self) -> io::Result<()> {
        let Some(item) = self.item.take() else { return Ok(()) };
        self.tally.items += 1;
        self.tally.keys.push(item.key.clone());
        if let Some((path, _)) = &self.file {
            if let Style::Screen { .. } = self.style {
                let size = bytes(item.value_bytes);
                self.written = Some(format!("{size} written to {}", path.display()));
            }
            return Ok(());
        }
        match self.style {
            Style::Screen { has_colour } => screen(self.out, &item, self.is_pretty, has_colour),
            Style::Json => {
                self.items.push(item.object());
                Ok(())
            }
            Style::Bytes | Style::Lines => {
                if self.is_pretty {
                    // Too long for memory, or no JSON: as it is, as far as it was kept.
                    let text = indented(&item.kept).unwrap_or_default();
                    let shown = if text.is_empty() { &item.kept[..] } else { text.as_bytes() };
                    self.out.write_all(shown)?;
                }
                if self.style == Style::Lines {
                    self.out.write_all(b"\n")?;
                }
                Ok(())
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        // `EN` is the end of `mgdump`, and else a miss.
        let is_end = self.hides == Hides::Ends && matches!(line, b"OK" | b"END" | b"EN");
        if refuses(line) && !is_end && self.tally.refusal.is_none() {
            self.tally.refusal = Some(String::from_utf8_lossy(line).into_owned());
        }
        match self.hides {
            Hides::Version if line.starts_with(b"VERSION ") => return Ok(()),
            Hides::Ends if is_end && self.style != Style::Lines => return Ok(()),
            Hides::End if line == b"END" && self.style != Style::Lines => return Ok(()),
            _ => {}
        }
        match self.style {
            Style::Screen { has_colour: true } if refuses(line) => {
                writeln!(self.out, "\x1b[31m{}\x1b[0m", OneLine(String::from_utf8_lossy(line)))
            }
            Style::Screen { .. } => {
                writeln!(self.out, "{}", OneLine(String::from_utf8_lossy(line)))
            }
            // A refusal is told on stderr, so that a pipe holds values only.
            Style::Bytes if refuses(line) => Ok(()),
            Style::Bytes | Style::Lines => {
                self.out.write_all(line)?;
                self.out.write_all(b"\n")
            }
            Style::Json => {
                match statistic(line) {
                    Some((name, value)) => drop(self.stats.insert(name, value)),
                    None => self.lines.push(String::from_utf8_lossy(line).into()),
                }
                Ok(())
            }
        }
    }
}

impl Item {
    fn object(self) -> Value {
        let mut object = Map::new();
        if let Some(line) = self.meta {
            drop(object.insert("meta".into(), line.into()));
        } else {
            put(&mut object, "key", &self.key);
            drop(object.insert("flags".into(), self.flags.into()));
        }
        object.extend(self.unique.map(|unique| ("cas".to_owned(), unique.into())));
        drop(object.insert("size".into(), self.value_bytes.into()));
        let is_whole = self.kept.len() as u64 == self.value_bytes;
        if !is_whole {
            drop(object.insert("truncated".into(), true.into()));
        }
        put(&mut object, "value", &self.kept);
        object.into()
    }
}

/// A line of `stats`: whole numbers as numbers, the rest as text.
fn statistic(line: &[u8]) -> Option<(String, Value)> {
    let line = std::str::from_utf8(line.strip_prefix(b"STAT ")?).ok()?;
    let (name, text) = line.split_once(' ').unwrap_or((line, ""));
    Some((name.to_owned(), number(text)))
}

/// What a meta item says only in flags, and its key, which is the one that was asked for.
fn complete(item: &mut Value, request: &Request) {
    let Some(object) = item.as_object_mut() else { return };
    let Some(line) = object.get("meta").and_then(Value::as_str).map(str::to_owned) else { return };
    let mut key = request.keys.first().cloned();
    for word in line.split(' ').skip(2) {
        let Some((flag, token)) = word.split_at_checked(1) else { continue };
        match flag {
            "k" => key = Some(token.as_bytes().to_vec()),
            "f" => drop(object.insert("flags".into(), number(token))),
            "c" => drop(object.insert("cas".into(), number(token))),
            "t" => drop(object.insert("ttl".into(), number(token))),
            _ => {}
        }
    }
    if let Some(key) = key {
        let decoded = request.has_encoded_key().then(|| STANDARD.decode(&key).ok()).flatten();
        put(object, "key", &decoded.unwrap_or(key));
    }
}

/// A whole number as a number, all else as text.
fn number(token: &str) -> Value {
    let signed = || token.parse::<i64>().map(Value::from);
    token.parse::<u64>().map(Value::from).or_else(|_| signed()).unwrap_or_else(|_| token.into())
}

/// `1 byte`, `2 bytes`.
pub(crate) fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".into() } else { format!("{count} bytes") }
}

fn screen(out: &mut dyn Write, item: &Item, is_pretty: bool, has_colour: bool) -> io::Result<()> {
    let text = printable(&item.kept, item.kept.len() as u64 == item.value_bytes);
    let (dim, plain) = if has_colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    write!(out, "{dim}")?;
    if let Some(line) = &item.meta {
        write!(out, "{}", OneLine(line))?;
    } else {
        write!(out, "{}", OneLine(String::from_utf8_lossy(&item.key)))?;
        write!(out, ": {}", bytes(item.value_bytes))?;
        if item.flags != 0 {
            write!(out, ", flags {}", item.flags)?;
        }
    }
    if let Some(unique) = item.unique {
        write!(out, ", cas {unique}")?;
    }
    let is_text = text.is_some();
    writeln!(out, "{}{plain}", if is_text { "" } else { ", not text" })?;
    let shown = match text {
        Some(text) => {
            let pretty = if is_pretty { indented(&item.kept) } else { None };
            let text = pretty.as_deref().unwrap_or(text);
            writeln!(out, "{text}")?;
            text.len().min(item.kept.len())
        }
        None => hex(out, &item.kept)?,
    };
    match item.value_bytes.saturating_sub(shown as u64) {
        0 => Ok(()),
        _ if is_text && item.kept.len() as u64 == item.value_bytes => Ok(()),
        hidden => {
            let hidden = bytes(hidden);
            writeln!(out, "{dim}... and {hidden} more; `> FILE` takes them all{plain}")
        }
    }
}

/// The bytes as text that a terminal shows and does not obey. The end of a cut value may lie within a
/// character.
fn printable(bytes: &[u8], is_whole: bool) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if !is_whole && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_safe = text.split(['\n', '\t']).all(|part| OneLine(part).to_string() == part);
    is_safe.then_some(text)
}

/// Sixteen bytes a line. Says how many bytes it showed.
fn hex(out: &mut dyn Write, bytes: &[u8]) -> io::Result<usize> {
    let shown = &bytes[..bytes.len().min(SHOWN_HEX_BYTES_MAX)];
    for (index, row) in shown.chunks(16).enumerate() {
        write!(out, "{:08x} ", index * 16)?;
        for at in 0..16 {
            let gap = if at == 8 { " " } else { "" };
            match row.get(at) {
                Some(byte) => write!(out, "{gap} {byte:02x}")?,
                None => write!(out, "{gap}   ")?,
            }
        }
        let text: String = row
            .iter()
            .map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '.' })
            .collect();
        writeln!(out, "  |{text}|")?;
    }
    Ok(shown.len())
}

/// A time as people read it.
pub(crate) fn duration(micros: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let milliseconds = micros as f64 / 1000.0;
    match micros {
        0..10_000 => format!("{milliseconds:.2} ms"),
        10_000..1_000_000 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.2} s", milliseconds / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_a_terminal_does_not_obey() {
        for (bytes, is_whole, expected) in [
            (&b"a\n\tb"[..], true, Some("a\n\tb")),
            ("gr\u{fc}n".as_bytes(), true, Some("gr\u{fc}n")),
            (b"gr\xc3", false, Some("gr")),
            (b"gr\xc3", true, None),
            (b"a\x1b[31m", true, None),
            (b"a\0", true, None),
            (b"a\r\n", true, None),
            (b"", true, Some("")),
        ] {
            assert_eq!(printable(bytes, is_whole), expected, "{bytes:?}");
        }
    }

    #[test]
    fn times() {
        for (micros, text) in
            [(7, "0.01 ms"), (1_234, "1.23 ms"), (56_789, "57 ms"), (1_500_000, "1.50 s")]
        {
            assert_eq!(duration(micros), text);
        }
    }
}
