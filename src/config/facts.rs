//! What the settings need to know of this process and machine.
//!
//! Gathered once, here, and passed in: judging the settings asks nobody else.

use std::env;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::thread;

use super::listen::Resolve;

/// The facts.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Cores that this process may use, 1 or more.
    pub(crate) cores: usize,
    /// Whether it was started as root.
    pub(crate) is_root: bool,
    /// The first directory of `$STATE_DIRECTORY`, which systemd sets.
    pub(crate) state_directory: Option<PathBuf>,
    /// `$LITECACHED_DB`: what the tools work on unless told otherwise, as serving does.
    pub(crate) database: Option<PathBuf>,
    /// Where relative paths begin; none if it was removed.
    pub(crate) working_directory: Option<PathBuf>,
    /// `$MEMCACHED_PORT_FILENAME`: a file for the ports that were bound.
    pub(crate) port_file: Option<PathBuf>,
    /// A host's addresses that can be used here; of no host, the addresses that stand for every
    /// interface.
    pub(crate) resolve: Resolve,
}

impl Facts {
    /// The facts of this process.
    pub(crate) fn gather() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            is_root: nix::unistd::geteuid().is_root(),
            state_directory: path("STATE_DIRECTORY")
                .and_then(|directories| env::split_paths(&directories).next()),
            database: path("LITECACHED_DB").map(PathBuf::from),
            working_directory: env::current_dir().ok(),
            port_file: path("MEMCACHED_PORT_FILENAME").map(PathBuf::from),
            resolve,
        }
    }
}

/// IPv6 addresses count only where the machine has IPv6: `localhost` often has one all the same, and
/// binding it would fail.
fn resolve(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = match host {
        Some(host) => (host, port).to_socket_addrs()?.collect(),
        None => vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
    };
    if found.iter().any(SocketAddr::is_ipv6) && !has_ipv6() {
        found.retain(SocketAddr::is_ipv4);
    }
    Ok(found)
}

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
