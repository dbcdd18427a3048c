//! The daemon that is measured, or memcached in its place, and what can be seen of it from outside: files,
//! memory, `stats`.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A daemon that does not listen after this long has failed to start.
const START_MAX: Duration = Duration::from_secs(10);

/// One that has not ended so long after SIGTERM hangs.
const STOP_MAX: Duration = Duration::from_mins(1);

/// One that answers nothing for this long has failed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) database: PathBuf,
    directory: PathBuf,
}

impl Daemon {
    /// Starts it with its files in `directory`.
    pub(crate) fn start(
        program: &Path,
        directory: &Path,
        arguments: &[String],
    ) -> Result<Self, String> {
        Self::start_by(Command::new(program), directory, arguments)
    }

    /// Starts it by a command that becomes the program. The directory may have the files of an earlier one.
    pub(crate) fn start_by(
        mut command: Command,
        directory: &Path,
        arguments: &[String],
    ) -> Result<Self, String> {
        command.args(["serve", "--db", "soak.db"]).args(arguments);
        Self::run(command, directory)
    }

    /// Starts memcached, which has no files.
    pub(crate) fn start_memcached(directory: &Path, arguments: &[String]) -> Result<Self, String> {
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-U", "0"]).args(arguments);
        Self::run(command, directory)
    }

    fn run(mut command: Command, directory: &Path) -> Result<Self, String> {
        let what = |error: std::io::Error| format!("cannot start the daemon: {error}");
        let port_file = directory.join("port");
        if port_file.exists() {
            fs::remove_file(&port_file).map_err(what)?;
        }
        let log = File::create(directory.join("log")).map_err(what)?;
        let child = command
            .args(["-l", "127.0.0.1", "-p", "-1"])
            .current_dir(directory)
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(what)?)
            .stderr(log)
            .spawn()
            .map_err(what)?;
        let mut daemon = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            database: directory.join("soak.db"),
            directory: directory.to_owned(),
        };
        let since = Instant::now();
        loop {
            if let Some(port) = port_in(&port_file) {
                daemon.address = (Ipv4Addr::LOCALHOST, port).into();
                if TcpStream::connect(daemon.address).is_ok() {
                    return Ok(daemon);
                }
            }
            daemon.lives()?;
            if since.elapsed() > START_MAX {
                return Err(format!("it does not listen after {START_MAX:?}: {}", daemon.log()));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does, and waits until it has closed its file.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid = i32::try_from(self.pid()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .map_err(|error| format!("cannot end the daemon: {error}"))?;
        let since = Instant::now();
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if since.elapsed() > STOP_MAX {
                return Err(format!("it has not ended after {STOP_MAX:?}: {}", self.log()));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> Result<(), String> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|error| format!("cannot kill the daemon: {error}"))
    }

    /// An error with its last words if it has ended.
    pub(crate) fn lives(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the daemon ended ({status}): {}", self.log())),
            Err(error) => Err(format!("cannot look after the daemon: {error}")),
        }
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Length of the database and of its WAL.
    pub(crate) fn files(&self) -> (u64, u64) {
        let mut wal = self.database.clone().into_os_string();
        wal.push("-wal");
        let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        (bytes(&self.database), bytes(Path::new(&wal)))
    }

    /// Bytes of memory: `VmRSS` for now, `VmHWM` for the most since [`Self::forget_peak`].
    pub(crate) fn memory(&self, field: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let kib = status.lines().find_map(|line| {
            let rest = line.strip_prefix(field)?.strip_prefix(':')?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        });
        kib.map(|kib| kib << 10).ok_or_else(|| format!("{path} has no {field}"))
    }

    /// Time of the processors that it has used.
    pub(crate) fn processor(&self) -> Result<Duration, String> {
        // The kernel tells it in ticks of a hundredth of a second.
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let ticks = stat.rsplit_once(')').and_then(|(_, behind)| {
            let mut words = behind.split_whitespace().skip(11);
            Some(words.next()?.parse::<u32>().ok()? + words.next()?.parse::<u32>().ok()?)
        });
        ticks.map(|ticks| TICK * ticks).ok_or_else(|| format!("{path} has no times"))
    }

    /// Lets `VmHWM` begin at what is used now.
    pub(crate) fn forget_peak(&self) -> Result<(), String> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(&path, "5").map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when the process has already gone, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection of its own for `stats`.
#[derive(Debug)]
pub(crate) struct Observer(BufReader<TcpStream>);

impl Observer {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        Ok(Self(BufReader::new(connect(address)?)))
    }

    /// All lines of `stats` and `stats items` whose value is a number.
    pub(crate) fn stats(&mut self) -> Result<HashMap<String, u64>, String> {
        let failed = |error: std::io::Error| format!("stats: {error}");
        let mut all = HashMap::new();
        for request in ["stats\r\n", "stats items\r\n"] {
            self.0.get_mut().write_all(request.as_bytes()).map_err(failed)?;
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).map_err(failed)? == 0 {
                    return Err("stats: the daemon closed the connection".to_owned());
                }
                let mut words = line.split_whitespace().skip(1);
                let (Some(name), Some(value)) = (words.next(), words.next()) else { break };
                if let Ok(value) = value.parse() {
                    all.insert(name.to_owned(), value);
                }
            }
        }
        Ok(all)
    }
}

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let connect = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    };
    connect().map_err(|error| format!("cannot connect to {address}: {error}"))
}

fn port_in(port_file: &Path) -> Option<u16> {
    let text = fs::read_to_string(port_file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok())
}
