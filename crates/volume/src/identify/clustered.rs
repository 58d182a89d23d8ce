//! File systems and stores of clusters and servers, pools and encrypted volumes whose identifiers need some work.

use ntt_source::ReadAt;
use ntt_source::field::{array, be_u32, be_u64, le_u16, le_u32, le_u64, u8_at};

use super::Class::{Encrypted, FileSystem, VolumeManager};
use super::Identified;
use super::magic::uuid_at;
use crate::bytes::{padded_text, read, read_vec, uuid_text};
use crate::checksum::crc32c;

/// FileVault 2 over Core Storage: the header of a physical volume (libfvde, "FileVault Drive Encryption"), with its checksum.
pub(super) fn file_vault(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<512>(source, 0).ok()?;
    let is_core_storage = block.get(88..90)? == b"CS"
        && le_u16(&block, 8)? == 1
        && le_u16(&block, 10)? == 0x10
        && le_u32(&block, 90)? == 1
        && le_u32(&block, 168)? == 16
        && le_u32(&block, 172)? == 2;
    let sum = crc32c(le_u32(&block, 4)?, block.get(8..)?);
    (is_core_storage && sum == le_u32(&block, 0)?).then_some(())?;
    let uuid = uuid_text(array(&block, 304)?);
    Some(Identified::new(Encrypted, "cs_fvault2").with_uuid(uuid))
}

/// ScoutFS: the same superblock on both devices of a file system; a flag tells which.
pub(super) fn scoutfs(source: &dyn ReadAt) -> Option<Identified> {
    let block = read_vec(source, 65_536, 4096).ok()?;
    (block.get(4..8)? == b"\x8b\x42\x3c\x10").then_some(())?;
    (crc32c(u32::MAX, block.get(4..)?) == le_u32(&block, 0)?).then_some(())?;
    let is_metadata = le_u64(&block, 48)? & 1 == 1;
    let type_name = if is_metadata {
        "scoutfs_meta"
    } else {
        "scoutfs_data"
    };
    Some(Identified::new(FileSystem, type_name).with_uuid(uuid_text(array(&block, 56)?)))
}

/// GFS and GFS2 (`include/uapi/linux/gfs2_ondisk.h`): one magic, told apart by the format numbers.
pub(super) fn gfs(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<512>(source, 65_536).ok()?;
    block.starts_with(b"\x01\x16\x19\x70").then_some(())?;
    let type_name = match (be_u32(&block, 24)?, be_u32(&block, 28)?) {
        (1309, 1401) => "gfs",
        (1801..=1899, 1900..=1999) => "gfs2",
        _ => return None,
    };
    let label = padded_text(block.get(160..224)?);
    let uuid = uuid_at(source, 65_536 + 256).unwrap_or_default();
    Some(
        Identified::new(FileSystem, type_name)
            .with_label(label)
            .with_uuid(uuid),
    )
}

/// OCFS2: the superblock is an inode in block 2, whatever the block size (`fs/ocfs2/ocfs2_fs.h`).
pub(super) fn ocfs2(source: &dyn ReadAt) -> Option<Identified> {
    [1024_u64, 2048, 4096, 8192].into_iter().find_map(|at| {
        let block = read::<512>(source, at).ok()?;
        block.starts_with(b"OCFSV2").then_some(())?;
        let clusters = u64::from(le_u32(&block, 20)?);
        let cluster_bytes = 1_u64.checked_shl(le_u32(&block, 252)?).unwrap_or(0);
        let size = clusters.checked_mul(cluster_bytes);
        Some(
            Identified::new(FileSystem, "ocfs2")
                .with_label(padded_text(block.get(272..336)?))
                .with_uuid(uuid_text(array(&block, 336)?))
                .with_size(size),
        )
    })
}

/// The first Oracle cluster file system: a head, and behind it the label with lengths of its own.
pub(super) fn ocfs(source: &dyn ReadAt) -> Option<Identified> {
    let head = read::<1024>(source, 0).ok()?;
    (head.get(8..17)? == b"OracleCFS").then_some(())?;
    let len = usize::from(le_u16(&head, 512 + 112)?).min(64);
    let label = head.get(560..624)?.get(..len)?;
    let uuid = uuid_text(array(&head, 512 + 114)?);
    Some(
        Identified::new(FileSystem, "ocfs")
            .with_label(padded_text(label))
            .with_uuid(uuid),
    )
}

/// The UUID of VMFS: words little-endian, the rest as stored.
pub(super) fn vmfs(source: &dyn ReadAt) -> Option<Identified> {
    let head = read::<256>(source, 0x20_0000).ok()?;
    head.starts_with(b"\x5e\xf1\xab\x2f").then_some(())?;
    let (first, second, third) = (le_u32(&head, 9)?, le_u32(&head, 13)?, le_u16(&head, 17)?);
    let rest: [u8; 6] = array(&head, 19)?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(
        Identified::new(FileSystem, "VMFS")
            .with_label(padded_text(head.get(29..157)?))
            .with_uuid(format!("{first:08x}-{second:08x}-{third:04x}-{rest}")),
    )
}

