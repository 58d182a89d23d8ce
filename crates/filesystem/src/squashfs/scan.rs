//! One scan: all directories from the root, each inode when the first name leads to it; then, if something was lost, the inodes that only the export table
//! has.

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::time::{Times, Timestamp};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::content::{self, Layout};
use super::directory::Entries;
use super::inode::{self, Body, RawInode};
use super::known::Known;
use super::superblock::Version;
use super::tables;
use super::volume::{Fault, Metadata, Place, Volume};
use crate::name::path_safe;
use crate::report::{Report, left, unreadable};
use crate::sparse_set::SparseSet;
use crate::{ScanOptions, Stop, Visitor};

/// Number of the made-up directory of inodes without a name: no inode is 0.
const LOST: u64 = 0;
/// Names that a byte of the image can stand for at most, metadata being compressed.
const NAMES_PER_BYTE: u64 = 128;

/// A directory that waits to be entered.
struct Waiting {
    number: u64,
    parent: Option<u64>,
    place: Place,
    len: u32,
    depth: u32,
    name: Box<[u8]>,
    namespace: Namespace,
}

/// What a name leads to.
struct Reached {
    number: u64,
    /// Listing of a directory that was not met before.
    listing: Option<(Place, u32)>,
    kind: Kind,
    is_new: bool,
}

/// Numbers in a row that the export table does not lead to, after which it is taken to be at its end: 64 lost blocks of it.
const MISSES_MAX: u32 = 65_536;

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    volume: &'s Volume<'a>,
    options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    report: Report,
    known: Known,
    pending: Vec<Waiting>,
    names_left: u64,
    is_damaged: bool,
}

