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
