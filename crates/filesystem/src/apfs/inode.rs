//! Inodes: made of an inode record and the records of the same number.

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Codec, Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{le_u32, le_u64};

use super::content::Body;
use super::disk::Disk;
use super::node::Record;
use super::record::{Attribute, RawExtent, RawInode, Value};
use super::superblock::{time, until_zero};
use crate::decmpfs::{self, Storage};
use crate::report::Report;

const SYMLINK: &[u8] = b"com.apple.fs.symlink";
const RESOURCE_FORK: &[u8] = b"com.apple.ResourceFork";
const FINDER_INFO: &[u8] = b"com.apple.FinderInfo";
/// Values up to this length travel with the inode; records hold no longer ones.
const INLINE_MAX: usize = 4096;
/// Bytes of records of extended attributes that are kept of one inode. Records of a node may share their bytes.
const ATTRIBUTE_BYTES_MAX: usize = 16 << 20;
/// Longest target that is believed.
const TARGET_MAX: u64 = 65_536;
/// Longest value of a decmpfs attribute that is read.
const DECMPFS_MAX: u64 = 1 << 20;
/// `UF_COMPRESSED` of `bsd_flags`.
const UF_COMPRESSED: u32 = 0x20;

/// All records of a file or directory but its names.
#[derive(Default)]
pub(super) struct Group {
    pub(super) id: u64,
    pub(super) inode: Option<RawInode>,
    /// Where the inode record lies in the image.
    pub(super) place: u64,
    pub(super) attributes: Vec<Attribute>,
    /// Bytes of the records that they were made of.
    attribute_bytes: usize,
    /// Some attributes were too many to be kept.
    is_cut: bool,
    /// Extents of the stream of the same number.
    pub(super) extents: Vec<RawExtent>,
    /// Whether names are stored under the number: it is a directory.
    pub(super) has_entries: bool,
}

impl Group {
    /// Takes the record of an extended attribute, whose value lies at `place` of the image; false if it contradicts itself.
    pub(super) fn attribute(&mut self, record: &Record<'_>, place: u64) -> bool {
        let bytes = record.key.len().saturating_add(record.value.len());
        let bytes = self.attribute_bytes.saturating_add(bytes);
        if bytes > ATTRIBUTE_BYTES_MAX {
            self.is_cut = true;
            return true;
        }
        self.attribute_bytes = bytes;
        let attribute = Attribute::parse(record.key, record.value, place);
        attribute
            .map(|attribute| self.attributes.push(attribute))
            .is_some()
    }
}

/// Looks up the extents of a stream.
pub(super) type Extents<'e> = dyn Fn(u64) -> Vec<RawExtent> + 'e;

/// Makes inodes of one volume.
pub(super) struct Builder<'b, 'a> {
    pub(super) disk: &'b Disk<'a>,
    pub(super) is_encrypted: bool,
    /// Extents of one stream.
    pub(super) extents_max: u64,
    pub(super) extents: &'b Extents<'b>,
}

/// What the fixed part of an inode record says.
fn plain(number: u64, raw: &RawInode) -> Inode {
    let kind = raw.kind();
    let word = |at| le_u32(&raw.head, at).unwrap_or(0);
    let internal = le_u64(&raw.head, 48).unwrap_or(0) & 0x7fff_ffff;
    let is_device = kind.is_device();
    Inode {
        generation: word(64).into(),
        mode: Some(u32::from(raw.mode() & 0o7777)),
        uid: Some(word(72)),
        gid: Some(word(76)),
        // Of a directory the field counts what is in it.
        links: if kind == Kind::Directory { 1 } else { word(56) },
        times: Times {
            modified: time(&raw.head, 24),
            accessed: time(&raw.head, 40),
            changed: time(&raw.head, 32),
            created: time(&raw.head, 16),
            deleted: None,
        },
        device: raw
            .device
            .filter(|_| is_device)
            .map(|device| (device >> 24, device & 0x00ff_ffff)),
        flags: u64::from(word(68)) | (internal << 32),
        ..Inode::bare(number, kind)
    }
}

