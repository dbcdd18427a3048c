//! Which key is next: any with the same chance, few much more often than many (Zipf), or one after the
//! other.
//!
//! Keys are numbers here; their text is a prefix and ten digits, or a line of a trace.

use std::fmt;

use crate::config::units;

/// Digits of a numbered key.
const DIGITS: usize = 10;

/// The exponent that YCSB made common.
const EXPONENT_DEFAULT: f64 = 0.99;

/// The text of every key.
#[derive(Debug)]
pub(super) enum Names {
    Numbered(Vec<u8>),
    /// All texts in one, and where each ends.
    Listed {
        text: Vec<u8>,
        ends: Vec<usize>,
    },
}

impl Names {
    /// Longest prefix: the rest of a key is its digits.
    pub(super) const PREFIX_BYTES_MAX: usize = crate::limits::KEY_BYTES_MAX - DIGITS;

    /// Writes the key in the place of what was there.
    pub(super) fn write(&self, key: u32, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Numbered(prefix) => {
                out.extend_from_slice(prefix);
                let mut digits = [b'0'; DIGITS];
                let mut rest = key;
                for digit in digits.iter_mut().rev() {
                    *digit += (rest % 10) as u8;
                    rest /= 10;
                }
                out.extend_from_slice(&digits);
            }
            Self::Listed { text, ends } => {
                let key = key as usize;
                let from = key.checked_sub(1).map_or(0, |before| ends[before]);
                out.extend_from_slice(&text[from..ends[key]]);
            }
        }
    }
}

/// By what chance keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Distribution {
    Uniform,
    Zipf(f64),
    Sequential,
}

impl Distribution {
    /// `uniform`, `zipf`, `zipf:1.2` or `sequential`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is none; write uniform, zipf, zipf:1.2 or sequential");
        match text {
            "uniform" => Ok(Self::Uniform),
            "zipf" => Ok(Self::Zipf(EXPONENT_DEFAULT)),
            "sequential" => Ok(Self::Sequential),
            _ => {
                let exponent = text.strip_prefix("zipf:").ok_or_else(wrong)?;
                // A sign, an infinity or an exponent in the number is none here.
                let is_plain = exponent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let exponent = exponent.parse().ok().filter(|_| is_plain);
                exponent
                    .filter(|exponent| (0.01..=10.0).contains(exponent))
                    .map(Self::Zipf)
                    .ok_or_else(|| {
                        format!("'{text}' has no exponent of 0.01 to 10; write zipf:1.2")
                    })
            }
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => write!(f, "uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            Self::Sequential => write!(f, "sequential"),
        }
    }
}

/// Draws keys below a count.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    keys: u32,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Uniform,
    Zipf(Zipf),
    Sequential { next: u32 },
}

impl Draw {
    /// `first` is where a sequence begins.
    pub(super) fn new(distribution: Distribution, keys: u32, first: u32) -> Self {
        let way = match distribution {
            Distribution::Uniform => Way::Uniform,
            Distribution::Zipf(exponent) => Way::Zipf(Zipf::new(keys, exponent)),
            Distribution::Sequential => Way::Sequential { next: first % keys },
        };
        Self { keys, way }
    }

    pub(super) fn next(&mut self, random: &mut fastrand::Rng) -> u32 {
        match &mut self.way {
            Way::Uniform => random.u32(..self.keys),
            Way::Zipf(zipf) => zipf.draw(random),
            Way::Sequential { next } => {
                let key = *next;
                *next = if key + 1 == self.keys { 0 } else { key + 1 };
                key
            }
        }
    }
}

/// Zipf's law over `count` ranks in constant time and memory: rejection-inversion, after Hörmann and
/// Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", 1996.
///
/// A rank's weight is a bar under the falling curve `x^-exponent`. A point is drawn below the curve's
/// integral, whose inverse gives a place; the bar around that place is accepted unless the point lies in
/// the little that the curve has beyond the bars.
#[derive(Debug, Clone)]
struct Zipf {
    count: u32,
    exponent: f64,
    /// The integral where the first bar begins and where the last ends.
    first: f64,
    last: f64,
    /// So near to a bar's middle every point is in the bar.
    squeeze: f64,
}

impl Zipf {
    fn new(count: u32, exponent: f64) -> Self {
        let mut zipf = Self { count, exponent, first: 0.0, last: 0.0, squeeze: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(f64::from(count) + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn weight(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// Of the weight, from 1 to x: `(x^(1-e) - 1) / (1-e)`, or the logarithm where e is 1.
    fn integral(&self, x: f64) -> f64 {
        let (rest, logarithm) = (1.0 - self.exponent, x.ln());
        // Near 1 the quotient loses its digits, `exp_m1` does not.
        if rest.abs() * logarithm < 1e-8 { logarithm } else { (rest * logarithm).exp_m1() / rest }
    }

    fn inverse(&self, area: f64) -> f64 {
        let rest = 1.0 - self.exponent;
        let scaled = (rest * area).max(-1.0);
        if scaled.abs() < 1e-8 { area.exp() } else { (scaled.ln_1p() / rest).exp() }
    }

    /// A rank from 0 on, which is the most frequent.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 1 and the count"
    )]
    fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        loop {
            let area = self.last + random.f64() * (self.first - self.last);
            let place = self.inverse(area);
            let rank = place.round().clamp(1.0, f64::from(self.count));
            if rank - place <= self.squeeze || area >= self.integral(rank + 0.5) - self.weight(rank)
            {
                return rank as u32 - 1;
            }
        }
    }
}

/// Of so many requests in all so many are gets: `10:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mix {
    pub(super) gets: u32,
    pub(super) sets: u32,
}

