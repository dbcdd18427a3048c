//! How the answer to an operation is written.

use std::borrow::Cow;

use crate::cache::{Mode, Store};
use crate::protocol::binary::Frame;
use crate::protocol::meta::{Command, Meta};

/// How the answer to an operation is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form<'b> {
    /// memcached's text replies; none at all if quiet (`noreply`).
    Classic { quiet: bool },
    /// The same, but that what cannot be stored is `NOT STORED`.
    Simple { quiet: bool },
    /// `VALUE` blocks, with the cas for `gets` and `gats`.
    Retrieval { with_cas: bool },
    /// A line of codes and flags.
    Meta(Meta<'b>),
    /// A frame of the binary protocol.
    Binary(Frame),
}

impl Form<'_> {
    /// The same without the bytes it was read from.
    pub fn into_owned(self) -> Form<'static> {
        match self {
            Self::Classic { quiet } => Form::Classic { quiet },
            Self::Simple { quiet } => Form::Simple { quiet },
            Self::Retrieval { with_cas } => Form::Retrieval { with_cas },
            Self::Meta(meta) => {
                Form::Meta(Meta { words: Cow::Owned(meta.words.into_owned()), ..meta })
            }
            Self::Binary(frame) => Form::Binary(frame),
        }
    }

    /// The mode that the opcode of a storing frame says.
    pub fn frame_mode(&self) -> Option<Mode> {
        match self {
            Self::Binary(frame) => frame.mode(),
            _ => None,
        }
    }

    /// Whether it is for `me`, which tells of an item without using it.
    pub fn is_debug(&self) -> bool {
        matches!(self, Self::Meta(meta) if meta.command == Command::Debug)
    }

    /// Whether what is there goes when the value announced is too large (memcached: for a plain `set`,
    /// for `ms` in any mode, and for binary `set`, whatever its cas), so that nobody reads a value its owner believes overwritten.
    pub fn discards_too_large(&self, how: &Store) -> bool {
        match self {
            Self::Meta(_) => true,
            Self::Binary(frame) => frame.mode() == Some(Mode::Set),
            _ => how.mode == Mode::Set && how.compare.is_none(),
        }
    }

    /// Whether its answer may carry an item's value.
    pub fn carries_value(&self) -> bool {
        match self {
            Self::Classic { .. } | Self::Simple { .. } => false,
            Self::Retrieval { .. } => true,
            Self::Meta(meta) => meta.carries_value(),
            Self::Binary(frame) => frame.carries_value(),
        }
    }
}
