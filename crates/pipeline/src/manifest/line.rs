//! The lines of a manifest.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::Error;

/// Version of the lines; raised when a reader of the earlier ones would go wrong.
pub(super) const SCHEMA: u32 = 1;

/// Writes lines and counts them.
pub(super) struct Lines<'w> {
    out: &'w mut dyn Write,
    place: &'w Path,
    count: u64,
}

impl<'w> Lines<'w> {
    pub(super) fn new(out: &'w mut dyn Write, place: &'w Path) -> Self {
        Self { out, place, count: 0 }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Writes one object: its kind under `line`, then the fields of `value`.
    pub(super) fn put(&mut self, line: &'static str, value: &impl Serialize) -> Result<(), Error> {
        let io = |error| Error::io("writing the manifest", self.place)(error);
        serde_json::to_writer(&mut self.out, &Tagged { line, value }).map_err(|error| io(error.into()))?;
        self.out.write_all(b"\n").map_err(io)?;
        self.count += 1;
        Ok(())
    }
}

#[derive(Serialize)]
struct Tagged<'a, T: Serialize> {
    line: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// Bytes of a name: as text when they are UTF-8, always as base64 otherwise, with an escaped form for people.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Text<'a> {
    /// Exact.
    Exact(&'a str),
    /// Not UTF-8.
    Bytes {
        /// The exact bytes.
        base64: String,
        /// For people.
        shown: String,
    },
}

impl<'a> Text<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Exact(text),
            Err(_) => Self::Bytes {
                base64: STANDARD.encode(bytes),
                shown: ntt_model::name::escape(bytes).into_owned(),
            },
        }
    }
}
