//! The server's part of the settings: where to listen, and how many at once.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use crate::limits;
use crate::server::{self, Listen, Protocol, TlsFiles, Verify};

use super::extended::{self, Extended};
use super::facts::Facts;
use super::listen;
use super::options::Id;
use super::raw::{Origin, Raw, Written};
use super::units;
use super::values::{Blame, Error, quoted};

/// Greatest `-c`: Linux gives no process more descriptors (`fs.nr_open`).
const CONNECTIONS_MAX: u64 = 1 << 20;

/// Greatest `-b` and `-R`: memcached reads them as an `int`.
const INT_MAX: u64 = (1 << 31) - 1;

/// Greatest `-v`: what repeating the flag can count to.
const VERBOSITY_MAX: u64 = 255;

/// Longest path of a Unix socket, in bytes: `sun_path` less its final zero, where it is shortest.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// What `--http` must look like, for messages.
const HTTP_FORM: &str = "one host, host:port, [v6]:port or *, such as 127.0.0.1:60080";

/// Mode of the Unix socket where none is given, as in memcached.
const UNIX_MODE_DEFAULT: u32 = 0o700;

/// What to say about the server's options.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) warnings: Vec<String>,
    pub(super) remarks: Vec<String>,
}

/// The server's options, and what to say about them.
pub(super) fn options(raw: &Raw, facts: &Facts) -> Result<(server::Options, Said), Error> {
    let mut reading = Reading { raw, facts, said: Said::default() };
    let options = reading.server()?;
    Ok((options, reading.said))
}

struct Reading<'a> {
    raw: &'a Raw,
    facts: &'a Facts,
    said: Said,
}

