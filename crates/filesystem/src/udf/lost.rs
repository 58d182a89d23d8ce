//! After damage: entries and directories that no name leads to any more are looked for in the blocks in use (R22).
//!
//! A directory whose entry is lost may still have its content: that starts with a descriptor of the parent. If the parent names just one
//! directory whose entry is lost, it is that one. What else is found is listed in a made-up directory.

use std::collections::BTreeMap;

use ntt_model::{ByteRange, Extent, ExtentKind, Finding, FindingCode, Kind, Layer, Namespace, Severity};

use super::address::Address;
use super::allocation::{Content, content};
use super::directory::{Identifier, Item, Parsed, characteristic, each, parent_in};
use super::free::used;
use super::icb::{Entry, file_type};
use super::inode::number;
use super::numbers::Numbers;
use super::session::Session;
use super::space::Map;
use super::tag::{Tag, id};
use super::walk::{Pending, Walk};
use crate::Stop;

/// Bytes read at a time.
const STEP_BYTES: u64 = 1 << 20;
/// How many times the length of the disc is looked through, and noted as content, at most: maps and directories may share their blocks.
const SEARCHES_MAX: u64 = 4;
/// Lost things of each kind that are kept; the rest is a finding.
const FOUND_MAX: usize = 1_000_000;
/// Extents of a lost directory.
const EXTENTS_MAX: u64 = 1 << 20;
/// Numbers of made-up directories: of what is lost, and of content without an entry.
const LOST: u64 = 3 << 61;
const HEADLESS: u64 = 1 << 60;
/// The entry is one of a stream (ECMA-167, 4/14.6.8, bit 13).
const FLAG_STREAM: u16 = 0x2000;

/// What the blocks in use hold that was not met.
#[derive(Default)]
struct Found {
    /// Directories, by number, with the number of their parent.
    directories: BTreeMap<u64, (Address, Option<u64>)>,
    /// Other entries.
    files: BTreeMap<u64, Address>,
    /// Content of directories: where it starts in the volume, its block, and the number of the parent.
    heads: BTreeMap<u64, (Address, u64)>,
    /// Content of the directories found.
    owned: Numbers,
    is_cut: bool,
    /// Bytes that were looked through, and bytes of the content of directories.
    searched_bytes: u64,
    owned_bytes: u64,
    /// There was more of either than the disc can hold.
    is_left: bool,
}

impl<'d> Walk<'d, '_, '_> {
    /// Looks for what is lost in a session, and lists it.
    pub(super) fn lost(&mut self, session: &'d Session) -> Result<(), Stop> {
        let mut found = self.search(session);
        self.root_of(session, &found)?;
        self.reunite(session, &mut found)?;
        // The second round takes rings of directories that hold each other.
        for round in 0..2 {
            found.directories.retain(|number, _| !self.seen.contains(*number));
            found.files.retain(|number, _| !self.seen.contains(*number));
            if found.directories.is_empty() && found.files.is_empty() && found.heads.is_empty() {
                break;
            }
            self.list_lost(session, &mut found, round)?;
        }
        if found.is_cut {
            let detail = format!("more than {FOUND_MAX} lost entries were found; the rest is not listed");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            self.out.finding(finding)?;
        }
        if found.is_left {
            let detail = "partitions or lost directories together are longer than the volume; not all was looked through for lost entries";
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            self.out.finding(finding)?;
        }
        Ok(())
    }

    fn search(&self, session: &'d Session) -> Found {
        let mut found = Found::default();
        for (index, map) in session.space.maps.iter().enumerate() {
            let reference = u16::try_from(index).unwrap_or(u16::MAX);
            if matches!(map, Map::Broken) || is_under_another(session, index) {
                continue;
            }
            used(self.disc, session, reference, &mut |first, count| {
                self.search_run(session, reference, (first, count), &mut found);
            });
        }
        let owned = std::mem::take(&mut found.owned);
        found.heads.retain(|offset, _| !owned.contains(*offset));
        found
    }

