//! exFAT volumes by code, to the letter of Microsoft's specification: what `mkfs.exfat` and drivers do not write (vendor entries, valid lengths,
//! fragmented directories, a GUID), and without root.

/// Bytes of a sector, and of a cluster.
pub const SECTOR: usize = 512;
/// Bytes of a cluster.
pub const CLUSTER: usize = 4096;
/// Clusters of the volume.
const CLUSTERS: u32 = 200;
const TABLE_AT: usize = 24 * SECTOR;
/// First byte of cluster 2.
pub const HEAP_AT: usize = 32 * SECTOR;
/// Time of all entries: 2024-02-29T12:34:56 with 50 hundredths, an hour east of Greenwich.
const STAMP: u32 = (44 << 25) | (2 << 21) | (29 << 16) | (12 << 11) | (34 << 5) | 28;

/// A file or directory to be.
#[derive(Debug, Clone)]
pub struct Node {
    name: Vec<u16>,
    content: Content,
    /// Every second cluster is left free, and the table holds a chain.
    is_fragmented: bool,
    valid_len: Option<u64>,
    vendor: Option<Vec<u8>>,
    is_deleted: bool,
}

#[derive(Debug, Clone)]
enum Content {
    File(Vec<u8>),
    Directory(Vec<Node>),
}

impl Node {
    fn new(name: &[u16], content: Content) -> Self {
        Self {
            name: name.to_vec(),
            content,
            is_fragmented: false,
            valid_len: None,
            vendor: None,
            is_deleted: false,
        }
    }

    /// A file whose clusters follow each other.
    pub fn file(name: &str, content: &[u8]) -> Self {
        Self::named(&name.encode_utf16().collect::<Vec<_>>(), content)
    }

    /// A file with a name of any code units.
    pub fn named(name: &[u16], content: &[u8]) -> Self {
        Self::new(name, Content::File(content.to_vec()))
    }

    /// A directory whose clusters follow each other.
    pub fn directory(name: &str, nodes: Vec<Self>) -> Self {
        Self::new(
            &name.encode_utf16().collect::<Vec<_>>(),
            Content::Directory(nodes),
        )
    }

    /// The same with a chain in the table.
    #[must_use]
    pub fn fragmented(self) -> Self {
        Self {
            is_fragmented: true,
            ..self
        }
    }

    /// The same with fewer valid bytes than it is long.
    #[must_use]
    pub fn valid(self, len: u64) -> Self {
        Self {
            valid_len: Some(len),
            ..self
        }
    }

    /// The same with an allocation of a vendor, and one more entry of a vendor.
    #[must_use]
    pub fn vendor(self, bytes: &[u8]) -> Self {
        Self {
            vendor: Some(bytes.to_vec()),
            ..self
        }
    }

    /// The same, deleted.
    #[must_use]
    pub fn deleted(self) -> Self {
        Self {
            is_deleted: true,
            ..self
        }
    }
}

/// The bytes of a volume with `nodes` in its root, a label and a GUID.
///
/// # Panics
///
/// If the nodes do not fit.
pub fn volume(nodes: &[Node]) -> Vec<u8> {
    let mut maker = Maker {
        image: vec![0; HEAP_AT + usize::try_from(CLUSTERS).expect("small") * CLUSTER],
        next: 2,
    };
    maker.table(0, 0xffff_fff8);
    maker.table(1, 0xffff_ffff);
    let bitmap = maker.put(&[0; CLUSTER], true);
    let upcase: Vec<u8> = (0..128_u16)
        .flat_map(|unit| {
            let upper = u8::try_from(unit).expect("ASCII").to_ascii_uppercase();
            u16::from(upper).to_le_bytes()
        })
        .collect();
    let upcase_at = maker.put(&upcase, true);
    let mut entries = Vec::new();
    entries.push(system(0x81, 0, bitmap, u64::from(CLUSTERS.div_ceil(8))));
    let sum = upcase.iter().fold(0_u32, |sum, byte| {
        sum.rotate_right(1).wrapping_add(u32::from(*byte))
    });
    entries.push(system(0x82, sum, upcase_at, 256));
    entries.push(label("Étiquette"));
    let mut guid = [0; 32];
    guid[0] = 0xa0;
    guid[6..22].copy_from_slice(&[
        0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    ]);
    entries.push(guid);
    let nodes: Vec<_> = nodes.iter().flat_map(|node| maker.node(node)).collect();
    entries.extend(nodes);
    let root = maker.put(&entries.concat(), true);
    maker.bits(bitmap);
    maker.boot(root);
    maker.image
}

