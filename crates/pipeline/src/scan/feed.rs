//! Where the events of a scan come from.

use ntt_filesystem::{Family, ScanOptions, Stop, Visitor};
use ntt_inspect::ScanRequest;
use ntt_inspect::live::{Error as LiveError, LiveOptions, Place};
use ntt_inspect::supervisor::Supervisor;
use ntt_model::entry::ScanCounts;
use ntt_model::{ByteRange, Mapping, ScanEvent};

use super::ScanSettings;
use crate::content::{image_files, open_tree};
use crate::identify::{Source, SourceKind};
use crate::inspect::{DIRECTORY, scan_error, supervisor};
use crate::tree::join;
use crate::{Context, Error};

/// Who reads a volume.
pub(super) enum Reader {
    /// A file system of an image, read in the scan child.
    FileSystem {
        /// Which.
        family: Family,
        /// Where the volume lies in the image.
        range: ByteRange,
        /// Where its bytes lie when they are not one range.
        mapping: Option<Mapping>,
        /// The address of its first byte, if it is a device.
        device: Option<u64>,
        /// Inode number of the root directory.
        root: u64,
    },
    /// A directory tree of the host, or a file system mounted in it.
    Directory {
        /// Where it begins, relative to the root of the source; empty for the tree itself.
        mount_point: Vec<u8>,
    },
}

/// What a reader told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) counts: ScanCounts,
    /// Whether the end was reached.
    pub(super) complete: bool,
    /// Where other file systems begin, relative to the root of the source.
    pub(super) mount_points: Vec<Vec<u8>>,
}

impl Reader {
    /// The name that the catalogue keeps.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::FileSystem { family, .. } => family.name(),
            Self::Directory { .. } => DIRECTORY,
        }
    }
}

impl Reader {
    /// Whether the file system keeps checksums of the content of its files.
    pub(super) const fn keeps_checksums(&self) -> bool {
        matches!(
            self,
            Self::FileSystem {
                family: Family::Btrfs,
                ..
            }
        )
    }
}

/// Takes the events of a scan, batch by batch.
pub(super) type Take<'a> = dyn FnMut(Vec<ScanEvent>) -> Result<(), Error> + 'a;

/// The source of a medium, ready to be scanned.
pub(super) struct Feed<'a> {
    context: &'a Context<'a>,
    source: Source,
    settings: ScanSettings,
    /// Whether content is compared with the checksums that its file system keeps.
    verifies: bool,
}

impl<'a> Feed<'a> {
    pub(super) const fn new(context: &'a Context<'a>, source: Source, settings: ScanSettings) -> Self {
        Self {
            context,
            source,
            settings,
            verifies: false,
        }
    }

    /// One that compares content with the checksums that its file system keeps.
    pub(super) fn verifying(context: &'a Context<'a>, source: Source) -> Self {
        Self {
            verifies: true,
            ..Self::new(context, source, ScanSettings::default())
        }
    }

    /// Reads a volume to its end.
    pub(super) fn read(&self, reader: &Reader, take: &mut Take<'_>) -> Result<Told, Error> {
        match (reader, self.source.kind) {
            (
                Reader::FileSystem {
                    family,
                    range,
                    mapping,
                    device,
                    ..
                },
                SourceKind::Image | SourceKind::Set,
            ) => {
                let request = ScanRequest {
                    range: *range,
                    mapping: mapping.clone(),
                    device: *device,
                    family: *family,
                    options: ScanOptions {
                        deleted: self.settings.deleted,
                        verify_content: self.verifies,
                        ..ScanOptions::default()
                    },
                };
                self.file_system(&request, take)
            }
            (Reader::Directory { mount_point }, SourceKind::Directory) => self.directory(mount_point, take),
            _ => Err(Error::Scan("the reader does not fit the source".to_owned())),
        }
    }

    /// Inode number of the root directory of what a reader reads.
    pub(super) fn root(&self, reader: &Reader) -> Result<u64, Error> {
        match reader {
            Reader::FileSystem { root, .. } => Ok(*root),
            Reader::Directory { mount_point } => {
                let tree = open_tree(&self.source, mount_point)?;
                let path = self.source.path.as_path();
                tree.root_inode().map_err(Error::io("examining", path))
            }
        }
    }

    /// Whether the place in a directory source is a directory that can be entered.
    pub(super) fn can_enter(&self, mount_point: &[u8]) -> Result<(), Error> {
        open_tree(&self.source, mount_point).map(drop)
    }

    fn directory(&self, mount_point: &[u8], take: &mut Take<'_>) -> Result<Told, Error> {
        let tree = open_tree(&self.source, mount_point)?;
        let root = self.context.archive.root();
        let options = LiveOptions {
            cross_file_systems: self.settings.cross_file_systems,
            archive: Some(Place::of(root).map_err(Error::io("examining", root))?),
            ..LiveOptions::default()
        };
        let mut batch = Batch {
            take,
            events: Vec::new(),
            failed: None,
        };
        let scanned = tree.scan(&options, &mut batch, &self.context.interrupt.flag());
        let flushed = batch.flush();
        match (batch.failed, scanned) {
            (Some(error), _) => Err(error),
            (None, Err(LiveError::Cancelled | LiveError::Stopped)) => Err(Error::Interrupted),
            (None, Err(error)) => Err(Error::Scan(error.to_string())),
            (None, Ok(summary)) => Ok(Told {
                counts: summary.counts,
                complete: flushed.is_ok(),
                mount_points: summary
                    .mount_points
                    .iter()
                    .map(|below| join(mount_point, below))
                    .collect(),
            }),
        }
    }

    fn supervisor(&self) -> Supervisor {
        supervisor(
            self.context.config,
            &self.context.scan_program,
            self.context.interrupt,
        )
    }

    fn file_system(&self, request: &ScanRequest, take: &mut Take<'_>) -> Result<Told, Error> {
        let files = image_files(&self.source)?;
        let mut failed = None;
        let scanned = self.supervisor().scan(&files, request, &mut |events| {
            take(events).map_err(|error| {
                failed = Some(error);
                Stop
            })
        });
        match (failed, scanned) {
            (Some(error), _) => Err(error),
            (None, Ok(summary)) => Ok(Told {
                counts: summary.counts,
                complete: summary.complete,
                mount_points: Vec::new(),
            }),
            (None, Err(error)) => Err(scan_error(&error)),
        }
    }
}

/// Events of a directory handed on together.
const BATCH_EVENTS: usize = 4096;

/// Gathers the events of a walk into batches.
struct Batch<'a, 't> {
    take: &'a mut Take<'t>,
    events: Vec<ScanEvent>,
    failed: Option<Error>,
}

impl Batch<'_, '_> {
    fn flush(&mut self) -> Result<(), Stop> {
        let events = std::mem::take(&mut self.events);
        (self.take)(events).map_err(|error| {
            self.failed.get_or_insert(error);
            Stop
        })
    }
}

impl Visitor for Batch<'_, '_> {
    fn visit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.events.push(event);
        if self.events.len() >= BATCH_EVENTS {
            self.flush()?;
        }
        Ok(())
    }
}
