//! memcached's extended options: the comma-separated names behind `-o`.
//!
//! Few of them act. The others tune memory, threads or lists that do not exist here; they are known by
//! name and by what they take, so that a start line keeps working and a slip in it is found. An unknown
//! name is refused, as in memcached.

use std::path::PathBuf;

use crate::server::{Options, Parts, TlsFiles, TlsVersion, Verify};

use super::units;

/// What `-o` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extended {
    /// `maxconns_fast` or `no_maxconns_fast`; the last one holds.
    pub(crate) refuse_fast: Option<bool>,
    /// `idle_timeout`, in seconds; 0 is never.
    pub(crate) idle_timeout_seconds: Option<u32>,
    /// Which of memcached's parts its statistics show.
    pub(crate) parts: Parts,
    pub(crate) tls: Tls,
}

/// What the `ssl_` names ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) chain: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) verify: Option<Verify>,
    pub(crate) version_least: Option<TlsVersion>,
    pub(crate) resumes: bool,
}

impl Default for Extended {
    fn default() -> Self {
        let parts = Options::default().parts;
        Self { refuse_fast: None, idle_timeout_seconds: None, parts, tls: Tls::default() }
    }
}

/// Why a name behind `-o` is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault<'t> {
    /// No such name.
    Unknown(&'t str),
    /// A name of a part that is not offered, and ignoring it would be wrong. The text says why and
    /// what to do.
    Refused(&'t str, &'static str),
    /// A value that the name does not take, and what it takes.
    Value(&'t str, String),
}

/// What stands behind the `=` of a name that changes nothing here.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// Nothing, or whatever there is: memcached does not look at it.
    Nothing,
    /// A number from the first to the second.
    Number(u64, u64),
    /// The same, or nothing.
    MaybeNumber(u64, u64),
    /// A fraction above 0, up to this.
    Fraction(f64),
    /// One of these.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
}

use Takes::{Fraction, MaybeNumber, Nothing, Number, Text, Word};

/// memcached reads these as 32 bits.
const MAX: u64 = u32::MAX as u64;

/// Names that change nothing here, and the ranges that memcached allows.
const INERT: [(&str, Takes); 35] = [
    ("drop_privileges", Nothing),
    ("hash_algorithm", Word(&["jenkins", "murmur3", "xxh3"])),
    ("hashpower", Number(12, 32)),
    ("hot_lru_pct", Number(1, 79)),
    ("hot_max_factor", Fraction(f64::MAX)),
    ("inline_ascii_resp", Nothing),
    ("lru_crawler_sleep", Number(0, 1_000_000)),
    ("lru_crawler_tocrawl", Number(0, MAX)),
    ("meta_response_old", Nothing),
    ("modern", Nothing),
    ("no_chunked_items", Nothing),
    ("no_drop_privileges", Nothing),
    ("no_hashexpand", Nothing),
    ("no_inline_ascii_resp", Nothing),
    ("no_slab_automove", Nothing),
    ("read_buf_mem_limit", Number(0, MAX)),
    ("resp_obj_mem_limit", Nothing),
    ("slab_automove", MaybeNumber(0, 2)),
    ("slab_automove_freeratio", Fraction(1.0)),
    ("slab_automove_ratio", Fraction(1.0)),
    ("slab_automove_version", Nothing),
    ("slab_automove_window", Number(3, 1_800)),
    ("slab_chunk_max", Number(1, 1 << 10)),
    ("slab_sizes", Text),
    ("sock_cookie_id", Number(0, MAX)),
    // Private keys are read from PEM alone.
    ("ssl_keyformat", Word(&["1", "PEM"])),
    ("ssl_kernel_tls", Nothing),
    ("ssl_wbuf_size", Number(1, MAX)),
    ("tail_repair_time", Number(10, MAX)),
    ("temporary_ttl", Number(0, MAX)),
    ("track_sizes", Nothing),
    ("warm_lru_pct", Number(1, 79)),
    ("warm_max_factor", Fraction(f64::MAX)),
    ("watcher_logbuf_size", Number(0, MAX)),
    ("worker_logbuf_size", Number(0, MAX)),
];

