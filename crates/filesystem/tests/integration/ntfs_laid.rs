//! NTFS laid out byte by byte, for what no tool here makes.

use ntt_filesystem::{FileSystem, ScanOptions, ntfs};
use ntt_testkit::listing::Listing;
use ntt_testkit::ntfs::{
    CLUSTER, MIRROR, RECORD, ROOT, Record, TABLE, boot, entry, file_name, log_record, table_record, utf16,
    volume_record,
};

/// Clusters of a volume.
const CLUSTERS: u64 = 256;
/// Records of its table.
const RECORDS: u64 = 64;
/// Clusters from here on are free for content.
pub(crate) const FREE: u64 = 64;
/// Cluster of the bitmap of the table.
const BITMAP: u64 = 3;

/// A volume of 1 MiB with 64 records.
pub(crate) struct Laid {
    pub(crate) bytes: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

impl Laid {
    /// A volume whose root is empty.
    pub(crate) fn new() -> Self {
        let mut laid = Self {
            bytes: vec![0; at(CLUSTERS) + 512],
            entries: Vec::new(),
        };
        for offset in [0, at(CLUSTERS)] {
            laid.put(offset, &boot(CLUSTERS));
        }
        laid.put(at(1), &[0xff; CLUSTER]);
        laid.set(0, &table_record(RECORDS, BITMAP, 1));
        laid.set(2, &log_record());
        laid.set(3, &volume_record());
        let mirror: Vec<u8> = laid.bytes[Self::record_at(0)..Self::record_at(4)].to_vec();
        laid.put(at(MIRROR), &mirror);
        laid.root();
        laid
    }

    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Where a record lies.
    pub(crate) fn record_at(number: u32) -> usize {
        at(TABLE) + usize::try_from(number).expect("fits") * RECORD
    }

    /// Writes a record and marks it as used.
    pub(crate) fn set(&mut self, number: u32, record: &Record) {
        self.put(Self::record_at(number), &record.build());
        let number = usize::try_from(number).expect("fits");
        self.bytes[at(BITMAP) + number / 8] |= 1 << (number % 8);
    }

    /// Adds an entry to the root's index.
    pub(crate) fn root_entry(&mut self, reference: u64, name: &str, namespace: u8, directory: bool) {
        self.entries.push(entry(
            reference,
            &file_name(ROOT, &utf16(name), namespace, directory, 77),
        ));
        self.root();
    }

    fn root(&mut self) {
        let root = Record::new(5)
            .flags(3)
            .name(ROOT, ".", 3)
            .index(&self.entries.clone());
        self.set(5, &root);
    }

    /// A file in the root, in the index too.
    pub(crate) fn file(&mut self, number: u32, name: &str, fill: impl FnOnce(Record) -> Record) {
        self.set(number, &fill(Record::new(number).name(ROOT, name, 1)));
        self.root_entry(Record::reference(number), name, 1, false);
    }

    /// Fills clusters with bytes that tell where they are.
    pub(crate) fn content(&mut self, cluster: u64, clusters: u64) -> Vec<u8> {
        let start = at(cluster);
        let end = at(cluster + clusters);
        for (offset, byte) in self.bytes[start..end].iter_mut().enumerate() {
            *byte = u8::try_from((start + offset) / 7 % 251).expect("small");
        }
        self.bytes[start..end].to_vec()
    }

    pub(crate) fn open(&self) -> Box<dyn FileSystem> {
        ntfs::open(Box::new(self.bytes.clone()), 0).expect("an NTFS volume")
    }

    pub(crate) fn scan(&self) -> Listing {
        Listing::of(&*self.open(), &ScanOptions::default())
    }
}

/// Where a cluster starts.
pub(crate) fn at(cluster: u64) -> usize {
    usize::try_from(cluster).expect("fits") * CLUSTER
}

/// Paths of preferred names, in order.
pub(crate) fn paths(listing: &Listing) -> Vec<String> {
    let mut paths: Vec<String> = listing
        .preferred()
        .map(|listed| ntt_model::name::escape(&listed.path).into_owned())
        .collect();
    paths.sort();
    paths
}

/// Details of all findings.
pub(crate) fn details(listing: &Listing) -> Vec<&str> {
    listing
        .findings
        .iter()
        .map(|finding| finding.detail.as_str())
        .collect()
}
