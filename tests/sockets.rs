//! What a service manager sees and gives: readiness, state, the watchdog's answers, the end; and
//! sockets that were open before the daemon and stay open after it.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, now, until};
use common::wire::Client;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The end of systemd's protocol that the manager holds.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { folder, socket }
    }

    /// Starts the daemon with these variables, and with these sockets from descriptor 3 on.
    fn launch(&self, variables: &[&str], sockets: &[BorrowedFd<'_>]) -> Launch {
        // bash gives the sockets their numbers, and has the process id that the daemon will have.
        let mut script = Vec::new();
        for (number, socket) in sockets.iter().enumerate() {
            fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("it may be inherited");
            script.push(format!("exec {}<&{}", 3 + number, socket.as_raw_fd()));
        }
        if !sockets.is_empty() {
            script.push(format!("export LISTEN_FDS={} LISTEN_PID=$$", sockets.len()));
        }
        let notify = self.path("notify");
        script.push(format!("export NOTIFY_SOCKET={} {}", notify.display(), variables.join(" ")));
        script.push("exec \"$@\"".into());
        let script = script.join("; ");
        Launch::new(self.folder.path()).through(["bash", "-c", &script, "bash"])
    }

    /// The next message within this time.
    fn hear(&self, patience: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(patience)).expect("a time-out");
        let read = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..read].to_vec()).expect("messages are text"))
    }

    /// The next message that has this line.
    fn wait_for(&self, line: &str) -> String {
        until(line, PATIENCE, || {
            let message = self.hear(PATIENCE)?;
            message.lines().any(|found| found == line).then_some(message)
        })
    }

    /// Takes what has been said; whether the watchdog was answered within this time from now.
    fn answers_within(&self, patience: Duration) -> bool {
        while self.hear(Duration::from_millis(1)).is_some() {}
        let start = now();
        while start.elapsed() < patience {
            if self.hear(patience).is_some_and(|message| message.contains("WATCHDOG=1")) {
                return true;
            }
        }
        false
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn readiness_state_and_end_are_told() {
    let manager = Manager::new();
    let mut daemon = manager.launch(&[], &[]).start();
    let place = format!("127.0.0.1:{}", daemon.port());
    let first = manager.hear(PATIENCE).expect("it says what it does");
    assert!(first.starts_with("STATUS=Opening "), "{first}");
    let ready = manager.hear(PATIENCE).expect("it says that it serves");
    assert_eq!(ready, format!("READY=1\nSTATUS=Serving 0 items on {place}\n"));
    let mut client = daemon.client();
    client.set("k", "v");
    assert!(client.get("k").is_some() && client.get("none").is_none());
    assert!(!manager.answers_within(Duration::from_millis(100)), "nobody asked for a watchdog");
    manager.wait_for(&format!("STATUS=Serving 1 item on {place}, 50.0 % hits"));

    daemon.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    daemon.stop();
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_refused_reload_is_told() {
    let manager = Manager::new();
    let file = manager.path("x.toml");
    fs::write(&file, "conn-limit = 9\n").expect("the folder can be written");
    let with_file = format!("--config {}", file.display());
    let daemon = manager.launch(&[], &[]).with(&with_file).start();
    manager.wait_for("READY=1");
    fs::write(&file, "conn-limit = 0\n").expect("the folder can be written");
    daemon.signal(Signal::SIGHUP);
    let place = format!("{} line 1: conn-limit cannot be", file.display());
    let done = manager.wait_for("READY=1");
    assert!(done.contains(&format!("STATUS=Not reloaded: {place}")), "{done}");
    // What happens then does not hide it, until a reload succeeds.
    daemon.client().set("k", "v");
    let told = |text: &str, refused| {
        until(text, PATIENCE, || {
            let message = manager.hear(PATIENCE)?;
            let is_it = message.contains(text) && message.contains(&place) == refused;
            is_it.then_some(())
        });
    };
    told("STATUS=Serving 1 item on ", true);
    fs::write(&file, "conn-limit = 9\n").expect("the folder can be written");
    daemon.signal(Signal::SIGHUP);
    told("STATUS=Serving 1 item on ", false);
}

#[test]
fn it_is_ready_when_it_listens_and_not_before() {
    let manager = Manager::new();
    // The port is taken for a while by a socket that does not listen, then free.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = taken.local_addr().unwrap().as_socket().unwrap().port();
    let mut starting = manager.launch(&[], &[]).port(port).spawn();
    assert_eq!(manager.hear(Duration::from_millis(500)), None, "it has nothing to say yet");
    assert!(starting.is_trying());
    drop(taken);
    manager.wait_for("READY=1");
    let daemon = starting.listening().expect("it started");
    daemon.client().set("k", "v");
}

#[test]
fn the_watchdog_is_answered_by_threads_that_move() {
    let manager = Manager::new();
    let daemon = manager.launch(&["WATCHDOG_USEC=400000"], &[]).with("-t 1").start();
    let long = Duration::from_secs(1);
    assert!(manager.answers_within(PATIENCE), "idle, and alive");
    for name in ["worker-0", "accept"] {
        let frozen = Frozen::thread(&daemon, name);
        // What it did before it was stopped may be answered once more.
        manager.answers_within(Duration::from_millis(300));
        assert!(!manager.answers_within(long), "{name} hangs: no answer");
        drop(frozen);
        assert!(manager.answers_within(PATIENCE), "{name} goes on");
    }
    daemon.client().set("k", "v");
}

/// A thread of the daemon that is stopped; dropping this lets it go on.
struct Frozen(Pid);

impl Frozen {
    fn thread(daemon: &Daemon, name: &str) -> Self {
        let folder = format!("/proc/{}/task", daemon.pid());
        let thread = fs::read_dir(folder)
            .expect("a running process has threads")
            .map(|entry| entry.expect("it can be read").path())
            .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|it| it.trim() == name))
            .unwrap_or_else(|| panic!("there is no thread {name}"));
        let number = thread.file_name().and_then(|name| name.to_str()).expect("a number");
        let thread = Pid::from_raw(number.parse().expect("a number"));
        ptrace::seize(thread, ptrace::Options::empty()).expect("a child may be traced");
        ptrace::interrupt(thread).expect("a traced thread can be stopped");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Self(thread)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).expect("a traced thread can be let go");
    }
}

