//! Whether the daemon lives, and whether it serves.
//!
//! The event loops are called once a second and answer by making a pass. One that has not done so for a
//! long time hangs, whatever the other threads say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::server::context::Context;
use crate::server::inbox::Inbox;

/// How long a pass of an event loop may take. Long: a slow disk is no reason to start again.
const PASS_MAX: Duration = Duration::from_secs(10);

/// How long an event loop has not answered, the longest of all.
pub(super) fn stalled(loops: &[Arc<Inbox>]) -> Duration {
    loops.iter().map(|inbox| inbox.unanswered()).max().unwrap_or_default()
}

/// Whether restarting it would not help; else the reason.
pub(super) fn lives(context: &Context, loops: &[Arc<Inbox>]) -> Result<(), String> {
    if context.store.snapshot().failed {
        return Err("the store has failed; see the log".into());
    }
    let stalled = stalled(loops);
    if stalled > PASS_MAX {
        return Err(format!("an event loop has made no progress for {} s", stalled.as_secs()));
    }
    Ok(())
}

/// Whether clients should come; else the reason.
pub(super) fn serves(context: &Context, loops: &[Arc<Inbox>]) -> Result<(), String> {
    lives(context, loops)?;
    if context.is_stopping() {
        return Err("stopping".into());
    }
    let clients = &context.connections;
    if !clients.accepting.load(Ordering::Relaxed)
        || clients.current.load(Ordering::Relaxed) >= context.live.connections_max()
    {
        return Err(
            "no client is accepted: there are as many as -c allows, or no descriptors".into()
        );
    }
    let store = context.store.snapshot();
    if store.wal_is_stuck {
        return Err("the write-ahead log is at its limit: writes are refused; see the log".into());
    }
    if store.is_locked_out {
        return Err("another program has the database's write lock: writes are refused".into());
    }
    Ok(())
}
