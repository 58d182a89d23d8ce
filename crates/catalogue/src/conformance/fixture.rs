//! A small medium to play with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ntt_host::Clock;
use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, ScanCounts, Stream, StreamKind};
use ntt_model::failure::Failure;
use ntt_model::time::Times;
use ntt_model::{
    BlobHash, ByteRange, Codec, Extent, ExtentKind, FailureClass, Kind, MediumId, MediumKey, Namespace,
    Outcome, PackedUnit, ScanEvent, ScanId, Timestamp, VolumeKey, WorkerId,
};

use crate::rows::{
    Chunk, ChunkResult, MediumKind, NewMedium, NewScan, NewVolume, SealReport, State, StreamResult,
};
use crate::{Catalogue, Labels};

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Lets seconds pass.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + self.0.load(Ordering::SeqCst))
    }
}

/// A regular file of `size` bytes whose content starts at `position` of the image.
pub fn file(number: u64, size: u64, position: u64) -> Inode {
    let extent = Extent {
        logical_offset: 0,
        image_offset: position,
        len: size,
        kind: ExtentKind::Data,
    };
    Inode {
        number,
        generation: 7,
        kind: Kind::File,
        mode: Some(0o640),
        uid: Some(1000),
        gid: None,
        links: 1,
        times: Times {
            modified: Timestamp::from_parts(900_000_000, 5),
            changed: Timestamp::from_parts(900_000_100, 0),
            ..Times::default()
        },
        target: None,
        device: None,
        flags: 0x8_0000,
        streams: vec![Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents: if size == 0 { Vec::new() } else { vec![extent] },
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }],
        xattrs: Vec::new(),
        allocation: Allocation::Allocated,
    }
}

/// Inodes of which a claim needs more than a size and an extent, or less, numbered from 20.
pub fn odd_inodes() -> Vec<Inode> {
    let many = (0..9).map(|part| Extent {
        logical_offset: part * 4096,
        image_offset: u64::MAX - part * 8192,
        len: 4096,
        kind: ExtentKind::Hole,
    });
    let unit = PackedUnit {
        logical_offset: 0,
        len: 9,
        stored_offset: 7,
        stored_len: 5,
        skip: 0,
        codec: Codec::Lznt1,
        is_whole: false,
    };
    let changes: [&dyn Fn(&mut Inode); 8] = [
        &|inode| inode.streams[0].extents.extend(many.clone()),
        &|inode| inode.streams[0].encoding = Encoding::Packed(vec![unit]),
        &|inode| inode.streams[0].encoding = Encoding::Encrypted,
        &|inode| inode.streams[0].extents_incomplete = true,
        &|inode| inode.streams[0].kind = StreamKind::Named(b"alone".to_vec()),
        &|inode| {
            inode.streams.push(Stream {
                kind: StreamKind::Named(b"rsrc".to_vec()),
                ..inode.streams[0].clone()
            });
        },
        &|inode| inode.streams[0].extents[0].image_offset = u64::MAX,
        &|inode| inode.streams[0].size_bytes = u64::MAX,
    ];
    let numbered = (20..).zip(changes).map(|(number, change)| {
        let mut inode = file(number, 5, number << 30);
        change(&mut inode);
        inode
    });
    numbered.collect()
}

/// A medium to add.
pub(super) fn new_medium(id: u8) -> NewMedium {
    NewMedium {
        id: MediumId::from_bytes([id; 16]),
        kind: MediumKind::Image,
        label: String::new(),
        source_name: format!("disk{id}.img"),
    }
}

/// A name in a directory.
pub fn named(directory: u64, name: &[u8], inode: u64) -> Name {
    Name {
        directory,
        name: name.to_vec(),
        inode,
        namespace: Namespace::Native,
        alternate: false,
        allocation: Allocation::Allocated,
    }
}

/// The event of entering a directory.
pub(super) fn entering(inode: u64, parent: Option<u64>, name: &[u8]) -> ScanEvent {
    ScanEvent::Directory(Directory {
        inode,
        parent,
        name: name.to_vec(),
        namespace: Namespace::Native,
    })
}

/// Number of the root directory of all trees here.
pub(super) const ROOT: u64 = 2;

/// A root directory that holds these files under the names `f0`, `f1`...
pub(super) fn flat(files: &[Inode]) -> Vec<ScanEvent> {
    let names = files
        .iter()
        .enumerate()
        .map(|(index, inode)| ScanEvent::Name(named(ROOT, format!("f{index}").as_bytes(), inode.number)));
    let inodes = files
        .iter()
        .map(|inode| ScanEvent::Inode(Box::new(inode.clone())));
    std::iter::once(entering(ROOT, None, b""))
        .chain(names)
        .chain(inodes)
        .collect()
}

/// `count` files of `size` bytes, numbered from 10, lying one after the other.
pub(super) fn files(count: u64, size: u64) -> Vec<Inode> {
    (0..count)
        .map(|index| file(10 + index, size, 4096 * (index + 1)))
        .collect()
}

/// Counts events.
pub(super) fn counts(events: &[ScanEvent]) -> ScanCounts {
    let mut counts = ScanCounts::default();
    events.iter().for_each(|event| counts.add(event));
    counts
}

/// A failure of a class.
pub(super) fn failure(class: FailureClass, code: i32) -> Failure {
    Failure {
        class,
        code,
        detail: "it said no".to_owned(),
    }
}

