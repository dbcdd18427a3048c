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

/// An outcome without its figures.
fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Hit(hit) if hit.won => "won",
        Outcome::Hit(_) => "hit",
        Outcome::Miss(_) => "miss",
        Outcome::Stored(written) => {
            assert!(written.cas > 0);
            "stored"
        }
        Outcome::NotStored => "not stored",
        Outcome::Exists => "exists",
        Outcome::NotFound => "not found",
        Outcome::Deleted => "deleted",
        Outcome::Touched(_) => "touched",
        Outcome::Number(..) => "number",
        Outcome::NotNumeric => "not numeric",
        Outcome::TooLarge => "too large",
        Outcome::Flushed | Outcome::Failed(_) => unreachable!("nothing that decide() says"),
    }
}

fn put_by(decision: &Decision) -> &Item {
    match &decision.effect {
        Effect::Put(item) => item,
        other => panic!("it stores: {other:?}"),
    }
}

fn head_by(decision: &Decision) -> Head {
    match &decision.effect {
        Effect::Head(head) => *head,
        other => panic!("it changes the head: {other:?}"),
    }
}

#[test]
fn modes_and_conditions() {
    let found = existing("old");
    for (mode, compare, present, absent) in [
        (Mode::Set, None, "stored", "stored"),
        (Mode::Add, None, "not stored", "stored"),
        (Mode::Add, Some(4), "not stored", "stored"),
        (Mode::Replace, None, "stored", "not stored"),
        (Mode::Append, None, "stored", "not stored"),
        (Mode::Prepend, None, "stored", "not stored"),
        (Mode::Set, Some(3), "stored", "not found"),
        (Mode::Set, Some(4), "exists", "not found"),
        (Mode::Set, Some(0), "exists", "not found"),
        (Mode::Replace, Some(3), "stored", "not found"),
        (Mode::Replace, Some(4), "exists", "not found"),
        (Mode::Append, Some(3), "stored", "not stored"),
        (Mode::Prepend, Some(4), "exists", "not stored"),
    ] {
        let op = store_op(mode, 0, compare);
        let outcome = decide(Some(&found), &op, context()).outcome;
        assert_eq!(name(&outcome), present, "{mode:?} {compare:?}");
        assert_eq!(name(&decide(None, &op, context()).outcome), absent, "{mode:?} {compare:?}");
    }
}

#[test]
fn an_older_cas_that_invalidates_stores_what_is_stale() {
    let mut found = existing("old");
    found.head.cas = 30;
    for (compare, outcome) in [(29, "stored"), (30, "stored"), (31, "exists")] {
        for sent in [false, true] {
            found.head.marks = if sent { Marks::default().won() } else { Marks::default() };
            let how = Store {
                compare: Some(compare),
                invalidate: true,
                ..Store::plain(Mode::Set, 7, Exptime(5))
            };
            let decision = decide(Some(&found), &Op::Store(how, b"n"[..].into()), context());
            assert_eq!(name(&decision.outcome), outcome, "{compare}");
            if compare == 29 {
                let head = put_by(&decision).head;
                assert_eq!(
                    (head.flags, head.deadline),
                    (7, found.head.deadline),
                    "its expiry stays"
                );
                assert_eq!((head.marks.is_stale(), head.marks.is_won()), (true, sent));
            } else if compare == 30 {
                assert_eq!(put_by(&decision).head.marks, Marks::default());
            }
        }
    }
}

#[test]
fn stale_and_short_lived_items_are_won_once() {
    let fetch = Fetch { claims: true, ..Fetch::default() };
    let recache = |seconds| Fetch { recache: Some(Exptime(seconds)), ..fetch };
    let touched = Fetch { touch: Some(Exptime(100)), ..recache(60) };
    let mut stale = existing("v");
    stale.head.marks = Marks::default().stale();
    let mut sent = existing("v");
    sent.head.marks = Marks::default().stale().won();
    let mut lasting = existing("v");
    lasting.head.deadline = Deadline::NEVER;
    for (found, how, expected) in [
        (&existing("v"), fetch, "hit"),
        (&stale, fetch, "won"),
        (&stale, Fetch::default(), "hit"),
        (&sent, fetch, "hit"),
        (&sent, recache(60), "hit"),
        (&existing("v"), recache(60), "won"),
        (&existing("v"), recache(50), "hit"),
        (&existing("v"), recache(0), "hit"),
        (&lasting, recache(60), "hit"),
        (&existing("v"), touched, "won"),
        (&existing("v"), Fetch { touch_first: true, ..touched }, "hit"),
    ] {
        let decision = decide(Some(found), &Op::Fetch(how), context());
        assert_eq!(name(&decision.outcome), expected, "{found:?} {how:?}");
        assert_eq!(how.leaves(&found.head, NOW), decision.effect == Effect::None, "{how:?}");
        if expected == "won" {
            assert!(head_by(&decision).marks.is_won());
            assert_eq!(head_by(&decision).cas, found.head.cas, "a token is no new value");
        }
    }
}

