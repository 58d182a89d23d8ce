//! A logical volume: one session of a disc. Opens it from its anchors.

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use super::address::{Address, Allocated, SectorRun};
use super::anchor::{Anchor, Descriptors, Faults, read_sequence, search};
use super::descriptor::{FileSet, Integrity, LogicalVolume, MapKind, Partition, TableHeader};
use super::icb::read_block;
use super::space::{Ground, Map, Space};
use super::tables;
use super::tag::{Tag, id, is_intact};
use crate::disc::Disc;

/// Integrity descriptors and file set descriptors that are followed.
const CHAIN_MAX: usize = 64;
/// Blocks of one file set descriptor sequence.
const FILE_SET_BLOCKS_MAX: u32 = 64;

/// What was opened of one session.
pub(super) struct Session {
    pub(super) sector_bytes: u32,
    pub(super) anchors: Vec<Anchor>,
    pub(super) descriptors: Descriptors,
    pub(super) logical: LogicalVolume,
    pub(super) space: Space,
    /// The same with the metadata mirror in place of the metadata file.
    pub(super) mirror: Option<Space>,
    pub(super) integrity: Option<Integrity>,
    /// The virtual allocation table: what it says of the volume, and where its entry stands.
    pub(super) table: Option<(TableHeader, u64)>,
    /// File sets, the one that counts first.
    pub(super) file_sets: Vec<FileSet>,
    pub(super) findings: Vec<Finding>,
}

impl Session {
    /// Opens the session of anchors that lead to the same sequence; `None` if neither sequence has what is needed.
    pub(super) fn open(disc: &Disc<'_>, source: &dyn ReadAt, anchors: Vec<Anchor>) -> Option<Self> {
        let first = *anchors.first()?;
        let mut findings = Vec::new();
        let (mut descriptors, faults) = read_sequence(source, first.sector_bytes, first.main);
        note_faults(disc, &faults, "main", &mut findings);
        let (reserve, faults) = read_sequence(source, first.sector_bytes, first.reserve);
        note_faults(disc, &faults, "reserve", &mut findings);
        if descriptors.complete(reserve) {
            let detail = "descriptors of the main volume descriptor sequence are missing; those of the reserve sequence serve";
            let finding = Finding::new(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::BackupUsed,
                detail,
            );
            findings.push(finding.at(disc.in_image(sector_offset(first.sector_bytes, first.main.sector))));
        }
        Self::from_descriptors(disc, (first.sector_bytes, anchors), descriptors, findings)
    }

    /// Opens a volume whose anchors are all lost, from descriptors that stand where writers put them.
    pub(super) fn without_anchor(disc: &Disc<'_>, source: &dyn ReadAt) -> Option<Self> {
        let (sector_bytes, descriptors) = search(source)?;
        let detail = "no anchor volume descriptor pointer can be read; the descriptors were searched for";
        let finding = Finding::new(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::BackupUsed,
            detail,
        );
        let findings = vec![finding.at(disc.in_image(sector_offset(sector_bytes, 256)))];
        Self::from_descriptors(disc, (sector_bytes, Vec::new()), descriptors, findings)
    }

    fn from_descriptors(
        disc: &Disc<'_>,
        (sector_bytes, anchors): (u32, Vec<Anchor>),
        descriptors: Descriptors,
        findings: Vec<Finding>,
    ) -> Option<Self> {
        if !descriptors.are_enough() {
            return None;
        }
        let logical = descriptors.logical.clone()?;
        let mut session = Self {
            sector_bytes,
            anchors,
            space: Space {
                block_bytes: logical.block_bytes.into(),
                maps: Vec::new(),
            },
            mirror: None,
            integrity: None,
            table: None,
            file_sets: Vec::new(),
            descriptors,
            logical,
            findings,
        };
        session.map_partitions(disc);
        session.integrity = session.read_integrity(disc);
        session.read_file_sets(disc);
        Some(session)
    }

    fn note(&mut self, (severity, code): (Severity, FindingCode), at: u64, detail: impl Into<String>) {
        self.findings
            .push(Finding::new(severity, Layer::FileSystem, code, detail).at(at));
    }

    /// The descriptor of the partition behind a map.
    pub(super) fn partition(&self, reference: usize) -> Option<Partition> {
        let map = self.logical.maps.get(reference)?;
        self.descriptors.partitions.get(&map.partition).copied()
    }

    fn ground(&self, reference: usize) -> Ground {
        self.partition(reference)
            .map_or(Ground { offset: 0, blocks: 0 }, |partition| {
                let bytes = u64::from(partition.sectors).saturating_mul(self.sector_bytes.into());
                let blocks = bytes.checked_div(self.space.block_bytes).unwrap_or(0);
                Ground {
                    offset: sector_offset(self.sector_bytes, partition.first_sector),
                    blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
                }
            })
    }

