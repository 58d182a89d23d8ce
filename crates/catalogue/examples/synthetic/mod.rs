//! A tree as benchmarks load it, the same for all back ends.

use std::error::Error;
use std::time::Duration;

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{MediumKind, NewMedium, NewScan, NewVolume, StreamResult};
use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Stream, StreamKind};
use ntt_model::time::Times;
use ntt_model::{
    BlobHash, ByteRange, Extent, ExtentKind, Kind, MediumId, Namespace, Outcome, ScanEvent, ScanId, Timestamp,
};

/// Files of a directory.
pub(crate) const FILES: u64 = 20;
/// Events of one append.
pub(crate) const BATCH: usize = 8192;

/// What can go wrong in a benchmark.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Begins a scan of a fresh medium.
pub(crate) fn begin(catalogue: &dyn Catalogue, id: u8) -> Result<ScanId> {
    let medium = NewMedium {
        id: MediumId::from_bytes([id; 16]),
        kind: MediumKind::Image,
        label: String::new(),
        source_name: "bench".to_owned(),
    };
    let medium = catalogue.add_medium(&medium, None, &[])?;
    let volume = catalogue.put_volume(
        medium,
        &NewVolume {
            number: 1,
            range: ByteRange::new(0, 1 << 40),
            verdict: "readable".to_owned(),
            type_name: "ext4".to_owned(),
            label: String::new(),
            uuid: String::new(),
            digest: None,
            same_as: None,
            layer_json: "{}".to_owned(),
        },
    )?;
    Ok(catalogue.begin_scan(&NewScan {
        volume,
        reader: "ext".to_owned(),
        root: 2,
        previous: None,
    })?)
}

/// A directory with its files; hard links are further names of the same inodes in the same directory. Names are 18 bytes on average.
pub(crate) fn push_directory(batch: &mut Vec<ScanEvent>, index: u64, inodes: u64, links: u64) {
    let inode = if index == 0 { 2 } else { 1_000_000_000 + index };
    batch.push(ScanEvent::Directory(Directory {
        inode,
        parent: (index > 0).then(|| if index < 16 { 2 } else { 1_000_000_000 + index / 16 }),
        name: if index == 0 {
            Vec::new()
        } else {
            format!("folder {index}").into_bytes()
        },
        namespace: Namespace::Native,
    }));
    let numbers = index * FILES..inodes.min((index + 1) * FILES);
    for number in numbers {
        for link in 0..links {
            batch.push(ScanEvent::Name(Name {
                directory: inode,
                name: format!("image_{number:07}-{link}.jpg").into_bytes(),
                inode: 12 + number,
                namespace: Namespace::Native,
                alternate: false,
                allocation: Allocation::Allocated,
            }));
        }
        batch.push(ScanEvent::Inode(Box::new(file(number))));
    }
}

/// What ext4 keeps of a file: four times to the nanosecond, a random generation, one extent.
fn file(number: u64) -> Inode {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let size = 500 + noise % 9000;
    let time = |bits: u64| {
        Some(Timestamp::from_nanos(
            1_100_000_000_000_000_000 + (bits >> 10).cast_signed(),
        ))
    };
    Inode {
        number: 12 + number,
        generation: noise >> 32,
        kind: Kind::File,
        mode: Some(0o644),
        uid: Some(1000),
        gid: Some(1000),
        links: 1,
        times: Times {
            modified: time(noise),
            accessed: time(noise.wrapping_mul(3)),
            changed: time(noise),
            created: time(noise),
            deleted: None,
        },
        target: None,
        device: None,
        flags: 0x8_0000,
        streams: vec![Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents: vec![Extent {
                logical_offset: 0,
                image_offset: (1 << 30) + number * 12_288,
                len: size.next_multiple_of(4096),
                kind: ExtentKind::Data,
            }],
            encoding: Encoding::Plain,
            extents_incomplete: false,
        }],
        xattrs: Vec::new(),
        allocation: Allocation::Allocated,
    }
}

/// The result of copying a file with a content of its own, which the store had or had not.
pub(crate) fn stored(inode: u64, is_new: bool) -> StreamResult {
    let content = inode.to_le_bytes();
    StreamResult {
        inode,
        stream: 0,
        outcome: Outcome::Stored {
            blob: BlobHash::of(&content),
            size: 8,
        },
        sha256: None,
        content_type: None,
        is_new,
    }
}

/// User and system time of this process.
pub(crate) fn cpu_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}
