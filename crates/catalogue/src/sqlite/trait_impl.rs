//! [`Catalogue`] for [`SqliteCatalogue`]: which transaction each method needs.

use std::collections::BTreeMap;

use ntt_model::entry::ScanCounts;
use ntt_model::{
    BlobHash, ChunkId, FailureClass, Finding, MediumKey, ScanEvent, ScanId, VolumeKey, WorkerId,
};

use super::Durability::{Power, Process};
use super::{
    SqliteCatalogue, answer, blob, check, complete, export, find, inodes, label, load, media, paths, queue,
    seal, state,
};
use crate::query::{FindQuery, FoundRow, NameVisitor, Scans, SearchedScan};
use crate::record::ScanRecord;
use crate::rows::{
    BlobRow, Census, ChildRow, Chunk, ChunkResult, DirRow, EventRow, Evidence, FindingRow, Image, InodeRow,
    LastChanges, MediumRow, NewMedium, NewScan, NewVolume, Occurrence, PathRow, Progress, RelabelReport,
    ScanRow, SealReport, StreamState, VolumeRow, WorkerRow, WorkerWish,
};
use crate::{Catalogue, Error, Labels};

impl Catalogue for SqliteCatalogue {
    fn add_medium(
        &self,
        medium: &NewMedium,
        image: Option<&Image>,
        evidence: &[Evidence],
    ) -> Result<MediumKey, Error> {
        self.write(Power, |connection| {
            let key = media::add(connection, medium, self.clock.now())?;
            if let Some(image) = image {
                media::set_image(connection, key, image)?;
            }
            media::add_evidence(connection, key, evidence)?;
            Ok(key)
        })
    }

    fn media(&self) -> Result<Vec<MediumRow>, Error> {
        self.read(media::all)
    }

    fn medium(&self, medium: MediumKey) -> Result<MediumRow, Error> {
        self.read(|connection| media::one(connection, medium))
    }

