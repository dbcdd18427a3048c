//! A redis-server that ends with the test, and what a test asks of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::ground::{PATIENCE, needs, until};

/// See the module.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// With these options beside; none, and said, where it is not installed.
    pub fn start(folder: &Path, options: &[&str]) -> Option<Self> {
        if !needs("redis-server") {
            return None;
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
            .args(options)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        until("redis listens", PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        Some(Self { child, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As its users write it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection to it.
    pub fn client(&self) -> RedisClient {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        RedisClient(BufReader::new(stream))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be ended");
    }
}

/// One connection.
#[derive(Debug)]
pub struct RedisClient(BufReader<TcpStream>);

impl RedisClient {
    /// Sends a command of these words and gives the line that answers, or the value.
    pub fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend(format!("${}\r\n", word.len()).into_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&command).expect("it reads");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it answers");
        let line = line.trim_end();
        let Some(bytes) = line.strip_prefix('$').filter(|bytes| *bytes != "-1") else {
            return line.as_bytes().to_vec();
        };
        let mut value = vec![0; bytes.parse::<usize>().expect("a length") + 2];
        self.0.read_exact(&mut value).expect("it answers");
        value.truncate(value.len() - 2);
        value
    }

    /// The same with words that are text.
    pub fn tell(&mut self, command: &str) -> String {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.ask(&words)).into_owned()
    }
}
