//! Where to listen: the texts of `-l` and the port become addresses.
//!
//! The forms are memcached's: `host`, `host:port`, `[v6]:port`, a bare v6 address, `*` for all
//! interfaces, several of them separated by commas or semicolons.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::units;

/// What an address must look like, for messages.
pub(crate) const FORM: &str = "host, host:port, [v6]:port or *, with a port from 0 to 65535";

/// What stands before an address that is to be without TLS.
pub(crate) const NO_TLS: &str = "notls:";

/// Asks the system for a host's addresses; no host means every interface. See `Facts`.
pub(crate) type Resolve = fn(Option<&str>, u16) -> io::Result<Vec<SocketAddr>>;

/// Why a text gives no address.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It has not the form.
    Form,
    /// Nobody knows this host (or it has no address that can be used here).
    Unknown { host: String, cause: String },
}

/// One place of the list: every interface, an address, or a name.
#[derive(Debug, PartialEq, Eq)]
struct Place<'t> {
    host: Host<'t>,
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'t> {
    Every,
    Address(IpAddr),
    Name(&'t str),
}

/// The addresses of one text, in order. `port` is for the places that name none.
pub(crate) fn addresses(text: &str, port: u16, resolve: Resolve) -> Result<Vec<SocketAddr>, Fault> {
    let mut found = Vec::new();
    for place in text.split([',', ';']).map(str::trim).filter(|place| !place.is_empty()) {
        let Place { host, port } = parse(place, port).ok_or(Fault::Form)?;
        match host {
            Host::Address(address) => found.push(SocketAddr::new(address, port)),
            Host::Every => found.extend(look_up(None, port, resolve)?),
            Host::Name(name) => found.extend(look_up(Some(name), port, resolve)?),
        }
    }
    if found.is_empty() { Err(Fault::Form) } else { Ok(found) }
}

/// The addresses of one text of `-l`, in order, and whether each is to be without TLS (`notls:`).
pub(crate) fn places(
    text: &str,
    port: u16,
    resolve: Resolve,
) -> Result<Vec<(SocketAddr, bool)>, Fault> {
    let mut found = Vec::new();
    for place in text.split([',', ';']).map(str::trim).filter(|place| !place.is_empty()) {
        let (place, is_plain) =
            place.strip_prefix(NO_TLS).map_or((place, false), |place| (place, true));
        let addresses = addresses(place, port, resolve)?;
        found.extend(addresses.into_iter().map(|address| (address, is_plain)));
    }
    if found.is_empty() { Err(Fault::Form) } else { Ok(found) }
}

fn look_up(host: Option<&str>, port: u16, resolve: Resolve) -> Result<Vec<SocketAddr>, Fault> {
    let cause = match resolve(host, port) {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => "it has no address".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Fault::Unknown { host: host.unwrap_or("*").to_owned(), cause })
}

fn parse(place: &str, port: u16) -> Option<Place<'_>> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = if after.is_empty() { port } else { parse_port(after.strip_prefix(':')?)? };
        return Some(Place { host: v6(host)?, port });
    }
    match place.split_once(':') {
        None => Some(Place { host: name(place)?, port }),
        // Two colons without brackets: a v6 address that names no port.
        Some((_, after)) if after.contains(':') => Some(Place { host: v6(place)?, port }),
        Some((host, after)) => Some(Place { host: name(host)?, port: parse_port(after)? }),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    units::number(text).and_then(|port| u16::try_from(port).ok())
}

fn name(host: &str) -> Option<Host<'_>> {
    match host {
        "" => None,
        "*" | "INADDR_ANY" => Some(Host::Every),
        _ => Some(host.parse().map_or(Host::Name(host), Host::Address)),
    }
}

/// An address with a zone (`fe80::1%eth0`) is the system's to resolve.
fn v6(host: &str) -> Option<Host<'_>> {
    let (address, zone) =
        host.split_once('%').map_or((host, ""), |(address, zone)| (address, zone));
    let address: Ipv6Addr = address.parse().ok()?;
    Some(if zone.is_empty() { Host::Address(address.into()) } else { Host::Name(host) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        let hosts: &[&str] = match host {
            None => &["0.0.0.0", "::"],
            Some("localhost") => &["127.0.0.1", "::1"],
            Some("fe80::1%eth0") => &["fe80::1"],
            Some("empty") => &[],
            Some(_) => return Err(io::Error::other("not known")),
        };
        let address = |host: &&str| SocketAddr::new(host.parse().expect("an address"), port);
        Ok(hosts.iter().map(address).collect())
    }

    #[test]
    fn forms() {
        let cases = [
            ("127.0.0.1", "127.0.0.1:9"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]", "[::1]:9"),
            ("[::1]:80", "[::1]:80"),
            ("::1", "[::1]:9"),
            ("::", "[::]:9"),
            ("*", "0.0.0.0:9 [::]:9"),
            ("*:80", "0.0.0.0:80 [::]:80"),
            ("INADDR_ANY", "0.0.0.0:9 [::]:9"),
            ("localhost:80", "127.0.0.1:80 [::1]:80"),
            ("[fe80::1%eth0]:80", "[fe80::1]:80"),
            ("10.0.0.1, 10.0.0.2:80;10.0.0.3,", "10.0.0.1:9 10.0.0.2:80 10.0.0.3:9"),
        ];
        for (text, expected) in cases {
            let found = addresses(text, 9, resolver).expect(text);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn some_are_without_tls() {
        let found = places("notls:10.0.0.1:80, [::1];notls:[::1]:80", 9, resolver).expect("three");
        let found: Vec<_> =
            found.iter().map(|(address, is_plain)| format!("{address} {is_plain}")).collect();
        assert_eq!(found, ["10.0.0.1:80 true", "[::1]:9 false", "[::1]:80 true"]);
        for text in ["notls:", "notls", "notls:notls:h", "", "10.0.0.1,notls:"] {
            let is_wrong = places(text, 9, resolver).is_err();
            assert!(is_wrong, "{text:?}");
        }
    }

    #[test]
    fn no_forms() {
        let cases = [
            "",
            ",",
            ":80",
            "127.0.0.1:",
            "127.0.0.1:abc",
            "h:65536",
            "h:-1",
            "[::1",
            "[::1]80",
            "[127.0.0.1]:80",
            "[]:80",
            "a:b:c",
            "notls:127.0.0.1:80",
            "10.0.0.1,h:x",
        ];
        for text in cases {
            assert!(matches!(addresses(text, 9, resolver), Err(Fault::Form)), "{text:?}");
        }
    }

    #[test]
    fn unknown_hosts_are_named() {
        for (text, name) in [("fooble", "fooble"), ("fooble:80", "fooble"), ("empty", "empty")] {
            match addresses(text, 9, resolver) {
                Err(Fault::Unknown { host, .. }) => assert_eq!(host, name),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
