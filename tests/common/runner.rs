//! Holds the conversation of a script with a target, in one of the modes.
//!
//! Compares bytes, never patterns of lines: what a reply holds beyond the expected is found by the
//! next expectation on that connection or by the `version` asked at the end.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use fastrand::Rng;

use super::frames;
use super::script::{Action, Exchange, Piece, Reply, Script, Step};
use super::target::Target;

/// How the same script is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each command in one write.
    Whole,
    /// One byte a write.
    Bytes,
    /// Cut at random points.
    Split,
    /// As many commands in one write as the script allows: up to where it needs an answer first.
    Pipelined,
    /// The daemon runs without a memory tier.
    MemoryOff,
    /// Nor that, and every value is compressed in the file that becomes shorter.
    Compressed,
    /// The memory tier is emptied after each command.
    MemoryEmptied,
    /// The daemon is restarted after each command.
    Restarted,
}

impl Mode {
    pub const ALL: [Self; 8] = [
        Self::Whole,
        Self::Bytes,
        Self::Split,
        Self::Pipelined,
        Self::MemoryOff,
        Self::Compressed,
        Self::MemoryEmptied,
        Self::Restarted,
    ];

    /// The word for it in `~ not in`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Bytes => "bytes",
            Self::Split => "split",
            Self::Pipelined => "pipelined",
            Self::MemoryOff => "memory-off",
            Self::Compressed => "compressed",
            Self::MemoryEmptied => "memory-emptied",
            Self::Restarted => "restarted",
        }
    }

    /// Whether a memcached elsewhere can be tested so.
    pub fn fits_memcached(self) -> bool {
        matches!(self, Self::Whole | Self::Bytes | Self::Split | Self::Pipelined)
    }
}

/// The seed to use: the environment's, or a fresh one.
pub fn seed() -> u64 {
    match std::env::var("LITECACHED_SEED") {
        Ok(text) => text.parse().expect("LITECACHED_SEED is a number"),
        Err(_) => fastrand::u64(..),
    }
}

/// Runs `script`; the error says where the conversation went another way, and how.
pub fn run(script: &Script, mode: Mode, seed: u64, target: &mut dyn Target) -> Result<(), String> {
    let mut talk = Talk {
        mode,
        rng: Rng::with_seed(seed),
        target,
        connections: BTreeMap::new(),
        words: Words::new(),
    };
    let mut next = 0;
    while next < script.steps.len() {
        let line = script.steps[next].line;
        let progress = talk.step(&script.steps[next..]).map_err(|(at, what)| {
            format!(
                "{}:{}: {what}\n    (mode {}, LITECACHED_SEED={seed})",
                script.name,
                at.unwrap_or(line),
                mode.name()
            )
        })?;
        match progress {
            Progress::Steps(done) => next += done,
            Progress::CannotGoOn => break,
        }
    }
    talk.end().map_err(|what| {
        format!(
            "{}: at the end: {what}\n    (mode {}, LITECACHED_SEED={seed})",
            script.name,
            mode.name()
        )
    })
}

/// Words taken from replies.
pub type Words = BTreeMap<String, Vec<u8>>;

/// What went wrong, and in which line if it is not that of the step.
type Wrong = (Option<usize>, String);

enum Progress {
    Steps(usize),
    /// The target cannot do what the script asks for; what came before was right.
    CannotGoOn,
}

#[derive(Debug)]
struct Talk<'t> {
    mode: Mode,
    rng: Rng,
    target: &'t mut dyn Target,
    connections: BTreeMap<String, Connection>,
    words: Words,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    /// What is sent on it are frames.
    binary: Option<bool>,
    /// Something was sent and the script has not yet said what comes back.
    waits: bool,
}

