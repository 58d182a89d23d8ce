//! Information control blocks: file entries and extended file entries, by strategy 4 and 4096 (ECMA-167, 4/14.6 to 4/14.17; UDF 2.3.5, 2.3.6).

use ntt_model::time::Times;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::ReadError;
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::address::{Address, Allocated};
use super::space::Space;
use super::tag::{Tag, id};
use super::text::timestamp;
use crate::disc::{Disc, code_of};

/// Entries of one file under strategy 4096 that are followed, as in Linux (`fs/udf/inode.c`).
const NESTING_MAX: u32 = 1024;
const STRATEGY_4096: u16 = 4096;

/// File types of the ICB tag (ECMA-167, 4/14.6.6; UDF 2.3.5.2).
pub(super) mod file_type {
    pub(in super::super) const UNSPECIFIED: u8 = 0;
    pub(in super::super) const DIRECTORY: u8 = 4;
    pub(in super::super) const STREAM_DIRECTORY: u8 = 13;
    pub(in super::super) const TABLE: u8 = 248;
}

/// Why a structure cannot be had.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its address lies in no partition.
    Nowhere(Address),
    /// Its bytes cannot be read.
    Read(ReadError),
    /// Its bytes are something else.
    Corrupt(&'static str),
}

impl Fault {
    pub(super) fn code(&self) -> FindingCode {
        match self {
            Self::Nowhere(_) => FindingCode::BeyondEnd,
            Self::Read(error) => code_of(error),
            Self::Corrupt(_) => FindingCode::Corrupt,
        }
    }

    /// What a finding says of it.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Nowhere(at) => format!(
                "block {} of partition map {} lies nowhere",
                at.block, at.reference
            ),
            Self::Read(error) => error.to_string(),
            Self::Corrupt(what) => (*what).to_owned(),
        }
    }
}

/// Reads the block at an address.
pub(super) fn read_block(disc: &Disc<'_>, space: &Space, at: Address) -> Result<(u64, Vec<u8>), Fault> {
    let offset = space.offset(at).ok_or(Fault::Nowhere(at))?;
    let len = usize::try_from(space.block_bytes).unwrap_or(0);
    let bytes = disc.bytes(offset, len).map_err(Fault::Read)?;
    Ok((offset, bytes))
}

/// A file entry or extended file entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where it stands.
    pub(super) at: Address,
    /// The same, in the volume.
    pub(super) offset: u64,
    /// The whole block.
    bytes: Vec<u8>,
    is_extended: bool,
    /// Something about it that does not agree, though it was used.
    pub(super) doubt: Option<&'static str>,
}

impl Entry {
    /// The entry in the bytes of a block.
    pub(super) fn parse(bytes: Vec<u8>, at: Address, offset: u64) -> Result<Self, Fault> {
        let tag =
            Tag::parse(&bytes).ok_or(Fault::Corrupt("no descriptor tag where a file entry should be"))?;
        let is_extended = match tag.id {
            id::FILE_ENTRY => false,
            id::EXTENDED_FILE_ENTRY => true,
            _ => return Err(Fault::Corrupt("another descriptor where a file entry should be")),
        };
        let doubt = if !tag.protects(&bytes) {
            Some("the CRC of the file entry is wrong")
        } else if tag.location != at.block {
            Some("the file entry names another block as its place")
        } else {
            None
        };
        Ok(Self {
            at,
            offset,
            bytes,
            is_extended,
            doubt,
        })
    }

    fn half(&self, at: usize) -> u16 {
        le_u16(&self.bytes, at).unwrap_or(0)
    }

    fn word(&self, at: usize) -> u32 {
        le_u32(&self.bytes, at).unwrap_or(0)
    }

    fn double(&self, at: usize) -> u64 {
        le_u64(&self.bytes, at).unwrap_or(0)
    }

    /// One of two offsets: that of a file entry, and that of an extended one.
    fn place(&self, plain: usize, extended: usize) -> usize {
        if self.is_extended { extended } else { plain }
    }

    fn strategy(&self) -> u16 {
        self.half(20)
    }

    pub(super) fn file_type(&self) -> u8 {
        u8_at(&self.bytes, 27).unwrap_or(0)
    }

    /// Flags of the ICB tag (ECMA-167, 4/14.6.8).
    pub(super) fn flags(&self) -> u16 {
        self.half(34)
    }

    pub(super) fn kind(&self) -> Kind {
        match self.file_type() {
            file_type::DIRECTORY | file_type::STREAM_DIRECTORY => Kind::Directory,
            // Unspecified, byte-addressable, real-time.
            0 | 5 | 249 => Kind::File,
            6 => Kind::BlockDevice,
            7 => Kind::CharDevice,
            9 => Kind::Fifo,
            10 => Kind::Socket,
            12 => Kind::Symlink,
            _ => Kind::Unknown,
        }
    }

    /// Permission bits as Unix has them: UDF keeps five bits for other, group and owner each, of which the lower three are
    /// the same (ECMA-167, 4/14.9.5; UDF 2.3.6.3).
    pub(super) fn mode(&self) -> u32 {
        let permissions = self.word(44);
        let flags = u32::from(self.flags());
        let rights = (permissions & 7) | ((permissions >> 2) & 0o70) | ((permissions >> 4) & 0o700);
        // Set-user-id, set-group-id and sticky are bits 6 to 8 of the flags.
        let special = ((flags >> 6) & 1) << 11 | ((flags >> 7) & 1) << 10 | ((flags >> 8) & 1) << 9;
        rights | special
    }

