//! The way of rescued bytes: into the image, then into the tree of hashes. Each is a thread of its own, so that reading never waits for
//! either; or all is done at once, where a run must be the same every time.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use ntt_model::ByteRange;

use super::hashing::{self, TreeWriter};
use super::image::ImageWriter;
use super::stage::Stage;
use crate::buffer::Buffer;
use crate::error::Error;

/// Batches between the reader and the writer: enough to keep both busy, few enough to stay in the processor's caches.
const BATCHES: usize = 4;
/// Small reads are handed over together: waking a thread costs more than keeping a few sectors.
const BATCH_BYTES: usize = 128 << 10;
const BATCH_READS: usize = 64;
/// Buffers kept for the next reads, the last used first: they are still in the caches.
const FREE_BUFFERS: usize = 16;

/// What was rescued, and where, in the order in which it came.
pub(crate) type Batch = Vec<(u64, Buffer)>;

#[derive(Debug)]
enum Message {
    Add(Batch),
    /// Answered once it is durable.
    Forget(Vec<ByteRange>, SyncSender<()>),
    /// Answered once all before it is in the image.
    Settle(SyncSender<()>),
}

/// Takes rescued bytes to the image and to the tree.
#[derive(Debug)]
pub(crate) enum Writing {
    /// At once.
    Inline(Box<(ImageWriter, TreeWriter)>),
    /// In threads.
    Threads(Worker),
}

#[derive(Debug)]
pub(crate) struct Worker {
    stage: Stage<Message, TreeWriter>,
    returned: Receiver<Buffer>,
    batch: Batch,
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
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.stage.send(Message::Add(batch))
    }

    /// Sends a message behind all bytes taken, and waits for the answer; none comes from a thread that failed.
    fn ask(&mut self, message: impl FnOnce(SyncSender<()>) -> Message) -> Result<(), Error> {
        self.send_batch()?;
        let (answer, answered) = sync_channel(1);
        self.stage.send(message(answer))?;
        answered.recv().map_err(|_| self.stage.failure())
    }
}

impl Writing {
    pub(crate) fn inline(image: ImageWriter, tree: TreeWriter) -> Self {
        Self::Inline(Box::new((image, tree)))
    }

    pub(crate) fn threads(image: ImageWriter, tree: TreeWriter) -> Result<Self, Error> {
        let (back, returned) = channel();
        let hasher = hashing::spawn(tree, back)?;
        let stage = Stage::spawn("write", BATCHES, move |inbox| work(image, hasher, &inbox))?;
        Ok(Self::Threads(Worker {
            stage,
            returned,
            batch: Batch::new(),
            batch_bytes: 0,
            free: Vec::new(),
        }))
    }

    /// Takes bytes rescued at `offset`; gives a buffer for the next read. Waits while the writer is behind; an error may be that of bytes
    /// taken before.
    pub(crate) fn add(&mut self, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
        match self {
            Self::Inline(kept) => {
                let (image, tree) = kept.as_mut();
                image.write(offset, buffer.bytes())?;
                tree.add(offset, buffer.bytes())?;
                Ok(buffer)
            }
            Self::Threads(worker) => worker.add(offset, buffer),
        }
    }

    /// Waits until all bytes taken are in the image, though perhaps not durable.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        match self {
            Self::Inline(_) => Ok(()),
            Self::Threads(worker) => worker.ask(Message::Settle),
        }
    }

    /// What was rescued in `ranges` is void: durable when this returns.
    pub(crate) fn forget(&mut self, ranges: &[ByteRange]) -> Result<(), Error> {
        match self {
            Self::Inline(kept) => kept.1.forget(ranges),
            Self::Threads(worker) => worker.ask(|answer| Message::Forget(ranges.to_vec(), answer)),
        }
    }

    /// The tree, once all bytes taken are in the image and in it.
    pub(crate) fn finish(self) -> Result<TreeWriter, Error> {
        match self {
            Self::Inline(kept) => Ok(kept.1),
            Self::Threads(mut worker) => {
                worker.send_batch()?;
                worker.stage.finish()
            }
        }
    }
}

fn work(
    mut image: ImageWriter,
    mut hasher: Stage<hashing::Message, TreeWriter>,
    inbox: &Receiver<Message>,
) -> Result<TreeWriter, Error> {
    for message in inbox {
        match message {
            Message::Add(batch) => {
                for (offset, buffer) in &batch {
                    image.write(*offset, buffer.bytes())?;
                }
                hasher.send(hashing::Message::Add(batch))?;
            }
            Message::Forget(ranges, answer) => hasher.send(hashing::Message::Forget(ranges, answer))?,
            Message::Settle(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(());
            }
        }
    }
    hasher.finish()
}
