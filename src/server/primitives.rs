//! Atomics and locks of what is explored in every interleaving: the standard library's here, loom's in
//! `models`, where the same files are compiled against a module of this name.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
