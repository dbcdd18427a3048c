//! Python packages that tests use, installed from PyPI below the target directory by the first run that
//! asks.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ground::{needs, skipped};

/// Seconds after which an installation that hangs is ended.
const SECONDS_MAX: &str = "180";

/// Where a package of this version is, to be put into `PYTHONPATH`. None, and said, where it cannot be
/// had. `module` is a folder in it.
pub fn package(name: &str, version: &str, module: &str) -> Option<PathBuf> {
    if !needs("python3") {
        return None;
    }
    let package = format!("{name}=={version}");
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = parent.join(&package);
    if folder.join(module).is_dir() {
        return Some(folder);
    }
    // Installed beside and renamed, so that a run that is cut off leaves nothing half done.
    let fresh = tempfile::tempdir_in(parent).expect("the target directory can be written");
    let output = Command::new("timeout")
        .args(["--kill-after=5", SECONDS_MAX, "python3"])
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--retries", "2", "--target"])
        .arg(fresh.path())
        .arg(&package)
        .output()
        .expect("timeout is one of the core utilities");
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        skipped(&format!("pip cannot install {package}: {why}"));
        return None;
    }
    std::fs::rename(fresh.keep(), &folder).expect("a folder can be renamed within its parent");
    Some(folder)
}
