//! Structures of NTFS, byte by byte: what no tool here makes (reparse points of Windows, torn records, loops), and volumes of any size.

/// Bytes of a record.
pub const RECORD: usize = 1024;
/// Bytes of a cluster.
pub const CLUSTER: usize = 4096;
/// Cluster where the table starts.
pub const TABLE: u64 = 4;
/// Cluster of the mirror.
pub const MIRROR: u64 = 2;
/// Number of the root directory with the sequence number it has here.
pub const ROOT: u64 = 5 | 5 << 48;
/// The update sequence number of every structure made here.
const NUMBER: [u8; 2] = [0x5a, 0xa5];

/// Content in clusters.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'m> {
    /// First cluster of the value that this part maps.
    pub first: u64,
    /// Length in clusters and first cluster of the volume, or none for a hole.
    pub runs: &'m [(u64, Option<u64>)],
    /// Length in bytes.
    pub size: u64,
    /// Bytes that were written.
    pub initialized: u64,
    /// 1: compressed; 0x4000: encrypted.
    pub flags: u16,
    /// Logarithm of the clusters of a compression unit.
    pub unit: u8,
}

impl<'m> Mapped<'m> {
    /// Plain content that was written whole.
    pub const fn plain(runs: &'m [(u64, Option<u64>)], size: u64) -> Self {
        Self {
            first: 0,
            runs,
            size,
            initialized: size,
            flags: 0,
            unit: 0,
        }
    }
}

/// A FILE record that grows attribute by attribute.
#[derive(Clone, Debug)]
pub struct Record {
    bytes: Vec<u8>,
    names: u16,
}

impl Record {
    /// Record `number`, in use, of a file; its sequence number is the number itself, but at least 1.
    pub fn new(number: u32) -> Self {
        let mut bytes = vec![0; 0x38];
        bytes[..8].copy_from_slice(&[b'F', b'I', b'L', b'E', 0x30, 0, 3, 0]);
        let sequence = u16::try_from(number & 0x7fff).expect("16 bits").max(1);
        put(&mut bytes, 0x10, &sequence.to_le_bytes());
        put(&mut bytes, 0x14, &[0x38, 0, 1, 0]);
        put(&mut bytes, 0x1c, &1024_u32.to_le_bytes());
        put(&mut bytes, 0x2c, &number.to_le_bytes());
        Self { bytes, names: 0 }.resident(0x10, "", &standard())
    }

    /// Number and sequence number, as other records name this one.
    pub fn reference(number: u32) -> u64 {
        u64::from(number) | u64::from((number & 0x7fff).max(1)) << 48
    }