#[test]
fn what_is_not_there_is_made() {
    let creation = Creation { exptime: Exptime(30), cas: None, binary_key: true };
    let fetch = Fetch { claims: true, create: Some(creation), ..Fetch::default() };
    let decision = decide(None, &Op::Fetch(fetch), context());
    assert_eq!(name(&decision.outcome), "won");
    let head = put_by(&decision).head;
    assert_eq!((head.deadline.unix(), head.cas, head.value_bytes), (NOW.0 + 30, 9, 0));
    assert!(head.marks.is_won() && head.marks.is_binary_key());
    let Outcome::Hit(hit) = &decision.outcome else { unreachable!("see above") };
    assert!(!hit.item.head.marks.is_won(), "the finder is told W, not Z");

    let append = Store { create: Some(Exptime(40)), ..Store::plain(Mode::Append, 7, Exptime(99)) };
    let decision = decide(None, &Op::Store(append, b"v"[..].into()), context());
    assert_eq!(put_by(&decision).head.deadline.unix(), NOW.0 + 40);

    let count = Arithmetic {
        create: Some((5, Creation { cas: Some(77), ..creation })),
        touch: Some(Exptime(99)),
        ..Arithmetic::plain(Direction::Up, 3)
    };
    let decision = decide(None, &Op::Arithmetic(count), context());
    let item = put_by(&decision);
    assert_eq!(
        (item.value.whole().unwrap().bytes(), item.head.cas),
        (&b"5"[..], 77),
        "the delta is not applied"
    );
    assert_eq!(item.head.deadline.unix(), NOW.0 + 30);
}

#[test]
fn deleting_may_leave_something() {
    let mut found = existing("old");
    found.head.marks = Marks::default().won();
    let plain = Delete::default();
    let delete = |how| decide(Some(&found), &Op::Delete(how), context());
    assert_eq!(delete(plain).effect, Effect::Remove);
    assert_eq!(delete(Delete { touch: Some(Exptime(5)), ..plain }).effect, Effect::Remove);
    assert_eq!(delete(Delete { compare: Some(4), ..plain }), Decision::answer(Outcome::Exists));
    assert_eq!(delete(Delete { compare: Some(3), ..plain }).effect, Effect::Remove);

    let stale = Delete { invalidate: true, ..plain };
    let head = head_by(&delete(stale));
    assert_eq!((head.cas, head.deadline), (9, found.head.deadline));
    assert!(head.marks.is_stale() && !head.marks.is_won(), "a token that was sent is forgotten");
    let head = head_by(&delete(Delete { touch: Some(Exptime(5)), cas: Some(70), ..stale }));
    assert_eq!((head.cas, head.deadline.unix()), (70, NOW.0 + 5));
    assert_eq!(delete(Delete { touch: Some(Exptime(-1)), ..stale }).effect, Effect::Remove);

    let empty = Delete { empty: Some(0), ..plain };
    let decision = delete(empty);
    let item = put_by(&decision);
    assert_eq!((item.value.len(), item.head.flags, item.head.cas), (0, 0, 3));
    assert_eq!((item.head.deadline, item.head.marks), (Deadline::NEVER, Marks::default()));
    let tombstone = Delete { invalidate: true, touch: Some(Exptime(50)), ..empty };
    let decision = delete(tombstone);
    let head = put_by(&decision).head;
    assert_eq!((head.cas, head.deadline.unix()), (9, NOW.0 + 50));
    assert!(head.marks.is_stale() && !head.marks.is_won());
}

#[test]
fn counting_under_conditions() {
    let found = existing("10");
    let plain = Arithmetic::plain(Direction::Up, 1);
    let count = |how| decide(Some(&found), &Op::Arithmetic(how), context());
    let other = Arithmetic { compare: Some(4), ..plain };
    assert_eq!(count(other), Decision::answer(Outcome::Exists));
    let decision =
        count(Arithmetic { compare: Some(3), cas: Some(70), touch: Some(Exptime(5)), ..plain });
    let head = put_by(&decision).head;
    assert_eq!((head.cas, head.deadline.unix()), (70, NOW.0 + 5));
    let Outcome::Number(11, written) = decision.outcome else { panic!("{decision:?}") };
    assert_eq!((written.cas, written.seconds_left), (70, Some(5)));
}

