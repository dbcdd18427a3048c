//! Which keys are meant: a prefix, and a glob over bytes.

/// Both conditions hold for a key, where they are given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    pub(crate) prefix: Vec<u8>,
    pub(crate) glob: Option<Vec<u8>>,
}

impl Pattern {
    /// Whether this key is meant.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix) && self.glob.as_deref().is_none_or(|glob| matches(glob, key))
    }
}

/// `*` any bytes, `?` any byte, `[abc]`, `[a-z]`, `[!a]` one of a set; a backslash takes the next byte
/// as it is. A set without an end is an ordinary bracket.
fn matches(glob: &[u8], key: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and how far it reaches: going back to the last one is enough.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if glob.get(at) == Some(&b'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        let step = match (key.get(seen), at < glob.len()) {
            (None, false) => return true,
            (Some(&byte), true) => one(&glob[at..], byte),
            _ => None,
        };
        if let Some(length) = step {
            at += length;
            seen += 1;
        } else if let Some((behind, reach)) = star.filter(|(_, reach)| *reach < key.len()) {
            star = Some((behind, reach + 1));
            (at, seen) = (behind, reach + 1);
        } else {
            return false;
        }
    }
}

/// How many bytes of the glob stand for this one byte, if they do.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => {
            let negated = matches!(set.first(), Some(b'!' | b'^'));
            let set = &set[usize::from(negated)..];
            // A bracket that comes first is one of the set.
            let Some(end) = set.iter().skip(1).position(|&byte| byte == b']') else {
                return (byte == b'[').then_some(1);
            };
            let end = end + 1;
            let mut rest = &set[..end];
            let mut found = false;
            while let [first, others @ ..] = rest {
                rest = others;
                if let [b'-', last, others @ ..] = rest {
                    found |= (*first..=*last).contains(&byte);
                    rest = others;
                } else {
                    found |= *first == byte;
                }
            }
            (found != negated).then_some(1 + usize::from(negated) + end + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, yes, no) in [
            ("*", &["", "a", "a/b"][..], &[][..]),
            ("user:*", &["user:", "user:1"], &["user", "xuser:"]),
            ("*:name", &["a:name", ":name", "a:name:name"], &["a:names"]),
            ("a*b*c", &["abc", "aXbXc", "abbcc"], &["ab", "acb"]),
            ("a?c", &["abc", "a\u{7f}c"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]),
            ("[!a-c]x", &["dx"], &["ax", "x"]),
            ("[]]x", &["]x"], &["[x"]),
            ("[x", &["[x"], &["x"]),
            ("\\*", &["*"], &["a"]),
            ("", &[""], &["a"]),
        ] {
            for key in yes {
                assert!(matches(glob.as_bytes(), key.as_bytes()), "{glob} {key}");
            }
            for key in no {
                assert!(!matches(glob.as_bytes(), key.as_bytes()), "{glob} {key}");
            }
        }
    }
}
