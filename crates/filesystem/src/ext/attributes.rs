//! Gathers what the catalogue keeps of an inode: fields, attributes, target, streams.

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Kind, Layer, Severity};

use super::inode::{MAP_LEN, RawInode, flag};
use super::map::{MapContext, MapRoot, map};
use super::stream::{InlineValue, data_stream, mapped_extents};
use super::volume::Volume;
use super::xattr::{self, Place, RawAttribute};
use crate::report::{Report, doubtful, unreadable};

/// Values up to this length travel with the inode; longer ones are streams.
const INLINE_VALUE_MAX: u64 = 4096;
/// Longest target of a symbolic link: one block of the biggest size.
const TARGET_MAX: u64 = 65_536;

/// Builds [`Inode`]s; keeps buffers between them.
pub(super) struct InodeBuilder<'b, 'a> {
    volume: &'b Volume<'a>,
    extents_max: u64,
    budget: u64,
    /// The attribute block read last: inodes of one directory often share one.
    attribute_block: Option<(u64, Vec<u8>)>,
}

/// Attributes of an inode, split by where they go.
#[derive(Default)]
struct Attributes {
    small: Vec<Xattr>,
    streams: Vec<Stream>,
    inline_data: Option<(InlineValue, Vec<u8>)>,
}

impl<'b, 'a> InodeBuilder<'b, 'a> {
    /// A builder that reads at most `budget` blocks of maps.
    pub(super) fn new(volume: &'b Volume<'a>, extents_max: u64, budget: u64) -> Self {
        Self {
            volume,
            extents_max,
            budget,
            attribute_block: None,
        }
    }

