//! A medium with faults, as rules: what a read gives and how long it takes. Pure; a virtual clock or a FUSE file stands around it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ntt_model::ByteRange;

use crate::sim_disk::SeededRandom;

/// The error of a failed read (errno EIO).
pub const EIO: i32 = 5;
/// The error of a device that is not there any more (errno ENXIO).
pub const ENXIO: i32 = 6;

/// What the model's medium costs: 50 MB/s, 0.1 ms a read, 75 ms a failed read.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Transfer rate.
    pub bytes_per_second: u64,
    /// Every read.
    pub per_read: Duration,
    /// A failed read.
    pub per_failure: Duration,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            bytes_per_second: 50_000_000,
            per_read: Duration::from_micros(100),
            per_failure: Duration::from_millis(75),
        }
    }
}

/// A range that fails a few times and then comes.
#[derive(Debug, Clone)]
struct Flaky {
    range: ByteRange,
    failures_left: u32,
}

/// One read, as it happened.
#[derive(Debug, Clone, Copy)]
pub struct ReadRecord {
    /// When it began, from the medium's beginning, in the time of whoever drives the rules.
    pub at: Duration,
    /// What was asked for.
    pub range: ByteRange,
    /// Whether it came.
    pub good: bool,
}

/// When a device goes away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vanishing {
    /// After so many failed reads.
    pub after_failures: Option<u64>,
    /// After so many reads.
    pub after_reads: Option<u64>,
    /// What it then answers; [`EIO`] is the nasty case.
    pub errno: i32,
}

/// A medium of `size_bytes` whose content follows from its seed, with faults in places.
#[derive(Debug)]
pub struct FaultyMedium {
    size_bytes: u64,
    cost: Cost,
    pattern: Vec<u8>,
    zeros: Vec<ByteRange>,
    /// Holds the content instead of the pattern.
    image: Option<File>,
    bad: Vec<ByteRange>,
    slow: Vec<(ByteRange, u64)>,
    flaky: Vec<Flaky>,
    hangs: Vec<(ByteRange, Duration)>,
    vanishing: Option<Vanishing>,
    gone: bool,
    reads: u64,
    failures: u64,
    log: Vec<ReadRecord>,
}

/// Length of the pattern that the content repeats, each time with its number in it.
const PATTERN_BYTES: usize = 64 << 10;

