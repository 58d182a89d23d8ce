//! The volume around the files: recognition sequence, descriptors, anchors, tables of the layouts.

use super::files::{icb_tag, long};
use super::structure::Bytes;
use super::tree::Node;
use super::{Layout, Options};

/// Sectors of the volume.
const MAIN: u32 = 96;
const RESERVE: u32 = 112;
const INTEGRITY: u32 = 128;
const ANCHOR: u32 = 256;
const PARTITION: u32 = 288;
/// Blocks of a packet.
const PACKET: u32 = 32;

/// A block of a partition map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Address {
    pub(super) reference: u16,
    pub(super) block: u32,
}

/// An image that was built.
#[derive(Debug)]
pub struct Built {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where blocks with structures lie, ascending: what a damaged image is damaged in.
    pub structures: Vec<u64>,
    /// Where the partition starts.
    pub partition_offset: u64,
}

/// Writes one image.
pub(super) struct Writer {
    pub(super) options: Options,
    /// Blocks of the partition.
    blocks: Vec<Vec<u8>>,
    /// Blocks of the metadata partition.
    metadata: Vec<Vec<u8>>,
    /// Blocks of the virtual partition.
    table: Vec<u32>,
    /// Blocks of the partition that hold structures.
    structures: Vec<u32>,
    /// Entries whose blocks are free.
    pub(super) freed: Vec<Address>,
}

/// Builds an image of a tree.
///
/// # Panics
///
/// If the tree does not fit the format.
pub fn build(nodes: &[Node], options: Options) -> Built {
    let mut writer = Writer {
        options,
        blocks: Vec::new(),
        metadata: Vec::new(),
        table: Vec::new(),
        structures: Vec::new(),
        freed: Vec::new(),
    };
    let file_set = writer.reserve_icb();
    let root = writer.tree(nodes);
    writer.file_set(file_set, root);
    writer.finish(file_set)
}

