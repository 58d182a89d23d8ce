//! The search index of the archive: made when a scan is sealed, and again whenever it is missing or damaged.
//!
//! Nothing depends on it: what has no segment is searched in the catalogue. So a segment that cannot be written is a warning, never the end
//! of a scan.

use std::path::PathBuf;

use ntt_catalogue::query::{Scans, SearchedScan};
use ntt_model::{ScanId, Severity};
use ntt_report::index::identity;

use crate::{Archive, Context, Error, Event};

/// Names between two looks at the interrupt.
const NAMES_PER_LOOK: u64 = 1 << 16;

/// How the segments of an archive stand.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Scans that have a whole one.
    pub(crate) whole: u64,
    /// Scans that have none, or a bad one, with what is wrong.
    pub(crate) wanting: Vec<(SearchedScan, String)>,
    /// Segments of scans that nobody asks any more.
    pub(crate) superseded: Vec<ScanId>,
    /// Files that a killed run left.
    pub(crate) temporaries: Vec<PathBuf>,
}

/// Reads every segment and checks it.
pub(crate) fn standing(archive: &Archive) -> Result<Standing, Error> {
    let folder = archive.search();
    let mut standing = Standing::default();
    let mut searched = archive.catalogue().searched_scans(Scans::Current)?;
    // One that stands for several volumes has one segment.
    searched.sort_by_key(|scan| scan.scan);
    searched.dedup_by_key(|scan| scan.scan);
    for scan in &searched {
        let checked = folder.open(&identity(scan)).and_then(|segment| match segment {
            Some(segment) => segment.verify().map(|()| true),
            None => Ok(false),
        });
        match checked {
            Ok(true) => standing.whole += 1,
            Ok(false) => standing.wanting.push((scan.clone(), "missing".to_owned())),
            Err(error) => standing.wanting.push((scan.clone(), error.to_string())),
        }
    }
    let (present, strays) = folder.list()?;
    let is_searched = |scan: &i64| searched.iter().any(|known| known.scan.0 == *scan);
    standing.superseded = present
        .into_iter()
        .filter(|scan| !is_searched(scan))
        .map(ScanId)
        .collect();
    standing.temporaries = strays;
    standing
        .temporaries
        .retain(|path| path.extension().is_some_and(|extension| extension == "tmp"));
    Ok(standing)
}

/// Makes the segment of a scan.
pub(crate) fn build(context: &Context<'_>, scan: &SearchedScan) -> Result<(), Error> {
    let archive = context.archive;
    let mut failure = None;
    let mut count = 0_u64;
    let built = archive.search().build(&identity(scan), &mut |visit| {
        let visited = archive.catalogue().each_name(scan.scan, &mut |directory, name| {
            count += 1;
            let step = match count % NAMES_PER_LOOK {
                0 => context.interrupt.check(),
                _ => Ok(()),
            };
            let step = step.and_then(|()| visit(directory, name).map_err(Error::from));
            step.map_err(|error| {
                failure = Some(error);
                ntt_catalogue::Error::Stopped
            })
        });
        visited.map_err(|error| ntt_search::Error::Names(Box::new(error)))
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(built?),
    }
}

/// Makes the segment of a scan that was sealed just now, and removes that of the scan before it. What fails is told as a warning.
pub(crate) fn follow(context: &Context<'_>, scan: ScanId, previous: Option<ScanId>) {
    let made = make(context, scan);
    let folder = context.archive.search();
    let result = made.and_then(|()| Ok(previous.map_or(Ok(()), |previous| folder.remove(previous.0))?));
    if let Err(error) = result {
        context.observer.event(&Event::Message {
            severity: Severity::Warning,
            text: format!("the search index was not made ({error}): searches are slower until `ntt doctor --fix` makes it"),
        });
    }
}

fn make(context: &Context<'_>, scan: ScanId) -> Result<(), Error> {
    let searched = context.archive.catalogue().searched_scans(Scans::Current)?;
    match searched.iter().find(|known| known.scan == scan) {
        Some(known) => build(context, known),
        None => Ok(()),
    }
}

/// Puts right what [`standing`] found; answers with how many segments were made.
pub(crate) fn repair(context: &Context<'_>) -> Result<u64, Error> {
    let standing = standing(context.archive)?;
    let folder = context.archive.search();
    for path in &standing.temporaries {
        std::fs::remove_file(path).map_err(Error::io("removing", path))?;
    }
    for scan in &standing.superseded {
        folder.remove(scan.0)?;
    }
    let mut made = 0;
    for (scan, _) in &standing.wanting {
        context.interrupt.check()?;
        build(context, scan)?;
        made += 1;
    }
    Ok(made)
}
