//! Reads the source of a medium once more: whether it still is what was taken in, and whether it is what its containers and file systems state of it.
//!
//! Contents in the store are verified by [`super::run`]; this tells whether what was stored was right in the first place, as far as somebody kept a
//! checksum: a container of its image (EWF, disk images of Apple), a file system of the content of its files (btrfs).

use std::collections::HashSet;

use ntt_catalogue::rows::{MediumKind, MediumRow, ScanRow, VolumeRow};
use ntt_model::{Finding, FindingCode, Layer, MediumId, Severity};
use ntt_report::selector::{current_scans, standing};
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::content::{image_row, open_image, source_of};
use crate::damage::{self, OTHER_DIGEST, Recorder};
use crate::identify::{Source, SourceKind, StatedDigests, StatedOutcome, digest_image};
use crate::stage::{Running, Subject};
use crate::{Context, Error, RunOutcome, Stage, health, scan, set};

/// Findings that are told one by one; those behind are counted.
const FINDINGS_MAX: usize = 10_000;
/// Findings that are recorded together.
const RECORD_EVERY: usize = 1000;

/// What the source of a medium was found to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceCheck {
    /// The medium.
    pub medium: MediumId,
    /// Bytes of the image that were read.
    pub bytes: u64,
    /// What was compared and is right, one line each.
    pub right: Vec<String>,
    /// What is not; if that is more than 10,000 findings, the last one says how many more there were.
    pub wrong: Vec<SourceFinding>,
    /// Why not all of this is on record, if the archive took no changes.
    pub unrecorded: Option<String>,
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

/// Reads the source of a medium; of a set also each of its images, which come first. What is wrong is recorded with the medium, too.
///
/// # Errors
///
/// As for one medium: [`Error::Source`] if it is not there, or was changed since it was taken in, with the file that is; when the catalogue fails or the run is
/// interrupted.
pub fn sources(context: &Context<'_>, medium: &MediumRow) -> Result<Vec<SourceCheck>, Error> {
    let mut media = match medium.medium.kind {
        MediumKind::Set => set::members(context.archive.catalogue(), medium)?,
        MediumKind::Image | MediumKind::Directory => Vec::new(),
    };
    media.push(medium.clone());
    media.iter().map(|medium| source(context, medium)).collect()
}

