//! The rules that no compiler knows, read off the source text.
//!
//! First of all the import table: lower rows know nothing of higher rows. A new row or a new arrow is
//! a commit of its own that says why; `src/ARCHITECTURE.md` shows the same table to readers.

#[path = "tidy/supply.rs"]
mod supply;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a module may import of this crate, beside itself. Highest row first.
const IMPORTS: &[(&str, &[Arrow])] = &[
    (
        "cli",
        &[
            all("config"),
            all("server"),
            all("store"),
            all("protocol"),
            all("stats"),
            all("auth"),
            all("logging"),
            all("cache"),
            all("clock"),
            all("limits"),
        ],
    ),
    (
        "config",
        &[
            only(
                "server",
                &["Options", "Listen", "Parts", "Protocol", "TlsFiles", "TlsVersion", "Verify"],
            ),
            only("store", &["Options", "Durability", "OnCorruption"]),
            // As with the server and the store, what is to be told lies with who is told.
            only("logging", &["Levels", "AREAS"]),
            all("auth"),
            all("limits"),
        ],
    ),
    (
        "server",
        &[
            all("stats"),
            all("auth"),
            all("protocol"),
            all("store"),
            all("cache"),
            all("metrics"),
            all("clock"),
            all("limits"),
            // Making a client's bytes harmless in a log line belongs with the logger.
            all("logging"),
        ],
    ),
    ("stats", &[only("store", &["Snapshot"]), all("metrics")]),
    ("store", &[all("cache"), all("metrics"), all("clock"), all("limits")]),
    ("protocol", &[all("cache"), all("limits")]),
    ("auth", &[all("cache"), all("limits")]),
    ("cache", &[all("limits"), only("clock", &["Seconds"])]),
    ("logging", &[]),
    ("metrics", &[]),
    ("clock", &[]),
    ("limits", &[]),
];

/// Source files that are longer than [`LINES_MAX`], and why each is one chapter all the same.
const LONG_FILES: &[(&str, &str)] = &[];

/// Lines of a source file. At four hundred ask whether a second noun has appeared.
const LINES_MAX: usize = 600;

/// A module that may be imported, wholly or for some names.
struct Arrow {
    to: &'static str,
    names: Option<&'static [&'static str]>,
}

const fn all(to: &'static str) -> Arrow {
    Arrow { to, names: None }
}

const fn only(to: &'static str, names: &'static [&'static str]) -> Arrow {
    Arrow { to, names: Some(names) }
}

#[test]
fn the_import_table_points_down() {
    let mut above = BTreeSet::new();
    for (module, arrows) in IMPORTS {
        above.insert(*module);
        for arrow in *arrows {
            assert!(!above.contains(arrow.to), "{module} may not know {}", arrow.to);
            assert!(IMPORTS.iter().any(|(row, _)| *row == arrow.to), "{} has no row", arrow.to);
        }
    }
}

#[test]
fn modules_import_what_the_table_allows() {
    let mut findings = Vec::new();
    for file in sources() {
        let path = shown(&file);
        let Some(module) = module_of(&path) else {
            continue;
        };
        let Some((_, arrows)) = IMPORTS.iter().find(|(row, _)| *row == module) else {
            findings.push(format!("{path}: the module {module} has no row in tests/tidy.rs"));
            continue;
        };
        let code = without_comments(&read(&file));
        for (target, name) in imports(&code, module_depth(&path)) {
            let allowed = arrows.iter().any(|arrow| {
                let any = |names: &[&str]| name.is_empty() || names.contains(&name.as_str());
                arrow.to == target && arrow.names.is_none_or(any)
            });
            if target != module && is_module(&target) && !allowed {
                findings.push(format!("{path}: {module} may not import {target}::{name}"));
            }
        }
        // `use crate::server;` and then `server::Something`.
        for arrow in *arrows {
            let Some(names) = arrow.names else { continue };
            for name in names_behind(&code, &format!("{}::", arrow.to)) {
                if !names.contains(&name.as_str()) {
                    findings.push(format!("{path}: {module} may not use {}::{name}", arrow.to));
                }
            }
        }
    }
    report(&findings);
}

#[test]
fn files_are_chapters() {
    let mut findings = Vec::new();
    for file in texts() {
        let path = shown(&file);
        let is_source = file.extension().is_some_and(|end| end == "rs" || end == "py");
        let is_excused = LONG_FILES.iter().any(|(long, _)| *long == path);
        let lines = read(&file).lines().count();
        if is_source && !is_excused && lines > LINES_MAX {
            findings.push(format!("{path}: {lines} lines; split it, or say why not in LONG_FILES"));
        }
    }
    report(&findings);
}

#[test]
fn modules_say_what_they_are_for() {
    let mut findings = Vec::new();
    for file in sources() {
        let text = read(&file);
        let opens = text.starts_with("//!") || text.starts_with("#![doc = include_str!");
        if !opens && !is_test_module(&file) {
            findings.push(format!("{}: does not open with what it is for", shown(&file)));
        }
    }
    report(&findings);
}

#[test]
fn nothing_names_this_machine_or_waits_to_be_done() {
    // In pieces, so that this file does not find itself.
    let unwanted = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("dbg", "!("),
    ];
    let mut findings = Vec::new();
    for file in texts() {
        for (index, line) in read(&file).lines().enumerate() {
            for word in unwanted.iter().filter(|&&word| line.contains(word)) {
                findings.push(format!("{}:{}: {word}", shown(&file), index + 1));
            }
        }
    }
    report(&findings);
}

