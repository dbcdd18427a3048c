//! Values that are compressed in their rows.
//!
//! Then `item.marks` has 16, and `item.value` is the value's length in decimal digits, a space and a
//! Zstandard frame: SQL can read the length, and `zstd -d` the rest. Values in pieces are stored as they
//! came. What must stay true: what another program wrote there takes no more memory than a value may.

use std::fmt;

use zstd::bulk::Compressor;

use crate::limits::LARGE_VALUE_BYTES;
use crate::metrics::Storage;

/// The bit of `item.marks`.
pub(super) const PACKED: u8 = 16;

/// The fastest of Zstandard's usual levels: it compresses text to nearly what the others make of it.
const LEVEL: i32 = 1;

/// What is saved must be at least this part of a value: reading it costs more from then on.
const SAVED_DIVISOR: usize = 8;

/// Compresses. Keeps its tables between values.
#[derive(Default)]
pub(super) struct Packer {
    compressor: Option<Compressor<'static>>,
    buffer: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// What stands in the row for a value; none where it had better stand there itself.
    pub(super) fn pack(&mut self, value: &[u8]) -> Option<&[u8]> {
        if value.len() as u64 > LARGE_VALUE_BYTES {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = Compressor::new(LEVEL)
                .inspect_err(|error| log::warn!("values are not compressed: {error}"))
                .ok();
        }
        let compressor = self.compressor.as_mut()?;
        let length = format!("{} ", value.len());
        let room = value.len() - value.len() / SAVED_DIVISOR;
        self.buffer.clear();
        self.buffer.extend_from_slice(length.as_bytes());
        self.buffer.resize(room.max(length.len()), 0);
        // An error says that it does not fit.
        let frame = compressor.compress_to_buffer(value, &mut self.buffer[length.len()..]).ok()?;
        self.buffer.get(..length.len() + frame)
    }
}

/// What became of values that were to be compressed.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Packing {
    /// Compressed, and their bytes before and after.
    values: u64,
    value_bytes: u64,
    stored_bytes: u64,
    in_vain: u64,
}

impl Packing {
    /// A value of so many bytes stands in its row with so many, or as it came.
    pub(super) fn note(&mut self, value_bytes: usize, stored_bytes: Option<usize>) {
        match stored_bytes {
            Some(stored_bytes) => {
                self.values += 1;
                self.value_bytes += value_bytes as u64;
                self.stored_bytes += stored_bytes as u64;
            }
            None => self.in_vain += 1,
        }
    }

    /// It has been committed.
    pub(super) fn count(&self, metrics: &Storage) {
        if self.values > 0 {
            metrics.packed.add(self.values);
            metrics.packed_value_bytes.add(self.value_bytes);
            metrics.packed_stored_bytes.add(self.stored_bytes);
        }
        if self.in_vain > 0 {
            metrics.packed_in_vain.add(self.in_vain);
        }
    }
}

/// The value that stands in a row; none where it is not what it should be.
pub(super) fn unpack(stored: &[u8]) -> Option<Vec<u8>> {
    let space = stored.iter().take(20).position(|&byte| byte == b' ')?;
    let length = str::from_utf8(&stored[..space]).ok()?;
    let length: u64 = length.parse().ok()?;
    let length = usize::try_from(length).ok().filter(|_| length <= LARGE_VALUE_BYTES)?;
    let value = zstd::bulk::decompress(&stored[space + 1..], length).ok()?;
    (value.len() == length).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let mut tool = Packer::default();
        for length in [100, 1_000, 100_000, 1 << 20] {
            let value = b"some words, and some more words; ".repeat(length / 33 + 1);
            let value = &value[..length];
            let packed = tool.pack(value).unwrap();
            assert!(packed.starts_with(format!("{length} ").as_bytes()));
            assert!(packed.len() < length * 7 / 8, "{length}: {}", packed.len());
            assert_eq!(unpack(packed).as_deref(), Some(value));
        }
    }

    #[test]
    fn what_does_not_become_shorter_stays() {
        let mut tool = Packer::default();
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(10_000)
        .collect();
        assert_eq!(tool.pack(&noise), None);
        for short in ["", "x", "xxxxxxxx"] {
            assert_eq!(tool.pack(short.as_bytes()), None, "{short}");
        }
        let too_long = vec![0; (1 << 20) + 1];
        assert_eq!(tool.pack(&too_long), None, "it would be in pieces");
    }

    #[test]
    fn what_is_none_is_told() {
        let mut tool = Packer::default();
        let packed = tool.pack(&[b'x'; 1_000]).unwrap().to_vec();
        let of = |length: &str| [length.as_bytes(), &packed[4..]].concat();
        assert_eq!(unpack(&of("1000")).map(|value| value.len()), Some(1_000));
        for broken in [of("999"), of("1001"), of("-1"), of("x"), of("99999999999"), of("")] {
            assert_eq!(unpack(&broken), None, "{}", broken.escape_ascii());
        }
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end]), None, "{end}");
        }
    }
}
