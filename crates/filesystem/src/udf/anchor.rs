//! Recognition: the volume recognition sequence, anchors and the volume descriptor sequences that they lead to (ECMA-167, 2/8, 3/8.4;
//! UDF 2.2.3).

use std::collections::BTreeMap;

use ntt_source::field::{le_u32, u8_at};
use ntt_source::{ReadAt, ReadError};

use super::address::SectorRun;
use super::descriptor::{LogicalVolume, Partition, Primary};
use super::tag::{Tag, id};

/// Sector sizes, likeliest first.
const SECTOR_SIZES: [u32; 8] = [2048, 512, 4096, 1024, 8192, 16_384, 32_768, 65_536];
/// Sectors of one descriptor sequence that are looked at; UDF needs 16.
const SEQUENCE_MAX: u32 = 1024;
/// Sequences that continue each other.
const CHAIN_MAX: usize = 32;
/// Where descriptors are looked for when no anchor can be read: writers put them before sector 1024.
const SEARCH_SECTORS: u32 = 1024;
/// Where the recognition sequence starts.
const RECOGNITION_OFFSET: u64 = 32_768;

/// `NSR02` or `NSR03` in the volume recognition sequence, if it is there, and how far apart its descriptors stand: a sector, but at least
/// 2048 bytes.
pub(super) fn recognised(source: &dyn ReadAt) -> Option<(&'static str, u32)> {
    let mut steps = SECTOR_SIZES.into_iter().filter(|step| *step >= 2048);
    steps.find_map(|step| Some((recognised_in(source, step.into())?, step)))
}

fn recognised_in(source: &dyn ReadAt, step: u64) -> Option<&'static str> {
    for index in 0..64_u64 {
        let mut head = [0; 7];
        let at = index.saturating_mul(step).saturating_add(RECOGNITION_OFFSET);
        source.read_exact_at(at, &mut head).ok()?;
        match head.get(1..6)? {
            b"NSR02" => return Some("NSR02"),
            b"NSR03" => return Some("NSR03"),
            b"BEA01" | b"CD001" | b"CDW02" | b"BOOT2" => {}
            _ => return None,
        }
    }
    None
}

/// An anchor volume descriptor pointer (ECMA-167, 3/10.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Anchor {
    pub(super) sector_bytes: u32,
    pub(super) sector: u32,
    pub(super) main: SectorRun,
    pub(super) reserve: SectorRun,
}

/// Reads the sector and takes it for an anchor if its tag says so and names this sector.
pub(super) fn anchor_at(source: &dyn ReadAt, sector_bytes: u32, sector: u64) -> Option<Anchor> {
    let mut bytes = [0; 512];
    let offset = sector.checked_mul(sector_bytes.into())?;
    source.read_exact_at(offset, &mut bytes).ok()?;
    anchor_in(&bytes, sector_bytes, u32::try_from(sector).ok()?)
}

/// As [`anchor_at`], of bytes that were read.
pub(super) fn anchor_in(bytes: &[u8], sector_bytes: u32, sector: u32) -> Option<Anchor> {
    let tag = Tag::parse(bytes)?;
    let good = tag.id == id::ANCHOR && tag.location == sector && tag.protects(bytes);
    good.then_some(Anchor {
        sector_bytes,
        sector,
        main: SectorRun::parse(bytes, 16)?,
        reserve: SectorRun::parse(bytes, 24)?,
    })
}

/// The anchors of a volume at the customary places: 256, the last sector, 256 before it, 512. All are of one sector size, if possible one
/// that the recognition sequence allows: a volume that was formatted anew may still hold anchors of another size.
pub(super) fn anchors(source: &dyn ReadAt) -> Vec<Anchor> {
    let step = recognised(source).map(|(_, step)| step);
    let mut sizes = SECTOR_SIZES;
    sizes.sort_by_key(|size| step.is_some_and(|step| step != (*size).max(2048)));
    let found = sizes.into_iter().map(|size| anchors_of_size(source, size));
    found
        .into_iter()
        .find(|anchors| !anchors.is_empty())
        .unwrap_or_default()
}

fn anchors_of_size(source: &dyn ReadAt, sector_bytes: u32) -> Vec<Anchor> {
    let count = source.len().checked_div(sector_bytes.into()).unwrap_or(0);
    let places = [Some(256), count.checked_sub(257), count.checked_sub(1), Some(512)];
    let mut found: Vec<Anchor> = Vec::new();
    for sector in places.into_iter().flatten() {
        if !found.iter().any(|anchor| u64::from(anchor.sector) == sector) {
            found.extend(anchor_at(source, sector_bytes, sector));
        }
    }
    found
}

/// The prevailing descriptors of a volume (ECMA-167, 3/8.4.3): of those of one kind, the one with the highest sequence number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Descriptors {
    pub(super) primary: Option<Primary>,
    pub(super) logical: Option<LogicalVolume>,
    pub(super) partitions: BTreeMap<u16, Partition>,
}

