//! Where a server is: `host:port`, `[::1]:port`, a host or a port alone, or a Unix socket.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::ArgMatches;

use super::ADDRESS_FORMS;
use crate::cli::{Exit, Failure};
use crate::limits::PORT_DEFAULT;

/// The variable that stands in for `--address`.
const ADDRESS_VARIABLE: &str = "LITECACHED_ADDRESS";

/// Where a port alone leads.
const LOCALHOST: &str = "127.0.0.1";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name or number, and a port.
    Tcp { host: String, port: u16 },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether a word of the command line can only be an address: no command has a `:` or `/`.
    pub(crate) fn is_meant(word: &str) -> bool {
        word.contains([':', '/'])
    }

    /// What was written, judged.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::parse_with(text, PORT_DEFAULT)
    }

    /// The same for servers of which most listen on another port.
    pub(super) fn parse_with(text: &str, port_default: u16) -> Result<Self, Failure> {
        let wrong = || {
            let what = format!("'{text}' is no address; write {ADDRESS_FORMS}");
            Failure::new(Exit::Usage, what)
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
            None if text.matches(':').count() == 1 => {
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
            }
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => (LOCALHOST, Some(text)),
            // What is no IPv6 address may be one that lacks the brackets which keep its port apart.
            None if text.contains(':') && !is_ipv6(text) => return Err(wrong()),
            // A bare IPv6 address, or a host alone.
            None => (text, None),
        };
        let port = match port {
            None => Some(port_default),
            Some(port) => port.parse().ok().filter(|&port| port != 0),
        };
        match port {
            Some(port) if text.starts_with(':') && !host.contains(':') => {
                Ok(Self::Tcp { host: LOCALHOST.into(), port })
            }
            Some(port) if !host.is_empty() => Ok(Self::Tcp { host: host.into(), port }),
            _ => Err(wrong()),
        }
    }

    /// `--address`, or `positional`, or the environment, or the daemon's own default.
    pub(crate) fn choose(flags: &ArgMatches, positional: Option<&str>) -> Result<Self, Failure> {
        let flag = flags.get_one::<String>("address").map(String::as_str);
        if let (Some(_), Some(word)) = (flag, positional) {
            let what = format!("there are two addresses, --address and '{word}'; keep one");
            return Err(Failure::new(Exit::Usage, what));
        }
        let variable = std::env::var(ADDRESS_VARIABLE).ok().filter(|text| !text.is_empty());
        match flag.or(positional).or(variable.as_deref()) {
            Some(text) => Self::parse(text),
            None => Ok(Self::Tcp { host: LOCALHOST.into(), port: PORT_DEFAULT }),
        }
    }
}

/// An address in numbers, with or without its zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let number = text.split_once('%').map_or(text, |(number, _)| number);
    number.parse::<Ipv6Addr>().is_ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("localhost:11211", Some("localhost:11211")),
            ("localhost", Some("localhost:60000")),
            (":11211", Some("127.0.0.1:11211")),
            ("11211", Some("127.0.0.1:11211")),
            ("[::1]:11211", Some("[::1]:11211")),
            ("[::1]", Some("[::1]:60000")),
            ("::1", Some("[::1]:60000")),
            ("fe80::1%eth0", Some("[fe80::1%eth0]:60000")),
            ("::1:41781", None),
            ("a:1:2", None),
            ("unix:sock", Some("unix:sock")),
            ("/run/a:b", Some("unix:/run/a:b")),
            ("./sock", Some("unix:./sock")),
            ("unix:", None),
            ("70000", None),
            ("host:", None),
            ("host:0", None),
            ("host:70000", None),
            ("[::1]x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let shown = Address::parse(text).ok().map(|address| address.to_string());
            assert_eq!(shown.as_deref(), expected, "{text:?}");
        }
    }
}
