//! The prompt: lines edited, remembered and completed, answers with their times.
//!
//! Leaves editing to rustyline. What a lost connection or a wrong line means is said and the prompt
//! comes back; only the user ends it. Ctrl-C gives up what is waited for, a second one at once leaves.
//! Each line is in the history before it is carried out, whatever ends the prompt.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use signal_hook::consts::SIGINT;

use crate::cli::client::request::{Need, Plan, Request, Source, plan};
use crate::cli::client::session::{Manner, Session, failure};
use crate::cli::client::show::{bytes, duration};
use crate::cli::client::{commands, script, tell, words};
use crate::cli::wire::interrupt;
use crate::cli::{Exit, Failure};
use crate::clock::Clock;
use crate::limits::{HISTORY_LINES_MAX, KEYS_REMEMBERED_MAX};

/// Where the history is; empty is nowhere.
const HISTORY_VARIABLE: &str = "LITECACHED_HISTORY";

/// Asks and answers until the user leaves.
pub(crate) fn converse(session: &mut Session, manner: Manner, dims: bool) -> Result<(), Failure> {
    let failed = |error: ReadlineError| {
        let what = format!("the terminal cannot be used: {error}; pipe commands in instead");
        Failure::new(Exit::Io, what)
    };
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)
        .and_then(|builder| builder.history_ignore_dups(true))
        .map_err(failed)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor: Lines = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Completion::new()));
    interrupt::heed(&[SIGINT]).map_err(|error| failed(error.into()))?;
    let mut history = history_file();
    if let Some(path) = history.as_deref().filter(|path| path.exists())
        && let Err(error) = editor.load_history(path)
    {
        unkept(path, &error);
        history = None;
    }
    println!("Connected to {}. help lists the commands, Ctrl-D leaves.", session.address());
    let mut pretty = manner.is_pretty;
    let prompt = format!("{}> ", session.address());
    loop {
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break Ok(()),
            Err(error) => break Err(failed(error)),
        };
        if line.trim().is_empty() {
            continue;
        }
        // Another prompt may have added its own lines: they stay.
        if let Err(error) = editor
            .add_history_entry(line.as_str())
            .and_then(|_| history.as_deref().map_or(Ok(()), |path| editor.append_history(path)))
        {
            unkept(history.as_deref().unwrap_or(Path::new("memory")), &error);
            history = None;
        }
        let planned = words::split(line.as_bytes())
            .and_then(|line| plan(line, Source::Line, Clock::system().now()));
        match planned {
            Ok(Plan::Send(request)) => {
                let manner = Manner { is_pretty: pretty, ..manner };
                perform(&mut editor, session, &request, manner, dims);
            }
            Ok(Plan::Help(about)) => print!("{}", commands::help(about.as_deref())),
            Ok(Plan::Pretty(on)) => pretty = on,
            Ok(Plan::Leave) => break Ok(()),
            Err(why) => println!("{why}"),
        }
    }
}

/// A history that cannot be had is no reason to have no prompt.
fn unkept(path: &Path, error: &ReadlineError) {
    let path = path.display();
    tell(&format!(
        "no lines are remembered in {path}: {error}; move it away, or name another in {HISTORY_VARIABLE}"
    ));
}

type Lines = Editor<Completion, FileHistory>;

fn perform(
    editor: &mut Lines,
    session: &mut Session,
    request: &Request,
    manner: Manner,
    dims: bool,
) {
    let value = match value_of(editor, request) {
        Ok(value) => value,
        Err(why) => return println!("{why}"),
    };
    interrupt::forget();
    let mut out = io::stdout().lock();
    let mut notice = |text: &str| println!("{text}");
    let answer = session.perform(request, value.as_deref(), manner, &mut out, &mut notice);
    interrupt::forget();
    drop(out);
    let seen = editor.helper_mut();
    match answer {
        Ok(answer) => {
            for key in answer.missing(request) {
                println!("not there: {}", key.escape_ascii());
            }
            let time = duration(answer.micros);
            if dims {
                println!("\x1b[2m{time}\x1b[0m");
            } else {
                println!("{time}");
            }
            seen.into_iter().for_each(|seen| seen.remember(&request.keys));
        }
        Err(trouble) => println!("{}", failure(trouble, request).message),
    }
    if let Err(error) = io::stdout().flush() {
        tell(&format!("the terminal takes no text: {error}"));
    }
}

