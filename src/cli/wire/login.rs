//! Who a tool says it is where a server asks for a login: the name from the command line, the password
//! from a file, the environment or the terminal.
//!
//! A password is never taken from the command line, where anybody on the machine could read it, and never
//! sent to a server that has not asked: one without logins would store it as an item.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use clap::{Arg, ArgMatches, value_parser};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::cli::client::tell;
use crate::cli::{Exit, Failure};
use crate::limits::ACCOUNT_BYTES_MAX;

/// The variable that stands in for `--password-file`.
const PASSWORD_VARIABLE: &str = "LITECACHED_PASSWORD";

/// The controlling terminal, also where stdin is a script.
const TERMINAL: &str = "/dev/tty";

/// A user and his password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user.escape_ascii())
    }
}

/// `--user` and `--password-file`.
pub(super) fn arguments() -> [Arg; 2] {
    [
        Arg::new("user")
            .long("user")
            .value_name("NAME")
            .help("Log in as this user where a server asks for it"),
        Arg::new("password-file")
            .long("password-file")
            .value_name("FILE")
            .value_parser(value_parser!(std::path::PathBuf))
            .value_hint(clap::ValueHint::FilePath)
            .requires("user")
            .help("His password is there [env: LITECACHED_PASSWORD] [default: asked for]"),
    ]
}

impl Login {
    /// What the flags, the environment or whoever sits at the terminal says.
    pub(super) fn from_flags(flags: &ArgMatches) -> Result<Option<Self>, Failure> {
        let Some(user) = flags.get_one::<String>("user") else { return Ok(None) };
        let path = flags.get_one::<std::path::PathBuf>("password-file");
        let variable = std::env::var_os(PASSWORD_VARIABLE).filter(|text| !text.is_empty());
        let (password, place) = match (path, variable) {
            (Some(path), _) => (read(path)?, path.display().to_string()),
            (None, Some(text)) => (text.into_encoded_bytes(), PASSWORD_VARIABLE.to_owned()),
            (None, None) => (ask(user)?, "what was typed".to_owned()),
        };
        Self::new(user.as_bytes(), password, &place).map(Some)
    }

    fn new(user: &[u8], password: Vec<u8>, place: &str) -> Result<Self, Failure> {
        let wrong = |what: String| Err(Failure::new(Exit::Usage, what));
        let is_unsayable = |text: &[u8]| text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if user.is_empty() || is_unsayable(user) || user.contains(&b' ') {
            return wrong("--user is no name that a server has; give one without a space".into());
        }
        if password.is_empty() {
            return wrong(format!("there is no password in {place}; write it on the first line"));
        }
        if is_unsayable(&password) || user.len() + 1 + password.len() > ACCOUNT_BYTES_MAX {
            return wrong(format!(
                "{place} is no password; it is one line, with the user at most {} bytes",
                ACCOUNT_BYTES_MAX - 1
            ));
        }
        Ok(Self { user: user.to_vec(), password })
    }

    /// Both, for a protocol that has a command for them.
    pub(super) fn words(&self) -> (&[u8], &[u8]) {
        (&self.user, &self.password)
    }

    /// What is sent to log in. memcached makes nothing of the key.
    pub(super) fn request(&self) -> Vec<u8> {
        let length = self.user.len() + 1 + self.password.len();
        let line = format!("set login 0 0 {length}\r\n");
        [line.as_bytes(), &self.user, b" ", &self.password, b"\r\n"].concat()
    }
}

/// The first line of a file, which ends it.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error: io::Error| {
        let what = format!("cannot read {}: {error}; see --password-file", path.display());
        Failure::new(Exit::NoInput, what)
    };
    let mut text = Vec::new();
    let most = ACCOUNT_BYTES_MAX as u64 + 2;
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut text)).map_err(cannot)?;
    text.pop_if(|byte| *byte == b'\n');
    text.pop_if(|byte| *byte == b'\r');
    Ok(text)
}

