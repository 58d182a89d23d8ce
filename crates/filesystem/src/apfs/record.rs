//! Records of the tree of files: what their keys and values say.

use ntt_model::Kind;
use ntt_source::field::{array, le_u16, le_u32, le_u64};

use super::superblock::until_zero;

/// Types of records (`j_obj_types`).
pub(super) mod kind {
    pub(in super::super) const INODE: u8 = 3;
    pub(in super::super) const XATTR: u8 = 4;
    pub(in super::super) const FILE_EXTENT: u8 = 8;
    pub(in super::super) const ENTRY: u8 = 9;
}

/// `XATTR_DATA_STREAM`.
const IN_STREAM: u16 = 1;
/// Types of extended fields of an inode.
const FIELD_NAME: u8 = 4;
const FIELD_FINDER_INFO: u8 = 7;
const FIELD_STREAM: u8 = 8;
const FIELD_DEVICE: u8 = 14;
/// Length of `j_inode_val_t` without its extended fields.
const INODE_LEN: usize = 92;

/// `j_drec_val_t` with its key.
pub(super) struct Entry<'r> {
    pub(super) name: &'r [u8],
    pub(super) id: u64,
    pub(super) kind: Kind,
}

impl<'r> Entry<'r> {
    /// Volumes that fold case or normalise names put a hash in the upper 22 bits of a longer length. Keys tell by their own length which it is: a
    /// longer length taken for a short one differs from it by a multiple of 1024.
    pub(super) fn parse(key: &'r [u8], value: &[u8]) -> Option<Self> {
        let plain = usize::from(le_u16(key, 8)?);
        let (len, at) = if plain.checked_add(10)? == key.len() {
            (plain, 10)
        } else {
            (usize::try_from(le_u32(key, 8)? & 0x3ff).ok()?, 12)
        };
        let name = key.get(at..)?;
        Some(Self {
            // The length counts the zero that ends it.
            name: name.get(..len.checked_sub(1)?)?,
            id: le_u64(value, 0)?,
            kind: entry_kind(le_u16(value, 16)?),
        })
    }
}

/// `DREC_TYPE_MASK`; the values are those of `DT_*`.
const fn entry_kind(flags: u16) -> Kind {
    match flags & 0xf {
        1 => Kind::Fifo,
        2 => Kind::CharDevice,
        4 => Kind::Directory,
        6 => Kind::BlockDevice,
        8 => Kind::File,
        10 => Kind::Symlink,
        12 => Kind::Socket,
        _ => Kind::Unknown,
    }
}

/// An inode record, with what its extended fields say.
#[derive(Clone, Default)]
pub(super) struct RawInode {
    pub(super) head: Vec<u8>,
    pub(super) parent: u64,
    /// The number of its content.
    pub(super) stream: u64,
    pub(super) name: Option<Vec<u8>>,
    /// Length of the content.
    pub(super) size: Option<u64>,
    pub(super) device: Option<u32>,
    pub(super) finder_info: Option<[u8; 32]>,
}

impl RawInode {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut raw = Self {
            head: value.get(..INODE_LEN)?.to_vec(),
            parent: le_u64(value, 0)?,
            stream: le_u64(value, 8)?,
            ..Self::default()
        };
        each_field(value.get(INODE_LEN..)?, &mut |kind, data| raw.field(kind, data));
        Some(raw)
    }

    fn field(&mut self, kind: u8, data: &[u8]) {
        match kind {
            FIELD_NAME => self.name = Some(until_zero(data).to_vec()),
            FIELD_FINDER_INFO => self.finder_info = array(data, 0),
            FIELD_STREAM => self.size = le_u64(data, 0),
            FIELD_DEVICE => self.device = le_u32(data, 0),
            _ => {}
        }
    }

    pub(super) fn mode(&self) -> u16 {
        le_u16(&self.head, 80).unwrap_or(0)
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode().into())
    }
}

