//! Where a host has what others know by another path: the same share, mounted elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

/// Pairs of folders: as the catalogue names it, as this host has it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PathMap(BTreeMap<PathBuf, PathBuf>);

impl PathMap {
    /// Where this host has `path`: below the deepest folder that is named, or where it says.
    pub fn local(&self, path: &[u8]) -> PathBuf {
        let path = Path::new(OsStr::from_bytes(path));
        let deepest = self
            .0
            .iter()
            .filter_map(|(from, to)| Some((from, to, path.strip_prefix(from).ok()?)))
            .max_by_key(|(from, _, _)| from.components().count());
        match deepest {
            Some((_, to, below)) if below.as_os_str().is_empty() => to.clone(),
            Some((_, to, below)) => to.join(below),
            None => path.to_owned(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (from, to) = pair.split_once('=')?;
            Some((PathBuf::from(from.trim()), PathBuf::from(to.trim())))
        });
        pairs.collect::<Option<_>>().map(Self)
    }
}

/// As it is written in one line: `FROM=TO;FROM=TO`.
impl fmt::Display for PathMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(from, to)| format!("{}={}", from.display(), to.display()))
            .collect();
        f.write_str(&pairs.join(";"))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Table(BTreeMap<PathBuf, PathBuf>),
    Text(String),
}

impl<'de> Deserialize<'de> for PathMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Table(pairs) => Ok(Self(pairs)),
            Raw::Text(text) => Self::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is not like `/srv/images=/mnt/images`"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_folder_counts_and_only_whole_names_match() {
        let map = PathMap::parse("/srv=/mnt/all; /srv/images=/mnt/images").unwrap_or_default();
        let local = |path: &str| map.local(path.as_bytes()).display().to_string();
        assert_eq!(local("/srv/images/a.img"), "/mnt/images/a.img");
        assert_eq!(local("/srv/images"), "/mnt/images");
        assert_eq!(local("/srv/other"), "/mnt/all/other");
        assert_eq!(local("/srvimages/a.img"), "/srvimages/a.img");
    }
}
