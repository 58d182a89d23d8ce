//! What was counted of the scans of a medium when its manifest was written: `media/<medium>/census.json`. Counting takes half a second for a million paths, and
//! a list of all media counts them all.
//!
//! A count is believed as long as the medium has not changed since, by the log and by its queue. It is a copy of what the catalogue tells: one that is missing,
//! damaged or outdated is none, and nothing is lost with it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::{Census, MediumRow, ScanRow};
use ntt_model::{MediumId, ScanId, Timestamp};
use ntt_report::media::Counted;
use ntt_report::selector::own_scans;
use serde::{Deserialize, Serialize};

use crate::{Archive, Error};

/// The file of one medium.
#[derive(Serialize, Deserialize)]
struct Counts {
    /// The medium's last change before it was counted.
    as_of: Option<Timestamp>,
    scans: Vec<Count>,
}

#[derive(Serialize, Deserialize)]
struct Count {
    scan: ScanId,
    /// When the scan was sealed: a number alone could be another scan's in another catalogue.
    sealed: Timestamp,
    census: Census,
}

fn path(root: &Path, medium: MediumId) -> PathBuf {
    Archive::medium_dir(root, medium).join("census.json")
}

/// Counts the current scans of a medium and keeps what was counted. `as_of` is the medium's last change, asked for before.
///
/// # Errors
///
/// When the catalogue fails, or the file cannot be written.
pub(crate) fn keep(archive: &Archive, medium: &MediumRow, as_of: Option<Timestamp>) -> Result<(), Error> {
    let catalogue = archive.catalogue();
    let mut scans = Vec::new();
    for (_, scan) in own_scans(catalogue, medium)? {
        scans.push(Count {
            scan: scan.id,
            sealed: scan.sealed,
            census: catalogue.census(scan.id)?,
        });
    }
    let path = path(archive.root(), medium.medium.id);
    let io = |error| Error::io("writing what was counted", &path)(error);
    let counts = serde_json::to_vec(&Counts { as_of, scans }).map_err(|error| io(error.into()))?;
    // Whole or not at all, but for a power cut, after which a torn one does not parse.
    let temporary = path.with_extension("json.tmp");
    fs::write(&temporary, counts).map_err(io)?;
    fs::rename(&temporary, &path).map_err(io)
}

/// Forgets what was counted of a medium: to be called by what changes it long before it tells the log.
///
/// # Errors
///
/// When the file is there and cannot be removed.
pub(crate) fn forget(archive: &Archive, medium: &MediumRow) -> Result<(), Error> {
    let path = path(archive.root(), medium.medium.id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("forgetting what was counted", &path)(error))
        }
        _ => Ok(()),
    }
}

/// What is known without counting.
#[derive(Debug, Default)]
pub struct Kept(HashMap<ScanId, (Timestamp, Census)>);

impl Kept {
    /// Reads what was counted of all media that have not changed since.
    ///
    /// # Errors
    ///
    /// When the catalogue fails.
    pub fn load(archive: &Archive) -> Result<Self, Error> {
        let catalogue = archive.catalogue();
        let changes = catalogue.last_changes()?;
        let mut kept = HashMap::new();
        for medium in catalogue.media()? {
            let read = fs::read(path(archive.root(), medium.medium.id)).ok();
            let counts: Option<Counts> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let current = counts.filter(|counts| counts.as_of == changes.of(medium.key));
            for count in current.into_iter().flat_map(|counts| counts.scans) {
                kept.insert(count.scan, (count.sealed, count.census));
            }
        }
        Ok(Self(kept))
    }
}

impl Counted for Kept {
    fn census(&self, scan: &ScanRow) -> Option<Census> {
        let (sealed, census) = self.0.get(&scan.id)?;
        (*sealed == scan.sealed).then(|| census.clone())
    }
}
