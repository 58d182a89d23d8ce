//! Cutting copy work into chunks: the same limits for all back ends.

use crate::Error;
use crate::codec::{Member, ordinal};
use crate::layout::{Place, ShortMap};

/// Inodes of a chunk at most.
pub(crate) const CHUNK_INODES: usize = 512;
/// Bytes of a chunk at most, unless it is a single stream that is bigger.
pub(crate) const CHUNK_BYTES: u64 = 64 << 20;
/// The queue is put in the order of the image within windows of this many streams: a sort in bounded memory, at the price of one sweep of
/// the disk per window.
pub(crate) const WINDOW: usize = 1 << 20;

/// A stream to be copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Work {
    /// Image offset of the inode's first extent; 0 if it has none.
    pub(crate) position: u64,
    pub(crate) inode: u64,
    pub(crate) stream: u32,
    pub(crate) bytes: u64,
    /// Of a data stream at ordinal 0, if the back end keeps it beside the queue.
    pub(crate) map: ShortMap,
}

/// What goes into one chunk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) members: Vec<Member>,
    /// Of each member.
    pub(crate) places: Vec<Place>,
    pub(crate) streams: u64,
    pub(crate) bytes: u64,
}

impl Cut {
    /// A chunk of exactly this work, whatever the limits.
    pub(crate) fn of(work: &[Work]) -> Self {
        let mut cut = Self::default();
        work.iter().for_each(|work| cut.push(*work));
        cut
    }

    fn is_full_for(&self, work: &Work) -> bool {
        let continues = self.members.last().is_some_and(|last| last.inode == work.inode);
        let is_full = self.members.len() >= CHUNK_INODES && !continues;
        is_full || (self.streams > 0 && self.bytes.saturating_add(work.bytes) > CHUNK_BYTES)
    }

    /// Adds a stream to its inode, if that is the last member, or as a new one.
    fn push(&mut self, work: Work) {
        match (self.members.last_mut(), self.places.last_mut()) {
            (Some(last), Some(place)) if last.inode == work.inode => {
                last.streams.to_mut().push(work.stream);
                *place = Place::default();
            }
            _ => {
                self.members.push(Member {
                    inode: work.inode,
                    streams: ordinal(work.stream),
                });
                self.places.push(Place {
                    size: work.bytes,
                    map: work.map,
                });
            }
        }
        self.streams += 1;
        self.bytes = self.bytes.saturating_add(work.bytes);
    }
}

/// Cuts work, in the order in which it comes, into chunks.
#[derive(Debug, Default)]
pub(crate) struct Cutting {
    open: Cut,
}

impl Cutting {
    /// Adds one stream; returns the chunk before, if that is full. Streams of one inode come one after the other.
    pub(crate) fn push(&mut self, work: Work) -> Option<Cut> {
        let full = if self.open.is_full_for(&work) {
            self.finish()
        } else {
            None
        };
        self.open.push(work);
        full
    }

    /// The chunk begun, if there is one.
    pub(crate) fn finish(&mut self) -> Option<Cut> {
        (!self.open.members.is_empty()).then(|| std::mem::take(&mut self.open))
    }
}

/// Takes work in the order in which it is to be done.
pub(crate) trait Cutter {
    /// Adds one stream. Streams of one inode come one after the other.
    fn push(&mut self, work: Work) -> Result<(), Error>;
    /// Writes what was begun; tells how many chunks there are.
    fn finish(self) -> Result<u64, Error>;
}

/// Puts work that comes in any order into that of the image, within windows that fit in memory.
#[derive(Debug)]
pub(crate) struct Window<C> {
    cutter: C,
    open: Vec<Work>,
    streams: u64,
}

impl<C: Cutter> Window<C> {
    pub(crate) const fn new(cutter: C) -> Self {
        Self {
            cutter,
            open: Vec::new(),
            streams: 0,
        }
    }

    /// Adds one stream.
    pub(crate) fn push(&mut self, work: Work) -> Result<(), Error> {
        self.open.push(work);
        self.streams += 1;
        if self.open.len() >= WINDOW {
            self.cut()
        } else {
            Ok(())
        }
    }

    fn cut(&mut self) -> Result<(), Error> {
        self.open.sort_unstable();
        let cutter = &mut self.cutter;
        self.open.drain(..).try_for_each(|work| cutter.push(work))
    }

    /// Ends; tells how many streams came, and how many chunks they are.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), Error> {
        self.cut()?;
        Ok((self.streams, self.cutter.finish()?))
    }
}
