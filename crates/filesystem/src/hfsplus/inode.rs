//! From catalogue records to inodes: permissions, times, forks, attributes, compressed content.

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::extent::push_joined;
use ntt_model::time::Times;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{be_u16, be_u32, u8_at};

use super::attributes::{Attribute, Attributes, Value};
use crate::apple::catalog::HAS_LINK_CHAIN;
use crate::apple::finder::finder_info;
use crate::apple::fork::{ForkBytes, ForkData, extents};
use crate::apple::key::Record;
use crate::apple::overflow::{ForkKind, Overflow, impossible_extents};
use crate::apple::time::time_at;
use crate::apple::volume::Volume;
use crate::apple::walk::Inodes;
use crate::decmpfs::{self, Storage};
use crate::report::{Report, unreadable};

/// Attributes up to this length travel with the inode; longer ones are streams.
const INLINE_VALUE_MAX: usize = 4096;
/// Longest target of a symbolic link.
const TARGET_MAX: u64 = 65_536;
/// Longest attribute of compression that is looked into.
const DECMPFS_MAX: u64 = 1 << 20;
/// `UF_COMPRESSED` of the owner's flags (`sys/stat.h`).
const UF_COMPRESSED: u8 = 0x20;
/// Type and creator of a symbolic link.
const SYMLINK: &[u8] = b"slnkrhap";
/// `S_IFMT`.
const TYPE_BITS: u16 = 0o170_000;

/// Makes inodes of the records of one volume.
pub(super) struct Builder<'b, 'a> {
    volume: &'b Volume<'a>,
    overflow: Overflow,
    attributes: Attributes,
    extents_max: u64,
}

/// Something about an inode that is being built.
#[derive(Clone, Copy)]
struct About {
    cnid: u32,
    image_offset: u64,
}

impl About {
    fn finding(self, severity: Severity, code: FindingCode, detail: impl Into<String>) -> Finding {
        Finding::new(severity, Layer::Inode, code, detail)
            .at(self.image_offset)
            .on_inode(u64::from(self.cnid))
    }
}

impl<'b, 'a> Builder<'b, 'a> {
    /// A builder that looks up extents and attributes in what was swept.
    pub(super) fn new(
        volume: &'b Volume<'a>,
        overflow: Overflow,
        attributes: Attributes,
        extents_max: u64,
    ) -> Self {
        Self {
            volume,
            overflow,
            attributes,
            extents_max,
        }
    }

    fn fork(&mut self, about: About, kind: ForkKind, bytes: &[u8], report: &mut Report) -> ForkData {
        let mut fork = ForkData::plus(bytes).unwrap_or_default();
        if self.overflow.complete(self.volume, about.cnid, kind, &mut fork) {
            report.push(impossible_extents(about.cnid, about.image_offset));
        }
        fork
    }

    /// The stream of a fork. What is not mapped is missing, unless nothing is: then it was never written.
    fn stream(&self, kind: StreamKind, fork: &ForkData) -> Stream {
        let (extents, extents_incomplete) = extents(self.volume, fork.size, &fork.runs, self.extents_max);
        Stream {
            kind,
            size_bytes: fork.size,
            extents,
            encoding: Encoding::Plain,
            extents_incomplete,
        }
    }

    fn target(&self, about: About, fork: &ForkData, report: &mut Report) -> Option<Vec<u8>> {
        if fork.size > TARGET_MAX {
            let detail = format!("the target of a symbolic link has {} bytes", fork.size);
            report.push(about.finding(Severity::Loss, FindingCode::Corrupt, detail));
            return None;
        }
        self.bytes(about, fork, "the target of a symbolic link", report)
    }

