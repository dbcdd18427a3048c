//! Clients from PyPI and npm, installed below the target directory by the first run that asks.
//!
//! `tests/clients/install` does it, from the lists beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ground::{needs, skipped};

/// The folder with the Python packages, for `PYTHONPATH`. None, and said, where they cannot be had.
pub fn python() -> Option<PathBuf> {
    if needs("python3") { installed("pypi") } else { None }
}

/// The folder with the packages of Node, for `NODE_PATH`. None, and said, where they cannot be had.
pub fn node() -> Option<PathBuf> {
    if needs("node") && needs("npm") { installed("npm") } else { None }
}

fn installed(registry: &str) -> Option<PathBuf> {
    let output = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/install"))
        .args([registry, env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("bash is there");
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        skipped(&format!("packages of {registry} cannot be installed: {why}"));
        return None;
    }
    let folder = String::from_utf8(output.stdout).expect("the target directory has a plain name");
    Some(PathBuf::from(folder.trim_end()))
}
