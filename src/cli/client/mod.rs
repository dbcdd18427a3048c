//! `litecached client`: a client by hand, for scripts and for pipes, of any memcached-protocol server.
//!
//! Chooses the mode: words behind the address are one command, a terminal gets a prompt, anything else
//! is a script. The rest is split along the road: `words` and `request` make a line a request,
//! `session` brings it to the server, `show` presents the answer.

mod commands;
mod json;
mod prompt;
mod request;
mod script;
mod session;
mod show;
mod words;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::wire::{Address, Terms, address_argument, terms_arguments};
use crate::cli::{Failure, NAME};
use crate::logging::OneLine;

pub(crate) use show::{bytes, duration};

use session::{Manner, Session};
use show::Style;
use words::{Line, Word};

const EXAMPLES: &str = "\
Examples:
  litecached client                              a prompt, on 127.0.0.1:60000
  litecached client cache.example:11211          a prompt, on another server
  litecached client get greeting                 one command
  litecached client /run/cache.sock set greeting \"hello world\" --ttl 10m
  litecached client set picture < picture.png    the value from a file or a pipe
  litecached client < commands.txt               a script

A word with ':' or '/' is the address, all others are the command. Exit codes: 0; 1 when a server
refused or a key was not there; 64 for a wrong command; 69 when no server is there; 74 when the
connection was lost.";

/// Its arguments and its help.
pub(crate) fn command() -> Command {
    Command::new("client")
        .about("Talk to a memcached-protocol server: at a prompt, in one command, by a script")
        .override_usage("litecached client [OPTIONS] [ADDRESS] [COMMAND [ARGUMENT]...]")
        .arg(address_argument())
        .arg(json_argument())
        .args(terms_arguments())
        .arg(
            Arg::new("pretty")
                .long("pretty")
                .action(ArgAction::SetTrue)
                .help("Show values that are JSON indented"),
        )
        .arg(
            Arg::new("time")
                .long("time")
                .action(ArgAction::SetTrue)
                .help("Say on stderr how long each command took"),
        )
        .arg(
            Arg::new("first")
                .value_name("ADDRESS | COMMAND")
                .value_parser(value_parser!(OsString))
                .help("host:port, [::1]:port, :port, unix:FILE or a path; else a command"),
        )
        // What begins with a hyphen behind the command's first argument belongs to the command.
        .arg(
            Arg::new("words")
                .value_name("ARGUMENT")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("The command behind an address, and its arguments"),
        )
        .after_help(EXAMPLES)
}

/// `--json`, where it is an object per line.
pub(crate) fn json_argument() -> Arg {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    json.help("Answer in JSON, an object per line")
}

/// Runs it.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let mut words: Vec<OsString> = ["first", "words"]
        .into_iter()
        .filter_map(|id| flags.get_many::<OsString>(id))
        .flatten()
        .cloned()
        .collect();
    let first = words.first().and_then(|word| word.to_str());
    let positional = first.filter(|word| Address::is_meant(word)).map(str::to_owned);
    if positional.is_some() {
        words.remove(0);
    }
    let address = Address::choose(flags, positional.as_deref())?;
    let terms = Terms::from_flags(flags)?;
    let open = || Session::open(address, terms).map_err(Failure::from);

    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb");
    let is_json = flags.get_flag("json");
    let is_script = words.is_empty() && !is_terminal;
    let style = script::style(is_json, is_script, has_colour);
    let manner = Manner { style, is_pretty: flags.get_flag("pretty") };
    if !words.is_empty() {
        let words = words.into_iter().map(|word| Word { bytes: word.into_vec(), is_quoted: false });
        let line = Line { words: words.collect(), input: None, output: None };
        return script::one_shot(line, manner, flags.get_flag("time"), open);
    }
    let mut session = open()?;
    if is_terminal {
        let dims = matches!(style, Style::Screen { has_colour: true });
        return prompt::converse(&mut session, manner, dims);
    }
    script::script(&mut io::stdin().lock(), manner, flags.get_flag("time"), &mut session)
}

/// A line on stderr. If nobody reads that, nobody misses it.
pub(crate) fn tell(text: &str) {
    let line = format!("{NAME}: {}\n", OneLine(text));
    drop(io::stderr().write_all(line.as_bytes()));
}
