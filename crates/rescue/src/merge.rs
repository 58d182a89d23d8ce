//! Two or more images of one medium made one: two drives, or two attempts.
//!
//! Where several have a byte, the first one named counts, and the others are compared with it: a difference means that a drive lied, and is
//! recorded. The log of the result says for each range which image it is from.

mod kinship;

use std::path::PathBuf;
use std::sync::Arc;

use ntt_host::{Clock, Disk, DiskFile, OpenMode};
use ntt_mapfile::{Mapfile, Status, most_rescued};
use ntt_model::ByteRange;
use ntt_model::range::push_joined;
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::health::{Health, judge};
use crate::log::{Event, EventLog};
use crate::paths::Paths;
use crate::sink::{OpenOptions, Sink, read_map};

/// Bytes that are compared and copied at once.
const BLOCK_BYTES: u64 = 1 << 20;
/// Differences are told in units of a sector.
const SECTOR_BYTES: u64 = 512;
/// So many ranges that differ are told place by place.
pub const DIFFERENCES_MAX: usize = 10_000;

/// What came from one image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contribution {
    /// The image.
    pub image: PathBuf,
    /// Ranges taken from it.
    pub ranges: Vec<ByteRange>,
    /// Sectors that it has otherwise than an image before it; they were not taken. The first [`DIFFERENCES_MAX`] ranges of them.
    pub differing: Vec<ByteRange>,
    /// Bytes of all such sectors.
    #[serde(default)]
    pub differing_bytes: u64,
}

/// What a merge came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Merged {
    /// Per image, in the order given.
    pub contributions: Vec<Contribution>,
    /// Facts and verdict over the result.
    pub health: Health,
    /// BLAKE3 of the result, unread bytes as zeros; hexadecimal.
    pub blake3: String,
}

struct Input {
    path: PathBuf,
    image: Box<dyn DiskFile>,
    map: Mapfile,
}

/// Merges images, each with its map beside it, into a new one.
///
/// # Errors
///
/// An image without a map, or shorter than its map claims; images of different sizes, or of media that are not one; an output that exists; any error of the target.
pub fn merge(
    disk: &Arc<dyn Disk>,
    inputs: &[Paths],
    output: &Paths,
    clock: &dyn Clock,
) -> Result<Merged, Error> {
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|paths| open(disk.as_ref(), paths))
        .collect::<Result<_, _>>()?;
    let size_bytes = common_size(&inputs)?;
    for (number, input) in inputs.iter().enumerate() {
        let mut earlier = inputs.iter().take(number);
        earlier.try_for_each(|other| kinship::check(other, input))?;
    }
    refuse_existing(disk.as_ref(), output)?;
    let geometry = Geometry::new(size_bytes, 512);
    let options = OpenOptions {
        background: true,
        accept_size: false,
        accept_space: true,
    };
    let (mut sink, existing) = Sink::open(Arc::clone(disk), output.clone(), &geometry, options)?;
    let mut merged = existing.map;
    let mut contributions = Vec::new();
    for input in &inputs {
        contributions.push(take(input, &mut sink, &merged)?);
        merged = merged
            .merge(&input.map, &mut most_rescued)
            .map_err(|source| Error::Map {
                path: input.path.clone(),
                source,
            })?;
    }
    let digest = sink.finish(&merged)?;
    let mut log = EventLog::open(disk.as_ref(), &output.log, clock)?;
    for contribution in &contributions {
        log.add(&Event::Merged {
            contribution: contribution.clone(),
        })?;
    }
    log.flush()?;
    Ok(Merged {
        contributions,
        health: judge(size_bytes, Some(&merged), None, None),
        blake3: digest.blake3.to_hex().to_string(),
    })
}