    fn search_run(
        &self,
        session: &'d Session,
        reference: u16,
        (first, count): (u64, u64),
        found: &mut Found,
    ) {
        let size = session.space.block_bytes;
        let block_len = usize::try_from(size).unwrap_or(0).max(1);
        let mut block = first;
        let end = first.saturating_add(count);
        while block < end {
            let Ok(number) = u32::try_from(block) else {
                return;
            };
            let at = Address {
                reference,
                block: number,
            };
            let left = end.saturating_sub(block).saturating_mul(size);
            let run = session.space.run(at).filter(|run| run.len >= size);
            // Nothing is to be found beyond the end of the disc, nor in holes; partitions and maps claim any length of either.
            if let Some(beyond) = run.filter(|run| run.offset >= self.disc.len()) {
                block = block.saturating_add(beyond.len.checked_div(size).unwrap_or(1).max(1));
                continue;
            }
            let Some(run) = run else {
                match session.space.next(at) {
                    Some(next) => block = next.into(),
                    None => return,
                }
                continue;
            };
            let run = ByteRange::new(run.offset, run.len.min(left).min(STEP_BYTES));
            found.searched_bytes = found.searched_bytes.saturating_add(run.len);
            if found.searched_bytes > self.disc.len().saturating_mul(SEARCHES_MAX) {
                found.is_left = true;
                return;
            }
            let bytes = self.read_good(run, size);
            let blocks = (number..=u32::MAX).zip(bytes.chunks_exact(block_len));
            for (offset, (block, bytes)) in (run.offset..).step_by(block_len).zip(blocks) {
                self.look(session, Address { reference, block }, (offset, bytes), found);
            }
            block = block.saturating_add(run.len.checked_div(size).unwrap_or(1).max(1));
        }
    }

    /// The bytes of a run; blocks that cannot be read are zeros, which is nothing.
    fn read_good(&self, run: ByteRange, size: u64) -> Vec<u8> {
        let len = usize::try_from(run.len).unwrap_or(0);
        if let Ok(bytes) = self.disc.bytes(run.offset, len) {
            return bytes;
        }
        let mut bytes = vec![0; len];
        let step = usize::try_from(size).unwrap_or(0).max(1);
        for (offset, block) in (run.offset..).step_by(step).zip(bytes.chunks_mut(step)) {
            if self.disc.fill(offset, block).is_err() {
                block.fill(0);
            }
        }
        bytes
    }

    /// Whether a block holds something that was not met.
    fn look(&self, session: &'d Session, at: Address, (offset, bytes): (u64, &[u8]), found: &mut Found) {
        let Some(tag) = Tag::parse(bytes).filter(|tag| tag.location == at.block) else {
            return;
        };
        let is_known = self.seen.contains(offset) || self.parts.contains(offset);
        match tag.id {
            id::FILE_ENTRY | id::EXTENDED_FILE_ENTRY if !is_known && tag.protects(bytes) => {
                if let Ok(entry) = Entry::parse(bytes.to_vec(), at, offset) {
                    self.keep(session, &entry, found);
                }
            }
            id::FILE_IDENTIFIER if !self.read.contains(offset) => {
                let parent = parent_in(bytes, at.block).map(|icb| number(&session.space, icb.at));
                let room = found.heads.len() < FOUND_MAX;
                found.is_cut |= !room;
                found
                    .heads
                    .extend(parent.filter(|_| room).map(|parent| (offset, (at, parent))));
            }
            _ => {}
        }
    }

    fn keep(&self, session: &'d Session, entry: &Entry, found: &mut Found) {
        let is_inner = entry.flags() & FLAG_STREAM != 0
            || matches!(entry.file_type(), 1..=3 | 8 | 11 | file_type::STREAM_DIRECTORY | 248 | 250..=252);
        if is_inner {
            return;
        }
        if found.directories.len().saturating_add(found.files.len()) >= FOUND_MAX {
            found.is_cut = true;
        } else if entry.kind() == Kind::Directory {
            let content = content(self.disc, &session.space, entry, EXTENTS_MAX);
            if !self.own(&content, found) {
                found.is_left = true;
                found.directories.insert(entry.offset, (entry.at, None));
                return;
            }
            let parent = self.children(&content).find_map(|identifier| {
                let icb = identifier.icb.at;
                identifier
                    .has(characteristic::PARENT)
                    .then(|| number(&session.space, icb))
            });
            found.directories.insert(entry.offset, (entry.at, parent));
        } else {
            found.files.insert(entry.offset, entry.at);
        }
    }

