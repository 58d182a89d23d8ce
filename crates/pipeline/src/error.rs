//! Why a use case could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::Withdrawal;
use ntt_model::{MediumId, Timestamp};

/// Why a use case could not do what it was asked. One bad file is never one of these; it is a row in the catalogue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no archive where one was expected.
    #[error("{} holds no archive", .0.display())]
    NoArchive(PathBuf),
    /// A directory that this user may not enter: whether it holds an archive cannot be seen.
    #[error("the archive {} cannot be entered: its directory, or one above it, is closed to this user", .0.display())]
    Closed(PathBuf, #[source] io::Error),
    /// A store without its catalogue.
    #[error("the catalogue of the archive {} is gone", .0.display())]
    NoCatalogue(PathBuf),
    /// An archive whose catalogue is in a server, opened without the name of one.
    #[error("the archive {} has its catalogue in a PostgreSQL server, and none is named", .0.display())]
    CatalogueElsewhere(PathBuf),
    /// A catalogue in a server that knows nothing of what the archive has manifests of.
    #[error("the catalogue in the server knows none of the media of the archive {}", .0.display())]
    StrangeCatalogue(PathBuf),
    /// A catalogue that does not know all that the archive's manifests tell, as one does that was put back from an old copy.
    #[error("the catalogue is older than the archive {}: it does not know all that the manifests of {} tell, {first} the first", .root.display(), ntt_report::units::counted(u64::try_from(*.media).unwrap_or(u64::MAX), "medium", "media"))]
    OlderCatalogue {
        /// The archive.
        root: PathBuf,
        /// The first medium of which it knows less.
        first: MediumId,
        /// How many there are.
        media: usize,
    },
    /// A catalogue in a server that tells of media, for an archive that is yet to be made.
    #[error("the catalogue has media already and {} holds no archive: it belongs to another one", .0.display())]
    ForeignCatalogue(PathBuf),
    /// Another run writes to the archive.
    #[error("the archive is held by another run{}", holder_text(.holder))]
    Held {
        /// What the lock file says about the holder; may be empty.
        holder: String,
    },
    /// The archive's format is newer than this program.
    #[error("the archive has format {found}; this program knows {known}")]
    Format {
        /// What the archive says.
        found: String,
        /// What is known.
        known: &'static str,
    },
    /// The source cannot be used at all: missing, empty, of an unsupported kind (R4, R6).
    #[error("{}: {reason}", ntt_model::name::escape(.path.as_os_str().as_encoded_bytes()))]
    Source {
        /// The source.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The source is a medium that a person has withdrawn; only a person takes that back (R5).
    #[error("{}: it is medium {medium}, which was withdrawn on {}: {}; `ntt medium reinstate {medium}` makes it a medium again",
        ntt_model::name::escape(.path.as_os_str().as_encoded_bytes()), date(.withdrawal.at), ntt_model::name::escape(.withdrawal.reason.as_bytes()))]
    Withdrawn {
        /// The source.
        path: PathBuf,
        /// The medium.
        medium: MediumId,
        /// When and why.
        withdrawal: Withdrawal,
    },
    /// A setting or rule is wrong.
    #[error("{place}: {reason}")]
    Config {
        /// File, variable or flag.
        place: String,
        /// What is wrong, with a hint.
        reason: String,
    },
    /// What the user named does not exist or names several things.
    #[error("{0}")]
    Selection(String),
    /// The use case refuses: it would overwrite, or its precondition does not hold.
    #[error("{0}")]
    Refused(String),
    /// A count does not balance (R29).
    #[error("{0}")]
    Imbalance(String),
    /// The host's files failed outside the store.
    #[error("{}: {action} failed", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A manifest is not what it should be.
    #[error("{}, line {line}: {reason}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] ntt_catalogue::Error),
    /// The store failed; the running batch was given up and nothing of it is recorded (R39).
    #[error(transparent)]
    Store(#[from] ntt_store::Error),
    /// The scan child could not be started, or the walk of a directory could not begin.
    #[error("{0}")]
    Scan(String),
    /// A rescue cannot begin or go on.
    #[error(transparent)]
    Rescue(#[from] ntt_rescue::Error),
    /// The device went away during a rescue; the same command goes on when it is there again.
    #[error("{}: the device went away; when it is back, the same command goes on", .0.display())]
    DeviceLost(PathBuf),
    /// A question to the catalogue has no answer.
    #[error(transparent)]
    Report(ntt_report::Error),
    /// A list that is too long for the memory cannot be sorted in the folder for temporary files: no room there, or its disk failed.
    #[error("a list cannot be sorted in the folder for temporary files (TMPDIR)")]
    Sorting(#[source] rusqlite::Error),
    /// The search index cannot be written or read; searches then look at every name of the catalogue.
    #[error(transparent)]
    Search(#[from] ntt_search::Error),
    /// A database was to be filled and is not whole: whoever opens it refuses it. Holds why; nothing if the user asked to stop.
    #[error("{}the database is not whole; drop it, make it again, and give the same command", if .0.is_none() { "interrupted: " } else { "" })]
    HalfFilled(#[source] Option<Box<Self>>),
    /// The user asked to stop; the same command goes on from here.
    #[error("interrupted; the same command continues from here")]
    Interrupted,
}

/// What a caller decides by: the exit status, and whether the next source may still be tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The input is wrong (exit 2).
    Usage,
    /// This source or request failed; others may work (exit 1).
    Failed,
    /// This source is a medium that is withdrawn; others may work (exit 4).
    Withdrawn,
    /// Catalogue or store cannot be reached or written; nothing else will work either (exit 10).
    Unreachable,
    /// Held by another run (exit 11).
    Held,
    /// Stopped on request (exit 130).
    Interrupted,
}

impl ErrorKind {
    /// The exit status of a process that ends with such an error.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Withdrawn => 4,
            Self::Unreachable => 10,
            Self::Held => 11,
            Self::Interrupted => 130,
        }
    }
}

impl From<ntt_report::Error> for Error {
    fn from(error: ntt_report::Error) -> Self {
        match error {
            // A catalogue that is out of reach is so whoever asked it.
            ntt_report::Error::Catalogue(error) => Self::Catalogue(error),
            other => Self::Report(other),
        }
    }
}

impl Error {
    /// What to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::Selection(_) => ErrorKind::Usage,
            Self::NoArchive(_)
            | Self::Closed(..)
            | Self::NoCatalogue(_)
            | Self::CatalogueElsewhere(_)
            | Self::StrangeCatalogue(_)
            | Self::OlderCatalogue { .. }
            | Self::ForeignCatalogue(_)
            | Self::Format { .. }
            | Self::Store(_)
            | Self::Sorting(_) => ErrorKind::Unreachable,
            Self::Held { .. } | Self::Catalogue(ntt_catalogue::Error::Held) => ErrorKind::Held,
            Self::Catalogue(ntt_catalogue::Error::NotFound { .. } | ntt_catalogue::Error::Conflict(_)) => {
                ErrorKind::Failed
            }
            Self::Catalogue(_) => ErrorKind::Unreachable,
            Self::Rescue(ntt_rescue::Error::Held(_)) => ErrorKind::Held,
            Self::Rescue(error) if error.is_full() => ErrorKind::Unreachable,
            Self::HalfFilled(Some(error)) => error.kind(),
            Self::Withdrawn { .. } => ErrorKind::Withdrawn,
            Self::Interrupted | Self::DeviceLost(_) => ErrorKind::Interrupted,
            _ => ErrorKind::Failed,
        }
    }

    /// Whether the archive takes no changes as it is: no room, or this user or anybody may only read it. What is in it can be looked at all the same.
    pub fn is_of_writing(&self) -> bool {
        match self {
            Self::Catalogue(ntt_catalogue::Error::Storage(_))
            | Self::Store(ntt_store::Error::Full { .. }) => true,
            _ => self.io_kind().is_some_and(|kind| {
                matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    || is_of_reader(kind)
            }),
        }
    }

    /// Whether this user, or anybody, may only read the archive.
    pub fn is_of_reader(&self) -> bool {
        self.io_kind().is_some_and(is_of_reader)
    }

    /// What the system said, if it is the cause.
    fn io_kind(&self) -> Option<io::ErrorKind> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Some(error.kind());
            }
            cause = error.source();
        }
        None
    }

    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

const fn is_of_reader(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// The error and what caused it, outermost first, without repetitions.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        source = cause.source();
    }
    texts
}

fn date(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

fn holder_text(holder: &str) -> String {
    if holder.is_empty() {
        String::new()
    } else {
        format!(" ({holder})")
    }
}
