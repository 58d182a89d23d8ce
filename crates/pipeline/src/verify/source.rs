//! Reads the source of a medium once more: whether it still is what was taken in, and whether it is what its containers and file systems state of it.
//!
//! Contents in the store are verified by [`super::run`]; this tells whether what was stored was right in the first place, as far as somebody kept a
//! checksum: a container of its image (EWF, disk images of Apple), a file system of the content of its files (btrfs).

use std::sync::{Mutex, PoisonError};

use ntt_catalogue::rows::{MediumRow, ScanRow, VolumeRow};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, MediumId, Severity};
use ntt_report::selector::current_scans;
use ntt_source::{ReadAt, ReadError};
use serde::{Deserialize, Serialize};

use crate::content::{image_row, open_image, source_of};
use crate::identify::{Source, SourceKind, StatedDigests, StatedOutcome, digest_image};
use crate::stage::{Running, Subject};
use crate::{Context, Error, RunOutcome, Stage, scan};

/// Damaged ranges of an image that are told one by one.
const RANGES_MAX: usize = 1000;

/// What the source of a medium was found to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceCheck {
    /// The medium.
    pub medium: MediumId,
    /// Bytes of the image that were read.
    pub bytes: u64,
    /// What was compared and is right, one line each.
    pub right: Vec<String>,
    /// What is not.
    pub wrong: Vec<SourceFinding>,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// Something wrong with a source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceFinding {
    /// The volume, if it concerns one.
    pub volume: Option<u32>,
    /// A path of the file, if it concerns one, escaped.
    pub path: Option<String>,
    /// What is wrong, and where.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Reads the source of a medium. What is wrong is recorded with the medium, too.
///
/// # Errors
///
/// [`Error::Source`] if it is not there, or was changed since it was taken in, with the file that is; when the catalogue fails or the run is interrupted.
pub fn source(context: &Context<'_>, medium: &MediumRow) -> Result<SourceCheck, Error> {
    let source = source_of(context, medium)?;
    if source.kind == SourceKind::Directory {
        return Err(Error::Refused(
            "a directory has no checksums to compare with; scan it again instead".to_owned(),
        ));
    }
    let subject = Subject::medium(medium);
    let total = Some(source.size_bytes);
    let stage = Running::start_with(context.observer, Stage::Verify, subject, None, total);
    let mut check = Check {
        context,
        medium,
        stage: &stage,
        right: Vec::new(),
        wrong: Vec::new(),
    };
    let result = check.all(&source).map(|()| SourceCheck {
        medium: medium.medium.id,
        bytes: stage.done().bytes,
        outcome: outcome(&check.wrong),
        right: check.right,
        wrong: check.wrong,
    });
    stage.settle(context.archive.catalogue(), Some(medium), result, |check| {
        check.outcome
    })
}

fn outcome(wrong: &[SourceFinding]) -> RunOutcome {
    let is_loss = |found: &SourceFinding| found.finding.severity == Severity::Loss;
    if wrong.iter().any(is_loss) {
        RunOutcome::DamageFound
    } else {
        RunOutcome::Complete
    }
}

struct Check<'a> {
    context: &'a Context<'a>,
    medium: &'a MediumRow,
    stage: &'a Running<'a>,
    right: Vec<String>,
    wrong: Vec<SourceFinding>,
}

