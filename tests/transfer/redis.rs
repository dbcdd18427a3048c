//! Strings of a Redis come over with the time they have left, and items go there without their flags; what
//! is wrong with the server is said as such.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::common::ground::seed;
use super::common::redis::Redis;
use super::common::tools::{Items, done, folder, items, refused, unix_now};
use super::random_items;

fn report(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn strings_of_a_redis_are_imported_with_the_time_they_have_left() {
    let folder = folder();
    let at = folder.path();
    let Some(redis) = Redis::start(at, &[]) else { return };
    let mut client = redis.client();
    let began = unix_now();
    let mut expected = BTreeMap::new();
    for number in 0..3_000_i64 {
        let key = format!("k/{number}").into_bytes();
        let value = format!("value {number}\r\n\0").repeat(usize::try_from(number % 90).unwrap());
        let ttl = [0, 1_000, 100_000][usize::try_from(number % 3).unwrap()];
        let milliseconds = (ttl * 1_000).to_string();
        let mut words: Vec<&[u8]> = vec![b"SET", &key, value.as_bytes()];
        if ttl > 0 {
            words.extend([&b"PX"[..], milliseconds.as_bytes()]);
        }
        assert_eq!(client.ask(&words), b"+OK");
        let exptime = if ttl == 0 { 0 } else { began + ttl };
        expected.insert(key, (value.into_bytes(), exptime));
    }
    let every: Vec<u8> = (0..=255).collect();
    assert_eq!(client.ask(&[b"SET", &every[..200], &every]), b"+OK");
    expected.insert(every[..200].to_vec(), (every.clone(), 0));
    // A number is kept as one there, and is a string all the same.
    assert_eq!(client.tell("INCRBY n 41"), ":41");
    expected.insert(b"n".to_vec(), (b"41".to_vec(), 0));
    assert_eq!(client.tell("SET soon x PX 1"), "+OK");
    for command in ["LPUSH list a", "HSET hash a b", "HSET hash2 a b", "SADD set a"] {
        assert_eq!(client.tell(command), ":1");
    }
    assert_eq!(client.tell(&format!("SET {} x", "l".repeat(251))), "+OK");
    assert_eq!(client.tell(&format!("SET {} x", "l".repeat(5_000))), "+OK");
    assert_eq!(client.tell(&format!("SET huge {}", "x".repeat(2_000_000))), "+OK");

    let words = ["import", "--from", "redis", &redis.url(), "--json"];
    let (out, _) = refused(at, 65, &words);
    let ended = unix_now();
    let told = report(&out);
    assert_eq!((&told["imported"], &told["refused"]), (&expected.len().into(), &3.into()), "{out}");
    assert_eq!(told["notes"][0], "left out, for only strings are items: 2 hash, 1 list, 1 set");
    let reasons = told["refusals"].to_string();
    for reason in ["251 bytes, more than 250", "5000 bytes", "larger than the largest item"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
    let seen = items(&at.join("litecached.db"));
    assert_eq!(seen.len(), expected.len());
    for (key, (value, exptime)) in &expected {
        let (seen_value, flags, seen_exptime) = &seen[key];
        assert_eq!((seen_value, *flags), (value, 0), "{}", key.escape_ascii());
        let allowed =
            if *exptime == 0 { 0..=0 } else { exptime - 2..=exptime + (ended - began) + 1 };
        assert!(allowed.contains(seen_exptime), "{}: {seen_exptime}", key.escape_ascii());
    }

    // Again, into what has it; and only told.
    let (out, _) = refused(at, 65, &words);
    assert_eq!(report(&out)["skipped"], expected.len(), "{out}");
    let dry = ["--db", "other.db", "--dry-run", "--strict"];
    let (out, _) = refused(at, 65, &[&words[..], &dry].concat());
    assert_eq!(report(&out)["refused"], 1, "{out}");
    assert!(!at.join("other.db").exists());
}

#[test]
fn items_go_to_a_redis_and_come_back() {
    let folder = folder();
    let at = folder.path();
    let Some(redis) = Redis::start(at, &["--requirepass", "s3cret word"]) else { return };
    let url = format!("redis://:s3cret%20word@127.0.0.1:{}/3", redis.port());
    let later = unix_now() + 5_000;
    let there = random_items(&at.join("in.jsonl"), 1_500, seed());
    done(at, &["import", "--from", "jsonl", "in.jsonl", "--db", "a.db"]);
    let words = ["export", "--to", "redis", &url, "--db", "a.db", "--json"];
    let told = report(&done(at, &words));
    let flagged = there.values().filter(|(_, flags, _)| *flags != 0).count();
    assert_eq!((&told["exported"], &told["reduced"]), (&1_500.into(), &flagged.into()), "{told}");

    let mut client = redis.client();
    assert_eq!(client.tell("GET k"), "-NOAUTH Authentication required.");
    assert_eq!(client.ask(&[b"AUTH", b"s3cret word"]), b"+OK");
    assert_eq!(client.tell("SELECT 3"), "+OK");
    assert_eq!(client.tell("DBSIZE"), ":1500");
    done(at, &["import", "--from", "redis", &url, "--db", "b.db"]);
    let seen = items(&at.join("b.db"));
    assert_eq!(there.len(), seen.len());
    for (key, (value, _, exptime)) in &there {
        let (seen_value, flags, seen_exptime) = &seen[key];
        assert_eq!((seen_value, *flags), (value, 0), "{}", key.escape_ascii());
        // Redis counts milliseconds, and has no time for the last ones.
        let last = later + i64::MAX / 2 / 1_000;
        let (expected, slack) = if *exptime > last { (last, 10_000) } else { (*exptime, 1) };
        let is_never = *exptime == 0;
        let is_near = expected.abs_diff(*seen_exptime) <= slack && is_never == (*seen_exptime == 0);
        assert!(is_near, "{}: {exptime} {seen_exptime}", key.escape_ascii());
    }

    // What is there already stays, or goes.
    let line = format!(r#"{{"key":"k","value":"new","flags":1,"exptime":{later}}}"#);
    std::fs::write(at.join("one"), line).unwrap();
    done(at, &["import", "--from", "jsonl", "one", "--db", "c.db"]);
    assert_eq!(client.tell("SET k old"), "+OK");
    let words = ["export", "--to", "redis", &url, "--db", "c.db"];
    let told = done(at, &[&words[..], &["--on-conflict", "skip"]].concat());
    assert!(told.contains("exported 0 items") && told.contains("1 items were there"), "{told}");
    assert_eq!(client.tell("GET k"), "old");
    let told = done(at, &words);
    assert!(told.contains("exported 1 items") && told.contains("had flags"), "{told}");
    assert_eq!(client.tell("GET k"), "new");
    let left = client.tell("TTL k");
    assert!((":4990"..=":5000").contains(&left.as_str()), "{left}");

    // Who asks for a password is told it by --user, too, and only then.
    let plain = format!("127.0.0.1:{}", redis.port());
    let (_, err) = refused(at, 77, &["import", "--from", "redis", &plain]);
    assert!(err.contains("NOAUTH") && err.contains("give --user"), "{err}");
    std::fs::write(at.join("password"), "s3cret word\n").unwrap();
    let login = ["--user", "default", "--password-file", "password"];
    done(at, &[&["import", "--from", "redis", &plain, "--db", "d.db"], &login[..]].concat());
    let wrong = url.replace("s3cret", "wrong");
    let (_, err) = refused(at, 77, &["export", "--to", "redis", &wrong, "--db", "c.db"]);
    assert!(err.contains("WRONGPASS") && !err.contains("wrong%20word"), "{err}");
}

#[test]
fn a_redis_that_takes_nothing_says_why() {
    let folder = folder();
    let at = folder.path();
    let Some(redis) = Redis::start(at, &["--maxmemory", "3mb"]) else { return };
    let line = |number| format!("{{\"key\":\"k{number}\",\"value\":\"{}\"}}\n", "x".repeat(9_000));
    std::fs::write(at.join("in"), (0..2_000).map(line).collect::<String>()).unwrap();
    done(at, &["import", "--from", "jsonl", "in"]);
    let export = ["export", "--to", "redis", &redis.url(), "--json"];
    let (out, err) = refused(at, 73, &export);
    let told = report(&out);
    assert!(err.contains("OOM") && err.contains("raise its maxmemory"), "{err}");
    let mut client = redis.client();
    assert_eq!(client.tell("DBSIZE"), format!(":{}", told["exported"]), "{out}");
    assert_eq!(client.tell("FLUSHALL"), "+OK");
    assert_eq!(client.tell("REPLICAOF 127.0.0.1 1"), "+OK");
    let (_, err) = refused(at, 69, &export);
    assert!(err.contains("READONLY") && err.contains("name its master"), "{err}");
}

#[test]
fn keys_that_change_under_an_import_are_no_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // First a connection that counts, then one that walks.
    let serve = move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            while let Some(Ok(head)) = lines.next() {
                let count: usize = head[1..].parse().unwrap();
                let mut words = Vec::new();
                for _ in 0..count {
                    lines.next();
                    words.push(lines.next().unwrap().unwrap());
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let answer = match words[..] {
                    ["PING"] => "+PONG\r\n",
                    ["DBSIZE"] => ":4\r\n",
                    ["SCAN", "0", ..] => {
                        "*2\r\n$2\r\n17\r\n*3\r\n$1\r\na\r\n$4\r\ngone\r\n$4\r\nlist\r\n"
                    }
                    // It tells one of them twice.
                    ["SCAN", "17", ..] => "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$4\r\nlate\r\n",
                    ["TYPE", "gone"] => "+none\r\n",
                    ["TYPE", _] => "+string\r\n",
                    ["STRLEN", "gone"] => ":0\r\n",
                    ["STRLEN", _] => ":1\r\n",
                    ["PTTL", _] => ":-1\r\n",
                    ["GET", "a"] => "$1\r\nx\r\n",
                    ["GET", "list"] => "-WRONGTYPE Operation against a key\r\n",
                    ["GET", "late"] => "$-1\r\n",
                    _ => "-ERR unknown command\r\n",
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    };
    let server = thread::Builder::new().spawn(serve).unwrap();
    let folder = folder();
    let at = folder.path();
    let told = done(at, &["import", "--from", "redis", &address]);
    server.join().unwrap();
    assert!(told.contains("imported 2 items"), "{told}");
    assert!(told.contains("3 keys were gone when they were asked for"), "{told}");
    let expected = Items::from([(b"a".to_vec(), (b"x".to_vec(), 0, 0))]);
    assert_eq!(items(&at.join("litecached.db")), expected);
}

#[test]
fn what_is_no_redis_is_named() {
    let folder = folder();
    let at = folder.path();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (answer, code, says) in [
        ("ERROR\r\n", 69, "this is not Redis's protocol"),
        ("-LOADING Redis is loading the dataset in memory\r\n", 75, "start again when it has"),
        ("-DENIED Redis is running in protected mode\r\n", 77, "from its own machine"),
    ] {
        let serve = {
            let listener = listener.try_clone().unwrap();
            move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        };
        let server = thread::Builder::new().spawn(serve).unwrap();
        let (_, err) = refused(at, code, &["import", "--from", "redis", &address]);
        assert!(err.contains(says) && err.lines().count() == 1, "{err}");
        server.join().unwrap();
    }
    drop(listener);
    let (_, err) = refused(at, 69, &["import", "--from", "redis", &address]);
    assert!(err.contains("check that a server listens there"), "{err}");
    assert!(!at.join("litecached.db").exists());
}
