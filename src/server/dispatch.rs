//! From a request to its reply: answered here, or made an operation that joins the pass's batch.
//!
//! What must stay true: a read is answered at once only when nothing of its connection waits for a
//! commit; else it joins the batch behind what it must see.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cache::{
    Arithmetic, Delete, Direction, Exptime, Fetch, Key, KeyBuf, Op, Outcome, Store,
};
use crate::clock::{Seconds, Stamp};
use crate::logging::{self, Client};
use crate::metrics::{Kind, Thread};
use crate::protocol::encode::{self, Output as _};
use crate::protocol::{Form, Reject, Request, RequestKey, Session as Command, Step};
use crate::server::admin;
use crate::server::connection::{Answered, Connection, Ending, Pending, Slot};
use crate::server::context::Context;
use crate::server::count::{Counted, count, kind_of};
use crate::server::inbox::Inbox;
use crate::server::sender::Sending;
use crate::server::watch::{Lane, Reason};
use crate::stats;
use crate::store::{Session, Source, Task, Work};

/// Reads that are answered at once are timed one for so many, and that one counts for all of them:
/// reading the clock for each would show.
const READS_PER_TIMED: u64 = 64;

/// A loop that has timed no read for so long times the next, so that a quiet server has figures too.
const UNTIMED_MAX: Duration = Duration::from_millis(100);

/// What a loop answers with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) context: Arc<Context>,
    pub(super) session: Session,
    /// Of the loop.
    pub(super) inbox: Arc<Inbox>,
    pub(super) metrics: Arc<Thread>,
    pub(super) lane: Lane,
    /// Operations that wait for their commit.
    pub(super) waiting: usize,
    /// The time of day, looked at once a round.
    pub(super) now: Seconds,
    /// The same by the steady clock, for what is waited for.
    pub(super) steady: Seconds,
    /// When the round began: the time of everything that waits for a commit counts from here.
    pub(super) round: Stamp,
    /// Reads since one was timed, and how many make the next.
    untimed: u64,
    timed_at: u64,
    timed_last: Option<Stamp>,
}

impl Desk {
    pub(super) fn new(context: Arc<Context>, session: Session, inbox: Arc<Inbox>) -> Self {
        let metrics = context.metrics.thread();
        let lane = Lane::new(&context, Arc::clone(&metrics));
        let now = context.clock.now();
        let round = Stamp::now();
        let steady = context.clock.steady_at(round);
        Self {
            context,
            session,
            inbox,
            metrics,
            lane,
            waiting: 0,
            now,
            steady,
            round,
            untimed: 0,
            timed_at: 1,
            timed_last: None,
        }
    }

    /// Begins a round: looks at the clocks.
    pub(super) fn begin_round(&mut self) {
        self.now = self.context.clock.now();
        self.round = Stamp::now();
        self.steady = self.context.clock.steady_at(self.round);
        if self.timed_last.is_none_or(|last| self.round.since(last) >= UNTIMED_MAX) {
            self.timed_at = 1;
        }
    }

    /// Answers requests of one connection until it has no more, has had its turn, or must wait.
    pub(super) fn turn(&mut self, connection: &mut Connection, ticket: u64) {
        let mut requests = 0;
        connection.stalled = false;
        connection.ended_one = false;
        connection.decoder.set_item_bytes_max(self.context.store.item_bytes_max());
        while !connection.hungry && connection.ending == Ending::Open && !connection.is_blocked() {
            let has_had_all =
                requests == self.context.live.requests_per_turn() || self.session.is_full();
            if has_had_all || connection.becomes_heavy(requests) {
                self.metrics.counters.conn_yields.add(has_had_all.into());
                connection.goes_on = true;
                break;
            }
            requests += 1;
            if !self.request(connection, ticket) {
                break;
            }
        }
        connection.goes_on &= !connection.hungry;
        let (ended, in_value) = (connection.ended_one, !connection.decoder.is_between_requests());
        // As in memcached: who dribbles a command line is as idle as who is silent.
        if ended || requests > 0 && in_value {
            connection.card.last_command.store(self.steady.0, Ordering::Relaxed);
        }
        if requests > 0 {
            connection.weigh(requests);
        }
        connection.note_asking(ended, self.steady);
        self.account(connection);
    }

