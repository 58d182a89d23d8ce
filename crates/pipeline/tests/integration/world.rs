//! A temporary archive and what it takes to run use cases on it.

use std::path::{Path, PathBuf};

use ntt_pipeline::archive::{Access, CataloguePlace};
use ntt_pipeline::ingest::{self, IngestRequest, IngestSummary};
use ntt_pipeline::observer::Silent;
use ntt_pipeline::restore::RestoreRequest;
use ntt_pipeline::{Archive, Config, Context, Error, Interrupt};
use ntt_report::selector::Selector;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) archive: Archive,
    config: Config,
    pub(crate) interrupt: Interrupt,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(
            &dir.path().join("archive"),
            Access::Write,
            64 * 1024,
            &CataloguePlace::Embedded,
        )
        .unwrap();
        Self {
            dir,
            archive,
            config: Config::default(),
            interrupt: Interrupt::new(),
        }
    }

    /// The same archive, closed and opened again.
    pub(crate) fn reopened(self) -> Self {
        self.reopened_after(|_| ())
    }

    /// The same archive, closed and opened again after something happened to its files.
    pub(crate) fn reopened_after(self, what: impl FnOnce(&Path)) -> Self {
        let root = self.archive.root().to_owned();
        drop(self.archive);
        what(&root);
        Self {
            archive: Archive::open(&root, Access::Write, 0, &CataloguePlace::Embedded).unwrap(),
            ..self
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            archive: &self.archive,
            config: &self.config,
            scan_program: scan_child(),
            observer: &Silent,
            interrupt: &self.interrupt,
        }
    }

    pub(crate) fn ingest(&self, source: &Path) -> Result<IngestSummary, Error> {
        let request = IngestRequest {
            sources: vec![source.to_owned()],
            ..IngestRequest::default()
        };
        ingest::run(&self.context(), &request)
    }

    /// A request to restore or compare the only medium.
    pub(crate) fn request(&self, destination: &Path) -> RestoreRequest {
        let media = self.archive.catalogue().media().unwrap();
        let id = media[0].medium.id.to_string();
        RestoreRequest {
            selection: Selector::parse(self.archive.catalogue(), id.as_bytes())
                .unwrap()
                .select(
                    self.archive.catalogue(),
                    ntt_report::selector::ScanChoice::Current,
                )
                .unwrap(),
            destination: destination.into(),
            into_existing: false,
            streams: false,
        }
    }
}

/// The example `pipeline_scan_child`, which cargo builds along with the tests.
fn scan_child() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/pipeline_scan_child")
}
