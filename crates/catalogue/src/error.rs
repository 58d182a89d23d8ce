/// Why the catalogue could not answer or keep something. A failed query is never an empty answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be opened or reached.
    #[error("the catalogue {place} cannot be opened")]
    Unreachable {
        /// Path or URL, without secrets.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database is there, and empty.
    #[error("{place} holds no catalogue")]
    Missing {
        /// The database, without secrets.
        place: String,
    },
    /// The schema is another one than that of this program (R31).
    #[error("the catalogue has schema version {found}; this program works with {known}")]
    Version {
        /// What the database says.
        found: i64,
        /// The last version that this program can migrate to.
        known: i64,
    },
    /// A database that is there and is no catalogue that can be used: of another program, or of a copy that did not end.
    #[error("the catalogue cannot be used: {0}")]
    Unusable(&'static str),
    /// It belongs to another archive than the one that it was opened with (R37).
    #[error("the catalogue {place} belongs to another archive")]
    Foreign {
        /// The database, without secrets.
        place: String,
    },
    /// Another process holds the catalogue for writing.
    #[error("the catalogue is held by another run")]
    Held,
    /// There is no such row.
    #[error("no such {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// What was sent does not fit what is there: wrong order, wrong counts (R29), a second load (R28).
    #[error("{0}")]
    Conflict(String),
    /// No room, or the disk under the catalogue failed. Nothing of the transaction was kept (R39).
    #[error("the catalogue cannot be written")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row that this program wrote cannot be read back.
    #[error("the catalogue is damaged: {0}")]
    Damaged(String),
    /// Any other failure of the database.
    #[error("the catalogue failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A visitor passed to one of the `each` methods gave up.
    #[error("stopped")]
    Stopped,
}
