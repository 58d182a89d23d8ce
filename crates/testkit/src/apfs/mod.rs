//! APFS containers by code: several volumes, trees of several levels, checkpoints. Nothing of Linux writes them.

mod folder;
mod records;
mod tree;

use std::collections::BTreeMap;

use self::records::Inode;
use self::tree::{Made, Record};

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// First block of the ring of checkpoints, and its length.
pub const RING: std::ops::Range<u64> = 1..9;
/// First block of what checkpoints keep beside it.
const EPHEMERAL: u64 = 9;
/// Blocks before this one have fixed uses.
const FIRST_FREE: u64 = 17;
/// Number of the root directory of a volume.
pub const ROOT: u64 = 2;
/// Number of the superblock of the first volume.
pub const FIRST_VOLUME: u64 = 1026;
/// Time of everything that has no other: 2023-11-14T22:13:20 and a nanosecond.
const STAMP: u64 = 1_700_000_000_000_000_001;
const PHYSICAL: u32 = 0x4000_0000;
const EPHEMERAL_TYPE: u32 = 0x8000_0000;

/// What kind of volume.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Case is folded, so names have hashes.
    pub is_case_insensitive: bool,
    /// Nodes are said to be encrypted.
    pub is_encrypted: bool,
    /// Extents stand in a tree of their own.
    pub is_sealed: bool,
    /// `apfs_role`.
    pub role: u16,
    /// Names of snapshots.
    pub snapshots: Vec<String>,
}

impl Shape {
    const fn has_hashes(&self) -> bool {
        self.is_case_insensitive || self.is_sealed
    }
}

#[derive(Debug)]
struct Volume {
    name: String,
    shape: Shape,
    inodes: BTreeMap<u64, Inode>,
    records: Vec<Record>,
    extents: Vec<Record>,
    next_id: u64,
}

/// A piece of a content.
#[derive(Debug, Clone)]
pub enum Piece<'p> {
    /// Bytes; all but the last piece have whole blocks.
    Data(&'p [u8]),
    /// Blocks that are not stored.
    Hole(u64),
    /// Blocks that lie somewhere already: first block and number of bytes.
    Shared(u64, u64),
}

