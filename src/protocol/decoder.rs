//! Turns the bytes of a client who speaks text into requests.
//!
//! Does no I/O and asks nobody for the time: give it bytes, it says what they mean so far. Holds to
//! one rule: however the bytes are cut, the requests come out the same. What it keeps between calls
//! is bounded by the largest value.

use crate::cache::{Exptime, Fetch, Key, KeyBuf, Op, Store};
use crate::limits::{ITEM_HEADER_BYTES, KEY_BYTES_MAX, LINE_BYTES_MAX, VALUE_STEP_BYTES};
use crate::protocol::admin::Admin;
use crate::protocol::classic::{self, Line, StoreLine};
use crate::protocol::form::Form;
use crate::protocol::gather::{Gather, Sizes};
use crate::protocol::listing::List;
use crate::protocol::reject::Reject;

/// A retrieval line up to this long is checked whole before its first key is answered: a bad key
/// replaces the reply, as in memcached. Longer lines are answered as they arrive.
const RETRIEVAL_WHOLE_BYTES_MAX: usize = 8_192;

/// What the decoder made of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// The bytes end inside a request. `used` of them are remembered here; come back with the rest
    /// when there are more.
    NeedMore { used: usize },
    /// Bytes that belong to something refused, and are dropped. There may be more behind them.
    ///
    /// A step of its own, so that a request always begins at the first of the bytes: whoever cannot
    /// take it yet leaves them unused, and finds the same request there again.
    Skip { used: usize },
    /// One request, and how many bytes it used.
    Request { request: Request<'b>, used: usize },
    /// Not acceptable. `reject` knows the line to answer (unless `quiet`) and whether the connection
    /// survives.
    Reject { reject: Reject, quiet: bool, used: usize },
}

/// One request. A retrieval line becomes one request per key and an [`Request::EndOfKeys`], so that
/// a line of any length is answered in bounded memory.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'b> {
    /// An operation on a key.
    Operate { key: RequestKey<'b>, op: Op, form: Form<'b> },
    /// A value in pieces begins.
    Begin { key: RequestKey<'b>, how: Store, form: Form<'b>, value_bytes: u64 },
    /// A piece of it, behind which more come.
    Piece(Vec<u8>),
    /// Its last piece: the value has come as announced.
    LastPiece(Vec<u8>),
    /// The value announced for this key is too large and will be swallowed.
    TooLarge { key: RequestKey<'b>, how: Store, form: Form<'b> },
    /// `mn`: answered when everything before it has been answered.
    Noop { form: Form<'b> },
    /// The retrieval line ends.
    EndOfKeys,
    /// Everything stored is gone: now, or when the exptime says.
    FlushAll { delay: Exptime, form: Form<'b> },
    /// A command about the session or the server.
    Session { command: Session<'b>, form: Form<'b> },
}

/// The key of a request: part of the bytes just given, or remembered while a value arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestKey<'b> {
    /// Part of the bytes just given.
    Here(Key<'b>),
    /// From bytes given earlier.
    Kept(KeyBuf),
}

impl RequestKey<'_> {
    /// Borrows it.
    pub fn as_key(&self) -> Key<'_> {
        match self {
            Self::Here(key) => *key,
            Self::Kept(key) => key.as_key(),
        }
    }

    /// Owns it.
    pub fn into_owned(self) -> KeyBuf {
        match self {
            Self::Here(key) => key.to_owned(),
            Self::Kept(key) => key,
        }
    }
}

