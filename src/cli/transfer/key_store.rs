//! The old server's `key-store.json`: one object, each key with a string, or with an object that has
//! `value` and perhaps `size`.
//!
//! The file is read as a stream: one entry at a time is in memory, however large the file is.

use std::fmt;
use std::io::BufRead;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::bounded::{Clipped, Progress};
use super::{Halt, Parsed, Position, Record, Refusal, too_large};

/// Reads every entry, and gives it to `take`.
pub(crate) fn read<E>(
    source: impl BufRead,
    item_bytes_max: u64,
    mut take: impl FnMut(Parsed) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    // An escape writes one byte as six.
    let string_bytes_max = usize::try_from(item_bytes_max.saturating_mul(6)).unwrap_or(usize::MAX);
    let clipped = Clipped::new(source, string_bytes_max);
    let progress = clipped.progress();
    let mut parser = serde_json::Deserializer::from_reader(clipped);
    let mut stopped = None;
    let entries = Entries {
        progress: progress.clone(),
        item_bytes_max,
        take: &mut |parsed| match take(parsed) {
            Ok(()) => true,
            Err(error) => {
                stopped = Some(error);
                false
            }
        },
    };
    let result = parser.deserialize_map(entries).and_then(|()| parser.end());
    match (stopped, result) {
        (Some(error), _) => Err(Halt::Taker(error)),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(Halt::Broken(format!("byte {}: {error}", progress.bytes_read()))),
    }
}

const HALVED: &str = "has half of a surrogate pair (like \\ud800), which is no character";

struct Entries<'t> {
    progress: Progress,
    item_bytes_max: u64,
    /// False ends the reading.
    take: &'t mut dyn FnMut(Parsed) -> bool,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        for number in 1.. {
            let Some(key) = map.next_key::<String>()? else { break };
            let key = key.into_bytes();
            let (key_clipped, key_halved) = self.progress.changed();
            let content = map.next_value_seed(ContentSeed)?;
            let (value_clipped, value_halved) = self.progress.changed();
            let record = if key_clipped {
                Err(Refusal::new("its key is too long"))
            } else if key_halved {
                Err(Refusal::of(&key, format!("its key {HALVED}")))
            } else if value_clipped {
                Err(Refusal::of(&key, too_large(self.item_bytes_max)))
            } else if value_halved {
                Err(Refusal::of(&key, format!("its value {HALVED}")))
            } else {
                record(key, content)
            };
            let byte = self.progress.bytes_read();
            let position = Position::Entry { number, byte };
            if !(self.take)(Parsed { position, bytes_read: byte, record }) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

fn record(key: Vec<u8>, content: Content) -> Result<Record, Refusal> {
    let (value, size) = match content {
        Content::Text(value) => (value, None),
        Content::Object { value: Some(value), size } => (value, size),
        Content::Object { value: None, .. } => {
            return Err(Refusal::of(&key, "its object has no string \"value\""));
        }
        Content::Number(_) => {
            return Err(Refusal::of(&key, "its value is a number, not a string or an object"));
        }
        Content::Other(kind) => {
            return Err(Refusal::of(
                &key,
                format!("its value is {kind}, not a string or an object"),
            ));
        }
    };
    match size {
        // The old server counted what Python counts: bytes or characters.
        Some(Ok(size)) if size != value.len() as u64 && size != value.chars().count() as u64 => {
            let reason = format!("its size says {size}, its value has {} bytes", value.len());
            Err(Refusal::of(&key, reason))
        }
        Some(Err(kind)) => Err(Refusal::of(&key, format!("its size is {kind}, not a number"))),
        _ => Ok(Record::plain(key, value.into_bytes())),
    }
}