    /// The record without any attribute.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bytes.truncate(0x38);
        self
    }

    /// Bits of the record: 1 in use, 2 directory.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.bytes[0x16] = flags;
        self
    }

    /// Another sequence number.
    #[must_use]
    pub fn sequence(mut self, sequence: u16) -> Self {
        put(&mut self.bytes, 0x10, &sequence.to_le_bytes());
        self
    }

    /// Makes it continue another record.
    #[must_use]
    pub fn extends(mut self, base: u64) -> Self {
        put(&mut self.bytes, 0x20, &base.to_le_bytes());
        self
    }

    /// Attributes of DOS and the security id in the standard information.
    #[must_use]
    pub fn dos(mut self, flags: u32, security_id: u32) -> Self {
        put(&mut self.bytes, 0x38 + 0x18 + 0x20, &flags.to_le_bytes());
        put(&mut self.bytes, 0x38 + 0x18 + 0x34, &security_id.to_le_bytes());
        self
    }

    /// Adds an attribute with its value in the record.
    #[must_use]
    pub fn resident(mut self, kind: u32, name: &str, value: &[u8]) -> Self {
        let name = utf16(name);
        let value_at = (0x18 + name.len()).next_multiple_of(8);
        let mut attribute = vec![0; value_at];
        attribute.extend_from_slice(value);
        put(
            &mut attribute,
            0x10,
            &u32::try_from(value.len()).expect("short").to_le_bytes(),
        );
        put(
            &mut attribute,
            0x14,
            &u16::try_from(value_at).expect("short").to_le_bytes(),
        );
        put(&mut attribute, 0x18, &name);
        self.add(kind, &name, 0x18, attribute);
        self
    }

    /// Adds an attribute with its value in clusters.
    #[must_use]
    pub fn mapped(mut self, kind: u32, name: &str, mapped: &Mapped<'_>) -> Self {
        let name = utf16(name);
        let pairs_at = (0x48 + name.len()).next_multiple_of(8);
        let clusters: u64 = mapped.runs.iter().map(|(len, _)| len).sum();
        let mut attribute = vec![0; pairs_at];
        attribute[8] = 1;
        put(&mut attribute, 0x0c, &mapped.flags.to_le_bytes());
        put(&mut attribute, 0x10, &mapped.first.to_le_bytes());
        put(
            &mut attribute,
            0x18,
            &(mapped.first + clusters).wrapping_sub(1).to_le_bytes(),
        );
        put(
            &mut attribute,
            0x20,
            &u16::try_from(pairs_at).expect("short").to_le_bytes(),
        );
        attribute[0x22] = mapped.unit;
        put(&mut attribute, 0x28, &(clusters * 4096).to_le_bytes());
        put(&mut attribute, 0x30, &mapped.size.to_le_bytes());
        put(&mut attribute, 0x38, &mapped.initialized.to_le_bytes());
        put(&mut attribute, 0x48, &name);
        attribute.extend(pairs(mapped.runs));
        self.add(kind, &name, 0x48, attribute);
        self
    }

    fn add(&mut self, kind: u32, name: &[u8], name_at: u16, mut attribute: Vec<u8>) {
        attribute.resize(attribute.len().next_multiple_of(8), 0);
        put(&mut attribute, 0, &kind.to_le_bytes());
        let len = u32::try_from(attribute.len()).expect("short");
        put(&mut attribute, 4, &len.to_le_bytes());
        attribute[9] = u8::try_from(name.len() / 2).expect("short");
        put(&mut attribute, 0x0a, &name_at.to_le_bytes());
        self.bytes.extend(attribute);
    }

    /// Adds a name in `parent`. Namespaces: 0 POSIX, 1 Windows, 2 DOS, 3 both.
    #[must_use]
    pub fn name(mut self, parent: u64, name: &str, namespace: u8) -> Self {
        self.names += 1;
        let directory = self.bytes[0x16] & 2 != 0;
        self.resident(
            0x30,
            "",
            &file_name(parent, &utf16(name), namespace, directory, 0),
        )
    }

    /// Adds a name of any 16-bit units.
    #[must_use]
    pub fn raw_name(mut self, parent: u64, units: &[u16], namespace: u8) -> Self {
        self.names += 1;
        let units: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        self.resident(0x30, "", &file_name(parent, &units, namespace, false, 0))
    }

    /// Adds the root of an index of names that holds `entries`.
    #[must_use]
    pub fn index(self, entries: &[Vec<u8>]) -> Self {
        let mut value = vec![0; 0x20];
        put(&mut value, 0, &[0x30, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0, 1]);
        value.extend(node(entries));
        let used = u32::try_from(value.len() - 0x10).expect("short").to_le_bytes();
        put(&mut value, 0x10, &16_u32.to_le_bytes());
        put(&mut value, 0x14, &used);
        put(&mut value, 0x18, &used);
        self.resident(0x90, "$I30", &value)
    }

    /// The record as it lies on disk.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(bytes.len() <= RECORD, "{} bytes do not fit a record", bytes.len());
        put(&mut bytes, 0x12, &self.names.to_le_bytes());
        let used = u32::try_from(bytes.len()).expect("short");
        put(&mut bytes, 0x18, &used.to_le_bytes());
        bytes.resize(RECORD, 0);
        protect(&mut bytes);
        bytes
    }
}

/// The value of a name attribute, and the key of an index of names.
pub fn file_name(parent: u64, units: &[u8], namespace: u8, directory: bool, size: u64) -> Vec<u8> {
    let mut value = vec![0; 0x42];
    put(&mut value, 0, &parent.to_le_bytes());
    for at in [8, 16, 24, 32] {
        put(&mut value, at, &TIME.to_le_bytes());
    }
    put(&mut value, 0x30, &size.to_le_bytes());
    if directory {
        value[0x3b] = 0x10;
    }
    value[0x40] = u8::try_from(units.len() / 2).expect("short");
    value[0x41] = namespace;
    value.extend(units);
    value
}

