//! Conversations with a memcached server, written as text: the format and its parser.
//!
//! Does no I/O; `runner` holds the conversation. Holds to one rule: every byte that a script sends or
//! expects can be seen in the script (spaces at a line's end are written `\s`).
//!
//!     # a comment
//!     > set k 0 0 1|a            send; `|` is CRLF, and a line ends with CRLF by itself
//!     < STORED                   expect exactly this, and nothing else before the next reply
//!     a> get k                   the same on a second connection named `a` (opened on first use)
//!     a< VALUE k 0 1|a|END
//!     > delete k noreply
//!     <                          expect no reply: shown by a `version` answered right behind
//!     > quit
//!     <close>                    expect the server to close (after the expected reply, if any)
//!
//! `>` lines in a row are sent together, `<` lines in a row are one reply.
//!
//! In both: `\n` `\r` `\t` `\s` (space) `\xHH` `\\` `\|` `\{` stand for one byte. A line that ends
//! with `\n` gets no CRLF, nor does one that ends with `\c`, which itself is nothing: a line half sent.
//! `{1048576*x}` is a text repeated (it may hold another repeat). `{cas}` in a reply takes the word seen there at first and
//! stands for it from then on; `{cas+1}` and `{cas-1}` calculate with it. `{now+100}` is the
//! server's time in Unix seconds, calculated likewise. In a reply `{*}` is anything up to the end of
//! the line and `{lines}` any number of whole lines, as few as fit.
//!
//! `> #` and `< #` are binary frames: see `frames`.
//!
//! `~` speaks to the harness:
//!
//!     ~ clock +61s               moves the clock (against a real memcached the script ends here)
//!     ~ restart                  stops the daemon and starts it on the same file (likewise)
//!     ~ forget memory            empties the memory tier
//!     ~ distinct cas1 cas2       the words taken are all different
//!     ~ hang up a                closes connection `a` (without a name: the unnamed one)
//!     ~ half-close a             sends the end of file on `a` and goes on reading
//!     ~ start with -F            for the whole script: memcached's flags for the daemon
//!     ~ not in MODE: reason      for the whole script: MODE is one of the runner's,
//!                                or `memcached`, or both: `memcached-pipelined`, or a version
//!                                of it: `memcached-1.6.18`
//!     ~ memcached-differs: why   the next command is answered otherwise by memcached; what it
//!     <! ERROR                   answers follows our own reply on `<!` lines (or `<!close>`).
//!                                Without them the command is not sent there.
//!     ~ memcached-1.6.18-differs: why     the same for the versions that begin so

use std::fmt;

use super::frames;

/// One script: a file of `tests/scripts`.
#[derive(Debug)]
pub struct Script {
    pub name: String,
    /// memcached's flags that the daemon is started with.
    pub flags: Vec<String>,
    /// Names of modes that the script is not meant for.
    pub excluded: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    /// Where in the file, counted from 1.
    pub line: usize,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Exchange(Exchange),
    HangUp(String),
    HalfClose(String),
    Clock(i64),
    Restart,
    ForgetMemory,
    Distinct(Vec<String>),
}

/// What is sent on one connection and what must come back.
#[derive(Debug)]
pub struct Exchange {
    pub connection: String,
    pub request: Vec<Piece>,
    pub reply: Reply,
    pub difference: Option<Difference>,
}

/// `text` is absent where the script does not say yet what comes back (another connection's turn is
/// next), and empty where nothing may come.
#[derive(Debug, Default)]
pub struct Reply {
    pub text: Option<Vec<Piece>>,
    pub closes: bool,
}

impl Reply {
    pub fn is_open(&self) -> bool {
        self.text.is_none() && !self.closes
    }

    fn text_mut(&mut self) -> &mut Vec<Piece> {
        self.text.get_or_insert_default()
    }
}

/// Memcached itself answers otherwise.
#[derive(Debug)]
pub struct Difference {
    /// Which versions: those that begin so. Empty for all.
    pub version: String,
    /// Open: the request is not sent there.
    pub reply: Reply,
}

/// A part of what is sent or expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// A word taken from a reply (or `now`), and what is added to it.
    Word {
        name: String,
        plus: i128,
    },
    AnyInLine,
    AnyLines,
    /// The same as a big-endian number of this many bytes, which may be a part of a frame.
    Number {
        name: String,
        plus: i128,
        width: usize,
    },
    /// A frame of a reply.
    Frame(Box<frames::Expected>),
    AnyFrames,
}

