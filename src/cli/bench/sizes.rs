//! How large the values are: all alike, anything between two sizes, or some sizes by weight.
//!
//! A key keeps its size: it is drawn with the key's own number, so that a value that is stored again, by
//! this run or another, is as large as before.

use std::fmt;

use crate::config::units;
use crate::limits::BENCH_VALUE_BYTES_MAX;

/// Sizes that one list may have.
const WEIGHTED_MAX: usize = 64;

/// A weight at most.
const WEIGHT_MAX: u64 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sizes {
    Fixed(u32),
    /// Both ends included.
    Between(u32, u32),
    /// A size, and the sum of the weights up to it.
    Weighted(Vec<(u32, u64)>),
}

impl Sizes {
    /// `100`, `50..2000` or `100:70,1k:20,10k:10`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let size = |text: &str| {
            units::bytes(text)
                .and_then(|bytes| u32::try_from(bytes).ok())
                .filter(|&bytes| bytes <= BENCH_VALUE_BYTES_MAX)
                .ok_or_else(|| format!("'{text}' is no size of a value; write 0 to 64m"))
        };
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (size(from)?, size(to)?);
            let is_order = from <= to;
            let wrong = || format!("'{text}' ends before it begins; write 50..2000");
            return is_order.then_some(Self::Between(from, to)).ok_or_else(wrong);
        }
        if !text.contains(':') {
            return size(text).map(Self::Fixed);
        }
        let mut all = Vec::new();
        let mut sum = 0;
        for part in text.split(',') {
            let (bytes, weight) = part.split_once(':').unwrap_or((part, ""));
            let weight = units::number(weight).filter(|weight| (1..=WEIGHT_MAX).contains(weight));
            sum += weight.ok_or_else(|| {
                format!("'{part}' is no size with a weight; write 100:70,1k:20,10k:10")
            })?;
            all.push((size(bytes)?, sum));
        }
        if all.len() > WEIGHTED_MAX {
            return Err(format!("there are {} sizes; give at most {WEIGHTED_MAX}", all.len()));
        }
        Ok(Self::Weighted(all))
    }

    pub(super) fn most(&self) -> u32 {
        match self {
            Self::Fixed(bytes) | Self::Between(_, bytes) => *bytes,
            Self::Weighted(all) => all.iter().map(|&(bytes, _)| bytes).max().unwrap_or_default(),
        }
    }

    /// The size that belongs to this key.
    pub(super) fn of(&self, key: u32) -> u32 {
        let drawn = |below: u64| scattered(u64::from(key)) % below;
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Between(from, to) => {
                let width = u64::from(to - from) + 1;
                from + u32::try_from(drawn(width)).expect("it is below the width")
            }
            Self::Weighted(all) => {
                let drawn = drawn(all.last().map_or(1, |&(_, sum)| sum));
                let at = all.partition_point(|&(_, sum)| sum <= drawn);
                all.get(at).map_or(0, |&(bytes, _)| bytes)
            }
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Between(from, to) => write!(f, "{from} to {to}"),
            Self::Weighted(all) => {
                let sizes: Vec<String> = all.iter().map(|(bytes, _)| bytes.to_string()).collect();
                write!(f, "{}", sizes.join(" or "))
            }
        }
    }
}

/// The finalizer of `SplitMix64`: neighbouring numbers come out far apart.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("100", Some(Sizes::Fixed(100))),
            ("1k", Some(Sizes::Fixed(1_024))),
            ("0", Some(Sizes::Fixed(0))),
            ("64m", Some(Sizes::Fixed(64 << 20))),
            ("65m", None),
            ("50..2000", Some(Sizes::Between(50, 2_000))),
            ("2000..50", None),
            ("..50", None),
            ("100:70,1k:20", Some(Sizes::Weighted(vec![(100, 70), (1_024, 90)]))),
            ("100:70,1k", None),
            ("100:0", None),
            ("100:x", None),
            ("many", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Sizes::parse(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_come_as_often_as_they_should() {
        let sizes = Sizes::parse("10:70,20:20,30:10").expect("sizes");
        let mut counts = [0_u32; 4];
        (0..100_000).for_each(|key| counts[sizes.of(key) as usize / 10] += 1);
        for (count, expected) in counts.into_iter().zip([0, 70_000, 20_000, 10_000]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
        let sizes = Sizes::parse("5..14").expect("sizes");
        let mut counts = [0_u32; 10];
        (0..100_000).for_each(|key| counts[sizes.of(key) as usize - 5] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }
}