    /// Plain and spared partitions first, then those that are built on them.
    fn map_partitions(&mut self, disc: &Disc<'_>) {
        let kinds: Vec<MapKind> = self.logical.maps.iter().map(|map| map.kind.clone()).collect();
        let lower: Vec<Map> = (0..kinds.len())
            .map(|index| self.lower_map(disc, index))
            .collect();
        let lower = Space {
            block_bytes: self.space.block_bytes,
            maps: lower,
        };
        let mut mirror = None;
        for (index, kind) in kinds.iter().enumerate() {
            let reference = u16::try_from(index).unwrap_or(u16::MAX);
            let ground = self.ground(index);
            let map = match kind {
                MapKind::Plain | MapKind::Spared { .. } => {
                    lower.maps.get(index).cloned().unwrap_or(Map::Broken)
                }
                MapKind::Virtual => self.virtual_map(disc, &lower, (reference, ground)),
                MapKind::Metadata {
                    main,
                    mirror: other,
                    bitmap,
                } => {
                    let found = tables::metadata(disc, &lower, (reference, ground), [*main, *other, *bitmap]);
                    self.findings.extend(found.findings);
                    mirror = found.mirror.map(|map| (index, map)).or(mirror);
                    found.map
                }
                MapKind::Other(name) => {
                    let detail = format!("a partition map of the kind {name}");
                    let at = disc.in_image(ground.offset);
                    self.note((Severity::Loss, FindingCode::Unsupported), at, detail);
                    Map::Broken
                }
            };
            self.space.maps.push(map);
        }
        self.mirror = mirror.map(|(index, map)| {
            let mut space = self.space.clone();
            if let Some(main) = space.maps.get_mut(index) {
                *main = map;
            }
            space
        });
    }

    /// A partition as it is on the medium: that of the plain or spared map of the same number, if there is one.
    fn lower_map(&mut self, disc: &Disc<'_>, index: usize) -> Map {
        let number = self.logical.maps.get(index).map(|map| map.partition);
        let is_lower = |kind: &MapKind| matches!(kind, MapKind::Plain | MapKind::Spared { .. });
        let own = self.logical.maps.get(index).filter(|map| is_lower(&map.kind));
        let other = self
            .logical
            .maps
            .iter()
            .find(|map| Some(map.partition) == number && is_lower(&map.kind));
        let kind = own.or(other).map(|map| map.kind.clone());
        let ground = self.ground(index);
        match kind {
            Some(MapKind::Spared {
                packet_blocks,
                tables,
                table_bytes,
            }) => {
                let moved = tables::spared(disc, self.sector_bytes, (&tables, table_bytes));
                if moved.is_none() && own_index(&self.logical, number) == Some(index) {
                    let at = disc.in_image(ground.offset);
                    let detail =
                        "no sparing table can be read; moved packets are read where they stood before";
                    self.note((Severity::Loss, FindingCode::Corrupt), at, detail);
                }
                Map::Spared {
                    ground,
                    packet_blocks: packet_blocks.max(1).into(),
                    moved: moved.unwrap_or_default(),
                }
            }
            _ => Map::Plain(ground),
        }
    }

    fn virtual_map(&mut self, disc: &Disc<'_>, lower: &Space, (reference, ground): (u16, Ground)) -> Map {
        let Some(found) = tables::find_virtual(disc, lower, reference, ground) else {
            let detail =
                "no virtual allocation table was found: the disc was not closed, or its end is missing";
            let at = disc.in_image(ground.offset);
            self.note((Severity::Loss, FindingCode::Corrupt), at, detail);
            return Map::Broken;
        };
        let at = disc.in_image(found.offset);
        if found.lost > 0 {
            let detail = format!("{} entries of the virtual allocation table are lost", found.lost);
            self.note((Severity::Loss, FindingCode::Unread), at, detail);
        }
        self.table = Some((found.header, found.offset));
        Map::Virtual {
            ground,
            table: found.table,
        }
    }

    /// The last integrity descriptor that can be read (ECMA-167, 3/8.8.2).
    fn read_integrity(&mut self, disc: &Disc<'_>) -> Option<Integrity> {
        let mut last = None;
        let mut run = self.logical.integrity;
        for _ in 0..CHAIN_MAX {
            let Some(newest) = self.integrity_in(disc, run) else {
                break;
            };
            run = newest.next;
            let is_end = run.len_bytes == 0;
            last = Some(newest);
            if is_end {
                break;
            }
        }
        last
    }

