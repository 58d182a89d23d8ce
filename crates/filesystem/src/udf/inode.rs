//! From a file entry to an inode: streams, link target, attributes.

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind};
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::u8_at;

use super::address::Address;
use super::allocation::{Content, content};
use super::attributes::Attributes;
use super::content::whole;
use super::directory::{Item, characteristic, each};
use super::icb::{Entry, load};
use super::space::Space;
use super::text::unicode;
use crate::disc::Disc;
use crate::report::doubtful;

/// Named streams of one file that are listed.
const STREAMS_MAX: usize = 4096;
/// Longest link target that is put together.
const TARGET_BYTES_MAX: u64 = 65_536;
/// Numbers from here on are made up: no volume is so long.
const MADE_UP: u64 = 1 << 60;
/// Number of an inode whose place is not in the volume.
const NOWHERE: u64 = 1 << 62;

/// The number of a file: where its (first) entry stands in the volume.
pub(super) fn number(space: &Space, icb: Address) -> u64 {
    let made_up = NOWHERE | (u64::from(icb.reference) << 32) | u64::from(icb.block);
    space
        .offset(icb)
        .filter(|offset| is_place(*offset))
        .unwrap_or(made_up)
}

/// Whether a number says where an entry stands.
pub(super) fn is_place(number: u64) -> bool {
    number < MADE_UP
}

/// An inode and what was met on the way to it.
pub(super) struct Built {
    pub(super) inode: Inode,
    pub(super) findings: Vec<Finding>,
    /// Numbers of entries of streams and attributes, which are no inodes of their own.
    pub(super) parts: Vec<u64>,
}

/// Builds inodes.
pub(super) struct Builder<'d, 's> {
    pub(super) disc: &'d Disc<'s>,
    pub(super) space: &'d Space,
    /// Extents of one stream.
    pub(super) extents_max: u64,
}

impl Builder<'_, '_> {
    /// The inode of an entry.
    pub(super) fn build(&self, entry: &Entry, number: u64) -> Built {
        let mut built = Built {
            inode: self.bare(entry, number),
            findings: Vec::new(),
            parts: Vec::new(),
        };
        self.doubt(entry, &mut built);
        self.content(entry, &mut built);
        self.attributes(entry, &mut built);
        if let Some(icb) = entry.stream_icb() {
            self.streams(icb.at, &mut built);
        }
        self.check_ends(entry, &mut built);
        built
    }

    /// Says why an entry that is used is doubtful, if it is.
    fn doubt(&self, entry: &Entry, built: &mut Built) {
        if let Some(doubt) = entry.doubt {
            let finding = doubtful(Layer::Inode, doubt, self.at(entry.offset));
            built.findings.push(finding.on_inode(built.inode.number));
        }
    }

    /// Stands for an entry that is lost: its name says whether it was a directory.
    pub(super) fn lost(number: u64, is_directory: bool) -> Inode {
        let kind = if is_directory {
            Kind::Directory
        } else {
            Kind::Unknown
        };
        Inode::bare(number, kind)
    }

    fn at(&self, offset: u64) -> u64 {
        self.disc.in_image(offset)
    }

    fn bare(&self, entry: &Entry, number: u64) -> Inode {
        let (uid, gid) = entry.owner();
        Inode {
            generation: entry.unique_id(),
            mode: Some(entry.mode()),
            uid,
            gid,
            links: entry.links(),
            times: entry.times(),
            flags: entry.flags().into(),
            ..Inode::bare(number, entry.kind())
        }
    }

    fn content(&self, entry: &Entry, built: &mut Built) {
        let kind = built.inode.kind;
        if matches!(kind, Kind::Directory) {
            return;
        }
        let content = content(self.disc, self.space, entry, self.extents_max);
        built.incomplete(&content, self.at(entry.offset), "the content");
        match kind {
            Kind::Symlink => self.target(&content, entry, built),
            Kind::File | Kind::Unknown => {
                built.inode.streams.push(content.into_stream(StreamKind::Data));
            }
            _ => {}
        }
    }

    fn target(&self, content: &Content, entry: &Entry, built: &mut Built) {
        built.inode.target = whole(self.disc, content, TARGET_BYTES_MAX).map(|bytes| target(&bytes));
        if built.inode.target.as_ref().is_none_or(Vec::is_empty) {
            let what = (Severity::Loss, FindingCode::Corrupt);
            built.note(
                what,
                self.at(entry.offset),
                "symbolic link without a target that can be read",
            );
        }
    }

    fn attributes(&self, entry: &Entry, built: &mut Built) {
        let attributes = Attributes::of(self.disc, self.space, entry);
        let at = self.at(entry.offset);
        if attributes.is_damaged {
            let detail = "an extended attribute has an impossible length; those after it are lost";
            built.note((Severity::Loss, FindingCode::Corrupt), at, detail);
        }
        if attributes.is_lost {
            let detail = "the file with more extended attributes cannot be read";
            built.note((Severity::Loss, FindingCode::Corrupt), at, detail);
        }
        attributes.complete(&mut built.inode.times);
        let is_device = matches!(built.inode.kind, Kind::BlockDevice | Kind::CharDevice);
        built.inode.device = attributes.device.filter(|_| is_device);
        built.inode.xattrs = attributes.xattrs;
        built.inode.streams.extend(attributes.streams);
        built
            .parts
            .extend(entry.attribute_icb().map(|icb| number(self.space, icb.at)));
    }