impl Check<'_> {
    fn all(&mut self, source: &Source) -> Result<(), Error> {
        // The images of a set are media with digests of their own.
        if source.kind == SourceKind::Image {
            self.image(source)?;
        }
        for volume in self.context.archive.catalogue().volumes(self.medium.key)? {
            if volume.volume.same_as.is_none() {
                self.volume(source, &volume)?;
            }
        }
        Ok(())
    }

    /// The image from start to end: what its containers state, what cannot be read of them, and the digest that it had.
    fn image(&mut self, source: &Source) -> Result<(), Error> {
        let image = open_image(source)?;
        let recorder = Recorder {
            inner: &image,
            damage: Mutex::default(),
        };
        let mut stated = StatedDigests::of(source);
        let progress = |len| self.stage.add(0, len);
        let digests = digest_image(&recorder, &[], &mut stated, self.context.interrupt, &progress)?;
        let formats: Vec<&str> = source
            .container
            .iter()
            .flat_map(|contained| contained.layers.iter().map(|layer| layer.format.as_str()))
            .collect();
        for (range, what) in recorder.found() {
            let detail = format!("bytes {range} of the image in {}: {what}", formats.join(" in "));
            let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::Corrupt, detail);
            self.tell(None, None, finding.at(range.offset))?;
        }
        for outcome in stated.finish() {
            match outcome {
                StatedOutcome::Equal(value, origin) => {
                    self.right.push(format!("{value}, as {origin} states"));
                }
                StatedOutcome::Wrong(finding) => self.tell(None, None, finding)?,
            }
        }
        let known = image_row(self.context.archive, self.medium)?.digest;
        match (known, digests.image) {
            (Some(known), Some(now)) if known == now => {
                self.right.push(format!("BLAKE3 {now}, as when it was taken in"));
            }
            (Some(known), now) => {
                let now = now.map_or_else(|| "cannot be computed".to_owned(), |now| format!("is {now}"));
                let detail = format!("the BLAKE3 of the image was {known} when it was taken in; it {now}");
                let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::Changed, detail);
                self.tell(None, None, finding)?;
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// The content of the files of a volume, where its file system keeps checksums of it.
    fn volume(&mut self, source: &Source, volume: &VolumeRow) -> Result<(), Error> {
        let Some(found) = scan::wrong_content(self.context, source, volume)? else {
            return Ok(());
        };
        let number = volume.volume.number;
        if found.is_empty() {
            let line = format!("volume {number}: all content that has checksums matches them");
            self.right.push(line);
        }
        let scans = current_scans(self.context.archive.catalogue(), volume)?;
        for finding in found {
            let path = match finding.inode {
                Some(inode) => self.path(&scans, inode)?,
                None => None,
            };
            self.tell(Some(volume), path, finding)?;
        }
        Ok(())
    }

    /// One of the paths of an inode, escaped.
    fn path(&self, scans: &[ScanRow], inode: u64) -> Result<Option<String>, Error> {
        for scan in scans {
            let paths = self.context.archive.catalogue().paths_of(scan.id, inode)?;
            if let Some(row) = paths.first() {
                return Ok(Some(ntt_model::name::escape(&row.path).into_owned()));
            }
        }
        Ok(None)
    }

    fn tell(
        &mut self,
        volume: Option<&VolumeRow>,
        path: Option<String>,
        finding: Finding,
    ) -> Result<(), Error> {
        let catalogue = self.context.archive.catalogue();
        let number = volume.map(|row| row.volume.number);
        self.stage.finding(number, &finding);
        let known = catalogue.findings(self.medium.key)?;
        if known.iter().all(|row| row.finding != finding) {
            let key = volume.map(|row| row.key);
            catalogue.add_findings(self.medium.key, key, std::slice::from_ref(&finding))?;
        }
        self.wrong.push(SourceFinding {
            volume: number,
            path,
            finding,
        });
        Ok(())
    }
}

/// Notes where an image cannot be read although it is there.
struct Recorder<'a> {
    inner: &'a dyn ReadAt,
    damage: Mutex<Vec<(ByteRange, String)>>,
}

impl Recorder<'_> {
    /// The damage, ascending, each range once.
    fn found(self) -> Vec<(ByteRange, String)> {
        let mut found = self.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort();
        found.dedup();
        found.truncate(RANGES_MAX);
        found
    }

    /// Looks behind the first damage of a read for more of it.
    fn note_all(&self, wanted: ByteRange, first: ReadError) {
        let mut error = Some(first);
        let mut buffer = Vec::new();
        while let Some(now) = error.take() {
            let (range, what) = match now {
                ReadError::Corrupt { range, what } => (range, what),
                ReadError::Io { source, .. } => (wanted, source.to_string()),
                ReadError::Unread { .. } | ReadError::BeyondEnd { .. } => return,
                other => (wanted, other.to_string()),
            };
            let end = range.end();
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            if damage.len() >= RANGES_MAX {
                return;
            }
            damage.push((range, what));
            drop(damage);
            if end <= wanted.offset || end >= wanted.end() {
                return;
            }
            let rest = usize::try_from(wanted.end() - end).unwrap_or(0);
            buffer.resize(rest, 0);
            error = self.inner.read_exact_at(end, &mut buffer).err();
        }
    }
}

impl ReadAt for Recorder<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = self.inner.read_exact_at(offset, buffer);
        if let Err(ReadError::Corrupt { range, what }) = &read {
            let first = ReadError::Corrupt {
                range: *range,
                what: what.clone(),
            };
            let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            self.note_all(ByteRange::new(offset, len), first);
        }
        read
    }
}