/// Asks at the terminal, which shows nothing of the answer.
fn ask(user: &str) -> Result<Vec<u8>, Failure> {
    let terminal = File::options().read(true).write(true).open(TERMINAL).map_err(|_| {
        let what = format!(
            "there is no password for {user}, and no terminal to ask for it; give --password-file \
             or {PASSWORD_VARIABLE}"
        );
        Failure::new(Exit::Usage, what)
    })?;
    let failed = |error: io::Error| {
        let what = format!("the terminal cannot be used: {error}; give --password-file instead");
        Failure::new(Exit::Io, what)
    };
    let silence = Silence::begin(&terminal).map_err(failed)?;
    let asked = write!(&terminal, "Password for {}: ", crate::logging::OneLine(user));
    let typed = asked.and_then(|()| typed(&mut &terminal)).map_err(failed)?;
    drop(silence);
    writeln!(&terminal).map_err(failed)?;
    typed.ok_or_else(|| Failure::new(Exit::Interrupted, "no password was given; nothing was sent"))
}

/// What is typed up to the end of the line; none if it is given up.
fn typed(terminal: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    const BACKSPACES: [u8; 2] = [8, 127];
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        if terminal.read(&mut byte)? == 0 {
            return Ok(None);
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(Some(line)),
            CTRL_C => return Ok(None),
            CTRL_D if line.is_empty() => return Ok(None),
            CTRL_U => line.clear(),
            byte if BACKSPACES.contains(&byte) => {
                // All of a character in UTF-8.
                while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
            }
            // What is too long already is not going to be a password.
            byte if line.len() <= ACCOUNT_BYTES_MAX => line.push(byte),
            _ => {}
        }
    }
}

/// A terminal that shows nothing and gives each key at once, Ctrl-C too: a signal would end the process
/// and leave the terminal so.
struct Silence<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silence<'t> {
    fn begin(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before) {
            tell(&format!("the terminal was not set back: {error}; stty sane does it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let cases: [(&[u8], Option<&[u8]>); 8] = [
            (b"secret\rmore", Some(b"secret")),
            (b"secret\n", Some(b"secret")),
            (b"a b\x7fc\n", Some(b"a c")),
            ("\u{7f}äß\u{7f}x\n".as_bytes(), Some("äx".as_bytes())),
            (b"wrong\x15right\n", Some(b"right")),
            (b"sec\x03", None),
            (b"\x04", None),
            (b"unfinished", None),
        ];
        for (keys, expected) in cases {
            let found = typed(&mut &keys[..]).expect("a slice can be read");
            assert_eq!(found.as_deref(), expected, "{}", keys.escape_ascii());
        }
    }

    #[test]
    fn what_can_be_sent() {
        let long = vec![b'x'; ACCOUNT_BYTES_MAX - 4];
        let longer = vec![b'x'; ACCOUNT_BYTES_MAX - 3];
        let cases: [(&[u8], &[u8], bool); 8] = [
            (b"foo", b"bar", true),
            (b"foo", b"b a r", true),
            (b"foo", &long, true),
            (b"foo", &longer, false),
            (b"foo", b"", false),
            (b"foo", b"bar\r\nflush_all", false),
            (b"f o", b"bar", false),
            (b"", b"bar", false),
        ];
        for (user, password, is_good) in cases {
            let login = Login::new(user, password.to_vec(), "there");
            assert_eq!(login.is_ok(), is_good, "{}", password.escape_ascii());
            let message = login.err().map(|failure| failure.message).unwrap_or_default();
            assert!(password.is_empty() || !message.contains("bar"), "{message}");
        }
        let login = Login::new(b"foo", b"bar".to_vec(), "there").expect("a login");
        assert_eq!(login.request(), b"set login 0 0 7\r\nfoo bar\r\n");
        assert_eq!(format!("{login:?}"), "Login(foo)");
    }
}
