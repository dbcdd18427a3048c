//! A value that is received piece by piece.
//!
//! However the bytes are cut, the pieces come out the same: all of one length but the last, which comes
//! when it is known that the value ends as it should.

use crate::limits::{LARGE_VALUE_BYTES, PIECE_BYTES, VALUE_STEP_BYTES};
use crate::protocol::decoder::reserve;

/// What a decoder takes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Items over so many bytes, key and header included, are refused as too large.
    pub item_bytes_max: u64,
    /// Values over so many bytes come in pieces.
    pub large_value_bytes: u64,
    /// Bytes of such a piece.
    pub piece_bytes: usize,
}

impl From<u64> for Sizes {
    fn from(item_bytes_max: u64) -> Self {
        let (large_value_bytes, piece_bytes) = (LARGE_VALUE_BYTES, PIECE_BYTES);
        Self { item_bytes_max, large_value_bytes, piece_bytes }
    }
}

/// The part of a value that is arriving.
#[derive(Debug)]
pub(super) struct Gather {
    /// Bytes of the value that have not come.
    left: u64,
    piece_bytes: usize,
    piece: Vec<u8>,
}

impl Gather {
    pub(super) fn new(bytes: u64, piece_bytes: usize) -> Self {
        Self { left: bytes, piece_bytes, piece: Vec::new() }
    }

    /// Bytes of the value that have not come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.piece.capacity()
    }

    /// Takes the next bytes, as far as they belong to a piece. Says how many, and gives the piece where it
    /// is whole and not the last.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, Option<Vec<u8>>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let room = self.piece_bytes - self.piece.len();
        let taken = bytes.len().min(left).min(room);
        let piece_bytes = (left + self.piece.len()).min(self.piece_bytes);
        reserve(&mut self.piece, taken, piece_bytes);
        self.piece.extend_from_slice(&bytes[..taken]);
        self.left -= taken as u64;
        let is_whole = self.left > 0 && self.piece.len() == self.piece_bytes;
        (taken, is_whole.then(|| std::mem::take(&mut self.piece)))
    }

    /// The last piece.
    pub(super) fn finish(self) -> Vec<u8> {
        self.piece
    }
}

const _: () = assert!(VALUE_STEP_BYTES <= PIECE_BYTES);
