//! `litecached serve`: from settings to a daemon, and to its end.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::User;

use crate::cli::accounts;
use crate::cli::reload::Reload;
use crate::cli::signals::Watch;
use crate::cli::{Exit, Failure};
use crate::clock::Clock;
use crate::config::{Id, Layers, Settings, Shown};
use crate::server::{self, Certificates, Listeners, Server, StartError, TlsError, notify};
use crate::store::{self, OpenError, Store};

/// Serves until a signal or a client's `shutdown` ends it. `running` is what `layers` say now.
pub(crate) fn serve(
    signals: Watch,
    settings: &Settings,
    layers: Layers,
    running: Vec<Shown>,
) -> Result<(), Failure> {
    end_on_panic();
    // Privileged ports are bound before the privilege is given up, files are made after.
    let listeners = Listeners::open(&settings.server)?;
    raise_open_files(settings.server.connections_max)?;
    if let Some(user) = &settings.user {
        become_user(user, &listeners)?;
    }
    // As the user who will read it again.
    let options = server::Options {
        accounts: accounts::read(settings)?.map(accounts::tell).inspect(|accounts| {
            log::info!("users of {}: {accounts}", Id::AuthFile.row());
        }),
        certificates: certificates(&settings.server)?.map(Arc::new),
        ..settings.server.clone()
    };
    if listeners.are_inherited() {
        log::info!("serving the sockets that were handed over; -p, -l and -s are not used");
    }
    let unix_sockets: Vec<_> = listeners.paths().map(std::path::Path::to_owned).collect();
    let clock = Clock::system();
    notify::status(&format!("Opening {}", settings.store.path.display()));
    if let Some(bytes) = store::bytes_to_change(&settings.store.path) {
        notify::changing(bytes);
    }
    let store = Store::open_and_say(&settings.store, &clock, |bytes| {
        notify::status(&format!("Saving what can be read of {}", settings.store.path.display()));
        notify::changing(bytes);
    })?;
    store.when_failed(|_| {
        // Whatever was acknowledged is in the database; nothing that was not is to be answered.
        std::process::exit(Exit::Io as i32);
    });
    let server = Server::serve(listeners, &options, Arc::clone(&store), clock)?;
    let reload =
        Reload { layers, running, server: server.reload_handle(), store: Arc::downgrade(&store) };
    signals.serves(server.stop_handle(), reload)?;
    // What has to be removed again is made when every end comes by there.
    let pid_file = settings.pid_file.as_deref().map(PidFile::write).transpose()?;
    for address in server.addresses() {
        log::info!("listening on {address}");
    }
    for address in server.http_addresses() {
        log::info!("metrics and health on http://{address}/");
    }
    for path in &unix_sockets {
        log::info!("listening on {}", path.display());
    }
    if let Some(place) = place(&server, &unix_sockets) {
        store.announce(&place);
    }
    log::info!(
        "database {}, durability {}",
        settings.store.path.display(),
        settings.store.durability.name()
    );
    if let Some(path) = &settings.port_file {
        write_ports(path, &server)?;
    }
    server.announce()?;
    server.wait();
    log::info!("stopping");
    notify::stopping();
    server.stop();
    drop(server);
    store.close();
    drop(pid_file);
    Ok(())
}

/// What TLS shows and asks for, if there is to be TLS.
pub(super) fn certificates(options: &server::Options) -> Result<Option<Certificates>, Failure> {
    Ok(options.tls.as_ref().map(Certificates::read).transpose()?)
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let exit = match &error {
            TlsError::Unreadable { error, .. } => match error.kind() {
                ErrorKind::NotFound => Exit::NoInput,
                ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Io,
            },
            TlsError::Unfit { .. } | TlsError::Mismatch { .. } => Exit::Configuration,
        };
        Self::new(exit, error.to_string())
    }
}

/// Where a tool on this machine reaches it.
fn place(server: &Server, unix_sockets: &[PathBuf]) -> Option<String> {
    let local = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => *address,
    };
    let tcp = server.addresses().iter().map(|address| local(address).to_string()).next();
    let unix = || unix_sockets.first().map(|path| format!("unix:{}", path.display()));
    tcp.or_else(unix)
}

