//! Types whose signature moves about, needs a second look, or whose identifiers need some work.

use ntt_source::ReadAt;
use ntt_source::field::{array, be_u16, be_u32, le_u16, le_u32, le_u64};

use super::magic::uuid_at;
use super::{Class, Identified, clustered, firmware, unix};
use crate::bytes::{padded_text, read, read_vec, uuid_text};

/// Magic number of Linux software RAID.
const MD_MAGIC: u32 = 0xa92b_4efc;

type Detector = fn(&dyn ReadAt) -> Option<Identified>;

/// All detectors, tried in this order.
pub(super) const DETECTORS: &[Detector] = &[
    md_modern,
    md_old,
    firmware::detect,
    firmware::drbd,
    firmware::vmfs_volume,
    lvm2,
    unix::lvm1,
    clustered::file_vault,
    unix::bitlocker_to_go,
    clustered::zfs,
    clustered::stratis,
    swap,
    ntfs,
    exfat,
    ufs,
    squashfs,
    minix,
    nilfs2,
    clustered::scoutfs,
    clustered::gfs,
    clustered::ocfs,
    clustered::ocfs2,
    clustered::vmfs,
    clustered::bcachefs,
    unix::hpfs,
    unix::sysv,
    unix::xenix,
    unix::ubi,
    unix::ubifs,
    unix::zonefs,
    unix::xfs_log,
    unix::external_journal,
];

/// Linux software RAID with superblock 1.0 (near the end), 1.1 (at 0) or 1.2 (at 4096): `md_p.h`.
fn md_modern(source: &dyn ReadAt) -> Option<Identified> {
    // 1.0 lies at least 8 KiB before the end, on a 4 KiB boundary.
    let last = (source.len() / 512)
        .checked_sub(16)
        .map(|sector| (sector & !7).saturating_mul(512));
    [Some(0), Some(4096), last].into_iter().flatten().find_map(|at| {
        let block = read::<256>(source, at).ok()?;
        (le_u32(&block, 0)? == MD_MAGIC && le_u32(&block, 4)? == 1).then_some(())?;
        let uuid = uuid_text(array(&block, 16)?);
        let label = padded_text(block.get(32..64)?);
        Some(
            Identified::new(Class::Raid, "linux_raid_member")
                .with_uuid(uuid)
                .with_label(label),
        )
    })
}

/// Linux software RAID with superblock 0.90, in the last 64 KiB block that is wholly inside.
fn md_old(source: &dyn ReadAt) -> Option<Identified> {
    let at = (source.len() & !0xffff).checked_sub(0x1_0000)?;
    let block = read::<64>(source, at).ok()?;
    // Its numbers have the byte order of the machine.
    let little = le_u32(&block, 0)? == MD_MAGIC && le_u32(&block, 4)? == 0;
    let big = be_u32(&block, 0)? == MD_MAGIC && be_u32(&block, 4)? == 0;
    (little || big).then_some(())?;
    let mut uuid = [0; 16];
    uuid.get_mut(..4)?.copy_from_slice(block.get(20..24)?);
    uuid.get_mut(4..)?.copy_from_slice(block.get(52..64)?);
    Some(Identified::new(Class::Raid, "linux_raid_member").with_uuid(uuid_text(uuid)))
}

/// LVM2: a label in one of the first four sectors (`lib/label/label.h`).
fn lvm2(source: &dyn ReadAt) -> Option<Identified> {
    [0_u64, 512, 1024, 1536].into_iter().find_map(|at| {
        let sector = read::<512>(source, at).ok()?;
        (sector.starts_with(b"LABELONE") && sector.get(24..32)? == b"LVM2 001").then_some(())?;
        let header = usize::try_from(le_u32(&sector, 20)?).ok()?;
        let raw = sector.get(header..header.checked_add(32)?).unwrap_or_default();
        Some(Identified::new(Class::VolumeManager, "LVM2_member").with_uuid(lvm_uuid(&padded_text(raw))))
    })
}

/// 32 characters, shown in groups of 6-4-4-4-4-4-6.
pub(super) fn lvm_uuid(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            shown.push('-');
        }
        shown.push(character);
    }
    shown
}

/// Swap, plain or holding a hibernated system: the signature ends the first page, whose size is the machine's (`include/linux/swap.h`).
fn swap(source: &dyn ReadAt) -> Option<Identified> {
    // TuxOnIce writes its own head over the first bytes and leaves the signature of the page.
    if read::<8>(source, 0).is_ok_and(|head| head == *b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c") {
        let uuid = uuid_at(source, 1036).unwrap_or_default();
        return Some(Identified::new(Class::Other, "swsuspend").with_uuid(uuid));
    }
    [4096_u64, 8192, 16_384, 32_768, 65_536]
        .into_iter()
        .find_map(|page| {
            let signature = read::<10>(source, page.checked_sub(10)?).ok()?;
            let (class, type_name) = match &signature {
                b"SWAP-SPACE" => return Some(Identified::new(Class::Swap, "swap")),
                b"SWAPSPACE2" => (Class::Swap, "swap"),
                [b'S', b'1' | b'2', b'S', b'U', b'S', ..] | b"ULSUSPEND\0" | b"LINHIB0001" => {
                    (Class::Other, "swsuspend")
                }
                _ => return None,
            };
            let header = read::<64>(source, 1024).ok()?;
            // Numbers have the byte order of the machine; the version says which.
            let last_page = if le_u32(&header, 0)? == 1 {
                le_u32(&header, 4)?
            } else {
                be_u32(&header, 4)?
            };
            let size = u64::from(last_page).saturating_add(1).checked_mul(page);
            let uuid = uuid_at(source, 1036).unwrap_or_default();
            Some(
                Identified::new(class, type_name)
                    .with_uuid(uuid)
                    .with_size(size)
                    .with_label(padded_text(header.get(28..44)?)),
            )
        })
}

