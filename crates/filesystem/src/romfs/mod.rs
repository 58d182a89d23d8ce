//! romfs; see `docs/formats/romfs.md` for what is read and what is not.
//!
//! Source: `Documentation/filesystems/romfs.rst` and `include/uapi/linux/romfs_fs.h` of the Linux kernel. All words are big-endian. A directory is a chain
//! of headers, each of which says where the next one is; content follows its header.

use ntt_model::entry::{Directory, Encoding, Inode, Namespace, Stream, StreamKind};
use ntt_model::{ByteRange, Extent, ExtentKind, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::field::be_u32;
use ntt_source::{ReadAt, ReadError};

use crate::emit::Emitter;
use crate::name::path_safe;
use crate::report::{doubtful, unreadable};
use crate::sparse_set::SparseSet;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, Stop, TimeZone, Visitor, VolumeSource,
};

const MAGIC: &[u8] = b"-rom1fs-";
const HEADER_LEN: usize = 16;
/// Names are padded to this.
const ALIGNMENT: usize = 16;
/// Longest name that is read; Linux takes 128 bytes.
const NAME_MAX: usize = 1024;
/// Longest target of a symbolic link.
const TARGET_MAX: u32 = 4096;
/// Bytes that the checksum of the superblock covers, if there are so many.
const SUMMED_BYTES: u32 = 512;
/// Hard links that lead to hard links.
const LINKS_MAX: u32 = 16;

/// The first bytes: size, checksum and name of the volume.
struct Superblock {
    size: u32,
    name: Vec<u8>,
    root: u32,
    is_right: bool,
}

/// A name of at most [`NAME_MAX`] bytes, and where it ends with its padding.
fn name_at(source: &dyn ReadAt, start: u32) -> Result<(Vec<u8>, u32), ReadError> {
    let mut name = Vec::new();
    let mut at = start;
    loop {
        let mut part = [0; ALIGNMENT];
        source.read_exact_at(at.into(), &mut part)?;
        at = at.saturating_add(16);
        let end = part.iter().position(|byte| *byte == 0);
        name.extend_from_slice(part.get(..end.unwrap_or(ALIGNMENT)).unwrap_or_default());
        if end.is_some() || name.len() >= NAME_MAX {
            return Ok((name, at));
        }
    }
}

/// The sum of big-endian words, which checksums make zero.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(4).filter_map(|word| be_u32(word, 0));
    words.fold(0, u32::wrapping_add)
}

fn superblock(source: &dyn ReadAt) -> Result<Superblock, Error> {
    let structure = "romfs superblock";
    let read = |source| Error::Read { structure, source };
    let mut head = [0; HEADER_LEN];
    source.read_exact_at(0, &mut head).map_err(read)?;
    let corrupt = |detail: &str| Error::Corrupt {
        structure,
        detail: detail.to_owned(),
        image_offset: 0,
    };
    if !head.starts_with(MAGIC) {
        return Err(corrupt("there is no magic number"));
    }
    let size = be_u32(&head, 8).unwrap_or(0);
    let (name, root) = name_at(source, 16).map_err(read)?;
    if size < root {
        return Err(corrupt("its size is less than its own"));
    }
    let mut summed = vec![0; usize::try_from(size.min(SUMMED_BYTES)).unwrap_or(0)];
    let is_right = source.read_exact_at(0, &mut summed).is_ok() && sum(&summed) == 0;
    Ok(Superblock {
        size,
        name,
        root,
        is_right,
    })
}

/// Recognises the family by its superblock.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let superblock = superblock(source).ok()?;
    let checksum = if superblock.is_right { "right" } else { "wrong" };
    Some(Candidate {
        family: Family::Romfs,
        type_name: "romfs".to_owned(),
        evidence: format!("superblock with a {checksum} checksum, {} bytes", superblock.size),
        size_bytes: superblock.size.into(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let superblock = superblock(&*source).map_err(|error| error.lying_at(image_offset))?;
    Ok(Box::new(Romfs {
        facts: facts(&superblock),
        source,
        image_offset,
        superblock,
    }))
}

/// An opened volume.
struct Romfs<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    superblock: Superblock,
    facts: Facts,
}

fn facts(superblock: &Superblock) -> Facts {
    Facts {
        type_name: "romfs".to_owned(),
        label: superblock.name.clone(),
        uuid: None,
        block_size_bytes: 16,
        size_bytes: superblock.size.into(),
        used_bytes: Some(superblock.size.into()),
        created: None,
        written: None,
        state: State::Clean,
        time_resolution_ns: 1_000_000_000,
        time_zone: TimeZone::Utc,
        root: superblock.root.into(),
        details: Vec::new(),
    }
}

impl FileSystem for Romfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let scan = Scan {
            volume: self,
            options,
            out: Emitter::new(visitor),
            pending: Vec::new(),
            listed: SparseSet::default(),
            emitted: SparseSet::default(),
        };
        Ok(scan.run()?)
    }

    /// All of it: the format has no free space.
    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let len = u64::from(self.superblock.size).min(self.source.len());
        each(ByteRange::new(self.image_offset, len));
        Ok(())
    }
}