impl Writer {
    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.options.block_bytes).expect("small")
    }

    pub(super) fn reserve_blocks(&mut self, count: usize) -> u32 {
        let block = u32::try_from(self.blocks.len()).expect("small");
        let empty = vec![0; self.block_len()];
        self.blocks.resize(self.blocks.len() + count, empty);
        block
    }

    /// Room for an entry: two blocks if entries are replaced.
    pub(super) fn reserve_icb(&mut self) -> Address {
        let count = if self.options.replaced { 2 } else { 1 };
        match self.options.layout {
            Layout::Plain | Layout::Spared => Address {
                reference: 0,
                block: self.reserve_blocks(count),
            },
            Layout::Virtual => {
                let virtual_block = u32::try_from(self.table.len()).expect("small");
                for _ in 0..count {
                    let block = self.reserve_blocks(1);
                    self.table.push(block);
                }
                Address {
                    reference: 1,
                    block: virtual_block,
                }
            }
            Layout::Metadata => self.reserve_metadata(count),
        }
    }

    fn reserve_metadata(&mut self, count: usize) -> Address {
        let block = u32::try_from(self.metadata.len()).expect("small");
        let empty = vec![0; self.block_len()];
        self.metadata.resize(self.metadata.len() + count, empty);
        Address { reference: 1, block }
    }

    pub(super) fn reserve_directory(&mut self, count: usize) -> Address {
        if self.options.layout == Layout::Metadata {
            return self.reserve_metadata(count);
        }
        // A gap keeps runs apart.
        self.reserve_blocks(usize::from(self.options.fragment_blocks > 0));
        Address {
            reference: 0,
            block: self.reserve_blocks(count),
        }
    }

    pub(super) fn put_icb(&mut self, at: Address, bytes: &[u8]) {
        let block = usize::try_from(at.block).expect("small");
        match (self.options.layout, at.reference) {
            (Layout::Metadata, 1) => put(&mut self.metadata[block], bytes),
            (Layout::Virtual, 1) => self.put(self.table[block], bytes),
            _ => self.put(at.block, bytes),
        }
    }

    pub(super) fn put_directory(&mut self, at: Address, bytes: &[u8]) {
        let len = self.block_len();
        for (block, part) in (at.block..).zip(bytes.chunks(len)) {
            self.put_icb(Address { block, ..at }, part);
        }
    }

    fn put(&mut self, block: u32, bytes: &[u8]) {
        self.structures.push(block);
        put(&mut self.blocks[usize::try_from(block).expect("small")], bytes);
    }

    /// Writes content to new blocks.
    pub(super) fn put_data(&mut self, bytes: &[u8]) -> Address {
        self.reserve_blocks(usize::from(self.options.fragment_blocks > 0));
        let len = self.block_len();
        let first = self.reserve_blocks(bytes.len().div_ceil(len));
        for (index, part) in bytes.chunks(len).enumerate() {
            put(
                &mut self.blocks[usize::try_from(first).expect("small") + index],
                part,
            );
        }
        Address {
            reference: 0,
            block: first,
        }
    }

    fn file_set(&mut self, at: Address, root: Address) {
        let bytes = Bytes::zeros(512)
            .time(16)
            .half(28, 3)
            .half(30, 3)
            .word(32, 1)
            .word(36, 1)
            .charset(48)
            .dstring(112, 128, "Label")
            .charset(240)
            .dstring(304, 32, "Set")
            .at(400, &long(self.options.block_bytes, root))
            .entity(416, b"*OSTA UDF Compliant", self.options.revision.to_le_bytes())
            .sealed(&self.options, 256, at.block);
        self.put_icb(at, &bytes);
    }

    /// The metadata file, its mirror and its bitmap: the blocks of their entries.
    fn metadata_files(&mut self) -> [u32; 3] {
        if self.options.layout != Layout::Metadata {
            return [0; 3];
        }
        let metadata = std::mem::take(&mut self.metadata);
        let entries = [
            self.reserve_blocks(1),
            self.reserve_blocks(1),
            self.reserve_blocks(1),
        ];
        for (entry, file_type) in entries.into_iter().take(2).zip([250, 251]) {
            let (front, back) = metadata.split_at(metadata.len() / 2);
            let runs: Vec<(u32, u32)> = [front, back].iter().map(|part| self.metadata_run(part)).collect();
            self.special_entry(entry, file_type, &runs);
        }
        let bits = self.bitmap(metadata.len(), &[]);
        let run = self.metadata_run(
            &bits
                .chunks(self.block_len())
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>(),
        );
        self.special_entry(entries[2], 252, &[run]);
        self.metadata = metadata;
        entries
    }

    /// Writes blocks one after the other, a gap before: first block and length.
    fn metadata_run(&mut self, blocks: &[Vec<u8>]) -> (u32, u32) {
        self.reserve_blocks(3);
        let first = self.reserve_blocks(blocks.len());
        for (block, bytes) in (first..).zip(blocks) {
            self.put(block, bytes);
        }
        let len = u32::try_from(blocks.len()).expect("small") * self.options.block_bytes;
        (first, len)
    }

    /// An entry with short descriptors.
    fn special_entry(&mut self, block: u32, file_type: u8, runs: &[(u32, u32)]) {
        let size: u32 = runs.iter().map(|(_, len)| len).sum();
        let descriptors: Vec<u8> = runs
            .iter()
            .flat_map(|(first, len)| Bytes::zeros(8).word(0, *len).word(4, *first).0)
            .collect();
        let bytes = Bytes::zeros(216)
            .at(16, &icb_tag(file_type, 4, 0))
            .double(56, size.into())
            .double(64, size.into())
            .word(212, u32::try_from(descriptors.len()).expect("small"))
            .at(216, &descriptors)
            .sealed(&self.options, 266, block);
        self.put(block, &bytes);
    }

    /// A space bitmap descriptor: all blocks used but those named.
    fn bitmap(&self, blocks: usize, free: &[u32]) -> Vec<u8> {
        let len = blocks.div_ceil(8);
        let mut bits = vec![0_u8; len];
        for block in free {
            let block = usize::try_from(*block).expect("small");
            bits[block / 8] |= 1 << (block % 8);
        }
        let options = Options {
            crc: false,
            ..self.options
        };
        Bytes::zeros(24)
            .word(16, u32::try_from(blocks).expect("small"))
            .word(20, u32::try_from(len).expect("small"))
            .at(24, &bits)
            .sealed(&options, 264, 0)
    }

    /// The virtual allocation table, in the last block.
    fn virtual_table(&mut self) {
        let entries: Vec<u8> = self.table.iter().flat_map(|block| block.to_le_bytes()).collect();
        let is_old = self.options.revision < 0x0200;
        let bytes = if is_old {
            let tail = Bytes::zeros(36)
                .entity(0, b"*UDF Virtual Alloc Tbl", [0x50, 1])
                .word(32, u32::MAX);
            [entries, tail.0].concat()
        } else {
            let header = Bytes::zeros(152)
                .half(0, 152)
                .dstring(4, 128, "Label")
                .word(132, u32::MAX);
            [header.0, entries].concat()
        };
        let at = self.put_data(&bytes);
        let own = self.reserve_blocks(1);
        let size = u64::try_from(bytes.len()).expect("fits");
        let descriptor = Bytes::zeros(8)
            .word(0, u32::try_from(bytes.len()).expect("small"))
            .word(4, at.block);
        let entry = Bytes::zeros(176)
            .at(16, &icb_tag(if is_old { 0 } else { 248 }, 4, 0))
            .double(56, size)
            .word(172, 8)
            .at(176, &descriptor.0)
            .sealed(&self.options, 261, own);
        self.put(own, &entry);
    }

    fn finish(mut self, file_set: Address) -> Built {
        let metadata = self.metadata_files();
        let bitmap = self.space_bitmap();
        if self.options.layout == Layout::Virtual {
            self.virtual_table();
        } else {
            let rest = self.blocks.len().next_multiple_of(64) - self.blocks.len();
            self.reserve_blocks(rest);
        }
        let mut image = Image::new(&self);
        image.recognition();
        let sectors = u32::try_from(self.blocks.len()).expect("small");
        for first in [MAIN, RESERVE] {
            image.sequence(first, sectors, (file_set, metadata, bitmap));
        }
        image.integrity(sectors);
        image.anchor(ANCHOR);
        let mut structures: Vec<u64> = self
            .structures
            .iter()
            .map(|block| u64::from(PARTITION + block) * u64::from(self.options.block_bytes))
            .collect();
        for block in &self.blocks {
            image.bytes.extend(block);
        }
        image.end(&mut structures);
        structures.sort_unstable();
        structures.dedup();
        Built {
            bytes: image.bytes,
            structures,
            partition_offset: u64::from(PARTITION) * u64::from(self.options.block_bytes),
        }
    }

    /// A bitmap of the partition, but on write-once discs; its place.
    fn space_bitmap(&mut self) -> (u32, u32) {
        if self.options.layout == Layout::Virtual {
            return (0, 0);
        }
        // Room for all blocks that are to come.
        let blocks = (self.blocks.len() + 64).next_multiple_of(64) + 64;
        let free: Vec<u32> = self
            .freed
            .iter()
            .filter(|at| at.reference == 0)
            .map(|at| at.block)
            .collect();
        let bytes = self.bitmap(blocks, &free);
        let first = self.reserve_blocks(bytes.len().div_ceil(self.block_len()));
        let len = self.block_len();
        for (block, part) in (first..).zip(bytes.chunks(len)) {
            self.put(block, part);
        }
        (first, u32::try_from(bytes.len()).expect("small"))
    }
}