    /// Decodes and handles one request. `false` if it has to wait for what is before it.
    fn request(&mut self, connection: &mut Connection, ticket: u64) -> bool {
        let Some(mut input) = connection.input.take() else {
            connection.hungry = true;
            return true;
        };
        if connection.login.is_some() {
            let used = self.log_in(connection, input.unused());
            input.consume(used);
            connection.input = Some(input);
            return true;
        }
        let begins = connection.user.is_some() && connection.decoder.is_between_requests();
        let step = connection.decoder.decode(input.unused());
        let used = match step {
            Step::NeedMore { used } => {
                connection.hungry = true;
                Some(used)
            }
            Step::Skip { used } => Some(used),
            Step::Reject { reject, quiet, used } => {
                connection.ended_one = true;
                self.reject(connection, reject, quiet, &input.unused()[..used]);
                Some(used)
            }
            Step::Request { mut request, used } => {
                connection.ended_one |= !matches!(request, Request::Piece(_));
                let rest = &input.unused()[used..];
                let may = self.may(connection, &mut request, rest, begins);
                (!may || self.handle(connection, ticket, request)).then_some(used)
            }
        };
        if let Some(used) = used {
            input.consume(used);
        }
        connection.input = Some(input);
        used.is_some()
    }

    fn reject(&mut self, connection: &mut Connection, reject: Reject, quiet: bool, bytes: &[u8]) {
        if reject == Reject::BadDataChunk {
            connection.arriving = None;
            self.metrics.counters.cmd_set.up();
            self.metrics.counters.set_errors.up();
        }
        if reject == Reject::TooLarge {
            self.metrics.counters.store_too_large.up();
        }
        if reject != Reject::TooLarge {
            self.metrics.counters.refused_client.up();
        }
        if let Some(answer) = reject.answer()
            && !quiet
        {
            connection.end_line(answer);
        }
        if reject.closes() {
            connection.ending = Ending::Owed;
        }
        // What is of another protocol may be a login in the wrong one, and where clients log in, one in the wrong
        // place. Of a value nothing is shown.
        let hidden = matches!(reject, Reject::NoFrame | Reject::BadDataChunk)
            || self.context.options.accounts.is_some();
        let shown = if hidden { b"" } else { bytes.trim_ascii_end() };
        log::debug!("client {}: {reject:?}: {}", connection.id, Client(shown));
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "its request is large to hand over: a tenth of a read")]
    fn handle(&mut self, connection: &mut Connection, ticket: u64, request: Request<'_>) -> bool {
        match request {
            Request::Operate { key, op, form } => {
                if let Op::Fetch(fetch) = op
                    && connection.pending.is_empty()
                    && self.fetch(connection, key.as_key(), fetch, &form)
                {
                    return true;
                }
                self.operate(connection, ticket, key, op, form);
            }
            Request::Begin { key, how, form, value_bytes } => {
                let value = (key.into_owned(), how, form.into_owned());
                self.begin_value(connection, ticket, value, value_bytes);
            }
            Request::Piece(data) => Self::piece(connection, data, false),
            Request::LastPiece(data) => Self::piece(connection, data, true),
            Request::TooLarge { key, how, form } => {
                self.too_large(connection, ticket, key, how, form);
            }
            Request::Noop { form } => {
                say(connection, encode::noop(&form));
                self.metrics.counters.other_done.up();
            }
            Request::EndOfKeys => connection.end_line(encode::END),
            Request::FlushAll { delay, form } => self.flush_all(connection, ticket, delay, form),
            // What a session command shows includes what its own connection did before. A login shows
            // nothing of it, and its decoder is in the midst of what it drops of a long one.
            Request::Session { command, .. }
                if !connection.pending.is_empty()
                    && !matches!(command, Command::Watch { .. } | Command::SaslLogin { .. }) =>
            {
                connection.stalled = true;
                return false;
            }
            Request::Session { command: Command::RefreshCertificates { quiet }, .. } => {
                self.refresh_certificates(connection, ticket, quiet);
            }
            Request::Session { command: Command::List(list), .. } => {
                self.list(connection, ticket, list);
            }
            Request::Session { command, form } => {
                let began = Stamp::now();
                self.command(connection, command, &form);
                self.metrics.counters.other_done.up();
                self.metrics.latency(Kind::Other).record(began.elapsed());
                Self::log(connection, || session_line(command), began);
            }
        }
        true
    }

    /// Makes an operation one of the batch.
    fn operate(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        key: RequestKey<'_>,
        op: Op,
        form: Form<'_>,
    ) {
        let (kind, counted) = kind_of(&op, &form);
        let logged = Self::describe(|| command_line(&op, key.as_key()));
        let op = self.without_cas(op, &form);
        let hash = self.context.store.hash(key.as_key());
        let task = Task::Operate { hash, key: key.into_owned(), op };
        self.queue(connection, ticket, task, form.into_owned(), kind, counted, logged);
    }

    /// Refuses a value that will be swallowed, and removes what it would have replaced.
    fn too_large(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        key: RequestKey<'_>,
        how: Store,
        form: Form<'_>,
    ) {
        self.metrics.counters.store_too_large.up();
        self.lane.too_large(connection.id, key.as_key(), &how);
        if form.discards_too_large(&how) {
            let hash = self.context.store.hash(key.as_key());
            let task = Task::Operate { hash, key: key.into_owned(), op: Op::Discard { why: None } };
            let (form, counted) = (form.into_owned(), Counted::TooLarge);
            self.queue(connection, ticket, task, form, Kind::Set, counted, None);
        } else {
            say(connection, encode::too_large(&form));
        }
    }

    fn flush_all(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        delay: Exptime,
        form: Form<'_>,
    ) {
        self.metrics.counters.cmd_flush.up();
        if !self.context.live.flush_enabled() {
            self.metrics.counters.flush_errors.up();
            self.metrics.counters.refused_client.up();
            say(connection, encode::flush_refused(&form));
            return;
        }
        let logged = Self::describe(|| format!("flush_all {}", delay.0));
        let task = Task::Flush { delay };
        let (kind, counted) = (Kind::Flush, Counted::Flush);
        self.queue(connection, ticket, task, form.into_owned(), kind, counted, logged);
    }

    /// Answers a read at once; `false` if its answer has to be committed first.
    fn fetch(
        &mut self,
        connection: &mut Connection,
        key: Key<'_>,
        fetch: Fetch,
        form: &Form<'_>,
    ) -> bool {
        let timed = self.untimed + 1 >= self.timed_at;
        let began = (timed || logging::requests()).then(Stamp::now);
        let Some((mut outcome, source)) = self.session.fetch(key, fetch, self.now) else {
            return false;
        };
        self.untimed += 1;
        if let Outcome::Hit(_) = outcome {
            self.metrics.counters.memory_hits.add(u64::from(source == Source::Memory));
        }
        self.hide_cas(&mut outcome);
        let (_, counted) = kind_of(&Op::Fetch(fetch), form);
        count(&self.metrics.counters, counted, &outcome);
        self.lane.fetched(connection.id, key, &outcome);
        admin::detail(&self.context.prefixes, counted, key, &outcome);
        retrieved(connection, form, key, &outcome);
        if let Some(began) = began {
            if timed {
                let reads = std::mem::take(&mut self.untimed);
                self.metrics.latency(Kind::Get).record_n(began.elapsed(), reads);
                self.timed_at = READS_PER_TIMED;
                self.timed_last = Some(self.round);
            }
            Self::log(connection, || format!("get {}", Client(key.bytes())), began);
        }
        true
    }

    /// With `-C` no item has a cas id that a client could know.
    fn hide_cas(&self, outcome: &mut Outcome) {
        if self.context.options.cas_enabled {
            return;
        }
        match outcome {
            Outcome::Hit(hit) => hit.item.head.cas = 0,
            Outcome::Stored(written) | Outcome::Touched(written) | Outcome::Number(_, written) => {
                written.cas = 0;
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a task and all that its reply needs")]
    pub(super) fn queue(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        task: Task,
        form: Form<'static>,
        kind: Kind,
        counted: Counted,
        logged: Option<Box<str>>,
    ) {
        let began = self.round;
        connection.pending_values += usize::from(form.carries_value());
        let bytes = task.value_bytes() + form.kept_bytes();
        connection.pending_bytes += bytes;
        let pending = Pending { form, kind, bytes, counted, began, logged };
        connection.pending.push_back(Slot::Task(pending));
        self.session.queue(ticket, task);
        self.waiting += 1;
    }

    /// Takes what became of a connection's oldest waiting operation, and writes it and what waited behind
    /// it, unless a value is being sent before.
    pub(super) fn answer(&mut self, connection: &mut Connection, work: &Work) {
        let waits = |slot: &Slot| matches!(slot, Slot::Task(_));
        let at = connection.pending.iter().position(waits);
        let at = at.expect("an outcome comes only for what waits");
        let place = &mut connection.pending[at];
        let Slot::Task(pending) = std::mem::replace(place, Slot::Ready(Cow::Borrowed(b""))) else {
            unreachable!("it was found just now")
        };
        connection.pending_bytes -= pending.bytes;
        let mut outcome = work.outcome.clone().expect("a batch comes back with all its outcomes");
        self.hide_cas(&mut outcome);
        count(&self.metrics.counters, pending.counted, &outcome);
        self.lane.operated(connection.id, work, &pending.form, self.now);
        let key = match &work.task {
            Task::Operate { key, .. } => Some(key.as_key()),
            Task::Flush { .. } => None,
        };
        if let Some(key) = key {
            admin::detail(&self.context.prefixes, pending.counted, key, &outcome);
        }
        self.metrics.latency(pending.kind).record(pending.began.elapsed());
        if let Some(logged) = pending.logged {
            let name = outcome_name(&outcome);
            Self::log(connection, || format!("{logged}: {name}"), pending.began);
        }
        if at == 0 {
            connection.pending.pop_front();
            connection.pending_values -= usize::from(pending.form.carries_value());
            written(connection, &pending.form, key, &outcome);
            Self::go_on(connection);
        } else {
            let (form, key) = (pending.form, key.map(Key::to_owned));
            let answered = Answered { form, key, outcome };
            connection.answered_bytes += answered.held_bytes();
            connection.pending[at] = Slot::Answered(Box::new(answered));
        }
    }

    /// Writes what waited behind something that is written now.
    pub(super) fn go_on(connection: &mut Connection) {
        loop {
            match connection.pending.front() {
                None | Some(Slot::Task(_) | Slot::Listing(_) | Slot::Sending(_)) => return,
                Some(Slot::Ready(_) | Slot::EndOfKeys(_) | Slot::Answered(_)) => {}
            }
            match connection.pending.pop_front() {
                Some(Slot::Ready(answer)) => connection.output.bytes(&answer),
                Some(Slot::EndOfKeys(line)) => connection.line_ends(&line),
                Some(Slot::Answered(answered)) => {
                    connection.answered_bytes -= answered.held_bytes();
                    connection.pending_values -= usize::from(answered.form.carries_value());
                    let Answered { form, key, outcome } = *answered;
                    written(connection, &form, key.as_ref().map(KeyBuf::as_key), &outcome);
                }
                _ => return,
            }
        }
    }

    fn command(&mut self, connection: &mut Connection, command: Command<'_>, form: &Form<'_>) {
        let context = Arc::clone(&self.context);
        let output = &mut connection.output;
        match command {
            Command::List(_) | Command::RefreshCertificates { .. } => {
                unreachable!("what takes its time is begun elsewhere")
            }
            Command::Version => output.bytes(&encode::version(form, stats::VERSION)),
            Command::Help => output.bytes(super::help::HELP.as_bytes()),
            Command::Quit => {
                output.bytes(&encode::quit(form));
                connection.ending = Ending::Owed;
                connection.reason = Reason::Normal;
            }
            Command::SaslList | Command::SaslLogin { .. } => self.sasl(connection, command, form),
            Command::Watch { words } => {
                // Sent together with others, whose replies may have gone out already: memcached's rule.
                let waits = !connection.pending.is_empty() || !output.is_empty();
                let pipelined = waits || connection.goes_on;
                let enabled = context.live.watch_enabled();
                match context.watchers.admit(connection.id, words, enabled, pipelined) {
                    Ok(watch) => connection.ending = Ending::Watching(watch),
                    Err(line) => say(connection, line),
                }
            }
            Command::Verbosity { level, quiet } => {
                // A client may have less logged than the operator asked for, never more.
                let level = level.min(context.live.verbosity_max());
                context.verbosity.store(level, Ordering::Relaxed);
                logging::set_verbosity(level);
                output.bytes(if quiet { b"" } else { encode::OK });
            }
            Command::Memlimit { bytes, quiet } => {
                context.store.set_bytes_max(bytes);
                output.bytes(if quiet { b"" } else { encode::OK });
            }
            Command::Shutdown { quiet, .. } if !context.live.shutdown_enabled() => {
                let answer = b"SERVER_ERROR: shutdown not enabled\r\n";
                output.bytes(if quiet { b"" } else { answer });
            }
            Command::Shutdown { known: false, quiet } => {
                let answer = Reject::InvalidShutdownMode.answer().unwrap_or_default();
                output.bytes(if quiet { b"" } else { &answer });
            }
            Command::Shutdown { known: true, .. } => {
                connection.ending = Ending::Owed;
                connection.reason = Reason::Shutdown;
                context.request_stop();
            }
            Command::Admin { command, quiet } => {
                let answer = admin::perform(&context, command);
                output.bytes(if quiet { b"" } else { answer });
            }
            Command::Stats { arguments } => {
                let mut text = Vec::new();
                let known = super::report::stats(&context, arguments, connection.id, &mut text);
                encode::stats(form, known.then_some(&text), output);
            }
        }
    }

    /// With `-C` no condition on a cas holds; memcached does not look at that of a frame that stores.
    pub(super) fn without_cas(&self, mut op: Op, form: &Form<'_>) -> Op {
        if self.context.options.cas_enabled {
            return op;
        }
        match (&mut op, form.frame_mode()) {
            (Op::Store(how, _), Some(mode)) => (how.mode, how.compare) = (mode, None),
            (
                Op::Store(Store { compare: Some(cas), .. }, _)
                | Op::Arithmetic(Arithmetic { compare: Some(cas), .. })
                | Op::Delete(Delete { compare: Some(cas), .. }),
                _,
            ) => *cas = 0,
            _ => {}
        }
        op
    }

    pub(super) fn describe(command: impl FnOnce() -> String) -> Option<Box<str>> {
        logging::requests().then(|| command().into())
    }

    pub(super) fn log(connection: &Connection, what: impl FnOnce() -> String, began: Stamp) {
        if logging::requests() {
            log::trace!(
                target: logging::REQUEST,
                "client {}: {} in {} us",
                connection.id,
                what(),
                began.micros()
            );
        }
    }
}

/// Writes an outcome.
fn written(connection: &mut Connection, form: &Form<'_>, key: Option<Key<'_>>, outcome: &Outcome) {
    match key {
        Some(key) if form.carries_value() => retrieved(connection, form, key, outcome),
        Some(key) => encode::outcome(form, key, outcome, &mut connection.output),
        None => encode::unkeyed(form, outcome, &mut connection.output),
    }
}

/// A key's part of a retrieval's reply. An error takes the place of all that would follow it.
fn retrieved(connection: &mut Connection, form: &Form<'_>, key: Key<'_>, outcome: &Outcome) {
    if !connection.line_failed {
        encode::outcome(form, key, outcome, &mut connection.output);
        let goes_on = matches!(form, Form::Retrieval { .. });
        connection.line_failed = goes_on && matches!(outcome, Outcome::Failed(_));
        if let Some(hole) = connection.output.take_hole() {
            connection.pending.push_front(Slot::Sending(Sending::new(hole)));
        }
    }
}

/// Says something in its place: now, or behind what waits for a commit. Nothing takes no place.
pub(super) fn say(connection: &mut Connection, answer: impl Into<Cow<'static, [u8]>>) {
    let answer = answer.into();
    if answer.is_empty() {
        return;
    }
    if connection.pending.is_empty() {
        connection.output.bytes(&answer);
    } else {
        connection.pending.push_back(Slot::Ready(answer));
    }
}

pub(super) fn command_line(op: &Op, key: Key<'_>) -> String {
    let key = Client(key.bytes());
    match op {
        Op::Fetch(Fetch { touch: Some(exptime), .. }) => format!("gat {} {key}", exptime.0),
        Op::Fetch(_) => format!("get {key}"),
        Op::Store(Store { mode, compare, .. }, value) => {
            let name = if compare.is_some() { "Cas".into() } else { format!("{mode:?}") };
            format!("{} {key} ({} bytes)", name.to_lowercase(), value.len())
        }
        Op::Arithmetic(Arithmetic { direction: Direction::Up, delta, .. }) => {
            format!("incr {key} {delta}")
        }
        Op::Arithmetic(Arithmetic { delta, .. }) => format!("decr {key} {delta}"),
        Op::Touch { exptime } => format!("touch {key} {}", exptime.0),
        Op::Delete(Delete { invalidate: true, .. }) => format!("invalidate {key}"),
        Op::Delete(_) => format!("delete {key}"),
        Op::Discard { .. } => format!("set {key} (too large)"),
    }
}

fn session_line(command: Command<'_>) -> String {
    match command {
        Command::Stats { arguments } => format!("stats{}", Client(arguments)),
        Command::Watch { words } => format!("watch{}", Client(words)),
        // Never the message: it holds a password.
        Command::SaslLogin { .. } => "sasl login".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Hit(hit) => format!("hit, {} bytes", hit.item.value.len()),
        Outcome::Number(number, _) => number.to_string(),
        other => format!("{other:?}"),
    }
}
