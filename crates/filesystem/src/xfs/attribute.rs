//! Extended attributes: short ones in the inode, the others in a tree of leaves, large values in blocks of their own.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Extended Attributes"; `xfs_da_format.h`.

use std::collections::BTreeSet;

use ntt_model::entry::{Encoding, Stream, StreamKind, Xattr};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Layer, Severity};
use ntt_source::field::{array, be_u16, be_u32, u8_at};

use super::crc::checked;
use super::fork::{Map, Mapper};
use super::inode::{Fork, Format, RawInode};
use super::volume::Volume;
use crate::report::{Report, doubtful, unreadable};

/// Values up to this length travel with the inode.
const SMALL_MAX: u32 = 4096;
/// The longest value that the kernel writes; what claims more is damaged.
const VALUE_MAX: u32 = 65_536;
/// Header of a block of a large value (version 5).
const REMOTE_HEADER: usize = 56;
const REMOTE_CRC: usize = 12;
const BLOCK_CRC: usize = 12;
/// Blocks of the tree of one inode.
const BLOCKS_MAX: u32 = 65_536;
/// Names and values of one inode.
const BYTES_MAX: u64 = 64 << 20;
const ENTRY_LEN: usize = 8;

/// `xfs_attr_leaf_entry.flags`.
mod flag {
    pub(super) const LOCAL: u8 = 0x01;
    pub(super) const ROOT: u8 = 0x02;
    pub(super) const SECURE: u8 = 0x04;
    pub(super) const PARENT: u8 = 0x08;
    pub(super) const INCOMPLETE: u8 = 0x80;
}

/// The attributes of one inode.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) small: Vec<Xattr>,
    pub(super) large: Vec<Stream>,
}

/// Reads the attributes of one inode.
struct Reader<'r, 'v, 'a, 'b> {
    volume: &'v Volume<'a>,
    raw: &'r RawInode<'b>,
    report: &'r mut Report,
    map: Map,
    /// Bytes that may still be taken. Names and values do not share bytes, so no more of them can be than the blocks of the fork have room for.
    bytes_left: u64,
    /// More was there than could be taken.
    is_full: bool,
    found: Attributes,
}

