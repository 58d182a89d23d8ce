//! The append-only file of one writer: what it committed since its last index segment.
//!
//! A frame: magic (8 bytes), number of payload bytes (4, big-endian), payload (entries of [`crate::record`]), BLAKE3 (32) of all that. The
//! magic tells the [`Kind`]: a committed batch, or what a recovery must look at if a batch is missing. A frame that is cut or wrong with
//! nothing valid after it was being written when the power went; a wrong frame with valid ones after it is damage.

use std::path::{Path, PathBuf};

use ntt_host::{Disk, DiskFile, OpenMode};

use crate::error::During;
use crate::record::{Entry, RECORD_BYTES};
use crate::{Error, Location, PackId};

const MAGIC_BYTES: usize = 8;
const HEAD_BYTES: usize = 12;
const DIGEST_BYTES: usize = 32;
/// Entries of one frame; a larger batch takes several.
const FRAME_ENTRIES_MAX: usize = 100_000;
/// No journal of ours comes near this; a longer one is damage, not a reason to take the memory.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// What a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// These are stored: a committed batch.
    Stored,
    /// Files are about to get these names. Without a batch that has them, they are of a commit that did not end.
    Naming,
    /// The entry's pack is about to be sealed; its other fields mean nothing.
    Sealing,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Stored, Self::Naming, Self::Sealing];

    const fn magic(self) -> &'static [u8; MAGIC_BYTES] {
        match self {
            Self::Stored => b"nttbatch",
            Self::Naming => b"nttnames",
            Self::Sealing => b"nttseals",
        }
    }

    fn of(magic: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.magic() == magic)
    }
}

/// What stands in a journal.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The committed batches.
    pub(crate) entries: Vec<Entry>,
    /// Files that were to get names, committed or not.
    pub(crate) named: Vec<Entry>,
    /// Packs that were sealed after the first damaged place: they may hold members of a batch whose frame is lost.
    pub(crate) sealed_after_damage: Vec<PackId>,
    /// End of the last valid frame.
    pub(crate) end: u64,
    /// Runs of bytes that are no valid frame with valid ones after them: offset and length.
    pub(crate) damage: Vec<(u64, u64)>,
    /// Bytes after the last valid frame.
    pub(crate) torn_bytes: u64,
}

/// Reads a journal from `from`, the end of a frame that was read before, or 0.
pub(crate) fn scan(file: &dyn DiskFile, path: &Path, from: u64) -> Result<Scan, Error> {
    let len = file.len().during("measure", path)?.saturating_sub(from);
    if len > JOURNAL_BYTES_MAX {
        let most = format!("at most {JOURNAL_BYTES_MAX} bytes");
        return Err(Error::index(path, from, &most, &len.to_string()));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(from, &mut bytes).during("read", path)?;
    Ok(parse(&bytes, from))
}

fn parse(bytes: &[u8], base: u64) -> Scan {
    let mut scan = Scan {
        end: base,
        ..Scan::default()
    };
    let (mut at, mut good_end) = (0, 0);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some((kind, entries, len)) = frame(rest) {
            if at > good_end {
                scan.damage.push((base + good_end as u64, (at - good_end) as u64));
            }
            scan.take(kind, entries);
            at += len;
            good_end = at;
        } else {
            // The next place where a frame may begin.
            let step = rest
                .windows(MAGIC_BYTES)
                .skip(1)
                .position(|window| Kind::of(window).is_some());
            at = step.map_or(bytes.len(), |step| at + step + 1);
        }
    }
    scan.end = base + good_end as u64;
    scan.torn_bytes = (bytes.len() - good_end) as u64;
    scan
}

impl Scan {
    fn take(&mut self, kind: Kind, entries: Vec<Entry>) {
        match kind {
            Kind::Stored => self.entries.extend(entries),
            Kind::Naming => self.named.extend(entries),
            Kind::Sealing if self.damage.is_empty() => {}
            Kind::Sealing => {
                let packs = entries.iter().filter_map(|entry| match entry.info.location {
                    Location::Packed { pack, .. } => Some(pack),
                    Location::Loose { .. } => None,
                });
                self.sealed_after_damage.extend(packs);
            }
        }
    }
}