impl Talk<'_> {
    /// Takes the next step, or the next few together.
    fn step(&mut self, steps: &[Step]) -> Result<Progress, Wrong> {
        match &steps[0].action {
            Action::Exchange(_) => return self.exchanges(steps).map(Progress::Steps),
            Action::HangUp(name) => drop(self.connections.remove(name)),
            Action::HalfClose(name) => {
                let stream = &self.connection(name)?.stream;
                stream.shutdown(Shutdown::Write).map_err(said)?;
            }
            Action::Clock(by) => {
                if !self.target.advance(*by) {
                    return Ok(Progress::CannotGoOn);
                }
            }
            Action::Restart => {
                if !self.restart()? {
                    return Ok(Progress::CannotGoOn);
                }
            }
            Action::ForgetMemory => self.target.forget_memory(),
            Action::Distinct(names) => self.distinct(names)?,
        }
        Ok(Progress::Steps(1))
    }

    /// One exchange, or in pipelined mode as many as can be sent at once. Returns how many.
    fn exchanges(&mut self, steps: &[Step]) -> Result<usize, Wrong> {
        let mut request = Vec::new();
        let mut expected: Vec<(usize, &Reply)> = Vec::new();
        let mut connection: Option<&str> = None;
        let mut taken = 0;
        for step in steps {
            let Action::Exchange(exchange) = &step.action else {
                break;
            };
            if connection.is_some_and(|name| name != exchange.connection) {
                break;
            }
            let Some(reply) = self.reply_here(exchange) else {
                taken += 1;
                continue;
            };
            match self.bytes_of(&exchange.request) {
                Ok(bytes) => request.extend(bytes),
                Err(_) if connection.is_some() => break,
                Err(unknown) => return Err((Some(step.line), unknown)),
            }
            connection = Some(&exchange.connection);
            expected.push((step.line, reply));
            taken += 1;
            if self.mode != Mode::Pipelined || reply.closes {
                break;
            }
        }
        if let Some(name) = connection {
            self.converse(name, &request, &expected)?;
        }
        Ok(taken)
    }

    /// What must come back from this target; none if the request is not meant for it.
    fn reply_here<'e>(&self, exchange: &'e Exchange) -> Option<&'e Reply> {
        match (&exchange.difference, self.target.memcached_version()) {
            (Some(difference), Some(version)) if version.starts_with(&difference.version) => {
                (!difference.reply.is_open()).then_some(&difference.reply)
            }
            _ => Some(&exchange.reply),
        }
    }

    fn converse(
        &mut self,
        name: &str,
        request: &[u8],
        expected: &[(usize, &Reply)],
    ) -> Result<(), Wrong> {
        let cuts = self.cuts(request.len());
        let mut words = std::mem::take(&mut self.words);
        let connection = self.connection(name)?;
        connection.waits = true;
        if let Some(first) = request.first() {
            connection.binary.get_or_insert(*first == 0x80);
        }
        let mut written = connection.stream.try_clone().map_err(said)?;
        let result = thread::scope(|scope| {
            // A long request is written aside: the server may stop reading until its replies are read.
            let writer = (request.len() > 16 << 10).then(|| {
                thread::Builder::new()
                    .spawn_scoped(scope, || write_cut(&mut written, request, &cuts))
                    .expect("the system has room for one more thread")
            });
            if writer.is_none() {
                write_cut(&mut connection.stream.try_clone().map_err(said)?, request, &cuts);
            }
            let result = connection.expect_all(expected, &mut words);
            if result.is_err() {
                // Else the scope would wait for a writer whom nobody reads.
                drop(connection.stream.shutdown(Shutdown::Both));
            }
            result
        });
        self.words = words;
        result?;
        let &(line, last) = expected.last().expect("a conversation has an exchange");
        if last.closes {
            self.connections.remove(name);
        } else if last.text.as_ref().is_some_and(Vec::is_empty) {
            self.silent(name).map_err(|what| (Some(line), what))?;
        }
        self.between_commands()
    }

    /// Where a request of this length is cut, by the mode.
    fn cuts(&mut self, length: usize) -> Vec<usize> {
        // The middle of a long value is nothing new: its ends are where a decoder goes wrong.
        const ENDS: usize = 3_000;
        match self.mode {
            Mode::Bytes if length > 2 * ENDS => {
                let middle = (ENDS..length - ENDS).step_by(10_007);
                (0..ENDS).chain(middle).chain(length - ENDS..length).collect()
            }
            Mode::Bytes => (0..length).collect(),
            Mode::Split => {
                let mut cuts: Vec<usize> =
                    (0..=length / 8).take(50).map(|_| self.rng.usize(0..=length)).collect();
                cuts.sort_unstable();
                cuts
            }
            _ => Vec::new(),
        }
    }

    /// Shows that nothing came back on `name`: the reply to a question behind it is the next.
    fn silent(&mut self, name: &str) -> Result<(), String> {
        let connection = self.connection(name).map_err(|(_, what)| what)?;
        let (question, reply) = if connection.binary == Some(true) {
            let (question, reply) = frames::noop();
            (question, vec![reply])
        } else {
            let version = [&b"VERSION "[..], b"\r\n"].map(|part| Piece::Bytes(part.to_vec()));
            let [before, after] = version;
            (b"version\r\n".to_vec(), vec![before, Piece::AnyInLine, after])
        };
        write_cut(&mut connection.stream, &question, &[]);
        connection
            .expect(&reply, &mut Words::new())
            .map_err(|what| format!("expected nothing more (but what `version` answers); {what}"))
    }

    /// What the mode does where no command is under way.
    fn between_commands(&mut self) -> Result<(), Wrong> {
        if self.connections.values().any(|connection| connection.waits) {
            return Ok(());
        }
        match self.mode {
            Mode::MemoryEmptied => self.target.forget_memory(),
            Mode::Restarted => {
                self.restart()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Restarts the target, after all connections have shown that nothing more came.
    fn restart(&mut self) -> Result<bool, Wrong> {
        self.all_silent().map_err(|what| (None, what))?;
        self.connections.clear();
        Ok(self.target.restart())
    }

    fn end(&mut self) -> Result<(), String> {
        self.all_silent()
    }

    fn all_silent(&mut self) -> Result<(), String> {
        let names: Vec<String> = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.waits)
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().try_for_each(|name| {
            self.silent(name).map_err(|what| format!("connection {name:?}: {what}"))
        })
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, Wrong> {
        if !self.connections.contains_key(name) {
            let stream = self.target.connect().map_err(said)?;
            let connection = Connection { stream, unread: Vec::new(), binary: None, waits: false };
            self.connections.insert(name.to_owned(), connection);
        }
        Ok(self.connections.get_mut(name).expect("it was inserted when it was missing"))
    }

    /// The bytes of a request, with the words put in.
    fn bytes_of(&mut self, pieces: &[Piece]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(literal) => bytes.extend(literal),
                Piece::Word { name, plus } if name == "now" => {
                    let now = i128::from(self.target.now());
                    bytes.extend((now + plus).to_string().into_bytes());
                }
                Piece::Word { name, plus } => {
                    let word = self.words.get(name).ok_or(format!("no word {{{name}}} yet"))?;
                    bytes.extend(word_plus(word, *plus)?);
                }
                Piece::Number { name, plus, width } => {
                    let word = Piece::Word { name: name.clone(), plus: *plus };
                    bytes.extend(frames::number_of(&self.bytes_of(&[word])?, *width)?);
                }
                Piece::AnyInLine | Piece::AnyLines | Piece::Frame(_) | Piece::AnyFrames => {
                    return Err("a wildcard cannot be sent".to_owned());
                }
            }
        }
        Ok(bytes)
    }

    fn distinct(&self, names: &[String]) -> Result<(), Wrong> {
        let mut seen = BTreeMap::new();
        for name in names {
            let word =
                self.words.get(name).ok_or_else(|| (None, format!("no word {{{name}}} yet")))?;
            if let Some(other) = seen.insert(word, name) {
                let word = shown(word);
                return Err((None, format!("{{{name}}} and {{{other}}} are both {word}")));
            }
        }
        Ok(())
    }
}

