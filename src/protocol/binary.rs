//! memcached's binary protocol: frames of a header, extras, a key and a value, to requests.
//!
//! A frame becomes the same operation as a line of text. Holds to the decoder's rules: does no I/O, asks
//! nobody for the time, keeps no more than a value within the limits, and the requests come out the same
//! however the bytes are cut. A header that is wrong is answered when it is there, whatever it announces.

mod frame;

pub(super) use frame::{Frame, Refusal, Status};

use crate::cache::{Arithmetic, Creation, Delete, Exptime, Fetch, Key, KeyBuf, Mode, Op, Store};
use crate::limits::{ITEM_HEADER_BYTES, KEY_BYTES_MAX, SASL_BYTES_MAX};
use crate::protocol::decoder::{Request, RequestKey, Session, Step, reserve, take};
use crate::protocol::form::Form;
use crate::protocol::gather::{Gather, Sizes};
use crate::protocol::reject::Reject;
use frame::Command;

/// The first byte of a request. No line of text begins so.
pub(super) const REQUEST: u8 = 0x80;

/// Bytes of every frame before its extras, key and value.
pub(super) const HEADER_BYTES: usize = 24;

/// `incr` and `decr` with this expiry make nothing where there is nothing.
const CREATE_NOTHING: u32 = u32::MAX;

/// Turns one connection's frames into requests.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    /// Its client has to log in first (`-S`).
    locked: bool,
    sizes: Sizes,
}

#[derive(Debug)]
enum State {
    /// A header comes next.
    Header,
    /// Inside a value.
    Value(Box<Arriving>),
    /// Inside a value in pieces.
    Pieces { frame: Frame, gather: Gather },
    /// Inside a body that nobody wants.
    Swallow { bytes: u64 },
}

#[derive(Debug)]
struct Arriving {
    key: KeyBuf,
    how: Store,
    frame: Frame,
    value_bytes: usize,
    value: Vec<u8>,
}

/// What a header says.
struct Header {
    frame: Frame,
    key_bytes: usize,
    extras_bytes: usize,
    body_bytes: u64,
    cas: u64,
}

impl Header {
    /// Magic, opcode, length of the key, length of the extras, data type, partition, length of the body,
    /// opaque, cas. Data type and partition mean nothing to memcached either.
    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [_, opcode, key_high, key_low, extras_bytes, _, _, _, rest @ ..] = *bytes;
        let [b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = rest;
        Self {
            frame: Frame::new(opcode, [o0, o1, o2, o3]),
            key_bytes: u16::from_be_bytes([key_high, key_low]).into(),
            extras_bytes: extras_bytes.into(),
            body_bytes: u32::from_be_bytes([b0, b1, b2, b3]).into(),
            cas: u64::from_be_bytes(cas),
        }
    }

    /// Bytes behind key and extras.
    fn value_bytes(&self) -> u64 {
        self.body_bytes - (self.key_bytes + self.extras_bytes) as u64
    }

    /// Whether the command's parts are those that it must have.
    fn fits(&self, command: Command) -> bool {
        let Self { key_bytes, extras_bytes, .. } = *self;
        let (has_key, has_value) = (key_bytes > 0, self.value_bytes() > 0);
        match command {
            Command::Fetch | Command::Delete => has_key && extras_bytes == 0 && !has_value,
            Command::Touch | Command::FetchAndTouch => has_key && extras_bytes == 4 && !has_value,
            Command::Store(Mode::Append | Mode::Prepend) => has_key && extras_bytes == 0,
            Command::Store(_) => has_key && extras_bytes == 8,
            Command::Arithmetic(_) => has_key && extras_bytes == 20 && !has_value,
            Command::Flush => !has_key && matches!(extras_bytes, 0 | 4) && !has_value,
            Command::Stats => extras_bytes == 0 && !has_value,
            Command::Quit | Command::Noop | Command::Version | Command::SaslList => {
                !has_key && extras_bytes == 0 && !has_value
            }
            Command::SaslLogin => has_key && extras_bytes == 0,
        }
    }

    fn compare(&self) -> Option<u64> {
        (self.cas != 0).then_some(self.cas)
    }
}

impl Frames {
    /// For a new connection.
    pub(super) fn new(sizes: Sizes) -> Self {
        Self { state: State::Header, locked: false, sizes }
    }

    /// From now on, or up to now, only frames of a login are taken.
    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    pub(super) fn set_locked(&mut self, locked: bool) {
        self.locked = locked;
    }

    /// Changes what is refused from the next frame on.
    pub(super) fn set_item_bytes_max(&mut self, item_bytes_max: u64) {
        self.sizes.item_bytes_max = item_bytes_max;
    }

    /// Bytes of a value that has arrived in part.
    pub(super) fn arriving_bytes(&self) -> usize {
        match &self.state {
            State::Value(arriving) => arriving.value.capacity(),
            State::Pieces { gather, .. } => gather.held_bytes(),
            _ => 0,
        }
    }

