//! A folder of the host as a tree of a volume.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{BLOCK, Builder, Piece, ROOT};

impl Builder {
    /// Adds what is in a folder to the root of a volume: directories, files with their holes, links of both kinds, pipes.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn add_folder(&mut self, volume: usize, folder: &Path) {
        let mut waiting = vec![(folder.to_owned(), ROOT)];
        let mut linked: BTreeMap<u64, u64> = BTreeMap::new();
        while let Some((folder, parent)) = waiting.pop() {
            let listed = fs::read_dir(&folder).expect("a folder");
            let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
            paths.sort();
            for path in paths {
                let metadata = fs::symlink_metadata(&path).expect("metadata");
                let name = path.file_name().expect("a name").as_bytes().to_vec();
                if let Some(id) = linked.get(&metadata.ino()) {
                    self.link(volume, parent, &name, *id);
                    continue;
                }
                let id = self.add_path(volume, parent, &name, &path, &metadata);
                self.dress(volume, id, &metadata);
                if metadata.is_dir() {
                    waiting.push((path, id));
                } else if metadata.nlink() > 1 {
                    linked.insert(metadata.ino(), id);
                }
            }
        }
    }

    fn add_path(
        &mut self,
        volume: usize,
        parent: u64,
        name: &[u8],
        path: &Path,
        metadata: &fs::Metadata,
    ) -> u64 {
        if metadata.is_symlink() {
            let target = fs::read_link(path).expect("a link");
            return self.symlink(volume, parent, name, target.as_os_str().as_bytes());
        }
        if !metadata.is_file() {
            let mode = u16::try_from(metadata.mode() & 0o177_777).expect("16 bits");
            return self.add(volume, parent, name, mode);
        }
        let content = fs::read(path).expect("a file");
        let pieces = pieces(&content, metadata.blocks() * 512 < metadata.len());
        self.file(volume, parent, name, &pieces)
    }

    fn dress(&mut self, volume: usize, id: u64, metadata: &fs::Metadata) {
        let nanos = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        let inode = self.inode(volume, id);
        inode.modified = u64::try_from(nanos).unwrap_or(0);
        inode.mode = u16::try_from(metadata.mode() & 0o177_777).expect("16 bits");
    }
}

/// A content, its blocks of zeros as holes if it is sparse.
fn pieces(content: &[u8], is_sparse: bool) -> Vec<Piece<'_>> {
    if !is_sparse {
        return vec![Piece::Data(content)];
    }
    let mut pieces = Vec::new();
    let whole = content.len() / BLOCK * BLOCK;
    let mut at = 0;
    while at < whole {
        let is_zero = |at: usize| content[at..at + BLOCK].iter().all(|byte| *byte == 0);
        let kind = is_zero(at);
        let end = (at..whole)
            .step_by(BLOCK)
            .find(|next| is_zero(*next) != kind)
            .unwrap_or(whole);
        if kind {
            pieces.push(Piece::Hole(u64::try_from((end - at) / BLOCK).expect("small")));
        } else {
            pieces.push(Piece::Data(&content[at..end]));
        }
        at = end;
    }
    pieces.push(Piece::Data(&content[whole..]));
    pieces
}