/// What is wrong with a script, and where.
#[derive(Debug)]
pub struct Malformed {
    pub script: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.script, self.line, self.what)
    }
}

/// Parses the script `name`.
pub fn parse(name: &str, text: &str) -> Result<Script, Malformed> {
    let mut parser = Parser {
        script: Script {
            name: name.to_owned(),
            flags: Vec::new(),
            excluded: Vec::new(),
            steps: Vec::new(),
        },
        difference: None,
    };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        parser.line(number, line).map_err(|what| Malformed {
            script: name.to_owned(),
            line: number,
            what,
        })?;
    }
    Ok(parser.script)
}

struct Parser {
    script: Script,
    /// Said by a `~` line, for the next command.
    difference: Option<Difference>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.ends_with(' ') {
            return Err("a space at the line's end cannot be seen: write \\s".to_owned());
        }
        if let Some(order) = line.strip_prefix("~ ") {
            return self.order(number, order);
        }
        let name_length = line.bytes().take_while(u8::is_ascii_lowercase).count();
        let (connection, rest) = line.split_at(name_length);
        if let Some(request) = after_mark(rest, ">") {
            let pieces = match request.strip_prefix('#') {
                Some(frame) => frames::request(frame)?,
                None => pieces_of_line(request)?,
            };
            self.request(number, connection, pieces);
            Ok(())
        } else if rest == "<close>" {
            self.exchange(number, connection).reply.closes = true;
            Ok(())
        } else if rest == "<!close>" {
            self.reply_there(connection)?.closes = true;
            Ok(())
        } else if let Some(reply) = after_mark(rest, "<!") {
            let pieces = reply_pieces(reply)?;
            self.reply_there(connection)?.text_mut().extend(pieces);
            Ok(())
        } else if let Some(reply) = after_mark(rest, "<") {
            let pieces = if reply.is_empty() { Vec::new() } else { reply_pieces(reply)? };
            let expected = &mut self.exchange(number, connection).reply;
            if expected.closes {
                return Err("nothing can be expected after <close>".to_owned());
            }
            expected.text_mut().extend(pieces);
            Ok(())
        } else {
            Err(format!("neither comment, >, < nor ~: {line:?}"))
        }
    }

    fn request(&mut self, number: usize, connection: &str, pieces: Vec<Piece>) {
        if self.difference.is_none()
            && let Some(open) = self.last_exchange(connection)
            && open.reply.is_open()
        {
            open.request.extend(pieces);
            return;
        }
        let exchange = Exchange {
            connection: connection.to_owned(),
            request: pieces,
            reply: Reply::default(),
            difference: self.difference.take(),
        };
        self.push(number, Action::Exchange(exchange));
    }

    /// The exchange that a reply on this connection belongs to: the one just before, or else a new
    /// one that sends nothing.
    fn exchange(&mut self, number: usize, connection: &str) -> &mut Exchange {
        if self.last_exchange(connection).is_none() {
            let exchange = Exchange {
                connection: connection.to_owned(),
                request: Vec::new(),
                reply: Reply::default(),
                difference: None,
            };
            self.push(number, Action::Exchange(exchange));
        }
        self.last_exchange(connection).expect("it was pushed when it was missing")
    }

    fn last_exchange(&mut self, connection: &str) -> Option<&mut Exchange> {
        match self.script.steps.last_mut() {
            Some(Step { action: Action::Exchange(exchange), .. })
                if exchange.connection == connection =>
            {
                Some(exchange)
            }
            _ => None,
        }
    }

    fn reply_there(&mut self, connection: &str) -> Result<&mut Reply, String> {
        self.last_exchange(connection)
            .and_then(|exchange| exchange.difference.as_mut())
            .map(|difference| &mut difference.reply)
            .ok_or_else(|| "<! without `~ memcached-differs` before its command".to_owned())
    }

    fn order(&mut self, number: usize, order: &str) -> Result<(), String> {
        let words: Vec<&str> = order.split(' ').collect();
        let name = |at: usize| words.get(at).map_or(String::new(), |&word| word.to_owned());
        let action = match words.as_slice() {
            ["clock", by] => Action::Clock(seconds(by)?),
            ["restart"] => Action::Restart,
            ["forget", "memory"] => Action::ForgetMemory,
            ["distinct", names @ ..] => {
                Action::Distinct(names.iter().map(|&name| name.to_owned()).collect())
            }
            ["hang", "up"] | ["hang", "up", _] => Action::HangUp(name(2)),
            ["half-close"] | ["half-close", _] => Action::HalfClose(name(1)),
            ["start", "with", flags @ ..] => {
                self.script.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
                return Ok(());
            }
            ["not", "in", mode, _, ..] if mode.ends_with(':') => {
                self.script.excluded.push(mode.trim_end_matches(':').to_owned());
                return Ok(());
            }
            [differs, _, ..] if differs.starts_with("memcached-") => {
                let version = differs["memcached-".len()..]
                    .strip_suffix("differs:")
                    .ok_or_else(|| format!("unknown order: {order}"))?
                    .trim_end_matches('-');
                self.difference =
                    Some(Difference { version: version.to_owned(), reply: Reply::default() });
                return Ok(());
            }
            _ => return Err(format!("unknown order, or one without its reason: {order}")),
        };
        self.push(number, action);
        Ok(())
    }

    fn push(&mut self, line: usize, action: Action) {
        self.script.steps.push(Step { line, action });
    }
}

