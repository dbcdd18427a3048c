//! The binary's tools as a test runs them, and a memcached beside them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::daemon::open_database;
use super::ground::{PATIENCE, needs, until};
use super::wire::Client;

/// Key, and what is stored under it: value, flags, expiry.
pub type Items = BTreeMap<Vec<u8>, (Vec<u8>, u32, i64)>;

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs the binary in a folder.
pub fn tool(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().expect("the binary runs")
}

pub fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litecached"));
    command.args(words).current_dir(folder).env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    command
}

/// Runs it and gives what it printed; it has to succeed.
pub fn done(folder: &Path, words: &[&str]) -> String {
    let output = tool(folder, words);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{words:?}: {out}{err}");
    out
}

/// Runs it and gives what it printed on both; it has to fail with this code.
pub fn refused(folder: &Path, code: i32, words: &[&str]) -> (String, String) {
    let output = tool(folder, words);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{err}");
    (out, err)
}

pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What a database holds, as any program sees it.
pub fn items(path: &Path) -> Items {
    let database = open_database(path);
    let mut statement = database
        .prepare("SELECT key, value, flags, exptime FROM item")
        .expect("the table is there");
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))
        .expect("the table can be read");
    rows.map(|row| row.expect("a row can be read")).collect()
}

#[allow(clippy::disallowed_methods, reason = "expiries are compared with the time outside")]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

pub fn folder_in(at: &Path, name: &str) -> PathBuf {
    let path = at.join(name);
    fs::create_dir(&path).expect("the folder can be written");
    path
}

/// A memcached that ends with the test.
#[derive(Debug)]
pub struct Memcached {
    child: Child,
    pub address: String,
    port: u16,
}

impl Memcached {
    /// With `-l` on a port of its own, or with `-s` on that socket; none where it is not installed.
    pub fn start(flags: &[&str]) -> Option<Self> {
        if !needs("memcached") {
            return None;
        }
        let folder = folder();
        let port_file = folder.path().join("port");
        let socket = flags.iter().position(|flag| *flag == "-s").map(|at| flags[at + 1]);
        let port = if socket.is_some() { "0" } else { "-1" };
        let child = Command::new("memcached")
            .args(["-U", "0", "-m", "256", "-u", "root", "-p", port])
            .args(flags)
            .env("MEMCACHED_PORT_FILENAME", &port_file)
            .stdin(Stdio::null())
            .spawn()
            .expect("memcached runs");
        let mut server = Self { child, address: String::new(), port: 0 };
        server.address = until("memcached listens", PATIENCE, || {
            if let Some(socket) = socket {
                return UnixStream::connect(socket).is_ok().then(|| socket.to_owned());
            }
            let text = fs::read_to_string(&port_file).ok()?;
            let (kind, port) = text.lines().find_map(|line| line.split_once(": "))?;
            server.port = port.trim().parse().ok()?;
            let host = if kind.ends_with('6') { "[::1]" } else { "127.0.0.1" };
            Some(format!("{host}:{}", server.port))
        });
        Some(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to its port.
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be ended");
    }
}

/// Runs it with this input. It may end before it has read all.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("it has an input");
    thread::scope(|scope| {
        thread::Builder::new()
            .spawn_scoped(scope, move || drop(stdin.write_all(input)))
            .expect("a thread can be had");
        child.wait_with_output().expect("it ends")
    })
}
