//! The tree of hashes and its file, kept beside reading and writing.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender};

use ntt_host::DiskFile;
use ntt_model::ByteRange;

use super::stage::Stage;
use super::tree_file;
use super::writing::Batch;
use crate::buffer::Buffer;
use crate::error::Error;
use crate::tree::HashTree;

/// Batches between the writer and the hasher: enough to keep both busy, few enough to stay in the processor's caches.
const BATCHES: usize = 4;

/// The tree and its file.
#[derive(Debug)]
pub(crate) struct TreeWriter {
    pub(crate) tree: HashTree,
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl TreeWriter {
    pub(crate) fn new(tree: HashTree, file: Box<dyn DiskFile>, path: &Path) -> Self {
        Self {
            tree,
            file,
            path: path.to_owned(),
        }
    }

    pub(crate) fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        for group in self.tree.add(offset, bytes) {
            self.save(group)?;
        }
        Ok(())
    }

    /// What was rescued there is void, for good: a record that outlived it would be believed once as many bytes are rescued there again.
    pub(crate) fn forget(&mut self, ranges: &[ByteRange]) -> Result<(), Error> {
        for range in ranges {
            for group in self.tree.forget(*range) {
                self.file
                    .write_all_at(tree_file::position(group), &tree_file::NO_RECORD)
                    .map_err(Error::target("writing", &self.path))?;
            }
        }
        self.sync()
    }

    /// Writes the record of a known group; durable after [`TreeWriter::sync`].
    pub(crate) fn save(&mut self, group: usize) -> Result<(), Error> {
        let Some(known) = self.tree.known(group) else {
            return Ok(());
        };
        let record = tree_file::record(group, known);
        self.file
            .write_all_at(tree_file::position(group), &record)
            .map_err(Error::target("writing", &self.path))
    }

    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file
            .sync_data()
            .map_err(Error::target("syncing", &self.path))
    }
}

/// What the hasher is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// These bytes are in the image.
    Add(Batch),
    /// What was rescued there is void; answered once that is durable.
    Forget(Vec<ByteRange>, SyncSender<()>),
}

/// Hashes in a thread of its own, and sends the buffers on to `back`.
pub(crate) fn spawn(writer: TreeWriter, back: Sender<Buffer>) -> Result<Stage<Message, TreeWriter>, Error> {
    Stage::spawn("hash", BATCHES, move |inbox| work(writer, &inbox, &back))
}

fn work(
    mut writer: TreeWriter,
    inbox: &Receiver<Message>,
    back: &Sender<Buffer>,
) -> Result<TreeWriter, Error> {
    for message in inbox {
        match message {
            Message::Add(batch) => {
                for (offset, buffer) in batch {
                    writer.add(offset, buffer.bytes())?;
                    // The engine may be gone already.
                    let _ = back.send(buffer);
                }
            }
            Message::Forget(ranges, answer) => {
                writer.forget(&ranges)?;
                // Whoever asked may have given up.
                let _ = answer.send(());
            }
        }
    }
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use ntt_host::{Disk, OpenMode};
    use ntt_mapfile::{Mapfile, Status};
    use ntt_testkit::sim_disk::SimDisk;

    use super::*;
    use crate::tree::GROUP_BYTES;

    const SIZE: u64 = 2 * GROUP_BYTES;

    /// Bytes that were forgotten, and others rescued in their place, of which the record did not reach the disk.
    #[test]
    fn r8_a_record_does_not_outlive_what_it_is_of() {
        let (disk, path) = (SimDisk::new(), Path::new("/d/tree"));
        disk.create_dir_all(Path::new("/d")).expect("a directory");
        let mut file = disk.open(path, OpenMode::CreateNew).expect("a file");
        file.write_all_at(0, &tree_file::header(SIZE)).expect("written");
        let whole = ByteRange::new(0, GROUP_BYTES);
        let mut map = Mapfile::untried(SIZE);
        map.set(whole, Status::Finished).expect("few blocks");
        let mut writer = TreeWriter::new(HashTree::new(SIZE), file, path);
        writer.add(0, &vec![1; 1 << 20]).expect("written");
        let known = |disk: &SimDisk| {
            let bytes = disk.files().remove(path).expect("a file");
            tree_file::load(&bytes, SIZE, &map).known(0).is_some()
        };
        assert!(known(&disk));
        writer.forget(&[whole]).expect("written");
        assert!(!known(&disk));
        disk.sync_dir(Path::new("/d")).expect("a quiet disk");
        assert!(!known(&disk.reboot(1)), "durable");
    }
}
