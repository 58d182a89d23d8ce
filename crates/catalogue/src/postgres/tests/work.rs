//! Scans to work off, and workers that do.

use ntt_model::entry::{Directory, ScanCounts};
use ntt_model::{BlobHash, ByteRange, MediumId, Namespace, Outcome, ScanEvent, ScanId, WorkerId};

use super::super::PostgresCatalogue;
use crate::conformance::{file, named};
use crate::rows::{Chunk, ChunkResult, MediumKind, NewMedium, NewScan, NewVolume, StreamResult};
use crate::{Catalogue, Error, Labels};

/// Begins a scan of a fresh medium.
pub(super) fn begin(catalogue: &PostgresCatalogue) -> ScanId {
    let count = u8::try_from(catalogue.media().unwrap().len()).unwrap();
    let medium = NewMedium {
        id: MediumId::from_bytes([count; 16]),
        kind: MediumKind::Image,
        label: String::new(),
        source_name: format!("disk {count}"),
    };
    let medium = catalogue.add_medium(&medium, None, &[]).unwrap();
    let volume = NewVolume {
        number: 1,
        range: ByteRange::new(0, 1 << 40),
        verdict: "readable".to_owned(),
        type_name: "ext4".to_owned(),
        label: String::new(),
        uuid: String::new(),
        digest: None,
        same_as: None,
        layer_json: "{}".to_owned(),
    };
    let scan = NewScan {
        volume: catalogue.put_volume(medium, &volume).unwrap(),
        reader: "ext".to_owned(),
        root: 2,
        previous: None,
    };
    catalogue.begin_scan(&scan).unwrap()
}

fn root() -> ScanEvent {
    ScanEvent::Directory(Directory {
        inode: 2,
        parent: None,
        name: Vec::new(),
        namespace: Namespace::Native,
    })
}

fn counts(events: &[ScanEvent]) -> ScanCounts {
    let mut counts = ScanCounts::default();
    events.iter().for_each(|event| counts.add(event));
    counts
}

/// Events of a directory of `files` files.
pub(super) fn events(files: u64) -> (Vec<ScanEvent>, ScanCounts) {
    let mut events = vec![root()];
    for number in 10..10 + files {
        events.push(ScanEvent::Name(named(2, format!("f{number}").as_bytes(), number)));
        events.push(ScanEvent::Inode(Box::new(file(number, 8, number * 4096))));
    }
    let counts = counts(&events);
    (events, counts)
}

/// Loads a scan of `files` files.
pub(super) fn load(catalogue: &PostgresCatalogue, files: u64) -> ScanId {
    let scan = begin(catalogue);
    let (events, counts) = events(files);
    catalogue.append(scan, &events).unwrap();
    catalogue.seal_scan(scan, &counts, &Labels::NONE).unwrap();
    scan
}

/// Loads a scan of empty files with these names.
pub(super) fn load_names(catalogue: &PostgresCatalogue, names: &[&[u8]]) {
    let mut events = vec![root()];
    for (number, name) in (10..).zip(names) {
        events.push(ScanEvent::Name(named(2, name, number)));
        events.push(ScanEvent::Inode(Box::new(file(number, 0, 0))));
    }
    let scan = begin(catalogue);
    catalogue.append(scan, &events).unwrap();
    catalogue
        .seal_scan(scan, &counts(&events), &Labels::NONE)
        .unwrap();
}

/// The results of copying a chunk: every content stands in 7 files, so that workers bring the same ones at once.
pub(super) fn copied(chunk: &Chunk) -> ChunkResult {
    let streams = chunk.items.iter().map(|item| StreamResult {
        inode: item.inode,
        stream: 0,
        outcome: Outcome::Stored {
            blob: BlobHash::of(&(item.inode / 7).to_le_bytes()),
            size: 8,
        },
        sha256: None,
        content_type: None,
        is_new: item.inode % 2 == 0,
    });
    ChunkResult {
        chunk: chunk.id,
        epoch: chunk.epoch,
        streams: streams.collect(),
        findings: Vec::new(),
    }
}

/// Works one chunk off; the inodes that were recorded, none if the lease was lost, `None` if there was nothing to do.
pub(super) fn one_chunk(
    catalogue: &PostgresCatalogue,
    scan: ScanId,
    worker: WorkerId,
) -> Result<Option<Vec<u64>>, Error> {
    let Some(chunk) = catalogue.claim_chunk(scan, worker)? else {
        return Ok(None);
    };
    let lost = catalogue.complete_chunks(worker, &[copied(&chunk)])?;
    let inodes = chunk.items.iter().map(|item| item.inode);
    Ok(Some(if lost.is_empty() {
        inodes.collect()
    } else {
        Vec::new()
    }))
}

/// Everything of the scan is stored, once, and the catalogue finds nothing wrong with itself.
pub(super) fn assert_drained(catalogue: &PostgresCatalogue, scan: ScanId, files: u64) {
    let census = catalogue.census(scan).unwrap();
    assert_eq!((census.stored.count, census.found.count), (files, files));
    assert_eq!(catalogue.check().unwrap(), Vec::<String>::new());
}
