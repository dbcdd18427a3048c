//! Logins: the file of users at a start and at a reload, what is told and counted of them, and our own
//! tools as users. What users may do, what guessing costs, and that no secret is told are chapters of their own.

#[path = "auth/guesses.rs"]
mod guesses;
#[path = "auth/rights.rs"]
mod rights;
#[path = "auth/secrets.rs"]
mod secrets;

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, needs, until};
use common::tools::{Memcached, command, feed, texts};
use common::wire::Client;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A daemon with a file of users.
struct Bench {
    folder: TempDir,
    daemon: Daemon,
}

impl Bench {
    fn new(users: &str) -> Self {
        Self::with(users, "")
    }

    fn with(users: &str, arguments: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(&folder.path().join("users"), users);
        let launch = Launch::new(folder.path()).with("-Y users").with(arguments);
        Self { daemon: launch.start(), folder }
    }

    fn users(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    /// Sends the signal, and gives what is said about it, up to a line with `last`.
    fn reload(&self, last: &str) -> String {
        let read = self.daemon.log().len();
        self.daemon.signal(Signal::SIGHUP);
        until(&format!("it says {last:?}"), PATIENCE, || {
            let said = self.daemon.log()[read..].to_owned();
            said.lines().any(|line| line.contains(last)).then_some(said)
        })
    }

    /// What the daemon answers to this login on a new connection.
    fn login(&self, user: &str, password: &str) -> (Client, String) {
        let mut client = self.daemon.client();
        let said = login(&mut client, user, password);
        (client, said)
    }

    /// Runs a tool on the daemon, with a password in the environment.
    fn tool(&self, words: &[&str], password: &str, input: &[u8]) -> Output {
        feed(self.command(words).env("LITECACHED_PASSWORD", password), input)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command(self.folder.path(), words);
        let address = format!("127.0.0.1:{}", self.daemon.port());
        command.env("LITECACHED_ADDRESS", address).env_remove("LITECACHED_PASSWORD");
        command
    }
}

/// For its owner alone.
fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the folder can be written");
    allow(path, 0o600);
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn login(client: &mut Client, user: &str, password: &str) -> String {
    let length = user.len() + 1 + password.len();
    client.ask(format!("set login 0 0 {length}\r\n{user} {password}\r\n"))
}

const FAILURE: &str = "CLIENT_ERROR authentication failure";

#[test]
fn sighup_reads_the_users_again() {
    let bench = Bench::new("anna:old\n");
    let (mut anna, said) = bench.login("anna", "old");
    assert_eq!(said, "STORED");
    let mut waiting = bench.daemon.client();
    assert_eq!(waiting.ask("get k\r\n"), "CLIENT_ERROR unauthenticated");

    assert!(bench.reload("nothing has changed").lines().count() == 1);
    write(&bench.users(), "anna:old\nanna:new\nbert:his");
    let said = bench.reload("reloaded the users of --auth-file (-Y): 3");
    assert!(!said.contains("new") && !said.contains("bert"), "{said}");
    anna.set("k", "v");
    write(&bench.users(), "anna:new\nbert:his");
    bench.reload("reloaded the users of --auth-file (-Y): 2");
    assert_eq!(anna.ask("get k\r\n"), "CLIENT_ERROR unauthenticated", "with the old password");
    assert_eq!(anna.rest(), b"", "and has to come anew");
    assert_eq!(bench.login("anna", "old").1, FAILURE);
    assert_eq!(bench.login("anna", "new").1, "STORED");
    let (mut bert, said) = bench.login("bert", "his");
    assert_eq!((said.as_str(), bert.get("k")), ("STORED", Some(b"v".to_vec())));
    assert_eq!(login(&mut waiting, "anna", "old"), FAILURE, "also who was there before");
    assert_eq!(login(&mut waiting, "anna", "new"), "STORED");
}

#[test]
fn a_broken_file_changes_nothing() {
    let bench = Bench::new("anna:secret\n");
    for (text, said) in [
        ("anna:other\nberts-password\n", "users line 2: there is no colon in it; write user:"),
        ("", "users: it is empty, and nobody could log in; write a user:password a line"),
        (":hers", "users line 1: the user or the password is empty; write user:password"),
    ] {
        write(&bench.users(), text);
        let line = bench.reload("not reloaded, everything stays as it was: ");
        assert!(line.contains(said), "{line}");
        assert!(!line.contains("berts-password") && !line.contains("hers"), "{line}");
        assert_eq!(bench.login("anna", "secret").1, "STORED");
        assert_eq!(bench.login("anna", "other").1, FAILURE);
    }
    fs::remove_file(bench.users()).expect("it is there");
    assert!(bench.reload("everything stays as it was: ").contains("cannot read users: "));
    assert_eq!(bench.login("anna", "secret").1, "STORED");
    write(&bench.users(), "anna:other");
    bench.reload("reloaded the users");
    assert_eq!(bench.login("anna", "other").1, "STORED");
}

#[test]
fn another_file_takes_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    write(&file("one"), "anna:one");
    write(&file("two"), "anna:two");
    write(&file("x.toml"), "auth-file = \"one\"\n");
    let daemon = Launch::new(folder.path()).with("--config x.toml").start();
    let bench = Bench { folder, daemon };
    for (text, said) in [
        ("auth-file = \"two\"\n", "auth-file: one -> two takes a restart"),
        ("", "auth-file: one -> - takes a restart"),
    ] {
        write(&bench.folder.path().join("x.toml"), text);
        bench.reload(said);
        assert_eq!(bench.login("anna", "two").1, FAILURE);
        assert_eq!(bench.login("anna", "one").1, "STORED");
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let bench = Bench::new("anna:secret");
    assert!(!bench.daemon.log().contains("WARN"), "{}", bench.daemon.log());
    allow(&bench.users(), 0o644);
    let warning = "others have access to the passwords in users (mode 644); chmod o= users";
    assert!(bench.reload("nothing has changed").contains(warning));
    let again = Launch::new(bench.folder.path()).database(bench.folder.path().join("b.db"));
    let daemon = again.with("-Y users").start();
    assert_eq!(daemon.log().matches(warning).count(), 1, "{}", daemon.log());
    let checked = common::tools::tool(bench.folder.path(), &["config", "check", "-Y", "users"]);
    let (out, err) = texts(&checked);
    assert!(out == "ok\n" && err.contains(warning), "{out}{err}");
}

#[test]
fn what_does_not_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&folder.path().join("good"), "anna:secret");
    write(&folder.path().join("bad"), "secret");
    write(&folder.path().join("rights"), "anna:secret\nrights secret read");
    let cases = [
        ("-Y missing", 66, "cannot read missing: "),
        ("-Y .", 74, "cannot read .: it is no regular file; see --auth-file (-Y)"),
        ("-Y bad", 78, "bad line 1: there is no colon in it; write user:password"),
        (
            "-Y rights",
            78,
            "rights line 2: there is no such user in the file; write rights USER VERB",
        ),
        ("-Y good -B binary", 64, "--protocol (-B) cannot be \"binary\"; give auto or ascii, as"),
        ("-S", 64, "--enable-sasl (-S) needs to know who may log in; give --auth-file (-Y) FILE"),
        ("-S -Y good -B ascii", 64, "--protocol (-B) cannot be \"ascii\"; give auto"),
    ];
    for (arguments, code, said) in cases {
        let refused = Launch::new(folder.path()).with(arguments).refused();
        assert_eq!(refused.code, Some(code), "{arguments}: {}", refused.log);
        let line = refused.log.lines().last().expect("it says why");
        assert!(line.contains(said) && !line.contains("secret"), "{arguments}: {line}");
    }
}

