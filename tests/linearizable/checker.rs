//! Whether an order of requests explains a history of one key: the search of Wing and Gong, with every
//! state that led nowhere remembered (Lowe).
//!
//! Knows no wire. Does not notice when one unique is given to two versions of an item.

use std::collections::HashSet;

/// What a client asks of the key.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Get,
    Set(Vec<u8>),
    Cas(Vec<u8>, u64),
    Append(Vec<u8>),
    Incr(u64),
    Delete,
}

/// What it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found { value: Vec<u8>, unique: u64 },
    Done,
    Number(u64),
    Exists,
    Missing,
}

/// A request, from before it was sent until after it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) action: Action,
    /// None came: it has happened until `returned`, or never.
    pub(crate) outcome: Option<Outcome>,
}

/// The item; its unique once somebody has seen it.
type Item = Option<(Vec<u8>, Option<u64>)>;

/// Requests of a history that are done: all before the first number, and these.
type Done = (usize, Vec<usize>);

/// `Err` has how many requests from the beginning can be explained at most. In the order of `called`.
pub(crate) fn explain(history: &[Event]) -> Result<(), usize> {
    let mut visited: HashSet<(Done, Item)> = HashSet::new();
    let mut open: Vec<(Done, Item)> = vec![((0, Vec::new()), None)];
    let mut furthest = 0;
    while let Some((done, item)) = open.pop() {
        furthest = furthest.max(done.0);
        if done.0 == history.len() {
            return Ok(());
        }
        if !visited.insert((done.clone(), item.clone())) {
            continue;
        }
        let mut first_return = u64::MAX;
        for (index, event) in history.iter().enumerate().skip(done.0) {
            // Whatever is called later comes after one that is not done yet.
            if event.called > first_return {
                break;
            }
            if done.1.contains(&index) {
                continue;
            }
            first_return = first_return.min(event.returned);
            let next = with(&done, index);
            if event.outcome.is_none() {
                open.push((next.clone(), item.clone()));
            }
            if let Some(after) = apply(&item, event) {
                open.push((next, after));
            }
        }
    }
    Err(furthest)
}

fn with(done: &Done, index: usize) -> Done {
    let (mut first, mut others) = done.clone();
    others.push(index);
    others.sort_unstable();
    while others.first() == Some(&first) {
        others.remove(0);
        first += 1;
    }
    (first, others)
}

/// The item afterwards, if the request can have had its outcome now.
fn apply(item: &Item, event: &Event) -> Option<Item> {
    let (after, outcome) = match (&event.action, item) {
        (Action::Get, Some((value, unique))) => match &event.outcome {
            Some(Outcome::Found { value: seen, unique: seen_unique }) => {
                let is_this = seen == value && unique.is_none_or(|unique| unique == *seen_unique);
                return is_this.then(|| Some((value.clone(), Some(*seen_unique))));
            }
            Some(_) => return None,
            None => return Some(item.clone()),
        },
        (Action::Set(value), _) => (Some((value.clone(), None)), Outcome::Done),
        (Action::Cas(value, expected), Some((_, unique))) if *unique == Some(*expected) => {
            (Some((value.clone(), None)), Outcome::Done)
        }
        (Action::Cas(..), Some(_)) => (item.clone(), Outcome::Exists),
        (Action::Append(more), Some((value, _))) => {
            (Some(([&value[..], more].concat(), None)), Outcome::Done)
        }
        (Action::Incr(by), Some((value, _))) => {
            let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
            let number = number.wrapping_add(*by);
            (Some((number.to_string().into_bytes(), None)), Outcome::Number(number))
        }
        (Action::Delete, Some(_)) => (None, Outcome::Done),
        (_, None) => (None, Outcome::Missing),
    };
    event.outcome.as_ref().is_none_or(|seen| *seen == outcome).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(called: u64, returned: u64, action: Action, outcome: Option<Outcome>) -> Event {
        Event { called, returned, action, outcome }
    }

    fn set(called: u64, returned: u64, value: &str) -> Event {
        event(called, returned, Action::Set(value.into()), Some(Outcome::Done))
    }

    fn get(called: u64, returned: u64, value: &str, unique: u64) -> Event {
        let found = Outcome::Found { value: value.into(), unique };
        event(called, returned, Action::Get, Some(found))
    }

    fn cas(called: u64, returned: u64, unique: u64, outcome: Outcome) -> Event {
        event(called, returned, Action::Cas("c".into(), unique), Some(outcome))
    }

    fn incr(called: u64, returned: u64, number: u64) -> Event {
        event(called, returned, Action::Incr(1), Some(Outcome::Number(number)))
    }

    #[test]
    fn good_histories_are_explained() {
        let lost = event(3, 9, Action::Set("b".into()), None);
        let good = [
            vec![],
            // Two that overlap may be seen in either order.
            vec![set(1, 4, "a"), set(2, 5, "b"), get(6, 7, "a", 1)],
            vec![set(1, 4, "a"), set(2, 5, "b"), get(6, 7, "b", 1)],
            // One without an answer has happened or not.
            vec![set(1, 2, "a"), lost.clone(), get(10, 11, "a", 1)],
            vec![set(1, 2, "a"), lost, get(10, 11, "b", 2)],
            vec![set(1, 2, "a"), get(3, 4, "a", 7), cas(5, 6, 7, Outcome::Done)],
            vec![set(1, 2, "1"), incr(3, 6, 3), incr(4, 5, 2)],
        ];
        for history in good {
            assert_eq!(explain(&history), Ok(()), "{history:#?}");
        }
    }

    #[test]
    fn bad_histories_are_rejected() {
        let lost = event(3, 9, Action::Set("b".into()), None);
        let missing = |called| event(called, called + 1, Action::Get, Some(Outcome::Missing));
        let bad = [
            ("a stale read", vec![set(1, 2, "a"), set(3, 4, "b"), get(5, 6, "a", 1)]),
            ("a lost write", vec![set(1, 2, "a"), missing(3)]),
            ("a value nobody wrote", vec![set(1, 2, "a"), get(3, 4, "b", 1)]),
            ("a lost increment", vec![set(1, 2, "1"), incr(3, 6, 2), incr(4, 5, 2)]),
            (
                "two winners of one unique",
                vec![
                    set(1, 2, "a"),
                    get(3, 4, "a", 7),
                    cas(5, 8, 7, Outcome::Done),
                    cas(6, 9, 7, Outcome::Done),
                ],
            ),
            (
                "a unique that changed by itself",
                vec![set(1, 2, "a"), get(3, 4, "a", 7), get(5, 6, "a", 8)],
            ),
            (
                "one without an answer that happens after the kill",
                vec![set(1, 2, "a"), lost.clone(), get(10, 11, "a", 1), get(12, 13, "b", 2)],
            ),
            (
                "one without an answer that is undone",
                vec![set(1, 2, "a"), lost, get(4, 5, "b", 2), get(10, 11, "a", 1)],
            ),
        ];
        for (what, history) in bad {
            assert!(explain(&history).is_err(), "{what}");
        }
    }
}
