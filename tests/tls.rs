//! TLS: what is shown and asked for, what becomes of those who do not speak it, and new certificates while
//! the daemon serves.

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use common::daemon::{Daemon, Launch};
use common::foreign;
use common::ground::{PATIENCE, needs, until};
use common::in_process::InProcess;
use common::target::Target;
use common::tls::{Authority, Pair, Tunnel, der};
use common::tools::{command, feed, folder, texts};
use common::wire::Client;
use litecached::server::Listen;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A daemon with TLS, and a tunnel to it.
struct Bench {
    authority: Authority,
    pair: Pair,
    daemon: Daemon,
    tunnel: Tunnel,
    _folder: TempDir,
}

impl Bench {
    fn new(rules: &str) -> Self {
        Self::with(Authority::new(), rules, "")
    }

    fn with(authority: Authority, rules: &str, arguments: &str) -> Self {
        let folder = folder();
        let pair = authority.signs("server");
        let files = flags(&pair);
        let launch = Launch::new(folder.path()).with(&format!("{files}{rules} {arguments}"));
        let daemon = launch.start();
        let tunnel = Tunnel::to(daemon.port(), authority.client(None));
        Self { authority, pair, daemon, tunnel, _folder: folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.tunnel.port())
    }

    /// A client that shows this certificate.
    fn showing(&self, pair: &Pair) -> Client {
        let tunnel = Tunnel::to(self.daemon.port(), self.authority.client(Some(pair)));
        Client::connect(tunnel.port())
    }

    fn says(&self, text: &str) -> String {
        until(&format!("it says {text:?}"), PATIENCE, || {
            let log = self.daemon.log();
            let line = log.lines().find(|line| line.contains(text))?.to_owned();
            Some(line)
        })
    }
}

fn flags(pair: &Pair) -> String {
    format!("-Z -o ssl_chain_cert={},ssl_key={}", pair.chain.display(), pair.key.display())
}

fn version(client: &mut Client) -> bool {
    client.try_send(b"version\r\n").is_ok()
        && client.try_line().is_ok_and(|line| line.starts_with("VERSION "))
}

/// The lines of `stats`, less `STAT`.
fn stats(client: &mut Client, section: &str) -> Vec<String> {
    client.send(format!("stats {section}\r\n"));
    let mut lines = Vec::new();
    loop {
        match client.line().strip_prefix("STAT ") {
            Some(line) => lines.push(line.to_owned()),
            None => return lines,
        }
    }
}

fn figure(client: &mut Client, section: &str, name: &str) -> Option<String> {
    let name = format!("{name} ");
    let lines = stats(client, section);
    lines.iter().find_map(|line| line.strip_prefix(&name).map(str::to_owned))
}

#[test]
fn what_stats_tell() {
    let bench = Bench::new(",ssl_session_cache");
    let mut client = bench.client();
    let settings = stats(&mut client, "settings");
    let from = settings.iter().position(|line| line.starts_with("ssl_")).expect("a line of TLS");
    let (chain, key) = (bench.pair.chain.display(), bench.pair.key.display());
    let expected = [
        "ssl_enabled yes".to_owned(),
        format!("ssl_chain_cert {chain}"),
        format!("ssl_key {key}"),
        "ssl_verify_mode 0".to_owned(),
        "ssl_keyformat 1".to_owned(),
        "ssl_ciphers NULL".to_owned(),
        "ssl_ca_cert NULL".to_owned(),
        "ssl_wbuf_size 0".to_owned(),
        "ssl_session_cache yes".to_owned(),
        "ssl_kernel_tls no".to_owned(),
        "ssl_min_version tlsv1.2".to_owned(),
    ];
    assert_eq!(settings[from..from + expected.len()], expected);

    let general = stats(&mut client, "");
    let names: Vec<&str> = general.iter().filter_map(|line| line.split(' ').next()).collect();
    let from = names.iter().position(|name| *name == "log_watchers").expect("it is there");
    let expected = [
        "ssl_new_sessions",
        "ssl_handshake_errors",
        "ssl_proto_errors",
        "time_since_server_cert_refresh",
        "unexpected_napi_ids",
    ];
    assert_eq!(names[from + 1..=from + expected.len()], expected);
    assert_eq!(figure(&mut client, "", "ssl_new_sessions").as_deref(), Some("1"));

    let plain = folder();
    let plain = Launch::new(plain.path()).start();
    let mut client = plain.client();
    assert_eq!(figure(&mut client, "settings", "ssl_enabled").as_deref(), Some("no"));
    assert_eq!(figure(&mut client, "", "ssl_handshake_errors"), None);
}

