//! memcached's extended options: the comma-separated names behind `-o`.
//!
//! Few of them act. The others tune memory, threads or lists that do not exist here; they are known
//! by name so that a start line keeps working, while an unknown name is refused, as in memcached.

use super::units;

/// What `-o` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extended {
    /// `maxconns_fast` or `no_maxconns_fast`; the last one holds.
    pub(crate) refuse_fast: Option<bool>,
    /// `idle_timeout`, in seconds; 0 is never.
    pub(crate) idle_timeout_seconds: Option<u32>,
}

/// Why a name behind `-o` is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault<'t> {
    /// No such name.
    Unknown(&'t str),
    /// A name of a part that is not offered, and ignoring it would be wrong. The text says why and
    /// what to do.
    Refused(&'t str, &'static str),
    /// `idle_timeout` without a time.
    Time(&'t str),
}

/// Names that change nothing here.
const INERT: [&str; 39] = [
    "drop_privileges",
    "hash_algorithm",
    "hashpower",
    "hot_lru_pct",
    "hot_max_factor",
    "inline_ascii_resp",
    "lru_crawler",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "lru_maintainer",
    "meta_response_old",
    "modern",
    "no_chunked_items",
    "no_drop_privileges",
    "no_hashexpand",
    "no_inline_ascii_resp",
    "no_lru_crawler",
    "no_lru_maintainer",
    "no_modern",
    "no_slab_automove",
    "no_slab_reassign",
    "read_buf_mem_limit",
    "resp_obj_mem_limit",
    "slab_automove",
    "slab_automove_freeratio",
    "slab_automove_ratio",
    "slab_automove_version",
    "slab_automove_window",
    "slab_chunk_max",
    "slab_reassign",
    "slab_sizes",
    "sock_cookie_id",
    "tail_repair_time",
    "temporary_ttl",
    "track_sizes",
    "warm_lru_pct",
    "warm_max_factor",
    "watcher_logbuf_size",
    "worker_logbuf_size",
];

/// Whole families, by how their names begin.
const REFUSED: [(&str, &str); 3] = [
    (
        "ssl_",
        "belongs to TLS, which is not offered, so everything would be sent in the clear; \
         leave it out, and put a TLS proxy in front",
    ),
    (
        "ext_",
        "belongs to memcached's external storage, and every item is on disk here; \
         leave it out, and set the budget with --max-disk",
    ),
    ("proxy_", "belongs to memcached's proxy, which is not offered; leave it out"),
];

/// Takes one text of `-o` into `extended`. Names that are known and change nothing go to `inert`.
pub(crate) fn read<'t>(
    text: &'t str,
    extended: &mut Extended,
    inert: &mut Vec<&'t str>,
) -> Result<(), Fault<'t>> {
    for word in text.split(',') {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "maxconns_fast" => extended.refuse_fast = Some(true),
            "no_maxconns_fast" => extended.refuse_fast = Some(false),
            "idle_timeout" => {
                let seconds = units::seconds(value).and_then(|time| u32::try_from(time).ok());
                extended.idle_timeout_seconds = Some(seconds.ok_or(Fault::Time(word))?);
            }
            _ if INERT.contains(&name) => inert.push(name),
            _ => return Err(refusal(name)),
        }
    }
    Ok(())
}

fn refusal(name: &str) -> Fault<'_> {
    REFUSED
        .iter()
        .find(|(family, _)| name.starts_with(family))
        .map_or(Fault::Unknown(name), |(_, reason)| Fault::Refused(name, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Result<(Extended, Vec<&str>), Fault<'_>> {
        let (mut extended, mut inert) = (Extended::default(), Vec::new());
        read(text, &mut extended, &mut inert).map(|()| (extended, inert))
    }

    #[test]
    fn what_acts() {
        let cases = [
            ("maxconns_fast", Some(true), None),
            ("no_maxconns_fast", Some(false), None),
            ("no_maxconns_fast,maxconns_fast", Some(true), None),
            ("idle_timeout=60", None, Some(60)),
            ("idle_timeout=0,no_maxconns_fast", Some(false), Some(0)),
            ("idle_timeout=5m", None, Some(300)),
        ];
        for (text, refuse_fast, idle_timeout_seconds) in cases {
            let expected = Extended { refuse_fast, idle_timeout_seconds };
            assert_eq!(read_one(text), Ok((expected, vec![])), "{text:?}");
        }
    }

    #[test]
    fn what_changes_nothing_is_named() {
        let (_, inert) = read_one("modern,hashpower=20,idle_timeout=1").expect("known names");
        assert_eq!(inert, ["modern", "hashpower"]);
    }

    #[test]
    fn what_is_refused() {
        let time = ["idle_timeout", "idle_timeout=", "idle_timeout=-1", "idle_timeout=9999999999"];
        for text in time {
            assert_eq!(read_one(text), Err(Fault::Time(text)), "{text:?}");
        }
        for text in ["", "fooble", "Modern", "modern,", "-1"] {
            assert!(matches!(read_one(text), Err(Fault::Unknown(_))), "{text:?}");
        }
        for text in ["ssl_key=x", "ext_path=/mnt/d1/extstore:1G", "proxy_config=x"] {
            assert!(matches!(read_one(text), Err(Fault::Refused(_, _))), "{text:?}");
        }
    }
}
