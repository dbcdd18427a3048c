//! Ctrl-C and SIGTERM, noted: whoever works in steps looks between them, ends in order, and says how far
//! it came. A second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Exit, Failure};

/// Clones see the same signals.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on the process is not ended by them.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let (signal, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for number in [SIGINT, SIGTERM] {
            // In this order: the first finds the switch as it was before.
            flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&again))
                .and_then(|_| flag::register(number, Arc::clone(&again)))
                .and_then(|_| {
                    let value = number.unsigned_abs() as usize;
                    flag::register_usize(number, Arc::clone(&signal), value)
                })
                .map_err(|error| {
                    let what = format!("signals cannot be watched: {error}; start again");
                    Failure::new(Exit::System, what)
                })?;
        }
        Ok(Self { signal })
    }

    /// The end that was asked for, if one was: what a shell expects to see.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number if number == SIGTERM.unsigned_abs() as usize => Some(Exit::Terminated),
            _ => Some(Exit::Interrupted),
        }
    }
}
