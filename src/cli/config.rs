//! `litecached config`: what a start would make of the file, the environment and the flags.
//!
//! Asks the same code that serving asks, and serves nothing: no file but the configuration is opened, no
//! address is bound. What can be known without that, `check` looks at.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::serve::{certificates, raise_open_files, user_named};
use crate::cli::{Exit, Failure, NAME, accounts, file, print};
use crate::config::{self, Facts, Id, Layers, Settings, Shown};
use crate::logging::OneLine;
use crate::server::Listen;
use crate::store;

pub(super) fn command() -> Command {
    let check = Command::new("check")
        .about("Say whether litecached would start with it")
        .after_help(
            "Judges the configuration file, the environment and any flag of serve as a start would.\n\
             Says ok, and warns of what has no effect. Exit code 78 where the file or the\n\
             environment is wrong, 64 where a flag is, else that of the start. User, limit of open\n\
             files and directories are looked at; no address is bound, no database opened.",
        );
    let toml = Arg::new("toml")
        .long("toml")
        .action(ArgAction::SetTrue)
        .conflicts_with("json")
        .help("As a configuration file");
    let show = Command::new("show")
        .about("Show every option, its value, and where it comes from")
        .args([file::json(), toml]);
    Command::new("config")
        .about("Check or show the configuration")
        .subcommand_required(true)
        .subcommands([check, show].map(|command| command.args(config::flags())))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, flags)) = matches.subcommand() else {
        unreachable!("a subcommand is required");
    };
    let raw = Layers::of_process(flags).read()?;
    let settings = Settings::from_raw(&raw, &Facts::gather())?;
    for line in settings.warnings.iter().chain(&settings.notices).chain(&settings.remarks) {
        eprintln!("{NAME}: {}", OneLine(line));
    }
    if name == "check" {
        rehearse(&settings)?;
        return print("ok\n");
    }
    let all = Shown::all(&raw, &settings);
    print(&if flags.get_flag("json") {
        as_json(&all)
    } else if flags.get_flag("toml") {
        as_toml(&all)
    } else {
        as_table(&all)
    })
}

/// What a start would find around it: limit, user, and the directories of all that it makes.
fn rehearse(settings: &Settings) -> Result<(), Failure> {
    raise_open_files(settings.server.connections_max)?;
    if let Some(loaded) = accounts::read(settings)? {
        eprintln!("{NAME}: users of {}: {}", Id::AuthFile.row(), loaded.accounts);
        if let Some(warning) = loaded.warning {
            eprintln!("{NAME}: {}", OneLine(warning));
        }
    }
    certificates(&settings.server)?;
    if let Some(user) = &settings.user {
        user_named(user)?;
    }
    store::check_place(&settings.store.path)?;
    for listen in &settings.server.listen {
        if let Listen::Unix { path, .. } = listen {
            check_directory(path, "listen on", "choose another path with -s")?;
        }
    }
    for (path, option) in
        [(&settings.pid_file, "see -P"), (&settings.port_file, "see MEMCACHED_PORT_FILENAME")]
    {
        path.iter().try_for_each(|path| check_directory(path, "write", option))?;
    }
    Ok(())
}

fn check_directory(path: &Path, to_do: &str, remedy: &str) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match directory {
        Some(directory) if !directory.is_dir() => {
            let (path, directory) = (path.display(), directory.display());
            let what = format!("cannot {to_do} {path}: {directory} is not a directory; {remedy}");
            Err(Failure::new(Exit::CannotCreate, what))
        }
        _ => Ok(()),
    }
}

fn as_table(all: &[Shown]) -> String {
    let rows = all.iter().map(|shown| {
        let (value, from) = (OneLine(shown.text()).to_string(), OneLine(&shown.from).to_string());
        [shown.row.name.to_owned(), value, from]
    });
    let rows: Vec<_> =
        [["OPTION", "VALUE", "FROM"].map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row: &[String; 3]| row[column].chars().count()).max().unwrap_or_default()
    };
    let (first, second) = (width(0), width(1));
    let mut table = String::new();
    for [name, value, from] in &rows {
        writeln!(table, "{name:first$}  {value:second$}  {from}").expect("a string takes all");
    }
    table
}

fn as_json(all: &[Shown]) -> String {
    let rows = all
        .iter()
        .map(|shown| json!({ "option": shown.row.name, "value": shown.value, "from": shown.from }));
    format!("{:#}\n", rows.collect::<Value>())
}

/// What JSON writes for a text, a number, a truth value or a list of texts, TOML reads, but for one
/// character. What nobody wrote is switched off.
pub(super) fn as_toml(all: &[Shown]) -> String {
    let mut text = String::new();
    for Shown { row, value, from } in all.iter().filter(|shown| shown.row.in_file) {
        let line = match value {
            Value::Null => writeln!(text, "#{} =", row.name),
            value if from == config::DEFAULT => writeln!(text, "#{} = {value}", row.name),
            value => {
                let value = value.to_string().replace('\x7f', "\\u007f");
                writeln!(text, "{} = {value}  # {}", row.name, OneLine(from))
            }
        };
        line.expect("a string takes all");
    }
    text
}
