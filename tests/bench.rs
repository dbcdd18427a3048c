//! `litecached bench` against the real daemon: what it counts is what was asked, every answer is judged,
//! and its end says what happened.
//!
//! A fixed number of requests each, and nothing about how fast they were.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, needs, run, until};
use common::redis::Redis;
use common::tools::{command, folder, refused, texts, tool};

/// Runs `bench :PORT` with these words, which end in good order or with `code`.
fn bench(folder: &Path, port: u16, words: &str, code: i32) -> (String, String) {
    let address = format!(":{port}");
    let all: Vec<&str> = ["bench", &address, "-q"].into_iter().chain(words.split(' ')).collect();
    let output: Output = tool(folder, &all);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{words}: {out}{err}");
    (out, err)
}

/// The same with `--json`: the object, and its first server's first round.
fn measured(folder: &Path, port: u16, words: &str, code: i32) -> (Value, Value) {
    let (out, _) = bench(folder, port, &format!("--json {words}"), code);
    let object: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{out}: {error}"));
    let round = object["servers"][0]["rounds"][0].clone();
    (object, round)
}

fn count(round: &Value, name: &str) -> u64 {
    round[name].as_u64().unwrap_or_else(|| panic!("{name} in {round}"))
}

fn items(daemon: &Daemon) -> u64 {
    stat(daemon, "curr_items")
}

fn stat(daemon: &Daemon, name: &str) -> u64 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port())).expect("it listens");
    stream.write_all(b"stats\r\n").expect("it reads");
    let wanted = format!("STAT {name} ");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let line = lines.find(|line| line.starts_with(&wanted) || line == "END").expect("an answer");
    line.trim_start_matches(&wanted).parse().unwrap_or_else(|_| panic!("there is no {name}"))
}

#[test]
fn each_protocol_counts_what_it_asked() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    for protocol in ["classic", "meta", "binary"] {
        for (keys, depth) in [(1, 1), (4, 1), (1, 7), (4, 7)] {
            let words = format!(
                "-B {protocol} --fill -k 500 -n 2001 -c 5 -t 2 -P {depth} --keys-per-get {keys} \
                 --size 0..3000 --prefix {protocol}: --mix 3:1 --ttl 1h"
            );
            let (object, round) = measured(folder.path(), daemon.port(), &words, 0);
            assert_eq!(object["ok"], true, "{object}");
            let (gets, sets) = (count(&round, "gets"), count(&round, "sets"));
            assert_eq!(gets + sets, 2_001, "{words}: {round}");
            assert!(gets > 1_300 && sets > 350, "{words}: {round}");
            assert_eq!(count(&round, "hits"), gets * keys, "{words}: {round}");
            for name in ["misses", "wrong", "errors", "unanswered", "unsent"] {
                assert_eq!(count(&round, name), 0, "{words}: {name} in {round}");
            }
            for name in ["get_p50_us", "set_p99_us", "all_max_us", "requests_per_second"] {
                assert!(round[name].as_f64().expect(name) > 0.0, "{words}: {round}");
            }
        }
    }
    assert_eq!(items(&daemon), 1_500);
}

#[test]
fn keys_that_are_not_there_are_missed_and_stored_if_wanted() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    for protocol in ["classic", "meta", "binary"] {
        let words =
            format!("-B {protocol} -k 100 -n 500 --mix 1:0 --keys-per-get 5 --prefix {protocol}");
        let (_, round) = measured(folder.path(), daemon.port(), &words, 0);
        assert_eq!((count(&round, "hits"), count(&round, "misses")), (0, 2_500), "{round}");
        let (out, _) = bench(folder.path(), daemon.port(), &words, 0);
        assert!(out.contains("no key was there; --fill stores every key first"), "{out}");
        assert_eq!(stat(&daemon, "cmd_set"), 0);
    }
    let words = "-k 100 -n 500 -c 1 --mix 1:0 --set-on-miss --distribution sequential";
    let (_, round) = measured(folder.path(), daemon.port(), words, 0);
    assert_eq!((count(&round, "gets"), count(&round, "sets")), (400, 100), "{round}");
    assert_eq!((count(&round, "hits"), count(&round, "misses")), (300, 100), "{round}");
}

