//! How keys and values stand in JSON, in every tool: as text where they are UTF-8, else in base64 under
//! a name that says so, `key_base64` and `value_base64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The bytes as text; or as base64, where they are none.
pub(crate) fn text_or_base64(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| STANDARD.encode(bytes))
}

/// Bytes in an object: `name` where they are text, else `name_base64`.
pub(crate) fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match text_or_base64(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(base64) => object.insert(format!("{name}_base64"), base64.into()),
    };
}

/// A value in one line that a terminal may be shown: what it would obey, or what would hide or reorder
/// the rest, is escaped. To a reader of JSON that makes no difference.
pub(crate) fn line(value: &Value) -> String {
    let written = value.to_string();
    let mut line = String::with_capacity(written.len() + 1);
    // Outside of strings JSON has none of these.
    for character in written.chars() {
        if obeyed(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str("\\u");
                line.extend([12, 8, 4, 0].map(|shift| digit(*unit >> shift)));
            }
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

fn digit(number: u16) -> char {
    char::from_digit(u32::from(number) & 15, 16).unwrap_or('?')
}

/// Whether a terminal obeys this character, or shows others in another order or not at all because of
/// it: control characters, and Unicode's format characters.
pub(crate) fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_harmless_and_means_the_same() {
        let value = Value::from("a\u{1b}b\u{9b}c\u{202e}d\u{e0041}e\u{7f} grüße 鍵 \\ \" ");
        let written = line(&value);
        assert!(!written.trim_end().chars().any(obeyed), "{written}");
        for part in ["\\u001b", "\\u009b", "\\u202e", "\\udb40\\udc41", "\\u007f", "grüße 鍵"] {
            assert!(written.contains(part), "{part}: {written}");
        }
        assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON"), value);
    }
}