#[test]
fn a_wrong_file_is_named_at_the_start() {
    const NO_INPUT: i32 = 66;
    const CONFIGURATION: i32 = 78;
    let authority = Authority::new();
    let (one, other) = (authority.signs("one"), authority.signs("other"));
    let junk = authority.certificate().with_file_name("junk");
    fs::write(&junk, "sesame, and no PEM at all").expect("the folder is there");
    let missing = junk.with_file_name("missing");
    let pair = |chain: &std::path::Path, key: &std::path::Path| Pair {
        chain: chain.to_owned(),
        key: key.to_owned(),
    };
    let cases = [
        (pair(&missing, &one.key), "", NO_INPUT, "see ssl_chain_cert"),
        (pair(&one.chain, &missing), "", NO_INPUT, "see ssl_key"),
        (pair(&junk, &one.key), "", CONFIGURATION, "see ssl_chain_cert"),
        (pair(&one.chain, &junk), "", CONFIGURATION, "no private key"),
        (pair(&one.chain, &one.chain), "", CONFIGURATION, "no private key"),
        (pair(&one.chain, &other.key), "", CONFIGURATION, "not that of the certificate"),
        (one.clone(), ",ssl_verify_mode=2,ssl_ca_cert=junk", NO_INPUT, "see ssl_ca_cert"),
    ];
    for (pair, rules, code, words) in cases {
        let folder = folder();
        let refused =
            Launch::new(folder.path()).with(&format!("{}{rules}", flags(&pair))).refused();
        assert_eq!(refused.code, Some(code), "{words}: {refused:?}");
        assert!(refused.log.contains(words) && !refused.log.contains("sesame"), "{refused:?}");
    }
}

#[test]
fn who_does_not_speak_it_is_let_go() {
    let bench = Bench::with(Authority::new(), "", "--http 127.0.0.1:0");
    for _ in 0..50 {
        let mut plain = bench.daemon.client();
        plain.send("set k 0 0 1\r\nv\r\nget k\r\n");
        let mut answer = Vec::new();
        // The end may come as a reset, as some of what was sent was not looked at.
        match plain.stream().read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => {}
        }
        assert!(!answer.windows(6).any(|bytes| bytes == b"STORED"), "{answer:?}");
    }
    bench.says("is let go, as no TLS session came about");
    let lines = bench.daemon.log().lines().filter(|line| line.contains("is let go")).count();
    assert!(lines <= 10, "{lines} lines for 50 clients");
    let mut client = bench.client();
    assert_eq!(figure(&mut client, "", "ssl_handshake_errors").as_deref(), Some("50"));
    let metrics = TcpStream::connect(("127.0.0.1", bench.daemon.http_port()));
    let mut metrics = metrics.expect("metrics are served");
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it asks");
    let mut page = String::new();
    metrics.read_to_string(&mut page).expect("an answer, and then the end");
    let failures = "litecached_tls_failures_total{reason=\"handshake\"} 50\n";
    assert!(
        page.contains(failures) && page.contains("litecached_tls_sessions_total 1\n"),
        "{page}"
    );
    client.send("get k\r\n");
    assert_eq!(client.line(), "END");
}

/// As without TLS: little is held for it, and its time ends.
#[test]
fn who_takes_nothing_is_let_go() {
    const BYTES: usize = 1_000_000;
    let bench = Bench::with(Authority::new(), "", "--request-timeout 1");
    let mut witness = bench.client();
    witness.set("k", "x".repeat(BYTES));
    let before = bench.daemon.resident_bytes();
    let mut watcher = bench.client();
    assert_eq!(watcher.ask("watch fetchers\r\n"), "OK");
    let mut reader = bench.client();
    reader.send("get k\r\n".repeat(500));
    let requests = format!("get {}\r\n", "#".repeat(250)).repeat(50);
    until("the watcher has no room", PATIENCE, || {
        witness.send(&requests);
        (0..50).for_each(|_| assert_eq!(witness.line(), "END"));
        (witness.stat("log_watcher_skipped") > 0).then_some(())
    });
    let grown = bench.daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes for 500 MB that nobody takes");
    until("both are let go", PATIENCE, || (witness.stat("curr_connections") == 1).then_some(()));
    assert_eq!(witness.stat("request_kicks"), 2);
}