/// Gives the extended fields (`xf_blob_t`): their heads stand first, then their data, each from a multiple of 8 on.
fn each_field(blob: &[u8], each: &mut dyn FnMut(u8, &[u8])) -> Option<()> {
    let count = usize::from(le_u16(blob, 0)?);
    let heads = blob.get(4..)?;
    let mut data = heads.get(count.checked_mul(4)?..)?;
    for head in heads.chunks_exact(4).take(count) {
        let len = usize::from(le_u16(head, 2)?);
        each(*head.first()?, data.get(..len)?);
        data = data.get(len.checked_next_multiple_of(8)?..).unwrap_or_default();
    }
    Some(())
}

/// The value of an extended attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// In the record; the byte of the image where it lies.
    Inline(Vec<u8>, u64),
    /// A stream of its own: its number and its length.
    Stream { id: u64, size: u64 },
}

/// `j_xattr_val_t` with its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attribute {
    pub(super) name: Vec<u8>,
    pub(super) value: Value,
}

impl Attribute {
    /// `place` is where the value of the record lies in the image.
    pub(super) fn parse(key: &[u8], value: &[u8], place: u64) -> Option<Self> {
        let len = usize::from(le_u16(key, 8)?);
        let name = key.get(10..)?.get(..len.checked_sub(1)?)?.to_vec();
        let data_len = usize::from(le_u16(value, 2)?);
        let data = value.get(4..)?.get(..data_len)?;
        let value = if le_u16(value, 0)? & IN_STREAM == 0 {
            Value::Inline(data.to_vec(), place.saturating_add(4))
        } else {
            Value::Stream {
                id: le_u64(data, 0)?,
                size: le_u64(data, 8)?,
            }
        };
        Some(Self { name, value })
    }
}

/// `j_file_extent_val_t` with its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RawExtent {
    /// First byte in the stream.
    pub(super) logical: u64,
    /// Bytes.
    pub(super) len: u64,
    /// 0 for a hole.
    pub(super) block: u64,
}

impl RawExtent {
    pub(super) fn parse(key: &[u8], value: &[u8]) -> Option<Self> {
        Some(Self {
            logical: le_u64(key, 8)?,
            len: le_u64(value, 0)? & 0x00ff_ffff_ffff_ffff,
            block: le_u64(value, 8)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_hash() {
        let value = [&77_u64.to_le_bytes()[..], &[0; 8], &[4, 0]].concat();
        let plain = [&[0; 8][..], &[3, 0], b"ab\0"].concat();
        let entry = Entry::parse(&plain, &value).expect("an entry");
        assert_eq!(
            (entry.name, entry.id, entry.kind),
            (&b"ab"[..], 77, Kind::Directory)
        );
        let hashed = [&[0; 8][..], &[3, 0xfc, 0xff, 0xff], b"ab\0"].concat();
        assert_eq!(Entry::parse(&hashed, &value).expect("an entry").name, b"ab");
        assert!(Entry::parse(&plain[..11], &value).is_none());
        assert!(Entry::parse(&[0; 12], &value).is_none() && Entry::parse(&hashed[..13], &value).is_none());
    }

    #[test]
    fn fields_of_an_inode_are_aligned() {
        let mut value = vec![0; INODE_LEN];
        value[81] = 0x81;
        value.extend_from_slice(&[2, 0, 56, 0, FIELD_NAME, 0, 3, 0, FIELD_STREAM, 0, 40, 0]);
        value.extend_from_slice(b"ab\0\0\0\0\0\0");
        value.extend_from_slice(&99_u64.to_le_bytes());
        value.extend_from_slice(&[0; 32]);
        let raw = RawInode::parse(&value).expect("an inode");
        assert_eq!(
            (raw.name.as_deref(), raw.size, raw.kind()),
            (Some(&b"ab"[..]), Some(99), Kind::File)
        );
        assert!(RawInode::parse(&value[..91]).is_none());
        assert_eq!(RawInode::parse(&value[..110]).expect("an inode").size, None);
    }
}
