//! Walking the trees of all sessions and emitting what they hold.

use std::collections::VecDeque;

use ntt_model::entry::{Directory, Inode};
use ntt_model::{ByteRange, ExtentKind, Finding, FindingCode, Kind, Layer, Namespace, ScanEvent, Severity};

use super::address::{Address, Allocated};
use super::allocation::{Content, content};
use super::directory::{Identifier, Item, characteristic, each};
use super::free::unread;
use super::icb::{Entry, Fault, load, lost};
use super::inode::{Builder, number};
use super::numbers::Numbers;
use super::session::Session;
use crate::disc::Disc;
use crate::emit::Emitter;
use crate::report::doubtful;
use crate::{ScanOptions, Stop, Visitor};

/// Numbers of deleted entries that lie nowhere else: where their descriptor stands, and this.
const DELETED: u64 = 1 << 61;

/// A directory that waits to be entered.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) icb: Address,
    pub(super) number: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: Vec<u8>,
    pub(super) depth: u32,
    pub(super) namespace: Namespace,
}

/// The walk over all trees.
pub(super) struct Walk<'d, 's, 'v> {
    pub(super) disc: &'d Disc<'s>,
    pub(super) options: &'d ScanOptions,
    pub(super) out: Emitter<'v>,
    pub(super) queue: VecDeque<Pending>,
    /// Inodes that were emitted.
    pub(super) seen: Numbers,
    /// Entries of streams and attributes.
    pub(super) parts: Numbers,
    /// Blocks of directories that were read.
    pub(super) read: Numbers,
    /// Directories whose entry is lost; their content may be found.
    pub(super) dead: Vec<Pending>,
    /// Names or whole directories were lost.
    pub(super) is_broken: bool,
    /// Bytes of directories that may still be read: twice as many as the volume has.
    budget_bytes: u64,
    /// The session walked is not the last one: what it shares with a later one was told there.
    is_earlier: bool,
    /// Inodes that only an earlier session names.
    only_earlier: u64,
}

/// One directory while its entries are emitted.
struct Current {
    pending: Pending,
    left: u64,
    is_left: bool,
}

impl<'d, 's, 'v> Walk<'d, 's, 'v> {
    pub(super) fn new(disc: &'d Disc<'s>, options: &'d ScanOptions, visitor: &'v mut dyn Visitor) -> Self {
        Self {
            disc,
            options,
            out: Emitter::new(visitor),
            queue: VecDeque::new(),
            seen: Numbers::default(),
            parts: Numbers::default(),
            read: Numbers::default(),
            dead: Vec::new(),
            is_broken: false,
            budget_bytes: disc.len().saturating_mul(2),
            is_earlier: false,
            only_earlier: 0,
        }
    }

    /// Walks the trees of a session.
    pub(super) fn session(&mut self, session: &'d Session, is_earlier: bool) -> Result<(), Stop> {
        self.is_earlier = is_earlier;
        self.only_earlier = 0;
        self.is_broken = session.file_sets.is_empty();
        self.dead.clear();
        for finding in &session.findings {
            self.out.finding(finding.clone())?;
        }
        self.check_bitmaps(session)?;
        for set in &session.file_sets {
            self.tree(session, set.root.at)?;
        }
        if self.is_broken {
            self.lost(session)?;
        }
        if is_earlier && self.only_earlier > 0 {
            let detail = format!("{} entries stand only in an earlier session", self.only_earlier);
            let kind = (Severity::Info, Layer::FileSystem, FindingCode::Contradiction);
            let at = session.anchor_offset();
            self.out.finding(self.disc.finding(kind, at, detail))?;
        }
        Ok(())
    }

    /// R11: nothing that is listed depends on the bitmaps of free space, but a hole in them is told.
    fn check_bitmaps(&mut self, session: &Session) -> Result<(), Stop> {
        for reference in (0..=u16::MAX).take(session.space.maps.len()) {
            if let Some((offset, code)) = unread(self.disc, session, reference) {
                let kind = (Severity::Warning, Layer::FileSystem, code);
                let detail =
                    "the bitmap of free space cannot be read; what it does not tell counts as in use";
                self.out.finding(self.disc.finding(kind, offset, detail))?;
            }
        }
        Ok(())
    }

