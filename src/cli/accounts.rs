//! The users of `--auth-file`, for whoever serves or would: read where the settings name a file, with the
//! exit code that a failure deserves.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::auth::{Accounts, Error, Loaded};
use crate::cli::{Exit, Failure};
use crate::config::Settings;

/// Reads them, if clients have to log in.
pub(super) fn read(settings: &Settings) -> Result<Option<Loaded>, Failure> {
    Ok(settings.auth_file.as_deref().map(Accounts::read).transpose()?)
}

/// Says what there is to say about their file.
pub(super) fn tell(loaded: Loaded) -> Arc<Accounts> {
    if let Some(warning) = loaded.warning {
        log::warn!("{warning}");
    }
    Arc::new(loaded.accounts)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Unreadable { error, .. } => match error.kind() {
                ErrorKind::NotFound => Exit::NoInput,
                ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Io,
            },
            Error::Malformed { .. } | Error::Unfit { .. } => Exit::Configuration,
        };
        Self::new(exit, error.to_string())
    }
}
