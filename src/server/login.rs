//! The gate before a connection's requests, where clients have to log in.
//!
//! Nothing passes it but a login, and it stays open once it is: a connection is a trusted one until it
//! ends. What a client sent before its login is in no log line: it may be a secret in a wrong place.

use crate::logging::Limited;
use crate::protocol::encode::Output as _;
use crate::protocol::login::{Credentials, Login, Refusal, Step};
use crate::server::connection::{Connection, Ending};
use crate::server::context::Context;
use crate::server::dispatch::Desk;

static FAILURES: Limited = Limited::new(5, 10_000);

impl Context {
    /// What stands before the requests of a new connection.
    pub(super) fn login(&self) -> Option<Login> {
        self.options.accounts.as_ref()?;
        Some(if self.options.sasl { Login::by_frames() } else { Login::by_text() })
    }
}

impl Desk {
    /// Takes the bytes of a client that has yet to log in, and says how many were used.
    pub(super) fn log_in(&self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let Some(login) = &mut connection.login else { return 0 };
        match login.decode(bytes) {
            Step::NeedMore { used } => {
                connection.hungry = true;
                used
            }
            Step::Attempt { credentials, used } => {
                self.attempt(connection, &credentials);
                used
            }
            Step::Refuse { refusal, used } => {
                self.refuse(connection, refusal);
                used
            }
        }
    }

    fn attempt(&self, connection: &mut Connection, credentials: &Credentials) {
        let counters = &self.metrics.counters;
        counters.auth_cmds.up();
        let accounts = self.context.live.accounts();
        let (user, password) = (credentials.user(), credentials.password());
        if accounts.is_some_and(|accounts| accounts.verify(user, password)) {
            connection.login = None;
            connection.output.bytes(b"STORED\r\n");
            return;
        }
        counters.auth_errors.up();
        counters.refused_client.up();
        connection.output.bytes(b"CLIENT_ERROR authentication failure\r\n");
        let now_ms = u64::try_from(self.now.0).unwrap_or(0) * 1_000;
        if let Some(left_out) = FAILURES.admit(now_ms) {
            let client = &connection.card.peer.client;
            log::warn!("a client at {client} failed to log in{left_out}");
        }
    }

    fn refuse(&self, connection: &mut Connection, refusal: Refusal) {
        self.metrics.counters.refused_client.up();
        match refusal.line() {
            Some(line) => connection.output.bytes(line),
            None => connection.ending = Ending::Owed,
        }
        log::debug!("client {}, not logged in: {refusal:?}", connection.id);
    }
}
