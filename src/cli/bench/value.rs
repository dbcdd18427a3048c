//! Values that testify for themselves: each begins with the hash of its key and its own length, and goes
//! on in a pattern, which begins at another letter in each version: a server may find out that nothing has
//! changed, as SQLite does page by page, and be faster with that than with anybody's real values.
//!
//! So an answer can be judged without remembering what was stored: one of another key, a cut one and a
//! mixed one are told apart from the right one, whatever sizes an earlier run has used. A value shorter
//! than its head has only a beginning of it.

use xxhash_rust::xxh3::xxh3_64;

/// Sixteen hexadecimal digits of the key's hash, eight of the length.
const HEAD_BYTES: usize = 24;

/// What follows the head is this, again and again, cut by its place in the value.
const PATTERN_BYTES: usize = 4_096;
static PATTERN: [u8; PATTERN_BYTES] = pattern();

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

const fn pattern() -> [u8; PATTERN_BYTES] {
    let mut bytes = [b'a'; PATTERN_BYTES];
    let mut at = 0;
    while at < PATTERN_BYTES {
        // Neighbouring rows differ, so that a shifted value is noticed.
        bytes[at] = LETTERS[(at + at / LETTERS.len()) % LETTERS.len()];
        at += 1;
    }
    bytes
}

/// A value's letters are told apart by the first behind its head in so many versions.
const VERSIONS: usize = LETTERS.len() - 1;

fn head(key: &[u8], bytes: usize) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (hash, length) = head.split_at_mut(16);
    hexadecimal(xxh3_64(key), hash);
    hexadecimal(bytes as u64, length);
    head
}

fn hexadecimal(mut number: u64, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Appends the value of this key in this length: one of several, by `version`.
pub(super) fn append(key: &[u8], bytes: usize, version: usize, out: &mut Vec<u8>) {
    let shift = version % VERSIONS;
    let head = head(key, bytes);
    let mut at = bytes.min(HEAD_BYTES);
    out.extend_from_slice(&head[..at]);
    while at < bytes {
        let from = (at + shift) % PATTERN_BYTES;
        let part = (PATTERN_BYTES - from).min(bytes - at);
        out.extend_from_slice(&PATTERN[from..from + part]);
        at += part;
    }
}

/// A value that is arriving.
#[derive(Debug)]
pub(super) struct Check {
    head: [u8; HEAD_BYTES],
    bytes: usize,
    at: usize,
    /// How far the pattern is shifted, as its first letter says.
    shift: usize,
    is_right: bool,
}

impl Check {
    pub(super) fn new(key: &[u8], bytes: usize) -> Self {
        Self { head: head(key, bytes), bytes, at: 0, shift: 0, is_right: true }
    }

    /// One that is not asked for is wrong whatever it is.
    pub(super) fn of_nobody(bytes: usize) -> Self {
        Self { is_right: false, ..Self::new(b"", bytes) }
    }

    /// Looks at the next bytes, and says how many of them are the value's.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.bytes - self.at);
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            if self.at == HEAD_BYTES {
                let shifts = &PATTERN[HEAD_BYTES..HEAD_BYTES + VERSIONS];
                self.shift = memchr::memchr(rest[0], shifts).unwrap_or(0);
            }
            let expected = match self.head.get(self.at..) {
                Some(head) if !head.is_empty() => head,
                _ => &PATTERN[(self.at + self.shift) % PATTERN_BYTES..],
            };
            let part = rest.len().min(expected.len());
            self.is_right &= rest[..part] == expected[..part];
            self.at += part;
            rest = &rest[part..];
        }
        taken
    }

    pub(super) fn is_whole(&self) -> bool {
        self.at == self.bytes
    }

    pub(super) fn is_right(&self) -> bool {
        self.is_right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(key: &[u8], value: &[u8], step: usize) -> bool {
        let mut check = Check::new(key, value.len());
        for part in value.chunks(step) {
            assert_eq!(check.take(part), part.len());
        }
        assert!(check.is_whole());
        check.is_right()
    }

    #[test]
    fn a_value_testifies_for_itself() {
        for bytes in [0, 1, 8, 23, 24, 25, 100, 4_096, 5_000, 100_000] {
            let mut value = Vec::new();
            append(b"key", bytes, 77, &mut value);
            assert_eq!(value.len(), bytes);
            for step in [1, 7, 4_096, usize::MAX] {
                assert!(judged(b"key", &value, step), "{bytes} in steps of {step}");
            }
            if bytes >= 16 {
                assert!(!judged(b"other", &value, 7), "{bytes}");
            }
            for at in [0, 20, 24, 99, 4_999] {
                // A letter alone may be another version's.
                if at < bytes && (at, bytes) != (24, 25) {
                    let mut broken = value.clone();
                    broken[at] ^= 1;
                    assert!(!judged(b"key", &broken, 7), "{bytes} at {at}");
                }
            }
            if bytes > 24 {
                assert!(!judged(b"key", &value[..bytes - 1], 7), "{bytes} cut");
            }
        }
    }

    #[test]
    fn versions_differ_everywhere_and_each_testifies() {
        let value = |version| {
            let mut value = Vec::new();
            append(b"key", 20_000, version, &mut value);
            value
        };
        for version in 0..VERSIONS {
            let (one, next) = (value(version), value(version + 1));
            assert!(judged(b"key", &one, 4_097), "{version}");
            let same = one.iter().zip(&next).skip(HEAD_BYTES).filter(|(a, b)| a == b).count();
            assert!(same < 1_000, "{same} bytes of {version} and the next are the same");
            let mixed = [&one[..9_000], &next[9_000..]].concat();
            assert!(!judged(b"key", &mixed, 4_097), "{version} and the next");
        }
    }
}