#[test]
fn documents_name_files_that_exist() {
    let mut findings = Vec::new();
    for file in texts().into_iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = read(&file);
        let folder = file.parent().expect("a file is in a folder");
        for path in links(&text) {
            if !folder.join(path).exists() {
                findings.push(format!("{}: the link {path} leads nowhere", shown(&file)));
            }
        }
        for path in quoted_paths(&text) {
            if !root().join(path).exists() && !folder.join(path).exists() {
                findings.push(format!("{}: there is no {path}", shown(&file)));
            }
        }
    }
    report(&findings);
}

/// What the README's table of promises names, `file::test`, is there.
#[test]
fn promises_name_tests_that_exist() {
    let readme = read(&root().join("README.md"));
    let (_, table) = readme.split_once("### Where it is tested").expect("it has the table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let names: Vec<_> =
        table.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect();
    let mut findings = Vec::new();
    for (file, test) in names.iter().filter(|(file, _)| *file != "file") {
        let head = format!("#[test]\nfn {test}() {{");
        let belongs = |path: &str| {
            path == format!("tests/{file}.rs") || path.starts_with(&format!("tests/{file}/"))
        };
        if !texts().iter().any(|path| belongs(&shown(path)) && read(path).contains(&head)) {
            findings.push(format!("README.md: there is no test {file}::{test}"));
        }
    }
    assert!(names.len() > 10, "the table has its tests");
    report(&findings);
}

#[test]
fn lints_are_set() {
    let manifest = read(&root().join("Cargo.toml"));
    for section in ["[lints.rust]", "[lints.clippy]"] {
        assert!(manifest.lines().any(|line| line == section), "Cargo.toml has no {section}");
    }
    assert!(manifest.contains("unsafe_code = \"deny\""), "Cargo.toml allows unsafe code");
}

/// Where unsafe code may be: each with its reason there, and with tests.
const UNSAFE: [&str; 1] = ["src/store/vfs.rs"];

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut allowing = sources();
    allowing.retain(|file| read(file).contains("(unsafe_code"));
    let names: Vec<String> = allowing.iter().map(|file| shown(file)).collect();
    assert_eq!(names, UNSAFE);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut names: Vec<String> = fs::read_dir(root().join("migrations"))
        .expect("there are migrations")
        .map(|entry| entry.expect("the folder can be read").file_name().into_string())
        .map(|name| name.expect("names are text"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "there are no migrations");
    for (index, name) in names.iter().enumerate() {
        let number = format!("{:04}_", index + 1);
        let is_sql = Path::new(name).extension().is_some_and(|end| end == "sql");
        assert!(name.starts_with(&number) && is_sql, "{name} should be {number}name.sql");
    }
}

#[test]
fn the_reader_of_sources_is_not_fooled() {
    let code = "use crate::{cache::{Key, Op}, limits};\n\
                use crate::clock::Seconds;\n\
                // use crate::server::Secret;\n\
                let path = crate::store::sql::SELECT; let text = \"// not a comment\";\n\
                use super::super::protocol::Decoder; use super::own;\n\
                pub(crate) fn f() {}\n";
    let mut found = imports(&without_comments(code), 2);
    found.sort();
    let expected = [
        ("cache", "Key"),
        ("cache", "Op"),
        ("clock", "Seconds"),
        ("limits", ""),
        ("protocol", "Decoder"),
        ("store", "sql"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|&(module, name)| (module.to_owned(), name.to_owned())).collect();
    assert_eq!(found, expected);
    assert_eq!(
        names_behind("server::Options, my_server::Other, server::{self}", "server::"),
        ["Options"]
    );
}

/// Fails with all findings, a line each.
fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Its path as a reader of the repository knows it.
fn shown(file: &Path) -> String {
    file.strip_prefix(root()).expect("a file of ours").display().to_string()
}

/// The daemon's own source files.
fn sources() -> Vec<PathBuf> {
    let mut files = texts();
    files.retain(|file| {
        shown(file).starts_with("src/") && file.extension().is_some_and(|e| e == "rs")
    });
    assert!(!files.is_empty(), "there are sources");
    files
}

/// Every file that people write.
fn texts() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&name);
            let is_made =
                ["target", "artifacts", "corpus", "__pycache__", "Cargo.lock"].contains(&name);
            if is_hidden || is_made {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok() {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The module under `src` that a file belongs to; none for `main.rs` and `lib.rs`, which name them all.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?.trim_end_matches(".rs");
    (!["main", "lib"].contains(&first)).then(|| first.to_owned())
}

/// How many modules deep a file is: one for `src/clock.rs` and `src/store/mod.rs`.
fn module_depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').count()
}

fn is_module(name: &str) -> bool {
    root().join("src").join(name).is_dir()
        || root().join("src").join(format!("{name}.rs")).is_file()
}

fn is_test_module(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
}

/// The code without `//` comments. Keeps `//` inside a string on one line.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut in_string = false;
        let mut end = line.len();
        let bytes = line.as_bytes();
        for at in 0..bytes.len() {
            match bytes[at] {
                b'"' if at == 0 || !matches!(bytes[at - 1], b'\\' | b'\'') => {
                    in_string = !in_string;
                }
                b'/' if !in_string && bytes.get(at + 1) == Some(&b'/') => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        code += &line[..end];
        code.push('\n');
    }
    code
}

/// The modules of this crate that the code names, each with the name behind it if there is one.
fn imports(code: &str, depth: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        found.extend(first_names(&code[at + "crate::".len()..]));
    }
    // As many `super::` as the module is deep lead to the crate's root.
    let to_root = "super::".repeat(depth);
    for (at, _) in code.match_indices(&to_root) {
        found.extend(first_names(&code[at + to_root.len()..]));
    }
    found.sort();
    found.dedup();
    found
}

