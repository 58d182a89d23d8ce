//! The signature scan: looks for volumes where tables are damaged or absent (R14, R15).
//!
//! Every sector of 512 bytes is a possible start. A cheap look at the bytes selects candidates; the caller's probe decides, because
//! it knows the file systems. Bounds: [`BYTES_MAX`] bytes are read, [`PROBES_MAX`] candidates are probed, [`VOLUMES_MAX`] volumes are kept;
//! reaching one of them is said in the result.

use ntt_model::ByteRange;
use ntt_source::ReadAt;
use ntt_source::field::{be_u16, be_u32, le_u16, le_u32, le_u64, u8_at};

/// Bytes that one scan reads: more than any floppy, Zip, CD or DVD holds.
pub const BYTES_MAX: u64 = 8 << 30;
/// Candidates that one scan hands to the probe.
pub const PROBES_MAX: u32 = 65_536;
/// Volumes that one scan finds.
pub const VOLUMES_MAX: usize = 256;

const SECTOR_BYTES: u64 = 512;
const SECTOR: usize = 512;
/// New starts looked at per read; much more than the reach, which is read twice.
const STEP_BYTES: u64 = 4 << 20;
/// How far from its start a volume's signature may end: the superblock of UFS at the last of its places.
const REACH_BYTES: u64 = 0x4_0000 + 1376;

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Volumes, ascending, not overlapping.
    pub volumes: Vec<ByteRange>,
    /// First byte that was not looked at because a bound was reached; `None` if all was.
    pub stopped_at: Option<u64>,
}

/// Looks for volumes that start in `region` of the source. `probe` says how long the volume at an offset is, or that there is none;
/// the search goes on behind a volume that was found.
///
/// What cannot be read holds no signature; it is skipped.
pub fn scan(source: &dyn ReadAt, region: ByteRange, probe: &mut dyn FnMut(u64) -> Option<u64>) -> Scanned {
    let end = region.end().min(source.len());
    let stop = end.min(region.offset.saturating_add(BYTES_MAX));
    let mut scanned = Scanned::default();
    let mut probes = 0_u32;
    let mut position = region.offset;
    while position < stop {
        if let Some(next) = behind_zeros(source, position) {
            position = next.min(stop);
            continue;
        }
        let window = Window::read(source, position, stop);
        let next = window.candidates().find_map(|at| {
            probes = probes.saturating_add(1);
            probe(at).map(|len| ByteRange::new(at, len.max(SECTOR_BYTES).min(end.saturating_sub(at))))
        });
        position = match next {
            Some(volume) => {
                scanned.volumes.push(volume);
                // A length that is no whole number of sectors must not shift the grid.
                let past = volume.end().saturating_sub(position);
                position.saturating_add(past.checked_next_multiple_of(SECTOR_BYTES).unwrap_or(u64::MAX))
            }
            None => window.end,
        };
        if probes >= PROBES_MAX || scanned.volumes.len() >= VOLUMES_MAX {
            break;
        }
    }
    scanned.stopped_at = (position < end).then_some(position);
    scanned
}

/// The first start behind `position` whose signature can be other than the zeros that are known to follow; `None` if it is `position` itself.
fn behind_zeros(source: &dyn ReadAt, position: u64) -> Option<u64> {
    let zeros = source.zeros_until(position).saturating_sub(position);
    let empty = zeros.saturating_sub(REACH_BYTES) / SECTOR_BYTES;
    (empty > 0).then(|| position.saturating_add(empty.saturating_mul(SECTOR_BYTES)))
}

/// Starts from `start` to `end`, with enough bytes behind them to see their signatures.
struct Window {
    start: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn read(source: &dyn ReadAt, start: u64, stop: u64) -> Self {
        let end = stop.min(start.saturating_add(STEP_BYTES));
        let wanted = end
            .saturating_add(REACH_BYTES)
            .min(source.len())
            .saturating_sub(start);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
        if source.read_exact_at(start, &mut bytes).is_err() {
            read_good_sectors(source, start, &mut bytes);
        }
        Self { start, end, bytes }
    }

