//! Commands that list all keys: `lru_crawler metadump`, `lru_crawler mgdump`, `stats cachedump`.
//!
//! memcached lists by slab class. There are none here: everything is in class 1, so that tools that walk
//! the classes find each item once. What must stay true: whatever bytes a key has, a line is a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cache::Listed;
use crate::limits::{CACHEDUMP_BYTES_MAX, ITEM_HEADER_BYTES};
use crate::protocol::classic::Line;
use crate::protocol::decoder::Session;
use crate::protocol::reject::Reject;
use crate::protocol::tokens::{Tokens, unsigned};

/// The class that everything is in.
const CLASS: u64 = 1;
/// memcached's classes are below this.
const CLASSES_END: u64 = 64;

/// A command that lists keys, and what of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    /// How items are written.
    pub form: Dump,
    /// What is listed, or what is wrong with the command. A server that lists nothing says so first.
    pub scope: Result<Scope, Reject>,
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every item.
    Everything,
    /// Classes that no item is in.
    Nothing,
}

/// How items are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// `lru_crawler metadump`: a line of fields.
    Meta,
    /// `lru_crawler mgdump`: commands that fetch the items.
    Mg,
    /// `stats cachedump`: key, size and expiry, of so many items at most; 0 of all.
    Cache { limit: u64 },
}

/// `lru_crawler metadump|mgdump all|hash|<classes>`; none if it is another of its commands.
pub(super) fn crawler(line: &[u8]) -> Option<Line<'_>> {
    let mut words = Tokens::new(line).skip(1);
    let form = match words.next()? {
        b"metadump" => Dump::Meta,
        b"mgdump" => Dump::Mg,
        _ => return None,
    };
    let (classes, None) = (words.next()?, words.next()) else { return None };
    Some(Line::Session(Session::List(List { form, scope: scope(classes) })))
}

/// `stats cachedump <class> <limit>`; none if it is another report.
pub(super) fn cachedump(line: &[u8]) -> Option<Line<'_>> {
    let mut words = Tokens::new(line).skip(1);
    if words.next()? != b"cachedump" {
        return None;
    }
    let list = |scope, limit| List { form: Dump::Cache { limit }, scope };
    let number = |word| unsigned(word).and_then(|number| u32::try_from(number).ok());
    let list = match (words.next(), words.next()) {
        (Some(class), Some(limit)) => match (number(class), number(limit)) {
            (Some(class), Some(limit)) => {
                let class = in_class(class.into()).ok_or(Reject::IllegalClass);
                list(class, limit.into())
            }
            _ => list(Err(Reject::BadFormat), 0),
        },
        _ => list(Err(Reject::BadLine), 0),
    };
    Some(Line::Session(Session::List(list)))
}

/// Classes, separated by commas.
fn scope(classes: &[u8]) -> Result<Scope, Reject> {
    if matches!(classes, b"all" | b"hash") {
        return Ok(Scope::Everything);
    }
    let mut scope = Scope::Nothing;
    for class in classes.split(|&byte| byte == b',').filter(|class| !class.is_empty()) {
        let class = unsigned(class).filter(|&class| class > 0).and_then(in_class);
        if class.ok_or(Reject::BadClass)? == Scope::Everything {
            scope = Scope::Everything;
        }
    }
    Ok(scope)
}

fn in_class(class: u64) -> Option<Scope> {
    match class {
        CLASS => Some(Scope::Everything),
        class if class < CLASSES_END => Some(Scope::Nothing),
        _ => None,
    }
}

impl Dump {
    /// For log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "lru_crawler metadump",
            Self::Mg => "lru_crawler mgdump",
            Self::Cache { .. } => "stats cachedump",
        }
    }

    /// The refusal with `-X`.
    pub fn not_allowed(self) -> &'static [u8] {
        match self {
            Self::Meta => b"ERROR metadump not allowed\r\n",
            Self::Mg => b"ERROR key dump not allowed\r\n",
            Self::Cache { .. } => b"CLIENT_ERROR stats cachedump not allowed\r\n",
        }
    }

    /// The refusal after `lru_crawler disable`; `cachedump` needs no crawler.
    pub fn disabled(self) -> Option<&'static [u8]> {
        match self {
            Self::Meta | Self::Mg => Some(b"CLIENT_ERROR lru crawler disabled\r\n"),
            Self::Cache { .. } => None,
        }
    }

    /// The refusal while others list. memcached never gives it to `cachedump`, whose clients know only
    /// errors.
    pub fn busy(self) -> &'static [u8] {
        match self {
            Self::Meta | Self::Mg => b"BUSY currently processing crawler request\r\n",
            Self::Cache { .. } => b"SERVER_ERROR currently processing crawler request\r\n",
        }
    }

    /// What comes before the first item.
    pub fn opening(self) -> &'static [u8] {
        match self {
            Self::Meta | Self::Mg => b"OK\r\n",
            Self::Cache { .. } => b"",
        }
    }

    /// What comes behind the last item.
    pub fn closing(self) -> &'static [u8] {
        if self == Self::Mg { b"EN\r\n" } else { b"END\r\n" }
    }

    /// How many items are listed at most.
    pub fn items_max(self) -> u64 {
        match self {
            Self::Cache { limit } if limit > 0 => limit,
            _ => u64::MAX,
        }
    }

    /// How many bytes of items are listed at most.
    pub fn bytes_max(self) -> usize {
        match self {
            // memcached counts its END and a zero byte.
            Self::Cache { .. } => CACHEDUMP_BYTES_MAX - b"END\r\n\0".len(),
            Self::Meta | Self::Mg => usize::MAX,
        }
    }

    /// Writes an item's line.
    pub fn line(self, item: &Listed<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Meta => metadump_line(item, out),
            Self::Mg => mgdump_line(item.key, out),
            Self::Cache { .. } => cachedump_line(item, out),
        }
    }
}

