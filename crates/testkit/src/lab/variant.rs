//! Damaged copies of an image, each from a seed, and the promise that a reader keeps on all of them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ntt_filesystem::{Family, ScanOptions, Stop, open};
use ntt_model::{ByteRange, ScanEvent};
use ntt_source::{Masked, ReadAt, ReadError};

use crate::lab::memory::Peak;
use crate::lab::watch::{Budgeted, Bytes, MetadataMap};
use crate::sim_disk::SeededRandom;

/// What a reader may take in memory beyond the image itself.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// 1 to 100 bytes are others, nine in ten of them in metadata.
    Flipped,
    /// The image ends early.
    Cut,
    /// 1 to 8 holes that were never read, mostly in metadata.
    Punched,
}

/// How many variants of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// With other bytes.
    pub flipped: u64,
    /// Cut.
    pub cut: u64,
    /// With holes.
    pub punched: u64,
}

impl Amount {
    /// What the requirement asks for.
    pub const FULL: Self = Self {
        flipped: 500,
        cut: 50,
        punched: 50,
    };

    fn variants(self) -> impl Iterator<Item = (Damage, u64)> {
        let kind = |damage, count| (0..count).map(move |seed| (damage, seed));
        kind(Damage::Flipped, self.flipped)
            .chain(kind(Damage::Cut, self.cut))
            .chain(kind(Damage::Punched, self.punched))
    }
}

/// An image some of whose bytes are others, and perhaps cut.
#[derive(Debug, Clone)]
pub struct Patched<'a> {
    image: &'a [u8],
    len: u64,
    bytes: BTreeMap<u64, u8>,
}

impl ReadAt for Patched<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = u64::try_from(buffer.len()).expect("fits");
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| ReadError::beyond_end(offset, len, self.len))?;
        Bytes(self.image).read_exact_at(offset, buffer)?;
        for (place, byte) in self.bytes.range(offset..end) {
            buffer[usize::try_from(place - offset).expect("fits")] = *byte;
        }
        Ok(())
    }
}

/// The variant of an image with that seed.
pub fn variant<'a>(image: &'a [u8], map: &MetadataMap, damage: Damage, seed: u64) -> Masked<Patched<'a>> {
    let whole = Bytes(image).len();
    let mut dice = Dice {
        random: SeededRandom::new(seed ^ 0x6c61_6200),
        map,
        whole,
    };
    let mut patched = Patched {
        image,
        len: whole,
        bytes: BTreeMap::new(),
    };
    let mut unread = Vec::new();
    match damage {
        Damage::Flipped => patched.bytes = dice.flips(),
        Damage::Cut => patched.len = dice.below(whole),
        Damage::Punched => unread = dice.holes(),
    }
    Masked::new(patched, unread)
}

struct Dice<'a> {
    random: SeededRandom,
    map: &'a MetadataMap,
    whole: u64,
}

impl Dice<'_> {
    fn below(&self, bound: u64) -> u64 {
        self.random.next() % bound.max(1)
    }

    /// A place in metadata, one in ten times anywhere.
    fn place(&self) -> u64 {
        let blocks = &self.map.blocks;
        if blocks.is_empty() || self.below(10) == 0 {
            return self.below(self.whole);
        }
        let block = blocks[self.random.below(blocks.len())];
        (block + self.below(self.map.block_bytes)).min(self.whole - 1)
    }

    fn flips(&mut self) -> BTreeMap<u64, u8> {
        let count = 1 + self.below(100);
        let value = |_| {
            let odd = [0, 1, 0x7f, 0x80, 0xff];
            let byte = self.random.next().to_le_bytes()[0];
            if byte & 1 == 0 {
                byte
            } else {
                odd[self.random.below(odd.len())]
            }
        };
        (0..count).map(|index| (self.place(), value(index))).collect()
    }

    fn holes(&mut self) -> Vec<ByteRange> {
        let count = 1 + self.below(8);
        let mut starts: Vec<u64> = (0..count).map(|_| self.place() / 512 * 512).collect();
        starts.sort_unstable();
        let mut holes: Vec<ByteRange> = Vec::new();
        for start in starts {
            let start = start.max(holes.last().map_or(0, ByteRange::end));
            let len = (512 << self.below(8)).min(self.whole - start);
            if len > 0 {
                holes.push(ByteRange::new(start, len));
            }
        }
        holes
    }
}

/// Scans all variants of an image and holds the reader to its promise (R22): no panic, no more than 40 times the events and reads of the intact
/// image (and some for small ones), at most 256 MiB, a scan that ends without an error once the volume opened, the same events when
/// it is repeated. More than a quarter of the flipped variants must open, or the test hits too hard to show anything.
///
/// # Panics
///
/// If the promise is broken; the message names the variant.
pub fn survives(family: Family, image: &[u8], amount: Amount) {
    let map = MetadataMap::of(family, image);
    let peak = Peak::start();
    let mut opened = 0;
    for (damage, seed) in amount.variants() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let first = events(family, variant(image, &map, damage, seed), &map);
            if seed % 10 == 0 {
                let second = events(family, variant(image, &map, damage, seed), &map);
                assert!(first == second, "a second scan gives other events");
            }
            first.is_some()
        }));
        let Ok(is_open) = outcome else {
            panic!("{family:?}, variant {damage:?} {seed}: see the panic above");
        };
        opened += u64::from(is_open && damage == Damage::Flipped);
    }
    assert!(
        opened * 4 >= amount.flipped,
        "only {opened} variants could be opened"
    );
    peak.check(MEMORY_BYTES_MAX);
}

/// The events of a scan, deleted entries included; `None` if the volume cannot be opened.
fn events(family: Family, image: Masked<Patched<'_>>, map: &MetadataMap) -> Option<Vec<ScanEvent>> {
    let sectors = image.len() / 512 + 1;
    let source = Budgeted::new(image, map.reads * 40 + sectors + 20_000);
    let volume = open(family, Box::new(source), 0).ok()?;
    let bound = usize::try_from(map.events * 40 + 20_000).expect("fits");
    let mut events = Vec::new();
    let mut visit = |event: ScanEvent| {
        assert_eq!(event.impossible_number(), None, "{event:?}");
        if let ScanEvent::Inode(inode) = &event {
            let extents = inode.streams.iter().map(|stream| stream.extents.len());
            let most = usize::try_from(sectors).expect("fits");
            assert!(extents.sum::<usize>() <= most, "more extents than sectors");
        }
        events.push(event);
        if events.len() > bound { Err(Stop) } else { Ok(()) }
    };
    let options = ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    };
    let result = volume.scan(&options, &mut visit);
    assert!(events.len() <= bound, "more than {bound} events");
    result.expect("a volume that opens is scanned to the end");
    let mut last = 0;
    let mut ascending = |range: ByteRange| {
        assert!(range.offset >= last, "allocated runs are in order");
        last = range.end();
    };
    volume.allocated(&mut ascending).expect("told");
    Some(events)
}