#[test]
fn a_client_of_it_learns_that_there_is_none() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let tunnel = Tunnel::to(daemon.port(), Authority::new().client(None));
    assert!(!version(&mut Client::connect(tunnel.port())));
    assert!(version(&mut daemon.client()));
    // A tool says it in words.
    let address = format!("127.0.0.1:{}", daemon.port());
    let words = ["client", "-a", &address, "--timeout", "1s", "--tls", "--tls-ca"];
    let authority = Authority::new();
    let mut command = command(folder.path(), &words);
    let output = command.arg(authority.certificate()).args(["get", "k"]).output();
    let (_, err) = texts(&output.expect("the binary runs"));
    // The hello may hold no line end that it would answer.
    let told = ["TLS: what it answers is none, leave out --tls", "does it speak TLS?"];
    assert!(told.iter().any(|told| err.contains(told)), "{err}");
}

#[test]
fn an_address_may_be_without() {
    let folder = folder();
    let authority = Authority::new();
    let files = flags(&authority.signs("server"));
    // The harness names the address with TLS first.
    let daemon = Launch::new(folder.path()).with(&format!("{files} -l notls:127.0.0.1:0")).start();
    let log = daemon.log();
    let ports = log.lines().filter_map(|line| line.split("listening on 127.0.0.1:").nth(1));
    let ports: Vec<u16> =
        ports.map(|port| port.trim().parse().expect("the log names ports")).collect();
    assert_eq!(ports.len(), 2, "{log}");
    let plain = ports.into_iter().find(|port| *port != daemon.port()).expect("another port");
    let tunnel = Tunnel::to(daemon.port(), authority.client(None));
    let (mut one, mut other) = (Client::connect(tunnel.port()), Client::connect(plain));
    one.send("set k 0 0 1\r\nv\r\n");
    assert_eq!(one.line(), "STORED");
    other.send("get k\r\n");
    assert_eq!(other.line(), "VALUE k 0 1");
}

#[test]
fn certificates_of_clients() {
    let stranger = Authority::new();
    let strange = stranger.signs("stranger");
    for (mode, without, bits) in [(1, true, "1"), (2, false, "3"), (3, false, "7")] {
        let authority = Authority::new();
        let rules =
            format!(",ssl_verify_mode={mode},ssl_ca_cert={}", authority.certificate().display());
        let bench = Bench::with(authority, &rules, "");
        let known = bench.authority.signs("client");
        let mut client = bench.showing(&known);
        assert!(version(&mut client), "mode {mode}: its own authority has signed");
        assert_eq!(figure(&mut client, "settings", "ssl_verify_mode").as_deref(), Some(bits));
        assert_eq!(version(&mut bench.client()), without, "mode {mode}: none is shown");
        assert!(!version(&mut bench.showing(&strange)), "mode {mode}: a stranger has signed");
    }
}

