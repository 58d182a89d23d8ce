//! Indexes of names, `$I30`: a bag of entries in the root and in blocks. The tree over them is not followed: what a broken block holds is all that is
//! lost with it, and every block in use is read once (`INDEX_ROOT`, `INDEX_BLOCK`, `INDEX_ENTRY` in `layout.h`).

use ntt_source::field::{le_u16, le_u32, le_u64};

use super::file_name::FileName;
use super::record::{Fixups, INDX, Reference};

/// Name of the index of names, in UTF-16LE.
pub(super) const NAME: &[u8] = b"$\0I\x003\x000\0";
/// Where the head of the entries stands in the value of the root.
const ROOT_HEAD: usize = 0x10;
/// Where it stands in a block.
const BLOCK_HEAD: usize = 0x18;
/// Bytes of an entry before its key.
const ENTRY_HEAD: usize = 0x10;
/// Bit of an entry's flags: the last of its node, without a key.
const LAST: u16 = 2;
/// Sizes of blocks that are believed.
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 512..=65536;

/// An entry of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'b> {
    /// The record that has the name.
    pub(super) record: Reference,
    pub(super) name: FileName<'b>,
}

/// Entries, or a place where a node breaks off.
pub(super) enum Item<'b> {
    Entry(Entry<'b>),
    Broken,
}

/// Bytes of a block, as the root says.
pub(super) fn block_bytes(root: &[u8]) -> Option<u32> {
    le_u32(root, 8).filter(|bytes| BLOCK_BYTES.contains(bytes) && bytes.is_power_of_two())
}

/// Entries of the root.
pub(super) fn root_entries(root: &[u8]) -> Entries<'_> {
    Entries::of(root, ROOT_HEAD)
}

/// Fixes a block up.
///
/// # Errors
///
/// If it is no index block, not the one that should be there, or torn.
pub(super) fn check_block(bytes: &mut [u8], number: u64) -> Result<(), String> {
    let fixups = Fixups::apply(bytes, INDX)?;
    if fixups.torn_sectors() > 0 {
        return Err(format!(
            "{} sectors do not belong to the others (torn write)",
            fixups.torn_sectors()
        ));
    }
    // Counted in clusters, or in sectors where a cluster is larger than a block: in both cases 0 for the first.
    let is_first = le_u64(bytes, 0x10) == Some(0);
    if is_first == (number == 0) {
        Ok(())
    } else {
        Err(format!(
            "it says that it is block {}",
            le_u64(bytes, 0x10).unwrap_or(0)
        ))
    }
}

/// Entries of a block that was checked.
pub(super) fn block_entries(block: &[u8]) -> Entries<'_> {
    Entries::of(block, BLOCK_HEAD)
}

/// The entries of a node.
pub(super) struct Entries<'b> {
    rest: &'b [u8],
    over: bool,
}

impl<'b> Entries<'b> {
    fn of(bytes: &'b [u8], head: usize) -> Self {
        let field = |at: usize| {
            let value = le_u32(bytes, head.saturating_add(at))?;
            usize::try_from(value).ok()?.checked_add(head)
        };
        let rest = field(0)
            .zip(field(4))
            .and_then(|(start, end)| bytes.get(start..end.min(bytes.len())));
        Self {
            rest: rest.unwrap_or_default(),
            over: false,
        }
    }

    /// The next entry; `Ok(None)` at the end, `Err` where the node breaks off.
    fn take(&mut self) -> Result<Option<Entry<'b>>, ()> {
        let flags = le_u16(self.rest, 0x0c).ok_or(())?;
        if flags & LAST != 0 {
            return Ok(None);
        }
        let len = le_u16(self.rest, 8).map(usize::from).ok_or(())?;
        let key_len = le_u16(self.rest, 0x0a).map(usize::from).ok_or(())?;
        let key = self
            .rest
            .get(ENTRY_HEAD..ENTRY_HEAD.saturating_add(key_len))
            .ok_or(())?;
        let entry = Entry {
            record: Reference::from_raw(le_u64(self.rest, 0).ok_or(())?),
            name: FileName::parse(key).ok_or(())?,
        };
        if len < ENTRY_HEAD.saturating_add(key_len) {
            return Err(());
        }
        self.rest = self.rest.get(len..).ok_or(())?;
        Ok(Some(entry))
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        if self.over {
            return None;
        }
        match self.take() {
            Ok(Some(entry)) => Some(Item::Entry(entry)),
            Ok(None) => {
                self.over = true;
                None
            }
            Err(()) => {
                self.over = true;
                Some(Item::Broken)
            }
        }
    }
}
