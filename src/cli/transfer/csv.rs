//! CSV as in RFC 4180: fields between commas, quoted where they hold one, a quote or a line end, quotes doubled
//! inside. The first line names the columns.
//!
//! `key` and `value` are bytes as they stand; where they are not such as people read and programs pass on,
//! `key_base64` and `value_base64` have them. `flags`, `exptime` (Unix seconds, 0 never) and `stored` may be
//! empty or missing, other columns are passed over. Reads with a parser of its own: what is longer than any
//! item, or cut off amid a quoted field, has to be known as that.

use std::borrow::Cow;
use std::io::{self, BufRead, ErrorKind, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::bounded::BYTE_ORDER_MARK;
use super::{Halt, Parsed, Position, Record, Refusal, too_large};

/// Columns that mean something, in the order in which they are written.
const COLUMNS: [&str; 7] =
    ["key", "value", "flags", "exptime", "stored", "key_base64", "value_base64"];
const KEY: usize = 0;
const VALUE: usize = 1;
const FLAGS: usize = 2;
const EXPTIME: usize = 3;
const STORED: usize = 4;
const KEY_BASE64: usize = 5;
const VALUE_BASE64: usize = 6;

/// Fields of a row that are not the value's, together.
const REST_BYTES: u64 = 4_096;
/// Columns that a file may have.
const COLUMNS_MAX: usize = 1_024;

/// Reads every row, and gives it to `take`.
pub(crate) fn read<E>(
    source: impl BufRead,
    item_bytes_max: u64,
    mut take: impl FnMut(Parsed) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    let broken = |error: io::Error| Halt::Broken(error.to_string());
    // As base64 it is longer by a third.
    let bytes_max = item_bytes_max.saturating_mul(4) / 3 + REST_BYTES;
    let mut rows = Rows::new(source, usize::try_from(bytes_max).unwrap_or(usize::MAX));
    if !rows.next().map_err(broken)? {
        return Ok(());
    }
    let columns = match rows.flaw {
        None => Columns::of(&rows).map_err(Halt::Broken)?,
        Some(_) => return Err(Halt::Broken("its first line names no columns".into())),
    };
    while rows.next().map_err(broken)? {
        let position = Position::Line(rows.line);
        let record = match &rows.flaw {
            Some(Flaw::TooLong) => Err(Refusal::new(too_large(item_bytes_max))),
            Some(Flaw::Quote(reason)) => Err(Refusal::new(*reason)),
            None => columns.record(&rows),
        };
        let bytes_read = rows.bytes_read;
        take(Parsed { position, bytes_read, record }).map_err(Halt::Taker)?;
    }
    Ok(())
}

/// Which column of the file is which of ours.
#[derive(Debug)]
struct Columns {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn of<R>(rows: &Rows<R>) -> Result<Self, String> {
        let mut places = [None; COLUMNS.len()];
        let count = rows.ends.len();
        for place in 0..count {
            let name = rows.field(place).trim_ascii().to_ascii_lowercase();
            let Some(column) = COLUMNS.iter().position(|known| known.as_bytes() == name) else {
                continue;
            };
            if places[column].replace(place).is_some() {
                return Err(format!("its first line has the column {} twice", COLUMNS[column]));
            }
        }
        for (plain, base64) in [(KEY, KEY_BASE64), (VALUE, VALUE_BASE64)] {
            if places[plain].or(places[base64]).is_none() {
                let (plain, base64) = (COLUMNS[plain], COLUMNS[base64]);
                return Err(format!("its first line has no column {plain}, and no {base64}"));
            }
        }
        Ok(Self { places, count })
    }

    fn record<R>(&self, rows: &Rows<R>) -> Result<Record, Refusal> {
        let (fields, count) = (rows.ends.len(), self.count);
        if fields != count {
            let reason = format!("it has {fields} fields, and the first line has {count}");
            return Err(Refusal::new(reason));
        }
        let field = |column: usize| self.places[column].map_or(&b""[..], |place| rows.field(place));
        let key = bytes(field(KEY), field(KEY_BASE64), COLUMNS[KEY]).map_err(Refusal::new)?;
        let refuse = |reason: String| Refusal::of(&key, reason);
        let value =
            bytes(field(VALUE), field(VALUE_BASE64), COLUMNS[VALUE]).map_err(refuse)?.into_owned();
        let number = |column: usize| -> Result<Option<i64>, Refusal> {
            let text = field(column).trim_ascii();
            if text.is_empty() {
                return Ok(None);
            }
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| {
                refuse(format!("its {} {} is no number", COLUMNS[column], text.escape_ascii()))
            })
        };
        let flags = u32::try_from(number(FLAGS)?.unwrap_or(0))
            .map_err(|_| refuse("its flags have more than 32 bits".into()))?;
        let exptime = number(EXPTIME)?.unwrap_or(0);
        if exptime < 0 {
            return Err(refuse("its exptime is negative; it is Unix seconds, 0 never".into()));
        }
        let stored = number(STORED)?;
        Ok(Record { value, flags, exptime, stored, ..Record::plain(key.into_owned(), Vec::new()) })
    }
}

