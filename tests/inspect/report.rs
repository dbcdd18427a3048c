//! `inspect report`: the figures are those of the other commands, keys stay text whatever they are, the
//! page is there whole or not at all and needs nothing else, and it can be read in a browser.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::common::daemon::{Launch, open_database};
use super::common::{ground, packages};
use super::{DATA, NO_INPUT, USAGE, folder, inspect, refused, served, shown};

const CANNOT_CREATE: i32 = 73;

const BEGIN: &str = "<script type=\"application/json\" id=\"litecached-report\">";

/// What the page has of data.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once(BEGIN).expect("the page has data");
    let (data, _) = data.split_once("</script>").expect("they end");
    serde_json::from_str(data).expect("they are JSON")
}

/// Makes one, into a file, and gives the page.
fn made(database: &Path, words: &[&str]) -> String {
    let page = database.with_file_name("made.html");
    let name = page.display().to_string();
    shown(database, &[&["report", name.as_str(), "--force"], words].concat());
    fs::read_to_string(page).expect("it was made")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the folder can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn its_numbers_are_those_of_the_other_commands() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    assert_eq!(daemon.client().get("user:1").as_deref(), Some(&b"one"[..]));
    // Far from where one bar becomes the next.
    assert_eq!(daemon.client().ask("touch user:3 7200\r\n"), "TOUCHED");
    let page = made(database, &["--top", "100"]);
    let found = data(&page);
    let summary: Value = serde_json::from_str(&shown(database, &["--json"])).expect("JSON");
    let top: Value = serde_json::from_str(&shown(database, &["summary", "--json", "--top", "100"]))
        .expect("JSON");
    for (name, figure) in top.as_object().expect("an object") {
        // Time goes on.
        if name != "at" && name != "reads" {
            assert_eq!(&found["figures"][name], figure, "{name}");
        }
    }
    assert_eq!(found["figures"]["live"], summary["live"]);
    assert_eq!(found["figures"]["reads"]["hits"], 1);
    assert_eq!(found["figures"]["live"]["items"], 5);
    // Keys of 6, 6, 6, 6 and 5 bytes, values of 3, 5,000, 2, 4 and 1.
    assert_eq!(found["figures"]["live"]["bytes"], 29 + 5_010 + 5 * 59);
    let next = shown(database, &["evict", "--dry-run", "--json", "--count", "100"]);
    let next: Vec<Value> =
        next.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found["next"], Value::from(next));
    assert_eq!(found["points"][0][1], 5);
    let user = json!({ "prefix": "user:", "items": 3, "bytes": 18 + 5_005 + 3 * 59 });
    assert_eq!(found["figures"]["prefixes"][0], user);
    for seen in ["<dd class=\"big\">5</dd>", "user:", "page/", "4.8 KiB", "user:2", "bin\\xff"] {
        assert!(page.contains(seen), "{seen}");
    }
}

#[test]
fn inner_prefixes_are_in_the_map() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    for number in 0..30 {
        client.set(&format!("shop:cart:{number}"), vec![b'v'; 500]);
        client.set(&format!("shop:user.{number}"), "v");
    }
    let database = daemon.launch().database_path();
    let page = made(database, &[]);
    let found = data(&page);
    let inner: Vec<&str> = found["inner_prefixes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|inner| inner["prefix"].as_str())
        .collect();
    assert_eq!(inner, ["shop:cart:", "shop:user."]);
    assert_eq!(found["figures"]["prefixes"][0]["items"], 60);
    assert_eq!(found["inner_prefixes"][0]["items"], 30);
    let map = page.split("<figure class=\"map wide\">").nth(1).expect("there is a map");
    assert!(map.contains("<title>cart:: ") && map.contains(">cart:"), "{map}");

    let page = made(database, &["--hide-keys"]);
    assert!(page.contains("prefix 1:") && page.contains("key 1<"), "{page}");
    let data = data(&page);
    assert_eq!(
        (&data["keys_hidden"], &data["figures"]["live"]["items"]),
        (&true.into(), &60.into())
    );
    for hidden in ["shop", "cart", "user."] {
        let (_, body) = page.split_once("<body>").expect("a body");
        assert!(!body.contains(hidden), "{hidden}: {page}");
    }
}