    /// Notes which blocks a directory takes. False if those found take more than the volume can hold: they share their content.
    fn own(&self, content: &Content, found: &mut Found) -> bool {
        let base = self.disc.in_image(0);
        let volume = ByteRange::new(0, self.disc.len());
        let ranges = content.extents.iter().filter_map(|extent| {
            let first = extent.image_offset.saturating_sub(base);
            ByteRange::new(first, extent.len).intersection(&volume)
        });
        let bytes = ranges
            .clone()
            .fold(found.owned_bytes, |sum, range| sum.saturating_add(range.len));
        found.owned_bytes = bytes;
        if bytes > self.disc.len().saturating_mul(SEARCHES_MAX) {
            return false;
        }
        for range in ranges {
            found.owned.insert_all(range.offset, range.len);
        }
        true
    }

    fn children(&self, content: &Content) -> impl Iterator<Item = Identifier> {
        let mut children = Vec::new();
        each(self.disc, content, &mut |item| {
            if let Item::Identifier(identifier) = item {
                children.push(identifier);
            }
            children.len() < FOUND_MAX
        });
        children.into_iter()
    }

    /// Without a file set, the root is the directory that is its own parent.
    fn root_of(&mut self, session: &'d Session, found: &Found) -> Result<(), Stop> {
        if !session.file_sets.is_empty() {
            return Ok(());
        }
        let own = found
            .directories
            .iter()
            .find(|(number, (_, parent))| *parent == Some(**number));
        let Some((number, (at, _))) = own else {
            return Ok(());
        };
        let kind = (Severity::Warning, Layer::FileSystem, FindingCode::BackupUsed);
        let detail = "this directory is its own parent and taken for the root";
        self.out
            .finding(self.disc.finding(kind, *number, detail).on_inode(*number))?;
        self.tree(session, *at)
    }

    /// Gives directories whose entry is lost their content, where there is no doubt whose it is.
    fn reunite(&mut self, session: &'d Session, found: &mut Found) -> Result<(), Stop> {
        loop {
            found.heads.retain(|offset, _| !self.read.contains(*offset));
            let of_parent = |parent: u64| found.heads.iter().filter(move |(_, (_, own))| *own == parent);
            let siblings = |dead: &Pending| {
                self.dead
                    .iter()
                    .filter(|other| other.parent == dead.parent)
                    .count()
            };
            let sure = self.dead.iter().position(|dead| {
                let parent = dead.parent.unwrap_or(dead.number);
                siblings(dead) == 1 && of_parent(parent).count() == 1
            });
            let Some(index) = sure else {
                return Ok(());
            };
            let dead = self.dead.swap_remove(index);
            let parent = dead.parent.unwrap_or(dead.number);
            let head = of_parent(parent).map(|(offset, (at, _))| (*offset, *at)).next();
            let Some((offset, at)) = head else {
                return Ok(());
            };
            let kind = (Severity::Warning, Layer::Directory, FindingCode::BackupUsed);
            let detail =
                "the entry of the directory is lost; what it holds was found by the place of its parent";
            self.out
                .finding(self.disc.finding(kind, offset, detail).on_inode(dead.number))?;
            self.enter(&dead)?;
            let content = self.headless(session, at);
            self.entries(session, dead, &content)?;
            self.drain(session)?;
        }
    }

    /// Content of a directory without an entry: the blocks that go on with descriptors.
    fn headless(&self, session: &'d Session, first: Address) -> Content {
        let size = session.space.block_bytes;
        let mut content = Content::of_extents(Vec::new(), 0);
        let mut carry = 0_usize;
        let mut at = first;
        while let Some(offset) = session.space.offset(at) {
            let bytes = self.disc.bytes(offset, usize::try_from(size).unwrap_or(0));
            let used = bytes
                .ok()
                .and_then(|bytes| used_by_identifiers(&bytes, &mut carry));
            let is_other = at != first && (self.read.contains(offset) || self.seen.contains(offset));
            let Some(used) = used.filter(|used| *used > 0 && !is_other) else {
                break;
            };
            let len = u64::try_from(used).unwrap_or(0).min(size);
            content.extents.push(Extent {
                logical_offset: content.size_bytes,
                image_offset: self.disc.in_image(offset),
                len,
                kind: ExtentKind::Data,
            });
            content.size_bytes = content.size_bytes.saturating_add(len);
            match at.block.checked_add(1).filter(|_| len == size) {
                Some(block) => at.block = block,
                None => break,
            }
        }
        content
    }

