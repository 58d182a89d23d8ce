//! Hashing beside reading: in a thread of its own, or at once where a run must be the same every time.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ntt_host::DiskFile;
use ntt_model::ByteRange;

use super::tree_file;
use crate::buffer::Buffer;
use crate::error::Error;
use crate::tree::HashTree;

/// Messages between the reader and the hasher: enough to keep both busy, few enough to stay in the processor's caches.
const MESSAGES: usize = 8;
/// Small reads are handed over together: waking a thread costs more than hashing a few sectors.
const BATCH_BYTES: usize = 128 << 10;
const BATCH_READS: usize = 64;
/// Buffers kept for the next reads, the last used first: they are still in the caches.
const FREE_BUFFERS: usize = 16;

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

    fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        for group in self.tree.add(offset, bytes) {
            self.save(group)?;
        }
        Ok(())
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

enum Message {
    Add(Vec<(u64, Buffer)>),
    Forget(ByteRange),
}

/// Takes rescued bytes to the tree.
#[derive(Debug)]
pub(crate) enum Hashing {
    /// At once.
    Inline(Box<TreeWriter>),
    /// In a thread.
    Thread(Worker),
}

#[derive(Debug)]
pub(crate) struct Worker {
    messages: Sender<Message>,
    returned: Receiver<Buffer>,
    /// Until it is joined.
    thread: Option<JoinHandle<Result<TreeWriter, Error>>>,
    batch: Vec<(u64, Buffer)>,
    batch_bytes: usize,
    free: Vec<Buffer>,
}

impl Worker {
    fn add(&mut self, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
        self.batch_bytes += buffer.bytes().len();
        self.batch.push((offset, buffer));
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_READS {
            self.send_batch()?;
        }
        self.free.extend(self.returned.try_iter());
        self.free.truncate(FREE_BUFFERS);
        Ok(self.free.pop().unwrap_or_default())
    }

    fn send_batch(&mut self) -> Result<(), Error> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.send(Message::Add(batch))
    }

    /// A thread that does not listen any more has failed: its error is the reason.
    fn send(&mut self, message: Message) -> Result<(), Error> {
        if self.messages.send(message).is_ok() {
            return Ok(());
        }
        match self.join() {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Thread("hashing")),
        }
    }

    fn join(&mut self) -> Result<TreeWriter, Error> {
        let thread = self.thread.take().ok_or(Error::Thread("hashing"))?;
        thread.join().map_err(|_| Error::Thread("hashing"))?
    }
}

impl Hashing {
    pub(crate) fn inline(writer: TreeWriter) -> Self {
        Self::Inline(Box::new(writer))
    }

    pub(crate) fn thread(writer: TreeWriter) -> Result<Self, Error> {
        let (messages, inbox) = bounded(MESSAGES);
        let (back, returned) = unbounded();
        let thread = std::thread::Builder::new()
            .name("hash".to_owned())
            .spawn(move || work(writer, &inbox, &back))
            .map_err(|_| Error::Thread("hashing"))?;
        Ok(Self::Thread(Worker {
            messages,
            returned,
            thread: Some(thread),
            batch: Vec::new(),
            batch_bytes: 0,
            free: Vec::new(),
        }))
    }

    /// Takes bytes rescued at `offset`; gives a buffer for the next read. Waits while the hasher is behind.
    pub(crate) fn add(&mut self, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
        match self {
            Self::Inline(writer) => {
                writer.add(offset, buffer.bytes())?;
                Ok(buffer)
            }
            Self::Thread(worker) => worker.add(offset, buffer),
        }
    }

    /// What was rescued in `range` is void, or is known to be in the image only.
    pub(crate) fn forget(&mut self, range: ByteRange) -> Result<(), Error> {
        match self {
            Self::Inline(writer) => writer.tree.forget(range),
            Self::Thread(worker) => {
                worker.send_batch()?;
                worker.send(Message::Forget(range))?;
            }
        }
        Ok(())
    }

    /// The tree, once everything handed over is in it.
    pub(crate) fn finish(self) -> Result<TreeWriter, Error> {
        match self {
            Self::Inline(writer) => Ok(*writer),
            Self::Thread(mut worker) => {
                worker.send_batch()?;
                // With no sender left the thread ends.
                worker.messages = bounded(0).0;
                worker.join()
            }
        }
    }
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
            Message::Forget(range) => writer.tree.forget(range),
        }
    }
    Ok(writer)
}
