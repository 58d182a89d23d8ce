//! Reading a pack from one end to the other, damage included.

use std::io;

use ntt_host::DiskFile;
use ntt_model::{BlobHash, Sha256};

use crate::pack_list::Line;
use crate::tar_member::{BLOCK_BYTES, END_BYTES, padded, parse_header};
use crate::{ContentHasher, types::Sums};

/// How much is read ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// A member as its header tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) hash: BlobHash,
    /// Where the content begins.
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Member {
    /// Where the next header begins.
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(padded(self.size))
    }

    /// Bytes of the pack that it takes, header and padding included.
    pub(crate) const fn len_in_pack(&self) -> u64 {
        padded(self.size).saturating_add(BLOCK_BYTES)
    }

    /// What the list of the pack says of it.
    pub(crate) const fn line(&self, sha256: Option<Sha256>) -> Line {
        Line {
            hash: self.hash,
            offset: self.offset,
            size: self.size,
            sha256,
        }
    }
}

/// What a pack consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// A member that fits into the file.
    Member(Member),
    /// Bytes that are no member: offset and length.
    Bad(u64, u64),
}

/// Walks the parts of a pack. After a bad header it looks for the next good one: a member's name and checksum make it known.
#[derive(Debug)]
pub(crate) struct PackScan<'a> {
    file: Window<'a>,
    at: u64,
    /// A good part that was found behind a bad one.
    next: Option<Part>,
}

impl<'a> PackScan<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            file: Window::new(file)?,
            at: 0,
            next: None,
        })
    }

    /// The next part; `None` at the end, be it the end of the file or the two zero blocks there.
    pub(crate) fn next(&mut self) -> io::Result<Option<Part>> {
        if let Some(part) = self.next.take() {
            return Ok(Some(part));
        }
        let start = self.at;
        while self.at < self.file.len {
            if let Some(member) = self.member()? {
                let bad = member.offset - BLOCK_BYTES - start;
                self.at = member.end();
                if bad == 0 {
                    return Ok(Some(Part::Member(member)));
                }
                self.next = Some(Part::Member(member));
                return Ok(Some(Part::Bad(start, bad)));
            }
            if self.at == start && self.is_end()? {
                self.at = self.file.len;
                return Ok(None);
            }
            self.at = self.at.saturating_add(BLOCK_BYTES);
        }
        let bad = self.file.len.saturating_sub(start);
        Ok((bad > 0).then_some(Part::Bad(start, bad)))
    }

    /// The member whose header stands here, if it fits.
    fn member(&mut self) -> io::Result<Option<Member>> {
        let mut block = [0; 512];
        if !self.file.read(self.at, &mut block)? {
            return Ok(None);
        }
        let member = parse_header(&block).map(|(hash, size)| Member {
            hash,
            offset: self.at + BLOCK_BYTES,
            size,
        });
        Ok(member.filter(|member| member.end() <= self.file.len))
    }

    fn is_end(&mut self) -> io::Result<bool> {
        let mut end = [1; END_BYTES];
        Ok(self.file.len - self.at == END_BYTES as u64
            && self.file.read(self.at, &mut end)?
            && end.iter().all(|byte| *byte == 0))
    }

    /// Digests of a member's content.
    pub(crate) fn digest(&mut self, member: &Member) -> io::Result<Sums> {
        let (mut hasher, mut buffer) = (ContentHasher::new(), vec![0; 64 << 10]);
        let mut done = 0;
        while done < member.size {
            let len = usize::try_from(member.size - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            let piece = &mut buffer[..len];
            if !self.file.read(member.offset + done, piece)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(piece);
            done += len as u64;
        }
        Ok(hasher.finish())
    }

    /// Whether what fills a member's last block is zeros, as it was written.
    pub(crate) fn is_padding_clean(&mut self, member: &Member) -> io::Result<bool> {
        let mut padding = [0; 512];
        let content_end = member.offset + member.size;
        let len = usize::try_from(member.end() - content_end)
            .unwrap_or(0)
            .min(padding.len());
        Ok(self.file.read(content_end, &mut padding[..len])? && padding.iter().all(|byte| *byte == 0))
    }
}

/// Read-ahead over a file whose length is taken once.
#[derive(Debug)]
struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            file,
            len: file.len()?,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// Fills `buffer`, at most a window, from `offset`; `false` if the file ends before.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if self.len.saturating_sub(offset) < buffer.len() as u64 {
            return Ok(false);
        }
        if self.have(offset, buffer.len()).is_none() {
            let len = usize::try_from(self.len - offset).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            self.bytes.resize(len.max(buffer.len()), 0);
            self.start = offset;
            if let Err(error) = self.file.read_exact_at(offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        match self.have(offset, buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn have(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}
