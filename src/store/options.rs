//! What the store needs to know before it opens.

use std::path::PathBuf;

use crate::limits;

/// What a success reply promises beyond the death of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives any crash of the process; the WAL is synced once a second, so a power cut loses at
    /// most about a second (Redis: `appendfsync everysec`).
    Process,
    /// The WAL is synced before the reply: a power cut loses nothing that was acknowledged.
    Power,
}

impl Durability {
    /// The word for it on the command line and in `stats settings`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// What a start does with a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCorruption {
    /// It is left as it is, and nothing is served.
    Stop,
    /// It is put aside, and what can be read and verified goes into a new file.
    Salvage,
    /// It is put aside, and the cache begins empty.
    Reset,
}

impl OnCorruption {
    /// Its words on the command line.
    pub const WORDS: [(&str, Self); 3] =
        [("stop", Self::Stop), ("salvage", Self::Salvage), ("reset", Self::Reset)];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, is)| *is == self).map_or("", |(word, _)| word)
    }
}

/// The store's part of the settings. Numbers are checked by `config`; here they are taken as they are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file (`--db`, memcached's `-e`).
    pub path: PathBuf,
    /// Bytes of items kept in memory; 0 turns the tier off (`-m`).
    pub memory_bytes: u64,
    /// Bytes of items kept on disk (`--max-disk`); 0 is no limit.
    pub disk_bytes_max: u64,
    /// Items kept on disk (`--max-items`); 0 is no limit.
    pub items_max: u64,
    /// Whether items are removed to make room (not with `-M`).
    pub evicts: bool,
    /// The budget counts keys and values alone and has no slack: for comparing with others, who count
    /// so.
    pub exact_budget: bool,
    /// Bytes of WAL beyond which writes are refused (`--wal-max`).
    pub wal_bytes_max: u64,
    /// Largest item, key and header included (`-I`).
    pub item_bytes_max: u64,
    /// Values of this many bytes and more are compressed in the file (`--compress-from`); 0 is none.
    pub compress_from: u64,
    /// A larger value is stored in pieces. No option: for tests, as the next.
    pub large_value_bytes: u64,
    /// Bytes of a piece.
    pub piece_bytes: usize,
    /// `--durability`.
    pub durability: Durability,
    /// `--on-corruption`.
    pub on_corruption: OnCorruption,
    /// Event loops that read: each holds one pooled connection during a pass.
    pub readers: usize,
}

impl Options {
    /// The defaults, with the database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            memory_bytes: limits::MEMORY_BYTES_DEFAULT,
            disk_bytes_max: limits::DISK_BYTES_DEFAULT,
            items_max: 0,
            evicts: true,
            exact_budget: false,
            wal_bytes_max: limits::WAL_BYTES_DEFAULT,
            item_bytes_max: limits::ITEM_BYTES_DEFAULT,
            compress_from: 0,
            large_value_bytes: limits::LARGE_VALUE_BYTES,
            piece_bytes: limits::PIECE_BYTES,
            durability: Durability::Process,
            on_corruption: OnCorruption::Stop,
            readers: limits::THREADS_DEFAULT,
        }
    }
}
