//! From what was written to what is meant.
//!
//! `options` is the one table of options; `raw` holds what was written, as text with its origin;
//! `layers` reads it from the `file`, the environment and the command line;
//! `settings` judges it, with the facts of this process and machine as an argument, and gives
//! consistent settings or one error. Nobody else asks the environment what to do.
//!
//! A new option is a row of the table and the lines that give it its meaning in `network` or
//! `storage`.

#[cfg(test)]
pub(crate) mod documents;
mod extended;
mod facts;
mod file;
mod layers;
mod levels;
mod listen;
mod network;
mod options;
mod raw;
mod row;
mod settings;
mod shown;
mod storage;
pub(crate) mod units;
mod values;

pub(crate) use facts::Facts;
pub(crate) use layers::Layers;
pub(crate) use options::Id;
#[cfg(test)]
pub(crate) use raw::Raw;
pub(crate) use raw::{Origin, flags, footer};
pub(crate) use settings::Settings;
pub(crate) use shown::{DEFAULT, Shown};
pub(crate) use storage::database;
/// Reads a size as people write it: `64k`, `1g`.
pub(crate) use units::bytes as size;
pub(crate) use values::{Blame, Error};
