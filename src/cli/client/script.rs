//! Commands from a file or a pipe, and one command from the shell.
//!
//! A line that cannot be understood ends a script: what follows it may be its value and no command.
//! What a server refuses does not; it is counted, and the exit code says so.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use crate::cli::client::request::{Need, Plan, Request, Source, plan};
use crate::cli::client::session::{Answer, Manner, Session, failure};
use crate::cli::client::show::{Style, bytes, duration};
use crate::cli::client::words::{self, Line};
use crate::cli::client::{commands, tell};
use crate::cli::wire::Trouble;
use crate::cli::{Exit, Failure, print};
use crate::clock::Clock;
use crate::limits::{COMEBACK_SECONDS, ITEM_BYTES_MAX, SCRIPT_LINE_BYTES_MAX};

/// Performs one command.
pub(crate) fn one_shot(
    line: Line,
    manner: Manner,
    shows_time: bool,
    open: impl FnOnce() -> Result<Session, Failure>,
) -> Result<(), Failure> {
    let name = line.words.first().map(words::Word::text).unwrap_or_default();
    let usage = |why: String| Failure::new(Exit::Usage, with_advice(&why));
    if commands::named(&name).is_none() {
        let what = format!(
            "'{name}' is no command; see litecached client help, and write an address as host:port"
        );
        return Err(Failure::new(Exit::Usage, what));
    }
    let request = match plan(line, Source::Arguments, Clock::system().now()).map_err(usage)? {
        Plan::Send(request) => request,
        Plan::Help(about) => return print(&commands::help(about.as_deref())),
        Plan::Pretty(_) | Plan::Leave => return Ok(()),
    };
    let value = value_of(&request, &mut io::stdin().lock(), Reading::All).map_err(usage)?;
    // Where there may be several values, nothing but their lines keeps them apart.
    let has_many = manner.style == Style::Bytes && request.asked() > 1;
    let manner = Manner { style: if has_many { Style::Lines } else { manner.style }, ..manner };
    let mut session = open()?;
    let mut out = io::stdout().lock();
    let answer = session
        .perform(&request, value.as_deref(), manner, &mut out, &mut tell)
        .and_then(|answer| out.flush().map(|()| answer).map_err(Trouble::Output));
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) if has_read_enough(&trouble) => return Ok(()),
        Err(trouble) => return Err(failure(trouble, &request)),
    };
    if shows_time {
        tell(&format!("answered in {}", duration(answer.micros)));
    }
    verdict(&request, &answer)
}

/// Performs what is written, line by line.
pub(crate) fn script(
    input: &mut dyn BufRead,
    manner: Manner,
    shows_time: bool,
    session: &mut Session,
) -> Result<(), Failure> {
    session.wait_for_comeback(Duration::from_secs(COMEBACK_SECONDS));
    let mut out = io::stdout().lock();
    let clock = Clock::system();
    let (mut number, mut done, mut failed) = (0_u64, 0_u64, 0_u64);
    let mut pretty = manner.is_pretty;
    loop {
        number += 1;
        let here = number;
        let at =
            |why: String| Failure::new(Exit::Usage, format!("line {here}: {}", with_advice(&why)));
        let Some(line) = next_line(input).map_err(at)? else { break };
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let line = words::split(&line).map_err(at)?;
        let request = match plan(line, Source::Line, clock.now()).map_err(at)? {
            Plan::Send(request) => request,
            Plan::Leave => break,
            Plan::Pretty(on) => {
                pretty = on;
                continue;
            }
            Plan::Help(about) => {
                print(&commands::help(about.as_deref()))?;
                continue;
            }
        };
        let value = value_of(&request, input, Reading::Lines(&mut number)).map_err(at)?;
        let manner = Manner { is_pretty: pretty, ..manner };
        done += 1;
        let answer = session
            .perform(&request, value.as_deref(), manner, &mut out, &mut tell)
            .and_then(|answer| out.flush().map(|()| answer).map_err(Trouble::Output));
        match answer {
            Ok(answer) => {
                failed += u64::from(!answer.is_good(&request));
                if shows_time {
                    tell(&format!("line {here}: answered in {}", duration(answer.micros)));
                }
            }
            Err(Trouble::Lost(why)) => {
                failed += 1;
                let shown = request.shown();
                let outcome = if request.is_repeatable {
                    format!("'{shown}' was not answered and changed nothing")
                } else {
                    format!("whether '{shown}' happened is unknown")
                };
                tell(&format!("line {here}: the connection was lost ({why}); {outcome}"));
            }
            Err(trouble) if has_read_enough(&trouble) => return Ok(()),
            Err(trouble) => {
                let Failure { exit, message } = failure(trouble, &request);
                return Err(Failure::new(exit, format!("line {here}: {message}")));
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::No,
            format!("{failed} of {done} commands failed; the answers say which"),
        )),
    }
}

