//! Descriptors of a volume and of its logical volume (ECMA-167, 3/10 and 4/14.1; UDF 2.2).

use ntt_model::Timestamp;
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::address::{Allocated, SectorRun};
use super::text::{dstring, entity, revision, timestamp};

/// Partition maps of a logical volume that are looked at; UDF allows three.
const MAPS_MAX: usize = 64;

/// A primary volume descriptor (ECMA-167, 3/10.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Primary {
    pub(super) sequence: u32,
    pub(super) volume: Vec<u8>,
    pub(super) volume_set: Vec<u8>,
    pub(super) application: Vec<u8>,
    pub(super) implementation: Vec<u8>,
    pub(super) recorded: Option<Timestamp>,
}

impl Primary {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: le_u32(bytes, 16)?,
            volume: dstring(bytes.get(24..56)?),
            volume_set: dstring(bytes.get(72..200)?),
            application: entity(bytes.get(344..376)?).to_vec(),
            recorded: timestamp(bytes.get(376..388)?),
            implementation: entity(bytes.get(388..420)?).to_vec(),
        })
    }
}

/// A partition descriptor (ECMA-167, 3/10.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Partition {
    pub(super) sequence: u32,
    pub(super) number: u16,
    pub(super) first_sector: u32,
    pub(super) sectors: u32,
    pub(super) access: u32,
    /// Unallocated space as a table, and as a bitmap (ECMA-167, 4/14.3), in blocks of the partition.
    pub(super) free_table: Allocated,
    pub(super) free_bitmap: Allocated,
}

impl Partition {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: le_u32(bytes, 16)?,
            number: le_u16(bytes, 22)?,
            free_table: Allocated::short(bytes, 56, 0)?,
            free_bitmap: Allocated::short(bytes, 64, 0)?,
            access: le_u32(bytes, 184)?,
            first_sector: le_u32(bytes, 188)?,
            sectors: le_u32(bytes, 192)?,
        })
    }

    /// How it may be written (ECMA-167, 3/10.5.7).
    pub(super) fn access_name(&self) -> &'static str {
        match self.access {
            1 => "read-only",
            2 => "write-once",
            3 => "rewritable",
            4 => "overwritable",
            _ => "access unknown",
        }
    }
}

/// An entry of the table of partition maps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MapEntry {
    pub(super) partition: u16,
    pub(super) kind: MapKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MapKind {
    Plain,
    Virtual,
    Spared {
        packet_blocks: u16,
        tables: Vec<u32>,
        table_bytes: u32,
    },
    Metadata {
        main: u32,
        mirror: u32,
        bitmap: u32,
    },
    /// Named, but not known here.
    Other(String),
}

/// A logical volume descriptor (ECMA-167, 3/10.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LogicalVolume {
    pub(super) sequence: u32,
    pub(super) label: Vec<u8>,
    pub(super) block_bytes: u32,
    /// UDF revision of the domain, binary-coded decimal.
    pub(super) revision: u16,
    pub(super) file_set: Allocated,
    pub(super) integrity: SectorRun,
    pub(super) maps: Vec<MapEntry>,
}

impl LogicalVolume {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let block_bytes = le_u32(bytes, 212)?;
        let is_size = block_bytes.is_power_of_two() && (512..=65_536).contains(&block_bytes);
        let table_bytes = usize::try_from(le_u32(bytes, 264)?).ok()?;
        let table = bytes.get(440..)?;
        is_size.then_some(Self {
            sequence: le_u32(bytes, 16)?,
            label: dstring(bytes.get(84..212)?),
            block_bytes,
            revision: revision(bytes.get(216..248)?),
            file_set: Allocated::long(bytes, 248)?,
            integrity: SectorRun::parse(bytes, 432)?,
            maps: maps(table.get(..table_bytes).unwrap_or(table), le_u32(bytes, 268)?),
        })
    }
}

fn maps(table: &[u8], count: u32) -> Vec<MapEntry> {
    let mut maps = Vec::new();
    let mut rest = table;
    let count = usize::try_from(count).unwrap_or(MAPS_MAX).min(MAPS_MAX);
    while maps.len() < count {
        let len = u8_at(rest, 1).map_or(0, usize::from);
        let Some(entry) = rest.get(..len).and_then(map) else {
            break;
        };
        maps.push(entry);
        rest = rest.get(len..).unwrap_or_default();
    }
    maps
}