/// Keys that would be more than text where somebody forgot what they are.
const HOSTILE: [&[u8]; 8] = [
    b"</script><script>alert(1)</script>",
    b"\"><img/src=x/onerror=alert(1)>",
    b"</title></style></svg><svg/onload=alert(1)>:x",
    b"<!--<script>:a:b",
    b"'onmouseover='alert(1)'&lt;b&gt;",
    b"\xff\xfe<b>:\x1b[2J",
    "a\u{202e}<i>\u{2028}:c".as_bytes(),
    b"{{constructor}}&#60;script&#62;\\u003cb",
];

#[test]
fn whatever_a_key_is_it_stays_text() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    for (number, key) in HOSTILE.into_iter().enumerate() {
        let value = "<script>alert(2)</script>".repeat(number + 1);
        let rest = format!(" 0 0 {}\r\n{value}\r\n", value.len());
        assert_eq!(client.ask([b"set ", key, rest.as_bytes()].concat()), "STORED");
    }
    let database = daemon.launch().database_path();
    let page = made(database, &[]);
    let parts: Vec<&str> = page.split('<').skip(1).collect();
    for part in &parts {
        let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '/');
        let tag = part[..end.unwrap_or(part.len())].trim_start_matches('/');
        let known = "! html head meta title style body header h1 h2 h3 p span main section dl dt dd div \
                     figure figcaption svg desc rect text tspan g path table caption thead tbody tr th td \
                     bdi details summary code footer script";
        assert!(known.split(' ').any(|known| known.trim_matches('!') == tag), "{tag}: <{part}");
        // No attribute of ours has an event in it.
        let inside = part.split('>').next().unwrap_or("");
        assert!(!inside.contains(" on") && !inside.contains("/on"), "<{inside}>");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("<!").count(), 1, "the type of the document");
    for unwanted in ["\u{1b}", "\u{202e}", "\u{2028}", "alert(2)"] {
        assert!(!page.contains(unwanted), "{}", unwanted.escape_debug());
    }
    // As data they are what they were.
    let found = data(&page);
    let biggest = found["figures"]["biggest"].as_array().expect("a list");
    assert_eq!(biggest.len(), HOSTILE.len());
    for key in HOSTILE {
        let is_it = |entry: &Value| match str::from_utf8(key) {
            Ok(key) => entry["key"] == key,
            Err(_) => entry["key_base64"].is_string(),
        };
        assert!(biggest.iter().any(is_it), "{}", String::from_utf8_lossy(key));
    }
    // They do not hinder the next report either.
    let earlier = folder.path().join("made.html").display().to_string();
    assert!(made(database, &["--since", &earlier]).contains("No listed prefix has changed"));
}

#[test]
fn nothing_refers_elsewhere() {
    let folder = folder();
    let mut daemon = served(folder.path());
    daemon.stop();
    let database = daemon.launch().database_path();
    let page = made(database, &[]);
    let again =
        made(database, &["--since", &folder.path().join("made.html").display().to_string()]);
    for page in [page, again] {
        let lower = page.to_lowercase();
        for unwanted in
            ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<link", "<iframe", " on"]
        {
            let inside = lower.split('<').filter_map(|part| part.split_once('>'));
            let found = inside.map(|(tag, _)| tag).find(|tag| tag.contains(unwanted));
            assert_eq!(found, None, "{unwanted}");
        }
        let style = lower.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
        let style = style.expect("there is a style");
        assert!(!style.contains("url(") && !style.contains("@import"), "{style}");
        assert!(lower.contains("default-src 'none'"), "{page}");
    }
}

