//! Entries, content and directories.

use std::collections::BTreeMap;

use super::structure::{Bytes, components, timestamp, unicode};
use super::tree::{Kind, Node, Piece};
use super::volume::{Address, Writer};
use super::{Descriptors, Layout};

const RECORDED: u32 = 0;
const ALLOCATED: u32 = 1 << 30;
const NOTHING: u32 = 2 << 30;

/// A run of content: length with its kind in the upper bits, and where.
type Run = (u32, Address);

impl Writer {
    /// Writes a tree and gives its root.
    pub(super) fn tree(&mut self, nodes: &[Node]) -> Address {
        let root = self.reserve_icb();
        self.directory((root, root), nodes, 0);
        root
    }

    fn directory(&mut self, (own, parent): (Address, Address), nodes: &[Node], modified: i64) {
        let mut links = BTreeMap::new();
        let mut identifiers = vec![(parent, 0x0a, Vec::new())];
        for node in nodes {
            let (icb, characteristics) = match &node.kind {
                Kind::Link(first) => (links[first.as_str()], 0),
                Kind::Directory(nodes) => {
                    let icb = self.reserve_icb();
                    self.directory((icb, own), nodes, node.modified);
                    (icb, 2)
                }
                _ => (self.file(node, nodes), 0),
            };
            links.insert(String::from_utf16_lossy(&node.name), icb);
            let deleted = if node.deleted { 4 } else { 0 };
            identifiers.push((icb, characteristics | deleted, unicode(&node.name)));
        }
        let sizes: Vec<usize> = identifiers
            .iter()
            .map(|(_, _, name)| (38 + name.len()).next_multiple_of(4))
            .collect();
        let len = sizes.iter().sum();
        let place = self.place_directory(len);
        let mut bytes = Vec::new();
        for ((icb, characteristics, name), size) in identifiers.iter().zip(sizes) {
            let location = place
                .as_ref()
                .map_or(own.block, |runs| self.block_of(runs, bytes.len()));
            let identifier = Bytes::zeros(size)
                .half(16, 1)
                .at(18, &[*characteristics, u8::try_from(name.len()).expect("short")])
                .at(20, &long(self.options.block_bytes, *icb))
                .at(38, name)
                .sealed(&self.options, 257, location);
            bytes.extend(identifier);
        }
        self.fill(place.as_deref().unwrap_or_default(), &bytes);
        self.entry(own, (4, 0o755, 1, modified), &bytes, place, &[], None);
    }

    fn file(&mut self, node: &Node, siblings: &[Node]) -> Address {
        let icb = self.reserve_icb();
        let attributes = attributes(node);
        let own_name = String::from_utf16_lossy(&node.name);
        let links = siblings
            .iter()
            .filter(|other| matches!(&other.kind, Kind::Link(first) if *first == own_name))
            .count();
        let links = u16::try_from(1 + links).expect("few");
        let (file_type, bytes, runs) = match &node.kind {
            Kind::File(pieces) => {
                let (bytes, runs) = self.pieces(pieces);
                (5, bytes, runs)
            }
            Kind::Symlink(target) => {
                let bytes = components(target);
                let runs = self.content(&bytes);
                (12, bytes, runs)
            }
            Kind::Fifo => (9, Vec::new(), Some(Vec::new())),
            Kind::Device(..) => (7, Vec::new(), Some(Vec::new())),
            Kind::Directory(_) | Kind::Link(_) => unreachable!("handled above"),
        };
        let streams = (!node.streams.is_empty()).then(|| self.stream_directory(icb, &node.streams));
        self.entry(
            icb,
            (file_type, 0o640, links, node.modified),
            &bytes,
            runs,
            &attributes,
            streams,
        );
        if node.deleted {
            self.freed.push(icb);
        }
        icb
    }

