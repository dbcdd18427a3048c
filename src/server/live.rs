//! What a reload may change while the server serves.
//!
//! Each is read where it is used, request by request; no two of them have to fit each other.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::auth::Accounts;
use crate::clock::Seconds;
use crate::server::Options;
use crate::server::context::Context;
use crate::server::inbox::{Inbox, Message};
use crate::server::tls::{Certificates, TlsFiles};

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    connections_max: AtomicUsize,
    requests_per_turn: AtomicUsize,
    idle_timeout_seconds: AtomicU32,
    request_timeout_seconds: AtomicU32,
    /// Most that a client's `verbosity` may ask for.
    verbosity_max: AtomicU8,
    flush_enabled: AtomicBool,
    watch_enabled: AtomicBool,
    dump_enabled: AtomicBool,
    shutdown_enabled: AtomicBool,
    connections_refused_fast: AtomicBool,
    /// Who may log in, if clients have to. Taken for moments, to set or to copy it.
    accounts: Mutex<Option<Arc<Accounts>>>,
    /// How many there were before these.
    accounts_edition: AtomicU64,
    /// What TLS shows and asks for, and since when, if there is TLS. Taken for moments, to set or to copy it.
    certificates: Mutex<Option<(Arc<Certificates>, Seconds)>>,
    /// Why the last reload changed nothing, if it was refused. Taken for moments, to set or to copy it.
    refusal: Mutex<Option<Arc<str>>>,
}

impl Live {
    pub(super) fn new(options: &Options, now: Seconds) -> Self {
        Self {
            connections_max: AtomicUsize::new(options.connections_max),
            requests_per_turn: AtomicUsize::new(options.requests_per_turn),
            idle_timeout_seconds: AtomicU32::new(options.idle_timeout_seconds),
            request_timeout_seconds: AtomicU32::new(options.request_timeout_seconds),
            verbosity_max: AtomicU8::new(options.verbosity),
            flush_enabled: AtomicBool::new(options.flush_enabled),
            watch_enabled: AtomicBool::new(options.watch_enabled),
            dump_enabled: AtomicBool::new(options.dump_enabled),
            shutdown_enabled: AtomicBool::new(options.shutdown_enabled),
            connections_refused_fast: AtomicBool::new(options.connections_refused_fast),
            accounts: Mutex::new(options.accounts.clone()),
            accounts_edition: AtomicU64::new(0),
            certificates: Mutex::new(options.certificates.clone().map(|read| (read, now))),
            refusal: Mutex::default(),
        }
    }

    fn set(&self, options: &Options) {
        self.connections_max.store(options.connections_max, Ordering::Relaxed);
        self.requests_per_turn.store(options.requests_per_turn, Ordering::Relaxed);
        self.idle_timeout_seconds.store(options.idle_timeout_seconds, Ordering::Relaxed);
        self.request_timeout_seconds.store(options.request_timeout_seconds, Ordering::Relaxed);
        self.verbosity_max.store(options.verbosity, Ordering::Relaxed);
        self.flush_enabled.store(options.flush_enabled, Ordering::Relaxed);
        self.watch_enabled.store(options.watch_enabled, Ordering::Relaxed);
        self.dump_enabled.store(options.dump_enabled, Ordering::Relaxed);
        self.shutdown_enabled.store(options.shutdown_enabled, Ordering::Relaxed);
        self.connections_refused_fast.store(options.connections_refused_fast, Ordering::Relaxed);
    }

    pub(super) fn refusal(&self) -> Option<Arc<str>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn accounts(&self) -> Option<Arc<Accounts>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which they are: changes when they do, a moment later.
    pub(super) fn accounts_edition(&self) -> u64 {
        self.accounts_edition.load(Ordering::Acquire)
    }

