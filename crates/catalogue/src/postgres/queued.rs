//! What waits in the queue of a scan, asked for in the order of inode numbers: all of it at once may be more than fits in memory.

use std::collections::BTreeSet;

use ntt_model::ScanId;

use super::connection::{Connection, get};
use crate::cutting::Work;
use crate::{Error, codec};

/// Chunks read in one go.
const PAGE: u32 = 256;

/// The streams in chunks that are not done, of a stretch of inode numbers that moves upwards. Chunks hold neighbouring inodes, so that few overlap
/// any stretch.
pub(super) struct Queued<'c> {
    connection: &'c Connection,
    /// Chunks that begin behind the stretch: first inode and id, the first of them last.
    ahead: Vec<(i64, i64)>,
    /// Streams from the begin of the stretch on.
    streams: BTreeSet<(i64, u32)>,
}

impl<'c> Queued<'c> {
    /// Stands before the first inode.
    pub(super) fn new(connection: &'c Connection, scan: ScanId) -> Result<Self, Error> {
        let sql = format!(
            "SELECT c.id, m.members FROM chunk c JOIN chunk_members m ON m.chunk = c.id WHERE c.scan = {scan} AND c.state <> 2"
        );
        let pages = connection.pages(&sql, PAGE)?;
        let mut ahead = Vec::new();
        loop {
            let rows = pages.next()?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let members = codec::members(get(row, 1)?)?;
                let first = members.iter().map(|member| member.inode.cast_signed()).min();
                ahead.extend(first.map(|first| (first, get(row, 0))));
            }
        }
        pages.close()?;
        let ahead: Result<Vec<(i64, i64)>, Error> =
            ahead.into_iter().map(|(first, id)| Ok((first, id?))).collect();
        let mut ahead = ahead?;
        ahead.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Self {
            connection,
            ahead,
            streams: BTreeSet::new(),
        })
    }

    /// Moves on to the stretch from one inode number to another; both ascend from call to call.
    pub(super) fn stand_at(&mut self, first: i64, last: i64) -> Result<(), Error> {
        self.streams = self.streams.split_off(&(first, 0));
        let behind = self.ahead.partition_point(|(begin, _)| *begin > last);
        let reached: Vec<i64> = self.ahead.drain(behind..).map(|(_, id)| id).collect();
        let sql = "SELECT members FROM chunk_members WHERE chunk = ANY ($1)";
        for chunks in reached.chunks(usize::try_from(PAGE).unwrap_or(1)) {
            for row in self.connection.query(sql, &[&chunks])? {
                for member in codec::members(get(&row, 0)?)? {
                    let inode = member.inode.cast_signed();
                    if inode >= first {
                        self.streams
                            .extend(member.streams.iter().map(|stream| (inode, *stream)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a stream of the stretch waits.
    pub(super) fn contains(&self, work: &Work) -> bool {
        self.streams.contains(&(work.inode.cast_signed(), work.stream))
    }
}
