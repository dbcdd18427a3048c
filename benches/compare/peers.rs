//! The servers that are measured: started in a directory of their own, ended when dropped.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server that does not listen after this long has failed to start.
const START_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Litecached,
    Memcached,
    /// With an append-only file that is synced every second, which is what litecached's default does
    /// with its WAL.
    RedisEverysec,
    /// With one that is synced before each answer, as with `--durability power`.
    RedisAlways,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Litecached => "litecached",
            Self::Memcached => "memcached",
            Self::RedisEverysec => "Redis everysec",
            Self::RedisAlways => "Redis always",
        }
    }

    /// As `litecached bench` calls it.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Litecached | Self::Memcached => "classic",
            Self::RedisEverysec | Self::RedisAlways => "redis",
        }
    }

    pub(crate) fn program_name(self) -> &'static str {
        match self {
            Self::Litecached => "litecached",
            _ => self.program(),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Litecached => env!("CARGO_BIN_EXE_litecached"),
            Self::Memcached => "memcached",
            Self::RedisEverysec | Self::RedisAlways => "redis-server",
        }
    }

    /// The first line of what the program says of its version, or none if it is not installed.
    pub(crate) fn version(self) -> Result<Option<String>, String> {
        let is_redis = matches!(self, Self::RedisEverysec | Self::RedisAlways);
        let flag = if is_redis { "--version" } else { "-V" };
        match Command::new(self.program()).arg(flag).stdin(Stdio::null()).output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                Ok(Some(text.lines().next().unwrap_or("unknown version").trim().to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot run {}: {error}", self.program())),
        }
    }

    /// Starts the server with its files in `directory`, and `ours` as arguments for litecached.
    pub(crate) fn start(self, directory: &Path, ours: &str, core: Core) -> Result<Server, String> {
        let directory = directory.join(self.name());
        let what = |error: std::io::Error| format!("cannot start {}: {error}", self.name());
        fs::create_dir_all(&directory).map_err(what)?;
        let port_file = directory.join("port");
        let log = File::create(directory.join("log")).map_err(what)?;
        let mut command = core.command(self.program());
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
                command.args(ours.split_whitespace());
            }
            Self::Memcached => {
                command.args(["-t", "2", "-m", "1024", "-u", "root"]);
                command.args(["-l", "127.0.0.1", "-p", "-1", "-U", "0"]);
            }
            Self::RedisEverysec | Self::RedisAlways => {
                let sync = if self == Self::RedisAlways { "always" } else { "everysec" };
                let port = free_port().map_err(what)?;
                redis_port = Some(port);
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
                command.args(["--appendonly", "yes", "--appendfsync", sync, "--save", ""]);
            }
        }
        let child = command.spawn().map_err(what)?;
        let mut server = Server { peer: self, child, address: (Ipv4Addr::LOCALHOST, 0).into() };
        server.wait_until_it_listens(&directory, &port_file, redis_port)?;
        Ok(server)
    }
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// Where the system lets it.
    Any,
    /// On this one alone.
    Only(u8),
}

impl Core {
    /// The program, by way of `taskset` where it is to keep to a core.
    pub(crate) fn command(self, program: &str) -> Command {
        match self {
            Self::Any => Command::new(program),
            Self::Only(core) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &core.to_string(), program]);
                command
            }
        }
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

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already gone, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn port_in(port_file: &Path) -> Option<u16> {
    let text = fs::read_to_string(port_file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
