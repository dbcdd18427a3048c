//! The configuration file: TOML, flat, its keys the long names of the flags.
//!
//! A file means all of what it says or nothing: whatever is not understood is an error that names the
//! line. It is read only where somebody names it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::options::{Id, ROWS};
use super::raw::{OFF, ON, Origin, Raw};
use super::row::{Kind, Row};
use super::values::{Blame, Error, nearest};

/// Bytes of a file. Every option with a path of its own would fit many times.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file that was named.
pub(super) fn read(path: &Path) -> Result<Raw, Error> {
    let cannot = |why: String| Error {
        blame: Blame::File,
        message: format!("cannot read {}: {why}; see --config", path.display()),
    };
    // A pipe would keep whoever reloads waiting, to be opened as well as to be read.
    let file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| cannot(error.to_string()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(cannot("it is no regular file".to_owned()));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(cannot(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    parse(path, &text)
}

/// Reads a file's text.
pub(super) fn parse(path: &Path, text: &str) -> Result<Raw, Error> {
    let reading = Reading { path: path.into(), text };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        let what = error.message().replace('\n', ", ");
        reading.wrong(at, &format!("{what}; write lines such as max-disk = \"10g\""))
    })?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut raw = Raw::default();
    for (key, value) in &entries {
        reading.entry(key, value, &mut raw)?;
    }
    Ok(raw)
}

struct Reading<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl Reading<'_> {
    fn entry(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        raw: &mut Raw,
    ) -> Result<(), Error> {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        if matches!(value.get_ref(), DeValue::Table(_)) {
            let what = format!("{name:?} is a section, and there are none");
            return Err(self.wrong(at, &format!("{what}; write its keys without it")));
        }
        let row = self.row(name, at)?;
        if let Some(Origin::File { line, .. }) = raw.last(row.id).map(|written| &written.origin) {
            let what = format!("{name} is said in line {line} already; keep one of them");
            return Err(self.wrong(at, &what));
        }
        for text in texts(row, value.get_ref()).map_err(|accepted| {
            let shown = self.text.get(value.span()).and_then(|text| text.lines().next());
            let shown: String = shown.unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect();
            self.wrong(at, &format!("{name} cannot be {shown}; give {accepted}"))
        })? {
            raw.push(row.id, self.origin(at), text);
        }
        Ok(())
    }

    fn row(&self, name: &str, at: usize) -> Result<&'static Row, Error> {
        if let Some(row) = Row::named(name) {
            if row.in_file {
                return Ok(row);
            }
            let what = format!("{name} cannot stand in a file; give it as {row}");
            return Err(self.wrong(at, &what));
        }
        let known = ROWS.iter().filter(|row| row.in_file);
        let known = known.flat_map(|row| [Some(row.name), row.alias]).flatten();
        let advice = match nearest(&name.replace('_', "-"), known) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "litecached config show lists all".to_owned(),
        };
        Err(self.wrong(at, &format!("there is no option {name:?}; {advice}")))
    }

    fn origin(&self, at: usize) -> Origin {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        Origin::File { path: Arc::clone(&self.path), line }
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        let origin = self.origin(at);
        Error { message: format!("{origin}: {what}"), blame: Blame::Writer(origin) }
    }
}

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// What a value says, as a flag would say it; or what would be accepted.
fn texts(row: &Row, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match (row.kind, value) {
        (Kind::Switch, DeValue::Boolean(on)) => Ok(vec![if *on { ON } else { OFF }.to_owned()]),
        (Kind::Switch, _) => Err("true or false"),
        (Kind::List(_), DeValue::Array(values)) if !values.is_empty() => values
            .iter()
            .map(|value| scalar(row, value.get_ref()).ok_or("a text, or a list of texts"))
            .collect(),
        (Kind::List(_), value) => {
            scalar(row, value).map(|text| vec![text]).ok_or("a text, or a list of texts")
        }
        (Kind::Count, value) => scalar(row, value).map(|text| vec![text]).ok_or("a whole number"),
        (Kind::Value(_), value) => {
            scalar(row, value).map(|text| vec![text]).ok_or("a text in quotes, or a whole number")
        }
    }
}

fn scalar(row: &Row, value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => integer(row, number),
        _ => None,
    }
}