impl Reading<'_> {
    fn server(&mut self) -> Result<server::Options, Error> {
        let extended = self.extended()?;
        let default = server::Options::default();
        let tls = self.tls(extended.tls)?;
        let (listen, http) = (self.listen(tls.is_some())?, self.http()?);
        self.check_ports(&listen, &http)?;
        Ok(server::Options {
            listen,
            http,
            threads: self.threads()?,
            connections_max: self
                .raw
                .number(Id::Connections, 1..=CONNECTIONS_MAX, "a number of clients")?
                .unwrap_or(default.connections_max),
            backlog: self
                .raw
                .number(Id::Backlog, 1..=INT_MAX, "a number of connections")?
                .unwrap_or(default.backlog),
            requests_per_turn: self
                .raw
                .number(Id::RequestsPerTurn, 1..=INT_MAX, "a number of requests")?
                .unwrap_or(default.requests_per_turn),
            verbosity: self
                .raw
                .number(Id::Verbose, 0..=VERBOSITY_MAX, "a level")?
                .unwrap_or(default.verbosity),
            flush_enabled: !self.raw.is_on(Id::NoFlush),
            watch_enabled: !self.raw.is_on(Id::NoWatch),
            dump_enabled: !self.raw.is_on(Id::NoDump),
            listing_longest: default.listing_longest,
            shutdown_enabled: self.raw.is_on(Id::Shutdown),
            cas_enabled: !self.raw.is_on(Id::NoCas),
            connections_refused_fast: extended
                .refuse_fast
                .unwrap_or(default.connections_refused_fast),
            idle_timeout_seconds: extended
                .idle_timeout_seconds
                .unwrap_or(default.idle_timeout_seconds),
            request_timeout_seconds: self
                .request_timeout()?
                .unwrap_or(default.request_timeout_seconds),
            // The file is read by whoever serves.
            accounts: None,
            tls,
            // As these files are.
            certificates: None,
            sasl: self.raw.is_on(Id::Sasl),
            protocol: self.protocol()?,
            prefix_delimiter: self.prefix_delimiter()?.unwrap_or(default.prefix_delimiter),
            prefixes_counted: self.raw.has(Id::PrefixDelimiter),
            parts: extended.parts,
        })
    }

    fn protocol(&self) -> Result<Protocol, Error> {
        let Some(written) = self.raw.last(Id::Protocol) else { return Ok(Protocol::Auto) };
        match written.utf8()? {
            "auto" => Ok(Protocol::Auto),
            "ascii" => Ok(Protocol::Ascii),
            "binary" => Ok(Protocol::Binary),
            _ => Err(written.wrong("auto, ascii or binary")),
        }
    }

    fn request_timeout(&self) -> Result<Option<u32>, Error> {
        let Some(written) = self.raw.last(Id::RequestTimeout) else { return Ok(None) };
        let seconds = units::seconds(written.utf8()?).map(u32::try_from);
        match seconds {
            Some(Ok(seconds)) => Ok(Some(seconds)),
            _ => Err(written.wrong("a time such as 90, 90s or 15m, or 0 for any time")),
        }
    }

    fn prefix_delimiter(&self) -> Result<Option<u8>, Error> {
        let Some(written) = self.raw.last(Id::PrefixDelimiter) else {
            return Ok(None);
        };
        match written.utf8()?.as_bytes() {
            [byte] if byte.is_ascii_graphic() => Ok(Some(*byte)),
            _ => Err(written.wrong("one character that stands in keys, such as :")),
        }
    }

    /// The default follows the machine; an explicit number is taken as it is.
    fn threads(&self) -> Result<usize, Error> {
        let most = limits::THREADS_MAX as u64;
        let given = self.raw.number(Id::Threads, 1..=most, "a number of threads")?;
        Ok(given.unwrap_or(limits::THREADS_DEFAULT.min(self.facts.cores.max(1))))
    }

    fn extended(&mut self) -> Result<Extended, Error> {
        let mut extended = Extended::default();
        for written in self.raw.all(Id::Extended) {
            let mut inert = Vec::new();
            extended::read(written.utf8()?, &mut extended, &mut inert)
                .map_err(|fault| extended_fault(written, &fault))?;
            if !inert.is_empty() {
                let names = inert.join(", ");
                self.said.remarks.push(format!("-o {names} has no effect here"));
            }
        }
        Ok(extended)
    }

    /// Where certificates are, if there is to be TLS.
    fn tls(&mut self, said: extended::Tls) -> Result<Option<TlsFiles>, Error> {
        let name = said.said();
        let written = self.raw.last(Id::Tls).filter(|_| self.raw.is_on(Id::Tls));
        let Some(written) = written else {
            let extended = name.zip(self.raw.last(Id::Extended));
            return extended.map_or(Ok(None), |(name, extended)| {
                let why = "is for TLS, which is off, so everything would be sent in the clear; \
                           give --enable-ssl (-Z), too, or leave it out";
                Err(extended_fault(extended, &extended::Fault::Refused(name, why)))
            });
        };
        let files = said.files().ok_or_else(|| {
            let subject = written.subject();
            let needs = "needs a certificate; give -o ssl_chain_cert=FILE,ssl_key=FILE";
            written.error(format!("{subject} {needs}"))
        })?;
        if files.verify != Verify::Nothing && files.authorities.is_none() {
            let why = "-o ssl_verify_mode needs to know whose certificates are good; \
                       give ssl_ca_cert=FILE, too";
            return Err(self.raw.last(Id::Extended).unwrap_or(written).error(why.to_owned()));
        }
        if files.verify == Verify::Nothing && files.authorities.is_some() {
            let why = "-o ssl_ca_cert has no effect: ssl_verify_mode is 0";
            self.said.warnings.push(why.to_owned());
        }
        Ok(Some(files))
    }

    fn listen(&mut self, tls: bool) -> Result<Vec<Listen>, Error> {
        let port = self.port()?;
        let unix = self.unix()?;
        let addresses = match port {
            Some(port) if unix.is_none() => self.addresses(port, tls)?,
            _ => Vec::new(),
        };
        if unix.is_some() && port.is_some() {
            self.without_effect(&[Id::Port, Id::Listen], "a Unix socket turns TCP off");
        }
        if unix.is_some() {
            self.without_effect(&[Id::Tls], "a Unix socket turns TCP off, and has no TLS");
        }
        if unix.is_none() {
            self.without_effect(&[Id::UnixMask], "there is no --unix-socket (-s)");
            if addresses.is_empty() {
                self.said.warnings.push("nothing listens: --port (-p) is 0".to_owned());
            }
        }
        Ok(addresses.into_iter().chain(unix).collect())
    }

    fn without_effect(&mut self, ids: &[Id], reason: &str) {
        for id in ids.iter().filter(|id| self.raw.has(**id)) {
            self.said.warnings.push(format!("{} has no effect: {reason}", id.row()));
        }
    }

    /// None where there is to be no TCP, 0 for a free port.
    fn port(&self) -> Result<Option<u16>, Error> {
        let Some(written) = self.raw.last(Id::Port) else {
            return Ok(Some(limits::PORT_DEFAULT));
        };
        let text = written.utf8()?;
        match units::number(text).map(u16::try_from) {
            Some(Ok(0)) => Ok(None),
            Some(Ok(port)) => Ok(Some(port)),
            None if text == "-1" => Ok(Some(0)),
            _ => {
                Err(written.wrong("a port from 1 to 65535, or 0 for no TCP, or -1 for a free port"))
            }
        }
    }

    fn addresses(&self, port: u16, tls: bool) -> Result<Vec<Listen>, Error> {
        let mut addresses: Vec<Listen> = Vec::new();
        for written in self.raw.all(Id::Listen) {
            let found = listen::places(written.utf8()?, port, self.facts.resolve)
                .map_err(|fault| host_fault(written, &fault))?;
            for (address, is_plain) in found {
                if is_plain && !tls {
                    let needs = "an address without notls:, as --enable-ssl (-Z) is off";
                    return Err(written.wrong(needs));
                }
                let listen = if tls && !is_plain { Listen::Tls } else { Listen::Tcp }(address);
                if !addresses.contains(&listen) {
                    addresses.push(listen);
                }
            }
        }
        if !self.raw.has(Id::Listen) {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            addresses.push(if tls { Listen::Tls(address) } else { Listen::Tcp(address) });
        }
        Ok(addresses)
    }

    /// Nothing where it is not asked for. All addresses of a name: `localhost` may be two.
    fn http(&self) -> Result<Vec<SocketAddr>, Error> {
        let Some(written) = self.raw.last(Id::Http) else {
            return Ok(Vec::new());
        };
        let text = written.utf8()?;
        // The system would take a bare number for an address.
        if text.contains([',', ';']) || units::number(text).is_some() {
            return Err(written.wrong(HTTP_FORM));
        }
        listen::addresses(text, limits::HTTP_PORT_DEFAULT, self.facts.resolve).map_err(|fault| {
            match fault {
                listen::Fault::Form => written.wrong(HTTP_FORM),
                fault @ listen::Fault::Unknown { .. } => host_fault(written, &fault),
            }
        })
    }

    /// A port is for items or for web clients.
    fn check_ports(&self, listen: &[Listen], http: &[SocketAddr]) -> Result<(), Error> {
        let clash = |one: &SocketAddr, other: &SocketAddr| {
            let (ip, other_ip) = (one.ip(), other.ip());
            one.port() == other.port()
                && one.port() != 0
                && one.is_ipv4() == other.is_ipv4()
                && (ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified())
        };
        let is_taken = |http: &SocketAddr| {
            let items = |listen: &Listen| match listen {
                Listen::Tcp(items) | Listen::Tls(items) => clash(items, http),
                Listen::Unix { .. } => false,
            };
            listen.iter().any(items)
        };
        match self.raw.last(Id::Http) {
            Some(written) if http.iter().any(is_taken) => {
                Err(written.wrong("another port, as items are served on that one"))
            }
            _ => Ok(()),
        }
    }

    fn unix(&self) -> Result<Option<Listen>, Error> {
        let mode = match self.raw.last(Id::UnixMask) {
            Some(written) => units::mode(written.utf8()?)
                .ok_or_else(|| written.wrong("an octal mode from 0 to 777, such as 770"))?,
            None => UNIX_MODE_DEFAULT,
        };
        let Some(path) = self.raw.path(Id::UnixSocket)? else {
            return Ok(None);
        };
        if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX
            && let Some(written) = self.raw.last(Id::UnixSocket)
        {
            return Err(written.wrong(format!("a path of at most {SOCKET_PATH_BYTES_MAX} bytes")));
        }
        Ok(Some(Listen::Unix { path, mode }))
    }
}

