//! Bytes that wait to be sent to one client.
//!
//! Small replies are gathered in one buffer; a large value is kept by reference, so that a slow reader
//! costs no copy of it. An output that is empty holds no memory worth mentioning.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use crate::cache::{Pieces, Value};
use crate::limits::OUTPUT_BYTES_KEPT_MAX;
use crate::protocol::encode;

/// A value from this size on is referred to, not copied.
const REFERRED_BYTES_LEAST: usize = 4_096;

/// Pieces handed to the system in one call.
const PIECES_MAX: usize = 16;

/// Places for pieces that an empty output keeps.
const PIECES_KEPT_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent already.
    sent: usize,
    length: usize,
    /// A value that has to be sent before anything else can be.
    hole: Option<Hole>,
}

/// A value in pieces that belongs behind what is in the output, and what belongs behind the value.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) pieces: Pieces,
    pub(super) tail: Vec<u8>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Value(Value),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Value(value) => value.bytes(),
        }
    }
}

impl Output {
    /// Bytes that are not sent yet.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Takes the value that was to be written in pieces.
    pub(super) fn take_hole(&mut self) -> Option<Hole> {
        self.hole.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Sends what the socket takes. `false` if it takes no more for now.
    pub(super) fn send(&mut self, to: &mut impl Write, sent: &mut u64) -> io::Result<bool> {
        while self.length > 0 {
            let result = match self.pieces.len() {
                1 => to.write(&self.pieces[0].bytes()[self.sent..]),
                _ => to.write_vectored(&self.slices()),
            };
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *sent += count as u64;
                    self.advance(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.pieces.capacity() > PIECES_KEPT_MAX {
            self.pieces = VecDeque::new();
        }
        Ok(true)
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices: Vec<_> =
            self.pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece.bytes())).collect();
        if let Some(first) = slices.first_mut() {
            first.advance(self.sent);
        }
        slices
    }

    fn advance(&mut self, count: usize) {
        self.length -= count;
        self.sent += count;
        while let Some(first) = self.pieces.front_mut() {
            let whole = first.bytes().len();
            if self.sent < whole {
                return;
            }
            self.sent -= whole;
            let is_last = self.sent == 0 && self.length == 0;
            match first {
                Piece::Bytes(bytes) if is_last && bytes.capacity() <= OUTPUT_BYTES_KEPT_MAX => {
                    bytes.clear();
                    return;
                }
                _ => drop(self.pieces.pop_front()),
            }
        }
    }
}

impl encode::Output for Output {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(hole) = &mut self.hole {
            return hole.tail.extend_from_slice(bytes);
        }
        self.length += bytes.len();
        if let Some(Piece::Bytes(last)) = self.pieces.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.pieces.push_back(Piece::Bytes(bytes.to_vec()));
        }
    }

    fn value(&mut self, value: &Value) {
        if value.len() < REFERRED_BYTES_LEAST || self.hole.is_some() {
            self.bytes(value.bytes());
        } else {
            self.length += value.len();
            self.pieces.push_back(Piece::Value(value.clone()));
        }
    }

    fn large(&mut self, pieces: &Pieces) {
        debug_assert!(self.hole.is_none() && pieces.is_held(), "one at a time, and held");
        self.hole = Some(Hole { pieces: pieces.clone(), tail: Vec::new() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, then none for once.
    struct Narrow {
        taken: Vec<u8>,
        blocked: bool,
        width: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.blocked = !self.blocked;
            if self.blocked {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            self.write(&pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<_>>())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_leaves_in_order() {
        let large = Value::from(vec![b'x'; 10_000]);
        let mut output = Output::default();
        let mut expected = Vec::new();
        for out in [&mut output as &mut dyn FnOut, &mut expected as &mut dyn FnOut] {
            for round in 0..3 {
                out.put(format!("head {round}\r\n").as_bytes());
                out.put_value(&large);
                out.put(b"\r\n");
            }
        }
        let mut narrow = Narrow { taken: Vec::new(), blocked: false, width: 1_000 };
        let mut sent = 0;
        while !output.send(&mut narrow, &mut sent).expect("it only blocks") {}
        assert_eq!(narrow.taken, expected);
        assert_eq!(sent, expected.len() as u64);
        assert!(output.is_empty());
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]
        #[test]
        fn any_pieces_in_any_steps(
            steps in proptest::collection::vec((0usize..9_000, 0usize..3), 1..20),
            width in 1_000usize..50_000,
        ) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            let mut narrow = Narrow { taken: Vec::new(), blocked: false, width };
            let mut sent = 0;
            for (length, sends) in steps {
                let value = Value::from(vec![u8::try_from(length % 251).expect("under 251"); length]);
                for out in [&mut output as &mut dyn FnOut, &mut expected as &mut dyn FnOut] {
                    out.put(b"head");
                    out.put_value(&value);
                }
                for _ in 0..sends {
                    output.send(&mut narrow, &mut sent).expect("it only blocks");
                }
            }
            while !output.send(&mut narrow, &mut sent).expect("it only blocks") {}
            assert_eq!(narrow.taken, expected);
        }
    }

    trait FnOut {
        fn put(&mut self, bytes: &[u8]);
        fn put_value(&mut self, value: &Value);
    }

    impl<O: encode::Output> FnOut for O {
        fn put(&mut self, bytes: &[u8]) {
            self.bytes(bytes);
        }

        fn put_value(&mut self, value: &Value) {
            self.value(value);
        }
    }
}
