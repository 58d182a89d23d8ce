//! The health record beside an image: `IMAGE.health.json`.

use ntt_host::Disk;
use ntt_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::health::Health;
use crate::paths::Paths;
use crate::sink::{publish, read_file};
use crate::stats::Stats;
use crate::tree::Fill;

/// Version of the record. Fields are added, never changed or removed, under one version.
pub const RECORD_VERSION: u32 = 1;
/// A record larger than this is none.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// What a medium is filled with, and on how many bytes that rests (R13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FillRecord {
    /// The byte that all rescued bytes are; `None` if they differ, or there are none.
    pub byte: Option<u8>,
    /// How many bytes were looked at: all rescued ones.
    pub examined_bytes: u64,
}

impl FillRecord {
    pub(crate) fn new(fill: Fill, examined_bytes: u64) -> Self {
        Self {
            byte: match fill {
                Fill::Byte(byte) => Some(byte),
                _ => None,
            },
            examined_bytes,
        }
    }
}

/// Everything that a rescue says of a medium and its image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub record_version: u32,
    /// When the last run ended.
    pub time: Timestamp,
    /// What was read, for people.
    pub source: String,
    /// Its size and sectors.
    pub geometry: Geometry,
    /// How the last run ended.
    pub outcome: Outcome,
    /// Facts and verdict.
    pub health: Health,
    /// BLAKE3 of the image, unread bytes as zeros; hexadecimal.
    pub blake3: String,
    /// SHA-256 of the same, if it was asked for; hexadecimal.
    pub sha256: Option<String>,
    /// What the rescued bytes are filled with.
    pub fill: FillRecord,
    /// Bytes in the image that the map does not vouch for; see [`crate::sink::Digest`].
    pub unclaimed_bytes: u64,
    /// Places that an earlier run read, which the last one compared with the medium and found equal; 0 if it began anew.
    #[serde(default)]
    pub equal_places: u64,
}

impl Record {
    /// Writes the record, whole and durable.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn write(&self, disk: &dyn Disk, paths: &Paths) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        let mut temporary = paths.health.as_os_str().to_owned();
        temporary.push(".tmp");
        publish(disk, temporary.as_ref(), &paths.health, &bytes)
    }

    /// Reads the record of earlier runs; `None` if there is none that can be understood, which loses statistics and nothing else.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn read(disk: &dyn Disk, paths: &Paths) -> Result<Option<Self>, Error> {
        let bytes = read_file(disk, &paths.health, RECORD_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// The statistics of earlier runs.
    pub(crate) fn stats(disk: &dyn Disk, paths: &Paths) -> Result<Stats, Error> {
        let record = Self::read(disk, paths)?;
        Ok(record.and_then(|record| record.health.stats).unwrap_or_default())
    }
}
