//! How the answer to an operation is written.

use std::borrow::Cow;

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
        }
    }

    /// Whether it is for `me`, which tells of an item without using it.
    pub fn is_debug(&self) -> bool {
        matches!(self, Self::Meta(meta) if meta.command == Command::Debug)
    }

    /// Whether its answer may carry an item's value.
    pub fn carries_value(&self) -> bool {
        match self {
            Self::Classic { .. } | Self::Simple { .. } => false,
            Self::Retrieval { .. } => true,
            Self::Meta(meta) => meta.carries_value(),
        }
    }
}
