//! Files one after the other.

use std::sync::Arc;

use ntt_source::ReadAt;

use crate::layout::{Layout, Run};

/// A piece of an image: bytes of a file, or zeros where there is no file.
pub(crate) struct Piece {
    pub(crate) source: Option<Arc<dyn ReadAt>>,
    /// Where it begins in the file.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Why its bytes are not there, if they should be; a piece without source and reason is zeros.
    pub(crate) missing: String,
}

/// Pieces one after the other.
#[derive(Default)]
pub(crate) struct Concat {
    /// Where each begins in the image.
    pieces: Vec<(u64, Piece)>,
    len: u64,
}

impl Concat {
    pub(crate) fn push(&mut self, piece: Piece) {
        let start = self.len;
        self.len = self.len.saturating_add(piece.len);
        self.pieces.push((start, piece));
    }
}

impl Layout for Concat {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> Run<'_> {
        let after = self.pieces.partition_point(|(start, _)| *start <= offset);
        // Of pieces that begin at the same byte the last has a length.
        let Some((start, piece)) = after.checked_sub(1).and_then(|at| self.pieces.get(at)) else {
            return Run::Zeros(1);
        };
        let within = offset.saturating_sub(*start);
        let len = piece.len.saturating_sub(within).max(1);
        match &piece.source {
            Some(source) => Run::Stored {
                source,
                offset: piece.offset.saturating_add(within),
                len,
            },
            None if piece.missing.is_empty() => Run::Zeros(len),
            None => Run::Lost {
                len,
                what: piece.missing.clone(),
            },
        }
    }
}
