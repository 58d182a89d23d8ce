//! What every part of the reader needs: the superblock, pages, and the files of the aggregate that hold its maps.

use ntt_model::entry::StreamKind;
use ntt_model::extent::Extent;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{le_u32, le_u64};

use super::inode::{INODE_BYTES, INODE_LEN, RawInode};
use super::superblock::{Run, Superblock};
use super::xtree;
use crate::report::Report;
use crate::walk::{Content, Device};

pub(super) const PAGE_LEN: usize = 4096;
pub(super) const PAGE_BYTES: u64 = 4096;
/// Inodes of the aggregate: the map of blocks, the map of inodes of the file set.
const BLOCK_MAP: u64 = 2;
const INODE_MAP: u64 = 16;
/// Blocks that a page of the map of blocks tells of.
const MAP_PAGE_BLOCKS: u64 = 8192;
const PERSISTENT_MAP_AT: usize = 3072;
/// Pages of the map of blocks that may be missing before it is given up.
const MAP_FINDINGS_MAX: usize = 64;
/// Extents of a file of the aggregate.
const EXTENTS_MAX: u64 = 1 << 20;

/// A file of the aggregate: where its pages lie.
#[derive(Debug, Default)]
pub(super) struct MapFile {
    pub(super) size_bytes: u64,
    extents: Vec<Extent>,
}

impl MapFile {
    /// Where a page lies in the image; `None` if the map of the file does not have it.
    fn page(&self, page: u64) -> Option<u64> {
        let at = page.checked_mul(PAGE_BYTES)?;
        let behind = self.extents.partition_point(|extent| extent.logical_offset <= at);
        let extent = self.extents.get(behind.checked_sub(1)?)?;
        let within = at.checked_sub(extent.logical_offset)?;
        let fits = within.checked_add(PAGE_BYTES)? <= extent.len;
        fits.then(|| extent.image_offset.saturating_add(within))
    }
}

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    pub(super) device: Device<'a>,
    pub(super) superblock: Superblock,
    /// The map of inodes; `None` if neither copy of its inode is of use.
    pub(super) inode_map: Option<MapFile>,
    block_map: Option<MapFile>,
}

impl<'a> Volume<'a> {
    /// Looks for the maps, in the copy too.
    pub(super) fn new(device: Device<'a>, superblock: Superblock, report: &mut Report) -> Self {
        let mut volume = Self {
            device,
            superblock,
            inode_map: None,
            block_map: None,
        };
        volume.inode_map = volume.map_file(INODE_MAP, "the map of inodes", report);
        volume.block_map = volume.map_file(BLOCK_MAP, "the map of blocks", report);
        volume
    }

    fn map_file(&self, inode: u64, what: &str, report: &mut Report) -> Option<MapFile> {
        let [first, copy] = self.superblock.tables();
        match self.map_file_at(first, inode) {
            Ok(file) => return Some(file),
            Err(mut finding) => {
                finding.severity = Severity::Warning;
                report.push(finding);
            }
        }
        let at = self.device.in_image(copy);
        let (file, severity, code, detail) = match self.map_file_at(copy, inode) {
            Ok(file) => (
                Some(file),
                Severity::Warning,
                FindingCode::BackupUsed,
                format!("the copy of the inode of {what} was used"),
            ),
            Err(_) => (
                None,
                Severity::Loss,
                FindingCode::Corrupt,
                format!("neither inode of {what} is of use"),
            ),
        };
        report.push(Finding::new(severity, Layer::FileSystem, code, detail).at(at));
        file
    }

