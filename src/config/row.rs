//! What a row of the table of options says.
//!
//! Rows are made with the `const` functions below, so that the table reads as one: `row(..)` is a
//! switch that acts, and each further word changes one thing.

use std::fmt;

use super::options::{Id, ROWS};

/// What an option takes, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it is there or it is not.
    Switch,
    /// Nothing: what counts is how often it is there.
    Count,
    /// One value, the last one written. Its name stands in the help.
    Value(&'static str),
    /// Any number of values, each perhaps separated by commas.
    List(&'static str),
}

/// What becomes of an option that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It acts.
    Acts,
    /// It tunes a part that does not exist here: accepted with a warning that gives this reason.
    Ignored(&'static str),
    /// Ignoring it would break what its user relies on: refused. The text says why, then what to do.
    Refused(&'static str),
}

/// The heading in the help under which an option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Listening,
    Storage,
    Limits,
    Commands,
    Process,
    Access,
    Compatibility,
}

impl Group {
    /// The heading's text.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Listening => "Listening",
            Self::Storage => "Storage",
            Self::Limits => "Limits",
            Self::Commands => "Client commands",
            Self::Process => "Process",
            Self::Access => "Who may log in",
            Self::Compatibility => "Compatibility",
        }
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: Id,
    /// The long flag, without dashes: memcached's own where it has one.
    pub(crate) name: &'static str,
    /// memcached's short flag.
    pub(crate) short: Option<char>,
    /// memcached's long flag where ours is another.
    pub(crate) alias: Option<&'static str>,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    /// The words that a shell completes; empty where any text may stand.
    pub(crate) words: &'static [&'static str],
    pub(crate) fate: Fate,
    /// The default as a user would write it; empty where there is none.
    pub(crate) default: &'static str,
    /// What the default depends on, if on anything.
    pub(crate) default_note: &'static str,
    /// One line.
    pub(crate) help: &'static str,
    /// What else a reader of the manual should know: sentences, the last without its full stop.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by what is made from the table"))]
    pub(crate) details: &'static str,
    /// A reload (SIGHUP) changes it in the running daemon; else it takes a restart.
    pub(crate) live: bool,
    /// It may stand in a configuration file.
    pub(crate) in_file: bool,
}

impl Row {
    /// The row that a long name, or memcached's name for it, belongs to.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name || row.alias == Some(name))
    }
}

/// The variable of a long name: `LITECACHED_MAX_DISK`.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_ascii_uppercase())
}

/// What variables of options begin with.
pub(super) const PREFIX: &str = "LITECACHED_";

/// `--threads (-t)`: how messages name an option.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.name)?;
        self.short.map_or(Ok(()), |short| write!(f, " (-{short})"))
    }
}

pub(super) const fn row(
    id: Id,
    short: char,
    name: &'static str,
    group: Group,
    help: &'static str,
) -> Row {
    let short = if short == NO_SHORT { None } else { Some(short) };
    Row {
        id,
        name,
        short,
        alias: None,
        group,
        kind: Kind::Switch,
        words: &[],
        fate: Fate::Acts,
        default: "",
        default_note: "",
        help,
        details: "",
        live: false,
        in_file: true,
    }
}

impl Row {
    pub(super) const fn takes(self, value: &'static str) -> Self {
        Self { kind: Kind::Value(value), ..self }
    }

    pub(super) const fn list(self, value: &'static str) -> Self {
        Self { kind: Kind::List(value), ..self }
    }

    pub(super) const fn words(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    pub(super) const fn counted(self) -> Self {
        Self { kind: Kind::Count, ..self }
    }

    pub(super) const fn or(self, default: &'static str, default_note: &'static str) -> Self {
        Self { default, default_note, ..self }
    }

    /// Also changed by a reload.
    pub(super) const fn live(self) -> Self {
        Self { live: true, ..self }
    }

    pub(super) const fn not_in_file(self) -> Self {
        Self { in_file: false, ..self }
    }

    pub(super) const fn more(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    pub(super) const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    pub(super) const fn ignored(self, reason: &'static str) -> Self {
        Self { fate: Fate::Ignored(reason), ..self }
    }

    pub(super) const fn refused(self, reason: &'static str) -> Self {
        Self { fate: Fate::Refused(reason), ..self }
    }
}

/// memcached has no such short flag.
pub(super) const NO_SHORT: char = '\0';
