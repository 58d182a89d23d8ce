//! Why a file could not be stored, and whether trying again can help.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The class of a failed attempt. Decisions compare class and code, never message text (R33).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FailureClass {
    /// The path could not be opened: gone, too long, or not what it was.
    Path,
    /// The source gave an I/O error.
    Io,
    /// The mapfile says that the bytes were never rescued.
    Unread,
    /// The file system's structures contradict themselves.
    Corrupt,
    /// The host refused access, or the content is encrypted and there is no key.
    Permission,
    /// Fewer (or more) bytes were read than the inode says, or the extents pass the end of the image.
    Short,
    /// A digest did not match.
    Hash,
    /// The store could not take the content.
    Store,
    /// A budget of time ran out.
    Timeout,
    /// None of the others.
    Unknown,
}

impl FailureClass {
    /// All classes, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Path,
        Self::Io,
        Self::Unread,
        Self::Corrupt,
        Self::Permission,
        Self::Short,
        Self::Hash,
        Self::Store,
        Self::Timeout,
        Self::Unknown,
    ];

    /// Whether another attempt on the same source can end differently. Permanent classes settle at once.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Path
                | Self::Io
                | Self::Permission
                | Self::Store
                | Self::Timeout
                | Self::Unknown
                | Self::Hash
        )
    }

    /// The name used in the catalogue, in `--class` and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Io => "io",
            Self::Unread => "unread",
            Self::Corrupt => "corrupt",
            Self::Permission => "permission",
            Self::Short => "short",
            Self::Hash => "hash",
            Self::Store => "store",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no failure class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown failure class `{0}`")]
pub struct ParseFailureClassError(String);

impl FromStr for FailureClass {
    type Err = ParseFailureClassError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| ParseFailureClassError(text.to_owned()))
    }
}

/// One failed attempt to read or store a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What the decision to retry hangs on.
    pub class: FailureClass,
    /// A number that, with the class, makes two failures "the same": an errno, or a code of the reader. 0 if there is none.
    pub code: i32,
    /// For people.
    pub detail: String,
}

/// Three consecutive attempts with equal class and code settle a file (R33).
pub const STRIKES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_round_trip() {
        for class in FailureClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
        }
        assert!("disk".parse::<FailureClass>().is_err());
    }

    /// R33: only classes that can change are retried.
    #[test]
    fn r33_damage_is_permanent() {
        for class in [FailureClass::Unread, FailureClass::Corrupt, FailureClass::Short] {
            assert!(!class.is_retryable());
        }
    }
}
