//! What a value consists of: its key, its version and its deadline, and bytes that follow from them.
//!
//! Bytes of another key, of another version, or of two of them are seen, wherever they begin. They look
//! random, so that nothing makes them shorter.

use std::io::{self, Read, Write};

/// Bytes that are written and read at once.
const BLOCK: usize = 64 << 10;

const HEAD_BYTES: usize = 24;

/// Whose value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: u64,
    pub(crate) version: u64,
    /// Unix second after which nobody may see it; 0 is never.
    pub(crate) deadline: u64,
}

impl Head {
    fn bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip([self.key, self.version, self.deadline])
        {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The value's bytes from `at` on, a multiple of eight.
    fn fill(self, at: u64, block: &mut [u8]) {
        let seed = mix(self.key ^ mix(self.version ^ mix(self.deadline)));
        for (word, bytes) in (at / 8..).zip(block.chunks_mut(8)) {
            let mixed = (word ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bytes.copy_from_slice(&mixed.to_le_bytes()[..bytes.len()]);
        }
    }

    /// Sends the value.
    pub(crate) fn write(self, length: u64, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.bytes())?;
        let (mut block, mut at) = (vec![0; BLOCK.min(to_usize(length))], HEAD_BYTES as u64);
        while at < length {
            let some = to_usize(length - at).min(BLOCK);
            self.fill(at, &mut block[..some]);
            to.write_all(&block[..some])?;
            at += some as u64;
        }
        Ok(())
    }

    /// Takes a value of so many bytes, and says whose it is; an error in words if it is nobody's.
    pub(crate) fn read(length: u64, from: &mut impl Read) -> io::Result<Result<Self, String>> {
        let mut block = vec![0; BLOCK.min(to_usize(length))];
        if length < HEAD_BYTES as u64 {
            from.read_exact(&mut block)?;
            return Ok(Err(format!("a value of {length} bytes")));
        }
        from.read_exact(&mut block[..HEAD_BYTES])?;
        let mut words = block[..HEAD_BYTES]
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut word = || words.next().expect("three words");
        let head = Self { key: word(), version: word(), deadline: word() };
        let (mut expected, mut at) = (vec![0; block.len()], HEAD_BYTES as u64);
        let mut wrong = None;
        while at < length {
            let some = to_usize(length - at).min(BLOCK);
            from.read_exact(&mut block[..some])?;
            head.fill(at, &mut expected[..some]);
            if block[..some] != expected[..some] {
                wrong.get_or_insert(at);
            }
            at += some as u64;
        }
        Ok(match wrong {
            Some(at) => Err(format!("{head:?} has something else near byte {at}")),
            None => Ok(head),
        })
    }
}

/// Spreads a number over all 64 bits (the last step of `SplitMix64`).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a value is shorter than memory")
}
