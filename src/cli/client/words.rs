//! A typed line to words, in the manner of a shell.
//!
//! A quote counts only at the beginning of a word, so that memcached's own lines mean here what they
//! mean there. `< file` and `> file` are taken out. Words are bytes: `"\x00"` is one.

use std::path::PathBuf;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) bytes: Vec<u8>,
    /// Whether it was in quotes: then a number is a value and not a size.
    pub(crate) is_quoted: bool,
}

impl Word {
    pub(crate) fn is(&self, text: &str) -> bool {
        !self.is_quoted && self.bytes == text.as_bytes()
    }

    /// As text for a message or a number; what is no text is replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A line's words, and the files named in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) words: Vec<Word>,
    /// `< file`
    pub(crate) input: Option<PathBuf>,
    /// `> file`
    pub(crate) output: Option<PathBuf>,
}

/// Splits a line without its end.
pub(crate) fn split(line: &[u8]) -> Result<Line, String> {
    let mut result = Line::default();
    let mut rest = line.trim_ascii();
    while let Some(&first) = rest.first() {
        if first == b'<' || first == b'>' {
            let (word, after) = word(rest[1..].trim_ascii_start())?;
            let name = String::from_utf8(word.bytes).map_err(|_| "a file's name is not text")?;
            if name.is_empty() {
                return Err(format!("there is no file behind {}", first as char));
            }
            let place = if first == b'<' { &mut result.input } else { &mut result.output };
            if place.replace(name.into()).is_some() {
                return Err(format!("{} stands there twice", first as char));
            }
            rest = after;
        } else {
            let (word, after) = word(rest)?;
            result.words.push(word);
            rest = after;
        }
        rest = rest.trim_ascii_start();
    }
    Ok(result)
}

/// The first word, and what follows it.
fn word(line: &[u8]) -> Result<(Word, &[u8]), String> {
    match line.first() {
        Some(b'"') => escaped(&line[1..]),
        Some(b'\'') => {
            let end = line[1..].iter().position(|&byte| byte == b'\'').ok_or(UNCLOSED)? + 1;
            closed(line[1..end].to_vec(), &line[end + 1..])
        }
        _ => {
            let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
            Ok((Word { bytes: line[..end].to_vec(), is_quoted: false }, &line[end..]))
        }
    }
}

const UNCLOSED: &str = "a quote is not closed";

/// Behind a double quote: `\n`, `\r`, `\t`, `\0`, `\xHH`, and a backslash before anything else.
fn escaped(line: &[u8]) -> Result<(Word, &[u8]), String> {
    let mut bytes = Vec::new();
    let mut at = 0;
    loop {
        match line.get(at).ok_or(UNCLOSED)? {
            b'"' => return closed(bytes, &line[at + 1..]),
            b'\\' => {
                at += 1;
                bytes.push(match line.get(at).ok_or(UNCLOSED)? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0' => 0,
                    b'x' => {
                        let digits = line.get(at + 1..at + 3).unwrap_or_default();
                        at += 2;
                        let digits = std::str::from_utf8(digits).ok();
                        let byte = digits.filter(|digits| !digits.starts_with('+'));
                        byte.and_then(|digits| u8::from_str_radix(digits, 16).ok())
                            .ok_or("\\x needs two hex digits behind it")?
                    }
                    &other => other,
                });
            }
            &byte => bytes.push(byte),
        }
        at += 1;
    }
}

fn closed(bytes: Vec<u8>, rest: &[u8]) -> Result<(Word, &[u8]), String> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => {
            Err("there is something directly behind a closing quote".into())
        }
        _ => Ok((Word { bytes, is_quoted: true }, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let cases: &[(&str, &str)] = &[
            ("", ""),
            ("  get  k ", "get|k"),
            ("set k \"hello world\"", "set|k|'hello world'"),
            (r#"set k "a\"b\\\n\x00\xff""#, r"set|k|'a\x22b\x5c\n\x00\xff'"),
            ("set k 'it\\'", r"set|k|'it\x5c'"),
            ("get it's a\"b", r"get|it\x27s|a\x22b"),
            ("set k ''", "set|k|''"),
            ("set k < a.txt", "set|k|<a.txt"),
            ("get k >\"b c\"", "get|k|>b c"),
            ("get a<b", "get|a<b"),
            ("set k \"a", "error"),
            ("set k 'a", "error"),
            ("set k \"a\"b", "error"),
            ("set k \"\\x1\"", "error"),
            ("set k \"\\", "error"),
            ("get k >", "error"),
            ("get k > a > b", "error"),
        ];
        for (line, expected) in cases {
            let shown = split(line.as_bytes()).map_or("error".into(), |line| {
                let mut parts: Vec<String> = line
                    .words
                    .iter()
                    .map(|word| {
                        let text = word.bytes.escape_ascii().to_string();
                        let text = text.replace("\\\"", "\\x22").replace("\\'", "\\x27");
                        let text = text.replace("\\\\", "\\x5c");
                        if word.is_quoted { format!("'{text}'") } else { text }
                    })
                    .collect();
                parts.extend(line.input.map(|path| format!("<{}", path.display())));
                parts.extend(line.output.map(|path| format!(">{}", path.display())));
                parts.join("|")
            });
            assert_eq!(shown, *expected, "{line}");
        }
    }
}
