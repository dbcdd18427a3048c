//! What an import would do, without doing it: `--dry-run`.
//!
//! Decides by the same code as the import. What it would have stored it notes in a database of its own,
//! in the folder for temporary files, so that a key that comes twice is told as it would be, and a
//! source larger than memory needs little of it. What must stay true: the destination is only read.

use tempfile::TempDir;

use super::Sink;
use super::conflict::{Conflict, Existing, Verdict};
use super::database::{self, Database, full};
use super::report::Report;
use super::server::Server;
use crate::cache::{Key, Mode};
use crate::cli::transfer::{Position, Record};
use crate::cli::{Exit, Failure};
use crate::clock::{Clock, Seconds};
use crate::limits::ITEM_HEADER_BYTES;
use crate::store::{self, OpenError, Options, View};

/// What this run would have stored so far.
#[derive(Debug)]
struct Notes {
    database: Database,
    /// Its own counts are nobody's.
    report: Report,
    _folder: TempDir,
}

/// An item that would be there.
struct Note {
    stored: Seconds,
    item_bytes: i64,
}

impl Notes {
    fn begin(clock: Clock) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| {
            let place = std::env::temp_dir();
            let what = format!("no folder in {}: {error}; set TMPDIR", place.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
        let options = Options {
            memory_bytes: 0,
            readers: 1,
            evicts: false,
            disk_bytes_max: 0,
            ..Options::new(folder.path().join("rehearsal.db"))
        };
        let database = Database::open(&options, clock, Conflict::Replace)?;
        Ok(Self { database, report: Report::default(), _folder: folder })
    }

    fn find(&mut self, key: Key<'_>) -> Result<Option<Note>, Failure> {
        let item = self.database.read(key, &mut self.report)?;
        Ok(item.map(|item| {
            let number = item.value.whole().and_then(|value| value.bytes().try_into().ok());
            let item_bytes = number.map_or(0, i64::from_le_bytes);
            Note { stored: item.head.stored, item_bytes }
        }))
    }

    fn keep(
        &mut self,
        position: Position,
        key: Vec<u8>,
        stored: Option<i64>,
        item_bytes: i64,
    ) -> Result<(), Failure> {
        let value = item_bytes.to_le_bytes().to_vec();
        let record = Record { stored, ..Record::plain(key, value) };
        self.database.write(position, record, (Mode::Set, None), &mut self.report)
    }
}

/// Of an import into a database.
#[derive(Debug)]
pub(super) struct Rehearsal {
    /// None where there is no database yet.
    view: Option<View>,
    notes: Notes,
    conflict: Conflict,
    /// As the budget would count when this is done.
    bytes: i64,
    bytes_max: u64,
    /// Why the import itself could not even begin.
    refused: Option<Failure>,
}

impl Rehearsal {
    pub(super) fn open(
        options: &Options,
        clock: Clock,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let view = match View::open(&options.path, clock.now()) {
            Err(OpenError::Missing { .. } | OpenError::Empty { .. }) => None,
            Err(error) => return Err(error.into()),
            Ok(view) => Some(view.unpinned()?),
        };
        let refused = store::refuse_served(&options.path).err().map(database::refused);
        Ok(Self {
            bytes: view.as_ref().map_or(0, View::bytes),
            view,
            notes: Notes::begin(clock)?,
            conflict,
            bytes_max: options.disk_bytes_max,
            refused,
        })
    }
}

impl Sink for Rehearsal {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let key = Key::new(&record.key).expect("records are checked before");
        let (existing, old_bytes) = if let Some(note) = self.notes.find(key)? {
            (Some(Existing { stored: note.stored, cas: 0, is_own: true }), note.item_bytes)
        } else {
            let present = match &self.view {
                Some(view) => view.present(key)?,
                None => None,
            };
            let alive = present.filter(|present| present.is_alive);
            let existing = |stored| Existing { stored, cas: 0, is_own: false };
            let existing = alive.map(|present| existing(present.stored));
            (existing, present.map_or(0, |present| present.item_bytes))
        };
        if self.conflict.decide(existing, record.stored) == Verdict::Keep {
            report.skipped += 1;
            return Ok(());
        }
        let bytes = record.key.len() + record.value.len();
        let item_bytes = i64::try_from(bytes + ITEM_HEADER_BYTES).unwrap_or(i64::MAX);
        let more = item_bytes - old_bytes;
        let over = u64::try_from(self.bytes + more).is_ok_and(|bytes| bytes > self.bytes_max);
        if self.bytes_max > 0 && more > 0 && over {
            return Err(full(position));
        }
        self.bytes += more;
        self.notes.keep(position, record.key, record.stored, item_bytes)?;
        report.import(bytes);
        Ok(())
    }

    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        let finished = self.notes.database.finish(&mut self.notes.report);
        let Some(failure) = self.refused.take() else { return finished };
        report.notes.push(format!("the import itself would not begin: {}", failure.message));
        Err(failure)
    }
}

/// Of an import into a server.
#[derive(Debug)]
pub(super) struct ServerRehearsal {
    server: Server,
    notes: Notes,
    conflict: Conflict,
    /// What the server takes, where it says so.
    item_bytes_max: Option<u64>,
}

impl ServerRehearsal {
    pub(super) fn open(
        mut server: Server,
        clock: Clock,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let item_bytes_max = server.item_bytes_max()?;
        Ok(Self { server, notes: Notes::begin(clock)?, conflict, item_bytes_max })
    }
}

impl Sink for ServerRehearsal {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let bytes = record.key.len() + record.value.len();
        let too_large =
            self.item_bytes_max.is_some_and(|max| (bytes + ITEM_HEADER_BYTES) as u64 > max);
        if let Some(refusal) = Server::refusal(&record, too_large) {
            return report.refuse(position, refusal);
        }
        let key = Key::new(&record.key).expect("records are checked before");
        // `add` keeps what the source itself said before, too.
        let is_kept = self.conflict == Conflict::Skip
            && (self.notes.find(key)?.is_some() || self.server.holds(&record.key)?);
        if is_kept {
            report.skipped += 1;
        } else {
            self.notes.keep(position, record.key, None, 0)?;
            report.import(bytes);
        }
        Ok(())
    }

    fn finish(&mut self, _report: &mut Report) -> Result<(), Failure> {
        self.notes.database.finish(&mut self.notes.report)
    }
}
