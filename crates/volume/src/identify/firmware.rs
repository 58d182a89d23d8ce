//! RAID of mainboards and controllers, whose metadata stands near the end of a disk. Layouts: `dmraid`, `lib/format/ataraid` and
//! `lib/format/ddf`; Linux `drivers/block/drbd`.

use ntt_source::ReadAt;
use ntt_source::field::{array, be_u32, be_u64, le_u16, le_u32, u8_at};

use super::Class::Raid;
use super::Identified;
use crate::bytes::read;

/// Disks smaller than this carry no such metadata.
const SMALLEST_BYTES: u64 = 0x1_0000;
/// Where Promise controllers put their signature, in sectors from the end.
const PROMISE_SECTORS: [u64; 13] = [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087];

/// The sectors that are looked at, counted from the end.
struct Tail<'a> {
    source: &'a dyn ReadAt,
}

impl Tail<'_> {
    fn sector(&self, from_end: u64) -> Option<[u8; 512]> {
        let sectors = self.source.len() / 512;
        let at = sectors.checked_sub(from_end)?.checked_mul(512)?;
        read::<512>(self.source, at).ok()
    }

    fn starts(&self, from_end: u64, bytes: &[u8]) -> bool {
        self.sector(from_end)
            .is_some_and(|sector| sector.starts_with(bytes))
    }
}

/// The first kind whose metadata is there.
pub(super) fn detect(source: &dyn ReadAt) -> Option<Identified> {
    (source.len() >= SMALLEST_BYTES).then_some(())?;
    let tail = Tail { source };
    let kinds: [(&'static str, fn(&Tail<'_>) -> Option<bool>); 11] = [
        ("isw_raid_member", |tail| {
            Some(tail.starts(2, b"Intel Raid ISM Cfg Sig. "))
        }),
        ("ddf_raid_member", is_ddf),
        ("lsi_mega_raid_member", |tail| Some(tail.starts(1, b"$XIDE$"))),
        ("nvidia_raid_member", |tail| Some(tail.starts(2, b"NVIDIA"))),
        ("promise_fasttrack_raid_member", is_promise),
        ("silicon_medley_raid_member", is_silicon),
        ("via_raid_member", is_via),
        ("jmicron_raid_member", is_jmicron),
        ("hpt45x_raid_member", is_highpoint_45x),
        ("hpt37x_raid_member", is_highpoint_37x),
        ("adaptec_raid_member", is_adaptec),
    ];
    kinds
        .into_iter()
        .find(|(_, is)| is(&tail) == Some(true))
        .map(|(type_name, _)| Identified::new(Raid, type_name))
}

/// SNIA DDF: the anchor header ends the disk, or stands 257 sectors before it.
fn is_ddf(tail: &Tail<'_>) -> Option<bool> {
    let magic = [0xde, 0x11, 0xde, 0x11];
    Some(tail.starts(1, &magic) || tail.starts(257, &magic))
}

fn is_promise(tail: &Tail<'_>) -> Option<bool> {
    let mut places = PROMISE_SECTORS.into_iter();
    Some(places.any(|sectors| tail.starts(sectors, b"Promise Technology, Inc.")))
}

/// Silicon Image Medley: a magic number and a sum over the first 159 half-words.
fn is_silicon(tail: &Tail<'_>) -> Option<bool> {
    let sector = tail.sector(1)?;
    let summed = sector.get(..0x13e)?;
    let sum = half_words(summed).fold(0_u16, u16::wrapping_add);
    let disk_number = u8_at(&sector, 0x116)?;
    Some(
        le_u32(&sector, 0x60)? == 0x2f00_0000
            && disk_number < 8
            && sum.wrapping_neg() == le_u16(&sector, 0x13e)?,
    )
}

fn half_words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok())
        .map(u16::from_le_bytes)
}

/// VIA: a boot signature at the start of the last sector, a version and a sum over 50 bytes.
fn is_via(tail: &Tail<'_>) -> Option<bool> {
    let sector = tail.sector(1)?;
    let sum = sector
        .get(..50)?
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    Some(le_u16(&sector, 0)? == 0xaa55 && u8_at(&sector, 2)? <= 2 && sum == u8_at(&sector, 50)?)
}

/// JMicron: a sum over 64 half-words, 0 or 1, which tells it from any sector that starts with `JM`.
fn is_jmicron(tail: &Tail<'_>) -> Option<bool> {
    let sector = tail.sector(1)?;
    let sum = half_words(sector.get(..128)?).fold(0_u16, u16::wrapping_add);
    Some(sector.starts_with(b"JM") && sum <= 1)
}

fn is_highpoint_45x(tail: &Tail<'_>) -> Option<bool> {
    let magic = le_u32(&tail.sector(11)?, 0)?;
    Some(matches!(magic, 0x5a78_16f3 | 0x5a78_16fd))
}

/// The older HighPoint metadata stands near the start of the disk.
fn is_highpoint_37x(tail: &Tail<'_>) -> Option<bool> {
    let magic = le_u32(&read::<4>(tail.source, 4640).ok()?, 0)?;
    Some(matches!(magic, 0x5a78_16f0 | 0x5a78_16fd))
}

fn is_adaptec(tail: &Tail<'_>) -> Option<bool> {
    let sector = tail.sector(1)?;
    Some(sector.starts_with(b"\x37\xfc\x4d\x1e") && sector.windows(4).any(|window| window == b"DPTM"))
}

/// DRBD 8 and 9 with metadata at the end of the device.
pub(super) fn drbd(source: &dyn ReadAt) -> Option<Identified> {
    let at = source
        .len()
        .checked_sub(4096)
        .filter(|at| *at >= SMALLEST_BYTES)?;
    let block = read::<512>(source, at).ok()?;
    let magic = be_u32(&block, 60)?;
    // Version 9 has one UUID of the data and room for more, version 8 has four; the device's own follows.
    let device_uuid = be_u64(&block, if magic == 0x8374_026d { 48 } else { 40 })?;
    matches!(magic, 0x8374_026b..=0x8374_026d).then_some(())?;
    Some(Identified::new(Raid, "drbd").with_uuid(format!("{device_uuid:x}")))
}

/// A VMFS extent: the logical volume's name stands 532 bytes behind the head.
pub(super) fn vmfs_volume(source: &dyn ReadAt) -> Option<Identified> {
    let head = read::<1024>(source, 0x10_0000).ok()?;
    head.starts_with(b"\x0d\xd0\x01\xc0").then_some(())?;
    let name: [u8; 35] = array(&head, 532)?;
    Some(Identified::new(Raid, "VMFS_volume_member").with_uuid(crate::bytes::padded_text(&name)))
}
