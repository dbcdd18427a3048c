//! The line format: `key size base64(value)\r\n`. Flags and expiry have no place in it.

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Halt, Parsed, Record, Refusal, each_line};
use crate::limits::KEY_BYTES_MAX;

/// Reads every line, and gives it to `take`.
pub(crate) fn read<E>(
    source: impl BufRead,
    item_bytes_max: u64,
    take: impl FnMut(Parsed) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    let line_bytes_max = item_bytes_max.saturating_mul(4) / 3 + 2 * KEY_BYTES_MAX as u64;
    each_line(source, line_bytes_max, item_bytes_max, parse, take)
}

fn parse(line: &[u8]) -> Result<Record, Refusal> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (key, size, value) = (words.next(), words.next(), words.next());
    let (Some(key), Some(size)) = (key, size) else {
        return Err(Refusal::new("it has no size; the form is: key size base64(value)"));
    };
    let Some(size) = std::str::from_utf8(size).ok().and_then(|size| size.parse::<u64>().ok())
    else {
        let reason = format!("its size {:?} is no number", String::from_utf8_lossy(size));
        return Err(Refusal::of(key, reason));
    };
    let value = STANDARD
        .decode(value.unwrap_or_default())
        .map_err(|error| Refusal::of(key, format!("its value is not base64: {error}")))?;
    if value.len() as u64 != size {
        let reason = format!("its size says {size}, its value has {} bytes", value.len());
        return Err(Refusal::of(key, reason));
    }
    Ok(Record::plain(key.to_vec(), value))
}

/// Whether the format can say this key.
pub(crate) fn can_say(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n'))
}

/// Writes one line.
pub(crate) fn write(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    out.write_all(key)?;
    write!(out, " {} ", value.len())?;
    out.write_all(STANDARD.encode(value).as_bytes())?;
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forth() {
        for (key, value) in [(&b"k"[..], &b"value"[..]), (b"\xff\0", b""), (b"x", b"\0\xff\r\n")] {
            let mut line = Vec::new();
            write(&mut line, key, value).expect("memory can be written");
            let text = line.strip_suffix(b"\r\n").expect("a line end");
            assert_eq!(parse(text), Ok(Record::plain(key.to_vec(), value.to_vec())));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            ("key", "no size"),
            ("key x YQ==", "no number"),
            ("key -1 YQ==", "no number"),
            ("key 2 YQ==", "its size says 2, its value has 1 bytes"),
            ("key 1 Y", "not base64"),
            ("key 1 YQ== YQ==", "not base64"),
        ] {
            let refusal = parse(line.as_bytes()).expect_err(line);
            assert!(refusal.reason.contains(reason), "{line}: {refusal:?}");
        }
    }
}
