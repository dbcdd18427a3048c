//! Operations on a store, answered as the reference model says: in bursts that share a transaction, with
//! clock steps, restarts and a memory tier that is emptied between them.

use litecached::clock::Clock;

use super::damage::folder;
use super::desk::Desk;
use super::reference::{Ids, Model, Op, Reply, Shown, bytes_of};

const START_TIME: i64 = 1_800_000_000;

/// Steps of one input; a restart costs as much as a thousand of them.
const STEPS_MAX: usize = 400;
const RESTARTS_MAX: usize = 3;

/// Operations that are sent together.
const BURST_MAX: usize = 40;

/// The input, taken a byte at a time; at its end zeros.
struct Bytes<'d>(&'d [u8]);

impl<'d> Bytes<'d> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.next()) % all.len()]
    }

    fn take(&mut self, count: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The store and the model side by side.
struct Walk<'d> {
    input: Bytes<'d>,
    desk: Desk,
    model: Model,
    ids: Ids,
    burst: Vec<(Op, bool)>,
}

pub(super) fn hold(data: &[u8]) {
    let folder = folder();
    let mut input = Bytes(data);
    let clock = Clock::manual(START_TIME);
    let mut options = Desk::options(&folder.path().join("cache.db"));
    options.memory_bytes = input.one_of(&[64 << 10, 0, 1 << 20]);
    options.compress_from = input.one_of(&[0, 16]);
    let open = || Desk::open(&options, &clock).expect("a file of ours opens");
    let model = Model { now: START_TIME, ..Model::default() };
    let mut walk = Walk { input, desk: open(), model, ids: Ids::default(), burst: Vec::new() };
    let mut restarts = 0;
    for _ in 0..STEPS_MAX {
        if walk.input.0.is_empty() {
            break;
        }
        match walk.input.next() % 32 {
            0 if restarts < RESTARTS_MAX => {
                walk.converse();
                restarts += 1;
                // The file is closed when the last is gone that uses it.
                let Walk { input, desk, model, ids, burst } = walk;
                drop(desk);
                walk = Walk { input, desk: open(), model, ids, burst };
            }
            1 => {
                walk.converse();
                walk.desk.forget_memory();
            }
            2 | 3 => {
                walk.converse();
                let seconds = walk.input.one_of(&[1, 2, 29, 100, 86_400, 2_592_000]);
                clock.advance(seconds);
                walk.model.pass(seconds);
            }
            4..9 => walk.converse(),
            choice => {
                let op = walk.op(choice);
                let silent = !matches!(op, Op::Get { .. } | Op::GetAndTouch { .. })
                    && walk.input.next().is_multiple_of(8);
                walk.burst.push((op, silent));
                if walk.burst.len() == BURST_MAX {
                    walk.converse();
                }
            }
        }
    }
    walk.converse();
    let keys = (0..KEYS).map(key).collect();
    walk.burst.push((Op::Get { verb: "gets", keys }, false));
    walk.converse();
}

const KEYS: u8 = 5;

fn key(number: u8) -> String {
    if number.is_multiple_of(KEYS) { "k".repeat(250) } else { format!("key-{}", number % KEYS) }
}

