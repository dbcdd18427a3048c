//! JSON, indented. Only white space changes: numbers keep their digits and members their order, which a
//! detour through a parsed document would not promise.

use serde::de::IgnoredAny;

/// The same document with a member a line; none if it is no JSON.
pub(crate) fn indented(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut characters = text.chars().filter(|c| !c.is_ascii_whitespace() || *c == ' ').peekable();
    while let Some(c) = characters.next() {
        if in_string {
            out.push(c);
            in_string = is_escaped || c != '"';
            is_escaped = c == '\\' && !is_escaped;
            continue;
        }
        match c {
            ' ' => {}
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                while characters.next_if_eq(&' ').is_some() {}
                out.push(c);
                if let Some(closing) = characters.next_if(|&c| c == '}' || c == ']') {
                    out.push(closing);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(c),
        }
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        let cases = [
            ("{}", Some("{}")),
            ("[ ]", Some("[]")),
            ("1.50", Some("1.50")),
            (
                "{\"b\":1e400,\"a\":[1, 2]}",
                Some("{\n  \"b\": 1e400,\n  \"a\": [\n    1,\n    2\n  ]\n}"),
            ),
            (r#"{"a \"{": "x,\\"}"#, Some("{\n  \"a \\\"{\": \"x,\\\\\"\n}")),
            ("\"a  b\"", Some("\"a  b\"")),
            ("{", None),
            ("hello", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(indented(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
