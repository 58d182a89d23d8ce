//! An object, put together from its items: stat data, then content.
//!
//! Source: `struct stat_data_v1`, `struct stat_data`.

use ntt_model::entry::{Allocation, Inode, StreamKind};
use ntt_model::time::Times;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{le_u16, le_u32, le_u64};

use super::key::{ItemKind, Key};
use super::node::ItemHead;
use super::volume::Volume;
use crate::report::Report;
use crate::walk::{Content, Found, device_of, target_of, time_of};

const STAT_V1_LEN: usize = 32;
const STAT_V2_LEN: usize = 44;

/// The stat data of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    mode: u32,
    links: u32,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    times: Times,
    flags: u16,
    /// Device of a device, generation of anything else.
    number: u32,
}

impl Stat {
    /// Reads stat data of either version, which differ in their length.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| le_u16(bytes, at).map(u32::from);
        let word = |at: usize| le_u32(bytes, at);
        let times = |at: usize| -> Option<Times> {
            Some(Times {
                accessed: time_of(word(at)?),
                modified: time_of(word(at.saturating_add(4))?),
                changed: time_of(word(at.saturating_add(8))?),
                ..Times::default()
            })
        };
        match bytes.len() {
            STAT_V1_LEN => Some(Self {
                mode: half(0)?,
                links: half(2)?,
                uid: half(4)?,
                gid: half(6)?,
                size_bytes: word(8)?.into(),
                times: times(12)?,
                flags: 0,
                number: word(24)?,
            }),
            STAT_V2_LEN => Some(Self {
                mode: half(0)?,
                flags: le_u16(bytes, 2)?,
                links: word(4)?,
                size_bytes: le_u64(bytes, 8)?,
                uid: word(16)?,
                gid: word(20)?,
                times: times(24)?,
                number: word(40)?,
            }),
            _ => None,
        }
    }

    const fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    const fn is_device(&self) -> bool {
        self.kind().is_device()
    }
}

/// An object whose items are being read.
pub(super) struct Object {
    pub(super) key: Key,
    stat: Option<Stat>,
    has_names: bool,
    content: Content,
    /// First byte that no item told of yet.
    next: u64,
    /// Where its first item lies in the image.
    at: u64,
    has_gap: bool,
    report: Report,
}

impl Object {
    pub(super) fn new(key: Key, at: u64, extents_max: u64) -> Self {
        Self {
            key,
            stat: None,
            has_names: false,
            content: Content::new(u64::MAX, extents_max),
            next: 0,
            at,
            has_gap: false,
            report: Report::default(),
        }
    }

    fn number(&self) -> u64 {
        self.key.object.into()
    }

    /// Adds an item that lies in a leaf at `leaf_at` of the image. Whether it is the first one with names.
    pub(super) fn add(&mut self, volume: &Volume<'_>, head: &ItemHead, leaf: &[u8], leaf_at: u64) -> bool {
        let body = head.body(leaf);
        let at = leaf_at.saturating_add(u64::try_from(head.start).unwrap_or(0));
        match head.key.kind {
            ItemKind::Stat => self.stat(body, at),
            ItemKind::Indirect => self.indirect(volume, head.key.offset, body, at),
            ItemKind::Direct => self.direct(head.key.offset, body, at),
            ItemKind::Entries => return !std::mem::replace(&mut self.has_names, true),
            ItemKind::Other => {
                self.complain(FindingCode::Corrupt, "an item of no known type".to_owned(), at);
            }
        }
        false
    }

    fn stat(&mut self, body: &[u8], at: u64) {
        match Stat::parse(body) {
            Some(stat) => {
                self.content.set_size(stat.size_bytes);
                self.stat = Some(stat);
            }
            None => {
                let detail = format!("stat data of {} bytes", body.len());
                self.complain(FindingCode::Corrupt, detail, at);
            }
        }
    }

    fn complain(&mut self, code: FindingCode, detail: String, at: u64) {
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        self.report.push(finding.at(at).on_inode(self.key.object.into()));
    }

    /// The first byte of an item of content; items follow each other without a gap.
    fn start(&mut self, offset: u64) -> u64 {
        let start = offset.saturating_sub(1);
        self.has_gap |= start > self.next;
        start
    }