impl Walk<'_> {
    /// Sends what has been gathered, and compares.
    fn converse(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if burst.is_empty() {
            return;
        }
        let request: Vec<u8> =
            burst.iter().flat_map(|(op, silent)| bytes_of(op, *silent)).collect();
        let reply = self.desk.say(&request).expect("nothing is wrong with the disk");
        let mut rest = &reply[..];
        for (op, silent) in &burst {
            let cas_is_current = self.ids.is_current(&self.model, op);
            let expected = self.model.answer(op, cas_is_current);
            if *silent {
                continue;
            }
            let got = self.reply(&mut rest, &expected);
            assert!(
                got == expected,
                "sent {}\nexpected {expected:?}\ngot      {got:?}",
                String::from_utf8_lossy(&bytes_of(op, *silent))
            );
        }
        assert!(rest.is_empty(), "one reply too many: {}", String::from_utf8_lossy(rest));
    }

    /// Reads a reply of the expected form.
    fn reply(&mut self, rest: &mut &[u8], expected: &Reply) -> Reply {
        let Reply::Values(expected) = expected else { return Reply::Line(line(rest)) };
        let mut shown: Vec<Shown> = Vec::new();
        loop {
            let line = line(rest);
            let words: Vec<&str> = line.split(' ').collect();
            let ["VALUE", key, flags, bytes, cas @ ..] = &words[..] else {
                return if line == "END" { Reply::Values(shown) } else { Reply::Line(line) };
            };
            let bytes: usize = bytes.parse().expect("a length");
            let change = cas.first().map(|cas| {
                let expected = expected.get(shown.len()).and_then(|expected| expected.change);
                self.ids.change_of(cas.parse().expect("a cas id"), expected)
            });
            let (value, behind) = rest.split_at(bytes);
            *rest = behind.strip_prefix(b"\r\n").expect("a line end behind the value");
            let flags = flags.parse().expect("flags");
            shown.push(Shown { key: (*key).to_owned(), flags, value: value.to_vec(), change });
        }
    }

    fn op(&mut self, choice: u8) -> Op {
        match choice {
            9..18 => {
                let verb = self
                    .input
                    .one_of(&["set", "add", "replace", "append", "prepend", "cas", "set", "cas"]);
                let key = key(self.input.next());
                let flags = self.input.one_of(&[0, 1, u32::MAX]);
                let cas = match self.ids.current(&self.model, &key) {
                    Some(current) if !self.input.next().is_multiple_of(4) => current,
                    _ => {
                        let nth = usize::from(self.input.next());
                        self.ids.seen().nth(nth).unwrap_or(u64::MAX - nth as u64)
                    }
                };
                Op::Store { verb, key, flags, exptime: self.exptime(), value: self.value(), cas }
            }
            18..22 => Op::Get { verb: self.input.one_of(&["gets", "get"]), keys: self.keys() },
            22 | 23 => {
                let verb = self.input.one_of(&["gats", "gat"]);
                Op::GetAndTouch { verb, exptime: self.exptime(), keys: self.keys() }
            }
            24 => Op::Touch { key: key(self.input.next()), exptime: self.exptime() },
            25 | 26 => Op::Delete { key: key(self.input.next()) },
            27..31 => {
                let verb = self.input.one_of(&["incr", "decr"]);
                let delta = self.input.one_of(&[1, 0, 7, 100, 1 << 40, u64::MAX]);
                Op::Arithmetic { verb, key: key(self.input.next()), delta }
            }
            _ => Op::Flush { delay: self.input.one_of(&[None, Some(-1), Some(2), Some(50)]) },
        }
    }

    fn exptime(&mut self) -> i64 {
        let later = self.model.now + 30;
        self.input.one_of(&[0, 0, 0, 1, 3, 60, 86_400, later, -1, 2_592_000, 2_592_001])
    }

    fn keys(&mut self) -> Vec<String> {
        let count = 1 + self.input.next() % 4;
        (0..count).map(|_| key(self.input.next())).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        const VALUES: [&[u8]; 8] = [
            b"5",
            b"18446744073709551615",
            b"99999999999999999999",
            b"+07 ",
            b"",
            b"END\r\nVERSION 0\r\n",
            b"0",
            b"1000",
        ];
        match self.input.next() {
            number @ 0..64 => number.to_string().into_bytes(),
            64..128 => self.input.one_of(&VALUES).to_vec(),
            // What `incr` makes of control characters is nobody's concern: no number begins so.
            length @ 128..250 => [b"x", self.input.take(usize::from(length - 128))].concat(),
            repeated => vec![b'x'; usize::from(repeated - 248) * 6_000],
        }
    }
}

fn line(rest: &mut &[u8]) -> String {
    let end = rest.windows(2).position(|two| two == b"\r\n");
    let end =
        end.unwrap_or_else(|| panic!("a reply is missing: {}", String::from_utf8_lossy(rest)));
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 2..];
    line
}
