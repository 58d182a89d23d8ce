//! R22: 500 images with flipped bytes and 50 cut ones of every format end without a panic, within a bounded number of events.

use std::collections::BTreeMap;
use std::ops::Range;

use ntt_filesystem::{FileSystem, ScanOptions, Stop, ext, fat, iso9660, udf};
use ntt_model::ScanEvent;
use ntt_source::{ReadAt, ReadError};
use ntt_testkit::udf::{Layout, Options, build, corpus};

use crate::ext_damage::small_tree;
use crate::ext_image::Image;
use crate::fat_made::{FAT12, FAT16, FAT32, Made};
use crate::iso9660::{made, sample_tree};

const FLIPPED: u64 = 500;
const CUT: u64 = 50;

/// An image with some bytes changed, and perhaps cut.
struct Mutated<'a> {
    image: &'a [u8],
    len: u64,
    bytes: BTreeMap<u64, u8>,
}

impl ReadAt for Mutated<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = u64::try_from(buffer.len()).expect("fits");
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| ReadError::beyond_end(offset, len, self.len))?;
        let at = |offset: u64| usize::try_from(offset).expect("fits");
        buffer.copy_from_slice(&self.image[at(offset)..at(end)]);
        for (place, byte) in self.bytes.range(offset..end) {
            buffer[at(place - offset)] = *byte;
        }
        Ok(())
    }
}

/// A small generator of reproducible numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

type Open = for<'a> fn(Mutated<'a>) -> Result<Box<dyn FileSystem + 'a>, ntt_filesystem::Error>;

/// An image, how to open it, and the sectors that are not all zeros: where structures are.
struct Subject {
    image: Vec<u8>,
    open: Open,
    sectors: Vec<Range<u64>>,
}

impl Subject {
    fn new(image: Vec<u8>, open: Open, metadata_end: usize) -> Self {
        let sectors = image[..metadata_end.min(image.len())]
            .chunks(512)
            .zip((0..).step_by(512));
        let used = sectors.filter(|(sector, _)| sector.iter().any(|byte| *byte != 0));
        Self {
            sectors: used.map(|(_, at)| at..at + 512).collect(),
            image,
            open,
        }
    }

    fn mutated(&self, seed: u64, is_cut: bool) -> Mutated<'_> {
        let mut numbers = Numbers(seed);
        let whole = u64::try_from(self.image.len()).expect("fits");
        let len = if is_cut { numbers.next() % whole } else { whole };
        let count = if is_cut { 0 } else { 1 + numbers.next() % 100 };
        let mut bytes = BTreeMap::new();
        for _ in 0..count {
            let pick = numbers.next() % u64::try_from(self.sectors.len()).expect("fits");
            let at = self.sectors[usize::try_from(pick).expect("fits")].start + numbers.next() % 512;
            bytes.insert(at, numbers.next().to_le_bytes()[0]);
        }
        Mutated {
            image: &self.image,
            len,
            bytes,
        }
    }

    /// Events of a scan, deleted entries included; stops the scan at `bound`. `None` if the volume cannot be opened.
    fn events(&self, image: Mutated<'_>, bound: u64) -> Option<u64> {
        let volume = (self.open)(image).ok()?;
        let options = ScanOptions {
            deleted: true,
            ..ScanOptions::default()
        };
        let mut events = 0;
        let mut visit = |event: ScanEvent| {
            events += 1;
            if let ScanEvent::Inode(inode) = &event {
                let extents = inode
                    .streams
                    .iter()
                    .map(|stream| stream.extents.len())
                    .sum::<usize>();
                assert!(extents <= self.image.len() / 512, "more extents than sectors");
            }
            if events > bound { Err(Stop) } else { Ok(()) }
        };
        let result = volume.scan(&options, &mut visit);
        assert!(events <= bound, "more than {bound} events");
        result.expect("a volume that opens is scanned to the end");
        volume.allocated(&mut |_| ()).expect("told");
        Some(events)
    }

    fn survives(&self) {
        let untouched = Mutated {
            image: &self.image,
            len: u64::try_from(self.image.len()).expect("fits"),
            bytes: BTreeMap::new(),
        };
        let clean = self.events(untouched, u64::MAX).expect("opens");
        let mut opened = 0;
        for (seed, is_cut) in (0..FLIPPED)
            .map(|seed| (seed, false))
            .chain((0..CUT).map(|seed| (seed, true)))
        {
            let events = self.events(self.mutated(seed, is_cut), clean * 40 + 20_000);
            opened += u64::from(events.is_some());
        }
        assert!(
            opened > FLIPPED / 2,
            "only {opened} could be opened: the test hits too hard"
        );
    }
}

fn fat_survives(mkfs: &[&str], metadata_end: usize) {
    if let Some(made) = Made::new(mkfs) {
        Subject::new(made.image(), |image| fat::open(Box::new(image), 0), metadata_end).survives();
    }
}

#[test]
fn r22_mutated_fat12() {
    fat_survives(FAT12, 60_000);
}

#[test]
fn r22_mutated_fat16() {
    fat_survives(FAT16, 120_000);
}

#[test]
fn r22_mutated_fat32() {
    fat_survives(FAT32, 760_000);
}

fn ext_survives(arguments: &[&str]) {
    if let Some(image) = Image::new(arguments, "4M", small_tree) {
        Subject::new(image.bytes(), |image| ext::open(Box::new(image), 0), usize::MAX).survives();
    }
}

#[test]
fn r22_mutated_ext2() {
    ext_survives(&["-t", "ext2", "-b", "1024"]);
}

#[test]
fn r22_mutated_ext3() {
    ext_survives(&["-t", "ext3", "-b", "1024"]);
}

#[test]
fn r22_mutated_ext4() {
    ext_survives(&["-t", "ext4", "-b", "1024", "-O", "inline_data"]);
}

fn disc_survives(arguments: &[&str]) {
    let tree = sample_tree();
    if let Some(disc) = made("xorriso", arguments, &tree.path().join("tree")) {
        Subject::new(disc, |image| iso9660::open(Box::new(image), 0), usize::MAX).survives();
    }
}

#[test]
fn r22_mutated_rock_ridge() {
    disc_survives(&["-R"]);
}

#[test]
fn r22_mutated_joliet() {
    disc_survives(&["-J", "-joliet-long"]);
}

/// Bytes are flipped in the structures of the partition and before it.
fn udf_survives(options: Options) {
    let options = Options {
        block_bytes: 512,
        ..options
    };
    let built = build(&corpus(20, 512), options);
    let mut subject = Subject::new(built.bytes, |image| udf::open(Box::new(image), 0), usize::MAX);
    let is_structure = |range: &Range<u64>| {
        range.start < built.partition_offset || built.structures.binary_search(&range.start).is_ok()
    };
    subject.sectors.retain(is_structure);
    subject.survives();
}

#[test]
fn r22_mutated_udf() {
    udf_survives(Options::default());
}

#[test]
fn r22_mutated_udf_with_sparing() {
    udf_survives(Options {
        layout: Layout::Spared,
        embed: true,
        ..Options::default()
    });
}

#[test]
fn r22_mutated_udf_with_a_virtual_table() {
    udf_survives(Options {
        layout: Layout::Virtual,
        replaced: true,
        ..Options::default()
    });
}

#[test]
fn r22_mutated_udf_with_metadata() {
    udf_survives(Options {
        layout: Layout::Metadata,
        extended: true,
        fragment_blocks: 1,
        ..Options::default()
    });
}
