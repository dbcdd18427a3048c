//! A server that somebody imports from and that says what it likes: a readable error or items, none larger than
//! the largest allows, and the same however its bytes come in.
//!
//! The first two bytes of an input say the largest item and in how many pieces the rest comes.

use litecached::cli::fuzzing::{Entry, Format, answers, records};

/// What is kept of a key that no item can have.
const KEY_BYTES: u64 = 1_000;
/// More than that might not fit into a socket's buffer, and the import would wait for a server that waits for it.
const ANSWER_BYTES_MAX: usize = 32 << 10;

/// What both must say. An error quotes as much of what is no answer as had come by then.
fn said((entries, end): &(Vec<Entry>, Option<String>)) -> (&[Entry], Option<&str>) {
    (entries, end.as_deref().map(|end| end.split('"').next().unwrap_or(end)))
}

pub(super) fn hold(data: &[u8]) {
    let [largest, pieces, rest @ ..] = data else { return };
    let rest = &rest[..rest.len().min(ANSWER_BYTES_MAX)];
    let item_bytes_max = 60 + u64::from(*largest) * 4;
    let whole = answers(rest, 1, item_bytes_max);
    if *pieces > 1 {
        let cut = answers(rest, usize::from(*pieces).min(32), item_bytes_max);
        assert_eq!(said(&whole), said(&cut), "cut");
    }
    let (entries, end) = whole;
    assert!(end.is_none_or(|end| !end.is_empty()));
    assert!(entries.len() <= rest.len(), "more items than bytes");
    for Entry { item, .. } in entries {
        match item {
            Err(reason) => assert!(!reason.is_empty()),
            Ok(item) => {
                assert!(item.bytes() as u64 <= item_bytes_max + KEY_BYTES, "kept too much");
                if item.is_taken(item_bytes_max) {
                    let line = item.written(Format::Csv).expect("CSV can say every item");
                    let (again, end) = records(Format::Csv, &line[..], item_bytes_max);
                    assert_eq!((again.len(), end), (1, None));
                    assert_eq!(again[0].item, Ok(item));
                }
            }
        }
    }
}