    fn map_file_at(&self, table: u64, number: u64) -> Result<MapFile, Finding> {
        let offset = table.saturating_add(number.saturating_mul(INODE_BYTES));
        let what = (Layer::FileSystem, "an inode of the aggregate");
        let bytes = self.device.read_vec(offset, INODE_LEN, what)?;
        let at = self.device.in_image(offset);
        let bad = |detail: &str| {
            let detail = format!("inode {number} of the aggregate {detail}");
            Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail).at(at)
        };
        let raw = RawInode::new(&bytes, offset)
            .filter(|raw| u64::from(raw.number()) == number && raw.kind() == Kind::File)
            .ok_or_else(|| bad("is none"))?;
        let mut content = Content::new(raw.size_bytes(), EXTENTS_MAX);
        let mut unsaid = Report::default();
        xtree::read(self, raw.root(), (number, at), &mut content, &mut unsaid);
        let stream = content.stream(StreamKind::Data);
        if stream.extents_incomplete || stream.extents.is_empty() {
            return Err(bad("has a damaged tree of extents"));
        }
        Ok(MapFile {
            size_bytes: stream.size_bytes,
            extents: stream.extents,
        })
    }

    pub(super) fn block_bytes(&self) -> u64 {
        self.superblock.block_bytes.into()
    }

    /// First byte of a run of blocks that exist.
    pub(super) fn run_offset(&self, run: Run) -> Option<u64> {
        let end = run.block.checked_add(run.len)?;
        let exists = run.block > 0 && run.len > 0 && end <= self.superblock.blocks();
        exists.then(|| run.block.saturating_mul(self.block_bytes()))
    }

    /// The page at the start of a run.
    pub(super) fn page(&self, run: Run, what: (Layer, &str)) -> Result<Vec<u8>, Finding> {
        match self.run_offset(run) {
            Some(offset) => self.device.read_vec(offset, PAGE_LEN, what),
            None => {
                let detail = format!("{} would be block {}, which does not exist", what.1, run.block);
                Err(Finding::new(
                    Severity::Loss,
                    what.0,
                    FindingCode::BeyondEnd,
                    detail,
                ))
            }
        }
    }

    /// A page of a file of the aggregate, with where it lies in the image.
    pub(super) fn map_page(&self, file: &MapFile, page: u64, what: &str) -> Result<(Vec<u8>, u64), Finding> {
        let Some(at) = file.page(page) else {
            let detail = format!("page {page} of {what} is not in its tree of extents");
            return Err(Finding::new(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::Corrupt,
                detail,
            ));
        };
        let offset = at.saturating_sub(self.device.in_image(0));
        let bytes = self
            .device
            .read_vec(offset, PAGE_LEN, (Layer::FileSystem, what))?;
        Ok((bytes, at))
    }

    /// Blocks that the map counts, and those of them that are free.
    pub(super) fn counts(&self) -> Option<(u64, u64)> {
        let file = self.block_map.as_ref()?;
        let (page, _) = self.map_page(file, 0, "the map of blocks").ok()?;
        let (all, free) = (le_u64(&page, 0)?, le_u64(&page, 8)?);
        (all <= self.superblock.blocks() && free <= all).then_some((all, free))
    }

    /// Calls `each` with runs of blocks: the first, how many, and whether they are in use. What the map does not tell is.
    ///
    /// The map is asked for the blocks that the volume really has, and given up where too much of it is missing: how many blocks it counts is
    /// only what it claims.
    pub(super) fn each_run(&self, each: &mut dyn FnMut(u64, u64, bool)) -> Vec<Finding> {
        let blocks = self.superblock.blocks();
        let backed = self.device.len().div_ceil(self.block_bytes().max(1));
        let mapped = self.counts().map_or(0, |(all, _)| all.min(backed));
        let mut findings = Vec::new();
        let mut first = 0_u64;
        while first < mapped && findings.len() < MAP_FINDINGS_MAX {
            let end = first.saturating_add(MAP_PAGE_BLOCKS).min(mapped);
            match self.map_of(first) {
                Ok(bits) => {
                    let states = bits
                        .iter()
                        .flat_map(|word| (1..=32_u32).map(move |bit| word.rotate_left(bit) & 1 == 1));
                    (first..end)
                        .zip(states)
                        .for_each(|(block, is_used)| each(block, 1, is_used));
                }
                Err(mut finding) => {
                    finding.severity = Severity::Warning;
                    findings.push(finding);
                    each(first, end.saturating_sub(first), true);
                }
            }
            first = end;
        }
        if first < mapped {
            findings.push(map_given_up(first));
        }
        each(first, blocks.saturating_sub(first), true);
        findings
    }

    /// The bits of the page that starts with a block; the first block is the highest bit of the first word.
    fn map_of(&self, block: u64) -> Result<Vec<u32>, Finding> {
        // Between the pages stand those of the tree above them (`BLKTODMAP`).
        let page = (block >> 13)
            .saturating_add(block >> 23)
            .saturating_add(block >> 33)
            .saturating_add(4);
        let none = MapFile::default();
        let file = self.block_map.as_ref().unwrap_or(&none);
        let (bytes, at) = self.map_page(file, page, "the map of blocks")?;
        if le_u64(&bytes, 8) != Some(block) {
            let detail = format!("a page of the map of blocks should start with block {block}");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
            return Err(finding.at(at));
        }
        let words = bytes.get(PERSISTENT_MAP_AT..).unwrap_or_default().chunks_exact(4);
        Ok(words.map(|word| le_u32(word, 0).unwrap_or(0)).collect())
    }
}

/// Says from which block on the map was not asked.
fn map_given_up(block: u64) -> Finding {
    let detail = format!(
        "{MAP_FINDINGS_MAX} pages of the map of blocks cannot be read; from block {block} on it was not asked, and all blocks count as used"
    );
    Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Limit, detail)
}