/// The header of a file.
struct Header {
    at: u32,
    /// Where the next header is; 0 at the end of the chain.
    next: u32,
    code: u32,
    is_executable: bool,
    /// Target of a hard link, first header of a directory, number of a device.
    info: u32,
    size: u32,
    name: Vec<u8>,
    data: u32,
    is_right: bool,
}

impl Header {
    fn read(source: &dyn ReadAt, at: u32) -> Result<Self, ReadError> {
        let mut head = [0; HEADER_LEN];
        source.read_exact_at(at.into(), &mut head)?;
        let (name, data) = name_at(source, at.saturating_add(16))?;
        let len = usize::try_from(data.saturating_sub(at)).unwrap_or(0);
        let mut summed = vec![0; len];
        source.read_exact_at(at.into(), &mut summed)?;
        let [next, info, size] = [0, 4, 8].map(|at| be_u32(&head, at).unwrap_or(0));
        Ok(Self {
            at,
            next: next & !0xf,
            code: next & 7,
            is_executable: next & 8 != 0,
            info,
            size,
            name,
            data,
            is_right: sum(&summed) == 0,
        })
    }

    const fn kind(&self) -> Kind {
        match self.code {
            1 => Kind::Directory,
            2 => Kind::File,
            3 => Kind::Symlink,
            4 => Kind::BlockDevice,
            5 => Kind::CharDevice,
            6 => Kind::Socket,
            7 => Kind::Fifo,
            _ => Kind::Unknown,
        }
    }

    /// The permissions that Linux shows: the format has only the bit for execution.
    const fn mode(&self) -> u32 {
        let plain = match self.code {
            3 => 0o777,
            4 | 5 => 0o600,
            _ => 0o644,
        };
        if self.is_executable { plain | 0o111 } else { plain }
    }
}

/// A directory that waits to be entered.
struct Waiting {
    number: u32,
    parent: Option<u32>,
    first: u32,
    depth: u32,
    name: Box<[u8]>,
}

/// One scan: all directories from the root. An inode is numbered by the place of its header, as in Linux.
struct Scan<'s, 'a, 'v> {
    volume: &'s Romfs<'a>,
    options: &'s ScanOptions,
    out: Emitter<'v>,
    pending: Vec<Waiting>,
    /// Headers that are in a directory which was listed.
    listed: SparseSet,
    emitted: SparseSet,
}

