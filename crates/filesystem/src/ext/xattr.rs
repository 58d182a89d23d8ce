//! Extended attributes in the inode, in a block of their own, and in inodes of their own (Linux `fs/ext4/xattr.h`).

use ntt_model::entry::Xattr;
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::checksum::crc32c;
use super::inode::{GOOD_OLD_LEN, RawInode};
use super::stream::InlineValue;
use super::superblock::Superblock;

/// `h_magic`, in the body and in the block.
const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER_LEN: usize = 32;
/// `h_checksum`.
const CHECKSUM_AT: usize = 16;
const ENTRY_LEN: usize = 16;
/// Prefix index of `system.`.
const SYSTEM: u8 = 7;
/// `e_name_index` of the encryption context, which has no name in user space.
const ENCRYPTION: u8 = 9;
/// Longest name and value: bounds of Linux.
const VALUE_MAX: u32 = 1 << 24;

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place<'b> {
    /// Beside the entries.
    Here(&'b [u8], InlineValue),
    /// The content of an inode.
    Inode(u32, u64),
}

/// One attribute as found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RawAttribute<'b> {
    index: u8,
    suffix: &'b [u8],
    pub(super) value: Place<'b>,
}

impl RawAttribute<'_> {
    /// Whether it holds the rest of an inode's inline data.
    pub(super) fn is_inline_data(&self) -> bool {
        self.index == SYSTEM && self.suffix == b"data"
    }

    /// The full name as `getfattr` shows it.
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix: &[u8] = match self.index {
            1 => b"user.",
            2 => b"system.posix_acl_access",
            3 => b"system.posix_acl_default",
            4 => b"trusted.",
            6 => b"security.",
            SYSTEM => b"system.",
            8 => b"system.richacl",
            ENCRYPTION => b"encryption.",
            _ => b"",
        };
        [prefix, self.suffix].concat()
    }

    /// The attribute with `value`, as `getfattr` shows it.
    pub(super) fn with_value(&self, value: &[u8]) -> Xattr {
        let is_acl = matches!(self.index, 2 | 3);
        let shown = if is_acl { acl_for_user_space(value) } else { None };
        Xattr {
            name: self.name(),
            value: shown.unwrap_or_else(|| value.to_vec()),
        }
    }
}

/// Attributes in the bytes after the inode's fields.
pub(super) fn in_body<'b>(inode: &RawInode<'b>) -> Result<Vec<RawAttribute<'b>>, String> {
    let start = GOOD_OLD_LEN.saturating_add(inode.extra_len());
    if inode.extra_len() == 0 || le_u32(inode.bytes(), start) != Some(MAGIC) {
        return Ok(Vec::new());
    }
    let entries = start.saturating_add(4);
    let bytes = inode.bytes().get(entries..).unwrap_or_default();
    let at = u64::try_from(entries)
        .unwrap_or(0)
        .saturating_add(inode.image_offset);
    parse(bytes, 0, at)
}

/// Attributes in a block of their own that lies at `image_offset`.
pub(super) fn in_block(block: &[u8], image_offset: u64) -> Result<Vec<RawAttribute<'_>>, String> {
    match le_u32(block, 0) {
        Some(MAGIC) => parse(block, BLOCK_HEADER_LEN, image_offset),
        magic => Err(format!(
            "magic of an attribute block is {:#010x}",
            magic.unwrap_or(0)
        )),
    }
}

/// Whether the checksum of an attribute block is right; `true` where there is none (Linux `ext4_xattr_block_csum`).
pub(super) fn checksum_right(block: &[u8], number: u64, superblock: &Superblock) -> bool {
    if !superblock.has_metadata_checksums() {
        return true;
    }
    let (head, rest) = block.split_at_checked(CHECKSUM_AT).unwrap_or((block, &[]));
    let numbered = crc32c(superblock.checksum_seed, &number.to_le_bytes());
    let computed = crc32c(
        crc32c(crc32c(numbered, head), &[0; 4]),
        rest.get(4..).unwrap_or_default(),
    );
    le_u32(block, CHECKSUM_AT) == Some(computed)
}

