//! What an item's value is made of: its bytes, or a list of pieces that the store keeps beside it.
//!
//! Pieces never change: whoever has the list and holds it can read the same bytes until he lets go,
//! whatever becomes of the item meanwhile.

use std::fmt;
use std::sync::Arc;

use crate::cache::Value;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Its bytes.
    Whole(Value),
    /// Too large to be held: the pieces that it is made of.
    Large(Pieces),
}

impl Content {
    /// Bytes of the value.
    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(value) => value.len() as u64,
            Self::Large(pieces) => pieces.bytes(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Whole(value) => value.len(),
            Self::Large(pieces) => std::mem::size_of_val(pieces.runs()),
        }
    }

    /// The bytes, where they are here.
    pub fn whole(&self) -> Option<&Value> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Large(_) => None,
        }
    }
}

impl<T: Into<Value>> From<T> for Content {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

/// Pieces with ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The id of the first.
    pub first: i64,
    /// How many.
    pub count: i64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Run {
    /// The id of the last.
    pub fn last(&self) -> i64 {
        self.first + self.count - 1
    }

    /// Whether they have a piece in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }
}

/// Keeps pieces from being removed while it lives.
pub trait Hold: fmt::Debug + Send + Sync {
    /// Whether no item has them any more, so that they take room for their holders alone.
    fn is_old(&self) -> bool;

    /// Whether there is no room for that any more: whoever holds them has to let go.
    fn must_end(&self) -> bool;
}

/// A list of pieces that make up a value.
#[derive(Clone)]
pub struct Pieces {
    runs: Arc<[Run]>,
    hold: Option<Arc<dyn Hold>>,
}

impl Pieces {
    /// Pieces that nobody holds yet.
    pub fn new(runs: impl Into<Arc<[Run]>>) -> Self {
        Self { runs: runs.into(), hold: None }
    }

    /// The same, held for as long as this or a clone of it lives.
    #[must_use]
    pub fn held(self, hold: Arc<dyn Hold>) -> Self {
        Self { hold: Some(hold), ..self }
    }

    /// Whether they are held.
    pub fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// What keeps them.
    pub fn hold(&self) -> Option<&dyn Hold> {
        self.hold.as_deref()
    }

    /// In the order of the value.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The same, to be kept.
    pub fn shared_runs(&self) -> Arc<[Run]> {
        Arc::clone(&self.runs)
    }

    /// Bytes of the value.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }
}

impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.runs == other.runs
    }
}

impl Eq for Pieces {}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: i64 = self.runs.iter().map(|run| run.count).sum();
        write!(f, "Pieces({} bytes in {count})", self.bytes())
    }
}
