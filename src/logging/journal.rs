//! Lines as entries of the journal, with fields to search by.
//!
//! Used where stderr is the journal's own stream and its socket answers; an entry that it does not take
//! goes to stderr instead, with its priority as a prefix.

use std::fmt;

use log::{Level, Record};
use systemd_journal_logger::JournalLog;

use super::levels;

/// The area as a field: `journalctl LITECACHED_AREA=store`.
const AREA: &str = "LITECACHED_AREA";

/// The journal's socket.
pub(super) struct Journal(JournalLog);

impl Journal {
    /// Where there is one that listens.
    pub(super) fn connect() -> Option<Self> {
        let journal = JournalLog::empty().ok()?;
        Some(Self(journal.with_syslog_identifier(env!("CARGO_PKG_NAME").to_owned())))
    }

    /// Whether it took the entry.
    pub(super) fn send(&self, record: &Record<'_>, line: fmt::Arguments<'_>) -> bool {
        let area = levels::area(record.target()).unwrap_or(record.target());
        let fields = [(AREA, area)];
        let mut entry = Record::builder();
        entry
            .level(with_priority_of(record.level()))
            .target(record.target())
            .module_path(record.module_path())
            .file(record.file())
            .line(record.line())
            .key_values(&fields);
        self.0.journal_send(&entry.args(line).build()).is_ok()
    }
}

/// The crate's own table calls `Info` a notice (5) and `Debug` an information (6). The prefixes of our
/// lines (`priority`) do not, and both ways into the journal are to agree.
fn with_priority_of(level: Level) -> Level {
    match level {
        Level::Error | Level::Warn => level,
        Level::Info => Level::Debug,
        Level::Debug | Level::Trace => Level::Trace,
    }
}
