//! The numbers of rows in a catalogue that is made again.
//!
//! They are those of the manifests, unless two manifests have the same one for different things: a catalogue that was put back from an old copy gave numbers away that others had.
//! Then the manifest that comes later gets new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::path::Path;

use ntt_catalogue::rows::{EventRow, FindingRow, MediumRow, ScanRow};
use ntt_model::{MediumId, MediumKey, ScanId, VolumeKey};

use crate::manifest::{Line, Manifest, VolumeLine};
use crate::{Error, HostPath, Interrupt};

/// How the numbers of each manifest are to be read.
#[derive(Debug, Default)]
pub(super) struct Keys {
    of_medium: BTreeMap<MediumId, Renumbering>,
    /// Volumes by `MEDIUM-ID/NUMBER`, as they are numbered now; empty if nothing is renumbered.
    volumes: BTreeMap<String, VolumeKey>,
}

/// The numbers of one manifest that are others now.
#[derive(Debug, Default)]
pub(super) struct Renumbering {
    medium: BTreeMap<MediumKey, MediumKey>,
    volumes: BTreeMap<VolumeKey, VolumeKey>,
    scans: BTreeMap<ScanId, ScanId>,
}

impl Keys {
    /// Reads what the manifests begin with, and all of them if two of them have the same numbers.
    pub(super) fn of(manifests: &[(MediumId, HostPath)], interrupt: &Interrupt) -> Result<Self, Error> {
        let mut used = Vec::new();
        for (id, path) in manifests {
            interrupt.check()?;
            used.push((*id, Used::at_the_beginning_of(path.as_path())?));
        }
        if !are_shared(used.iter().map(|(_, used)| &used.media))
            && !are_shared(used.iter().map(|(_, used)| &used.volumes))
        {
            return Ok(Self::default());
        }
        for ((_, path), (_, used)) in manifests.iter().zip(&mut used) {
            used.scans = scans_of(path.as_path(), interrupt)?;
        }
        let media = renumbered(used.iter().map(|(_, used)| &used.media), |key| key.0, MediumKey);
        let volumes = renumbered(used.iter().map(|(_, used)| &used.volumes), |key| key.0, VolumeKey);
        let scans = renumbered(used.iter().map(|(_, used)| &used.scans), |id| id.0, ScanId);
        let mut keys = Self::default();
        let numbers = media.into_iter().zip(volumes).zip(scans);
        for ((id, used), ((medium, volumes), scans)) in used.into_iter().zip(numbers) {
            for (name, key) in used.names {
                keys.volumes.insert(name, changed(&volumes, key));
            }
            let renumbering = Renumbering {
                medium,
                volumes,
                scans,
            };
            keys.of_medium.insert(id, renumbering);
        }
        Ok(keys)
    }

    /// The numbers of a medium's manifest.
    pub(super) fn of_medium(&self, id: MediumId) -> Option<&Renumbering> {
        self.of_medium.get(&id)
    }

    /// A volume as it is numbered now.
    pub(super) fn volume(&self, id: MediumId, line: &mut VolumeLine) {
        let Some(keys) = self.of_medium(id) else {
            return;
        };
        line.row.key = changed(&keys.volumes, line.row.key);
        line.row.medium = changed(&keys.medium, line.row.medium);
        // The number of a volume of another medium is one of that medium's manifest.
        if let Some(original) = line.copy_of.as_ref().and_then(|name| self.volumes.get(name)) {
            line.row.volume.same_as = Some(*original);
        }
    }
}

impl Renumbering {
    /// Whether anything of the medium is numbered otherwise than its manifest says.
    pub(super) fn is_some(&self) -> bool {
        !(self.medium.is_empty() && self.volumes.is_empty() && self.scans.is_empty())
    }

    pub(super) fn medium(&self, row: &mut MediumRow) {
        row.key = changed(&self.medium, row.key);
    }

    pub(super) fn finding(&self, row: &mut FindingRow) {
        row.volume = row.volume.map(|key| changed(&self.volumes, key));
        row.scan = row.scan.map(|id| changed(&self.scans, id));
    }

    pub(super) fn event(&self, row: &mut EventRow) {
        row.medium = row.medium.map(|key| changed(&self.medium, key));
    }

    pub(super) fn scan(&self, row: &mut ScanRow) {
        row.id = changed(&self.scans, row.id);
        row.scan.volume = changed(&self.volumes, row.scan.volume);
        row.scan.previous = row.scan.previous.map(|id| changed(&self.scans, id));
    }
}

fn changed<K: Copy + Ord>(numbers: &BTreeMap<K, K>, key: K) -> K {
    numbers.get(&key).copied().unwrap_or(key)
}

/// The numbers that a manifest has.
#[derive(Debug, Default)]
struct Used {
    media: Vec<MediumKey>,
    volumes: Vec<VolumeKey>,
    /// Its volumes by `MEDIUM-ID/NUMBER`.
    names: Vec<(String, VolumeKey)>,
    scans: Vec<ScanId>,
}

impl Used {
    /// Medium and volumes, which come first.
    fn at_the_beginning_of(path: &Path) -> Result<Self, Error> {
        let mut manifest = Manifest::open(path)?;
        let head = manifest.head()?;
        let mut used = Self {
            media: vec![head.medium.key],
            ..Self::default()
        };
        while let Some(Line::Volume(line)) = manifest.next()? {
            used.volumes.push(line.row.key);
            let name = format!("{}/{}", head.medium.medium.id, line.row.volume.number);
            used.names.push((name, line.row.key));
        }
        Ok(used)
    }
}

fn scans_of(path: &Path, interrupt: &Interrupt) -> Result<Vec<ScanId>, Error> {
    let mut manifest = Manifest::open(path)?;
    let mut scans = Vec::new();
    while let Some(line) = manifest.next()? {
        interrupt.check()?;
        if let Line::Scan(row) = line {
            scans.push(row.id);
        }
    }
    Ok(scans)
}

fn are_shared<'a, K: Copy + Ord + 'a>(mut used: impl Iterator<Item = &'a Vec<K>>) -> bool {
    let mut seen = BTreeSet::new();
    used.any(|numbers| !numbers.iter().all(|number| seen.insert(*number)))
}

/// For each manifest the numbers that an earlier one has already, and new ones behind all that there are.
fn renumbered<'a, K: Copy + Ord + Hash + 'a>(
    used: impl Iterator<Item = &'a Vec<K>> + Clone,
    number: impl Fn(K) -> i64,
    key: impl Fn(i64) -> K,
) -> Vec<BTreeMap<K, K>> {
    let mut next = used
        .clone()
        .flatten()
        .map(|taken| number(*taken))
        .max()
        .unwrap_or(0);
    let mut seen = BTreeSet::new();
    used.map(|numbers| {
        let mut changes = BTreeMap::new();
        for taken in numbers {
            if !seen.insert(*taken) {
                next += 1;
                changes.insert(*taken, key(next));
            }
        }
        changes
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_taken_become_new_ones() {
        let used = [vec![1, 2], vec![2, 3], vec![3, 2]];
        assert!(are_shared(used.iter()));
        assert!(!are_shared([vec![1, 2], vec![3]].iter()));
        let changes = renumbered(used.iter(), |key| key, |key| key);
        assert_eq!(changes[0], BTreeMap::new());
        assert_eq!(changes[1], BTreeMap::from([(2, 4)]));
        assert_eq!(changes[2], BTreeMap::from([(3, 5), (2, 6)]));
    }
}