    fn indirect(&mut self, volume: &Volume<'_>, offset: u64, body: &[u8], at: u64) {
        let mut start = self.start(offset);
        for word in body.chunks_exact(4) {
            let block = le_u32(word, 0).unwrap_or(0);
            match volume.content_offset(block) {
                Some(offset) => {
                    let in_image = volume.device.in_image(offset);
                    let _beyond_its_end = self.content.data(start, in_image, volume.block_bytes());
                }
                None if block == 0 => {}
                None => {
                    self.content.is_missing_some();
                    let detail = format!("block {block} of the content does not exist");
                    self.complain(FindingCode::BeyondEnd, detail, at);
                }
            }
            start = start.saturating_add(volume.block_bytes());
        }
        self.next = self.next.max(start);
    }

    fn direct(&mut self, offset: u64, body: &[u8], at: u64) {
        let start = self.start(offset);
        let len = u64::try_from(body.len()).unwrap_or(0);
        let _beyond_its_end = self.content.inline(start, at, len);
        self.next = self.next.max(start.saturating_add(len));
    }

    /// The inode, once all items are there. One whose stat data is lost is made from what is left of it.
    pub(super) fn finish(mut self, volume: &Volume<'_>) -> Found {
        if self.stat.is_none() {
            let detail = "the stat data is lost; kind and size were taken from what is left".to_owned();
            self.complain(FindingCode::Corrupt, detail, self.at);
            self.content.set_size(self.content.end());
        }
        let inode = match self.stat.take() {
            Some(stat) => self.with_stat(&stat, volume),
            None => self.without_stat(),
        };
        Found::inode(inode, self.report.take())
    }

    fn take_content(&mut self) -> Content {
        std::mem::replace(&mut self.content, Content::new(0, 0))
    }

    fn with_stat(&mut self, stat: &Stat, volume: &Volume<'_>) -> Inode {
        let kind = stat.kind();
        if kind == Kind::Unknown {
            let detail = format!("mode {:#o} of the inode is of no known type", stat.mode);
            self.complain(FindingCode::Corrupt, detail, self.at);
        }
        let has_content = matches!(kind, Kind::File | Kind::Symlink | Kind::Unknown);
        if has_content && (self.has_gap || self.next < stat.size_bytes) {
            self.content.is_missing_some();
            let detail = format!(
                "items of the content are lost: {} bytes are wanted",
                stat.size_bytes
            );
            self.complain(FindingCode::Corrupt, detail, self.at);
        }
        let stream = self.take_content().stream(StreamKind::Data);
        let target = match kind {
            Kind::Symlink => match target_of(&volume.device, &stream) {
                Ok(target) => Some(target),
                Err(finding) => {
                    self.report.push(finding.on_inode(self.number()));
                    None
                }
            },
            _ => None,
        };
        Inode {
            number: self.number(),
            generation: if stat.is_device() { 0 } else { stat.number.into() },
            kind,
            mode: Some(stat.mode & 0o7777),
            uid: Some(stat.uid),
            gid: Some(stat.gid),
            links: stat.links,
            device: stat.is_device().then(|| device_of(stat.number)),
            times: stat.times,
            target,
            flags: stat.flags.into(),
            streams: Some(stream)
                .filter(|_| matches!(kind, Kind::File | Kind::Unknown))
                .into_iter()
                .collect(),
            xattrs: Vec::new(),
            allocation: Allocation::Allocated,
        }
    }

    fn without_stat(&mut self) -> Inode {
        let kind = if self.has_names {
            Kind::Directory
        } else {
            Kind::File
        };
        self.content.is_missing_some();
        let stream = self.take_content().stream(StreamKind::Data);
        Inode {
            streams: Some(stream).filter(|_| kind == Kind::File).into_iter().collect(),
            ..Inode::bare(self.number(), kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_data_of_both_versions_is_read() {
        let mut old = [0; STAT_V1_LEN];
        old[..2].copy_from_slice(&0o100_644_u16.to_le_bytes());
        old[8] = 5;
        old[16] = 7;
        let stat = Stat::parse(&old).expect("stat data");
        assert_eq!((stat.kind(), stat.size_bytes), (Kind::File, 5));
        assert_eq!(stat.times.modified, time_of(7));
        let mut new = [0; STAT_V2_LEN];
        new[..2].copy_from_slice(&0o060_600_u16.to_le_bytes());
        new[12] = 1;
        new[40..42].copy_from_slice(&0x0803_u16.to_le_bytes());
        let stat = Stat::parse(&new).expect("stat data");
        assert_eq!((stat.is_device(), stat.size_bytes), (true, 1 << 32));
        assert_eq!(device_of(stat.number), (8, 3));
        assert_eq!(Stat::parse(&new[..40]), None);
    }
}
