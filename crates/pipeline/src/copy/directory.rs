//! Files of a directory source, opened below its root without following links.

use ntt_catalogue::rows::ChunkItem;
use ntt_inspect::live::{LiveFile, LiveTree};
use ntt_model::entry::Stream;
use ntt_model::failure::Failure;
use ntt_model::{FailureClass, Finding, FindingCode, Layer, Severity};

use super::Contents;
use super::intake::{Halt, Intake};
use super::stream::Reading;
use crate::Error;
use crate::content::open_tree;
use crate::identify::Source;

/// Code of the failure of a file that changed while it was read.
const CHANGED: i32 = 1;

/// The tree below the root of the source.
pub(super) struct DirectoryContents(LiveTree);

impl DirectoryContents {
    /// Opens the tree of the source, or the one mounted in it at `mount_point`.
    pub(super) fn open(source: &Source, mount_point: &[u8]) -> Result<Self, Error> {
        open_tree(source, mount_point).map(Self)
    }
}

impl Contents for DirectoryContents {
    fn read(&self, item: &ChunkItem, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        let file = match self.0.open_file(&item.path, item.inode) {
            Ok(file) => file,
            Err(error) => {
                let failure = Failure {
                    class: error.class(),
                    code: 0,
                    detail: error.to_string(),
                };
                return Ok(Reading::Failed {
                    failure,
                    finding: None,
                });
            }
        };
        if file.size_bytes() != stream.size_bytes {
            return Ok(changed(item));
        }
        let missing = file.read(intake)?;
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
