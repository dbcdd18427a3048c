//! Ctrl-C, SIGTERM and the end of the terminal, noted: whoever works in steps looks between them, ends in order, and says how far
//! it came. A second one ends the process at once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::wire::interrupt;
use super::{Exit, Failure};

/// Clones see the same signals.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From now on the process is not ended by them. One that `nohup` has had ignored stays so.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let (signal, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            if number == SIGHUP && is_ignored(number) {
                continue;
            }
            // In this order: the first finds the switch as it was before.
            flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&again))
                .and_then(|_| flag::register(number, Arc::clone(&again)))
                .and_then(|_| {
                    let value = number.unsigned_abs() as usize;
                    flag::register_usize(number, Arc::clone(&signal), value)
                })
                // The last: who has seen it there finds the number here.
                .and_then(|_| interrupt::note(number))
                .map_err(|error| {
                    let what = format!("signals cannot be watched: {error}; start again");
                    Failure::new(Exit::System, what)
                })?;
        }
        Ok(Self { signal })
    }

    /// The end that was asked for, if one was: what a shell expects to see.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match i32::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(0) => None,
            Ok(SIGTERM) => Some(Exit::Terminated),
            Ok(SIGHUP) => Some(Exit::HungUp),
            _ => Some(Exit::Interrupted),
        }
    }
}

/// Whether the process was started with this signal ignored.
fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}
