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
        accessed: Seconds(0),
        value_bytes: value.len() as u64,
    };
    Existing { head, value: Some(value.as_bytes().into()) }
}

fn store_op(mode: Mode, exptime: i64, compare: Option<u64>) -> Op {
    let how = Store { compare, ..Store::plain(mode, 1, Exptime(exptime)) };
    Op::Store(how, b"new"[..].into())
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
fn the_time_of_storing_is_now_or_before() {
    for (said, stored) in [(None, NOW.0), (Some(5), 5), (Some(NOW.0 + 1), NOW.0)] {
        let how = Store { stored: said.map(Seconds), ..Store::default() };
        let op = Op::Store(how, b"v"[..].into());
        let Effect::Put(item) = decide(None, &op, context()).effect else {
            panic!("it stores")
        };
        assert_eq!(item.head.stored, Seconds(stored), "{said:?}");
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
