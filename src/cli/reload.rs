//! SIGHUP: reads the file again and changes what can be changed while serving.
//!
//! All of what is written now must be right, or nothing changes. What takes a restart is said, each time
//! anew, until the restart.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};

use crate::auth::Loaded;
use crate::cli::serve::{certificates, raise_open_files};
use crate::cli::{Failure, accounts};
use crate::config::{Facts, Id, Layers, Settings, Shown};
use crate::logging::{self, OneLine};
use crate::server::{Certificates, ReloadHandle, notify};
use crate::store::Store;

/// What a reload needs to know of the running daemon.
pub(super) struct Reload {
    pub(super) layers: Layers,
    /// What holds now.
    pub(super) running: Vec<Shown>,
    pub(super) server: ReloadHandle,
    /// The thread of the signals does not keep the file open.
    pub(super) store: Weak<Store>,
}

/// What was written, and found right.
struct Judged {
    settings: Settings,
    wanted: Vec<Shown>,
    accounts: Option<Loaded>,
    certificates: Option<Certificates>,
}

impl Reload {
    /// Reloads on a thread of its own whenever it is asked: a resolver or a slow disk must not keep the
    /// daemon from hearing that it should end.
    pub(super) fn spawn(mut self) -> io::Result<SyncSender<()>> {
        let (ask, asked) = sync_channel(1);
        let work = move || asked.iter().for_each(|()| notify::reloading(|| self.run()));
        std::thread::Builder::new().name("reload".into()).spawn(work)?;
        Ok(ask)
    }

    /// Says why nothing was changed, if so.
    fn run(&mut self) -> Result<(), String> {
        let judged = self.judge().map_err(|failure| OneLine(&failure.message).to_string());
        self.server.refused(judged.as_ref().err().map(String::as_str));
        match judged {
            // What is turned down or up by it does not hide it.
            Ok(judged) => {
                logging::telling(|| self.apply(judged));
                Ok(())
            }
            Err(why) => {
                log::error!("not reloaded, everything stays as it was: {why}");
                Err(why)
            }
        }
    }

    /// Everything that can fail.
    fn judge(&self) -> Result<Judged, Failure> {
        let raw = self.layers.read()?;
        let settings = Settings::from_raw(&raw, &Facts::gather())?;
        raise_open_files(settings.server.connections_max)?;
        let wanted = Shown::all(&raw, &settings);
        let accounts = accounts::read(&settings)?;
        let certificates = certificates(&settings.server)?;
        Ok(Judged { settings, wanted, accounts, certificates })
    }

    fn apply(&mut self, Judged { settings, wanted, accounts, certificates }: Judged) {
        let Some(store) = self.store.upgrade() else { return };
        // First of all, for the lines that tell of the others.
        self.change_levels(&settings, &wanted);
        settings.warnings.iter().for_each(|line| log::warn!("{line}"));
        let mut changes = self.change_accounts(&wanted, accounts);
        changes += self.change_certificates(certificates);
        for (running, wanted) in self.running.iter_mut().zip(wanted) {
            let (old, new) = (running.text(), wanted.text());
            if old == new {
                continue;
            }
            changes += 1;
            let name = wanted.row.name;
            if wanted.row.live {
                change(wanted.row.id, &settings, &self.server, &store);
                log::info!("reloaded {name}: {old} -> {new}");
                *running = wanted;
            } else {
                log::warn!("{name}: {old} -> {new} takes a restart");
            }
        }
        if changes == 0 {
            log::info!("reloaded, nothing has changed");
        }
    }

    /// Those of the file that is in use. Another file takes a restart; how many changes it comes to.
    fn change_accounts(&self, wanted: &[Shown], accounts: Option<Loaded>) -> usize {
        let is_other = |(running, wanted): (&Shown, &Shown)| {
            wanted.row.id == Id::AuthFile && running.text() != wanted.text()
        };
        let (Some(accounts), false) = (accounts, self.running.iter().zip(wanted).any(is_other))
        else {
            return 0;
        };
        let accounts = accounts::tell(accounts);
        if self.server.accounts().is_none_or(|running| running == accounts) {
            return 0;
        }
        log::info!("reloaded the users of {}: {}", Id::AuthFile.row(), accounts);
        self.server.set_accounts(accounts);
        1
    }

    /// Also those of other files. Whether there is TLS takes a restart.
    fn change_certificates(&self, certificates: Option<Certificates>) -> usize {
        let (Some(running), Some(certificates)) = (self.server.certificates(), certificates) else {
            return 0;
        };
        let has_changed = *running != certificates;
        let chain = certificates.files().chain.display().to_string();
        self.server.set_certificates(Arc::new(certificates));
        if has_changed {
            log::info!("reloaded the certificates of TLS, {}", OneLine(chain));
        }
        usize::from(has_changed)
    }

    fn change_levels(&self, settings: &Settings, wanted: &[Shown]) {
        for (running, wanted) in self.running.iter().zip(wanted) {
            match wanted.row.id {
                _ if running.text() == wanted.text() => {}
                Id::LogLevel => logging::set_levels(&settings.levels),
                Id::Verbose => logging::set_verbosity(settings.server.verbosity),
                _ => {}
            }
        }
    }
}

/// Only what was changed is touched: a client may have changed the item budget or the verbosity since.
fn change(id: Id, settings: &Settings, server: &ReloadHandle, store: &Store) {
    match id {
        Id::MaxDisk => store.set_bytes_max(settings.store.disk_bytes_max),
        Id::MaxItems => store.set_items_max(settings.store.items_max),
        Id::WalMax => store.set_wal_bytes_max(settings.store.wal_bytes_max),
        Id::CompressFrom => store.set_compress_from(settings.store.compress_from),
        Id::Memory => store.set_memory_bytes(settings.store.memory_bytes),
        Id::ItemSize => store.set_item_bytes_max(settings.store.item_bytes_max),
        Id::LogLevel => {}
        _ => server.apply(&settings.server),
    }
}