    /// What TLS shows and asks for, and since when.
    pub(super) fn certificates(&self) -> Option<(Arc<Certificates>, Seconds)> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for what was read from `files` anew; not if a reload has named others meanwhile.
    pub(super) fn renew_certificates(
        &self,
        files: &TlsFiles,
        certificates: Arc<Certificates>,
        now: Seconds,
    ) {
        let mut held = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|(held, _)| held.files() == files) {
            *held = Some((certificates, now));
        }
    }

    /// From now on new clients are shown these. Only where there was TLS before.
    pub(super) fn set_certificates(&self, certificates: Arc<Certificates>, now: Seconds) {
        let mut held = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            *held = Some((certificates, now));
        }
    }

    pub(super) fn connections_max(&self) -> u64 {
        self.connections_max.load(Ordering::Relaxed) as u64
    }

    pub(super) fn requests_per_turn(&self) -> usize {
        self.requests_per_turn.load(Ordering::Relaxed)
    }

    pub(super) fn idle_timeout_seconds(&self) -> u32 {
        self.idle_timeout_seconds.load(Ordering::Relaxed)
    }

    pub(super) fn request_timeout_seconds(&self) -> u32 {
        self.request_timeout_seconds.load(Ordering::Relaxed)
    }

    pub(super) fn verbosity_max(&self) -> u8 {
        self.verbosity_max.load(Ordering::Relaxed)
    }

    pub(super) fn flush_enabled(&self) -> bool {
        self.flush_enabled.load(Ordering::Relaxed)
    }

    pub(super) fn watch_enabled(&self) -> bool {
        self.watch_enabled.load(Ordering::Relaxed)
    }

    pub(super) fn dump_enabled(&self) -> bool {
        self.dump_enabled.load(Ordering::Relaxed)
    }

    pub(super) fn shutdown_enabled(&self) -> bool {
        self.shutdown_enabled.load(Ordering::Relaxed)
    }

    pub(super) fn connections_refused_fast(&self) -> bool {
        self.connections_refused_fast.load(Ordering::Relaxed)
    }
}

/// Changes a server that serves. Keeps neither it nor its store alive.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    context: Weak<Context>,
    workers: Vec<Arc<Inbox>>,
}

impl ReloadHandle {
    pub(super) fn new(context: Weak<Context>, workers: Vec<Arc<Inbox>>) -> Self {
        Self { context, workers }
    }

    /// What the service manager is told of the last reload: why it was refused, if it was.
    pub fn refused(&self, why: Option<&str>) {
        let Some(context) = self.context.upgrade() else { return };
        *context.live.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why.map(Arc::from);
    }

    /// Who may log in, if clients have to.
    pub fn accounts(&self) -> Option<Arc<Accounts>> {
        self.context.upgrade()?.live.accounts()
    }

    /// From now on these may log in, and nobody else; whoever is logged in has the rights he has there from his
    /// next command on. Only where clients had to log in before.
    pub fn set_accounts(&self, accounts: Arc<Accounts>) {
        let Some(context) = self.context.upgrade() else { return };
        let mut held = context.live.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            *held = Some(accounts);
            context.live.accounts_edition.fetch_add(1, Ordering::Release);
        }
    }

    /// What TLS shows and asks for, if there is TLS.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        Some(self.context.upgrade()?.live.certificates()?.0)
    }

    /// From now on new clients are shown these; whoever is connected goes on as he began. Only where there
    /// was TLS before.
    pub fn set_certificates(&self, certificates: Arc<Certificates>) {
        let Some(context) = self.context.upgrade() else { return };
        context.live.set_certificates(certificates, context.clock.now());
    }

    /// From now on these hold: `connections_max`, `connections_refused_fast`, `idle_timeout_seconds`,
    /// `request_timeout_seconds`, `requests_per_turn`, `flush_enabled`, `watch_enabled`, `dump_enabled`, `shutdown_enabled` and `verbosity`. The
    /// others take a restart. Whoever is connected stays, also where there are more than
    /// `connections_max`, and goes on watching.
    pub fn apply(&self, options: &Options) {
        let Some(context) = self.context.upgrade() else { return };
        if context.live.verbosity_max() != options.verbosity {
            context.verbosity.store(options.verbosity, Ordering::Relaxed);
            crate::logging::set_verbosity(options.verbosity);
        }
        context.live.set(options);
        // A loop without an idle time-out sleeps until it is woken, and so may the accepting thread.
        self.workers.iter().for_each(|worker| worker.post(Message::Reloaded));
        context.look_outside();
    }
}
