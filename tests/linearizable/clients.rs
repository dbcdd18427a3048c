//! Clients that ask for one thing at a time, in text or in frames, and note what they saw.
//!
//! Even keys hold numbers, odd ones texts. Each value that is stored is stored once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use crate::checker::{Action, Event, Outcome};
use crate::common::wire::Client;

/// How many keys all of them share.
pub(crate) const KEYS: usize = 4;

const FRAME_BYTES: usize = 24;

/// One client.
pub(crate) struct Worker {
    client: Client,
    is_binary: bool,
    rng: Rng,
    /// The unique it saw last of each key.
    uniques: [u64; KEYS],
}

impl Worker {
    pub(crate) fn new(port: u16, id: u64, rng: Rng) -> Self {
        let is_binary = id % 2 == 1;
        Self { client: Client::connect(port), is_binary, rng, uniques: [0; KEYS] }
    }

    /// Works until the connection breaks, and gives what it saw of which key.
    pub(crate) fn run(mut self, clock: &AtomicU64) -> Vec<(usize, Event)> {
        let mut seen = Vec::new();
        loop {
            let key = self.rng.usize(..KEYS);
            let called = clock.fetch_add(1, Ordering::SeqCst);
            let action = self.choose(key, called);
            let outcome = self.ask(key, &action).ok();
            let returned = clock.fetch_add(1, Ordering::SeqCst);
            if let Some(Outcome::Found { unique, .. }) = outcome {
                self.uniques[key] = unique;
            }
            let is_broken = outcome.is_none();
            seen.push((key, Event { called, returned, action, outcome }));
            if is_broken {
                return seen;
            }
        }
    }

    fn choose(&mut self, key: usize, moment: u64) -> Action {
        let is_number = key.is_multiple_of(2);
        let value = if is_number { moment * 1_000 } else { moment };
        let value = value.to_string().into_bytes();
        match self.rng.u8(..10) {
            0..4 => Action::Get,
            4 | 5 => Action::Set(value),
            6 if self.uniques[key] != 0 => Action::Cas(value, self.uniques[key]),
            9 => Action::Delete,
            _ if is_number => Action::Incr(self.rng.u64(1..10)),
            _ => Action::Append([b",", &value[..]].concat()),
        }
    }

    fn ask(&mut self, key: usize, action: &Action) -> io::Result<Outcome> {
        if self.is_binary { self.ask_in_frames(key, action) } else { self.ask_in_text(key, action) }
    }

    fn ask_in_text(&mut self, key: usize, action: &Action) -> io::Result<Outcome> {
        let with_data = |head: String, data: &[u8]| [head.as_bytes(), data, b"\r\n"].concat();
        let request = match action {
            Action::Get => format!("gets k{key}\r\n").into_bytes(),
            Action::Set(data) => with_data(format!("set k{key} 0 0 {}\r\n", data.len()), data),
            Action::Cas(data, unique) => {
                with_data(format!("cas k{key} 0 0 {} {unique}\r\n", data.len()), data)
            }
            Action::Append(data) => {
                with_data(format!("append k{key} 0 0 {}\r\n", data.len()), data)
            }
            Action::Incr(by) => format!("incr k{key} {by}\r\n").into_bytes(),
            Action::Delete => format!("delete k{key}\r\n").into_bytes(),
        };
        self.client.try_send(&request)?;
        let line = self.client.try_line()?;
        if let Some(rest) = line.strip_prefix("VALUE ") {
            let words: Vec<&str> = rest.split(' ').collect();
            let value = self.client.try_exactly(words[2].parse().expect("a length"))?;
            self.client.try_exactly(b"\r\nEND\r\n".len())?;
            return Ok(Outcome::Found { value, unique: words[3].parse().expect("a unique") });
        }
        Ok(match line.as_str() {
            "STORED" | "DELETED" => Outcome::Done,
            "EXISTS" => Outcome::Exists,
            "END" | "NOT_FOUND" | "NOT_STORED" => Outcome::Missing,
            number => Outcome::Number(
                number.parse().unwrap_or_else(|_| panic!("{action:?} was answered {number}")),
            ),
        })
    }

    fn ask_in_frames(&mut self, key: usize, action: &Action) -> io::Result<Outcome> {
        let (opcode, extras, data, unique): (u8, Vec<u8>, &[u8], u64) = match action {
            Action::Get => (0x00, Vec::new(), b"", 0),
            Action::Set(data) => (0x01, vec![0; 8], data, 0),
            Action::Cas(data, unique) => (0x01, vec![0; 8], data, *unique),
            Action::Delete => (0x04, Vec::new(), b"", 0),
            // All ones for the expiry: nothing is made where nothing is.
            Action::Incr(by) => {
                (0x05, [&by.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat(), b"", 0)
            }
            Action::Append(data) => (0x0e, Vec::new(), data, 0),
        };
        let key = format!("k{key}");
        let body = [&extras[..], key.as_bytes(), data].concat();
        let short = |length: usize| u8::try_from(length).expect("a short part");
        let mut frame = vec![0x80, opcode, 0, short(key.len()), short(extras.len()), 0, 0, 0];
        frame.extend(u32::try_from(body.len()).expect("a short body").to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(unique.to_be_bytes());
        frame.extend(body);
        self.client.try_send(&frame)?;

        let head = self.client.try_exactly(FRAME_BYTES)?;
        let length = u32::from_be_bytes(head[8..12].try_into().expect("four bytes"));
        let body = self.client.try_exactly(length as usize)?;
        let status = u16::from_be_bytes([head[6], head[7]]);
        Ok(match (status, action) {
            (0, Action::Get) => Outcome::Found {
                value: body[usize::from(head[4])..].to_vec(),
                unique: u64::from_be_bytes(head[16..24].try_into().expect("eight bytes")),
            },
            (0, Action::Incr(_)) => {
                Outcome::Number(u64::from_be_bytes(body[..].try_into().expect("eight bytes")))
            }
            (0, _) => Outcome::Done,
            (1 | 5, _) => Outcome::Missing,
            (2, _) => Outcome::Exists,
            _ => panic!("{action:?} was answered with status {status}"),
        })
    }
}