/// All attributes of an inode. Those outside of it are taken out of `bytes_left`: no inode shares the blocks of its own with another one, so
/// all inodes together have no more than the volume has room for.
pub(super) fn read(
    (volume, mapper): (&Volume<'_>, &mut Mapper<'_, '_>),
    raw: &RawInode<'_>,
    fork: &Fork<'_>,
    bytes_left: &mut u64,
    report: &mut Report,
) -> Attributes {
    if fork.format == Format::Local {
        let mut reader = Reader::new(volume, raw, report, Map::default());
        reader.short(fork.bytes);
        return reader.found;
    }
    let map = mapper.map(raw, fork, report);
    let mut reader = Reader::new(volume, raw, report, map);
    let room = reader.bytes_left.min(*bytes_left);
    reader.bytes_left = room;
    if !reader.map.runs.is_empty() {
        reader.tree();
    }
    *bytes_left = bytes_left.saturating_sub(room.saturating_sub(reader.bytes_left));
    reader.found
}

impl<'r, 'v, 'a, 'b> Reader<'r, 'v, 'a, 'b> {
    fn new(volume: &'v Volume<'a>, raw: &'r RawInode<'b>, report: &'r mut Report, map: Map) -> Self {
        let blocks = map.runs.iter().map(|run| run.len);
        let blocks = blocks.fold(0, u64::saturating_add);
        Self {
            volume,
            raw,
            report,
            map,
            bytes_left: blocks.saturating_mul(volume.block_bytes()).min(BYTES_MAX),
            is_full: false,
            found: Attributes::default(),
        }
    }

    fn complain(&mut self, severity: Severity, offset: u64, detail: impl Into<String>) {
        let finding = Finding::new(severity, Layer::Inode, FindingCode::Corrupt, detail);
        self.report
            .push(finding.at(self.volume.in_image(offset)).on_inode(self.raw.number));
    }

    /// Says that a block is used although its checksum is wrong.
    fn doubt(&mut self, offset: u64, detail: String) {
        let finding = doubtful(Layer::Inode, detail, self.volume.in_image(offset));
        self.report.push(finding.on_inode(self.raw.number));
    }

    /// Attributes inside the inode: length of name and value, flags, name, value.
    fn short(&mut self, bytes: &[u8]) {
        let count = u8_at(bytes, 2).unwrap_or(0);
        let mut at: usize = 4;
        for _ in 0..count {
            let entry = (|| {
                let name_len = usize::from(u8_at(bytes, at)?);
                let value_len = usize::from(u8_at(bytes, at.checked_add(1)?)?);
                let flags = u8_at(bytes, at.checked_add(2)?)?;
                let name_at = at.checked_add(3)?;
                let value_at = name_at.checked_add(name_len)?;
                let end = value_at.checked_add(value_len)?;
                Some((
                    flags,
                    bytes.get(name_at..value_at)?,
                    bytes.get(value_at..end)?,
                    end,
                ))
            })();
            let Some((flags, name, value, end)) = entry else {
                return self.complain(Severity::Loss, self.raw.offset, "short attributes are cut");
            };
            self.keep(flags, name, value.to_vec());
            at = end;
        }
    }

    /// Walks the tree from its root in block 0: nodes lead to blocks of the fork.
    fn tree(&mut self) {
        // Places, not numbers: blocks of the fork may all lie in one place.
        let mut visited = BTreeSet::new();
        let mut stack = vec![0_u32];
        let mut left = BLOCKS_MAX;
        while let Some(number) = stack.pop() {
            let block = self.block(number.into());
            left = left.saturating_sub(1);
            if left == 0 || block.as_ref().is_some_and(|(_, offset)| !visited.insert(*offset)) {
                return self.complain(
                    Severity::Loss,
                    self.raw.offset,
                    "the tree of attributes runs in circles",
                );
            }
            let Some((block, offset)) = block else {
                continue;
            };
            let is_v5 = self.volume.superblock.is_v5();
            match (be_u16(&block, 8), is_v5) {
                (Some(0xfebe), false) => stack.extend(children(&block, 12, 16)),
                (Some(0x3ebe), true) => stack.extend(children(&block, 56, 64)),
                (Some(0xfbee), false) => self.leaf(&block, offset, 12, 32),
                (Some(0x3bee), true) => self.leaf(&block, offset, 56, 80),
                _ => {
                    self.complain(Severity::Loss, offset, "a block of attributes is none");
                    continue;
                }
            }
            if is_v5 && let Some(complaint) = checked(&block, BLOCK_CRC).complaint("a block of attributes") {
                self.doubt(offset, complaint);
            }
            if self.is_full {
                return self.tell_limit(offset);
            }
        }
    }

    /// Takes the bytes of a name or value; false if there cannot be so many.
    fn afford(&mut self, bytes: u64) -> bool {
        let left = self.bytes_left.checked_sub(bytes);
        self.is_full |= left.is_none();
        self.bytes_left = left.unwrap_or(0);
        left.is_some()
    }

    fn tell_limit(&mut self, offset: u64) {
        let detail = "attributes that share their bytes were not read to their end";
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Limit, detail);
        self.report
            .push(finding.at(self.volume.in_image(offset)).on_inode(self.raw.number));
    }

    fn block(&mut self, logical: u64) -> Option<(Vec<u8>, u64)> {
        let Some(offset) = self.map.block(self.volume, logical) else {
            let detail = format!("block {logical} of the attributes does not exist");
            self.complain(Severity::Loss, self.raw.offset, detail);
            return None;
        };
        let mut block = vec![0; self.volume.block_len()];
        if let Err(error) = self.volume.read(offset, &mut block) {
            let finding = unreadable(
                &error,
                Layer::Inode,
                "a block of attributes",
                self.volume.in_image(offset),
            );
            self.report.push(finding.on_inode(self.raw.number));
            return None;
        }
        Some((block, offset))
    }

    fn leaf(&mut self, block: &[u8], offset: u64, count_at: usize, entries_at: usize) {
        let count = be_u16(block, count_at).map_or(0, usize::from);
        let entries = block.get(entries_at..).unwrap_or_default();
        let mut is_cut = false;
        for entry in entries.chunks_exact(ENTRY_LEN).take(count) {
            if self.is_full {
                break;
            }
            let place = be_u16(entry, 4).map_or(0, usize::from);
            let flags = u8_at(entry, 6).unwrap_or(0);
            let taken = if flags & flag::INCOMPLETE != 0 {
                Some(())
            } else if flags & flag::LOCAL != 0 {
                self.local(block, place, flags)
            } else {
                self.remote(block, place, flags)
            };
            is_cut |= taken.is_none();
        }
        if is_cut {
            self.complain(
                Severity::Loss,
                offset,
                "attributes that do not lie in their block",
            );
        }
    }

    fn local(&mut self, block: &[u8], at: usize, flags: u8) -> Option<()> {
        let value_len = usize::from(be_u16(block, at)?);
        let name_len = usize::from(u8_at(block, at.checked_add(2)?)?);
        let name_at = at.checked_add(3)?;
        let value_at = name_at.checked_add(name_len)?;
        let name = block.get(name_at..value_at)?;
        let value = block.get(value_at..value_at.checked_add(value_len)?)?;
        if self.afford(entry_bytes(name, value)) {
            self.keep(flags, name, value.to_vec());
        }
        Some(())
    }

    fn remote(&mut self, block: &[u8], at: usize, flags: u8) -> Option<()> {
        let first = be_u32(block, at)?;
        let len = be_u32(block, at.checked_add(4)?)?;
        let name_len = usize::from(u8_at(block, at.checked_add(8)?)?);
        let name_at = at.checked_add(9)?;
        let name = block.get(name_at..name_at.checked_add(name_len)?)?;
        (len <= VALUE_MAX).then_some(())?;
        if !self.afford(entry_bytes(name, &[])) {
            return Some(());
        }
        let (extents, is_whole) = self.value_extents(first, len);
        if len <= SMALL_MAX
            && is_whole
            && let Some(value) = self.value(&extents, len)
        {
            self.keep(flags, name, value);
            return Some(());
        }
        self.found.large.push(Stream {
            kind: StreamKind::Xattr(full_name(flags, name)),
            size_bytes: len.into(),
            extents,
            encoding: Encoding::Plain,
            extents_incomplete: !is_whole,
        });
        Some(())
    }

    /// Where a large value lies: whole blocks in version 4, in version 5 each behind a header.
    fn value_extents(&mut self, first: u32, len: u32) -> (Vec<Extent>, bool) {
        let header = if self.volume.superblock.is_v5() {
            REMOTE_HEADER
        } else {
            0
        };
        let header_bytes = u64::try_from(header).unwrap_or(0);
        let room = self.volume.block_bytes().saturating_sub(header_bytes);
        let (mut extents, mut logical, mut done) = (Vec::new(), u64::from(first), 0_u64);
        while done < u64::from(len) {
            let Some(offset) = self.map.block(self.volume, logical) else {
                self.complain(
                    Severity::Loss,
                    self.raw.offset,
                    "blocks of an attribute's value do not exist",
                );
                return (extents, false);
            };
            if !self.afford(self.volume.block_bytes()) {
                return (extents, false);
            }
            if header > 0 {
                self.check_remote(offset);
            }
            let part = room.min(u64::from(len).saturating_sub(done));
            push_joined(
                &mut extents,
                Extent {
                    logical_offset: done,
                    image_offset: self.volume.in_image(offset.saturating_add(header_bytes)),
                    len: part,
                    kind: ExtentKind::Data,
                },
            );
            done = done.saturating_add(part);
            logical = logical.saturating_add(1);
        }
        (extents, true)
    }

    fn check_remote(&mut self, offset: u64) {
        let mut block = vec![0; self.volume.block_len()];
        if self.volume.read(offset, &mut block).is_err() {
            return;
        }
        if !block.starts_with(b"XARM") {
            self.complain(
                Severity::Warning,
                offset,
                "a block of an attribute's value has no header",
            );
        } else if let Some(complaint) =
            checked(&block, REMOTE_CRC).complaint("a block of an attribute's value")
        {
            self.doubt(offset, complaint);
        }
    }

    fn value(&self, extents: &[Extent], len: u32) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let start = self.volume.in_image(0);
        for extent in extents {
            let mut part = vec![0; usize::try_from(extent.len).ok()?];
            self.volume
                .read(extent.image_offset.checked_sub(start)?, &mut part)
                .ok()?;
            value.append(&mut part);
        }
        (u32::try_from(value.len()) == Ok(len)).then_some(value)
    }

    /// Keeps a small attribute. Parent pointers repeat what directories say.
    fn keep(&mut self, flags: u8, name: &[u8], value: Vec<u8>) {
        if flags & (flag::PARENT | flag::INCOMPLETE) != 0 {
            return;
        }
        let name = full_name(flags, name);
        let (name, value) = match acl_name(&name).and_then(|posix| Some((posix, posix_acl(&value)?))) {
            Some((posix, value)) => (posix.to_vec(), value),
            None => (name, value),
        };
        self.found.small.push(Xattr { name, value });
    }
}

