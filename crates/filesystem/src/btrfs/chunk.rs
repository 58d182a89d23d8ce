//! From logical addresses to bytes of this device.
//!
//! All addresses in the trees are logical. The chunk tree cuts the logical space into chunks, each of which lies as stripes on one or several devices.
//! Source: `struct btrfs_chunk` of `btrfs_tree.h`; the arithmetic is that of `btrfs_map_block` in `volumes.c`.

use std::collections::BTreeMap;
use std::ops::Range;

use ntt_source::field::{le_u16, le_u64};

use super::copies::Copies;
use super::key::{KEY_LEN, Key, item};

const HEADER_LEN: usize = 48;
const STRIPE_LEN: usize = 32;
/// Chunks kept: those of data and metadata have 256 MiB and more on devices of some size.
const CHUNKS_MAX: usize = 1 << 18;
/// Stripes of a chunk.
const STRIPES_MAX: usize = 1024;
/// Stripes of all chunks: 64 MiB of memory. Items of a node may share their bytes.
const ALL_STRIPES_MAX: usize = 1 << 22;

/// `btrfs_chunk.type`.
pub(super) mod profile {
    pub(in crate::btrfs) const DATA: u64 = 1;
    pub(in crate::btrfs) const SYSTEM: u64 = 1 << 1;
    pub(in crate::btrfs) const METADATA: u64 = 1 << 2;
    pub(in crate::btrfs) const RAID0: u64 = 1 << 3;
    pub(in crate::btrfs) const RAID1: u64 = 1 << 4;
    pub(in crate::btrfs) const DUP: u64 = 1 << 5;
    pub(in crate::btrfs) const RAID10: u64 = 1 << 6;
    pub(in crate::btrfs) const RAID5: u64 = 1 << 7;
    pub(in crate::btrfs) const RAID6: u64 = 1 << 8;
    pub(in crate::btrfs) const RAID1C3: u64 = 1 << 9;
    pub(in crate::btrfs) const RAID1C4: u64 = 1 << 10;
}

/// A run of a chunk on one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stripe {
    device: u64,
    offset: u64,
}

/// How stripes make a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// Every stripe holds all of it.
    Copies,
    /// Pieces go round; each is held by `copies` stripes that follow each other.
    Striped { copies: u64 },
    /// Pieces and `parity` go round.
    Parity { parity: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) len: u64,
    pub(super) profile: u64,
    stripe_bytes: u64,
    layout: Layout,
    stripes: Vec<Stripe>,
}

/// A stripe on this device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeviceRun {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Where its chunk begins.
    pub(super) logical: u64,
    /// It holds only every so many bytes of its chunk.
    pub(super) is_striped: bool,
}

/// What a logical address means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mapped {
    /// Where it lies on this device, once for every copy; empty if it lies on absent devices only.
    pub(super) places: Vec<u64>,
    /// Bytes that follow on in all places.
    pub(super) len: u64,
}

/// How far the pieces of a run were told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Whole,
    /// To where no chunk holds it, or where what is on this device lies beyond its end.
    Part,
    /// To the last piece that was asked for.
    TooMany,
}

