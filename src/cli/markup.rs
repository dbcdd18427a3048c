//! What is the same in every picture and page that we write: SVG for `bench`, HTML for `inspect report`.

use crate::cli::json::obeyed;

/// Writes a line to a text.
macro_rules! put {
    ($text:expr, $($rest:tt)*) => { writeln!($text, $($rest)*).expect("a text can grow") };
}
pub(crate) use put;

/// As text of XML or HTML, or as an attribute's value in double quotes. These have no place for control
/// characters, and what turns a text around would turn what follows it, too.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if obeyed(character) => escaped.push('?'),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("</script>\" x='&\u{1b}"), "&lt;/script&gt;&quot; x='&amp;?");
        assert_eq!(escaped("é\u{202e}a\u{200b}\u{2066}"), "é?a??");
    }
}