fn bytes<'f>(plain: &'f [u8], base64: &[u8], name: &str) -> Result<Cow<'f, [u8]>, String> {
    match (plain, base64) {
        (plain, b"") => Ok(plain.into()),
        (b"", base64) => STANDARD
            .decode(base64)
            .map(Cow::from)
            .map_err(|error| format!("its {name}_base64 is not base64: {error}")),
        _ => Err(format!("it has both {name} and {name}_base64")),
    }
}

/// Writes the first line.
pub(crate) fn write_head(out: &mut impl Write) -> io::Result<()> {
    out.write_all(COLUMNS.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

/// Writes one row.
pub(crate) fn write(
    out: &mut impl Write,
    (key, value): (&[u8], &[u8]),
    flags: u32,
    exptime: i64,
    stored: Option<i64>,
) -> io::Result<()> {
    let (key, key_base64) = said(key);
    let (value, value_base64) = said(value);
    write_field(out, key)?;
    out.write_all(b",")?;
    write_field(out, value)?;
    write!(out, ",{flags},{exptime},")?;
    if let Some(stored) = stored {
        write!(out, "{stored}")?;
    }
    write!(out, ",{key_base64},{value_base64}\r\n")
}

/// Quoted where it has to be, and where a reader might take blanks away.
fn write_field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let ends_blank =
        [bytes.first(), bytes.last()].iter().any(|end| matches!(end, Some(b' ' | b'\t')));
    if !ends_blank && !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        return out.write_all(bytes);
    }
    for (index, part) in bytes.split(|&byte| byte == b'"').enumerate() {
        out.write_all(if index == 0 { b"\"" } else { b"\"\"" })?;
        out.write_all(part)?;
    }
    out.write_all(b"\"")
}

/// As it stands, or in base64: what is no UTF-8, and what has control bytes that are no tab or line end, many
/// programs do not pass on.
fn said(bytes: &[u8]) -> (&[u8], String) {
    let is_odd = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n');
    if std::str::from_utf8(bytes).is_ok() && !bytes.iter().any(is_odd) {
        (bytes, String::new())
    } else {
        (b"", STANDARD.encode(bytes))
    }
}

/// What is wrong with a row.
#[derive(Debug)]
enum Flaw {
    TooLong,
    Quote(&'static str),
}

/// Where the parser is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    Begin,
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: its end, or half of a doubled one.
    Quote,
}

/// Rows, one at a time, in a buffer that does not outgrow its bound.
#[derive(Debug)]
struct Rows<R> {
    source: R,
    bytes_max: usize,
    /// The fields of a row behind each other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    flaw: Option<Flaw>,
    /// Where the row begins, counted from 1.
    line: u64,
    line_ends: u64,
    bytes_read: u64,
}

impl<R: BufRead> Rows<R> {
    fn new(source: R, bytes_max: usize) -> Self {
        let (text, ends) = (Vec::new(), Vec::new());
        Self { source, bytes_max, text, ends, flaw: None, line: 0, line_ends: 0, bytes_read: 0 }
    }