#[test]
fn growth_is_shown_since_an_earlier_report() {
    let folder = folder();
    let daemon = served(folder.path());
    let mut client = daemon.client();
    let database = daemon.launch().database_path();
    let first = folder.path().join("first.html").display().to_string();
    shown(database, &["report", &first]);
    let earlier = data(&fs::read_to_string(&first).expect("it was made"));
    client.set("cart:1", vec![b'v'; 3_000]);
    client.set("user:9", "v");
    client.ask("delete page/a\r\n");
    let page = made(database, &["--since", &first]);
    let found = data(&page);
    assert_eq!(found["points"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["points"][0], earlier["points"][0]);
    assert_eq!((&found["points"][1][1], &earlier["points"][0][1]), (&6.into(), &5.into()));
    let rows: Vec<&str> = page
        .split("Prefixes that changed most</caption>")
        .nth(1)
        .and_then(|rest| rest.split("</table>").next())
        .expect("a table of changes")
        .split("<tr>")
        .skip(2)
        .collect();
    let text = |row: &&str| {
        let parts = row.split('<').filter_map(|part| part.split_once('>'));
        parts
            .map(|(_, text)| text.trim())
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let rows: Vec<String> = rows.iter().map(text).collect();
    // 6 + 3,000 + 59 bytes came, 6 + 4 + 59 went, 6 + 1 + 59 came.
    assert_eq!(
        rows,
        ["cart: +2.9 KiB 2.9 KiB +1 1", "page/ −69 B 0 B −1 0", "user: +66 B 5.1 KiB +1 4"]
    );

    // A page goes on from itself, as from cron.
    let name = folder.path().join("made.html").display().to_string();
    for points in 3..6 {
        let page = made(database, &["--since", &name]);
        assert_eq!(data(&page)["points"].as_array().map(Vec::len), Some(points));
    }
    // Where one of the two names nothing, nothing by name is compared.
    let hidden = made(database, &["--since", &first, "--hide-keys"]);
    assert!(hidden.contains("cannot be compared") && !hidden.contains("cart:"), "{hidden}");

    // Of very many points the earliest are forgotten.
    let points: Vec<String> = (1..=400).map(|at| format!("[{at},1,1,1]")).collect();
    let long = page.replace(&found["points"].to_string(), &format!("[{}]", points.join(",")));
    fs::write(&first, long).expect("it can be written");
    let points = data(&made(database, &["--since", &first]))["points"].clone();
    assert_eq!(points.as_array().map(Vec::len), Some(400));
    assert_eq!((&points[0][0], &points[398][0]), (&2.into(), &400.into()));
    assert_eq!(points[399][1], 6);

    let copy = folder.path().join("copy.db");
    super::tool(database, &["backup", &copy.display().to_string()]);
    let page = made(&copy, &["--since", &first]);
    assert!(page.contains(", of another file, "), "{page}");
}

#[test]
fn what_is_no_earlier_report_is_refused() {
    let folder = folder();
    let mut daemon = served(folder.path());
    daemon.stop();
    let database = daemon.launch().database_path();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let page = made(database, &[]);
    let write = |name: &str, text: &[u8]| fs::write(at(name), text).expect("it can be written");
    write("theirs.html", b"<!doctype html><p>a page");
    write("bytes.html", b"\xff\xfe");
    write("cut.html", &page.as_bytes()[..page.len() - 100]);
    write("newer.html", page.replace("\"form\":1", "\"form\":2").as_bytes());
    write("later.html", page.replace("\"points\":[[", "\"points\":[[9").as_bytes());
    write("large.html", &vec![b' '; 17 << 20]);
    for (name, code, told) in [
        ("none.html", NO_INPUT, "cannot read"),
        ("theirs.html", DATA, "is no report"),
        ("bytes.html", DATA, "is no report"),
        ("large.html", DATA, "is no report"),
        ("cut.html", DATA, "changed or cut"),
        ("newer.html", DATA, "newer litecached"),
        ("later.html", USAGE, "later time"),
    ] {
        let out = at("out.html");
        let said = refused(database, &["report", &out, "--since", &at(name)], code);
        assert!(said.contains(told), "{name}: {said}");
        assert!(!Path::new(&out).exists(), "{name}");
    }
}

#[test]
fn it_is_there_whole_or_not_at_all() {
    let folder = folder();
    let mut daemon = served(folder.path());
    daemon.stop();
    let database = daemon.launch().database_path();
    let out = folder.path().join("out.html");
    let name = out.display().to_string();
    let told = shown(database, &["report", &name]);
    let bytes = fs::metadata(&out).expect("it was made").len();
    assert_eq!(told, format!("{name}: 5 items, {bytes} bytes\n"));
    let mode = fs::metadata(&out).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "keys are their owner's business");
    let json: Value =
        serde_json::from_str(&shown(database, &["report", &name, "--force", "--json"]))
            .expect("JSON");
    assert_eq!((&json["items"], &json["report"]), (&5.into(), &name.as_str().into()));
    let piped = shown(database, &["report", "-"]);
    assert!(piped.starts_with("<!doctype html>\n") && piped.ends_with("</html>\n"));

    fs::write(&out, "mine").expect("it can be written");
    let there = names(folder.path());
    let said = refused(database, &["report", &name], CANNOT_CREATE);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    let at = |part: &str| folder.path().join(part).display().to_string();
    for (place, words) in [
        (at("none/out.html"), &[][..]),
        (folder.path().display().to_string(), &["--force"]),
        (database.display().to_string(), &["--force"]),
        (format!("{}-wal", database.display()), &["--force"]),
    ] {
        let said = refused(database, &[&["report", &place], words].concat(), CANNOT_CREATE);
        assert!(said.contains(&place), "{said}");
    }
    // A database that cannot be read takes nothing from a page that is there.
    let broken = folder.path().join("broken.db");
    let mut bytes = fs::read(database).expect("it can be read");
    for page in bytes.chunks_mut(2_048).skip(2) {
        page.fill(0xa5);
    }
    fs::write(&broken, bytes).expect("it can be written");
    fs::write(folder.path().join("empty.db"), "").expect("it can be written");
    let older = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/version-1.sqlite").to_owned();
    for (database, code) in
        [(at("broken.db"), DATA), (at("empty.db"), DATA), (older, DATA), (at("no.db"), NO_INPUT)]
    {
        refused(Path::new(&database), &["report", &name, "--force"], code);
    }
    assert_eq!(fs::read(&out).expect("it is there"), b"mine");
    let mut expected = there;
    expected.extend(["broken.db".into(), "empty.db".into()]);
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    refused(database, &["report", &at("late.html"), "--top", "101"], USAGE);
    assert_eq!(inspect(database, &["report"]).status.code(), Some(USAGE));
}

/// Rows that each say they are as large as a number can be, and of a time before all times.
fn immense(database: &Path) {
    let sql = "DROP TRIGGER item_inserted;
         DROP TRIGGER item_large_inserted;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)
         INSERT INTO item (id, stored, accessed, exptime, marks, key, value)
         SELECT i, -9223372036854775808, 9223372036854775807, 9223372036854775807, 8,
                CAST('a:b' || (i % 3) || ':' || i AS BLOB),
                CAST('{\"bytes\":9223372036854775807,\"chunks\":[[1,1]]}' AS BLOB)
           FROM n;
         UPDATE state SET items = 6";
    open_database(database).execute_batch(sql).expect("rows");
}