/// An access mode is octal however it is written; other numbers are what TOML says they are.
fn integer(row: &Row, number: &DeInteger<'_>) -> Option<String> {
    if row.id == Id::UnixMask && [8, 10].contains(&number.radix()) {
        return Some(number.as_str().to_owned());
    }
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn read_text(text: &str) -> Result<Vec<String>, String> {
        let raw = parse(Path::new("/etc/x.toml"), text).map_err(|error| error.message)?;
        Ok(raw
            .iter()
            .map(|written| {
                let text = written.text.to_str().expect("TOML is UTF-8");
                format!("{} {} {text}", written.origin, written.id.row().name)
            })
            .collect())
    }

    #[test]
    fn what_it_says() {
        let cases: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("# port = 1\n\n", &[]),
            ("port = 60_000", &["/etc/x.toml line 1 port 60000"]),
            ("\nport = \"-1\"", &["/etc/x.toml line 2 port -1"]),
            ("port = -1", &["/etc/x.toml line 1 port -1"]),
            ("max-disk = \"10g\"", &["/etc/x.toml line 1 max-disk 10g"]),
            ("max-disk = 0x400", &["/etc/x.toml line 1 max-disk 1024"]),
            ("unix-mask = 0o770", &["/etc/x.toml line 1 unix-mask 770"]),
            ("memory-file = \"x\"", &["/etc/x.toml line 1 db x"]),
            (
                "disable-flush-all = true\ndisable-cas = false",
                &[
                    "/etc/x.toml line 1 disable-flush-all true",
                    "/etc/x.toml line 2 disable-cas false",
                ],
            ),
            ("verbose = 2", &["/etc/x.toml line 1 verbose 2"]),
            (
                "listen = [\n  \"127.0.0.1\",\n  \"::1\",\n]",
                &["/etc/x.toml line 1 listen 127.0.0.1", "/etc/x.toml line 1 listen ::1"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                read_text(text),
                Ok(expected.iter().map(|&t| t.to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_refused_names_its_line_and_what_would_do() {
        let cases = [
            (
                "port = 1\nmax-dsk = 1",
                "line 2: there is no option \"max-dsk\"; did you mean max-disk?",
            ),
            ("max_disk = 1", "line 1: there is no option \"max_disk\"; did you mean max-disk?"),
            (
                "fooble = 1",
                "line 1: there is no option \"fooble\"; litecached config show lists all",
            ),
            ("p = 1", "line 1: there is no option \"p\"; "),
            ("[server]\nport = 1", "line 1: \"server\" is a section, and there are none; "),
            ("\nserver.port = 1", "line 2: \"server\" is a section, and there are none; "),
            ("port = 1\nport = 2", "line 2: duplicate key; "),
            ("db = \"a\"\nmemory-file = \"b\"", "line 2: memory-file is said in line 1 already; "),
            ("port = 1.5", "line 1: port cannot be 1.5; give a text in quotes, or a whole number"),
            ("port = [1]", "line 1: port cannot be [1]; give a text in quotes"),
            ("listen = []", "line 1: listen cannot be []; give a text, or a list of texts"),
            ("listen = [true]", "line 1: listen cannot be [true]; give a text"),
            ("disable-cas = 1", "line 1: disable-cas cannot be 1; give true or false"),
            ("disable-cas = \"yes\"", "line 1: disable-cas cannot be \"yes\"; give true or false"),
            ("verbose = true", "line 1: verbose cannot be true; give a whole number"),
            ("config = \"x\"", "line 1: config cannot stand in a file; give it as --config"),
            ("port = 1\nlisten\n", "line 2: "),
            ("[[listen]]\nx = 1", "line 1: listen cannot be "),
            ("listen = [\n[],\n]", "line 1: listen cannot be [; give a text"),
            ("port = ", "line 1: "),
            ("max-disk = 10g", "line 1: "),
        ];
        for (text, beginning) in cases {
            let message = read_text(text).expect_err(text);
            let said = message.strip_prefix("/etc/x.toml ").expect("the place");
            assert!(said.starts_with(beginning), "{text}: {message}");
            assert_eq!(message.matches("; ").count(), 1, "{text}: {message}");
            assert!(!message.contains('\n'), "{text}: {message:?}");
        }
    }

    proptest::proptest! {
        /// Whatever somebody writes is read or refused in one line.
        #[test]
        fn any_text(pieces in proptest::collection::vec(piece(), 0..12)) {
            if let Err(message) = read_text(&pieces.concat()) {
                proptest::prop_assert!(message.starts_with("/etc/x.toml line "), "{message}");
                proptest::prop_assert!(!message.contains('\n'), "{message:?}");
            }
        }
    }

    fn piece() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::Strategy;
        let words = [
            "port",
            "listen",
            "disable-cas",
            "verbose",
            " = ",
            "=",
            "1",
            "-1",
            "0o77",
            "1.5",
            "true",
            "\"",
            "'",
            "\"x\"",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            ",",
            "\n",
            ".",
            "#",
            "\"\"\"",
            "\u{e9}",
        ];
        proptest::prop_oneof![
            4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
            1 => "[ -~\u{e9}\n]{0,6}",
        ]
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let large = folder.path().join("large");
        let size = usize::try_from(FILE_BYTES_MAX).expect("small");
        std::fs::write(&large, vec![b'#'; size + 1]).expect("the folder can be written");
        let bytes = folder.path().join("bytes");
        std::fs::write(&bytes, b"\xff").expect("the folder can be written");
        for (path, why) in [
            (PathBuf::from("/nowhere/x.toml"), "No such file"),
            (folder.path().to_owned(), "it is no regular file"),
            (large, "more than 1048576 bytes"),
            (bytes, "UTF-8"),
        ] {
            let error = read(&path).expect_err("unreadable");
            assert_eq!(error.blame, Blame::File);
            assert!(error.message.contains(path.to_str().expect("UTF-8")), "{}", error.message);
            assert!(error.message.contains(why), "{}", error.message);
        }
    }
}
