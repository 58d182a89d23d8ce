//! Names of contents.

use std::fmt;
use std::str::FromStr;

/// Serialises a wrapper of bytes as hexadecimal where people read, as the bytes elsewhere.
macro_rules! hexadecimal_in_json {
    ($name:ident, $len:literal) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}
pub(crate) use hexadecimal_in_json;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// In formats for people (JSON) it is a string of hexadecimal digits, in others 32 bytes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        hexadecimal_in_json!($name, 32);

        impl $name {
            /// Wraps the 32 bytes of a digest.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The digest as stored: 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Lower-case hexadecimal, 64 characters.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.to_hex())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                unhex::<32>(text).map(Self).ok_or(ParseDigestError)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseDigestError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                <[u8; 32]>::try_from(bytes).map(Self).map_err(|_| ParseDigestError)
            }
        }
    };
}

digest! {
    /// The BLAKE3 digest of a content: the name under which the store keeps it.
    BlobHash
}

digest! {
    /// The SHA-256 digest of a content, kept beside [`BlobHash`] for exchange with other tools.
    Sha256
}

impl BlobHash {
    /// The name of the empty content: BLAKE3 of nothing (R36).
    pub const EMPTY: Self = Self([
        0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b,
        0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
    ]);

    /// Hashes a content that is wholly in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

/// The text or byte string is not a 32-byte digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest of 64 hexadecimal digits")]
pub struct ParseDigestError;

/// Lower-case hexadecimal of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Parses exactly `N` bytes of hexadecimal, either case.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R36: the empty file is BLAKE3 of nothing, not SHA-256 of nothing.
    #[test]
    fn r36_empty_content_has_the_blake3_name_of_nothing() {
        assert_eq!(BlobHash::of(b""), BlobHash::EMPTY);
        assert!(BlobHash::EMPTY.to_hex().starts_with("af1349b9"));
        assert!(BlobHash::EMPTY.to_hex().ends_with("f3262"));
    }

    #[test]
    fn digests_are_hexadecimal_in_json() {
        let hash = BlobHash::of(b"x");
        let json = serde_json::to_string(&hash).expect("a string");
        assert_eq!(json, format!("\"{hash}\""));
        assert_eq!(serde_json::from_str::<BlobHash>(&json).expect("the same"), hash);
        assert!(serde_json::from_str::<BlobHash>("\"af\"").is_err());
    }

    #[test]
    fn hex_round_trips_and_refuses_other_lengths() {
        let hash = BlobHash::of(b"x");
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        assert_eq!(hash.to_hex().to_uppercase().parse(), Ok(hash));
        assert_eq!("af".parse::<BlobHash>(), Err(ParseDigestError));
        assert_eq!("zz".repeat(32).parse::<BlobHash>(), Err(ParseDigestError));
    }
}