#[test]
fn with_sasl_text_is_ended_without_a_word() {
    let bench = Bench::with("anna:secret", "-S -vv");
    assert!(bench.daemon.log().contains("--enable-sasl (-S) ends every client of the text"));
    for bytes in ["v", "version\r\n", "set login 0 0 11\r\nanna secret\r\n"] {
        let mut client = bench.daemon.client();
        client.send(bytes);
        assert_eq!(client.rest(), b"", "{bytes:?}");
    }
    let refused = || bench.daemon.log().matches("NoFrame").count() == 3;
    until("they are logged", PATIENCE, || refused().then_some(()));
    assert!(!bench.daemon.log().contains("secret"), "{}", bench.daemon.log());
}

#[test]
fn a_failed_login_is_logged_with_its_address_and_without_its_secret() {
    let bench = Bench::with("anna:secret", "-vv");
    let (client, said) = bench.login("anna", "segret");
    assert_eq!(said, FAILURE);
    let line = format!("a client at tcp:127.0.0.1:{} failed to log in", client.local_port());
    until("it is logged", PATIENCE, || bench.daemon.log().contains(&line).then_some(()));
    let (mut client, _) = bench.login("anna", "secret");
    // A secret in the place of a command, for its length was no number.
    let mut slip = bench.daemon.client();
    slip.send("set login 0 0 x\r\nanna secret\r\n");
    slip.line();
    slip.line();
    // All at once: most of them are turned away.
    let _guessers: Vec<Client> = (0..100)
        .map(|_| {
            let mut guesser = bench.daemon.client();
            guesser.send("set login 0 0 11\r\nanna segret\r\n");
            guesser
        })
        .collect();
    until("they are judged", PATIENCE, || (client.stat("auth_errors") == 101).then_some(()));
    client.set("k", "v");
    until("that is logged", PATIENCE, || bench.daemon.log().contains("set k").then_some(()));
    let log = bench.daemon.log();
    assert!(!log.contains("secret") && !log.contains("segret"), "{log}");
    let lines = log.matches("failed to log in").count();
    assert!((2..=20).contains(&lines), "{lines} lines for 101 failures");
    assert_eq!((client.stat("auth_cmds"), client.stat("auth_errors")), (102, 101));
}