#[test]
fn sockets_outlive_the_daemon_that_serves_them() {
    let manager = Manager::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let unix_path = manager.path("handed.sock");
    let unix = UnixListener::bind(&unix_path).expect("a socket");
    let own_path = manager.path("own.sock");
    let arguments = format!("-s {}", own_path.display());
    let launch = manager.launch(&[], &[tcp.as_fd(), unix.as_fd()]).with(&arguments);

    // A client that came before the daemon is served when it is there.
    let mut early = Client::connect(port);
    early.send("set early 0 0 1\r\n1\r\n");
    let mut daemon = launch.clone().start();
    assert_eq!(daemon.port(), port, "the port file names what was handed over");
    assert_eq!(early.line(), "STORED");
    assert!(daemon.log().contains("handed over; -p, -l and -s are not used"), "{}", daemon.log());
    assert!(!own_path.exists(), "its own address is not used");
    answers(&unix_path);
    let mode = unix_path.metadata().expect("it is there").permissions().mode() & 0o777;
    let mut client = daemon.client();
    client.send("stats settings\r\n");
    let settings: Vec<_> =
        std::iter::from_fn(|| Some(client.line()).filter(|line| line != "END")).collect();
    for setting in [
        format!("tcpport {port}"),
        "inter 127.0.0.1".into(),
        format!("domain_socket {}", unix_path.display()),
        format!("umask {mode:o}"),
    ] {
        let line = format!("STAT {setting}");
        assert!(settings.contains(&line), "{line} in {settings:#?}");
    }
    daemon.stop();

    assert!(unix_path.exists(), "the socket's file is not the daemon's to remove");
    let mut between = Client::connect(port);
    between.send("get early\r\n");
    let mut daemon = launch.start();
    assert_eq!(between.line(), "VALUE early 0 1");
    answers(&unix_path);
    daemon.kill();
    drop(Client::connect(port));
    drop((tcp, unix));
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let manager = Manager::new();
    let file = fs::File::create(manager.path("file")).expect("a file");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    for handed in [file.as_fd(), datagrams.as_fd(), bound.as_fd()] {
        for name in ["LISTEN_FDNAMES=x", "LISTEN_FDNAMES=http"] {
            let refused = manager.launch(&[name], &[handed]).refused();
            assert_eq!(refused.code, Some(78), "{refused:?}");
            assert!(refused.log.contains("socket 0 of those handed over"), "{refused:?}");
            assert!(refused.log.contains("ListenStream="), "{refused:?}");
        }
    }
}