/// An outcome: the content is stored; it is named after `content`.
pub(super) fn stored(content: &[u8]) -> Outcome {
    Outcome::Stored {
        blob: BlobHash::of(content),
        size: u64::try_from(content.len()).unwrap(),
    }
}

/// An empty catalogue and its clock.
pub struct Fixture {
    /// The catalogue.
    pub catalogue: Box<dyn Catalogue>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
}

impl Fixture {
    pub(super) fn new(catalogue: Box<dyn Catalogue>, clock: Arc<ManualClock>) -> Self {
        Self { catalogue, clock }
    }

    /// Adds a medium of which nothing is known.
    pub(super) fn medium(&self, id: u8) -> MediumKey {
        self.catalogue.add_medium(&new_medium(id), None, &[]).unwrap()
    }

    /// Adds a volume.
    pub(super) fn volume(&self, medium: MediumKey, number: u32) -> VolumeKey {
        self.put_volume(medium, number, None)
    }

    /// Adds a volume that is a copy of another.
    pub(super) fn copy_of(&self, original: VolumeKey, medium: MediumKey, number: u32) -> VolumeKey {
        self.put_volume(medium, number, Some(original))
    }

    fn put_volume(&self, medium: MediumKey, number: u32, same_as: Option<VolumeKey>) -> VolumeKey {
        let volume = NewVolume {
            number,
            range: ByteRange::new(1 << 20, 1 << 30),
            verdict: "readable".to_owned(),
            type_name: "ext4".to_owned(),
            label: String::new(),
            uuid: String::new(),
            digest: None,
            same_as,
            layer_json: "{}".to_owned(),
        };
        self.catalogue.put_volume(medium, &volume).unwrap()
    }

    /// Begins a scan of a volume.
    pub(super) fn begin(&self, volume: VolumeKey, previous: Option<ScanId>) -> ScanId {
        let scan = NewScan {
            volume,
            reader: "ext".to_owned(),
            root: ROOT,
            previous,
        };
        self.catalogue.begin_scan(&scan).unwrap()
    }

    /// Loads and seals a scan by another reader over a volume that has one already.
    pub(super) fn scan_by(&self, reader: &str, volume: VolumeKey, events: &[ScanEvent]) -> ScanId {
        let scan = NewScan {
            volume,
            reader: reader.to_owned(),
            root: ROOT,
            previous: None,
        };
        let scan = self.catalogue.begin_scan(&scan).unwrap();
        self.catalogue.append(scan, events).unwrap();
        self.catalogue
            .seal_scan(scan, &counts(events), &Labels::NONE)
            .unwrap();
        scan
    }

    /// Loads and seals a scan.
    pub(super) fn load(
        &self,
        volume: VolumeKey,
        events: &[ScanEvent],
        labels: &Labels<'_>,
        previous: Option<ScanId>,
    ) -> (ScanId, SealReport) {
        let scan = self.begin(volume, previous);
        for batch in events.chunks(100) {
            self.catalogue.append(scan, batch).unwrap();
        }
        let report = self.catalogue.seal_scan(scan, &counts(events), labels).unwrap();
        (scan, report)
    }

    /// Loads and seals a scan of a fresh medium.
    pub(super) fn scan(&self, events: &[ScanEvent]) -> ScanId {
        let volume = self.volume(self.medium(1), 1);
        self.load(volume, events, &Labels::NONE, None).0
    }

    /// Registers a worker.
    pub(super) fn worker(&self) -> WorkerId {
        self.catalogue.register_worker("host/1/0").unwrap()
    }

    /// Completes a chunk, every wanted stream with the same outcome; tells whether the lease held.
    pub(super) fn complete(&self, worker: WorkerId, chunk: &Chunk, outcome: &Outcome) -> bool {
        let result = results(chunk, |_, _| outcome.clone());
        self.catalogue
            .complete_chunks(worker, &[result])
            .unwrap()
            .is_empty()
    }

    /// The state of the first stream of an inode.
    pub(super) fn state(&self, scan: ScanId, inode: u64) -> State {
        self.catalogue.stream_states(scan, inode).unwrap()[0]
            .state
            .clone()
    }

    /// Asserts that the catalogue finds nothing wrong with itself and that the census balances (R29).
    pub(super) fn assert_consistent(&self, scan: ScanId) {
        assert_eq!(self.catalogue.check().unwrap(), Vec::<String>::new());
        let census = self.catalogue.census(scan).unwrap();
        let parts = [census.stored, census.damaged, census.retryable, census.pending];
        let excluded = census.excluded.iter().map(|(_, tally)| tally);
        let failed = census.failed.iter().map(|(_, tally)| tally);
        let all: Vec<_> = parts.iter().chain(excluded).chain(failed).collect();
        assert_eq!(
            all.iter().map(|tally| tally.count).sum::<u64>(),
            census.found.count
        );
        assert_eq!(
            all.iter().map(|tally| tally.bytes).sum::<u64>(),
            census.found.bytes
        );
    }
}

/// The result of a chunk with an outcome for every wanted stream.
pub(super) fn results(chunk: &Chunk, mut outcome: impl FnMut(u64, u32) -> Outcome) -> ChunkResult {
    let mut streams = Vec::new();
    for item in &chunk.items {
        for stream in &item.streams {
            streams.push(StreamResult {
                inode: item.inode,
                stream: stream.ordinal,
                outcome: outcome(item.inode, stream.ordinal),
                sha256: None,
                content_type: None,
                is_new: true,
            });
        }
    }
    ChunkResult {
        chunk: chunk.id,
        epoch: chunk.epoch,
        streams,
        findings: Vec::new(),
    }
}
