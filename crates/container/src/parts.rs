//! The files that an image may consist of.

use std::collections::BTreeMap;
use std::sync::Arc;

use ntt_source::ReadAt;

use crate::FILES_MAX;

/// One file.
#[derive(Clone)]
pub struct Part {
    /// Its name, as the one who asked for it wrote it; for the first file, its name without directories.
    pub name: Vec<u8>,
    /// Its bytes; `None` if it was asked for and could not be had.
    pub bytes: Option<Arc<dyn ReadAt>>,
}

/// The files that were opened so far, the image's own first.
#[derive(Clone, Default)]
pub struct Parts {
    files: Vec<Part>,
    /// Whether the files that follow the first one in its series were looked for.
    series_given: bool,
}

/// What is needed before the image can be opened.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Want {
    /// The file of this name, which may be a path: it stands in the container and is hostile.
    Named(Vec<u8>),
    /// The files that follow the first one by name; see [`series`](crate::series).
    Following,
}

/// What became of a wish for a file.
pub(crate) enum Wish {
    Had(Arc<dyn ReadAt>),
    /// There is no such file, or it is not allowed.
    Denied,
    /// It was not asked for yet.
    Open,
}

impl Parts {
    /// The files, and whether the series of the first is among them.
    pub fn new(mut files: Vec<Part>, series_given: bool) -> Self {
        files.truncate(FILES_MAX);
        Self { files, series_given }
    }

    /// The name of the image's own file; empty if there is none.
    pub(crate) fn first_name(&self) -> &[u8] {
        self.files.first().map_or(&[], |part| &part.name)
    }

    pub(crate) fn first(&self) -> Option<Arc<dyn ReadAt>> {
        self.files.first()?.bytes.clone()
    }

    /// The file of a name.
    pub(crate) fn named(&self, name: &[u8]) -> Wish {
        match self.files.iter().find(|part| part.name == name) {
            Some(Part {
                bytes: Some(bytes), ..
            }) => Wish::Had(bytes.clone()),
            Some(_) => Wish::Denied,
            None if self.files.len() >= FILES_MAX => Wish::Denied,
            None => Wish::Open,
        }
    }

    /// The files of the first one's series in order, itself included; `None` if they were not looked for yet.
    pub(crate) fn series(&self) -> Option<Vec<&Part>> {
        if !self.series_given {
            return None;
        }
        let mut by_name: BTreeMap<&[u8], &Part> = BTreeMap::new();
        for part in &self.files {
            by_name.entry(&part.name).or_insert(part);
        }
        let mut found: Vec<&Part> = self.files.iter().take(1).collect();
        // The names of a series come in their order, which need not be that of the files.
        let names = crate::series::names(self.first_name()).take(FILES_MAX);
        found.extend(names.filter_map(|name| by_name.get(name.as_slice()).copied()));
        Some(found)
    }
}