struct Maker {
    image: Vec<u8>,
    next: u32,
}

impl Maker {
    fn table(&mut self, cluster: u32, value: u32) {
        let at = TABLE_AT + usize::try_from(cluster).expect("small") * 4;
        self.image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn is_free(&self, cluster: u32) -> bool {
        self.mark(cluster) == 0
    }

    fn mark(&self, cluster: u32) -> u8 {
        self.image[Self::mark_at(cluster)]
    }

    /// Which clusters are taken is noted in the boot sector's code area until the bitmap is written.
    fn mark_at(cluster: u32) -> usize {
        SECTOR + usize::try_from(cluster).expect("small")
    }

    /// Writes bytes into clusters that follow each other, or into every second one with a chain.
    fn put(&mut self, bytes: &[u8], with_chain: bool) -> u32 {
        self.put_each(bytes, 1, with_chain)
    }

    fn put_each(&mut self, bytes: &[u8], step: u32, with_chain: bool) -> u32 {
        let first = self.next;
        let mut previous: Option<u32> = None;
        for part in bytes.chunks(CLUSTER) {
            let cluster = self.next;
            assert!(self.is_free(cluster) && cluster < CLUSTERS, "full");
            let at = cluster_at(cluster);
            self.image[at..at + part.len()].copy_from_slice(part);
            let mark = Self::mark_at(cluster);
            self.image[mark] = 1;
            if with_chain {
                self.table(cluster, 0xffff_ffff);
                if let Some(previous) = previous {
                    self.table(previous, cluster);
                }
            }
            previous = Some(cluster);
            self.next += step;
        }
        first
    }

    fn node(&mut self, node: &Node) -> Vec<[u8; 32]> {
        let (bytes, is_directory) = match &node.content {
            Content::File(bytes) => (bytes.clone(), false),
            Content::Directory(nodes) => {
                let mut entries: Vec<u8> = nodes
                    .iter()
                    .flat_map(|node| self.node(node))
                    .collect::<Vec<_>>()
                    .concat();
                entries.resize(entries.len().next_multiple_of(CLUSTER).max(CLUSTER), 0);
                (entries, true)
            }
        };
        let step = if node.is_fragmented { 2 } else { 1 };
        let first = self.put_each(&bytes, step, node.is_fragmented);
        if node.is_deleted {
            for cluster in (first..self.next).step_by(usize::try_from(step).expect("small")) {
                let mark = Self::mark_at(cluster);
                self.image[mark] = 0;
            }
        }
        let first = if bytes.is_empty() { 0 } else { first };
        let mut entries = vec![primary(is_directory), stream(node, first, bytes.len())];
        entries.extend(node.name.chunks(15).map(name_part));
        if let Some(vendor) = &node.vendor {
            let at = self.put(vendor, false);
            let mut extension = [0x77; 32];
            (extension[0], extension[1]) = (0xe0, 0);
            let mut allocation = [0x66; 32];
            (allocation[0], allocation[1]) = (0xe1, 3);
            allocation[20..24].copy_from_slice(&at.to_le_bytes());
            allocation[24..32].copy_from_slice(&u64::try_from(vendor.len()).expect("fits").to_le_bytes());
            entries.extend([extension, allocation]);
        }
        entries[0][1] = u8::try_from(entries.len() - 1).expect("few");
        let sum = set_checksum(&entries);
        entries[0][2..4].copy_from_slice(&sum.to_le_bytes());
        if node.is_deleted {
            entries.iter_mut().for_each(|entry| entry[0] &= 0x7f);
        }
        entries
    }

    /// Writes the bitmap and takes the notes away.
    fn bits(&mut self, bitmap: u32) {
        for cluster in 2..CLUSTERS + 2 {
            let mark = Self::mark_at(cluster);
            let bit = std::mem::take(&mut self.image[mark]) << ((cluster - 2) % 8);
            let byte = usize::try_from((cluster - 2) / 8).expect("small");
            self.image[cluster_at(bitmap) + byte] |= bit;
        }
    }

    fn boot(&mut self, root: u32) {
        let mut region = vec![0_u8; 12 * SECTOR];
        region[..11].copy_from_slice(b"\xeb\x76\x90EXFAT   ");
        let sectors = u64::try_from(self.image.len() / SECTOR).expect("fits");
        region[72..80].copy_from_slice(&sectors.to_le_bytes());
        let words = [
            24,
            8,
            u32::try_from(HEAP_AT / SECTOR).expect("small"),
            CLUSTERS,
            root,
            0x12ab_34cd,
        ];
        for (to, word) in region[80..104].chunks_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        region[104..106].copy_from_slice(&[0, 1]);
        (region[108], region[109], region[110], region[112]) = (9, 3, 1, 0xff);
        for sector in 0..9 {
            region[sector * SECTOR + 510..(sector + 1) * SECTOR].copy_from_slice(&[0x55, 0xaa]);
        }
        let sum = boot_checksum(&region);
        for word in region[11 * SECTOR..].chunks_mut(4) {
            word.copy_from_slice(&sum.to_le_bytes());
        }
        self.image[..region.len()].copy_from_slice(&region);
        self.image[12 * SECTOR..24 * SECTOR].copy_from_slice(&region);
    }
}

/// Where a cluster stands in the image.
///
/// # Panics
///
/// If there is no such cluster.
pub fn cluster_at(cluster: u32) -> usize {
    HEAP_AT + usize::try_from(cluster - 2).expect("small") * CLUSTER
}

/// The checksum of the first 11 sectors of a boot region.
pub fn boot_checksum(region: &[u8]) -> u32 {
    region[..11 * SECTOR]
        .iter()
        .enumerate()
        .filter(|(at, _)| ![106, 107, 112].contains(at))
        .fold(0, |sum, (_, byte)| {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        })
}

fn system(kind: u8, checksum: u32, first: u32, len: u64) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = kind;
    entry[4..8].copy_from_slice(&checksum.to_le_bytes());
    entry[20..24].copy_from_slice(&first.to_le_bytes());
    entry[24..32].copy_from_slice(&len.to_le_bytes());
    entry
}

