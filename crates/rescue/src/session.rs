//! A rescue as a use case: a plan that can be printed, and a run of it.

use std::path::PathBuf;
use std::sync::Arc;

use ntt_host::{Clock, Disk};
use ntt_mapfile::Mapfile;
use ntt_model::ByteRange;
use serde::Serialize;

use crate::advisor::Advisor;
use crate::device::Device;
use crate::digest;
use crate::engine::{Ended, Engine, Parts};
use crate::error::Error;
use crate::geometry::{Class, Geometry};
use crate::health::{States, judge};
use crate::log::{Event, EventLog};
use crate::monitor::Monitor;
use crate::paths::Paths;
use crate::planner::Planner;
use crate::policy::Policy;
use crate::record::{FillRecord, RECORD_VERSION, Record};
use crate::sink::{OpenOptions, Sink, read_map};
use crate::watch::Stopwatch;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is read, for people and the record.
    pub source: String,
    /// The files.
    pub paths: Paths,
    /// The effort.
    pub policy: Policy,
    /// How the files are opened.
    pub options: OpenOptions,
    /// Ranges to read first.
    pub priority: Vec<ByteRange>,
    /// Also compute SHA-256, in a pass of its own over the finished image.
    pub sha256: bool,
}

/// What a run would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// What is read.
    pub source: String,
    /// Its size and sectors.
    pub geometry: Geometry,
    /// Its kind.
    pub class: Class,
    /// The image.
    pub image: PathBuf,
    /// The map.
    pub map: PathBuf,
    /// Whether there is a map to go on from.
    pub resumes: bool,
    /// What that map says, or an untried one.
    pub states: States,
}

/// Looks at source and target; writes nothing.
///
/// # Errors
///
/// A map that cannot be read.
pub fn plan(disk: &dyn Disk, device: &dyn Device, request: &Request) -> Result<Plan, Error> {
    let geometry = device.geometry();
    let map = read_map(disk, &request.paths.map)?;
    let resumes = map.is_some();
    let map = map.unwrap_or_default().covering(geometry.size_bytes);
    Ok(Plan {
        source: request.source.clone(),
        geometry,
        class: geometry.class(),
        image: request.paths.image.clone(),
        map: request.paths.map.clone(),
        resumes,
        states: States::of(&map),
    })
}

/// What a run has of the outside world.
#[derive(Debug)]
pub struct World<'a> {
    /// The target's disk.
    pub disk: Arc<dyn Disk>,
    /// The medium.
    pub device: &'a mut dyn Device,
    /// Wall-clock time.
    pub clock: &'a dyn Clock,
    /// Time of the run.
    pub watch: &'a dyn Stopwatch,
    /// Who watches.
    pub monitor: &'a Monitor,
    /// Who knows what is worth reading first, if anybody does.
    pub advisor: Option<&'a mut dyn Advisor>,
}

/// Runs a rescue; the map on disk is right whenever this returns, or does not.
///
/// # Errors
///
/// What keeps the run from beginning, or errors of the target; never errors of the source.
pub fn run(world: World<'_>, request: &Request) -> Result<Record, Error> {
    let World {
        disk,
        device,
        clock,
        watch,
        monitor,
        advisor,
    } = world;
    let paths = &request.paths;
    let geometry = device.geometry();
    let (sink, existing) = Sink::open(Arc::clone(&disk), paths.clone(), &geometry, request.options)?;
    let mut log = EventLog::open(disk.as_ref(), &paths.log, clock)?;
    log.add(&Event::Started {
        source: request.source.clone(),
        geometry,
        resumed: existing.resumed,
        rescued_bytes: existing.map.totals().finished.bytes,
    })?;
    let mut planner = Planner::new(&headed(existing.map, geometry), geometry, request.policy.clone());
    planner.prioritise(request.priority.clone());
    let ended = Engine::new(Parts {
        device,
        sink,
        planner,
        sentinels: existing.sentinels,
        policy: request.policy.clone(),
        stats: Record::stats(disk.as_ref(), paths)?,
        log,
        watch,
        monitor,
        advisor,
    })
    .run()?;
    let record = record(disk.as_ref(), request, geometry, &ended, clock)?;
    record.write(disk.as_ref(), paths)?;
    let mut log = EventLog::open(disk.as_ref(), &paths.log, clock)?;
    log.add(&Event::Ended {
        outcome: ended.outcome,
        health: Box::new(record.health.clone()),
    })?;
    log.flush()?;
    Ok(record)
}

/// The comments that say what the map is of, beside those of other programs.
fn headed(mut map: Mapfile, geometry: Geometry) -> Mapfile {
    let ours: [String; 2] = [
        format!(" Mapfile. Created by ntt rescue {}", env!("CARGO_PKG_VERSION")),
        format!(" Sector size: {} bytes", geometry.sector_bytes),
    ];
    for comment in ours {
        if !map.comments.contains(&comment.clone().into_bytes()) {
            map.comments.push(comment.into_bytes());
        }
    }
    map
}

fn record(
    disk: &dyn Disk,
    request: &Request,
    geometry: Geometry,
    ended: &Ended,
    clock: &dyn Clock,
) -> Result<Record, Error> {
    let size_bytes = ended.map.extent().end();
    let health = judge(size_bytes, Some(&ended.map), Some(&ended.stats), None);
    let sha256 = if request.sha256 {
        Some(digest::sha256(disk, &request.paths, &ended.map)?)
    } else {
        None
    };
    Ok(Record {
        record_version: RECORD_VERSION,
        time: clock.now(),
        source: request.source.clone(),
        geometry,
        outcome: ended.outcome,
        fill: FillRecord::new(ended.digest.fill, health.states.rescued.bytes),
        health,
        blake3: ended.digest.blake3.to_hex().to_string(),
        sha256,
        unclaimed_bytes: ended.digest.unclaimed_bytes,
        equal_places: ended.equal_places,
    })
}
