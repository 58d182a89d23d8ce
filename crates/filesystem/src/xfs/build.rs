//! From the bytes of an inode to the inode that is emitted.

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind};
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::be_u64;

use super::attribute;
use super::crc::checked;
use super::fork::{Mapper, Run};
use super::inode::{Format, RawInode};
use super::volume::Volume;
use crate::report::{Report, doubtful, unreadable};

/// The longest target (`XFS_SYMLINK_MAXLEN`).
const TARGET_MAX: u64 = 1024;
/// Blocks of the longest target, the smallest being 512 bytes, and some more.
const TARGET_BLOCKS_MAX: u64 = 4;
/// Header of an extent of a target (version 5).
const TARGET_HEADER: usize = 56;
const TARGET_CRC: usize = 12;
const TARGET_OWNER: usize = 32;

/// How often a scan builds an inode: from its chunk, again where damage makes it sweep, and where a name asks for it.
const TIMES_BUILT_MAX: u64 = 3;

/// Builds inodes.
pub(super) struct Builder<'v, 'a> {
    volume: &'v Volume<'a>,
    pub(super) mapper: Mapper<'v, 'a>,
    /// What all inodes together may still have of attributes.
    attribute_bytes_left: u64,
}

impl<'v, 'a> Builder<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, extents_max: u64) -> Self {
        Self {
            volume,
            mapper: Mapper::new(volume, extents_max),
            attribute_bytes_left: volume.source_len().saturating_mul(TIMES_BUILT_MAX),
        }
    }

    /// The inode with everything that belongs to it; what is wrong is reported.
    pub(super) fn build(&mut self, raw: &RawInode<'_>, report: &mut Report) -> Inode {
        let kind = raw.kind();
        let (times, has_bad_time) = raw.times();
        if has_bad_time {
            let detail = "a time that cannot be represented";
            report.push(self.on(raw, Severity::Info, FindingCode::OutOfRange, detail));
        }
        let mut streams = Vec::new();
        if kind == Kind::File {
            streams.push(self.content(raw, report));
        }
        let mut xattrs = Vec::new();
        if let Some(fork) = raw.attributes() {
            let readers = (self.volume, &mut self.mapper);
            let left = &mut self.attribute_bytes_left;
            let found = attribute::read(readers, raw, &fork, left, report);
            xattrs = found.small;
            streams.extend(found.large);
        }
        Inode {
            number: raw.number,
            generation: raw.generation().into(),
            kind,
            mode: Some(u32::from(raw.mode()) & 0o7777),
            uid: Some(raw.uid()),
            gid: Some(raw.gid()),
            links: raw.links(),
            times,
            target: (kind == Kind::Symlink)
                .then(|| self.target(raw, report))
                .flatten(),
            device: kind.is_device().then(|| raw.device()),
            flags: raw.all_flags(),
            streams,
            xattrs,
            allocation: Allocation::Allocated,
        }
    }

    fn on(
        &self,
        raw: &RawInode<'_>,
        severity: Severity,
        code: FindingCode,
        detail: impl Into<String>,
    ) -> Finding {
        Finding::new(severity, Layer::Inode, code, detail)
            .at(self.volume.in_image(raw.offset))
            .on_inode(raw.number)
    }

    fn content(&mut self, raw: &RawInode<'_>, report: &mut Report) -> Stream {
        let fork = raw.data();
        let size_bytes = raw.size();
        let mut stream = Stream {
            kind: StreamKind::Data,
            size_bytes,
            extents: Vec::new(),
            encoding: Encoding::Plain,
            extents_incomplete: false,
        };
        if fork.format == Format::Local {
            let place = raw.offset.saturating_add(u64::try_from(fork.at).unwrap_or(0));
            let room = u64::try_from(fork.bytes.len()).unwrap_or(0);
            stream.extents.push(Extent {
                logical_offset: 0,
                image_offset: self.volume.in_image(place),
                len: size_bytes.min(room),
                kind: ExtentKind::Inline,
            });
            stream.extents_incomplete = size_bytes > room;
            stream.extents.retain(|extent| extent.len > 0);
            return stream;
        }
        let map = self.mapper.map(raw, &fork, report);
        stream.extents_incomplete = map.is_incomplete || fork.format == Format::Device;
        if raw.is_realtime() {
            if !map.runs.is_empty() {
                stream.extents_incomplete = true;
                let detail = "the content lies on the real-time device, which is another one";
                report.push(self.on(raw, Severity::Loss, FindingCode::Unsupported, detail));
            }
        } else {
            stream.extents = map.extents(self.volume, size_bytes);
        }
        stream
    }

    fn target(&mut self, raw: &RawInode<'_>, report: &mut Report) -> Option<Vec<u8>> {
        let size = raw.size();
        let len = usize::try_from(size)
            .ok()
            .filter(|_| (1..=TARGET_MAX).contains(&size));
        let Some(len) = len else {
            let detail = format!("a target of {size} bytes");
            report.push(self.on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            return None;
        };
        let fork = raw.data();
        if fork.format == Format::Local {
            let target = fork.bytes.get(..len);
            if target.is_none() {
                let detail = format!("a target of {size} bytes does not fit into the inode");
                report.push(self.on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            }
            return target.map(<[u8]>::to_vec);
        }
        let map = self.mapper.map(raw, &fork, report);
        let mut target = Vec::new();
        for run in &map.runs {
            if target.len() >= len {
                break;
            }
            let part = self.target_run(raw, run, len.saturating_sub(target.len()), report)?;
            target.extend_from_slice(&part);
        }
        if target.len() < len {
            let detail = "blocks of the target do not exist";
            report.push(self.on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            return None;
        }
        target.truncate(len);
        Some(target)
    }

    /// The part of a target in an extent: all of it in version 4, what follows the one header of the extent in version 5. `left` bytes are
    /// wanted.
    fn target_run(&self, raw: &RawInode<'_>, run: &Run, left: usize, report: &mut Report) -> Option<Vec<u8>> {
        let offset = run.offset;
        let blocks = usize::try_from(run.len.min(TARGET_BLOCKS_MAX)).unwrap_or(1);
        let mut block = vec![0; self.volume.block_len().saturating_mul(blocks)];
        if let Err(error) = self.volume.read(offset, &mut block) {
            let finding = unreadable(
                &error,
                Layer::Inode,
                "the target of a symbolic link",
                self.volume.in_image(offset),
            );
            report.push(finding.on_inode(raw.number));
            return None;
        }
        if !self.volume.superblock.is_v5() {
            return Some(block);
        }
        if !block.starts_with(b"XSLM") {
            return self.bare_target(raw, block.get(..left.min(block.len()))?, offset, report);
        }
        let is_mine = be_u64(&block, TARGET_OWNER) == Some(raw.number);
        let complaint = if is_mine {
            checked(&block, TARGET_CRC).complaint("the block of a target")
        } else {
            Some("the block of a target is none of this inode".to_owned())
        };
        if let Some(complaint) = complaint {
            let finding = doubtful(Layer::Inode, complaint, self.volume.in_image(offset));
            report.push(finding.on_inode(raw.number));
        }
        is_mine.then(|| block.get(TARGET_HEADER..).unwrap_or_default().to_vec())
    }
    /// A block without a header, as `mkfs.xfs -p` of version 6.1 writes it: a target has no NUL in it.
    fn bare_target(
        &self,
        raw: &RawInode<'_>,
        block: &[u8],
        offset: u64,
        report: &mut Report,
    ) -> Option<Vec<u8>> {
        let len = usize::try_from(raw.size()).unwrap_or(usize::MAX).min(block.len());
        let target = block.get(..len).filter(|target| !target.contains(&0));
        let severity = if target.is_some() {
            Severity::Warning
        } else {
            Severity::Loss
        };
        let detail = "the block of a target has no header".to_owned();
        report.push(self.on_block(raw, offset, severity, detail));
        target.map(<[u8]>::to_vec)
    }

    fn on_block(&self, raw: &RawInode<'_>, offset: u64, severity: Severity, detail: String) -> Finding {
        Finding::new(severity, Layer::Inode, FindingCode::Corrupt, detail)
            .at(self.volume.in_image(offset))
            .on_inode(raw.number)
    }
}
