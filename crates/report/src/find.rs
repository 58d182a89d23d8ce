//! `find`: patterns on bytes, guided by the search index.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::{BytesTest, FindQuery, FoundRow, NameIndex, Scans, SearchedScan, StateFilter};
use ntt_catalogue::rows::{MediumRow, State};
use ntt_model::entry::Allocation;
use ntt_model::{FailureClass, Kind, MediumId, MediumKey, ScanId, Timestamp};
pub use ntt_search::Pattern;
use ntt_search::{Matcher, Query, SearchFolder};
use serde::Serialize;

use crate::index::{Guide, Unindexed};
use crate::listing::ListedStream;
use crate::occurrences::medium_name;
use crate::{ByteText, Error};

/// What to look for; all given conditions must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FindOptions {
    /// On the last component.
    pub name: Option<Pattern>,
    /// On the path relative to the volume's root.
    pub path: Option<Pattern>,
    /// Whether ASCII and Unicode case is ignored.
    pub ignore_case: bool,
    /// Only these media.
    pub media: Vec<MediumKey>,
    /// Only this volume number.
    pub volume: Option<u32>,
    /// Only these kinds.
    pub kinds: Vec<Kind>,
    /// Size in bytes.
    pub size_bytes: Option<RangeInclusive<u64>>,
    /// Modification time.
    pub modified: Option<RangeInclusive<Timestamp>>,
    /// Only these states.
    pub states: Vec<StateFilter>,
    /// Search second names too.
    pub alternates: bool,
    /// Search deleted entries too.
    pub deleted: bool,
    /// Which scans to search.
    pub scans: Scans,
}

/// One line of `find`.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Id of the medium.
    pub medium: MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Volume number.
    pub volume: u32,
    /// Which reader lists it: several file systems may stand over the same bytes.
    pub reader: String,
    /// Path in the volume.
    pub path: ByteText,
    /// Inode number.
    pub inode: u64,
    /// Whether the name is in use.
    pub allocation: Allocation,
    /// Kind.
    pub kind: Option<Kind>,
    /// Size of the data stream.
    pub size_bytes: u64,
    /// Modification time.
    pub modified: Option<Timestamp>,
    /// State of the data stream.
    pub content: Option<State>,
    /// What content it has beside its data: forks, alternate streams, large attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<ListedStream>,
    /// Rule that excludes the path.
    pub rule: Option<String>,
    /// The scan that lists it.
    #[serde(flatten)]
    pub scan: ScanMark,
}

/// Which scan lists a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ScanMark {
    /// The scan.
    pub scan: ScanId,
    /// When it was sealed.
    pub scanned: Timestamp,
    /// Whether a later scan of the volume by the same reader has taken its place: then the path may be gone from the medium.
    pub superseded: bool,
}

/// Visits everything that matches. The search index tells where to look; where there is none or it is damaged, every name is looked at, and
/// the answer is the same. Returns the scans for which that was so.
///
/// # Errors
///
/// [`Error::Usage`] for a malformed pattern; else what the catalogue or `each` says.
pub fn find(
    catalogue: &dyn Catalogue,
    index: Option<&SearchFolder>,
    options: &FindOptions,
    each: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<Vec<Unindexed>, Error> {
    let media = catalogue.media()?;
    let scans = scans_by_id(catalogue, options.scans)?;
    each_row(catalogue, index, options, &mut |row| {
        let medium = medium_of(&media, row)?;
        let scan = scan_of(&scans, row.scan)?;
        each(Found {
            medium: medium.medium.id,
            medium_name: medium_name(medium).to_owned(),
            volume: row.volume_number,
            reader: scan.reader.clone(),
            path: ByteText(row.path.path.clone()),
            inode: row.path.inode,
            allocation: row.path.allocation,
            kind: row.path.kind,
            size_bytes: row.path.size_bytes,
            modified: row.modified,
            content: row.data().map(|stream| stream.state.clone()),
            streams: row.others().map(ListedStream::from).collect(),
            rule: row.path.rule.clone(),
            scan: scan.into(),
        })
    })
}

impl From<&SearchedScan> for ScanMark {
    fn from(scan: &SearchedScan) -> Self {
        Self {
            scan: scan.scan,
            scanned: scan.sealed,
            superseded: scan.superseded,
        }
    }
}

/// The scans that are searched, by id.
pub(crate) fn scans_by_id(
    catalogue: &dyn Catalogue,
    scans: Scans,
) -> Result<BTreeMap<ScanId, SearchedScan>, Error> {
    let scans = catalogue.searched_scans(scans)?;
    Ok(scans.into_iter().map(|scan| (scan.scan, scan)).collect())
}

/// One of the scans that are searched.
pub(crate) fn scan_of(
    scans: &BTreeMap<ScanId, SearchedScan>,
    scan: ScanId,
) -> Result<&SearchedScan, ntt_catalogue::Error> {
    let what = || format!("scan {scan}");
    scans
        .get(&scan)
        .ok_or_else(|| ntt_catalogue::Error::NotFound { what: what() })
}

/// How many superseded scans there are of these media (of all that are not withdrawn if none is named), or of this volume of theirs.
///
/// # Errors
///
/// What the catalogue says.
pub fn superseded_scans(
    catalogue: &dyn Catalogue,
    media: &[MediumKey],
    volume: Option<u32>,
) -> Result<u64, Error> {
    let scans = catalogue.searched_scans(Scans::All)?.into_iter();
    let older: BTreeSet<ScanId> = scans
        .filter(|scan| scan.superseded && scan.is_asked_for(media))
        .filter(|scan| volume.is_none_or(|number| number == scan.volume_number))
        .map(|scan| scan.scan)
        .collect();
    Ok(u64::try_from(older.len()).unwrap_or(u64::MAX))
}

/// The medium of a row.
pub(crate) fn medium_of<'m>(media: &'m [MediumRow], row: &FoundRow) -> Result<&'m MediumRow, Error> {
    let medium = media.iter().find(|medium| medium.key == row.medium);
    let what = || format!("medium {}", row.medium);
    medium.ok_or_else(|| ntt_catalogue::Error::NotFound { what: what() }.into())
}