fn label(text: &str) -> [u8; 32] {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut entry = name_part(&units);
    (entry[0], entry[1]) = (0x83, 0);
    entry[1] = u8::try_from(units.len()).expect("short");
    entry
}

fn name_part(units: &[u16]) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = 0xc1;
    for (to, unit) in entry[2..].chunks_mut(2).zip(units) {
        to.copy_from_slice(&unit.to_le_bytes());
    }
    entry
}

fn primary(is_directory: bool) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = 0x85;
    entry[4] = if is_directory { 0x10 } else { 0x20 };
    for at in [8, 12, 16] {
        entry[at..at + 4].copy_from_slice(&STAMP.to_le_bytes());
    }
    (entry[20], entry[21]) = (50, 50);
    entry[22..25].copy_from_slice(&[0x84; 3]);
    entry
}

fn stream(node: &Node, first: u32, len: usize) -> [u8; 32] {
    let len = u64::try_from(len).expect("fits");
    let mut entry = system(0xc0, 0, first, len);
    entry[1] = match (len, node.is_fragmented) {
        (0, _) | (_, true) => 1,
        _ => 3,
    };
    entry[3] = u8::try_from(node.name.len()).expect("short");
    entry[8..16].copy_from_slice(&node.valid_len.unwrap_or(len).to_le_bytes());
    entry
}

fn set_checksum(entries: &[[u8; 32]]) -> u16 {
    entries
        .concat()
        .iter()
        .enumerate()
        .filter(|(at, _)| ![2, 3].contains(at))
        .fold(0, |sum, (_, byte)| {
            sum.rotate_right(1).wrapping_add(u16::from(*byte))
        })
}
