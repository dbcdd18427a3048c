//! One connection under load: requests going out, and their answers judged as they come in.
//!
//! Holds to one rule: answers come in the order of the requests, and each is judged by its own request.
//! A value is looked at as it passes and never kept, so that memory does not depend on its size.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

use super::keys::Names;
use super::pace::Moment;
use super::replies::{self, Head, Of, Seen};
use super::requests::{Protocol, Scribe};
use super::tally::Tally;
use super::value::Check;
use super::work::Asked;

/// Bytes of an answer that a message shows.
const SHOWN_BYTES_MAX: usize = 80;

/// Why there is nothing more to be had from a connection.
#[derive(Debug)]
pub(super) enum Broken {
    /// It ended.
    Lost(String),
    /// What came is not of the protocol.
    Foreign(String),
    /// Nothing came for so long as one may wait.
    Silent,
}

/// Where answers are counted.
#[derive(Debug)]
pub(super) struct Book<'n> {
    pub(super) protocol: Protocol,
    pub(super) names: &'n Names,
    pub(super) tally: Tally,
    /// What was not there is to be stored.
    pub(super) set_on_miss: bool,
    /// The measured time, as far as it is known.
    pub(super) begin: Moment,
    pub(super) end: Moment,
    /// Count what was sent in the measured time, whenever it is answered.
    pub(super) counts_the_sent: bool,
    pub(super) now: Moment,
    pub(super) key: Vec<u8>,
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    is_set: bool,
    keys: usize,
    /// Of these, how many are known to be there or not.
    passed: usize,
    /// From when its latency counts.
    since: Moment,
    /// When it was sent.
    sent: Moment,
}

/// A value that is arriving, and the line end behind it.
#[derive(Debug)]
struct Reading {
    check: Check,
    tail: &'static [u8],
    bytes: usize,
    /// None where nobody asked for it.
    key: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    unsent: Vec<u8>,
    written: usize,
    /// A head that was cut by the end of what was read.
    rest: Vec<u8>,
    pending: VecDeque<Pending>,
    /// The keys of what is pending.
    asked: VecDeque<Asked>,
    /// Keys that were not there.
    owed: VecDeque<Asked>,
    reading: Option<Reading>,
}

impl Connection {
    /// Takes a connected socket, which must not block.
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            unsent: Vec::new(),
            written: 0,
            rest: Vec::new(),
            pending: VecDeque::new(),
            asked: VecDeque::new(),
            owed: VecDeque::new(),
            reading: None,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// A key that was not there and is to be stored.
    pub(super) fn take_owed(&mut self) -> Option<Asked> {
        self.owed.pop_front()
    }

    pub(super) fn set(
        &mut self,
        scribe: &mut Scribe<'_>,
        asked: Asked,
        since: Moment,
        sent: Moment,
    ) {
        scribe.set(asked, &mut self.unsent);
        self.asked.push_back(asked);
        self.pending.push_back(Pending { is_set: true, keys: 1, passed: 0, since, sent });
    }

    /// One request for all of `keys`.
    pub(super) fn get(
        &mut self,
        scribe: &mut Scribe<'_>,
        keys: &[Asked],
        since: Moment,
        sent: Moment,
    ) {
        scribe.get(keys.iter().copied(), &mut self.unsent);
        self.asked.extend(keys);
        self.pending.push_back(Pending { is_set: false, keys: keys.len(), passed: 0, since, sent });
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self, book: &mut Book<'_>) -> Result<(), Broken> {
        while self.written < self.unsent.len() {
            match (&self.socket).write(&self.unsent[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    book.tally.bytes_out += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Lost(error.to_string())),
            }
        }
        self.unsent.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what is there and judges it. `to_the_end` where the server has closed its side, which
    /// nobody will say again.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        to_the_end: bool,
        book: &mut Book<'_>,
    ) -> Result<(), Broken> {
        loop {
            match (&self.socket).read(buffer) {
                Ok(0) => return Err(Broken::Lost("the server closed it".into())),
                Ok(count) => {
                    book.tally.bytes_in += count as u64;
                    self.take(&buffer[..count], book)?;
                    if count < buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Lost(error.to_string())),
            }
        }
    }

