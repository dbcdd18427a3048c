//! The text in `item.value` and `loose.chunks` that says where a value in pieces is:
//! `{"bytes":N,"chunks":[[first,count,bytes],...]}`.
//!
//! Another program may have written any text there: one that does not add up is no list.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::cache::{Pieces, Run};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bytes: u64,
    chunks: Vec<(i64, i64, u64)>,
}

/// The text of a list.
pub(super) fn write(runs: &[Run]) -> String {
    let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    let mut text = format!("{{\"bytes\":{bytes},\"chunks\":[");
    for (index, run) in runs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a string does not fail.
        let _written = write!(text, "{comma}[{},{},{}]", run.first, run.count, run.bytes);
    }
    text.push_str("]}");
    text
}

/// The list of a text, if it is one.
pub(super) fn read(text: &[u8]) -> Option<Pieces> {
    let Written { bytes, chunks } = serde_json::from_slice(text).ok()?;
    let run = |(first, count, bytes): (i64, i64, u64)| {
        let is_sound = first > 0
            && count > 0
            && first.checked_add(count).is_some()
            && bytes >= count.unsigned_abs();
        is_sound.then_some(Run { first, count, bytes })
    };
    let runs: Vec<Run> = chunks.into_iter().map(run).collect::<Option<_>>()?;
    let sum = runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.bytes))?;
    (sum == bytes && !runs.is_empty()).then(|| Pieces::new(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let runs = [Run { first: 7, count: 2, bytes: 130 }, Run { first: 99, count: 1, bytes: 1 }];
        let text = write(&runs);
        assert_eq!(text, r#"{"bytes":131,"chunks":[[7,2,130],[99,1,1]]}"#);
        assert_eq!(read(text.as_bytes()).unwrap().runs(), runs);
    }

    #[test]
    fn what_does_not_add_up_is_no_list() {
        for text in [
            "",
            "x",
            "{}",
            r#"{"bytes":0,"chunks":[]}"#,
            r#"{"bytes":2,"chunks":[[1,1,1]]}"#,
            r#"{"bytes":1,"chunks":[[0,1,1]]}"#,
            r#"{"bytes":1,"chunks":[[1,0,1]]}"#,
            r#"{"bytes":1,"chunks":[[1,2,1]]}"#,
            r#"{"bytes":1,"chunks":[[1,1,1]],"more":1}"#,
            r#"{"bytes":9223372036854775807,"chunks":[[9223372036854775807,9223372036854775807,9223372036854775807]]}"#,
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
