//! Exclusion as a reversible label that names its rule (R26).

use std::path::Path;

use ntt_catalogue::rows::{MediumRow, RelabelReport};
use serde::{Deserialize, Serialize};

use crate::{Archive, Context, Error};

/// Rules, in order; the first that matches a path names it.
#[derive(Debug, Default)]
pub struct Rules {
    names: Vec<String>,
}

/// What one rule would exclude.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: String,
    /// Paths that it names.
    pub paths: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Some of them: `volume/path`, escaped.
    pub samples: Vec<String>,
}

/// What applying the rules to a medium would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExcludePlan {
    /// Every rule, also those that match nothing.
    pub rules: Vec<RuleCount>,
    /// Paths looked at.
    pub paths: u64,
}

/// What applying the rules did, per volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExcludeSummary {
    /// Volume number and what changed.
    pub volumes: Vec<(u32, RelabelReport)>,
}

impl Rules {
    /// Reads rules from TOML: `[[rule]]` tables with `name`, one of `glob` or `regex`, and optionally `kind`, `min_size`, `max_size`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the rule that is wrong.
    pub fn from_toml(text: &str, place: &str) -> Result<Self, Error> {
        let _ = (text, place);
        unimplemented!()
    }

    /// Reads a rules file.
    ///
    /// # Errors
    ///
    /// As [`Rules::from_toml`], and when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let _ = path;
        unimplemented!()
    }

    /// Names of the rules.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Counts what the rules would exclude, with samples. Changes nothing.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, medium: &MediumRow, rules: &Rules) -> Result<ExcludePlan, Error> {
    let _ = (archive, medium, rules);
    unimplemented!()
}

/// Replaces the labels of a medium's current scans.
///
/// # Errors
///
/// When the catalogue fails.
pub fn run(context: &Context<'_>, medium: &MediumRow, rules: &Rules) -> Result<ExcludeSummary, Error> {
    let _ = (context, medium, rules);
    unimplemented!()
}
