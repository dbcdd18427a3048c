//! What was written, made a request.
//!
//! Judges only what would break the protocol or is surely a slip; whether a key is there or a number is
//! one is the server's to say. Sizes are counted here, times with a unit become seconds.

use std::path::PathBuf;

use crate::cli::client::commands::{self, Command, Kind};
use crate::cli::client::words::{Line, Word};
use crate::clock::Seconds;
use crate::config::units;
use crate::limits::{ITEM_BYTES_MAX, KEY_BYTES_MAX};
use crate::protocol::reply::Shape;

/// Relative times end here in memcached's protocol; later ones are written as a date.
const RELATIVE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

/// Behind more flags than this memcached takes the value of `ms` for commands.
const META_FLAGS_MAX: usize = 16;

/// Where the words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A line, at the prompt or of a script: `set k 5` announces five bytes.
    Line,
    /// The command line: `set k 5` stores a `5`, for the shell has taken the quotes away.
    Arguments,
}

/// A request, ready but for its value.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) command: Option<&'static Command>,
    /// The line, without its end. With a value its size is still to be put in.
    head: Vec<u8>,
    /// What stands behind the size.
    tail: Vec<u8>,
    pub(crate) need: Need,
    pub(crate) shape: Shape,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) is_pretty: bool,
    /// Whether asking twice changes nothing.
    pub(crate) is_repeatable: bool,
}

/// The value that a request brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    Given(Vec<u8>),
    /// All of a file.
    File(PathBuf),
    /// From the next line; its size is counted.
    Ask,
    /// From the next line, or lines: so many bytes.
    Sized(u64),
}

/// Something to do.
#[derive(Debug)]
pub(crate) enum Plan {
    Send(Request),
    Help(Option<String>),
    Pretty(bool),
    Leave,
}

impl Request {
    /// Whether a server that speaks the protocol may say this line, unless it refuses.
    pub(crate) fn expects(&self, line: &[u8]) -> bool {
        let is_free = self.shape == Shape::Synced;
        is_free || self.command.is_none_or(|command| command.expects(line))
    }

    /// Whether an item under this key may be in the answer; a meta reply does not say its key.
    pub(crate) fn asks_for(&self, key: Option<&[u8]>) -> bool {
        let Some(key) = key.filter(|_| self.asked() > 0) else { return true };
        self.keys.iter().any(|asked| asked == key)
    }

    /// Whether it is a meta command with a value: a server that does not know it takes the value for
    /// commands.
    pub(crate) fn is_meta_storage(&self) -> bool {
        self.command.is_some_and(|command| command.kind == Kind::MetaStore)
    }

    /// Whether the key stands in the line in base64.
    pub(crate) fn has_encoded_key(&self) -> bool {
        let mut words = self
            .tail
            .split(|&byte| byte == b' ')
            .chain(self.head.split(|&byte| byte == b' ').skip(2));
        words.any(|word| word == b"b")
    }

    /// Whether the server answers by ending the connection.
    pub(crate) fn is_farewell(&self) -> bool {
        self.command.is_some_and(|command| command.kind == Kind::Farewell)
    }

    /// How many items were asked for.
    pub(crate) fn asked(&self) -> usize {
        match self.command.map(|command| command.kind) {
            Some(Kind::Read { .. }) => self.keys.len(),
            _ => 0,
        }
    }

