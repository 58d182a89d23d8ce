//! ReiserFS 3.5 and 3.6; see `docs/formats/reiserfs.md` for what is read and what is not.
//!
//! `superblock` and `journal` make a `volume`, whose blocks are those that would stand there after a replay; `leaves` finds the leaves of the one
//! tree, `node` and `key` read what is in them, `object` puts an inode together, `nodes` gives all of it to the walk that readers share.
//!
//! Facts of the format come from Linux (`fs/reiserfs/`, up to 6.12), named where they are used.

mod journal;
mod key;
mod leaves;
mod node;
mod nodes;
mod object;
mod superblock;
mod volume;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::journal::Replay;
use self::leaves::Leaf;
use self::nodes::{ROOT, Tree};
use self::superblock::{PLACES, SUPERBLOCK_LEN, Superblock};
use self::volume::Volume;
use crate::report::Report;
use crate::uuid::uuid_text;
use crate::walk::{Device, Ranges};
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by its superblock.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let superblock = Superblock::find(source)?;
    Some(Candidate {
        family: Family::ReiserFs,
        type_name: "reiserfs".to_owned(),
        evidence: format!(
            "superblock at {:#x}, version {}, {} blocks of {}",
            superblock.offset,
            superblock.name(),
            superblock.blocks,
            superblock.block_bytes
        ),
        size_bytes: superblock.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`]; there is no copy of the superblock.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "superblock";
    let Some(superblock) = Superblock::find(&*source) else {
        let mut bytes = [0; SUPERBLOCK_LEN];
        source
            .read_exact_at(PLACES[0], &mut bytes)
            .map_err(|source| Error::Read { structure, source })?;
        return Err(Error::Corrupt {
            structure,
            detail: "no magic number of ReiserFS".to_owned(),
            image_offset: image_offset.saturating_add(PLACES[0]),
        });
    };
    Ok(Box::new(ReiserFs::new(
        Device::new(source, image_offset),
        superblock,
    )))
}

/// An opened volume.
struct ReiserFs<'a> {
    volume: Volume<'a>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> ReiserFs<'a> {
    fn new(device: Device<'a>, superblock: Superblock) -> Self {
        let replay = journal::replay(&device, &superblock);
        let mut findings = tell(&device, &superblock, &replay);
        let state = match (superblock.unmounted, replay.transactions) {
            (1, 0) => State::Clean,
            _ => State::Dirty,
        };
        let mut volume = Volume {
            device,
            superblock,
            replayed: replay.blocks,
        };
        renew(&mut volume);
        let mut used = 0_u64;
        findings.extend(volume.each_block(&mut |_, is_used| used = used.saturating_add(u64::from(is_used))));
        findings.truncate(64);
        Self {
            facts: facts(&volume, state),
            volume,
            findings,
        }
    }
}

/// The superblock may be among the blocks that were replayed: root and height of the tree change often.
fn renew(volume: &mut Volume<'_>) {
    let block = volume.superblock.block();
    if !volume.replayed.contains_key(&block) {
        return;
    }
    if let Ok((bytes, _)) = volume.read(block, Layer::FileSystem, "the superblock in the journal") {
        let within = volume
            .superblock
            .offset
            .checked_rem(volume.block_bytes())
            .and_then(|within| usize::try_from(within).ok());
        let bytes = within.and_then(|within| bytes.get(within..)).unwrap_or_default();
        if let Some(superblock) = Superblock::parse(bytes, volume.superblock.offset) {
            let is_same = superblock.block_bytes == volume.superblock.block_bytes;
            if is_same {
                volume.superblock = superblock;
            }
        }
    }
}

/// Findings that follow from superblock and journal.
fn tell(device: &Device<'_>, superblock: &Superblock, replay: &Replay) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, code, at: u64, detail: String| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        found.push(finding.at(device.in_image(at)));
    };
    let journal = u64::from(superblock.journal.first).saturating_mul(superblock.block_bytes.into());
    let (size, len) = (superblock.size_bytes(), device.len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        add(Severity::Loss, FindingCode::BeyondEnd, len, detail);
    }
    if superblock.errors != 0 {
        let detail = format!(
            "a check left the state {:#x}: errors were found",
            superblock.errors
        );
        add(Severity::Warning, FindingCode::Corrupt, superblock.offset, detail);
    }
    if replay.transactions > 0 {
        let detail = format!(
            "the journal holds {} transactions that were not written to their places; they were replayed in memory",
            replay.transactions
        );
        add(Severity::Info, FindingCode::DirtyJournal, journal, detail);
    } else if superblock.unmounted != 1 {
        let detail = "the volume was not cleanly unmounted; its journal holds nothing to replay".to_owned();
        add(Severity::Info, FindingCode::DirtyJournal, journal, detail);
    }
    if let Some(problem) = &replay.problem {
        let detail = format!("the journal: {problem}");
        add(Severity::Warning, FindingCode::DirtyJournal, journal, detail);
    }
    found
}

fn facts(volume: &Volume<'_>, state: State) -> Facts {
    let superblock = &volume.superblock;
    let used = superblock.blocks.checked_sub(superblock.free_blocks);
    let pairs = [
        ("version", superblock.name().to_owned()),
        ("tree height", superblock.height.saturating_sub(1).to_string()),
        ("journal blocks", superblock.journal.blocks.to_string()),
        ("blocks replayed", volume.replayed.len().to_string()),
    ];
    Facts {
        type_name: "reiserfs".to_owned(),
        label: superblock.label(),
        uuid: uuid_text(&superblock.uuid),
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: used
            .filter(|_| state == State::Clean)
            .map(|blocks| u64::from(blocks).saturating_mul(volume.block_bytes())),
        created: None,
        written: None,
        state,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: ROOT,
        details: pairs
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
    }
}

impl FileSystem for ReiserFs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let mut report = Report::default();
        let leaves: Vec<Leaf> = leaves::leaves(&self.volume, &mut report);
        let mut found = self.findings.clone();
        found.extend(report.take());
        let tree = Tree::new(&self.volume, &leaves);
        Ok(crate::walk::run(&tree, &found, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let mut ranges = Ranges::new(each);
        let bytes = self.volume.block_bytes();
        self.volume.each_block(&mut |block, is_used| {
            if is_used {
                let offset = u64::from(block).saturating_mul(bytes);
                ranges.add(self.volume.device.in_image(offset), bytes);
            }
        });
        ranges.finish();
        Ok(())
    }
}