    /// Whether the last request is complete.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Header)
    }

    /// Gives up the value that is arriving; see [`crate::protocol::Decoder::abandon_value`].
    pub(super) fn abandon_value(&mut self) -> Option<Form<'static>> {
        let (frame, left) = match &self.state {
            State::Value(arriving) => {
                (arriving.frame, (arriving.value_bytes - arriving.value.len()) as u64)
            }
            State::Pieces { frame, gather } => (*frame, gather.left()),
            _ => return None,
        };
        self.swallow_next(left);
        Some(Form::Binary(frame))
    }

    /// Says what `bytes` mean: those that the last call did not use, and those that came since.
    pub(super) fn decode<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        match &mut self.state {
            State::Header => self.frame(bytes),
            State::Value(_) => self.value(bytes),
            State::Pieces { .. } => self.piece(bytes),
            State::Swallow { bytes: left } => {
                let used = take(left, bytes);
                if *left > 0 {
                    return Step::NeedMore { used };
                }
                self.state = State::Header;
                Step::Skip { used }
            }
        }
    }

    fn swallow_next(&mut self, bytes: u64) {
        self.state = if bytes == 0 { State::Header } else { State::Swallow { bytes } };
    }

    fn frame<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        // memcached waits for 24 bytes before it looks: a client who speaks text would wait, too.
        if bytes.first().is_some_and(|&magic| magic != REQUEST) {
            return Step::Reject { reject: Reject::NoFrame, quiet: true, used: bytes.len() };
        }
        let Some((header, rest)) = bytes.split_first_chunk() else {
            return Step::NeedMore { used: 0 };
        };
        let header = Header::read(header);
        let command = match self.command(&header) {
            Ok(command) => command,
            Err(refusal) => {
                let reject = Reject::Frame(refusal);
                return Step::Reject { reject, quiet: false, used: HEADER_BYTES };
            }
        };
        let Some((extras, rest)) = rest.split_at_checked(header.extras_bytes) else {
            return Step::NeedMore { used: 0 };
        };
        let Some((key, data)) = rest.split_at_checked(header.key_bytes) else {
            return Step::NeedMore { used: 0 };
        };
        let used = HEADER_BYTES + extras.len() + key.len();
        let form = Form::Binary(header.frame);
        let session = |command| Step::Request {
            request: Request::Session { command, form: form.clone() },
            used,
        };
        match command {
            Command::Store(mode) => self.store(&header, mode, extras, key, data, used),
            Command::SaslLogin => self.sasl(&header, key, data, used),
            Command::Quit => session(Session::Quit),
            Command::Version => session(Session::Version),
            Command::Stats => session(Session::Stats { arguments: key }),
            Command::SaslList => session(Session::SaslList),
            Command::Noop => Step::Request { request: Request::Noop { form }, used },
            Command::Flush => {
                let delay = extras.first_chunk().map_or(Exptime(0), |bytes| exptime(*bytes));
                Step::Request { request: Request::FlushAll { delay, form }, used }
            }
            Command::Fetch
            | Command::FetchAndTouch
            | Command::Touch
            | Command::Delete
            | Command::Arithmetic(_) => {
                let op = operation(command, &header, extras);
                let key = RequestKey::Here(key_in(key));
                Step::Request { request: Request::Operate { key, op, form }, used }
            }
        }
    }

    /// The header's command, if the frame is one that can be taken. What is wrong with it ends the
    /// connection, as in memcached, but for a command that nobody knows.
    fn command(&mut self, header: &Header) -> Result<Command, Refusal> {
        let refuse = |status, closes| Err(Refusal { frame: header.frame, status, closes });
        if (header.key_bytes + header.extras_bytes) as u64 > header.body_bytes {
            return refuse(Status::UnknownCommand, true);
        }
        if self.locked && !header.frame.is_before_login() {
            return refuse(Status::AuthFailure, true);
        }
        if header.key_bytes > KEY_BYTES_MAX {
            return refuse(Status::InvalidArguments, true);
        }
        let Some(command) = header.frame.command() else {
            self.swallow_next(header.body_bytes);
            return refuse(Status::UnknownCommand, false);
        };
        if header.fits(command) { Ok(command) } else { refuse(Status::InvalidArguments, true) }
    }

    /// A frame that stores: the value may be here whole, else it is gathered.
    fn store<'b>(
        &mut self,
        header: &Header,
        mode: Mode,
        extras: &[u8],
        key: &'b [u8],
        data: &'b [u8],
        used: usize,
    ) -> Step<'b> {
        let frame = header.frame;
        let key = RequestKey::Here(key_in(key));
        let joins = matches!(mode, Mode::Append | Mode::Prepend);
        let how = Store {
            // With a cas all three are the same: what is there has to have it.
            mode: if header.compare().is_some() && !joins { Mode::Set } else { mode },
            flags: number_at(extras, 0).unwrap_or(0),
            exptime: Exptime(number_at(extras, 4).unwrap_or(0).into()),
            compare: header.compare(),
            ..Store::default()
        };
        let item_bytes = (header.key_bytes + ITEM_HEADER_BYTES) as u64 + header.value_bytes();
        if item_bytes > self.sizes.item_bytes_max {
            self.swallow_next(header.value_bytes());
            let form = Form::Binary(frame);
            return Step::Request { request: Request::TooLarge { key, how, form }, used };
        }
        let value_bytes = header.value_bytes();
        if value_bytes > self.sizes.large_value_bytes {
            let gather = Gather::new(value_bytes, self.sizes.piece_bytes);
            self.state = State::Pieces { frame, gather };
            let form = Form::Binary(frame);
            return Step::Request { request: Request::Begin { key, how, form, value_bytes }, used };
        }
        let value_bytes =
            usize::try_from(value_bytes).expect("a value within the item limit fits in memory");
        if let Some(value) = data.get(..value_bytes) {
            let op = Op::Store(how, value.into());
            let request = Request::Operate { key, op, form: Form::Binary(frame) };
            return Step::Request { request, used: used + value_bytes };
        }
        let key = key.into_owned();
        let arriving = Arriving { key, how, frame, value_bytes, value: Vec::new() };
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
        let used = bytes.len().min(arriving.value_bytes - arriving.value.len());
        reserve(&mut arriving.value, used, arriving.value_bytes);
        arriving.value.extend_from_slice(&bytes[..used]);
        if arriving.value.len() < arriving.value_bytes {
            return Step::NeedMore { used };
        }
        let State::Value(arriving) = std::mem::replace(&mut self.state, State::Header) else {
            unreachable!("it is a value: see above")
        };
        let Arriving { key, how, frame, value, .. } = *arriving;
        let op = Op::Store(how, value.into());
        let (key, form) = (RequestKey::Kept(key), Form::Binary(frame));
        Step::Request { request: Request::Operate { key, op, form }, used }
    }

    /// More of a value in pieces.
    fn piece<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let State::Pieces { gather, .. } = &mut self.state else {
            unreachable!("only called inside a value in pieces")
        };
        let (used, piece) = gather.take(bytes);
        if let Some(piece) = piece {
            return Step::Request { request: Request::Piece(piece), used };
        }
        if gather.left() > 0 {
            return Step::NeedMore { used };
        }
        let State::Pieces { gather, .. } = std::mem::replace(&mut self.state, State::Header) else {
            unreachable!("it is a value: see above")
        };
        Step::Request { request: Request::LastPiece(gather.finish()), used }
    }

    /// A login. A message that is longer than any login's is dropped, and told so.
    fn sasl<'b>(
        &mut self,
        header: &Header,
        mechanism: &'b [u8],
        data: &'b [u8],
        used: usize,
    ) -> Step<'b> {
        let form = Form::Binary(header.frame);
        let length = usize::try_from(header.value_bytes()).ok().filter(|&n| n <= SASL_BYTES_MAX);
        let (message, used) = match length.map(|length| (data.get(..length), length)) {
            Some((None, _)) => return Step::NeedMore { used: 0 },
            Some((message, length)) => (message, used + length),
            None => {
                self.swallow_next(header.value_bytes());
                (None, used)
            }
        };
        let command = Session::SaslLogin { is_step: header.frame.is_step(), mechanism, message };
        Step::Request { request: Request::Session { command, form }, used }
    }
}