#[test]
fn certificates_are_read_again() {
    let bench = Bench::new("");
    let mut before = bench.client();
    assert!(version(&mut before));
    let first = der(&bench.pair.chain);
    assert_eq!(bench.tunnel.seen(), first);
    let replace = |by: &Pair| {
        fs::copy(&by.chain, &bench.pair.chain).expect("files are there");
        fs::copy(&by.key, &bench.pair.key).expect("files are there");
    };

    let second = bench.authority.signs("second");
    replace(&second);
    bench.daemon.signal(Signal::SIGHUP);
    bench.says("reloaded the certificates of TLS");
    assert!(version(&mut bench.client()) && version(&mut before));
    assert_eq!(bench.tunnel.seen(), der(&second.chain));

    let third = bench.authority.signs("third");
    replace(&third);
    before.send("refresh_certs\r\nrefresh_certs noreply\r\nversion\r\n");
    assert_eq!(before.line(), "OK");
    assert!(before.line().starts_with("VERSION "));
    assert!(version(&mut bench.client()));
    assert_eq!(bench.tunnel.seen(), der(&third.chain));

    // A certificate without its key, and then no certificate.
    fs::copy(&second.key, &bench.pair.key).expect("files are there");
    before.send("refresh_certs\r\n");
    let answer = before.line();
    assert!(answer.starts_with("SERVER_ERROR the key in "), "{answer}");
    bench.says("the certificates of TLS stay as they were");
    fs::write(&bench.pair.chain, "sesame").expect("files are there");
    bench.daemon.signal(Signal::SIGHUP);
    let said = bench.says("not reloaded, everything stays as it was");
    assert!(!said.contains("sesame"), "{said}");
    assert!(version(&mut bench.client()) && version(&mut before));
    assert_eq!(bench.tunnel.seen(), der(&third.chain));
}

/// Nothing but whose certificates clients may show.
#[test]
fn the_authorities_of_clients_are_read_again() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = folder();
    // Clients go by the authority's own file.
    let trusted = folder.path().join("trusted.pem");
    fs::copy(authority.certificate(), &trusted).expect("files are there");
    let rules = format!(",ssl_verify_mode=2,ssl_ca_cert={}", trusted.display());
    let bench = Bench::with(authority, &rules, "");
    let (known, strange) = (bench.authority.signs("client"), stranger.signs("stranger"));
    assert!(version(&mut bench.showing(&known)) && !version(&mut bench.showing(&strange)));
    fs::copy(stranger.certificate(), &trusted).expect("files are there");
    bench.daemon.signal(Signal::SIGHUP);
    bench.says("reloaded the certificates of TLS");
    assert!(!version(&mut bench.showing(&known)) && version(&mut bench.showing(&strange)));
}

#[test]
fn a_handshake_has_its_time() {
    let authority = Authority::new();
    let mut daemon = InProcess::start_with(&[], |server, _| {
        server.listen = vec![Listen::Tls(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))];
        server.certificates = Some(authority.certificates("server"));
    });
    let tunnel = Tunnel::to(daemon.address().port(), authority.client(None));
    let mut good = Client::connect(tunnel.port());
    assert!(version(&mut good));
    let silent = daemon.connect().expect("it listens");
    let mut slow = daemon.connect().expect("it listens");
    // The head of a record that says hello, and no more.
    slow.write_all(&[22, 3, 1, 1, 0]).expect("it is taken");
    until("both are there", PATIENCE, || {
        // As their loops have them: what is accepted may be on its way there.
        let connections = stats(&mut good, "conns");
        let count = connections.iter().filter(|line| line.contains(":listen_addr ")).count();
        (count == 3).then_some(())
    });
    daemon.advance(60);
    assert!(is_open(&silent) && is_open(&slow));
    daemon.advance(1);
    for mut stream in [silent, slow] {
        assert_eq!(stream.read(&mut [0]).expect("its end"), 0);
    }
    assert!(version(&mut good), "whoever has agreed may be silent");
    assert_eq!(figure(&mut good, "", "ssl_handshake_errors").as_deref(), Some("2"));
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn large_values_and_a_crash() {
    const BYTES: usize = 24 << 20;
    let mut bench = Bench::with(Authority::new(), "", "-I 64m");
    let value: Vec<u8> = (0..=250u8).cycle().take(BYTES).collect();
    let mut client = bench.client();
    client.send(format!("set large 0 0 {BYTES}\r\n"));
    client.send(&value);
    client.send("\r\nset small 0 0 1\r\nv\r\n");
    assert_eq!((client.line(), client.line()), ("STORED".into(), "STORED".into()));
    // Several at once, of which one takes nothing for now.
    let mut others: Vec<Client> = (0..4).map(|_| bench.client()).collect();
    for other in &mut others {
        other.send("get large\r\n");
    }
    let before = bench.daemon.resident_bytes();
    for other in &mut others[1..] {
        assert_eq!(other.line(), format!("VALUE large 0 {BYTES}"));
        assert!(other.exactly(BYTES) == value, "the value came as it was sent");
        assert_eq!((other.line(), other.line()), (String::new(), "END".into()));
    }
    let grown = bench.daemon.resident_bytes().saturating_sub(before);
    assert!(grown < BYTES as u64, "{grown} bytes for values that are passed on");
    bench.daemon.restart();
    let mut client = bench.client();
    client.send("get small\r\nget large\r\n");
    assert_eq!(client.line(), "VALUE small 0 1");
    assert_eq!((client.line(), client.line()), ("v".into(), "END".into()));
    assert_eq!(client.line(), format!("VALUE large 0 {BYTES}"));
    assert!(client.exactly(BYTES) == value, "the value came as it was sent");
}

