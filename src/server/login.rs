//! The gate before a connection's requests, where clients have to log in.
//!
//! Nothing passes it but a login, and it stays open once it is: a connection is a trusted one until it
//! ends. What a client sent before its login is in no log line: it may be a secret in a wrong place.

use crate::auth::sasl_plain;
use crate::logging::Limited;
use crate::protocol::encode::{self, Output as _, Sasl};
use crate::protocol::login::{Credentials, Login, Refusal, Step};
use crate::protocol::{Decoder, Form, Protocol, Session as Command, Sizes};
use crate::server::connection::{Connection, Ending};
use crate::server::context::Context;
use crate::server::dispatch::{Desk, say};

static FAILURES: Limited = Limited::new(5, 10_000);

impl Context {
    /// What stands before the requests of a new connection.
    pub(super) fn login(&self) -> Option<Login> {
        let by_text = self.options.accounts.is_some() && !self.options.sasl;
        by_text.then(Login::by_text)
    }

    /// Which protocols clients may speak: a login in text is for text, SASL for frames (memcached).
    pub(super) fn protocol(&self) -> Protocol {
        match (self.options.sasl, &self.options.accounts) {
            (true, _) => Protocol::Binary,
            (false, Some(_)) => Protocol::Ascii,
            (false, None) => self.options.protocol,
        }
    }

    /// What reads the requests of a new connection.
    pub(super) fn decoder(&self, item_bytes_max: u64) -> Decoder {
        let sizes = Sizes {
            item_bytes_max,
            large_value_bytes: self.store.large_value_bytes(),
            piece_bytes: self.store.piece_bytes(),
        };
        if self.options.sasl {
            Decoder::locked(sizes)
        } else {
            Decoder::new(self.protocol(), sizes)
        }
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
                connection.ended_one = true;
                self.attempt(connection, &credentials);
                used
            }
            Step::Refuse { refusal, used } => {
                connection.ended_one = true;
                self.refuse(connection, refusal);
                used
            }
        }
    }

    fn attempt(&self, connection: &mut Connection, credentials: &Credentials) {
        if self.admits(connection, Some((credentials.user(), credentials.password()))) {
            connection.login = None;
            connection.output.bytes(b"STORED\r\n");
        } else {
            connection.output.bytes(b"CLIENT_ERROR authentication failure\r\n");
        }
    }

    /// Answers a frame of SASL. A login that fails undoes one that did not (memcached).
    pub(super) fn sasl(&self, connection: &mut Connection, command: Command<'_>, form: &Form<'_>) {
        let answer = match command {
            _ if !self.context.options.sasl => Sasl::Off,
            Command::SaslLogin { is_step, mechanism, message } => {
                // PLAIN says all in its first message.
                let is_plain = !is_step && mechanism == b"PLAIN";
                let said = message.filter(|_| is_plain).and_then(sasl_plain);
                let admitted = self.admits(connection, said);
                connection.decoder.set_locked(!admitted);
                if admitted { Sasl::Done } else { Sasl::Failed }
            }
            _ => Sasl::Mechanisms,
        };
        say(connection, encode::sasl(form, answer));
    }

    /// Whether somebody may log in; counts it, and tells the log of those who may not.
    fn admits(&self, connection: &Connection, said: Option<(&[u8], &[u8])>) -> bool {
        let counters = &self.metrics.counters;
        counters.auth_cmds.up();
        let accounts = self.context.live.accounts();
        if let (Some(accounts), Some((user, password))) = (accounts, said)
            && accounts.verify(user, password)
        {
            return true;
        }
        counters.auth_errors.up();
        counters.refused_client.up();
        let now_ms = u64::try_from(self.now.0).unwrap_or(0) * 1_000;
        if let Some(left_out) = FAILURES.admit(now_ms) {
            let client = &connection.card.peer.client;
            log::warn!("a client at {client} failed to log in{left_out}");
        }
        false
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
