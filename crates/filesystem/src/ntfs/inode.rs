//! Gathers what the catalogue keeps of a file.

use std::collections::BTreeMap;

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{le_u32, le_u64};

use super::attribute::kind;
use super::ea::{self, LinuxMetadata};
use super::file_name::{FileName, times, wtf8};
use super::gather::{Gathered, Held};
use super::reparse::{Effect, Reparse};
use super::security::{self, Owners};
use super::value::Value;
use super::volume::Volume;
use crate::report::Report;

/// Values up to this length travel with the inode; longer ones are streams.
const INLINE_VALUE_MAX: u64 = 4096;
/// Longest value of `$EA`, and of reparse points with room to spare.
const VALUE_MAX: u64 = 64 << 10;
/// Attribute of DOS: system.
const SYSTEM: u32 = 0x4;
/// Attributes of files whose content is elsewhere: offline, recalled on open, recalled on access.
const OFFLINE: u32 = 0x0044_1000;
/// Stream of a compressed system file.
const OVERLAY_STREAM: &[u8] = b"WofCompressedData";

/// A file as it was built.
pub(super) struct Built<'g> {
    pub(super) inode: Inode,
    /// Its names, those of DOS included.
    pub(super) names: Vec<FileName<'g>>,
    /// Whether everything the records should hold was found.
    pub(super) is_whole: bool,
}

/// Builds inodes.
pub(super) struct Builder<'v, 'a> {
    volume: &'v Volume<'a>,
    owners: Owners,
    extents_max: u64,
}

/// One file while it is built.
struct Draft<'d, 'g, 'a> {
    volume: &'d Volume<'a>,
    base: u32,
    extents_max: u64,
    report: &'d mut Report,
    /// Attributes by type and name, in that order.
    groups: BTreeMap<(u32, &'g [u8]), Vec<Held<'g>>>,
    streams: Vec<Stream>,
    xattrs: Vec<Xattr>,
}

impl<'v, 'a> Builder<'v, 'a> {
    pub(super) const fn new(volume: &'v Volume<'a>, owners: Owners, extents_max: u64) -> Self {
        Self {
            volume,
            owners,
            extents_max,
        }
    }

    /// Everything known of a file.
    pub(super) fn build<'g>(
        &self,
        gathered: &'g Gathered<'_>,
        allocation: Allocation,
        report: &mut Report,
    ) -> Built<'g> {
        let base = gathered.base;
        let (held, faults) = gathered.attributes();
        let is_whole = faults.is_empty();
        let mut draft = Draft::new(self, base.number, &held, report);
        for fault in faults {
            draft.find(Severity::Loss, FindingCode::Corrupt, fault);
        }
        let names = draft.names();
        let standard = draft.standard();
        self.owner(&mut draft, standard.security_id);
        draft.content(base.is_directory(), &names, !is_whole);
        let mut nature = draft.nature(base.is_directory(), standard.flags);
        draft.extended(&mut nature.linux);
        if is_whole {
            draft.check_links(base.links(), &names);
        }
        let Draft { streams, xattrs, .. } = draft;
        let inode = Inode {
            number: u64::from(base.number),
            generation: u64::from(base.sequence()),
            kind: nature.kind,
            mode: nature.linux.mode,
            uid: nature.linux.uid,
            gid: nature.linux.gid,
            links: links(&names),
            times: standard.times,
            device: nature.device(),
            target: nature.target,
            flags: u64::from(standard.flags),
            streams: streams
                .into_iter()
                .filter(|stream| nature.kind == Kind::File || !is_empty_data(stream))
                .collect(),
            xattrs,
            allocation,
        };
        Built {
            inode,
            names,
            is_whole,
        }
    }

    /// The owner, as `user.ntfs.owner`: from the descriptor of the volume, or of the file before version 3.0.
    fn owner(&self, draft: &mut Draft<'_, '_, '_>, security_id: u32) {
        let own = draft.value(kind::SECURITY_DESCRIPTOR, b"").and_then(|value| {
            let bytes = value.read(self.volume, VALUE_MAX)?;
            security::owner(&bytes)
        });
        if let Some(sid) = own.as_deref().or_else(|| self.owners.get(security_id)) {
            draft.xattrs.push(Xattr {
                name: b"user.ntfs.owner".to_vec(),
                value: sid.as_bytes().to_vec(),
            });
        }
    }
}