    /// Walks a tree from its root.
    pub(super) fn tree(&mut self, session: &'d Session, root: Address) -> Result<(), Stop> {
        let number = number(&session.space, root);
        if !self.seen.insert(number) {
            return Ok(());
        }
        let pending = Pending {
            icb: root,
            number,
            parent: None,
            name: Vec::new(),
            depth: 0,
            namespace: Namespace::Udf,
        };
        match self.emit_inode(session, root, (number, true), 0)? {
            Some(Kind::Directory) => self.queue.push_back(pending),
            Some(_) => {
                let kind = (Severity::Loss, Layer::FileSystem, FindingCode::Corrupt);
                let finding = self.disc.finding(kind, number, "the root is no directory");
                self.out.finding(finding.on_inode(number))?;
                self.is_broken = true;
            }
            None => self.dead.push(pending),
        }
        self.drain(session)
    }

    pub(super) fn drain(&mut self, session: &'d Session) -> Result<(), Stop> {
        while let Some(pending) = self.queue.pop_front() {
            self.directory(session, pending)?;
        }
        Ok(())
    }

    /// An entry, from the metadata file or its mirror.
    pub(super) fn load(&mut self, session: &Session, icb: Address) -> Result<Result<Entry, Fault>, Stop> {
        let main = load(self.disc, &session.space, icb);
        let why = match &main {
            Ok(entry) => entry.doubt.map(str::to_owned),
            Err(fault) => Some(fault.detail()),
        };
        let Some(why) = why else {
            return Ok(main);
        };
        let of_mirror = session
            .mirror
            .as_ref()
            .and_then(|space| load(self.disc, space, icb).ok());
        let Some(entry) = of_mirror.filter(|entry| main.is_err() || entry.doubt.is_none()) else {
            return Ok(main);
        };
        let detail = format!("the metadata mirror serves: {why}");
        let kind = (Severity::Warning, Layer::Inode, FindingCode::BackupUsed);
        let at = number(&session.space, icb);
        self.out
            .finding(self.disc.finding(kind, at, detail).on_inode(at))?;
        Ok(Ok(entry))
    }

    /// Emits the inode of an entry, or what can be said of it when the entry is lost; its kind, if the entry was there.
    pub(super) fn emit_inode(
        &mut self,
        session: &'d Session,
        icb: Address,
        (number, is_directory): (u64, bool),
        characteristics: u8,
    ) -> Result<Option<Kind>, Stop> {
        let entry = match self.load(session, icb)? {
            Ok(entry) => entry,
            Err(fault) => {
                self.is_broken |= is_directory;
                self.out.inode(Builder::lost(number, is_directory))?;
                let finding = lost(self.disc, &session.space, icb, &fault);
                self.out.finding(finding.on_inode(number))?;
                return Ok(None);
            }
        };
        let builder = Builder {
            disc: self.disc,
            space: &session.space,
            extents_max: self.options.limits.extents_per_stream,
        };
        let mut built = builder.build(&entry, number);
        built.inode.flags |= u64::from(characteristics) << 16;
        let kind = built.inode.kind;
        for part in built.parts {
            self.parts.insert(part);
        }
        self.out.inode(built.inode)?;
        for finding in built.findings {
            self.out.finding(finding)?;
        }
        Ok(Some(kind))
    }

    fn directory(&mut self, session: &'d Session, pending: Pending) -> Result<(), Stop> {
        self.enter(&pending)?;
        let entry = match self.load(session, pending.icb)? {
            Ok(entry) => entry,
            // It was there when the inode was emitted.
            Err(fault) => {
                let finding = lost(self.disc, &session.space, pending.icb, &fault);
                return self.out.finding(finding.on_inode(pending.number));
            }
        };
        let content = self.best_content(session, &entry);
        if let Some(fault) = &content.fault {
            self.is_broken = true;
            let detail = format!("the directory is incomplete: {}", fault.detail());
            let kind = (Severity::Loss, Layer::Directory, fault.code());
            let finding = self.disc.finding(kind, entry.offset, detail);
            self.out.finding(finding.on_inode(pending.number))?;
        }
        self.entries(session, pending, &content)
    }

