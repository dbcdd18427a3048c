//! The store's part of the settings: which file, and how much of everything.
//!
//! Holds to one rule: an item fits twice into the item budget.

use std::path::PathBuf;

use crate::limits;
use crate::store::{self, Durability, OnCorruption};

use super::facts::Facts;
use super::options::Id;
use super::raw::{Origin, Raw};
use super::units::Size;
use super::values::{Blame, Error};

/// The database's name where none is given.
const DB_DEFAULT: &str = "litecached.db";

/// The store's options, and what follows from them and might surprise. Each of `threads` event loops
/// reads.
pub(super) fn options(
    raw: &Raw,
    facts: &Facts,
    threads: usize,
) -> Result<(store::Options, Vec<String>), Error> {
    let mut reading = Reading { raw, facts, notices: Vec::new() };
    let options = reading.store(threads)?;
    Ok((options, reading.notices))
}

/// Where the database is: what was given is taken from the working directory, the default name from
/// the state directory where there is one.
pub(crate) fn database(given: Option<PathBuf>, facts: &Facts) -> PathBuf {
    let given = given.or_else(|| facts.database.clone());
    let directory = match given {
        None => facts.state_directory.as_ref().or(facts.working_directory.as_ref()),
        Some(_) => facts.working_directory.as_ref(),
    };
    let path = given.unwrap_or_else(|| PathBuf::from(DB_DEFAULT));
    directory.map_or(path.clone(), |directory| directory.join(&path))
}

struct Reading<'a> {
    raw: &'a Raw,
    facts: &'a Facts,
    notices: Vec<String>,
}

impl Reading<'_> {
    fn store(&mut self, threads: usize) -> Result<store::Options, Error> {
        let default = store::Options::new(self.database()?);
        let memory = self.raw.megabytes(Id::Memory)?;
        let item = self.item()?.unwrap_or(default.item_bytes_max);
        let options = store::Options {
            memory_bytes: memory.unwrap_or(default.memory_bytes),
            disk_bytes_max: self.budget(memory)?.unwrap_or(default.disk_bytes_max),
            items_max: self
                .raw
                .number(Id::MaxItems, 0..=u64::MAX >> 1, "a number of items")?
                .unwrap_or(default.items_max),
            evicts: !self.raw.is_on(Id::NoEvictions),
            exact_budget: false,
            wal_bytes_max: self.wal()?.unwrap_or(default.wal_bytes_max),
            item_bytes_max: item,
            compress_from: self.compress_from()?,
            large_value_bytes: default.large_value_bytes,
            piece_bytes: default.piece_bytes,
            durability: self.durability()?.unwrap_or(default.durability),
            on_corruption: self.on_corruption()?.unwrap_or(default.on_corruption),
            readers: threads,
            path: default.path,
        };
        self.check_room(&options)?;
        Ok(options)
    }

    fn database(&self) -> Result<PathBuf, Error> {
        let given = self.raw.path(Id::Db)?;
        Ok(database(given, self.facts))
    }

    /// The item budget, where something says it: `--max-disk`, else `-m`, which is what memcached's
    /// users mean by it. On the command line, that is: memcached has no other place to write it, and
    /// whoever writes out a default in the file wants no other budget.
    fn budget(&mut self, memory: Option<u64>) -> Result<Option<u64>, Error> {
        let disk = self.raw.size(Id::MaxDisk)?;
        if disk.is_some() {
            return Ok(disk);
        }
        let budget = memory.filter(|&bytes| bytes > 0 && says_budget(self.raw));
        if let Some(bytes) = budget {
            self.notices.push(format!(
                "items may take {size} on disk too, as {memory} says {size} and there is no {disk}",
                size = Size(bytes),
                memory = Id::Memory.row(),
                disk = Id::MaxDisk.row(),
            ));
        }
        Ok(budget)
    }

    fn durability(&self) -> Result<Option<Durability>, Error> {
        let Some(written) = self.raw.last(Id::Durability) else {
            return Ok(None);
        };
        let text = written.utf8()?;
        [Durability::Process, Durability::Power]
            .into_iter()
            .find(|durability| durability.name() == text)
            .map(Some)
            .ok_or_else(|| written.wrong("process or power"))
    }

    fn on_corruption(&self) -> Result<Option<OnCorruption>, Error> {
        let Some(written) = self.raw.last(Id::OnCorruption) else {
            return Ok(None);
        };
        let text = written.utf8()?;
        let named = OnCorruption::WORDS.into_iter().find(|(word, _)| *word == text);
        named.map(|(_, how)| Some(how)).ok_or_else(|| written.wrong("stop, salvage or reset"))
    }

    fn item(&self) -> Result<Option<u64>, Error> {
        let item = self.raw.size(Id::ItemSize)?;
        let allowed = limits::ITEM_BYTES_LEAST..=limits::ITEM_BYTES_MAX;
        match self.raw.last(Id::ItemSize).zip(item) {
            Some((written, size)) if !allowed.contains(&size) => Err(written.wrong(format!(
                "a size from {} to {}",
                Size(limits::ITEM_BYTES_LEAST),
                Size(limits::ITEM_BYTES_MAX)
            ))),
            _ => Ok(item),
        }
    }

    /// The WAL's limit. A value that is larger than it passes through piece by piece.
    fn wal(&self) -> Result<Option<u64>, Error> {
        let least = limits::WAL_BYTES_LEAST;
        let size = self.raw.size(Id::WalMax)?;
        match self.raw.last(Id::WalMax).zip(size) {
            Some((written, size)) if size < least => {
                Err(written.wrong(format!("a size of at least {}", Size(least))))
            }
            _ => Ok(size),
        }
    }

    /// Below this a header would take what is saved.
    fn compress_from(&self) -> Result<u64, Error> {
        let least = limits::COMPRESS_FROM_LEAST;
        let size = self.raw.size(Id::CompressFrom)?;
        match self.raw.last(Id::CompressFrom).zip(size) {
            Some((written, size)) if (1..least).contains(&size) => {
                Err(written.wrong(format!("0 or a size of at least {}", Size(least))))
            }
            _ => Ok(size.unwrap_or(0)),
        }
    }

    /// Whichever options brought an item and its room together, both are named.
    fn check_room(&self, options: &store::Options) -> Result<(), Error> {
        let item = options.item_bytes_max;
        let budget = options.disk_bytes_max;
        if budget != 0 && item > budget / 2 {
            let by = if self.raw.has(Id::MaxDisk) { Id::MaxDisk } else { Id::Memory };
            return Err(self.too_narrow(item, "item budget", budget, by, Id::MaxDisk));
        }
        Ok(())
    }

    /// `room` bytes of `what`, set by the option `by` if by any, are less than two items; raising
    /// `remedy` would help.
    fn too_narrow(&self, item: u64, what: &str, room: u64, by: Id, remedy: Id) -> Error {
        let least = Size(item.saturating_mul(2));
        let written = self.raw.last(Id::ItemSize).or(self.raw.last(by));
        let origin = written.map_or(Origin::CommandLine, |written| written.origin.clone());
        let place = match &origin {
            Origin::CommandLine => String::new(),
            origin => format!("{origin}: "),
        };
        Error {
            blame: Blame::Writer(origin),
            message: format!(
                "{place}{item_row} is {item}, more than half of the {what} of {room}; \
                 give {item_row} at most {most}, or {remedy} at least {least}",
                item_row = Id::ItemSize.row(),
                item = Size(item),
                room = Size(room),
                most = Size(room / 2),
                remedy = remedy.row(),
            ),
        }
    }
}

