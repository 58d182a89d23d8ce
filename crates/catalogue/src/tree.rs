//! Paths of directories, rebuilt from their parents and names: no full path is stored.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Error;

/// The cache of directory paths is emptied when it holds this many bytes.
const CACHE_BYTES: usize = 16 << 20;

/// Paths of directories that were asked for before, within bounds. Directories are named by any number that stands for them in the
/// back end.
#[derive(Debug, Default)]
pub(crate) struct DirectoryPaths {
    known: HashMap<u64, Arc<[u8]>>,
    known_bytes: usize,
}

impl DirectoryPaths {
    /// The path of a directory; `parent` tells a directory's parent (`None` for a root) and name. Climbs to the nearest known ancestor and
    /// comes down again: no recursion however deep the tree.
    ///
    /// Ends, because the seal made sure that every parent comes before its children.
    pub(crate) fn get(
        &mut self,
        directory: u64,
        mut parent: impl FnMut(u64) -> Result<(Option<u64>, Vec<u8>), Error>,
    ) -> Result<Arc<[u8]>, Error> {
        let mut below = Vec::new();
        let mut at = directory;
        let known = loop {
            if let Some(path) = self.known.get(&at) {
                break Arc::clone(path);
            }
            let (above, name) = parent(at)?;
            let Some(above) = above else {
                break self.remember(at, Vec::new());
            };
            below.push((at, name));
            at = above;
        };
        let mut path = known;
        for (directory, name) in below.into_iter().rev() {
            let mut longer = path.to_vec();
            push_name(&mut longer, &name);
            path = self.remember(directory, longer);
        }
        Ok(path)
    }

    fn remember(&mut self, directory: u64, path: Vec<u8>) -> Arc<[u8]> {
        if self.known_bytes > CACHE_BYTES {
            self.known.clear();
            self.known_bytes = 0;
        }
        let path: Arc<[u8]> = path.into();
        self.known_bytes += path.len() + size_of::<(u64, Arc<[u8]>)>();
        self.known.insert(directory, Arc::clone(&path));
        path
    }
}

/// Appends a name to a path.
pub(crate) fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
