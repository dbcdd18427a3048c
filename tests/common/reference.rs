//! What memcached does with a sequence of classic commands, in a page.
//!
//! The rules are written from memcached's documentation and behaviour, not from `cache::decide`, on
//! purpose. `tests/model.rs` walks beside a daemon with it, `fuzz/src/ops.rs` beside a store.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What is sent.
#[derive(Debug, Clone)]
pub enum Op {
    Store { verb: &'static str, key: String, flags: u32, exptime: i64, value: Vec<u8>, cas: u64 },
    Get { verb: &'static str, keys: Vec<String> },
    GetAndTouch { verb: &'static str, exptime: i64, keys: Vec<String> },
    Touch { key: String, exptime: i64 },
    Delete { key: String },
    Arithmetic { verb: &'static str, key: String, delta: u64 },
    Flush { delay: Option<i64> },
}

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Line(String),
    Values(Vec<Shown>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub key: String,
    pub flags: u32,
    pub value: Vec<u8>,
    /// Which of all the changes made this item; `gets` shows a number of its own for it.
    pub change: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub flags: u32,
    pub value: Vec<u8>,
    pub gone_at: Option<i64>,
    pub change: u64,
}

/// What memcached does.
#[derive(Debug, Default)]
pub struct Model {
    pub now: i64,
    pub items: BTreeMap<String, Item>,
    pub flush_at: Option<i64>,
    pub changes: u64,
}

impl Model {
    pub fn answer(&mut self, op: &Op, cas_is_current: bool) -> Reply {
        let word = match op {
            Op::Store { verb, key, flags, exptime, value, .. } => {
                self.store(verb, key, (*flags, *exptime, value), cas_is_current)
            }
            Op::Get { verb, keys } => return self.values(keys, *verb == "gets"),
            Op::GetAndTouch { verb, exptime, keys } => {
                // Key by key: one that expires at once is gone when it is named again.
                let each = keys.iter().flat_map(|key| {
                    let Reply::Values(found) =
                        self.values(std::slice::from_ref(key), *verb == "gats")
                    else {
                        unreachable!("values are shown as values")
                    };
                    self.touch(key, *exptime);
                    found
                });
                return Reply::Values(each.collect());
            }
            Op::Touch { key, exptime } if self.touch(key, *exptime) => "TOUCHED",
            Op::Delete { key } if self.items.remove(key).is_some() => "DELETED",
            Op::Touch { .. } | Op::Delete { .. } => "NOT_FOUND",
            Op::Arithmetic { verb, key, delta } => return self.arithmetic(verb, key, *delta),
            Op::Flush { delay } => {
                self.flush_at = Some(self.now + delay.unwrap_or(0).max(0));
                self.pass(0);
                "OK"
            }
        };
        Reply::Line(word.to_owned())
    }

    /// Time passes, and takes along what is due.
    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.items.retain(|_, item| item.gone_at.is_none_or(|at| at > self.now));
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.items.clear();
            self.flush_at = None;
        }
    }

    fn gone_at(&self, exptime: i64) -> Option<i64> {
        match exptime {
            0 => None,
            ..0 => Some(self.now),
            1..=2_592_000 => Some(self.now + exptime),
            _ => Some(exptime),
        }
    }

    fn store(
        &mut self,
        verb: &str,
        key: &str,
        (flags, exptime, value): (u32, i64, &[u8]),
        cas_is_current: bool,
    ) -> &'static str {
        let gone_at = self.gone_at(exptime);
        let change = self.changes + 1;
        let fresh = Item { flags, value: value.to_vec(), gone_at, change };
        let old = self.items.get(key).cloned();
        let item = match (verb, old) {
            ("set", _) | ("add", None) | ("replace", Some(_)) => fresh,
            ("cas", Some(_)) if cas_is_current => fresh,
            ("cas", Some(_)) => return "EXISTS",
            ("cas", None) => return "NOT_FOUND",
            ("append", Some(old)) => Item { value: [&old.value, value].concat(), change, ..old },
            ("prepend", Some(old)) => Item { value: [value, &old.value].concat(), change, ..old },
            _ => return "NOT_STORED",
        };
        self.put(key, item);
        "STORED"
    }

    fn put(&mut self, key: &str, item: Item) {
        self.changes += 1;
        self.items.insert(key.to_owned(), item);
        self.pass(0);
    }

    fn touch(&mut self, key: &str, exptime: i64) -> bool {
        let gone_at = self.gone_at(exptime);
        let found = self.items.get_mut(key).map(|item| item.gone_at = gone_at);
        self.pass(0);
        found.is_some()
    }

    fn arithmetic(&mut self, verb: &str, key: &str, delta: u64) -> Reply {
        let Some(old) = self.items.get(key).cloned() else {
            return Reply::Line("NOT_FOUND".to_owned());
        };
        let Some(number) = number(&old.value) else {
            let line = "CLIENT_ERROR cannot increment or decrement non-numeric value";
            return Reply::Line(line.to_owned());
        };
        let number =
            if verb == "incr" { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        let line = number.to_string();
        let value = format!("{line:<width$}", width = old.value.len()).into_bytes();
        self.put(key, Item { value, change: self.changes + 1, ..old });
        Reply::Line(line)
    }

    fn values(&self, keys: &[String], with_cas: bool) -> Reply {
        let shown = keys.iter().filter_map(|key| {
            let item = self.items.get(key)?;
            let change = with_cas.then_some(item.change);
            Some(Shown { key: key.clone(), flags: item.flags, value: item.value.clone(), change })
        });
        Reply::Values(shown.collect())
    }
}

/// What C's `strtoull` reads off the front of a value, if a space or the end follows.
fn number(value: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.split_ascii_whitespace().next().filter(|_| !text.starts_with(' '))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The cas ids that were seen, and the changes they stand for.
#[derive(Debug, Default)]
pub struct Ids {
    of_change: BTreeMap<u64, u64>,
    change_of: BTreeMap<u64, u64>,
}

impl Ids {
    /// The change that a cas id stands for: seen at first it is the expected one, if that had no
    /// other id, and from then on the same. 0 is none.
    pub fn change_of(&mut self, cas: u64, expected: Option<u64>) -> u64 {
        if let Some(&known) = self.change_of.get(&cas) {
            return known;
        }
        let Some(change) = expected.filter(|change| !self.of_change.contains_key(change)) else {
            return 0;
        };
        self.of_change.insert(change, cas);
        self.change_of.insert(cas, change);
        change
    }

    /// The id of the item under a key, if it was seen.
    pub fn current(&self, model: &Model, key: &str) -> Option<u64> {
        self.of_change.get(&model.items.get(key)?.change).copied()
    }

    /// Whether an operation's cas id is that of its item.
    pub fn is_current(&self, model: &Model, op: &Op) -> bool {
        let Op::Store { key, cas, .. } = op else { return false };
        let change = |item: &Item| self.change_of.get(cas) == Some(&item.change);
        model.items.get(key).is_some_and(change)
    }

    /// All that were seen.
    pub fn seen(&self) -> impl ExactSizeIterator<Item = u64> {
        self.change_of.keys().copied()
    }
}

/// The command as it is sent.
pub fn bytes_of(op: &Op, silent: bool) -> Vec<u8> {
    let mut line = match op {
        Op::Store { verb, key, flags, exptime, value, cas } => {
            let mut line = format!("{verb} {key} {flags} {exptime} {}", value.len());
            if *verb == "cas" {
                write!(line, " {cas}").expect("a String takes everything");
            }
            line
        }
        Op::Get { verb, keys } => format!("{verb} {}", keys.join(" ")),
        Op::GetAndTouch { verb, exptime, keys } => format!("{verb} {exptime} {}", keys.join(" ")),
        Op::Touch { key, exptime } => format!("touch {key} {exptime}"),
        Op::Delete { key } => format!("delete {key}"),
        Op::Arithmetic { verb, key, delta } => format!("{verb} {key} {delta}"),
        Op::Flush { delay: None } => "flush_all".to_owned(),
        Op::Flush { delay: Some(delay) } => format!("flush_all {delay}"),
    };
    line.push_str(if silent { " noreply\r\n" } else { "\r\n" });
    let mut bytes = line.into_bytes();
    if let Op::Store { value, .. } = op {
        bytes.extend(value);
        bytes.extend(b"\r\n");
    }
    bytes
}