impl Chunk {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let count = usize::from(le_u16(bytes, 44)?);
        let stripes = bytes.get(HEADER_LEN..)?.chunks_exact(STRIPE_LEN).take(count);
        let stripes: Vec<_> = stripes
            .filter_map(|stripe| {
                Some(Stripe {
                    device: le_u64(stripe, 0)?,
                    offset: le_u64(stripe, 8)?,
                })
            })
            .collect();
        let profile = le_u64(bytes, 24)?;
        let stripe_bytes = le_u64(bytes, 16)?;
        let copies = u64::from(le_u16(bytes, 46)?).max(1);
        let layout = if profile & (profile::RAID5 | profile::RAID6) != 0 {
            let parity = if profile & profile::RAID5 != 0 { 1 } else { 2 };
            Layout::Parity { parity }
        } else if profile & profile::RAID10 != 0 {
            Layout::Striped { copies }
        } else if profile & profile::RAID0 != 0 {
            Layout::Striped { copies: 1 }
        } else {
            Layout::Copies
        };
        // What goes round one group only stays where it is.
        let layout = match layout {
            Layout::Striped { copies } if usize::try_from(copies) == Ok(count) => Layout::Copies,
            layout => layout,
        };
        let is_sound = (1..=STRIPES_MAX).contains(&count) && stripes.len() == count && stripe_bytes >= 512;
        is_sound.then_some(Self {
            len: le_u64(bytes, 0)?,
            profile,
            stripe_bytes,
            layout,
            stripes,
        })
    }

    /// Where byte `within` of the chunk lies on `device`.
    pub(super) fn map(&self, within: u64, device: u64) -> Option<Mapped> {
        let left = self.len.checked_sub(within).filter(|left| *left > 0)?;
        let here = |stripes: &[Stripe], offset: u64| {
            let mine = stripes.iter().filter(|stripe| stripe.device == device);
            mine.filter_map(|stripe| stripe.offset.checked_add(offset))
                .collect()
        };
        if self.stripes.iter().all(|stripe| stripe.device != device) {
            return Some(Mapped {
                places: Vec::new(),
                len: left,
            });
        }
        let count = u64::try_from(self.stripes.len()).ok()?;
        let number = within.checked_div(self.stripe_bytes)?;
        let rest = within.checked_rem(self.stripe_bytes)?;
        let len = self.stripe_bytes.checked_sub(rest)?.min(left);
        let (row, first, copies) = match self.layout {
            Layout::Copies => {
                return Some(Mapped {
                    places: here(&self.stripes, within),
                    len: left,
                });
            }
            Layout::Striped { copies } => {
                let groups = count.checked_div(copies)?;
                let group = number.checked_rem(groups)?;
                (number.checked_div(groups)?, group.checked_mul(copies)?, copies)
            }
            Layout::Parity { parity } => {
                let data = count.checked_sub(parity)?;
                let row = number.checked_div(data)?;
                let index = row.checked_add(number.checked_rem(data)?)?.checked_rem(count)?;
                (row, index, 1)
            }
        };
        let first = usize::try_from(first).ok()?;
        let stripes = self
            .stripes
            .get(first..first.checked_add(usize::try_from(copies).ok()?)?)?;
        let offset = row.checked_mul(self.stripe_bytes)?.checked_add(rest)?;
        Some(Mapped {
            places: here(stripes, offset),
            len,
        })
    }

    /// Bytes that each of its stripes has.
    fn bytes_per_stripe(&self) -> u64 {
        let count = u64::try_from(self.stripes.len()).unwrap_or(1);
        let parts = match self.layout {
            Layout::Copies => 1,
            Layout::Striped { copies } => count.checked_div(copies).unwrap_or(1),
            Layout::Parity { parity } => count.saturating_sub(parity),
        };
        self.len.checked_div(parts).unwrap_or(self.len)
    }

    /// Whether it has stripes on other devices than `device`.
    pub(super) fn is_partly_absent(&self, device: u64) -> bool {
        self.stripes.iter().any(|stripe| stripe.device != device)
    }

    pub(super) fn is_metadata(&self) -> bool {
        self.profile & (profile::METADATA | profile::SYSTEM) != 0
    }

    pub(super) fn profile_name(&self) -> &'static str {
        const NAMES: [(u64, &str); 8] = [
            (profile::RAID0, "raid0"),
            (profile::RAID1, "raid1"),
            (profile::DUP, "dup"),
            (profile::RAID10, "raid10"),
            (profile::RAID5, "raid5"),
            (profile::RAID6, "raid6"),
            (profile::RAID1C3, "raid1c3"),
            (profile::RAID1C4, "raid1c4"),
        ];
        let name = NAMES.iter().find(|(bit, _)| self.profile & bit != 0);
        name.map_or("single", |(_, name)| name)
    }
}