    /// All bytes before a value.
    pub(crate) fn opening(&self, value: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if let Some(value) = value {
            bytes.push(b' ');
            bytes.extend_from_slice(value.len().to_string().as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// The line without the size of a value, for messages.
    pub(crate) fn shown(&self) -> String {
        self.head.escape_ascii().to_string()
    }
}

/// What the words mean.
pub(crate) fn plan(line: Line, source: Source, now: Seconds) -> Result<Plan, String> {
    let Line { mut words, input, output } = line;
    let Some(name) = words.first().map(Word::text) else {
        return Err("there is no command; see help".into());
    };
    let command = commands::named(&name);
    match (name.as_str(), &words[1..]) {
        ("quit" | "exit", []) => return Ok(Plan::Leave),
        ("help", []) => return Ok(Plan::Help(None)),
        ("help", [about]) => return Ok(Plan::Help(Some(about.text()))),
        ("pretty", [word]) if word.is("on") => return Ok(Plan::Pretty(true)),
        ("pretty", [word]) if word.is("off") => return Ok(Plan::Pretty(false)),
        ("quit" | "exit" | "help" | "pretty", _) => {
            let usage = command.map_or("", |command| command.usage);
            return Err(format!("write {}; see help {name}", format!("{name} {usage}").trim_end()));
        }
        ("watch", _) => return Err("watch never ends; use telnet for it".into()),
        _ => {}
    }
    let kind = command.map(|command| command.kind);
    let options = Options::take(&mut words, kind, now)?;
    let takes_value = matches!(kind, Some(Kind::Store | Kind::Compare | Kind::MetaStore));
    if input.is_some() && !takes_value {
        return Err(format!("{name} takes no file; < is for commands that store"));
    }
    if let Some(command) = command
        && words.len() <= command.words_min()
    {
        return Err(format!("write {name} {}; see help {name}", command.usage));
    }
    // Behind all that the command needs; before that it is a key or a value.
    let noreply = words.last().is_some_and(|last| last.is("noreply"))
        && noreply_from(kind, &name).is_some_and(|least| words.len() > least);
    if noreply {
        words.pop();
    }
    let mut request = Request {
        command,
        head: Vec::new(),
        tail: Vec::new(),
        need: Need::Nothing,
        shape: if noreply { Shape::Synced } else { shape(kind, &words) },
        keys: Vec::new(),
        output,
        is_pretty: options.is_pretty,
        is_repeatable: match kind {
            Some(Kind::Read { keys_from: 1 }) => true,
            // `stats reset` and its like change something.
            Some(Kind::Ask(_)) => match &words[1..] {
                [] => true,
                [topic, rest @ ..] if name == "stats" => rest.is_empty() && !topic.is("reset"),
                _ => lists_keys(&words),
            },
            _ => false,
        },
    };
    match kind {
        Some(Kind::Store | Kind::Compare) => {
            let compare = kind == Some(Kind::Compare);
            storage(&mut request, &words, compare, source, &options, input)?;
        }
        Some(Kind::MetaStore) => meta_storage(&mut request, &words, input)?,
        _ => {
            let time_at = match kind {
                Some(Kind::Change { expiry }) => expiry,
                Some(Kind::Read { keys_from: 2 }) => Some(1),
                _ => None,
            };
            if let Some(word) = time_at.and_then(|at| words.get_mut(at)) {
                with_unit(word, now)?;
            }
            request.head = joined(&words)?;
            let keys_from = match kind {
                Some(Kind::Read { keys_from }) => keys_from,
                _ => 1,
            };
            let keys = words.iter().skip(keys_from);
            request.keys = match kind {
                Some(Kind::Read { .. }) => keys.map(|word| word.bytes.clone()).collect(),
                Some(Kind::Change { .. } | Kind::Meta) if name != "verbosity" => {
                    keys.take(1).map(|word| word.bytes.clone()).collect()
                }
                _ => Vec::new(),
            };
        }
    }
    // memcached takes the value behind a longer key for commands.
    if let Some(key) = request.keys.iter().find(|key| key.len() > KEY_BYTES_MAX) {
        let length = key.len();
        return Err(format!("a key of {length} bytes is too long; it has at most {KEY_BYTES_MAX}"));
    }
    if request.output.is_some() && request.asked() != 1 {
        return Err("> takes the value of one key, from get, gets, gat or gats".into());
    }
    if noreply {
        request.tail.extend_from_slice(b" noreply");
    }
    Ok(Plan::Send(request))
}

/// How many words come before a `noreply`, at least.
fn noreply_from(kind: Option<Kind>, name: &str) -> Option<usize> {
    match kind {
        Some(Kind::Store) => Some(3),
        Some(Kind::Compare) => Some(4),
        Some(Kind::Change { .. }) if name == "flush_all" => Some(1),
        Some(Kind::Change { .. }) => Some(2),
        _ => None,
    }
}

fn shape(kind: Option<Kind>, words: &[Word]) -> Shape {
    let is_quiet = words.iter().skip(2).any(|word| word.bytes == b"q");
    match kind {
        Some(Kind::Read { .. }) => Shape::Items,
        Some(Kind::Store | Kind::Compare | Kind::Change { .. } | Kind::Farewell) => Shape::Line,
        Some(Kind::Meta | Kind::MetaStore) if is_quiet => Shape::Synced,
        Some(Kind::Meta | Kind::MetaStore) => Shape::Meta,
        Some(Kind::Ask(_)) if lists_keys(words) => Shape::Keys,
        Some(Kind::Ask(shape)) => shape,
        Some(Kind::Local) | None => Shape::Synced,
    }
}

/// `lru_crawler metadump` and `lru_crawler mgdump`.
fn lists_keys(words: &[Word]) -> bool {
    let [name, topic, ..] = words else { return false };
    name.is("lru_crawler") && (topic.is("metadump") || topic.is("mgdump"))
}

/// `--ttl`, `--flags`, `--pretty`: taken out of the words, until a `--`.
#[derive(Debug, Default)]
struct Options {
    ttl: Option<String>,
    flags: Option<u32>,
    is_pretty: bool,
}

impl Options {
    fn take(words: &mut Vec<Word>, kind: Option<Kind>, now: Seconds) -> Result<Self, String> {
        let mut options = Self::default();
        let stores = matches!(kind, Some(Kind::Store | Kind::Compare));
        let reads = matches!(kind, Some(Kind::Read { .. }));
        let mut at = 1;
        while (stores || reads) && at < words.len() {
            if words[at].is("--") {
                words.remove(at);
                break;
            }
            let value = words.get(at + 1).map(Word::text);
            if stores && words[at].is("--ttl") {
                let text = value.ok_or("--ttl needs a time behind it")?;
                options.ttl = Some(seconds(&text, now)?);
                words.drain(at..at + 2);
            } else if stores && words[at].is("--flags") {
                let number = value.and_then(|text| text.parse().ok());
                options.flags = Some(number.ok_or("--flags needs a number of 32 bits")?);
                words.drain(at..at + 2);
            } else if reads && words[at].is("--pretty") {
                options.is_pretty = true;
                words.remove(at);
            } else if !words[at].is_quoted && words[at].bytes.starts_with(b"--") {
                let name = words[at].text();
                return Err(format!(
                    "there is no option {name}; behind -- words begin as they like"
                ));
            } else {
                at += 1;
            }
        }
        Ok(options)
    }
}

/// Seconds as the protocol wants them. A bare number is passed on: it may be a date already.
fn seconds(text: &str, now: Seconds) -> Result<String, String> {
    if text.parse::<i64>().is_ok() {
        return Ok(text.to_owned());
    }
    let seconds = units::seconds(text)
        .ok_or_else(|| format!("'{text}' is no time; write 90, 90s, 10m, 12h or 7d"))?;
    if seconds <= RELATIVE_SECONDS_MAX {
        return Ok(seconds.to_string());
    }
    Ok(now.0.saturating_add_unsigned(seconds).to_string())
}

fn with_unit(word: &mut Word, now: Seconds) -> Result<(), String> {
    // What is no time at all is left to the server to refuse.
    let text = word.text();
    if text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
        word.bytes = seconds(&text, now)?.into_bytes();
    }
    Ok(())
}

/// The storage commands, in each of their forms.
fn storage(
    request: &mut Request,
    words: &[Word],
    is_compare: bool,
    source: Source,
    options: &Options,
    input: Option<PathBuf>,
) -> Result<(), String> {
    let number = |word: &Word| {
        let text = word.text();
        let is_number = !word.is_quoted && text.parse::<i128>().is_ok();
        is_number.then_some(text)
    };
    let name = words[0].text();
    let Some(key) = words.get(1) else {
        return Err(format!("{name} needs a key; see help {name}"));
    };
    request.keys = vec![key.bytes.clone()];
    // The classic form: flags, expiry, size, and for `cas` the id.
    let classic: Option<Vec<String>> = words[2..].iter().map(number).collect();
    if let Some(numbers) = classic.filter(|numbers| numbers.len() == 3 + usize::from(is_compare)) {
        if options.ttl.is_some() || options.flags.is_some() {
            return Err("--ttl and --flags do not go with FLAGS TIME SIZE".into());
        }
        sound(&numbers[0], &numbers[1], numbers.get(3).map(String::as_str))?;
        request.head = joined(&words[..4])?;
        if let Some(unique) = numbers.get(3) {
            request.tail = format!(" {unique}").into_bytes();
        }
        let size = size(&numbers[2])?;
        request.need = input.map_or(Need::Sized(size), Need::File);
        return Ok(());
    }
    let mut rest = &words[2..];
    if is_compare {
        let [unique, behind @ ..] = rest else {
            return Err("cas needs the id that gets has shown; see help cas".into());
        };
        let unique = number(unique).ok_or("a cas id is a number; see help cas")?;
        sound("0", "0", Some(&unique))?;
        request.tail = format!(" {unique}").into_bytes();
        rest = behind;
    }
    request.need = match (rest, input) {
        ([], None) => Need::Ask,
        ([], Some(path)) => Need::File(path),
        ([_, ..], Some(_)) => return Err("there is a value and a file; keep one".into()),
        ([word], None) => {
            let is_digits = !word.is_quoted && word.bytes.iter().all(u8::is_ascii_digit);
            if is_digits && source == Source::Line {
                Need::Sized(size(&word.text())?)
            } else {
                Need::Given(word.bytes.clone())
            }
        }
        _ => return Err(format!("put a value with spaces in quotes; see help {name}")),
    };
    let mut head = joined(&words[..2])?;
    let flags = options.flags.unwrap_or(0);
    let ttl = options.ttl.as_deref().unwrap_or("0");
    sound("0", ttl, None)?;
    head.extend_from_slice(format!(" {flags} {ttl}").as_bytes());
    request.head = head;
    Ok(())
}

fn meta_storage(
    request: &mut Request,
    words: &[Word],
    input: Option<PathBuf>,
) -> Result<(), String> {
    let [_, key, size_word, flags @ ..] = words else {
        return Err("ms needs a key and a size; see help ms".into());
    };
    let size = size(&size_word.text())?;
    if flags.len() > META_FLAGS_MAX {
        return Err(format!("ms takes at most {META_FLAGS_MAX} flags here; see help ms"));
    }
    request.keys = vec![key.bytes.clone()];
    request.head = joined(&words[..2])?;
    if !flags.is_empty() {
        request.tail = [b" ".to_vec(), joined(flags)?].concat();
    }
    request.need = input.map_or(Need::Sized(size), Need::File);
    Ok(())
}

/// Numbers of a line before a value have to be right: a server that refuses the line may take the value
/// for commands.
fn sound(flags: &str, time: &str, unique: Option<&str>) -> Result<(), String> {
    let wrong = |what: &str, range: &str| Err(format!("{what} does not fit; {range}"));
    if flags.parse::<u32>().is_err() {
        return wrong(&format!("the flags {flags}"), "flags are a number of 32 bits");
    }
    if time.parse::<i32>().is_err() {
        return wrong(&format!("the time {time}"), "times end in 2038; 0 is for ever");
    }
    if let Some(unique) = unique.filter(|unique| unique.parse::<u64>().is_err()) {
        return wrong(&format!("the id {unique}"), "a cas id is a number of 64 bits");
    }
    Ok(())
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse().ok().filter(|&size| size <= ITEM_BYTES_MAX);
    size.ok_or_else(|| {
        format!("{text} is no size, which is at most {ITEM_BYTES_MAX}; put a value in quotes")
    })
}

/// The words as one line of the protocol, which a space or a control character would break.
fn joined(words: &[Word]) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if word.bytes.is_empty() || word.bytes.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            let shown = word.bytes.escape_ascii();
            return Err(format!(
                "the protocol has no room for \"{shown}\": a space, a control \
                character or nothing"
            ));
        }
        if index > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(&word.bytes);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::words::split;