/// What an entry takes in its leaf, at least.
fn entry_bytes(name: &[u8], value: &[u8]) -> u64 {
    let bytes = ENTRY_LEN.saturating_add(name.len()).saturating_add(value.len());
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Blocks that a node of the tree leads to, the first one last.
fn children(block: &[u8], count_at: usize, entries_at: usize) -> Vec<u32> {
    let count = be_u16(block, count_at).map_or(0, usize::from);
    let entries = block.get(entries_at..).unwrap_or_default();
    let children = entries.chunks_exact(8).take(count);
    let mut children: Vec<u32> = children.filter_map(|entry| be_u32(entry, 4)).collect();
    children.reverse();
    children
}

fn full_name(flags: u8, name: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = match flags & (flag::ROOT | flag::SECURE) {
        flag::ROOT => b"trusted.",
        flag::SECURE => b"security.",
        _ => b"user.",
    };
    [prefix, name].concat()
}

/// IRIX's names of access control lists, and those under which Linux shows them.
fn acl_name(name: &[u8]) -> Option<&'static [u8]> {
    match name {
        b"trusted.SGI_ACL_FILE" => Some(b"system.posix_acl_access"),
        b"trusted.SGI_ACL_DEFAULT" => Some(b"system.posix_acl_default"),
        _ => None,
    }
}

