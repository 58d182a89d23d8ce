//! What is told of a container.

use std::fmt;

use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

/// One container around an image.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ContainerLayer {
    /// The format and its variant: `E01`, `qcow2 v3`, `VHD differencing`, `gzip`.
    pub format: String,
    /// Names of its files, escaped, the first one first.
    pub files: Vec<String>,
    /// Names of files that belong to it and were not found or not allowed, escaped.
    pub missing: Vec<String>,
    /// Length of its files together, in bytes.
    pub stored_bytes: u64,
    /// Length of what it holds, in bytes.
    pub image_bytes: u64,
    /// Unit in which it stores, in bytes; 0 if there is none.
    pub block_bytes: u64,
    /// How units are compressed; empty if they are not.
    pub compression: String,
    /// Digests and checksums of what it holds, as the container states them.
    pub hashes: Vec<StoredHash>,
    /// What else it says of itself, as name and value: who made it, when, for which case, its snapshots.
    pub facts: Vec<(String, String)>,
}

/// A digest that a container states of what it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredHash {
    /// The algorithm.
    pub algorithm: HashAlgorithm,
    /// Its value in lower-case hexadecimal digits.
    pub hex: String,
    /// What it covers, in bytes of the image.
    pub range: ByteRange,
    /// Parts of the range that it leaves out, ascending, not overlapping.
    #[serde(default)]
    pub leaves_out: Vec<ByteRange>,
}

/// An algorithm of which containers store results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashAlgorithm {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// CRC-32 of IEEE 802.3.
    Crc32,
    /// The rotating sum of 16-bit words of DiskCopy 4.2.
    DiskCopy,
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Crc32 => "CRC-32",
            Self::DiskCopy => "DiskCopy checksum",
        })
    }
}

impl ContainerLayer {
    /// Adds a fact, unless there is nothing to tell.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.facts.push((name.to_owned(), value));
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name from a container as it is shown.
pub(crate) fn shown(name: &[u8]) -> String {
    ntt_model::name::escape(name).into_owned()
}