impl Connection {
    fn expect_all(&mut self, expected: &[(usize, &Reply)], words: &mut Words) -> Result<(), Wrong> {
        for &(line, reply) in expected {
            if let Some(text) = &reply.text {
                self.expect(text, words).map_err(|what| (Some(line), what))?;
                self.waits = false;
            }
            if reply.closes {
                self.expect_close().map_err(|what| (Some(line), what))?;
            }
        }
        Ok(())
    }

    /// Reads until the reply is whole or cannot become so.
    fn expect(&mut self, reply: &[Piece], words: &mut Words) -> Result<(), String> {
        loop {
            match matched(reply, &self.unread, 0, words) {
                Match::Whole(length) => {
                    self.unread.drain(..length);
                    return Ok(());
                }
                Match::Mismatch => return Err(self.unlike(reply, words, "")),
                Match::NeedMore => match self.read() {
                    Ok(true) => {}
                    Ok(false) => return Err(self.unlike(reply, words, " and then a close")),
                    Err(failed) => {
                        return Err(self.unlike(reply, words, &format!(" and then {failed}")));
                    }
                },
            }
        }
    }

    fn expect_close(&mut self) -> Result<(), String> {
        while self.unread.is_empty() {
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(failed) => return Err(format!("expected a close, got {failed}")),
            }
        }
        Err(format!("expected a close, got {}", shown(&self.unread)))
    }

    /// Reads some more; false at the end.
    fn read(&mut self) -> Result<bool, String> {
        let mut some = [0; 16_384];
        match self.stream.read(&mut some) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.unread.extend(&some[..length]);
                Ok(true)
            }
            // A server that closes with bytes unread resets: the client sees the same.
            Err(failed) if failed.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(failed) if failed.kind() == ErrorKind::WouldBlock => {
                Err("nothing for a long time".to_owned())
            }
            Err(failed) => Err(failed.to_string()),
        }
    }

    fn unlike(&self, reply: &[Piece], words: &Words, then: &str) -> String {
        let expected: String = reply.iter().map(|piece| shown_piece(piece, words)).collect();
        format!("\n    expected {expected}\n    got      {}{then}", shown(&self.unread))
    }
}

/// Writes, one packet up to each cut. That the server has closed already is for the reader to see.
fn write_cut(stream: &mut TcpStream, request: &[u8], cuts: &[usize]) {
    let mut start = 0;
    for end in cuts.iter().copied().chain([request.len()]) {
        if stream.write_all(&request[start..end]).is_err() {
            return;
        }
        start = end;
    }
}