    fn stream_directory(&mut self, parent: Address, streams: &[(String, Vec<u8>)]) -> Address {
        let own = self.reserve_icb();
        let mut bytes = self.identifier(parent, 0x0a, &[], own);
        for (name, content) in streams {
            let icb = self.reserve_icb();
            let runs = self.content(content);
            self.entry(icb, (5 | STREAM, 0o640, 1, 0), content, runs, &[], None);
            let name = unicode(&name.encode_utf16().collect::<Vec<_>>());
            bytes.extend(self.identifier(icb, 0, &name, own));
        }
        self.entry(own, (13 | STREAM, 0o755, 1, 0), &bytes, None, &[], None);
        own
    }

    /// An identifier of a directory that is embedded in its entry.
    fn identifier(&self, icb: Address, characteristics: u8, name: &[u8], own: Address) -> Vec<u8> {
        Bytes::zeros((38 + name.len()).next_multiple_of(4))
            .half(16, 1)
            .at(18, &[characteristics, u8::try_from(name.len()).expect("short")])
            .at(20, &long(self.options.block_bytes, icb))
            .at(38, name)
            .sealed(&self.options, 257, own.block)
    }

    /// Content in one or more runs; `None` if it is to be embedded.
    fn content(&mut self, bytes: &[u8]) -> Option<Vec<Run>> {
        if self.options.embed && bytes.len() <= self.embedded_max() {
            return None;
        }
        let chunk = match self.options.fragment_blocks {
            0 => 0x2000_0000 / self.block_len(),
            blocks => blocks,
        };
        let chunks = bytes.chunks(chunk * self.block_len());
        let runs = chunks.map(|chunk| {
            let at = self.put_data(chunk);
            (RECORDED | u32::try_from(chunk.len()).expect("30 bits"), at)
        });
        Some(runs.collect())
    }