    /// Lists what is left in a made-up directory, and walks the directories in it.
    fn list_lost(&mut self, session: &'d Session, found: &mut Found, round: u64) -> Result<(), Stop> {
        let lost = Pending {
            icb: Address::default(),
            number: LOST | round,
            parent: None,
            name: Vec::new(),
            depth: 0,
            namespace: Namespace::Lost,
        };
        self.made_up(&lost)?;
        let heads = std::mem::take(&mut found.heads);
        let mut named = Numbers::default();
        self.name_children(session, found, &heads, &mut named);
        for (number, (at, parent)) in &found.directories {
            let has_parent =
                parent.is_some_and(|parent| parent != *number && found.directories.contains_key(&parent));
            if round > 0 || !(has_parent || named.contains(*number)) {
                self.adopt(session, &lost, (*number, *at))?;
            }
        }
        for (number, at) in &found.files {
            if round > 0 || !named.contains(*number) {
                self.adopt(session, &lost, (*number, *at))?;
            }
        }
        let mut headless = Vec::new();
        for (offset, (at, _)) in heads {
            let pending = below_lost(&lost, HEADLESS | offset, at);
            let name = (Namespace::Lost, pending.name.as_slice());
            self.out.name(
                (lost.number, pending.number),
                name,
                false,
                self.disc.in_image(offset),
            )?;
            headless.push(pending);
        }
        for pending in headless {
            self.made_up(&pending)?;
            let content = self.headless(session, pending.icb);
            self.entries(session, pending, &content)?;
        }
        self.drain(session)
    }

    /// Notes what lost directories name: that will be listed in them.
    fn name_children(
        &self,
        session: &'d Session,
        found: &Found,
        heads: &BTreeMap<u64, (Address, u64)>,
        named: &mut Numbers,
    ) {
        let entries = found.directories.values().filter_map(|(at, _)| {
            let entry = super::icb::load(self.disc, &session.space, *at).ok()?;
            Some(content(self.disc, &session.space, &entry, EXTENTS_MAX))
        });
        let headless = heads.values().map(|(at, _)| self.headless(session, *at));
        for content in entries.chain(headless) {
            for identifier in self.children(&content) {
                if !identifier.has(characteristic::PARENT | characteristic::DELETED) {
                    named.insert(number(&session.space, identifier.icb.at));
                }
            }
        }
    }

    fn adopt(
        &mut self,
        session: &'d Session,
        lost: &Pending,
        (number, at): (u64, Address),
    ) -> Result<(), Stop> {
        if !self.seen.insert(number) {
            return Ok(());
        }
        let pending = below_lost(lost, number, at);
        let kind = self.emit_inode(session, at, (number, false), 0)?;
        self.orphan(number, "no name leads to the entry")?;
        let name = (Namespace::Lost, pending.name.as_slice());
        self.out
            .name((lost.number, number), name, false, self.disc.in_image(number))?;
        if kind == Some(Kind::Directory) {
            self.queue.push_back(pending);
        }
        Ok(())
    }
}

/// Whether entries are not in this map but in a virtual or metadata partition over it.
fn is_under_another(session: &Session, index: usize) -> bool {
    let number = |index: usize| session.logical.maps.get(index).map(|map| map.partition);
    let is_lower = matches!(
        session.space.maps.get(index),
        Some(Map::Plain(_) | Map::Spared { .. })
    );
    let mut others = session.space.maps.iter().enumerate();
    is_lower
        && others.any(|(other, map)| {
            matches!(map, Map::Virtual { .. } | Map::Metadata { .. }) && number(other) == number(index)
        })
}

/// Bytes of a block that descriptors take from its start (or from where the last one of the block before ends); all of it if one goes on in
/// the next block.
fn used_by_identifiers(bytes: &[u8], carry: &mut usize) -> Option<usize> {
    let mut at = std::mem::take(carry);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Identifier::parse(rest, 0) {
            Parsed::Good(identifier) => at = at.checked_add(identifier.len())?,
            Parsed::Short => {
                let needed = Identifier::needed(rest)?;
                *carry = needed.checked_sub(rest.len())?;
                return Some(bytes.len());
            }
            Parsed::Wrong => return Some(at),
        }
    }
    *carry = at.saturating_sub(bytes.len());
    Some(bytes.len())
}

fn below_lost(lost: &Pending, number: u64, icb: Address) -> Pending {
    Pending {
        icb,
        number,
        parent: Some(lost.number),
        name: format!("#{}", number & !HEADLESS).into_bytes(),
        depth: 1,
        namespace: Namespace::Lost,
    }
}
