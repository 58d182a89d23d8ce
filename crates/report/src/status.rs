//! `status`: what is going on and what waits.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{MediumRow, Progress, WorkerRow};
use ntt_model::{MediumId, Timestamp};
use serde::Serialize;

use crate::Error;
use crate::hits::{Hits, hits};
use crate::occurrences::medium_name;
use crate::selector::current_scans;

/// The whole archive at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Number of media that are not withdrawn; nothing of the others is told but what was done last.
    pub media: u64,
    /// Number of those that are.
    pub withdrawn: u64,
    /// Distinct contents.
    pub blobs: u64,
    /// Volumes with copy work that is not done.
    pub queues: Vec<Queue>,
    /// Media with places that could not be read.
    pub failing: Vec<Failing>,
    /// Workers that have not ended.
    pub workers: Vec<WorkerRow>,
    /// The last things done, newest first.
    pub recent: Vec<RecentEvent>,
}

/// A medium with places that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// Its id.
    pub medium: MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Bytes that are missing.
    pub missing_bytes: u64,
    /// What they hit.
    pub hits: Hits,
}

/// The queue of one volume.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// Id of the medium.
    pub medium: MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Volume number.
    pub volume: u32,
    /// Chunks, streams and bytes.
    #[serde(flatten)]
    pub progress: Progress,
}

/// A stage that ended.
#[derive(Clone, Debug, Serialize)]
pub struct RecentEvent {
    /// When.
    pub at: Option<Timestamp>,
    /// Medium, if it concerned one.
    pub medium_name: Option<String>,
    /// Stage.
    pub stage: String,
    /// How it ended.
    pub result: String,
    /// Wall time.
    pub elapsed_ms: u64,
    /// Things handled.
    pub count: u64,
    /// Bytes handled.
    pub bytes: u64,
}

/// Stages shown.
const RECENT_MAX: usize = 10;

/// Looks at everything once.
///
/// # Errors
///
/// What the catalogue says.
pub fn status(catalogue: &dyn Catalogue) -> Result<Status, Error> {
    let media = catalogue.media()?;
    let standing = || media.iter().filter(|row| row.withdrawn.is_none());
    let (mut queues, mut failing) = (Vec::new(), Vec::new());
    for medium in standing() {
        queues.extend(queues_of(catalogue, medium)?);
        failing.extend(failing_of(catalogue, medium)?);
    }
    let workers = catalogue
        .workers()?
        .into_iter()
        .filter(|worker| !worker.retired)
        .collect();
    Ok(Status {
        media: standing().count() as u64,
        withdrawn: (media.len() - standing().count()) as u64,
        blobs: catalogue.blob_count()?,
        queues,
        failing,
        workers,
        recent: recent(catalogue, &media)?,
    })
}

fn failing_of(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Option<Failing>, Error> {
    let image = catalogue.image(medium.key)?;
    let Some(image) = image.filter(|image| !image.unread.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Failing {
        medium: medium.medium.id,
        medium_name: medium_name(medium).to_owned(),
        missing_bytes: image.unread.iter().map(|range| range.len).sum(),
        hits: hits(catalogue, medium, &image)?,
    }))
}

fn queues_of(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<Queue>, Error> {
    let mut queues = Vec::new();
    for volume in catalogue.volumes(medium.key)? {
        if volume.volume.same_as.is_some() {
            continue;
        }
        for scan in current_scans(catalogue, &volume)? {
            let progress = catalogue.progress(scan.id)?;
            if progress.free_chunks + progress.leased_chunks + progress.waiting_chunks > 0 {
                let (medium_name, number) = (medium_name(medium).to_owned(), volume.volume.number);
                queues.push(Queue {
                    medium: medium.medium.id,
                    medium_name,
                    volume: number,
                    progress,
                });
            }
        }
    }
    Ok(queues)
}

fn recent(catalogue: &dyn Catalogue, media: &[MediumRow]) -> Result<Vec<RecentEvent>, Error> {
    let name = |key| {
        media
            .iter()
            .find(|row| row.key == key)
            .map(|row| medium_name(row).to_owned())
    };
    let events = catalogue.events(None)?.into_iter().rev().take(RECENT_MAX);
    Ok(events
        .map(|event| RecentEvent {
            at: event.at,
            medium_name: event.medium.and_then(name),
            stage: event.stage,
            result: event.result,
            elapsed_ms: event.elapsed_ms,
            count: event.count,
            bytes: event.bytes,
        })
        .collect())
}