#[test]
fn sizes_that_cannot_be_are_no_panic() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let database = daemon.launch().database_path().to_owned();
    drop(daemon);
    immense(&database);
    let page = made(&database, &[]);
    let live = json!({ "items": 6, "bytes": u64::MAX });
    assert_eq!(data(&page)["figures"]["live"], live);
    assert!(!page.contains("NaN"), "{page}");
    assert!(shown(&database, &["summary"]).contains("a:"));
}

#[test]
fn a_database_without_items_has_a_page() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    daemon.stop();
    let page = made(daemon.launch().database_path(), &[]);
    assert_eq!(data(&page)["figures"]["live"]["items"], 0);
    assert!(page.contains("There are no live items"), "{page}");
    assert!(!page.contains("NaN"), "{page}");
}

/// A hundred thousand items of several prefixes, by the shortest way.
fn many(database: &Path) {
    let sql = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; DROP TRIGGER item_inserted;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO item (id, stored, accessed, exptime, recency, key, value)
         SELECT i * 7919,
                unixepoch() - (i * i) % 400000,
                iif(i % 3, unixepoch() - (i * 31) % 90000, 0),
                iif(i % 5 = 0, 0, unixepoch() + (i * 37) % 3000000 - 20000),
                i % 7,
                CAST(CASE i % 13
                     WHEN 0 THEN 'session:' || i
                     WHEN 1 THEN 'user:' || (i % 900) || ':profile:' || i
                     WHEN 2 THEN 'user:' || (i % 900) || ':cart:' || i
                     WHEN 3 THEN 'page/' || iif(i % 2, 'en', 'de') || '/' || i
                     WHEN 4 THEN 'api.v' || (i % 4) || '.' || i
                     WHEN 5 THEN 'thumb_' || (i % 4) || '_' || i
                     WHEN 6 THEN 'tmp' || (i % 60) || '-' || i
                     WHEN 7 THEN 'k' || i
                     WHEN 8 THEN 'rails|' || (i % 3) || '|' || i
                     ELSE 'views/products/' || i END AS BLOB),
                zeroblob(CASE i % 13 WHEN 0 THEN 120 + i % 200 WHEN 3 THEN 200 + i % 4000
                         WHEN 5 THEN iif(i % 20, 3000, 60000) WHEN 7 THEN 8
                         ELSE 40 + (i % 100) * (i % 17) END)
           FROM n;
         UPDATE state SET items = 100000";
    open_database(database).execute_batch(sql).expect("rows");
}