impl Builder<'_, '_> {
    /// The inode of a group that has an inode record.
    pub(super) fn build(&self, number: u64, group: Group, report: &mut Report) -> Inode {
        let Some(raw) = &group.inode else {
            return Inode::bare(number, Kind::Unknown);
        };
        let mut inode = plain(number, raw);
        let mut about = About {
            number,
            place: group.place,
            report,
        };
        if group.is_cut {
            let detail = "there are too many extended attributes; not all are listed";
            about.tell(Severity::Loss, FindingCode::Limit, detail);
        }
        match inode.kind {
            Kind::File | Kind::Unknown => self.content(&mut about, &group, raw, &mut inode),
            Kind::Symlink => inode.target = self.target(&mut about, &group.attributes),
            _ => {}
        }
        let is_packed = inode
            .data()
            .is_some_and(|stream| matches!(stream.encoding, Encoding::Packed(_)));
        for attribute in group.attributes {
            let is_target = attribute.name == SYMLINK && inode.target.is_some();
            let is_storage = is_packed && matches!(&*attribute.name, decmpfs::ATTRIBUTE | RESOURCE_FORK);
            if !is_target && !is_storage {
                self.attribute(&mut about, attribute, &mut inode);
            }
        }
        let has_finder_info = inode.xattrs.iter().any(|xattr| xattr.name == FINDER_INFO);
        if let Some(info) = raw
            .finder_info
            .filter(|info| !has_finder_info && *info != [0; 32])
        {
            inode.xattrs.push(Xattr {
                name: FINDER_INFO.to_vec(),
                value: info.to_vec(),
            });
        }
        inode
    }

    /// A file whose inode record is lost: what its extents cover.
    pub(super) fn without_record(&self, number: u64, id: u64, kind: Kind) -> Inode {
        let mut inode = Inode::bare(number, kind);
        if kind == Kind::File {
            let records = (self.extents)(id);
            let end = records
                .last()
                .map_or(0, |last| last.logical.saturating_add(last.len));
            let mut body = Body::of_records(self.disk, end, &records);
            body.is_incomplete = true;
            inode
                .streams
                .push(body.stream(StreamKind::Data, self.plain_encoding()));
        }
        inode
    }

    fn plain_encoding(&self) -> Encoding {
        if self.is_encrypted {
            Encoding::Encrypted
        } else {
            Encoding::Plain
        }
    }

    fn content(&self, about: &mut About<'_>, group: &Group, raw: &RawInode, inode: &mut Inode) {
        let size = raw.size.unwrap_or(0);
        let is_compressed = le_u32(&raw.head, 68).unwrap_or(0) & UF_COMPRESSED != 0 || size == 0;
        let packed = is_compressed.then(|| self.compressed(about, group)).flatten();
        let stream = packed.unwrap_or_else(|| {
            let body = if raw.stream == group.id {
                self.body(about, size, &group.extents)
            } else {
                self.body(about, size, &(self.extents)(raw.stream))
            };
            body.stream(StreamKind::Data, self.plain_encoding())
        });
        inode.streams.push(stream);
    }

    fn body(&self, about: &mut About<'_>, size: u64, records: &[RawExtent]) -> Body {
        let most = usize::try_from(self.extents_max).unwrap_or(usize::MAX);
        let mut body = Body::of_records(self.disk, size, records);
        if body.extents.len() > most {
            body.extents.truncate(most);
            body.is_incomplete = true;
        }
        if body.is_incomplete {
            let detail = "extents of a stream are missing or impossible";
            about.tell(Severity::Loss, FindingCode::Corrupt, detail);
        }
        body
    }

    fn value(&self, about: &mut About<'_>, value: &Value) -> Body {
        match value {
            Value::Inline(bytes, place) => Body::inline(*place, bytes.len()),
            Value::Stream { id, size } => self.body(about, *size, &(self.extents)(*id)),
        }
    }

