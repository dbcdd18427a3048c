//! The gate before a connection's requests, where clients have to log in.
//!
//! Nothing passes it but a login; what it opens to is said by the user's rights (`server/rights.rs`). A login is judged
//! when it comes and answered in its turn, later where there were many wrong ones (`server/guesses.rs`): until then its
//! connection is not read, and the loop looks a few times a second. What a client sent before its login is in no log
//! line: it may be a secret in a wrong place.

use std::borrow::Cow;

use crate::auth::sasl_plain;
use crate::clock::Seconds;
use crate::limits::ACCOUNT_BYTES_MAX;
use crate::logging::Limited;
use crate::protocol::encode::{self, Output as _, Sasl};
use crate::protocol::login::{Credentials, Login, Refusal, Step};
use crate::protocol::{Decoder, Form, Protocol, Session as Command, Sizes};
use crate::server::connection::{Connection, Ending};
use crate::server::context::Context;
use crate::server::dispatch::{Desk, say};
use crate::server::guesses::Turn;
use crate::server::rights::User;

static FAILURES: Limited = Limited::new(5, 10_000);

/// A login that is judged, and waits for its turn.
#[derive(Debug)]
pub(super) struct Held {
    until: Seconds,
    user: Option<User>,
    answer: Cow<'static, [u8]>,
}

/// What became of a login.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Admitted,
    Failed,
    /// Turned away, for too many of its address wait.
    TooMany,
}

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
        let said = Some((credentials.user(), credentials.password()));
        self.judge(connection, said, |verdict| match verdict {
            Verdict::Admitted => b"STORED\r\n".into(),
            Verdict::Failed => b"CLIENT_ERROR authentication failure\r\n".into(),
            Verdict::TooMany => {
                format!("CLIENT_ERROR {}\r\n", encode::TOO_MANY_LOGINS).into_bytes().into()
            }
        });
    }

    /// Answers a frame of SASL. A login that fails undoes one that did not (memcached).
    pub(super) fn sasl(&self, connection: &mut Connection, command: Command<'_>, form: &Form<'_>) {
        let answer = match command {
            _ if !self.context.options.sasl => Sasl::Off,
            Command::SaslLogin { is_step, mechanism, message } => {
                // PLAIN says all in its first message.
                let is_plain = !is_step && mechanism == b"PLAIN";
                let said = message.filter(|_| is_plain).and_then(sasl_plain);
                self.judge(connection, said, |verdict| {
                    let answer = match verdict {
                        Verdict::Admitted => Sasl::Done,
                        Verdict::Failed => Sasl::Failed,
                        Verdict::TooMany => Sasl::TooMany,
                    };
                    encode::sasl(form, answer).into()
                });
                return;
            }
            _ => Sasl::Mechanisms,
        };
        say(connection, encode::sasl(form, answer));
    }

    /// Judges who somebody says to be, and answers it now or has it wait. Counts it, and tells the log of those who
    /// may not.
    fn judge(
        &self,
        connection: &mut Connection,
        said: Option<(&[u8], &[u8])>,
        answer: impl Fn(Verdict) -> Cow<'static, [u8]>,
    ) {
        let counters = &self.metrics.counters;
        counters.auth_cmds.up();
        let mut user = said.and_then(|(user, password)| self.context.user(user, password));
        // What is nobody's, whatever the file says, is no guess.
        let could_be = |word: &[u8]| (1..ACCOUNT_BYTES_MAX).contains(&word.len());
        let is_guess = said.is_some_and(|(user, password)| could_be(user) && could_be(password));
        let from = &connection.card.peer.client;
        let turn = match said.filter(|_| is_guess) {
            Some(said) => self.context.guesses.turn(from, said, user.is_some(), self.steady),
            None => Turn::At(self.steady),
        };
        let (until, verdict) = match turn {
            Turn::At(until) if user.is_some() => (until, Verdict::Admitted),
            Turn::At(until) => (until, Verdict::Failed),
            Turn::Never => {
                user = None;
                connection.ending = Ending::Owed;
                (self.steady, Verdict::TooMany)
            }
        };
        if user.is_none() {
            counters.auth_errors.up();
            counters.refused_client.up();
            let now_ms = u64::try_from(self.now.0).unwrap_or(0) * 1_000;
            if let Some(left_out) = FAILURES.admit(now_ms) {
                match verdict {
                    Verdict::TooMany => log::warn!(
                        "a login of a client at {from} was turned away unread, for too many wrong ones \
                         of its address are waiting{left_out}"
                    ),
                    _ => log::warn!("a client at {from} failed to log in{left_out}"),
                }
            }
        }
        connection.held = Some(Box::new(Held { until, user, answer: answer(verdict) }));
        self.release(connection);
    }

    /// Answers a login whose turn has come. `false` if it has not.
    pub(super) fn release(&self, connection: &mut Connection) -> bool {
        let steady = self.steady;
        let Some(held) = connection.held.take_if(|held| held.until <= steady) else {
            return connection.held.is_none();
        };
        if connection.login.is_none() {
            connection.decoder.set_locked(held.user.is_none());
        } else if held.user.is_some() {
            connection.login = None;
        }
        if held.user.is_some() {
            connection.asking.end();
        }
        connection.user = held.user;
        say(connection, held.answer);
        true
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