    pub(super) fn enter(&mut self, pending: &Pending) -> Result<(), Stop> {
        self.out.event(ScanEvent::Directory(Directory {
            inode: pending.number,
            parent: pending.parent,
            name: crate::name::path_safe(&pending.name)
                .0
                .into_iter()
                .filter(|_| pending.parent.is_some())
                .collect(),
            namespace: pending.namespace,
        }))
    }

    /// The content of a directory: from the mirror if less is damaged there.
    fn best_content(&self, session: &Session, entry: &Entry) -> Content {
        let max = self.options.limits.extents_per_stream;
        let main = content(self.disc, &session.space, entry, max);
        let Some(space) = &session.mirror else {
            return main;
        };
        let damage = |content: &Content| {
            let mut damaged = u64::from(content.is_incomplete());
            each(self.disc, content, &mut |item| {
                damaged = damaged.saturating_add(u64::from(matches!(item, Item::Damaged(..))));
                true
            });
            damaged
        };
        let of_main = damage(&main);
        if of_main == 0 {
            return main;
        }
        let mirror = content(self.disc, space, entry, max);
        if damage(&mirror) < of_main { mirror } else { main }
    }

    /// Emits what stands in the content of a directory.
    pub(super) fn entries(
        &mut self,
        session: &'d Session,
        pending: Pending,
        content: &Content,
    ) -> Result<(), Stop> {
        if !self.claim(content, &pending)? {
            return Ok(());
        }
        let leave = self.options.leave_after.get(&pending.number).copied();
        let limit = self.options.limits.entries_per_directory;
        let mut current = Current {
            left: leave.unwrap_or(u64::MAX).min(limit),
            pending,
            is_left: false,
        };
        let mut result = Ok(());
        let disc = self.disc;
        each(disc, content, &mut |item| {
            result = match item {
                Item::Identifier(identifier) => self.identifier(session, &mut current, &identifier),
                Item::Damaged(offset, len, code) => self.damaged(&current, (offset, len), code),
            };
            result.is_ok() && !current.is_left
        });
        result?;
        if current.is_left {
            let kind = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            let detail = "the directory was left at the limit of its entries";
            let finding = self.disc.finding(kind, current.pending.number, detail);
            self.out.finding(finding.on_inode(current.pending.number))?;
        }
        Ok(())
    }

    /// Notes which blocks a directory takes. False if more was read of directories than the volume can hold: they share their content.
    fn claim(&mut self, content: &Content, pending: &Pending) -> Result<bool, Stop> {
        let base = self.disc.in_image(0);
        let recorded = content
            .extents
            .iter()
            .filter(|extent| extent.kind == ExtentKind::Data);
        let mut bytes = 0_u64;
        for extent in recorded {
            bytes = bytes.saturating_add(extent.len);
            let first = extent.image_offset.saturating_sub(base);
            let room = ByteRange::new(first, extent.len).intersection(&ByteRange::new(0, self.disc.len()));
            let Some(range) = room.filter(|_| bytes <= self.budget_bytes) else {
                continue;
            };
            self.read.insert_all(range.offset, range.len);
        }
        let is_good = bytes <= self.budget_bytes;
        self.budget_bytes = self.budget_bytes.saturating_sub(bytes);
        if !is_good {
            let kind = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            let detail = "the directories together are longer than the volume; this one was not read";
            let finding = self.disc.finding(kind, pending.number, detail);
            self.out.finding(finding.on_inode(pending.number))?;
        }
        Ok(is_good)
    }

    fn damaged(
        &mut self,
        current: &Current,
        (offset, len): (u64, u64),
        code: FindingCode,
    ) -> Result<(), Stop> {
        self.is_broken = true;
        let detail = format!("{len} bytes of the directory hold no entry that can be read");
        let kind = (Severity::Loss, Layer::Directory, code);
        let finding = self.disc.finding(kind, offset, detail);
        self.out.finding(finding.on_inode(current.pending.number))
    }