    fn integrity_in(&mut self, disc: &Disc<'_>, run: SectorRun) -> Option<Integrity> {
        let sectors = run.len_bytes.checked_div(self.sector_bytes)?;
        let len = usize::try_from(self.sector_bytes).ok()?;
        let mut last = None;
        for sector in (run.sector..=u32::MAX).take(usize::try_from(sectors).ok()?.min(CHAIN_MAX)) {
            let offset = sector_offset(self.sector_bytes, sector);
            let bytes = match disc.bytes(offset, len) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let detail = format!("an integrity descriptor cannot be read: {error}");
                    let kind = (Severity::Warning, crate::disc::code_of(&error));
                    self.note(kind, disc.in_image(offset), detail);
                    continue;
                }
            };
            let tag = Tag::parse(&bytes).filter(|tag| tag.protects(&bytes));
            match tag.map(|tag| tag.id) {
                Some(id::INTEGRITY) => last = Integrity::parse(&bytes).or(last),
                Some(id::TERMINATING) => break,
                _ => {}
            }
        }
        last
    }

    fn read_file_sets(&mut self, disc: &Disc<'_>) {
        let mut run = self.logical.file_set;
        for _ in 0..CHAIN_MAX {
            let found = self.file_sets_in(disc, run);
            let next = found.last().map(|set| set.next);
            self.file_sets.extend(found);
            match next.filter(|next| !next.is_empty()) {
                Some(next) => run = next,
                None => break,
            }
        }
        self.file_sets.sort_by_key(|set| std::cmp::Reverse(set.number));
        self.file_sets.dedup_by_key(|set| set.root.at);
        if self.file_sets.is_empty() {
            let place = self.logical.file_set.at;
            let at = self.space.offset(place).unwrap_or(0);
            let fault = read_block(disc, &self.space, place).err();
            let code = fault.map_or(FindingCode::Corrupt, |fault| fault.code());
            let detail = "the file set descriptor is lost, and with it the place of the root directory";
            self.note((Severity::Loss, code), disc.in_image(at), detail);
        }
    }

    fn file_sets_in(&self, disc: &Disc<'_>, run: Allocated) -> Vec<FileSet> {
        let blocks = u64::from(run.len_bytes)
            .checked_div(self.space.block_bytes)
            .unwrap_or(0);
        let blocks = u32::try_from(blocks).unwrap_or(0).clamp(1, FILE_SET_BLOCKS_MAX);
        (0..blocks)
            .filter_map(|index| {
                let block = run.at.block.checked_add(index)?;
                self.file_set_at(disc, Address { block, ..run.at })
            })
            .collect()
    }

    fn file_set_at(&self, disc: &Disc<'_>, at: Address) -> Option<FileSet> {
        [Some(&self.space), self.mirror.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|space| {
                let (_, bytes) = read_block(disc, space, at).ok()?;
                FileSet::parse(&bytes).filter(|_| is_intact(&bytes, id::FILE_SET))
            })
    }

    /// Where the session ends, in the volume: after its virtual allocation table, else after its last partition.
    pub(super) fn end(&self) -> u64 {
        let partitions =
            (0..self.logical.maps.len()).map(|index| self.ground(index).range(self.space.block_bytes).end());
        match &self.table {
            Some((_, offset)) => offset.saturating_add(self.space.block_bytes),
            None => partitions.max().unwrap_or(0),
        }
    }

    /// Where its first anchor stands in the volume, for findings.
    pub(super) fn anchor_offset(&self) -> u64 {
        let first = self.anchors.first();
        first.map_or(0, |anchor| sector_offset(anchor.sector_bytes, anchor.sector))
    }

    /// Descriptor sequences, anchors and integrity descriptors, in the volume.
    pub(super) fn structures(&self) -> Vec<ByteRange> {
        let run = |run: SectorRun| {
            ByteRange::new(sector_offset(self.sector_bytes, run.sector), run.len_bytes.into())
        };
        let mut ranges = vec![run(self.logical.integrity)];
        for anchor in &self.anchors {
            ranges.extend([run(anchor.main), run(anchor.reserve)]);
            let offset = sector_offset(self.sector_bytes, anchor.sector);
            ranges.push(ByteRange::new(offset, self.sector_bytes.into()));
        }
        ranges
    }
}

fn own_index(logical: &LogicalVolume, number: Option<u16>) -> Option<usize> {
    let of_number = |map: &&super::descriptor::MapEntry| {
        Some(map.partition) == number && matches!(map.kind, MapKind::Spared { .. })
    };
    logical.maps.iter().position(|map| of_number(&map))
}

pub(super) fn sector_offset(sector_bytes: u32, sector: u32) -> u64 {
    u64::from(sector).saturating_mul(sector_bytes.into())
}

fn note_faults(disc: &Disc<'_>, faults: &Faults, which: &str, findings: &mut Vec<Finding>) {
    let mut note = |code, offset: u64, detail: String| {
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, code, detail);
        findings.push(finding.at(disc.in_image(offset)));
    };
    // One is told, the rest of a sequence mostly shares its fate.
    if let Some((offset, error)) = faults.unread.first() {
        let detail = format!("the {which} volume descriptor sequence cannot be read: {error}");
        note(crate::disc::code_of(error), *offset, detail);
    }
    if let Some(offset) = faults.corrupt.first() {
        let count = faults.corrupt.len();
        let detail = format!("{count} descriptors of the {which} volume descriptor sequence are corrupt");
        note(FindingCode::Corrupt, *offset, detail);
    }
}
