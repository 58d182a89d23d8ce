//! The tree of names of a directory. Source: `fs/jfs/jfs_dtree.h`.
//!
//! A root or page is an array of slots of 32 bytes. A table of slot numbers gives the entries in their order; a name that does not fit into one slot
//! goes on in others.

use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::superblock::Run;

const SLOT_LEN: usize = 32;
const LEAF: u8 = 0x02;
const INTERNAL: u8 = 0x04;
/// Characters in the slot of an entry without a number for `readdir`, with one, and in a slot that continues a name.
const HEAD_CHARS: usize = 13;
const HEAD_CHARS_INDEXED: usize = 11;
const SLOT_CHARS: usize = 15;
/// `JFS_NAME_MAX`.
const NAME_CHARS_MAX: usize = 255;

/// A root or page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'b> {
    bytes: &'b [u8],
    is_root: bool,
}

/// A name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub(super) inode: u32,
    /// UCS-2.
    pub(super) units: Vec<u16>,
    /// Where its first slot starts in the page.
    pub(super) at: usize,
}

impl<'b> Page<'b> {
    /// The root in an inode, or a page of 4096 bytes.
    pub(super) const fn new(bytes: &'b [u8], is_root: bool) -> Self {
        Self { bytes, is_root }
    }

    /// Whether it is a leaf; `None` if it is neither that nor internal.
    pub(super) fn is_leaf(&self) -> Option<bool> {
        match u8_at(self.bytes, 16)? & (LEAF | INTERNAL) {
            LEAF => Some(true),
            INTERNAL => Some(false),
            _ => None,
        }
    }

    /// Blocks of the pages before and behind it; 0 if there is none.
    pub(super) fn siblings(&self) -> [u64; 2] {
        if self.is_root {
            return [0, 0];
        }
        [8, 0].map(|at| le_u64(self.bytes, at).unwrap_or(0))
    }

    /// Where a page says it lies.
    pub(super) fn home(&self) -> Run {
        Run::parse(self.bytes, 24).unwrap_or_default()
    }

    /// Numbers of the slots of its entries; `None` if the table cannot be.
    fn table(&self) -> Option<&'b [u8]> {
        let count = usize::from(u8_at(self.bytes, 17)?);
        let start = if self.is_root {
            24
        } else {
            usize::from(u8_at(self.bytes, 21)?).checked_mul(SLOT_LEN)?
        };
        (!self.is_root || count <= 8).then_some(())?;
        self.bytes.get(start..start.checked_add(count)?)
    }

    fn slot(&self, number: u8) -> Option<(&'b [u8], usize)> {
        let at = usize::from(number).checked_mul(SLOT_LEN)?;
        let is_one = number > 0 && number < 128;
        let slot = self.bytes.get(at..at.checked_add(SLOT_LEN)?)?;
        is_one.then_some((slot, at))
    }

    /// Names of a leaf, and how many entries make no sense.
    pub(super) fn names(&self, is_indexed: bool) -> (Vec<Name>, usize) {
        let Some(table) = self.table() else {
            return (Vec::new(), 1);
        };
        let names = table.iter().map(|slot| self.name(*slot, is_indexed));
        let names: Vec<Option<Name>> = names.collect();
        let bad = names.iter().filter(|name| name.is_none()).count();
        (names.into_iter().flatten().collect(), bad)
    }

    fn name(&self, number: u8, is_indexed: bool) -> Option<Name> {
        let (slot, at) = self.slot(number)?;
        let len = usize::from(u8_at(slot, 5)?);
        (1..=NAME_CHARS_MAX).contains(&len).then_some(())?;
        let head = if is_indexed {
            HEAD_CHARS_INDEXED
        } else {
            HEAD_CHARS
        };
        let mut units = Vec::with_capacity(len);
        push_units(&mut units, slot.get(6..)?, head.min(len))?;
        let mut next = u8_at(slot, 4)?;
        // Each further slot adds at least one character.
        while units.len() < len {
            let (slot, _) = self.slot(next)?;
            let wanted = len.checked_sub(units.len())?.min(SLOT_CHARS);
            push_units(&mut units, slot.get(2..)?, wanted)?;
            next = u8_at(slot, 0)?;
        }
        Some(Name {
            inode: le_u32(slot, 0)?,
            units,
            at,
        })
    }

    /// Pages of an internal block; `None` if its table cannot be.
    pub(super) fn children(&self) -> Option<Vec<Run>> {
        let table = self.table()?.iter();
        table.map(|slot| Run::parse(self.slot(*slot)?.0, 0)).collect()
    }
}

fn push_units(units: &mut Vec<u16>, bytes: &[u8], count: usize) -> Option<()> {
    for index in 0..count {
        units.push(le_u16(bytes, index.checked_mul(2)?)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with one name of 20 characters in slots 1 and 2.
    fn root() -> Vec<u8> {
        let mut root = vec![0; 288];
        root[16..20].copy_from_slice(&[1 | LEAF, 1, 6, 3]);
        root[24] = 1;
        root[32] = 5;
        root[36..38].copy_from_slice(&[2, 20]);
        for index in 0..11 {
            root[38 + 2 * index] = b'a';
        }
        root[64] = 0xff;
        for index in 0..9 {
            root[66 + 2 * index] = b'b';
        }
        root
    }

    #[test]
    fn names_go_on_in_other_slots() {
        let root = root();
        let page = Page::new(&root, true);
        assert_eq!(page.is_leaf(), Some(true));
        let (names, bad) = page.names(true);
        assert_eq!((names.len(), bad), (1, 0));
        let text = String::from_utf16(&names[0].units).expect("letters");
        assert_eq!((names[0].inode, text.as_str()), (5, "aaaaaaaaaaabbbbbbbbb"));
    }

    #[test]
    fn slots_that_cannot_be_cost_one_name() {
        let mut torn = root();
        torn[36] = 9;
        let (names, bad) = Page::new(&torn, true).names(true);
        assert_eq!((names.len(), bad), (0, 1), "a name that goes on nowhere");
        let mut torn = root();
        torn[24] = 200;
        assert_eq!(Page::new(&torn, true).names(true).1, 1);
        torn[17] = 100;
        assert_eq!(Page::new(&torn, true).children(), None);
    }
}
