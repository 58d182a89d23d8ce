//! What each 32-byte slot of a directory is for.

use ntt_model::name::escape;
use ntt_model::{FindingCode, Severity};

use super::{Current, Flow, Scan};
use crate::Stop;
use crate::fat::entry::{self, ENTRY_BYTES, Entry, Slot};

impl Scan<'_> {
    pub(super) fn slot(
        &mut self,
        current: &mut Current,
        raw: &[u8; ENTRY_BYTES],
        offset: u64,
    ) -> Result<Flow, Stop> {
        let slot = entry::classify(raw);
        self.check_start(current, slot, offset)?;
        match slot {
            Slot::End => return Ok(Flow::Leave),
            Slot::LongName { deleted: false } => {
                let orphan = current.long.push(raw, offset);
                self.orphan(orphan)?;
            }
            Slot::LongName { deleted: true } => {
                let orphan = current.long.push_deleted(raw, offset);
                self.orphan(orphan)?;
            }
            Slot::Itself | Slot::Parent => self.dot(current, slot, raw, offset)?,
            Slot::Label => return self.label(current, raw, offset),
            Slot::Stale => self.orphan(current.long.abandon())?,
            Slot::Entry { deleted } => return self.entry(current, raw, offset, deleted),
        }
        Ok(Flow::More)
    }

    /// Every directory but the root starts with `.` and `..`. Where zeros stand in their place, the entries behind them are gone too.
    pub(super) fn check_start(&mut self, current: &Current, slot: Slot, offset: u64) -> Result<(), Stop> {
        let expected = match (current.parent_cluster, current.slots) {
            (Some(_), 0) => (Slot::Itself, "."),
            (Some(_), 1) => (Slot::Parent, ".."),
            _ => return Ok(()),
        };
        if slot == expected.0 {
            return Ok(());
        }
        let mut detail = format!("the directory has no `{}` where it must stand", expected.1);
        let severity = if slot == Slot::End {
            detail.push_str(" but zeros: what stood behind it is lost");
            Severity::Loss
        } else {
            Severity::Warning
        };
        self.find_on(severity, FindingCode::Corrupt, offset, current.inode, detail)
    }

    fn dot(
        &mut self,
        current: &mut Current,
        slot: Slot,
        raw: &[u8; ENTRY_BYTES],
        offset: u64,
    ) -> Result<(), Stop> {
        self.orphan(current.long.abandon())?;
        let found = Entry::parse(raw, self.volume.geometry.variant).first_cluster;
        let (name, expected) = match (slot, current.parent_cluster) {
            (Slot::Itself, _) => (".", current.first_cluster()),
            (_, Some(parent)) => ("..", parent),
            (_, None) => ("..", 0),
        };
        let root = self.volume.root_cluster();
        let names_root = |cluster: u32| cluster == 0 || Some(cluster) == root;
        if found == expected || (names_root(found) && names_root(expected)) {
            return Ok(());
        }
        let detail = format!("`{name}` should point to cluster {expected} but points to {found}");
        self.find_on(
            Severity::Warning,
            FindingCode::Contradiction,
            offset,
            current.inode,
            detail,
        )
    }

    /// The first label of the root is a fact of the volume; any other is odd. A label has no content: one that has hides it,
    /// and is listed as the file that it is.
    fn label(&mut self, current: &mut Current, raw: &[u8; ENTRY_BYTES], offset: u64) -> Result<Flow, Stop> {
        let entry = Entry::parse(raw, self.volume.geometry.variant);
        let hides_content = entry.size_bytes > 0;
        if self.volume.label_offset != Some(offset) || hides_content {
            let verdict = if hides_content {
                "has content; listed as a file"
            } else {
                "is not the volume's; not listed"
            };
            let detail = format!(
                "the volume label `{}` {verdict}",
                escape(&entry::label(&entry.stored_name))
            );
            self.find_on(
                Severity::Info,
                FindingCode::Contradiction,
                offset,
                current.inode,
                detail,
            )?;
        }
        if hides_content {
            return self.entry(current, raw, offset, false);
        }
        self.orphan(current.long.abandon())?;
        Ok(Flow::More)
    }
}
