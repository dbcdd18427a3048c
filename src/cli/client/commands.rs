//! The commands: what they are called, how they are written, what kind of reply they get.
//!
//! One table for parsing, completion and help. A command that is not in it is sent as it stands.

use std::fmt::Write as _;

use crate::protocol::reply::Shape;

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// The arguments, as in `help`.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
}

/// How the words behind a command are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys from this word on; answers with items.
    Read { keys_from: usize },
    /// Brings a value.
    Store,
    /// `cas`: brings a value and an id.
    Compare,
    /// `ms`: brings a value of a size.
    MetaStore,
    /// Another meta command.
    Meta,
    /// A change that may say `noreply`. The word at `expiry` may have a unit.
    Change { expiry: Option<usize> },
    /// A question with a reply of this shape.
    Ask(Shape),
    /// Ends the connection, with or without a word.
    Farewell,
    /// Answered here.
    Local,
}

const fn row(name: &'static str, usage: &'static str, about: &'static str, kind: Kind) -> Command {
    Command { name, usage, about, kind }
}

const READ: Kind = Kind::Read { keys_from: 1 };
const CHANGE: Kind = Kind::Change { expiry: None };

pub(crate) const COMMANDS: &[Command] = &[
    row("get", "KEY...  [--pretty] [> FILE]", "show values", READ),
    row("gets", "KEY...  [--pretty] [> FILE]", "show values with their cas ids", READ),
    row("gat", "TIME KEY...", "show values and give them a new expiry", TIMED),
    row("gats", "TIME KEY...", "the same with cas ids", TIMED),
    row("set", STORE, "store a value", Kind::Store),
    row("add", STORE, "store a value if the key is not there", Kind::Store),
    row("replace", STORE, "store a value if the key is there", Kind::Store),
    row("append", STORE, "put bytes behind a value", Kind::Store),
    row("prepend", STORE, "put bytes before a value", Kind::Store),
    row(
        "cas",
        "KEY ID [VALUE] [--ttl TIME] [--flags N] | KEY FLAGS TIME SIZE ID",
        "store a value if the item still has this cas id",
        Kind::Compare,
    ),
    row("delete", "KEY", "remove an item", CHANGE),
    row("incr", "KEY NUMBER", "add to a number", CHANGE),
    row("decr", "KEY NUMBER", "subtract from a number, down to 0", CHANGE),
    row("touch", "KEY TIME", "give an item a new expiry", Kind::Change { expiry: Some(2) }),
    row(
        "flush_all",
        "[TIME]",
        "forget all items, now or after a while",
        Kind::Change { expiry: Some(1) },
    ),
    row("stats", "[TOPIC]", "figures of the server", Kind::Ask(Shape::Lines)),
    row("version", "", "the server's version", Kind::Ask(Shape::Line)),
    row("verbosity", "LEVEL", "how much the server logs", CHANGE),
    row("cache_memlimit", "MEGABYTES", "change the item budget", CHANGE),
    row("mg", "KEY [FLAG...]", "meta get", Kind::Meta),
    row("ms", "KEY SIZE [FLAG...]", "meta set; the value comes on the next line", Kind::MetaStore),
    row("md", "KEY [FLAG...]", "meta delete", Kind::Meta),
    row("ma", "KEY [FLAG...]", "meta arithmetic", Kind::Meta),
    row("me", "KEY", "meta debug", Kind::Meta),
    row("mn", "", "meta no-op", Kind::Meta),
    row("lru_crawler", "metadump all | mgdump all | ...", "list all keys", Kind::Ask(Shape::Lines)),
    row("shutdown", "", "end the server, where it allows that", Kind::Farewell),
    row("quit", "", "leave (also: exit, Ctrl-D)", Kind::Farewell),
    row("exit", "", "leave", Kind::Farewell),
    row("help", "[COMMAND]", "this, or more about one command", Kind::Local),
    row("pretty", "on | off", "JSON values are shown indented", Kind::Local),
];

const TIMED: Kind = Kind::Read { keys_from: 2 };
const STORE: &str =
    "KEY [VALUE] [--ttl TIME] [--flags N] [< FILE] | KEY SIZE | KEY FLAGS TIME SIZE";