impl FaultyMedium {
    /// A medium without faults.
    pub fn new(size_bytes: u64, seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let pattern = (0..PATTERN_BYTES / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        Self {
            size_bytes,
            cost: Cost::default(),
            pattern,
            zeros: Vec::new(),
            image: None,
            bad: Vec::new(),
            slow: Vec::new(),
            flaky: Vec::new(),
            hangs: Vec::new(),
            vanishing: None,
            gone: false,
            reads: 0,
            failures: 0,
            log: Vec::new(),
        }
    }

    /// With other costs.
    #[must_use]
    pub fn costing(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Nothing in `range` can be read. Ranges must come in ascending order.
    #[must_use]
    pub fn bad(mut self, range: ByteRange) -> Self {
        self.bad.push(range);
        self
    }

    /// The content is that of a file at least as long as the medium.
    #[must_use]
    pub fn holding(mut self, image: File) -> Self {
        self.image = Some(image);
        self
    }

    /// `range` holds zeros.
    #[must_use]
    pub fn zeros(mut self, range: ByteRange) -> Self {
        self.zeros.push(range);
        self
    }

    /// `count` lone bad sectors in `window`, none next to another.
    #[must_use]
    pub fn lone_bad_sectors(mut self, count: usize, window: ByteRange, sector: u64, seed: u64) -> Self {
        for sector in scattered(count, window, sector, seed) {
            self.bad.push(sector);
        }
        self
    }

    /// `count` sectors that fail 1, 2 or 4 times in turn and then come.
    #[must_use]
    pub fn flaky_sectors(mut self, count: usize, window: ByteRange, sector: u64, seed: u64) -> Self {
        for (range, failures_left) in scattered(count, window, sector, seed)
            .into_iter()
            .zip([1, 2, 4].into_iter().cycle())
        {
            self.flaky.push(Flaky { range, failures_left });
        }
        self
    }

    /// `range` is read with so many bytes a second.
    #[must_use]
    pub fn slow(mut self, range: ByteRange, bytes_per_second: u64) -> Self {
        self.slow.push((range, bytes_per_second));
        self
    }

    /// The first read that touches `range` takes so much longer.
    #[must_use]
    pub fn hangs(mut self, range: ByteRange, longer: Duration) -> Self {
        self.hangs.push((range, longer));
        self
    }

    /// The device goes away.
    #[must_use]
    pub fn vanishing(mut self, vanishing: Vanishing) -> Self {
        self.vanishing = Some(vanishing);
        self
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What goes bad: all bad ranges, ascending.
    pub fn bad_ranges(&self) -> &[ByteRange] {
        &self.bad
    }

    /// Whether the device has gone away.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The device is there again, and stays.
    pub fn come_back(&mut self) {
        self.gone = false;
        self.vanishing = None;
    }

    /// Every read so far.
    pub fn log(&self) -> &[ReadRecord] {
        &self.log
    }

    /// Number of failed reads so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The bytes of the medium from `offset`, whether they can be read or not.
    pub fn content(&self, offset: u64, buffer: &mut [u8]) {
        if let Some(image) = &self.image {
            image
                .read_exact_at(buffer, offset)
                .expect("the image is as long as the medium");
            return;
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let position = offset + filled as u64;
            let within = (position % PATTERN_BYTES as u64) as usize;
            let len = (PATTERN_BYTES - within).min(buffer.len() - filled);
            buffer[filled..filled + len].copy_from_slice(&self.pattern[within..within + len]);
            stamp(&mut buffer[filled..filled + len], position);
            filled += len;
        }
        let all = ByteRange::new(offset, buffer.len() as u64);
        for part in self.zeros.iter().filter_map(|zeros| zeros.intersection(&all)) {
            let start = (part.offset - offset) as usize;
            buffer[start..start + part.len as usize].fill(0);
        }
    }

    /// Reads; what came and how long it took. `now` is only for the log.
    pub fn read(&mut self, now: Duration, range: ByteRange) -> (Result<(), i32>, Duration) {
        let (result, latency) = self.outcome(range);
        self.reads += 1;
        self.failures += u64::from(result.is_err());
        self.log.push(ReadRecord {
            at: now,
            range,
            good: result.is_ok(),
        });
        (result, latency)
    }

    fn outcome(&mut self, range: ByteRange) -> (Result<(), i32>, Duration) {
        if let Some(errno) = self.vanish() {
            return (Err(errno), Duration::from_micros(20));
        }
        let mut latency = self.cost.per_read;
        if let Some(at) = self
            .hangs
            .iter()
            .position(|(place, _)| place.intersection(&range).is_some())
        {
            latency += self.hangs.remove(at).1;
        }
        if self.fails(range) {
            return (Err(EIO), latency + self.cost.per_failure);
        }
        (Ok(()), latency + self.transfer(range))
    }

    fn vanish(&mut self) -> Option<i32> {
        let vanishing = self.vanishing?;
        let reached = |limit: Option<u64>, count| limit.is_some_and(|limit| count >= limit);
        self.gone |=
            reached(vanishing.after_failures, self.failures) || reached(vanishing.after_reads, self.reads);
        self.gone.then_some(vanishing.errno)
    }

    fn fails(&mut self, range: ByteRange) -> bool {
        let first = self.bad.partition_point(|bad| bad.end() <= range.offset);
        if self.bad.get(first).is_some_and(|bad| bad.offset < range.end()) {
            return true;
        }
        // The medium gives up at the first sector that does not come.
        let mut flaky = self.flaky.iter_mut();
        let failing =
            flaky.find(|flaky| flaky.failures_left > 0 && flaky.range.intersection(&range).is_some());
        failing.map(|flaky| flaky.failures_left -= 1).is_some()
    }

    fn transfer(&self, range: ByteRange) -> Duration {
        let mut fast = range.len;
        let mut nanos = 0;
        for (slow, rate) in &self.slow {
            if let Some(part) = slow.intersection(&range) {
                fast -= part.len;
                nanos += part.len * 1_000_000_000 / rate;
            }
        }
        Duration::from_nanos(nanos + fast * 1_000_000_000 / self.cost.bytes_per_second)
    }
}

/// Numbers each sector in its first two bytes, so that no two places hold the same bytes.
fn stamp(bytes: &mut [u8], offset: u64) {
    let digits: [fn(u64) -> u64; 2] = [|sector| sector % 251, |sector| sector / 251 % 256];
    for (place, digit) in (0_u64..).zip(digits) {
        let skip = (place + 512 - offset % 512) % 512;
        let first = (offset + skip) / 512;
        for (at, sector) in bytes.iter_mut().skip(skip as usize).step_by(512).zip(first..) {
            *at = digit(sector) as u8;
        }
    }
}

/// `count` sectors of the window, ascending, none next to another, the same for the same seed.
pub fn scattered(count: usize, window: ByteRange, sector: u64, seed: u64) -> Vec<ByteRange> {
    let random = SeededRandom::new(seed);
    let sectors = window.len / sector;
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < count {
        let at = window.offset / sector + random.next() % sectors;
        if !chosen.contains(&(at + 1)) && !chosen.contains(&at.wrapping_sub(1)) {
            chosen.insert(at);
        }
    }
    chosen
        .into_iter()
        .map(|at| ByteRange::new(at * sector, sector))
        .collect()
}

/// The media of the bars: 256 MiB.
pub mod bars {
    use super::{ByteRange, EIO, FaultyMedium, Vanishing};

    /// Size of each.
    pub const SIZE_BYTES: u64 = 256 << 20;
    const WHOLE: ByteRange = ByteRange::new(0, SIZE_BYTES);

    /// 500 lone bad sectors.
    pub fn a() -> FaultyMedium {
        FaultyMedium::new(SIZE_BYTES, 1).lone_bad_sectors(500, WHOLE, 512, 11)
    }

    /// A dead zone of 8 MiB that begins and ends away from any round place.
    pub fn b() -> FaultyMedium {
        FaultyMedium::new(SIZE_BYTES, 2).bad(ByteRange::new((100 << 20) + 37 * 512, 8 << 20))
    }

    /// 16 MiB at 250 kB/s from the middle on, with 50 lone bad sectors in it.
    pub fn c() -> FaultyMedium {
        let zone = ByteRange::new(128 << 20, 16 << 20);
        FaultyMedium::new(SIZE_BYTES, 3)
            .slow(zone, 250_000)
            .lone_bad_sectors(50, zone, 512, 13)
    }

    /// 200 sectors that fail 1, 2 or 4 times.
    pub fn d() -> FaultyMedium {
        FaultyMedium::new(SIZE_BYTES, 4).flaky_sectors(200, WHOLE, 512, 14)
    }

    /// A device that goes away after 20 errors, and answers EIO at once from then on.
    pub fn e() -> FaultyMedium {
        FaultyMedium::new(SIZE_BYTES, 5)
            .lone_bad_sectors(100, WHOLE, 512, 15)
            .vanishing(Vanishing {
                after_failures: Some(20),
                errno: EIO,
                ..Vanishing::default()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_however_it_is_read() {
        let medium = FaultyMedium::new(1 << 20, 7).zeros(ByteRange::new(5000, 3000));
        let mut whole = vec![1; 300_000];
        medium.content(0, &mut whole);
        for (offset, len) in [(0, 512), (511, 2), (1, 70_000), (65_530, 20), (4999, 3002)] {
            let mut part = vec![0; len];
            medium.content(offset as u64, &mut part);
            assert_eq!(part, whole[offset..offset + len], "{offset}+{len}");
        }
        assert_ne!(whole[..512], whole[PATTERN_BYTES..PATTERN_BYTES + 512]);
    }

    #[test]
    fn a_flaky_sector_comes_in_the_end() {
        let mut medium = FaultyMedium::new(1 << 20, 7).flaky_sectors(3, ByteRange::new(0, 1 << 20), 512, 1);
        let whole = ByteRange::new(0, 1 << 20);
        let failures = (0..)
            .take_while(|_| medium.read(Duration::ZERO, whole).0.is_err())
            .count();
        assert_eq!(failures, 1 + 2 + 4);
    }
}
