//! Everything that a tree says of one inode, put together. Items of an inode stand next to each other, the inode itself first.

use ntt_model::entry::{Allocation, Encoding, Inode, Stream, StreamKind, Xattr};
use ntt_model::time::Times;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Kind, Layer, Severity};

use super::content::{Added, Content};
use super::item::{DirEntries, INLINE_AT, InodeItem};
use super::key::item;
use super::node::Item;
use super::volume::Volume;
use crate::report::Report;

/// Values up to this length travel with the inode.
const SMALL_MAX: usize = 4096;
/// The longest target.
const TARGET_MAX: usize = 4096;
/// Extended attributes of one inode that are kept.
const XATTRS_MAX: usize = 65_536;
/// Bytes of their names and values that are kept. Items of a node may share their bytes.
const XATTR_BYTES_MAX: usize = 16 << 20;

/// An inode whose items come in.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) object: u64,
    pub(super) number: u64,
    /// Where its first item lies in the image.
    at: u64,
    stored: Option<InodeItem>,
    has_entries: bool,
    content: Option<Content>,
    target: Option<Vec<u8>>,
    xattrs: Vec<Xattr>,
    large: Vec<Stream>,
    /// Bytes of names and values that are kept.
    xattr_bytes: usize,
    trouble: [bool; 5],
}

impl Gathered {
    pub(super) fn new(object: u64, number: u64, at: u64) -> Self {
        Self {
            object,
            number,
            at,
            stored: None,
            has_entries: false,
            content: None,
            target: None,
            xattrs: Vec::new(),
            large: Vec::new(),
            xattr_bytes: 0,
            trouble: [false; 5],
        }
    }

    /// Takes an item of the inode.
    pub(super) fn take(&mut self, item: &Item<'_>, volume: &Volume<'_>, extents_max: u64) {
        match item.key.kind {
            item::INODE => self.stored = InodeItem::parse(item.data),
            item::DIR_ITEM | item::DIR_INDEX => self.has_entries = true,
            item::XATTR => self.xattr(item, &|offset| volume.in_image(offset)),
            item::EXTENT_DATA if self.stored.is_some_and(|stored| stored.kind() == Kind::Symlink) => {
                // Linux takes it as text that ends with a NUL; `mkfs.btrfs --rootdir` of version 6.2 writes one.
                let target = item.data.get(INLINE_AT..).unwrap_or_default();
                let target = target.split(|byte| *byte == 0).next().unwrap_or_default();
                let is_whole = !target.is_empty() && target.len() <= TARGET_MAX;
                self.target = is_whole.then(|| target.to_vec());
            }
            item::EXTENT_DATA => {
                let size = self.stored.map_or(u64::MAX, |stored| stored.size);
                let content = self.content.get_or_insert_with(|| Content::new(size));
                let slot = match content.add(item, volume, extents_max) {
                    Added::Fine => return,
                    Added::Corrupt => 0,
                    Added::Absent => 1,
                    Added::Unsupported => 2,
                    Added::TooMany => 3,
                };
                self.note(slot);
            }
            _ => {}
        }
    }

    fn note(&mut self, slot: usize) {
        if let Some(trouble) = self.trouble.get_mut(slot) {
            *trouble = true;
        }
    }

    fn xattr(&mut self, item: &Item<'_>, in_image: &dyn Fn(u64) -> u64) {
        for entry in DirEntries::new(item.data) {
            let is_small = entry.value.len() <= SMALL_MAX;
            let bytes = entry
                .name
                .len()
                .saturating_add(if is_small { entry.value.len() } else { 0 });
            let bytes = self.xattr_bytes.saturating_add(bytes);
            if self.xattrs.len().saturating_add(self.large.len()) >= XATTRS_MAX || bytes > XATTR_BYTES_MAX {
                self.note(4);
                return;
            }
            self.xattr_bytes = bytes;
            if is_small {
                self.xattrs.push(Xattr {
                    name: entry.name.to_vec(),
                    value: entry.value.to_vec(),
                });
                continue;
            }
            let len = u64::try_from(entry.value.len()).unwrap_or(0);
            let within = u64::try_from(entry.value_at).unwrap_or(0);
            self.large.push(Stream {
                kind: StreamKind::Xattr(entry.name.to_vec()),
                size_bytes: len,
                extents: vec![Extent {
                    logical_offset: 0,
                    image_offset: in_image(item.offset.saturating_add(within)),
                    len,
                    kind: ExtentKind::Inline,
                }],
                encoding: Encoding::Plain,
                extents_incomplete: false,
            });
        }
    }

