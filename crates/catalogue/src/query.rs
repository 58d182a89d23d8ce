//! Searching paths.

use std::fmt;
use std::ops::RangeInclusive;

use ntt_model::entry::StreamKind;
use ntt_model::{FailureClass, Kind, MediumKey, ScanId, Timestamp};

use crate::Error;
use crate::rows::{PathRow, State, StreamState};

/// What to look for. All given conditions must hold.
#[derive(Default)]
pub struct FindQuery<'a> {
    /// Only these media, withdrawn or not; all that are not withdrawn if empty.
    pub media: Vec<MediumKey>,
    /// Only this volume number.
    pub volume: Option<u32>,
    /// The name (last component) passes this test.
    pub name: Option<&'a BytesTest>,
    /// The full path relative to the volume's root passes this test.
    pub path: Option<&'a BytesTest>,
    /// Only these kinds; all if empty.
    pub kinds: Vec<Kind>,
    /// Size in bytes.
    pub size_bytes: Option<RangeInclusive<u64>>,
    /// Modification time.
    pub modified: Option<RangeInclusive<Timestamp>>,
    /// State of at least one stream.
    pub states: Vec<StateFilter>,
    /// Whether alternate names are searched too.
    pub alternates: bool,
    /// Whether deleted entries are searched too.
    pub deleted: bool,
    /// Which scans are searched.
    pub scans: Scans,
    /// Who knows which names can pass the tests of name and path, without a look at all of them.
    pub index: Option<&'a dyn NameIndex>,
}

/// Which of the sealed scans a search looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scans {
    /// The latest of every volume by each reader.
    #[default]
    Current,
    /// Also those that a later one has superseded: what stood there once.
    All,
}

impl Scans {
    /// Whether a scan is one of them.
    pub(crate) fn include(self, scan: &SearchedScan) -> bool {
        self == Self::All || !scan.superseded
    }
}

/// A scan that searches look at, for one of the volumes for which it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchedScan {
    /// The scan.
    pub scan: ScanId,
    /// The medium of the volume.
    pub medium: MediumKey,
    /// The number of the volume on the medium.
    pub volume_number: u32,
    /// Which reader made it: several file systems may stand over the same bytes.
    pub reader: String,
    /// Its directories.
    pub directories: u64,
    /// Its names.
    pub names: u64,
    /// When it began.
    pub begun: Timestamp,
    /// When it was sealed.
    pub sealed: Timestamp,
    /// Whether a later scan of the same volume by the same reader is sealed.
    pub superseded: bool,
    /// Whether the medium is withdrawn.
    pub withdrawn: bool,
}

impl SearchedScan {
    /// Whether a question about these media, about all if none is named, is one about this scan: whoever asks about all does not mean those that are withdrawn.
    pub fn is_asked_for(&self, media: &[MediumKey]) -> bool {
        if media.is_empty() {
            !self.withdrawn
        } else {
            media.contains(&self.medium)
        }
    }
}

/// Takes the path of a directory and a name in it.
pub type NameVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// A search index that stands beside the catalogue. It must not leave out a name that passes the tests of the query that it was made for.
pub trait NameIndex: Sync {
    /// Visits the ids of path rows that can pass, ascending and in groups, and answers up to which id it has told all of them. What comes after
    /// is searched in the catalogue: an index that does not know the scan answers 0.
    ///
    /// # Errors
    ///
    /// Only what `each` says.
    fn candidates(
        &self,
        scan: &SearchedScan,
        each: &mut dyn FnMut(&[i64]) -> Result<(), Error>,
    ) -> Result<i64, Error>;
}

impl FindQuery<'_> {
    /// Whether the search looks at a scan at all.
    pub(crate) fn wants(&self, scan: &SearchedScan) -> bool {
        self.scans.include(scan)
            && scan.is_asked_for(&self.media)
            && self.volume.is_none_or(|number| number == scan.volume_number)
    }

    /// Whether the facts of an inode are those asked for. One that is not known never is.
    pub(crate) fn passes_facts(
        &self,
        kind: Option<Kind>,
        size: Option<u64>,
        modified: Option<Timestamp>,
    ) -> bool {
        (self.kinds.is_empty() || kind.is_some_and(|kind| self.kinds.contains(&kind)))
            && within(self.size_bytes.as_ref(), size)
            && within(self.modified.as_ref(), modified)
    }

    /// Whether at least one stream is in a state asked for.
    pub(crate) fn passes_states(&self, streams: &[StreamState]) -> bool {
        let passes = |stream: &StreamState| self.states.iter().any(|filter| filter.matches(&stream.state));
        self.states.is_empty() || streams.iter().any(passes)
    }
}

/// Whether a fact lies in the range asked for.
fn within<T: PartialOrd>(range: Option<&RangeInclusive<T>>, fact: Option<T>) -> bool {
    range.is_none_or(|range| fact.is_some_and(|fact| range.contains(&fact)))
}

impl StateFilter {
    /// Whether a state is one of those looked for.
    pub fn matches(self, state: &State) -> bool {
        match (self, state) {
            (Self::Pending, State::Pending)
            | (Self::Stored, State::Stored { .. })
            | (Self::Damaged, State::Damaged { .. })
            | (Self::Corrupt, State::Corrupt { .. })
            | (Self::Excluded, State::Excluded { .. })
            | (Self::Retryable, State::Retryable { .. }) => true,
            (Self::Failed(class), State::Failed { failure, .. }) => {
                class.is_none_or(|class| class == failure.class)
            }
            _ => false,
        }
    }
}

/// A test on the bytes of a name or path.
pub type BytesTest = dyn Fn(&[u8]) -> bool + Send + Sync;

impl fmt::Debug for FindQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FindQuery")
            .field("media", &self.media)
            .field("volume", &self.volume)
            .field("name", &self.name.is_some())
            .field("path", &self.path.is_some())
            .field("kinds", &self.kinds)
            .field("size_bytes", &self.size_bytes)
            .field("modified", &self.modified)
            .field("states", &self.states)
            .field("scans", &self.scans)
            .field("index", &self.index.is_some())
            .finish_non_exhaustive()
    }
}

/// States to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateFilter {
    /// Waiting to be copied.
    Pending,
    /// Stored whole.
    Stored,
    /// Stored in part.
    Damaged,
    /// Stored once, and damaged or missing in the store now.
    Corrupt,
    /// Excluded by a rule.
    Excluded,
    /// To be tried again.
    Retryable,
    /// Given up, of any or one class.
    Failed(Option<FailureClass>),
}

/// A path found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundRow {
    /// Medium.
    pub medium: MediumKey,
    /// Volume number on the medium.
    pub volume_number: u32,
    /// Scan.
    pub scan: ScanId,
    /// The path.
    pub path: PathRow,
    /// Modification time.
    pub modified: Option<Timestamp>,
    /// Its streams with their states; none for inodes without content.
    pub streams: Vec<StreamState>,
}

impl FoundRow {
    /// The data stream.
    pub fn data(&self) -> Option<&StreamState> {
        self.streams.iter().find(|stream| stream.kind == StreamKind::Data)
    }

    /// The others: forks, alternate streams, large attributes.
    pub fn others(&self) -> impl Iterator<Item = &StreamState> {
        self.streams
            .iter()
            .filter(|stream| stream.kind != StreamKind::Data)
    }
}