/// A reader of our output that has gone away has read enough.
fn has_read_enough(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

fn verdict(request: &Request, answer: &Answer) -> Result<(), Failure> {
    if answer.is_good(request) {
        return Ok(());
    }
    let what = if let Some(line) = &answer.tally.refusal {
        format!(
            "the server answered {line} to '{}'; litecached client help tells what commands mean",
            request.shown()
        )
    } else {
        let missing = answer.missing(request);
        let keys: Vec<String> =
            missing.iter().take(3).map(|key| key.escape_ascii().to_string()).collect();
        let more = missing.len().saturating_sub(keys.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("not there: {}{more}; never stored, removed or expired", keys.join(", "))
    };
    Err(Failure::new(Exit::No, what))
}

/// How a value is taken from the input.
enum Reading<'n> {
    /// All there is: the command came from the shell.
    All,
    /// The next line or so many bytes; counts the lines.
    Lines(&'n mut u64),
}

fn value_of(
    request: &Request,
    input: &mut dyn BufRead,
    reading: Reading<'_>,
) -> Result<Option<Vec<u8>>, String> {
    let (size, lines) = match (&request.need, reading) {
        (Need::Nothing, _) => return Ok(None),
        (Need::Given(value), _) => return Ok(Some(value.clone())),
        (Need::File(path), _) => return file(path).map(Some),
        // At a terminal a value ends with its line, as it does at the prompt.
        (Need::Ask, Reading::All) if !io::stdin().is_terminal() => {
            let value = all(input)?;
            if value.is_empty() {
                return Err(
                    "there is no value, stdin is empty; give \"\" for an empty value".into()
                );
            }
            return Ok(Some(value));
        }
        (Need::Ask, Reading::All) => (None, None),
        (Need::Ask, Reading::Lines(lines)) => (None, Some(lines)),
        (Need::Sized(size), Reading::All) => (Some(*size), None),
        (Need::Sized(size), Reading::Lines(lines)) => (Some(*size), Some(lines)),
    };
    let Some(size) = size else {
        let line = next_line(input)?.ok_or("the value is missing")?;
        lines.into_iter().for_each(|lines| *lines += 1);
        return Ok(Some(line));
    };
    let mut value = Vec::new();
    input.take(size).read_to_end(&mut value).map_err(|error| unreadable(&error))?;
    if (value.len() as u64) < size {
        let has = bytes(value.len() as u64);
        return Err(format!("the value has {has}, not the {size} announced"));
    }
    let newlines = memchr::memchr_iter(b'\n', &value).count() as u64;
    lines.into_iter().for_each(|lines| *lines += newlines + 1);
    match next_line(input)?.as_deref() {
        None | Some([]) => Ok(Some(value)),
        Some(_) => Err(format!("the value is longer than the {} announced", bytes(size))),
    }
}

/// All of a file, as a value.
pub(crate) fn file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let told = |why: String| format!("{} cannot be read ({why})", path.display());
    let opened = std::fs::File::open(path).map_err(|error| told(error.to_string()))?;
    all(&mut io::BufReader::new(opened)).map_err(told)
}

fn all(input: &mut dyn BufRead) -> Result<Vec<u8>, String> {
    let mut value = Vec::new();
    let read = input.take(ITEM_BYTES_MAX + 1).read_to_end(&mut value);
    let read = read.map_err(|error| unreadable(&error))?;
    if read as u64 > ITEM_BYTES_MAX {
        return Err(format!("it is longer than {ITEM_BYTES_MAX} bytes"));
    }
    Ok(value)
}

/// The next line without its end; none behind the last.
fn next_line(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let most = SCRIPT_LINE_BYTES_MAX as u64;
    let read = input.take(most).read_until(b'\n', &mut line).map_err(|error| unreadable(&error))?;
    if read == 0 {
        return Ok(None);
    }
    let has_end = line.pop_if(|byte| *byte == b'\n').is_some();
    if !has_end && read == SCRIPT_LINE_BYTES_MAX {
        return Err(format!("a line is longer than {SCRIPT_LINE_BYTES_MAX} bytes"));
    }
    line.pop_if(|byte| has_end && *byte == b'\r');
    Ok(Some(line))
}

fn unreadable(error: &io::Error) -> String {
    format!("the input cannot be read ({error})")
}

fn with_advice(why: &str) -> String {
    let has_advice = why.contains(';');
    if has_advice { why.to_owned() } else { format!("{why}; see litecached client help") }
}

/// The style of a script's and a single command's output.
pub(crate) fn style(is_json: bool, is_script: bool, has_colour: bool) -> Style {
    match (is_json, is_script, io::stdout().is_terminal()) {
        (true, _, _) => Style::Json,
        (false, true, _) => Style::Lines,
        (false, false, true) => Style::Screen { has_colour },
        (false, false, false) => Style::Bytes,
    }
}
