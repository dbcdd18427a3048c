//! Which keys are meant: `--prefix` and `--glob`, the same for every tool.
//!
//! A glob is over bytes: a key is no path and need not be text, so `*` takes every byte.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches};

use crate::cli::{Exit, Failure};

/// What the braces of a glob may come to together.
const GLOBS_MAX: usize = 1_024;

/// Both conditions hold for a key, where they are given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pattern {
    prefix: Vec<u8>,
    /// One of these, if there are any.
    globs: Vec<Glob>,
}

type Glob = Vec<Step>;

/// What stands for a piece of a key.
#[derive(Debug, Clone)]
enum Step {
    Byte(u8),
    AnyByte,
    AnyBytes,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

pub(crate) fn arguments() -> [Arg; 2] {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name(value).help(help);
        arg.value_parser(OsStringValueParser::new())
    };
    [
        text("prefix", "TEXT", "Keys that begin with this"),
        text(
            "glob",
            "GLOB",
            "Keys that match: * ? [a-z] [!a-z] {this,that}, \\ before any of these",
        ),
    ]
}

impl Pattern {
    pub(crate) fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        let bytes = |name| flags.get_one::<OsString>(name).map(|text| text.as_bytes());
        let globs = match bytes("glob") {
            None => Vec::new(),
            Some(glob) => parse(glob).map_err(|why| {
                let what = format!("the pattern of --glob is none: {why}; a \\ takes it as it is");
                Failure::new(Exit::Usage, what)
            })?,
        };
        Ok(Self { prefix: bytes("prefix").unwrap_or_default().to_vec(), globs })
    }

    /// Whether this key is meant.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && (self.globs.is_empty() || self.globs.iter().any(|glob| matches(glob, key)))
    }
}

/// `*` any bytes, `?` any byte, `[abc]`, `[a-z]`, `[!a]` one of a set, `{a,b}` one or the other, also
/// within each other; a backslash takes the next byte as it is.
fn parse(glob: &[u8]) -> Result<Vec<Glob>, String> {
    // For each open brace: what stood before it, and the alternatives that are complete.
    let mut open: Vec<(Vec<Glob>, Vec<Glob>)> = Vec::new();
    let mut globs = vec![Vec::new()];
    let mut rest = glob;
    while let [first, others @ ..] = rest {
        rest = others;
        let step = match (first, open.last_mut()) {
            (b'{', _) => {
                open.push((std::mem::replace(&mut globs, vec![Vec::new()]), Vec::new()));
                continue;
            }
            (b',', Some((_, done))) => {
                done.append(&mut globs);
                globs.push(Vec::new());
                continue;
            }
            (b'}', Some((before, done))) => {
                done.append(&mut globs);
                if before.len() * done.len() > GLOBS_MAX {
                    return Err(format!("its braces come to more than {GLOBS_MAX}"));
                }
                let joined = |begin: &Glob| {
                    done.iter().map(|end| [&begin[..], end].concat()).collect::<Vec<_>>()
                };
                globs = before.iter().flat_map(joined).collect();
                open.pop();
                continue;
            }
            (b'*', _) => Step::AnyBytes,
            (b'?', _) => Step::AnyByte,
            (b'[', _) => {
                let (step, behind) = set(rest).ok_or("a [ is not closed")?;
                rest = behind;
                step
            }
            (b'\\', _) => {
                let (byte, behind) = rest.split_first().ok_or("nothing is behind its last \\")?;
                rest = behind;
                Step::Byte(*byte)
            }
            (byte, _) => Step::Byte(*byte),
        };
        globs.iter_mut().for_each(|glob| glob.push(step.clone()));
    }
    if open.is_empty() { Ok(globs) } else { Err("a { is not closed".into()) }
}

/// A set behind its bracket, and what follows it. A closing bracket that comes first is one of the set.
fn set(glob: &[u8]) -> Option<(Step, &[u8])> {
    let negated = matches!(glob.first(), Some(b'!' | b'^'));
    let glob = &glob[usize::from(negated)..];
    let end = 1 + glob.iter().skip(1).position(|&byte| byte == b']')?;
    let mut rest = &glob[..end];
    let mut ranges = Vec::new();
    while let [first, others @ ..] = rest {
        let (last, others) = match others {
            [b'-', last, others @ ..] => (last, others),
            _ => (first, others),
        };
        ranges.push((*first, *last));
        rest = others;
    }
    Some((Step::Set { negated, ranges }, &glob[end + 1..]))
}

fn matches(glob: &[Step], key: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and how far it reaches: going back to the last one is enough.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let fits = match (glob.get(at), key.get(seen)) {
            (Some(Step::AnyBytes), _) => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(Step::AnyByte), Some(_)) => true,
            (Some(Step::Byte(wanted)), Some(byte)) => wanted == byte,
            (Some(Step::Set { negated, ranges }), Some(byte)) => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&byte)) != *negated
            }
            _ => false,
        };
        if fits {
            at += 1;
            seen += 1;
        } else if let Some((behind, reach)) = star.filter(|(_, reach)| *reach < key.len()) {
            star = Some((behind, reach + 1));
            (at, seen) = (behind, reach + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, yes, no) in [
            ("*", &[&b""[..], b"a", b"a/b", b"\xff\n\0"][..], &[][..]),
            ("user:*", &[b"user:", b"user:1"], &[&b"user"[..], b"xuser:"]),
            ("*:name", &[b"a:name", b":name", b"a:name:name"], &[b"a:names"]),
            ("a*b*c", &[b"abc", b"aXbXc", b"abbcc"], &[b"ab", b"acb"]),
            ("a?c", &[b"abc", b"a\x7fc", b"a\xffc", b"a/c"], &[b"ac", b"abbc"]),
            ("[a-c]x", &[b"ax", b"cx"], &[b"dx", b"x", b"-x"]),
            ("[!a-c]x", &[b"dx", b"\xffx"], &[b"ax", b"x"]),
            ("[]]x", &[b"]x"], &[b"[x"]),
            ("[a-]", &[b"a", b"-"], &[b"b"]),
            ("\\*\\{\\[", &[b"*{["], &[b"a{["]),
            ("*:{cart,basket}", &[b"1:cart", b":basket"], &[b"1:car", b"1:cart,"]),
            ("a{b,c{d,e}f,}g", &[b"abg", b"acdfg", b"acefg", b"ag"], &[b"acg", b"abf"]),
            ("{a,b}{c,d}", &[b"ac", b"ad", b"bc", b"bd"], &[b"ab", b"a"]),
            ("a,b}", &[b"a,b}"], &[b"a"]),
            ("", &[b""], &[b"a"]),
        ] {
            let globs = parse(glob.as_bytes()).expect(glob);
            let pattern = Pattern { prefix: Vec::new(), globs };
            for key in yes {
                assert!(pattern.matches(key), "{glob} {}", key.escape_ascii());
            }
            for key in no {
                assert!(!pattern.matches(key), "{glob} {}", key.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_glob() {
        let many = "{a,b,c,d}".repeat(6);
        for glob in ["[a", "[]", "{a,b", "a\\", &many] {
            assert!(parse(glob.as_bytes()).is_err(), "{glob}");
        }
    }
}
