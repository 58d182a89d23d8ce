//! The file systems of Minix: versions 1, 2 and 3, names of 14, 30 and 60 bytes, both byte orders; see `docs/formats/minix.md`.
//!
//! `superblock` knows where things lie, `inode` and `zones` read inodes and their maps, `bitmap` the two maps of what is in use, `nodes` gives
//! all of it to the walk that readers share.
//!
//! Facts of the format come from Linux (`include/uapi/linux/minix_fs.h`, `fs/minix/`) and from the sources of Minix 3 (`minix/fs/mfs/`).

mod bitmap;
mod inode;
mod nodes;
mod superblock;
mod zones;

use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::ReadAt;

use self::bitmap::Order;
use self::nodes::Minix;
use self::superblock::{SUPERBLOCK_AT, SUPERBLOCK_LEN, Superblock};
use crate::walk::{Device, Nodes, Ranges};
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by a superblock whose numbers fit together: the magic is only 16 bits long.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    source.read_exact_at(SUPERBLOCK_AT, &mut bytes).ok()?;
    let superblock = Superblock::parse(&bytes).ok()?;
    let mut mode = [0; 2];
    let is_rooted = match source.read_exact_at(superblock.inode_table(), &mut mode) {
        Ok(()) => Kind::of_mode(superblock.order.half(&mode, 0).unwrap_or(0).into()) == Kind::Directory,
        Err(_) => false,
    };
    (is_rooted || superblock.is_exact()).then(|| Candidate {
        family: Family::Minix,
        type_name: "minix".to_owned(),
        evidence: format!(
            "superblock, version {}, {}, names of {} bytes, {} zones of {}",
            superblock.version,
            superblock.order.name(),
            superblock.name_len,
            superblock.zones,
            superblock.zone_bytes()
        ),
        size_bytes: superblock.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`]; there is no copy of the superblock.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let mut bytes = [0; SUPERBLOCK_LEN];
    let structure = "superblock";
    source
        .read_exact_at(SUPERBLOCK_AT, &mut bytes)
        .map_err(|source| Error::Read { structure, source })?;
    let superblock = Superblock::parse(&bytes).map_err(|detail| Error::Corrupt {
        structure,
        detail,
        image_offset: image_offset.saturating_add(SUPERBLOCK_AT),
    })?;
    let minix = Minix::new(Device::new(source, image_offset), superblock);
    Ok(Box::new(Volume {
        findings: findings(&minix),
        facts: facts(&minix),
        minix,
    }))
}

/// An opened volume.
struct Volume<'a> {
    minix: Minix<'a>,
    facts: Facts,
    findings: Vec<Finding>,
}

impl FileSystem for Volume<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        Ok(crate::walk::run(&self.minix, &self.findings, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let minix = &self.minix;
        let superblock = &minix.superblock;
        let zone_bytes = superblock.zone_bytes();
        let mut ranges = Ranges::new(each);
        ranges.add(
            minix.device.in_image(0),
            u64::from(superblock.first_zone).saturating_mul(zone_bytes),
        );
        minix.each_zone(&mut |zone, count, is_used| {
            if is_used {
                let offset = zone.saturating_mul(zone_bytes);
                ranges.add(minix.device.in_image(offset), count.saturating_mul(zone_bytes));
            }
        });
        ranges.finish();
        Ok(())
    }
}

fn findings(minix: &Minix<'_>) -> Vec<Finding> {
    let superblock = &minix.superblock;
    let at = minix.device.in_image(SUPERBLOCK_AT);
    let mut found = Vec::new();
    let (size, len) = (superblock.size_bytes(), minix.device.len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::BeyondEnd, detail);
        found.push(finding.at(minix.device.in_image(len)));
    }
    if superblock.state() == State::Dirty {
        let detail = "the volume was not cleanly unmounted, or has errors";
        let finding = Finding::new(Severity::Info, Layer::FileSystem, FindingCode::Corrupt, detail);
        found.push(finding.at(at));
    }
    found.extend(minix.map_findings());
    found
}

fn facts(minix: &Minix<'_>) -> Facts {
    let superblock = &minix.superblock;
    let mut used = u64::from(superblock.first_zone);
    let is_whole = minix.each_zone(&mut |_, count, is_used| {
        used = used.saturating_add(if is_used { count } else { 0 });
    });
    let order = match minix.order {
        Order::Bytes => "bytes",
        Order::Halves => "16 bits",
        Order::Words => "32 bits",
    };
    let pairs = [
        ("version", superblock.version.to_string()),
        ("byte order", superblock.order.name().to_owned()),
        ("name length", superblock.name_len.to_string()),
        ("inodes", superblock.inodes.to_string()),
        ("zone size", superblock.zone_bytes().to_string()),
        ("bitmaps in units of", order.to_owned()),
    ];
    Facts {
        type_name: "minix".to_owned(),
        label: Vec::new(),
        uuid: None,
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: is_whole.then(|| used.saturating_mul(superblock.zone_bytes())),
        created: None,
        written: None,
        state: superblock.state(),
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: minix.root(),
        details: pairs
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock of version 3 that claims billions of zones, and nothing behind it: the map was asked for each of them, and every block of it was
    /// a finding.
    #[test]
    fn r22_zones_beyond_the_end_are_not_asked_for() {
        let mut image = vec![0; 1056];
        let fields: [(usize, u32); 4] = [(0, 1024), (20, u32::MAX), (24, 0x4d5a), (28, 32_768)];
        for (at, word) in fields {
            image[1024 + at..1024 + at + 4].copy_from_slice(&word.to_le_bytes());
        }
        // Blocks of 32 KiB: a map of inodes of one, one of zones of 16384, the inodes in two.
        for (at, half) in [(6, 1_u16), (8, 16_384), (10, 16_389)] {
            image[1024 + at..1024 + at + 2].copy_from_slice(&half.to_le_bytes());
        }
        assert!(probe(&image).is_some(), "it is exact");
        let superblock = Superblock::parse(&image[1024..]).expect("a superblock");
        let minix = Minix::new(Device::new(Box::new(image.clone()), 0), superblock);
        let found = findings(&minix);
        assert_eq!(found.len(), 1 + 16 + 1);
        assert_eq!(found[17].code, FindingCode::Limit);
        let volume = open(Box::new(image), 0).expect("it opens");
        assert_eq!(volume.facts().used_bytes, None);
        let mut told = Vec::new();
        volume.allocated(&mut |range| told.push(range)).expect("told");
        assert_eq!(told, [ByteRange::new(0, u64::from(u32::MAX) * 32_768)]);
    }
}
