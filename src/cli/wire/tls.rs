//! TLS on the way to a server: whom to trust, whom to be, and bytes through a session of rustls.
//!
//! A server that asks for TLS has to show a certificate for the name or number in its address, signed by
//! somebody trusted: there is no way to leave that out.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, InvalidMessage, RootCertStore, StreamOwned};
use socket2::Socket;

use super::interrupt;
use crate::cli::{Exit, Failure};
use crate::clock::Stamp;

/// The variable that OpenSSL's tools take the system's authorities from.
const AUTHORITIES_VARIABLE: &str = "SSL_CERT_FILE";

/// Where systems have them.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// `--tls` and what belongs to it.
pub(super) fn arguments() -> impl Iterator<Item = Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(clap::ValueHint::FilePath)
            .requires("tls")
            .help(help)
    };
    [
        Arg::new("tls").long("tls").action(ArgAction::SetTrue).help("Speak TLS with the server"),
        file("tls-ca", "Whose word on the server is taken, PEM [default: the system's]"),
        file("tls-cert", "Certificate to show to the server, PEM"),
        file("tls-key", "Its key, PEM [default: in the same file]").requires("tls-cert"),
    ]
    .into_iter()
}

/// What the flags say, if they ask for TLS.
pub(super) fn from_flags(flags: &ArgMatches) -> Result<Option<Arc<ClientConfig>>, Failure> {
    if !flags.get_flag("tls") {
        return Ok(None);
    }
    let path = |name| flags.get_one::<PathBuf>(name).map(PathBuf::as_path);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_root_certificates(authorities(path("tls-ca"))?);
    let Some(shown) = path("tls-cert") else {
        return Ok(Some(Arc::new(builder.with_no_client_auth())));
    };
    let chain = certificates(shown, "--tls-cert")?;
    let key = path("tls-key").unwrap_or(shown);
    // The reason might quote what is there.
    let private = PrivateKeyDer::from_pem_file(key).map_err(|_| {
        unfit(key, "there is no private key in PEM without a pass phrase", "--tls-key")
    })?;
    let config = builder.with_client_auth_cert(chain, private);
    let config = config.map_err(|error| unfit(key, &error.to_string(), "--tls-key"))?;
    Ok(Some(Arc::new(config)))
}

fn authorities(given: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = given {
        for root in certificates(path, "--tls-ca")? {
            roots.add(root).map_err(|error| unfit(path, &error.to_string(), "--tls-ca"))?;
        }
        return Ok(roots);
    }
    let named = std::env::var_os(AUTHORITIES_VARIABLE).map(PathBuf::from);
    let path =
        named.or_else(|| AUTHORITIES.map(PathBuf::from).into_iter().find(|path| path.exists()));
    let path = path.ok_or_else(|| {
        let what = "the system names nobody whose word on a server could be taken; give --tls-ca";
        Failure::new(Exit::NoInput, what)
    })?;
    // Some of a system's may be of a kind that nobody takes any more.
    roots.add_parsable_certificates(certificates(&path, "--tls-ca")?);
    Ok(roots)
}

fn certificates(path: &Path, flag: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|error| unfit(path, &error.to_string(), flag))?;
    if found.is_empty() {
        return Err(unfit(path, "there is no certificate in PEM", flag));
    }
    Ok(found)
}

fn unfit(path: &Path, why: &str, flag: &str) -> Failure {
    Failure::new(Exit::NoInput, format!("{} cannot be used: {why}; see {flag}", path.display()))
}

/// Why there is no session.
pub(super) enum Unsecured {
    /// The user did not want to wait any longer.
    GivenUp,
    Failed(String),
}

/// Whether what came was no record of TLS at all.
fn is_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// A socket, with TLS on it or without.
pub(super) enum Channel {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

impl Channel {
    /// Agrees on a session with the server of this name. The socket's time-outs say how often to look whether the
    /// user has had enough.
    pub(super) fn secured(
        mut socket: Socket,
        config: &Arc<ClientConfig>,
        host: &str,
        patience: Duration,
    ) -> Result<Self, Unsecured> {
        let failed = |error: &dyn fmt::Display| Unsecured::Failed(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let session = ClientConnection::new(Arc::clone(config), name);
        let mut session = session.map_err(|error| failed(&error))?;
        let start = Stamp::now();
        while session.is_handshaking() {
            if interrupt::is_asked() {
                return Err(Unsecured::GivenUp);
            }
            match session.complete_io(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if start.elapsed() >= patience {
                        return Err(failed(
                            &"no answer in time, see --timeout; does it speak TLS?",
                        ));
                    }
                }
                Err(error) if is_no_tls(&error) => {
                    return Err(failed(&"what it answers is none, leave out --tls"));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