impl Mix {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let part = |text: &str| units::number(text).and_then(|number| u32::try_from(number).ok());
        let parts = text.split_once(':').and_then(|(gets, sets)| part(gets).zip(part(sets)));
        parts
            .filter(|&(gets, sets)| gets <= 1_000_000 && sets <= 1_000_000 && gets + sets > 0)
            .map(|(gets, sets)| Self { gets, sets })
            .ok_or_else(|| format!("'{text}' is no mix of gets and sets; write 10:1, 1:0 or 0:1"))
    }

    pub(super) fn is_set(self, random: &mut fastrand::Rng) -> bool {
        self.gets == 0 || self.sets > 0 && random.u32(..self.gets + self.sets) < self.sets
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.gets, self.sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of the first ranks is drawn in a million, beside what the law says.
    #[test]
    fn zipf_s_frequencies_are_the_law_s() {
        for (keys, exponent) in [
            (1, 1.0),
            (2, 0.5),
            (10, 0.99),
            (1_000, 0.5),
            (1_000, 1.0),
            (100_000, 0.99),
            (100_000, 2.5),
        ] {
            let mut random = fastrand::Rng::with_seed(7);
            let mut draw = Draw::new(Distribution::Zipf(exponent), keys, 0);
            let draws = 1_000_000;
            let mut counts = vec![0_u32; keys as usize];
            (0..draws).for_each(|_| counts[draw.next(&mut random) as usize] += 1);
            let weight = |rank: u32| f64::from(rank).powf(-exponent);
            let sum: f64 = (1..=keys).map(weight).sum();
            for rank in 1..=keys.min(20) {
                let expected = f64::from(draws) * weight(rank) / sum;
                let found = f64::from(counts[rank as usize - 1]);
                // Five standard deviations, of what is nearly a Poisson distribution.
                let off = (found - expected).abs();
                assert!(
                    off <= 5.0 * expected.sqrt() + 1.0,
                    "{keys}, {exponent}, {rank}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn other_ways_to_draw() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut draw = Draw::new(Distribution::Uniform, 10, 0);
        let mut counts = [0_u32; 10];
        (0..100_000).for_each(|_| counts[draw.next(&mut random) as usize] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
        let mut draw = Draw::new(Distribution::Sequential, 3, 5);
        let drawn: Vec<u32> = (0..5).map(|_| draw.next(&mut random)).collect();
        assert_eq!(drawn, [2, 0, 1, 2, 0]);
    }

    #[test]
    fn distributions_are_read() {
        let cases = [
            ("uniform", Some(Distribution::Uniform)),
            ("zipf", Some(Distribution::Zipf(0.99))),
            ("zipf:1", Some(Distribution::Zipf(1.0))),
            ("zipf:0.75", Some(Distribution::Zipf(0.75))),
            ("sequential", Some(Distribution::Sequential)),
            ("zipf:0", None),
            ("zipf:11", None),
            ("zipf:inf", None),
            ("zipf:-1", None),
            ("zipf:", None),
            ("normal", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Distribution::parse(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_mix_is_read_and_kept() {
        let cases = [
            ("10:1", Some((10, 1))),
            ("0:1", Some((0, 1))),
            ("1:0", Some((1, 0))),
            ("0:0", None),
            ("10", None),
            ("a:b", None),
            ("-1:1", None),
            ("1:2:3", None),
        ];
        for (text, expected) in cases {
            let found = Mix::parse(text).ok().map(|mix| (mix.gets, mix.sets));
            assert_eq!(found, expected, "{text:?}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for (text, expected) in [("10:1", 10_000), ("0:1", 110_000), ("1:0", 0), ("1:1", 55_000)] {
            let mix = Mix::parse(text).expect("a mix");
            let sets = (0..110_000).filter(|_| mix.is_set(&mut random)).count();
            assert!(sets.abs_diff(expected) < 1_000, "{text}: {sets}");
        }
    }

    #[test]
    fn names() {
        let mut out = Vec::new();
        Names::Numbered(b"bench:".to_vec()).write(1_234, &mut out);
        assert_eq!(out, b"bench:0000001234");
        let listed = Names::Listed { text: b"onetwothree".to_vec(), ends: vec![3, 6, 11] };
        for (key, text) in ["one", "two", "three"].into_iter().enumerate() {
            listed.write(u32::try_from(key).expect("small"), &mut out);
            assert_eq!(out, text.as_bytes());
        }
    }
}
