//! Reading a segment: the trailer and the list of parts at once, everything else when it is asked for, each piece with its checksum.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ntt_host::{Disk, DiskFile, OpenMode};

use crate::error::{During, Error};
use crate::format::{Footer, MAGIC, PartKind, PartPlace, SUM_BYTES, TRAILER_BYTES, checked};
use crate::identity::Identity;
use crate::postings::{self, Granules};

/// The list of parts of a scan of 2^40 names is shorter.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// The footer of a part is shorter.
const FOOTER_BYTES_MAX: usize = 4 << 20;

/// An open segment. May be shared between threads.
#[derive(Debug)]
pub struct Segment {
    file: Mutex<Box<dyn DiskFile>>,
    path: PathBuf,
    parts: Vec<PartPlace>,
    names: u64,
    has_slashes: bool,
    /// Where the trailer begins: everything else lies before it.
    end: u64,
}

impl Segment {
    /// Opens a segment and checks that it is the one of `identity`; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] if it is another scan's, [`Error::Damaged`] if it is not whole, [`Error::Io`] of the disk.
    pub fn open(disk: &dyn Disk, path: &Path, identity: &Identity) -> Result<Option<Self>, Error> {
        if disk.entry(path).during("looking for", path)?.is_none() {
            return Ok(None);
        }
        let file = disk.open(path, OpenMode::Read).during("opening", path)?;
        let len = file.len().during("measuring", path)?;
        let damaged = |detail| Error::Damaged {
            path: path.to_owned(),
            offset: len,
            detail,
        };
        let trailer_bytes = u64::try_from(TRAILER_BYTES).unwrap_or(u64::MAX);
        let end = len
            .checked_sub(trailer_bytes)
            .ok_or_else(|| damaged("it is too short"))?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(end, &mut trailer).during("reading", path)?;
        let trailer = Trailer::decode(&trailer).ok_or_else(|| damaged("it has no trailer"))?;
        let fits =
            trailer.list_len <= LIST_BYTES_MAX && trailer.list_at.checked_add(trailer.list_len) == Some(end);
        if !fits {
            return Err(damaged("its trailer tells another length"));
        }
        let mut list = vec![0; usize::try_from(trailer.list_len).unwrap_or(0)];
        file.read_exact_at(trailer.list_at, &mut list)
            .during("reading", path)?;
        let digest = blake3::Hasher::new()
            .update(&list)
            .update(&trailer.signed)
            .finalize();
        if digest.as_bytes() != &trailer.digest {
            return Err(damaged("its trailer has another checksum"));
        }
        if trailer.identity != identity.digest() || trailer.names != identity.names {
            return Err(Error::Stale {
                path: path.to_owned(),
            });
        }
        let parts =
            decode_list(&list, trailer.names).ok_or_else(|| damaged("its list of parts is malformed"))?;
        Ok(Some(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            parts,
            names: trailer.names,
            has_slashes: trailer.has_slashes,
            end,
        }))
    }

    /// Names that it holds.
    pub const fn names(&self) -> u64 {
        self.names
    }

    /// Whether any name holds a `/`: no file system of a medium gives such a name, but bytes are bytes.
    pub(crate) const fn has_slashes(&self) -> bool {
        self.has_slashes
    }

    /// The parts of a kind, in order.
    pub(crate) fn parts(&self, kind: PartKind) -> impl Iterator<Item = &PartPlace> {
        self.parts.iter().filter(move |part| part.kind == kind)
    }

    /// The footer of a part.
    pub(crate) fn footer(&self, place: &PartPlace) -> Result<Footer, Error> {
        if place.footer_len > FOOTER_BYTES_MAX {
            return Err(self.damaged(place.footer_at, "a footer is too long"));
        }
        let bytes = self.read(place.footer_at, place.footer_len)?;
        checked(&bytes)
            .and_then(|bytes| Footer::decode(bytes, place))
            .ok_or_else(|| self.damaged(place.footer_at, "a footer has another checksum"))
    }

    /// The granules of a part that hold a trigram.
    pub(crate) fn postings(&self, footer: &Footer, trigram: u32) -> Result<Granules, Error> {
        let after = footer.fences.partition_point(|(first, _)| *first <= trigram);
        let Some(page) = after.checked_sub(1) else {
            return Ok(Granules::NONE);
        };
        let Some((&(first, len), before)) = footer.fences.get(..after).and_then(<[_]>::split_last) else {
            return Ok(Granules::NONE);
        };
        debug_assert_eq!(before.len(), page);
        let skipped: u64 = before
            .iter()
            .map(|(_, len)| u64::try_from(*len).unwrap_or(u64::MAX))
            .sum();
        let at = footer.pages_at.saturating_add(skipped);
        let bytes = self.read(at, len)?;
        checked(&bytes)
            .and_then(|page| postings::find(page, first, trigram))
            .ok_or_else(|| self.damaged(at, "a page of postings has another checksum"))
    }

    /// Bytes of the file; no more than it has are asked for.
    pub(crate) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, at, len)?;
        Ok(bytes)
    }

    /// As [`Segment::read`], into a buffer that had other bytes before.
    pub(crate) fn read_into(&self, bytes: &mut Vec<u8>, at: u64, len: usize) -> Result<(), Error> {
        let end = u64::try_from(len).ok().and_then(|len| at.checked_add(len));
        if end.is_none_or(|end| end > self.end) {
            return Err(self.damaged(at, "it points beyond its end"));
        }
        bytes.resize(len, 0);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.read_exact_at(at, bytes).during("reading", &self.path)
    }

    /// How many bytes there are from `at` on.
    pub(crate) const fn bytes_from(&self, at: u64) -> u64 {
        self.end.saturating_sub(at)
    }

    pub(crate) fn damaged(&self, offset: u64, detail: &'static str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset,
            detail,
        }
    }

    /// Reads every byte of it and checks every checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] with the first place that is wrong.
    pub fn verify(&self) -> Result<(), Error> {
        for place in &self.parts {
            let footer = self.footer(place)?;
            let mut blocks = crate::blocks::BlockReader::new(self)?;
            for block in &footer.blocks {
                blocks.unpack(block)?;
            }
            let mut at = footer.pages_at;
            for (_, len) in &footer.fences {
                let page = self.read(at, *len)?;
                checked(&page).ok_or_else(|| self.damaged(at, "a page of postings has another checksum"))?;
                at = at.saturating_add(u64::try_from(*len).unwrap_or(u64::MAX));
            }
        }
        Ok(())
    }
}

