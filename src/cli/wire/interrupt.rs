//! What a signal asks of a tool that talks to a server: to stop and tidy up.
//!
//! The first signal is only noted, and ends a wait for the server; a second one ends the process as if
//! nobody had listened. A tool that calls neither [`heed`] nor [`note`] ends at the first.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

static IS_ASKED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicUsize = AtomicUsize::new(0);

/// From now on these signals are noted.
pub(crate) fn heed(signals: &[c_int]) -> io::Result<()> {
    for &signal in signals {
        // In this order, or the first signal would already be a second one.
        flag::register_conditional_default(signal, &IS_ASKED)?;
        flag::register_usize(signal, &SIGNAL, usize::try_from(signal).unwrap_or_default())?;
        flag::register(signal, &IS_ASKED)?;
    }
    Ok(())
}

/// Has this signal noted here beside whoever else handles it.
pub(crate) fn note(signal: c_int) -> io::Result<()> {
    flag::register(signal, &IS_ASKED).map(drop)
}

/// Whether a signal has come.
pub(crate) fn is_asked() -> bool {
    IS_ASKED.load(Ordering::SeqCst)
}

/// What came is done with.
pub(crate) fn forget() {
    IS_ASKED.store(false, Ordering::SeqCst);
}

/// Ends the process by the signal that came, so that whoever started it sees that.
pub(crate) fn obey() {
    let signal = c_int::try_from(SIGNAL.load(Ordering::SeqCst)).unwrap_or_default();
    if is_asked() && emulate_default_handler(signal).is_err() {
        std::process::exit(128 + signal);
    }
}
