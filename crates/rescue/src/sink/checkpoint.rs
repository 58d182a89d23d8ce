//! Checkpoints: the map on disk may lag behind the image, never lead it (R10).
//!
//! Order: image data durable; the map into a temporary file, durable; rename over the map; the directory durable. A crash between any two
//! steps leaves the old map or the new one, and every byte that either calls rescued is in the image.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use ntt_host::{Disk, DiskFile, OpenMode};

use super::stage::Stage;
use crate::error::Error;
use crate::paths::{Paths, directory_of};

/// Writes checkpoints; has a descriptor of the image of its own, so that it can sync while the engine goes on writing.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    disk: Arc<dyn Disk>,
    paths: Paths,
    image: Box<dyn DiskFile>,
}

impl Checkpointer {
    pub(crate) fn new(disk: Arc<dyn Disk>, paths: Paths, image: Box<dyn DiskFile>) -> Self {
        Self { disk, paths, image }
    }

    /// Makes durable what was written to the image, then the map.
    pub(crate) fn write(&mut self, map: &[u8]) -> Result<(), Error> {
        self.image
            .sync_data()
            .map_err(Error::target("syncing", &self.paths.image))?;
        publish(
            self.disk.as_ref(),
            &self.paths.map_temporary,
            &self.paths.map,
            map,
        )
    }
}

/// Replaces a file as a whole, durably: a crash leaves the old content or the new one.
pub(crate) fn publish(disk: &dyn Disk, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match disk.remove_file(temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::target("removing", temporary)(error));
        }
        _ => {}
    }
    let mut file = disk
        .open(temporary, OpenMode::CreateNew)
        .map_err(Error::target("creating", temporary))?;
    file.write_all_at(0, bytes)
        .and_then(|()| file.sync_data())
        .map_err(Error::target("writing", temporary))?;
    disk.rename_over(temporary, path)
        .map_err(Error::target("renaming", temporary))?;
    let directory = directory_of(path);
    disk.sync_dir(directory)
        .map_err(Error::target("syncing", directory))
}

/// Where checkpoints are written.
#[derive(Debug)]
pub(crate) enum Checkpoints {
    /// At once: the engine waits.
    Inline(Box<Checkpointer>),
    /// In a thread, while the engine reads on.
    Thread(Worker),
}

#[derive(Debug)]
pub(crate) struct Worker {
    stage: Stage<Vec<u8>, ()>,
    results: Receiver<Result<(), Error>>,
    busy: bool,
}

impl Checkpoints {
    pub(crate) fn inline(checkpointer: Checkpointer) -> Self {
        Self::Inline(Box::new(checkpointer))
    }

    pub(crate) fn thread(mut checkpointer: Checkpointer) -> Result<Self, Error> {
        let (outbox, results) = sync_channel(1);
        let stage = Stage::spawn("checkpoint", 1, move |inbox: Receiver<Vec<u8>>| {
            for map in inbox {
                // The engine may be gone already.
                let _ = outbox.send(checkpointer.write(&map));
            }
            Ok(())
        })?;
        Ok(Self::Thread(Worker {
            stage,
            results,
            busy: false,
        }))
    }

    /// Whether a checkpoint can begin at once; an error of the last one.
    pub(crate) fn is_ready(&mut self) -> Result<bool, Error> {
        match self {
            Self::Inline(_) => Ok(true),
            Self::Thread(worker) => {
                if !worker.busy {
                    return Ok(true);
                }
                match worker.results.try_recv() {
                    Ok(result) => {
                        worker.busy = false;
                        result?;
                        Ok(true)
                    }
                    Err(TryRecvError::Empty) => Ok(false),
                    Err(TryRecvError::Disconnected) => Err(worker.stage.failure()),
                }
            }
        }
    }

    /// Begins a checkpoint, after the last one is done.
    pub(crate) fn begin(&mut self, map: Vec<u8>) -> Result<(), Error> {
        self.wait()?;
        match self {
            Self::Inline(checkpointer) => checkpointer.write(&map),
            Self::Thread(worker) => {
                worker.busy = true;
                worker.stage.send(map)
            }
        }
    }

    /// Waits until the last checkpoint is durable.
    pub(crate) fn wait(&mut self) -> Result<(), Error> {
        match self {
            Self::Thread(worker) if worker.busy => {
                worker.busy = false;
                worker.results.recv().map_err(|_| worker.stage.failure())?
            }
            _ => Ok(()),
        }
    }

    /// Ends the thread.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.wait()?;
        if let Self::Thread(worker) = self {
            worker.stage.finish()?;
        }
        Ok(())
    }
}
