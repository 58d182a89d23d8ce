//! A catalogue copied into an empty one, of either kind, with all keys and times: equal row for row, but for workers and leases.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_catalogue::postgres::{self, PostgresCatalogue};
use ntt_catalogue::record::ScanRecord;
use ntt_catalogue::rows::{MediumRow, ScanRow};
use ntt_catalogue::sqlite::{self, SqliteCatalogue};
use ntt_catalogue::{Catalogue, Error as CatalogueError, Restore};
use ntt_host::SystemClock;
use ntt_model::entry::{Directory, Name};
use ntt_model::{MediumKey, ScanEvent};
use serde::{Deserialize, Serialize};

use crate::entries::Entries;
use crate::new_catalogue::{fill_beside, fill_database, put_in_place};
use crate::stage::{Running, Subject};
use crate::{Error, Interrupt, Observer, RunOutcome, Stage};

/// A catalogue as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CatalogueName {
    /// The file of an embedded catalogue.
    File(PathBuf),
    /// The URL of a database.
    Url(String),
}

impl From<&Path> for CatalogueName {
    fn from(word: &Path) -> Self {
        match word.to_str().filter(|word| postgres::is_url(word)) {
            Some(url) => Self::Url(url.to_owned()),
            None => Self::File(word.to_owned()),
        }
    }
}

impl CatalogueName {
    fn look(&self) -> Result<Box<dyn Catalogue>, Error> {
        Ok(match self {
            Self::File(path) => Box::new(SqliteCatalogue::open_read_only(path, Arc::new(SystemClock))?),
            Self::Url(url) => Box::new(PostgresCatalogue::open_read_only(url)?),
        })
    }

    fn fill(&self, fill: impl FnOnce(Box<dyn Restore>) -> Result<(), Error>) -> Result<(), Error> {
        let path = match self {
            Self::Url(url) => return fill_database(url, None, fill),
            Self::File(path) => path,
        };
        let _alone = sqlite::lock_for_writing(path)?;
        if path.exists() {
            return Err(Error::Refused(format!("{} exists already", path.display())));
        }
        fill_beside(path, fill)?;
        put_in_place(path)
    }
}

/// What is, or would be, copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TransferSummary {
    /// Media.
    pub media: u64,
    /// Scans.
    pub scans: u64,
    /// Names in them.
    pub names: u64,
    /// Inodes in them.
    pub inodes: u64,
    /// Blobs.
    pub blobs: u64,
}

/// What there is to copy. Changes nothing.
///
/// # Errors
///
/// When the catalogue cannot be read.
pub fn plan(from: &CatalogueName) -> Result<TransferSummary, Error> {
    let from = from.look()?;
    let mut summary = TransferSummary {
        blobs: from.blob_count()?,
        ..TransferSummary::default()
    };
    for medium in from.media()? {
        summary.media += 1;
        for scan in scans(from.as_ref(), medium.key)? {
            summary.scans += 1;
            summary.names += scan.counts.names;
            summary.inodes += scan.counts.inodes;
        }
    }
    Ok(summary)
}

fn scans(from: &dyn Catalogue, medium: MediumKey) -> Result<Vec<ScanRow>, Error> {
    let mut scans = Vec::new();
    for volume in from.volumes(medium)? {
        scans.append(&mut from.scans(volume.key)?);
    }
    Ok(scans)
}

/// Copies. No run may write to `from` meanwhile.
///
/// # Errors
///
/// When one of them fails, or `to` is not empty. A file has its name only when it is whole; [`Error::HalfFilled`] of a database that is not, which is refused by whoever opens it.
pub fn run(
    from: &CatalogueName,
    to: &CatalogueName,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<TransferSummary, Error> {
    let summary = plan(from)?;
    let source = from.look()?;
    let stage = Running::start_with(
        observer,
        Stage::Transfer,
        Subject::NOTHING,
        Some(summary.names + summary.inodes),
        None,
    );
    let result = to.fill(|target| transfer(source.as_ref(), target, &stage, interrupt));
    stage.conclude(result, |()| RunOutcome::Complete)?;
    Ok(summary)
}

fn transfer(
    from: &dyn Catalogue,
    mut to: Box<dyn Restore>,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let media = from.media()?;
    for medium in &media {
        to.medium(
            medium,
            &from.evidence(medium.key)?,
            from.image(medium.key)?.as_ref(),
        )?;
    }
    for medium in &media {
        facts_of(from, to.as_mut(), medium)?;
    }
    for event in from.events(None)? {
        to.event(&event)?;
    }
    from.each_blob(None, &mut |blob| to.blob(blob))?;
    for medium in &media {
        for scan in scans(from, medium.key)? {
            interrupt.check()?;
            one_scan(from, to.as_mut(), &scan, stage, interrupt)?;
        }
    }
    Ok(to.finish()?)
}

fn facts_of(from: &dyn Catalogue, to: &mut dyn Restore, medium: &MediumRow) -> Result<(), Error> {
    for volume in from.volumes(medium.key)? {
        to.volume(&volume)?;
    }
    for finding in from.findings(medium.key)? {
        to.finding(medium.key, &finding)?;
    }
    Ok(())
}

fn one_scan(
    from: &dyn Catalogue,
    to: &mut dyn Restore,
    scan: &ScanRow,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    to.begin_scan(scan)?;
    let mut batch = Batch {
        to,
        stage,
        entries: Entries::default(),
        directory: 0,
    };
    let told = from.each_record(scan.id, &mut |record| {
        if interrupt.is_raised() {
            return Err(CatalogueError::Stopped);
        }
        batch.take(record)
    });
    interrupt.check()?;
    told?;
    batch.flush()?;
    Ok(batch.to.end_scan()?)
}

/// Entries on their way.
struct Batch<'t> {
    to: &'t mut dyn Restore,
    stage: &'t Running<'t>,
    entries: Entries,
    directory: u64,
}

impl Batch<'_> {
    fn take(&mut self, record: &ScanRecord) -> Result<(), CatalogueError> {
        match record {
            ScanRecord::Directory(row) => {
                self.directory = row.inode;
                self.push(ScanEvent::Directory(Directory {
                    inode: row.inode,
                    parent: row.parent,
                    name: row.name.clone(),
                    namespace: row.namespace,
                }))
            }
            ScanRecord::Path(record) => {
                let path = &record.path;
                if let Some(rule) = &path.rule {
                    self.entries.label(path.id, rule);
                }
                let name = path.path.rsplit(|byte| *byte == b'/').next();
                self.push(ScanEvent::Name(Name {
                    directory: self.directory,
                    name: name.unwrap_or_default().to_vec(),
                    inode: path.inode,
                    namespace: path.namespace,
                    alternate: path.alternate,
                    allocation: path.allocation,
                }))
            }
            ScanRecord::Inode(inode) => self.push(ScanEvent::Inode(inode.clone())),
            ScanRecord::Result(result) => {
                self.flush()?;
                self.to.result(result)
            }
            ScanRecord::Attempt(attempt) => {
                self.flush()?;
                self.to.attempt(attempt)
            }
        }
    }

    fn push(&mut self, event: ScanEvent) -> Result<(), CatalogueError> {
        let gone = self.entries.push(event, self.to)?;
        self.tell(gone);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CatalogueError> {
        let gone = self.entries.flush(self.to)?;
        self.tell(gone);
        Ok(())
    }

    fn tell(&self, gone: u64) {
        if gone > 0 {
            self.stage.add(gone, 0);
        }
    }
}