    /// Owner and group; all ones stand for "none" (UDF 2.3.6.1).
    pub(super) fn owner(&self) -> (Option<u32>, Option<u32>) {
        let known = |id: u32| (id != u32::MAX).then_some(id);
        (known(self.word(36)), known(self.word(40)))
    }

    pub(super) fn links(&self) -> u32 {
        self.half(48).into()
    }

    /// Length of the content.
    pub(super) fn size_bytes(&self) -> u64 {
        self.double(56)
    }

    pub(super) fn unique_id(&self) -> u64 {
        self.double(self.place(160, 200))
    }

    pub(super) fn times(&self) -> Times {
        let at = |offset: usize| self.bytes.get(offset..).and_then(timestamp);
        if self.is_extended {
            Times {
                accessed: at(80),
                modified: at(92),
                created: at(104),
                changed: at(116),
                deleted: None,
            }
        } else {
            Times {
                accessed: at(72),
                modified: at(84),
                changed: at(96),
                created: None,
                deleted: None,
            }
        }
    }

    /// Another ICB whose content is more extended attributes.
    pub(super) fn attribute_icb(&self) -> Option<Allocated> {
        Allocated::long(&self.bytes, self.place(112, 136)).filter(|icb| !icb.is_empty())
    }

    /// The directory of named streams, which only extended entries have.
    pub(super) fn stream_icb(&self) -> Option<Allocated> {
        let icb = Allocated::long(&self.bytes, 152).filter(|icb| !icb.is_empty());
        icb.filter(|_| self.is_extended)
    }

    fn fixed_bytes(&self) -> usize {
        self.place(176, 216)
    }

    fn attribute_len(&self) -> usize {
        let fixed = self.fixed_bytes();
        let len = usize::try_from(self.word(fixed.saturating_sub(8))).unwrap_or(usize::MAX);
        len.min(self.bytes.len().saturating_sub(fixed))
    }

    /// The extended attributes in the block, and where they start in it.
    pub(super) fn attributes(&self) -> (usize, &[u8]) {
        let start = self.fixed_bytes();
        let end = start.saturating_add(self.attribute_len());
        (start, self.bytes.get(start..end).unwrap_or_default())
    }

    /// The allocation descriptors, or the content, in the block, and where they start in it.
    pub(super) fn allocation(&self) -> (usize, &[u8]) {
        let fixed = self.fixed_bytes();
        let start = fixed.saturating_add(self.attribute_len());
        let len = usize::try_from(self.word(fixed.saturating_sub(4))).unwrap_or(usize::MAX);
        let end = start.saturating_add(len).min(self.bytes.len());
        (start, self.bytes.get(start..end).unwrap_or_default())
    }
}

/// Loads the entry of a file. Under strategy 4096 that is the last of a chain of entries, each of which replaces the one before.
pub(super) fn load(disc: &Disc<'_>, space: &Space, icb: Address) -> Result<Entry, Fault> {
    let mut entry = load_one(disc, space, icb)?;
    for _ in 0..NESTING_MAX {
        if entry.strategy() != STRATEGY_4096 {
            break;
        }
        match successor(disc, space, entry.at) {
            Ok(None) => break,
            Ok(Some(next)) => entry = next,
            Err(_) => {
                entry.doubt =
                    Some("a later version of the file entry cannot be read; this is the one before");
                break;
            }
        }
    }
    Ok(entry)
}

fn load_one(disc: &Disc<'_>, space: &Space, at: Address) -> Result<Entry, Fault> {
    let (offset, bytes) = read_block(disc, space, at)?;
    Entry::parse(bytes, at, offset)
}

/// The entry that the indirect entry after `at` leads to; none if no such block was recorded.
fn successor(disc: &Disc<'_>, space: &Space, at: Address) -> Result<Option<Entry>, Fault> {
    let Some(block) = at.block.checked_add(1) else {
        return Ok(None);
    };
    let (_, bytes) = read_block(disc, space, Address { block, ..at })?;
    let is_indirect =
        Tag::parse(&bytes).is_some_and(|tag| tag.id == id::INDIRECT_ENTRY && tag.location == block);
    let icb = Allocated::long(&bytes, 36).filter(|icb| is_indirect && !icb.is_empty());
    match icb {
        None => Ok(None),
        Some(icb) => {
            let unrecorded =
                read_block(disc, space, icb.at).is_ok_and(|(_, bytes)| bytes.iter().all(|byte| *byte == 0));
            if unrecorded {
                Ok(None)
            } else {
                load_one(disc, space, icb.at).map(Some)
            }
        }
    }
}

/// A finding about an ICB that could not be had.
pub(super) fn lost(disc: &Disc<'_>, space: &Space, icb: Address, fault: &Fault) -> Finding {
    let detail = format!("the file entry is lost: {}", fault.detail());
    let finding = Finding::new(Severity::Loss, Layer::Inode, fault.code(), detail);
    match space.offset(icb) {
        Some(offset) => finding.at(disc.in_image(offset)),
        None => finding,
    }
}