    fn set_label(&self, medium: MediumKey, label: &str) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::set_label(connection, medium, label, self.clock.now())
        })
    }

    fn add_evidence(&self, medium: MediumKey, evidence: &[Evidence]) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::add_evidence(connection, medium, evidence)
        })
    }

    fn evidence(&self, medium: MediumKey) -> Result<Vec<Evidence>, Error> {
        self.read(|connection| media::evidence(connection, medium))
    }

    fn media_with_evidence(&self, evidence: &[Evidence]) -> Result<Vec<(MediumKey, Vec<Evidence>)>, Error> {
        self.read(|connection| media::with_evidence(connection, evidence))
    }

    fn set_image(&self, medium: MediumKey, image: &Image) -> Result<(), Error> {
        self.write(Power, |connection| media::set_image(connection, medium, image))
    }

    fn image(&self, medium: MediumKey) -> Result<Option<Image>, Error> {
        self.read(|connection| media::image(connection, medium))
    }

    fn put_volume(&self, medium: MediumKey, volume: &NewVolume) -> Result<VolumeKey, Error> {
        self.write(Power, |connection| media::put_volume(connection, medium, volume))
    }

    fn volumes(&self, medium: MediumKey) -> Result<Vec<VolumeRow>, Error> {
        self.read(|connection| media::volumes(connection, medium))
    }

    fn begin_scan(&self, scan: &NewScan) -> Result<ScanId, Error> {
        let mut writer = self.writer()?;
        let load = writer.transact(Process, |connection| {
            load::begin(connection, scan, self.clock.now())
        })?;
        let id = load.scan;
        writer.loads.insert(id, load);
        Ok(id)
    }

    fn append(&self, scan: ScanId, events: &[ScanEvent]) -> Result<(), Error> {
        let mut writer = self.writer()?;
        let mut load = writer
            .loads
            .get(&scan)
            .cloned()
            .ok_or_else(|| not_loading(scan))?;
        writer.transact(Process, |connection| load.append(connection, events))?;
        writer.loads.insert(scan, load);
        Ok(())
    }

    fn seal_scan(&self, scan: ScanId, counts: &ScanCounts, labels: &Labels<'_>) -> Result<SealReport, Error> {
        let mut writer = self.writer()?;
        let load = writer
            .loads
            .get(&scan)
            .cloned()
            .ok_or_else(|| not_loading(scan))?;
        let report = writer.transact(Power, |connection| {
            seal::seal(connection, load, counts, labels, self.clock.now())
        })?;
        writer.loads.remove(&scan);
        Ok(report)
    }

    fn abandon_scan(&self, scan: ScanId) -> Result<(), Error> {
        let mut writer = self.writer()?;
        if !writer.loads.contains_key(&scan) {
            return Err(not_loading(scan));
        }
        writer.transact(Process, |connection| load::drop_unsealed(connection, scan))?;
        writer.loads.remove(&scan);
        Ok(())
    }

    fn scans(&self, volume: VolumeKey) -> Result<Vec<ScanRow>, Error> {
        self.read(|connection| answer::scans(connection, volume))
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
        self.write(Process, |connection| {
            queue::register(connection, name, self.clock.now())
        })
    }

    fn heartbeat(&self, worker: WorkerId) -> Result<WorkerWish, Error> {
        self.write(Process, |connection| {
            queue::heartbeat(connection, worker, self.clock.now())
        })?;
        Ok(WorkerWish::Work)
    }

    fn ask_worker(&self, _: WorkerId, _: WorkerWish) -> Result<(), Error> {
        Err(Error::Conflict(
            "the embedded catalogue has one run at a time; interrupt that run instead".to_owned(),
        ))
    }

    fn retire_worker(&self, worker: WorkerId) -> Result<(), Error> {
        self.write(Process, |connection| queue::retire(connection, worker))
    }

    fn workers(&self) -> Result<Vec<WorkerRow>, Error> {
        self.read(queue::workers)
    }

    fn claim_chunk(&self, scan: ScanId, worker: WorkerId) -> Result<Option<Chunk>, Error> {
        let claimed = self.write(Process, |connection| {
            queue::claim(connection, scan, worker, self.clock.now())
        })?;
        let Some((id, epoch)) = claimed else {
            return Ok(None);
        };
        // The items are read outside the writer's lock: a lease is the only thing that workers wait for each other for.
        let items = self.read(|connection| answer::items(connection, scan, id.0))?;
        Ok(Some(Chunk {
            id,
            scan,
            epoch,
            items,
        }))
    }

    fn complete_chunks(&self, worker: WorkerId, results: &[ChunkResult]) -> Result<Vec<ChunkId>, Error> {
        self.write(Power, |connection| {
            complete::complete(connection, worker, results, self.clock.now())
        })
    }

    fn release_chunk(&self, worker: WorkerId, chunk: &Chunk) -> Result<(), Error> {
        self.write(Process, |connection| {
            queue::release(connection, worker, chunk.id, chunk.epoch)
        })
    }

    fn reopenable(&self, scan: ScanId) -> Result<Vec<(FailureClass, u64)>, Error> {
        self.read(|connection| complete::reopenable(connection, scan))
    }

    fn reopen(&self, scan: ScanId, class: Option<FailureClass>) -> Result<u64, Error> {
        self.write(Power, |connection| complete::reopen(connection, scan, class))
    }

    fn reopen_missing(&self, scan: ScanId, blobs: &[BlobHash]) -> Result<u64, Error> {
        self.write(Power, |connection| {
            complete::reopen_missing(connection, scan, blobs)
        })
    }

    fn progress(&self, scan: ScanId) -> Result<Progress, Error> {
        self.read(|connection| queue::progress(connection, scan, self.clock.now()))
    }

    fn census(&self, scan: ScanId) -> Result<Census, Error> {
        self.read(|connection| answer::census(connection, scan))
    }

    fn resolve_dirs(&self, scan: ScanId, path: &[u8]) -> Result<Vec<DirRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::resolve_dirs(connection, scan, path)
        })
    }

    fn directory(&self, scan: ScanId, inode: u64) -> Result<Option<DirRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::directory(connection, scan, inode)
        })
    }

    fn resolve_path(&self, scan: ScanId, path: &[u8]) -> Result<Vec<ChildRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::resolve(connection, scan, path)
        })
    }

    fn children(&self, scan: ScanId, directory: u64, after: i64) -> Result<Vec<ChildRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::children(connection, scan, directory, after)
        })
    }

    fn inode(&self, scan: ScanId, inode: u64) -> Result<Option<InodeRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            inodes::one(connection, scan, inode)
        })
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
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            state::of_inode(connection, scan, inode)
        })
    }

    fn states_of_all(&self, scan: ScanId, inodes: &[u64]) -> Result<BTreeMap<u64, Vec<StreamState>>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            let mut all = BTreeMap::new();
            for inode in inodes {
                match state::of_inode(connection, scan, *inode) {
                    Ok(states) if states.is_empty() => {}
                    Err(Error::NotFound { .. }) => {}
                    states => drop(all.insert(*inode, states?)),
                }
            }
            Ok(all)
        })
    }

    fn paths_of(&self, scan: ScanId, inode: u64) -> Result<Vec<PathRow>, Error> {
        self.read(|connection| {
            queue::sealed(connection, scan)?;
            paths::of_inode(&mut paths::Paths::new(connection, scan)?, inode)
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
        self.read(|connection| find::searched(connection, scans))
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
        self.read(|connection| blob::one(connection, hash))
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
        self.read(blob::count)
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
            blob::record_verified(connection, verified, self.clock.now())
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
        self.read(|connection| media::findings(connection, medium))
    }

    fn add_event(&self, event: &EventRow) -> Result<(), Error> {
        self.write(Power, |connection| {
            media::add_event(connection, event, self.clock.now())
        })
    }

    fn events(&self, medium: Option<MediumKey>) -> Result<Vec<EventRow>, Error> {
        self.read(|connection| media::events(connection, medium))
    }

    fn last_changes(&self) -> Result<LastChanges, Error> {
        self.read(media::last_changes)
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        self.read(check::check)
    }
}

fn not_loading(scan: ScanId) -> Error {
    Error::Conflict(format!("scan {scan} is not being loaded"))
}