    /// Offsets in the source that look like the start of a volume.
    fn candidates(&self) -> impl Iterator<Item = u64> {
        (self.start..self.end)
            .step_by(SECTOR)
            .zip((0..self.bytes.len()).step_by(SECTOR))
            .filter(|(_, at)| self.bytes.get(*at..).is_some_and(looks_like_a_start))
            .map(|(offset, _)| offset)
    }
}

/// Fills what can be read sector by sector; the rest stays zero, which is no signature.
fn read_good_sectors(source: &dyn ReadAt, start: u64, bytes: &mut [u8]) {
    for (offset, sector) in (start..).step_by(SECTOR).zip(bytes.chunks_mut(SECTOR)) {
        if source.read_exact_at(offset, sector).is_err() {
            sector.fill(0);
        }
    }
}

fn looks_like_a_start(bytes: &[u8]) -> bool {
    is_boot_sector(bytes).unwrap_or(false)
        || is_first_ext_superblock(bytes).unwrap_or(false)
        || is_macintosh_volume(bytes).unwrap_or(false)
        || is_exfat(bytes)
        || is_first_xfs_superblock(bytes)
        || is_apfs_container(bytes)
        || is_ufs(bytes)
        || is_first_btrfs_superblock(bytes).unwrap_or(false)
        || is_minix(bytes).unwrap_or(false)
        || is_squashfs(bytes).unwrap_or(false)
        || is_cramfs(bytes)
        || bytes.starts_with(b"-rom1fs-")
        || matches!(bytes.get(8192 + 52..8192 + 60), Some(b"ReIsErFs"))
        || bytes.get(32_768..32_772) == Some(b"JFS1")
        || matches!(bytes.get(65_588..65_594), Some(b"ReIsEr"))
        || matches!(bytes.get(32_769..32_774), Some(b"CD001" | b"BEA01"))
}

/// A boot sector of the FAT family: a jump, a sector size, `55 AA`.
fn is_boot_sector(bytes: &[u8]) -> Option<bool> {
    let jump = matches!(u8_at(bytes, 0)?, 0xeb | 0xe9);
    let sector_size = matches!(le_u16(bytes, 11)?, 512 | 1024 | 2048 | 4096);
    Some(jump && sector_size && le_u16(bytes, 510)? == 0xaa55)
}

/// The superblock of ext2/3/4 that belongs to block group 0: its copies in other groups are not the start of a volume.
fn is_first_ext_superblock(bytes: &[u8]) -> Option<bool> {
    Some(le_u16(bytes, 1024 + 56)? == 0xef53 && le_u16(bytes, 1024 + 90)? == 0)
}

/// The boot region of exFAT with its backup 12 sectors behind it, which has none itself.
fn is_exfat(bytes: &[u8]) -> bool {
    let named = |at: usize| bytes.get(at..at.saturating_add(8)) == Some(b"EXFAT   ");
    named(3) && (named(3 + 12 * 512) || named(3 + 12 * 1024) || named(3 + 12 * 2048))
}

/// The superblock of XFS; `sb_inprogress` stays set in the copies of the other groups.
fn is_first_xfs_superblock(bytes: &[u8]) -> bool {
    bytes.starts_with(b"XFSB") && u8_at(bytes, 126) == Some(0)
}

/// The superblock of an APFS container in its first block. Those in the ring of checkpoints, which starts in the second, are followed by the map of the
/// next checkpoint, whose number is that of its block.
fn is_apfs_container(bytes: &[u8]) -> bool {
    const FIRST_MAP: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0];
    let is_superblock = |at: usize| bytes.get(at..at.saturating_add(4)) == Some(b"NXSB");
    let block = le_u32(bytes, 36).and_then(|block| usize::try_from(block).ok());
    let block = block.unwrap_or(0).min(65_536);
    let is_map = u8_at(bytes, block.saturating_add(24)) == Some(0x0c)
        && bytes.get(block.saturating_add(8)..block.saturating_add(16)) == Some(FIRST_MAP);
    is_superblock(32) && (is_map || is_superblock(block.saturating_add(32)))
}

