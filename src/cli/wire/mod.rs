//! The client's side of a memcached-protocol server, for every tool that talks to one: where it is, how
//! long to wait for it, who to be there, and one connection.
//!
//! Knows no commands, and never connects to itself. A server that speaks Redis's protocol is the same
//! connection with other words on it (`redis`, `resp`).

mod address;
mod connection;
pub(crate) mod interrupt;
mod login;
pub(crate) mod redis;
pub(crate) mod resp;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use rustls::ClientConfig;

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

/// How a tool talks to servers.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// How long each wait may last.
    pub(crate) patience: Duration,
    /// Who it is where a server asks.
    login: Option<Arc<login::Login>>,
    /// How to speak TLS, if it is to.
    tls: Option<Arc<ClientConfig>>,
}

/// `--timeout`, `--user`, `--password-file`, `--tls` and what belongs to it.
pub(crate) fn terms_arguments() -> impl Iterator<Item = Arg> {
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("TIME")
        .default_value("30s")
        .help("How long to wait for a server, e.g. 5s, 2m");
    std::iter::once(timeout).chain(login::arguments()).chain(tls::arguments())
}

impl Terms {
    /// For whoever is nobody's user.
    pub(crate) fn unnamed(patience: Duration) -> Self {
        Self { patience, login: None, tls: None }
    }

    /// Whether it speaks TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What the flags say. Asks for the password where only the terminal has it.
    pub(crate) fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        let patience = patience(flags)?;
        let tls = tls::from_flags(flags)?;
        Ok(Self { patience, login: login::Login::from_flags(flags)?.map(Arc::new), tls })
    }
}

fn patience(flags: &ArgMatches) -> Result<Duration, Failure> {
    let text = flags.get_one::<String>("timeout").map_or("30s", String::as_str);
    let seconds = units::seconds(text).filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--timeout {text} is no time; write 5s to 1d"))
    })
}