/// Entries from `offset` on; their values are counted from the start of `bytes`.
fn parse(bytes: &[u8], mut offset: usize, image_offset: u64) -> Result<Vec<RawAttribute<'_>>, String> {
    let mut attributes = Vec::new();
    while le_u32(bytes, offset).is_some_and(|head| head != 0) {
        let name_len = usize::from(u8_at(bytes, offset).unwrap_or(0));
        let name_start = offset.saturating_add(ENTRY_LEN);
        let name_end = name_start.saturating_add(name_len);
        let value = value(bytes, offset, image_offset);
        match (bytes.get(name_start..name_end), value) {
            (Some(suffix), Some(value)) => attributes.push(RawAttribute {
                index: u8_at(bytes, offset.saturating_add(1)).unwrap_or(0),
                suffix,
                value,
            }),
            _ => return Err(format!("attribute at byte {offset} passes the end of its place")),
        }
        offset = name_end.next_multiple_of(4);
    }
    Ok(attributes)
}

fn value(bytes: &[u8], entry: usize, image_offset: u64) -> Option<Place<'_>> {
    let start = le_u16(bytes, entry.checked_add(2)?)?;
    let inode = le_u32(bytes, entry.checked_add(4)?)?;
    let len = le_u32(bytes, entry.checked_add(8)?)?;
    if len > VALUE_MAX {
        return None;
    }
    if inode != 0 {
        return Some(Place::Inode(inode, u64::from(len)));
    }
    let start_byte = usize::from(start);
    let value = bytes.get(start_byte..start_byte.checked_add(usize::try_from(len).ok()?)?)?;
    let place = InlineValue {
        image_offset: image_offset.checked_add(u64::from(start))?,
        len: u64::from(len),
    };
    Some(Place::Here(value, place))
}

/// From the packed form on disk (`fs/ext4/acl.h`) to the one of `getxattr` (`linux/posix_acl_xattr.h`).
fn acl_for_user_space(disk: &[u8]) -> Option<Vec<u8>> {
    (le_u32(disk, 0)? == 1).then_some(())?;
    let mut out = 2_u32.to_le_bytes().to_vec();
    let mut offset = 4_usize;
    while offset < disk.len() {
        let head = disk.get(offset..offset.checked_add(4)?)?;
        let has_id = matches!(le_u16(head, 0)?, 0x02 | 0x08);
        let id = if has_id {
            le_u32(disk, offset.checked_add(4)?)?
        } else {
            u32::MAX
        };
        out.extend_from_slice(head);
        out.extend_from_slice(&id.to_le_bytes());
        offset = offset.checked_add(if has_id { 8 } else { 4 })?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Vec<u8> {
        let mut block = vec![0; 1024];
        block[..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[32..48].copy_from_slice(&[3, 1, 0xfc, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        block[48..51].copy_from_slice(b"key");
        block[0x3fc..0x3fe].copy_from_slice(b"ok");
        block
    }

    #[test]
    fn r27_an_attribute_has_its_full_name_and_value() {
        let block = block();
        let attributes = in_block(&block, 5000).expect("good");
        assert_eq!(attributes[0].name(), b"user.key");
        let place = InlineValue {
            image_offset: 5000 + 0x3fc,
            len: 2,
        };
        assert_eq!(attributes[0].value, Place::Here(b"ok", place));
        assert_eq!(attributes.len(), 1);
    }

    #[test]
    fn values_that_pass_the_block_are_refused() {
        let mut bytes = block();
        bytes[32 + 8] = 200;
        assert!(in_block(&bytes, 0).is_err());
        let mut bytes = block();
        bytes[0] = 1;
        assert!(in_block(&bytes, 0).is_err());
    }

    #[test]
    fn r27_access_lists_read_as_in_user_space() {
        let disk = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0];
        let shown = acl_for_user_space(&disk).expect("well formed");
        assert_eq!(shown[..12], [2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(shown[12..], [2, 0, 4, 0, 0xe8, 3, 0, 0]);
        assert_eq!(acl_for_user_space(&disk[..13]), None);
    }
}