    fn bytes(&self, about: About, fork: &ForkData, what: &str, report: &mut Report) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(fork.size).ok()?];
        let content = ForkBytes::new(self.volume, fork.size, &fork.runs);
        match content.read(self.volume, 0, &mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                let finding = unreadable(&error, Layer::Inode, what, about.image_offset);
                report.push(finding.on_inode(u64::from(about.cnid)));
                None
            }
        }
    }

    /// Adds the attributes to an inode, all but `hidden`.
    fn add_attributes(
        &mut self,
        about: About,
        attributes: Vec<Attribute>,
        inode: &mut Inode,
        report: &mut Report,
    ) {
        for Attribute { name, value } in attributes {
            match value {
                Value::Inline(value, _) if value.len() <= INLINE_VALUE_MAX => {
                    inode.xattrs.push(Xattr { name, value });
                }
                Value::Inline(value, place) => {
                    let size_bytes = u64::try_from(value.len()).unwrap_or(0);
                    inode.streams.push(Stream {
                        kind: StreamKind::Xattr(name),
                        size_bytes,
                        extents: self.inline_extents(place, size_bytes),
                        encoding: Encoding::Plain,
                        extents_incomplete: false,
                    });
                }
                Value::Fork(mut fork) => {
                    let before = fork.runs.len();
                    fork.runs.retain(|run| {
                        run.start
                            .checked_add(run.count)
                            .is_some_and(|end| end <= self.volume.block_count)
                    });
                    if fork.runs.len() < before {
                        report.push(impossible_extents(about.cnid, about.image_offset));
                    }
                    inode.streams.push(self.stream(StreamKind::Xattr(name), &fork));
                }
            }
        }
    }

    fn inline_extents(&self, place: u64, len: u64) -> Vec<Extent> {
        let (mut extents, mut logical_offset) = (Vec::new(), 0_u64);
        for (image_offset, len) in self.attributes.image_runs(self.volume, place, len) {
            let extent = Extent {
                logical_offset,
                image_offset,
                len,
                kind: ExtentKind::Inline,
            };
            push_joined(&mut extents, extent);
            logical_offset = logical_offset.saturating_add(len);
        }
        extents
    }

    /// The stream of compressed content; `None` if the attribute says nothing that can be believed.
    fn compressed(
        &mut self,
        about: About,
        attribute: &Attribute,
        resource: &ForkData,
        report: &mut Report,
    ) -> Option<Stream> {
        let (value, stored) = self.stored_value(about, attribute, report)?;
        let header = decmpfs::Header::parse(&value)?;
        let mut stream = Stream {
            kind: StreamKind::Data,
            size_bytes: header.size,
            extents: Vec::new(),
            encoding: Encoding::Plain,
            extents_incomplete: true,
        };
        match header.storage() {
            Some(Storage::Attribute(codec)) => {
                stream.extents = stored;
                stream.extents_incomplete = false;
                stream.encoding = Encoding::Packed(decmpfs::unit_in_attribute(&header, codec, &value));
            }
            Some(Storage::Fork(codec)) => {
                let (extents, incomplete) =
                    extents(self.volume, resource.size, &resource.runs, self.extents_max);
                (stream.extents, stream.extents_incomplete) = (extents, incomplete);
                stream.encoding = match self.units(&header, codec, resource) {
                    Ok(units) => Encoding::Packed(units),
                    Err(why) => {
                        let detail = format!("the table of its compressed blocks cannot be used: {why}");
                        report.push(about.finding(Severity::Loss, FindingCode::Corrupt, detail));
                        Encoding::Unsupported
                    }
                };
            }
            Some(Storage::Nowhere) => {
                let detail = "the content of the file is not on the volume (decmpfs type 5)";
                report.push(about.finding(Severity::Loss, FindingCode::Unsupported, detail));
            }
            None => {
                let detail = format!("compressed by an unknown method, decmpfs type {}", header.kind);
                report.push(about.finding(Severity::Loss, FindingCode::Unsupported, detail));
                let is_in_fork = resource.size > 0;
                stream.extents = if is_in_fork {
                    extents(self.volume, resource.size, &resource.runs, self.extents_max).0
                } else {
                    stored
                };
                stream.encoding = Encoding::Unsupported;
            }
        }
        Some(stream)
    }

    /// The value of an attribute, and where its bytes lie.
    fn stored_value(
        &self,
        about: About,
        attribute: &Attribute,
        report: &mut Report,
    ) -> Option<(Vec<u8>, Vec<Extent>)> {
        match &attribute.value {
            Value::Inline(value, place) => {
                let len = u64::try_from(value.len()).unwrap_or(0);
                Some((value.clone(), self.inline_extents(*place, len)))
            }
            Value::Fork(fork) if fork.size <= DECMPFS_MAX => {
                let value = self.bytes(about, fork, "an attribute", report)?;
                Some((
                    value,
                    extents(self.volume, fork.size, &fork.runs, self.extents_max).0,
                ))
            }
            Value::Fork(_) => None,
        }
    }

    fn units(
        &self,
        header: &decmpfs::Header,
        codec: ntt_model::Codec,
        resource: &ForkData,
    ) -> Result<Vec<ntt_model::PackedUnit>, String> {
        let content = ForkBytes::new(self.volume, resource.size, &resource.runs);
        let mut read = |at: u64, buffer: &mut [u8]| {
            content
                .read(self.volume, at, buffer)
                .map_err(|error| error.to_string())
        };
        let mut fork = decmpfs::Fork {
            len: resource.size,
            read: &mut read,
        };
        decmpfs::units_in_fork(header, codec, &mut fork, self.extents_max)
    }

    /// The streams of a file: its content first.
    fn add_forks(
        &mut self,
        about: About,
        data: &[u8],
        attributes: &mut Vec<Attribute>,
        inode: &mut Inode,
        report: &mut Report,
    ) {
        let content = self.fork(about, ForkKind::Data, data.get(88..).unwrap_or_default(), report);
        let resource = self.fork(
            about,
            ForkKind::Resource,
            data.get(168..).unwrap_or_default(),
            report,
        );
        if inode.kind == Kind::Symlink {
            inode.target = self.target(about, &content, report);
        }
        let index = attributes
            .iter()
            .position(|attribute| attribute.name == decmpfs::ATTRIBUTE);
        let is_compressed = u8_at(data, 41).unwrap_or(0) & UF_COMPRESSED != 0 || content.size == 0;
        let packed = index
            .filter(|_| is_compressed && inode.kind == Kind::File)
            .and_then(|index| {
                let attribute = attributes.get(index)?.clone();
                self.compressed(about, &attribute, &resource, report)
            });
        let is_decoded = packed
            .as_ref()
            .is_some_and(|stream| matches!(stream.encoding, Encoding::Packed(_)));
        if let Some(index) = index.filter(|_| is_decoded) {
            attributes.remove(index);
        }
        match packed {
            Some(stream) => inode.streams.push(stream),
            None if inode.kind == Kind::File => inode.streams.push(self.stream(StreamKind::Data, &content)),
            None => {}
        }
        // The fork that holds the blocks of compressed content is no resource fork of the file.
        if resource.size > 0 && !is_decoded {
            inode
                .streams
                .push(self.stream(StreamKind::resource_fork(), &resource));
        }
    }
}

