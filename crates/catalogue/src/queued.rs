//! What waits in the queue of a scan, asked for in the order of inode numbers: all of it at once may be more than fits in memory.

use std::collections::BTreeSet;

use crate::Error;
use crate::codec::Member;
use crate::cutting::Work;

/// Chunks read in one go.
pub(crate) const PAGE: usize = 256;

/// Gives the members of chunks, in any order.
pub(crate) type ReadMembers<'r> = dyn FnMut(&[i64]) -> Result<Vec<Member>, Error> + 'r;

/// The streams in chunks that are not done, of a stretch of inode numbers that moves upwards. Chunks hold neighbouring inodes, so that few overlap
/// any stretch.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    /// Chunks that begin behind the stretch: first inode and id, the first of them last.
    ahead: Vec<(i64, i64)>,
    is_sorted: bool,
    /// Streams from the begin of the stretch on.
    streams: BTreeSet<(i64, u32)>,
}

impl Queued {
    /// Takes a chunk that is not done; all come before the first stretch.
    pub(crate) fn add(&mut self, chunk: i64, members: &[Member]) {
        let first = members.iter().map(|member| member.inode.cast_signed()).min();
        self.ahead.extend(first.map(|first| (first, chunk)));
    }

    /// Moves on to the stretch from one inode number to another; both ascend from call to call.
    pub(crate) fn stand_at(
        &mut self,
        first: i64,
        last: i64,
        read: &mut ReadMembers<'_>,
    ) -> Result<(), Error> {
        if !self.is_sorted {
            self.ahead.sort_unstable_by(|one, other| other.cmp(one));
            self.is_sorted = true;
        }
        while self.streams.first().is_some_and(|(inode, _)| *inode < first) {
            self.streams.pop_first();
        }
        if self.ahead.last().is_none_or(|(begin, _)| *begin > last) {
            return Ok(());
        }
        let behind = self.ahead.partition_point(|(begin, _)| *begin > last);
        let reached: Vec<i64> = self.ahead.drain(behind..).map(|(_, id)| id).collect();
        for chunks in reached.chunks(PAGE) {
            for member in read(chunks)? {
                let inode = member.inode.cast_signed();
                if inode >= first {
                    let streams = member.streams.iter().map(|stream| (inode, *stream));
                    self.streams.extend(streams);
                }
            }
        }
        Ok(())
    }

    /// Whether a stream of the stretch waits.
    pub(crate) fn contains(&self, work: &Work) -> bool {
        self.streams.contains(&(work.inode.cast_signed(), work.stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::ShortMap;

    fn members(inodes: &[u64]) -> Vec<Member> {
        let member = |inode: &u64| Member {
            inode: *inode,
            streams: vec![0, 3].into(),
        };
        inodes.iter().map(member).collect()
    }

    #[test]
    fn each_chunk_is_read_once_when_it_is_reached() {
        let chunks = [members(&[30, 2]), members(&[7, 9]), members(&[40])];
        let mut queued = Queued::default();
        for (id, members) in (0..).zip(&chunks) {
            queued.add(id, members);
        }
        let mut read = Vec::new();
        let mut found = Vec::new();
        for (first, last) in [(1, 5), (6, 12), (13, 30), (31, 99)] {
            let load = &mut |ids: &[i64]| {
                read.extend_from_slice(ids);
                let all = ids.iter().map(|id| &chunks[usize::try_from(*id).unwrap()]);
                Ok(all.flatten().cloned().collect())
            };
            queued.stand_at(first, last, load).unwrap();
            for inode in first.cast_unsigned()..=last.cast_unsigned() {
                let work = |stream| Work {
                    position: 0,
                    inode,
                    stream,
                    bytes: 0,
                    map: ShortMap::default(),
                };
                assert!(!queued.contains(&work(1)));
                if queued.contains(&work(0)) && queued.contains(&work(3)) {
                    found.push(inode);
                }
            }
        }
        assert_eq!((found, read), (vec![2, 7, 9, 30, 40], vec![0, 1, 2]));
    }
}