/// The text behind `mark`, which a space separates from it unless there is none.
fn after_mark<'t>(line: &'t str, mark: &str) -> Option<&'t str> {
    let rest = line.strip_prefix(mark)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

fn seconds(text: &str) -> Result<i64, String> {
    text.strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("not a number of seconds like +61s: {text}"))
}

fn reply_pieces(text: &str) -> Result<Vec<Piece>, String> {
    match text.strip_prefix('#') {
        Some(frame) => Ok(vec![frames::reply(frame)?]),
        None => pieces_of_line(text),
    }
}

fn pieces_of_line(text: &str) -> Result<Vec<Piece>, String> {
    if let Some(half) = text.strip_suffix("\\c") {
        return pieces(half);
    }
    let mut pieces = pieces(text)?;
    if !text.ends_with("\\n") {
        push_bytes(&mut pieces, b"\r\n");
    }
    Ok(pieces)
}

pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '|' => {
                push_bytes(&mut pieces, b"\r\n");
                rest = &rest[1..];
            }
            '\\' => {
                let (byte, length) = escape(rest)?;
                push_bytes(&mut pieces, &[byte]);
                rest = &rest[length..];
            }
            '{' => {
                let end = closing_brace(rest).ok_or("a { without its }")?;
                push_braced(&mut pieces, &rest[1..end])?;
                rest = &rest[end + 1..];
            }
            _ => {
                let (literal, after) = rest.split_at(first.len_utf8());
                push_bytes(&mut pieces, literal.as_bytes());
                rest = after;
            }
        }
    }
    Ok(pieces)
}

/// Where the brace that `text` begins with is closed again.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

fn escape(text: &str) -> Result<(u8, usize), String> {
    let unknown = || format!("unknown escape: {text}");
    let byte = match text.as_bytes().get(1).ok_or_else(unknown)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b's' => b' ',
        &same @ (b'\\' | b'|' | b'{') => same,
        b'x' => {
            let digits = text.get(2..4).ok_or_else(unknown)?;
            return u8::from_str_radix(digits, 16).map(|byte| (byte, 4)).map_err(|_| unknown());
        }
        _ => return Err(unknown()),
    };
    Ok((byte, 2))
}

fn push_braced(pieces: &mut Vec<Piece>, inside: &str) -> Result<(), String> {
    match inside {
        "*" => pieces.push(Piece::AnyInLine),
        "lines" => pieces.push(Piece::AnyLines),
        _ => match inside.split_once('*') {
            Some((times, text)) => {
                let times = times.parse().map_err(|_| format!("not a number: {times}"))?;
                match self::pieces(text)?.as_slice() {
                    [Piece::Bytes(bytes)] => push_bytes(pieces, &bytes.repeat(times)),
                    _ => return Err(format!("only plain text can be repeated: {inside}")),
                }
            }
            None => pieces.push(word(inside)?),
        },
    }
    Ok(())
}

fn word(inside: &str) -> Result<Piece, String> {
    let name_length =
        inside.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let (name, plus) = inside.split_at(name_length);
    let plus = if plus.is_empty() { Some(0) } else { plus.parse().ok() };
    match plus {
        Some(plus) if !name.is_empty() => Ok(Piece::Word { name: name.to_owned(), plus }),
        _ => Err(format!("neither a name, a repeat nor a wildcard: {{{inside}}}")),
    }
}

fn push_bytes(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Bytes(last)) = pieces.last_mut() {
        last.extend_from_slice(bytes);
    } else {
        pieces.push(Piece::Bytes(bytes.to_vec()));
    }
}
