//! Directories that wait to be walked. A million may wait, so their names are not kept but read again.

use super::{ENTRY_LENGTH, Scan, inode_number};
use crate::fat::directory::Place;
use crate::fat::entry::{ENTRY_BYTES, Entry, has_deletion_mark};
use crate::fat::geometry::Geometry;
use crate::fat::long_name::{LongName, SLOTS_MAX};
use crate::fat::table::Link;
use crate::name::{path_safe, wtf8_from_utf16};

/// A directory that is to be walked.
pub(super) struct Pending {
    pub(super) inode: u64,
    /// `None` for the root.
    pub(super) origin: Option<Origin>,
    pub(super) place: Place,
    pub(super) depth: u32,
}

/// A directory that waits, in 40 bytes.
pub(super) struct Waiting {
    pub(super) inode: u64,
    pub(super) origin: Origin,
    pub(super) first_cluster: u32,
    pub(super) depth: u32,
    pub(super) deleted: bool,
}

impl From<Waiting> for Pending {
    fn from(waiting: Waiting) -> Self {
        Self {
            inode: waiting.inode,
            origin: Some(waiting.origin),
            place: if waiting.deleted {
                Place::Deleted(waiting.first_cluster)
            } else {
                Place::Chain(waiting.first_cluster)
            },
            depth: waiting.depth,
        }
    }
}

/// Which directory holds another, and where its name stands there.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Inode number of the directory that holds it.
    pub(super) parent: u64,
    /// What `..` must say: the first cluster of that directory, 0 for the root.
    pub(super) parent_cluster: u32,
    /// The first slot of its long name, or its short entry if it has none.
    pub(super) name_offset: u64,
}

/// Added to the first cluster of what no entry names, to make its inode number: no entry stands that far in a volume.
const LOST_NUMBERS: u64 = 1 << 62;

/// Inode number of what starts at a cluster and has no entry.
pub(crate) fn lost_number(cluster: u32) -> u64 {
    LOST_NUMBERS | u64::from(cluster)
}

/// The name of an inode whose own is not known: `#` and its number, or its first cluster if it has no entry.
pub(crate) fn made_up_name(inode: u64) -> Vec<u8> {
    format!("#{}", inode & !LOST_NUMBERS).into_bytes()
}

/// The names of an entry, preferred first.
pub(super) struct Names {
    /// The long name as WTF-8.
    pub(super) long: Option<Vec<u8>>,
    pub(super) short: Vec<u8>,
}

impl Names {
    /// The names that an entry and the slots before it give.
    pub(super) fn new(entry: &Entry, long: Option<Vec<u16>>, deleted: bool) -> Self {
        let short = match long {
            Some(_) => entry.dos_name(deleted),
            None => entry.cased_dos_name(deleted),
        };
        Self {
            long: long.map(wtf8_from_utf16),
            short,
        }
    }

    /// The name that people expect to see.
    pub(super) fn preferred(&self) -> &[u8] {
        self.long.as_deref().unwrap_or(&self.short)
    }
}

impl Scan<'_> {
    /// The name under which a directory was met. What became unreadable since then is replaced by the inode number.
    pub(super) fn name_of(&mut self, inode: u64, origin: &Origin) -> Vec<u8> {
        match self.names_again(inode, origin.name_offset) {
            Some(names) => path_safe(names.preferred()).0,
            None => made_up_name(inode),
        }
    }

    /// Reads the slots from the first of the long name to the short entry once more.
    fn names_again(&mut self, inode: u64, first_slot: u64) -> Option<Names> {
        let mut long = LongName::default();
        let mut at = first_slot;
        for _ in 0..=SLOTS_MAX {
            let mut raw = [0; ENTRY_BYTES];
            self.volume.source.read_exact_at(at, &mut raw).ok()?;
            let deleted = has_deletion_mark(&raw);
            if inode_number(at) == inode {
                let entry = Entry::parse(&raw, self.volume.geometry.variant);
                let units = long.take(&entry.stored_name, deleted).unwrap_or_default();
                return Some(Names::new(&entry, units, deleted));
            }
            let _orphan = if deleted {
                long.push_deleted(&raw, at)
            } else {
                long.push(&raw, at)
            };
            at = self.slot_after(at)?;
        }
        None
    }

    /// The slot after the one at `at`, in the next cluster of the directory if that was the last of its own.
    fn slot_after(&mut self, at: u64) -> Option<u64> {
        let geometry: &Geometry = &self.volume.geometry;
        let next = at.checked_add(ENTRY_LENGTH)?;
        match (geometry.cluster_at(at), geometry.cluster_at(next)) {
            (Some(cluster), following) if following != Some(cluster) => {
                match self.walker.table.chain_link(cluster) {
                    Link::Next(next) => geometry.cluster_offset(next),
                    _ => None,
                }
            }
            _ => Some(next),
        }
    }
}
