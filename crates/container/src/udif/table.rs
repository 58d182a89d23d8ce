//! A block table: `mish`.

use ntt_model::{ByteRange, Codec};
use ntt_source::field;

use crate::layer::{HashAlgorithm, StoredHash};

const MAGIC: &[u8] = b"mish";
const ENTRIES_AT: usize = 204;
const ENTRY_BYTES: usize = 40;
const SECTOR: u64 = 512;
/// The kind of checksum that is CRC-32.
pub(super) const CRC32: u32 = 2;
/// Zeros that are no part of the checksum.
const IGNORED: u32 = 2;
const COMMENT: u32 = 0x7fff_fffe;
const END: u32 = 0xffff_ffff;

/// The runs of one partition.
pub(super) struct Table {
    pub(super) first_sector: u64,
    /// Sectors of the partition, as most of what the table says of them has it.
    pub(super) sectors: u64,
    /// CRC-32 of the partition, if the table has one.
    pub(super) crc32: Option<u32>,
    /// The runs that can be believed, ascending.
    pub(super) chunks: Vec<Chunk>,
    /// Whether the runs follow each other from the first sector to the last, and none contradicts itself.
    pub(super) is_sound: bool,
    /// Runs that are zeros and not part of the checksum.
    ignored: Vec<ByteRange>,
}

/// A run of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// First byte in the image.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Where it is stored in the file, and its length there.
    pub(super) stored: (u64, u64),
    pub(super) storage: Storage,
}

/// How a run is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Zeros,
    Raw,
    Packed(Codec),
    Unknown(u32),
}

impl Table {
    /// The checksum of the partition, if the table has one.
    pub(super) fn stored_hash(&self) -> Option<StoredHash> {
        Some(StoredHash {
            algorithm: HashAlgorithm::Crc32,
            hex: format!("{:08x}", self.crc32?),
            range: ByteRange::new(
                self.first_sector.saturating_mul(SECTOR),
                self.sectors.saturating_mul(SECTOR),
            ),
            leaves_out: self.ignored.clone(),
        })
    }

    pub(super) fn parse(bytes: &[u8], data_offset: u64) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let first_sector = field::be_u64(bytes, 8)?;
        let base = data_offset.saturating_add(field::be_u64(bytes, 24)?);
        let stated = field::be_u64(bytes, 16)?;
        let count = usize::try_from(field::be_u32(bytes, 200)?).ok()?;
        let entries = bytes.get(ENTRIES_AT..)?.chunks_exact(ENTRY_BYTES).take(count);
        let (mut chunks, mut ignored, mut end) = (Vec::new(), Vec::new(), None);
        for entry in entries {
            let kind = field::be_u32(entry, 0);
            let chunk = Chunk::parse(entry, first_sector, base);
            if kind == Some(IGNORED) {
                ignored.extend(chunk.iter().map(|chunk| ByteRange::new(chunk.start, chunk.len)));
            }
            if kind == Some(END) {
                end = field::be_u64(entry, 8);
            }
            chunks.extend(chunk);
        }
        chunks.sort_by_key(|chunk| chunk.start);
        ignored.sort_by_key(|range| range.offset);
        let start = first_sector.saturating_mul(SECTOR);
        let runs_end = chunks.last().map_or(start, Chunk::end);
        let runs = runs_end.saturating_sub(start).div_euclid(SECTOR);
        // The header, the runs and the entry at the end each tell how many sectors there are.
        let sectors = if end == Some(runs) { runs } else { stated };
        let believed = believed(
            &chunks,
            start,
            start.saturating_add(sectors.saturating_mul(SECTOR)),
        );
        let has_sum = field::be_u32(bytes, 64)? == CRC32;
        Some(Self {
            first_sector,
            sectors,
            crc32: if has_sum { field::be_u32(bytes, 72) } else { None },
            is_sound: believed.len() == chunks.len() && stated == sectors,
            chunks: believed,
            ignored,
        })
    }
}

/// The runs that begin where the one before ends, end where the next begins, and do not contradict themselves. Of two that do not meet either may be wrong.
fn believed(chunks: &[Chunk], start: u64, end: u64) -> Vec<Chunk> {
    let starts = chunks.iter().map(|chunk| chunk.start).skip(1).chain([end]);
    let ends = [start].into_iter().chain(chunks.iter().map(Chunk::end));
    chunks
        .iter()
        .zip(starts.zip(ends))
        .filter(|(chunk, (next, before))| {
            chunk.start == *before && chunk.end() == *next && !chunk.contradicts_itself()
        })
        .map(|(chunk, _)| chunk.clone())
        .collect()
}

impl Chunk {
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Zeros are not stored, and what is stored raw is as long as it is.
    fn contradicts_itself(&self) -> bool {
        match self.storage {
            Storage::Zeros => self.stored.1 != 0,
            Storage::Raw => self.stored.1 != self.len,
            Storage::Packed(_) | Storage::Unknown(_) => false,
        }
    }

    /// `None` for an entry that is no run, or one of nothing.
    fn parse(entry: &[u8], first_sector: u64, base: u64) -> Option<Self> {
        let storage = match field::be_u32(entry, 0)? {
            COMMENT | END => return None,
            0 | IGNORED => Storage::Zeros,
            1 => Storage::Raw,
            0x8000_0004 => Storage::Packed(Codec::Adc),
            0x8000_0005 => Storage::Packed(Codec::Zlib),
            0x8000_0006 => Storage::Packed(Codec::Bzip2),
            0x8000_0007 => Storage::Packed(Codec::Lzfse),
            0x8000_0008 => Storage::Packed(Codec::Xz),
            other => Storage::Unknown(other),
        };
        let sector = first_sector.saturating_add(field::be_u64(entry, 8)?);
        let len = field::be_u64(entry, 16)?.saturating_mul(SECTOR);
        let stored = (
            base.saturating_add(field::be_u64(entry, 24)?),
            field::be_u64(entry, 32)?,
        );
        (len > 0).then_some(Self {
            start: sector.saturating_mul(SECTOR),
            len,
            stored,
            storage,
        })
    }
}
