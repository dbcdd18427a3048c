//! Which right each request needs, and what becomes of one that its client has no right to.
//!
//! Everything that a client who has logged in asks for passes here between the decoder and its execution, in whichever
//! protocol: there is no other table. Where nobody has to log in there is no user, and nothing is looked at. What must
//! stay true: what is refused is answered in its place and never executed, and neither its keys nor its value go
//! anywhere. The rights are those of the file as it is now; whoever is not in it any more with the password that he
//! gave has to log in again, on a new connection.

use std::sync::Arc;

use crate::auth::{Account, Rights, Verbs};
use crate::cache::{Fetch, Key, Op};
use crate::protocol::encode::{self, Sasl};
use crate::protocol::{Form, Request, RequestKey, Session as Command};
use crate::server::connection::{Connection, Ending};
use crate::server::context::Context;
use crate::server::dispatch::{Desk, say};
use crate::server::upload::Arriving;

/// Somebody who has logged in.
#[derive(Debug)]
pub(super) struct User {
    account: Arc<Account>,
    /// Which reading of the file it is from.
    edition: u64,
}

/// What somebody has to have a right to.
#[derive(Debug, Clone, Copy)]
struct Need<'r> {
    verbs: Verbs,
    of: Of<'r>,
}

/// What the verbs have to be for.
#[derive(Debug, Clone, Copy)]
enum Of<'r> {
    /// Nothing that has to do with keys.
    Server,
    Key(Key<'r>),
    /// It tells of keys, or changes them, whichever they are.
    AllKeys,
}

impl<'r> Need<'r> {
    const NOTHING: Self = Self { verbs: Verbs::NONE, of: Of::Server };

    /// The table.
    fn of(request: &'r Request<'_>) -> Self {
        let key = |verbs, key: &'r RequestKey<'_>| Self { verbs, of: Of::Key(key.as_key()) };
        match request {
            Request::Operate { key: of, op, .. } => key(verbs(op), of),
            Request::Begin { key: of, .. } | Request::TooLarge { key: of, .. } => {
                key(Verbs::WRITE, of)
            }
            // They belong to what was allowed.
            Request::Piece(_) | Request::LastPiece(_) | Request::EndOfKeys => Self::NOTHING,
            Request::Noop { .. } => Self::NOTHING,
            Request::FlushAll { .. } => Self { verbs: Verbs::ADMIN, of: Of::AllKeys },
            Request::Session { command, .. } => Self::of_command(command),
        }
    }

    fn of_command(command: &Command<'_>) -> Self {
        let admin = |of| Self { verbs: Verbs::ADMIN, of };
        match command {
            Command::Version | Command::Quit | Command::Help => Self::NOTHING,
            Command::SaslList | Command::SaslLogin { .. } => Self::NOTHING,
            Command::Stats { arguments } => {
                let mut words = arguments.split(|&byte| byte == b' ');
                match words.find(|word| !word.is_empty()) {
                    // Where the file is, and who else is there.
                    Some(b"settings" | b"conns" | b"reset") => admin(Of::Server),
                    // Beginnings of keys, whose ever they are.
                    Some(b"detail") => admin(Of::AllKeys),
                    _ => Self { verbs: Verbs::READ, of: Of::Server },
                }
            }
            Command::List(_) | Command::Watch { .. } => admin(Of::AllKeys),
            // Less memory evicts, whose ever it is.
            Command::Memlimit { .. } => admin(Of::AllKeys),
            Command::Verbosity { .. }
            | Command::RefreshCertificates { .. }
            | Command::Shutdown { .. }
            | Command::Admin { .. } => admin(Of::Server),
        }
    }

    /// What somebody with these rights has not, in words.
    fn missing_in(self, rights: &Rights) -> Option<String> {
        let Self { verbs, of } = self;
        let missing = rights.verbs().lack(verbs);
        if missing != Verbs::NONE {
            return Some(format!("missing right: {missing}"));
        }
        match of {
            Of::Key(key) if !rights.are_for(key.bytes()) => {
                Some(format!("missing right: {verbs} of this key"))
            }
            Of::AllKeys if !rights.are_for_all_keys() => {
                Some(format!("missing right: {verbs} of all keys"))
            }
            _ => None,
        }
    }
}

/// What an operation needs for its key. Who changes an item and is told its value needs both: also of a number, which
/// `incr` by 0 would tell (Redis: `INCR` needs a key that may be read and written).
fn verbs(op: &Op) -> Verbs {
    match op {
        // An `mg` that only might claim an item is a read: see `may`.
        Op::Fetch(Fetch { touch: None, recache: None, create: None, .. }) => Verbs::READ,
        Op::Fetch(_) | Op::Arithmetic(_) => Verbs::READ | Verbs::WRITE,
        Op::Store(..) | Op::Touch { .. } | Op::Delete(_) | Op::Discard { .. } => Verbs::WRITE,
    }
}

impl Context {
    /// Whoever has this name and this password.
    pub(super) fn user(&self, user: &[u8], password: &[u8]) -> Option<User> {
        // In this order: at worst it is looked at once more.
        let edition = self.live.accounts_edition();
        let account = self.live.accounts()?.verify(user, password)?;
        Some(User { account, edition })
    }

    /// What he may do now; nothing if he would have to log in anew.
    fn rights<'u>(&self, user: &'u mut User) -> Option<&'u Rights> {
        let edition = self.live.accounts_edition();
        if user.edition != edition {
            user.account = self.live.accounts()?.find(&user.account)?;
            user.edition = edition;
        }
        Some(user.account.rights())
    }

    /// Whether a watcher or a listing may go on. Nobody is one where nobody logs in.
    pub(super) fn may_watch(&self, user: Option<&mut User>) -> bool {
        let need = Need { verbs: Verbs::ADMIN, of: Of::AllKeys };
        user.is_none_or(|user| {
            self.rights(user).is_some_and(|rights| need.missing_in(rights).is_none())
        })
    }
}

