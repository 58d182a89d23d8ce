//! The lines of a manifest: what is written and what a rebuild reads.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ntt_catalogue::record::{AttemptRecord, ResultRecord};
use ntt_catalogue::rows::{
    BlobRow, DirRow, EventRow, Evidence, FindingRow, Image, InodeRow, MediumRow, ScanRow, VolumeRow,
};
use ntt_model::entry::Allocation;
use ntt_model::{ByteRange, Kind, Namespace, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Version of the lines; raised when a reader of the earlier ones would go wrong. Each manifest has the oldest that tells all of it: one that does not know that a medium can be
/// withdrawn would count it.
pub(crate) const SCHEMA: u32 = 2;

/// The version that the manifest of a medium needs.
pub(crate) const fn schema_of(medium: &MediumRow) -> u32 {
    if medium.withdrawn.is_some() { SCHEMA } else { 1 }
}

/// One line of a manifest; `docs/design/manifest.md` describes them.
#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// The first line.
    Medium(Box<MediumLine>),
    /// A volume.
    Volume(Box<VolumeLine>),
    /// A finding.
    Finding(FindingRow),
    /// Something that the tool did.
    Event(EventRow),
    /// A scan; the lines up to its end belong to it.
    Scan(Box<ScanRow>),
    /// A content of the scan.
    Blob(BlobLine),
    /// A directory of the scan; the paths up to the next one are its names.
    Directory(DirectoryLine),
    /// A name.
    Path(Box<PathLine>),
    /// An inode.
    Inode(Box<InodeRow>),
    /// What became of a stream.
    Result(ResultRecord),
    /// A failed attempt on a stream.
    Attempt(AttemptRecord),
    /// Everything of the scan was told.
    ScanEnd,
    /// The last line; a manifest without it was cut short.
    End {
        /// Lines before this one.
        lines: u64,
    },
}

/// What is known of the medium as a whole.
#[derive(Serialize, Deserialize)]
pub(crate) struct MediumLine {
    pub(crate) schema: u32,
    /// The last change that this manifest tells of.
    pub(crate) as_of: Option<Timestamp>,
    /// The last event of the medium itself that it tells of; manifests of old do not say it.
    #[serde(default)]
    pub(crate) changed: Option<Timestamp>,
    pub(crate) medium: MediumRow,
    /// The medium's id as it is shown.
    pub(crate) id: String,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) image: Option<Image>,
}

/// A volume.
#[derive(Serialize, Deserialize)]
pub(crate) struct VolumeLine {
    #[serde(flatten)]
    pub(crate) row: VolumeRow,
    /// `MEDIUM-ID/NUMBER` of the volume of which this is a copy: the paths stand in that medium's manifest (R3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copy_of: Option<String>,
}

/// A content, its digests as hexadecimal digits and as the catalogue's row.
#[derive(Serialize, Deserialize)]
pub(crate) struct BlobLine {
    pub(crate) blob: String,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) content_type: Option<String>,
    #[serde(with = "ntt_model::time::optional_nanos")]
    pub(crate) verified_ns: Option<Timestamp>,
    pub(crate) bad: bool,
}

impl From<&BlobRow> for BlobLine {
    fn from(row: &BlobRow) -> Self {
        Self {
            blob: row.hash.to_hex(),
            size_bytes: row.size_bytes,
            sha256: row.sha256.map(|digest| digest.to_hex()),
            content_type: row.content_type.clone(),
            verified_ns: row.verified,
            bad: row.bad,
        }
    }
}

impl BlobLine {
    /// The row that the line was written from.
    pub(crate) fn row(&self) -> Result<BlobRow, String> {
        let digest = |error: ntt_model::blob::ParseDigestError| error.to_string();
        let sha256 = self.sha256.as_deref().map(str::parse).transpose();
        Ok(BlobRow {
            hash: self.blob.parse().map_err(digest)?,
            size_bytes: self.size_bytes,
            sha256: sha256.map_err(digest)?,
            content_type: self.content_type.clone(),
            verified: self.verified_ns,
            bad: self.bad,
        })
    }
}

/// A directory at the moment the scan entered it.
#[derive(Serialize, Deserialize)]
pub(crate) struct DirectoryLine {
    pub(crate) inode: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: Text,
    pub(crate) namespace: Namespace,
}

impl From<&DirRow> for DirectoryLine {
    fn from(row: &DirRow) -> Self {
        Self {
            inode: row.inode,
            parent: row.parent,
            name: Text::of(&row.name),
            namespace: row.namespace,
        }
    }
}

/// What a restore script needs of one name; the facts of the inode are repeated, and compress to nothing.
#[derive(Serialize, Deserialize)]
pub(crate) struct PathLine {
    pub(crate) volume: u32,
    pub(crate) scan: i64,
    pub(crate) id: i64,
    pub(crate) path: Text,
    pub(crate) inode: u64,
    pub(crate) kind: Option<Kind>,
    pub(crate) size_bytes: u64,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) modified: Option<String>,
    #[serde(with = "ntt_model::time::optional_nanos")]
    pub(crate) modified_ns: Option<Timestamp>,
    pub(crate) target: Option<Text>,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) blob: Option<String>,
    pub(crate) missing: Vec<ByteRange>,
    pub(crate) namespace: Namespace,
    pub(crate) alternate: bool,
    pub(crate) allocation: Allocation,
    pub(crate) rule: Option<String>,
}

/// How much text is gathered: a line is written in fragments of a few bytes, and a call of the compressor costs as much as many of them.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes lines and counts them.
pub(super) struct Lines<'w> {
    out: &'w mut dyn Write,
    place: &'w Path,
    buffer: Vec<u8>,
    count: u64,
}

impl<'w> Lines<'w> {
    pub(super) fn new(out: &'w mut dyn Write, place: &'w Path) -> Self {
        Self {
            out,
            place,
            buffer: Vec::new(),
            count: 0,
        }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn put(&mut self, line: &Line) -> Result<(), Error> {
        serde_json::to_writer(&mut self.buffer, line)
            .map_err(|error| Error::io("writing the manifest", self.place)(error.into()))?;
        self.buffer.push(b'\n');
        self.count += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(Error::io("writing the manifest", self.place))
    }

    /// Writes what was gathered; returns how many lines there were.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        self.flush()?;
        Ok(self.count)
    }
}

/// Bytes of a name: as text when they are UTF-8, always as base64 otherwise, with an escaped form for people.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    /// Exact.
    Exact(String),
    /// Not UTF-8.
    Bytes {
        /// The exact bytes.
        base64: String,
        /// For people.
        shown: String,
    },
}

impl Text {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Exact(text.to_owned()),
            Err(_) => Self::Bytes {
                base64: STANDARD.encode(bytes),
                shown: ntt_model::name::escape(bytes).into_owned(),
            },
        }
    }

    /// The exact bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Exact(text) => Ok(text.as_bytes().to_vec()),
            Self::Bytes { base64, .. } => STANDARD.decode(base64).map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn r25_every_name_survives_its_line(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let line = serde_json::to_string(&Text::of(&bytes)).unwrap();
            let read: Text = serde_json::from_str(&line).unwrap();
            proptest::prop_assert_eq!(read.bytes().unwrap(), bytes);
        }
    }
}