fn put(block: &mut [u8], bytes: &[u8]) {
    block[..bytes.len()].copy_from_slice(bytes);
}

/// The sectors before and after the partition.
struct Image {
    options: Options,
    bytes: Vec<u8>,
}

impl Image {
    fn new(writer: &Writer) -> Self {
        let len = usize::try_from(PARTITION).expect("small") * writer.block_len();
        Self {
            options: writer.options,
            bytes: vec![0; len],
        }
    }

    fn offset(&self, sector: u32) -> usize {
        usize::try_from(sector * self.options.block_bytes).expect("small")
    }

    fn put(&mut self, sector: u32, bytes: &[u8]) {
        let at = self.offset(sector);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn recognition(&mut self) {
        let nsr: &[u8] = if self.options.revision >= 0x0200 {
            b"\0NSR03\x01"
        } else {
            b"\0NSR02\x01"
        };
        let step = usize::try_from(self.options.block_bytes.max(2048)).expect("small");
        for (index, name) in [&b"\0BEA01\x01"[..], nsr, b"\0TEA01\x01"].into_iter().enumerate() {
            let at = 32_768 + index * step;
            self.bytes[at..at + 7].copy_from_slice(name);
        }
    }

    fn anchor(&mut self, sector: u32) {
        let len = 16 * self.options.block_bytes;
        let bytes = Bytes::zeros(512)
            .word(16, len)
            .word(20, MAIN)
            .word(24, len)
            .word(28, RESERVE);
        let bytes = bytes.sealed(&self.options, 2, sector);
        self.put(sector, &bytes);
    }

    fn sequence(
        &mut self,
        first: u32,
        sectors: u32,
        (file_set, metadata, bitmap): (Address, [u32; 3], (u32, u32)),
    ) {
        let domain = self.options.revision.to_le_bytes();
        let primary = Bytes::zeros(512)
            .word(16, 1)
            .dstring(24, 32, "Volume")
            .half(56, 1)
            .half(58, 1)
            .half(60, 2)
            .half(62, 2)
            .word(64, 1)
            .word(68, 1)
            .dstring(72, 128, "0123456789abcdef set")
            .charset(200)
            .charset(264)
            .entity(344, b"*ntt testkit", [0, 0])
            .time(376)
            .entity(388, b"*ntt testkit", [0, 0])
            .sealed(&self.options, 1, first);
        let nsr: &[u8] = if self.options.revision >= 0x0200 {
            b"+NSR03"
        } else {
            b"+NSR02"
        };
        let access = if self.options.layout == Layout::Virtual {
            2
        } else {
            4
        };
        let partition = Bytes::zeros(512)
            .word(16, 2)
            .half(20, 1)
            .half(22, 0)
            .entity(24, nsr, [0, 0])
            .word(64, bitmap.1)
            .word(68, bitmap.0)
            .word(184, access)
            .word(188, PARTITION)
            .word(192, sectors)
            .sealed(&self.options, 5, first + 1);
        let maps = self.maps(sectors, metadata);
        let count = if matches!(self.options.layout, Layout::Plain | Layout::Spared) {
            1
        } else {
            2
        };
        let logical = Bytes::zeros(440)
            .word(16, 3)
            .charset(20)
            .dstring(84, 128, "Label")
            .word(212, self.options.block_bytes)
            .entity(216, b"*OSTA UDF Compliant", domain)
            .at(248, &long(self.options.block_bytes, file_set))
            .word(264, u32::try_from(maps.len()).expect("small"))
            .word(268, count)
            .word(432, 2 * self.options.block_bytes)
            .word(436, INTEGRITY)
            .at(440, &maps)
            .sealed(&self.options, 6, first + 2);
        let end = Bytes::zeros(512).sealed(&self.options, 8, first + 3);
        for (sector, bytes) in (first..).zip([primary, partition, logical, end]) {
            self.put(sector, &bytes);
        }
    }

    fn maps(&self, sectors: u32, [main, mirror, bitmap]: [u32; 3]) -> Vec<u8> {
        let plain = Bytes::zeros(6).at(0, &[1, 6]).half(2, 1).0;
        let second = |identifier: &[u8]| {
            let suffix = self.options.revision.to_le_bytes();
            Bytes::zeros(64)
                .at(0, &[2, 64])
                .entity(4, identifier, suffix)
                .half(36, 1)
        };
        match self.options.layout {
            Layout::Plain => plain,
            Layout::Spared => {
                let (first, second_table) = self.sparing_places(sectors);
                second(b"*UDF Sparable Partition")
                    .half(40, u16::try_from(PACKET).expect("small"))
                    .at(42, &[2])
                    .word(44, self.options.block_bytes)
                    .word(48, first)
                    .word(52, second_table)
                    .0
            }
            Layout::Virtual => [plain, second(b"*UDF Virtual Partition").0].concat(),
            Layout::Metadata => {
                let map = second(b"*UDF Metadata Partition")
                    .word(40, main)
                    .word(44, mirror)
                    .word(48, bitmap);
                [plain, map.word(52, 32).half(56, 1).at(58, &[1]).0].concat()
            }
        }
    }

    /// Sectors of the two sparing tables: right after the partition.
    fn sparing_places(&self, sectors: u32) -> (u32, u32) {
        (PARTITION + sectors, PARTITION + sectors + 1)
    }

    fn integrity(&mut self, sectors: u32) {
        let count: u32 = if matches!(self.options.layout, Layout::Plain | Layout::Spared) {
            1
        } else {
            2
        };
        let tables = usize::try_from(count).expect("small") * 8;
        let mut bytes = Bytes::zeros(80 + tables + 46)
            .time(16)
            .word(28, u32::from(self.options.closed))
            .word(72, count)
            .word(76, 46);
        for index in 0..usize::try_from(count).expect("small") {
            bytes = bytes
                .word(80 + index * 4, 10)
                .word(80 + tables / 2 + index * 4, sectors);
        }
        let used = 80 + tables;
        let revision = self.options.revision;
        let bytes = bytes
            .entity(used, b"*ntt testkit", [0, 0])
            .word(used + 32, 7)
            .word(used + 36, 3);
        let bytes = bytes
            .half(used + 40, revision)
            .half(used + 42, revision)
            .half(used + 44, revision);
        let bytes = bytes.sealed(&self.options, 9, INTEGRITY);
        self.put(INTEGRITY, &bytes);
    }

    /// What follows the partition: sparing, and the last anchor.
    fn end(&mut self, structures: &mut [u64]) {
        let block = usize::try_from(self.options.block_bytes).expect("small");
        let partition = usize::try_from(PARTITION).expect("small");
        if self.options.layout == Layout::Spared {
            self.spare(block, partition, structures);
        }
        self.bytes
            .resize(self.bytes.len() + self.options.tail_blocks * block, 0);
        if self.options.layout != Layout::Virtual {
            let last = u32::try_from(self.bytes.len() / block).expect("small");
            self.bytes.resize(self.bytes.len() + block, 0);
            self.anchor(last);
        }
    }

    /// Moves every third packet and leaves noise where it was.
    fn spare(&mut self, block: usize, partition: usize, structures: &mut [u64]) {
        let packet = usize::try_from(PACKET).expect("small");
        let end = self.bytes.len() / block;
        let mut moved = Vec::new();
        self.bytes.resize((end + 2) * block, 0);
        for first in (partition..end).step_by(packet).step_by(3) {
            let to = self.bytes.len() / block;
            let range = first * block..((first + packet) * block).min(end * block);
            let copy = self.bytes[range.clone()].to_vec();
            self.bytes[range.clone()].fill(0xee);
            self.bytes.extend(copy);
            self.bytes.resize((to + packet) * block, 0);
            for structure in structures.iter_mut() {
                let old = usize::try_from(*structure).expect("small");
                if range.contains(&old) {
                    *structure = u64::try_from(old - range.start + to * block).expect("small");
                }
            }
            moved.push((
                u32::try_from(first - partition).expect("small"),
                u32::try_from(to).expect("small"),
            ));
        }
        for (index, sequence) in [(end, 2_u32), (end + 1, 1)] {
            let entries: Vec<u8> = moved
                .iter()
                .flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()].concat())
                .collect();
            let sector = u32::try_from(index).expect("small");
            let bytes = Bytes::zeros(56)
                .entity(16, b"*UDF Sparing Table", [0x50, 1])
                .half(48, u16::try_from(moved.len()).expect("small"))
                .word(52, sequence)
                .at(56, &entries)
                .sealed(&self.options, 0, sector);
            self.put(sector, &bytes);
        }
    }
}
