//! The rule book: what an operation means, given what exists.
//!
//! Pure: no clock, no database, no wire. The store calls it inside the transaction on the row it
//! read there, and does what the effect says. A dead item (expired or flushed) is `None` here: it
//! behaves as absent everywhere.

use crate::cache::{
    Absence, Arithmetic, Content, Creation, Deadline, Delete, Direction, Fetch, Head, Hit, Item,
    Marks, Mode, Op, Outcome, Store, Value, Written,
};
use crate::clock::Seconds;
use crate::limits::ITEM_HEADER_BYTES;

/// What the database holds under the key, as far as the operation needs it.
#[derive(Debug, Clone)]
pub struct Existing {
    /// Flags, expiry, cas.
    pub head: Head,
    /// The bytes, or where they are, where [`Op::needs_value`] says so.
    pub value: Option<Content>,
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
    /// The same, and its value is one of these behind the other. One of them is in pieces.
    Join { head: Head, parts: [Content; 2] },
    /// Change only what stands beside the value: expiry, cas, marks.
    Head(Head),
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
    match (op, existing) {
        (Op::Fetch(fetch), None) => fetch_nothing(*fetch, context),
        (Op::Fetch(fetch), Some(found)) => fetch_item(found, *fetch, context),
        (Op::Store(how, value), _) => store(existing, how, value, context),
        (Op::Arithmetic(how), None) => count_from_nothing(how, context),
        (Op::Arithmetic(how), Some(found)) => arithmetic(found, how, context),
        (Op::Touch { .. } | Op::Delete(_), None) => Decision::answer(Outcome::NotFound),
        (Op::Touch { exptime }, Some(found)) => {
            let head = Head { deadline: exptime.deadline(context.now), ..found.head };
            let outcome = Outcome::Touched(written(&head, existing, context));
            Decision { outcome, effect: change(head, context) }
        }
        (Op::Delete(how), Some(found)) => delete(found, *how, context),
        (Op::Discard { why }, _) => Decision {
            outcome: why.map_or(Outcome::TooLarge, Outcome::Failed),
            effect: if existing.is_some() { Effect::Remove } else { Effect::None },
        },
    }
}

/// A new head. One that has expired removes the item: nobody could read it again.
fn change(head: Head, context: Context) -> Effect {
    if head.deadline.is_past(context.now) { Effect::Remove } else { Effect::Head(head) }
}

/// A new item. One that has expired already only removes what was there.
fn put(item: Item, context: Context) -> Effect {
    if item.head.deadline.is_past(context.now) { Effect::Remove } else { Effect::Put(item) }
}

fn written(head: &Head, existing: Option<&Existing>, context: Context) -> Written {
    Written {
        cas: head.cas,
        value_bytes: head.value_bytes,
        flags: head.flags,
        seconds_left: head.deadline.seconds_left(context.now),
        seconds_left_before: existing
            .and_then(|existing| existing.head.deadline.seconds_left(context.now)),
        created: existing.is_none(),
    }
}

fn fetch_nothing(fetch: Fetch, context: Context) -> Decision {
    let Some(creation) = fetch.create else {
        return Decision::answer(Outcome::Miss(Absence::Unknown));
    };
    let item = created(creation, (&b""[..]).into(), context);
    let made_with = item.head.deadline;
    let deadline = fetch.touch.map_or(made_with, |exptime| exptime.deadline(context.now));
    let stored = Head {
        marks: item.head.marks.won(),
        deadline: if fetch.touch_last { deadline } else { made_with },
        ..item.head
    };
    let effect = put(Item { head: stored, value: item.value.clone() }, context);
    let hit = Hit { item, deadline, won: true, created: Some(made_with), now: context.now };
    Decision { outcome: Outcome::Hit(hit), effect }
}

fn fetch_item(found: &Existing, fetch: Fetch, context: Context) -> Decision {
    let item = Item { head: found.head, value: whole(found).clone() };
    let won = fetch.wins(&found.head, context.now);
    let deadline = fetch.touch.map_or(found.head.deadline, |exptime| exptime.deadline(context.now));
    let marks = if won { found.head.marks.won() } else { found.head.marks };
    // The value is returned even when the new expiry has passed (memcached: `gat -1`).
    let effect = if won || fetch.touch.is_some() {
        change(Head { deadline, marks, ..found.head }, context)
    } else {
        Effect::None
    };
    let hit = Hit { item, deadline, won, created: None, now: context.now };
    Decision { outcome: Outcome::Hit(hit), effect }
}

/// An item that is made because there was none.
fn created(creation: Creation, value: Content, context: Context) -> Item {
    let head = Head {
        flags: 0,
        deadline: creation.exptime.deadline(context.now),
        cas: creation.cas.unwrap_or(context.next_cas),
        marks: Marks::fresh(creation.binary_key),
        stored: context.now,
        accessed: Seconds::default(),
        value_bytes: value.len(),
    };
    Item { head, value }
}

