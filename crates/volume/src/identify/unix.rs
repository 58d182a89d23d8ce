//! Old file systems of Unix and OS/2, flash, and what wraps them.

use ntt_source::ReadAt;
use ntt_source::field::{array, be_u32, le_u16, le_u32, u8_at};

use super::Class::{Encrypted, FileSystem, Other, VolumeManager};
use super::Identified;
use super::special::lvm_uuid;
use crate::bytes::{padded_text, read, read_vec, uuid_text};
use crate::checksum::crc32;

/// BitLocker To Go: a boot sector of FAT whose identifier stands at byte 424 (libbde, "BitLocker Drive Encryption").
pub(super) fn bitlocker_to_go(source: &dyn ReadAt) -> Option<Identified> {
    const ID: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
    let sector = read::<512>(source, 0).ok()?;
    let named = sector.starts_with(b"\xeb\x58\x90MSWIN4.1") && sector.get(424..440)? == ID;
    named.then(|| Identified::new(Encrypted, "BitLocker"))
}

/// HPFS: superblock in sector 16, spare block in sector 17; label and serial number in the boot sector.
pub(super) fn hpfs(source: &dyn ReadAt) -> Option<Identified> {
    let blocks = read::<1024>(source, 8192).ok()?;
    blocks.starts_with(b"\x49\xe8\x95\xf9").then_some(())?;
    let size = u64::from(le_u32(&blocks, 16)?).checked_mul(512);
    let identified = Identified::new(FileSystem, "hpfs").with_size(size);
    let boot = read::<512>(source, 0).ok()?;
    if le_u16(&boot, 510)? != 0xaa55 || u8_at(&boot, 38)? != 0x28 {
        return Some(identified);
    }
    let serial = le_u32(&boot, 39)?;
    let uuid = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
    Some(
        identified
            .with_uuid(uuid)
            .with_label(padded_text(boot.get(43..54)?)),
    )
}

/// System V: the magic near the end of a superblock of 512 bytes at one of four places, in either byte order (Linux `fs/sysv`).
pub(super) fn sysv(source: &dyn ReadAt) -> Option<Identified> {
    [0_u64, 9, 15, 18].into_iter().find_map(|block| {
        let at = block.saturating_mul(1024).saturating_add(512);
        let sector = read::<512>(source, at).ok()?;
        let magic = sector.get(504..508)?;
        matches!(magic, b"\x20\x7e\x18\xfd" | b"\xfd\x18\x7e\x20").then_some(())?;
        Some(Identified::new(FileSystem, "sysv").with_label(padded_text(sector.get(440..446)?)))
    })
}

/// Xenix: the magic ends a superblock of 1024 bytes at byte 1024.
pub(super) fn xenix(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<1032>(source, 1024).ok()?;
    let is_magic = matches!(block.get(1016..1020)?, b"\x44\x55\x2b\0" | b"\0\x2b\x55\x44");
    is_magic.then_some(())?;
    Some(Identified::new(FileSystem, "xenix").with_label(padded_text(block.get(632..638)?)))
}

/// LVM1 (`pv_disk_t` of the kernel's `lvm.h`).
pub(super) fn lvm1(source: &dyn ReadAt) -> Option<Identified> {
    let head = read::<512>(source, 0).ok()?;
    // The version, and the place of the PV's own structure, which is the start.
    let named = head.starts_with(b"HM") && matches!(le_u16(&head, 2)?, 1 | 2) && le_u32(&head, 4)? == 0;
    named.then_some(())?;
    let uuid = lvm_uuid(&padded_text(head.get(44..76)?));
    Some(Identified::new(VolumeManager, "LVM1_member").with_uuid(uuid))
}

/// UBI, an eraseblock's header with its checksum; the identifier is the number of the image (`ubi-media.h`).
pub(super) fn ubi(source: &dyn ReadAt) -> Option<Identified> {
    let head = read::<64>(source, 0).ok()?;
    let sum = !crc32(head.get(..60)?);
    (head.starts_with(b"UBI#") && sum == be_u32(&head, 60)?).then_some(())?;
    let uuid = be_u32(&head, 24)?.to_string();
    Some(Identified::new(VolumeManager, "ubi").with_uuid(uuid))
}

/// UBIFS: a superblock node (`ubifs-media.h`).
pub(super) fn ubifs(source: &dyn ReadAt) -> Option<Identified> {
    let node = read::<128>(source, 0).ok()?;
    (node.starts_with(b"\x31\x18\x10\x06") && u8_at(&node, 20)? == 6).then_some(())?;
    let size = u64::from(le_u32(&node, 36)?).checked_mul(le_u32(&node, 40)?.into());
    let uuid = uuid_text(array(&node, 108)?);
    Some(
        Identified::new(FileSystem, "ubifs")
            .with_uuid(uuid)
            .with_size(size),
    )
}

/// zonefs, with its checksum (`fs/zonefs/zonefs.h`).
pub(super) fn zonefs(source: &dyn ReadAt) -> Option<Identified> {
    let mut block = read_vec(source, 0, 4096).ok()?;
    block.starts_with(b"SFOZ").then_some(())?;
    let expected = le_u32(&block, 4)?;
    block.get_mut(4..8)?.fill(0);
    (!crc32(&block) == expected).then_some(())?;
    let uuid = uuid_text(array(&block, 40)?);
    let label = padded_text(block.get(8..40)?);
    Some(
        Identified::new(FileSystem, "zonefs")
            .with_label(label)
            .with_uuid(uuid),
    )
}

/// A log of XFS on a device of its own: a record head with version, length and format that make sense. Records start on sectors; a log that
/// was in use may start in the middle of one, so 256 KiB are looked at.
pub(super) fn xfs_log(source: &dyn ReadAt) -> Option<Identified> {
    let len = usize::try_from(source.len().min(1 << 18)).ok()?;
    let bytes = read_vec(source, 0, len).ok()?;
    // The log of a file system itself is no device of its own.
    (!bytes.starts_with(b"XFSB")).then_some(())?;
    bytes.chunks_exact(512).find_map(|head| {
        head.starts_with(b"\xfe\xed\xba\xbe").then_some(())?;
        let plausible =
            matches!(be_u32(head, 8)?, 1 | 2) && be_u32(head, 12)? > 0 && matches!(be_u32(head, 300)?, 1..=3);
        plausible.then_some(())?;
        let uuid = uuid_text(array(head, 304)?);
        Some(Identified::new(Other, "xfs_external_log").with_uuid(uuid))
    })
}

/// An external journal of ext: the superblock of ext with the feature `JOURNAL_DEV`.
pub(super) fn external_journal(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<256>(source, 1024).ok()?;
    (le_u16(&block, 56)? == 0xef53 && le_u32(&block, 96)? & 8 != 0).then_some(())?;
    let uuid = uuid_text(array(&block, 104)?);
    let label = padded_text(block.get(120..136)?);
    Some(Identified::new(Other, "jbd").with_label(label).with_uuid(uuid))
}