    /// Judges these bytes, and keeps what is only the beginning of a head.
    fn take(&mut self, bytes: &[u8], book: &mut Book<'_>) -> Result<(), Broken> {
        if self.rest.is_empty() {
            let used = self.judge(bytes, book)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            let used = self.judge(&all, book)?;
            all.drain(..used);
            self.rest = all;
        }
        Ok(())
    }

    fn judge(&mut self, bytes: &[u8], book: &mut Book<'_>) -> Result<usize, Broken> {
        let mut at = 0;
        loop {
            if self.reading.is_some() {
                at += self.read_on(&bytes[at..], book)?;
                if self.reading.is_some() {
                    return Ok(at);
                }
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                return Ok(at);
            }
            match replies::head(book.protocol, rest) {
                Seen::NeedMore => return Ok(at),
                Seen::Foreign => return Err(foreign(rest)),
                Seen::Head { head, used } => {
                    self.answer(&head, book).ok_or_else(|| foreign(rest))?;
                    at += used;
                }
            }
        }
    }

    /// Goes on with a value. Says how many bytes were its.
    fn read_on(&mut self, bytes: &[u8], book: &mut Book<'_>) -> Result<usize, Broken> {
        let Some(reading) = &mut self.reading else { return Ok(0) };
        let mut used = reading.check.take(bytes);
        if !reading.check.is_whole() {
            return Ok(used);
        }
        let common = reading.tail.len().min(bytes.len() - used);
        if bytes[used..used + common] != reading.tail[..common] {
            return Err(Broken::Foreign(format!(
                "something else than a line end after {} bytes",
                reading.bytes
            )));
        }
        used += common;
        reading.tail = &reading.tail[common..];
        if !reading.tail.is_empty() {
            return Ok(used);
        }
        if reading.check.is_right() {
            book.hit();
        } else {
            let bytes = reading.bytes;
            let what = match reading.key {
                Some(key) => {
                    book.names.write(key, &mut book.key);
                    let key = book.key.escape_ascii();
                    format!("the value of {key} with {bytes} bytes is not what was stored")
                }
                None => format!("a value of {bytes} bytes is of a key that was not asked for"),
            };
            book.tally.wrong(what);
        }
        self.reading = None;
        self.end_where_all_is_known(book);
        Ok(used)
    }