fn metadump_line(item: &Listed<'_>, out: &mut Vec<u8>) {
    let exptime = match item.deadline.unix() {
        0 => -1,
        unix => unix,
    };
    let fetched = if item.is_fetched { "yes" } else { "no" };
    let size = item.key.len() as u64 + item.value_bytes + ITEM_HEADER_BYTES as u64;
    out.extend_from_slice(b"key=");
    uri_encoded(item.key, out);
    let rest = format!(
        " exp={exptime} la={} cas={} fetch={fetched} cls={CLASS} size={size} flags={} \n",
        item.used, item.cas, item.flags
    );
    out.extend_from_slice(rest.as_bytes());
}

fn mgdump_line(key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    if is_sayable(key) {
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(STANDARD.encode(key).as_bytes());
        out.extend_from_slice(b" b\r\n");
    }
}

fn cachedump_line(item: &Listed<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ITEM ");
    // memcached writes any key as it is. One with a line end in it would end the reply in the midst of
    // it for its reader, one with a space would be cut.
    if is_sayable(item.key) {
        out.extend_from_slice(item.key);
    } else {
        uri_encoded(item.key, out);
    }
    let rest = format!(" [{} b; {} s]\r\n", item.value_bytes, item.deadline.unix());
    out.extend_from_slice(rest.as_bytes());
}

/// Whether a key can stand in a text command as it is.
fn is_sayable(key: &[u8]) -> bool {
    !key.is_empty() && key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

/// What is no letter, digit or one of `-._~` becomes `%XX`, as in memcached.
fn uri_encoded(key: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Deadline;

    fn listed(key: &[u8], exptime: i64, is_fetched: bool) -> Listed<'_> {
        let deadline = Deadline::from_unix(exptime);
        let (flags, cas, value_bytes, used) = (7, 12, 3, 1_800_000_000);
        Listed { key, flags, deadline, cas, value_bytes, used, is_fetched }
    }

    fn line(form: Dump, item: &Listed<'_>) -> String {
        let mut out = Vec::new();
        form.line(item, &mut out);
        out.escape_ascii().to_string()
    }

    #[test]
    fn lines() {
        let cache = Dump::Cache { limit: 0 };
        for (key, encoded, mg, raw) in [
            (b"k".as_slice(), "k", "mg k", "k"),
            (b"a%b/c:d~e-f.g_h", "a%25b%2Fc%3Ad~e-f.g_h", "mg a%b/c:d~e-f.g_h", "a%b/c:d~e-f.g_h"),
            (b"a b", "a%20b", "mg YSBi b", "a%20b"),
            (b"a\nb", "a%0Ab", "mg YQpi b", "a%0Ab"),
            (b"\0\x7f", "%00%7F", "mg AH8= b", "%00%7F"),
            (b"\xff+", "%FF%2B", "mg \\xff+", "\\xff+"),
            (b"", "", "mg  b", ""),
        ] {
            let item = listed(key, 0, false);
            let size = key.len() + 62;
            assert_eq!(
                line(Dump::Meta, &item),
                format!(
                    "key={encoded} exp=-1 la=1800000000 cas=12 fetch=no cls=1 size={size} flags=7 \\n"
                )
            );
            assert_eq!(line(Dump::Mg, &item), format!("{mg}\\r\\n"));
            assert_eq!(line(cache, &item), format!("ITEM {raw} [3 b; 0 s]\\r\\n"));
        }
        let item = listed(b"k", 1_800_000_100, true);
        assert_eq!(
            line(Dump::Meta, &item),
            "key=k exp=1800000100 la=1800000000 cas=12 fetch=yes cls=1 size=63 flags=7 \\n"
        );
        assert_eq!(line(cache, &item), "ITEM k [3 b; 1800000100 s]\\r\\n");
    }

    #[test]
    fn classes() {
        use Scope::{Everything, Nothing};
        for (classes, expected) in [
            ("all", Some(Everything)),
            ("hash", Some(Everything)),
            ("1", Some(Everything)),
            ("2,1,1", Some(Everything)),
            (",1", Some(Everything)),
            ("2", Some(Nothing)),
            ("63", Some(Nothing)),
            ("0", None),
            ("64", None),
            ("-1", None),
            ("x", None),
            ("1,x", None),
            ("all,1", None),
            ("ALL", None),
        ] {
            assert_eq!(scope(classes.as_bytes()).ok(), expected, "{classes}");
        }
    }

    #[test]
    fn a_limit_of_none_is_all() {
        assert_eq!(Dump::Cache { limit: 0 }.items_max(), u64::MAX);
        assert_eq!(Dump::Cache { limit: 5 }.items_max(), 5);
        assert_eq!(Dump::Meta.items_max(), u64::MAX);
    }
}