/// From `struct xfs_acl` to the form of the attribute that Linux shows (`posix_acl_xattr.h`).
fn posix_acl(value: &[u8]) -> Option<Vec<u8>> {
    let count = usize::try_from(be_u32(value, 0)?).ok()?;
    let entries = value.get(4..)?;
    (entries.len() == count.checked_mul(12)?).then_some(())?;
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(12) {
        let tag = u16::try_from(be_u32(entry, 0)?).ok()?;
        // Only entries for a user or a group have a number (ACL_USER, ACL_GROUP).
        let id = if matches!(tag, 0x02 | 0x08) {
            u32::from_be_bytes(array(entry, 4)?)
        } else {
            u32::MAX
        };
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&be_u16(entry, 8)?.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    Some(acl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_prefix_of_their_namespace() {
        assert_eq!(full_name(flag::LOCAL, b"a"), b"user.a");
        assert_eq!(full_name(flag::ROOT | flag::LOCAL, b"a"), b"trusted.a");
        assert_eq!(full_name(flag::SECURE, b"selinux"), b"security.selinux");
    }

    #[test]
    fn access_control_lists_are_turned_into_those_of_linux() {
        let entry = |tag: u32, id: u32, mode: u16| {
            [
                &tag.to_be_bytes()[..],
                &id.to_be_bytes(),
                &mode.to_be_bytes(),
                &[0, 0],
            ]
            .concat()
        };
        let value = [2_u32.to_be_bytes().to_vec(), entry(1, 0, 7), entry(2, 1000, 5)].concat();
        let expected = [
            2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xe8, 3, 0, 0,
        ];
        assert_eq!(posix_acl(&value).as_deref(), Some(&expected[..]));
        assert_eq!(posix_acl(&value[..20]), None);
    }

    /// Two inodes of which each has the same fork as the other.
    #[test]
    fn r22_attributes_of_all_inodes_are_bounded_together() {
        let volume = Volume::claiming(leaf(flag::LOCAL, &[3, 0, 1, b'a']));
        let mut inode = vec![0; 256];
        inode[..5].copy_from_slice(b"IN\x81\xa4\x02");
        let raw = RawInode::new(&inode, 128, 0).expect("an inode");
        // One block of the fork, which is the first of the volume.
        let run = [&[0; 15][..], &[1]].concat();
        let fork = Fork {
            format: Format::Extents,
            bytes: &run,
            at: 0,
            extents: 1,
        };
        let (mut mapper, mut report) = (Mapper::new(&volume, 10), Report::default());
        let mut left = 6000;
        let counts = [(); 3].map(|()| {
            let found = read((&volume, &mut mapper), &raw, &fork, &mut left, &mut report);
            found.small.len()
        });
        assert_eq!((counts, left), ([5, 2, 0], 0));
        assert_eq!(report.take().len(), 3, "each is told of");
    }

    /// The attributes of an inode whose fork maps `runs`, each to the first block of the volume, and what is said of them.
    fn attributes_of(block: Vec<u8>, runs: u64) -> (Attributes, Vec<FindingCode>) {
        let volume = Volume::claiming(block);
        let mut inode = vec![0; 256];
        inode[..5].copy_from_slice(b"IN\x81\xa4\x02");
        let raw = RawInode::new(&inode, 128, 0).expect("an inode");
        let runs = (0..runs).map(|logical| super::super::fork::Run {
            logical,
            offset: 0,
            len: 1,
            is_unwritten: false,
        });
        let map = Map {
            runs: runs.collect(),
            is_incomplete: false,
        };
        let mut report = Report::default();
        let mut reader = Reader::new(&volume, &raw, &mut report, map);
        reader.tree();
        let found = reader.found;
        let codes = report.take().iter().map(|finding| finding.code).collect();
        (found, codes)
    }

    /// A leaf whose entries all have the flags and the place, where `item` stands.
    fn leaf(flags: u8, item: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 4096];
        block[8..10].copy_from_slice(&[0xfb, 0xee]);
        block[12..14].copy_from_slice(&100_u16.to_be_bytes());
        for entry in block[32..32 + 800].chunks_exact_mut(8) {
            entry[4..7].copy_from_slice(&[4, 0, flags]);
        }
        block[1024..1024 + item.len()].copy_from_slice(item);
        block
    }

    /// Entries of a leaf that all name one value made a copy of it each.
    #[test]
    fn r22_attributes_that_share_their_bytes_are_bounded() {
        let (found, codes) = attributes_of(leaf(flag::LOCAL, &[3, 0, 1, b'a']), 1);
        assert_eq!((found.small.len(), codes), (5, vec![FindingCode::Limit]));
        // In blocks of their own, at block 1 of the fork.
        let (found, codes) = attributes_of(leaf(0, &[0, 0, 0, 1, 0, 0, 0x0f, 0, 1, b'a']), 4);
        assert_eq!((found.small.len(), codes), (3, vec![FindingCode::Limit]));
        assert!(found.large.iter().all(|stream| stream.extents_incomplete));
    }

    /// A node whose children all lie where it lies itself.
    #[test]
    fn r22_blocks_of_attributes_in_one_place_are_read_once() {
        let mut node = vec![0; 4096];
        node[8..10].copy_from_slice(&[0xfe, 0xbe]);
        node[12..14].copy_from_slice(&500_u16.to_be_bytes());
        for (number, entry) in (1_u32..).zip(node[16..16 + 4000].chunks_exact_mut(8)) {
            entry[4..].copy_from_slice(&number.to_be_bytes());
        }
        let (_, codes) = attributes_of(node, 501);
        assert_eq!(codes, [FindingCode::Corrupt]);
    }
}