/// The operation of a command that is complete with its key and extras.
fn operation(command: Command, header: &Header, extras: &[u8]) -> Op {
    let exptime_at = |at| Exptime(number_at(extras, at).unwrap_or(0).into());
    match command {
        Command::Touch => Op::Touch { exptime: exptime_at(0) },
        Command::FetchAndTouch => {
            Op::Fetch(Fetch { touch: Some(exptime_at(0)), ..Fetch::default() })
        }
        Command::Delete => Op::Delete(Delete { compare: header.compare(), ..Delete::default() }),
        Command::Arithmetic(direction) => {
            let [delta, initial] =
                [0, 8].map(|at| extras[at..].first_chunk().map_or(0, |n| u64::from_be_bytes(*n)));
            let creation = Creation { exptime: exptime_at(16), cas: None, binary_key: false };
            let creates = number_at(extras, 16) != Some(CREATE_NOTHING);
            Op::Arithmetic(Arithmetic {
                compare: header.compare(),
                create: creates.then_some((initial, creation)),
                ..Arithmetic::plain(direction, delta)
            })
        }
        _ => Op::Fetch(Fetch::default()),
    }
}

/// A key of a frame whose header was judged.
fn key_in(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes).expect("the header's key has 1 to 250 bytes")
}

fn number_at(extras: &[u8], at: usize) -> Option<u32> {
    extras.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// An exptime, which has no sign here: what would be negative is a time in the next century.
fn exptime(bytes: [u8; 4]) -> Exptime {
    Exptime(u32::from_be_bytes(bytes).into())
}

#[cfg(test)]
mod tests;
