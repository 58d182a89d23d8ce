//! Extended attributes (ECMA-167, 4/9.1 and 4/14.10; UDF 3.3.4).

use ntt_model::entry::{Encoding, Stream, StreamKind, Xattr};
use ntt_model::extent::push_joined;
use ntt_model::time::Times;
use ntt_model::{Extent, ExtentKind, Timestamp};
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::allocation::content;
use super::content::whole;
use super::icb::{Entry, load};
use super::space::Space;
use super::tag::{Tag, id};
use super::text::{entity, timestamp};
use crate::disc::Disc;

/// Length of the header descriptor before the attributes (ECMA-167, 4/14.10.1).
const HEADER_BYTES: usize = 24;
/// Attributes of one space that are looked at.
const ATTRIBUTES_MAX: usize = 10_000;
/// Longest space of attributes in a file of its own.
const SPACE_BYTES_MAX: u64 = 4 << 20;
/// Longest value that travels with its inode.
const SMALL_BYTES: usize = 4096;
/// Bytes of an implementation or application use attribute before its value.
const USE_HEAD: usize = 48;
/// Bytes of the checksum that starts the values that UDF itself defines (UDF 3.3.4.5).
const CHECKSUM_BYTES: usize = 2;

/// Attribute types (ECMA-167, 4/14.10).
const FILE_TIMES: u32 = 5;
const DEVICE: u32 = 12;
const IMPLEMENTATION_USE: u32 = 2048;
const APPLICATION_USE: u32 = 65_536;

/// What the attributes of a file say.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) xattrs: Vec<Xattr>,
    /// Values that are too big, and resource forks.
    pub(super) streams: Vec<Stream>,
    pub(super) device: Option<(u32, u32)>,
    created: Option<Timestamp>,
    deleted: Option<Timestamp>,
    /// An attribute whose lengths contradict each other ended the space early.
    pub(super) is_damaged: bool,
    /// The file that holds more attributes cannot be read.
    pub(super) is_lost: bool,
}

impl Attributes {
    /// All attributes of an entry: those in its block and those in another file.
    pub(super) fn of(disc: &Disc<'_>, space: &Space, entry: &Entry) -> Self {
        let mut attributes = Self::default();
        let (start, bytes) = entry.attributes();
        if !bytes.is_empty() {
            let at = entry.offset.saturating_add(u64::try_from(start).unwrap_or(0));
            let len = u64::try_from(bytes.len()).unwrap_or(0);
            let place = [Extent {
                logical_offset: 0,
                image_offset: disc.in_image(at),
                len,
                kind: ExtentKind::Inline,
            }];
            attributes.space(bytes, &place);
        }
        if let Some(icb) = entry.attribute_icb() {
            attributes.is_lost = attributes.other_file(disc, space, icb.at).is_none();
        }
        attributes
    }

    fn other_file(&mut self, disc: &Disc<'_>, space: &Space, icb: super::address::Address) -> Option<()> {
        let entry = load(disc, space, icb).ok()?;
        let content = content(disc, space, &entry, 10_000);
        let bytes = whole(disc, &content, SPACE_BYTES_MAX)?;
        self.space(&bytes, &content.extents);
        Some(())
    }

    /// Times that only attributes have.
    pub(super) fn complete(&self, times: &mut Times) {
        times.created = times.created.or(self.created);
        times.deleted = times.deleted.or(self.deleted);
    }

    fn space(&mut self, bytes: &[u8], extents: &[Extent]) {
        let has_header = Tag::parse(bytes).is_some_and(|tag| tag.id == id::ATTRIBUTE_HEADER);
        let mut at = if has_header { HEADER_BYTES } else { 0 };
        for _ in 0..ATTRIBUTES_MAX {
            let Some(rest) = bytes.get(at..).filter(|rest| rest.iter().any(|byte| *byte != 0)) else {
                return;
            };
            let len = le_u32(rest, 8)
                .and_then(|len| usize::try_from(len).ok())
                .unwrap_or(0);
            let Some(attribute) = rest.get(..len).filter(|_| len >= 12) else {
                self.is_damaged = true;
                return;
            };
            self.one(attribute, at, extents);
            at = at.saturating_add(len);
        }
    }

