//! A block table: `mish`.

use ntt_model::{ByteRange, Codec};
use ntt_source::field;

use crate::layer::{HashAlgorithm, StoredHash};

const MAGIC: &[u8] = b"mish";
const ENTRIES_AT: usize = 204;
const ENTRY_BYTES: usize = 40;
const SECTOR: u64 = 512;
/// The kind of checksum that is CRC-32.
const CRC32: u32 = 2;
/// Zeros that are no part of the checksum.
const IGNORED: u32 = 2;
const COMMENT: u32 = 0x7fff_fffe;
const END: u32 = 0xffff_ffff;

/// The runs of one partition.
pub(super) struct Table {
    first_sector: u64,
    sectors: u64,
    /// CRC-32 of the partition in hexadecimal digits, if the table has one.
    crc32: Option<String>,
    pub(super) chunks: Vec<Chunk>,
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
            hex: self.crc32.clone()?,
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
        let count = usize::try_from(field::be_u32(bytes, 200)?).ok()?;
        let entries = bytes.get(ENTRIES_AT..)?.chunks_exact(ENTRY_BYTES).take(count);
        let (mut chunks, mut ignored) = (Vec::new(), Vec::new());
        for entry in entries {
            let chunk = Chunk::parse(entry, first_sector, base);
            if field::be_u32(entry, 0) == Some(IGNORED) {
                ignored.extend(chunk.iter().map(|chunk| ByteRange::new(chunk.start, chunk.len)));
            }
            chunks.extend(chunk);
        }
        let has_sum = field::be_u32(bytes, 64)? == CRC32;
        Some(Self {
            first_sector,
            sectors: field::be_u64(bytes, 16)?,
            crc32: has_sum.then_some(format!("{:08x}", field::be_u32(bytes, 72)?)),
            chunks,
            ignored,
        })
    }
}

impl Chunk {
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
