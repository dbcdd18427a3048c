//! `inspect get KEY`: one item. Described at a terminal, the bare value into a pipe.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use crate::cli::inspect::keys::describe;
use crate::cli::inspect::show::{self, Out};
use crate::cli::json::{obeyed, put};
use crate::cli::{Exit, Failure};
use crate::store::inspect::{Item, Life};

/// Bytes of a value that are shown at a terminal.
const SHOWN_BYTES_MAX: usize = 4 << 10;

pub(super) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("get")
        .about("One item: with what is known of it at a terminal, the bare value into a pipe")
        .arg(
            Arg::new("key")
                .value_name("key")
                .required(true)
                .value_parser(OsStringValueParser::new()),
        )
        .arg(flag("hex", "The key is written in hexadecimal"))
        .arg(flag("raw", "The bare value, also at a terminal").conflicts_with_all(["meta", "json"]))
        .arg(flag("meta", "What is known of it, also into a pipe").conflicts_with("json"))
        .arg(flag("dead", "Also an item that expired or was flushed and is not removed yet"))
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let key = key(flags)?;
    let inspection = super::open(flags)?;
    let is_described = flags.get_flag("meta") || (!flags.get_flag("raw") && Out::is_terminal());
    let mut out = Out::stdout();
    let mut dead = None;
    let found = inspection.find(&key, |item, value| {
        if item.life != Life::Live && !flags.get_flag("dead") {
            dead = Some(item.life);
            return;
        }
        // A break is an error that `end` tells.
        let _broken = if flags.get_flag("json") {
            let mut object = describe(item);
            put(&mut object, "value", value);
            out.json(&Value::from(object))
        } else if is_described {
            as_text(&mut out, item, value, inspection.now().0)
        } else {
            out.bytes(value)
        };
    })?;
    out.end()?;
    let key = show::text(&key);
    match dead {
        Some(life) => Err(Failure::new(
            Exit::No,
            format!("{key} is {}, and only not removed yet; --dead shows it", life.name()),
        )),
        None if !found => Err(Failure::new(
            Exit::No,
            format!("there is no item {key}; litecached inspect keys lists what there is"),
        )),
        None => Ok(()),
    }
}

fn key(flags: &ArgMatches) -> Result<Vec<u8>, Failure> {
    let Some(written) = flags.get_one::<OsString>("key") else {
        return Err(Failure::new(Exit::Usage, "a key is needed; litecached inspect get KEY"));
    };
    let bytes = written.as_bytes();
    if !flags.get_flag("hex") {
        return Ok(bytes.to_vec());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = bytes.chunks(2).map(|pair| match pair {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().ok_or_else(|| {
        let message =
            "the key is not hexadecimal; give two digits for each byte, or leave out --hex";
        Failure::new(Exit::Usage, message)
    })
}

fn as_text(out: &mut Out, item: &Item<'_>, value: &[u8], now: i64) -> ControlFlow<()> {
    let marks = [(1, "stale"), (2, "won"), (4, "binary key"), (8, "in pieces"), (16, "compressed")];
    let marks: Vec<&str> =
        marks.iter().filter(|(bit, _)| item.marks & bit != 0).map(|&(_, name)| name).collect();
    let ago = |at: i64| format!("{} ago", show::span(now.saturating_sub(at)));
    for (label, text) in [
        ("key", show::text(item.key)),
        ("state", item.life.name().to_owned()),
        ("size", format!("{} bytes", item.value_bytes)),
        ("flags", item.flags.to_string()),
        ("expires", show::expiry(item.exptime, now)),
        ("stored", ago(item.stored)),
        ("fetched", if item.accessed == 0 { "not noted".into() } else { ago(item.accessed) }),
        ("cas", item.cas.to_string()),
        ("marks", if marks.is_empty() { "none".into() } else { marks.join(", ") }),
    ] {
        out.line(&format!("{label:<8} {text}"))?;
    }
    out.line("")?;
    let shown = &value[..value.len().min(SHOWN_BYTES_MAX)];
    if is_text(shown) {
        out.line(&harmless(shown))?;
    } else {
        hex(out, shown)?;
    }
    if shown.len() < value.len() {
        let rest = value.len() - shown.len();
        out.line(&format!("… {rest} bytes more; --raw gives them all"))?;
    }
    ControlFlow::Continue(())
}

/// UTF-8 (perhaps cut in its last character) without anything that a terminal would obey.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    valid.chars().all(|character| !character.is_control() || "\n\r\t".contains(character))
}

/// A text with its lines; what would hide or reorder it is escaped.
fn harmless(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '\n' | '\r' | '\t' => shown.push(character),
            _ if obeyed(character) => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

fn hex(out: &mut Out, bytes: &[u8]) -> ControlFlow<()> {
    for (row, sixteen) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = sixteen.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters = sixteen.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let letters: String = letters.collect();
        out.line(&format!("{:08x}  {:<47}  {letters}", row * 16, digits.join(" ")))?;
    }
    ControlFlow::Continue(())
}