struct Trailer {
    identity: [u8; 32],
    names: u64,
    has_slashes: bool,
    list_at: u64,
    list_len: u64,
    digest: [u8; 32],
    /// What the digest covers besides the list.
    signed: Vec<u8>,
}

impl Trailer {
    fn decode(bytes: &[u8; TRAILER_BYTES]) -> Option<Self> {
        let (signed, digest) = bytes.split_last_chunk::<32>()?;
        let rest = signed.strip_prefix(MAGIC.as_slice())?;
        let (identity, numbers) = rest.split_first_chunk::<32>()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [names, slashes, list_at, list_len] = numbers else {
            return None;
        };
        Some(Self {
            identity: *identity,
            names: u64::from_le_bytes(*names),
            has_slashes: u64::from_le_bytes(*slashes) != 0,
            list_at: u64::from_le_bytes(*list_at),
            list_len: u64::from_le_bytes(*list_len),
            digest: *digest,
            signed: signed.to_vec(),
        })
    }
}

/// The parts; both kinds cover all names without a gap.
pub(crate) fn decode_list(mut list: &[u8], names: u64) -> Option<Vec<PartPlace>> {
    let mut parts = Vec::new();
    let (mut of_names, mut of_directories) = (0_u64, 0_u64);
    while !list.is_empty() {
        let part = PartPlace::decode(&mut list)?;
        let covered = match part.kind {
            PartKind::Names => &mut of_names,
            PartKind::Directories => &mut of_directories,
        };
        if part.first_path != *covered || part.footer_len < SUM_BYTES {
            return None;
        }
        *covered = covered.checked_add(part.paths)?;
        parts.push(part);
    }
    (of_names == names && of_directories == names).then_some(parts)
}