/// What a path begins with: `a::b` for `a::b::c`, every element for `{a, b::c}`.
fn first_names(path: &str) -> Vec<(String, String)> {
    if let Some(group) = path.strip_prefix('{') {
        return elements(group).into_iter().flat_map(first_names).collect();
    }
    let (module, rest) = word(path);
    if module.is_empty() {
        return Vec::new();
    }
    let Some(rest) = rest.strip_prefix("::") else {
        return vec![(module.to_owned(), String::new())];
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![(module.to_owned(), word(rest).0.to_owned())];
    };
    // `self` is the module without a name; what is then taken from it is looked at elsewhere.
    let names = elements(group).into_iter().map(|element| word(element).0);
    let names = names.map(|name| if name == "self" { "" } else { name });
    names.map(|name| (module.to_owned(), name.to_owned())).collect()
}

/// The elements of a group that has lost its opening brace.
fn elements(group: &str) -> Vec<&str> {
    let mut elements = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                elements.push(group[start..at].trim());
                break;
            }
            ',' if depth == 0 => {
                elements.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.retain(|element| !element.is_empty());
    elements
}

/// Every name that directly follows `path`, where `path` stands alone.
fn names_behind(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        let before = code[..at].chars().next_back();
        let (name, _) = word(&code[at + path.len()..]);
        let stands_alone = before.is_none_or(|character| !is_word(character));
        if stands_alone && !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    names
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character| !is_word(character)).unwrap_or(text.len()))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The targets of Markdown links within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, opening)| {
        let target = text[at + opening.len()..].split([')', '#', ' ']).next()?;
        let is_ours =
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        is_ours.then_some(target)
    })
}

/// Words between backquotes that begin like one of the repository's folders.
fn quoted_paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 9] = [
        "assets/",
        "src/",
        "tests/",
        "benches/",
        "fuzz/",
        "migrations/",
        "systemd/",
        ".ci/",
        ".cargo/",
    ];
    text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).filter(|word| {
        let is_pattern = word.contains(['*', '<', '…']) || word.contains("NNNN");
        !is_pattern && FOLDERS.iter().any(|folder| word.starts_with(folder))
    })
}
