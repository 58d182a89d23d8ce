//! Puts records, trees, bitmap and headers into the image.

use std::ops::Range;

use super::tree::{Nodes, Record, build};
use super::{Builder, Built, Fork, Form, MAC_TIME, Object, Value};

/// `HFSPlusForkData`.
fn fork_data(fork: &Fork) -> Vec<u8> {
    let blocks: usize = fork.extents.iter().map(|(_, count)| count).sum();
    let mut bytes = u64::try_from(fork.size).expect("fits").to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&word(blocks));
    bytes.extend(extent_record(&fork.extents[..fork.extents.len().min(8)]));
    bytes
}

fn extent_record(extents: &[(usize, usize)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = extents
        .iter()
        .flat_map(|(start, count)| [word(*start), word(*count)].concat())
        .collect();
    bytes.resize(64, 0);
    bytes
}

fn word(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("32 bits").to_be_bytes()
}

fn utf16(name: &[u16]) -> Vec<u8> {
    let len = u16::try_from(name.len()).expect("short").to_be_bytes();
    len.into_iter()
        .chain(name.iter().flat_map(|unit| unit.to_be_bytes()))
        .collect()
}

fn catalog_key(parent: u32, name: &[u16]) -> Vec<u8> {
    let len = u16::try_from(6 + 2 * name.len()).expect("short");
    [&len.to_be_bytes()[..], &parent.to_be_bytes(), &utf16(name)].concat()
}

/// The fields that folder and file records share, and the space for the rest.
fn common(object: &Object, kind: u16, len: usize) -> Vec<u8> {
    let mut record = vec![0; len];
    record[..2].copy_from_slice(&kind.to_be_bytes());
    record[2..4].copy_from_slice(&object.record_flags.to_be_bytes());
    record[8..12].copy_from_slice(&object.cnid.to_be_bytes());
    for at in [12, 16, 20, 24] {
        record[at..at + 4].copy_from_slice(&MAC_TIME.to_be_bytes());
    }
    record[16..20].copy_from_slice(&object.time.to_be_bytes());
    record[32..36].copy_from_slice(&501_u32.to_be_bytes());
    record[36..40].copy_from_slice(&20_u32.to_be_bytes());
    record[41] = object.owner_flags;
    record[42..44].copy_from_slice(&object.mode.to_be_bytes());
    record[44..48].copy_from_slice(&object.special.to_be_bytes());
    record[48..80].copy_from_slice(&object.finder);
    record
}

impl Builder {
    /// Finishes the volume.
    pub fn build(mut self) -> Built {
        let catalog = self.catalog_records();
        let attributes = self.attribute_records();
        let mut overflow = Vec::new();
        let node = self.shape.node_bytes;
        let compare = if self.shape.is_hfsx { 0xbc } else { 0 };
        let catalog = build(&catalog, node, 516, 6, compare, 3);
        let attributes = build(&attributes, node, 266, 6, 0, 1);
        let catalog_fork = self.write_tree(&catalog, self.shape.catalog_pieces);
        let attributes_fork = self.write_tree(&attributes, 1);
        add_overflow(&mut overflow, 4, 0, &catalog_fork);
        for object in self.objects.values() {
            add_overflow(&mut overflow, object.cnid, 0, &object.data);
            add_overflow(&mut overflow, object.cnid, 0xff, &object.resource);
        }
        overflow.sort_by_key(|(key, _)| (key[4..8].to_vec(), key[2], key[8..12].to_vec()));
        let overflow = build(&overflow, 4096.min(node), 10, 2, 0, 1);
        let overflow_fork = self.write_tree(&overflow, 1);
        let bitmap_fork = self.write_bitmap();
        self.write_header([&bitmap_fork, &overflow_fork, &catalog_fork, &attributes_fork]);
        let journal = self.write_journal();
        let catalog_nodes = self.node_places(&catalog, &catalog_fork);
        Built {
            image: self.image,
            catalog_nodes,
            journal,
        }
    }

    /// What names are sorted by: HFSX by units; HFS+ without case, and NUL after everything (TN1150, "Unicode Subtleties").
    fn sort_key(&self, name: &[u16]) -> Vec<u16> {
        let folded = |unit: &u16| match unit {
            0 => u16::MAX,
            0x41..=0x5a => unit + 0x20,
            other => *other,
        };
        if self.shape.is_hfsx {
            name.to_vec()
        } else {
            name.iter().map(folded).collect()
        }
    }

    fn catalog_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for object in self.objects.values() {
            let record = match object.form {
                Form::Folder => {
                    let children = self
                        .objects
                        .values()
                        .filter(|child| child.parent == object.cnid)
                        .count();
                    let mut record = common(object, 1, 88);
                    record[4..8].copy_from_slice(&word(children));
                    record
                }
                Form::File | Form::Link(_) | Form::FolderLink(_) => {
                    let mut record = common(object, 2, 248);
                    record[88..168].copy_from_slice(&fork_data(&object.data));
                    record[168..248].copy_from_slice(&fork_data(&object.resource));
                    record
                }
            };
            let key = (object.parent, self.sort_key(&object.name));
            records.push((key, (catalog_key(object.parent, &object.name), record)));
            let kind: u16 = if object.form == Form::Folder { 3 } else { 4 };
            let thread = [
                &kind.to_be_bytes()[..],
                &[0, 0],
                &object.parent.to_be_bytes(),
                &utf16(&object.name),
            ]
            .concat();
            records.push(((object.cnid, Vec::new()), (catalog_key(object.cnid, &[]), thread)));
        }
        records.sort_by(|left, right| left.0.cmp(&right.0));
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// Records of the attributes file, sorted.
    fn attribute_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for object in self.objects.values() {
            for (name, value) in &object.attributes {
                let name: Vec<u16> = name.encode_utf16().collect();
                let key = |start: usize| {
                    let len = u16::try_from(12 + 2 * name.len()).expect("short");
                    [
                        &len.to_be_bytes()[..],
                        &[0, 0],
                        &object.cnid.to_be_bytes(),
                        &word(start),
                        &utf16(&name),
                    ]
                    .concat()
                };
                let sort = |start: usize| (object.cnid, name.clone(), start);
                match value {
                    Value::Inline(value) => {
                        let head = [&[0, 0, 0, 0x10][..], &[0; 8], &word(value.len())].concat();
                        records.push((sort(0), (key(0), [&head[..], value].concat())));
                    }
                    Value::Fork(fork) => {
                        let data = [&[0, 0, 0, 0x20, 0, 0, 0, 0][..], &fork_data(fork)].concat();
                        records.push((sort(0), (key(0), data)));
                        for (start, extents) in later_extents(fork) {
                            let data = [&[0, 0, 0, 0x30, 0, 0, 0, 0][..], &extents].concat();
                            records.push((sort(start), (key(start), data)));
                        }
                    }
                }
            }
        }
        records.sort_by(|left, right| left.0.cmp(&right.0));
        records.into_iter().map(|(_, record)| record).collect()
    }

    fn write_tree(&mut self, tree: &Nodes, pieces: usize) -> Fork {
        let bytes = tree.nodes.concat();
        let whole = bytes.len().next_multiple_of(self.shape.block_bytes);
        let mut padded = bytes;
        padded.resize(whole, 0);
        self.fork(&padded, pieces)
    }

    fn write_bitmap(&mut self) -> Fork {
        let bytes = self.shape.blocks.div_ceil(8);
        let fork = self.fork(&vec![0; bytes.next_multiple_of(self.shape.block_bytes)], 1);
        let start = fork.extents[0].0 * self.shape.block_bytes;
        for (block, _) in self.used.iter().enumerate().filter(|(_, used)| **used) {
            self.image[start + block / 8] |= 0x80 >> (block % 8);
        }
        fork
    }

    fn write_header(&mut self, forks: [&Fork; 4]) {
        let mut header = vec![0; 512];
        let (signature, version): (&[u8], u8) = if self.shape.is_hfsx {
            (b"HX", 5)
        } else {
            (b"H+", 4)
        };
        header[..2].copy_from_slice(signature);
        header[3] = version;
        let journaled = if self.journal.is_some() { 0x2000_u32 } else { 0 };
        header[4..8].copy_from_slice(&(0x8000_0100 | journaled).to_be_bytes());
        header[8..12].copy_from_slice(if self.journal.is_some() { b"HFSJ" } else { b"10.0" });
        let is_folder = |object: &&Object| object.form == Form::Folder;
        let folders = self.objects.values().filter(is_folder).count();
        let free = self.used.iter().filter(|used| !**used).count();
        for (at, value) in [
            (12, self.journal.map_or(0, |(info, _)| info)),
            (32, self.objects.len() - folders),
            (36, folders - 1),
            (40, self.shape.block_bytes),
            (44, self.shape.blocks),
            (48, free),
            (64, usize::try_from(self.next_cnid).expect("fits")),
        ] {
            header[at..at + 4].copy_from_slice(&word(value));
        }
        for at in [16, 20, 24, 28] {
            header[at..at + 4].copy_from_slice(&MAC_TIME.to_be_bytes());
        }
        header[104..112].copy_from_slice(b"ntt-test");
        for (fork, at) in forks.iter().zip([112, 192, 272, 352]) {
            header[at..at + 80].copy_from_slice(&fork_data(fork));
        }
        let end = self.image.len() - 1024;
        for at in [1024, end] {
            self.image[at..at + 512].copy_from_slice(&header);
        }
    }

    fn node_places(&self, tree: &Nodes, fork: &Fork) -> Vec<(Range<usize>, &'static str)> {
        let (block, node) = (self.shape.block_bytes, self.shape.node_bytes);
        let blocks: Vec<usize> = fork
            .extents
            .iter()
            .flat_map(|(start, count)| *start..start + count)
            .collect();
        let place = |byte: usize| blocks[byte / block] * block + byte % block;
        (0..tree.nodes.len())
            .zip(&tree.kinds)
            .map(|(number, kind)| (place(number * node)..place(number * node) + node, *kind))
            .collect()
    }
}

/// Extents after the first eight, in records of eight, each with the first block of the fork that it maps.
fn later_extents(fork: &Fork) -> Vec<(usize, Vec<u8>)> {
    let mut start = 0;
    let mut later = Vec::new();
    for (index, extents) in fork.extents.chunks(8).enumerate() {
        if index > 0 {
            later.push((start, extent_record(extents)));
        }
        start += extents.iter().map(|(_, count)| count).sum::<usize>();
    }
    later
}

fn add_overflow(records: &mut Vec<Record>, cnid: u32, kind: u8, fork: &Fork) {
    for (start, extents) in later_extents(fork) {
        let key = [&[0, 10, kind, 0][..], &cnid.to_be_bytes(), &word(start)].concat();
        records.push((key, extents));
    }
}
