//! What a server's process costs: its processor time, and which process that is.
//!
//! Only for servers of this machine, by way of `/proc`; elsewhere there are no such figures.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use crate::cli::wire::Address;

/// What the kernel counts processor time in: `USER_HZ` is 100 on Linux.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process so far, with that of children it has waited for (Redis rewrites
/// its log in one).
pub(super) fn cpu_of(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    cpu_in(&stat).ok_or_else(|| format!("{path} is not as expected"))
}

/// The second field is the program's name in parentheses and may hold anything.
fn cpu_in(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let times: Vec<u32> = rest
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    (times.len() == 4).then(|| TICK * times.iter().sum::<u32>())
}

/// The process that listens at this address, if it is of this machine and may be looked at.
pub(super) fn listening_at(address: &Address) -> Option<u32> {
    let inode = match address {
        Address::Unix(path) => unix_inode(&fs::read_to_string("/proc/net/unix").ok()?, path)?,
        Address::Tcp { host, port } => {
            let mut places = (host.as_str(), *port).to_socket_addrs().ok()?;
            if !places.any(|place| place.ip().is_loopback()) {
                return None;
            }
            ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
                tcp_inode(&fs::read_to_string(table).unwrap_or_default(), *port)
            })?
        }
    };
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid: &u32| holds(*pid, &wanted))
}

fn holds(pid: u32, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted))
}

/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode`, in hexadecimal up to there.
fn tcp_inode(table: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, its_port) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(its_port, 16) == Ok(port) && *fields.get(3)? == LISTENS;
        fields.get(9).filter(|_| is_it).map(|inode| (*inode).to_owned())
    })
}

/// `num refcount protocol flags type st inode path`.
fn unix_inode(table: &str, path: &Path) -> Option<String> {
    const ACCEPTS: &str = "00010000";
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let its_path = Path::new(fields.get(7)?);
        let is_it = *fields.get(3)? == ACCEPTS
            && fs::canonicalize(its_path).is_ok_and(|its_path| its_path == path);
        fields.get(6).filter(|_| is_it).map(|inode| (*inode).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 20 30 20 0 1 0 99";
        assert_eq!(cpu_in(stat), Some(Duration::from_millis(2_500)));
        assert_eq!(cpu_in("7 (a) S 1 2"), None);
        assert_eq!(cpu_in(""), None);
        assert!(cpu_of(std::process::id()).is_ok());
    }

    #[test]
    fn who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:EA60 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
            1: 0100007F:EA60 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1\n";
        assert_eq!(tcp_inode(table, 60_000), Some("22".to_owned()));
        assert_eq!(tcp_inode(table, 60_001), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        assert_eq!(listening_at(&address), Some(std::process::id()));
    }
}
