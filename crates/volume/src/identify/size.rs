//! How large the thing says it is, where that is one multiplication away.

use ntt_source::ReadAt;
use ntt_source::field::{be_u32, be_u64, le_u32, le_u64, u8_at};

use crate::bytes::read;

/// The size in bytes that the superblock of a `type_name` gives; `None` if that is not known here.
pub(super) fn size_bytes(type_name: &str, source: &dyn ReadAt) -> Option<u64> {
    match type_name {
        "btrfs" => le_u64(&read::<8>(source, 65_648).ok()?, 0),
        "erofs" => {
            let block = read::<64>(source, 1024).ok()?;
            shifted(le_u32(&block, 36)?.into(), u8_at(&block, 12)?.into())
        }
        "f2fs" => {
            let block = read::<64>(source, 1024).ok()?;
            shifted(le_u64(&block, 36)?, le_u32(&block, 16)?)
        }
        "nilfs2" => le_u64(&read::<64>(source, 1024).ok()?, 32),
        "xfs" => {
            let block = read::<16>(source, 0).ok()?;
            be_u64(&block, 8)?.checked_mul(be_u32(&block, 4)?.into())
        }
        "jfs" => {
            let block = read::<32>(source, 32_768).ok()?;
            le_u64(&block, 8)?.checked_mul(le_u32(&block, 24)?.into())
        }
        "bfs" => u64::from(le_u32(&read::<16>(source, 0).ok()?, 8)?).checked_add(1),
        "ReFS" => {
            let block = read::<64>(source, 0).ok()?;
            le_u64(&block, 24)?.checked_mul(le_u32(&block, 32)?.into())
        }
        "befs" => befs_bytes(source),
        "vxfs" => vxfs_bytes(source),
        _ => None,
    }
}

fn shifted(count: u64, bits: u32) -> Option<u64> {
    count.checked_mul(1_u64.checked_shl(bits)?)
}

fn befs_bytes(source: &dyn ReadAt) -> Option<u64> {
    let block = read::<64>(source, 512).ok()?;
    if block.get(32..36)? == b"1SFB" {
        le_u64(&block, 48)?.checked_mul(le_u32(&block, 40)?.into())
    } else {
        be_u64(&block, 48)?.checked_mul(be_u32(&block, 40)?.into())
    }
}

fn vxfs_bytes(source: &dyn ReadAt) -> Option<u64> {
    let little = read::<48>(source, 1024).ok()?;
    if little.starts_with(b"\xf5\xfc\x01\xa5") {
        return u64::from(le_u32(&little, 36)?).checked_mul(le_u32(&little, 32)?.into());
    }
    let big = read::<48>(source, 8192).ok()?;
    u64::from(be_u32(&big, 36)?).checked_mul(be_u32(&big, 32)?.into())
}
