//! What can be imported: however a file is cut, the same items come out of it; what is taken of it and
//! written as `export` writes it is read as the same; nothing is larger than the largest item allows.
//!
//! The first three bytes of an input say the format, the largest item and how the rest is cut.

use std::io::BufReader;

use litecached::cli::fuzzing::{Entry, Format, records};

/// What a reader may keep beside a value.
const REST_BYTES: usize = 4_096;

pub(super) fn hold(data: &[u8]) {
    let [format, largest, cut, file @ ..] = data else { return };
    let formats = [Format::Json, Format::Lines, Format::JsonLines];
    // The first bytes of older inputs keep their meaning.
    let format = if *format >= 0xc0 { Format::Csv } else { formats[usize::from(format % 3)] };
    let item_bytes_max = 60 + u64::from(*largest) * 4;
    let whole = records(format, file, item_bytes_max);
    let cut = BufReader::with_capacity(usize::from(*cut) + 1, file);
    // How far it has been read is as true for one as for the other.
    let said = |(entries, end): &(Vec<Entry>, Option<String>)| {
        let items = entries.iter().map(|entry| (entry.position.clone(), entry.item.clone()));
        (items.collect::<Vec<_>>(), end.clone())
    };
    assert_eq!(said(&whole), said(&records(format, cut, item_bytes_max)), "cut");
    let (entries, end) = whole;
    assert!(end.is_none_or(|end| !end.is_empty()));
    let mut read = 0;
    for Entry { bytes_read, item, .. } in entries {
        assert!((read..=file.len() as u64).contains(&bytes_read), "{bytes_read} bytes read");
        read = bytes_read;
        let item = match item {
            Ok(item) => item,
            Err(reason) => {
                assert!(!reason.is_empty());
                continue;
            }
        };
        assert!(item.bytes() as u64 <= 6 * item_bytes_max + REST_BYTES as u64, "kept too much");
        if !item.is_taken(item_bytes_max) {
            continue;
        }
        if let Some(line) = item.written(format) {
            let (again, end) = records(format, &line[..], item_bytes_max);
            assert_eq!((again.len(), end), (1, None));
            assert_eq!(again[0].item, Ok(item));
        }
    }
}