fn host_fault(written: &Written, fault: &listen::Fault) -> Error {
    match fault {
        listen::Fault::Form => written.wrong(listen::FORM),
        listen::Fault::Unknown { host, cause } => Error {
            blame: Blame::Resolver,
            message: format!(
                "{} cannot be {}, as no address was found for {host:?}: {cause}; \
                 check the name, or give an address",
                written.subject(),
                quoted(&written.text),
            ),
        },
    }
}

fn extended_fault(written: &Written, fault: &extended::Fault<'_>) -> Error {
    let subject = match written.origin {
        Origin::CommandLine => "-o".to_owned(),
        _ => written.subject(),
    };
    written.error(match fault {
        extended::Fault::Unknown(name) => {
            format!("{subject} {name:?} is not known; give names that memcached 1.6 knows")
        }
        extended::Fault::Refused(name, reason) => format!("{subject} {name} {reason}"),
        extended::Fault::Value(word, takes) => {
            format!("{subject} {word:?} has a wrong value; give {takes}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::{facts, message, raw, settings};

    #[test]
    fn where_it_listens() {
        let cases = [
            ("", "127.0.0.1:60000"),
            ("-p 11211", "127.0.0.1:11211"),
            ("-p -1", "127.0.0.1:0"),
            ("-p 0", ""),
            ("-p 0 -l 127.0.0.1:80", ""),
            ("-l 10.0.0.1", "10.0.0.1:60000"),
            ("-l 10.0.0.1 -p 80", "10.0.0.1:80"),
            ("-l 10.0.0.1:81,[::1]:82 -l localhost -p 80", "10.0.0.1:81 [::1]:82 127.0.0.1:80"),
            ("-l 10.0.0.1,10.0.0.1", "10.0.0.1:60000"),
            ("-l * -p -1", "0.0.0.0:0 [::]:0"),
            ("-s /run/x", "/run/x 700"),
            ("-s /run/x -a 0770", "/run/x 770"),
            ("-s /run/x -p 11211 -l *", "/run/x 700"),
            ("-Z -o ssl_chain_cert=/c", "tls 127.0.0.1:60000"),
            (
                "-Z -o ssl_chain_cert=/c,ssl_key=/k -l notls:10.0.0.1:81,10.0.0.2",
                "10.0.0.1:81 tls 10.0.0.2:60000",
            ),
            ("-Z -o ssl_chain_cert=/c -s /run/x", "/run/x 700"),
        ];
        for (words, expected) in cases {
            let found: Vec<String> = settings(words)
                .server
                .listen
                .iter()
                .map(|listen| match listen {
                    Listen::Tcp(address) => address.to_string(),
                    Listen::Tls(address) => format!("tls {address}"),
                    Listen::Unix { path, mode } => format!("{} {mode:o}", path.display()),
                })
                .collect();
            assert_eq!(found.join(" "), expected, "{words}");
        }
    }

    #[test]
    fn where_http_is_served() {
        let cases = [
            ("", ""),
            ("--http 127.0.0.1", "127.0.0.1:60080"),
            ("--http 127.0.0.1:0", "127.0.0.1:0"),
            ("--http [::1]:80", "[::1]:80"),
            ("--http ::1", "[::1]:60080"),
            ("--http localhost:9", "127.0.0.1:9"),
            ("--http 10.0.0.1 --http *:81", "0.0.0.0:81 [::]:81"),
            ("--http 10.0.0.1:60000", "10.0.0.1:60000"),
            ("--http [::]:60000", "[::]:60000"),
            ("-p 0 --http 127.0.0.1:60000", "127.0.0.1:60000"),
            ("-s /x --http 127.0.0.1:60000", "127.0.0.1:60000"),
            ("-p -1 --http 127.0.0.1:0", "127.0.0.1:0"),
        ];
        for (words, expected) in cases {
            let found: Vec<_> =
                settings(words).server.http.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{words}");
        }
    }

    #[test]
    fn numbers_and_switches() {
        let plain = settings("").server;
        assert_eq!((plain.threads, plain.verbosity, plain.idle_timeout_seconds), (4, 0, 0));
        assert!(
            plain.flush_enabled
                && plain.dump_enabled
                && plain.cas_enabled
                && plain.connections_refused_fast
        );
        assert!(!plain.shutdown_enabled);

        let words = "-t 64 -c 5 -b 6 -R 7 -vv -v -FXACM -o no_maxconns_fast,idle_timeout=9";
        let server = settings(words).server;
        assert_eq!((server.threads, server.connections_max, server.backlog), (64, 5, 6));
        assert_eq!((server.requests_per_turn, server.verbosity), (7, 3));
        assert_eq!(server.idle_timeout_seconds, 9);
        assert_eq!((plain.request_timeout_seconds, server.request_timeout_seconds), (60, 60));
        for (text, seconds) in [("0", 0), ("7", 7), ("2m", 120)] {
            let server = settings(&format!("--request-timeout {text}")).server;
            assert_eq!(server.request_timeout_seconds, seconds);
        }
        assert!(!server.flush_enabled && !server.cas_enabled && !server.connections_refused_fast);
        assert!(server.shutdown_enabled && !server.dump_enabled);
    }

    #[test]
    fn only_the_default_of_threads_follows_the_cores() {
        for (cores, words, threads) in [(1, "", 1), (2, "", 2), (64, "", 4), (1, "-t 8", 8)] {
            let facts = Facts { cores, ..facts() };
            let (options, _) = options(&raw(words), &facts).expect("options");
            assert_eq!(options.threads, threads, "{cores} cores, {words:?}");
        }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let cases = [
            ("", 0),
            ("-s /run/x -a 770", 0),
            ("-s /run/x -p 0", 0),
            ("-s /run/x -p 1 -l *", 2),
            ("-a 770", 1),
            ("-p 0", 1),
            ("-o modern,hashpower=20,maxconns_fast", 0),
        ];
        for (words, lines) in cases {
            let (_, Said { warnings, .. }) = options(&raw(words), &facts()).expect("options");
            assert_eq!(warnings.len(), lines, "{words}: {warnings:?}");
        }
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_would_do() {
        let threads = "give a number of threads from 1 to 64";
        let clients = "give a number of clients from 1 to 1048576";
        let port = "give a port from 1 to 65535, or 0 for no TCP, or -1 for a free port";
        let address = "give host, host:port, [v6]:port or *";
        let mode = "give an octal mode from 0 to 777";
        let time = "give idle_timeout=N with a number of seconds";
        let path = "x".repeat(SOCKET_PATH_BYTES_MAX + 1);
        let cases = [
            ("-t 0", "--threads (-t) cannot be \"0\"", threads),
            ("-t 65", "--threads (-t) cannot be \"65\"", threads),
            ("--threads=-1", "--threads (-t) cannot be \"-1\"", threads),
            ("-t four", "--threads (-t) cannot be \"four\"", threads),
            ("-c 0", "--conn-limit (-c) cannot be \"0\"", clients),
            ("-c -1", "--conn-limit (-c) cannot be \"-1\"", clients),
            ("-c 1048577", "--conn-limit (-c) cannot be \"1048577\"", clients),
            ("-p 65536", "--port (-p) cannot be \"65536\"", port),
            ("-p -2", "--port (-p) cannot be \"-2\"", port),
            ("-p x", "--port (-p) cannot be \"x\"", port),
            ("-p \"\"", "--port (-p) cannot be \"\"", port),
            ("-R 0", "--max-reqs-per-event (-R) cannot be \"0\"", "from 1 to 2147483647"),
            ("-b 0", "--listen-backlog (-b) cannot be \"0\"", "from 1 to 2147483647"),
            ("-a 799", "--unix-mask (-a) cannot be \"799\"", mode),
            ("-s \"\"", "--unix-socket (-s) cannot be \"\"", "give the path of a file"),
            (&format!("-s {path}"), "--unix-socket (-s) cannot be ", "at most 103 bytes"),
            ("-l 127.0.0.1:x", "--listen (-l) cannot be \"127.0.0.1:x\"", address),
            ("-l \"\"", "--listen (-l) cannot be \"\"", address),
            ("--http 60080", "--http cannot be \"60080\"", "such as 127.0.0.1:60080"),
            ("--http :60080", "--http cannot be \":60080\"", "such as 127.0.0.1:60080"),
            ("--http h:x", "--http cannot be \"h:x\"", "such as 127.0.0.1:60080"),
            ("--http 10.0.0.1,10.0.0.2", "--http cannot be ", "give one host"),
            ("--http 127.0.0.1:60000", "--http cannot be \"127.0.0.1:60000\"", "another port"),
            ("--http *:9 -l 10.0.0.1:9", "--http cannot be \"*:9\"", "another port"),
            ("-l * --http 10.0.0.1:60000", "--http cannot be", "another port"),
            ("--http fooble", "--http cannot be \"fooble\"", "check the name"),
            ("-l fooble", "--listen (-l) cannot be \"fooble\"", "check the name"),
            ("--request-timeout x", "--request-timeout cannot be \"x\"", "give a time such as 90"),
            ("--request-timeout 9999999999", "--request-timeout cannot be", "or 0 for any time"),
            ("-o fooble", "-o \"fooble\" is not known", "give names"),
            ("-o idle_timeout=x", "-o \"idle_timeout=x\" has a wrong value", time),
            ("-o hashpower=x", "-o \"hashpower=x\" has a wrong value", "from 12 to 32"),
            ("-D ::", "--prefix-delimiter (-D) cannot be \"::\"", "give one character"),
            ("-D \"\"", "--prefix-delimiter (-D) cannot be \"\"", "give one character"),
            ("-o ssl_key=x", "-o ssl_key is for TLS, which is off", "leave it out"),
            ("-o ssl_ciphers=x", "-o ssl_ciphers names ciphers", "leave it out"),
            ("-Z", "--enable-ssl (-Z) needs a certificate", "ssl_key=FILE"),
            (
                "-Z -o ssl_chain_cert=/c,ssl_verify_mode=1",
                "-o ssl_verify_mode needs to know",
                "give ssl_ca_cert",
            ),
            (
                "-Z -o ssl_chain_cert=/c,ssl_min_version=1",
                "-o ssl_min_version allows TLS 1.0",
                "give 2",
            ),
            ("-l notls:10.0.0.1", "--listen (-l) cannot be \"notls:10.0.0.1\"", "without notls"),
        ];
        for (words, beginning, remedy) in cases {
            let message = message(words);
            assert!(message.starts_with(beginning), "{words}: {message}");
            let (_, advice) = message.split_once("; ").expect("what to do");
            assert!(advice.contains(remedy), "{words}: {message}");
        }
    }
}