impl<'s, 'a> Scan<'s, 'a> {
    pub(super) fn new(
        volume: &'s Volume<'a>,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        Self {
            volume,
            options,
            visitor,
            report: Report::default(),
            known: Known::default(),
            pending: Vec::new(),
            names_left: volume.source_len().saturating_mul(NAMES_PER_BYTE),
            is_damaged: false,
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<(), Stop> {
        for finding in found {
            self.report.push(finding.clone());
        }
        self.root()?;
        self.walk()?;
        if self.is_damaged {
            self.lost()?;
        }
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.flush()?;
        self.visitor.visit(event)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.report.is_empty() {
            return Ok(());
        }
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Reports damage.
    fn damage(&mut self, fault: &Fault, layer: Layer, what: &str, number: Option<u64>) {
        self.is_damaged = true;
        let mut finding = match fault {
            Fault::Read(error, at) => unreadable(error, layer, what, self.volume.in_image(*at)),
            Fault::Corrupt(detail, at) => {
                let detail = format!("{what}: {detail}");
                Finding::new(Severity::Loss, layer, FindingCode::Corrupt, detail)
                    .at(self.volume.in_image(*at))
            }
        };
        finding.inode = number;
        self.report.push(finding);
    }

    fn root(&mut self) -> Result<(), Stop> {
        let place = Place::from_reference(self.volume.superblock.root);
        let reached = self.reach(place)?;
        let (number, listing) = match &reached {
            Some(reached) if reached.kind == Kind::Directory => (reached.number, reached.listing),
            _ => (root_number(self.volume), None),
        };
        let Some((place, len)) = listing else {
            let detail = "the root directory is lost";
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
            self.report.push(finding);
            self.is_damaged = true;
            return self.emit(directory_event(number, None, &[], Namespace::Native));
        };
        self.pending.push(Waiting {
            number,
            parent: None,
            place,
            len,
            depth: 0,
            name: Box::default(),
            namespace: Namespace::Native,
        });
        Ok(())
    }

    fn walk(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        let event = directory_event(waiting.number, waiting.parent, &waiting.name, waiting.namespace);
        self.emit(event)?;
        let leave_after = self.options.leave_after.get(&waiting.number).copied();
        let names_max = self.options.limits.entries_per_directory;
        let mut names = 0_u64;
        let mut entries = Entries::new(self.volume, waiting.place, waiting.len);
        loop {
            if leave_after.is_some_and(|after| names >= after) || names >= names_max || self.names_left == 0 {
                self.report
                    .push(left(waiting.number, names, leave_after.is_some()));
                break;
            }
            match entries.next() {
                Ok(Some(entry)) => {
                    names = names.saturating_add(1);
                    self.names_left = self.names_left.saturating_sub(1);
                    let at = self.volume.in_image(entries.position());
                    self.name(&entry.name, entry.inode, at, waiting)?;
                }
                Ok(None) => break,
                Err(fault) => {
                    self.damage(
                        &fault,
                        Layer::Directory,
                        "the rest of a directory is lost",
                        Some(waiting.number),
                    );
                    break;
                }
            }
        }
        self.flush()
    }

    fn name(&mut self, raw: &[u8], place: Place, at: u64, waiting: &Waiting) -> Result<(), Stop> {
        let (name, changed) = path_safe(raw);
        if changed {
            let detail = format!("the name {} cannot stand in a path", ntt_model::name::escape(raw));
            self.complain(
                Severity::Warning,
                FindingCode::Corrupt,
                detail,
                at,
                waiting.number,
            );
        }
        let Some(reached) = self.reach(place)? else {
            return Ok(());
        };
        if reached.kind == Kind::Directory {
            self.wait(&reached, &name, at, waiting);
        }
        self.emit(ScanEvent::Name(Name {
            directory: waiting.number,
            name,
            inode: reached.number,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    fn wait(&mut self, reached: &Reached, name: &[u8], at: u64, waiting: &Waiting) {
        let depth = waiting.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = format!(
                "a directory lies deeper than {} levels",
                self.options.limits.depth
            );
            return self.complain(Severity::Loss, FindingCode::Limit, detail, at, waiting.number);
        }
        let Some((place, len)) = reached.listing else {
            let detail = format!("directory {} has a second name", reached.number);
            return self.complain(Severity::Warning, FindingCode::Loop, detail, at, waiting.number);
        };
        self.pending.push(Waiting {
            number: reached.number,
            parent: Some(waiting.number),
            place,
            len,
            depth,
            name: name.into(),
            namespace: Namespace::Native,
        });
    }

    fn complain(&mut self, severity: Severity, code: FindingCode, detail: String, at: u64, number: u64) {
        let finding = Finding::new(severity, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(number));
    }

    /// Reads the inode at `place` and emits it, if that was not done yet; `None` if there is none.
    fn reach(&mut self, place: Place) -> Result<Option<Reached>, Stop> {
        let (raw, lengths) = match inode::read(self.volume, place) {
            Ok(read) => read,
            Err(fault) => {
                self.damage(
                    &fault,
                    Layer::Inode,
                    "a name leads to an inode that is lost",
                    None,
                );
                return Ok(None);
            }
        };
        let is_new = self.known.insert(place);
        let number = if is_new {
            let (number, is_own) = self.known.number_of_new(place, raw.number);
            if !is_own && raw.number != 0 {
                let detail = format!("two inodes have the number {}", raw.number);
                let finding = Finding::new(
                    Severity::Warning,
                    Layer::Inode,
                    FindingCode::Contradiction,
                    detail,
                );
                self.report.push(finding.on_inode(number));
            }
            number
        } else {
            self.known.number(place, raw.number)
        };
        let kind = raw.kind;
        let listing = match raw.body {
            Body::Directory { place, len } if is_new => Some((place, len)),
            _ => None,
        };
        if is_new {
            let inode = self.build(&raw, number, lengths);
            self.emit(ScanEvent::Inode(Box::new(inode)))?;
        }
        Ok(Some(Reached {
            number,
            listing,
            kind,
            is_new,
        }))
    }

    fn build(&mut self, raw: &RawInode, number: u64, mut lengths: Metadata<'_, '_>) -> Inode {
        let volume = self.volume;
        let mut streams = Vec::new();
        if let Body::File {
            start,
            size,
            fragment,
        } = raw.body
        {
            let layout = Layout {
                start,
                size,
                fragment,
            };
            let extents_max = self.options.limits.extents_per_stream;
            let (stream, fault) = content::stream(volume, layout, &mut lengths, extents_max);
            if let Some(fault) = fault {
                self.damage(
                    &fault,
                    Layer::Inode,
                    "the map of the content is cut",
                    Some(number),
                );
            }
            streams.push(stream);
        }
        let mut xattrs = Vec::new();
        if let Some(set) = raw.xattrs
            && let Err(fault) = tables::xattrs(volume, set, &mut xattrs)
        {
            self.damage(&fault, Layer::Inode, "extended attributes are lost", Some(number));
        }
        let uid = tables::id(volume, raw.user, false);
        let gid = match raw.group {
            Some(group) => tables::id(volume, group, true),
            None => uid,
        };
        Inode {
            mode: Some(u32::from(raw.mode) & 0o7777),
            uid,
            gid,
            links: raw.links,
            times: Times {
                modified: raw
                    .modified
                    .and_then(|time| Timestamp::from_parts(time.into(), 0)),
                ..Times::default()
            },
            target: match &raw.body {
                Body::Symlink(target) => Some(target.clone()),
                _ => None,
            },
            device: match raw.body {
                Body::Device(device) => Some(device_numbers(device, volume.superblock.version)),
                _ => None,
            },
            streams,
            xattrs,
            ..Inode::bare(number, raw.kind)
        }
    }

    /// Emits what the export table has and no name leads to, under made-up names; only the topmost of directories in each other.
    fn lost(&mut self) -> Result<(), Stop> {
        let mut claimed = SparseSet::default();
        // None behind the last number of all.
        let mut from = Some(1);
        while let Some((number, place)) = from.and_then(|from| self.next_unnamed(from)) {
            self.claim(number, place, &mut claimed);
            from = number.checked_add(1);
        }
        let mut is_open = false;
        from = Some(1);
        while let Some((number, place)) = from.and_then(|from| self.next_unnamed(from)) {
            from = number.checked_add(1);
            if claimed.contains(number.into()) {
                continue;
            }
            if !std::mem::replace(&mut is_open, true) {
                self.emit(directory_event(LOST, None, &[], Namespace::Lost))?;
            }
            self.adopt(place)?;
        }
        self.walk()
    }

    /// The first inode from number `from` on that the export table has and that was not emitted.
    fn next_unnamed(&self, from: u32) -> Option<(u32, Place)> {
        let mut misses = 0_u32;
        for number in from..=self.volume.superblock.inodes {
            if self.known.has_number(number) {
                misses = 0;
                continue;
            }
            let place = tables::exported(self.volume, number);
            let is_it = |place: &Place| {
                let read = inode::read(self.volume, *place);
                read.is_ok_and(|(raw, _)| raw.number == number)
            };
            if let Some(place) = place.filter(is_it) {
                return Some((number, place));
            }
            misses = misses.saturating_add(1);
            if misses > MISSES_MAX {
                return None;
            }
        }
        None
    }

    /// Marks what an unnamed directory holds.
    fn claim(&mut self, number: u32, place: Place, claimed: &mut SparseSet) {
        let volume = self.volume;
        let Ok((raw, _)) = inode::read(volume, place) else {
            return;
        };
        let Body::Directory { place, len } = raw.body else {
            return;
        };
        let mut entries = Entries::new(volume, place, len);
        while let Ok(Some(entry)) = entries.next() {
            if self.names_left == 0 {
                return;
            }
            self.names_left = self.names_left.saturating_sub(1);
            if let Ok((child, _)) = inode::read(volume, entry.inode)
                && child.number != number
            {
                claimed.insert(child.number.into());
            }
        }
    }

    fn adopt(&mut self, place: Place) -> Result<(), Stop> {
        let Some(reached) = self.reach(place)?.filter(|reached| reached.is_new) else {
            return Ok(());
        };
        let detail = "no name leads to the inode";
        let finding = Finding::new(Severity::Warning, Layer::Inode, FindingCode::Orphan, detail);
        self.report.push(finding.on_inode(reached.number));
        let name = format!("#{}", reached.number).into_bytes();
        if let Some((place, len)) = reached.listing {
            self.pending.push(Waiting {
                number: reached.number,
                parent: Some(LOST),
                place,
                len,
                depth: 1,
                name: name.clone().into_boxed_slice(),
                namespace: Namespace::Lost,
            });
        }
        self.emit(ScanEvent::Name(Name {
            directory: LOST,
            name,
            inode: reached.number,
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }
}

fn directory_event(inode: u64, parent: Option<u64>, name: &[u8], namespace: Namespace) -> ScanEvent {
    ScanEvent::Directory(Directory {
        inode,
        parent,
        name: name.to_vec(),
        namespace,
    })
}

/// Number of the root, whether or not it can be read: `mksquashfs` numbers it last.
pub(super) fn root_number(volume: &Volume<'_>) -> u64 {
    let place = Place::from_reference(volume.superblock.root);
    let stored = inode::read(volume, place).map_or(0, |(raw, _)| raw.number);
    Known::default().number_of_new(place, stored).0
}

/// Major and minor number: 16 bits in old versions, in version 4 as Linux packs them in 32.
fn device_numbers(device: u32, version: Version) -> (u32, u32) {
    if version == Version::V4 {
        let major = device >> 8 & 0xfff;
        (major, (device & 0xff) | (device >> 12 & 0xf_ff00))
    } else {
        (device >> 8 & 0xff, device & 0xff)
    }
}
