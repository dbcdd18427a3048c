//! `litecached service status`: what systemd, the disk and the daemon itself tell of the service.
//!
//! Looks and changes nothing. Whoever is no root may look, too.

use std::fs;

use serde_json::json;

use crate::cli::{Exit, Failure, print};

use super::{DATABASE, Here, OWN_PROGRAM, OWN_SERVICE, UNIT, Units, systemctl};

/// What systemd and the disk tell of the service.
#[derive(Debug, Default)]
struct Status {
    load: String,
    active: String,
    sub: String,
    since: String,
    enabled: String,
    pid: u64,
    restarts: u64,
    /// What the daemon says of itself.
    says: String,
    sockets: bool,
    /// The unit is one of `service install`, though the package is there.
    hides_package: bool,
    /// Bytes of the database and its log; none where they may not be looked at.
    bytes: Option<u64>,
}

pub(super) fn show(here: &Here, as_json: bool) -> Result<(), Failure> {
    const ASK: &str = "--property=LoadState,ActiveState,SubState,ActiveEnterTimestamp,UnitFileState,\
                       MainPID,NRestarts,StatusText";
    let mut status = Status::read(&systemctl(&["show", ASK, UNIT])?);
    status.sockets = here.socket_active;
    status.hides_package = here.units == Units::OwnOverPackage;
    let size = |path: &str| fs::metadata(path).map(|file| file.len());
    status.bytes =
        size(DATABASE).ok().map(|bytes| bytes + size(&format!("{DATABASE}-wal")).unwrap_or(0));
    print(&if as_json { status.json() } else { status.text() })?;
    match status.active.as_str() {
        "active" | "reloading" => Ok(()),
        _ if status.load == "not-found" => {
            Err(Failure::new(Exit::No, "the service is not installed; litecached service install"))
        }
        other => Err(Failure::new(
            Exit::No,
            format!("the service is {other}; see journalctl -u {UNIT}, or systemctl start {UNIT}"),
        )),
    }
}

impl Status {
    /// Of `NAME=value` lines.
    fn read(lines: &str) -> Self {
        let mut status = Self::default();
        for (name, value) in lines.lines().filter_map(|line| line.split_once('=')) {
            let text = || value.to_owned();
            match name {
                "LoadState" => status.load = text(),
                "ActiveState" => status.active = text(),
                "SubState" => status.sub = text(),
                "ActiveEnterTimestamp" => status.since = text(),
                "UnitFileState" => status.enabled = text(),
                "MainPID" => status.pid = value.parse().unwrap_or(0),
                "NRestarts" => status.restarts = value.parse().unwrap_or(0),
                "StatusText" => status.says = text(),
                _ => {}
            }
        }
        status
    }

    fn text(&self) -> String {
        if self.load == "not-found" {
            return "service   not installed\n".into();
        }
        let since = if self.since.is_empty() { "" } else { " since " };
        let process = match self.pid {
            0 => String::new(),
            pid => format!("process   {pid}\nsays      {}\n", self.says),
        };
        let size = match self.bytes {
            // Tenths, rounded up: an empty database has some pages.
            Some(bytes) => {
                let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
                format!("{}.{} MiB with its log", tenths / 10, tenths % 10)
            }
            None => "not there, or not for this user to see".into(),
        };
        let hides = if self.hides_package {
            format!(
                "unit      {OWN_SERVICE} hides the package's and runs {OWN_PROGRAM}; \
                 litecached service uninstall gives it to the package\n"
            )
        } else {
            String::new()
        };
        format!(
            "service   {} ({}){since}{}, {}, restarted {} times\n\
             {process}\
             sockets   held by {}\n\
             database  {DATABASE}, {size}\n\
             {hides}",
            self.active,
            self.sub,
            self.since,
            self.enabled,
            self.restarts,
            if self.sockets { "systemd (litecached.socket)" } else { "the daemon" },
        )
    }

    fn json(&self) -> String {
        let object = json!({
            "installed": self.load != "not-found",
            "state": self.active,
            "substate": self.sub,
            "since": self.since,
            "enabled": self.enabled,
            "pid": self.pid,
            "restarts": self.restarts,
            "status": self.says,
            "socket_activated": self.sockets,
            "hides_package": self.hides_package,
            "database": DATABASE,
            "database_bytes": self.bytes,
        });
        format!("{object}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_said() {
        let mut status = Status::read(
            "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\
             ActiveEnterTimestamp=Sun 2026-11-22 12:00:00 UTC\nMainPID=7\nNRestarts=2\n\
             StatusText=Serving 1 item on 127.0.0.1:60000, 99.0 % hits = good\n",
        );
        status.bytes = Some(1 << 20);
        assert_eq!(
            status.text(),
            "service   active (running) since Sun 2026-11-22 12:00:00 UTC, enabled, restarted 2 times\n\
             process   7\n\
             says      Serving 1 item on 127.0.0.1:60000, 99.0 % hits = good\n\
             sockets   held by the daemon\n\
             database  /var/lib/litecached/litecached.db, 1.0 MiB with its log\n"
        );
        assert!(status.json().contains("\"database_bytes\":1048576"), "{}", status.json());
        status.hides_package = true;
        assert!(status.text().contains("hides the package's"), "{}", status.text());
        let missing = Status::read("LoadState=not-found\n");
        assert_eq!(missing.text(), "service   not installed\n");
    }
}
