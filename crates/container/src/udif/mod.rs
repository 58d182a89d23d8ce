//! UDIF, Apple's disk images (`.dmg`): raw, and compressed with ADC, zlib, bzip2, LZFSE, LZMA.
//!
//! A trailer of 512 bytes (`koly`) says where the property list stands. Its `blkx` array has a block table (`mish`) for each partition: runs of sectors, and how and
//! where each is stored. Each table has a CRC-32 of its partition without the
//! runs that it calls ignored, the trailer one of those.
//!
//! Sources: *Demystifying the DMG File Format* (J. Levin), J. Metz's notes on UDIF (libmodi), and images that `hdiutil` made. An image without a property list, whose
//! tables stand in a resource fork, is said to be unsupported; so is an encrypted one.

mod cover;
mod plist;
mod table;

use std::sync::Arc;

use ntt_model::{Codec, FindingCode};
use ntt_source::{ReadAt, field};

use crate::layout::{Fault, Layout, Run, bytes_of, image, read_upto};
use crate::open::{Found, OpenError, Subject};
use cover::Cover;
use table::{Chunk, Storage, Table};

const FORMAT: &str = "UDIF";
const TRAILER_MAGIC: &[u8] = b"koly";
const TRAILER_BYTES: usize = 512;
/// An encrypted image starts (version 2) or ends (version 1) with these.
const ENCRYPTED_HEAD: &[u8] = b"encrcdsa";
const ENCRYPTED_TAIL: &[u8] = b"cdsaencr";
const SECTOR: u64 = 512;
/// Longest property list: a terabyte in chunks of a megabyte has one of about 60 MiB.
const PLIST_BYTES_MAX: u64 = 64 << 20;
/// Longest chunk that is decoded: `hdiutil` makes them of 256 KiB to 1 MiB.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn matches(head: &[u8], tail: &[u8]) -> bool {
    trailer_of(tail).is_some() || is_encrypted(head, tail)
}

fn is_encrypted(head: &[u8], tail: &[u8]) -> bool {
    head.starts_with(ENCRYPTED_HEAD) || tail.ends_with(ENCRYPTED_TAIL)
}

fn trailer_bytes() -> u64 {
    u64::try_from(TRAILER_BYTES).unwrap_or(0)
}

fn trailer_of(tail: &[u8]) -> Option<&[u8]> {
    let trailer = tail.get(tail.len().checked_sub(TRAILER_BYTES)?..)?;
    trailer.starts_with(TRAILER_MAGIC).then_some(trailer)
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let Some(trailer) = trailer_of(&subject.tail) else {
        return Err(OpenError::Refused {
            format: "encrypted Apple disk image",
            code: FindingCode::Encrypted,
            reason: "it is encrypted".to_owned(),
        });
    };
    let trailer =
        Trailer::parse(trailer).ok_or_else(|| OpenError::corrupt(FORMAT, "the trailer makes no sense"))?;
    if trailer.segments > 1 {
        return Err(OpenError::unsupported(
            FORMAT,
            format!("it is one of {} segments", trailer.segments),
        ));
    }
    let found = block_tables(subject, &trailer)?;
    let mut layer = subject.layer(FORMAT);
    let mut cover = Cover::default();
    if !found.is_whole {
        let detail = "the property list is cut short or broken: it may lack block tables";
        cover.say(FindingCode::Corrupt, detail);
    }
    for (name, bytes) in found.tables {
        let shown = crate::layer::shown(name.as_bytes());
        match bytes.and_then(|bytes| Table::parse(&bytes, trailer.data_offset)) {
            Some(table) => cover.tables.push((shown.clone(), table)),
            None => cover.unreadable(&shown),
        }
        layer.fact("partition", shown);
    }
    cover.compare_master(trailer.master_crc32);
    let size = cover.size(trailer.sectors.saturating_mul(SECTOR));
    cover.refuse_tables(size);
    layer.hashes.extend(cover.hashes());
    let stored_end = subject.source.len().saturating_sub(trailer_bytes());
    let (chunks, findings) = cover.chunks(size, stored_end, trailer.plist);
    layer.compression = compression(&chunks);
    layer.block_bytes = chunks
        .iter()
        .map(|chunk| chunk.len)
        .filter(|len| *len <= CHUNK_BYTES_MAX)
        .max()
        .unwrap_or(0);
    let layout = Chunks {
        source: subject.source.clone(),
        chunks,
        size,
    };
    Ok(Found::new(layer, findings, image(layout)))
}