/// Whole families, by how their names begin.
const REFUSED: [(&str, &str); 3] = [
    (
        "ssl_ciphers",
        "names ciphers as OpenSSL does, and TLS has only safe ones here, without a choice; \
         leave it out, and see ssl_min_version",
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
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let parts = &mut extended.parts;
        match name {
            "maxconns_fast" => extended.refuse_fast = Some(true),
            "no_maxconns_fast" => extended.refuse_fast = Some(false),
            "idle_timeout" => {
                let seconds = value.and_then(units::seconds);
                let seconds = seconds.and_then(|time| u32::try_from(time).ok());
                extended.idle_timeout_seconds = Some(seconds.ok_or_else(|| {
                    let takes = "idle_timeout=N with a number of seconds, or with a unit as in 15m";
                    Fault::Value(word, takes.to_owned())
                })?);
            }
            "lru_crawler" => parts.lru_crawler = true,
            "no_lru_crawler" => parts.lru_crawler = false,
            "lru_maintainer" => parts.lru_maintainer = true,
            "no_lru_maintainer" => parts.lru_maintainer = false,
            "slab_reassign" => parts.slab_reassign = true,
            "no_slab_reassign" => parts.slab_reassign = false,
            _ if name.starts_with("ssl_") && extended.tls.read(name, value, word)? => {}
            // memcached before 1.5.
            "no_modern" => {
                extended.refuse_fast = Some(false);
                *parts = Parts { lru_crawler: false, lru_maintainer: false, slab_reassign: false };
            }
            _ => inert.push(check(name, value, word)?),
        }
    }
    Ok(())
}

