//! The files that are made from the commands and the table of options, and committed: manual pages,
//! completions, the packaged configuration, and tables of the README.
//!
//! `LITECACHED_BLESS=1 cargo test --lib documents` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::aot::{Bash, Fish, Shell, Zsh, generate};
use clap_mangen::Man;

use crate::cli::{Exit, NAME, command};
use crate::config::documents;

const DESCRIPTION: &str = "litecached is a cache server that speaks the memcached text protocol and \
    keeps every item in one SQLite file. A reply that reports a change means that the change is \
    committed: a restart or a crash does not empty it. Hot items are read from memory.\n\n\
    Without a subcommand it serves. An option is said by its flag, by an environment variable, or by a \
    line of a configuration file; the flag is stronger than the variable, and the variable than the \
    file. A list in a stronger place takes the place of the weaker one.";

const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "LITECACHED_MAX_DISK, LITECACHED_PORT, ...",
        "Any option: its long name in capitals, with underscores. Switches take true or false (or 1, 0, \
         yes, no), lists are separated by commas. An empty variable says nothing.",
    ),
    ("LITECACHED_CONFIG", "The configuration file, as with --config."),
    ("LITECACHED_ADDRESS", "The server that litecached client talks to."),
    ("LITECACHED_HISTORY", "Where litecached client remembers lines."),
    ("STATE_DIRECTORY", "Where the database is unless --db says it. systemd sets it."),
    ("MEMCACHED_PORT_FILENAME", "A file that gets the ports that were bound, once it serves."),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/litecached.toml",
        "The configuration file of the packaged unit, in TOML. Keys are the long names of the options: \
         max-disk = \"10g\", listen = [\"127.0.0.1\", \"::1\"], disable-flush-all = true. Read only where \
         it is named. litecached config check says whether it is right, litecached config show what holds \
         and who says so.",
    ),
    ("/var/lib/litecached/litecached.db", "The database of the packaged unit."),
    ("litecached.db-wal, litecached.db-shm", "Belong to the database while it is served."),
    ("litecached.db-lock", "Keeps a second daemon away."),
];

const SIGNALS: [(&str, &str); 3] = [
    (
        "SIGTERM, SIGINT, SIGUSR1",
        "Stop accepting, answer what is in flight, commit and exit. A second one ends it now.",
    ),
    (
        "SIGHUP",
        "Read the configuration file again, at once or as soon as it serves. What can be changed while serving is changed and said; what \
         takes a restart is said. If anything in the file is wrong, nothing changes.",
    ),
    ("SIGKILL", "Loses nothing that was acknowledged. The next start needs no repair."),
];

const EXITS: [(u8, &str); 13] = [
    (0, "Stopped as asked, or done"),
    (
        Exit::No as u8,
        "It ran, and the answer is no: a check failed, a server refused, a key is not there",
    ),
    (Exit::Usage as u8, "Wrong usage: an option or its value"),
    (Exit::Data as u8, "The file is not a database, not ours, of a newer version, or damaged"),
    (Exit::NoInput as u8, "A file that should be read is not there"),
    (
        Exit::Unavailable as u8,
        "An address cannot be had: the port is taken, the name is unknown, no server is there",
    ),
    (Exit::System as u8, "The system refused something: threads, memory"),
    (Exit::CannotCreate as u8, "A file cannot be created, or is there already"),
    (Exit::Io as u8, "Reading, writing or syncing failed, or a connection was lost"),
    (
        Exit::Temporary as u8,
        "Not now: another program has the database, or a snapshot went over its budget or was stopped",
    ),
    (Exit::Permission as u8, "Permission denied"),
    (
        Exit::Configuration as u8,
        "The configuration file or the environment is wrong, a limit too low, or the database on a network",
    ),
    (128, "And above, less 128: the signal that ended it"),
];

/// Paths from the root of the repository, and what has to be there.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut root = documents::with_details(command()).long_about(DESCRIPTION);
    root.build();
    pages(&root, &mut all);
    for (shell, name) in [
        (Shell::Bash, "litecached.bash"),
        (Shell::Zsh, "_litecached"),
        (Shell::Fish, "litecached.fish"),
    ] {
        let mut text = Vec::new();
        match shell {
            Shell::Bash => generate(Bash, &mut command(), NAME, &mut text),
            Shell::Zsh => generate(Zsh, &mut command(), NAME, &mut text),
            _ => generate(Fish, &mut command(), NAME, &mut text),
        }
        all.insert(Path::new(COMPLETIONS).join(name), String::from_utf8(text).expect("text"));
    }
    all.insert("systemd/litecached.toml".into(), documents::packaged_file());
    let readme = fs::read_to_string(path_of(Path::new("README.md"))).expect("there is a README");
    let readme = between(&readme, "options", &documents::markdown());
    let exits = EXITS.iter().map(|(code, text)| format!("| {code} | {text} |\n"));
    let exits = format!("| exit code | |\n| --- | --- |\n{}", exits.collect::<String>());
    all.insert("README.md".into(), between(&readme, "exit codes", &exits));
    all
}