    /// Named streams (UDF 3.3.5): a directory of entries like any other.
    fn streams(&self, icb: Address, built: &mut Built) {
        built.parts.push(number(self.space, icb));
        let entry = match load(self.disc, self.space, icb) {
            Ok(entry) => entry,
            Err(fault) => {
                let detail = format!("the directory of named streams is lost: {}", fault.detail());
                let place = self.space.offset(icb).map_or(0, |offset| self.at(offset));
                return built.note((Severity::Loss, fault.code()), place, detail);
            }
        };
        self.doubt(&entry, built);
        let content = content(self.disc, self.space, &entry, self.extents_max);
        built.incomplete(&content, self.at(entry.offset), "the directory of named streams");
        let mut left = STREAMS_MAX;
        each(self.disc, &content, &mut |item| {
            match item {
                Item::Identifier(identifier) => {
                    let skipped =
                        characteristic::PARENT | characteristic::DELETED | characteristic::DIRECTORY;
                    if !identifier.has(skipped) {
                        if !identifier.is_intact() {
                            let detail = "the CRC of the identifier of a named stream is wrong";
                            let finding = doubtful(Layer::Inode, detail, self.at(identifier.offset));
                            built.findings.push(finding.on_inode(built.inode.number));
                        }
                        self.stream(identifier.icb.at, &identifier.name, built);
                        left = left.saturating_sub(1);
                    }
                }
                Item::Damaged(offset, len, code) => {
                    let detail = format!("{len} bytes of the directory of named streams are lost");
                    built.note((Severity::Loss, code), self.at(offset), detail);
                }
            }
            left > 0
        });
        if left == 0 {
            let detail = format!("more than {STREAMS_MAX} named streams; the rest is not listed");
            built.note(
                (Severity::Loss, FindingCode::Limit),
                self.at(entry.offset),
                detail,
            );
        }
    }

    fn stream(&self, icb: Address, name: &[u8], built: &mut Built) {
        built.parts.push(number(self.space, icb));
        let kind = StreamKind::Named(match name {
            b"*UDF Macintosh Resource Fork" => b"rsrc".to_vec(),
            name => name.to_vec(),
        });
        match load(self.disc, self.space, icb) {
            Ok(entry) => {
                self.doubt(&entry, built);
                let content = content(self.disc, self.space, &entry, self.extents_max);
                built.incomplete(&content, self.at(entry.offset), "a named stream");
                built.inode.streams.push(content.into_stream(kind));
            }
            Err(fault) => {
                let shown = ntt_model::name::escape(name);
                let detail = format!("the named stream {shown} is lost: {}", fault.detail());
                let place = self.space.offset(icb).map_or(0, |offset| self.at(offset));
                built.note((Severity::Loss, fault.code()), place, detail);
                built.inode.streams.push(Stream {
                    kind,
                    size_bytes: 0,
                    extents: Vec::new(),
                    encoding: Encoding::Plain,
                    extents_incomplete: true,
                });
            }
        }
    }

    /// R12: content that passes the end of the image.
    fn check_ends(&self, entry: &Entry, built: &mut Built) {
        let end = self.at(self.disc.len());
        let extents = built.inode.streams.iter().flat_map(|stream| &stream.extents);
        let mut ranges = extents.filter_map(ntt_model::Extent::image_range);
        if ranges.any(|range: ByteRange| range.end() > end) {
            let detail = format!("the content passes the end of the image at {end:#x}");
            built.note(
                (Severity::Loss, FindingCode::BeyondEnd),
                self.at(entry.offset),
                detail,
            );
        }
    }
}

impl Built {
    fn note(&mut self, (severity, code): (Severity, FindingCode), at: u64, detail: impl Into<String>) {
        let finding = Finding::new(severity, Layer::Inode, code, detail);
        self.findings.push(finding.at(at).on_inode(self.inode.number));
    }

    fn incomplete(&mut self, content: &Content, at: u64, what: &str) {
        if let Some(fault) = &content.fault {
            let detail = format!("{what} is incomplete: {}", fault.detail());
            self.note((Severity::Loss, fault.code()), at, detail);
        }
        if content.is_cut {
            let detail = format!("{what} has too many extents; the rest is not listed");
            self.note((Severity::Loss, FindingCode::Limit), at, detail);
        }
        if content.is_transformed {
            let detail = format!("{what} is stored in a form of its own and kept as stored");
            self.note((Severity::Info, FindingCode::Unsupported), at, detail);
        }
    }
}

/// A link target from its path components (ECMA-167, 4/14.16): 1 and 2 the root, 3 the parent, 4 the
/// directory itself, 5 a name.
fn target(bytes: &[u8]) -> Vec<u8> {
    let mut target = Vec::new();
    let mut rest = bytes;
    while let (Some(kind), Some(len)) = (u8_at(rest, 0), u8_at(rest, 1)) {
        let end = usize::from(len).saturating_add(4);
        let identifier = rest.get(4..end).unwrap_or_default();
        let name = match kind {
            1 | 2 => {
                target = b"/".to_vec();
                Vec::new()
            }
            3 => b"..".to_vec(),
            4 => b".".to_vec(),
            _ => unicode(identifier),
        };
        if !name.is_empty() {
            if target.last().is_some_and(|last| *last != b'/') {
                target.push(b'/');
            }
            target.extend(name);
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_put_together_from_components() {
        let component = |kind: u8, name: &[u8]| {
            let mut bytes = vec![kind, u8::try_from(name.len()).unwrap(), 0, 0];
            bytes.extend(name);
            bytes
        };
        let path = [
            component(3, b""),
            component(5, b"\x08a b"),
            component(5, b"\x10\x20\xac"),
        ]
        .concat();
        assert_eq!(target(&path), "../a b/€".as_bytes());
        let rooted = [component(2, b""), component(5, b"\x08etc")].concat();
        assert_eq!(target(&rooted), b"/etc");
        assert_eq!(target(&component(2, b"")), b"/");
        assert_eq!(target(&component(4, b"")), b".");
        assert_eq!(target(&[5, 200, 0]), b"", "cut off");
    }
}