/// NTFS: the OEM name of the boot sector. The label lies in the MFT and is not looked for.
fn ntfs(source: &dyn ReadAt) -> Option<Identified> {
    let sector = read::<512>(source, 0).ok()?;
    (sector.get(3..11)? == b"NTFS    " && le_u16(&sector, 11)? >= 256).then_some(())?;
    let serial = le_u64(&sector, 72)?;
    Some(Identified::new(Class::FileSystem, "ntfs").with_uuid(format!("{serial:016X}")))
}

/// exFAT: the name in the boot sector. The label lies in the root directory and is not looked for.
fn exfat(source: &dyn ReadAt) -> Option<Identified> {
    let sector = read::<512>(source, 0).ok()?;
    (sector.get(3..11)? == b"EXFAT   ").then_some(())?;
    let serial = le_u32(&sector, 100)?;
    let uuid = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
    Some(Identified::new(Class::FileSystem, "exfat").with_uuid(uuid))
}

/// UFS: superblock at one of four places, in either byte order (BSD `ffs/fs.h`).
fn ufs(source: &dyn ReadAt) -> Option<Identified> {
    [8192_u64, 65_536, 0, 262_144].into_iter().find_map(|at| {
        let block = read::<1376>(source, at).ok()?;
        let is_magic = |magic: u32| matches!(magic, 0x0001_1954 | 0x1954_0119 | 0x0009_5014 | 0x0019_5612);
        let little = is_magic(le_u32(&block, 1372)?);
        (little || is_magic(be_u32(&block, 1372)?)).then_some(())?;
        let half = |offset| {
            if little {
                le_u32(&block, offset)
            } else {
                be_u32(&block, offset)
            }
        };
        let uuid = match (half(144)?, half(148)?) {
            (0, 0) => String::new(),
            (first, second) => format!("{first:08x}{second:08x}"),
        };
        let is_ufs2 = half(1372)? == 0x1954_0119;
        let label = if is_ufs2 {
            padded_text(block.get(680..712)?)
        } else {
            String::new()
        };
        Some(
            Identified::new(Class::FileSystem, "ufs")
                .with_uuid(uuid)
                .with_label(label),
        )
    })
}

/// squashfs: `blkid` tells versions before 4 apart.
fn squashfs(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<32>(source, 0).ok()?;
    let major = match block.get(..4)? {
        b"hsqs" => le_u16(&block, 28)?,
        b"sqsh" => be_u16(&block, 28)?,
        _ => return None,
    };
    let type_name = if major < 4 { "squashfs3" } else { "squashfs" };
    Some(Identified::new(Class::FileSystem, type_name))
}

/// minix 1 to 3, little-endian: the magic is short, so the counts must make sense too (`include/uapi/linux/minix_fs.h`).
fn minix(source: &dyn ReadAt) -> Option<Identified> {
    let block = read::<32>(source, 1024).ok()?;
    let (inodes, inode_maps, zone_maps, zone_shift) = match (le_u16(&block, 16)?, le_u16(&block, 24)?) {
        (0x137f | 0x138f | 0x2468 | 0x2478, _) => (
            le_u16(&block, 0)?.into(),
            le_u16(&block, 4)?,
            le_u16(&block, 6)?,
            le_u16(&block, 10)?,
        ),
        (_, 0x4d5a) => (
            le_u32(&block, 0)?,
            le_u16(&block, 6)?,
            le_u16(&block, 8)?,
            le_u16(&block, 12)?,
        ),
        _ => return None,
    };
    let plausible = inodes > 0 && inode_maps > 0 && zone_maps > 0 && zone_shift < 16;
    plausible.then(|| Identified::new(Class::FileSystem, "minix"))
}

/// NILFS2: a short magic, backed by the size of the superblock (`include/uapi/linux/nilfs2_ondisk.h`).
fn nilfs2(source: &dyn ReadAt) -> Option<Identified> {
    let block = read_vec(source, 1024, 256).ok()?;
    let plausible = le_u16(&block, 6)? == 0x3434 && (200..=1024).contains(&le_u16(&block, 8)?);
    plausible.then_some(())?;
    let uuid = uuid_text(array(&block, 152)?);
    Some(
        Identified::new(Class::FileSystem, "nilfs2")
            .with_uuid(uuid)
            .with_label(padded_text(block.get(168..248)?)),
    )
}
