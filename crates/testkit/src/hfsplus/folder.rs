//! Takes a folder of the host into a volume.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Builder, ROOT};

/// The mode's bits of the type.
const TYPE_BITS: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;

impl Builder {
    /// Adds everything below `folder` to the root directory: every third file in pieces, hard links as such.
    pub fn add_folder(&mut self, folder: &Path) {
        let mut links: BTreeMap<u64, (u32, Vec<(u32, String)>)> = BTreeMap::new();
        let mut waiting = vec![(folder.to_owned(), ROOT)];
        let mut files = 0;
        while let Some((path, parent)) = waiting.pop() {
            let mut entries: Vec<_> = fs::read_dir(path)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            entries.sort();
            for path in entries {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .expect("a name in UTF-8")
                    .to_owned();
                let metadata = path.symlink_metadata().expect("there");
                let cnid = if metadata.is_dir() {
                    let cnid = self.directory(parent, &name);
                    waiting.push((path, cnid));
                    cnid
                } else if metadata.is_symlink() {
                    let target = fs::read_link(&path).expect("a link");
                    self.symlink(parent, &name, target.to_str().expect("in UTF-8"))
                } else if let Some((_, names)) = links.get_mut(&metadata.ino()) {
                    names.push((parent, name));
                    continue;
                } else {
                    files += 1;
                    let is_fifo = metadata.mode() & TYPE_BITS == FIFO;
                    let content = if is_fifo {
                        Vec::new()
                    } else {
                        fs::read(&path).expect("a file")
                    };
                    let pieces = if files % 3 == 0 { 1 + files % 40 } else { 1 };
                    let cnid = self.fragmented(parent, &name, &content, pieces);
                    if is_fifo {
                        self.mode(cnid, 0o010_644, 0);
                    } else if metadata.nlink() > 1 {
                        links.insert(metadata.ino(), (cnid, Vec::new()));
                    }
                    cnid
                };
                self.modified(cnid, metadata.mtime());
            }
        }
        for (cnid, names) in links.into_values() {
            let names: Vec<_> = names
                .iter()
                .map(|(parent, name)| (*parent, name.as_str()))
                .collect();
            self.hard_links(cnid, &names, None);
        }
    }
}
