//! What is written about the options elsewhere, made from the table: the packaged file, the table of the
//! README, and what the manual says beyond the help.

use std::fmt::Write as _;

use clap::Command;

use super::options::{Id, ROWS};
use super::row::{Fate, Group, Kind, Row};
use super::shown::number_or_text;

/// Options that act, in the order of the help.
fn acting() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.fate == Fate::Acts)
}

/// The command with what the manual says of each option.
pub(crate) fn with_details(command: Command) -> Command {
    command.mut_args(|arg| match Row::named(arg.get_id().as_str()) {
        Some(row) if row.fate == Fate::Acts => {
            let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let mut text = format!("{short}.");
            if !row.details.is_empty() {
                text = format!("{text} {}.", row.details);
            }
            if row.live {
                text.push_str(" Changed by a reload, too.");
            }
            arg.long_help(text)
        }
        _ => arg,
    })
}

/// The table of the README.
pub(crate) fn markdown() -> String {
    let mut table = String::from("| option | default | reload | |\n| --- | --- | --- | --- |\n");
    for row in acting() {
        let short = row.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let value = match row.kind {
            Kind::Switch | Kind::Count => String::new(),
            Kind::Value(value) | Kind::List(value) => format!(" {}", value.to_uppercase()),
        };
        let flag = format!("{short}`--{}{value}`", row.name);
        let default = match (row.default, row.default_note) {
            (default, "") => default.to_owned(),
            (default, note) => format!("{default}, {note}"),
        };
        let live = if row.live { "yes" } else { "" };
        let mut text = row.help.to_owned();
        if !row.details.is_empty() {
            text = format!("{text}. {}", row.details);
        }
        let cells = [flag, default, live.to_owned(), text]
            .join(" | ")
            .replace("|  |", "| |")
            .replace("|  |", "| |");
        writeln!(table, "| {cells} |").expect("a string takes all");
    }
    table
}

/// The file that the package installs: every option with its default, switched off.
pub(crate) fn packaged_file() -> String {
    let mut file = String::from(
        "# The configuration of litecached. Nothing is set: each line shows a default.\n\
         #\n\
         # Read where it is named: litecached --config FILE, or LITECACHED_CONFIG=FILE.\n\
         # A variable (LITECACHED_MAX_DISK) or a flag (--max-disk) is stronger than a line here.\n\
         # Check it:   litecached config check --config FILE\n\
         # Apply it:   systemctl reload litecached, or SIGHUP, for what is marked (reload);\n\
         #             the rest takes a restart, and the reload says so\n\
         #\n\
         # Sizes: 1024, \"64k\", \"64m\", \"1g\", \"10GiB\" (powers of 1024). Times: 90, \"90s\", \"15m\", \"12h\".\n",
    );
    let mut group: Option<Group> = None;
    for row in acting().filter(|row| row.in_file) {
        if group != Some(row.group) {
            write!(file, "\n## {}\n", row.group.heading()).expect("a string takes all");
            group = Some(row.group);
        }
        let live = if row.live { " (reload)" } else { "" };
        let note = match row.default_note {
            "" => String::new(),
            note => format!(" [{note}]"),
        };
        write!(file, "\n# {}{note}{live}\n", of_file(row)).expect("a string takes all");
        for line in folded(row.details) {
            writeln!(file, "# {line}").expect("a string takes all");
        }
        writeln!(file, "#{} = {}", row.name, default_in_toml(row)).expect("a string takes all");
    }
    file
}

/// A line of help speaks of flags in two places.
fn of_file(row: &Row) -> &'static str {
    match row.id {
        Id::Verbose => "1: clients' errors; 2: every command",
        Id::Listen => "Addresses; * is all",
        _ => row.help,
    }
}

fn default_in_toml(row: &Row) -> String {
    match (row.kind, row.default) {
        (Kind::Switch, _) => "false".to_owned(),
        (Kind::Count, _) => "0".to_owned(),
        (Kind::List(name), "") => format!("[\"<{name}>\"]"),
        (Kind::List(_), default) => format!("[\"{default}\"]"),
        (Kind::Value(name), "") => format!("\"<{name}>\""),
        (Kind::Value(_), default) => number_or_text(default).to_string(),
    }
}

/// In lines of at most 98 characters, a `# ` before each.
fn folded(text: &str) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[test]
fn every_line_of_the_packaged_file_may_be_switched_on() {
    use super::file::parse;
    use super::settings::Settings;
    use super::settings::tests::{facts, settings};

    let text = packaged_file();
    let path = std::path::Path::new("/etc/litecached.toml");
    assert!(parse(path, &text).is_ok_and(|raw| raw.iter().count() == 0), "nothing is set");
    let is_setting =
        |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let lines = text.lines().filter(is_setting).map(|line| line.trim_start_matches('#'));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), acting().filter(|row| row.in_file).count());
    // A placeholder is no value, and the figure of -m moves the item budget.
    let said = lines.iter().filter(|line| !line.contains('<') && !line.starts_with("memory-limit"));
    let said = said.copied().collect::<Vec<_>>().join("\n");
    let raw = parse(path, &said).expect("TOML");
    let switched_on = Settings::from_raw(&raw, &facts()).expect("settings");
    let plain = settings("");
    assert_eq!(format!("{:?}", switched_on.server), format!("{:?}", plain.server));
    assert_eq!(format!("{:?}", switched_on.store), format!("{:?}", plain.store));
}