/// Whether the item budget follows `-m` where `--max-disk` is not written.
pub(super) fn says_budget(raw: &Raw) -> bool {
    raw.last(Id::Memory).is_some_and(|written| written.origin == Origin::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{facts, message, raw, settings};
    use std::path::Path;

    const MEGA: u64 = 1 << 20;

    #[test]
    fn the_item_budget_follows_m_unless_it_is_said() {
        let budget = limits::DISK_BYTES_DEFAULT;
        let cases = [
            ("", 64 * MEGA, budget, 0),
            ("-m 0", 0, budget, 0),
            ("-m 100", 100 * MEGA, 100 * MEGA, 1),
            ("-m 1g", 1024 * MEGA, 1024 * MEGA, 1),
            ("-m 100 --max-disk 1g", 100 * MEGA, 1024 * MEGA, 0),
            ("-m 0 --max-disk 50m", 0, 50 * MEGA, 0),
            ("--max-disk 0", 64 * MEGA, 0, 0),
        ];
        for (words, memory, disk, notices) in cases {
            let settings = settings(words);
            assert_eq!(settings.store.memory_bytes, memory, "{words}");
            assert_eq!(settings.store.disk_bytes_max, disk, "{words}");
            assert_eq!(settings.notices.len(), notices, "{words}: {:?}", settings.notices);
        }
    }

    #[test]
    fn the_item_budget_follows_m_of_the_command_line_only() {
        let elsewhere = [
            Origin::Environment("LITECACHED_MEMORY_LIMIT".into()),
            Origin::File { path: Path::new("/etc/x.toml").into(), line: 1 },
        ];
        for origin in elsewhere {
            let mut raw = raw("");
            raw.push(Id::Memory, origin, "100");
            let (options, notices) = options(&raw, &facts(), 1).expect("options");
            assert_eq!(options.memory_bytes, 100 * MEGA);
            assert_eq!(options.disk_bytes_max, limits::DISK_BYTES_DEFAULT);
            assert!(notices.is_empty(), "{notices:?}");
        }
    }

    #[test]
    fn an_item_fits_twice() {
        let cases = [
            ("-I 1k", 1 << 10),
            ("-I 1024", 1 << 10),
            ("-I 32m -m 64", 32 * MEGA),
            ("-I 128m", 128 * MEGA),
            ("-I 256m --wal-max 16m", 256 * MEGA),
            ("-I 1g", 1024 * MEGA),
            ("-I 1g --max-disk 0", 1024 * MEGA),
            ("-I 256m", 256 * MEGA),
            ("-m 2", MEGA),
        ];
        for (words, item) in cases {
            assert_eq!(settings(words).store.item_bytes_max, item, "{words}");
        }
    }

    #[test]
    fn the_wal_needs_no_room_for_a_large_item() {
        for (words, wal) in [
            ("-I 1g", limits::WAL_BYTES_DEFAULT),
            ("-I 1g --wal-max 16m", 16 * MEGA),
            ("--wal-max 512m", 512 * MEGA),
        ] {
            let (options, said) = options(&raw(words), &facts(), 1).expect("options");
            assert_eq!(options.wal_bytes_max, wal, "{words}");
            assert!(said.is_empty(), "{words}: {said:?}");
        }
    }

    #[test]
    fn the_file() {
        let facts = |state: Option<&str>, working: Option<&str>| Facts {
            state_directory: state.map(PathBuf::from),
            working_directory: working.map(PathBuf::from),
            ..facts()
        };
        let cases = [
            ("", None, Some("/here"), "/here/litecached.db"),
            ("", None, None, "litecached.db"),
            ("", Some("/state"), Some("/here"), "/state/litecached.db"),
            ("--db x", Some("/state"), Some("/here"), "/here/x"),
            ("-e /x -e /y", None, Some("/here"), "/y"),
            ("--memory-file /x", None, Some("/here"), "/x"),
        ];
        for (words, state, working, path) in cases {
            let (options, _) = options(&raw(words), &facts(state, working), 1).expect("options");
            assert_eq!(options.path, Path::new(path), "{words}");
        }
        let named = Facts { database: Some("env".into()), ..facts(Some("/state"), Some("/here")) };
        assert_eq!(database(None, &named), Path::new("/here/env"));
        assert_eq!(database(Some("/x".into()), &named), Path::new("/x"));
    }

    #[test]
    fn durability_and_readers() {
        assert_eq!(settings("").store.durability, Durability::Process);
        assert_eq!(settings("--durability power").store.durability, Durability::Power);
        assert_eq!(settings("-t 3").store.readers, 3);
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_would_do() {
        let size = "give a size such as";
        let cases = [
            ("-I 1000", "--max-item-size (-I) cannot be \"1000\"", "give a size from 1k to 1g"),
            ("-I 2g", "--max-item-size (-I) cannot be \"2g\"", "give a size from 1k to 1g"),
            ("-I x", "--max-item-size (-I) cannot be \"x\"", size),
            ("-m -5", "--memory-limit (-m) cannot be \"-5\"", "give a number of megabytes"),
            (
                "-m 64 -I 256m",
                "--max-item-size (-I) is 256m, more than half of the item budget of \
              64m",
                "at most 32m, or --max-disk at least 512m",
            ),
            (
                "-m 1",
                "--max-item-size (-I) is 1m, more than half of the item budget of 1m",
                "at most 512k, or --max-disk at least 2m",
            ),
            ("--max-disk 1m", "--max-item-size (-I) is 1m, more than half", "at least 2m"),
            ("--max-disk 1.5g", "--max-disk cannot be \"1.5g\"", size),
            ("--wal-max 1m", "--wal-max cannot be \"1m\"", "a size of at least 16m"),
            ("--wal-max -1", "--wal-max cannot be \"-1\"", size),
            ("--durability none", "--durability cannot be \"none\"", "give process or power"),
            ("--on-corruption x", "--on-corruption cannot be \"x\"", "stop, salvage or reset"),
            ("--db \"\"", "--db (-e) cannot be \"\"", "give the path of a file"),
        ];
        for (words, beginning, remedy) in cases {
            let message = message(words);
            assert!(message.starts_with(beginning), "{words}: {message}");
            let (_, advice) = message.split_once("; ").expect("what to do");
            assert!(advice.contains(remedy), "{words}: {message}");
        }
    }
}
