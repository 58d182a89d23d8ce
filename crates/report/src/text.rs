//! Byte strings in JSON.

use base64::Engine;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A name or path for JSON: `{"text": "...", "base64": "..."}`.
///
/// `text` is the escaped form that a terminal shows ([`ntt_model::name::escape`]); `base64` holds the exact bytes and is there only when the
/// text is not exactly them. So a program takes `base64` if it is there and `text` if not, and never unescapes.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct ByteText(pub Vec<u8>);

impl ByteText {
    /// The escaped form.
    pub fn escaped(&self) -> String {
        ntt_model::name::escape(&self.0).into_owned()
    }
}

impl Serialize for ByteText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.escaped();
        let is_exact = text.as_bytes() == self.0;
        let mut map = serializer.serialize_map(Some(if is_exact { 1 } else { 2 }))?;
        map.serialize_entry("text", &text)?;
        if !is_exact {
            map.serialize_entry(
                "base64",
                &base64::engine::general_purpose::STANDARD.encode(&self.0),
            )?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(name: &[u8]) -> serde_json::Value {
        serde_json::to_value(ByteText(name.to_vec())).expect("a value")
    }

    #[test]
    fn r23_json_has_the_exact_bytes_wherever_the_text_is_escaped() {
        assert_eq!(json("plain é".as_bytes()), serde_json::json!({ "text": "plain é" }));
        assert_eq!(json(b"a\\n")["base64"], "YVxu");
        assert_eq!(json(b"\xff")["base64"], "/w==");
        assert_eq!(json(b"\x1b[2J")["base64"], "G1sySg==");
    }
}