    /// Takes a head to the request that it belongs to. None where it does not fit.
    fn answer(&mut self, head: &Head<'_>, book: &mut Book<'_>) -> Option<()> {
        let (is_set, keys) = self.pending.front().map(|pending| (pending.is_set, pending.keys))?;
        let marks_the_end = book.protocol.marks_the_end(keys);
        match head {
            Head::Stored if is_set => self.complete(book),
            Head::Refused { words, .. } if is_set => {
                book.tally.refused(words);
                self.complete(book);
            }
            Head::Value { of, bytes } if !is_set => {
                let (check, key) = match self.place(*of, book) {
                    Some(place) => {
                        self.pass(place, book);
                        let key = self.asked[place].key;
                        book.names.write(key, &mut book.key);
                        (Check::new(&book.key, *bytes), Some(key))
                    }
                    None => (Check::of_nobody(*bytes), None),
                };
                let tail = if book.protocol == Protocol::Binary { &b""[..] } else { b"\r\n" };
                self.reading = Some(Reading { check, tail, bytes: *bytes, key });
            }
            Head::Miss if !is_set => {
                let place = self.pending.front()?.passed;
                if place == keys {
                    return None;
                }
                self.pass(place, book);
                self.miss(place, book);
                self.end_where_all_is_known(book);
            }
            Head::Count(count) if !is_set && keys > 1 && *count == keys => {}
            Head::End if !is_set && marks_the_end => {
                self.pass(keys, book);
                self.complete(book);
            }
            Head::Refused { words, of } if !is_set => {
                book.tally.refused(words);
                if keys > 1 && marks_the_end && book.protocol != Protocol::Classic {
                    // Of one key; the mark is still to come.
                    if let Some(place) = self.place(*of, book) {
                        self.pass(place, book);
                    }
                } else {
                    self.complete(book);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Which of the first request's keys is meant.
    fn place(&self, of: Of<'_>, book: &mut Book<'_>) -> Option<usize> {
        let pending = self.pending.front()?;
        let mut left = pending.passed..pending.keys;
        match of {
            Of::Next => left.next(),
            Of::Place(place) => left.find(|&it| it == place as usize),
            Of::Key(key) => left.find(|&place| {
                book.names.write(self.asked[place].key, &mut book.key);
                book.key == key
            }),
        }
    }

    /// The keys before this place were not there, and its own is known.
    fn pass(&mut self, place: usize, book: &mut Book<'_>) {
        let pending = self.pending.front_mut().expect("an answer has its request");
        let before = pending.passed..place;
        pending.passed = (place + 1).min(pending.keys);
        before.for_each(|place| self.miss(place, book));
    }

    fn miss(&mut self, place: usize, book: &mut Book<'_>) {
        book.miss();
        if book.set_on_miss {
            self.owed.push_back(self.asked[place]);
        }
    }

    /// Where nothing marks the end, the last key's answer is it.
    fn end_where_all_is_known(&mut self, book: &mut Book<'_>) {
        let is_over = self.pending.front().is_some_and(|pending| {
            pending.passed == pending.keys && !book.protocol.marks_the_end(pending.keys)
        });
        if is_over {
            self.complete(book);
        }
    }

    fn complete(&mut self, book: &mut Book<'_>) {
        let pending = self.pending.pop_front().expect("an answer has its request");
        self.asked.drain(..pending.keys);
        book.answered(&pending);
    }
}

impl Book<'_> {
    fn is_counted(&self) -> bool {
        self.begin <= self.now && (self.now < self.end || self.counts_the_sent)
    }

    fn hit(&mut self) {
        self.tally.hits += u64::from(self.is_counted());
    }

    fn miss(&mut self) {
        self.tally.misses += u64::from(self.is_counted());
    }

    fn answered(&mut self, pending: &Pending) {
        let is_counted =
            if self.counts_the_sent { self.begin <= pending.sent } else { self.is_counted() };
        if is_counted {
            self.tally.sets += u64::from(pending.is_set);
            self.tally.gets += u64::from(!pending.is_set);
        }
        self.tally.last = self.now;
        if self.begin <= pending.since {
            self.tally.latency(pending.is_set, self.now.saturating_sub(pending.since));
        }
    }
}

fn foreign(bytes: &[u8]) -> Broken {
    let line = bytes.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let shown = &line[..line.len().min(SHOWN_BYTES_MAX)];
    Broken::Foreign(format!("\"{}\"", shown.escape_ascii()))
}

/// A socket that does not block.
pub(super) fn unblocked(socket: Socket) -> io::Result<Connection> {
    socket.set_nonblocking(true)?;
    Ok(Connection::new(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::value;

    const NAMES: &Names = &Names::Numbered(Vec::new());

    fn book(protocol: Protocol) -> Book<'static> {
        Book {
            protocol,
            names: NAMES,
            tally: Tally::new(),
            set_on_miss: true,
            begin: 0,
            end: u64::MAX,
            counts_the_sent: false,
            now: 1_000,
            key: Vec::new(),
        }
    }

    fn connection() -> Connection {
        let (socket, _) = Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None)
            .expect("a pair of sockets");
        Connection::new(socket)
    }

    fn asked(key: u32) -> Asked {
        Asked { key, bytes: 30 }
    }

    fn value(key: u32) -> String {
        let (mut name, mut bytes) = (Vec::new(), Vec::new());
        NAMES.write(key, &mut name);
        value::append(&name, 30, 0, &mut bytes);
        String::from_utf8(bytes).expect("it is text")
    }

    /// Sends a get of keys 1, 2 and 3 and then a set, takes these bytes as answers in steps, and tells
    /// hits, misses, wrong values, errors, answered requests and what is to be stored.
    fn told(
        protocol: Protocol,
        keys: &[u32],
        answer: &str,
        step: usize,
    ) -> Result<[u64; 6], Broken> {
        let (mut connection, mut book) = (connection(), book(protocol));
        let mut scribe = Scribe::new(protocol, NAMES, 0);
        let keys: Vec<Asked> = keys.iter().map(|&key| asked(key)).collect();
        connection.get(&mut scribe, &keys, 0, 0);
        connection.set(&mut scribe, asked(9), 0, 0);
        for part in answer.replace('|', "\r\n").as_bytes().chunks(step) {
            connection.take(part, &mut book)?;
        }
        let tally = &book.tally;
        let owed = connection.owed.len() as u64;
        Ok([tally.hits, tally.misses, tally.wrong, tally.errors, tally.requests(), owed])
    }

    #[test]
    fn answers_are_judged_by_their_requests() {
        use Protocol::{Classic, Meta, Redis};
        let (one, two, three) = (value(1), value(2), value(3));
        let cases: [(Protocol, &[u32], String, [u64; 6]); 15] = [
            (Classic, &[1], format!("VALUE 0000000001 0 30|{one}|END|STORED|"), [1, 0, 0, 0, 2, 0]),
            (Classic, &[1], "END|STORED|".into(), [0, 1, 0, 0, 2, 1]),
            (Classic, &[1], "SERVER_ERROR busy|STORED|".into(), [0, 0, 0, 1, 2, 0]),
            (Classic, &[1], "END|SERVER_ERROR out of memory|".into(), [0, 1, 0, 1, 2, 1]),
            (Classic, &[1], format!("VALUE 0000000001 0 30|{two}|END|STORED|"), [0, 0, 1, 0, 2, 0]),
            (Classic, &[1], format!("VALUE 0000000002 0 30|{two}|END|STORED|"), [0, 1, 1, 0, 2, 1]),
            (
                Classic,
                &[1, 2, 3],
                format!("VALUE 0000000001 0 30|{one}|VALUE 0000000003 0 30|{three}|END|STORED|"),
                [2, 1, 0, 0, 2, 1],
            ),
            (
                Classic,
                &[1, 1],
                format!("VALUE 0000000001 0 30|{one}|VALUE 0000000001 0 30|{one}|END|STORED|"),
                [2, 0, 0, 0, 2, 0],
            ),
            (Classic, &[1, 2, 3], "END|STORED|".into(), [0, 3, 0, 0, 2, 3]),
            (Meta, &[1], format!("VA 30|{one}|HD|"), [1, 0, 0, 0, 2, 0]),
            (Meta, &[1], "EN|NS|".into(), [0, 1, 0, 1, 2, 1]),
            (Meta, &[1, 2, 3], format!("VA 30 k0000000002|{two}|MN|HD|"), [1, 2, 0, 0, 2, 2]),
            (Redis, &[1], format!("$30|{one}|+OK|"), [1, 0, 0, 0, 2, 0]),
            (Redis, &[1], "$-1|-OOM|".into(), [0, 1, 0, 1, 2, 1]),
            (Redis, &[1, 2, 3], format!("*3|$30|{one}|$-1|$30|{three}|+OK|"), [2, 1, 0, 0, 2, 1]),
        ];
        for (protocol, keys, answer, expected) in cases {
            for step in [1, 3, usize::MAX] {
                let found = told(protocol, keys, &answer, step).expect("it is of the protocol");
                assert_eq!(found, expected, "{answer} in steps of {step}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_foreign() {
        use Protocol::{Classic, Meta, Redis};
        let cases: [(Protocol, &[u32], &str); 8] = [
            (Classic, &[1], "HTTP/1.1 400 Bad Request|"),
            (Classic, &[1], "STORED|"),
            (Classic, &[1], "END|END|"),
            (Classic, &[1], "END|STORED|STORED|"),
            (Classic, &[1], "VALUE 0000000001 0 2|abcdEND|"),
            (Meta, &[1], "MN|"),
            (Redis, &[1, 2], "*3|"),
            (Redis, &[1], "+OK|"),
        ];
        for (protocol, keys, answer) in cases {
            for step in [1, usize::MAX] {
                let found = told(protocol, keys, answer, step);
                assert!(matches!(found, Err(Broken::Foreign(_))), "{answer}: {found:?}");
            }
        }
    }
}