    fn one(&mut self, attribute: &[u8], at: usize, extents: &[Extent]) {
        match le_u32(attribute, 0) {
            Some(FILE_TIMES) => self.file_times(attribute),
            Some(DEVICE) => {
                let numbers = |bytes| Some((le_u32(bytes, 16)?, le_u32(bytes, 20)?));
                self.device = numbers(attribute).or(self.device);
            }
            Some(IMPLEMENTATION_USE | APPLICATION_USE) => {
                let len = le_u32(attribute, 12)
                    .and_then(|len| usize::try_from(len).ok())
                    .unwrap_or(0);
                let end = USE_HEAD.saturating_add(len).min(attribute.len());
                let value = attribute.get(USE_HEAD..end).unwrap_or_default();
                let identifier = attribute.get(16..USE_HEAD).map(entity).unwrap_or_default();
                self.named(identifier, value, (at.saturating_add(USE_HEAD), extents));
            }
            Some(kind) => {
                let value = attribute.get(12..).unwrap_or_default();
                let name = format!("udf.attribute.{kind}").into_bytes();
                self.value(name, value, (at.saturating_add(12), extents));
            }
            None => {}
        }
    }

    /// File times (ECMA-167, 4/14.10.5): of those that the mask names, creation is bit 0, deletion bit 2.
    fn file_times(&mut self, attribute: &[u8]) {
        let mask = le_u32(attribute, 16).unwrap_or(0);
        let mut at = 20_usize;
        for bit in 0..32_u32 {
            if mask & 1_u32.rotate_left(bit) == 0 {
                continue;
            }
            let time = attribute.get(at..).and_then(timestamp);
            match bit {
                0 => self.created = time,
                2 => self.deleted = time,
                _ => {}
            }
            at = at.saturating_add(12);
        }
    }

    /// Attributes with an identifier: those of the Macintosh and of OS/2 get the names that their systems know.
    fn named(&mut self, identifier: &[u8], value: &[u8], place: (usize, &[Extent])) {
        let after = |len: usize| (place.0.saturating_add(len), place.1);
        match identifier {
            b"*UDF FreeEASpace" | b"*UDF FreeAppEASpace" | b"*UDF OS/2 EALength" => {}
            // Checksum, padding, parent directory, then the 32 bytes (UDF 3.3.4.5.4.2).
            b"*UDF Mac FinderInfo" if value.len() >= 40 => {
                let info = value.get(8..40).unwrap_or_default();
                self.value(b"com.apple.FinderInfo".to_vec(), info, after(8));
            }
            b"*UDF Mac ResourceFork" if value.len() > CHECKSUM_BYTES => {
                let len = value.len().saturating_sub(CHECKSUM_BYTES);
                let kind = StreamKind::resource_fork();
                self.streams.push(stream(kind, len, after(CHECKSUM_BYTES)));
            }
            b"*UDF OS/2 EA" if self.os2(value).is_some() => {}
            _ => {
                let name = [b"udf.", identifier.strip_prefix(b"*").unwrap_or(identifier)].concat();
                self.value(name, value, place);
            }
        }
    }

    /// OS/2's attributes (UDF 3.3.4.5.3.1): flags, length of the name, length of the value, name, value. Taken all or none.
    fn os2(&mut self, value: &[u8]) -> Option<()> {
        let mut rest = value.get(CHECKSUM_BYTES..)?;
        let mut found = Vec::new();
        while rest.iter().any(|byte| *byte != 0) {
            let name_end = usize::from(u8_at(rest, 1)?).checked_add(4)?;
            let value_end = usize::from(le_u16(rest, 2)?).checked_add(name_end)?;
            let name = rest.get(4..name_end)?;
            found.push(Xattr {
                name: [b"os2.", name].concat(),
                value: rest.get(name_end..value_end)?.to_vec(),
            });
            rest = rest.get(value_end..)?;
        }
        let small = found.iter().all(|xattr| xattr.value.len() <= SMALL_BYTES);
        (small && !found.is_empty()).then(|| self.xattrs.append(&mut found))
    }

    fn value(&mut self, name: Vec<u8>, value: &[u8], place: (usize, &[Extent])) {
        if value.len() <= SMALL_BYTES {
            let value = value.to_vec();
            self.xattrs.push(Xattr { name, value });
        } else {
            self.streams
                .push(stream(StreamKind::Xattr(name), value.len(), place));
        }
    }
}