/// The row of a command.
pub(crate) fn named(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

impl Command {
    /// How many words it needs behind its name: those of the usage that are not in brackets.
    pub(crate) fn words_min(&self) -> usize {
        match self.kind {
            Kind::Read { .. } | Kind::Change { .. } | Kind::Meta => {
                let words = self.usage.split_whitespace();
                words.take_while(|word| !word.starts_with(['[', '|'])).count()
            }
            // These say themselves what is missing, or leave it to the server.
            _ => 0,
        }
    }

    /// Whether a server of this protocol may say this line in answer, if it does not refuse.
    pub(crate) fn expects(&self, line: &[u8]) -> bool {
        let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        match (self.kind, self.name) {
            (Kind::Read { .. }, _) => line == b"END",
            (Kind::Store | Kind::Compare, _) => line == b"STORED",
            (_, "delete") => line == b"DELETED",
            (_, "incr" | "decr") => line.first().is_some_and(u8::is_ascii_digit),
            (_, "touch") => line == b"TOUCHED",
            (Kind::Change { .. } | Kind::Farewell, _) => word == b"OK",
            (_, "version") => word == b"VERSION",
            (Kind::Ask(_), _) => {
                let words = [&b"STAT"[..], b"ITEM", b"PREFIX", b"mg", b"END", b"RESET", b"OK"];
                words.contains(&word) || line.starts_with(b"key=")
            }
            (Kind::Meta | Kind::MetaStore, _) => [&b"HD"[..], b"MN", b"ME"].contains(&word),
            (Kind::Local, _) => true,
        }
    }
}

/// The answer to `help` and `help COMMAND`.
pub(crate) fn help(name: Option<&str>) -> String {
    let mut text = String::new();
    let Some(name) = name else {
        for command in COMMANDS {
            append(&mut text, format_args!("{:<15} {}\n", command.name, command.about));
        }
        text.push_str("help COMMAND tells more. Tab completes commands and keys seen before.\n");
        return text;
    };
    let Some(command) = named(name) else {
        return format!("There is no help for '{name}'; it is sent to the server as it stands.\n");
    };
    append(&mut text, format_args!("{}: {}\n", command.name, command.about));
    for usage in command.usage.split(" | ") {
        let line = format!("    {} {usage}", command.name);
        append(&mut text, format_args!("{}\n", line.trim_end()));
    }
    text.push_str(match command.kind {
        Kind::Store | Kind::Compare => {
            "Without a value it is asked for on the next line, and its size is counted.\n\
             With SIZE it has that many bytes. Put a value with spaces, or one that is a\n\
             number, in quotes; \"\\n\\x00\" are escapes there. TIME: 90, 10m, 12h, 7d; 0 is\n\
             for ever.\n"
        }
        Kind::Read { .. } => {
            "A value that is not text is shown as hex. `> FILE` writes the bytes of one value\n\
             to a file, `--pretty` indents JSON.\n"
        }
        Kind::Change { expiry: Some(_) } => "TIME: 90, 10m, 12h, 7d.\n",
        Kind::Local => "Answered by the client.\n",
        _ => "",
    });
    text
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal() {
        let names = COMMANDS.iter().map(|command| Some(command.name));
        for text in names.chain([None]).map(help) {
            for line in text.lines() {
                // The usage of `set` is the longest that is no prose.
                let columns = if line.starts_with("    ") { 90 } else { 80 };
                assert!(line.chars().count() <= columns, "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
        assert!(help(Some("pretty")).contains("    pretty on\n    pretty off\n"));
    }

    #[test]
    fn so_many_words_are_needed() {
        for (name, words) in [
            ("get", 1),
            ("gats", 2),
            ("delete", 1),
            ("touch", 2),
            ("incr", 2),
            ("flush_all", 0),
            ("stats", 0),
            ("mg", 1),
            ("mn", 0),
            ("me", 1),
        ] {
            assert_eq!(named(name).expect("a command").words_min(), words, "{name}");
        }
    }
}
