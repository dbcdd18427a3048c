//! What the fuzz targets reach inside: the configuration and the formats of import, as functions of bytes.
//!
//! Decides nothing and opens nothing. No part of what this crate offers to others.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use clap::Command;
use socket2::{Domain, Socket, Type};

use crate::cli::config::as_toml;
use crate::cli::import::redis;
use crate::cli::transfer::{Halt, Parsed, Record, csv, jsonl, key_store, lines};
use crate::config::{self, Facts, Layers, Settings, Shown, units};

/// What a configuration comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Meant {
    /// Each option that a file may have, with what `config show` has for it.
    pub options: BTreeMap<&'static str, String>,
    /// All of it as a file.
    pub toml: String,
}

/// Judges a configuration: flags, variables of the environment, and the text of a file. No host name is
/// looked up: `localhost` is known and no other.
///
/// # Errors
///
/// What is wrong with it, as a user reads it.
pub fn configuration(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: &str,
) -> Result<Meant, String> {
    static COMMAND: OnceLock<Command> = OnceLock::new();
    let mut command = COMMAND
        .get_or_init(|| Command::new("fuzz").no_binary_name(true).args(config::flags()))
        .clone();
    let matches = command.try_get_matches_from_mut(flags).map_err(|error| error.to_string())?;
    let variables =
        variables.iter().map(|&(name, text)| (name.to_owned(), text.to_owned().into())).collect();
    let layers = Layers::of_flags_and_variables(&matches, variables);
    let raw = layers.over_text(Path::new("fuzz.toml"), file).map_err(|error| error.message)?;
    let settings = Settings::from_raw(&raw, &facts()).map_err(|error| error.message)?;
    let all = Shown::all(&raw, &settings);
    let in_file = all.iter().filter(|shown| shown.row.in_file);
    let options = in_file.map(|shown| (shown.row.name, shown.text())).collect();
    Ok(Meant { options, toml: as_toml(&all) })
}

fn facts() -> Facts {
    fn resolve(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host {
            None => Ok(vec![([0; 4], port).into(), ([0; 16], port).into()]),
            Some("localhost") => Ok(vec![([127, 0, 0, 1], port).into()]),
            Some(_) => Err(io::Error::other("not known")),
        }
    }
    Facts {
        cores: 8,
        is_root: true,
        state_directory: None,
        database: None,
        working_directory: Some(PathBuf::from("/here")),
        port_file: None,
        resolve,
    }
}

/// A size as people write it, and how it is written back.
pub fn size(text: &str) -> Option<(u64, String)> {
    let bytes = units::bytes(text)?;
    Some((bytes, units::Size(bytes).to_string()))
}

/// A file format of `import`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The old server's `key-store.json`.
    Json,
    /// `key size base64(value)`.
    Lines,
    /// An object a line.
    JsonLines,
    /// A row a line, or several.
    Csv,
}

/// An item, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes that had been read by then.
    pub bytes_read: u64,
    /// Where it stands.
    pub position: String,
    /// The item, or what a user is told.
    pub item: Result<Item, String>,
}

impl From<Parsed> for Entry {
    fn from(parsed: Parsed) -> Self {
        Self {
            bytes_read: parsed.bytes_read,
            position: parsed.position.to_string(),
            item: parsed.record.map(Item).map_err(|refusal| refusal.reason),
        }
    }
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item(Record);

impl Item {
    /// Whether it would be stored.
    pub fn is_taken(&self, item_bytes_max: u64) -> bool {
        self.0.refused(item_bytes_max).is_none()
    }

    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.0.key.len() + self.0.value.len()
    }

    /// As `export` would write it, where the format can say it.
    pub fn written(&self, format: Format) -> Option<Vec<u8>> {
        let Record { key, value, flags, exptime, stored } = &self.0;
        let mut line = Vec::new();
        match format {
            Format::Json => return None,
            Format::Lines if !lines::can_say(key) => return None,
            Format::Lines => lines::write(&mut line, key, value),
            Format::JsonLines => jsonl::write(&mut line, (key, value), *flags, *exptime, *stored),
            Format::Csv => csv::write_head(&mut line)
                .and_then(|()| csv::write(&mut line, (key, value), *flags, *exptime, *stored)),
        }
        .expect("memory takes everything");
        Some(line)
    }
}

/// Reads a file of this format. Says what it found, and what ended the reading before the end.
pub fn records(
    format: Format,
    source: impl BufRead,
    item_bytes_max: u64,
) -> (Vec<Entry>, Option<String>) {
    let mut found = Vec::new();
    let take = |parsed| {
        found.push(Entry::from(parsed));
        Ok(())
    };
    let result: Result<(), Halt<()>> = match format {
        Format::Json => key_store::read(source, item_bytes_max, take),
        Format::Lines => lines::read(source, item_bytes_max, take),
        Format::JsonLines => jsonl::read(source, item_bytes_max, take),
        Format::Csv => csv::read(source, item_bytes_max, take),
    };
    let end = match result {
        Ok(()) => None,
        Err(Halt::Broken(why)) => Some(why),
        Err(Halt::Taker(())) => unreachable!("it takes everything"),
    };
    (found, end)
}

/// Imports from a server of Redis's kind that answers these bytes, sent in so many pieces or a few less, and
/// ends the connection. Says what it found, and what ended the reading before the end.
///
/// # Panics
///
/// If no socket can be had.
pub fn answers(answers: &[u8], pieces: usize, item_bytes_max: u64) -> (Vec<Entry>, Option<String>) {
    let (ours, theirs) =
        Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a pair of sockets can be had");
    // Stays open until the server has said all, which a buffer of the system holds.
    let kept = ours.try_clone().expect("a socket can be had twice");
    let piece = answers.len() / pieces.max(1) + 1;
    let mut found = Vec::new();
    let result = thread::scope(|scope| {
        let says = scope.spawn(|| {
            answers.chunks(piece).try_for_each(|piece| (&theirs).write_all(piece))?;
            theirs.shutdown(Shutdown::Write)
        });
        scope.spawn(|| io::copy(&mut &theirs, &mut io::sink()));
        let result = redis::read_from(ours, item_bytes_max, |parsed| found.push(parsed.into()));
        // Not before: who writes to a socket that is shut ends by a signal, under libFuzzer.
        says.join().expect("it does not panic").expect("a buffer of the system holds all");
        kept.shutdown(Shutdown::Both).expect("a pair of sockets can be shut");
        result
    });
    (found, result.err().map(|failure| failure.message))
}
