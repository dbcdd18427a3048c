//! A conversation: requests sent, answers shown, and a connection made again when it is lost.
//!
//! Holds to one rule: a change is never sent twice. A request that only asks is repeated once if its
//! connection ended before any of the answer was shown.

use std::io::Write;
use std::time::Duration;

use crate::cli::Failure;
use crate::cli::client::request::Request;
use crate::cli::client::show::{Hides, Show, Style, Tally};
use crate::cli::wire::{Address, Connection, Terms, Trouble, interrupt};
use crate::clock::Stamp;
use crate::limits::{RECONNECT_WAIT_MS_MAX, RECONNECT_WAIT_MS_MIN};
use crate::protocol::reply::{Piece, Shape, refuses};

/// A server, and the connection to it while there is one.
pub(crate) struct Session {
    address: Address,
    terms: Terms,
    connection: Option<Connection>,
    /// How long a server that went away is waited for.
    comeback: Duration,
    /// Whether the server at the other end of the connection has said that it knows meta commands.
    knows_meta: bool,
    /// Whether the connection that is missing is one that was lost.
    has_lost_one: bool,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) style: Style,
    pub(crate) is_pretty: bool,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tally: Tally,
    pub(crate) micros: u64,
}

impl Answer {
    /// Whether all that was asked for happened or was there.
    pub(crate) fn is_good(&self, request: &Request) -> bool {
        self.tally.refusal.is_none() && self.tally.items >= request.asked()
    }

    /// The keys that were asked for and not there.
    pub(crate) fn missing<'r>(&self, request: &'r Request) -> Vec<&'r [u8]> {
        let keys = request.keys.iter().filter(|key| !self.tally.keys.contains(key));
        let is_read = request.asked() > 0 && self.tally.refusal.is_none();
        keys.filter(|_| is_read).map(Vec::as_slice).collect()
    }
}

impl Session {
    /// Connects.
    pub(crate) fn open(address: Address, terms: Terms) -> Result<Self, Trouble> {
        let connection = Connection::open(&address, &terms)?;
        Ok(Self {
            address,
            terms,
            connection: Some(connection),
            comeback: Duration::ZERO,
            knows_meta: false,
            has_lost_one: false,
        })
    }

