//! [`Catalogue`] for [`PostgresCatalogue`]: which transaction each method needs.

use std::collections::BTreeMap;

use ntt_model::entry::ScanCounts;
use ntt_model::{
    BlobHash, ChunkId, FailureClass, Finding, MediumKey, ScanEvent, ScanId, VolumeKey, WorkerId,
};

use super::Durability::{Power, Process};
use super::connection::KEYED;
use super::{
    PostgresCatalogue, answer, blob, census, check, complete, export, find, inodes, label, load, media,
    paths, queue, reopen, seal, state, worker,
};
use crate::query::{FindQuery, FoundRow, NameVisitor, Scans, SearchedScan};
use crate::record::ScanRecord;
use crate::rows::{
    BlobRow, Census, ChildRow, Chunk, ChunkResult, DirRow, EventRow, Evidence, FindingRow, Image, InodeRow,
    LastChanges, MediumRow, NewMedium, NewScan, NewVolume, Occurrence, PathRow, Progress, RelabelReport,
    ScanRow, SealReport, StreamState, VolumeRow, WorkerRow, WorkerWish,
};
use crate::{Catalogue, Error, Labels};

impl Catalogue for PostgresCatalogue {
    fn add_medium(
        &self,
        medium: &NewMedium,
        image: Option<&Image>,
        evidence: &[Evidence],
    ) -> Result<MediumKey, Error> {
        self.write(Power, |connection| {
            let key = media::add(connection, None, medium, connection.now()?)?;
            if let Some(image) = image {
                media::set_image(connection, key, image)?;
            }
            media::add_evidence(connection, key, evidence)?;
            Ok(key)
        })
    }

    fn media(&self) -> Result<Vec<MediumRow>, Error> {
        self.at_once(media::all)
    }

    fn medium(&self, medium: MediumKey) -> Result<MediumRow, Error> {
        self.at_once(|connection| media::one(connection, medium))
    }

