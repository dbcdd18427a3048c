//! Every interleaving of what litecached's threads agree on by hand, and of what the memory model lets them
//! see: the daemon's own files, compiled against loom's atomics and locks, in small worlds.
//!
//!     cargo test --manifest-path tests/models/Cargo.toml
//!
//! Each world has a twin that does one thing in the wrong order, and in which loom must find the fault.

#![cfg(test)]

/// What the daemon's files call by this name is loom's here.
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[path = "../../../src/store/flushes.rs"]
mod flushes;
#[path = "../../../src/store/guards.rs"]
mod guards;
#[path = "../../../src/server/mail.rs"]
mod mail;
#[path = "../../../src/store/post.rs"]
mod post;

mod flush;
mod handover;
mod tier;
mod wake;

/// Threads are switched against their will so often at most. The makers of such tools found that two are
/// enough for most faults; `LITECACHED_SWITCHES` says another number.
const SWITCHES: usize = 3;

/// Explores what can become of `world`.
fn explore(world: impl Fn() + Send + Sync + 'static) {
    let said = std::env::var("LITECACHED_SWITCHES").ok();
    let switches =
        said.map_or(SWITCHES, |text| text.parse().expect("LITECACHED_SWITCHES is a number"));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(world);
}
