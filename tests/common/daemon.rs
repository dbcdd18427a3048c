//! The real binary as a child process: started, watched, killed, started again.
//!
//! A daemon is ready when it has written its port file; nobody guesses how long that takes. Its stderr
//! goes to a file, which a failing test prints.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rusqlite::{Connection, OpenFlags};

use super::ground::{PATIENCE, until};
use super::wire::Client;

/// How a daemon is started: its folder, database and arguments.
#[derive(Debug, Clone)]
pub struct Launch {
    folder: PathBuf,
    database: PathBuf,
    port: Option<u16>,
    arguments: Vec<OsString>,
    /// A command that runs the daemon as its own process (`strace -D`, `setpriv`).
    wrapper: Vec<OsString>,
}

impl Launch {
    /// With the database, the port file and the log in this folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            database: folder.join("cache.db"),
            port: None,
            arguments: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// With another database file.
    pub fn database(mut self, path: impl Into<PathBuf>) -> Self {
        self.database = path.into();
        self
    }

    /// On this port; without it the system chooses.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With these arguments, separated by spaces, beside address, port and database.
    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    /// Through a program that becomes the daemon.
    pub fn through(mut self, wrapper: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Where the database is.
    pub fn database_path(&self) -> &Path {
        &self.database
    }

    /// Where the write-ahead log is while there is one.
    pub fn wal_path(&self) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    /// Starts a daemon and waits until it listens.
    pub fn start(&self) -> Daemon {
        self.spawn().listening().unwrap_or_else(|refused| panic!("no start: {refused:?}"))
    }

    /// Starts a daemon that has to give up, and waits until it has.
    pub fn refused(&self) -> Refused {
        match self.spawn().listening() {
            Ok(daemon) => panic!("started on port {} though it must not: {self:?}", daemon.port),
            Err(refused) => refused,
        }
    }

    /// Starts a daemon and does not wait.
    pub fn spawn(&self) -> Starting {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        let port_file = self.folder.join(format!("port-{start}"));
        let log_path = self.folder.join(format!("log-{start}"));
        let answer_path = self.folder.join(format!("answer-{start}"));
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());

        let mut words = self.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_litecached").into());
        words.extend(["-l", "127.0.0.1", "-p", &port, "--db"].map(OsString::from));
        words.push(self.database.clone().into());
        words.extend(self.arguments.iter().cloned());
        let log = File::create(&log_path).expect("the test's folder can be written");
        let answer = File::create(&answer_path).expect("the test's folder can be written");
        let mut command = Command::new(&words[0]);
        // What a supervisor of the tests said is not meant for the daemon.
        for variable in ["JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_FDS", "STATE_DIRECTORY"] {
            command.env_remove(variable);
        }
        let child = command
            .args(&words[1..])
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(answer)
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        Starting {
            daemon: Daemon {
                child,
                port: 0,
                http_port: None,
                launch: self.clone(),
                log_path,
                answer_path,
            },
            port_file,
        }
    }
}

/// A daemon that may not listen yet.
#[derive(Debug)]
pub struct Starting {
    daemon: Daemon,
    port_file: PathBuf,
}

impl Starting {
    /// Waits until it listens or has given up.
    pub fn listening(mut self) -> Result<Daemon, Refused> {
        enum Start {
            Port(u16),
            Ended(ExitStatus),
        }
        let start = until("the daemon listens or ends", PATIENCE, || {
            self.port().map(Start::Port).or_else(|| self.daemon.ended().map(Start::Ended))
        });
        match start {
            Start::Port(port) => {
                self.daemon.port = port;
                self.daemon.http_port = self.port_of("HTTP INET: ");
                Ok(self.daemon)
            }
            Start::Ended(status) => Err(Refused {
                code: status.code(),
                log: self.daemon.log(),
                answer: fs::read_to_string(&self.daemon.answer_path).unwrap_or_default(),
            }),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.daemon.pid()
    }

    /// Whether it neither listens nor has given up.
    pub fn is_trying(&mut self) -> bool {
        self.port().is_none() && self.daemon.ended().is_none()
    }

    /// Sends it a signal, once it has said that it wants to hear of this one.
    pub fn signal(&self, signal: Signal) {
        let status = format!("/proc/{}/status", self.daemon.pid());
        until("it catches the signal", PATIENCE, || {
            let status = fs::read_to_string(&status).expect("a child that is not waited for");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).expect("the kernel writes hex");
            (caught & (1 << (signal as u32 - 1)) != 0).then_some(())
        });
        self.daemon.signal(signal);
    }

    /// Ends it with SIGKILL, wherever it is.
    pub fn kill(mut self) {
        self.daemon.kill();
    }

    fn port(&self) -> Option<u16> {
        let text = fs::read_to_string(&self.port_file).ok()?;
        let port = self.port_of("TCP INET: ");
        Some(port.unwrap_or_else(|| panic!("no port in the port file: {text:?}")))
    }

    fn port_of(&self, what: &str) -> Option<u16> {
        let text = fs::read_to_string(&self.port_file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(what))?;
        Some(line.trim().parse().expect("the port file holds a port"))
    }
}

/// How a daemon that did not start ended.
#[derive(Debug)]
pub struct Refused {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// What it wrote to stderr.
    pub log: String,
    /// What it wrote to stdout.
    pub answer: String,
}

/// A daemon that listens. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    port: u16,
    http_port: Option<u16>,
    launch: Launch,
    log_path: PathBuf,
    answer_path: PathBuf,
}

impl Daemon {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of `--http`.
    pub fn http_port(&self) -> u16 {
        self.http_port.expect("it was started with --http")
    }

    /// How it was started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Its process, for whoever sends it a signal.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal::kill(self.pid(), signal).expect("a child can be signalled until it is waited for");
    }

    /// Holds it still until the guard is dropped: what changes meanwhile in its files, another did.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        self.signal(Signal::SIGSTOP);
        until("every thread stands still", PATIENCE, || self.stands_still().then_some(()));
        Frozen(self.pid())
    }

    fn stands_still(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.expect("it runs").all(|task| {
            let status = task.and_then(|task| fs::read_to_string(task.path().join("status")));
            // A thread that ended meanwhile has none.
            status.map_or(true, |status| status.contains("\nState:\tT"))
        })
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Its exit status, once it has one.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        until("the daemon ends", patience, || self.ended())
    }

    /// Ends it with SIGTERM; it has to go in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait(PATIENCE);
        assert_eq!(status.code(), Some(0), "after SIGTERM, with this log:\n{}", self.log());
    }

    /// Starts it again on the same port and database, after killing it if it still runs.
    pub fn restart(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
        *self = self.launch.clone().port(self.port).start();
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        fs::read(&self.log_path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Bytes of memory that are its own right now.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.expect("the status has the resident size").trim();
        let kilobytes = kilobytes.strip_suffix(" kB").expect("the kernel counts in kB");
        kilobytes.trim().parse::<u64>().expect("the kernel writes a number") * 1024
    }
}

/// A daemon that stands still; it goes on when this is dropped.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal::kill(self.0, Signal::SIGCONT).expect("it is waited for later than this");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
        if thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            eprintln!("the daemon's last lines:\n{}", last.join("\n"));
        }
    }
}

/// The database as any program sees it.
#[allow(clippy::disallowed_methods, reason = "tests look at the file from outside, as users do")]
pub fn open_database(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lets SQLite check the whole file. Only while no daemon has it.
pub fn check_integrity(path: &Path) {
    let verdict: String = open_database(path)
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the check runs");
    assert_eq!(verdict, "ok", "{}", path.display());
}