impl Inodes for Builder<'_, '_> {
    fn build(&mut self, cnid: u32, record: &Record<'_>, image_offset: u64, report: &mut Report) -> Inode {
        let about = About { cnid, image_offset };
        let mut attributes = self.attributes.of(self.volume, cnid);
        let mut inode = plain_inode(cnid, record.data);
        let finder = finder_info(
            record.data.get(48..64).unwrap_or_default(),
            record.data.get(64..80).unwrap_or_default(),
        );
        inode.xattrs.extend(finder);
        if be_u16(record.data, 0) == Some(2) {
            self.add_forks(about, record.data, &mut attributes, &mut inode, report);
        }
        self.add_attributes(about, attributes, &mut inode, report);
        inode
    }
}

/// What the first 48 bytes of a folder or file record say; both have the same fields there (TN1150, "Catalog Folder Records").
fn plain_inode(cnid: u32, data: &[u8]) -> Inode {
    let is_folder = be_u16(data, 0) == Some(1);
    let record_flags = be_u16(data, 2).unwrap_or(0);
    let mode = be_u16(data, 42).unwrap_or(0);
    let special = be_u32(data, 44).unwrap_or(0);
    // Systems before Mac OS X left the permissions empty.
    let has_permissions = mode & TYPE_BITS != 0;
    let kind = kind(is_folder, mode, data);
    let is_linked = is_stored_link(is_folder, record_flags, mode, special);
    let [major, minor @ ..] = special.to_be_bytes();
    let [high, middle, low] = minor;
    Inode {
        mode: has_permissions.then_some(u32::from(mode & 0o7777)),
        uid: has_permissions.then(|| be_u32(data, 32)).flatten(),
        gid: has_permissions.then(|| be_u32(data, 36)).flatten(),
        links: if is_linked { special } else { 1 },
        times: Times {
            modified: time_at(data, 16),
            accessed: time_at(data, 24),
            changed: time_at(data, 20),
            created: time_at(data, 12),
            deleted: time_at(data, 28),
        },
        device: kind
            .is_device()
            .then(|| (u32::from(major), u32::from_be_bytes([0, high, middle, low]))),
        flags: flags(data, record_flags),
        ..Inode::bare(u64::from(cnid), kind)
    }
}

