//! A blocking client that knows lines and bytes, and waits for neither without end.
//!
//! It does not know the protocol's rules: what a reply should be is the test's business. Methods that
//! begin with `try_` report a broken connection; the others take it for the test's failure.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::ground::PATIENCE;

/// One connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Bytes received; those before `taken` were given out already.
    received: Vec<u8>,
    taken: usize,
}

impl Client {
    /// Connects to the daemon on this port.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("connect to {port}: {error}"))
    }

    /// Connects, if somebody listens. A socket that met itself is nobody.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        if stream.local_addr()? == stream.peer_addr()? {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new(), taken: 0 })
    }

    /// The port this end has.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("a connected socket has an address").port()
    }

    /// The socket, for what only a test with its own rhythm needs.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("the daemon takes what is sent");
    }

    /// Sends these bytes.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next line without its CRLF.
    pub fn line(&mut self) -> String {
        self.try_line().expect("the daemon answers a line")
    }

    /// The next line without its CRLF.
    pub fn try_line(&mut self) -> io::Result<String> {
        let mut looked_at = self.taken;
        loop {
            let fresh = &self.received[looked_at..];
            if let Some(end) = fresh.iter().position(|&byte| byte == b'\n') {
                let end = looked_at + end;
                let line = &self.received[self.taken..end];
                let line = line.strip_suffix(b"\r").unwrap_or_else(|| {
                    panic!("a reply ends in CRLF: {:?}", String::from_utf8_lossy(line))
                });
                let line = String::from_utf8_lossy(line).into_owned();
                self.taken = end + 1;
                return Ok(line);
            }
            looked_at = self.received.len() - self.shift();
            self.fill()?;
        }
    }

    /// The next line of a log, which a line feed alone ends.
    pub fn log_line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match self.exactly(1)[..] {
                [b'\n'] => return String::from_utf8(line).expect("a log is text"),
                ref byte => line.extend_from_slice(byte),
            }
        }
    }

    /// The next `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.try_exactly(count).expect("the daemon sends as many bytes as it announced")
    }

    /// The next `count` bytes.
    pub fn try_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.received.len() - self.taken < count {
            self.shift();
            self.fill()?;
        }
        let bytes = self.received[self.taken..self.taken + count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    /// Sends a request and gives the first line of its reply.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> String {
        self.send(request);
        self.line()
    }

    /// Stores without flags and expiry.
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let mut request = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        assert_eq!(self.ask(request), "STORED", "set {key}");
    }

    /// The value of one key.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.send(format!("get {key}\r\n"));
        self.try_value().expect("get answers").map(|found| found.value)
    }

    /// Reads the reply to a `get` of one key.
    pub fn try_value(&mut self) -> io::Result<Option<Found>> {
        let mut found = self.try_values()?;
        assert!(found.len() < 2, "one key, one value: {found:?}");
        Ok(found.pop())
    }

    /// Reads the reply to a `get` up to its `END`. Any other line is an error with that line.
    pub fn try_values(&mut self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        loop {
            let line = self.try_line()?;
            if line == "END" {
                return Ok(all);
            }
            let words: Vec<&str> = line.split(' ').collect();
            let ["VALUE", key, flags, length, unique @ ..] = &words[..] else {
                return Err(io::Error::other(line));
            };
            let number = |word: &str| {
                word.parse().unwrap_or_else(|_| panic!("not a number in a reply: {line:?}"))
            };
            let length = usize::try_from(number(length)).expect("lengths fit");
            let mut value = self.try_exactly(length + 2)?;
            assert_eq!(value.split_off(length), b"\r\n", "after the value of {line:?}");
            let unique = unique.first().map(|&word| number(word));
            all.push(Found { key: (*key).to_owned(), flags: number(flags), value, unique });
        }
    }

    /// One number of `stats`.
    pub fn stat(&mut self, name: &str) -> u64 {
        self.send("stats\r\n");
        let mut value = None;
        loop {
            let line = self.line();
            if line == "END" {
                return value.unwrap_or_else(|| panic!("stats has no {name}"));
            }
            if let Some(text) = line.strip_prefix("STAT ").and_then(|rest| rest.strip_prefix(name))
                && let Some(text) = text.strip_prefix(' ')
            {
                value = Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")));
            }
        }
    }

    /// Waits until the daemon closes the connection, and gives what it sent before.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            self.shift();
            match self.fill() {
                Ok(()) => {}
                Err(error) if is_timeout(&error) => panic!("the daemon keeps the connection open"),
                Err(_) => return self.received.split_off(0),
            }
        }
    }

    /// Ends the connection without a farewell, so that the daemon sees a reset.
    pub fn vanish(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket has linger");
    }

    /// Receives some bytes; the end of the connection is an error.
    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    /// Forgets what was given out, and says how many bytes that were.
    fn shift(&mut self) -> usize {
        let gone = self.taken;
        self.received.drain(..gone);
        self.taken = 0;
        gone
    }
}

/// One item of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: String,
    pub flags: u64,
    pub value: Vec<u8>,
    pub unique: Option<u64>,
}

/// Whether the daemon took longer than a test waits.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