/// The superblock of UFS at one of its places (`SBLOCK_UFS1`, `SBLOCK_UFS2` and `SBLOCK_PIGGY` of BSD `ffs/fs.h`), where it says that it stands.
fn is_ufs(bytes: &[u8]) -> bool {
    [8192_usize, 65_536, 262_144].into_iter().any(|place| {
        let field = |at: usize, len: usize| {
            let start = place.saturating_add(at);
            bytes.get(start..start.saturating_add(len)).unwrap_or_default()
        };
        let location = u64::try_from(place).unwrap_or(0);
        let little = field(1372, 4) == [0x54, 0x19, 1, 0] || field(1372, 4) == [0x19, 1, 0x54, 0x19];
        let big = field(1372, 4) == [0, 1, 0x19, 0x54] || field(1372, 4) == [0x19, 0x54, 1, 0x19];
        (little && field(1000, 8) == location.to_le_bytes())
            || (big && field(1000, 8) == location.to_be_bytes())
    })
}

/// The superblock of btrfs that stands at 64 KiB and says so; the copies say other places.
fn is_first_btrfs_superblock(bytes: &[u8]) -> Option<bool> {
    let superblock = bytes.get(0x1_0000..)?;
    Some(superblock.get(64..72)? == b"_BHRfS_M" && le_u64(superblock, 48)? == 0x1_0000)
}

/// The superblock of Minix in either byte order, with inodes and one block at least of each map.
fn is_minix(bytes: &[u8]) -> Option<bool> {
    let half = |at: usize| le_u16(bytes, at);
    let is_old = matches!(
        half(1024 + 16)?,
        0x137f | 0x138f | 0x2468 | 0x2478 | 0x7f13 | 0x8f13 | 0x6824 | 0x7824
    );
    let is_new = matches!(half(1024 + 24)?, 0x4d5a | 0x5a4d);
    let has_old_maps = half(1024)? != 0 && half(1024 + 4)? != 0 && half(1024 + 6)? != 0;
    let has_new_maps = half(1024 + 6)? != 0 && half(1024 + 8)? != 0;
    Some((is_old && has_old_maps) || (is_new && has_new_maps))
}

/// The superblock of squashfs in either byte order, with a version that there was and, in the last one, a block size that is what its logarithm says.
fn is_squashfs(bytes: &[u8]) -> Option<bool> {
    Some(match bytes.get(..4)? {
        b"hsqs" => match le_u16(bytes, 28)? {
            4 => 1_u32.checked_shl(le_u16(bytes, 22)?.into())? == le_u32(bytes, 12)?,
            version => (1..=3).contains(&version),
        },
        b"sqsh" => (1..=3).contains(&be_u16(bytes, 28)?),
        _ => false,
    })
}

/// The superblock of cramfs in either byte order, with its signature.
fn is_cramfs(bytes: &[u8]) -> bool {
    let is_magic = matches!(
        bytes.get(..4),
        Some([0x45, 0x3d, 0xcd, 0x28] | [0x28, 0xcd, 0x3d, 0x45])
    );
    is_magic && bytes.get(16..32) == Some(b"Compressed ROMFS")
}