    fn target(&self, about: &mut About<'_>, attributes: &[Attribute]) -> Option<Vec<u8>> {
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name == SYMLINK) else {
            about.tell(
                Severity::Loss,
                FindingCode::Corrupt,
                "a symbolic link has no target",
            );
            return None;
        };
        let bytes = match &attribute.value {
            Value::Inline(bytes, _) => Ok(bytes.clone()),
            value @ Value::Stream { .. } => self.value(about, value).bytes(self.disk, TARGET_MAX),
        };
        match bytes {
            Ok(bytes) => Some(until_zero(&bytes).to_vec()),
            Err(why) => {
                let detail = format!("the target of a symbolic link {why}");
                about.tell(Severity::Loss, FindingCode::Corrupt, &detail);
                None
            }
        }
    }

    fn attribute(&self, about: &mut About<'_>, attribute: Attribute, inode: &mut Inode) {
        let Attribute { name, value } = attribute;
        if name != RESOURCE_FORK
            && let Value::Inline(value, _) = &value
            && value.len() <= INLINE_MAX
        {
            let value = value.clone();
            inode.xattrs.push(Xattr { name, value });
            return;
        }
        let encoding = match &value {
            Value::Stream { .. } => self.plain_encoding(),
            Value::Inline(..) => Encoding::Plain,
        };
        let kind = if name == RESOURCE_FORK {
            StreamKind::resource_fork()
        } else {
            StreamKind::Xattr(name)
        };
        let body = self.value(about, &value);
        inode.streams.push(body.stream(kind, encoding));
    }

    /// The stream of compressed content; `None` if there is no attribute that says so.
    fn compressed(&self, about: &mut About<'_>, group: &Group) -> Option<Stream> {
        let find = |name: &[u8]| group.attributes.iter().find(|attribute| attribute.name == name);
        let attribute = find(decmpfs::ATTRIBUTE)?;
        let stored = self.value(about, &attribute.value);
        let value = stored.bytes(self.disk, DECMPFS_MAX).ok()?;
        let header = decmpfs::Header::parse(&value)?;
        let packed = |body: Body, encoding| {
            let size_bytes = header.size;
            Stream {
                size_bytes,
                ..body.stream(StreamKind::Data, encoding)
            }
        };
        let storage = header.storage();
        if self.is_encrypted && storage != Some(Storage::Nowhere) {
            return Some(packed(stored, Encoding::Encrypted));
        }
        match storage {
            Some(Storage::Attribute(codec)) => {
                let units = decmpfs::unit_in_attribute(&header, codec, &value);
                Some(packed(stored, Encoding::Packed(units)))
            }
            Some(Storage::Fork(codec)) => {
                let fork = match find(RESOURCE_FORK) {
                    Some(fork) => self.value(about, &fork.value),
                    None => Body::of_records(self.disk, 0, &[]),
                };
                let encoding = self.units(about, &header, codec, &fork);
                Some(packed(fork, encoding))
            }
            Some(Storage::Nowhere) => {
                let detail = "the content of the file is not on the volume (decmpfs type 5)";
                about.tell(Severity::Loss, FindingCode::Unsupported, detail);
                let mut nothing = Body::of_records(self.disk, 0, &[]);
                nothing.is_incomplete = true;
                Some(packed(nothing, Encoding::Plain))
            }
            None => {
                let detail = format!("compressed by an unknown method, decmpfs type {}", header.kind);
                about.tell(Severity::Loss, FindingCode::Unsupported, &detail);
                Some(packed(stored, Encoding::Unsupported))
            }
        }
    }

    fn units(&self, about: &mut About<'_>, header: &decmpfs::Header, codec: Codec, fork: &Body) -> Encoding {
        let mut read = |at: u64, buffer: &mut [u8]| fork.read(self.disk, at, buffer);
        let mut reader = decmpfs::Fork {
            len: fork.size,
            read: &mut read,
        };
        match decmpfs::units_in_fork(header, codec, &mut reader, self.extents_max) {
            Ok(units) => Encoding::Packed(units),
            Err(why) => {
                let detail = format!("the table of its compressed blocks cannot be used: {why}");
                about.tell(Severity::Loss, FindingCode::Corrupt, &detail);
                Encoding::Unsupported
            }
        }
    }
}

/// The inode that is being made, for findings.
struct About<'r> {
    number: u64,
    place: u64,
    report: &'r mut Report,
}

impl About<'_> {
    fn tell(&mut self, severity: Severity, code: FindingCode, detail: &str) {
        let finding = Finding::new(severity, Layer::Inode, code, detail);
        self.report.push(finding.at(self.place).on_inode(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that share their bytes made 115 MB of a node of 64 KiB.
    #[test]
    fn r22_attributes_that_share_their_bytes_are_bounded() {
        let key = [&[0; 8][..], &[3, 0], b"xx\0"].concat();
        let value = [&[0, 0, 0xa0, 0x0f][..], &[0x55; 4000]].concat();
        let record = Record {
            key: &key,
            value: &value,
            value_at: 0,
        };
        let mut group = Group {
            inode: RawInode::parse(&[0; 200]),
            ..Group::default()
        };
        assert!(group.inode.is_some());
        assert!((0..10_000).all(|_| group.attribute(&record, 0)));
        let kept = group.attributes.len();
        assert!(kept > 4000 && kept * 4000 <= ATTRIBUTE_BYTES_MAX, "{kept}");
        let builder = Builder {
            disk: &Disk::new(Box::new(vec![0_u8; 512]), 0, 512, 1),
            is_encrypted: false,
            extents_max: 10,
            extents: &|_| Vec::new(),
        };
        let mut report = Report::default();
        let inode = builder.build(7, group, &mut report);
        assert_eq!(inode.xattrs.len(), kept);
        let findings = report.take();
        assert!(
            findings.iter().any(|finding| finding.code == FindingCode::Limit),
            "{findings:?}"
        );
    }
}