/// What a file is.
struct Nature {
    kind: Kind,
    target: Option<Vec<u8>>,
    linux: LinuxMetadata,
}

impl Nature {
    /// Numbers of a device; other files may have stale ones.
    fn device(&self) -> Option<(u32, u32)> {
        let is_device = self.kind.is_device();
        self.linux.device.filter(|_| is_device)
    }
}

/// The value of `$STANDARD_INFORMATION`.
#[derive(Default)]
struct Standard {
    times: Times,
    flags: u32,
    security_id: u32,
}

/// Number of names; one beside a long one does not count.
fn links(names: &[FileName<'_>]) -> u32 {
    let count = names.iter().filter(|name| !name.is_dos()).count();
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

fn is_empty_data(stream: &Stream) -> bool {
    stream.kind == StreamKind::Data && stream.size_bytes == 0
}

impl<'d, 'g, 'a> Draft<'d, 'g, 'a> {
    fn new(builder: &Builder<'d, 'a>, base: u32, held: &[Held<'g>], report: &'d mut Report) -> Self {
        let mut groups: BTreeMap<_, Vec<Held<'g>>> = BTreeMap::new();
        for held in held {
            let key = (held.attribute.kind, held.attribute.name);
            groups.entry(key).or_default().push(*held);
        }
        Self {
            volume: builder.volume,
            base,
            extents_max: builder.extents_max,
            report,
            groups,
            streams: Vec::new(),
            xattrs: Vec::new(),
        }
    }

    /// Kind and target, from the reparse point or the magic of a system file; streams that are no content are changed.
    fn nature(&mut self, is_directory: bool, flags: u32) -> Nature {
        let mut nature = Nature {
            kind: if is_directory { Kind::Directory } else { Kind::File },
            target: None,
            linux: LinuxMetadata::default(),
        };
        if let Some(reparse) = self.reparse() {
            match &reparse.effect {
                Effect::Link(link) => (nature.kind, nature.target) = (Kind::Symlink, link.clone()),
                Effect::Special(special) => nature.kind = *special,
                _ => self.replaced(&reparse, flags),
            }
        } else if !is_directory && flags & SYSTEM != 0 {
            self.interix(&mut nature);
        }
        nature
    }

    fn find(&mut self, severity: Severity, code: FindingCode, detail: String) {
        let at = self.volume.record_in_image(self.base);
        let finding = Finding::new(severity, Layer::Inode, code, detail);
        self.report.push(finding.at(at).on_inode(u64::from(self.base)));
    }

    /// The value of an attribute, put together.
    fn value(&self, kind: u32, name: &[u8]) -> Option<Value<'g>> {
        let parts = self.groups.get(&(kind, name))?;
        Some(Value::of(self.volume, parts, self.extents_max))
    }

    fn names(&mut self) -> Vec<FileName<'g>> {
        let held: Vec<Held<'g>> = self
            .groups
            .get(&(kind::FILE_NAME, &b""[..]))
            .cloned()
            .unwrap_or_default();
        let names: Vec<FileName<'g>> = held
            .iter()
            .filter_map(|held| FileName::parse(held.attribute.resident()?))
            .collect();
        if names.len() < held.len() {
            let detail = format!(
                "{} of {} names are broken",
                held.len().saturating_sub(names.len()),
                held.len()
            );
            self.find(Severity::Loss, FindingCode::Corrupt, detail);
        }
        names
    }

    fn standard(&mut self) -> Standard {
        let held = self.groups.get(&(kind::STANDARD_INFORMATION, &b""[..]));
        let value = held.and_then(|held| held.first()?.attribute.resident());
        let Some(value) = value else {
            let detail = "the record has no standard information: its times and attributes are lost";
            self.find(Severity::Warning, FindingCode::Corrupt, detail.to_owned());
            return Standard::default();
        };
        let (times, out_of_range) = times(value, 0);
        if out_of_range {
            let detail = "a time before 1678 or after 2262 was dropped";
            self.find(Severity::Warning, FindingCode::OutOfRange, detail.to_owned());
        }
        Standard {
            times,
            flags: le_u32(value, 0x20).unwrap_or(0),
            security_id: le_u32(value, 0x34).unwrap_or(0),
        }
    }

    /// All data streams, the unnamed one first; a file without one that can be found has an incomplete one.
    fn content(&mut self, is_directory: bool, names: &[FileName<'_>], is_damaged: bool) {
        let data: Vec<&'g [u8]> = self
            .groups
            .keys()
            .filter(|(kind, _)| *kind == kind::DATA)
            .map(|(_, name)| *name)
            .collect();
        if !is_directory && data.first().is_none_or(|name| !name.is_empty()) {
            let size = names.iter().map(FileName::size).max().unwrap_or(0);
            self.streams.push(Stream {
                kind: StreamKind::Data,
                size_bytes: if is_damaged { size } else { 0 },
                extents: Vec::new(),
                encoding: Encoding::Plain,
                extents_incomplete: is_damaged,
            });
        }
        for name in data {
            let kind = if name.is_empty() {
                StreamKind::Data
            } else {
                StreamKind::Named(wtf8(name))
            };
            if let Some(value) = self.value(kind::DATA, name) {
                self.stream(kind, &value);
            }
        }
    }

    fn stream(&mut self, kind: StreamKind, value: &Value<'_>) {
        for fault in &value.faults {
            let detail = format!("the map of a stream is broken: {fault}");
            self.find(Severity::Loss, FindingCode::Corrupt, detail);
        }
        if value.is_incomplete() && value.faults.is_empty() {
            let detail = "parts of the map of a stream are missing".to_owned();
            self.find(Severity::Loss, FindingCode::Corrupt, detail);
        }
        let (extents, units) = value.extents(self.volume);
        let encoding = match units {
            _ if value.is_encrypted() => {
                let detail = "the content is encrypted (EFS); the cipher text is in the image".to_owned();
                self.find(Severity::Warning, FindingCode::Encrypted, detail);
                Encoding::Encrypted
            }
            Some(units) => Encoding::Packed(units),
            None => Encoding::Plain,
        };
        self.streams.push(Stream {
            kind,
            size_bytes: value.size,
            extents,
            encoding,
            extents_incomplete: value.is_incomplete(),
        });
    }

    fn reparse(&mut self) -> Option<Reparse> {
        let value = self.value(kind::REPARSE_POINT, b"")?;
        let reparse = value
            .read(self.volume, VALUE_MAX)
            .and_then(|bytes| Reparse::parse(&bytes));
        self.attribute(b"user.ntfs.reparse_data", &value);
        if reparse
            .as_ref()
            .is_none_or(|reparse| reparse.effect == Effect::Link(None))
        {
            let detail = "the reparse point is broken".to_owned();
            self.find(Severity::Loss, FindingCode::Corrupt, detail);
        }
        reparse
    }

    /// Keeps a value as an extended attribute, or as a stream if it is long.
    fn attribute(&mut self, name: &[u8], value: &Value<'_>) {
        if let Some(bytes) = value.read(self.volume, INLINE_VALUE_MAX) {
            self.xattrs.push(Xattr {
                name: name.to_vec(),
                value: bytes,
            });
        } else {
            self.stream(StreamKind::Xattr(name.to_vec()), value);
        }
    }

    /// Object id, encryption keys and extended attributes.
    fn extended(&mut self, linux: &mut LinuxMetadata) {
        const EFS: &[u8] = b"$\0E\0F\0S\0";
        for (kind, name, xattr) in [
            (kind::OBJECT_ID, &b""[..], &b"user.ntfs.object_id"[..]),
            (kind::LOGGED_UTILITY_STREAM, EFS, b"user.ntfs.efs_info"),
        ] {
            if let Some(value) = self.value(kind, name) {
                self.attribute(xattr, &value);
            }
        }
        if let Some(value) = self.value(kind::EA, b"") {
            self.extended_attributes(&value, linux);
        }
    }

    fn extended_attributes(&mut self, value: &Value<'_>, linux: &mut LinuxMetadata) {
        let found: Option<Vec<Option<Xattr>>> = value
            .read(self.volume, VALUE_MAX)
            .map(|bytes| ea::parse(&bytes).collect());
        let Some(found) = found.filter(|found| found.iter().flatten().all(is_small)) else {
            return self.stream(StreamKind::Xattr(b"user.ntfs.ea".to_vec()), value);
        };
        for xattr in found {
            match xattr {
                Some(xattr) => {
                    linux.take(&xattr);
                    self.xattrs.push(in_user_namespace(xattr));
                }
                None => {
                    let detail = "an extended attribute is broken, those behind it are lost".to_owned();
                    self.find(Severity::Loss, FindingCode::Corrupt, detail);
                }
            }
        }
    }

    fn check_links(&mut self, said: u16, names: &[FileName<'_>]) {
        if usize::from(said) != names.len() {
            let detail = format!("the record says it has {said} names, it has {}", names.len());
            self.find(Severity::Warning, FindingCode::Contradiction, detail);
        }
    }

    /// Content that is not what the data stream says.
    fn replaced(&mut self, reparse: &Reparse, flags: u32) {
        let Reparse { tag, name, effect } = reparse;
        let how = match effect {
            Effect::Overlay(how) => format!(" ({how})"),
            _ => String::new(),
        };
        let is_elsewhere = match effect {
            Effect::WhenOffline => flags & OFFLINE != 0,
            Effect::Elsewhere | Effect::Overlay(_) => true,
            _ => false,
        };
        if !is_elsewhere {
            let detail = format!("{name}, tag {tag:#010x}");
            return self.find(Severity::Info, FindingCode::Unsupported, detail);
        }
        let detail = format!("{name}{how}, tag {tag:#010x}: its content is not decoded");
        self.find(Severity::Loss, FindingCode::Unsupported, detail);
        let stored = StreamKind::Named(OVERLAY_STREAM.to_vec());
        let stored = self.streams.iter().find(|stream| stream.kind == stored).cloned();
        if let Some(data) = self
            .streams
            .iter_mut()
            .find(|stream| stream.kind == StreamKind::Data)
        {
            data.encoding = Encoding::Unsupported;
            if let (Effect::Overlay(_), Some(stored)) = (effect, stored) {
                (data.extents, data.extents_incomplete) = (stored.extents, stored.extents_incomplete);
            }
        }
    }

    /// Special files as Interix and ntfs-3g write them: system files that start with a magic.
    fn interix(&mut self, nature: &mut Nature) {
        let Some(bytes) = self
            .value(kind::DATA, b"")
            .and_then(|value| value.read(self.volume, VALUE_MAX))
        else {
            return;
        };
        let device = || {
            let number = |at| le_u64(&bytes, at).and_then(|number| u32::try_from(number).ok());
            (bytes.len() == 24).then(|| number(8).zip(number(16))).flatten()
        };
        match bytes.get(..8) {
            Some(b"IntxLNK\x01") => {
                nature.kind = Kind::Symlink;
                nature.target = bytes.get(8..).map(wtf8);
            }
            Some(b"IntxCHR\0") => (nature.kind, nature.linux.device) = (Kind::CharDevice, device()),
            Some(b"IntxBLK\0") => (nature.kind, nature.linux.device) = (Kind::BlockDevice, device()),
            _ => return,
        }
        self.streams.retain(|stream| stream.kind != StreamKind::Data);
    }
}

/// Linux restores attributes of the namespace `user` only; its own driver writes names that have it.
fn in_user_namespace(xattr: Xattr) -> Xattr {
    if xattr.name.starts_with(b"user.") {
        return xattr;
    }
    Xattr {
        name: [&b"user.ntfs.ea."[..], &xattr.name].concat(),
        value: xattr.value,
    }
}

fn is_small(xattr: &Xattr) -> bool {
    u64::try_from(xattr.value.len()).is_ok_and(|len| len <= INLINE_VALUE_MAX)
}