/// A container in the making.
#[derive(Debug)]
pub struct Builder {
    image: Vec<u8>,
    next_block: u64,
    xid: u64,
    ring_next: u64,
    volumes: Vec<Volume>,
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Builder {
    /// A container of so many blocks.
    pub fn new(blocks: usize) -> Self {
        Self {
            image: vec![0; blocks * BLOCK],
            next_block: FIRST_FREE,
            xid: 1,
            ring_next: 0,
            volumes: Vec::new(),
        }
    }

    /// Adds a volume; its index.
    pub fn volume(&mut self, name: &str, shape: Shape) -> usize {
        let directory = |id, name: &[u8]| Inode {
            parent: 1,
            stream: id,
            name: name.to_vec(),
            mode: 0o040_755,
            links: 1,
            flags: 0,
            size: None,
            device: None,
            modified: STAMP,
        };
        let is_hashed = shape.has_hashes();
        let entry = |name: &[u8], id| records::entry(1, name, id, 0o040_000, is_hashed);
        self.volumes.push(Volume {
            name: name.to_owned(),
            records: vec![entry(b"private-dir", 3), entry(b"root", ROOT)],
            inodes: BTreeMap::from([
                (ROOT, directory(ROOT, b"root")),
                (3, directory(3, b"private-dir")),
            ]),
            extents: Vec::new(),
            next_id: 16,
            shape,
        });
        self.volumes.len() - 1
    }

    fn allocate(&mut self, blocks: u64) -> u64 {
        let first = self.next_block;
        self.next_block += blocks;
        let end = usize::try_from(self.next_block).expect("small") * BLOCK;
        assert!(end <= self.image.len(), "the container is full");
        first
    }

    /// Stores bytes in blocks that follow each other; the first of them.
    pub fn store(&mut self, bytes: &[u8]) -> u64 {
        let blocks = u64::try_from(bytes.len().div_ceil(BLOCK)).expect("small");
        let first = self.allocate(blocks);
        self.write(first, bytes);
        first
    }

    fn write(&mut self, block: u64, bytes: &[u8]) {
        put(
            &mut self.image,
            usize::try_from(block).expect("small") * BLOCK,
            bytes,
        );
    }

    fn new_id(&mut self, volume: usize) -> u64 {
        let id = self.volumes[volume].next_id;
        self.volumes[volume].next_id += 1;
        id
    }

    /// Adds anything; its number. `mode` has the type bits.
    pub fn add(&mut self, volume: usize, parent: u64, name: &[u8], mode: u16) -> u64 {
        let id = self.new_id(volume);
        let inode = Inode {
            parent,
            stream: id,
            name: name.to_vec(),
            mode,
            links: 1,
            flags: 0,
            size: None,
            device: None,
            modified: STAMP,
        };
        self.volumes[volume].inodes.insert(id, inode);
        self.entry(volume, parent, name, id);
        id
    }

    fn entry(&mut self, volume: usize, parent: u64, name: &[u8], id: u64) {
        let volume = &mut self.volumes[volume];
        let mode = volume.inodes.get(&id).map_or(0o100_000, |inode| inode.mode);
        let record = records::entry(parent, name, id, mode, volume.shape.has_hashes());
        volume.records.push(record);
    }

    /// Adds a directory.
    pub fn directory(&mut self, volume: usize, parent: u64, name: &[u8]) -> u64 {
        self.add(volume, parent, name, 0o040_755)
    }

    /// Adds a file of pieces.
    pub fn file(&mut self, volume: usize, parent: u64, name: &[u8], pieces: &[Piece<'_>]) -> u64 {
        let id = self.add(volume, parent, name, 0o100_644);
        let size = self.stream(volume, id, pieces);
        self.volumes[volume].records.push(records::stream_count(id));
        self.inode(volume, id).size = Some(size);
        id
    }

    /// Adds the extents of a stream; its length.
    fn stream(&mut self, volume: usize, stream: u64, pieces: &[Piece<'_>]) -> u64 {
        let mut logical = 0;
        for piece in pieces {
            let (len, block) = match piece {
                Piece::Data([]) => continue,
                Piece::Data(bytes) => (u64::try_from(bytes.len()).expect("small"), self.store(bytes)),
                Piece::Hole(blocks) => (blocks * 4096, 0),
                Piece::Shared(block, len) => (*len, *block),
            };
            let stored = len.next_multiple_of(4096);
            let of = &mut self.volumes[volume];
            if of.shape.is_sealed {
                of.extents
                    .push(records::sealed_extent(stream, logical, stored, block));
            } else {
                of.records.push(records::extent(stream, logical, stored, block));
            }
            logical += len;
        }
        logical
    }

    fn inode(&mut self, volume: usize, id: u64) -> &mut Inode {
        self.volumes[volume].inodes.get_mut(&id).expect("an inode")
    }

    /// A second name of a file.
    pub fn link(&mut self, volume: usize, parent: u64, name: &[u8], id: u64) {
        self.entry(volume, parent, name, id);
        self.inode(volume, id).links += 1;
        let sibling = self.new_id(volume);
        self.volumes[volume]
            .records
            .extend(records::sibling(id, sibling, parent, name));
    }

    /// A file that shares the stream of another one, as a clone does.
    pub fn clone_of(&mut self, volume: usize, parent: u64, name: &[u8], id: u64) -> u64 {
        let clone = self.add(volume, parent, name, 0o100_644);
        let size = self.inode(volume, id).size;
        let inode = self.inode(volume, clone);
        (inode.stream, inode.size) = (id, size);
        clone
    }

    /// A symbolic link.
    pub fn symlink(&mut self, volume: usize, parent: u64, name: &[u8], target: &[u8]) -> u64 {
        let id = self.add(volume, parent, name, 0o120_755);
        self.attribute(volume, id, b"com.apple.fs.symlink", &[target, &[0]].concat());
        id
    }

    /// An attribute in the tree.
    pub fn attribute(&mut self, volume: usize, id: u64, name: &[u8], value: &[u8]) {
        self.volumes[volume]
            .records
            .push(records::attribute(id, name, value));
    }

    /// An attribute with a stream of its own.
    pub fn attribute_stream(&mut self, volume: usize, id: u64, name: &[u8], pieces: &[Piece<'_>]) {
        let stream = self.new_id(volume);
        let size = self.stream(volume, stream, pieces);
        let records = &mut self.volumes[volume].records;
        records.push(records::attribute_stream(id, name, stream, size));
    }

    /// Sets `bsd_flags`.
    pub fn flags(&mut self, volume: usize, id: u64, flags: u32) {
        self.inode(volume, id).flags = flags;
    }

    /// Sets the length that the inode says.
    pub fn size(&mut self, volume: usize, id: u64, size: Option<u64>) {
        self.inode(volume, id).size = size;
    }

    /// Sets the number of a device.
    pub fn device(&mut self, volume: usize, id: u64, device: u32) {
        self.inode(volume, id).device = Some(device);
    }

    /// Writes a checkpoint: all trees at new places.
    pub fn commit(&mut self) {
        self.xid += 1;
        let volumes: Vec<_> = (0..self.volumes.len())
            .map(|index| self.write_volume(index))
            .collect();
        let mappings: Vec<_> = (FIRST_VOLUME..).zip(volumes.iter().copied()).collect();
        let map = self.map(&mappings, 0);
        let manager = self.space();
        let place = |builder: &mut Self| {
            let block = RING.start + builder.ring_next % (RING.end - RING.start);
            builder.ring_next += 1;
            block
        };
        let (map_block, super_block) = (place(self), place(self));
        let mut checkpoint = vec![0; BLOCK];
        put(&mut checkpoint, 32, &1_u32.to_le_bytes());
        put(&mut checkpoint, 36, &1_u32.to_le_bytes());
        put(&mut checkpoint, 40, &(EPHEMERAL_TYPE | 5).to_le_bytes());
        put(&mut checkpoint, 48, &4096_u32.to_le_bytes());
        put(&mut checkpoint, 64, &1024_u64.to_le_bytes());
        put(&mut checkpoint, 72, &manager.to_le_bytes());
        self.object(map_block, map_block, PHYSICAL | 0x0c, 0, checkpoint);
        let superblock = self.container(map, map_block, volumes.len());
        self.object(0, 1, EPHEMERAL_TYPE | 1, 0, superblock.clone());
        self.object(super_block, 1, EPHEMERAL_TYPE | 1, 0, superblock);
    }

    fn container(&self, map: u64, map_block: u64, volumes: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let blocks = u64::try_from(self.image.len() / BLOCK).expect("small");
        put(&mut block, 32, b"NXSB");
        put(&mut block, 36, &4096_u32.to_le_bytes());
        put(&mut block, 40, &blocks.to_le_bytes());
        put(&mut block, 64, &2_u64.to_le_bytes());
        put(&mut block, 72, b"ntt-test-of-apfs");
        put(&mut block, 88, &9999_u64.to_le_bytes());
        put(&mut block, 96, &(self.xid + 1).to_le_bytes());
        put(&mut block, 104, &8_u32.to_le_bytes());
        put(&mut block, 108, &8_u32.to_le_bytes());
        put(&mut block, 112, &RING.start.to_le_bytes());
        put(&mut block, 120, &EPHEMERAL.to_le_bytes());
        let index = u32::try_from(map_block - RING.start).expect("small");
        put(&mut block, 136, &index.to_le_bytes());
        put(&mut block, 140, &2_u32.to_le_bytes());
        put(&mut block, 148, &1_u32.to_le_bytes());
        put(&mut block, 152, &1024_u64.to_le_bytes());
        put(&mut block, 160, &map.to_le_bytes());
        let volumes_max = if volumes > 1 { 100_u32 } else { 1 };
        put(&mut block, 180, &volumes_max.to_le_bytes());
        for (index, oid) in (0..volumes).zip(FIRST_VOLUME..) {
            put(&mut block, 184 + 8 * index, &oid.to_le_bytes());
        }
        block
    }

    /// Writes an object with its header.
    fn object(&mut self, block: u64, oid: u64, kind: u32, subkind: u32, mut bytes: Vec<u8>) {
        put(&mut bytes, 8, &oid.to_le_bytes());
        put(&mut bytes, 16, &self.xid.to_le_bytes());
        put(&mut bytes, 24, &kind.to_le_bytes());
        put(&mut bytes, 28, &subkind.to_le_bytes());
        seal(&mut bytes);
        self.write(block, &bytes);
    }

    /// A tree whose nodes are named by their blocks; its root.
    fn physical_tree(&mut self, records: &[Record], fixed: bool, subkind: u32) -> u64 {
        let made = tree::make(records, fixed, if fixed { 0x12 } else { 0x52 }, &mut || {
            self.allocate(1)
        });
        for (block, bytes) in made.nodes {
            let kind = if block == made.root { 2 } else { 3 };
            self.object(block, block, PHYSICAL | kind, subkind, bytes);
        }
        made.root
    }

    /// An object map; its block.
    fn map(&mut self, mappings: &[(u64, u64)], flags: u32) -> u64 {
        let records: Vec<Record> = mappings
            .iter()
            .map(|(oid, block)| {
                let value = [
                    &flags.to_le_bytes()[..],
                    &4096_u32.to_le_bytes(),
                    &block.to_le_bytes(),
                ]
                .concat();
                ([*oid, self.xid].map(u64::to_le_bytes).concat(), value)
            })
            .collect();
        let root = self.physical_tree(&records, true, 0x0b);
        let mut bytes = vec![0; BLOCK];
        put(&mut bytes, 32, &1_u32.to_le_bytes());
        put(&mut bytes, 40, &(PHYSICAL | 2).to_le_bytes());
        put(&mut bytes, 44, &(PHYSICAL | 2).to_le_bytes());
        put(&mut bytes, 48, &root.to_le_bytes());
        let block = self.allocate(1);
        self.object(block, block, PHYSICAL | 0x0b, 0, bytes);
        block
    }

    /// All records of a volume's tree, in order.
    fn records(&self, index: usize) -> Vec<Record> {
        let volume = &self.volumes[index];
        let mut records = volume.records.clone();
        let mut children: BTreeMap<u64, u32> = BTreeMap::new();
        for inode in volume.inodes.values() {
            *children.entry(inode.parent).or_default() += 1;
        }
        for (id, inode) in &volume.inodes {
            let count = children.get(id).copied().unwrap_or(0);
            records.push(records::inode(*id, inode, count));
        }
        let order = |record: &Record| {
            let key = u64::from_le_bytes(record.0[..8].try_into().expect("a key"));
            let rest = &record.0[8..];
            // Offsets of extents and hashes are numbers in little-endian.
            let number: Vec<u8> = match key >> 60 {
                8 | 5 => rest.iter().rev().copied().collect(),
                9 if volume.shape.has_hashes() => {
                    let hash: Vec<u8> = rest[..4].iter().rev().copied().collect();
                    [&hash[..], &rest[4..]].concat()
                }
                4 | 9 => rest[2..].to_vec(),
                _ => rest.to_vec(),
            };
            (key.rotate_left(4), number)
        };
        records.sort_by_key(order);
        records
    }

    /// Writes a volume; the block of its superblock.
    fn write_volume(&mut self, index: usize) -> u64 {
        let mut next = 0x1_0000 * (u64::try_from(index).expect("small") + 1);
        let Made { nodes, root } = tree::make(&self.records(index), false, 0x42, &mut || {
            next += 1;
            next
        });
        let mut mappings = Vec::new();
        for (oid, bytes) in nodes {
            let block = self.allocate(1);
            let kind = if oid == root { 2 } else { 3 };
            self.object(block, oid, kind, 0x0e, bytes);
            mappings.push((oid, block));
        }
        let shape = self.volumes[index].shape.clone();
        let map = self.map(&mappings, if shape.is_encrypted { 4 } else { 0 });
        let snapshots: Vec<_> = (1..)
            .zip(&shape.snapshots)
            .map(|(xid, name)| records::snapshot(xid, 0, name.as_bytes()))
            .collect();
        let snapshot_tree = self.physical_tree(&snapshots, false, 0x10);
        let mut extents = std::mem::take(&mut self.volumes[index].extents);
        extents.sort_by_key(|(key, _)| {
            let number = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("a key"));
            (number(0), number(8))
        });
        let extent_tree = if shape.is_sealed {
            self.physical_tree(&extents, true, 0x1f)
        } else {
            0
        };
        self.volumes[index].extents = extents;
        let block = self.allocate(1);
        let bytes = self.superblock(index, &shape, [map, root, snapshot_tree, extent_tree]);
        self.object(
            block,
            FIRST_VOLUME + u64::try_from(index).expect("small"),
            0x0d,
            0,
            bytes,
        );
        block
    }

    fn superblock(&self, index: usize, shape: &Shape, [map, root, snapshots, extents]: [u64; 4]) -> Vec<u8> {
        let volume = &self.volumes[index];
        let mut block = vec![0; BLOCK];
        let incompat = u64::from(shape.is_case_insensitive) | if shape.is_sealed { 0x20 } else { 0 };
        let is_directory = |inode: &&Inode| inode.mode & 0o170_000 == 0o040_000;
        let directories = volume.inodes.values().filter(is_directory).count() - 2;
        let files = volume.inodes.len() - 2 - directories;
        put(&mut block, 32, b"APSB");
        put(
            &mut block,
            36,
            &u32::try_from(index).expect("small").to_le_bytes(),
        );
        put(&mut block, 56, &incompat.to_le_bytes());
        put(&mut block, 116, &2_u32.to_le_bytes());
        put(&mut block, 120, &(PHYSICAL | 2).to_le_bytes());
        put(&mut block, 124, &(PHYSICAL | 2).to_le_bytes());
        put(&mut block, 128, &map.to_le_bytes());
        put(&mut block, 136, &root.to_le_bytes());
        put(&mut block, 152, &snapshots.to_le_bytes());
        put(&mut block, 176, &volume.next_id.to_le_bytes());
        put(&mut block, 184, &u64::try_from(files).expect("few").to_le_bytes());
        put(
            &mut block,
            192,
            &u64::try_from(directories).expect("few").to_le_bytes(),
        );
        put(
            &mut block,
            216,
            &u64::try_from(shape.snapshots.len()).expect("few").to_le_bytes(),
        );
        put(&mut block, 240, b"ntt-volume");
        put(
            &mut block,
            250,
            &u32::try_from(index + 1).expect("small").to_be_bytes(),
        );
        put(&mut block, 256, &STAMP.to_le_bytes());
        put(&mut block, 264, &u64::from(!shape.is_encrypted).to_le_bytes());
        put(&mut block, 272, b"ntt testkit");
        put(&mut block, 304, &(STAMP - 1_000_000_000).to_le_bytes());
        put(&mut block, 704, volume.name.as_bytes());
        put(&mut block, 964, &shape.role.to_le_bytes());
        put(&mut block, 1032, &extents.to_le_bytes());
        block
    }

    /// Writes the space manager with one block of chunks and one bitmap; its block.
    fn space(&mut self) -> u64 {
        let blocks = self.image.len() / BLOCK;
        assert!(blocks <= 8 * BLOCK, "one chunk only");
        let (chunks, bitmap) = (self.allocate(1), self.allocate(1));
        let used = usize::try_from(self.next_block).expect("small");
        let mut bits = vec![0_u8; BLOCK];
        for block in 0..used {
            bits[block / 8] |= 1 << (block % 8);
        }
        self.write(bitmap, &bits);
        let word = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
        let long = |number: usize| u64::try_from(number).expect("small").to_le_bytes();
        let mut info = vec![0; BLOCK];
        put(&mut info, 36, &word(1));
        put(&mut info, 40, &self.xid.to_le_bytes());
        put(&mut info, 56, &word(blocks));
        put(&mut info, 60, &word(blocks - used));
        put(&mut info, 64, &bitmap.to_le_bytes());
        self.object(chunks, chunks, PHYSICAL | 7, 0, info);
        let mut manager = vec![0; BLOCK];
        put(&mut manager, 32, &word(BLOCK));
        put(&mut manager, 36, &word(8 * BLOCK));
        put(&mut manager, 40, &word(126));
        put(&mut manager, 44, &word(507));
        put(&mut manager, 48, &long(blocks));
        put(&mut manager, 56, &long(1));
        put(&mut manager, 64, &word(1));
        put(&mut manager, 72, &long(blocks - used));
        put(&mut manager, 80, &word(2520));
        put(&mut manager, 2520, &chunks.to_le_bytes());
        let block = EPHEMERAL + self.xid % 8;
        self.object(block, 1024, EPHEMERAL_TYPE | 5, 0, manager);
        block
    }

    /// The image, after a last checkpoint.
    pub fn build(mut self) -> Vec<u8> {
        self.commit();
        self.image
    }

    /// The image as the last checkpoint left it.
    pub fn image(&self) -> Vec<u8> {
        self.image.clone()
    }
}

/// Sets the checksum of a block.
pub fn seal(block: &mut [u8]) {
    let modulus = 0xffff_ffff_u64;
    let (mut first, mut second) = (0_u64, 0_u64);
    for word in block[8..].chunks_exact(4) {
        first = (first + u64::from(u32::from_le_bytes(word.try_into().expect("4 bytes")))) % modulus;
        second = (second + first) % modulus;
    }
    let low = modulus - (first + second) % modulus;
    let high = modulus - (first + low) % modulus;
    put(block, 0, &((high << 32) | low).to_le_bytes());
}