#[test]
fn the_time_of_storing_is_now_or_before() {
    for (said, stored) in [(None, NOW.0), (Some(5), 5), (Some(NOW.0 + 1), NOW.0)] {
        let how = Store { stored: said.map(Seconds), ..Store::default() };
        let op = Op::Store(how, b"v"[..].into());
        let Effect::Put(item) = decide(None, &op, context()).effect else { panic!("it stores") };
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
        let Effect::Put(item) = decide(Some(&found), &store_op(mode, 0, None), context()).effect
        else {
            panic!("{mode:?} stores")
        };
        assert_eq!((item.head.flags, item.head.deadline.unix()), (flags, unix), "{mode:?}");
        assert_eq!(item.value.whole().unwrap().bytes(), value.as_bytes(), "{mode:?}");
    }
}

#[test]
fn a_join_beyond_the_limit_keeps_the_old_value() {
    let found = existing(&"x".repeat(1_024 - 60 - 2));
    let decision = decide(Some(&found), &store_op(Mode::Append, 0, None), context());
    assert_eq!(decision, Decision::answer(Outcome::NotStored));
    let found = existing(&"x".repeat(1_024 - 60 - 3));
    let decision = decide(Some(&found), &store_op(Mode::Append, 0, None), context());
    assert_eq!(name(&decision.outcome), "stored");
}

#[test]
fn what_has_expired_on_arrival_removes() {
    let found = existing("old");
    let decision = decide(Some(&found), &store_op(Mode::Set, -1, None), context());
    assert_eq!(name(&decision.outcome), "stored");
    assert_eq!(decision.effect, Effect::Remove);
    let touch = Op::Fetch(Fetch { touch: Some(Exptime(-1)), ..Fetch::default() });
    let decision = decide(Some(&found), &touch, context());
    assert!(matches!(decision.outcome, Outcome::Hit(_)));
    assert_eq!(decision.effect, Effect::Remove);
}

#[test]
fn numbers() {
    for (value, direction, delta, expected, stored) in [
        ("10", Direction::Down, 1, 9, "9 "),
        ("99", Direction::Up, 1, 100, "100"),
        ("5", Direction::Down, 7, 0, "0"),
        ("18446744073709551615", Direction::Up, 1, 0, "0                   "),
        (" 5", Direction::Up, 1, 6, "6 "),
        ("+5", Direction::Up, 1, 6, "6 "),
        ("007", Direction::Up, 1, 8, "8  "),
        ("7  ", Direction::Up, 1, 8, "8  "),
        ("1 2", Direction::Up, 1, 2, "2  "),
        ("\t\x0b12\n", Direction::Up, 1, 13, "13   "),
        ("-0", Direction::Up, 1, 1, "1 "),
    ] {
        let op = Op::Arithmetic(Arithmetic::plain(direction, delta));
        let decision = decide(Some(&existing(value)), &op, context());
        let Outcome::Number(number, _) = decision.outcome else { panic!("{value}: {decision:?}") };
        assert_eq!(number, expected, "{value}");
        let Effect::Put(item) = decision.effect else { panic!("{value} is stored") };
        assert_eq!(item.value.whole().unwrap().bytes(), stored.as_bytes(), "{value}");
        assert_eq!((item.head.flags, item.head.cas), (5, 9), "{value}");
    }
    for value in ["", " ", "12x", "-5", "18446744073709551616", " x", "- 1", "+"] {
        let op = Op::Arithmetic(Arithmetic::plain(Direction::Up, 1));
        let decision = decide(Some(&existing(value)), &op, context());
        assert_eq!(decision, Decision::answer(Outcome::NotNumeric), "{value:?}");
    }
}

#[test]
fn absent_items() {
    for (op, outcome) in [
        (Op::Fetch(Fetch::default()), Outcome::Miss(Absence::Unknown)),
        (Op::Delete(Delete::default()), Outcome::NotFound),
        (Op::Touch { exptime: Exptime(1) }, Outcome::NotFound),
        (Op::Arithmetic(Arithmetic::plain(Direction::Up, 1)), Outcome::NotFound),
        (Op::Discard { why: None }, Outcome::TooLarge),
    ] {
        assert_eq!(decide(None, &op, context()), Decision::answer(outcome), "{op:?}");
    }
}