/// One partition map (ECMA-167, 3/10.7; UDF 2.2.8 to 2.2.10).
fn map(bytes: &[u8]) -> Option<MapEntry> {
    if u8_at(bytes, 0)? == 1 {
        return Some(MapEntry {
            partition: le_u16(bytes, 4)?,
            kind: MapKind::Plain,
        });
    }
    let identifier = entity(bytes.get(4..36)?);
    let kind = match identifier {
        b"*UDF Virtual Partition" => MapKind::Virtual,
        b"*UDF Sparable Partition" => MapKind::Spared {
            packet_blocks: le_u16(bytes, 40)?,
            table_bytes: le_u32(bytes, 44)?,
            tables: (0..usize::from(u8_at(bytes, 42)?).min(4))
                .filter_map(|index| le_u32(bytes, index.checked_mul(4)?.checked_add(48)?))
                .collect(),
        },
        b"*UDF Metadata Partition" => MapKind::Metadata {
            main: le_u32(bytes, 40)?,
            mirror: le_u32(bytes, 44)?,
            bitmap: le_u32(bytes, 48)?,
        },
        other => MapKind::Other(ntt_model::name::escape(other).into_owned()),
    };
    Some(MapEntry {
        partition: le_u16(bytes, 38)?,
        kind,
    })
}

/// A logical volume integrity descriptor (ECMA-167, 3/10.10; UDF 2.2.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Integrity {
    pub(super) recorded: Option<Timestamp>,
    pub(super) is_closed: bool,
    pub(super) next: SectorRun,
    /// Free blocks and size of every partition map; the free count is `u32::MAX` where it is not known.
    pub(super) partitions: Vec<(u32, u32)>,
    /// Files, and directories.
    pub(super) counts: Option<(u32, u32)>,
}

impl Integrity {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let count = usize::try_from(le_u32(bytes, 72)?).ok()?.min(MAPS_MAX);
        let field = |index: usize| le_u32(bytes, index.checked_mul(4)?.checked_add(80)?);
        let partitions = (0..count)
            .filter_map(|index| Some((field(index)?, field(index.checked_add(count)?)?)))
            .collect();
        let usage = count.checked_mul(8)?.checked_add(112)?;
        let counts = || Some((le_u32(bytes, usage)?, le_u32(bytes, usage.checked_add(4)?)?));
        Some(Self {
            recorded: timestamp(bytes.get(16..28)?),
            is_closed: le_u32(bytes, 28)? == 1,
            next: SectorRun::parse(bytes, 32)?,
            partitions,
            counts: counts().filter(|_| le_u32(bytes, 76).is_some_and(|len| len >= 40)),
        })
    }
}

/// A file set descriptor (ECMA-167, 4/14.1; UDF 2.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileSet {
    /// Of several sets, the one with the highest number counts (UDF 2.3.2).
    pub(super) number: u32,
    pub(super) root: Allocated,
    pub(super) next: Allocated,
    /// Streams of the system, from UDF 2.00 on.
    pub(super) streams: Allocated,
    pub(super) recorded: Option<Timestamp>,
}

impl FileSet {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            recorded: timestamp(bytes.get(16..28)?),
            number: le_u32(bytes, 40)?,
            root: Allocated::long(bytes, 400)?,
            next: Allocated::long(bytes, 448)?,
            streams: Allocated::long(bytes, 464)?,
        })
    }
}

/// What a virtual allocation table of UDF 2.00 and later says of the volume (UDF 2.2.11).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TableHeader {
    /// Where the entries start.
    pub(super) len_bytes: u64,
    pub(super) label: Vec<u8>,
    pub(super) counts: (u32, u32),
}

impl TableHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let len_bytes = le_u16(bytes, 0)?;
        let plausible =
            len_bytes >= 152 && u64::from(len_bytes) >= u64::from(le_u16(bytes, 2)?).checked_add(152)?;
        plausible.then_some(Self {
            len_bytes: len_bytes.into(),
            label: dstring(bytes.get(4..132)?),
            counts: (le_u32(bytes, 136)?, le_u32(bytes, 140)?),
        })
    }
}