/// A command about the session or the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session<'b> {
    Version,
    Quit,
    Help,
    /// What stands behind `stats`, untrimmed.
    Stats {
        arguments: &'b [u8],
    },
    /// What stands behind `watch`, untrimmed: the client becomes a watcher.
    Watch {
        words: &'b [u8],
    },
    Verbosity {
        level: u8,
        quiet: bool,
    },
    /// A new item budget in bytes.
    Memlimit {
        bytes: u64,
        quiet: bool,
    },
    /// A listing of all keys.
    List(List),
    /// `refresh_certs`.
    RefreshCertificates {
        quiet: bool,
    },
    /// Whether its mode is one that memcached knows.
    Shutdown {
        known: bool,
        quiet: bool,
    },
    /// Which mechanisms of SASL there are.
    SaslList,
    /// A login by SASL, or a further step of one. No message: it is longer than any login.
    SaslLogin {
        is_step: bool,
        mechanism: &'b [u8],
        message: Option<&'b [u8]>,
    },
    /// A command for a part of memcached.
    Admin {
        command: Admin,
        quiet: bool,
    },
}

/// Turns one connection's text into requests.
#[derive(Debug)]
pub(super) struct Text {
    state: State,
    sizes: Sizes,
}

#[derive(Debug)]
enum State {
    /// A command line comes next.
    Command,
    /// Inside a retrieval line.
    Keys { with_cas: bool, touch: Option<Exptime>, any: bool },
    /// Inside a value.
    Value(Box<Arriving>),
    /// Inside a value in pieces.
    Pieces(Box<(Form<'static>, Gather)>),
    /// Inside a value that nobody wants.
    Swallow { bytes: u64 },
    /// The same in the old dialect: then `\n` or `\r\n`.
    SwallowSimple { bytes: u64 },
    /// In the rest of a line that nobody wants.
    SwallowLine,
}

#[derive(Debug)]
struct Arriving {
    key: KeyBuf,
    how: Store,
    form: Form<'static>,
    value_bytes: usize,
    value: Vec<u8>,
}

impl Text {
    /// For a new connection.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self { state: State::Command, sizes }
    }

    /// Changes what is refused from the next command line on.
    pub(super) fn set_item_bytes_max(&mut self, item_bytes_max: u64) {
        self.sizes.item_bytes_max = item_bytes_max;
    }

    /// Bytes of a value that has arrived in part.
    pub(super) fn arriving_bytes(&self) -> usize {
        match &self.state {
            State::Value(arriving) => arriving.value.capacity(),
            State::Pieces(arriving) => arriving.1.held_bytes(),
            _ => 0,
        }
    }

    /// Whether the last request is complete: a connection may end here without cutting anything off.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Command)
    }