/// The block tables of the property list, each with the name of what it describes.
fn block_tables(subject: &Subject<'_>, trailer: &Trailer) -> Result<plist::Tables, OpenError> {
    if trailer.plist.1 == 0 {
        return Err(OpenError::unsupported(
            FORMAT,
            "its block tables stand in a resource fork, not in a property list",
        ));
    }
    let text = read_upto(
        subject.source,
        trailer.plist.0,
        trailer.plist.1.min(PLIST_BYTES_MAX),
    )
    .map_err(|error| OpenError::unreadable(FORMAT, "the property list", &error))?;
    let mut found = plist::block_tables(&text);
    if found.tables.is_empty() {
        return Err(OpenError::corrupt(
            FORMAT,
            "the property list has no block tables",
        ));
    }
    found.is_whole &= bytes_of(&text) == trailer.plist.1;
    Ok(found)
}

/// How chunks are compressed, for people.
fn compression(chunks: &[Chunk]) -> String {
    let mut names: Vec<&str> = chunks
        .iter()
        .filter_map(|chunk| match chunk.storage {
            Storage::Packed(codec) => Some(if codec == Codec::Xz { "lzma" } else { codec.name() }),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

struct Trailer {
    data_offset: u64,
    plist: (u64, u64),
    segments: u32,
    sectors: u64,
    /// CRC-32 over the checksums of all tables, if there is one.
    master_crc32: Option<u32>,
}

impl Trailer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            data_offset: field::be_u64(bytes, 24)?,
            segments: field::be_u32(bytes, 60)?,
            plist: (field::be_u64(bytes, 216)?, field::be_u64(bytes, 224)?),
            sectors: field::be_u64(bytes, 492)?,
            master_crc32: field::be_u32(bytes, 360)
                .filter(|_| field::be_u32(bytes, 352) == Some(table::CRC32)),
        })
    }
}

struct Chunks {
    source: Arc<dyn ReadAt>,
    /// Ascending, without overlaps. What is in none of them is lost.
    chunks: Vec<Chunk>,
    size: u64,
}

impl Layout for Chunks {
    fn len(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let after = self.chunks.partition_point(|chunk| chunk.start <= offset);
        let next = self.chunks.get(after).map_or(self.size, |chunk| chunk.start);
        let found = after
            .checked_sub(1)
            .and_then(|at| Some((at, self.chunks.get(at)?)));
        let gap = next.saturating_sub(offset).max(1);
        let inside = found.filter(|(_, chunk)| offset < chunk.end());
        let Some((at, chunk)) = inside else {
            return Run::Lost {
                len: gap,
                what: "no block table that can be believed says where they are".to_owned(),
            };
        };
        let within = offset.saturating_sub(chunk.start);
        let len = chunk.len.saturating_sub(within);
        match chunk.storage {
            Storage::Zeros => Run::Zeros(len),
            Storage::Raw => Run::Stored {
                source: &self.source,
                offset: chunk.stored.0.saturating_add(within),
                len,
            },
            Storage::Packed(_) => Run::Block {
                number: u64::try_from(at).unwrap_or(u64::MAX),
                skip: within,
                len,
            },
            Storage::Unknown(kind) => Run::Lost {
                len,
                what: format!("they are stored in a way that is not known ({kind:#x})"),
            },
        }
    }

    fn decode(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let chunk = usize::try_from(number).ok().and_then(|at| self.chunks.get(at));
        let corrupt = |what: String| Fault::Corrupt(format!("chunk {number}: {what}"));
        let chunk = chunk.ok_or_else(|| corrupt("there is none".to_owned()))?;
        let Storage::Packed(codec) = chunk.storage else {
            return Err(corrupt("it is not compressed".to_owned()));
        };
        if chunk.len > CHUNK_BYTES_MAX {
            return Err(corrupt(format!("{} bytes are not believed", chunk.len)));
        }
        let stored_max = chunk.len.saturating_mul(2).saturating_add(4096);
        let stored = read_upto(&self.source, chunk.stored.0, chunk.stored.1.min(stored_max))?;
        let len = usize::try_from(chunk.len).unwrap_or(0);
        let mut bytes = Vec::new();
        ntt_codec::decode(codec, &stored, &mut bytes, len).map_err(|error| corrupt(error.to_string()))?;
        if bytes.len() != len {
            return Err(corrupt(format!("{} bytes of {len}", bytes.len())));
        }
        Ok(bytes)
    }
}