#[derive(Debug)]
pub enum Match {
    Whole(usize),
    NeedMore,
    Mismatch,
}

/// Whether `input` from `at` on begins with `pieces`. Wildcards take as little as fits.
pub fn matched(pieces: &[Piece], input: &[u8], at: usize, words: &mut Words) -> Match {
    let Some((first, rest)) = pieces.split_first() else {
        return Match::Whole(at);
    };
    match first {
        Piece::Bytes(literal) => matched_literal(literal, rest, input, at, words),
        Piece::Word { name, plus } => {
            if let Some(word) = words.get(name) {
                let Ok(literal) = word_plus(word, *plus) else {
                    return Match::Mismatch;
                };
                return matched_literal(&literal, rest, input, at, words);
            }
            let is_end = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n');
            match input[at..].iter().position(is_end) {
                None => Match::NeedMore,
                Some(0) => Match::Mismatch,
                Some(length) => {
                    words.insert(name.clone(), input[at..at + length].to_vec());
                    let outcome = matched(rest, input, at + length, words);
                    if !matches!(outcome, Match::Whole(_)) {
                        words.remove(name);
                    }
                    outcome
                }
            }
        }
        Piece::Number { name, plus, width } => {
            match frames::matched_number((name, *plus, *width), input, at, words) {
                Match::Whole(end) => matched(rest, input, end, words),
                other => other,
            }
        }
        Piece::Frame(expected) => match expected.matched(input, at, words) {
            Match::Whole(end) => matched(rest, input, end, words),
            other => other,
        },
        Piece::AnyFrames => {
            let ends = std::iter::successors(Some(at), |&at| frames::end_of(input, at));
            matched_somewhere(rest, input, ends, words)
        }
        Piece::AnyInLine => {
            let ends = (at..=input.len())
                .take_while(|&end| end == at || !matches!(input[end - 1], b'\r' | b'\n'));
            matched_somewhere(rest, input, ends, words)
        }
        Piece::AnyLines => {
            let ends = (at..=input.len()).filter(|&end| end == at || input[end - 1] == b'\n');
            match matched_somewhere(rest, input, ends, words) {
                // A line that has arrived in part may be one of them.
                Match::Mismatch if !input.ends_with(b"\n") => Match::NeedMore,
                matched => matched,
            }
        }
    }
}

fn matched_literal(
    literal: &[u8],
    rest: &[Piece],
    input: &[u8],
    at: usize,
    words: &mut Words,
) -> Match {
    let here = &input[at..];
    if here.starts_with(literal) {
        matched(rest, input, at + literal.len(), words)
    } else if literal.starts_with(here) {
        Match::NeedMore
    } else {
        Match::Mismatch
    }
}

fn matched_somewhere(
    rest: &[Piece],
    input: &[u8],
    ends: impl Iterator<Item = usize>,
    words: &mut Words,
) -> Match {
    let mut outcome = Match::Mismatch;
    for end in ends {
        match matched(rest, input, end, words) {
            whole @ Match::Whole(_) => return whole,
            Match::NeedMore => outcome = Match::NeedMore,
            Match::Mismatch => {}
        }
    }
    outcome
}

pub fn word_plus(word: &[u8], plus: i128) -> Result<Vec<u8>, String> {
    if plus == 0 {
        return Ok(word.to_vec());
    }
    let number: i128 = std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("not a number: {}", shown(word)))?;
    Ok((number + plus).to_string().into_bytes())
}

/// Bytes as a script would write them; the middle of many is left out.
pub fn shown(bytes: &[u8]) -> String {
    let (text, bytes) = frames::shown(bytes);
    if !text.is_empty() {
        return text + &shown(bytes);
    }
    const SHOWN: usize = 600;
    if bytes.len() > 2 * SHOWN {
        let (start, end) = (&bytes[..SHOWN], &bytes[bytes.len() - SHOWN..]);
        let between = bytes.len() - 2 * SHOWN;
        return format!("{} ... {between} bytes ... {}", shown(start), shown(end));
    }
    bytes.escape_ascii().to_string().replace("\\r\\n", "|")
}

fn shown_piece(piece: &Piece, words: &Words) -> String {
    match piece {
        Piece::Bytes(literal) => shown(literal),
        Piece::Word { name, plus } => match words.get(name) {
            Some(word) => format!("{{{name}{plus:+}}}={}", shown(word)),
            None => format!("{{{name}}}"),
        },
        Piece::AnyInLine => "{*}".to_owned(),
        Piece::AnyLines => "{lines}".to_owned(),
        other => format!("\n        {other:?}"),
    }
}

fn said(failed: impl std::fmt::Display) -> Wrong {
    (None, failed.to_string())
}
