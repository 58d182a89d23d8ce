//! B-trees: leaves, index, header and map nodes.

/// A record: key with its length, and data.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// The nodes of a tree, in their order, each with its kind.
pub(super) struct Nodes {
    pub(super) nodes: Vec<Vec<u8>>,
    pub(super) kinds: Vec<&'static str>,
}

struct Node {
    bytes: Vec<u8>,
    records: usize,
    end: usize,
}

impl Node {
    fn new(len: usize, kind: u8, height: u8) -> Self {
        let mut bytes = vec![0; len];
        bytes[8] = kind;
        bytes[9] = height;
        let mut node = Self {
            bytes,
            records: 0,
            end: 14,
        };
        node.note();
        node
    }

    /// Writes the offset of what comes next, and the number of records.
    fn note(&mut self) {
        let at = self.bytes.len() - 2 * (self.records + 1);
        self.bytes[at..at + 2].copy_from_slice(&u16::try_from(self.end).expect("small").to_be_bytes());
        self.bytes[10..12].copy_from_slice(&u16::try_from(self.records).expect("few").to_be_bytes());
    }

    fn fits(&self, len: usize) -> bool {
        self.end + len.next_multiple_of(2) + 2 * (self.records + 2) <= self.bytes.len()
    }

    fn push(&mut self, record: &[u8]) {
        assert!(self.fits(record.len()), "a record that fits no node");
        self.bytes[self.end..self.end + record.len()].copy_from_slice(record);
        self.end += record.len().next_multiple_of(2);
        self.records += 1;
        self.note();
    }
}

/// Builds a tree of sorted records; `free` more nodes are allocated for it.
pub(super) fn build(
    records: &[Record],
    node_bytes: usize,
    key_max: u16,
    attributes: u32,
    compare: u8,
    free: usize,
) -> Nodes {
    let mut levels: Vec<Vec<(Vec<u8>, Node)>> = Vec::new();
    let leaves = level(records, node_bytes, 0xff, 1);
    if !leaves.is_empty() {
        levels.push(leaves);
    }
    let mut first = 1_u32;
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let pointers: Vec<Record> = below
            .iter()
            .zip(first..)
            .map(|((key, _), number)| (key.clone(), number.to_be_bytes().to_vec()))
            .collect();
        first += u32::try_from(below.len()).expect("few");
        let height = u8::try_from(levels.len() + 1).expect("low");
        levels.push(level(&pointers, node_bytes, 0, height));
    }
    let root = levels.last().map_or(0, |_| first);
    let depth = u16::try_from(levels.len()).expect("low");
    let leaf_count = levels.first().map_or(0, Vec::len);
    let used = 1 + levels.iter().map(Vec::len).sum::<usize>();
    let map_in_header = (node_bytes - 256) * 8;
    let map_per_node = (node_bytes - 20) * 8;
    let mut total = used + free;
    let maps = total.saturating_sub(map_in_header).div_ceil(map_per_node);
    total += maps;
    let mut nodes = vec![header(node_bytes, key_max, attributes, compare, root, depth)];
    let mut kinds = vec!["header"];
    put(&mut nodes[0], 14 + 6, u32::try_from(records.len()).expect("few"));
    put(&mut nodes[0], 14 + 10, u32::from(leaf_count > 0));
    put(&mut nodes[0], 14 + 14, u32::try_from(leaf_count).expect("few"));
    put(&mut nodes[0], 14 + 22, u32::try_from(total).expect("few"));
    put(&mut nodes[0], 14 + 26, u32::try_from(free).expect("few"));
    for level in levels {
        let (start, count) = (nodes.len(), level.len());
        for (index, (_, node)) in level.into_iter().enumerate() {
            let number = start + index;
            let mut bytes = node.bytes;
            let next = if index + 1 == count { 0 } else { number + 1 };
            let previous = if index == 0 { 0 } else { number - 1 };
            put(&mut bytes, 0, u32::try_from(next).expect("few"));
            put(&mut bytes, 4, u32::try_from(previous).expect("few"));
            kinds.push(if bytes[8] == 0xff { "leaf" } else { "index" });
            nodes.push(bytes);
        }
    }
    add_maps(
        &mut nodes,
        &mut kinds,
        node_bytes,
        maps,
        map_in_header,
        map_per_node,
    );
    nodes.resize(total, vec![0; node_bytes]);
    kinds.resize(total, "free");
    Nodes { nodes, kinds }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Nodes of one level, each with its first key.
fn level(records: &[Record], node_bytes: usize, kind: u8, height: u8) -> Vec<(Vec<u8>, Node)> {
    let mut nodes: Vec<(Vec<u8>, Node)> = Vec::new();
    for (key, data) in records {
        let record = [&key[..], data].concat();
        if nodes.last().is_none_or(|(_, node)| !node.fits(record.len())) {
            nodes.push((key.clone(), Node::new(node_bytes, kind, height)));
        }
        nodes.last_mut().expect("just pushed").1.push(&record);
    }
    nodes
}

fn header(node_bytes: usize, key_max: u16, attributes: u32, compare: u8, root: u32, depth: u16) -> Vec<u8> {
    let mut node = Node::new(node_bytes, 1, 0);
    let mut record = vec![0; 106];
    record[..2].copy_from_slice(&depth.to_be_bytes());
    put(&mut record, 2, root);
    record[18..20].copy_from_slice(&u16::try_from(node_bytes).expect("small").to_be_bytes());
    record[20..22].copy_from_slice(&key_max.to_be_bytes());
    record[37] = compare;
    put(&mut record, 38, attributes);
    node.push(&record);
    node.push(&[0; 128]);
    node.push(&vec![0; node_bytes - 256]);
    node.bytes
}

/// Marks the nodes so far as used, and adds the map nodes for the bits that do not fit into the header.
fn add_maps(
    nodes: &mut Vec<Vec<u8>>,
    kinds: &mut Vec<&'static str>,
    node_bytes: usize,
    maps: usize,
    in_header: usize,
    per_node: usize,
) {
    let first_map = nodes.len();
    for index in 0..maps {
        let mut node = Node::new(node_bytes, 2, 0);
        node.push(&vec![0; per_node / 8]);
        let next = if index + 1 == maps {
            0
        } else {
            first_map + index + 1
        };
        put(&mut node.bytes, 0, u32::try_from(next).expect("few"));
        nodes.push(node.bytes);
        kinds.push("map");
    }
    if maps > 0 {
        let first = u32::try_from(first_map).expect("few");
        put(&mut nodes[0], 0, first);
    }
    for number in 0..nodes.len() {
        let (node, start, bit) = match number.checked_sub(in_header) {
            None => (0, 248, number),
            Some(rest) => (first_map + rest / per_node, 14, rest % per_node),
        };
        nodes[node][start + bit / 8] |= 0x80 >> (bit % 8);
    }
}
