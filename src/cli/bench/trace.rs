//! A trace: requests that somebody recorded, a line `key size` each, to be asked for again in that order.
//!
//! The size is that of the value where the key has to be stored first. Held in memory: eight bytes a line,
//! and each key once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::cli::{Exit, Failure};
use crate::config::units;
use crate::limits::{BENCH_TRACE_LINES_MAX, BENCH_VALUE_BYTES_MAX, KEY_BYTES_MAX, LINE_BYTES_MAX};

use super::keys::Names;
use super::work::Asked;

/// What a file says.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) names: Names,
    pub(super) lines: Vec<Asked>,
    /// Each key once, with its first size.
    pub(super) keys: Vec<Asked>,
}

impl Trace {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            let what = format!("cannot read {}: {error}; see --trace", path.display());
            Failure::new(Exit::NoInput, what)
        };
        let file = File::open(path).map_err(cannot)?;
        Self::from_lines(BufReader::new(file)).map_err(|trouble| match trouble {
            Trouble::Reading(error) => cannot(error),
            Trouble::Line(number, why) => {
                let what = format!("{} line {number}: {why}", path.display());
                Failure::new(Exit::Data, what)
            }
            Trouble::Whole(why) => Failure::new(Exit::Data, format!("{}: {why}", path.display())),
        })
    }

    fn from_lines(mut reader: impl BufRead) -> Result<Self, Trouble> {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let (mut lines, mut keys) = (Vec::new(), Vec::new());
        let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let most = LINE_BYTES_MAX as u64;
            let read = std::io::Read::take(&mut reader, most).read_until(b'\n', &mut line);
            if read.map_err(Trouble::Reading)? == 0 {
                break;
            }
            let (key, bytes) = parse(&line).map_err(|why| Trouble::Line(number, why))?;
            if lines.len() == BENCH_TRACE_LINES_MAX {
                let why = format!("there are more than {BENCH_TRACE_LINES_MAX} lines; cut it");
                return Err(Trouble::Whole(why));
            }
            let known = numbers.get(key).copied();
            let number = || u32::try_from(ends.len()).expect("there are fewer lines than that");
            let asked = Asked { key: known.unwrap_or_else(number), bytes };
            if known.is_none() {
                text.extend_from_slice(key);
                ends.push(text.len());
                numbers.insert(key.to_vec(), asked.key);
                keys.push(asked);
            }
            lines.push(asked);
        }
        if lines.is_empty() {
            return Err(Trouble::Whole("there is no line 'key size' in it; see --trace".into()));
        }
        Ok(Self { names: Names::Listed { text, ends }, lines, keys })
    }

    pub(super) fn most_bytes(&self) -> u32 {
        self.lines.iter().map(|asked| asked.bytes).max().unwrap_or_default()
    }
}

/// Why there is no trace.
#[derive(Debug)]
enum Trouble {
    Reading(std::io::Error),
    Line(u64, String),
    Whole(String),
}

/// `key size` with its line end.
fn parse(line: &[u8]) -> Result<(&[u8], u32), String> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(key), Some(size), None) = (words.next(), words.next(), words.next()) else {
        return Err("this is no 'key size'; write a key and the bytes of its value".into());
    };
    if key.len() > KEY_BYTES_MAX || key.contains(&0) {
        return Err(format!(
            "this is no key; it has at most {KEY_BYTES_MAX} bytes, and no zero byte"
        ));
    }
    let bytes = std::str::from_utf8(size).ok().and_then(units::bytes);
    let bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let bytes = bytes.filter(|&bytes| bytes <= BENCH_VALUE_BYTES_MAX).ok_or_else(|| {
        format!("'{}' is no size of a value; write 0 to 64m", size.escape_ascii())
    })?;
    Ok((key, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text: &[u8] = b"one 10\ntwo 1k\r\none 12\n  three\t0";
        let trace = Trace::from_lines(text).expect("a trace");
        let asked = |key, bytes| Asked { key, bytes };
        assert_eq!(trace.lines, [asked(0, 10), asked(1, 1_024), asked(0, 12), asked(2, 0)]);
        assert_eq!(trace.keys, [asked(0, 10), asked(1, 1_024), asked(2, 0)]);
        assert_eq!(trace.most_bytes(), 1_024);
        let mut name = Vec::new();
        trace.names.write(2, &mut name);
        assert_eq!(name, b"three");
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let long = [&b"k".repeat(251)[..], b" 1\n"].concat();
        let endless = b"k".repeat(5_000);
        let cases: [(&[u8], Option<u64>); 8] = [
            (b"", None),
            (b"key\n", Some(1)),
            (b"key 1\nkey 1 2\n", Some(2)),
            (b"key 1\n\nkey 1\n", Some(2)),
            (b"key -1\n", Some(1)),
            (b"key 65m\n", Some(1)),
            (&long, Some(1)),
            (&endless, Some(1)),
        ];
        for (text, expected) in cases {
            let line = match Trace::from_lines(text) {
                Err(Trouble::Line(number, _)) => Some(number),
                Err(Trouble::Whole(_)) => None,
                other => panic!("{:?}: {other:?}", text.escape_ascii().to_string()),
            };
            assert_eq!(line, expected);
        }
    }
}
