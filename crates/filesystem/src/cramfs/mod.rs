//! cramfs of both byte orders; see `docs/formats/cramfs.md` for what is read and what is not.

mod checksum;
mod content;
mod layout;

use ntt_model::entry::{Directory, Inode, Namespace};
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::ReadAt;

use self::content::Trouble;
use self::layout::{INODE_LEN, PLACES, ROOT_AT, RawInode, SUPERBLOCK_LEN, Superblock, flag};
use crate::emit::Emitter;
use crate::name::path_safe;
use crate::report::unreadable;
use crate::sparse_set::SparseSet;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, Stop, TimeZone, Visitor, VolumeSource,
};

/// The superblock, and where it stands.
fn locate(source: &dyn ReadAt) -> Option<(u64, Superblock)> {
    PLACES.into_iter().find_map(|place| {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        source.read_exact_at(place, &mut bytes).ok()?;
        Some((place, Superblock::parse(&bytes)?))
    })
}

/// Recognises the family by its superblock.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let (place, superblock) = locate(source)?;
    Some(Candidate {
        family: Family::Cramfs,
        type_name: "cramfs".to_owned(),
        evidence: format!(
            "superblock at {place:#x}, {}, {} files",
            superblock.order.name(),
            superblock.files
        ),
        size_bytes: superblock.size.into(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let Some((place, superblock)) = locate(&*source) else {
        return Err(Error::Corrupt {
            structure: "cramfs superblock",
            detail: "there is none".to_owned(),
            image_offset,
        });
    };
    Ok(Box::new(Cramfs {
        facts: facts(&superblock, place),
        source,
        image_offset,
        place,
        base: superblock.origin(place),
        superblock,
    }))
}

/// An opened volume.
struct Cramfs<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    /// Where the superblock stands.
    place: u64,
    /// From where everything else is counted.
    base: u64,
    superblock: Superblock,
    facts: Facts,
}

fn facts(superblock: &Superblock, place: u64) -> Facts {
    let size = u64::from(superblock.size);
    let details = [
        ("byte order", superblock.order.name().to_owned()),
        ("files", superblock.files.to_string()),
        ("flags", format!("{:#x}", superblock.flags)),
    ];
    Facts {
        type_name: "cramfs".to_owned(),
        label: superblock.name.clone(),
        uuid: None,
        block_size_bytes: 4096,
        size_bytes: size,
        used_bytes: Some(size),
        created: None,
        written: None,
        state: State::Clean,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: place.saturating_add(ROOT_AT),
        details: details.map(|(label, value)| (label.to_owned(), value)).to_vec(),
    }
}

impl FileSystem for Cramfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let scan = Scan {
            volume: self,
            options,
            out: Emitter::new(visitor),
            pending: Vec::new(),
            met: SparseSet::default(),
            entered: SparseSet::default(),
        };
        Ok(scan.run()?)
    }

    /// All of it: the format has no free space.
    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let end = self
            .base
            .saturating_add(self.superblock.size.into())
            .min(self.source.len());
        each(ByteRange::new(self.image_offset, end));
        Ok(())
    }
}

/// A directory that waits to be entered.
struct Waiting {
    number: u64,
    parent: Option<u64>,
    raw: RawInode,
    depth: u32,
    name: Box<[u8]>,
}

/// One scan: all directories from the root. An inode stands with its name and is numbered by its place.
struct Scan<'s, 'a, 'v> {
    volume: &'s Cramfs<'a>,
    options: &'s ScanOptions,
    out: Emitter<'v>,
    pending: Vec<Waiting>,
    /// Words at which an inode begins that was emitted.
    met: SparseSet,
    /// Words at which a directory begins that was entered.
    entered: SparseSet,
}

