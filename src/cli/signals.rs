//! Signals to a daemon, heard from its first moment on: a start may take long, and none of them may
//! kill it.
//!
//! Until it serves, a request to end is followed at once, as nothing has been promised to anybody, and a
//! reload is remembered. While it serves, the first request to end is followed, the second is obeyed.

use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::cli::reload::Reload;
use crate::cli::{Exit, Failure};
use crate::server::{StopHandle, notify};

/// Hands over what came before the daemon served.
#[derive(Debug)]
pub(super) struct Watch(Arc<Mutex<Phase>>);

/// Who is told. Locked by the thread of the signals for each of them, and once when it serves.
#[derive(Debug)]
enum Phase {
    Starting { reload: bool },
    Serving { stop: StopHandle, reload: SyncSender<()>, is_ending: bool },
}

impl Watch {
    /// From now on no signal ends the process but through here.
    pub(super) fn start() -> Result<Self, Failure> {
        let mut signals =
            Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP]).map_err(|error| refused(&error))?;
        let phase = Arc::new(Mutex::new(Phase::Starting { reload: false }));
        let heard = Arc::clone(&phase);
        let watch = move || signals.forever().for_each(|signal| lock(&heard).hear(signal));
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(watch)
            .map_err(|error| refused(&error))?;
        Ok(Self(phase))
    }

    /// It serves: this is how it ends and reloads.
    pub(super) fn serves(self, stop: StopHandle, reload: Reload) -> Result<(), Failure> {
        let reload = reload.spawn().map_err(|error| refused(&error))?;
        let mut phase = lock(&self.0);
        if matches!(*phase, Phase::Starting { reload: true }) {
            reload.try_send(()).unwrap_or_default();
        }
        *phase = Phase::Serving { stop, reload, is_ending: false };
        Ok(())
    }
}

impl Phase {
    fn hear(&mut self, signal: i32) {
        match self {
            Self::Starting { reload } if signal == SIGHUP => *reload = true,
            Self::Starting { .. } => {
                log::info!("stopping before it serves");
                notify::stopping();
                std::process::exit(0);
            }
            // One that waits already will read what is written by then.
            Self::Serving { reload, .. } if signal == SIGHUP => drop(reload.try_send(())),
            Self::Serving { is_ending: true, .. } => {
                log::warn!("a second signal: ending now; nothing acknowledged is lost");
                std::process::exit(128 + signal);
            }
            Self::Serving { stop, is_ending, .. } => {
                *is_ending = true;
                stop.request();
            }
        }
    }
}

fn refused(error: &io::Error) -> Failure {
    Failure::new(Exit::System, format!("signals cannot be watched: {error}; start again"))
}

fn lock(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}