/// Reads the source of one medium.
///
/// # Errors
///
/// [`Error::Source`] if it is not there, or was changed since it was taken in, with the file that is; when the catalogue fails or the run is interrupted.
fn source(context: &Context<'_>, medium: &MediumRow) -> Result<SourceCheck, Error> {
    let source = source_of(context, medium)?;
    if source.kind == SourceKind::Directory {
        return Err(Error::Refused(
            "a directory has no checksums to compare with; scan it again instead".to_owned(),
        ));
    }
    let subject = Subject::medium(medium);
    let total = Some(source.size_bytes);
    let stage = Running::start_with(context.observer, Stage::Verify, subject, None, total);
    let record = Record::of(context.archive);
    let result = Check::new(context, medium, &stage, &record).and_then(|check| check.all(&source));
    let mut check = record.settle(&stage, Some(medium), result, |check| check.outcome)?;
    check.unrecorded = record.refused();
    Ok(check)
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
    record: &'a Record<'a>,
    right: Vec<String>,
    wrong: Vec<SourceFinding>,
    /// How many more were found than are told.
    untold: u64,
    /// What stands with the medium.
    known: HashSet<Finding>,
    /// What does not yet.
    new: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn new(
        context: &'a Context<'a>,
        medium: &'a MediumRow,
        stage: &'a Running<'a>,
        record: &'a Record<'a>,
    ) -> Result<Self, Error> {
        let known = standing(context.archive.catalogue().findings(medium.key)?);
        Ok(Self {
            context,
            medium,
            stage,
            record,
            right: Vec::new(),
            wrong: Vec::new(),
            untold: 0,
            known: known.into_iter().map(|row| row.finding).collect(),
            new: Vec::new(),
        })
    }

    fn all(mut self, source: &Source) -> Result<SourceCheck, Error> {
        // The images of a set are media with digests of their own.
        if source.kind == SourceKind::Image {
            self.image(source)?;
        }
        for volume in self.context.archive.catalogue().volumes(self.medium.key)? {
            if volume.volume.same_as.is_none() {
                self.volume(source, &volume)?;
            }
        }
        self.count_untold()?;
        Ok(SourceCheck {
            medium: self.medium.medium.id,
            bytes: self.stage.done().bytes,
            outcome: outcome(&self.wrong),
            unrecorded: None,
            right: self.right,
            wrong: self.wrong,
        })
    }

    /// The image from start to end: what its containers state, what cannot be read of them, and the digest that it had.
    fn image(&mut self, source: &Source) -> Result<(), Error> {
        let image = open_image(source)?;
        let recorder = Recorder::of(&image);
        let mut stated = StatedDigests::of(source);
        let progress = |len| self.stage.add(0, len);
        let digests = digest_image(&recorder, &[], &mut stated, self.context.interrupt, &progress)?;
        for finding in recorder.findings(source, FindingCode::Corrupt) {
            self.tell(None, &[], finding)?;
        }
        for outcome in stated.finish() {
            match outcome {
                StatedOutcome::Equal(value, origin) => {
                    self.right.push(format!("{value}, as {origin} states"));
                }
                StatedOutcome::Wrong(finding) => self.tell(None, &[], finding)?,
            }
        }
        if let Some(finding) = health::changed_since_rescue(source, digests.image) {
            self.tell(None, &[], finding)?;
        }
        let known = image_row(self.context.archive, self.medium)?.digest;
        match (known, digests.image) {
            (Some(known), Some(now)) if known == now => {
                self.right.push(format!("BLAKE3 {now}, as when it was taken in"));
            }
            (Some(known), now) => {
                let now = now.map_or_else(|| "cannot be computed".to_owned(), |now| format!("is {now}"));
                let detail = format!("{OTHER_DIGEST}{known} when it was taken in; it {now}");
                let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::Changed, detail);
                self.tell(None, &[], finding)?;
            }
            (None, Some(now)) => {
                let line = format!(
                    "BLAKE3 {now}; none is on record to compare it with: `ntt ingest --again` takes it"
                );
                self.right.push(line);
            }
            (None, None) => {}
        }
        self.write_down(None)?;
        let found: Vec<Finding> = self.wrong.iter().map(|wrong| wrong.finding.clone()).collect();
        let key = self.medium.key;
        self.record
            .put(|catalogue| damage::make_good(catalogue, key, &found))
    }

    /// The content of the files of a volume, where its file system keeps checksums of it.
    fn volume(&mut self, source: &Source, volume: &VolumeRow) -> Result<(), Error> {
        let scans = current_scans(self.context.archive.catalogue(), volume)?;
        let context = self.context;
        let mut tell = |finding| self.tell(Some(volume), &scans, finding);
        let found = scan::wrong_content(context, source, volume, &mut tell)?;
        if found == Some(0) {
            let number = volume.volume.number;
            let line = format!("volume {number}: all content that has checksums matches them");
            self.right.push(line);
        }
        self.write_down(Some(volume))
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

    /// Tells a finding, with a path of its inode in `scans`, and keeps it for the medium if it is new there.
    fn tell(&mut self, volume: Option<&VolumeRow>, scans: &[ScanRow], finding: Finding) -> Result<(), Error> {
        if self.wrong.len() >= FINDINGS_MAX {
            self.untold += 1;
            return Ok(());
        }
        let path = match finding.inode {
            Some(inode) => self.path(scans, inode)?,
            None => None,
        };
        self.keep(volume, path, finding);
        if self.new.len() >= RECORD_EVERY {
            self.write_down(volume)?;
        }
        Ok(())
    }

    fn keep(&mut self, volume: Option<&VolumeRow>, path: Option<String>, finding: Finding) {
        let number = volume.map(|row| row.volume.number);
        self.stage.finding(number, &finding);
        if self.known.insert(finding.clone()) {
            self.new.push(finding.clone());
        }
        self.wrong.push(SourceFinding {
            volume: number,
            path,
            finding,
        });
    }

    /// Says how many findings are not told, if there are any.
    fn count_untold(&mut self) -> Result<(), Error> {
        if self.untold > 0 {
            let detail = format!("{} more findings are not listed", self.untold);
            let finding = Finding::new(Severity::Loss, Layer::Content, FindingCode::Limit, detail);
            self.keep(None, None, finding);
        }
        self.write_down(None)
    }

    /// Puts what is new on record, all of one volume or of the medium as a whole.
    fn write_down(&mut self, volume: Option<&VolumeRow>) -> Result<(), Error> {
        if !self.new.is_empty() {
            let (medium, volume) = (self.medium.key, volume.map(|row| row.key));
            self.record
                .put(|catalogue| Ok(catalogue.add_findings(medium, volume, &self.new)?))?;
            self.new.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ntt_catalogue::rows::{MediumKind, NewMedium};

    use super::*;
    use crate::archive::{Access, CataloguePlace};
    use crate::observer::Silent;
    use crate::{Archive, Config, Interrupt};

    fn finding(number: usize) -> Finding {
        Finding::new(
            Severity::Loss,
            Layer::Content,
            FindingCode::Corrupt,
            format!("block {number}"),
        )
    }

    /// R22: however many findings there are, those told are bounded, the rest is counted, and a second run adds nothing.
    #[test]
    fn r22_findings_are_bounded_and_recorded_once() -> Result<(), Error> {
        let dir = tempfile::tempdir().expect("a directory");
        let archive = Archive::open(dir.path(), Access::Write, 64 << 10, &CataloguePlace::Embedded)?;
        let medium = NewMedium {
            id: MediumId::from_bytes([1; 16]),
            kind: MediumKind::Image,
            label: String::new(),
            source_name: "disk".to_owned(),
        };
        let key = archive.catalogue().add_medium(&medium, None, &[])?;
        let medium = archive.catalogue().medium(key)?;
        let context = Context {
            archive: &archive,
            config: &Config::default(),
            scan_program: "ntt".into(),
            observer: &Silent,
            interrupt: &Interrupt::new(),
        };
        let stage = Running::start(&Silent, Stage::Verify, Subject::NOTHING);
        let record = Record::of(&archive);
        for _ in 0..2 {
            let mut check = Check::new(&context, &medium, &stage, &record)?;
            (0..FINDINGS_MAX + 7).try_for_each(|number| check.tell(None, &[], finding(number)))?;
            check.count_untold()?;
            assert_eq!(check.wrong.len(), FINDINGS_MAX + 1);
            let last = check.wrong.last().map(|found| found.finding.detail.as_str());
            assert_eq!(last, Some("7 more findings are not listed"));
            assert_eq!(archive.catalogue().findings(key)?.len(), FINDINGS_MAX + 1);
        }
        Ok(())
    }
}
