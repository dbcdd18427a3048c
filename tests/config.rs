//! `litecached config`, and a start with a file and an environment: what holds, who says so, and what a
//! supervisor is told.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::daemon::Launch;
use common::ground::needs;
use nix::unistd::geteuid;
use tempfile::TempDir;

/// Runs the binary in a folder with a file `x.toml`, arguments and variables.
fn run(text: &str, arguments: &str, variables: &[(&str, &str)]) -> (TempDir, Output) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("x.toml"), text).expect("the folder can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(arguments.split_whitespace())
        .envs(variables.iter().copied())
        .env_remove("STATE_DIRECTORY")
        .env_remove("JOURNAL_STREAM")
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");
    (folder, output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn check_says_whether_it_would_start() {
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("", "config check", none, 0, ""),
        ("max-disk = \"5g\"", "config check --config x.toml", none, 0, ""),
        ("max-disk = 1.5", "config check --config x.toml", none, 78, "x.toml line 1: max-disk"),
        ("", "config check --config y.toml", none, 78, "cannot read y.toml"),
        ("", "config check -t 0", none, 64, "--threads (-t) cannot be \"0\""),
        ("", "config check --fooble", none, 64, "--fooble"),
        ("", "config check", &[("LITECACHED_THREADS", "x")], 78, "LITECACHED_THREADS cannot be"),
        ("x = 1", "config check", &[("LITECACHED_CONFIG", "x.toml")], 78, "x.toml line 1: "),
        (
            "",
            "config check",
            &[("LITECACHED_MAXDISK", "1g")],
            0,
            "did you mean LITECACHED_MAX_DISK?",
        ),
        ("", "config check -o modern", none, 0, "has no effect here"),
        ("", "config check -c 1048576", none, 78, "1048704 open files"),
        ("", "config check -e /nonexistent/x.db", none, 73, "/nonexistent is not a directory"),
        ("", "config check -e /tmp", none, 73, "/tmp is a directory; name a file"),
        ("", "config check -P /nonexistent/x", none, 73, "/nonexistent is not a directory"),
        ("", "config check -s /nonexistent/x", none, 73, "/nonexistent is not a directory"),
        ("", "config check --http 127.0.0.1:60000", none, 64, "another port"),
        // A start says the same.
        ("", "serve -p -1 -e /tmp", none, 73, "/tmp is a directory; name a file"),
        ("", "serve --http 127.0.0.1:60000", none, 64, "another port"),
        ("max-dsk = 1", "--config x.toml", none, 78, "did you mean max-disk?"),
        ("daemon = true", "--config x.toml", none, 78, "x.toml line 1: daemon would return"),
        ("", "-p 1 --config", none, 64, "--config <file>"),
        ("", "serve", &[("LITECACHED_PORT", "x")], 78, "LITECACHED_PORT cannot be"),
    ];
    for (file, arguments, variables, code, said) in cases {
        let (folder, output) = run(file, arguments, variables);
        let (answer, log) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{file} | {arguments}: {log}");
        assert_eq!(answer, if code == 0 { "ok\n" } else { "" }, "{file} | {arguments}");
        assert!(log.contains(said), "{file} | {arguments}: {log}");
        assert_eq!(log.lines().count(), usize::from(!said.is_empty()), "{arguments}: {log}");
        assert!(!folder.path().join("litecached.db").exists(), "nothing was made");
    }
}

#[test]
fn check_looks_for_the_user() {
    let (_, output) = run("", "config check -u there-is-no-such-user", &[]);
    let log = text(&output.stderr);
    if geteuid().is_root() {
        assert_eq!(output.status.code(), Some(77), "{log}");
        assert!(log.contains("there is no such user"), "{log}");
    } else {
        assert!(log.contains("has no effect: not started as root"), "{log}");
    }
}

#[test]
fn show_says_what_holds_and_who_says_so() {
    let file = "max-disk = \"5g\"\nconn-limit = 10\n";
    let variables = [("LITECACHED_CONN_LIMIT", "20"), ("LITECACHED_WAL_MAX", "64m")];
    let arguments = "config show --config x.toml --wal-max 32m -F";
    let (_, output) = run(file, arguments, &variables);
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.splitn(3, ' ').map(str::trim).collect()).collect();
    let row = |name: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.split(' ').next() == Some(name)).expect(name);
        line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect()
    };
    assert!(rows.len() > 20, "{table}");
    assert_eq!(row("max-disk"), ["max-disk", "5g", "x.toml line 1"]);
    assert_eq!(row("conn-limit"), ["conn-limit", "20", "LITECACHED_CONN_LIMIT"]);
    assert_eq!(row("wal-max"), ["wal-max", "32m", "command line"]);
    assert_eq!(row("disable-flush-all"), ["disable-flush-all", "true", "command line"]);
    assert_eq!(row("port"), ["port", "60000", "default"]);

    let (_, output) = run(file, &format!("{arguments} --json"), &variables);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of =
        |name: &str| json.as_array().expect("a list").iter().find(|o| o["option"] == name).cloned();
    assert_eq!(of("conn-limit").expect("it is there")["value"], 20);
    assert_eq!(of("unix-socket").expect("it is there")["value"], serde_json::Value::Null);

    // Written back, it says the same.
    let (_, output) = run(file, &format!("{arguments} --toml"), &variables);
    let (_, again) = run(&text(&output.stdout), "config show --config x.toml", &[]);
    let values = |table: &str| -> Vec<String> {
        let rows = table.lines().filter(|line| !line.starts_with("db "));
        rows.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(values(&text(&again.stdout)), values(&table), "{}", text(&again.stderr));
}

#[test]
fn shells_and_man_read_what_was_made_for_them() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let completions = assets.join("completions");
    let zsh = "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; autoload +X _litecached; \
               [ \"$_comps[litecached]\" = _litecached ]";
    let fish = "source litecached.fish; complete -C 'litecached --max-d' | grep -q -- --max-disk";
    let bash = "source litecached.bash; complete -p litecached";
    for (shell, script) in [("bash", bash), ("zsh", zsh), ("fish", fish)] {
        if !needs(shell) {
            continue;
        }
        let output = Command::new(shell).args(["-c", script]).current_dir(&completions).output();
        let output = output.expect("the shell runs");
        assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{shell}");
    }
    if !needs("man") {
        return;
    }
    for page in fs::read_dir(assets.join("man")).expect("there are pages").flatten() {
        let command = ["--warnings", "-E", "UTF-8", "-l"];
        let output = Command::new("man").args(command).arg(page.path()).output();
        let output = output.expect("man runs");
        // The page of serve names another, which is found where pages are installed.
        let complaint = text(&output.stderr);
        let is_alias = page.file_name() == "litecached-serve.1";
        assert!(is_alias || complaint.is_empty(), "{}: {complaint}", page.path().display());
    }
}

#[test]
fn a_start_takes_the_packaged_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/litecached.toml");
    let launch = Launch::new(folder.path()).with(&format!("--config {}", packaged.display()));
    let daemon = launch.start();
    daemon.client().set("k", "v");
    assert!(daemon.log().contains("configuration file "), "{}", daemon.log());
}