/// Asks for the value where it is not there yet. An interrupt gives the command up, nothing is sent.
fn value_of(editor: &mut Lines, request: &Request) -> Result<Option<Vec<u8>>, String> {
    let wanted = match &request.need {
        Need::Nothing => return Ok(None),
        Need::Given(value) => return Ok(Some(value.clone())),
        Need::File(path) => return script::file(path).map(Some),
        Need::Ask => None,
        Need::Sized(size) => Some(*size),
    };
    let prompt = wanted.map_or("value> ".to_owned(), |size| format!("{}> ", bytes(size)));
    let mut value = Vec::new();
    loop {
        let line = editor.readline(&prompt).map_err(|_| "given up; nothing was sent")?;
        value.extend_from_slice(line.as_bytes());
        match wanted.map(|size| size.cmp(&(value.len() as u64))) {
            None | Some(std::cmp::Ordering::Equal) => return Ok(Some(value)),
            Some(std::cmp::Ordering::Less) => {
                let (has, size) = (bytes(value.len() as u64), wanted.unwrap_or_default());
                return Err(format!("that is {has}, not {size}; nothing was sent"));
            }
            // A value may have lines: the end of this one belongs to it.
            Some(std::cmp::Ordering::Greater) => value.push(b'\n'),
        }
        if wanted == Some(value.len() as u64) {
            return Ok(Some(value));
        }
    }
}

/// In the user's state folder, which is made if need be.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(HISTORY_VARIABLE) {
        return Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    }
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty());
    let state = state.map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("state"))
    })?;
    let folder = state.join("litecached");
    if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        tell(&format!("no history, {} cannot be made: {error}", folder.display()));
        return None;
    }
    Some(folder.join("history"))
}

/// Completes commands, keys that were used, and files behind `<` and `>`.
struct Completion {
    /// The last one used comes first.
    keys: VecDeque<String>,
    files: FilenameCompleter,
}

impl Completion {
    fn new() -> Self {
        Self { keys: VecDeque::new(), files: FilenameCompleter::new() }
    }

    fn remember(&mut self, keys: &[Vec<u8>]) {
        for key in keys.iter().filter_map(|key| String::from_utf8(key.clone()).ok()) {
            self.keys.retain(|known| *known != key);
            self.keys.push_front(key);
            self.keys.truncate(KEYS_REMEMBERED_MAX);
        }
    }

    /// What may stand at the end of this line, and where it begins.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind([' ', '\t']).map_or(0, |at| at + 1);
        let (before, begun) = line.split_at(start);
        let command = before.split_whitespace().next();
        let fits = |word: &&str| word.starts_with(begun);
        let names = commands::COMMANDS.iter().map(|command| command.name);
        let found = match command {
            None | Some("help") => names.filter(fits).map(str::to_owned).collect(),
            Some(_) if begun.starts_with("--") => {
                ["--ttl", "--flags", "--pretty"].into_iter().filter(fits).map(Into::into).collect()
            }
            Some("stats") => ["items", "settings", "conns", "slabs", "sizes", "latency", "storage"]
                .into_iter()
                .filter(fits)
                .map(Into::into)
                .collect(),
            Some(_) => self.keys.iter().map(String::as_str).filter(fits).map(Into::into).collect(),
        };
        (start, found)
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        if before.contains([' ']) && before.trim_end().contains([' ']) {
            let last = before.rfind(['<', '>']).filter(|&at| before[..at].ends_with(' '));
            if last.is_some_and(|last| !before[last + 1..].trim_start().contains(' ')) {
                return self.files.complete(line, at, context);
            }
        }
        let (start, found) = self.candidates(before);
        let pairs = found
            .into_iter()
            .map(|word| Pair { display: word.clone(), replacement: format!("{word} ") });
        Ok((start, pairs.collect()))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_keys_are_completed() {
        let mut completion = Completion::new();
        completion.remember(&[b"user:1".to_vec(), b"user:2".to_vec(), b"\xff".to_vec()]);
        completion.remember(&[b"user:1".to_vec()]);
        let cases: &[(&str, &[&str])] = &[
            ("ver", &["version", "verbosity"]),
            ("get us", &["user:1", "user:2"]),
            ("get user:2 user:1", &["user:1"]),
            ("set user:1 --t", &["--ttl"]),
            ("help fl", &["flush_all"]),
            ("stats se", &["settings"]),
            ("xyz", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(completion.candidates(line).1, *expected, "{line}");
        }
    }

    #[test]
    fn so_many_keys_and_no_more() {
        let mut completion = Completion::new();
        for number in 0..=KEYS_REMEMBERED_MAX {
            completion.remember(&[number.to_string().into_bytes()]);
        }
        assert_eq!(completion.keys.len(), KEYS_REMEMBERED_MAX);
        assert!(!completion.keys.contains(&"0".to_owned()));
    }
}
