//! Identifiers. A [`MediumId`] is what people and manifests use; the integer keys are surrogates inside one catalogue.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::blob::{hex, hexadecimal_in_json, unhex};

/// The identity of a medium: 128 random bits, assigned once (R2). Shown, and written in JSON, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediumId([u8; 16]);

hexadecimal_in_json!(MediumId, 16);

impl MediumId {
    /// Wraps 16 bytes, normally fresh from the random number generator.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id as stored: 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MediumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MediumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediumId({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a medium id of 32 hexadecimal digits")]
pub struct ParseMediumIdError;

impl FromStr for MediumId {
    type Err = ParseMediumIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex::<16>(text).map(Self).ok_or(ParseMediumIdError)
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

key! {
    /// Surrogate key of a medium inside one catalogue.
    MediumKey
}
key! {
    /// Surrogate key of a volume inside one catalogue.
    VolumeKey
}
key! {
    /// Surrogate key of a scan (one enumeration of a volume) inside one catalogue.
    ScanId
}
key! {
    /// Surrogate key of a chunk (a unit of copy work) inside one catalogue.
    ChunkId
}
key! {
    /// Surrogate key of a worker inside one catalogue.
    WorkerId
}