    fn set_label(&self, medium: MediumKey, label: &str) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::set_label(connection, medium, label, connection.now()?)
        })
    }

    fn add_evidence(&self, medium: MediumKey, evidence: &[Evidence]) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::add_evidence(connection, medium, evidence)
        })
    }

    fn evidence(&self, medium: MediumKey) -> Result<Vec<Evidence>, Error> {
        self.at_once(|connection| media::evidence(connection, medium))
    }

    fn media_with_evidence(&self, evidence: &[Evidence]) -> Result<Vec<(MediumKey, Vec<Evidence>)>, Error> {
        self.at_once(|connection| media::with_evidence(connection, evidence))
    }

    fn set_image(&self, medium: MediumKey, image: &Image) -> Result<(), Error> {
        self.write(Power, |connection| media::set_image(connection, medium, image))
    }

    fn image(&self, medium: MediumKey) -> Result<Option<Image>, Error> {
        self.at_once(|connection| media::image(connection, medium))
    }

    fn put_volume(&self, medium: MediumKey, volume: &NewVolume) -> Result<VolumeKey, Error> {
        self.write(Power, |connection| {
            media::put_volume(connection, None, medium, volume)
        })
    }

    fn volumes(&self, medium: MediumKey) -> Result<Vec<VolumeRow>, Error> {
        self.at_once(|connection| media::volumes(connection, medium))
    }

    fn begin_scan(&self, scan: &NewScan) -> Result<ScanId, Error> {
        let load = self.write(Process, |connection| {
            load::begin(connection, scan, self.spool_folder.as_deref())
        })?;
        let id = load.scan;
        self.loads().insert(id, load);
        Ok(id)
    }

    fn append(&self, scan: ScanId, events: &[ScanEvent]) -> Result<(), Error> {
        let mut loads = self.loads();
        let load = loads.get_mut(&scan).ok_or_else(|| not_loading(scan))?;
        load.append(events)
    }

    fn seal_scan(&self, scan: ScanId, counts: &ScanCounts, labels: &Labels<'_>) -> Result<SealReport, Error> {
        let mut load = self.loads().remove(&scan).ok_or_else(|| not_loading(scan))?;
        let report = self.write_with(seal::BEGIN, |connection| {
            seal::seal(connection, &mut load, counts, labels)
        });
        // What was refused, or met a server that went away, may be sealed once more.
        if report.is_err() {
            self.loads().insert(scan, load);
        }
        report
    }

    fn abandon_scan(&self, scan: ScanId) -> Result<(), Error> {
        let load = self.loads().remove(&scan);
        load.map(drop).ok_or_else(|| not_loading(scan))
    }

    fn scans(&self, volume: VolumeKey) -> Result<Vec<ScanRow>, Error> {
        self.at_once(|connection| answer::scans(connection, volume))
    }

    fn each_path(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&PathRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::each(connection, scan, each)
        })
    }

    fn relabel(&self, scan: ScanId, labels: &Labels<'_>) -> Result<RelabelReport, Error> {
        self.write(Power, |connection| label::relabel(connection, scan, labels))
    }

    fn register_worker(&self, name: &str) -> Result<WorkerId, Error> {
        self.write(Power, |connection| worker::register(connection, name))
    }

    fn heartbeat(&self, worker: WorkerId) -> Result<WorkerWish, Error> {
        self.at_once(|connection| worker::heartbeat(connection, worker))
    }

    fn ask_worker(&self, worker: WorkerId, wish: WorkerWish) -> Result<(), Error> {
        self.write(Power, |connection| worker::ask(connection, worker, wish))
    }

    fn retire_worker(&self, worker: WorkerId) -> Result<(), Error> {
        self.write(Process, |connection| worker::retire(connection, worker))?;
        self.looked().remove(&worker);
        // Searches work without the index, and the worker has ended.
        let _ = self.index_results();
        Ok(())
    }

    fn workers(&self) -> Result<Vec<WorkerRow>, Error> {
        self.at_once(worker::workers)
    }

    fn claim_chunk(&self, scan: ScanId, worker: WorkerId) -> Result<Option<Chunk>, Error> {
        let Some(claimed) = self.lease(scan, worker)? else {
            return Ok(None);
        };
        let (id, epoch) = (claimed.chunk, claimed.epoch);
        // Rows of a sealed scan do not change: no transaction is needed to read them.
        let found = self.at_once(|connection| answer::look_up(connection, scan, &claimed))?;
        Ok(Some(Chunk {
            id,
            scan,
            epoch,
            items: answer::items(claimed, found)?,
        }))
    }

    fn complete_chunks(&self, worker: WorkerId, results: &[ChunkResult]) -> Result<Vec<ChunkId>, Error> {
        let begin = format!("{}; {}", Power.begin(), KEYED);
        // What is new to the store is expected to be new here. If it is not, this transaction meets it, and is run again with a look at every content.
        let mut expects_new = true;
        self.write_with(&begin, |connection| {
            let expects_new = std::mem::take(&mut expects_new);
            complete::complete(connection, worker, results, expects_new)
        })
    }

    fn release_chunk(&self, worker: WorkerId, chunk: &Chunk) -> Result<(), Error> {
        self.write(Process, |connection| {
            queue::release(connection, worker, chunk.id, chunk.epoch)
        })
    }

    fn reopenable(&self, scan: ScanId) -> Result<Vec<(FailureClass, u64)>, Error> {
        self.read(|connection| reopen::reopenable(connection, scan))
    }

    fn reopen(&self, scan: ScanId, class: Option<FailureClass>) -> Result<u64, Error> {
        self.write(Power, |connection| reopen::reopen(connection, scan, class))
    }

    fn reopen_missing(&self, scan: ScanId, blobs: &[BlobHash]) -> Result<u64, Error> {
        self.write(Power, |connection| {
            reopen::reopen_missing(connection, scan, blobs)
        })
    }

    fn progress(&self, scan: ScanId) -> Result<Progress, Error> {
        self.read(|connection| queue::progress(connection, scan))
    }

    fn census(&self, scan: ScanId) -> Result<Census, Error> {
        self.read(|connection| census::census(connection, scan))
    }

    fn resolve_dirs(&self, scan: ScanId, path: &[u8]) -> Result<Vec<DirRow>, Error> {
        self.at_once(|connection| paths::resolve_dirs(connection, scan, path))
    }

    fn directory(&self, scan: ScanId, inode: u64) -> Result<Option<DirRow>, Error> {
        self.at_once(|connection| paths::directory(connection, scan, inode))
    }

    fn resolve_path(&self, scan: ScanId, path: &[u8]) -> Result<Vec<ChildRow>, Error> {
        self.at_once(|connection| paths::resolve(connection, scan, path))
    }

    fn children(&self, scan: ScanId, directory: u64, after: i64) -> Result<Vec<ChildRow>, Error> {
        self.at_once(|connection| paths::children(connection, scan, directory, after))
    }

    fn inode(&self, scan: ScanId, inode: u64) -> Result<Option<InodeRow>, Error> {
        self.at_once(|connection| inodes::one(connection, scan, inode))
    }

    fn each_inode(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&InodeRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            inodes::each(connection, scan, each)
        })
    }

    fn each_record(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&ScanRecord) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            export::each(connection, scan, each)
        })
    }

    fn stream_states(&self, scan: ScanId, inode: u64) -> Result<Vec<StreamState>, Error> {
        self.at_once(|connection| state::of_inode(connection, scan, inode))
    }

    fn states_of_all(&self, scan: ScanId, inodes: &[u64]) -> Result<BTreeMap<u64, Vec<StreamState>>, Error> {
        let numbers: Vec<i64> = inodes.iter().map(|inode| inode.cast_signed()).collect();
        let states = self.at_once(|connection| state::of_inodes(connection, scan, &numbers))?;
        let by_inode = |(inode, states): (i64, _)| (inode.cast_unsigned(), states);
        Ok(states.into_iter().map(by_inode).collect())
    }

    fn paths_of(&self, scan: ScanId, inode: u64) -> Result<Vec<PathRow>, Error> {
        self.at_once(|connection| {
            paths::of_inodes(&mut paths::Paths::new(connection, scan)?, &[inode.cast_signed()])
        })
    }

    fn occurrences(
        &self,
        blob: &BlobHash,
        scans: Scans,
        each: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| find::occurrences(connection, blob, scans, each))
    }

    fn searched_scans(&self, scans: Scans) -> Result<Vec<SearchedScan>, Error> {
        self.at_once(|connection| find::searched(connection, scans))
    }

    fn each_name(&self, scan: ScanId, each: &mut NameVisitor<'_>) -> Result<(), Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::each_name(connection, scan, each)
        })
    }

    fn find(
        &self,
        query: &FindQuery<'_>,
        each: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| find::find(connection, query, each))
    }

    fn blob(&self, hash: &BlobHash) -> Result<Option<BlobRow>, Error> {
        self.at_once(|connection| blob::one(connection, hash))
    }

    fn each_blob(
        &self,
        scan: Option<ScanId>,
        each: &mut dyn FnMut(&BlobRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| {
            if let Some(scan) = scan {
                queue::sealed(connection, scan)?;
            }
            blob::each(connection, scan, each)
        })
    }

    fn blob_count(&self) -> Result<u64, Error> {
        self.at_once(blob::count)
    }

    fn bad_blobs(&self, scan: Option<ScanId>) -> Result<Vec<BlobHash>, Error> {
        self.read(|connection| {
            if let Some(scan) = scan {
                queue::sealed(connection, scan)?;
            }
            blob::bad(connection, scan)
        })
    }

    fn record_verified(&self, verified: &[(BlobHash, bool)]) -> Result<(), Error> {
        self.write(Power, |connection| {
            blob::record_verified(connection, verified, connection.now()?)
        })
    }

    fn add_findings(
        &self,
        medium: MediumKey,
        volume: Option<VolumeKey>,
        findings: &[Finding],
    ) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::one(connection, medium)?;
            findings
                .iter()
                .try_for_each(|finding| media::insert_finding(connection, medium, volume, None, finding))
        })
    }

    fn findings(&self, medium: MediumKey) -> Result<Vec<FindingRow>, Error> {
        self.at_once(|connection| media::findings(connection, medium))
    }

    fn add_event(&self, event: &EventRow) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::add_event(connection, event, connection.now()?)
        })
    }

    fn events(&self, medium: Option<MediumKey>) -> Result<Vec<EventRow>, Error> {
        self.at_once(|connection| media::events(connection, medium))
    }

    fn last_changes(&self) -> Result<LastChanges, Error> {
        self.at_once(media::last_changes)
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        self.read(check::check)
    }
}

fn not_loading(scan: ScanId) -> Error {
    Error::Conflict(format!("scan {scan} is not being loaded"))
}
