//! Comparing the index with the files: names and sizes, not contents.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ntt_host::OpenMode;
use ntt_model::{BlobHash, ByteRange};

use crate::error::During;
use crate::index::{list, list_if_there, segment_numbers};
use crate::journal;
use crate::layout::stem;
use crate::pack_scan::{Member, PackScan, Part};
use crate::record::live;
use crate::segment::Segment;
use crate::tar_member::{BLOCK_BYTES, padded};
use crate::{BlobInfo, CheckReport, Error, Location, PackId, Problem, Store};

impl Store {
    /// Compares the index with the files: every blob's file or member is there with its size, every file and member is in the index, and
    /// index, journals and lists of packs are as they were written. Contents are not read (see [`crate::Verifier`]). What writers do
    /// meanwhile may show as orphans.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a directory or file cannot be read at all; what is wrong is in the report.
    pub fn check(&self) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        self.check_segments(&mut report)?;
        self.check_journals(&mut report)?;
        if report.problems.is_empty() {
            self.check_blobs(&mut report)?;
            self.each_orphan(&mut |hash, path, _| {
                report.problems.push(Problem::Orphan { hash, path });
                Ok(())
            })?;
        }
        self.check_packs(&mut report)?;
        let strangers = self.strangers()?.into_iter();
        report
            .problems
            .extend(strangers.map(|path| Problem::Foreign { path }));
        let strays = self.shared.stray_temporaries()?;
        report
            .problems
            .extend(strays.into_iter().map(|path| Problem::StrayTemporary { path }));
        Ok(report)
    }

    /// Every block of the segments; also of those that could not be opened when the store was.
    fn check_segments(&self, report: &mut CheckReport) -> Result<(), Error> {
        let open = self.shared.index().segments().clone();
        for segment in open.values() {
            report.unless_damaged(segment.verify())?;
        }
        let disk = self.shared.disk.as_ref();
        for number in segment_numbers(disk, &self.shared.layout)? {
            if open.contains_key(&number) {
                continue;
            }
            match Segment::open(disk, &self.shared.layout.segment(number)) {
                // A living writer has merged it meanwhile.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    report.unless_damaged(opened.and_then(|segment| segment.verify()))?;
                }
            }
        }
        Ok(())
    }

    fn check_journals(&self, report: &mut CheckReport) -> Result<(), Error> {
        for name in list_if_there(self.shared.disk.as_ref(), &self.shared.layout.journal())? {
            let path = self.shared.layout.journal().join(&name);
            if stem(&name, ".log").is_none() {
                report.problems.push(Problem::Foreign { path });
                continue;
            }
            let file = match self.shared.disk.open(&path, OpenMode::Read) {
                // A living writer has made it a segment meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.during("open", &path)?,
            };
            let Some(scan) = report.unless_damaged(journal::scan(file.as_ref(), &path, 0))? else {
                continue;
            };
            let torn = (scan.torn_bytes > 0).then_some((scan.end, scan.torn_bytes));
            for (offset, len) in scan.damage.into_iter().chain(torn) {
                let detail = format!("{len} bytes are no batch");
                report.problems.push(Problem::Damaged {
                    path: path.clone(),
                    offset,
                    detail,
                });
            }
        }
        Ok(())
    }

    /// Every blob of the index has its bytes.
    fn check_blobs(&self, report: &mut CheckReport) -> Result<(), Error> {
        let mut pack_lens = HashMap::new();
        let groups = self.shared.index().walk();
        for group in groups {
            let group = group?;
            let mut copies = live(&group).peekable();
            if let Some(info) = copies.peek() {
                report.blobs += 1;
                report.bytes += info.size;
            }
            for info in copies {
                let path = self.shared.layout.file_of(&info);
                if !self.is_there(&info, &path, &mut pack_lens)? {
                    report.problems.push(Problem::Missing {
                        hash: info.hash,
                        path,
                    });
                }
            }
        }
        Ok(())
    }

    fn is_there(
        &self,
        info: &BlobInfo,
        path: &Path,
        pack_lens: &mut HashMap<PackId, u64>,
    ) -> Result<bool, Error> {
        let len = || {
            Ok::<_, Error>(
                self.shared
                    .disk
                    .entry(path)
                    .during("look up", path)?
                    .map(|entry| entry.len),
            )
        };
        match info.location {
            Location::Loose { .. } => Ok(len()? == Some(info.size)),
            Location::Packed { pack, offset } => {
                let pack_len = match pack_lens.get(&pack) {
                    Some(len) => *len,
                    None => *pack_lens.entry(pack).or_insert(len()?.unwrap_or(0)),
                };
                Ok(offset.saturating_add(info.size) <= pack_len)
            }
        }
    }

    /// Packs have lists that are right, and nothing but members.
    fn check_packs(&self, report: &mut CheckReport) -> Result<(), Error> {
        let mut bad = Vec::new();
        for pack in self.packs()? {
            report.packs += 1;
            let list = self.read_list(pack)?;
            let is_open = list.is_none();
            if let Some(Err(detail)) = list {
                report.bad_lists.push(pack);
                report.problems.push(Problem::Damaged {
                    path: self.shared.layout.pack_list(pack),
                    offset: 0,
                    detail,
                });
            }
            let path = self.shared.layout.pack(pack);
            let parts = self.bad_parts(&path)?.into_iter();
            bad.extend(parts.map(|(range, is_last)| BadPart {
                pack,
                path: path.clone(),
                range,
                is_torn: is_open && is_last,
                held: Held::Nothing,
            }));
        }
        if !bad.is_empty() && !report.index_is_damaged() {
            report.in_damage = self.ask_index(&mut bad)?;
        }
        report.problems.extend(bad.into_iter().map(BadPart::problem));
        Ok(())
    }

    /// What of a pack is no member, and whether it stands at its end.
    fn bad_parts(&self, path: &Path) -> Result<Vec<(ByteRange, bool)>, Error> {
        let file = self.shared.disk.open(path, OpenMode::Read).during("open", path)?;
        let mut scan = PackScan::new(file.as_ref()).during("read", path)?;
        let mut bad: Vec<(ByteRange, bool)> = Vec::new();
        while let Some(part) = scan.next().during("read", path)? {
            match part {
                Part::Bad(offset, len) => bad.push((ByteRange::new(offset, len), true)),
                Part::Member(_) => bad.iter_mut().for_each(|(_, is_last)| *is_last = false),
            }
        }
        Ok(bad)
    }

    /// Finds out what the index has in the bad parts; gives the contents.
    fn ask_index(&self, bad: &mut [BadPart]) -> Result<Vec<BlobInfo>, Error> {
        let mut of_pack: HashMap<PackId, Vec<&mut BadPart>> = HashMap::new();
        for part in bad {
            of_pack.entry(part.pack).or_default().push(part);
        }
        let mut contents = Vec::new();
        let groups = self.shared.index().walk();
        for group in groups {
            let group = group?;
            for entry in &group {
                let Location::Packed { pack, offset } = entry.info.location else {
                    continue;
                };
                let Some(parts) = of_pack.get_mut(&pack) else {
                    continue;
                };
                let is_live = live(&group).any(|info| info.location == entry.info.location);
                let held = if is_live { Held::Content } else { Held::Struck };
                let begin = offset.saturating_sub(BLOCK_BYTES);
                let range = ByteRange::new(begin, padded(entry.info.size).saturating_add(offset - begin));
                let hit = parts.iter_mut();
                let mut is_hit = false;
                for part in hit.filter(|part| part.range.intersection(&range).is_some()) {
                    part.held = part.held.max(held);
                    is_hit = true;
                }
                if is_hit && is_live && !entry.removed {
                    contents.push(entry.info);
                }
            }
        }
        Ok(contents)
    }

    /// Calls `each` with every blob's file and every member of a pack that the index does not know, its path and, in a pack, the member.
    pub(crate) fn each_orphan(&self, each: &mut Found<'_>) -> Result<(), Error> {
        self.each_stored(&mut |hash, path, member| {
            let known = self.shared.index().entries_of(&hash)?;
            let is_known = match member {
                // A file that was struck and came back is not known.
                None => live(&known).any(|info| matches!(info.location, Location::Loose { .. })),
                // A member that was struck still lies in its pack.
                Some((pack, member)) => {
                    let offset = member.offset;
                    known
                        .iter()
                        .any(|entry| entry.info.location == Location::Packed { pack, offset })
                }
            };
            if is_known {
                Ok(())
            } else {
                each(hash, path, member)
            }
        })
    }

    /// Calls `each` with every blob's file and every member of a pack.
    pub(crate) fn each_stored(&self, each: &mut Found<'_>) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        self.each_blob_file(&mut |hash, path| each(hash, path, None))?;
        for pack in self.packs()? {
            let path = self.shared.layout.pack(pack);
            let file = disk.open(&path, OpenMode::Read).during("open", &path)?;
            let mut scan = PackScan::new(file.as_ref()).during("read", &path)?;
            while let Some(part) = scan.next().during("read", &path)? {
                if let Part::Member(member) = part {
                    each(member.hash, path.clone(), Some((pack, member)))?;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with every blob's file.
    pub(crate) fn each_blob_file(
        &self,
        each: &mut dyn FnMut(BlobHash, PathBuf) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        let blobs = self.shared.layout.blobs();
        for first in self.folders(&blobs)?.0 {
            for dir in self.folders(&first)?.0 {
                for name in list(disk, &dir)? {
                    if let Some(hash) = name.to_str().and_then(|name| name.parse::<BlobHash>().ok()) {
                        each(hash, dir.join(name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The folders of blobs in a folder, named by two digits, and what else is there: other programs leave files wherever they are.
    fn folders(&self, path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
        let disk = self.shared.disk.as_ref();
        let (mut folders, mut strangers) = (Vec::new(), Vec::new());
        for name in list_if_there(disk, path)? {
            let digits = name.to_str().filter(|name| name.len() == 2).unwrap_or_default();
            let is_named = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let path = path.join(&name);
            let entry = disk.entry(&path).during("look up", &path)?;
            let is_folder = is_named && entry.is_some_and(|entry| entry.is_dir);
            match is_folder {
                true => folders.push(path),
                false => strangers.push(path),
            }
        }
        Ok((folders, strangers))
    }

    /// What is not the store's in the folders of blobs and of temporary files.
    fn strangers(&self) -> Result<Vec<PathBuf>, Error> {
        let (folders, mut strangers) = self.folders(&self.shared.layout.blobs())?;
        for folder in &folders {
            strangers.extend(self.folders(folder)?.1);
        }
        let tmp = self.shared.layout.tmp();
        for name in list_if_there(self.shared.disk.as_ref(), &tmp)? {
            let path = tmp.join(name);
            if self.shared.is_folder(&path)? {
                strangers.push(path);
            }
        }
        Ok(strangers)
    }
}

/// Bytes of a pack that are no member.
struct BadPart {
    pack: PackId,
    path: PathBuf,
    range: ByteRange,
    /// Whether it is the end of an open pack, where a writer may be at it or was killed.
    is_torn: bool,
    held: Held,
}

/// What the index has in a bad part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Nothing,
    Struck,
    Content,
}

impl BadPart {
    fn problem(self) -> Problem {
        let (path, offset, len) = (self.path, self.range.offset, self.range.len);
        match (self.held, self.is_torn) {
            (Held::Struck, _) => Problem::Remains { path, offset, len },
            (Held::Nothing, true) => Problem::TornEnd { path, offset, len },
            _ => Problem::Damaged {
                path,
                offset,
                detail: format!("{len} bytes are no member"),
            },
        }
    }
}

impl CheckReport {
    /// What reading the index gave; its damage is told instead.
    fn unless_damaged<T>(&mut self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Err(Error::DamagedIndex(damage)) => {
                self.problems.push(Problem::DamagedIndex(damage));
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

/// What is called with a name, its file, and in a pack the member.
pub(crate) type Found<'a> = dyn FnMut(BlobHash, PathBuf, Option<(PackId, Member)>) -> Result<(), Error> + 'a;