const PAGES: &str = "assets/man";
const COMPLETIONS: &str = "assets/completions";

/// A page for the command and for each below it.
fn pages(command: &Command, all: &mut BTreeMap<PathBuf, String>) {
    let man = Man::new(command.clone())
        .manual("litecached manual")
        .source(format!("litecached {}", env!("CARGO_PKG_VERSION")));
    // The page of serve is that of the whole, under another name.
    let is_serve = command.get_name() == "serve";
    let name = if is_serve { "litecached-serve.1".to_owned() } else { man.get_filename() };
    let mut page = Vec::new();
    if name == "litecached.1" {
        man.render_title(&mut page).expect("memory");
        man.render_name_section(&mut page).expect("memory");
        man.render_synopsis_section(&mut page).expect("memory");
        man.render_description_section(&mut page).expect("memory");
        man.render_options_section(&mut page).expect("memory");
        man.render_subcommands_section(&mut page).expect("memory");
        let notes = crate::config::footer();
        let notes: Vec<_> = notes.lines().filter_map(|line| line.split_once(": ")).collect();
        section(&mut page, "NOTES", &notes);
        let exits = EXITS.map(|(code, text)| (code.to_string(), text));
        let exits: Vec<_> = exits.iter().map(|(code, text)| (code.as_str(), *text)).collect();
        section(&mut page, "ENVIRONMENT", &ENVIRONMENT);
        section(&mut page, "FILES", &FILES);
        section(&mut page, "SIGNALS", &SIGNALS);
        section(&mut page, "EXIT STATUS", &exits);
        let below: Vec<_> = command.get_subcommands().map(shown_name).collect();
        let below: Vec<_> = below.iter().map(|name| format!("\\fB{name}\\fR(1)")).collect();
        let others = "\\fBsystemctl\\fR(1), \\fBmemcached\\fR(1), \\fBsqlite3\\fR(1)";
        let text =
            format!(".SH \"SEE ALSO\"\n{}, {others}\n", below.join(", ").replace('-', "\\-"));
        page.extend_from_slice(text.as_bytes());
    } else if is_serve {
        page.extend_from_slice(b".so man1/litecached.1\n");
    } else {
        man.render(&mut page).expect("memory");
        page.extend_from_slice(b".SH \"SEE ALSO\"\n\\fBlitecached\\fR(1)\n");
    }
    let page = String::from_utf8(page).expect("text");
    let page = page.replace(".SH EXTRA", ".SH NOTES");
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let page = lines.join("\n") + "\n";
    all.insert(Path::new(PAGES).join(&name), page);
    command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
        .for_each(|b| pages(b, all));
}

fn shown_name(command: &Command) -> String {
    match command.get_name() {
        // Its page is ours under another name.
        "serve" => "litecached-serve".to_owned(),
        name => command.get_display_name().unwrap_or(name).to_owned(),
    }
}

/// A list of terms.
fn section(page: &mut Vec<u8>, title: &str, terms: &[(&str, &str)]) {
    let escaped =
        |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace("...", "\\&...");
    page.extend_from_slice(format!(".SH \"{title}\"\n").as_bytes());
    for (term, text) in terms {
        let term = format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(text));
        page.extend_from_slice(term.as_bytes());
    }
}

/// The text with what stands between two markers replaced.
fn between(text: &str, name: &str, inside: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}\n{inside}\n{end}{after}")
}

fn path_of(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn what_is_committed_is_what_the_table_says() {
    let blesses = std::env::var("LITECACHED_BLESS").is_ok_and(|value| value == "1");
    let wanted = documents();
    let mut findings = Vec::new();
    for (path, text) in &wanted {
        let found = fs::read_to_string(path_of(path)).unwrap_or_default();
        if found == *text {
            continue;
        }
        if blesses {
            let folder = path_of(path).parent().expect("a folder").to_owned();
            fs::create_dir_all(folder).expect("the repository can be written");
            fs::write(path_of(path), text).expect("the repository can be written");
        } else {
            findings.push(path.display().to_string());
        }
    }
    for folder in [PAGES, COMPLETIONS] {
        for entry in fs::read_dir(path_of(Path::new(folder))).expect("it was made").flatten() {
            let path = Path::new(folder).join(entry.file_name());
            if !wanted.contains_key(&path) && blesses {
                fs::remove_file(path_of(&path)).expect("the repository can be written");
            } else if !wanted.contains_key(&path) {
                findings.push(format!("{} has no command", path.display()));
            }
        }
    }
    assert!(
        findings.is_empty(),
        "not what the commands and options say: {}\n\
         LITECACHED_BLESS=1 cargo test --lib documents writes them anew",
        findings.join(", ")
    );
}
