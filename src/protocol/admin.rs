//! memcached's commands that tune its slabs, its LRU and its external storage.
//!
//! There are no such parts here. The commands are checked and answered as memcached 1.6.45 does, and
//! all but the crawler's switch change nothing. Classes are memcached's: 0 is the pool of pages, 63 the
//! last one; what is stored counts as class 1.

use std::str::FromStr;

use crate::protocol::tokens::{Tokens, integer, unsigned_32};

/// What an administrative command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Nothing that could be done here: this is the answer.
    Settled(&'static [u8]),
    /// `slabs reassign`: the answer, unless reassignment is turned off.
    Reassign(&'static [u8]),
    /// `lru mode` and `lru temp_ttl`: the answer, unless the LRU maintainer is turned off.
    Maintain(&'static [u8]),
    /// `lru_crawler enable` and `disable`.
    Crawler { on: bool },
    /// `lru_crawler crawl`, which is for classes that there are.
    Crawl { known: bool },
}

const OK: &[u8] = b"OK\r\n";
const ERROR: &[u8] = b"ERROR\r\n";
const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

const CLASS_MAX: i32 = 63;

/// Parses such a line; `None` if it is another command's.
pub(super) fn parse(line: &[u8]) -> Option<Admin> {
    // One word more than any of them looks at.
    let mut words = [b"".as_slice(); 7];
    let mut count = 0;
    for token in Tokens::new(line) {
        if let Some(word) = words.get_mut(count) {
            *word = token;
        }
        count += 1;
    }
    let [command, what, rest @ ..] = words;
    Some(match command {
        b"slabs" => slabs(what, rest, count),
        b"lru" => lru(what, rest, count),
        b"lru_crawler" => lru_crawler(what, rest[0], count),
        b"extstore" => extstore(what, rest, count),
        _ => return None,
    })
}

fn slabs(what: &[u8], [one, two, ..]: [&[u8]; 5], count: usize) -> Admin {
    match what {
        b"reassign" if count == 4 => match (signed_32(one), signed_32(two)) {
            (Some(from), Some(to)) => Admin::Reassign(reassigned(from, to)),
            _ => Admin::Settled(BAD_FORMAT),
        },
        b"automove" if count >= 3 => Admin::Settled(automove(one, two)),
        _ => Admin::Settled(ERROR),
    }
}

/// No class has a page to spare. From -1 memcached would choose one itself.
fn reassigned(from: i32, to: i32) -> &'static [u8] {
    let classes = 0..=CLASS_MAX;
    if from == to {
        b"SAME src and dst class are identical\r\n"
    } else if !(from == -1 || classes.contains(&from)) || !classes.contains(&to) {
        b"BADCLASS invalid src or dst class id\r\n"
    } else {
        b"NOSPARE source class has no spare pages\r\n"
    }
}

fn automove(what: &[u8], value: &[u8]) -> &'static [u8] {
    const WINDOW: std::ops::RangeInclusive<u32> = 3..=1_800;
    match what {
        b"ratio" | b"freeratio" => settled(number::<f64>(value).is_some()),
        b"window" => match unsigned_32(value) {
            None => BAD_FORMAT,
            Some(window) if WINDOW.contains(&window) => OK,
            Some(_) => b"CLIENT_ERROR automove window too low or too high\r\n",
        },
        level => match unsigned_32(level) {
            None => BAD_FORMAT,
            Some(level) => settled(level <= 2),
        },
    }
}

fn lru(what: &[u8], [one, two, three, four, _]: [&[u8]; 5], count: usize) -> Admin {
    match what {
        b"tune" if count >= 6 => Admin::Settled(tune(one, two, three, four)),
        b"mode" if count >= 3 => Admin::Maintain(settled(matches!(one, b"flat" | b"segmented"))),
        b"temp_ttl" if count >= 3 => Admin::Maintain(settled(signed_32(one).is_some())),
        _ => Admin::Settled(ERROR),
    }
}

