//! The client's side of a memcached-protocol server, for every tool that talks to one: where it is, how
//! long to wait for it, and one connection.
//!
//! Knows no commands, and never connects to itself.

mod address;
mod connection;
pub(crate) mod interrupt;

use std::time::Duration;

use clap::{Arg, ArgMatches};

use crate::cli::{Exit, Failure};
use crate::config::units;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, Trouble};

/// The forms of an address, for a help text.
pub(crate) const ADDRESS_FORMS: &str = "host:port, [::1]:port, a port, unix:FILE or a path";

/// `--address`, for tools that talk to one server.
pub(crate) fn address_argument() -> Arg {
    Arg::new("address")
        .short('a')
        .long("address")
        .value_name("ADDRESS")
        .help("The server [env: LITECACHED_ADDRESS] [default: 127.0.0.1:60000]")
}

/// `--timeout`.
pub(crate) fn timeout_argument() -> Arg {
    Arg::new("timeout")
        .long("timeout")
        .value_name("TIME")
        .default_value("30s")
        .help("How long to wait for a server, e.g. 5s, 2m")
}

/// What `--timeout` says.
pub(crate) fn patience(flags: &ArgMatches) -> Result<Duration, Failure> {
    let text = flags.get_one::<String>("timeout").map_or("30s", String::as_str);
    let seconds = units::seconds(text).filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--timeout {text} is no time; write 5s to 1d"))
    })
}