/// `len` bytes from a place of the space of attributes.
fn stream(kind: StreamKind, len: usize, (at, extents): (usize, &[Extent])) -> Stream {
    let start = u64::try_from(at).unwrap_or(u64::MAX);
    let size_bytes = u64::try_from(len).unwrap_or(0);
    let end = start.saturating_add(size_bytes);
    let mut part = Vec::new();
    for extent in extents {
        let from = extent.logical_offset.max(start);
        let to = extent.logical_offset.saturating_add(extent.len).min(end);
        if from < to {
            push_joined(
                &mut part,
                Extent {
                    logical_offset: from.saturating_sub(start),
                    image_offset: extent
                        .image_offset
                        .saturating_add(from.saturating_sub(extent.logical_offset)),
                    len: to.saturating_sub(from),
                    kind: extent.kind,
                },
            );
        }
    }
    Stream {
        kind,
        size_bytes,
        extents: part,
        encoding: Encoding::Plain,
        extents_incomplete: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(u32::try_from(body.len() + 12).unwrap().to_le_bytes());
        bytes.extend(body);
        bytes
    }

    fn used(identifier: &[u8], value: &[u8]) -> Vec<u8> {
        let mut body = u32::try_from(value.len()).unwrap().to_le_bytes().to_vec();
        let mut entity = [0; 32];
        entity[1..=identifier.len()].copy_from_slice(identifier);
        body.extend(entity);
        body.extend(value);
        attribute(IMPLEMENTATION_USE, &body)
    }

    fn read(bytes: &[u8]) -> Attributes {
        let extents = [Extent {
            logical_offset: 0,
            image_offset: 10_000,
            len: u64::try_from(bytes.len()).unwrap(),
            kind: ExtentKind::Inline,
        }];
        let mut attributes = Attributes::default();
        attributes.space(bytes, &extents);
        attributes
    }

    #[test]
    fn finder_info_and_resource_fork_have_their_own_names() {
        let info: Vec<u8> = (0..48).collect();
        let mut bytes = used(b"*UDF Mac FinderInfo", &info);
        let before = u64::try_from(bytes.len()).unwrap();
        bytes.extend(used(b"*UDF Mac ResourceFork", b"\0\0fork"));
        let attributes = read(&bytes);
        assert_eq!(attributes.xattrs[0].name, b"com.apple.FinderInfo");
        assert_eq!(attributes.xattrs[0].value, (8..40).collect::<Vec<u8>>());
        let fork = &attributes.streams[0];
        assert_eq!(fork.kind, StreamKind::resource_fork());
        assert_eq!(
            (fork.size_bytes, fork.extents[0].image_offset),
            (4, 10_000 + before + 50)
        );
    }

    #[test]
    fn os2_attributes_are_taken_apart() {
        let attributes = read(&used(b"*UDF OS/2 EA", b"\0\0\0\x05\x03\0.TYPEabc\0\x01\x01\0Xy"));
        let shown: Vec<_> = attributes
            .xattrs
            .iter()
            .map(|xattr| (xattr.name.as_slice(), xattr.value.as_slice()))
            .collect();
        assert_eq!(shown, [(&b"os2..TYPE"[..], &b"abc"[..]), (b"os2.X", b"y")]);
        let broken = read(&used(b"*UDF OS/2 EA", b"\0\0\0\x50\x03\0.TYPEabc"));
        assert_eq!(broken.xattrs[0].name, b"udf.UDF OS/2 EA", "kept as it is");
    }

    #[test]
    fn devices_and_times_are_read_and_large_values_stay_on_the_medium() {
        let mut bytes = attribute(DEVICE, &[0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0]);
        let mut times = vec![24, 0, 0, 0, 5, 0, 0, 0];
        times.extend([0, 0x10, 0xd8, 0x07, 4, 15, 12, 34, 56, 0, 0, 0]);
        times.extend([0, 0x10, 0xd9, 0x07, 4, 15, 12, 34, 56, 0, 0, 0]);
        bytes.extend(attribute(FILE_TIMES, &times));
        bytes.extend(used(b"*Mine", &[7; 5000]));
        let attributes = read(&bytes);
        assert_eq!(attributes.device, Some((8, 1)));
        let mut found = Times::default();
        attributes.complete(&mut found);
        assert_eq!(found.created.unwrap().to_string(), "2008-04-15T12:34:56Z");
        assert_eq!(found.deleted.unwrap().to_string(), "2009-04-15T12:34:56Z");
        assert_eq!(
            attributes.streams[0].kind,
            StreamKind::Xattr(b"udf.Mine".to_vec())
        );
        assert_eq!(attributes.streams[0].size_bytes, 5000);
    }

    #[test]
    fn absurd_lengths_end_the_space() {
        let mut bytes = attribute(DEVICE, &[0; 12]);
        bytes.extend([9, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1]);
        let attributes = read(&bytes);
        assert!(attributes.is_damaged);
        assert_eq!(attributes.device, Some((0, 0)));
    }
}