    fn pieces(&mut self, pieces: &[Piece]) -> (Vec<u8>, Option<Vec<Run>>) {
        if let [Piece::Bytes(bytes)] = pieces {
            return (bytes.clone(), self.content(bytes));
        }
        let embed = std::mem::replace(&mut self.options.embed, false);
        let (mut all, mut runs) = (Vec::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    runs.extend(self.content(bytes).expect("runs"));
                    all.extend(bytes);
                }
                Piece::Hole(blocks) => {
                    let len = blocks * self.options.block_bytes;
                    runs.push((NOTHING | len, Address::default()));
                    all.resize(all.len() + usize::try_from(len).expect("small"), 0);
                }
                Piece::Unwritten(blocks) => {
                    let len = blocks * self.options.block_bytes;
                    let noise = vec![0xab; usize::try_from(len).expect("small")];
                    let at = self.put_data(&noise);
                    runs.push((ALLOCATED | len, at));
                    all.resize(all.len() + noise.len(), 0);
                }
            }
        }
        self.options.embed = embed;
        (all, Some(runs))
    }

    /// Room for a directory, if it is not embedded.
    fn place_directory(&mut self, len: usize) -> Option<Vec<Run>> {
        if self.options.embed && len <= self.embedded_max() {
            return None;
        }
        let block = self.block_len();
        let step = match self.options.fragment_blocks {
            0 => len.next_multiple_of(block),
            blocks => blocks * block,
        };
        let mut runs = Vec::new();
        let mut left = len;
        while left > 0 {
            let part = left.min(step);
            let at = self.reserve_directory(part.div_ceil(block));
            runs.push((u32::try_from(part).expect("30 bits"), at));
            left -= part;
        }
        Some(runs)
    }

    /// The block in which a byte of a directory stands.
    fn block_of(&self, runs: &[Run], byte: usize) -> u32 {
        let mut left = byte;
        for (len, at) in runs {
            let len = usize::try_from(*len).expect("small");
            if left < len {
                return at.block + u32::try_from(left / self.block_len()).expect("small");
            }
            left -= len;
        }
        0
    }

    fn fill(&mut self, runs: &[Run], bytes: &[u8]) {
        let mut rest = bytes;
        for (len, at) in runs {
            let (part, after) = rest.split_at(usize::try_from(*len).expect("small"));
            self.put_directory(*at, part);
            rest = after;
        }
    }

    /// Writes the entry of a file: type (and stream flag), mode, links.
    fn entry(
        &mut self,
        icb: Address,
        kind: (u16, u32, u16, i64),
        bytes: &[u8],
        runs: Option<Vec<Run>>,
        attributes: &[u8],
        streams: Option<Address>,
    ) {
        if self.options.replaced {
            let old = self.one_entry((icb, icb), kind, b"an old version", None, &[], None);
            let next = self.reserve_icb();
            let indirect = Bytes::zeros(52)
                .at(16, &icb_tag(3, 4096, 0))
                .at(36, &long(self.options.block_bytes, next))
                .sealed(&self.options, 259, icb.block + 1);
            self.put_icb(icb, &old);
            self.put_icb(
                Address {
                    block: icb.block + 1,
                    ..icb
                },
                &indirect,
            );
            let entry = self.one_entry((next, icb), kind, bytes, runs, attributes, streams);
            self.put_icb(next, &entry);
        } else {
            let entry = self.one_entry((icb, icb), kind, bytes, runs, attributes, streams);
            self.put_icb(icb, &entry);
        }
    }

    fn one_entry(
        &mut self,
        (at, first): (Address, Address),
        (file_type, mode, links, modified): (u16, u32, u16, i64),
        bytes: &[u8],
        runs: Option<Vec<Run>>,
        attributes: &[u8],
        streams: Option<Address>,
    ) -> Vec<u8> {
        let is_extended = self.options.extended || streams.is_some();
        let (fixed, id) = if is_extended { (216, 266) } else { (176, 261) };
        let room = self.block_len() - fixed - attributes.len();
        let (form, allocation) = match runs {
            None => (3, bytes.to_vec()),
            Some(runs) => self.descriptors(&runs, at, room),
        };
        let permissions = (mode & 7) | ((mode & 0o70) << 2) | ((mode & 0o700) << 4);
        let strategy = if self.options.replaced { 4096 } else { 4 };
        let stream_flag = if file_type & STREAM == 0 { 0 } else { 0x2000 };
        let kind = u8::try_from(file_type & 0xff).expect("a byte");
        let size = u64::try_from(bytes.len()).expect("fits");
        let head = Bytes::zeros(fixed)
            .at(16, &icb_tag(kind, strategy, form | stream_flag))
            .word(36, 1000)
            .word(40, 100)
            .word(44, permissions)
            .half(48, links)
            .double(56, size);
        let unique = 16 + u64::from(first.block);
        let head = if is_extended {
            let head = head
                .double(64, size)
                .time(80)
                .at(92, &timestamp(modified))
                .time(104)
                .time(116)
                .word(128, 1);
            let head = head.double(200, unique);
            match streams {
                Some(streams) => head.at(152, &long(self.options.block_bytes, streams)),
                None => head,
            }
        } else {
            head.time(72)
                .at(84, &timestamp(modified))
                .time(96)
                .word(108, 1)
                .double(160, unique)
        };
        head.word(fixed - 8, u32::try_from(attributes.len()).expect("small"))
            .word(fixed - 4, u32::try_from(allocation.len()).expect("small"))
            .at(fixed, attributes)
            .at(fixed + attributes.len(), &allocation)
            .sealed(&self.options, id, at.block)
    }

    /// Allocation descriptors; those that do not fit go into allocation extent descriptors.
    fn descriptors(&mut self, runs: &[Run], own: Address, room: usize) -> (u16, Vec<u8>) {
        let is_local = runs.iter().all(|(_, at)| at.reference == own.reference);
        let (form, size) = match self.options.descriptors {
            Descriptors::Short if is_local => (0, 8),
            Descriptors::Extended => (2, 20),
            Descriptors::Short | Descriptors::Long => (1, 16),
        };
        let one = |len: u32, at: Address| match form {
            0 => Bytes::zeros(8).word(0, len).word(4, at.block).0,
            1 => long(len, at).to_vec(),
            _ => {
                Bytes::zeros(20)
                    .word(0, len)
                    .word(4, len & 0x3fff_ffff)
                    .word(8, len & 0x3fff_ffff)
                    .word(12, at.block)
                    .half(16, at.reference)
                    .0
            }
        };
        // From the end, so that every block knows the next.
        let here = room / size - 1;
        let there = (self.block_len() - 24) / size - 1;
        let mut next: Option<Address> = None;
        let rest: &[Run] = runs.get(here..).unwrap_or_default();
        for chunk in rest.chunks(there).rev() {
            let at = self.reserve_continuation(own);
            let mut bytes: Vec<u8> = chunk.iter().flat_map(|(len, at)| one(*len, *at)).collect();
            bytes.extend(
                next.map(|next| one(3 << 30 | self.options.block_bytes, next))
                    .unwrap_or_default(),
            );
            let len = u32::try_from(bytes.len()).expect("small");
            let head = Bytes::zeros(24).word(20, len).at(24, &bytes);
            let sealed = head.sealed(&self.options, 258, at.block);
            self.put_icb(at, &sealed);
            next = Some(at);
        }
        let first = runs.iter().take(here).flat_map(|(len, at)| one(*len, *at));
        let mut bytes: Vec<u8> = first.collect();
        bytes.extend(
            next.map(|next| one(3 << 30 | self.options.block_bytes, next))
                .unwrap_or_default(),
        );
        (form, bytes)
    }

    fn embedded_max(&self) -> usize {
        self.block_len().saturating_sub(216 + 300)
    }

    /// Where more descriptors of an entry go: to the partition of the entry, or under a virtual one to the medium.
    fn reserve_continuation(&mut self, own: Address) -> Address {
        if self.options.layout == Layout::Virtual {
            return Address {
                reference: 0,
                block: self.reserve_blocks(1),
            };
        }
        Address {
            reference: own.reference,
            ..self.reserve_icb()
        }
    }
}

