//! Files of a directory source, opened below its root without following links.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ntt_catalogue::rows::ChunkItem;
use ntt_inspect::live::{LiveError, LiveFile, LiveTree};
use ntt_model::entry::Stream;
use ntt_model::failure::Failure;
use ntt_model::{FailureClass, Finding, FindingCode, Layer, Severity};

use super::Contents;
use super::intake::{Halt, Intake};
use super::stream::Reading;
use crate::Error;
use crate::content::{another_directory, open_tree};
use crate::identify::{Root, Source};

/// Code of the failure of a file that changed while it was read.
const CHANGED: i32 = 1;

/// The tree below the root of the source.
pub(super) struct DirectoryContents {
    tree: LiveTree,
    path: PathBuf,
    /// What was found at the path when it was opened.
    root: Root,
}

impl DirectoryContents {
    /// Opens the tree of the source, or the one mounted in it at `mount_point`, if its root is the inode that was scanned: files are known by their inode numbers, and
    /// of a file system that is not mounted, or of another one in its place, each would be given up.
    pub(super) fn open(
        source: &Source,
        mount_point: &[u8],
        scanned_root: Option<u64>,
    ) -> Result<Self, Error> {
        let path = source.path.as_path().join(OsStr::from_bytes(mount_point));
        let tree = open_tree(source, mount_point)?;
        let root = tree.root_inode().map_err(Error::io("examining", &path))?;
        if scanned_root.is_some_and(|scanned| scanned != root) {
            return Err(another_directory(&path));
        }
        Ok(Self {
            tree,
            root: Root::at(&path)?,
            path,
        })
    }

    /// What is missing is missing only if it is looked for in the right place: the file system may have been unmounted, or have gone away, since it was opened.
    fn check_root(&self) -> Result<(), Halt> {
        match Root::at(&self.path) {
            Ok(root) if root == self.root => Ok(()),
            Ok(_) => Err(Halt::Source(another_directory(&self.path))),
            Err(error) => Err(Halt::Source(error)),
        }
    }

    fn not_opened(&self, error: &LiveError) -> Result<Reading, Halt> {
        self.check_root()?;
        Ok(Reading::Failed {
            failure: Failure {
                class: error.class(),
                code: 0,
                detail: error.to_string(),
            },
            finding: None,
        })
    }
}

impl Contents for DirectoryContents {
    fn read(&self, item: &ChunkItem, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        let file = match self.tree.open_file(&item.path, item.inode) {
            Ok(file) => file,
            Err(error) => return self.not_opened(&error),
        };
        if file.size_bytes() != stream.size_bytes {
            return Ok(changed(item));
        }
        let missing = file.read(intake)?;
        if missing.failure.is_some() {
            self.check_root()?;
        }
        Ok(if is_unchanged(&file) {
            Reading::Read(missing)
        } else {
            changed(item)
        })
    }
}

fn is_unchanged(file: &LiveFile) -> bool {
    file.unchanged().unwrap_or(false)
}

/// A file that is not what was scanned is tried again, and settles after three strikes until the directory is scanned again.
fn changed(item: &ChunkItem) -> Reading {
    let detail = "the file changed since it was scanned";
    let finding = Finding::new(Severity::Loss, Layer::Content, FindingCode::Changed, detail);
    Reading::Failed {
        failure: Failure {
            class: FailureClass::Path,
            code: CHANGED,
            detail: detail.to_owned(),
        },
        finding: Some(finding.on_inode(item.inode)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// R33, R38: a file is missing only while the directory is there that was opened; if another one has its place, the run ends and nothing is given up.
    #[test]
    fn r33_nothing_is_missing_of_a_directory_that_went_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("medium");
        fs::create_dir(&path).expect("a folder");
        let source = Source::look(&path).expect("a source");
        let contents = DirectoryContents::open(&source, b"", None).expect("a tree");
        let gone = LiveError::Changed;
        assert!(matches!(contents.not_opened(&gone), Ok(Reading::Failed { .. })));

        fs::rename(&path, folder.path().join("unmounted")).expect("a move");
        assert!(matches!(
            contents.not_opened(&gone),
            Err(Halt::Source(Error::Io { .. }))
        ));
        fs::create_dir(&path).expect("a folder");
        assert!(matches!(
            contents.not_opened(&gone),
            Err(Halt::Source(Error::Source { .. }))
        ));
        let inode = LiveTree::open(&folder.path().join("unmounted")).and_then(|tree| tree.root_inode());
        let opened = DirectoryContents::open(&source, b"", inode.ok());
        assert!(
            matches!(opened.map(drop), Err(Error::Source { .. })),
            "another root than was scanned"
        );
    }
}
