//! Numbers, sizes and times as people write them.
//!
//! Reads a text or says that it is none; which range is allowed, and what to tell the user, is the
//! caller's affair. A sign, a fraction or an overflow is no number here.

use std::fmt;

/// Greatest size in bytes: `SQLite`'s numbers end there.
const SIZE_MAX: u64 = i64::MAX.cast_unsigned();

/// A whole number: digits only.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number of bytes: `1024`, `64k`, `64m`, `1g`, `2t`, `64MB`, `10 GiB`, in either case. Every unit is
/// a power of 1024, as in memcached.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, 1)
}

/// memcached's `-m`: a bare number is in megabytes; with a unit it is a size like any other.
pub(crate) fn megabytes(text: &str) -> Option<u64> {
    scaled(text, 1 << 20)
}

/// A number of seconds: `90`, `90s`, `15m`, `12h`, `7d`.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let scale = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number(digits)?.checked_mul(scale)
}

/// An octal file mode of at most 0777.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
    (mode <= 0o777).then_some(mode)
}

fn scaled(text: &str, bare: u64) -> Option<u64> {
    let (digits, unit) = split(text);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" => bare,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    number(digits)?.checked_mul(scale).filter(|&size| size <= SIZE_MAX)
}

/// The digits, and the unit behind them, perhaps after spaces.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let unit = rest.trim_start_matches(' ');
    // `10 ` is a slip, not a size.
    if unit.is_empty() { (digits, rest) } else { (digits, unit) }
}

/// A size in messages, as it could be written: `64m`, `10g`, `1000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)] {
            if self.0 != 0 && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("64k", Some(64 << 10)),
            ("64K", Some(64 << 10)),
            ("1m", Some(1 << 20)),
            ("1MB", Some(1 << 20)),
            ("1g", Some(1 << 30)),
            ("10GiB", Some(10 << 30)),
            ("10 GiB", Some(10 << 30)),
            ("2t", Some(2 << 40)),
            ("7b", Some(7)),
            ("9223372036854775807", Some(SIZE_MAX)),
            ("9223372036854775808", None),
            ("8388608t", None),
            ("99999999999999999999", None),
            ("", None),
            (" ", None),
            ("k", None),
            ("-1", None),
            ("+1", None),
            ("1.5g", None),
            ("1 ", None),
            (" 1", None),
            ("1x", None),
            ("1mm", None),
            ("0x10", None),
        ];
        for (text, size) in cases {
            assert_eq!(bytes(text), size, "{text:?}");
        }
    }

    #[test]
    fn bare_numbers_are_megabytes_for_m() {
        let cases = [
            ("0", Some(0)),
            ("64", Some(64 << 20)),
            ("64m", Some(64 << 20)),
            ("1g", Some(1 << 30)),
            ("8796093022208", None),
            ("-5", None),
            ("abc", None),
        ];
        for (text, size) in cases {
            assert_eq!(megabytes(text), size, "{text:?}");
        }
    }

    #[test]
    fn times() {
        let cases = [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("", None),
            ("-1", None),
            ("1w", None),
            ("18446744073709551615d", None),
        ];
        for (text, time) in cases {
            assert_eq!(seconds(text), time, "{text:?}");
        }
    }

    #[test]
    fn modes() {
        let cases = [
            ("700", Some(0o700)),
            ("0777", Some(0o777)),
            ("0", Some(0)),
            ("1777", None),
            ("788", None),
            ("", None),
            ("+7", None),
            ("77777777777777", None),
        ];
        for (text, expected) in cases {
            assert_eq!(mode(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_could_be_written() {
        for text in ["0", "1000", "1k", "1536k", "64m", "10g", "3t"] {
            assert_eq!(bytes(text).map(|size| Size(size).to_string()).as_deref(), Some(text));
        }
    }
}