#[test]
fn our_own_tools_speak_it() {
    const UNAVAILABLE: i32 = 69;
    let authority = Authority::new();
    let rules = format!(",ssl_verify_mode=2,ssl_ca_cert={}", authority.certificate().display());
    let bench = Bench::with(authority, &rules, "");
    let port = bench.daemon.port();
    let shown = bench.authority.signs("tool");
    let text = |path: &std::path::Path| path.display().to_string();
    let trust = ["--tls".to_owned(), "--tls-ca".to_owned(), text(&bench.authority.certificate())];
    let show =
        ["--tls-cert".to_owned(), text(&shown.chain), "--tls-key".to_owned(), text(&shown.key)];
    let place = folder();
    let run = |host: &str, words: &str, more: &[&[String]]| {
        let mut command = command(place.path(), &["client", "-a", &format!("{host}:{port}")]);
        command.args(more.concat()).args(words.split(' '));
        let output = command.output().expect("the binary runs");
        let (out, err) = texts(&output);
        (output.status.code(), out, err)
    };
    let (code, out, err) = run("localhost", "set k v", &[]);
    assert_ne!(code, Some(0), "without --tls: {out}{err}");
    assert!(err.contains("closed it at the first bytes; if it speaks TLS, give --tls"), "{err}");
    let (code, out, err) = run("127.0.0.1", "set k v", &[&trust, &show]);
    assert_eq!(code, Some(0), "{out}{err}");
    let system = [trust[0].clone()];
    let (code, out, err) = run("localhost", "get k", &[&system, &show]);
    assert_eq!(code, Some(UNAVAILABLE), "nobody the system trusts has signed: {out}{err}");
    assert!(err.contains("TLS: invalid peer certificate"), "{err}");
    let (code, out, err) = run("localhost", "get k", &[&trust]);
    assert_ne!(code, Some(0), "no certificate is shown: {out}{err}");
    let (code, out, err) = run("localhost", "get k", &[&trust, &show]);
    assert!(code == Some(0) && out.contains('v'), "{out}{err}");
}

/// Through a tool of its own, so that both ends are not of one make.
#[test]
fn openssl_speaks_with_it() {
    if !needs("openssl") {
        return;
    }
    let bench = Bench::new(",ssl_min_version=3");
    let ask = |more: &[&str]| {
        let mut command = Command::new("openssl");
        let authority = bench.authority.certificate();
        let place = format!("127.0.0.1:{}", bench.daemon.port());
        command.args(["s_client", "-quiet", "-verify_return_error", "-ign_eof", "-CAfile"]);
        command.arg(authority).args(["-connect", &place]).args(more);
        let output = feed(&mut command, b"set k 0 0 1\r\nv\r\nget k\r\nquit\r\n");
        texts(&output)
    };
    let (out, err) = ask(&["-verify_hostname", "localhost"]);
    assert!(out.contains("STORED\r\nVALUE k 0 1\r\nv\r\nEND"), "{out}{err}");
    let (out, err) = ask(&["-tls1_2"]);
    assert!(!out.contains("STORED") && err.contains("alert protocol version"), "{out}{err}");
}

#[test]
fn pymemcache_speaks_with_it() {
    let Some(mut client) = foreign::script_client("tls_client.py") else { return };
    let bench = Bench::new("");
    client.args(["localhost", &bench.daemon.port().to_string()]);
    foreign::succeeds(client.arg(bench.authority.certificate()));
}