#[test]
fn a_trace_is_asked_for_once_and_in_order() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let trace = folder.path().join("trace");
    fs::write(&trace, "one 10\ntwo 2000\none 10\nthree 0\nthree 0\none 10\n").expect("written");
    let words = "--trace trace -c 1";
    let (_, round) = measured(folder.path(), daemon.port(), words, 0);
    assert_eq!((count(&round, "hits"), count(&round, "misses")), (3, 3), "{round}");
    assert_eq!((count(&round, "gets"), count(&round, "sets")), (6, 3), "{round}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port())).expect("it listens");
    stream.write_all(b"get two\r\nquit\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    assert!(answer.starts_with("VALUE two 0 2000\r\n"), "{answer}");
    // Again, from the beginning, and with what is there now.
    let (_, round) = measured(folder.path(), daemon.port(), "--trace trace -c 1 -n 60", 0);
    assert_eq!((count(&round, "hits"), count(&round, "misses")), (60, 0), "{round}");
    fs::write(&trace, "one 10\ntwo\n").expect("written");
    let (_, err) = refused(folder.path(), 65, &["bench", "--trace", "trace"]);
    assert!(err.contains("trace line 2: this is no 'key size'"), "{err}");
    let (_, err) = refused(folder.path(), 66, &["bench", "--trace", "elsewhere"]);
    assert!(err.contains("cannot read elsewhere"), "{err}");
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let words = "-n 500 --rate 5000 -c 4 -t 2 -P 2 -k 100";
    let (object, round) = measured(folder.path(), daemon.port(), words, 0);
    assert_eq!(count(&round, "requests"), 500, "{round}");
    assert_eq!(object["load"]["rate"], 5_000);
    // The last one was due after a tenth of a second.
    assert!(round["seconds"].as_f64().expect("a time") > 0.099, "{round}");
}

#[test]
fn two_servers_take_turns() {
    let (folder, other) = (folder(), common::tools::folder());
    let daemon = Launch::new(folder.path()).start();
    let neighbour = Launch::new(other.path()).start();
    let words = format!(
        "--vs :{} --vs-protocol meta --rounds 3 -n 300 -k 50 --fill --plot plot.svg",
        neighbour.port()
    );
    let (object, _) = measured(folder.path(), daemon.port(), &words, 0);
    for server in 0..2 {
        let server = &object["servers"][server];
        assert_eq!(server["rounds"].as_array().map(Vec::len), Some(3), "{object}");
        assert!(server["median"]["requests_per_second"].as_f64().expect("a figure") > 0.0);
    }
    assert_eq!(object["servers"][0]["pid"], daemon.pid().as_raw());
    assert!(object["ratios"]["requests_per_second"].as_f64().expect("a ratio") > 0.0, "{object}");
    assert_eq!((items(&daemon), items(&neighbour)), (50, 50));

    let (out, _) = bench(folder.path(), daemon.port(), &words, 0);
    let row = |name: &str| out.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    assert!(row("requests/s").is_some_and(|row| row.contains(" to ")), "{out}");
    assert!(row("set p99.9").is_some(), "{out}");

    let plot = folder.path().join("plot.svg");
    let svg = fs::read_to_string(&plot).expect("it was drawn");
    assert_eq!(svg.matches("<polyline").count(), 4, "{svg}");
    if needs("python3") {
        let parse = "import sys, xml.etree.ElementTree as tree; print(tree.parse(sys.argv[1]).getroot().tag)";
        let root = run("python3", &["-c", parse, plot.to_str().expect("a text")]);
        assert_eq!(root.trim(), "{http://www.w3.org/2000/svg}svg");
    }
    let (_, err) = bench(folder.path(), daemon.port(), "-n 1 --plot missing/plot.svg", 73);
    assert!(err.contains("cannot write missing/plot.svg"), "{err}");
}

#[test]
fn a_value_that_is_not_what_was_stored_is_told() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    bench(folder.path(), daemon.port(), "--fill -k 2 -n 1 --size 50", 0);
    // Another size of an earlier run is no wrong answer; another value is.
    let words = "-k 2 -n 100 --mix 1:0 --distribution sequential -c 1";
    bench(folder.path(), daemon.port(), words, 0);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port())).expect("it listens");
    stream.write_all(b"set bench:0000000001 0 0 5\r\nwrong\r\nquit\r\n").expect("it reads");
    stream.read_to_string(&mut String::new()).expect("it is text");
    for protocol in ["classic", "meta", "binary"] {
        let words = format!("-B {protocol} {words}");
        let (object, round) = measured(folder.path(), daemon.port(), &words, 1);
        assert_eq!((count(&round, "wrong"), count(&round, "hits")), (50, 50), "{round}");
        assert_eq!(object["ok"], false);
        let (out, err) = bench(folder.path(), daemon.port(), &words, 1);
        let what = "50 x the value of bench:0000000001 with 5 bytes is not what was stored";
        assert!(out.contains(what), "{out}");
        assert!(err.contains("50 wrong answers, 0 errors"), "{err}");
    }
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).with("-I 1k").start();
    for protocol in ["classic", "meta", "binary"] {
        let words = format!("-B {protocol} -k 10 -n 40 --mix 0:1 --size 2000");
        let (_, round) = measured(folder.path(), daemon.port(), &words, 1);
        assert_eq!(count(&round, "errors"), 40, "{round}");
        let what = round["complaints"][0]["what"].as_str().expect("its words");
        assert!(what.to_ascii_lowercase().contains("too large"), "{what}");
        let (_, err) = bench(folder.path(), daemon.port(), &format!("{words} --fill"), 1);
        assert!(err.contains("refused 10 of 10 keys"), "{err}");
    }
}

