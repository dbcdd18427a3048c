//! Where it listens: the sockets that a service manager hands over, else every address of the options,
//! or a reason that says what to do.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::clock::Stamp;
use crate::server::connection::Address;
use crate::server::{Listen, Options};

/// How long an address may be in use with nobody listening there.
const RETRY_FOR: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// Somebody listens there.
    Taken { address: String },
    /// The address is in use although nobody listens there: most likely a client connected to itself.
    SelfConnected { address: SocketAddr },
    /// The same two for `--http`: somebody listens there, or it cannot be had.
    HttpTaken { address: String },
    /// See `HttpTaken`.
    HttpUnavailable { address: String, error: io::Error },
    /// Not an address of this machine, or a port that needs a privilege.
    Unavailable { address: String, error: io::Error },
    /// Something other than a listening stream socket was handed over.
    NotASocket { number: usize, error: io::Error },
    /// The system refused something it should give.
    System(io::Error),
}

impl StartError {
    pub(super) fn system(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl std::error::Error for StartError {}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken { address } => write!(
                f,
                "cannot listen on {address}: another program listens there; stop it, or choose \
                 another port with -p"
            ),
            Self::SelfConnected { address } => write!(
                f,
                "cannot listen on {address}: the port is in use though nobody listens on it, most \
                 likely by a client that connected to itself while it retried; end that client, or \
                 reserve the port: sysctl net.ipv4.ip_local_reserved_ports={}",
                address.port()
            ),
            Self::HttpTaken { address } => write!(
                f,
                "cannot serve HTTP on {address}: another program listens there; stop it, or choose \
                 another port with --http ADDR:PORT"
            ),
            Self::HttpUnavailable { address, error } => write!(
                f,
                "cannot serve HTTP on {address}: {error}; choose an address of this machine and a \
                 port from 1024 on with --http ADDR:PORT"
            ),
            Self::Unavailable { address, error } if address.contains('/') => {
                write!(f, "cannot listen on {address}: {error}; choose another path with -s")
            }
            Self::Unavailable { address, error } => write!(
                f,
                "cannot listen on {address}: {error}; choose an address of this machine with -l \
                 and a port from 1024 on with -p"
            ),
            Self::NotASocket { number, error } => write!(
                f,
                "socket {number} of those handed over cannot be served: {error}; see ListenStream= \
                 in the socket unit"
            ),
            Self::System(error) => write!(
                f,
                "the system refused a thread or a descriptor: {error}; raise its limits (ulimit)"
            ),
        }
    }
}

/// Sockets that listen.
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Vec<Tcp>,
    pub(super) unix: Vec<Unix>,
    addresses: Vec<SocketAddr>,
    pub(super) http: Vec<TcpListener>,
    inherited: bool,
}

/// A TCP socket that listens, and whether its clients speak TLS.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) listener: TcpListener,
    pub(super) is_tls: bool,
}

/// A Unix socket that listens.
#[derive(Debug)]
pub(super) struct Unix {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
}

/// Sockets by this name (`FileDescriptorName=`) are for web clients, as with `--http`.
const HTTP: &str = "http";

/// Sockets by this name are without TLS where there is TLS, as with `-l notls:`.
const NO_TLS: &str = "notls";

