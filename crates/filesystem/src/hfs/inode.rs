//! From catalogue records to inodes (Inside Macintosh: Files, 2-71 to 2-73).

use ntt_model::Kind;
use ntt_model::entry::{Encoding, Inode, Stream, StreamKind};
use ntt_model::time::Times;
use ntt_source::field::{be_u32, u8_at};

use crate::apple::finder::finder_info;
use crate::apple::fork::{ForkData, extents};
use crate::apple::key::Record;
use crate::apple::overflow::{ForkKind, Overflow, impossible_extents};
use crate::apple::time::time_at;
use crate::apple::volume::Volume;
use crate::apple::walk::Inodes;
use crate::report::Report;

/// Type of a file record.
const FILE: u8 = 2;

/// Where a fork's length and extents stand in a file record.
const FORKS: [(ForkKind, usize, usize); 2] = [(ForkKind::Data, 26, 74), (ForkKind::Resource, 36, 86)];

/// Makes inodes of the records of one volume.
pub(super) struct Builder<'b, 'a> {
    pub(super) volume: &'b Volume<'a>,
    pub(super) overflow: Overflow,
    pub(super) extents_max: u64,
}

impl Builder<'_, '_> {
    fn streams(&mut self, cnid: u32, data: &[u8], image_offset: u64, report: &mut Report) -> Vec<Stream> {
        let mut streams = Vec::new();
        for (kind, size_at, extents_at) in FORKS {
            let size = be_u32(data, size_at).unwrap_or(0);
            let mut fork =
                ForkData::classic(size, data.get(extents_at..).unwrap_or_default()).unwrap_or_default();
            if self.overflow.complete(self.volume, cnid, kind, &mut fork) {
                report.push(impossible_extents(cnid, image_offset));
            }
            let (extents, extents_incomplete) = extents(self.volume, fork.size, &fork.runs, self.extents_max);
            let kind = match kind {
                ForkKind::Data => StreamKind::Data,
                ForkKind::Resource if size == 0 => continue,
                ForkKind::Resource => StreamKind::resource_fork(),
            };
            streams.push(Stream {
                kind,
                size_bytes: fork.size,
                extents,
                encoding: Encoding::Plain,
                extents_incomplete,
            });
        }
        streams
    }
}

impl Inodes for Builder<'_, '_> {
    fn build(&mut self, cnid: u32, record: &Record<'_>, image_offset: u64, report: &mut Report) -> Inode {
        let data = record.data;
        let is_file = u8_at(data, 0) == Some(FILE);
        let part = |from: usize| data.get(from..from.saturating_add(16)).unwrap_or_default();
        let (finder, times) = if is_file {
            (finder_info(part(4), part(56)), [44, 48, 52])
        } else {
            (finder_info(part(22), part(38)), [10, 14, 18])
        };
        let [created, modified, backup] = times.map(|at| time_at(data, at));
        Inode {
            times: Times {
                modified,
                created,
                deleted: backup,
                ..Times::default()
            },
            flags: u64::from(u8_at(data, 2).unwrap_or(0)) << 32,
            streams: if is_file {
                self.streams(cnid, data, image_offset, report)
            } else {
                Vec::new()
            },
            xattrs: finder.into_iter().collect(),
            ..Inode::bare(
                u64::from(cnid),
                if is_file { Kind::File } else { Kind::Directory },
            )
        }
    }
}
