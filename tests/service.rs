//! `litecached service` on a machine that systemd need not run: what it says. What it does is tried in
//! `tests/systemd/operate`.

use std::path::Path;
use std::process::{Command, Output};

fn service(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecached"))
        .arg("service")
        .args(arguments.split_whitespace())
        .output()
        .expect("the binary runs")
}

#[test]
fn a_dry_run_needs_no_systemd() {
    for (arguments, last) in [
        ("install --dry-run", "would start the service, again if anything has changed"),
        ("install --socket --dry-run", "would start the service, again if anything has changed"),
        ("uninstall --purge --dry-run", "would run systemctl daemon-reload"),
    ] {
        let output = service(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(said.lines().all(|line| line.starts_with("would ")), "{arguments}: {said}");
        assert_eq!(said.lines().last(), Some(last), "{arguments}");
    }
}

#[test]
fn without_systemd_nothing_is_done() {
    if Path::new("/run/systemd/system").is_dir() {
        return;
    }
    for arguments in ["install", "uninstall", "status"] {
        let output = service(arguments);
        assert_eq!(output.status.code(), Some(69), "{arguments}: {output:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains("systemd does not run this machine"), "{arguments}: {said}");
    }
}