impl Desk {
    /// Whether the client has the right to what it asks for; if not, it is answered. `rest`: what has come behind the
    /// request; `begins`: it is the first of its line.
    #[inline]
    pub(super) fn may(
        &self,
        connection: &mut Connection,
        request: &mut Request<'_>,
        rest: &[u8],
        begins: bool,
    ) -> bool {
        connection.user.is_none() || self.user_may(connection, request, rest, begins)
    }

    fn user_may(
        &self,
        connection: &mut Connection,
        request: &mut Request<'_>,
        rest: &[u8],
        begins: bool,
    ) -> bool {
        let is_login = |command: &Command<'_>| matches!(command, Command::SaslLogin { .. });
        match request {
            Request::EndOfKeys => return true,
            Request::Piece(_) | Request::LastPiece(_) => return self.may_go_on(connection),
            Request::Session { command, .. } if is_login(command) => return true,
            _ => {}
        }
        let Some(user) = &mut connection.user else { return true };
        let Some(rights) = self.context.rights(user) else {
            self.let_go(connection, request);
            return false;
        };
        let missing = Need::of(request).missing_in(rights).or_else(|| {
            let keys = if begins { further_keys(request, rest) } else { b"" };
            let mut keys = keys.split(|&byte| byte == b' ').filter(|key| !key.is_empty());
            let not_his = keys.find(|key| !rights.are_for(key));
            not_his.map(|_| format!("missing right: {} of this key", Need::of(request).verbs))
        });
        if let Some(missing) = missing {
            self.deny(connection, request, &missing, begins);
            return false;
        }
        // Who may not store an item anew is not told to, and nobody else is kept from it.
        if let Request::Operate { op: Op::Fetch(fetch), .. } = request {
            fetch.claims &= rights.verbs().include(Verbs::WRITE);
        }
        true
    }

    /// Whether a client may still store the value that it sends in pieces, which may take it long; if not, that is
    /// given up.
    fn may_go_on(&self, connection: &mut Connection) -> bool {
        let Some(user) = &mut connection.user else { return true };
        let Some(arriving) = &connection.arriving else { return true };
        let need = Need { verbs: Verbs::WRITE, of: Of::Key(arriving.key()) };
        let rights = self.context.rights(user);
        let missing = rights.map(|rights| need.missing_in(rights));
        if missing == Some(None) {
            return true;
        }
        self.count_denied();
        connection.decoder.give_up();
        let arriving = connection.arriving.take();
        let form = arriving.map(Arriving::into_form);
        match (form, missing.flatten()) {
            (Some(form), Some(missing)) => say(connection, encode::denied(&form, false, &missing)),
            (Some(form), None) => Self::end(connection, Some(&form)),
            (None, _) => {}
        }
        false
    }

    fn deny(
        &self,
        connection: &mut Connection,
        request: &Request<'_>,
        missing: &str,
        begins: bool,
    ) {
        self.count_denied();
        log::debug!("client {}: {missing}", connection.id);
        connection.decoder.give_up();
        let Some(form) = form(request) else { return };
        let answer = encode::denied(form, is_quiet(request), missing);
        if matches!(form, Form::Retrieval { .. }) && !begins {
            connection.end_line(answer);
        } else {
            say(connection, answer);
        }
    }

    /// Ends the connection of somebody who is not in the file any more.
    fn let_go(&self, connection: &mut Connection, request: &Request<'_>) {
        self.count_denied();
        connection.decoder.give_up();
        Self::end(connection, form(request));
    }

    fn count_denied(&self) {
        self.metrics.counters.auth_denied.up();
        self.metrics.counters.refused_client.up();
    }

    fn end(connection: &mut Connection, form: Option<&Form<'_>>) {
        log::debug!("client {} is let go: its user or his password has changed", connection.id);
        connection.ending = Ending::Owed;
        match form {
            Some(form @ Form::Binary(_)) => say(connection, encode::sasl(form, Sasl::Failed)),
            Some(form) => say(connection, encode::denied(form, false, "unauthenticated")),
            None => {}
        }
    }
}

/// The keys behind the first of a retrieval line, if all of the line has come. A longer line is looked at key by key,
/// as it is answered.
fn further_keys<'b>(request: &Request<'_>, rest: &'b [u8]) -> &'b [u8] {
    let is_retrieval = matches!(request, Request::Operate { form: Form::Retrieval { .. }, .. });
    match memchr::memchr(b'\n', rest).filter(|_| is_retrieval) {
        Some(newline) => rest[..newline].strip_suffix(b"\r").unwrap_or(&rest[..newline]),
        None => b"",
    }
}

fn form<'r, 'b>(request: &'r Request<'b>) -> Option<&'r Form<'b>> {
    match request {
        Request::Operate { form, .. }
        | Request::Begin { form, .. }
        | Request::TooLarge { form, .. }
        | Request::Noop { form }
        | Request::FlushAll { form, .. }
        | Request::Session { form, .. } => Some(form),
        Request::Piece(_) | Request::LastPiece(_) | Request::EndOfKeys => None,
    }
}

/// Whether a command about the server was sent with `noreply`; of operations their form knows it.
fn is_quiet(request: &Request<'_>) -> bool {
    let Request::Session { command, .. } = request else { return false };
    match command {
        Command::Verbosity { quiet, .. }
        | Command::Memlimit { quiet, .. }
        | Command::RefreshCertificates { quiet }
        | Command::Shutdown { quiet, .. }
        | Command::Admin { quiet, .. } => *quiet,
        _ => false,
    }
}
