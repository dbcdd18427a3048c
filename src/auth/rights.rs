//! What a user may do: verbs, and the beginnings of the keys that he may do it to.
//!
//! Reads what stands behind `rights` in the file of users. Knows no command: which verb one needs is written down
//! where commands are answered. Stays true: a user of whom the file says nothing may do everything, and what it says
//! only takes away.

use std::fmt;
use std::ops::BitOr;

use crate::limits::{KEY_BYTES_MAX, RIGHTS_PREFIXES_MAX};

/// Verbs: any of read, write and admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// To be told what is stored.
    pub const READ: Self = Self(1);
    /// To change what is stored, a key at a time.
    pub const WRITE: Self = Self(2);
    /// To command the server.
    pub const ADMIN: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    const NAMES: [(Self, &'static str); 3] =
        [(Self::READ, "read"), (Self::WRITE, "write"), (Self::ADMIN, "admin")];

    /// Whether all of `others` are among them.
    pub fn include(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those of `others` that are not among them.
    pub fn lack(self, others: Self) -> Self {
        Self(others.0 & !self.0)
    }

    /// `VERB[,VERB...]`.
    fn parse(word: &[u8]) -> Result<Self, &'static str> {
        word.split(|&byte| byte == b',').try_fold(Self::NONE, |verbs, name| {
            let named = Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name);
            match named {
                None => Err("there is a verb in it that is none of read, write and admin"),
                Some((verb, _)) if verbs.include(*verb) => Err("there is a verb in it twice"),
                Some((verb, _)) => Ok(verbs | *verb),
            }
        })
    }
}

impl BitOr for Verbs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Their names, with commas between.
impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (verb, name) in Self::NAMES {
            if self.include(verb) {
                write!(f, "{between}{name}")?;
                between = ",";
            }
        }
        Ok(())
    }
}

/// What a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    verbs: Verbs,
    /// What his keys begin with, one of these; none for all keys.
    prefixes: Vec<Box<[u8]>>,
}

impl Rights {
    /// Those of a user of whom the file says nothing else.
    pub fn everything() -> Self {
        Self { verbs: Verbs::ALL, prefixes: Vec::new() }
    }

    /// What stands behind the user's name: `VERB[,VERB...] [PREFIX ...]`, with blanks between.
    pub(super) fn parse<'w>(
        mut words: impl Iterator<Item = &'w [u8]>,
    ) -> Result<Self, &'static str> {
        let verbs = Verbs::parse(words.next().ok_or("there is no verb in it")?)?;
        let mut prefixes = Vec::new();
        for prefix in words {
            if prefixes.len() == RIGHTS_PREFIXES_MAX {
                return Err("it has more than 16 prefixes");
            }
            if prefix.starts_with(b"#") {
                return Err("a prefix begins with #, and there are no comments in this file");
            }
            if prefix.len() > KEY_BYTES_MAX {
                return Err("a prefix in it is longer than any key");
            }
            prefixes.push(prefix.into());
        }
        Ok(Self { verbs, prefixes })
    }

    /// The verbs.
    pub fn verbs(&self) -> Verbs {
        self.verbs
    }

    /// Whether his verbs are for all keys.
    pub fn are_for_all_keys(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Whether they are for this key.
    pub fn are_for(&self, key: &[u8]) -> bool {
        self.are_for_all_keys() || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Rights, &'static str> {
        Rights::parse(text.split(|&byte| byte == b' ').filter(|word| !word.is_empty()))
    }

    #[test]
    fn verbs_by_their_names() {
        for (text, expected) in [
            ("read", "read"),
            ("admin,read", "read,admin"),
            ("write,admin,read", "read,write,admin"),
            ("read,read", "there is a verb in it twice"),
            ("", "there is no verb in it"),
            ("read,", "there is a verb in it that is none of read, write and admin"),
            ("Read", "there is a verb in it that is none of read, write and admin"),
            ("all", "there is a verb in it that is none of read, write and admin"),
        ] {
            let found = parse(text.as_bytes()).map_or_else(str::to_owned, |r| r.verbs.to_string());
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(Verbs::READ.lack(Verbs::READ | Verbs::WRITE), Verbs::WRITE);
        assert!(Verbs::ALL.include(Verbs::ADMIN) && !Verbs::READ.include(Verbs::ADMIN));
    }

    #[test]
    fn keys_by_their_beginnings() {
        let all = parse(b"read").expect("rights");
        assert!(all.are_for_all_keys() && all.are_for(b"k"));
        let some = parse(b"read user: \xff").expect("rights");
        assert!(!some.are_for_all_keys());
        for (key, is_his) in [
            (b"user:".as_slice(), true),
            (b"user:1 2", true),
            (b"\xff\0", true),
            (b"user", false),
            (b"User:1", false),
            (b" user:1", false),
            (b"xuser:", false),
        ] {
            assert_eq!(some.are_for(key), is_his, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn prefixes_are_bounded() {
        let with = |prefixes: usize, bytes: usize| {
            let prefixes: Vec<_> = (0..prefixes).map(|_| vec![b'x'; bytes]).collect();
            parse(&[b"read ", prefixes.join(&b' ').as_slice()].concat())
        };
        assert!(with(RIGHTS_PREFIXES_MAX, KEY_BYTES_MAX).is_ok());
        let more = with(RIGHTS_PREFIXES_MAX + 1, 1);
        assert_eq!(more, Err("it has more than 16 prefixes"));
        let longer = with(1, KEY_BYTES_MAX + 1);
        assert_eq!(longer, Err("a prefix in it is longer than any key"));
    }
}