#[test]
fn in_a_browser() {
    if !ground::needs("chromium") {
        return;
    }
    let Some(packages) = packages::node() else { return };
    let folder = folder();
    // Pages and pictures for people are kept where this says.
    let pictures = std::env::var_os("LITECACHED_PICTURES").map(std::path::PathBuf::from);
    let pictures = pictures.as_deref().unwrap_or(folder.path());
    let at = |name: &str| pictures.join(name);
    let page = |database: &Path, name: &str, words: &[&str]| {
        let page = at(name).display().to_string();
        shown(database, &[&["report", page.as_str(), "--force"], words].concat());
    };
    let mut daemon = Launch::new(folder.path()).start();
    let database = daemon.launch().database_path().to_owned();
    page(&database, "none.html", &[]);
    daemon.client().set("user:1", "value");
    page(&database, "one.html", &[]);
    let mut client = daemon.client();
    for key in HOSTILE {
        assert_eq!(client.ask([&b"set "[..], key, b" 0 0 1\r\nx\r\n"].concat()), "STORED");
    }
    client.set(&"long".repeat(62), "x");
    page(&database, "hostile.html", &[]);
    daemon.stop();
    let copy = folder.path().join("immense.db");
    super::tool(&database, &["backup", &copy.display().to_string()]);
    immense(&copy);
    page(&copy, "immense.html", &[]);
    many(&database);
    let earlier = fs::read_to_string(at("hostile.html")).expect("it was made");
    // Some days ago, so that there is a pace.
    let found = data(&earlier);
    let point = found["points"][0].to_string();
    let points: Vec<String> = (1..=9)
        .map(|week: u32| {
            let time =
                found["points"][0][0].as_i64().expect("a time") - i64::from(10 - week) * 604_800;
            format!("[{time},{},{},{}]", 9_000 * week, 9_000_000 * week, 11_000_000 * week)
        })
        .collect();
    let earlier = earlier
        .replace(&format!("\"points\":[{point}]"), &format!("\"points\":[{}]", points.join(",")));
    fs::write(at("earlier.html"), earlier).expect("it can be written");
    page(&database, "many.html", &["--since", &at("earlier.html").display().to_string()]);
    let output = Command::new("timeout")
        .args(["--kill-after=5", "150", "node"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/report_page.js"))
        .arg(pictures)
        .args(["none", "one", "hostile", "immense", "many"].map(|name| at(&format!("{name}.html"))))
        .env("NODE_PATH", packages)
        .env("HOME", folder.path())
        .output()
        .expect("timeout is one of the core utilities");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("passed"), "{said}{why}");
}