impl Descriptors {
    fn take(&mut self, tag: Tag, bytes: &[u8]) {
        match tag.id {
            id::PRIMARY_VOLUME => prevail(&mut self.primary, Primary::parse(bytes), |item| item.sequence),
            id::LOGICAL_VOLUME => prevail(&mut self.logical, LogicalVolume::parse(bytes), |item| {
                item.sequence
            }),
            id::PARTITION => {
                if let Some(new) = Partition::parse(bytes) {
                    let old = self.partitions.get(&new.number);
                    if old.is_none_or(|old| old.sequence <= new.sequence) {
                        self.partitions.insert(new.number, new);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a file system can be opened from them.
    pub(super) fn are_enough(&self) -> bool {
        let has = |number: &u16| self.partitions.contains_key(number);
        self.logical
            .as_ref()
            .is_some_and(|logical| logical.maps.iter().all(|map| has(&map.partition)))
    }

    /// Adds what is missing here. Whether something was.
    pub(super) fn complete(&mut self, other: Self) -> bool {
        let before = self.clone();
        self.primary = self.primary.take().or(other.primary);
        self.logical = self.logical.take().or(other.logical);
        for (number, partition) in other.partitions {
            self.partitions.entry(number).or_insert(partition);
        }
        *self != before
    }
}

fn prevail<T>(old: &mut Option<T>, new: Option<T>, sequence: impl Fn(&T) -> u32) {
    if let Some(new) = new
        && old.as_ref().is_none_or(|old| sequence(old) <= sequence(&new))
    {
        *old = Some(new);
    }
}

/// What reading a sequence met besides descriptors.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Sectors that could not be read.
    pub(super) unread: Vec<(u64, ReadError)>,
    /// Volume offsets of descriptors that are corrupt.
    pub(super) corrupt: Vec<u64>,
}

/// Reads a volume descriptor sequence and what continues it.
pub(super) fn read_sequence(source: &dyn ReadAt, sector_bytes: u32, run: SectorRun) -> (Descriptors, Faults) {
    let mut descriptors = Descriptors::default();
    let mut faults = Faults::default();
    let mut next = Some(run);
    let mut links = 0;
    while let Some(run) = next.take().filter(|_| links < CHAIN_MAX) {
        links = links.saturating_add(1);
        let sectors = run
            .len_bytes
            .checked_div(sector_bytes)
            .unwrap_or(0)
            .min(SEQUENCE_MAX);
        for sector in (run.sector..=u32::MAX).take(usize::try_from(sectors).unwrap_or(0)) {
            match read_one(source, sector_bytes, sector, &mut faults) {
                Found::Nothing => {}
                Found::End => break,
                Found::Next(run) => next = Some(run),
                Found::Descriptor(tag, bytes) => descriptors.take(tag, &bytes),
            }
        }
    }
    (descriptors, faults)
}

enum Found {
    Nothing,
    End,
    Next(SectorRun),
    Descriptor(Tag, Vec<u8>),
}

fn read_one(source: &dyn ReadAt, sector_bytes: u32, sector: u32, faults: &mut Faults) -> Found {
    let offset = u64::from(sector).saturating_mul(sector_bytes.into());
    let mut bytes = vec![0; usize::try_from(sector_bytes).unwrap_or(0)];
    if let Err(error) = source.read_exact_at(offset, &mut bytes) {
        faults.unread.push((offset, error));
        return Found::Nothing;
    }
    let tag = Tag::parse(&bytes).filter(|tag| tag.protects(&bytes) && tag.location == sector);
    match tag {
        None if bytes.iter().all(|byte| *byte == 0) => Found::Nothing,
        None => {
            faults.corrupt.push(offset);
            Found::Nothing
        }
        Some(tag) if tag.id == id::TERMINATING => Found::End,
        Some(tag) if tag.id == id::POINTER => {
            SectorRun::parse(&bytes, 20).map_or(Found::Nothing, Found::Next)
        }
        Some(tag) => Found::Descriptor(tag, bytes),
    }
}

/// Looks for descriptors without an anchor: those in the first sectors that name the sector in which they stand.
pub(super) fn search(source: &dyn ReadAt) -> Option<(u32, Descriptors)> {
    SECTOR_SIZES.into_iter().find_map(|sector_bytes| {
        let mut descriptors = Descriptors::default();
        for sector in 0..SEARCH_SECTORS {
            let offset = u64::from(sector).saturating_mul(sector_bytes.into());
            let mut head = [0; 16];
            let seen = source.read_exact_at(offset, &mut head).is_ok();
            let is_one = seen
                && u8_at(&head, 0).is_some_and(|id| matches!(id, 1 | 5 | 6))
                && le_u32(&head, 12) == Some(sector);
            if is_one
                && let Found::Descriptor(tag, bytes) =
                    read_one(source, sector_bytes, sector, &mut Faults::default())
            {
                descriptors.take(tag, &bytes);
            }
        }
        descriptors.are_enough().then_some((sector_bytes, descriptors))
    })
}
