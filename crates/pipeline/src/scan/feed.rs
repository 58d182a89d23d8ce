//! Where the events of a scan come from.

use ntt_filesystem::{Family, ScanOptions, Stop};
use ntt_inspect::ScanRequest;
use ntt_inspect::supervisor::Supervisor;
use ntt_model::entry::ScanCounts;
use ntt_model::{ByteRange, ScanEvent};

use super::{ScanSettings, family_name};
use crate::identify::{Source, SourceKind};
use crate::inspect::{DIRECTORY, open, scan_error, supervisor};
use crate::{Context, Error};

/// Who reads a volume.
pub(super) enum Reader {
    /// A file system of an image, read in the scan child.
    FileSystem {
        /// Which.
        family: Family,
        /// Where the volume lies in the image.
        range: ByteRange,
        /// Inode number of the root directory.
        root: u64,
    },
    /// A directory tree of the host.
    Directory,
}

impl Reader {
    /// The name that the catalogue keeps.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::FileSystem { family, .. } => family_name(*family),
            Self::Directory => DIRECTORY,
        }
    }
}

/// Takes the events of a scan, batch by batch.
pub(super) type Take<'a> = dyn FnMut(Vec<ScanEvent>) -> Result<(), Error> + 'a;

/// The source of a medium, ready to be scanned.
pub(super) struct Feed<'a> {
    context: &'a Context<'a>,
    source: Source,
    settings: ScanSettings,
}

impl<'a> Feed<'a> {
    pub(super) const fn new(context: &'a Context<'a>, source: Source, settings: ScanSettings) -> Self {
        Self {
            context,
            source,
            settings,
        }
    }

    /// Reads a volume to its end; answers what was told and whether the end was reached.
    pub(super) fn read(&self, reader: &Reader, take: &mut Take<'_>) -> Result<(ScanCounts, bool), Error> {
        match (reader, self.source.kind) {
            (Reader::FileSystem { family, range, .. }, SourceKind::Image) => {
                self.file_system(*family, *range, take)
            }
            _ => Err(Error::Scan("the reader does not fit the source".to_owned())),
        }
    }

    fn supervisor(&self) -> Supervisor {
        supervisor(self.context.config, &self.context.scan_program, self.context.interrupt)
    }

    fn file_system(
        &self,
        family: Family,
        range: ByteRange,
        take: &mut Take<'_>,
    ) -> Result<(ScanCounts, bool), Error> {
        let file = open(&self.source)?;
        let request = ScanRequest {
            range,
            family,
            options: ScanOptions {
                deleted: self.settings.deleted,
                ..ScanOptions::default()
            },
            unread: self.source.unread.clone(),
        };
        let mut failed = None;
        let scanned = self.supervisor().scan(file.as_file(), &request, &mut |events| {
            take(events).map_err(|error| {
                failed = Some(error);
                Stop
            })
        });
        match (failed, scanned) {
            (Some(error), _) => Err(error),
            (None, Ok(summary)) => Ok((summary.counts, summary.complete)),
            (None, Err(error)) => Err(scan_error(&error)),
        }
    }
}