    /// Gives up the value that is arriving: what was remembered of it is freed and the rest will be
    /// swallowed. `None` if no value is arriving; else whether its client wants no reply.
    pub(super) fn abandon_value(&mut self) -> Option<Form<'static>> {
        let (form, left) = match &self.state {
            State::Value(arriving) => {
                let left = (arriving.value_bytes - arriving.value.len()) as u64;
                (arriving.form.clone(), left)
            }
            State::Pieces(arriving) => (arriving.0.clone(), arriving.1.left()),
            _ => return None,
        };
        self.state = match form {
            Form::Simple { .. } => State::SwallowSimple { bytes: left },
            _ => State::Swallow { bytes: left + 2 },
        };
        Some(form)
    }

    /// Gives up the rest of a retrieval line.
    pub(super) fn abandon_line(&mut self) {
        if let State::Keys { .. } = self.state {
            self.state = State::SwallowLine;
        }
    }

    /// Says what `bytes` mean: those that the last call did not use, and those that came since.
    pub(super) fn decode<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        match &mut self.state {
            State::Command => self.command(bytes),
            State::Keys { .. } => self.key(bytes, 0),
            State::Value(_) => self.value(bytes),
            State::Pieces(_) => self.piece(bytes),
            State::Swallow { .. } => self.swallow(bytes),
            State::SwallowSimple { .. } => self.swallow_simple(bytes),
            State::SwallowLine => self.swallow_line(bytes),
        }
    }

    fn command<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let newline = memchr::memchr(b'\n', bytes);
        let retrieval = classic::is_retrieval(bytes);
        let length = newline.map_or(bytes.len(), |at| at + 1);
        let whole_max = if retrieval { RETRIEVAL_WHOLE_BYTES_MAX } else { LINE_BYTES_MAX };
        if length > whole_max {
            if retrieval {
                return self.open_ended(&bytes[..whole_max], bytes);
            }
            return Step::Reject { reject: Reject::LineTooLong, quiet: true, used: bytes.len() };
        }
        let Some(newline) = newline else { return Step::NeedMore { used: 0 } };
        // memcached takes no line this short for a command, `x\r\n` and `mn\n` included.
        const LINE_BYTES_LEAST: usize = 4;
        if length < LINE_BYTES_LEAST {
            return Step::Reject { reject: Reject::BadFormat, quiet: false, used: length };
        }
        let line = &bytes[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match classic::parse(line) {
            Line::Keys { with_cas, touch, keys_at } => {
                if let Err(reject) = check_keys(&line[keys_at..]) {
                    return Step::Reject { reject, quiet: false, used: length };
                }
                self.state = State::Keys { with_cas, touch, any: false };
                self.key(bytes, keys_at)
            }
            Line::Store(store) => self.store(store, bytes, length),
            Line::Operate { key, op, form } => {
                Step::Request { request: Request::Operate { key, op, form }, used: length }
            }
            Line::Noop => {
                let form = Form::Classic { quiet: false };
                Step::Request { request: Request::Noop { form }, used: length }
            }
            Line::FlushAll { delay, quiet } => {
                let form = Form::Classic { quiet };
                Step::Request { request: Request::FlushAll { delay, form }, used: length }
            }
            Line::Session(command) => {
                let form = Form::Classic { quiet: false };
                Step::Request { request: Request::Session { command, form }, used: length }
            }
            Line::Reject { reject, quiet, swallow } => {
                if let Some(bytes) = swallow {
                    self.state = State::Swallow { bytes };
                }
                Step::Reject { reject, quiet, used: length }
            }
        }
    }

    /// A retrieval line whose end is not in sight: its keys are answered as they come.
    fn open_ended<'b>(&mut self, start: &'b [u8], bytes: &'b [u8]) -> Step<'b> {
        // The last word may be cut off: what `parse` needs stands at the very start of the line.
        match classic::parse(start) {
            Line::Keys { with_cas, touch, keys_at } => {
                self.state = State::Keys { with_cas, touch, any: false };
                self.key(bytes, keys_at)
            }
            Line::Reject { reject, quiet, .. } => {
                self.state = State::SwallowLine;
                Step::Reject { reject, quiet, used: start.len() }
            }
            _ => unreachable!("the line begins with a retrieval command"),
        }
    }

    /// The next key of a retrieval line, from offset `at`.
    fn key<'b>(&mut self, bytes: &'b [u8], at: usize) -> Step<'b> {
        let State::Keys { with_cas, touch, any } = &mut self.state else {
            unreachable!("only called inside a retrieval line")
        };
        let spaces = bytes[at..].iter().take_while(|&&byte| byte == b' ').count();
        let start = at + spaces;
        let rest = &bytes[start..];
        let Some(end) = memchr::memchr2(b' ', b'\n', rest) else {
            if rest.len() > KEY_BYTES_MAX + 1 {
                self.state = State::SwallowLine;
                return Step::Reject { reject: Reject::BadFormat, quiet: false, used: bytes.len() };
            }
            return Step::NeedMore { used: start };
        };
        let line_ends = rest[end] == b'\n';
        let token = &rest[..end];
        let token = if line_ends { token.strip_suffix(b"\r").unwrap_or(token) } else { token };
        if token.is_empty() {
            let any = *any;
            self.state = State::Command;
            let used = start + end + 1;
            return if any {
                Step::Request { request: Request::EndOfKeys, used }
            } else {
                Step::Reject { reject: Reject::BadFormat, quiet: false, used }
            };
        }
        let Some(key) = Key::new(token) else {
            self.state = State::SwallowLine;
            return Step::Reject { reject: Reject::BadFormat, quiet: false, used: start + end };
        };
        *any = true;
        let op = Op::Fetch(Fetch { touch: *touch, ..Fetch::default() });
        let form = Form::Retrieval { with_cas: *with_cas };
        let request = Request::Operate { key: RequestKey::Here(key), op, form };
        Step::Request { request, used: start + token.len() }
    }

    /// A storage line: the value may be here whole, else it is gathered.
    fn store<'b>(&mut self, line: StoreLine<'b>, bytes: &'b [u8], used: usize) -> Step<'b> {
        let StoreLine { key, how, value_bytes, form } = line;
        let key_bytes = key.as_key().bytes().len() as u64;
        let simple = matches!(form, Form::Simple { .. });
        if key_bytes + value_bytes + ITEM_HEADER_BYTES as u64 > self.sizes.item_bytes_max {
            self.state = if simple {
                State::SwallowSimple { bytes: value_bytes }
            } else {
                State::Swallow { bytes: value_bytes + 2 }
            };
            return Step::Request { request: Request::TooLarge { key, how, form }, used };
        }
        if value_bytes > self.sizes.large_value_bytes {
            let gather = Gather::new(value_bytes, self.sizes.piece_bytes);
            self.state = State::Pieces(Box::new((form.clone().into_owned(), gather)));
            return Step::Request { request: Request::Begin { key, how, form, value_bytes }, used };
        }
        let value_bytes =
            usize::try_from(value_bytes).expect("a value within the item limit fits in memory");
        let data = &bytes[used..];
        if let Some(ending) = ending(data, value_bytes, simple) {
            return match ending {
                Ending::Good { used: ending } => {
                    let op = Op::Store(how, data[..value_bytes].into());
                    let used = used + value_bytes + ending;
                    Step::Request { request: Request::Operate { key, op, form }, used }
                }
                Ending::Bad => self.bad_ending(&form, used + value_bytes),
            };
        }
        let (key, form) = (key.into_owned(), form.into_owned());
        let arriving = Arriving { key, how, form, value_bytes, value: Vec::new() };
        self.state = State::Value(Box::new(arriving));
        match self.value(data) {
            Step::NeedMore { used: taken } => Step::NeedMore { used: used + taken },
            _ => unreachable!("the value does not end in these bytes"),
        }
    }

    /// More of a value that is arriving.
    fn value<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let State::Value(arriving) = &mut self.state else {
            unreachable!("only called inside a value")
        };
        let missing = arriving.value_bytes - arriving.value.len();
        let taken = missing.min(bytes.len());
        reserve(&mut arriving.value, taken, arriving.value_bytes);
        arriving.value.extend_from_slice(&bytes[..taken]);
        let simple = matches!(arriving.form, Form::Simple { .. });
        if arriving.value.len() < arriving.value_bytes {
            return Step::NeedMore { used: taken };
        }
        let Some(ending) = ending(&bytes[taken..], 0, simple) else {
            return Step::NeedMore { used: taken };
        };
        let State::Value(arriving) = std::mem::replace(&mut self.state, State::Command) else {
            unreachable!("it is a value: see above")
        };
        let Arriving { key, how, form, value, .. } = *arriving;
        match ending {
            Ending::Good { used: ending } => {
                let op = Op::Store(how, value.into());
                let key = RequestKey::Kept(key);
                let used = taken + ending;
                Step::Request { request: Request::Operate { key, op, form }, used }
            }
            Ending::Bad => self.bad_ending(&form, taken),
        }
    }

    /// More of a value in pieces.
    fn piece<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let State::Pieces(arriving) = &mut self.state else {
            unreachable!("only called inside a value in pieces")
        };
        let (form, gather) = &mut **arriving;
        let (used, piece) = gather.take(bytes);
        if let Some(piece) = piece {
            return Step::Request { request: Request::Piece(piece), used };
        }
        if gather.left() > 0 {
            return Step::NeedMore { used };
        }
        let simple = matches!(form, Form::Simple { .. });
        let Some(ending) = ending(&bytes[used..], 0, simple) else {
            return Step::NeedMore { used };
        };
        let State::Pieces(arriving) = std::mem::replace(&mut self.state, State::Command) else {
            unreachable!("it is a value: see above")
        };
        let (form, gather) = *arriving;
        match ending {
            Ending::Good { used: ending } => {
                let request = Request::LastPiece(gather.finish());
                Step::Request { request, used: used + ending }
            }
            Ending::Bad => self.bad_ending(&form, used),
        }
    }

    /// The value does not end where its length says: the two bytes there are dropped, and what
    /// follows is read as commands (memcached). In the old dialect the rest of the line goes too.
    fn bad_ending<'b>(&mut self, form: &Form<'_>, used: usize) -> Step<'b> {
        let (quiet, state, ending) = match form {
            Form::Simple { quiet } => (*quiet, State::SwallowLine, 0),
            Form::Classic { quiet } => (*quiet, State::Command, 2),
            Form::Meta(_) => (false, State::Command, 2),
            Form::Retrieval { .. } | Form::Binary(_) => {
                unreachable!("a retrieval has no value, and a frame no line end")
            }
        };
        self.state = state;
        Step::Reject { reject: Reject::BadDataChunk, quiet, used: used + ending }
    }

    fn swallow<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let State::Swallow { bytes: left } = &mut self.state else {
            unreachable!("only called while swallowing")
        };
        let taken = take(left, bytes);
        if *left > 0 {
            return Step::NeedMore { used: taken };
        }
        self.state = State::Command;
        Step::Skip { used: taken }
    }

    fn swallow_simple<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let State::SwallowSimple { bytes: left } = &mut self.state else {
            unreachable!("only called while swallowing")
        };
        let taken = take(left, bytes);
        if *left > 0 {
            return Step::NeedMore { used: taken };
        }
        self.state = State::SwallowLine;
        Step::Skip { used: taken }
    }

    fn swallow_line<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let Some(newline) = memchr::memchr(b'\n', bytes) else {
            return Step::NeedMore { used: bytes.len() };
        };
        self.state = State::Command;
        Step::Skip { used: newline + 1 }
    }
}