/// What stands behind a key, as far as it matters.
#[derive(Debug)]
enum Content {
    Text(String),
    Number(u64),
    Object { value: Option<String>, size: Option<Result<u64, &'static str>> },
    Other(&'static str),
}

impl Content {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn into_size(self) -> Result<u64, &'static str> {
        match self {
            Self::Text(text) => text.parse().map_err(|_| "a text"),
            Self::Number(number) => Ok(number),
            Self::Object { .. } => Err("an object"),
            Self::Other(kind) => Err(kind),
        }
    }
}

/// Reads a [`Content`].
struct ContentSeed;

impl<'de> DeserializeSeed<'de> for ContentSeed {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ContentSeed {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
        Ok(Content::Text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Other("a negative number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Other("a fraction"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Other("true or false"))
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Content::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let (mut value, mut size) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "value" => value = map.next_value_seed(ContentSeed)?.into_text(),
                "size" => size = Some(map.next_value_seed(ContentSeed)?.into_size()),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Content::Object { value, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> (Vec<Result<Record, Refusal>>, Option<String>) {
        let mut seen = Vec::new();
        let result = read(text.as_bytes(), 1_024, |parsed| {
            seen.push(parsed.record);
            Ok::<(), ()>(())
        });
        let broken = match result {
            Ok(()) => None,
            Err(Halt::Broken(why)) => Some(why),
            Err(Halt::Taker(())) => panic!("nothing stops it"),
        };
        (seen, broken)
    }

    #[test]
    fn strings_and_objects() {
        let text = r#" {"a": "x", "b": {"value": "äö", "size": 4, "more": [1, {}]},
            "c": {"size": "2", "value": "äö"}, "d": {"value": ""}, "": "\u00e9\n\ud83d\ude00"} "#;
        let (seen, broken) = entries(text);
        assert_eq!(broken, None);
        let plain = |key: &str, value: &str| Ok(Record::plain(key.into(), value.into()));
        let expected = [
            plain("a", "x"),
            plain("b", "äö"),
            plain("c", "äö"),
            plain("d", ""),
            plain("", "é\n😀"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_no_item_is_named_and_passed_over() {
        for (content, reason) in [
            ("1", "a number"),
            ("-1", "a negative number"),
            ("null", "null"),
            ("[[1],\"x\"]", "a list"),
            ("{}", "no string \"value\""),
            (r#"{"value": {"value": "x"}}"#, "no string \"value\""),
            (r#"{"value": "abc", "size": 4}"#, "its size says 4, its value has 3 bytes"),
            (r#"{"value": "abc", "size": null}"#, "its size is null"),
        ] {
            let (seen, broken) = entries(&format!("{{\"k\": {content}, \"l\": \"after\"}}"));
            assert_eq!(broken, None, "{content}");
            let [Err(refusal), Ok(after)] = &seen[..] else { panic!("{content}: {seen:?}") };
            assert!(refusal.reason.contains(reason), "{content}: {refusal:?}");
            assert_eq!((refusal.key.as_deref(), &after.key[..]), (Some(&b"k"[..]), &b"l"[..]));
        }
    }

    #[test]
    fn half_a_character_is_refused_where_it_stands() {
        for (text, key) in [
            (r#"{"k": "\ud800", "l": "after"}"#, "k"),
            (r#"{"k": {"value": "a\udc00"}, "l": "after"}"#, "k"),
            (r#"{"k\ud800x": "v", "l": "after"}"#, "k\u{fffd}x"),
        ] {
            let (seen, broken) = entries(text);
            assert_eq!(broken, None, "{text}");
            let [Err(refusal), Ok(after)] = &seen[..] else { panic!("{text}: {seen:?}") };
            assert!(refusal.reason.contains("surrogate"), "{text}: {refusal:?}");
            assert_eq!((refusal.key.as_deref(), &after.key[..]), (Some(key.as_bytes()), &b"l"[..]));
        }
    }

    #[test]
    fn what_is_longer_than_any_item_is_passed_over_in_little_memory() {
        let long = "x".repeat(100_000);
        for text in [
            format!(r#"{{"k": "{long}", "l": "after"}}"#),
            format!(r#"{{"{long}": "v", "l": "after"}}"#),
            format!(r#"{{"k": {{"value": "{long}"}}, "l": "after"}}"#),
            format!(r#"{{"k": {{"{long}": 1}}, "l": "after"}}"#),
            format!(r#"{{"k": "{}", "l": "after"}}"#, "é😀".repeat(20_000)),
            format!(r#"{{"k": "{}", "l": "after"}}"#, "\\ud83d\\ude00".repeat(20_000)),
        ] {
            let (seen, broken) = entries(&text);
            assert_eq!(broken, None);
            assert!(matches!(&seen[..], [Err(_), Ok(after)] if after.key == b"l"), "{seen:?}");
        }
    }

    #[test]
    fn a_broken_file_is_broken_somewhere() {
        for (text, count, place) in [
            (r#"{"a": "x", "b": "#, 1, "byte 16"),
            (r#"{"a": "x"} {"#, 1, "byte 12"),
            ("[1]", 0, "an object of keys"),
            ("", 0, "byte 0"),
            (r#"{"a": "x" "b": "y"}"#, 1, "byte 11"),
        ] {
            let (seen, broken) = entries(text);
            assert_eq!(seen.len(), count, "{text}");
            assert!(broken.as_ref().is_some_and(|why| why.contains(place)), "{text}: {broken:?}");
        }
    }
}