/// As [`find`], for the rows of the catalogue.
pub(crate) fn each_row(
    catalogue: &dyn Catalogue,
    index: Option<&SearchFolder>,
    options: &FindOptions,
    each: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<Vec<Unindexed>, Error> {
    let compile = |pattern: &Option<Pattern>| {
        let compiled = pattern.as_ref().map(|one| one.compile(options.ignore_case));
        let compiled = compiled
            .transpose()
            .map_err(|error| Error::Usage(error.to_string()))?;
        Ok::<_, Error>(compiled.map(Arc::new))
    };
    let (name, path) = (compile(&options.name)?, compile(&options.path)?);
    let patterns = Query {
        name: name.as_deref(),
        path: path.as_deref(),
    };
    let has_pattern = name.is_some() || path.is_some();
    let guide = index
        .filter(|_| has_pattern)
        .map(|folder| Guide::new(folder, patterns));
    let test = |matcher: &Option<Arc<Matcher>>| {
        let matcher = matcher.clone()?;
        Some(Box::new(move |bytes: &[u8]| matcher.matches(bytes)) as Box<BytesTest>)
    };
    let (test_name, test_path) = (test(&name), test(&path));
    let query = FindQuery {
        media: options.media.clone(),
        volume: options.volume,
        name: test_name.as_deref(),
        path: test_path.as_deref(),
        kinds: options.kinds.clone(),
        size_bytes: options.size_bytes.clone(),
        modified: options.modified.clone(),
        states: options.states.clone(),
        alternates: options.alternates,
        deleted: options.deleted,
        scans: options.scans,
        index: guide.as_ref().map(|guide| guide as &dyn NameIndex),
    };
    visit(catalogue, &query, each)?;
    Ok(guide.map(Guide::into_unindexed).unwrap_or_default())
}

/// Keeps the error of the receiver, which the catalogue cannot carry.
fn visit(
    catalogue: &dyn Catalogue,
    query: &FindQuery<'_>,
    each: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failure = None;
    let visited = catalogue.find(query, &mut |row: &FoundRow| {
        each(row).map_err(|error| {
            failure = Some(error);
            ntt_catalogue::Error::Stopped
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(visited?),
    }
}

/// Parses a state as typed: `stored`, `pending`, `failed`, `failed:io`...
///
/// # Errors
///
/// [`Error::Usage`] naming the known states.
pub fn parse_state(text: &str) -> Result<StateFilter, Error> {
    let state = match text {
        "pending" => StateFilter::Pending,
        "stored" => StateFilter::Stored,
        "damaged" => StateFilter::Damaged,
        "corrupt" => StateFilter::Corrupt,
        "excluded" => StateFilter::Excluded,
        "retryable" => StateFilter::Retryable,
        "failed" => StateFilter::Failed(None),
        _ => match text.strip_prefix("failed:").map(str::parse::<FailureClass>) {
            Some(Ok(class)) => StateFilter::Failed(Some(class)),
            _ => {
                let known = "pending, stored, damaged, corrupt, excluded, retryable, failed or failed:CLASS";
                return Err(Error::Usage(format!("unknown state `{text}`: use {known}")));
            }
        },
    };
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_states_say_what_is_wrong() {
        assert_eq!(
            parse_state("failed:io").ok(),
            Some(StateFilter::Failed(Some(FailureClass::Io)))
        );
        assert!(parse_state("failed:disk").is_err());
    }
}
