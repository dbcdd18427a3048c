//! Words and numbers of a text line, read as memcached reads them.

/// The words of a line: separated by one or more spaces, and by nothing else (a tab is part of a
/// word).
pub(super) struct Tokens<'b> {
    rest: &'b [u8],
}

impl<'b> Tokens<'b> {
    pub(super) fn new(line: &'b [u8]) -> Self {
        Self { rest: line }
    }

    /// What stands behind the words taken so far.
    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }
}

impl<'b> Iterator for Tokens<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let start = self.rest.iter().position(|&byte| byte != b' ')?;
        let rest = &self.rest[start..];
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let (token, rest) = rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

/// Digits behind an optional sign, as C's `strtol` takes them: (negative, magnitude).
fn signed(token: &[u8]) -> Option<(bool, u64)> {
    let (negative, digits) = match token {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some((negative, number))
}

/// An unsigned 64-bit number (memcached: `safe_strtoull`, which refuses negative ones).
pub(super) fn unsigned(token: &[u8]) -> Option<u64> {
    match signed(token)? {
        (true, number) if number > 0 => None,
        (_, number) => Some(number),
    }
}

/// An unsigned 32-bit number, as administrative commands take it.
pub(super) fn unsigned_32(token: &[u8]) -> Option<u32> {
    unsigned(token).and_then(|number| u32::try_from(number).ok())
}

/// A signed 64-bit number (memcached: `safe_strtol`).
pub(super) fn integer(token: &[u8]) -> Option<i64> {
    let (negative, number) = signed(token)?;
    let number = i128::from(number);
    i64::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words = |line: &'static str| -> Vec<&[u8]> { Tokens::new(line.as_bytes()).collect() };
        assert_eq!(words("get  a b "), [b"get".as_slice(), b"a", b"b"]);
        assert_eq!(words("get\ta"), [b"get\ta".as_slice()]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn numbers() {
        for (token, as_unsigned, as_integer) in [
            ("0", Some(0), Some(0)),
            ("+5", Some(5), Some(5)),
            ("-5", None, Some(-5)),
            ("18446744073709551615", Some(u64::MAX), None),
            ("18446744073709551616", None, None),
            ("-9223372036854775808", None, Some(i64::MIN)),
            ("007", Some(7), Some(7)),
            ("", None, None),
            ("-", None, None),
            ("1x", None, None),
            ("0x10", None, None),
        ] {
            assert_eq!(unsigned(token.as_bytes()), as_unsigned, "{token}");
            assert_eq!(integer(token.as_bytes()), as_integer, "{token}");
        }
    }
}