/// All chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkMap {
    chunks: BTreeMap<u64, Chunk>,
    /// Stripes of all of them.
    stripes: usize,
    device: u64,
}

impl ChunkMap {
    /// No chunks yet; `device` is the one whose bytes there are.
    pub(super) fn new(device: u64) -> Self {
        Self {
            device,
            ..Self::default()
        }
    }

    /// The chunks of the superblock: keys, each followed by its chunk.
    pub(super) fn system(bytes: &[u8], device: u64) -> Self {
        let mut map = Self::new(device);
        let mut rest = bytes;
        while let Some(key) = Key::parse(rest, 0).filter(|key| key.kind == item::CHUNK) {
            let Some(body) = rest.get(KEY_LEN..) else { break };
            if !map.add(key.offset, body) {
                break;
            }
            let count = le_u16(body, 44).map_or(0, usize::from);
            let len = HEADER_LEN.saturating_add(count.saturating_mul(STRIPE_LEN));
            rest = body.get(len..).unwrap_or_default();
        }
        map
    }

    /// Adds the chunk that begins at `logical`; false if it makes no sense or there are too many.
    pub(super) fn add(&mut self, logical: u64, item: &[u8]) -> bool {
        let chunk = Chunk::parse(item).filter(|chunk| logical.checked_add(chunk.len).is_some());
        chunk.is_some_and(|chunk| self.insert(logical, chunk))
    }

    fn insert(&mut self, logical: u64, chunk: Chunk) -> bool {
        let stripes = self.stripes.saturating_add(chunk.stripes.len());
        if self.chunks.len() >= CHUNKS_MAX || stripes > ALL_STRIPES_MAX {
            return false;
        }
        let before = self.chunks.insert(logical, chunk);
        self.stripes = stripes.saturating_sub(before.map_or(0, |chunk| chunk.stripes.len()));
        true
    }

    /// Adds the chunks of another map, which are right where both have one; how many are too many.
    pub(super) fn append(&mut self, other: Self) -> usize {
        let mut left_out = 0_usize;
        for (logical, chunk) in other.chunks {
            if !self.insert(logical, chunk) {
                left_out = left_out.saturating_add(1);
            }
        }
        left_out
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        self.chunks.iter().map(|(logical, chunk)| (*logical, chunk))
    }

