//! `litecached migrate`: which schema a database file has, and bringing it up to date.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::cli::{Failure, file, json, print};
use crate::store::{self, Schema};

/// Its arguments and its help.
pub(super) fn command() -> Command {
    let dry_run = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Say what would be done, and do nothing");
    Command::new("migrate")
        .about("Show a database's schema version, or bring it up to date")
        .after_help(
            "Serving brings a database up to date by itself. Either way a file that holds items is\n\
             first saved beside itself, as FILE-before-vN, and the copy is checked.\n\
             To go back: litecached restore --force --db FILE FILE-before-vN, with the older litecached.",
        )
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("status")
                .about("Show the version of a file, and what it lacks")
                .args([file::flag(), file::json()]),
        )
        .subcommand(
            Command::new("up")
                .about("Bring a file that nobody serves up to date")
                .args([file::flag(), dry_run, file::json()]),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("up", flags)) => {
            let database = file::database(flags);
            let only_say = flags.get_flag("dry-run");
            let schema =
                if only_say { store::schema_of(&database) } else { store::migrate(&database) }?;
            print(&up(&schema, only_say, flags.get_flag("json")))
        }
        Some((_, flags)) => {
            let schema = store::schema_of(&file::database(flags))?;
            print(&status(&schema, flags.get_flag("json")))
        }
        // clap has refused it.
        None => Ok(()),
    }
}

fn status(schema: &Schema, as_json: bool) -> String {
    let path = schema.path.display();
    if as_json {
        return json::line(&json!({
            "database": path.to_string(),
            "version": schema.version,
            "known": schema.known,
            "pending": schema.pending,
        }));
    }
    let pending = if schema.pending.is_empty() {
        "up to date".to_owned()
    } else {
        format!("lacks {}", schema.pending.join(", "))
    };
    format!("{path}: schema version {} of {} known, {pending}\n", schema.version, schema.known)
}

fn up(schema: &Schema, only_say: bool, as_json: bool) -> String {
    let path = schema.path.display();
    if as_json {
        return json::line(&json!({
            "database": path.to_string(),
            "from": schema.version,
            "to": schema.known,
            "applied": schema.pending,
            "saved": schema.saved.as_ref().map(|path| path.display().to_string()),
            "dry_run": only_say,
        }));
    }
    if schema.pending.is_empty() {
        return format!("{path}: schema version {}, up to date\n", schema.version);
    }
    let (becomes, saved_as) =
        if only_say { ("would become", "would be saved") } else { ("became", "was saved") };
    let applied = schema.pending.join(", ");
    // An empty file need not have been meant for one.
    let made = match (schema.version, only_say) {
        (0, true) => ": the file is empty, and would be a database",
        (0, false) => ": the file was empty, and is a database now",
        _ => "",
    };
    let said = format!(
        "{path}: schema version {} {becomes} {} ({applied}){made}\n",
        schema.version, schema.known
    );
    match &schema.saved {
        Some(saved) => format!("{said}{path}: {saved_as} before as {}\n", saved.display()),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        let schema = Schema {
            path: "a.db".into(),
            version: 1,
            known: 2,
            pending: vec!["0002_more"],
            saved: Some("a.db-before-v2".into()),
        };
        assert_eq!(status(&schema, false), "a.db: schema version 1 of 2 known, lacks 0002_more\n");
        assert_eq!(
            up(&schema, true, false),
            "a.db: schema version 1 would become 2 (0002_more)\n\
             a.db: would be saved before as a.db-before-v2\n"
        );
        assert_eq!(
            up(&schema, false, true),
            "{\"applied\":[\"0002_more\"],\"database\":\"a.db\",\"dry_run\":false,\"from\":1,\
             \"saved\":\"a.db-before-v2\",\"to\":2}\n"
        );
    }
}