impl Scan<'_, '_, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let superblock = &self.volume.superblock;
        let (size, len) = (u64::from(superblock.size), self.volume.source.len());
        if !superblock.is_right {
            let detail = "the checksum of the superblock is wrong";
            self.out
                .finding(doubtful(Layer::FileSystem, detail, self.in_image(0)))?;
        }
        if size > len {
            let detail = format!("the file system has {size} bytes, the volume {len}");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::BeyondEnd, detail);
            self.out
                .finding(finding.at(self.volume.image_offset.saturating_add(len)))?;
        }
        let root = superblock.root;
        let first = match Header::read(&*self.volume.source, root) {
            Ok(header) if header.code == 1 => {
                self.check(&header)?;
                self.inode(&header)?;
                header.info
            }
            Ok(_) => {
                self.tell(
                    Severity::Loss,
                    Layer::Directory,
                    FindingCode::Corrupt,
                    "the root is no directory",
                    root,
                )?;
                root
            }
            Err(error) => {
                self.unread(&error, "the header of the root", root)?;
                0
            }
        };
        self.pending.push(Waiting {
            number: root,
            parent: None,
            first,
            depth: 0,
            name: Box::default(),
        });
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        self.out.finish()
    }

    fn in_image(&self, at: u32) -> u64 {
        self.volume.image_offset.saturating_add(at.into())
    }

    fn tell(
        &mut self,
        severity: Severity,
        layer: Layer,
        code: FindingCode,
        detail: &str,
        at: u32,
    ) -> Result<(), Stop> {
        let at = self.in_image(at);
        self.out
            .finding(Finding::new(severity, layer, code, detail).at(at))
    }

    fn unread(&mut self, error: &ReadError, what: &str, at: u32) -> Result<(), Stop> {
        let finding = unreadable(error, Layer::Directory, what, self.in_image(at));
        self.out.finding(finding)
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        self.out.event(ScanEvent::Directory(Directory {
            inode: waiting.number.into(),
            parent: waiting.parent.map(u64::from),
            name: waiting.name.to_vec(),
            namespace: Namespace::Native,
        }))?;
        let leave_after = self.options.leave_after.get(&waiting.number.into()).copied();
        let names_max = self.options.limits.entries_per_directory;
        let (mut at, mut names) = (waiting.first & !0xf, 0_u64);
        while at != 0 {
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                let detail = format!("the directory was left after {names} names");
                return self.tell(Severity::Loss, Layer::Scanner, FindingCode::Limit, &detail, at);
            }
            if !self.listed.insert(u64::from(at) / 16) {
                let detail = "the chain of a directory leads to a header that was listed before";
                return self.tell(Severity::Loss, Layer::Directory, FindingCode::Loop, detail, at);
            }
            let header = match Header::read(&*self.volume.source, at) {
                Ok(header) => header,
                Err(error) => return self.unread(&error, "the rest of a directory", at),
            };
            if header.name.is_empty() {
                let detail = "the rest of a directory is no chain of headers";
                return self.tell(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail, at);
            }
            // The root's is the first of its own chain, and was checked.
            if at != self.volume.superblock.root {
                self.check(&header)?;
            }
            if !matches!(header.name.as_slice(), b"." | b"..") {
                names = names.saturating_add(1);
                self.entry(&header, waiting)?;
            }
            at = header.next;
        }
        Ok(())
    }

    /// Says if the checksum of a header, which covers its name too, is wrong.
    fn check(&mut self, header: &Header) -> Result<(), Stop> {
        if header.is_right {
            return Ok(());
        }
        let detail = "the checksum of a header is wrong";
        let finding = doubtful(Layer::Inode, detail, self.in_image(header.at));
        self.out.finding(finding)
    }

    fn entry(&mut self, header: &Header, waiting: &Waiting) -> Result<(), Stop> {
        let whose = |number: u32| (u64::from(waiting.number), u64::from(number));
        let place = self.in_image(header.at);
        if header.code == 0 {
            let number = self.linked(header)?;
            return self
                .out
                .name(whose(number), (Namespace::Native, &header.name), false, place);
        }
        self.inode(header)?;
        self.out
            .name(whose(header.at), (Namespace::Native, &header.name), false, place)?;
        let depth = waiting.depth.saturating_add(1);
        if header.code != 1 {
            return Ok(());
        }
        if depth > self.options.limits.depth {
            let detail = "a directory lies too deep";
            return self.tell(
                Severity::Loss,
                Layer::Directory,
                FindingCode::Limit,
                detail,
                header.at,
            );
        }
        self.pending.push(Waiting {
            number: header.at,
            parent: Some(waiting.number),
            first: header.info,
            depth,
            name: path_safe(&header.name).0.into_boxed_slice(),
        });
        Ok(())
    }

    /// What a hard link leads to; the file is emitted if it was not yet.
    fn linked(&mut self, link: &Header) -> Result<u32, Stop> {
        let mut at = link.info & !0xf;
        for _ in 0..LINKS_MAX {
            match Header::read(&*self.volume.source, at) {
                Ok(header) if header.code == 0 => at = header.info & !0xf,
                // A directory comes when its own name is met.
                Ok(header) if header.code == 1 => return Ok(at),
                Ok(header) => {
                    self.inode(&header)?;
                    return Ok(at);
                }
                Err(_) => break,
            }
        }
        let detail = "a hard link leads nowhere";
        self.tell(
            Severity::Loss,
            Layer::Directory,
            FindingCode::Orphan,
            detail,
            link.at,
        )?;
        Ok(at)
    }

    fn inode(&mut self, header: &Header) -> Result<(), Stop> {
        if !self.emitted.insert(u64::from(header.at) / 16) {
            return Ok(());
        }
        let kind = header.kind();
        let size = u64::from(header.size);
        let streams = (kind == Kind::File).then(|| Stream {
            kind: StreamKind::Data,
            size_bytes: size,
            extents: Some(Extent {
                logical_offset: 0,
                image_offset: self.in_image(header.data),
                len: size,
                kind: ExtentKind::Data,
            })
            .filter(|extent| extent.len > 0)
            .into_iter()
            .collect(),
            encoding: Encoding::Plain,
            extents_incomplete: false,
        });
        let target = (kind == Kind::Symlink).then(|| self.target(header)).flatten();
        if kind == Kind::Symlink && target.is_none() {
            let detail = "the target of a symbolic link is lost";
            self.tell(
                Severity::Loss,
                Layer::Inode,
                FindingCode::Corrupt,
                detail,
                header.at,
            )?;
        }
        self.out.inode(Inode {
            mode: Some(header.mode()),
            target,
            device: kind
                .is_device()
                .then_some((header.info >> 16, header.info & 0xffff)),
            streams: streams.into_iter().collect(),
            ..Inode::bare(header.at.into(), kind)
        })
    }

    fn target(&self, header: &Header) -> Option<Vec<u8>> {
        (1..=TARGET_MAX).contains(&header.size).then_some(())?;
        let mut target = vec![0; usize::try_from(header.size).ok()?];
        self.volume
            .source
            .read_exact_at(header.data.into(), &mut target)
            .ok()?;
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_make_the_sum_of_words_zero() {
        assert_eq!(sum(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]), 0);
        assert_eq!(sum(&[0, 0, 0, 1, 9]), 1);
    }
}