/// Volume header of HFS+ or HFSX with its version; master directory block of HFS or MFS with a block size that can be.
fn is_macintosh_volume(bytes: &[u8]) -> Option<bool> {
    let block_bytes = be_u32(bytes, 1024 + 20)?;
    Some(match (be_u16(bytes, 1024)?, be_u16(bytes, 1026)?) {
        (0x482b, 4) | (0x4858, 5) => true,
        (0x4244 | 0xd2d7, _) => block_bytes > 0 && block_bytes % 512 == 0 && u8_at(bytes, 1024 + 36)? <= 27,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use ntt_source::{FileSource, Masked};
    use ntt_testkit::synthetic::Synthetic;

    use super::*;

    fn put_ext(bytes: &mut [u8], at: usize, group: u8) {
        bytes[at + 1080..at + 1082].copy_from_slice(&[0x53, 0xef]);
        bytes[at + 1024 + 90] = group;
    }

    fn whole(source: &dyn ReadAt) -> ByteRange {
        ByteRange::new(0, source.len())
    }

    /// R15: volumes at odd sectors are found; copies of superblocks and volumes inside volumes are not.
    #[test]
    fn r15_volumes_are_found_at_any_sector() {
        let mut bytes = vec![0; 4 << 20];
        put_ext(&mut bytes, 63 * 512, 0);
        put_ext(&mut bytes, 63 * 512 + 8192, 1);
        put_ext(&mut bytes, 64 * 512 + 8192, 0);
        bytes[(1 << 20) - 512] = 0xeb;
        bytes[(1 << 20) - 512 + 12] = 2;
        bytes[(1 << 20) - 2..1 << 20].copy_from_slice(&[0x55, 0xaa]);
        bytes[(2 << 20) + 32_769..(2 << 20) + 32_774].copy_from_slice(b"CD001");
        let scanned = scan(&bytes, whole(&bytes), &mut |_| Some(100_000));
        let starts: Vec<u64> = scanned.volumes.iter().map(|volume| volume.offset).collect();
        assert_eq!(starts, [63 * 512, (1 << 20) - 512, 2 << 20]);
        assert_eq!(scanned.stopped_at, None);
    }

    /// A virtual disk may claim any size, and a volume in it as well.
    #[test]
    fn r22_a_volume_up_to_the_last_byte_of_all_ends_the_search() {
        let mut bytes = vec![0; 4096];
        put_ext(&mut bytes, 0, 0);
        let endless = Synthetic::new(u64::MAX).bytes(0, &bytes);
        let scanned = scan(&endless, whole(&endless), &mut |_| Some(u64::MAX));
        assert_eq!(scanned.volumes, [ByteRange::new(0, u64::MAX)]);
        assert_eq!(scanned.stopped_at, None);
    }

    #[test]
    fn btrfs_is_found_by_its_first_superblock() {
        let mut bytes = vec![0; 4 << 20];
        for (start, says) in [(512, 0x1_0000_u64), (2 << 20, 0x400_0000)] {
            let at = start + 0x1_0000;
            bytes[at + 64..at + 72].copy_from_slice(b"_BHRfS_M");
            bytes[at + 48..at + 56].copy_from_slice(&says.to_le_bytes());
        }
        let scanned = scan(&bytes, whole(&bytes), &mut |_| Some(1 << 20));
        assert_eq!(scanned.volumes, [ByteRange::new(512, 1 << 20)]);
    }

    /// UFS at each of its places, the last one across the end of a step.
    #[test]
    fn ufs_is_found_by_a_superblock_where_it_says_that_it_stands() {
        let mut bytes = vec![0; 6 << 20];
        let step = usize::try_from(STEP_BYTES).expect("small");
        let mut put = |start: usize, place: u64, says: u64| {
            let at = start + usize::try_from(place).expect("small");
            bytes[at + 1000..at + 1008].copy_from_slice(&says.to_le_bytes());
            bytes[at + 1372..at + 1376].copy_from_slice(&0x1954_0119_u32.to_le_bytes());
        };
        put(512, 8192, 8192);
        put(1 << 20, 65_536, 65_536);
        put(2 << 20, 262_144, 0);
        put(step - 512, 262_144, 262_144);
        let mut asked = Vec::new();
        scan(&bytes, whole(&bytes), &mut |at| {
            asked.push(at);
            None
        });
        assert_eq!(asked, [512, 1 << 20, STEP_BYTES - 512]);
    }

    /// R15: volumes behind holes are found, also those whose signature alone lies in data.
    #[test]
    fn r15_volumes_between_holes_are_found() -> std::io::Result<()> {
        let file = tempfile::tempfile()?;
        file.set_len(40 << 20)?;
        let mut bytes = vec![0; 40 << 20];
        for start in [0_usize, (9 << 20) + 512, 20 << 20] {
            put_ext(&mut bytes, start, 0);
        }
        let ufs = 30 << 20;
        let at = ufs + 262_144;
        bytes[at + 1000..at + 1008].copy_from_slice(&262_144_u64.to_le_bytes());
        bytes[at + 1372..at + 1376].copy_from_slice(&0x1954_0119_u32.to_le_bytes());
        for (at, block) in bytes
            .chunks(4096)
            .enumerate()
            .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
        {
            file.write_all_at(block, at as u64 * 4096)?;
        }
        let sparse = FileSource::from_file(file)?;
        let scanned = |source: &dyn ReadAt| {
            scan(source, whole(source), &mut |at| {
                Some(if at == 0 { 700 } else { 1 << 20 })
            })
        };
        let found = scanned(&sparse);
        assert_eq!(found, scanned(&bytes));
        assert_eq!(found.volumes.len(), 4, "{found:?}");
        Ok(())
    }

    #[test]
    fn read_only_file_systems_are_found_by_their_heads() {
        let mut bytes = vec![0; 1 << 20];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(512, b"-rom1fs-");
        put(64 << 10, &[0x45, 0x3d, 0xcd, 0x28]);
        put((64 << 10) + 16, b"Compressed ROMFS");
        put(128 << 10, b"hsqs");
        put((128 << 10) + 12, &131_072_u32.to_le_bytes());
        put((128 << 10) + 22, &[17, 0]);
        put((128 << 10) + 28, &[4, 0]);
        // Magics alone: texts that speak of them, and a block size that its logarithm contradicts.
        put(256 << 10, &[0x45, 0x3d, 0xcd, 0x28]);
        put(300 << 10, b"hsqs");
        put((300 << 10) + 22, &[17, 0]);
        put((300 << 10) + 28, &[4, 0]);
        put(400 << 10, b"sqsh");
        let mut asked = Vec::new();
        scan(&bytes, whole(&bytes), &mut |at| {
            asked.push(at);
            None
        });
        assert_eq!(asked, [512, 64 << 10, 128 << 10]);
    }

    #[test]
    fn the_probe_has_the_last_word() {
        let mut bytes = vec![0; 1 << 20];
        put_ext(&mut bytes, 0, 0);
        let mut asked = Vec::new();
        let scanned = scan(&bytes, whole(&bytes), &mut |at| {
            asked.push(at);
            None
        });
        assert_eq!((asked, scanned), (vec![0], Scanned::default()));
    }

    /// R11: unread sectors hold no signature and do not hide their neighbours.
    #[test]
    fn r11_unread_sectors_do_not_hide_their_neighbours() {
        let mut bytes = vec![0; 1 << 20];
        put_ext(&mut bytes, 4096, 0);
        put_ext(&mut bytes, 65_536, 0);
        let masked = Masked::new(
            bytes,
            vec![ByteRange::new(4096 + 1024, 512), ByteRange::new(60_000, 100)],
        );
        let scanned = scan(&masked, whole(&masked), &mut |_| Some(512));
        assert_eq!(scanned.volumes, [ByteRange::new(65_536, 512)]);
    }

    #[test]
    fn volumes_are_bounded_in_number_and_by_the_region() {
        let mut bytes = vec![0; 2048 * 512];
        for sector in (0..1024).step_by(3) {
            put_ext(&mut bytes, sector * 512, 0);
        }
        let scanned = scan(&bytes, whole(&bytes), &mut |_| Some(0));
        assert_eq!(scanned.volumes.len(), VOLUMES_MAX);
        assert!(scanned.stopped_at.is_some());
        let region = ByteRange::new(3 * 512, 512);
        let scanned = scan(&bytes, region, &mut |_| Some(u64::MAX));
        assert_eq!(scanned.volumes, [region]);
    }
}