    fn shown(line: &str, source: Source) -> String {
        let now = Seconds(1_000_000_000);
        match split(line.as_bytes()).and_then(|line| plan(line, source, now)) {
            Err(_) => "error".into(),
            Ok(Plan::Send(request)) => {
                let value = match &request.need {
                    Need::Given(value) => Some(value.clone()),
                    Need::Sized(size) => Some(vec![b'.'; usize::try_from(*size).expect("small")]),
                    Need::Ask | Need::File(_) => Some(b"asked".to_vec()),
                    Need::Nothing => None,
                };
                let mut bytes = request.opening(value.as_deref());
                if let Some(value) = value {
                    bytes.extend(value);
                }
                format!("{:?} {}", request.shape, String::from_utf8_lossy(&bytes))
                    .trim_end()
                    .replace("\r\n", "|")
            }
            Ok(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn lines() {
        let cases = [
            ("get a b", "Items get a b"),
            ("set k hello", "Line set k 0 0 5|hello"),
            ("set k \"hello world\" --ttl 10m", "Line set k 0 600 11|hello world"),
            ("set k hello --ttl 60d --flags 7", "Line set k 7 1005184000 5|hello"),
            ("set k 3", "Line set k 0 0 3|..."),
            ("set k \"3\"", "Line set k 0 0 1|3"),
            ("set k -- --ttl", "Line set k 0 0 5|--ttl"),
            ("set k", "Line set k 0 0 5|asked"),
            ("set k < f", "Line set k 0 0 5|asked"),
            ("set k 1 2 3", "Line set k 1 2 3|..."),
            ("set k 1 -1 3 noreply", "Synced set k 1 -1 3 noreply|..."),
            ("cas k 1 2 3 4", "Line cas k 1 2 3 4|..."),
            ("set k -3", "Line set k 0 0 2|-3"),
            ("cas k 4 abc", "Line cas k 0 0 3 4|abc"),
            ("ms k 2 T0", "Meta ms k 2 T0|.."),
            ("ms k 2 T0 q", "Synced ms k 2 T0 q|.."),
            ("mg k v", "Meta mg k v"),
            ("touch k 10m", "Line touch k 600"),
            ("touch k -1", "Line touch k -1"),
            ("gat 1h a", "Items gat 3600 a"),
            ("delete noreply", "Line delete noreply"),
            ("set k noreply", "Line set k 0 0 7|noreply"),
            ("set k 2 noreply", "Synced set k 0 0 2 noreply|.."),
            ("flush_all noreply", "Synced flush_all noreply"),
            ("delete k noreply", "Synced delete k noreply"),
            ("stats settings", "Lines stats settings"),
            ("frobnicate a", "Synced frobnicate a"),
            ("quit", "Leave"),
            ("pretty on", "Pretty(true)"),
            ("help set", "Help(Some(\"set\"))"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line, Source::Line), expected, "{line}");
        }
        let wrong = [
            "",
            "set",
            "set k a b",
            "set k a < f",
            "get \"a b\"",
            "get \"a\\nb\"",
            "get a < f",
            "get a b > f",
            "set k v --ttl",
            "set k v --ttl x",
            "set k v --x",
            "set k 1 2 3 --ttl 1",
            "set k 9999999999",
            "cas k",
            "cas k x y",
            "ms k",
            "touch k 5x",
            "watch",
            "get ''",
            "get",
            "gat 5",
            "delete",
            "touch a",
            "incr a",
            "mg",
            "set k 0 0 -3",
            "set k -1 0 1",
            "set k 0 9999999999 1",
            "set k 0 99999999999999999999999999999999999999999 1",
            "set k v --ttl 9999999999",
            "cas k 99999999999999999999 v",
            "ms k 2 a b c d e f g h i j k l m n o p q",
        ];
        let long = "k".repeat(251);
        for line in ["get", "delete", "md", "gat 5"].map(|command| format!("{command} {long}")) {
            assert_eq!(shown(&line, Source::Line), "error", "{line}");
        }
        for line in [format!("set {long} v"), format!("ms {long} 2"), format!("get a {long}")] {
            assert_eq!(shown(&line, Source::Line), "error", "{line}");
        }
        assert_eq!(
            shown(&format!("get {}", &long[1..]), Source::Line),
            format!("Items get {}", &long[1..])
        );
        for line in wrong {
            assert_eq!(shown(line, Source::Line), "error", "{line}");
        }
    }

    #[test]
    fn on_the_command_line_a_number_is_a_value() {
        assert_eq!(shown("set k 3", Source::Arguments), "Line set k 0 0 1|3");
        assert_eq!(shown("set k 1 2 3", Source::Arguments), "Line set k 1 2 3|...");
    }
}
