//! A file with writes over it that never reached it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ntt_model::ByteRange;
use ntt_source::{ReadAt, ReadError};

use crate::layout::bytes_of;

/// What is written over a file. A later write takes the place of earlier ones; a run of zeros costs one piece, however long it is.
#[derive(Default)]
pub(super) struct Writes {
    /// By their first byte; they do not overlap, and none is empty.
    pieces: BTreeMap<u64, Piece>,
}

struct Piece {
    len: u64,
    /// `None` for zeros.
    bytes: Option<Vec<u8>>,
}

impl Writes {
    /// Writes zeros; `None` if there is no such place.
    pub(super) fn zeros(&mut self, offset: u64, len: u64) -> Option<()> {
        self.put(offset, Piece { len, bytes: None })
    }

    /// Writes bytes; `None` if there is no such place.
    pub(super) fn bytes(&mut self, offset: u64, bytes: Vec<u8>) -> Option<()> {
        let len = bytes_of(&bytes);
        let bytes = Some(bytes);
        self.put(offset, Piece { len, bytes })
    }

    /// Number of bytes that are written.
    pub(super) fn total_bytes(&self) -> u64 {
        self.pieces
            .values()
            .fold(0, |total, piece| total.saturating_add(piece.len))
    }

    fn put(&mut self, offset: u64, piece: Piece) -> Option<()> {
        let end = offset.checked_add(piece.len)?;
        if piece.len == 0 {
            return Some(());
        }
        self.cut(offset);
        self.cut(end);
        while let Some((at, _)) = self.pieces.range(offset..end).next() {
            let at = *at;
            self.pieces.remove(&at);
        }
        self.pieces.insert(offset, piece);
        Some(())
    }

    /// Makes two pieces of the one that goes on through a byte, if one does.
    fn cut(&mut self, at: u64) {
        let Some((start, piece)) = self.pieces.range_mut(..at).next_back() else {
            return;
        };
        let kept = at.saturating_sub(*start);
        let Some(rest) = piece.len.checked_sub(kept).filter(|rest| *rest > 0) else {
            return;
        };
        piece.len = kept;
        let bytes = piece
            .bytes
            .as_mut()
            .map(|bytes| bytes.split_off(usize::try_from(kept).unwrap_or(usize::MAX).min(bytes.len())));
        self.pieces.insert(at, Piece { len: rest, bytes });
    }

    /// The pieces that have bytes of a range, ascending.
    fn over(&self, range: ByteRange) -> impl Iterator<Item = (u64, &Piece)> {
        let before = self.pieces.range(..range.offset).next_back();
        let goes_on = before.filter(|(at, piece)| at.saturating_add(piece.len) > range.offset);
        let inside = self.pieces.range(range.offset..range.end());
        goes_on.into_iter().chain(inside).map(|(at, piece)| (*at, piece))
    }

    /// Where the last write ends.
    fn end(&self) -> u64 {
        self.pieces
            .last_key_value()
            .map_or(0, |(at, piece)| at.saturating_add(piece.len))
    }
}

impl Piece {
    /// Fills a buffer from byte `skip` of the piece on; returns how much of it.
    fn fill(&self, skip: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(skip)).unwrap_or(usize::MAX);
        let (now, _) = buffer.split_at_mut(left.min(buffer.len()));
        match &self.bytes {
            None => now.fill(0),
            Some(bytes) => {
                let from = usize::try_from(skip)
                    .ok()
                    .and_then(|skip| bytes.get(skip..)?.get(..now.len()));
                now.copy_from_slice(from.unwrap_or_default());
            }
        }
        now.len()
    }
}

/// A file as it would be with the writes.
pub(super) struct Overlay {
    source: Arc<dyn ReadAt>,
    writes: Writes,
}

impl Overlay {
    pub(super) fn new(source: Arc<dyn ReadAt>, writes: Writes) -> Self {
        Self { source, writes }
    }
}

impl ReadAt for Overlay {
    fn len(&self) -> u64 {
        self.source.len().max(self.writes.end())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let range = ByteRange::new(offset, bytes_of(buffer));
        let (mut position, mut rest) = (offset, buffer);
        for (at, piece) in self.writes.over(range) {
            let below = at.saturating_sub(position);
            let (now, later) =
                rest.split_at_mut(usize::try_from(below).unwrap_or(usize::MAX).min(rest.len()));
            if !now.is_empty() {
                self.source.read_exact_at(position, now)?;
            }
            position = position.saturating_add(below);
            let filled = piece.fill(position.saturating_sub(at), later);
            position = position.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            (_, rest) = later.split_at_mut(filled);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            self.source.read_exact_at(position, rest)
        }
    }
}
