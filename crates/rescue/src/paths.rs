//! The files of a rescue.

use std::path::{Path, PathBuf};

/// The files of a rescue; the image's name with something behind it, except for the map, which may be elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The bytes; sparse, of the medium's full size.
    pub image: PathBuf,
    /// Which of them are real; ddrescue's format.
    pub map: PathBuf,
    /// The map while it is being written.
    pub map_temporary: PathBuf,
    /// What happened, in JSON lines.
    pub log: PathBuf,
    /// Digests of each MiB of the image.
    pub tree: PathBuf,
    /// Facts and verdict.
    pub health: PathBuf,
}

impl Paths {
    /// The files beside `image`; the map is `IMAGE.map` unless another is given.
    pub fn new(image: &Path, map: Option<&Path>) -> Self {
        let map = map.map_or_else(|| with_suffix(image, ".map"), Path::to_owned);
        Self {
            image: image.to_owned(),
            map_temporary: with_suffix(&map, ".tmp"),
            map,
            log: with_suffix(image, ".log.jsonl"),
            tree: with_suffix(image, ".tree"),
            health: with_suffix(image, ".health.json"),
        }
    }
}

impl Paths {
    /// Everything that a rescue writes to.
    pub fn all(&self) -> [&Path; 6] {
        [
            &self.image,
            &self.map,
            &self.map_temporary,
            &self.log,
            &self.tree,
            &self.health,
        ]
        .map(PathBuf::as_path)
    }
}

/// The directory of a file, for syncing its name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
