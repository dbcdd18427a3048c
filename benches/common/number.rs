//! Numbers on a benchmark's command line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The number behind `word`, which must be in the range.
pub(crate) fn number<T>(word: &str, text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{word} {text}: not from {} to {}", range.start(), range.end())),
    }
}
