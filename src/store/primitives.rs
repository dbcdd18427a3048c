//! Atomics and locks of the protocols that are explored in every interleaving: the standard library's here,
//! loom's in `models`, where the same files are compiled against a module of this name.

pub(super) use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