    /// Has a server that went away waited for, so long but never longer than for an answer.
    pub(crate) fn wait_for_comeback(&mut self, limit: Duration) {
        self.comeback = limit.min(self.terms.patience);
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and shows its answer. `notice` is told when a connection is lost and made again.
    pub(crate) fn perform(
        &mut self,
        request: &Request,
        value: Option<&[u8]>,
        manner: Manner,
        out: &mut dyn Write,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Answer, Trouble> {
        let mut attempt = |session: &mut Self, notice: &mut dyn FnMut(&str)| {
            session.attempt((request, value), manner, out, notice)
        };
        match attempt(self, notice) {
            Err((Trouble::Lost(why), true)) if request.is_repeatable => {
                notice(&format!("the connection was lost ({why}); asking again"));
                self.has_lost_one = false;
                attempt(self, notice)
            }
            outcome => outcome,
        }
        .map_err(|(trouble, _)| trouble)
    }

    /// An error says whether nothing of the answer has been shown.
    fn attempt(
        &mut self,
        (request, value): (&Request, Option<&[u8]>),
        manner: Manner,
        out: &mut dyn Write,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Answer, (Trouble, bool)> {
        let mut connection = self.connected(notice).map_err(|trouble| (trouble, false))?;
        let hides = match request.shape {
            Shape::Synced => Hides::Version,
            // `stats` and its like end visibly in telnet only; a meta reply has no `END`.
            Shape::Items | Shape::Lines => Hides::End,
            Shape::Keys => Hides::Ends,
            Shape::Line | Shape::Meta => Hides::Nothing,
        };
        let is_pretty = manner.is_pretty || request.is_pretty;
        let mut show = Show::new(manner.style, is_pretty, hides, request.output.clone(), out);
        let start = Stamp::now();
        if request.is_meta_storage() && !self.knows_meta {
            // A server that does not know `ms` would take the value for commands.
            let answer = connection.write(b"mn\r\n").and_then(|()| connection.line());
            let answer = answer.map_err(|trouble| {
                self.has_lost_one = matches!(trouble, Trouble::Lost(_));
                (trouble, true)
            })?;
            if answer != b"MN" && !refuses(&answer) {
                return Err((connection.strange(&answer), false));
            }
            self.knows_meta = answer == b"MN";
            if !self.knows_meta {
                notice("the server does not know meta commands; nothing was sent");
                self.connection = Some(connection);
                let shown = show.take(Piece::Line(&answer));
                let tally = shown.and_then(|()| show.finish(request, value, start.micros()));
                let tally = tally.map_err(|error| (Trouble::Output(error), false))?;
                return Ok(Answer { tally, micros: start.micros() });
            }
        }
        let mut strange = None;
        let heard = send(&mut connection, request, value).and_then(|()| {
            connection.reply(request.shape, |piece| match piece {
                Piece::Line(line) if !refuses(line) && !request.expects(line) => {
                    strange = Some(line.to_vec());
                    Err(std::io::ErrorKind::InvalidData.into())
                }
                Piece::Item(head) if !request.asks_for(head.key) => {
                    strange = Some(head.line.to_vec());
                    Err(std::io::ErrorKind::InvalidData.into())
                }
                piece => show.take(piece),
            })
        });
        if let Some(line) = strange {
            return Err((connection.strange(&line), false));
        }
        match heard {
            Ok(()) if request.is_farewell() => {}
            Ok(()) => self.connection = Some(connection),
            Err(Trouble::Lost(_)) if request.is_farewell() => {}
            Err(trouble) => {
                self.has_lost_one = matches!(trouble, Trouble::Lost(_));
                return Err((trouble, !show.has_begun()));
            }
        }
        let micros = start.micros();
        if value.is_some() && show.is_misunderstood() {
            self.resynchronise();
        }
        let tally = show.finish(request, value, micros);
        Ok(Answer { tally: tally.map_err(|error| (Trouble::Output(error), false))?, micros })
    }

    /// A server that did not understand a line takes the value behind it for further lines, and answers
    /// those too. Reads these answers away; where that fails the connection ends here.
    fn resynchronise(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let synced = connection
            .write(b"version\r\n")
            .and_then(|()| connection.reply(Shape::Synced, |_| Ok(())));
        if synced.is_ok() {
            self.connection = Some(connection);
        }
    }

    /// Takes the connection, or makes a new one.
    fn connected(&mut self, notice: &mut dyn FnMut(&str)) -> Result<Connection, Trouble> {
        if let Some(mut connection) = self.connection.take() {
            let Some(why) = connection.staleness() else {
                return Ok(connection);
            };
            notice(&format!("the connection was lost ({why}); connecting again"));
            self.has_lost_one = true;
        }
        let connection = self.opened()?;
        self.knows_meta = false;
        if std::mem::take(&mut self.has_lost_one) {
            notice(&format!("connected to {} again", self.address));
        }
        Ok(connection)
    }

    /// A new connection; to a server that went away again and again for a while.
    fn opened(&self) -> Result<Connection, Trouble> {
        let limit = if self.has_lost_one { self.comeback } else { Duration::ZERO };
        let start = Stamp::now();
        let mut wait = Duration::from_millis(RECONNECT_WAIT_MS_MIN);
        loop {
            let outcome = Connection::open(&self.address, &self.terms);
            let is_over = start.elapsed() + wait > limit || interrupt::is_asked();
            if is_over || !matches!(outcome, Err(Trouble::Unreachable(_))) {
                return outcome;
            }
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(Duration::from_millis(RECONNECT_WAIT_MS_MAX));
        }
    }
}

/// What a command came to that got no answer.
pub(crate) fn failure(trouble: Trouble, request: &Request) -> Failure {
    trouble.advised(if request.is_repeatable {
        "nothing was changed; ask again"
    } else {
        "the command may or may not have been carried out: look before repeating"
    })
}

fn send(
    connection: &mut Connection,
    request: &Request,
    value: Option<&[u8]>,
) -> Result<(), Trouble> {
    connection.write(&request.opening(value))?;
    if let Some(value) = value {
        connection.write(value)?;
        connection.write(b"\r\n")?;
    }
    if request.shape == Shape::Synced {
        connection.write(b"version\r\n")?;
    }
    Ok(())
}
