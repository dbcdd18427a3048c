//! One value at a time: a text becomes a number, a size, a path, or an error that names its option,
//! the value, and the form that would be accepted.

use std::ffi::OsStr;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::options::Id;
use super::raw::{Origin, Raw, Written};
use super::units;

/// Whose mistake an error is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Whoever wrote the option, there.
    Writer(Origin),
    /// Whoever named or wrote the configuration file.
    File,
    /// The network's or the resolver's; the same start may succeed later.
    Resolver,
}

/// Why there are no settings: `<what is wrong>; <what to do>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) blame: Blame,
    pub(crate) message: String,
}

/// Each gives nothing where the option was not written.
impl Raw {
    pub(super) fn path(&self, id: Id) -> Result<Option<PathBuf>, Error> {
        match self.last(id) {
            Some(written) if written.text.is_empty() => Err(written.wrong("the path of a file")),
            Some(written) => Ok(Some(Path::new(&written.text).to_owned())),
            None => Ok(None),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(
        &self,
        id: Id,
        range: RangeInclusive<u64>,
        noun: &str,
    ) -> Result<Option<T>, Error> {
        let Some(written) = self.last(id) else {
            return Ok(None);
        };
        units::number(written.utf8()?)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| {
                written.wrong(format!("{noun} from {} to {}", range.start(), range.end()))
            })
    }

    pub(super) fn size(&self, id: Id) -> Result<Option<u64>, Error> {
        let Some(written) = self.last(id) else {
            return Ok(None);
        };
        units::bytes(written.utf8()?)
            .map(Some)
            .ok_or_else(|| written.wrong("a size such as 1048576, 64m, 1g or 10GiB"))
    }

    pub(super) fn megabytes(&self, id: Id) -> Result<Option<u64>, Error> {
        let Some(written) = self.last(id) else {
            return Ok(None);
        };
        units::megabytes(written.utf8()?)
            .map(Some)
            .ok_or_else(|| written.wrong("a number of megabytes, or a size such as 64m or 1g"))
    }
}

impl Written {
    pub(super) fn utf8(&self) -> Result<&str, Error> {
        self.text.to_str().ok_or_else(|| self.wrong("a value in UTF-8"))
    }

    /// It is not what its option accepts.
    pub(super) fn wrong(&self, accepted: impl fmt::Display) -> Error {
        self.error(format!("{} cannot be {}; give {accepted}", self.subject(), quoted(&self.text)))
    }

    pub(super) fn error(&self, message: String) -> Error {
        Error { blame: Blame::Writer(self.origin.clone()), message }
    }

    /// The option as its writer knows it, with the place: `--threads (-t)`, `LITECACHED_THREADS`,
    /// `/etc/litecached.toml line 7: threads`.
    pub(super) fn subject(&self) -> String {
        match &self.origin {
            Origin::CommandLine => self.id.row().to_string(),
            Origin::Environment(variable) => variable.clone(),
            origin @ Origin::File { .. } => format!("{origin}: {}", self.id.row().name),
        }
    }
}

/// The name among `names` that was probably meant.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    /// Below it, two words only happen to share letters.
    const SIMILAR: f64 = 0.7;
    names
        .map(|known| (known, strsim::normalized_damerau_levenshtein(name, known)))
        .filter(|(_, similarity)| *similarity >= SIMILAR)
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .map(|(known, _)| known)
}

/// In quotes, with everything unprintable escaped.
pub(super) fn quoted(text: &OsStr) -> String {
    format!("{:?}", text.to_string_lossy())
}