    /// What maps need.
    pub(super) fn context<'c>(&'c mut self, report: &'c mut Report) -> MapContext<'c, 'a> {
        MapContext {
            volume: self.volume,
            report,
            budget: &mut self.budget,
        }
    }

    /// Everything known of an inode, which is of this kind.
    pub(super) fn build(
        &mut self,
        raw: &RawInode<'_>,
        kind: Kind,
        allocation: Allocation,
        report: &mut Report,
    ) -> Inode {
        let superblock = &self.volume.superblock;
        let (times, out_of_range) = raw.times();
        if out_of_range {
            let detail = "a time after 2262 was dropped";
            report.push(on(raw, Severity::Warning, FindingCode::OutOfRange, detail));
        }
        if !raw.checksum_right(superblock) {
            let finding = doubtful(Layer::Inode, "checksum of the inode is wrong", raw.image_offset);
            report.push(finding.on_inode(u64::from(raw.number)));
        }
        let attributes = self.attributes(raw, report);
        let target = (kind == Kind::Symlink)
            .then(|| self.target(raw, &attributes, report))
            .flatten();
        let mut streams = Vec::new();
        if kind == Kind::File {
            let rest = attributes.inline_data.as_ref().map(|(value, _)| *value);
            let extents_max = self.extents_max;
            streams.push(data_stream(&mut self.context(report), raw, rest, extents_max));
        }
        streams.extend(attributes.streams);
        Inode {
            number: u64::from(raw.number),
            generation: u64::from(raw.generation()),
            kind,
            mode: Some(u32::from(raw.mode() & 0o7777)),
            uid: Some(raw.uid()),
            gid: Some(raw.gid()),
            links: u32::from(raw.links()),
            times,
            target,
            device: kind.is_device().then(|| raw.device()),
            flags: u64::from(raw.flags()),
            streams,
            xattrs: attributes.small,
            allocation,
        }
    }

    fn attributes(&mut self, raw: &RawInode<'_>, report: &mut Report) -> Attributes {
        let mut attributes = Attributes::default();
        self.add(raw, xattr::in_body(raw), &mut attributes, report);
        let block = raw.attribute_block();
        if block == 0 {
            return attributes;
        }
        let at = self.volume.blocks.image_offset(block);
        if !self.volume.is_file_block(block) {
            let detail = format!("attribute block {block} does not exist");
            report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            return attributes;
        }
        let Some(bytes) = self.load_attribute_block(raw, block, report) else {
            return attributes;
        };
        self.add(raw, xattr::in_block(&bytes, at), &mut attributes, report);
        self.attribute_block = Some((block, bytes));
        attributes
    }

    fn load_attribute_block(
        &mut self,
        raw: &RawInode<'_>,
        block: u64,
        report: &mut Report,
    ) -> Option<Vec<u8>> {
        match self.attribute_block.take() {
            Some((number, bytes)) if number == block => Some(bytes),
            other => {
                let mut bytes = other.map_or_else(Vec::new, |(_, bytes)| bytes);
                bytes.resize(self.volume.blocks.block_len(), 0);
                let at = self.volume.blocks.image_offset(block);
                match self.volume.blocks.read(block, &mut bytes) {
                    Ok(()) => {
                        if !xattr::checksum_right(&bytes, block, &self.volume.superblock) {
                            let finding =
                                doubtful(Layer::Inode, "checksum of a block of attributes is wrong", at);
                            report.push(finding.on_inode(u64::from(raw.number)));
                        }
                        Some(bytes)
                    }
                    Err(error) => {
                        let finding = unreadable(&error, Layer::Inode, "a block of attributes", at);
                        report.push(finding.on_inode(u64::from(raw.number)));
                        None
                    }
                }
            }
        }
    }

    fn add(
        &mut self,
        raw: &RawInode<'_>,
        found: Result<Vec<RawAttribute<'_>>, String>,
        attributes: &mut Attributes,
        report: &mut Report,
    ) {
        let found = found.unwrap_or_else(|detail| {
            report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            Vec::new()
        });
        for attribute in found {
            match attribute.value {
                Place::Here(value, place) if attribute.is_inline_data() => {
                    attributes.inline_data = Some((place, value.to_vec()));
                }
                Place::Here(value, place) if place.len <= INLINE_VALUE_MAX => {
                    // The value travels with the inode, its place need not.
                    attributes.small.push(attribute.with_value(value));
                }
                Place::Here(_, place) => attributes.streams.push(inline_stream(&attribute, place)),
                Place::Inode(number, len) => {
                    self.add_from_inode(raw, &attribute, (number, len), attributes, report);
                }
            }
        }
    }

    /// A value that is the content of an inode of its own (`ea_inode`).
    fn add_from_inode(
        &mut self,
        raw: &RawInode<'_>,
        attribute: &RawAttribute<'_>,
        (number, len): (u32, u64),
        attributes: &mut Attributes,
        report: &mut Report,
    ) {
        let mut buffer = Vec::new();
        let place = self.volume.read_inode_block(number, &mut buffer);
        let holder = place.ok().and_then(|place| {
            let bytes = buffer.get(place.within..)?;
            let bytes = bytes.get(..usize::from(self.volume.superblock.inode_bytes))?;
            RawInode::new(bytes, number, self.volume.inode_image_offset(place))
        });
        let Some(holder) = holder.filter(|holder| holder.kind() == Kind::File && holder.has(flag::EA_INODE))
        else {
            let detail = format!("the value of an attribute should be in inode {number}, which holds none");
            return report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
        };
        if !holder.checksum_right(&self.volume.superblock) {
            let detail =
                format!("checksum of inode {number}, which holds the value of an attribute, is wrong");
            let finding = doubtful(Layer::Inode, detail, holder.image_offset);
            report.push(finding.on_inode(u64::from(raw.number)));
        }
        if len <= INLINE_VALUE_MAX {
            attributes.small.extend(
                self.head(&holder, len, report)
                    .map(|value| attribute.with_value(&value)),
            );
            return;
        }
        let extents_max = self.extents_max;
        let (extents, extents_incomplete) =
            mapped_extents(&mut self.context(report), &holder, len, extents_max);
        attributes.streams.push(Stream {
            kind: StreamKind::Xattr(attribute.name()),
            size_bytes: len,
            extents,
            encoding: Encoding::Plain,
            extents_incomplete,
        });
    }

    fn target(
        &mut self,
        raw: &RawInode<'_>,
        attributes: &Attributes,
        report: &mut Report,
    ) -> Option<Vec<u8>> {
        let size = raw.size(&self.volume.superblock);
        if raw.has(flag::ENCRYPTED) {
            let detail = "the target of a symbolic link is encrypted";
            report.push(on(raw, Severity::Loss, FindingCode::Encrypted, detail));
            return None;
        }
        let len = usize::try_from(size.min(TARGET_MAX)).unwrap_or(0);
        if raw.has(flag::INLINE_DATA) {
            let mut target = raw.map_bytes().to_vec();
            target.extend(attributes.inline_data.iter().flat_map(|(_, rest)| rest));
            target.truncate(len);
            return Some(target);
        }
        if raw.is_fast_symlink(&self.volume.superblock) {
            return raw.map_bytes().get(..len.min(MAP_LEN)).map(<[u8]>::to_vec);
        }
        if size > TARGET_MAX {
            let detail = format!("the target of a symbolic link has {size} bytes");
            report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            return None;
        }
        self.head(raw, size, report)
    }

    /// The first `len` bytes of a mapped file; `None` after a finding.
    fn head(&mut self, raw: &RawInode<'_>, len: u64, report: &mut Report) -> Option<Vec<u8>> {
        let volume = self.volume;
        let block_bytes = volume.blocks.block_bytes().max(1);
        let root = MapRoot::of(raw, &volume.superblock, len.div_ceil(block_bytes));
        let mut runs = Vec::new();
        let incomplete = map(&mut self.context(report), &root, &mut |run| {
            runs.push(run);
            true
        });
        let mut content = Vec::new();
        for run in runs.iter().filter(|run| !run.unwritten) {
            let blocks = run.len.min(root.end.saturating_sub(run.logical));
            for step in 0..blocks {
                let mut bytes = vec![0; volume.blocks.block_len()];
                let physical = run.physical.saturating_add(step);
                if let Err(error) = volume.blocks.read(physical, &mut bytes) {
                    let at = volume.blocks.image_offset(physical);
                    let finding = unreadable(
                        &error,
                        Layer::Inode,
                        "a symbolic link's target or an attribute",
                        at,
                    );
                    report.push(finding.on_inode(u64::from(raw.number)));
                    return None;
                }
                let start = run.logical.saturating_add(step).saturating_mul(block_bytes);
                content.resize(usize::try_from(start).unwrap_or(0), 0);
                content.extend(bytes);
            }
        }
        let wanted = usize::try_from(len).unwrap_or(0);
        if content.len() < wanted || incomplete {
            let detail = format!(
                "{} of {len} bytes of a target or attribute are mapped",
                content.len().min(wanted)
            );
            report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
            return None;
        }
        content.truncate(wanted);
        Some(content)
    }
}

fn inline_stream(attribute: &RawAttribute<'_>, place: InlineValue) -> Stream {
    let extent = Extent {
        logical_offset: 0,
        image_offset: place.image_offset,
        len: place.len,
        kind: ExtentKind::Inline,
    };
    Stream {
        kind: StreamKind::Xattr(attribute.name()),
        size_bytes: place.len,
        extents: vec![extent],
        encoding: Encoding::Plain,
        extents_incomplete: false,
    }
}

/// A finding about an inode.
pub(super) fn on(
    raw: &RawInode<'_>,
    severity: Severity,
    code: FindingCode,
    detail: impl Into<String>,
) -> Finding {
    Finding::new(severity, Layer::Inode, code, detail)
        .at(raw.image_offset)
        .on_inode(u64::from(raw.number))
}