#[test]
fn logins_are_counted_and_metrics_need_none() {
    let bench = Bench::with("anna:secret", "--http 127.0.0.1:0");
    bench.login("anna", "secret");
    bench.login("anna", "wrong");
    let mut web = TcpStream::connect(("127.0.0.1", bench.daemon.http_port())).expect("connects");
    web.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it listens");
    let mut page = String::new();
    web.read_to_string(&mut page).expect("it answers");
    for outcome in ["accepted", "refused"] {
        let line = format!("litecached_logins_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(page.contains(&line), "{page}");
    }
    assert!(page.contains("litecached_errors_total{kind=\"client\"} 1\n"), "{page}");
}

#[test]
fn commands_scripts_and_pipes_log_in() {
    let bench = Bench::new("anna:her secret\nbert:his");
    let file = bench.folder.path().join("password");
    write(&file, "her secret\r\n");
    let by_file = bench
        .command(&["client", "--user", "anna", "--password-file", "password", "set", "k", "v"])
        .output()
        .expect("it runs");
    assert_eq!(texts(&by_file), ("STORED\n".into(), String::new()));
    let by_variable = bench.tool(&["client", "--user", "bert", "get", "k"], "his", b"");
    assert_eq!(texts(&by_variable), ("v".into(), String::new()));
    let script = bench.tool(&["client", "--user", "bert"], "his", b"set a b\nget a\n");
    assert_eq!(texts(&script), ("STORED\nVALUE a 0 1\nb\nEND\n".into(), String::new()));
    let pipe = bench.tool(&["client", "--user", "bert", "set", "p"], "his", b"piped");
    assert_eq!(texts(&pipe), ("STORED\n".into(), String::new()));
    let dump = bench.tool(&["client", "--user", "bert", "--json", "get", "p"], "his", b"");
    assert!(texts(&dump).0.contains("piped"), "{dump:?}");
}

#[test]
fn who_may_not_is_told_so() {
    let bench = Bench::new("anna:secret");
    let address = format!("127.0.0.1:{}", bench.daemon.port());
    let wanted = format!("litecached: the server at {address} asks for a login; give --user\n");
    let refused =
        format!("litecached: the server at {address} refused the login; check user and password\n");
    let item = b"{\"key\":\"a\",\"value\":\"b\"}\n";
    let from_server = ["import", "--from", "memcached", &address, "--db", "other.db"];
    let to_server = ["import", "--from", "jsonl", "-", "--to-server", &address];
    let tools: [&[&str]; 5] =
        [&["client", "get", "k"], &["client"], &["check"], &from_server, &to_server];
    for words in tools {
        for (user, said) in [(&[][..], &wanted), (&["--user", "anna"], &refused)] {
            let (name, rest) = words.split_first().expect("a tool");
            let words = [&[*name], user, rest].concat();
            let input: &[u8] = if *name == "client" { b"get k\n" } else { item };
            let output = bench.tool(&words, "wrong", input);
            let (_, err) = texts(&output);
            assert_eq!(output.status.code(), Some(77), "{words:?}: {err}");
            let said = said.strip_prefix("litecached: ").expect("it begins so");
            assert!(err.ends_with(said) && !err.contains("wrong"), "{words:?}: {err}");
        }
    }
    for (words, code, said) in [
        (["--user", "anna", "--password-file", "missing"], 66, "cannot read missing"),
        (["--user", "a b", "--timeout", "5s"], 64, "--user is no name"),
        (["--timeout", "5s", "--password-file", "x"], 64, "--user"),
    ] {
        let output = bench.tool(&[&["client"], &words[..], &["version"]].concat(), "x", b"");
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
}

#[test]
fn the_other_tools_log_in() {
    let bench = Bench::new("anna:secret");
    let address = format!("127.0.0.1:{}", bench.daemon.port());
    let anna = |words: &[&str], input: &[u8]| {
        let output = bench.tool(&[words, &["--user", "anna"]].concat(), "secret", input);
        assert!(output.status.success(), "{words:?}: {output:?}");
        texts(&output).0
    };
    let item = b"{\"key\":\"a\",\"value\":\"b\"}\n";
    anna(&["import", "--from", "jsonl", "-", "--to-server", &address], item);
    assert!(anna(&["export", "--to", "jsonl", "--db", "cache.db"], b"").contains("\"b\""));
    anna(&["export", "--to", "memcached", &address, "--db", "cache.db"], b"");
    assert!(anna(&["check", "--clients", "3", "--rounds", "3"], b"").contains("cases passed"));
    let (mut client, _) = bench.login("anna", "secret");
    assert_eq!(client.get("a"), Some(b"b".to_vec()));
}

#[test]
fn our_client_logs_in_to_memcached() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("users");
    write(&users, "anna:secret\n");
    let Some(server) = Memcached::start(&["-l", "127.0.0.1", "-Y", &users.display().to_string()])
    else {
        return;
    };
    for (password, code, said) in [("secret", 0, ""), ("wrong", 77, "refused the login")] {
        let words = ["client", "--user", "anna", &server.address, "set", "k", "v"];
        let mut client = command(folder.path(), &words);
        let output = feed(client.env("LITECACHED_PASSWORD", password), b"");
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn a_server_that_asks_for_no_login_is_told_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bench = Bench { daemon: Launch::new(folder.path()).with("-vv").start(), folder };
    let output = bench.tool(&["client", "--user", "anna", "set", "k", "v"], "secret", b"");
    assert_eq!(texts(&output).0, "STORED\n");
    assert_eq!(bench.daemon.client().stat("curr_items"), 1);
}

#[test]
fn at_a_terminal_the_password_is_asked_for_and_not_shown() {
    if !needs("expect") {
        return;
    }
    let bench = Bench::new("anna:secret");
    let expect = |script: &str| {
        let variables: Vec<_> = bench
            .command(&[])
            .env("PROGRAM", env!("CARGO_BIN_EXE_litecached"))
            .env("TERM", "dumb")
            .env("LITECACHED_HISTORY", "")
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let output = Command::new("timeout")
            .args(["60", "expect", "-c", script])
            .env_remove("LITECACHED_PASSWORD")
            .envs(variables)
            .current_dir(bench.folder.path())
            .output()
            .expect("timeout is one of the core utilities");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("passed"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        said
    };
    let ask = "set timeout 20\nproc see {text} { expect -ex $text {} default { exit 1 } }\n\
               spawn $env(PROGRAM) client --user anna\nsee {Password for anna: }\n";
    // As a prompt, where a character and a whole line are taken back.
    let said = expect(&format!(
        "{ask}send -- \"wrong\\025secrex\\177t\\r\"\nsee {{Connected to}}\nsee {{> }}\n\
         send -- \"set k v\\r\"\nsee STORED\nsee {{> }}\nsend -- \"\\004\"\nexpect eof\nputs passed"
    ));
    assert!(said.contains("STORED"), "{said}");
    // Given up; and a script on stdin is no answer.
    expect(&format!(
        "{ask}send -- \"sec\\003\"\nsee {{no password was given}}\nexpect eof\nputs passed"
    ));
    expect(
        "set timeout 20\nproc see {text} { expect -ex $text {} default { exit 1 } }\n\
         spawn sh -c \"echo get k | $env(PROGRAM) client --user anna\"\n\
         see {Password for anna: }\nsend -- \"secret\\r\"\nsee {VALUE k 0 1}\nexpect eof\nputs passed",
    );
}
