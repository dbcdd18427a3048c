//! The client's side of a memcached-protocol server: lines and bytes over TCP or a Unix socket.
//!
//! Waits for a server only so long, and never connects to itself.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::cli::{Exit, Failure};
use crate::limits::LINE_BYTES_MAX;

/// A server that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest line a server may answer.
const REPLY_BYTES_MAX: u64 = 2 * LINE_BYTES_MAX as u64;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Wire {
    address: String,
    input: BufReader<Stream>,
    output: BufWriter<Stream>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Connects to `host:port`, or to a Unix socket where the address is a path.
    pub(crate) fn connect(address: &str) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            let what =
                format!("cannot connect to {address}: {error}; is the server running there?");
            Failure::new(Exit::Unavailable, what)
        };
        let open = || -> io::Result<(Stream, Stream)> {
            if address.contains('/') {
                let stream = UnixStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok((Stream::Unix(stream.try_clone()?), Stream::Unix(stream)));
            }
            let stream = tcp(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream.try_clone()?), Stream::Tcp(stream)))
        };
        let (input, output) = open().map_err(refused)?;
        Ok(Self {
            address: address.to_owned(),
            input: BufReader::with_capacity(64 << 10, input),
            output: BufWriter::with_capacity(64 << 10, output),
        })
    }

    /// Adds to what [`Wire::flush`] sends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output.write_all(bytes).map_err(|error| lost(&self.address, &error))
    }

    /// Sends what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(|error| lost(&self.address, &error))
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let result = (&mut self.input).take(REPLY_BYTES_MAX).read_until(b'\n', &mut line);
        result.map_err(|error| lost(&self.address, &error))?;
        let Some(text) = line.strip_suffix(b"\n") else {
            let error = if line.is_empty() {
                io::Error::from(io::ErrorKind::UnexpectedEof)
            } else {
                io::Error::other("a line without an end")
            };
            return Err(lost(&self.address, &error));
        };
        let length = text.strip_suffix(b"\r").unwrap_or(text).len();
        line.truncate(length);
        Ok(line)
    }

    /// The next `count` bytes and the line end behind them; `None` if they are more than `bytes_max`,
    /// and were passed over.
    pub(crate) fn data(&mut self, count: u64, bytes_max: u64) -> Result<Option<Vec<u8>>, Failure> {
        let failed = |error: io::Error| lost(&self.address, &error);
        let mut value = None;
        if count > bytes_max {
            let passed = io::copy(&mut (&mut self.input).take(count), &mut io::sink());
            if passed.map_err(failed)? < count {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
        } else {
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
            self.input.read_exact(&mut bytes).map_err(failed)?;
            value = Some(bytes);
        }
        let mut end = [0; 2];
        self.input.read_exact(&mut end).map_err(failed)?;
        if &end == b"\r\n" { Ok(value) } else { Err(self.strange(&end)) }
    }

    /// For an answer that fits nothing.
    pub(crate) fn strange(&self, answer: &[u8]) -> Failure {
        let what = format!(
            "{} answered {:?}, which does not fit; is it a memcached-protocol server?",
            self.address,
            String::from_utf8_lossy(answer)
        );
        Failure::new(Exit::Unavailable, what)
    }
}

fn lost(address: &str, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer for {} seconds", PATIENCE.as_secs())
        }
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    };
    let what = format!("lost the server {address}: {why}; look there, then start again");
    Failure::new(Exit::Unavailable, what)
}

fn tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            // Nobody listened, and the system gave us the very port.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                last = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