    /// Every chunk with the bytes of it that are mapped by it: up to the next one at most.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u64, u64, &Chunk)> {
        let nexts = self.chunks.keys().skip(1).copied().chain([u64::MAX]);
        self.iter().zip(nexts).map(|((logical, chunk), next)| {
            let len = chunk.len.min(next.saturating_sub(logical));
            (logical, len, chunk)
        })
    }

    /// What lies on this device, in the order in which it lies there.
    pub(super) fn device_runs(&self) -> Vec<DeviceRun> {
        let mut runs: Vec<_> = self
            .chunks
            .iter()
            .flat_map(|(logical, chunk)| {
                let mine = chunk.stripes.iter().filter(|stripe| stripe.device == self.device);
                mine.map(|stripe| DeviceRun {
                    offset: stripe.offset,
                    len: chunk.bytes_per_stripe(),
                    logical: *logical,
                    is_striped: chunk.layout != Layout::Copies,
                })
            })
            .collect();
        runs.sort_by_key(|run| (run.offset, run.logical));
        runs
    }

    /// Where `logical` lies; `None` if no chunk holds it.
    pub(super) fn map(&self, logical: u64) -> Option<Mapped> {
        self.mapped(logical).map(|(mapped, _)| mapped)
    }

    /// Where `logical` lies, and whether its chunk goes round.
    fn mapped(&self, logical: u64) -> Option<(Mapped, bool)> {
        let (start, chunk) = self.chunks.range(..=logical).next_back()?;
        let mapped = chunk.map(logical.checked_sub(*start)?, self.device)?;
        Some((mapped, chunk.layout != Layout::Copies))
    }

    /// Data chunks of which everything is on this device more than once, by their logical addresses.
    pub(super) fn mirrored(&self) -> Vec<Range<u64>> {
        let shares = self.shares().filter(|(_, _, chunk)| {
            let here = chunk.stripes.iter().filter(|stripe| stripe.device == self.device);
            let has_copies = !matches!(
                chunk.layout,
                Layout::Parity { .. } | Layout::Striped { copies: 1 }
            );
            chunk.profile & profile::DATA != 0 && has_copies && here.count() > 1
        });
        shares
            .map(|(logical, len, _)| logical..logical.saturating_add(len))
            .collect()
    }

    /// Calls `each` with the place to read (if there is one here) and the length of every piece of a run, in its order, until there were `pieces_max`. How
    /// far they were told, and how many there were. It is the first place but where `copies` say otherwise.
    ///
    /// Pieces go round for as long as a chunk claims to be, so the first one that lies beyond `device_len` is the last one told of a striped chunk.
    pub(super) fn pieces(
        &self,
        (logical, len): (u64, u64),
        copies: &Copies,
        (device_len, pieces_max): (u64, u64),
        each: &mut dyn FnMut(Option<u64>, u64),
    ) -> (Told, u64) {
        let (mut logical, mut left) = (logical, len);
        let mut pieces = 0_u64;
        while left > 0 {
            let Some((mapped, is_striped)) = self.mapped(logical) else {
                return (Told::Part, pieces);
            };
            if pieces >= pieces_max {
                return (Told::TooMany, pieces);
            }
            pieces = pieces.saturating_add(1);
            let (copy, same) = copies.at(logical);
            let part = mapped.len.min(left).min(same);
            let place = mapped.places.get(copy).or(mapped.places.first()).copied();
            each(place, part);
            left = left.saturating_sub(part);
            let is_beyond = is_striped && place.is_some_and(|place| place >= device_len);
            let Some(next) = logical.checked_add(part).filter(|_| part > 0 && !is_beyond) else {
                let told = if left > 0 { Told::Part } else { Told::Whole };
                return (told, pieces);
            };
            logical = next;
        }
        (Told::Whole, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(profile: u64, stripes: &[(u64, u64)], sub: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(1_u64 << 20).to_le_bytes());
        bytes.extend_from_slice(&2_u64.to_le_bytes());
        bytes.extend_from_slice(&65_536_u64.to_le_bytes());
        bytes.extend_from_slice(&profile.to_le_bytes());
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&u16::try_from(stripes.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&sub.to_le_bytes());
        for (device, offset) in stripes {
            bytes.extend_from_slice(&device.to_le_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&[0; 16]);
        }
        bytes
    }

    fn map(profile: u64, stripes: &[(u64, u64)], sub: u16) -> ChunkMap {
        let mut map = ChunkMap {
            device: 1,
            ..ChunkMap::default()
        };
        assert!(map.add(1 << 30, &chunk(profile, stripes, sub)));
        map
    }

    fn places(map: &ChunkMap, within: u64) -> (Vec<u64>, u64) {
        let mapped = map.map((1 << 30) + within).expect("mapped");
        (mapped.places, mapped.len)
    }

    #[test]
    fn copies_hold_everything() {
        let dup = map(profile::DUP, &[(1, 0x10_0000), (1, 0x90_0000)], 1);
        assert_eq!(places(&dup, 5), (vec![0x10_0005, 0x90_0005], (1 << 20) - 5));
        let mirrored = map(profile::RAID1, &[(2, 0x10_0000), (1, 0x90_0000)], 1);
        assert_eq!(places(&mirrored, 0).0, [0x90_0000]);
        assert_eq!(mirrored.map((1 << 30) + (1 << 20)), None);
        assert_eq!(mirrored.map(5), None);
    }

    #[test]
    fn pieces_of_stripes_go_round() {
        let striped = map(profile::RAID0, &[(1, 0), (2, 0)], 1);
        assert_eq!(places(&striped, 65_536 + 9), (vec![], 65_527));
        assert_eq!(places(&striped, 2 * 65_536 + 9), (vec![65_545], 65_527));
        let both = map(profile::RAID10, &[(2, 0), (3, 0), (1, 0), (4, 0)], 2);
        assert_eq!(places(&both, 65_536 * 3).0, [65_536]);
        // Two of data and one of parity: the second row begins on the second device.
        let parity = map(profile::RAID5, &[(2, 0), (1, 0), (3, 0)], 1);
        assert_eq!(places(&parity, 65_536).0, [0]);
        assert_eq!(places(&parity, 65_536 * 2).0, [65_536]);
        assert_eq!(places(&parity, 65_536 * 3).0, [] as [u64; 0]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut chunks = ChunkMap::default();
        assert!(!chunks.add(0, &chunk(0, &[], 1)));
        assert!(!chunks.add(u64::MAX, &chunk(0, &[(1, 0)], 1)));
        assert!(!chunks.add(0, &[0; 20]));
        assert!(chunks.map(0).is_none());
        let odd = map(profile::RAID10, &[(1, 0)], 7);
        assert_eq!(odd.map(1 << 30), None);
    }

    #[test]
    fn the_superblock_holds_keys_and_chunks() {
        let mut bytes = Vec::new();
        for logical in [1_u64 << 20, 1 << 24] {
            bytes.extend_from_slice(&256_u64.to_le_bytes());
            bytes.push(item::CHUNK);
            bytes.extend_from_slice(&logical.to_le_bytes());
            bytes.extend_from_slice(&chunk(profile::DUP, &[(1, logical), (1, 0)], 1));
        }
        let map = ChunkMap::system(&bytes, 1);
        assert_eq!(map.iter().count(), 2);
        let mut seen = Vec::new();
        let told = map.pieces(
            (1 << 20, 4096),
            &Copies::default(),
            (u64::MAX, 1),
            &mut |place, len| {
                seen.push((place, len));
            },
        );
        assert_eq!(told, (Told::Whole, 1));
        assert_eq!(seen, [(Some(1 << 20), 4096)]);
    }

    /// A run of 2^60 bytes in stripes of 512 bytes has 2^51 pieces.
    #[test]
    fn r22_pieces_of_an_endless_chunk_end() {
        let endless = |stripes: &[(u64, u64)]| {
            let mut bytes = chunk(profile::RAID0, stripes, 1);
            bytes[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
            bytes[16..24].copy_from_slice(&512_u64.to_le_bytes());
            let mut map = ChunkMap::new(1);
            assert!(map.add(0, &bytes));
            map
        };
        let told = |map: &ChunkMap, device_len, max| {
            map.pieces(
                (0, 1 << 60),
                &Copies::default(),
                (device_len, max),
                &mut |_, _| (),
            )
        };
        let two = endless(&[(1, 0), (2, 0)]);
        assert_eq!(told(&two, 1 << 20, u64::MAX), (Told::Part, 4097));
        assert_eq!(told(&two, u64::MAX, 100), (Told::TooMany, 100));
        assert_eq!(told(&endless(&[(1, 0)]), 1 << 20, u64::MAX), (Told::Whole, 1));
        let absent = endless(&[(2, 0), (3, 0)]);
        assert_eq!(told(&absent, 1 << 20, u64::MAX), (Told::Whole, 1));
    }

    /// 2^18 chunks of 1024 stripes would take 4 GiB.
    #[test]
    fn r22_stripes_of_all_chunks_are_bounded() {
        let stripes = vec![(1, 0); STRIPES_MAX];
        let bytes = chunk(0, &stripes, 1);
        let mut map = ChunkMap::new(1);
        let chunks = u64::try_from(ALL_STRIPES_MAX / STRIPES_MAX).unwrap();
        assert!((0..chunks).all(|number| map.add(number, &bytes)));
        assert!(!map.add(chunks, &bytes));
        assert_eq!(map.append(ChunkMap::system(&[], 1)), 0);
    }
}