/// Shares of the hot and the warm list in per cent, and how old their items may get.
fn tune(hot: &[u8], warm: &[u8], hot_age: &[u8], warm_age: &[u8]) -> &'static [u8] {
    const PERCENT_MAX: u64 = 80;
    let shares = unsigned_32(hot).zip(unsigned_32(warm));
    let ages = number::<f64>(hot_age).zip(number::<f64>(warm_age));
    match shares.zip(ages) {
        None => ERROR,
        Some(((hot, warm), _)) if u64::from(hot) + u64::from(warm) > PERCENT_MAX => {
            b"ERROR hot and warm pcts must not exceed 80\r\n"
        }
        Some((_, (hot, warm))) if hot <= 0.0 || warm <= 0.0 => {
            b"ERROR hot/warm age factors must be greater than 0\r\n"
        }
        Some(_) => OK,
    }
}

fn lru_crawler(what: &[u8], value: &[u8], count: usize) -> Admin {
    const SLEEP_MICROS_MAX: u32 = 1_000_000;
    match (what, count) {
        (b"enable", 2) => Admin::Crawler { on: true },
        (b"disable", 2) => Admin::Crawler { on: false },
        (b"crawl", 3) => Admin::Crawl { known: are_classes(value) },
        (b"tocrawl", 3) => Admin::Settled(unsigned_32(value).map_or(BAD_FORMAT, |_| OK)),
        (b"sleep", 3) => Admin::Settled(match unsigned_32(value) {
            None => BAD_FORMAT,
            Some(micros) if micros <= SLEEP_MICROS_MAX => OK,
            Some(_) => b"CLIENT_ERROR sleep must be one second or less\r\n",
        }),
        _ => Admin::Settled(ERROR),
    }
}

/// `all`, `hash`, or ids separated by commas.
fn are_classes(text: &[u8]) -> bool {
    let classes = 1..=CLASS_MAX.cast_unsigned();
    let is_class = |id: &[u8]| unsigned_32(id).is_some_and(|id| classes.contains(&id));
    matches!(text, b"all" | b"hash")
        || text.split(|&byte| byte == b',').filter(|id| !id.is_empty()).all(is_class)
}

fn extstore(what: &[u8], [one, two, ..]: [&[u8]; 5], count: usize) -> Admin {
    let is_known = match what {
        _ if count < 3 => false,
        b"free_memchunks" => {
            let classes = CLASS_MAX.cast_unsigned();
            unsigned_32(one).is_some_and(|class| class <= classes) && unsigned_32(two).is_some()
        }
        b"item_size" | b"item_age" | b"low_ttl" | b"recache_rate" | b"compact_under"
        | b"drop_under" | b"max_sleep" | b"drop_unread" => unsigned_32(one).is_some(),
        b"max_frag" => number::<f64>(one).is_some(),
        _ => false,
    };
    Admin::Settled(settled(is_known))
}

fn settled(is_fine: bool) -> &'static [u8] {
    if is_fine { OK } else { ERROR }
}

fn signed_32(token: &[u8]) -> Option<i32> {
    integer(token).and_then(|number| i32::try_from(number).ok())
}

fn number<T: FromStr>(token: &[u8]) -> Option<T> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_commands_are_not_its_own() {
        for line in ["get k", "slab reassign 1 2", "lru_crawlers", ""] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_crawler() {
        for (line, admin) in [
            ("lru_crawler enable", Admin::Crawler { on: true }),
            ("lru_crawler disable", Admin::Crawler { on: false }),
            ("lru_crawler enable now", Admin::Settled(ERROR)),
            ("lru_crawler crawl all", Admin::Crawl { known: true }),
            ("lru_crawler crawl hash", Admin::Crawl { known: true }),
            ("lru_crawler crawl 1,2,63", Admin::Crawl { known: true }),
            ("lru_crawler crawl 0", Admin::Crawl { known: false }),
            ("lru_crawler crawl 1,64", Admin::Crawl { known: false }),
            ("lru_crawler crawl x", Admin::Crawl { known: false }),
            ("lru_crawler crawl", Admin::Settled(ERROR)),
        ] {
            assert_eq!(parse(line.as_bytes()), Some(admin), "{line}");
        }
    }
}