impl Listeners {
    /// The sockets that a service manager handed over, else all addresses of `options`. Those for
    /// items and those for metrics are each handed over or not.
    ///
    /// # Errors
    ///
    /// Something that is no socket was handed over; else as in [`Listeners::bind`].
    pub fn open(options: &Options) -> Result<Self, StartError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = Self::inherit(ListenFd::from_env(), &names, options.tls.is_some())?;
        if given.http.is_empty() {
            given.http = bind_http(&options.http)?;
        }
        if given.tcp.is_empty() && given.unix.is_empty() {
            return Self::bind_items(options, given.http);
        }
        given.inherited = true;
        Ok(given)
    }

    /// Takes what was handed over. `names` are separated by colons.
    fn inherit(mut handed: ListenFd, names: &str, tls: bool) -> Result<Self, StartError> {
        let mut listeners = Self::none();
        let mut names = names.split(':');
        for number in 0..handed.len() {
            let name = names.next();
            let is_tls = tls && name != Some(NO_TLS);
            let refused = |error| StartError::NotASocket { number, error };
            let taken = listeners.take(&mut handed, number, name == Some(HTTP), is_tls);
            taken.map_err(refused)?;
        }
        Ok(listeners)
    }

    fn take(
        &mut self,
        handed: &mut ListenFd,
        number: usize,
        is_http: bool,
        is_tls: bool,
    ) -> io::Result<()> {
        // Looking at it as the wrong kind of socket is refused and changes nothing.
        if !is_http && let Ok(Some(listener)) = handed.take_unix_listener(number) {
            check_listens(&listener)?;
            listener.set_nonblocking(true)?;
            let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
            let path = path.ok_or_else(|| io::Error::other("a Unix socket without a path"))?;
            self.unix.push(Unix { listener, path });
        } else if let Some(listener) = handed.take_tcp_listener(number)? {
            check_listens(&listener)?;
            listener.set_nonblocking(true)?;
            if is_http {
                self.http.push(listener);
            } else {
                self.addresses.push(listener.local_addr()?);
                self.tcp.push(Tcp { listener, is_tls });
            }
        }
        Ok(())
    }

    fn none() -> Self {
        let (tcp, unix, addresses, http) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { tcp, unix, addresses, http, inherited: false }
    }

    /// Binds all addresses of `options`.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound. Where a port is in use with nobody listening, five
    /// seconds pass before that is an error.
    pub fn bind(options: &Options) -> Result<Self, StartError> {
        Self::bind_items(options, bind_http(&options.http)?)
    }

    fn bind_items(options: &Options, http: Vec<TcpListener>) -> Result<Self, StartError> {
        let mut listeners = Self { http, ..Self::none() };
        for listen in &options.listen {
            match listen {
                Listen::Tcp(address) | Listen::Tls(address) => {
                    let listener = patiently(*address, options.backlog)?;
                    listeners.addresses.push(listener.local_addr().map_err(StartError::System)?);
                    let is_tls = matches!(listen, Listen::Tls(_));
                    listeners.tcp.push(Tcp { listener, is_tls });
                }
                Listen::Unix { path, mode } => {
                    let listener = bind_unix(path, *mode, options.backlog).map_err(|error| {
                        let address = path.display().to_string();
                        match error.kind() {
                            io::ErrorKind::AddrInUse => StartError::Taken { address },
                            _ => StartError::Unavailable { address, error },
                        }
                    })?;
                    listeners.unix.push(Unix { listener, path: path.clone() });
                }
            }
        }
        Ok(listeners)
    }

    /// The TCP addresses, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The Unix sockets' paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.unix.iter().map(|unix| unix.path.as_path())
    }

    /// Those of them that are ours to change and remove: not what was handed over.
    pub fn own_paths(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|_| !self.inherited)
    }

    /// Whether they were handed over, and no address of the options is in use.
    pub fn are_inherited(&self) -> bool {
        self.inherited
    }

    pub(super) fn bound(&self) -> Vec<Address> {
        let tcp = self.addresses.iter().map(|address| Address::Tcp(*address));
        tcp.chain(self.paths().map(|path| Address::Unix(path.to_owned()))).collect()
    }
}

/// What was bound and does not listen would be accepted from in vain.
fn check_listens(socket: &impl AsFd) -> io::Result<()> {
    if SockRef::from(socket).is_listener()? {
        Ok(())
    } else {
        Err(io::Error::other("it does not listen"))
    }
}

/// Web clients are few: a short queue will do.
const HTTP_BACKLOG: u32 = 64;

fn bind_http(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let bind = |&address: &SocketAddr| {
        patiently(address, HTTP_BACKLOG).map_err(|error| match error {
            StartError::Taken { address } => StartError::HttpTaken { address },
            StartError::Unavailable { address, error } => {
                StartError::HttpUnavailable { address, error }
            }
            other => other,
        })
    };
    addresses.iter().map(bind).collect()
}

/// Binds a TCP address, giving a port that is only left over from something a few seconds.
fn patiently(address: SocketAddr, backlog: u32) -> Result<TcpListener, StartError> {
    let since = Stamp::now();
    loop {
        match bind_tcp(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if somebody_listens(address) {
                    return Err(StartError::Taken { address: address.to_string() });
                }
                if since.elapsed() >= RETRY_FOR {
                    return Err(StartError::SelfConnected { address });
                }
                #[allow(clippy::disallowed_methods, reason = "nothing tells when a port is free")]
                std::thread::sleep(RETRY_EVERY);
            }
            Err(error) => {
                return Err(StartError::Unavailable { address: address.to_string(), error });
            }
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What an earlier daemon's connections left behind does not keep the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Whether a connection to the address is answered, and not by ourselves: on loopback a client may be
/// given the very port it connects to.
fn somebody_listens(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else {
        return false;
    };
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local != peer,
        _ => false,
    }
}

/// Whether a connection is refused. One that is accepted or has to wait shows that somebody is there.
fn is_left_over(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let result = socket.connect(&SockAddr::unix(path)?);
    Ok(result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn bind_unix(path: &Path, mode: u32, backlog: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("a file that is no socket is in the way"));
        }
        // A socket that nobody answers on was left by a daemon that was killed.
        Ok(_) if is_left_over(path)? => std::fs::remove_file(path)?,
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}