/// Whether the special field is a number of links.
fn is_stored_link(is_folder: bool, record_flags: u16, mode: u16, special: u32) -> bool {
    let is_plain = is_folder || mode & TYPE_BITS == 0o100_000;
    is_plain && special > 1 && (record_flags & HAS_LINK_CHAIN != 0 || !is_folder)
}

fn kind(is_folder: bool, mode: u16, data: &[u8]) -> Kind {
    match Kind::of_mode(mode.into()) {
        _ if is_folder => Kind::Directory,
        Kind::Unknown if mode & TYPE_BITS == 0 && data.get(48..56) == Some(SYMLINK) => Kind::Symlink,
        Kind::Unknown | Kind::Directory => Kind::File,
        kind => kind,
    }
}

/// The flags of `stat` on macOS (owner's bits 0-7, administrator's bits 16-23), and those of the record from bit 32 on.
fn flags(data: &[u8], record_flags: u16) -> u64 {
    let admin = u64::from(u8_at(data, 40).unwrap_or(0));
    let owner = u64::from(u8_at(data, 41).unwrap_or(0));
    owner | (admin << 16) | (u64::from(record_flags) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u16, special: u32) -> Inode {
        let mut data = vec![0; 248];
        data[1] = 2;
        data[16..20].copy_from_slice(&2_082_844_801_u32.to_be_bytes());
        data[32..36].copy_from_slice(&501_u32.to_be_bytes());
        data[41] = UF_COMPRESSED;
        data[42..44].copy_from_slice(&mode.to_be_bytes());
        data[44..48].copy_from_slice(&special.to_be_bytes());
        plain_inode(20, &data)
    }

    #[test]
    fn r27_permissions_as_unix_has_them() {
        let inode = file(0o100_644, 3);
        assert_eq!(
            (inode.kind, inode.mode, inode.uid, inode.links),
            (Kind::File, Some(0o644), Some(501), 3)
        );
        assert_eq!(
            inode.times.modified.map(|time| time.as_nanos()),
            Some(1_000_000_000)
        );
        assert_eq!((inode.times.created, inode.flags), (None, 0x20));
        let inode = file(0, 0);
        assert_eq!((inode.kind, inode.mode, inode.uid), (Kind::File, None, None));
    }

    #[test]
    fn r27_devices_have_their_numbers() {
        let inode = file(0o020_666, 0x0300_0102);
        assert_eq!(
            (inode.kind, inode.device, inode.links),
            (Kind::CharDevice, Some((3, 0x102)), 1)
        );
    }
}