fn store(existing: Option<&Existing>, how: &Store, value: &Content, context: Context) -> Decision {
    let joins = matches!(how.mode, Mode::Append | Mode::Prepend);
    let mut stale = false;
    if let (Some(compare), false) = (how.compare, how.mode == Mode::Add) {
        match existing {
            None if joins && how.create.is_some() => {}
            None if joins => return Decision::answer(Outcome::NotStored),
            None => return Decision::answer(Outcome::NotFound),
            Some(found) if found.head.cas == compare => {}
            Some(found) if how.invalidate && !joins && (1..found.head.cas).contains(&compare) => {
                stale = true;
            }
            Some(_) => return Decision::answer(Outcome::Exists),
        }
    }
    let fresh = Head {
        flags: how.flags,
        deadline: how.exptime.deadline(context.now),
        cas: how.cas.unwrap_or(context.next_cas),
        marks: Marks::fresh(how.binary_key),
        // Nothing was stored in the future, whatever another machine's clock said.
        stored: how.stored.map_or(context.now, |stored| stored.min(context.now)),
        accessed: Seconds::default(),
        value_bytes: value.len(),
    };
    let (head, value) = match (how.mode, existing, how.create) {
        (Mode::Set | Mode::Replace, Some(found), _) if stale => {
            let marks = Marks::fresh(how.binary_key).stale();
            let marks = if found.head.marks.is_won() { marks.won() } else { marks };
            (Head { deadline: found.head.deadline, marks, ..fresh }, value.clone())
        }
        (Mode::Set, _, _) | (Mode::Add, None, _) | (Mode::Replace, Some(_), _) => {
            (fresh, value.clone())
        }
        (Mode::Append | Mode::Prepend, None, Some(exptime)) => {
            (Head { deadline: exptime.deadline(context.now), ..fresh }, value.clone())
        }
        (Mode::Add, Some(_), _) | (Mode::Replace | Mode::Append | Mode::Prepend, None, _) => {
            return Decision::answer(Outcome::NotStored);
        }
        // The client's flags and exptime are parsed and ignored here, as in memcached.
        (Mode::Append | Mode::Prepend, Some(found), _) => {
            let old = whole(found);
            let value_bytes = old.len() + value.len();
            if !fits(value_bytes, context) {
                return Decision::answer(Outcome::NotStored);
            }
            let [first, second] =
                if how.mode == Mode::Append { [old, value] } else { [value, old] };
            let Head { flags, deadline, marks, .. } = found.head;
            let head = Head { flags, deadline, marks: marks.renewed(), value_bytes, ..fresh };
            match (first, second) {
                (Content::Whole(first), Content::Whole(second)) => {
                    (head, Value::joined(first.bytes(), second.bytes()).into())
                }
                _ => return join(head, [first.clone(), second.clone()], existing, context),
            }
        }
    };
    let outcome = Outcome::Stored(written(&head, existing, context));
    Decision { outcome, effect: put(Item { head, value }, context) }
}

fn join(
    head: Head,
    parts: [Content; 2],
    existing: Option<&Existing>,
    context: Context,
) -> Decision {
    let outcome = Outcome::Stored(written(&head, existing, context));
    let is_past = head.deadline.is_past(context.now);
    Decision {
        outcome,
        effect: if is_past { Effect::Remove } else { Effect::Join { head, parts } },
    }
}

fn delete(found: &Existing, how: Delete, context: Context) -> Decision {
    if how.compare.is_some_and(|compare| compare != found.head.cas) {
        return Decision::answer(Outcome::Exists);
    }
    let outcome = Outcome::Deleted;
    let mut head = found.head;
    if how.invalidate {
        head.marks = head.marks.stale();
        head.cas = context.next_cas;
    }
    head.cas = how.cas.unwrap_or(head.cas);
    let touched = how.touch.map(|exptime| exptime.deadline(context.now));
    let effect = if let Some(flags) = how.empty {
        let deadline = touched.unwrap_or(Deadline::NEVER);
        let marks = if how.invalidate { head.marks } else { head.marks.renewed() };
        let accessed = Seconds::default();
        let head = Head { flags, deadline, marks, accessed, value_bytes: 0, ..head };
        put(Item { head, value: (&b""[..]).into() }, context)
    } else if how.invalidate {
        change(Head { deadline: touched.unwrap_or(head.deadline), ..head }, context)
    } else {
        Effect::Remove
    };
    Decision { outcome, effect }
}

fn count_from_nothing(how: &Arithmetic, context: Context) -> Decision {
    let Some((number, creation)) = how.create else {
        return Decision::answer(Outcome::NotFound);
    };
    let creation = Creation { cas: creation.cas.or(how.cas), ..creation };
    let item = created(creation, number.to_string().into_bytes().into(), context);
    let outcome = Outcome::Number(number, written(&item.head, None, context));
    Decision { outcome, effect: put(item, context) }
}

fn arithmetic(found: &Existing, how: &Arithmetic, context: Context) -> Decision {
    // No number has so many digits (memcached: a chunked item is none either).
    let Content::Whole(old) = whole(found) else {
        return Decision::answer(Outcome::NotNumeric);
    };
    let old = old.bytes();
    if old.is_empty() {
        return Decision::answer(Outcome::NotNumeric);
    }
    if how.compare.is_some_and(|compare| compare != found.head.cas) {
        return Decision::answer(Outcome::Exists);
    }
    let Some(number) = number_in(old) else {
        return Decision::answer(Outcome::NotNumeric);
    };
    let number = match how.direction {
        Direction::Up => number.wrapping_add(how.delta),
        Direction::Down => number.saturating_sub(how.delta),
    };
    let mut text = number.to_string().into_bytes();
    // The length never shrinks: memcached pads with spaces, and clients compare as numbers.
    if text.len() < old.len() {
        text.resize(old.len(), b' ');
    }
    let head = Head {
        deadline: how.touch.map_or(found.head.deadline, |exptime| exptime.deadline(context.now)),
        cas: how.cas.unwrap_or(context.next_cas),
        stored: context.now,
        value_bytes: text.len() as u64,
        ..found.head
    };
    let outcome = Outcome::Number(number, written(&head, Some(found), context));
    Decision { outcome, effect: put(Item { head, value: text.into() }, context) }
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

fn fits(value_bytes: u64, context: Context) -> bool {
    value_bytes + (context.key_bytes + ITEM_HEADER_BYTES) as u64 <= context.item_bytes_max
}

fn whole(existing: &Existing) -> &Content {
    existing.value.as_ref().expect("Op::needs_value said that the bytes are needed")
}

#[cfg(test)]
mod tests;
