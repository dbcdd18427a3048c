//! What was written: for each option its texts, and where each text came from.
//!
//! Knows no meaning: a port is a text here. Each layer (file, environment, command line) is read into a
//! `Raw` of its own; one is laid over the other option by option, so that a list is replaced and not
//! lengthened.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::options::{Id, ROWS};
use super::row::{Fate, Kind, Row};

/// Where a text was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    /// The variable of this name.
    Environment(String),
    /// This line of a configuration file, counted from 1.
    File {
        path: Arc<Path>,
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
        }
    }
}

/// One text, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) id: Id,
    pub(crate) origin: Origin,
    /// [`ON`] or [`OFF`] for a switch. Not always UTF-8: a path need not be.
    pub(crate) text: OsString,
}

/// The texts of a switch.
pub(super) const ON: &str = "true";
pub(super) const OFF: &str = "false";

impl Written {
    /// A switch that is turned off, and so says what would hold without it.
    pub(super) fn is_off(&self) -> bool {
        self.id.row().kind == Kind::Switch && self.text == OFF
    }
}

/// Everything that was written: options in the order of the table, one option's texts in the order
/// of writing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raw {
    written: Vec<Written>,
    /// What was written and seems to be a slip, a line each.
    warnings: Vec<String>,
}

impl Raw {
    /// Reads back what the flags of [`flags`] matched.
    pub(crate) fn from_flags(matches: &ArgMatches) -> Self {
        let mut raw = Self::default();
        for row in &ROWS {
            let mut push = |text: &OsStr| raw.push(row.id, Origin::CommandLine, text);
            match row.kind {
                Kind::Switch if matches.get_flag(row.name) => push(ON.as_ref()),
                Kind::Switch => {}
                Kind::Count => match matches.get_count(row.name) {
                    0 => {}
                    count => push(count.to_string().as_ref()),
                },
                Kind::Value(_) | Kind::List(_) => matches
                    .get_many::<OsString>(row.name)
                    .into_iter()
                    .flatten()
                    .for_each(|text| push(text)),
            }
        }
        raw
    }

    /// This layer over a lower one: an option that is written here is not looked up there.
    pub(super) fn over(self, lower: &Self) -> Self {
        let mut both = Self { written: Vec::new(), warnings: lower.warnings.clone() };
        for row in &ROWS {
            let layer = if self.has(row.id) { &self } else { lower };
            both.written.extend(layer.all(row.id).cloned());
        }
        both.warnings.extend(self.warnings);
        both
    }

    /// Every text of an option.
    pub(crate) fn all(&self, id: Id) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |written| written.id == id)
    }

    /// The text that holds where an option takes one value: the last, as in memcached.
    pub(crate) fn last(&self, id: Id) -> Option<&Written> {
        self.all(id).last()
    }

    /// Whether the option was written at all.
    pub(crate) fn has(&self, id: Id) -> bool {
        self.last(id).is_some()
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, id: Id) -> bool {
        self.last(id).is_some_and(|written| written.text == ON)
    }

    /// Everything, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Written> {
        self.written.iter()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn warn(&mut self, line: String) {
        self.warnings.push(line);
    }

    pub(super) fn push(&mut self, id: Id, origin: Origin, text: impl Into<OsString>) {
        self.written.push(Written { id, origin, text: text.into() });
    }
}

/// The flags of the table. Like `getopt`, a flag that takes a value takes whatever follows, even
/// `-1`, and a repeated flag is no error.
pub(crate) fn flags() -> impl Iterator<Item = Arg> {
    ROWS.iter().map(flag)
}