    /// The kind; without the inode itself, what its other items let one think. `None` if nothing is left that is worth a name.
    fn kind(&self) -> Option<Kind> {
        match (self.stored, self.has_entries, &self.content) {
            (Some(stored), ..) => Some(stored.kind()),
            (None, true, _) => Some(Kind::Directory),
            (None, false, Some(_)) => Some(Kind::File),
            (None, false, None) => None,
        }
    }

    /// The inode; what is wrong is reported. `is_cut`: some of its extents may be lost.
    pub(super) fn build(mut self, is_cut: bool, gaps_are_holes: bool, report: &mut Report) -> Option<Inode> {
        let kind = self.kind()?;
        self.tell(kind, report);
        let mut streams = Vec::new();
        let size = self.stored.map(|stored| stored.size);
        if kind == Kind::File {
            let mut content = self
                .content
                .take()
                .unwrap_or_else(|| Content::new(size.unwrap_or(0)));
            let covered = content.end;
            content.is_incomplete |= is_cut || size.is_none();
            let mut stream = content.finish(gaps_are_holes);
            stream.size_bytes = size.unwrap_or(covered);
            let is_short = !gaps_are_holes && covered < stream.size_bytes;
            stream.extents_incomplete |= is_short;
            streams.push(stream);
        }
        streams.append(&mut self.large);
        let stored = self.stored;
        Some(Inode {
            number: self.number,
            generation: stored.map_or(0, |stored| stored.generation),
            kind,
            mode: stored.map(|stored| stored.mode & 0o7777),
            uid: stored.map(|stored| stored.uid),
            gid: stored.map(|stored| stored.gid),
            links: stored.map_or(1, |stored| stored.links),
            times: stored.map_or_else(Times::default, |stored| stored.times),
            target: self.target,
            device: stored.filter(|_| kind.is_device()).map(|stored| stored.device()),
            flags: stored.map_or(0, |stored| stored.flags),
            streams,
            xattrs: self.xattrs,
            allocation: Allocation::Allocated,
        })
    }

    fn tell(&self, kind: Kind, report: &mut Report) {
        let mut add = |severity, code, detail: String| {
            let finding = Finding::new(severity, Layer::Inode, code, detail);
            report.push(finding.at(self.at).on_inode(self.number));
        };
        match self.stored {
            None => {
                let detail = "the inode itself is lost; only other items of it are left".to_owned();
                add(Severity::Loss, FindingCode::Corrupt, detail);
            }
            Some(stored) if kind == Kind::Unknown => {
                let detail = format!("mode {:#o} of the inode is of no known type", stored.mode);
                add(Severity::Loss, FindingCode::Corrupt, detail);
            }
            Some(stored) if stored.has_bad_time => {
                let detail = "a time that cannot be represented".to_owned();
                add(Severity::Info, FindingCode::OutOfRange, detail);
            }
            Some(_) => {}
        }
        if kind == Kind::Symlink && self.target.is_none() {
            let detail = "the target of the symbolic link is lost".to_owned();
            add(Severity::Loss, FindingCode::Corrupt, detail);
        }
        let troubles = [
            (FindingCode::Corrupt, "an extent makes no sense"),
            (
                FindingCode::BeyondEnd,
                "parts of the content lie on other devices, or nowhere",
            ),
            (
                FindingCode::Unsupported,
                "an extent is encoded in a way that is not known",
            ),
            (FindingCode::Limit, "there are too many extents"),
            (
                FindingCode::Limit,
                "there are too many extended attributes; not all are listed",
            ),
        ];
        for ((code, detail), _) in troubles.into_iter().zip(self.trouble).filter(|(_, is)| *is) {
            add(Severity::Loss, code, detail.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    /// Items that share their bytes made 256 MiB of one inode.
    #[test]
    fn r22_attributes_that_share_their_bytes_are_bounded() {
        let mut data = vec![0; 30];
        data[25..29].copy_from_slice(&[0, 0x10, 1, 0]);
        data.push(b'x');
        data.resize(31 + SMALL_MAX, 0x55);
        let item = Item {
            key: Key::new(7, item::XATTR, 0),
            data: &data,
            offset: 0,
        };
        let mut gathered = Gathered::new(7, 7, 0);
        gathered.has_entries = true;
        for _ in 0..10_000 {
            gathered.xattr(&item, &|offset| offset);
        }
        let mut report = Report::default();
        let inode = gathered.build(false, true, &mut report).expect("a directory");
        assert_eq!(inode.xattrs.len(), XATTR_BYTES_MAX / (SMALL_MAX + 1));
        let findings = report.take();
        assert!(
            findings.iter().any(|finding| finding.code == FindingCode::Limit),
            "{findings:?}"
        );
    }
}