/// As many bytes as are left to drop, and are there.
pub(super) fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= taken as u64;
    taken
}

/// What stands behind a value.
enum Ending {
    /// A line end of this many bytes.
    Good { used: usize },
    /// Something else.
    Bad,
}

/// Looks at what stands at `at`; `None` if that has not arrived yet.
fn ending(bytes: &[u8], at: usize, simple: bool) -> Option<Ending> {
    match bytes.get(at..)? {
        [b'\n', ..] if simple => Some(Ending::Good { used: 1 }),
        [b'\r', b'\n', ..] => Some(Ending::Good { used: 2 }),
        [b'\r'] | [] => None,
        [_, ..] if simple => Some(Ending::Bad),
        [_] => None,
        [_, _, ..] => Some(Ending::Bad),
    }
}

/// Grows a value's buffer with what has come, not with what was announced.
pub(super) fn reserve(value: &mut Vec<u8>, more: usize, value_bytes: usize) {
    let needed = value.len() + more;
    if needed > value.capacity() {
        let grown = needed.max(value.capacity() * 2).max(VALUE_STEP_BYTES).min(value_bytes);
        value.reserve_exact(grown - value.len());
    }
}

fn check_keys(line: &[u8]) -> Result<(), Reject> {
    let mut any = false;
    for token in super::tokens::Tokens::new(line) {
        any = true;
        if token.len() > KEY_BYTES_MAX {
            return Err(Reject::BadFormat);
        }
    }
    if any { Ok(()) } else { Err(Reject::BadFormat) }
}

#[cfg(test)]
mod tests;
