//! A world in memory: a clock that only reads move, a medium of rules, a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ntt_host::{Clock, Disk};
use ntt_mapfile::Mapfile;
use ntt_model::{ByteRange, Timestamp};
use ntt_rescue::advisor::Advisor;
use ntt_rescue::buffer::Buffer;
use ntt_rescue::device::{Device, ReadFailure};
use ntt_rescue::engine::{Ended, Engine, Parts};
use ntt_rescue::geometry::Geometry;
use ntt_rescue::log::EventLog;
use ntt_rescue::monitor::Monitor;
use ntt_rescue::planner::Planner;
use ntt_rescue::policy::Policy;
use ntt_rescue::sink::{OpenOptions, Sink};
use ntt_rescue::stats::Stats;
use ntt_rescue::watch::Stopwatch;
use ntt_rescue::{Error, Paths};
use ntt_testkit::faulty::FaultyMedium;

/// Time that moves when a medium is read or a run waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    fn advance(&self, by: Duration) {
        let _ = self
            .0
            .fetch_add(u64::try_from(by.as_nanos()).expect("small"), Ordering::Relaxed);
    }
}

impl Stopwatch for VirtualClock {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(i64::try_from(self.0.load(Ordering::Relaxed)).expect("small"))
    }
}

/// Called before each read, with its number; may talk to the monitor, or take time.
type OnRead = Box<dyn FnMut(u64) + Send>;

/// A medium under the virtual clock.
pub(crate) struct VirtualDevice {
    medium: Arc<Mutex<FaultyMedium>>,
    geometry: Geometry,
    clock: VirtualClock,
    /// Says when the device that went away is there again.
    pub(crate) returns_at: Option<Duration>,
    pub(crate) on_read: Option<OnRead>,
    pub(crate) size_now: u64,
    reads: u64,
}

impl std::fmt::Debug for VirtualDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VirtualDevice({:?})", self.geometry)
    }
}

impl Device for VirtualDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, range: ByteRange, buffer: &mut Buffer) -> Result<(), ReadFailure> {
        self.reads += 1;
        if let Some(on_read) = &mut self.on_read {
            on_read(self.reads);
        }
        let unit = u64::from(self.geometry.sector_bytes);
        assert!(range.offset.is_multiple_of(unit), "{range} is not aligned");
        assert!(range.end().is_multiple_of(unit) || range.end() == self.geometry.size_bytes);
        let mut medium = self.medium.lock().expect("whole");
        let (result, latency) = medium.read(self.clock.elapsed(), range);
        self.clock.advance(latency);
        medium.content(range.offset, buffer.bytes_mut());
        result.map_err(|errno| {
            buffer.bytes_mut().fill(0xEE);
            ReadFailure { errno, good_bytes: 0 }
        })
    }

    fn size_now(&mut self) -> io::Result<u64> {
        Ok(self.size_now)
    }

    fn reopen(&mut self) -> io::Result<()> {
        if self.returns_at.is_some_and(|at| self.clock.elapsed() >= at) {
            self.medium.lock().expect("whole").come_back();
        }
        Ok(())
    }
}

/// A medium, a disk, a clock.
pub(crate) struct World {
    pub(crate) medium: Arc<Mutex<FaultyMedium>>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: VirtualClock,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) policy: Policy,
    pub(crate) sector_bytes: u32,
    pub(crate) returns_at: Option<Duration>,
    pub(crate) on_read: Option<OnRead>,
    pub(crate) options: OpenOptions,
    pub(crate) directory: PathBuf,
    pub(crate) advisor: Option<Box<dyn Advisor>>,
}

impl World {
    pub(crate) fn new(medium: FaultyMedium, disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self {
            medium: Arc::new(Mutex::new(medium)),
            disk,
            clock: VirtualClock::default(),
            monitor: Arc::default(),
            policy: Policy::default(),
            sector_bytes: 512,
            returns_at: None,
            on_read: None,
            options: OpenOptions {
                background: false,
                accept_size: false,
                accept_space: true,
            },
            directory: directory.to_owned(),
            advisor: None,
        }
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::new(&self.directory.join("image"), None)
    }

    pub(crate) fn medium(&self) -> MutexGuard<'_, FaultyMedium> {
        self.medium.lock().expect("whole")
    }

    /// One run of the program.
    pub(crate) fn run(&mut self) -> Result<Ended, Error> {
        let size_bytes = self.medium().size_bytes();
        let geometry = Geometry::new(size_bytes, self.sector_bytes);
        let mut device = VirtualDevice {
            medium: Arc::clone(&self.medium),
            geometry,
            clock: self.clock.clone(),
            returns_at: self.returns_at,
            on_read: self.on_read.take(),
            size_now: size_bytes,
            reads: 0,
        };
        let paths = self.paths();
        let (sink, existing) = Sink::open(Arc::clone(&self.disk), paths.clone(), &geometry, self.options)?;
        let log = EventLog::open(self.disk.as_ref(), &paths.log, &self.clock)?;
        Engine::new(Parts {
            device: &mut device,
            sink,
            planner: Planner::new(&existing.map, geometry, self.policy.clone()),
            sentinels: existing.sentinels,
            policy: self.policy.clone(),
            stats: Stats::default(),
            log,
            watch: &self.clock,
            monitor: &self.monitor,
            advisor: self
                .advisor
                .as_deref_mut()
                .map(|advisor| advisor as &mut dyn Advisor),
        })
        .run()
    }

    /// The medium as an image, with zeros where the map does not say rescued.
    pub(crate) fn expected_image(&self, map: &Mapfile) -> Vec<u8> {
        let medium = self.medium();
        let mut bytes = vec![0; usize::try_from(medium.size_bytes()).expect("small")];
        medium.content(0, &mut bytes);
        for unread in map.unread_ranges(medium.size_bytes()) {
            let start = usize::try_from(unread.offset).expect("small");
            bytes[start..start + usize::try_from(unread.len).expect("small")].fill(0);
        }
        bytes
    }
}