/// Marks an entry as one of a stream, beside its file type.
const STREAM: u16 = 0x100;

/// `long_ad`.
pub(super) fn long(len: u32, at: Address) -> [u8; 16] {
    Bytes::zeros(16)
        .word(0, len)
        .word(4, at.block)
        .half(8, at.reference)
        .0
        .try_into()
        .expect("16 bytes")
}

pub(super) fn icb_tag(file_type: u8, strategy: u16, flags: u16) -> Vec<u8> {
    Bytes::zeros(20)
        .half(4, strategy)
        .half(8, 1)
        .at(11, &[file_type])
        .half(18, flags)
        .0
}

/// The space of extended attributes, its header first.
fn attributes(node: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Kind::Device(major, minor) = node.kind {
        let device = Bytes::zeros(24)
            .word(0, 12)
            .at(4, &[1])
            .word(8, 24)
            .word(16, major)
            .word(20, minor);
        bytes.extend(device.0);
    }
    for (identifier, value) in &node.attributes {
        let len = u32::try_from((48 + value.len()).next_multiple_of(4)).expect("small");
        let one = Bytes::zeros(usize::try_from(len).expect("small"))
            .word(0, 2048)
            .at(4, &[1])
            .word(8, len)
            .word(12, u32::try_from(value.len()).expect("small"))
            .entity(16, identifier.as_bytes(), [0, 0])
            .at(48, value);
        bytes.extend(one.0);
    }
    if bytes.is_empty() {
        return bytes;
    }
    let options = super::Options::default();
    let header = Bytes::zeros(24).word(16, 24).word(20, u32::MAX);
    [header.sealed(&options, 262, 0), bytes].concat()
}