impl Tls {
    /// Takes a name that acts; `false` if it does not.
    fn read<'t>(
        &mut self,
        name: &'t str,
        value: Option<&str>,
        word: &'t str,
    ) -> Result<bool, Fault<'t>> {
        let wrong = |takes: &str| Fault::Value(word, format!("{name}={takes}"));
        let path = || {
            let path = value.filter(|value| !value.is_empty()).map(PathBuf::from);
            path.ok_or_else(|| wrong("FILE with the path of a file in PEM"))
        };
        match name {
            "ssl_chain_cert" => self.chain = Some(path()?),
            "ssl_key" => self.key = Some(path()?),
            "ssl_ca_cert" => self.authorities = Some(path()?),
            "ssl_session_cache" => self.resumes = true,
            "ssl_verify_mode" => {
                self.verify = Some(match value {
                    Some("0") => Verify::Nothing,
                    Some("1") => Verify::Request,
                    Some("2") => Verify::Require,
                    Some("3") => Verify::Once,
                    _ => {
                        return Err(wrong("N with 0 (none), 1 (request), 2 (require) or 3 (once)"));
                    }
                });
            }
            "ssl_min_version" => {
                self.version_least = Some(match value {
                    Some("2" | "tlsv1.2") => TlsVersion::V1_2,
                    Some("3" | "tlsv1.3") => TlsVersion::V1_3,
                    Some("0" | "tlsv1.0" | "1" | "tlsv1.1") => {
                        let why = "allows TLS 1.0 or 1.1, which are broken and not offered; \
                                   give 2 (tlsv1.2) or 3 (tlsv1.3)";
                        return Err(Fault::Refused(name, why));
                    }
                    _ => return Err(wrong("N with 2 (tlsv1.2) or 3 (tlsv1.3)")),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The name of something that needs TLS, if there is any.
    pub(crate) fn said(&self) -> Option<&'static str> {
        let Self { chain, key, authorities, verify, version_least, resumes } = self;
        [
            ("ssl_chain_cert", chain.is_some()),
            ("ssl_key", key.is_some()),
            ("ssl_ca_cert", authorities.is_some()),
            ("ssl_verify_mode", verify.is_some()),
            ("ssl_min_version", version_least.is_some()),
            ("ssl_session_cache", *resumes),
        ]
        .into_iter()
        .find_map(|(name, is_said)| is_said.then_some(name))
    }

    /// All that TLS needs to know; without a certificate none of it.
    pub(crate) fn files(self) -> Option<TlsFiles> {
        let chain = self.chain?;
        Some(TlsFiles {
            // As memcached's help has it, it may stand with the certificate.
            key: self.key.unwrap_or_else(|| chain.clone()),
            chain,
            authorities: self.authorities,
            verify: self.verify.unwrap_or(Verify::Nothing),
            version_least: self.version_least.unwrap_or(TlsVersion::V1_2),
            resumes: self.resumes,
        })
    }
}

/// A name that changes nothing, with what it takes.
fn check<'t>(name: &'t str, value: Option<&str>, word: &'t str) -> Result<&'t str, Fault<'t>> {
    let (_, takes) = INERT.iter().find(|(known, _)| *known == name).ok_or_else(|| refusal(name))?;
    let number = |low: u64, high: u64| {
        let number = value.and_then(units::number);
        number.is_some_and(|number| (low..=high).contains(&number))
    };
    let is_fine = match *takes {
        Nothing => true,
        Number(low, high) => number(low, high),
        MaybeNumber(low, high) => value.is_none() || number(low, high),
        Fraction(most) => value
            .and_then(|value| value.parse::<f64>().ok())
            .is_some_and(|fraction| fraction > 0.0 && fraction <= most),
        Word(words) => value.is_some_and(|value| words.contains(&value)),
        Text => value.is_some_and(|value| !value.is_empty()),
    };
    if is_fine { Ok(name) } else { Err(Fault::Value(word, described(name, *takes))) }
}

fn described(name: &str, takes: Takes) -> String {
    match takes {
        Nothing => name.to_owned(),
        Number(low, high) | MaybeNumber(low, high) => {
            format!("{name}=N with a number from {low} to {high}")
        }
        Fraction(f64::MAX) => format!("{name}=N with a number above 0"),
        Fraction(most) => format!("{name}=N with a number above 0, at most {most}"),
        Word(words) => format!("{name}= and one of {}", words.join(", ")),
        Text => format!("{name}= and a value"),
    }
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
            let expected = Extended { refuse_fast, idle_timeout_seconds, ..Extended::default() };
            assert_eq!(read_one(text), Ok((expected, vec![])), "{text:?}");
        }
    }

    #[test]
    fn parts_are_switched() {
        let cases = [
            ("modern", [true, true, true]),
            ("no_lru_crawler", [false, true, true]),
            ("no_lru_maintainer,no_slab_reassign", [true, false, false]),
            ("no_modern", [false, false, false]),
            ("no_modern,lru_crawler,lru_maintainer,slab_reassign", [true, true, true]),
        ];
        for (text, [lru_crawler, lru_maintainer, slab_reassign]) in cases {
            let (extended, _) = read_one(text).expect("known names");
            let expected = Parts { lru_crawler, lru_maintainer, slab_reassign };
            assert_eq!(extended.parts, expected, "{text:?}");
        }
    }

    #[test]
    fn what_tls_is_told() {
        let text = "ssl_chain_cert=/c,ssl_verify_mode=2,ssl_ca_cert=/a,ssl_min_version=3";
        let (extended, inert) = read_one(text).expect("known names");
        assert_eq!((extended.tls.said(), inert.len()), (Some("ssl_chain_cert"), 0));
        let files = extended.tls.files().expect("a certificate");
        assert_eq!(files.key, files.chain);
        assert_eq!((files.verify, files.version_least), (Verify::Require, TlsVersion::V1_3));
        let (extended, inert) =
            read_one("ssl_keyformat=1,ssl_wbuf_size=32,ssl_kernel_tls,ssl_session_cache")
                .expect("known names");
        assert_eq!((extended.tls.said(), inert.len()), (Some("ssl_session_cache"), 3));
        for text in [
            "ssl_chain_cert",
            "ssl_key=",
            "ssl_verify_mode=4",
            "ssl_min_version=x",
            "ssl_keyformat=2",
            "ssl_wbuf_size=0",
        ] {
            assert!(matches!(read_one(text), Err(Fault::Value(word, _)) if word == text), "{text}");
        }
    }

    #[test]
    fn what_changes_nothing_is_named() {
        let (_, inert) = read_one("modern,hashpower=20,idle_timeout=1").expect("known names");
        assert_eq!(inert, ["modern", "hashpower"]);
    }

    /// The start lines of memcached's own tests and manual.
    #[test]
    fn values_have_a_shape() {
        let fine = "slab_chunk_max=1,slab_automove,slab_automove=0,slab_automove_ratio=0.8,\
                    slab_automove_window=3,hash_algorithm=murmur3,tail_repair_time=10,\
                    lru_crawler_tocrawl=0,hot_lru_pct=20,warm_max_factor=2.5,temporary_ttl=61,\
                    watcher_logbuf_size=8,worker_logbuf_size=64,slab_sizes=100-200-300,\
                    read_buf_mem_limit=1,no_hashexpand,track_sizes,lru_crawler_sleep=100";
        assert!(read_one(fine).is_ok(), "{:?}", read_one(fine));
        for text in [
            "hashpower",
            "hashpower=5",
            "hashpower=33",
            "hash_algorithm=md5",
            "slab_automove=3",
            "slab_automove_ratio=1.5",
            "slab_automove_ratio=x",
            "slab_automove_window=2",
            "tail_repair_time=9",
            "hot_lru_pct=80",
            "hot_max_factor=0",
            "slab_chunk_max=2048",
            "slab_sizes",
            "lru_crawler_sleep=1000001",
        ] {
            assert!(matches!(read_one(text), Err(Fault::Value(word, _)) if word == text), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        let time = ["idle_timeout", "idle_timeout=", "idle_timeout=-1", "idle_timeout=9999999999"];
        for text in time {
            assert!(matches!(read_one(text), Err(Fault::Value(word, _)) if word == text), "{text}");
        }
        for text in ["", "fooble", "Modern", "modern,", "-1"] {
            assert!(matches!(read_one(text), Err(Fault::Unknown(_))), "{text:?}");
        }
        for text in ["ssl_ciphers=HIGH", "ssl_min_version=0", "ssl_min_version=tlsv1.1"] {
            assert!(matches!(read_one(text), Err(Fault::Refused(_, _))), "{text:?}");
        }
        for text in ["ext_path=/mnt/d1/extstore:1G", "proxy_config=x"] {
            assert!(matches!(read_one(text), Err(Fault::Refused(_, _))), "{text:?}");
        }
    }
}
