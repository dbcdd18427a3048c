//! The servers that are measured: started in a directory of their own, ended when dropped.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::Protocol;

/// A server that does not listen after this long has failed to start.
const START_MAX: Duration = Duration::from_secs(10);

/// `/proc/PID/stat` counts in hundredths of a second (`USER_HZ`) on every Linux that runs this.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Litecached,
    Memcached,
    Redis,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Litecached, Self::Memcached, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Litecached => "litecached",
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Litecached | Self::Memcached => Protocol::Memcached,
            Self::Redis => Protocol::Redis,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Litecached => env!("CARGO_BIN_EXE_litecached"),
            Self::Memcached => "memcached",
            Self::Redis => "redis-server",
        }
    }

    /// The first line of what the program says of its version, or none if it is not installed.
    pub(crate) fn version(self) -> Result<Option<String>, String> {
        let flag = if self == Self::Redis { "--version" } else { "-V" };
        match Command::new(self.program()).arg(flag).stdin(Stdio::null()).output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                Ok(Some(text.lines().next().unwrap_or("unknown version").trim().to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot run {}: {error}", self.program())),
        }
    }

    /// Starts the server with its files in `directory`. `ours` are further arguments for litecached.
    pub(crate) fn start(self, directory: &Path, ours: &[String]) -> Result<Server, String> {
        let directory = directory.join(self.name());
        let what = |error: std::io::Error| format!("cannot start {}: {error}", self.name());
        fs::create_dir_all(&directory).map_err(what)?;
        let port_file = directory.join("port");
        let log = File::create(directory.join("log")).map_err(what)?;
        let mut command = Command::new(self.program());
        command
            .current_dir(&directory)
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(what)?)
            .stderr(log);
        let mut redis_port = None;
        match self {
            Self::Litecached => {
                command.args(["serve", "-l", "127.0.0.1", "-p", "-1", "--db", "bench.db"]);
                command.args(ours);
            }
            Self::Memcached => {
                command.args(["-t", "2", "-m", "1024", "-u", "root"]);
                command.args(["-l", "127.0.0.1", "-p", "-1", "-U", "0"]);
            }
            Self::Redis => {
                let port = free_port().map_err(what)?;
                redis_port = Some(port);
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]);
            }
        }
        let child = command.spawn().map_err(what)?;
        let mut server = Server { peer: self, child, address: (Ipv4Addr::LOCALHOST, 0).into() };
        server.wait_until_it_listens(&directory, &port_file, redis_port)?;
        Ok(server)
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) peer: Peer,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    fn wait_until_it_listens(
        &mut self,
        directory: &Path,
        port_file: &Path,
        known_port: Option<u16>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(port) = known_port.or_else(|| port_in(port_file)) {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                if TcpStream::connect_timeout(&address, START_MAX).is_ok() {
                    self.address = address;
                    return Ok(());
                }
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
                let name = self.peer.name();
                return Err(match ended {
                    Some(status) => format!("{name} ended while starting ({status}): {log}"),
                    None => format!("{name} does not listen after {START_MAX:?}: {log}"),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// User and system time so far, with that of children it has waited for (Redis rewrites its log
    /// in a child).
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        cpu_of(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already gone, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// User and system time of a process, `self` for this one.
pub(crate) fn cpu_of(pid: &str) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is the program's name in parentheses and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let times: Vec<u32> = fields.skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    if times.len() < 4 {
        return Err(format!("{path} is not as expected: {stat}"));
    }
    Ok(TICK * times.iter().sum::<u32>())
}

/// Waits until no server does anything any more (a checkpoint, a log rewrite), five seconds at most,
/// so that one server's housekeeping is not counted against the next.
pub(crate) fn settle(servers: &[Server], most: Duration) -> Result<(), String> {
    let deadline = Instant::now() + most;
    let total = || servers.iter().map(Server::cpu).sum::<Result<Duration, String>>();
    let mut before = total()?;
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200).min(most));
        let after = total()?;
        if after <= before + TICK {
            return Ok(());
        }
        before = after;
    }
    Ok(())
}

fn port_in(port_file: &Path) -> Option<u16> {
    let text = fs::read_to_string(port_file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
