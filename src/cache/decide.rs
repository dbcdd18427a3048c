//! The rule book: what an operation means, given what exists.
//!
//! Pure: no clock, no database, no wire. The store calls it inside the transaction on the row it
//! read there, and does what the effect says. A dead item (expired or flushed) is `None` here: it
//! behaves as absent everywhere.

use crate::cache::{Deadline, Direction, Head, Item, Marks, Mode, Op, Outcome, Value};
use crate::clock::Seconds;
use crate::limits::ITEM_HEADER_BYTES;

/// What the database holds under the key, as far as the operation needs it.
#[derive(Debug, Clone)]
pub struct Existing {
    /// Flags, expiry, cas.
    pub head: Head,
    /// The bytes, where [`Op::needs_value`] says so.
    pub value: Option<Value>,
}

/// What a decision may depend on beside the item.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time, in whole seconds.
    pub now: Seconds,
    /// The cas that a store made by this decision gets.
    pub next_cas: u64,
    /// Length of the key in bytes.
    pub key_bytes: usize,
    /// Largest item in bytes, key and header included.
    pub item_bytes_max: u64,
}

/// What to do to the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Write this item in its place.
    Put(Item),
    /// Change only the expiry.
    Touch(Deadline),
    /// Remove it.
    Remove,
}

/// An answer and what it does to the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// For the client.
    pub outcome: Outcome,
    /// For the store.
    pub effect: Effect,
}

impl Decision {
    fn answer(outcome: Outcome) -> Self {
        Self { outcome, effect: Effect::None }
    }
}

/// Says what `op` means for what exists.
pub fn decide(existing: Option<&Existing>, op: &Op, context: Context) -> Decision {
    match op {
        Op::Fetch => fetch(existing, None, context),
        Op::FetchAndTouch { exptime } => {
            fetch(existing, Some(exptime.deadline(context.now)), context)
        }
        Op::Store { mode, flags, exptime, compare, value } => {
            let wanted = Wanted {
                flags: *flags,
                deadline: exptime.deadline(context.now),
                compare: *compare,
                value,
            };
            store(existing, *mode, &wanted, context)
        }
        Op::Arithmetic { direction, delta } => arithmetic(existing, *direction, *delta, context),
        Op::Touch { exptime } => match existing {
            None => Decision::answer(Outcome::NotFound),
            Some(_) => Decision {
                outcome: Outcome::Touched,
                effect: touch(exptime.deadline(context.now), context),
            },
        },
        Op::Delete => match existing {
            None => Decision::answer(Outcome::NotFound),
            Some(_) => Decision { outcome: Outcome::Deleted, effect: Effect::Remove },
        },
        Op::Discard => Decision {
            outcome: Outcome::TooLarge,
            effect: if existing.is_some() { Effect::Remove } else { Effect::None },
        },
    }
}

/// A new expiry. One that has passed removes the item: nobody could read it again.
fn touch(deadline: Deadline, context: Context) -> Effect {
    if deadline.is_past(context.now) { Effect::Remove } else { Effect::Touch(deadline) }
}

fn fetch(existing: Option<&Existing>, touched: Option<Deadline>, context: Context) -> Decision {
    let Some(existing) = existing else {
        return Decision::answer(Outcome::Miss(crate::cache::Absence::Unknown));
    };
    let item = Item { head: existing.head, value: whole(existing).clone() };
    // The value is returned even when the new expiry has passed (memcached: `gat -1`).
    let effect = touched.map_or(Effect::None, |deadline| touch(deadline, context));
    Decision { outcome: Outcome::Hit(item), effect }
}

struct Wanted<'a> {
    flags: u32,
    deadline: Deadline,
    compare: Option<u64>,
    value: &'a Value,
}