#[test]
fn an_address_that_cannot_be_had_is_not_asked_for_all_the_time() {
    let manager = Manager::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let start = now();
    let refused = manager.launch(&[], &[]).port(port).refused();
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(start.elapsed() >= Duration::from_secs(2), "a manager starts it again at once");
    let said = manager.hear(PATIENCE).expect("it says why");
    assert!(said.starts_with("STATUS=") && said.contains("another program listens"), "{said}");

    let starting = manager.launch(&[], &[]).port(port).spawn();
    manager.wait_for(said.trim_end());
    starting.signal(Signal::SIGTERM);
    let ended = starting.listening().expect_err("it ends");
    assert_eq!(ended.code, Some(0), "in the pause, too: {ended:?}");
}

#[test]
fn a_socket_for_metrics_is_for_web_clients() {
    let manager = Manager::new();
    let http = TcpListener::bind("127.0.0.1:0").expect("a port");
    let launch = manager.launch(&["LISTEN_FDNAMES=http"], &[http.as_fd()]);
    let daemon = launch.start();
    let other = http.local_addr().expect("an address").port();
    assert_ne!(daemon.port(), other, "for items it binds its own");
    daemon.client().set("k", "v");
    let mut web = Client::connect(other);
    web.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(web.line(), "HTTP/1.1 200 OK");
}

/// The daemon answers at this Unix socket.
fn answers(path: &Path) {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    stream.write_all(b"version\r\nquit\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("VERSION "), "{answer}");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let manager = Manager::new();
    let launch = manager.launch(&["LISTEN_FDS=1", "LISTEN_PID=1"], &[]);
    let daemon = launch.start();
    daemon.client().set("k", "v");
}

/// A start that reads and copies a whole file takes longer than a manager waits for others.
#[test]
fn a_start_that_takes_long_says_so() {
    let manager = Manager::new();
    let mut daemon = Launch::new(manager.folder.path()).start();
    let mut client = daemon.client();
    (0..200).for_each(|key| client.set(&format!("k{key}"), "value".repeat(40)));
    daemon.stop();
    let longer = |status: &str| {
        let mut is_extended = false;
        until(status, PATIENCE, || {
            let message = manager.hear(PATIENCE)?;
            is_extended |= message.lines().any(|line| {
                let time = line.strip_prefix("EXTEND_TIMEOUT_USEC=");
                time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time >= 90_000_000))
            });
            message.contains("READY=1").then_some(())
        });
        assert!(is_extended, "{status}");
    };
    fs::write(manager.path("cache.db-suspect"), "").expect("it can be written");
    let mut daemon = manager.launch(&[], &[]).start();
    longer("all of it is checked");
    daemon.stop();
    let mut file = fs::read(manager.path("cache.db")).expect("it is there");
    let pages = file.len() / 2_048;
    file[pages / 2 * 2_048..(pages / 2 + 1) * 2_048].fill(0xff);
    fs::write(manager.path("cache.db"), file).expect("it can be written");
    while manager.hear(Duration::from_millis(1)).is_some() {}
    let daemon = manager.launch(&[], &[]).with("--on-corruption salvage").start();
    longer("what can be read is saved");
    assert!(daemon.log().contains("items were saved"), "{}", daemon.log());
}
