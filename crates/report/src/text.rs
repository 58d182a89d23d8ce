//! Byte strings in JSON.

use base64::Engine;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A name or path for JSON: `{"text": "...", "base64": "..."}`.
///
/// `text` is the escaped form that a terminal shows ([`ntt_model::name::escape`]); `base64` holds the exact bytes and is there only when they
/// are not UTF-8.
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
        let is_text = std::str::from_utf8(&self.0).is_ok();
        let mut map = serializer.serialize_map(Some(if is_text { 1 } else { 2 }))?;
        map.serialize_entry("text", &self.escaped())?;
        if !is_text {
            map.serialize_entry(
                "base64",
                &base64::engine::general_purpose::STANDARD.encode(&self.0),
            )?;
        }
        map.end()
    }
}