fn open(disk: &dyn Disk, paths: &Paths) -> Result<Input, Error> {
    let Some(map) = read_map(disk, &paths.map)? else {
        let map = paths.map.display();
        return Err(Error::Refused(format!("there is no mapfile {map}")));
    };
    let image = disk
        .open(&paths.image, OpenMode::Read)
        .map_err(Error::target("opening", &paths.image))?;
    let len = image.len().map_err(Error::target("reading", &paths.image))?;
    let claimed = map.runs(Status::Finished).last().map_or(0, |run| run.end());
    if claimed > len {
        let (map, image) = (paths.map.display(), paths.image.display());
        return Err(Error::Refused(format!(
            "{map} calls bytes up to {claimed} rescued, but {image} has {len} bytes"
        )));
    }
    Ok(Input {
        path: paths.image.clone(),
        image,
        map,
    })
}

fn common_size(inputs: &[Input]) -> Result<u64, Error> {
    let sizes: Vec<u64> = inputs.iter().map(|input| input.map.extent().end()).collect();
    match sizes.split_first() {
        Some((first, rest)) if rest.iter().all(|size| size == first) && *first > 0 => Ok(*first),
        _ => Err(Error::Refused(format!(
            "the maps do not speak of one medium: their sizes are {sizes:?}"
        ))),
    }
}

fn refuse_existing(disk: &dyn Disk, output: &Paths) -> Result<(), Error> {
    for path in [&output.image, &output.map] {
        let found = disk.entry(path).map_err(Error::target("looking at", path))?;
        if found.is_some() {
            return Err(Error::Refused(format!("{} exists", path.display())));
        }
    }
    Ok(())
}

/// Copies what is new in an image, and compares what is not.
fn take(input: &Input, sink: &mut Sink, merged: &Mapfile) -> Result<Contribution, Error> {
    let mut contribution = Contribution {
        image: input.path.clone(),
        ranges: Vec::new(),
        differing: Vec::new(),
        differing_bytes: 0,
    };
    let mut buffer = Buffer::default();
    for block in input.map.runs(Status::Finished).flat_map(blocks) {
        for known in merged.runs_within(Status::Finished, block) {
            compare(input, sink, known, &mut contribution)?;
        }
        for new in unknown(merged, block) {
            buffer.resize(usize::try_from(new.len).unwrap_or(0));
            input
                .image
                .read_exact_at(new.offset, buffer.bytes_mut())
                .map_err(Error::target("reading", &input.path))?;
            buffer = sink.write(new.offset, buffer)?;
            push_joined(&mut contribution.ranges, new);
        }
    }
    Ok(contribution)
}

/// A run in blocks that fit into memory.
fn blocks(run: ByteRange) -> impl Iterator<Item = ByteRange> {
    let first = run.offset / BLOCK_BYTES;
    let end = run.end().div_ceil(BLOCK_BYTES);
    (first..end).filter_map(move |at| ByteRange::new(at * BLOCK_BYTES, BLOCK_BYTES).intersection(&run))
}

/// What of a block is not rescued yet.
fn unknown(merged: &Mapfile, block: ByteRange) -> Vec<ByteRange> {
    let mut position = block.offset;
    let mut gaps = Vec::new();
    for known in merged.runs_within(Status::Finished, block) {
        push_joined(
            &mut gaps,
            ByteRange::new(position, known.offset.saturating_sub(position)),
        );
        position = known.end();
    }
    push_joined(
        &mut gaps,
        ByteRange::new(position, block.end().saturating_sub(position)),
    );
    gaps
}

fn compare(
    input: &Input,
    sink: &mut Sink,
    range: ByteRange,
    contribution: &mut Contribution,
) -> Result<(), Error> {
    let len = usize::try_from(range.len).unwrap_or(0);
    let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
    sink.read_back(range.offset, &mut ours)?;
    input
        .image
        .read_exact_at(range.offset, &mut theirs)
        .map_err(Error::target("reading", &input.path))?;
    let sector = usize::try_from(SECTOR_BYTES).unwrap_or(512);
    let pairs = ours.chunks(sector).zip(theirs.chunks(sector));
    for (at, (one, other)) in (0..).zip(pairs) {
        if one != other {
            let differs = ByteRange::new(range.offset + at * SECTOR_BYTES, one.len() as u64);
            contribution.differing_bytes += differs.len;
            if contribution.differing.len() < DIFFERENCES_MAX {
                push_joined(&mut contribution.differing, differs);
            }
        }
    }
    Ok(())
}
