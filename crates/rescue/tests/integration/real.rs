//! The real device and the real kernel: a faulty file through FUSE, and a loop device over it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ntt_host::{RealDisk, SystemClock};
use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_rescue::Paths;
use ntt_rescue::device::Device;
use ntt_rescue::engine::Outcome;
use ntt_rescue::merge;
use ntt_rescue::monitor::Monitor;
use ntt_rescue::policy::Policy;
use ntt_rescue::real::RealDevice;
use ntt_rescue::record::Record;
use ntt_rescue::session::{self, Request, World};
use ntt_rescue::sink::OpenOptions;
use ntt_rescue::watch::SystemStopwatch;
use ntt_testkit::faulty::{Cost, FaultyMedium};
use ntt_testkit::faulty_file::FaultyFile;
use ntt_testkit::loop_device::LoopDevice;

/// A medium that fails slowly enough to be told from one that is gone.
fn medium(size_bytes: u64) -> FaultyMedium {
    FaultyMedium::new(size_bytes, 21).costing(Cost {
        bytes_per_second: 2_000_000_000,
        per_read: Duration::ZERO,
        per_failure: Duration::from_millis(1),
    })
}

fn rescue(source: &Path, image: &Path) -> Record {
    let mut device = RealDevice::open(source).expect("a source");
    let request = Request {
        source: source.display().to_string(),
        paths: Paths::new(image, None),
        policy: Policy::default(),
        options: OpenOptions {
            background: true,
            accept_size: false,
            accept_space: false,
        },
        priority: Vec::new(),
        sha256: true,
    };
    let world = World {
        disk: Arc::new(RealDisk),
        device: &mut device,
        clock: &SystemClock,
        watch: &SystemStopwatch::start(),
        monitor: &Monitor::new(),
        advisor: None,
    };
    session::run(world, &request).expect("the target is fine")
}

fn map_of(image: &Path) -> Mapfile {
    let bytes = std::fs::read(Paths::new(image, None).map).expect("a map");
    Mapfile::parse(&bytes).expect("our map")
}

fn content(medium: &FaultyMedium) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(medium.size_bytes()).expect("small")];
    medium.content(0, &mut bytes);
    bytes
}

/// R9: direct reads; exactly the bad sectors are lost, on a file whose size is no multiple of a sector.
#[test]
fn r9_a_faulty_file_loses_its_bad_sectors_and_nothing_else() {
    let size = (8 << 20) + 300;
    let bad = [(77_777 / 512) * 512, 4 << 20, size - 300].map(|at| ByteRange::new(at, 300.min(size - at)));
    let bad = bad.map(|range| ByteRange::new(range.offset, 512.min(size - range.offset)));
    let medium = bad.iter().fold(medium(size), |medium, range| medium.bad(*range));
    let expected = content(&medium);
    let Some(file) = FaultyFile::mount(medium, true) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("image");
    let record = rescue(file.path(), &image);
    assert_eq!(record.outcome, Outcome::Done);
    assert_eq!(map_of(&image).runs(Status::BadSector).collect::<Vec<_>>(), bad);
    let mut expected = expected;
    for range in bad {
        expected[range.offset as usize..range.end() as usize].fill(0);
    }
    let found = std::fs::read(&image).expect("an image");
    assert!(found == expected, "every other byte is there");
    assert_eq!(record.blake3, blake3::hash(&found).to_hex().as_str());
    let sum = Command::new("sha256sum").arg(&image).output().expect("sha256sum");
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(&record.sha256.expect("asked for")));
}

/// R9: five bad sectors of a disc cost five sectors of 2048 bytes: 10,240 bytes.
#[test]
fn r9_five_bad_sectors_of_2048_bytes_cost_10240_bytes() {
    let size = 16 << 20;
    let medium = medium(size).lone_bad_sectors(5, ByteRange::new(0, size), 2048, 8);
    let bad = medium.bad_ranges().to_vec();
    let Some(file) = FaultyFile::mount(medium, true) else {
        return;
    };
    let Some(device) = LoopDevice::over(file.path(), 2048) else {
        return;
    };
    let geometry = RealDevice::open(device.path()).expect("a device").geometry();
    assert_eq!((geometry.sector_bytes, geometry.size_bytes), (2048, size));
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("image");
    let record = rescue(device.path(), &image);
    assert_eq!(record.health.missing_bytes, 10_240);
    assert_eq!(map_of(&image).runs(Status::BadSector).collect::<Vec<_>>(), bad);
}

/// A file system that is mounted is not rescued from under its users.
#[test]
fn a_mounted_source_is_refused() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let Some(device) = mounts
        .lines()
        .filter_map(|line| line.split(' ').next())
        .find(|device| device.starts_with("/dev/") && std::fs::File::open(device).is_ok())
    else {
        eprintln!("skipped: no mounted block device that may be opened here");
        return;
    };
    let error = RealDevice::open(Path::new(device)).expect_err("it is mounted");
    assert!(error.to_string().contains("mounted at"), "{error}");
}

/// Two attempts at one medium: each has what the other lacks, and where a drive lied it shows.
#[test]
fn two_images_make_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let size = 4 << 20;
    let content = content(&medium(size));
    let half = ByteRange::new(0, size / 2);
    let rest = ByteRange::new(size / 2 - 4096, size / 2 + 4096);
    for (name, range) in [("one", half), ("two", rest)] {
        let paths = Paths::new(&directory.path().join(name), None);
        let mut image = vec![0; size as usize];
        let (start, end) = (range.offset as usize, range.end() as usize);
        image[start..end].copy_from_slice(&content[start..end]);
        if name == "two" {
            image[size as usize / 2 - 1] ^= 1;
        }
        let mut map = Mapfile::untried(size);
        map.set(range, Status::Finished).expect("few blocks");
        std::fs::write(&paths.image, image).expect("written");
        std::fs::write(&paths.map, map.to_bytes()).expect("written");
    }
    let paths = |name: &str| Paths::new(&directory.path().join(name), None);
    let disk: Arc<dyn ntt_host::Disk> = Arc::new(RealDisk);
    let inputs = [paths("one"), paths("two")];
    let merged = merge::merge(&disk, &inputs, &paths("both"), &SystemClock).expect("a merge");
    assert_eq!(merged.health.missing_bytes, 0);
    assert_eq!(merged.contributions[0].ranges, [half]);
    assert_eq!(
        merged.contributions[1].ranges,
        [ByteRange::new(size / 2, size / 2)]
    );
    assert_eq!(
        merged.contributions[1].differing,
        [ByteRange::new(size / 2 - 512, 512)]
    );
    assert_eq!(merged.contributions[1].differing_bytes, 512);
    assert_eq!(std::fs::read(paths("both").image).expect("an image"), content);
    assert_eq!(merged.blake3, blake3::hash(&content).to_hex().as_str());
    let error = merge::merge(&disk, &inputs, &paths("both"), &SystemClock).expect_err("it exists");
    assert!(error.to_string().contains("exists"), "{error}");
}