fn store(
    existing: Option<&Existing>,
    mode: Mode,
    wanted: &Wanted<'_>,
    context: Context,
) -> Decision {
    if let Some(compare) = wanted.compare {
        match existing {
            None => return Decision::answer(Outcome::NotFound),
            Some(found) if found.head.cas != compare => return Decision::answer(Outcome::Exists),
            Some(_) => {}
        }
    }
    let put = |flags, deadline, value| put(flags, deadline, value, context);
    match (mode, existing) {
        (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => {
            put(wanted.flags, wanted.deadline, wanted.value.clone())
        }
        (Mode::Add, Some(_)) | (Mode::Replace | Mode::Append | Mode::Prepend, None) => {
            Decision::answer(Outcome::NotStored)
        }
        // The client's flags and exptime are parsed and ignored here, as in memcached.
        (Mode::Append | Mode::Prepend, Some(found)) => {
            let old = whole(found).bytes();
            if !fits(old.len() + wanted.value.len(), context) {
                return Decision::answer(Outcome::NotStored);
            }
            let joined = if mode == Mode::Append {
                Value::joined(old, wanted.value.bytes())
            } else {
                Value::joined(wanted.value.bytes(), old)
            };
            put(found.head.flags, found.head.deadline, joined)
        }
    }
}

/// Stores a value under a new cas. One that has expired already only removes what was there.
fn put(flags: u32, deadline: Deadline, value: Value, context: Context) -> Decision {
    let outcome = Outcome::Stored { cas: context.next_cas };
    if deadline.is_past(context.now) {
        return Decision { outcome, effect: Effect::Remove };
    }
    let head = Head {
        flags,
        deadline,
        cas: context.next_cas,
        marks: Marks::default(),
        stored: context.now,
        value_bytes: value.len() as u64,
    };
    Decision { outcome, effect: Effect::Put(Item { head, value }) }
}

fn arithmetic(
    existing: Option<&Existing>,
    direction: Direction,
    delta: u64,
    context: Context,
) -> Decision {
    let Some(found) = existing else {
        return Decision::answer(Outcome::NotFound);
    };
    let old = whole(found).bytes();
    let Some(number) = number_in(old) else {
        return Decision::answer(Outcome::NotNumeric);
    };
    let number = match direction {
        Direction::Up => number.wrapping_add(delta),
        Direction::Down => number.saturating_sub(delta),
    };
    let mut text = number.to_string().into_bytes();
    // The length never shrinks: memcached pads with spaces, and clients compare as numbers.
    if text.len() < old.len() {
        text.resize(old.len(), b' ');
    }
    let head = Head {
        cas: context.next_cas,
        stored: context.now,
        value_bytes: text.len() as u64,
        ..found.head
    };
    let item = Item { head, value: text.into() };
    Decision { outcome: Outcome::Number(number), effect: Effect::Put(item) }
}

/// The number that `incr` sees in a value: what C's `strtoull` takes, up to the end or the first white
/// space behind it (memcached: `safe_strtoull`). Empty, negative and overflowing values are none.
pub fn number_in(value: &[u8]) -> Option<u64> {
    // C's isspace, which has a vertical tab beside what Rust calls ASCII white space.
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let text = &value[value.iter().take_while(|byte| is_space(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    if !rest.first().is_none_or(is_space) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (!negative || number == 0).then_some(number)
}

fn fits(value_bytes: usize, context: Context) -> bool {
    (value_bytes + context.key_bytes + ITEM_HEADER_BYTES) as u64 <= context.item_bytes_max
}

fn whole(existing: &Existing) -> &Value {
    existing.value.as_ref().expect("Op::needs_value said that the bytes are needed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Absence, Exptime};

    const NOW: Seconds = Seconds(1_800_000_000);

    fn context() -> Context {
        Context { now: NOW, next_cas: 9, key_bytes: 1, item_bytes_max: 1_024 }
    }

    fn existing(value: &str) -> Existing {
        let head = Head {
            flags: 5,
            deadline: Deadline::from_unix(NOW.0 + 50),
            cas: 3,
            marks: Marks::default(),
            stored: Seconds(NOW.0 - 10),
            value_bytes: value.len() as u64,
        };
        Existing { head, value: Some(value.as_bytes().into()) }
    }

    fn store_op(mode: Mode, exptime: i64, compare: Option<u64>) -> Op {
        Op::Store { mode, flags: 1, exptime: Exptime(exptime), compare, value: b"new"[..].into() }
    }

    #[test]
    fn modes_and_conditions() {
        use Outcome::{Exists, NotFound, NotStored, Stored};
        let found = existing("old");
        for (mode, compare, present, absent) in [
            (Mode::Set, None, Stored { cas: 9 }, Stored { cas: 9 }),
            (Mode::Add, None, NotStored, Stored { cas: 9 }),
            (Mode::Replace, None, Stored { cas: 9 }, NotStored),
            (Mode::Append, None, Stored { cas: 9 }, NotStored),
            (Mode::Prepend, None, Stored { cas: 9 }, NotStored),
            (Mode::Set, Some(3), Stored { cas: 9 }, NotFound),
            (Mode::Set, Some(4), Exists, NotFound),
            (Mode::Set, Some(0), Exists, NotFound),
        ] {
            let op = store_op(mode, 0, compare);
            assert_eq!(decide(Some(&found), &op, context()).outcome, present, "{mode:?}");
            assert_eq!(decide(None, &op, context()).outcome, absent, "{mode:?}");
        }
    }

    #[test]
    fn a_join_keeps_flags_and_expiry_and_a_set_does_not() {
        let found = existing("old");
        for (mode, flags, unix, value) in [
            (Mode::Set, 1, 0, "new"),
            (Mode::Append, 5, NOW.0 + 50, "oldnew"),
            (Mode::Prepend, 5, NOW.0 + 50, "newold"),
        ] {
            let Effect::Put(item) =
                decide(Some(&found), &store_op(mode, 0, None), context()).effect
            else {
                panic!("{mode:?} stores")
            };
            assert_eq!((item.head.flags, item.head.deadline.unix()), (flags, unix), "{mode:?}");
            assert_eq!(item.value.bytes(), value.as_bytes(), "{mode:?}");
        }
    }

    #[test]
    fn a_join_beyond_the_limit_keeps_the_old_value() {
        let found = existing(&"x".repeat(1_024 - 60 - 2));
        let decision = decide(Some(&found), &store_op(Mode::Append, 0, None), context());
        assert_eq!(decision, Decision::answer(Outcome::NotStored));
        let found = existing(&"x".repeat(1_024 - 60 - 3));
        let decision = decide(Some(&found), &store_op(Mode::Append, 0, None), context());
        assert_eq!(decision.outcome, Outcome::Stored { cas: 9 });
    }

    #[test]
    fn what_has_expired_on_arrival_removes() {
        let found = existing("old");
        let decision = decide(Some(&found), &store_op(Mode::Set, -1, None), context());
        assert_eq!(decision.outcome, Outcome::Stored { cas: 9 });
        assert_eq!(decision.effect, Effect::Remove);
        let decision = decide(Some(&found), &Op::FetchAndTouch { exptime: Exptime(-1) }, context());
        assert!(matches!(decision.outcome, Outcome::Hit(_)));
        assert_eq!(decision.effect, Effect::Remove);
    }

    #[test]
    fn numbers() {
        for (value, direction, delta, outcome, stored) in [
            ("10", Direction::Down, 1, Outcome::Number(9), "9 "),
            ("99", Direction::Up, 1, Outcome::Number(100), "100"),
            ("5", Direction::Down, 7, Outcome::Number(0), "0"),
            ("18446744073709551615", Direction::Up, 1, Outcome::Number(0), "0                   "),
            (" 5", Direction::Up, 1, Outcome::Number(6), "6 "),
            ("+5", Direction::Up, 1, Outcome::Number(6), "6 "),
            ("007", Direction::Up, 1, Outcome::Number(8), "8  "),
            ("7  ", Direction::Up, 1, Outcome::Number(8), "8  "),
            ("1 2", Direction::Up, 1, Outcome::Number(2), "2  "),
            ("\t\x0b12\n", Direction::Up, 1, Outcome::Number(13), "13   "),
            ("-0", Direction::Up, 1, Outcome::Number(1), "1 "),
        ] {
            let decision =
                decide(Some(&existing(value)), &Op::Arithmetic { direction, delta }, context());
            assert_eq!(decision.outcome, outcome, "{value}");
            let Effect::Put(item) = decision.effect else { panic!("{value} is stored") };
            assert_eq!(item.value.bytes(), stored.as_bytes(), "{value}");
            assert_eq!((item.head.flags, item.head.cas), (5, 9), "{value}");
        }
        for value in ["", " ", "12x", "-5", "18446744073709551616", " x", "- 1", "+"] {
            let op = Op::Arithmetic { direction: Direction::Up, delta: 1 };
            let decision = decide(Some(&existing(value)), &op, context());
            assert_eq!(decision, Decision::answer(Outcome::NotNumeric), "{value:?}");
        }
    }

    #[test]
    fn absent_items() {
        for (op, outcome) in [
            (Op::Fetch, Outcome::Miss(Absence::Unknown)),
            (Op::Delete, Outcome::NotFound),
            (Op::Touch { exptime: Exptime(1) }, Outcome::NotFound),
            (Op::Arithmetic { direction: Direction::Up, delta: 1 }, Outcome::NotFound),
            (Op::Discard, Outcome::TooLarge),
        ] {
            assert_eq!(decide(None, &op, context()), Decision::answer(outcome), "{op:?}");
        }
    }
}
