//! Records of the tree of files.

use super::tree::Record;

/// A file or directory.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) parent: u64,
    pub(super) stream: u64,
    pub(super) name: Vec<u8>,
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) flags: u32,
    pub(super) size: Option<u64>,
    pub(super) device: Option<u32>,
    pub(super) modified: u64,
}

pub(super) fn key(id: u64, kind: u64, rest: &[u8]) -> Vec<u8> {
    [&(id | (kind << 60)).to_le_bytes()[..], rest].concat()
}

/// A name with its length in front and a zero behind it.
fn counted(name: &[u8]) -> Vec<u8> {
    let len = u16::try_from(name.len() + 1).expect("a name");
    [&len.to_le_bytes()[..], name, &[0]].concat()
}

pub(super) fn inode(id: u64, inode: &Inode, children: u32) -> Record {
    let mut value = Vec::new();
    for number in [inode.parent, inode.stream] {
        value.extend(number.to_le_bytes());
    }
    for time in [
        1_600_000_000_000_000_001,
        inode.modified,
        inode.modified,
        inode.modified,
    ] {
        value.extend(time.to_le_bytes());
    }
    value.extend(0x8000_u64.to_le_bytes());
    let count = if inode.mode & 0o170_000 == 0o040_000 {
        children
    } else {
        inode.links
    };
    for word in [count, 0, 1, inode.flags, 501, 20] {
        value.extend(word.to_le_bytes());
    }
    value.extend(inode.mode.to_le_bytes());
    value.extend([0; 10]);
    let name = [&inode.name[..], &[0]].concat();
    let mut fields = vec![(4_u8, name)];
    if let Some(size) = inode.size {
        let allocated = size.next_multiple_of(4096);
        let numbers = [size, allocated, 0, size, 0].map(u64::to_le_bytes);
        fields.push((8, numbers.concat()));
    }
    if let Some(device) = inode.device {
        fields.push((14, device.to_le_bytes().to_vec()));
    }
    value.extend(fields_blob(&fields));
    (key(id, 3, &[]), value)
}

/// `xf_blob_t`.
fn fields_blob(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let used: usize = fields
        .iter()
        .map(|(_, data)| data.len().next_multiple_of(8))
        .sum();
    let half = |number: usize| u16::try_from(number).expect("small").to_le_bytes();
    let mut blob = [half(fields.len()), half(used)].concat();
    for (kind, data) in fields {
        blob.extend([*kind, 0]);
        blob.extend(half(data.len()));
    }
    for (_, data) in fields {
        let mut data = data.clone();
        data.resize(data.len().next_multiple_of(8), 0);
        blob.extend(data);
    }
    blob
}

/// An entry of a directory; names of volumes that fold case come with a hash, which no reader of a whole tree needs.
pub(super) fn entry(parent: u64, name: &[u8], id: u64, mode: u16, is_hashed: bool) -> Record {
    let rest = if is_hashed {
        let hash = name
            .iter()
            .fold(7_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(*byte));
        let len = u32::try_from(name.len() + 1).expect("a name");
        [&((hash << 10) | len).to_le_bytes()[..], name, &[0]].concat()
    } else {
        counted(name)
    };
    let mut value = id.to_le_bytes().to_vec();
    value.extend(1_600_000_000_000_000_002_u64.to_le_bytes());
    value.extend((mode >> 12).to_le_bytes());
    (key(parent, 9, &rest), value)
}

pub(super) fn attribute(id: u64, name: &[u8], value: &[u8]) -> Record {
    let len = u16::try_from(value.len()).expect("a short value").to_le_bytes();
    (key(id, 4, &counted(name)), [&[2, 0][..], &len, value].concat())
}

/// An attribute whose value is a stream.
pub(super) fn attribute_stream(id: u64, name: &[u8], stream: u64, size: u64) -> Record {
    let numbers = [stream, size, size.next_multiple_of(4096), 0, size, 0].map(u64::to_le_bytes);
    (
        key(id, 4, &counted(name)),
        [&[1, 0, 48, 0][..], &numbers.concat()].concat(),
    )
}

pub(super) fn extent(stream: u64, logical: u64, len: u64, block: u64) -> Record {
    let value = [len, block, 0].map(u64::to_le_bytes).concat();
    (key(stream, 8, &logical.to_le_bytes()), value)
}

/// A record of the tree of extents of a sealed volume.
pub(super) fn sealed_extent(stream: u64, logical: u64, len: u64, block: u64) -> Record {
    let key = [stream, logical].map(u64::to_le_bytes).concat();
    (key, [len, block].map(u64::to_le_bytes).concat())
}

pub(super) fn stream_count(stream: u64) -> Record {
    (key(stream, 6, &[]), 1_u32.to_le_bytes().to_vec())
}

pub(super) fn sibling(id: u64, sibling: u64, parent: u64, name: &[u8]) -> [Record; 2] {
    let link = [&parent.to_le_bytes()[..], &counted(name)].concat();
    [
        (key(id, 5, &sibling.to_le_bytes()), link),
        (key(sibling, 12, &[]), id.to_le_bytes().to_vec()),
    ]
}

pub(super) fn snapshot(xid: u64, superblock: u64, name: &[u8]) -> Record {
    let mut value = [
        0,
        superblock,
        1_500_000_000_000_000_000,
        1_500_000_000_000_000_000,
        0,
    ]
    .map(u64::to_le_bytes)
    .concat();
    value.extend([0; 8]);
    value.extend(counted(name));
    (key(xid, 1, &[]), value)
}
