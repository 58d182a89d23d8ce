//! From allocation descriptors to extents (ECMA-167, 4/12 and 4/14.14; UDF 2.3.10, 2.3.11).

use std::collections::HashSet;

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind};
use ntt_source::field::le_u32;

use super::address::{Address, Allocated, Holds};
use super::icb::{Entry, Fault, read_block};
use super::space::Space;
use super::tag::{Tag, id};
use crate::disc::Disc;

/// Bytes of an allocation extent descriptor before its descriptors.
const CONTINUATION_HEAD: usize = 24;

/// Where the content of an entry lies.
#[derive(Debug)]
pub(super) struct Content {
    /// Ascending, in the image.
    pub(super) extents: Vec<Extent>,
    /// Length of the content.
    pub(super) size_bytes: u64,
    /// Why the extents are not all.
    pub(super) fault: Option<Fault>,
    /// Whether the bound on extents was reached.
    pub(super) is_cut: bool,
    /// Stored in a way that UDF does not define.
    pub(super) is_transformed: bool,
}

impl Content {
    /// Content of which only the place is known.
    pub(super) fn of_extents(extents: Vec<Extent>, size_bytes: u64) -> Self {
        Self {
            extents,
            size_bytes,
            fault: None,
            is_cut: false,
            is_transformed: false,
        }
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.fault.is_some() || self.is_cut
    }

    /// The content as a stream of an inode.
    pub(super) fn into_stream(self, kind: StreamKind) -> Stream {
        Stream {
            kind,
            size_bytes: self.size_bytes,
            extents_incomplete: self.is_incomplete(),
            encoding: if self.is_transformed {
                Encoding::Unsupported
            } else {
                Encoding::Plain
            },
            extents: self.extents,
        }
    }
}

/// The content of an entry; at most `max` extents are kept.
pub(super) fn content(disc: &Disc<'_>, space: &Space, entry: &Entry, max: u64) -> Content {
    let (start, descriptors) = entry.allocation();
    let mut mapper = Mapper {
        disc,
        space,
        max: usize::try_from(max).unwrap_or(usize::MAX),
        logical: 0,
        content: Content::of_extents(Vec::new(), entry.size_bytes()),
    };
    // Bit 11: transformed (ECMA-167, 4/14.6.8); UDF demands 0.
    mapper.content.is_transformed = entry.flags() & 0x0800 != 0;
    match entry.flags() & 7 {
        0 => mapper.all(descriptors, entry.at, 8, |bytes, at, own| {
            Allocated::short(bytes, at, own)
        }),
        1 => mapper.all(descriptors, entry.at, 16, |bytes, at, _| {
            Allocated::long(bytes, at)
        }),
        2 => mapper.all(descriptors, entry.at, 20, |bytes, at, _| {
            Allocated::extended(bytes, at)
        }),
        3 => mapper.inline(entry, start, descriptors),
        _ => mapper.content.fault = Some(Fault::Corrupt("the allocation descriptors have an unknown form")),
    }
    mapper.content
}

struct Mapper<'d, 's> {
    disc: &'d Disc<'s>,
    space: &'d Space,
    max: usize,
    logical: u64,
    content: Content,
}

/// Reads a descriptor at an offset; short ones name blocks of the given partition map.
type Parse = fn(&[u8], usize, u16) -> Option<Allocated>;

impl Mapper<'_, '_> {
    /// Content that stands in the block of its entry.
    fn inline(&mut self, entry: &Entry, start: usize, bytes: &[u8]) {
        let held = u64::try_from(bytes.len()).unwrap_or(0);
        let size = self.content.size_bytes;
        let offset = entry.offset.saturating_add(u64::try_from(start).unwrap_or(0));
        self.content
            .extents
            .extend((size > 0 && held > 0).then_some(Extent {
                logical_offset: 0,
                image_offset: self.disc.in_image(offset),
                len: size.min(held),
                kind: ExtentKind::Inline,
            }));
        if held < size {
            self.content.fault = Some(Fault::Corrupt(
                "the content is longer than the block that should hold it",
            ));
        }
    }

    /// Follows the descriptors in the entry and in all continuations.
    fn all(&mut self, first: &[u8], own: Address, step: usize, parse: Parse) {
        let mut seen = HashSet::new();
        let mut next = self.some(first, (own.reference, step, parse));
        while let Some(at) = next.take() {
            if !seen.insert(at) {
                self.content.fault = Some(Fault::Corrupt("the allocation descriptors run in a circle"));
                return;
            }
            match self.continuation(at) {
                Ok(bytes) => next = self.some(&bytes, (at.reference, step, parse)),
                Err(fault) => {
                    self.content.fault = Some(fault);
                    return;
                }
            }
        }
        if self.logical < self.content.size_bytes && !self.content.is_incomplete() {
            self.content.fault = Some(Fault::Corrupt(
                "the allocation descriptors end before the content does",
            ));
        }
    }

    /// The descriptors of an allocation extent descriptor (ECMA-167, 4/14.5).
    fn continuation(&mut self, at: Address) -> Result<Vec<u8>, Fault> {
        let (_, bytes) = read_block(self.disc, self.space, at)?;
        let tag = Tag::parse(&bytes).filter(|tag| tag.id == id::ALLOCATION_EXTENT);
        tag.ok_or(Fault::Corrupt(
            "no allocation extent descriptor where more descriptors should be",
        ))?;
        let len = le_u32(&bytes, 20)
            .and_then(|len| usize::try_from(len).ok())
            .unwrap_or(0);
        let end = CONTINUATION_HEAD.saturating_add(len).min(bytes.len());
        Ok(bytes.get(CONTINUATION_HEAD..end).unwrap_or_default().to_vec())
    }

    /// Takes the descriptors of one block; the block with more of them, if there is one.
    fn some(&mut self, bytes: &[u8], (own, step, parse): (u16, usize, Parse)) -> Option<Address> {
        for raw in bytes.chunks_exact(step) {
            let descriptor = parse(raw, 0, own).filter(|descriptor| !descriptor.is_empty())?;
            if descriptor.holds == Holds::Continuation {
                return Some(descriptor.at);
            }
            if self.logical >= self.content.size_bytes {
                // Space allocated in advance, after the end of the content.
                return None;
            }
            if self.content.extents.len() >= self.max {
                self.content.is_cut = true;
                return None;
            }
            self.one(descriptor);
        }
        None
    }

    fn one(&mut self, descriptor: Allocated) {
        let left = self.content.size_bytes.saturating_sub(self.logical);
        let len = u64::from(descriptor.len_bytes).min(left);
        let kind = match descriptor.holds {
            Holds::Recorded => Some(ExtentKind::Data),
            Holds::AllocatedOnly => Some(ExtentKind::Unwritten),
            _ => None,
        };
        if let Some(kind) = kind {
            self.map(descriptor.at, len, kind);
        }
        self.logical = self.logical.saturating_add(len);
    }

    fn map(&mut self, at: Address, len: u64, kind: ExtentKind) {
        let (disc, logical, max) = (self.disc, self.logical, self.max);
        let extents = &mut self.content.extents;
        let mut is_cut = false;
        let is_whole = self.space.runs(at, len, &mut |from, range| {
            is_cut |= extents.len() >= max;
            if !is_cut {
                push_joined(
                    extents,
                    Extent {
                        logical_offset: logical.saturating_add(from),
                        image_offset: disc.in_image(range.offset),
                        len: range.len,
                        kind,
                    },
                );
            }
        });
        self.content.is_cut |= is_cut;
        if !is_whole && kind == ExtentKind::Data {
            self.content.fault = Some(Fault::Nowhere(at));
        }
    }
}