/// A thread that panicked leaves a state that nobody can judge: the process ends, and is started
/// again by its supervisor.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::System(_) => Exit::System,
            StartError::NotASocket { .. } => Exit::Configuration,
            _ => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Missing { .. } => Exit::NoInput,
            OpenError::Locked { .. } | OpenError::Busy { .. } | OpenError::Disturbed { .. } => {
                Exit::Temporary
            }
            OpenError::NotADatabase { .. }
            | OpenError::Damaged { .. }
            | OpenError::NotOurs { .. }
            | OpenError::Unusable { .. }
            | OpenError::Newer { .. }
            | OpenError::Older { .. }
            | OpenError::Empty { .. }
            | OpenError::Unfinished { .. } => Exit::Data,
            OpenError::Network { .. } => Exit::Configuration,
            OpenError::CannotCreate { .. }
            | OpenError::Directory { .. }
            | OpenError::PartOfDatabase { .. } => Exit::CannotCreate,
            OpenError::NotWritable { .. } | OpenError::NotReadable { .. } => Exit::Permission,
            OpenError::OldSqlite { .. } => Exit::System,
            OpenError::NotSaved { .. } => Exit::CannotCreate,
            OpenError::Failed { .. } => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}

/// Descriptors beside one per client: database, sockets, epoll.
const OPEN_FILES_BESIDE: u64 = 128;

/// Sees that as many clients as `-c` allows can be accepted.
pub(super) fn raise_open_files(connections_max: usize) -> Result<(), Failure> {
    let wanted = connections_max as u64 + OPEN_FILES_BESIDE;
    let refused = |error: nix::Error| {
        let what =
            format!("the limit of open files cannot be read or raised: {error}; see ulimit -n");
        Failure::new(Exit::System, what)
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(refused)?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        let what = format!(
            "{connections_max} connections need {wanted} open files, and {hard} are allowed; raise \
             the limit (LimitNOFILE=, ulimit -Hn), or ask for fewer with -c"
        );
        // Only somebody can mend that: a supervisor need not try again.
        return Err(Failure::new(Exit::Configuration, what));
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_err(refused)
}

fn not_user(name: &str, why: &str) -> Failure {
    Failure::new(Exit::Permission, format!("cannot become user {name}: {why}; see -u"))
}

/// The user of `-u`.
pub(super) fn user_named(name: &str) -> Result<User, Failure> {
    User::from_name(name)
        .map_err(|error| not_user(name, &error.to_string()))?
        .ok_or_else(|| not_user(name, "there is no such user"))
}

fn become_user(name: &str, listeners: &Listeners) -> Result<(), Failure> {
    let refused = |why: String| not_user(name, &why);
    let user = user_named(name)?;
    for path in listeners.own_paths() {
        nix::unistd::chown(path, Some(user.uid), Some(user.gid))
            .map_err(|error| refused(format!("{}: {error}", path.display())))?;
    }
    nix::unistd::setgroups(&[user.gid])
        .and_then(|()| nix::unistd::setgid(user.gid))
        .and_then(|()| nix::unistd::setuid(user.uid))
        .map_err(|error| refused(error.to_string()))
}

/// `-P`: removed again at the end.
struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    fn write(path: &'a Path) -> Result<Self, Failure> {
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(|error| {
            let what = format!("cannot write {}: {error}; see -P", path.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(self.0) {
            log::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

/// `MEMCACHED_PORT_FILENAME`: appears whole or not at all.
fn write_ports(path: &Path, server: &Server) -> Result<(), Failure> {
    let mut lines = String::new();
    let tcp = server.addresses().iter().map(|address| ("TCP ", address));
    // memcached has no such line; its readers look for those they know.
    let http = server.http_addresses().iter().map(|address| ("HTTP ", address));
    for (what, address) in tcp.chain(http) {
        let family = if address.is_ipv6() { "INET6" } else { "INET" };
        lines.push_str(what);
        lines.push_str(family);
        lines.push_str(": ");
        lines.push_str(&address.port().to_string());
        lines.push('\n');
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".lck");
    std::fs::write(&unfinished, lines).and_then(|()| std::fs::rename(&unfinished, path)).map_err(
        |error| {
            let what =
                format!("cannot write {}: {error}; see MEMCACHED_PORT_FILENAME", path.display());
            Failure::new(Exit::CannotCreate, what)
        },
    )
}
