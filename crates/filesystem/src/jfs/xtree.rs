//! The tree of extents of a file. Source: `fs/jfs/jfs_xtree.h`.

use ntt_model::extent::{Extent, ExtentKind};
use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::superblock::Run;
use super::volume::{PAGE_LEN, Volume};
use crate::report::Report;
use crate::sparse_set::SparseSet;
use crate::walk::Content;

const ENTRY_LEN: usize = 16;
/// Entries start behind the head, which takes the place of two.
const FIRST_ENTRY: usize = 2;
const LEAF: u8 = 0x02;
const INTERNAL: u8 = 0x04;
/// `XAD_NOTRECORDED`: space that was never written.
const NOT_RECORDED: u8 = 0x08;
/// Deeper trees cannot be: 254 entries a page, 40 bits of offset.
const DEPTH_MAX: u8 = 6;

/// An entry: what it says of content, or which page has more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Xad {
    flag: u8,
    /// First block of the content.
    offset: u64,
    run: Run,
}

impl Xad {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            flag: u8_at(bytes, 0)?,
            offset: (u64::from(u8_at(bytes, 3)?) << 32) | u64::from(le_u32(bytes, 4)?),
            run: Run::parse(bytes, 8)?,
        })
    }
}

/// The entries of a root or page, and whether it is a leaf; `None` if it is neither leaf nor internal.
fn entries(page: &[u8]) -> Option<(Vec<Xad>, bool)> {
    let flag = u8_at(page, 16)?;
    let next = usize::from(le_u16(page, 18)?);
    let is_leaf = match flag & (LEAF | INTERNAL) {
        LEAF => true,
        INTERNAL => false,
        _ => return None,
    };
    let range = FIRST_ENTRY.checked_mul(ENTRY_LEN)?..next.max(FIRST_ENTRY).checked_mul(ENTRY_LEN)?;
    let found = page.get(range)?.chunks_exact(ENTRY_LEN).map(Xad::parse);
    Some((found.collect::<Option<_>>()?, is_leaf))
}

/// Reads the tree of an inode into `content`. `place` is where its root lies in the image.
pub(super) fn read(
    volume: &Volume<'_>,
    root: &[u8],
    (number, place): (u64, u64),
    content: &mut Content,
    report: &mut Report,
) {
    let mut tree = Tree {
        volume,
        number,
        content,
        report,
        waiting: Vec::new(),
        reached: SparseSet::default(),
    };
    tree.page(root, place, DEPTH_MAX);
    while let Some((entry, depth)) = tree.waiting.pop() {
        if !tree.follow(entry, depth) {
            break;
        }
    }
}

struct Tree<'t, 'a> {
    volume: &'t Volume<'a>,
    number: u64,
    content: &'t mut Content,
    report: &'t mut Report,
    waiting: Vec<(Xad, u8)>,
    reached: SparseSet,
}

impl Tree<'_, '_> {
    fn complain(&mut self, code: FindingCode, detail: String, at: u64) {
        self.content.is_missing_some();
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        self.report.push(finding.at(at).on_inode(self.number));
    }

    /// Adds the extents of a leaf, or lets the pages of an internal block wait, the first on top. False if it is neither.
    fn page(&mut self, page: &[u8], at: u64, depth: u8) -> bool {
        let Some((entries, is_leaf)) = entries(page) else {
            let detail = "a block of the tree of extents is none".to_owned();
            self.complain(FindingCode::Corrupt, detail, at);
            return false;
        };
        if is_leaf {
            for entry in entries {
                if !self.extent(entry, at) {
                    break;
                }
            }
            return true;
        }
        let below = depth.saturating_sub(1);
        let pages = entries.into_iter().rev();
        self.waiting.extend(pages.map(|entry| (entry, below)));
        true
    }

    fn extent(&mut self, entry: Xad, at: u64) -> bool {
        let bytes = self.volume.block_bytes();
        let Some(offset) = self.volume.run_offset(entry.run) else {
            let Run { block, len } = entry.run;
            let detail = format!("an extent of {len} blocks from block {block} does not exist");
            self.complain(FindingCode::BeyondEnd, detail, at);
            return true;
        };
        self.content.add(Extent {
            logical_offset: entry.offset.saturating_mul(bytes),
            image_offset: self.volume.device.in_image(offset),
            len: entry.run.len.saturating_mul(bytes),
            kind: if entry.flag & NOT_RECORDED != 0 {
                ExtentKind::Unwritten
            } else {
                ExtentKind::Data
            },
        })
    }

    /// Reads a page that an internal block names; false if the rest is of no use.
    fn follow(&mut self, entry: Xad, depth: u8) -> bool {
        let at = self
            .volume
            .device
            .in_image(entry.run.block.saturating_mul(self.volume.block_bytes()));
        if depth == 0 || self.reached.contains(entry.run.block) {
            let detail = "a block of the tree of extents is reached twice".to_owned();
            self.complain(FindingCode::Loop, detail, at);
            return depth != 0;
        }
        let what = (Layer::Inode, "a block of the tree of extents");
        match self.volume.page(entry.run, what) {
            Ok(page) => {
                // Only a page that is one: pointers may lead anywhere, and the set grows with the places.
                if self.page(page.get(..PAGE_LEN).unwrap_or_default(), at, depth) {
                    self.reached.insert(entry.run.block);
                }
            }
            Err(finding) => {
                self.content.is_missing_some();
                self.report.push(finding.on_inode(self.number));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::superblock::Superblock;
    use super::*;
    use crate::walk::Device;

    #[test]
    fn entries_start_behind_the_head() {
        let mut page = vec![0; 288];
        page[16] = 1 | LEAF;
        page[18] = 3;
        page[32] = NOT_RECORDED;
        page[36] = 9;
        page[40] = 2;
        page[44] = 77;
        let (found, is_leaf) = entries(&page).expect("a leaf");
        assert!(is_leaf);
        let run = Run { block: 77, len: 2 };
        let expected = Xad {
            flag: NOT_RECORDED,
            offset: 9,
            run,
        };
        assert_eq!(found, [expected]);
        page[18] = 200;
        assert_eq!(entries(&page), None);
        page[18] = 3;
        page[16] = 0;
        assert_eq!(entries(&page), None);
    }

    /// Pointers to what is not there are not remembered: the set of what was met would take 4 KiB for each.
    #[test]
    fn r22_pages_beyond_the_end_cost_nothing() {
        let mut report = Report::default();
        let mut page = vec![0; 4096];
        page[16] = INTERNAL;
        page[18] = 4;
        for (at, block) in [(32, 2000_u32), (48, 2000)] {
            page[at + 8] = 1;
            page[at + 12..at + 16].copy_from_slice(&block.to_le_bytes());
        }
        let mut root = page.clone();
        root[44..48].copy_from_slice(&1_u32.to_le_bytes());
        root[60..64].copy_from_slice(&1_u32.to_le_bytes());
        let bytes = [vec![0; 4096], page].concat();
        let volume = Volume::new(Device::new(Box::new(bytes), 0), Superblock::bare(), &mut report);
        report.take();
        let mut content = Content::new(1 << 20, 100);
        read(&volume, &root[..288], (7, 0), &mut content, &mut report);
        let codes: Vec<_> = report.take().iter().map(|finding| finding.code).collect();
        assert_eq!(
            codes,
            [FindingCode::BeyondEnd, FindingCode::BeyondEnd, FindingCode::Loop]
        );
    }
}