fn flag(row: &'static Row) -> Arg {
    let flag = Arg::new(row.name)
        .long(row.name)
        .help(help(row))
        .help_heading(row.group.heading())
        .hide(row.fate != Fate::Acts);
    let flag = match row.short {
        Some(short) => flag.short(short),
        None => flag,
    };
    let flag = match row.alias {
        Some(alias) => flag.alias(alias),
        None => flag,
    };
    match row.kind {
        Kind::Switch => flag.action(ArgAction::SetTrue).overrides_with(row.name),
        Kind::Count => flag.action(ArgAction::Count),
        Kind::Value(name) | Kind::List(name) => flag
            .action(ArgAction::Append)
            .value_name(name)
            .value_parser(match row.words {
                [] => ValueParser::os_string(),
                words => ValueParser::new(Suggested(words)),
            })
            .hide_possible_values(true)
            .value_hint(if name == "file" { ValueHint::FilePath } else { ValueHint::Other })
            .num_args(1)
            .allow_hyphen_values(true),
    }
}

/// Takes any text, as the rest of the configuration judges it with a message of its own, and tells
/// shells which words to complete.
#[derive(Debug, Clone, Copy)]
struct Suggested(&'static [&'static str]);

impl TypedValueParser for Suggested {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &Command,
        _: Option<&Arg>,
        text: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(text.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// `Event loops [default: 4, at most the cores]`.
fn help(row: &Row) -> String {
    match (row.default, row.default_note) {
        ("", _) => row.help.to_owned(),
        (default, "") => format!("{} [default: {default}]", row.help),
        (default, note) => format!("{} [default: {default}, {note}]", row.help),
    }
}

/// The last lines of the help: what is accepted and does nothing. What is refused stays unnamed, as
/// tools look for names in the help to learn what a server can do.
pub(crate) fn footer() -> String {
    let inert: Vec<String> = ROWS
        .iter()
        .filter(|row| matches!(row.fate, Fate::Ignored(_)))
        .filter_map(|row| row.short.map(|short| format!("-{short}")))
        .collect();
    format!(
        "Sizes: 1024 or 64k, 64m, 1g, 10GiB (powers of 1024).\n\
         An option in the --config file or in the environment: max-disk, LITECACHED_MAX_DISK.\n\
         Accepted because memcached takes them, without effect: {}.",
        inert.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::settings;

    #[test]
    fn shells_complete_what_is_accepted() {
        let completed: Vec<_> = ROWS.iter().filter(|row| !row.words.is_empty()).collect();
        let names: Vec<_> = completed.iter().map(|row| row.name).collect();
        assert_eq!(names, ["protocol", "durability", "on-corruption", "log-level"]);
        for row in completed {
            row.words.iter().for_each(|word| drop(settings(&format!("--{} {word}", row.name))));
            assert!(row.words.contains(&row.default), "{row}");
            let values = flag(row).get_possible_values();
            assert!(values.iter().map(PossibleValue::get_name).eq(row.words.iter().copied()));
        }
    }

    fn raw(words: &[&str]) -> Raw {
        let command = Command::new("test").no_binary_name(true).args(flags());
        Raw::from_flags(&command.try_get_matches_from(words).expect("flags"))
    }

    #[test]
    fn texts_are_kept_as_written() {
        let cases: [(&[&str], Id, &[&str]); 10] = [
            (&["-p11211"], Id::Port, &["11211"]),
            (&["-p", "-1"], Id::Port, &["-1"]),
            (&["--port=1", "-p", "2"], Id::Port, &["1", "2"]),
            (&["-vvv"], Id::Verbose, &["3"]),
            (&["-v", "-MAv"], Id::Verbose, &["2"]),
            (&["-M", "-M"], Id::NoEvictions, &["true"]),
            (&["-l", "a,b", "--listen", "c"], Id::Listen, &["a,b", "c"]),
            (&["--memory-file", "x"], Id::Db, &["x"]),
            (&["-e", "x"], Id::Db, &["x"]),
            (&["-vm", "5"], Id::Memory, &["5"]),
        ];
        for (words, id, texts) in cases {
            let raw = raw(words);
            let found: Vec<_> = raw.all(id).map(|written| written.text.to_str()).collect();
            let expected: Vec<_> = texts.iter().map(|&text| Some(text)).collect();
            assert_eq!(found, expected, "{words:?}");
        }
    }

    #[test]
    fn nothing_written_is_nothing() {
        assert_eq!(raw(&[]).iter().count(), 0);
        assert!(!raw(&["-v"]).has(Id::Port));
    }
}