/// bcachefs: the size is the sum over its members (`fs/bcachefs/bcachefs_format.h`).
pub(super) fn bcachefs(source: &dyn ReadAt) -> Option<Identified> {
    const MAGICS: [&[u8; 16]; 2] = [
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ];
    let block = read_vec(source, 4096, 4096).ok()?;
    let magic: [u8; 16] = array(&block, 24)?;
    // A cache device of bcache has the second magic too, and sector 8 where this has a UUID.
    let named = MAGICS.iter().any(|known| **known == magic) && le_u64(&block, 104)? == 8;
    (named && u8_at(&block, 123)? > 0).then_some(())?;
    Some(
        Identified::new(FileSystem, "bcachefs")
            .with_uuid(uuid_text(array(&block, 56)?))
            .with_label(padded_text(block.get(72..104)?))
            .with_size(bcachefs_bytes(&block)),
    )
}

/// The sum of the members' buckets, from the field of type 1 behind the fixed part.
fn bcachefs_bytes(block: &[u8]) -> Option<u64> {
    let mut at = 752_usize;
    for _ in 0..64 {
        let words = usize::try_from(le_u32(block, at)?).ok()?;
        let len = words.checked_mul(8).filter(|len| *len >= 8)?;
        let field = block.get(at..at.checked_add(len)?)?;
        match le_u32(field, 4)? {
            0 => return None,
            1 => return members_bytes(field.get(8..)?, 56, 16),
            // The members of later versions say how long each is.
            11 => {
                let each = usize::from(le_u16(field, 8)?);
                return members_bytes(field.get(16..)?, each.max(56), 16);
            }
            _ => at = at.checked_add(len)?,
        }
    }
    None
}

fn members_bytes(members: &[u8], each: usize, buckets_at: usize) -> Option<u64> {
    let mut sectors = 0_u64;
    for member in members.chunks_exact(each) {
        let buckets = le_u64(member, buckets_at)?;
        let bucket = le_u16(member, buckets_at.checked_add(10)?)?;
        sectors = sectors.checked_add(buckets.checked_mul(bucket.into())?)?;
    }
    sectors.checked_mul(512)
}

/// ZFS: at least four uberblocks in the ring of the first label (from byte 131,072, one a KiB); the pool's name and number stand in the
/// list of the label.
pub(super) fn zfs(source: &dyn ReadAt) -> Option<Identified> {
    let uberblocks = (0..128_u64).filter(|index| {
        let at = index.saturating_mul(1024).saturating_add(131_072);
        read::<8>(source, at)
            .is_ok_and(|raw| matches!(u64::from_le_bytes(raw), 0x00ba_b10c | 0x0cb1_ba00_0000_0000))
    });
    (uberblocks.take(4).count() == 4).then_some(())?;
    let list = read_vec(source, 16_384, 16_384).unwrap_or_default();
    let name = zfs_value(&list, b"name", 9).map(padded_text).unwrap_or_default();
    let guid = zfs_value(&list, b"pool_guid", 8).and_then(|raw| be_u64(raw, 0));
    let guid = guid.map(|guid| guid.to_string()).unwrap_or_default();
    Some(
        Identified::new(VolumeManager, "zfs_member")
            .with_label(name)
            .with_uuid(guid),
    )
}

/// The value of a pair of an XDR name-value list: pairs of two sizes, name, type, count and value, each padded to four bytes.
fn zfs_value<'a>(list: &'a [u8], wanted: &[u8], kind: u32) -> Option<&'a [u8]> {
    let mut at = 12_usize;
    for _ in 0..64 {
        let len = usize::try_from(be_u32(list, at)?).ok().filter(|len| *len >= 20)?;
        let pair = list.get(at..at.checked_add(len)?)?;
        let name_len = usize::try_from(be_u32(pair, 8)?).ok()?;
        let name = pair.get(12..)?.get(..name_len)?;
        let value = pair.get(12..)?.get(name_len.checked_next_multiple_of(4)?..)?;
        if name == wanted && be_u32(value, 0)? == kind {
            let value = value.get(8..)?;
            // A string has its length before it.
            let is_string = kind == 9;
            let len = if is_string {
                usize::try_from(be_u32(value, 0)?).ok()?
            } else {
                8
            };
            return value.get(if is_string { 4 } else { 0 }..)?.get(..len);
        }
        at = at.checked_add(len)?;
    }
    None
}

/// Stratis: a signature block in sector 1 or 9, with a checksum; identifiers as 32 hexadecimal digits.
pub(super) fn stratis(source: &dyn ReadAt) -> Option<Identified> {
    [512_u64, 4608].into_iter().find_map(|at| {
        let block = read::<512>(source, at).ok()?;
        (block.get(4..20)? == b"!Stra0tis\x86\xff\x02^\x41rh").then_some(())?;
        (!crc32c(u32::MAX, block.get(4..)?) == le_u32(&block, 0)?).then_some(())?;
        let digits = padded_text(block.get(64..96)?);
        Some(Identified::new(VolumeManager, "stratis").with_uuid(dashed(&digits)))
    })
}

/// 32 digits in groups of 8-4-4-4-12.
fn dashed(digits: &str) -> String {
    let mut shown = String::new();
    for (index, character) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            shown.push('-');
        }
        shown.push(character);
    }
    shown
}