    fn identifier(
        &mut self,
        session: &'d Session,
        current: &mut Current,
        identifier: &Identifier,
    ) -> Result<(), Stop> {
        if identifier.has(characteristic::PARENT) {
            return Ok(());
        }
        if identifier.has(characteristic::DELETED) {
            return self.deleted(session, current, identifier);
        }
        if current.left == 0 {
            current.is_left = true;
            return Ok(());
        }
        current.left = current.left.saturating_sub(1);
        if !identifier.is_intact() {
            let detail = "the CRC of the file identifier is wrong";
            let at = self.disc.in_image(identifier.offset);
            let finding = doubtful(Layer::Directory, detail, at);
            self.out.finding(finding.on_inode(current.pending.number))?;
        }
        let number = number(&session.space, identifier.icb.at);
        let is_new = self.seen.insert(number);
        let is_directory = identifier.has(characteristic::DIRECTORY);
        let kind = if is_new {
            self.emit_inode(
                session,
                identifier.icb.at,
                (number, is_directory),
                identifier.characteristics,
            )?
        } else {
            None
        };
        self.only_earlier = self
            .only_earlier
            .saturating_add(u64::from(self.is_earlier && is_new));
        let is_alternate = self.is_earlier && !is_new && !is_directory;
        let at = self.disc.in_image(identifier.offset);
        let name = (Namespace::Udf, identifier.name.as_slice());
        self.out
            .name((current.pending.number, number), name, is_alternate, at)?;
        match kind {
            Some(Kind::Directory) => self.subdirectory(current, identifier, number),
            None if is_new && is_directory => {
                self.dead.push(below(&current.pending, identifier, number));
                Ok(())
            }
            None if !is_new && is_directory && !self.is_earlier => {
                let kind = (Severity::Warning, Layer::Directory, FindingCode::Loop);
                let detail = "the entry leads to a directory that was reached already";
                let finding = self.disc.finding(kind, identifier.offset, detail);
                self.out.finding(finding.on_inode(number))
            }
            _ => Ok(()),
        }
    }

    fn subdirectory(&mut self, current: &Current, identifier: &Identifier, number: u64) -> Result<(), Stop> {
        let pending = below(&current.pending, identifier, number);
        if pending.depth > self.options.limits.depth {
            let kind = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            let detail = "the directory is nested too deep and was not entered";
            let finding = self.disc.finding(kind, identifier.offset, detail);
            return self.out.finding(finding.on_inode(number));
        }
        self.queue.push_back(pending);
        Ok(())
    }

    /// A deleted entry, with the content of its file entry if that still stands there and nothing else uses it.
    fn deleted(&mut self, session: &Session, current: &Current, identifier: &Identifier) -> Result<(), Stop> {
        if !self.options.deleted || identifier.name.is_empty() {
            return Ok(());
        }
        let own = DELETED | identifier.offset;
        let icb: Allocated = identifier.icb;
        let entry = match self.seen.contains(number(&session.space, icb.at)) || icb.is_empty() {
            true => None,
            false => load(self.disc, &session.space, icb.at).ok(),
        };
        let is_file = |entry: &Entry| entry.kind() != Kind::Directory && entry.doubt.is_none();
        let inode: Inode = match entry.filter(is_file) {
            Some(entry) => {
                let builder = Builder {
                    disc: self.disc,
                    space: &session.space,
                    extents_max: self.options.limits.extents_per_stream,
                };
                builder.build(&entry, own).inode
            }
            None => Builder::lost(own, identifier.has(characteristic::DIRECTORY)),
        };
        self.out.deleted(
            (current.pending.number, inode),
            (Namespace::Udf, &identifier.name),
        )
    }

    /// A directory that the reader makes up, for what is lost.
    pub(super) fn made_up(&mut self, pending: &Pending) -> Result<(), Stop> {
        self.out.inode(Inode::bare(pending.number, Kind::Directory))?;
        self.enter(pending)
    }

    /// Ends the walk.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        self.out.finish()
    }

    pub(super) fn orphan(&mut self, number: u64, detail: &str) -> Result<(), Stop> {
        let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
        self.out
            .finding(finding.at(self.disc.in_image(number)).on_inode(number))
    }
}

fn below(parent: &Pending, identifier: &Identifier, number: u64) -> Pending {
    Pending {
        icb: identifier.icb.at,
        number,
        parent: Some(parent.number),
        name: identifier.name.clone(),
        depth: parent.depth.saturating_add(1),
        namespace: Namespace::Udf,
    }
}
