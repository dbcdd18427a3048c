//! Clients that other people wrote, as child processes, and the server that each is tried against.
//!
//! The server is a litecached of the test's own. With `LITECACHED_TEST_SERVER=memcached` it is the
//! installed memcached instead, which shows that a script expects what memcached does. A script asks
//! for a restart by printing `restart` and goes on when it is told `restarted`.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::daemon::{Daemon, Launch};
use super::packages;
use super::tools::Memcached;
use super::wire::Client;

/// Seconds after which a client that hangs is ended.
const CLIENT_SECONDS_MAX: &str = "180";

/// A server that clients are tried against. It ends with the test.
#[derive(Debug)]
pub struct Server {
    running: Running,
    // After the server, so that it is removed when that has gone.
    folder: TempDir,
}

#[derive(Debug)]
enum Running {
    Litecached(Box<Daemon>),
    Memcached(Memcached),
    /// Between two servers on one port.
    Nothing,
}

impl Server {
    /// A litecached, or what `LITECACHED_TEST_SERVER` says.
    pub fn start() -> Self {
        let other = env::var("LITECACHED_TEST_SERVER").unwrap_or_default();
        match other.as_str() {
            "" => Self::litecached(),
            "memcached" => Self::memcached().expect("LITECACHED_TEST_SERVER=memcached needs one"),
            _ => panic!("LITECACHED_TEST_SERVER is memcached or nothing: {other}"),
        }
    }

    pub fn litecached() -> Self {
        let folder = folder();
        let daemon = Launch::new(folder.path()).start();
        Self { running: Running::Litecached(Box::new(daemon)), folder }
    }

    /// The memcached that is installed; none, and said, where it is not.
    pub fn memcached() -> Option<Self> {
        Self::memcached_at("-1")
    }

    fn memcached_at(port: &str) -> Option<Self> {
        let server = Memcached::start(&["-l", "127.0.0.1", "-p", port])?;
        Some(Self { running: Running::Memcached(server), folder: folder() })
    }

    /// A memcached in this server's place, on its port; none, and said, where it is not installed.
    pub fn replaced_by_memcached(mut self) -> Option<Self> {
        let port = self.port();
        self.running = Running::Nothing;
        Self::memcached_at(&port.to_string())
    }

    pub fn port(&self) -> u16 {
        match &self.running {
            Running::Litecached(daemon) => daemon.port(),
            Running::Memcached(server) => server.port(),
            Running::Nothing => unreachable!("a server is gone only while it is replaced"),
        }
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the test's own.
    pub fn client(&self) -> Client {
        Client::connect(self.port())
    }

    /// Ends it with SIGKILL and starts it again on the same port.
    pub fn restart(&mut self) {
        if let Running::Litecached(daemon) = &mut self.running {
            return daemon.restart();
        }
        let port = self.port().to_string();
        self.running = Running::Nothing;
        let flags = ["-l", "127.0.0.1", "-p", &port];
        self.running = Running::Memcached(Memcached::start(&flags).expect("it was there before"));
    }

    /// Whether it has its items after a restart, in the word that the scripts take.
    pub fn keeps(&self) -> &'static str {
        if matches!(self.running, Running::Litecached(_)) { "keeps" } else { "forgets" }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}

/// Runs a script of `tests/clients`, in the language that its name says, against a server of its own,
/// with these words behind the address. Gives false, and says so, where its client cannot be had.
pub fn script_passes(name: &str, words: &[&str]) -> bool {
    let Some(mut client) = script_client(name) else {
        return false;
    };
    let mut server = Server::start();
    client.args(["127.0.0.1", &server.port().to_string(), server.keeps()]).args(words);
    let said = converse(&mut client, || server.restart());
    assert!(said.contains("passed: "), "{said}");
    println!("{said}");
    true
}

/// A command that runs this script with its packages; none, and said, where these cannot be had.
pub fn script_client(name: &str) -> Option<Command> {
    let (program, variable, packages) = match name.rsplit_once('.') {
        Some((_, "py")) => ("python3", "PYTHONPATH", packages::python()?),
        Some((_, "js")) => ("node", "NODE_PATH", packages::node()?),
        _ => panic!("no language known: {name}"),
    };
    let mut client = client(program);
    client.env(variable, packages).arg(script(name));
    Some(client)
}

/// A command that runs `program` for a bounded time.
pub fn client(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", CLIENT_SECONDS_MAX, program]);
    command.stdin(Stdio::null());
    command
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client that has to succeed, and gives what it said on both streams.
pub fn succeeds(client: &mut Command) -> String {
    let output = client.output().expect("timeout is one of the core utilities");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client:?}: {}\n{said}", output.status);
    said
}

/// The same, and does `restart` each time the client asks for it.
pub fn converse(client: &mut Command, mut restart: impl FnMut()) -> String {
    let mut child = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout is one of the core utilities");
    let mut words = child.stdin.take().expect("it has an input");
    let lines = BufReader::new(child.stdout.take().expect("it has an output")).lines();
    let mut errors = child.stderr.take().expect("it has a second output");
    thread::scope(|scope| {
        // Read beside the other, so that neither fills up.
        let complaints = thread::Builder::new()
            .spawn_scoped(scope, move || {
                let mut text = Vec::new();
                errors.read_to_end(&mut text).expect("a pipe can be read");
                String::from_utf8_lossy(&text).into_owned()
            })
            .expect("a thread can be had");
        let mut said = String::new();
        for line in lines {
            let line = line.expect("the client prints text");
            if line == "restart" {
                restart();
                words.write_all(b"restarted\n").expect("the client waits for the word");
            }
            said += &line;
            said.push('\n');
        }
        let status = child.wait().expect("a child can be waited for");
        said += &complaints.join().expect("reading does not panic");
        assert!(status.success(), "{client:?}: {status}\n{said}");
        said
    })
}