/// An entry of an index of names.
pub fn entry(record: u64, key: &[u8]) -> Vec<u8> {
    let mut entry = vec![0; 0x10];
    entry.extend(key);
    entry.resize(entry.len().next_multiple_of(8), 0);
    let len = u16::try_from(entry.len()).expect("short");
    put(&mut entry, 0, &record.to_le_bytes());
    put(&mut entry, 8, &len.to_le_bytes());
    put(
        &mut entry,
        10,
        &u16::try_from(key.len()).expect("short").to_le_bytes(),
    );
    entry
}

/// Entries with the one that ends a node.
fn node(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut node = entries.concat();
    node.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0]);
    node
}

/// A block of an index of names, as it lies on disk.
pub fn index_block(number: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut block = vec![0; 0x40];
    put(&mut block, 0, &[b'I', b'N', b'D', b'X', 0x28, 0, 9, 0]);
    put(&mut block, 0x10, &number.to_le_bytes());
    block.extend(node(entries));
    put(&mut block, 0x18, &0x28_u32.to_le_bytes());
    let used = u32::try_from(block.len() - 0x18).expect("short");
    put(&mut block, 0x1c, &used.to_le_bytes());
    block.resize(CLUSTER, 0);
    protect(&mut block);
    block
}

/// 2003-04-05T06:07:08Z in steps of 100 ns since 1601.
pub const TIME: u64 = 126_939_532_280_000_000;

fn standard() -> Vec<u8> {
    let mut value = vec![0; 0x48];
    for at in [0, 8, 16, 24] {
        put(&mut value, at, &TIME.to_le_bytes());
    }
    value
}

fn pairs(runs: &[(u64, Option<u64>)]) -> Vec<u8> {
    let mut pairs = Vec::new();
    let mut previous = 0_i64;
    for (len, cluster) in runs {
        let Some(cluster) = cluster else {
            pairs.push(0x08);
            pairs.extend(len.to_le_bytes());
            continue;
        };
        let cluster = i64::try_from(*cluster).expect("fits");
        pairs.push(0x88);
        pairs.extend(len.to_le_bytes());
        pairs.extend((cluster - previous).to_le_bytes());
        previous = cluster;
    }
    pairs.push(0);
    pairs
}

/// Moves the ends of all sectors into the update sequence array.
pub fn protect(bytes: &mut [u8]) {
    let array = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    put(bytes, array, &NUMBER);
    for sector in 0..bytes.len() / 512 {
        let end = (sector + 1) * 512;
        let truth = [bytes[end - 2], bytes[end - 1]];
        put(bytes, array + 2 + sector * 2, &truth);
        put(bytes, end - 2, &NUMBER);
    }
}

/// Text as UTF-16LE.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The boot sector of a volume of so many clusters.
pub fn boot(clusters: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    put(&mut sector, 3, b"NTFS    ");
    put(&mut sector, 0x0b, &[0, 2, 8]);
    put(&mut sector, 0x28, &(clusters * 8).to_le_bytes());
    put(&mut sector, 0x30, &TABLE.to_le_bytes());
    put(&mut sector, 0x38, &MIRROR.to_le_bytes());
    put(&mut sector, 0x40, &[0xf6, 0, 0, 0, 1]);
    put(&mut sector, 0x48, &0x0123_4567_89ab_cdef_u64.to_le_bytes());
    put(&mut sector, 510, &[0x55, 0xaa]);
    sector
}

/// Record 0 of a table of `records` records that lies in one piece, with its bitmap in `bitmap_clusters` clusters from `bitmap`.
pub fn table_record(records: u64, bitmap: u64, bitmap_clusters: u64) -> Record {
    let clusters = (records * 1024).div_ceil(4096);
    Record::new(0)
        .name(ROOT, "$MFT", 3)
        .mapped(
            0x80,
            "",
            &Mapped::plain(&[(clusters, Some(TABLE))], records * 1024),
        )
        .mapped(
            0xb0,
            "",
            &Mapped::plain(&[(bitmap_clusters, Some(bitmap))], records.div_ceil(8)),
        )
}

/// `$LogFile` of one cluster, cluster 1; it is closed if that is filled with ones.
pub fn log_record() -> Record {
    Record::new(2)
        .name(ROOT, "$LogFile", 3)
        .mapped(0x80, "", &Mapped::plain(&[(1, Some(1))], 4096))
}

/// `$Volume`: label, version 3.1, clean.
pub fn volume_record() -> Record {
    Record::new(3)
        .name(ROOT, "$Volume", 3)
        .resident(0x60, "", &utf16("laid"))
        .resident(0x70, "", &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0])
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