/// The frame at the start of `bytes` and its length.
fn frame(bytes: &[u8]) -> Option<(Kind, Vec<Entry>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (magic, len) = head.split_first_chunk::<MAGIC_BYTES>()?;
    let kind = Kind::of(magic)?;
    let len = usize::try_from(u32::from_be_bytes(len.try_into().ok()?)).ok()?;
    let digest = rest.get(len..len.checked_add(DIGEST_BYTES)?)?;
    let covered = bytes.get(..HEAD_BYTES.checked_add(len)?)?;
    if blake3::hash(covered).as_bytes() != digest {
        return None;
    }
    let entries = rest
        .get(..len)?
        .chunks(RECORD_BYTES)
        .map(Entry::decode)
        .collect::<Option<Vec<_>>>()?;
    Some((kind, entries, HEAD_BYTES + len + DIGEST_BYTES))
}

fn encode(kind: Kind, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * RECORD_BYTES + HEAD_BYTES + DIGEST_BYTES);
    for entries in entries.chunks(FRAME_ENTRIES_MAX) {
        let start = bytes.len();
        bytes.extend_from_slice(kind.magic());
        let len = u32::try_from(entries.len() * RECORD_BYTES).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&len.to_be_bytes());
        for entry in entries {
            entry.encode(&mut bytes);
        }
        let digest = blake3::hash(&bytes[start..]);
        bytes.extend_from_slice(digest.as_bytes());
    }
    bytes
}

/// A writer's own journal, locked as long as the writer lives.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    end: u64,
}

impl Journal {
    /// Creates and locks the journal; `None` if somebody who cleans up was faster.
    pub(crate) fn create(disk: &dyn Disk, path: PathBuf) -> Result<Option<Self>, Error> {
        let file = disk.open(&path, OpenMode::CreateNew).during("create", &path)?;
        let locked = file.try_lock().during("lock", &path)?;
        if !locked || disk.entry(&path).during("look up", &path)?.is_none() {
            return Ok(None);
        }
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir).during("sync", dir)?;
        }
        Ok(Some(Self { file, path, end: 0 }))
    }

    /// Appends entries and makes them durable. After an error the journal is cut back, so that nobody believes what the disk may not hold.
    pub(crate) fn append(&mut self, kind: Kind, entries: &[Entry]) -> Result<(), Error> {
        let bytes = encode(kind, entries);
        let written = self
            .file
            .write_all_at(self.end, &bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // If even this fails, the next open judges the frame by its digest.
            let _ = self.file.set_len(self.end);
            return Err(Error::io("append to", &self.path, error));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// How far the journal has been written.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::any_entry;

    proptest! {
        #[test]
        fn batches_round_trip_and_a_cut_takes_only_the_last(
            batches in proptest::collection::vec(proptest::collection::vec(any_entry(), 1..5), 1..5),
            cut in 1_usize..44,
        ) {
            let bytes: Vec<u8> = batches.iter().flat_map(|batch| encode(Kind::Stored, batch)).collect();
            let whole = parse(&bytes, 7);
            prop_assert_eq!(whole.entries, batches.concat());
            prop_assert_eq!(whole.end, 7 + bytes.len() as u64);
            let torn = parse(&bytes[..bytes.len() - cut], 0);
            prop_assert_eq!(torn.entries, batches[..batches.len() - 1].concat());
            prop_assert!(torn.torn_bytes > 0 && torn.damage.is_empty());
        }

        #[test]
        fn a_flipped_byte_costs_one_batch_and_is_seen(
            batches in proptest::collection::vec(proptest::collection::vec(any_entry(), 1..4), 2..5),
            at in any::<prop::sample::Index>(),
        ) {
            let mut bytes: Vec<u8> = batches.iter().flat_map(|batch| encode(Kind::Stored, batch)).collect();
            let at = at.index(bytes.len());
            bytes[at] ^= 0x40;
            let scan = parse(&bytes, 0);
            prop_assert!(scan.torn_bytes > 0 || !scan.damage.is_empty());
            prop_assert!(scan.entries.len() + 3 >= batches.concat().len());
        }
    }
}
