//! CSV that a program reads and writes: what was exported is imported whole, whatever bytes it is made of, and
//! Python's reader agrees on what it is.

use std::fs;
use std::process::Command;

use super::common::ground::{needs, run, seed};
use super::common::tools::{Items, done, folder, items, refused};
use super::random_items;

#[test]
fn every_byte_goes_out_as_csv_and_comes_back() {
    let folder = folder();
    let at = folder.path();
    let mut there = random_items(&at.join("in.jsonl"), 1_000, seed());
    let every: Vec<u8> = (0..=255).collect();
    there.insert(every[..250].to_vec(), (every.clone(), u32::MAX, i64::MAX));
    there.insert(every[6..].to_vec(), (Vec::new(), 0, 0));
    done(at, &["import", "--from", "jsonl", "in.jsonl", "--db", "a.db"]);
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let more = format!(
        "key_base64,value_base64,exptime,flags,value,note\n{},{},{},{},,x\n{},,,,\"\",\"y\nz\"\n",
        encoded(&every[..250]),
        encoded(&every),
        i64::MAX,
        u32::MAX,
        encoded(&every[6..]),
    );
    fs::write(at.join("more.csv"), more).expect("written");
    done(at, &["import", "--from", "csv", "more.csv", "--db", "a.db"]);
    assert!(items(&at.join("a.db")) == there);
    done(at, &["export", "--to", "csv", "out.csv", "--db", "a.db"]);
    let told = done(at, &["import", "--from", "csv", "out.csv", "--db", "b.db"]);
    assert!(told.contains("imported 1002 items"), "{told}");
    assert!(items(&at.join("b.db")) == there);
    let again = done(at, &["export", "--to", "csv", "--db", "b.db"]);
    let first = fs::read_to_string(at.join("out.csv")).expect("it is UTF-8");
    assert!(again.len() == first.len() && again.starts_with("key,value,flags,exptime,stored,"));
}

#[test]
fn python_reads_what_is_exported_and_writes_what_is_imported() {
    if !needs("python3") {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let text = r#"{"key":"a","value":"comma, \"quote\"\r\nline","flags":3}
        {"key":"b","value":""}
        {"key":"ä","value":" blank ","exptime":5000000000}"#;
    fs::write(at.join("in"), text).expect("written");
    done(at, &["import", "--from", "jsonl", "in", "--db", "a.db"]);
    done(at, &["export", "--to", "csv", "out.csv", "--db", "a.db"]);
    let program = "import csv\n\
                   rows = list(csv.DictReader(open('out.csv', newline='', encoding='utf-8')))\n\
                   out = csv.writer(open('back.csv', 'w', newline='', encoding='utf-8'))\n\
                   out.writerow(['value', 'key', 'flags', 'exptime'])\n\
                   for row in rows: out.writerow([row['value'], row['key'], row['flags'], row['exptime']])\n";
    let output = Command::new("python3").args(["-c", program]).current_dir(at).output();
    let output = output.expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    done(at, &["import", "--from", "csv", "back.csv", "--db", "b.db"]);
    let expected = Items::from([
        (b"a".to_vec(), (b"comma, \"quote\"\r\nline".to_vec(), 3, 0)),
        (b"b".to_vec(), (Vec::new(), 0, 0)),
        ("ä".as_bytes().to_vec(), (b" blank ".to_vec(), 0, 5_000_000_000)),
    ]);
    assert_eq!(items(&at.join("b.db")), expected);
}

#[test]
fn what_is_wrong_in_csv_is_named_by_its_line() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("in"), "key,value\na,1\nb\nc,\"x\ny\"\nd,2,3\n\"e\"f,4\ng,\"5")
        .expect("written");
    let (out, _) = refused(at, 65, &["import", "--from", "csv", "in"]);
    for says in
        ["line 3: it has 1 fields", "line 6: it has 3", "line 7: a quoted", "line 8: the file"]
    {
        assert!(out.contains(says), "{says}: {out}");
    }
    assert_eq!(items(&at.join("litecached.db")).len(), 2);
    fs::write(at.join("headless"), "a,1\nb,2\n").expect("written");
    let (_, err) = refused(at, 65, &["import", "--from", "csv", "headless", "--db", "none.db"]);
    assert!(err.contains("no column key") && !at.join("none.db").exists(), "{err}");
    run("gzip", &["-k", at.join("in").to_str().expect("a text")]);
    let (_, err) = refused(at, 65, &["import", "--from", "csv", "in.gz"]);
    assert!(err.contains("zcat FILE | litecached import --from csv -"), "{err}");
}
