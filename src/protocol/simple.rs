//! The dialect of the Python server that came before: `set <key> <size>`.
//!
//! Told from memcached's `set` by its argument count: no client on record sends a `set` with two. The
//! item gets flags 0 and no expiry, the value may end in `\n` or `\r\n`, and a value that cannot be
//! stored is swallowed and answered `NOT STORED`.

use crate::cache::{Key, Store};
use crate::protocol::classic::{Line, StoreLine, reject, value_length};
use crate::protocol::decoder::RequestKey;
use crate::protocol::form::Form;
use crate::protocol::reject::Reject;

/// Parses the two words behind `set`.
pub(super) fn set<'b>(key: &'b [u8], size: &[u8], quiet: bool) -> Line<'b> {
    let Some(value_bytes) = value_length(size) else {
        return reject(Reject::SimpleSetUsage, quiet);
    };
    match Key::new(key) {
        Some(key) => Line::Store(StoreLine {
            key: RequestKey::Here(key),
            how: Store::default(),
            value_bytes,
            form: Form::Simple { quiet },
        }),
        None => Line::Reject { reject: Reject::BadFormat, quiet, swallow: Some(value_bytes + 2) },
    }
}