#[test]
fn a_wrong_address_or_protocol_is_told() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let (_, err) = bench(folder.path(), daemon.port(), "-B redis -n 10", 69);
    assert!(err.contains("which the protocol redis has not there; check --protocol"), "{err}");
    let closed =
        Launch::new(folder.path()).database(folder.path().join("other")).with("-B ascii").start();
    let (_, err) = bench(folder.path(), closed.port(), "-B binary -n 10 --timeout 1s", 69);
    assert!(err.contains("--protocol"), "{err}");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let (_, err) = bench(folder.path(), port, "-n 10", 69);
    assert!(err.contains("no connection to"), "{err}");
    let (_, err) = bench(folder.path(), port, "--mix many", 64);
    assert!(err.contains("--mix 'many' is no mix of gets and sets"), "{err}");
}

#[test]
fn it_logs_in_where_the_server_asks() {
    let folder = folder();
    fs::write(folder.path().join("users"), "anna:secret\n").expect("written");
    fs::write(folder.path().join("password"), "secret\n").expect("written");
    let daemon = Launch::new(folder.path()).with("-Y users").start();
    let (_, err) = bench(folder.path(), daemon.port(), "-n 10", 77);
    assert!(err.contains("asks for a login; give --user"), "{err}");
    for protocol in ["classic", "meta"] {
        let words =
            format!("-B {protocol} -n 100 -k 10 --fill --user anna --password-file password");
        let (_, round) = measured(folder.path(), daemon.port(), &words, 0);
        assert_eq!(count(&round, "requests"), 100, "{round}");
    }
    let words = "-B binary -n 10 --user anna --password-file password";
    let (_, err) = bench(folder.path(), daemon.port(), words, 64);
    assert!(err.contains("--user logs in over the text protocol"), "{err}");
}

/// A bench that would run for an hour, once the daemon feels it.
fn long_bench(folder: &Path, daemon: &Daemon) -> Child {
    let address = format!(":{}", daemon.port());
    let words =
        ["bench", &address, "-q", "--duration", "1h", "--warm-up", "0", "-c", "4", "-k", "100"];
    let child = command(folder, &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    until("the daemon is asked", PATIENCE, || (stat(daemon, "cmd_get") > 100).then_some(()));
    child
}

#[test]
fn a_server_that_goes_away_ends_it_with_the_results_so_far() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    let child = long_bench(folder.path(), &daemon);
    daemon.kill();
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(74), "{out}{err}");
    assert!(err.contains("was lost"), "{err}");
    assert!(out.lines().any(|line| line.starts_with("all ")), "{out}");
}

#[test]
fn ctrl_c_ends_it_with_the_results_so_far() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let child = long_bench(folder.path(), &daemon);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}{err}");
    assert!(err.contains("interrupted"), "{err}");
    assert!(out.lines().any(|line| line.starts_with("all ")), "{out}");
}

#[test]
fn redis_can_be_compared() {
    let folder = folder();
    let Some(redis) = Redis::start(folder.path(), &[]) else { return };
    for keys in [1, 3] {
        let words =
            format!("-B redis --fill -k 100 -n 1000 --keys-per-get {keys} --mix 3:1 --ttl 1h -P 5");
        let (_, round) = measured(folder.path(), redis.port(), &words, 0);
        assert_eq!(count(&round, "requests"), 1_000, "{round}");
        assert_eq!(count(&round, "hits"), count(&round, "gets") * keys, "{round}");
        assert_eq!(count(&round, "wrong") + count(&round, "errors"), 0, "{round}");
    }
    let (_, err) = bench(folder.path(), redis.port(), "-n 10", 69);
    assert!(err.contains("--protocol"), "{err}");
}
