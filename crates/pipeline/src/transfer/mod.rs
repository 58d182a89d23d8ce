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
    /// The catalogue as it is now, for reading: what others write meanwhile is not seen.
    fn look(&self) -> Result<Box<dyn Catalogue>, Error> {
        Ok(match self {
            Self::File(path) => Box::new(SqliteCatalogue::open_snapshot(path, Arc::new(SystemClock))?),
            Self::Url(url) => Box::new(PostgresCatalogue::open_snapshot(url)?),
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
    count(from.look()?.as_ref())
}

fn count(from: &dyn Catalogue) -> Result<TransferSummary, Error> {
    let mut summary = TransferSummary {
        blobs: from.blob_count()?,
        ..TransferSummary::default()
    };
    for medium in from.media()? {
        summary.media += 1;
        for scan in scans(from, medium.key)? {
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

/// Copies what `from` is when the copy begins; runs may write to it meanwhile.
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
    let source = from.look()?;
    let summary = count(source.as_ref())?;
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

#[cfg(test)]
mod tests {
    use ntt_catalogue::rows::EventRow;

    use super::*;
    use crate::observer::Event;

    fn event(detail: &str) -> EventRow {
        EventRow {
            at: None,
            medium: None,
            stage: "verify".to_owned(),
            result: "ok".to_owned(),
            elapsed_ms: 0,
            count: 0,
            bytes: 0,
            detail: detail.to_owned(),
        }
    }

    /// Copies `from`, to which `writer` writes as soon as the copy has begun; what the copy holds.
    fn copied_while_written(from: &CatalogueName, writer: &dyn Catalogue) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("copy.db");
        writer.add_event(&event("before")).expect("added");
        let write = |_: &Event| writer.add_event(&event("meanwhile")).expect("added");
        run(from, &CatalogueName::File(to.clone()), &write, &Interrupt::new()).expect("copied");
        assert!(
            writer.events(None).expect("events").len() > 1,
            "nothing was written"
        );
        let copy = SqliteCatalogue::open_read_only(&to, Arc::new(SystemClock)).expect("the copy");
        let events = copy.events(None).expect("events");
        events.into_iter().map(|event| event.detail).collect()
    }

    /// R38: what is written while a catalogue is copied does not tear the copy, which is what there was at its start.
    #[test]
    fn r38_a_copy_is_of_one_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("catalogue.db");
        let writer = SqliteCatalogue::open(&from, Arc::new(SystemClock)).expect("a catalogue");
        let copied = copied_while_written(&CatalogueName::File(from), &writer);
        assert_eq!(copied, ["before"]);
    }

    /// As above, of a server.
    #[test]
    fn r38_a_copy_of_a_server_is_of_one_moment() {
        let Some(server) = ntt_testkit::postgres::PostgresServer::start() else {
            return;
        };
        let url = server.create_database("moment", None);
        postgres::init(&url).expect("a catalogue");
        let writer = PostgresCatalogue::open(&url, None).expect("a catalogue");
        assert_eq!(
            copied_while_written(&CatalogueName::Url(url), &writer),
            ["before"]
        );
    }
}
