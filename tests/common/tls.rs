//! Certificates made for a test, and a tunnel that lets a client without TLS talk to a server with it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use litecached::server::{Certificates, TlsFiles, TlsVersion, Verify};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

/// Somebody whose word on others is taken, and a folder with what he has signed.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct Pair {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// One that nobody has heard of.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let mut parameters = named("authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("the folder is there");
        Self { folder, issuer: Issuer::new(parameters, key) }
    }

    /// His certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs for `localhost` and `127.0.0.1`, or for a client.
    pub fn signs(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = named(name).signed_by(&key, &self.issuer).expect("a certificate");
        let pair = Pair {
            chain: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        fs::write(&pair.chain, certificate.pem()).expect("the folder is there");
        fs::write(&pair.key, key.serialize_pem()).expect("the folder is there");
        pair
    }

    /// A server's files, which ask nothing of clients.
    pub fn files(&self, name: &str) -> TlsFiles {
        let Pair { chain, key } = self.signs(name);
        TlsFiles {
            chain,
            key,
            authorities: None,
            verify: Verify::Nothing,
            version_least: TlsVersion::V1_2,
            resumes: false,
        }
    }

    /// The same, read.
    pub fn certificates(&self, name: &str) -> Arc<Certificates> {
        let files = self.files(name);
        Arc::new(Certificates::read(&files).unwrap_or_else(|error| panic!("{error}")))
    }

    /// A client that trusts him, and shows this certificate.
    pub fn client(&self, shown: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in pem(&self.certificate()) {
            roots.add(root).expect("a root");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers")
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
                builder.with_client_auth_cert(pem(&pair.chain), key).expect("a pair")
            }
        })
    }
}

fn named(name: &str) -> CertificateParams {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn pem(path: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(path).expect("a file");
    certificates.map(|certificate| certificate.expect("PEM")).collect()
}

/// Takes connections without TLS and makes each one with TLS of it. Lasts as long as the test.
#[derive(Debug)]
pub struct Tunnel {
    port: u16,
    to: Arc<AtomicU16>,
    config: Arc<Mutex<Arc<ClientConfig>>>,
    /// The last session's certificate of the server.
    seen: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

impl Tunnel {
    /// To this port.
    pub fn to(port: u16, config: Arc<ClientConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let tunnel = Self {
            port: listener.local_addr().expect("it is bound").port(),
            to: Arc::new(AtomicU16::new(port)),
            config: Arc::new(Mutex::new(config)),
            seen: Arc::default(),
        };
        let (to, config, seen) =
            (Arc::clone(&tunnel.to), Arc::clone(&tunnel.config), Arc::clone(&tunnel.seen));
        let accept = move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let config = lock(&config).clone();
                let to = to.load(Ordering::SeqCst);
                let seen = Arc::clone(&seen);
                let carry = move || {
                    // Whatever ends it, the client sees its connection end.
                    drop(carry(&client, to, config, &seen));
                };
                thread::Builder::new().spawn(carry).expect("a thread can be had");
            }
        };
        thread::Builder::new().spawn(accept).expect("a thread can be had");
        tunnel
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// See `port`.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// From now on new connections lead there.
    pub fn leads_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// What the server showed last, in DER.
    pub fn seen(&self) -> Vec<u8> {
        lock(&self.seen).as_ref().map(|seen| seen.to_vec()).unwrap_or_default()
    }
}

/// The first certificate of a file, in DER.
pub fn der(path: &Path) -> Vec<u8> {
    pem(path)[0].to_vec()
}

fn carry(
    client: &TcpStream,
    port: u16,
    config: Arc<ClientConfig>,
    seen: &Mutex<Option<CertificateDer<'static>>>,
) -> io::Result<()> {
    const WAITING_MAX: usize = 64 << 10;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(config, name).expect("a session");
    for socket in [client, &server] {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
    }
    let mut waiting = Vec::new();
    let (mut client_ended, mut server_ended) = (false, false);
    let mut buffer = vec![0; WAITING_MAX];
    loop {
        while session.wants_write() {
            if gone_on(session.write_tls(&mut &server))?.is_none() {
                break;
            }
        }
        while !waiting.is_empty() {
            match gone_on((&mut &*client).write(&waiting))? {
                Some(count) => drop(waiting.drain(..count)),
                None => break,
            }
        }
        if server_ended && waiting.is_empty() {
            return client.shutdown(Shutdown::Both);
        }
        let mut fds = Vec::new();
        let flag = |is: bool, flag| if is { flag } else { PollFlags::empty() };
        let takes = !client_ended && !session.wants_write() && !session.is_handshaking();
        let of_client =
            flag(takes, PollFlags::POLLIN) | flag(!waiting.is_empty(), PollFlags::POLLOUT);
        let gives = !server_ended && waiting.len() < WAITING_MAX;
        let of_server =
            flag(gives, PollFlags::POLLIN) | flag(session.wants_write(), PollFlags::POLLOUT);
        // A socket with nothing to be asked would tell of its end for ever.
        for (socket, flags) in [(client, of_client), (&server, of_server)] {
            if !flags.is_empty() {
                fds.push(PollFd::new(socket.as_fd(), flags));
            }
        }
        poll(&mut fds, PollTimeout::NONE)?;
        drop(fds);
        if takes && let Some(count) = gone_on((&mut &*client).read(&mut buffer))? {
            session.writer().write_all(&buffer[..count])?;
            if count == 0 {
                client_ended = true;
                session.send_close_notify();
            }
        }
        if gives && let Some(count) = gone_on(session.read_tls(&mut &server))? {
            let was_shaking_hands = session.is_handshaking();
            let state = match session.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    drop(session.write_tls(&mut &server));
                    return Err(io::Error::other(error));
                }
            };
            if was_shaking_hands && let Some([first, ..]) = session.peer_certificates() {
                *lock(seen) = Some(first.clone().into_owned());
            }
            let from = waiting.len();
            waiting.resize(from + state.plaintext_bytes_to_read(), 0);
            session.reader().read_exact(&mut waiting[from..])?;
            server_ended = count == 0 || state.peer_has_closed();
        }
    }
}

/// None where it has to wait.
fn gone_on(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
