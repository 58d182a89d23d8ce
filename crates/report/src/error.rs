/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] ntt_catalogue::Error),
    /// Nothing has this name.
    #[error("no {what} `{name}`")]
    NotFound {
        /// `medium`, `volume`, `path`.
        what: &'static str,
        /// What was asked for, escaped.
        name: String,
    },
    /// Several things have this name.
    #[error("`{name}` names several media: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for, escaped.
        name: String,
        /// Ids and labels of the media that match.
        candidates: Vec<String>,
    },
    /// The receiver of the rows cannot take more.
    #[error("cannot write the answer")]
    Output(#[from] std::io::Error),
    /// The pattern or selector is malformed.
    #[error("{0}")]
    Usage(String),
}
