//! The headers of an allocation group: AGF (free space) and AGI (inodes), in its second and third sector.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::be_u32;

use super::crc::checked;
use super::tree::{FREE_SPACE, INODES, Tree};
use super::volume::Volume;
use crate::report::{Report, unreadable};

const AGF_CRC: usize = 216;
const AGI_CRC: usize = 312;

/// A header: sector, magic number, name, where checksum, root and level stand.
struct Header {
    sector: u64,
    magic: &'static [u8; 4],
    name: &'static str,
    crc_at: usize,
    root_at: usize,
    level_at: usize,
}

const AGF: Header = Header {
    sector: 1,
    magic: b"XAGF",
    name: "AGF",
    crc_at: AGF_CRC,
    root_at: 16,
    level_at: 28,
};

const AGI: Header = Header {
    sector: 2,
    magic: b"XAGI",
    name: "AGI",
    crc_at: AGI_CRC,
    root_at: 20,
    level_at: 24,
};

/// The tree of free space of a group; `None` if its header is damaged, which is reported.
pub(super) fn free_space(volume: &Volume<'_>, group: u32, report: &mut Report) -> Option<Tree> {
    let (root, levels) = header(volume, group, &AGF, report)?;
    Some(Tree {
        group,
        root,
        levels,
        shape: FREE_SPACE,
    })
}

/// The tree of inodes of a group.
pub(super) fn inodes(volume: &Volume<'_>, group: u32, report: &mut Report) -> Option<Tree> {
    let (root, levels) = header(volume, group, &AGI, report)?;
    Some(Tree {
        group,
        root,
        levels,
        shape: INODES,
    })
}

fn header(volume: &Volume<'_>, group: u32, header: &Header, report: &mut Report) -> Option<(u32, u32)> {
    let sector_bytes = u64::from(volume.superblock.sector_bytes);
    let offset = volume
        .group_offset(group)
        .checked_add(header.sector.checked_mul(sector_bytes)?)?;
    let mut sector = vec![0; usize::from(volume.superblock.sector_bytes)];
    let what = format!("the {} of group {group}", header.name);
    if let Err(error) = volume.read(offset, &mut sector) {
        report.push(unreadable(
            &error,
            Layer::FileSystem,
            &what,
            volume.in_image(offset),
        ));
        return None;
    }
    let mut complain = |detail: String| {
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        report.push(finding.at(volume.in_image(offset)));
    };
    if !sector.starts_with(header.magic) || be_u32(&sector, 8) != Some(group) {
        complain(format!("{what} is none"));
        return None;
    }
    if volume.superblock.is_v5()
        && let Some(complaint) = checked(&sector, header.crc_at).complaint(&what)
    {
        complain(complaint);
        return None;
    }
    Some((
        be_u32(&sector, header.root_at)?,
        be_u32(&sector, header.level_at)?,
    ))
}