    /// Reads the next row that is not empty; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.ends.clear();
        self.flaw = None;
        if self.bytes_read == 0 {
            self.skip_mark()?;
        }
        let mut state = State::Begin;
        let mut has_begun = false;
        while let Some(byte) = self.peek()? {
            if !has_begun && matches!(byte, b'\r' | b'\n') {
                self.advance(byte);
                continue;
            }
            if !has_begun {
                has_begun = true;
                self.line = self.line_ends + 1;
            }
            self.advance(byte);
            // The other byte of a line end is an empty row.
            if matches!(byte, b'\r' | b'\n') && state != State::Quoted {
                self.end_field();
                return Ok(true);
            }
            state = self.take(state, byte);
        }
        if state == State::Quoted {
            self.flaw.get_or_insert(Flaw::Quote("the file ends amid its quoted field"));
        }
        if has_begun {
            self.end_field();
        }
        Ok(has_begun)
    }

    /// A byte of a row that does not end it.
    fn take(&mut self, state: State, byte: u8) -> State {
        match (state, byte) {
            (State::Begin, b'"') => State::Quoted,
            (State::Begin | State::Plain | State::Quote, b',') => {
                self.end_field();
                State::Begin
            }
            (State::Quoted, b'"') => State::Quote,
            (State::Quote, b'"') => {
                self.push(byte);
                State::Quoted
            }
            (State::Quote, _) => {
                let reason = "a quoted field of it goes on behind its quote; write quotes doubled";
                self.flaw.get_or_insert(Flaw::Quote(reason));
                State::Plain
            }
            (State::Begin | State::Plain, _) => {
                self.push(byte);
                State::Plain
            }
            (State::Quoted, _) => {
                self.push(byte);
                State::Quoted
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.text.len() >= self.bytes_max {
            self.flaw.get_or_insert(Flaw::TooLong);
        } else {
            self.text.push(byte);
        }
    }

    fn end_field(&mut self) {
        if self.ends.len() >= COLUMNS_MAX {
            self.flaw.get_or_insert(Flaw::TooLong);
        } else {
            self.ends.push(self.text.len());
        }
    }

    /// UTF-8's byte order mark is no part of the first name.
    fn skip_mark(&mut self) -> io::Result<()> {
        for &expected in BYTE_ORDER_MARK {
            if self.peek()? != Some(expected) {
                return Ok(());
            }
            self.advance(expected);
        }
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.source.fill_buf() {
                Ok(available) => return Ok(available.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn advance(&mut self, byte: u8) {
        self.source.consume(1);
        self.bytes_read += 1;
        self.line_ends += u64::from(byte == b'\n');
    }
}

impl<R> Rows<R> {
    fn field(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin..self.ends[place]]
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    type Seen = Vec<(String, Result<Record, String>)>;

    /// Positions with what is there, and why the reading ended early.
    fn all(text: &[u8], item_bytes_max: u64) -> (Seen, String) {
        let read = |source: &mut dyn BufRead| {
            let mut seen = Vec::new();
            let end = read(source, item_bytes_max, |parsed| {
                let record = parsed.record.map_err(|refusal| refusal.reason);
                seen.push((parsed.position.to_string(), record));
                Ok::<(), ()>(())
            });
            let end = match end {
                Err(Halt::Broken(why)) => why,
                _ => String::new(),
            };
            (seen, end)
        };
        let whole = read(&mut &text[..]);
        // However it is cut.
        assert_eq!(whole, read(&mut BufReader::with_capacity(1, text)));
        whole
    }

    #[test]
    fn every_byte_goes_back_and_forth() {
        let every: Vec<u8> = (0..=255).collect();
        let cases: [(&[u8], &[u8], u32, i64); 5] = [
            (&every[..200], &every, u32::MAX, i64::MAX),
            (b"k", b"", 0, 0),
            (b"a,b\"c\r\nd", b"\"\r\n,", 7, 1_900_000_000),
            ("ä =1+1".as_bytes(), b" \t ", 1, 1),
            (b"x\0", b"\x7f", 0, 0),
        ];
        for (key, value, flags, exptime) in cases {
            for stored in [None, Some(5)] {
                let mut text = Vec::new();
                write_head(&mut text).expect("memory");
                write(&mut text, (key, value), flags, exptime, stored).expect("memory");
                // As the crate reads it, which half of the world's programs agree with.
                let mut theirs = ::csv::Reader::from_reader(&text[..]);
                let row = theirs.byte_records().next().expect("a row").expect("it is CSV");
                let plain = if row[VALUE_BASE64].is_empty() { &row[VALUE] } else { value };
                assert_eq!(plain, value);
                let (key, value) = (key.to_vec(), value.to_vec());
                let record = Record { key, value, flags, exptime, stored };
                let (seen, end) = all(&text, 10_000);
                assert_eq!((seen, end), (vec![("line 2".into(), Ok(record))], String::new()));
            }
        }
        // Whichever byte it is, alone, and in the midst of others.
        for byte in 0..=255 {
            for value in [vec![byte], vec![b'a', byte, b'"', byte]] {
                let mut text = Vec::new();
                write_head(&mut text).expect("memory");
                write(&mut text, (&value, &value), 0, 0, None).expect("memory");
                let (seen, _) = all(&text, 10_000);
                assert_eq!(seen[0].1, Ok(Record::plain(value.clone(), value)));
            }
        }
    }

    #[test]
    fn what_others_write() {
        let record = |key: &str, value: &str| Ok(Record::plain(key.into(), value.into()));
        let refused = |reason: &str| Err(reason.to_owned());
        let text = "\u{feff}Value , KEY,more\n\
                    1,a,\n\
                    \r\n\
                    \"two\nlines\",\"b\"\"c\",x\r\n\
                    3,d\n\
                    \"4\"x,e,\n\
                    a\"b,f,\r\
                    \"5,g,";
        let (seen, end) = all(text.as_bytes(), 10_000);
        let expected = [
            ("line 2", record("a", "1")),
            ("line 4", record("b\"c", "two\nlines")),
            ("line 6", refused("it has 2 fields, and the first line has 3")),
            (
                "line 7",
                refused("a quoted field of it goes on behind its quote; write quotes doubled"),
            ),
            ("line 8", record("f", "a\"b")),
            ("line 8", refused("the file ends amid its quoted field")),
        ];
        let expected: Vec<_> =
            expected.into_iter().map(|(line, record)| (line.to_owned(), record)).collect();
        assert_eq!((seen, end), (expected, String::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("k,v\n", "no column key, and no key_base64"),
            ("key,flags\n", "no column value, and no value_base64"),
            ("key,value,key\n", "the column key twice"),
            ("key,value,flags\nk,v,x\n", "its flags x is no number"),
            ("key,value,flags\nk,v,-1\n", "more than 32 bits"),
            ("key,value,flags\nk,v,4294967296\n", "more than 32 bits"),
            ("key,value,exptime\nk,v,-1\n", "its exptime is negative"),
            ("key,value,exptime\nk,v,1.5\n", "its exptime 1.5 is no number"),
            ("key,value_base64\nk,*\n", "its value_base64 is not base64"),
            ("key,value,value_base64\nk,v,dg==\n", "both value and value_base64"),
            ("\"key,value\nk,v\n", "its first line names no columns"),
        ] {
            let (seen, end) = all(text.as_bytes(), 10_000);
            let said = seen.first().and_then(|(_, record)| record.clone().err()).unwrap_or(end);
            assert!(said.contains(reason), "{text}: {said}");
        }
        let long = format!("key,value\nk,{}\nl,v\n", "x".repeat(20_000));
        let (seen, _) = all(long.as_bytes(), 1_000);
        assert!(seen[0].1.as_ref().is_err_and(|why| why.contains("larger")), "{seen:?}");
        assert_eq!(seen[1].1, Ok(Record::plain(b"l".to_vec(), b"v".to_vec())));
        assert_eq!(all(b"", 1_000), (Vec::new(), String::new()));
    }
}