impl Scan<'_, '_, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let superblock = &self.volume.superblock;
        let at = self.volume.image_offset.saturating_add(self.volume.place);
        let unknown = superblock.flags & !flag::KNOWN;
        if unknown != 0 {
            let detail = format!("features that this version does not know: {unknown:#x}");
            self.tell(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::Unsupported,
                detail,
                at,
            )?;
        }
        // Only the second version of the superblock says how long all is.
        let (size, len) = (u64::from(superblock.size), self.volume.source.len());
        if superblock.has(flag::VERSION_2) && size.saturating_add(self.volume.base) > len {
            let detail = format!("the file system has {size} bytes, the volume {len}");
            let end = self.volume.image_offset.saturating_add(len);
            self.tell(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::BeyondEnd,
                detail,
                end,
            )?;
        }
        let range = ByteRange::new(
            self.volume.place,
            size.saturating_add(self.volume.base)
                .saturating_sub(self.volume.place),
        );
        if let Some(computed) = checksum::contradiction(&*self.volume.source, range, superblock) {
            let detail = format!(
                "the checksum over the whole image is {:#010x}, computed {computed:#010x}: names and contents may be wrong or missing",
                superblock.crc
            );
            self.tell(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::Corrupt,
                detail,
                at,
            )?;
        }
        let (root, number) = (superblock.root, self.volume.facts.root);
        self.inode(&root, number)?;
        self.pending.push(Waiting {
            number,
            parent: None,
            raw: root,
            depth: 0,
            name: Box::default(),
        });
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        self.out.finish()
    }

    fn tell(
        &mut self,
        severity: Severity,
        layer: Layer,
        code: FindingCode,
        detail: String,
        at: u64,
    ) -> Result<(), Stop> {
        self.out
            .finding(Finding::new(severity, layer, code, detail).at(at))
    }

    fn in_image(&self, offset: u64) -> u64 {
        self.volume
            .image_offset
            .saturating_add(self.volume.base)
            .saturating_add(offset)
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        self.out.event(ScanEvent::Directory(Directory {
            inode: waiting.number,
            parent: waiting.parent,
            name: waiting.name.to_vec(),
            namespace: Namespace::Native,
        }))?;
        let leave_after = self.options.leave_after.get(&waiting.number).copied();
        let names_max = self.options.limits.entries_per_directory;
        let end = waiting.raw.offset.saturating_add(waiting.raw.size.into());
        let (mut at, mut names) = (waiting.raw.offset, 0_u64);
        while at < end {
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                let detail = format!("the directory was left after {names} names");
                return self.tell(
                    Severity::Loss,
                    Layer::Scanner,
                    FindingCode::Limit,
                    detail,
                    self.in_image(at),
                );
            }
            names = names.saturating_add(1);
            match self.entry(at, end, waiting)? {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Emits the entry at `at`; where the next one begins, if that can be known.
    fn entry(&mut self, at: u64, end: u64, waiting: &Waiting) -> Result<Option<u64>, Stop> {
        let place = self.in_image(at);
        let start = self.volume.base.saturating_add(at);
        let mut head = [0; INODE_LEN];
        let read = self.volume.source.read_exact_at(start, &mut head);
        let raw = RawInode::parse(self.volume.superblock.order, &head, 0);
        let (Ok(()), Some(raw)) = (&read, raw) else {
            return self.unread(read.err(), place, waiting.number).map(|()| None);
        };
        let name_at = start.saturating_add(u64::try_from(INODE_LEN).unwrap_or(0));
        let next = at
            .saturating_add(u64::try_from(INODE_LEN).unwrap_or(0))
            .saturating_add(raw.name_len.into());
        let mut name = vec![0; usize::try_from(raw.name_len).unwrap_or(0)];
        let read = self.volume.source.read_exact_at(name_at, &mut name);
        if read.is_err() {
            return self.unread(read.err(), place, waiting.number).map(|()| None);
        }
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(len);
        if name.is_empty() || next > end {
            let detail = "the rest of a directory is no list of entries".to_owned();
            self.tell(
                Severity::Loss,
                Layer::Directory,
                FindingCode::Corrupt,
                detail,
                place,
            )?;
            return Ok(None);
        }
        if !self.met.insert(start / 4) {
            let detail = "directories share their entries".to_owned();
            self.tell(Severity::Loss, Layer::Directory, FindingCode::Loop, detail, place)?;
            return Ok(None);
        }
        self.inode(&raw, start)?;
        let whose = (waiting.number, start);
        self.out.name(whose, (Namespace::Native, &name), false, place)?;
        if raw.kind() == Kind::Directory {
            self.wait(&raw, start, &name, waiting)?;
        }
        Ok(Some(next))
    }

    fn unread(&mut self, error: Option<ntt_source::ReadError>, place: u64, number: u64) -> Result<(), Stop> {
        let what = "the rest of a directory";
        let finding = match error {
            Some(error) => unreadable(&error, Layer::Directory, what, place),
            None => Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, what).at(place),
        };
        self.out.finding(finding.on_inode(number))
    }

    fn wait(&mut self, raw: &RawInode, number: u64, name: &[u8], waiting: &Waiting) -> Result<(), Stop> {
        let depth = waiting.depth.saturating_add(1);
        let is_new = raw.size == 0 || self.entered.insert(raw.offset / 4);
        if depth > self.options.limits.depth || !is_new {
            let (code, detail) = if is_new {
                (FindingCode::Limit, "a directory lies too deep")
            } else {
                (FindingCode::Loop, "a directory has a second name")
            };
            let at = self.volume.image_offset.saturating_add(number);
            return self.tell(Severity::Loss, Layer::Directory, code, detail.to_owned(), at);
        }
        self.pending.push(Waiting {
            number,
            parent: Some(waiting.number),
            raw: *raw,
            depth,
            name: path_safe(name).0.into_boxed_slice(),
        });
        Ok(())
    }

    fn inode(&mut self, raw: &RawInode, number: u64) -> Result<(), Stop> {
        let volume = self.volume;
        let kind = raw.kind();
        let place = volume.image_offset.saturating_add(number);
        let mut streams = Vec::new();
        if kind == Kind::File {
            let where_it_is = (volume.base, volume.image_offset);
            let (stream, trouble) = content::stream(&*volume.source, &volume.superblock, where_it_is, raw);
            streams.push(stream);
            if let Some(trouble) = trouble {
                let finding = match trouble {
                    Trouble::Read(error, at) => {
                        unreadable(&error, Layer::Inode, "the pointers of a file", self.in_image(at))
                    }
                    Trouble::Corrupt(at) => {
                        let detail = "a pointer of a file makes no sense";
                        Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail)
                            .at(self.in_image(at))
                    }
                };
                self.out.finding(finding.on_inode(number))?;
            }
        }
        let target = (kind == Kind::Symlink)
            .then(|| content::target(&*volume.source, &volume.superblock, volume.base, raw))
            .flatten();
        let problem = match kind {
            Kind::Symlink if target.is_none() => Some("the target of a symbolic link is lost"),
            Kind::Unknown => Some("an inode is of no known kind"),
            _ => None,
        };
        if let Some(problem) = problem {
            let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, problem);
            self.out.finding(finding.at(place).on_inode(number))?;
        }
        self.out.inode(Inode {
            mode: Some(raw.mode & 0o7777),
            uid: Some(raw.uid),
            gid: Some(raw.gid),
            target,
            // The size of a device is its number, as Linux packed it in 16 bits.
            device: kind
                .is_device()
                .then_some((raw.size >> 8 & 0xff, raw.size & 0xff)),
            streams,
            ..Inode::bare(number, kind)
        })
    }
}
