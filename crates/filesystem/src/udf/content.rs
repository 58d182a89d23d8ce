//! Reading content that the reader itself needs: directories, tables, bitmaps, link targets.

use ntt_model::{Extent, ExtentKind, FindingCode};

use super::allocation::Content;
use crate::disc::{Disc, code_of};

/// Bytes read at a time.
const STEP_BYTES: u64 = 65_536;
/// After a failed read, the step in which the good parts are looked for.
const SECTOR_BYTES: u64 = 512;

/// A part of the content, in order.
pub(super) enum Part<'a> {
    /// Bytes, and where they lie in the volume.
    Bytes(u64, &'a [u8]),
    /// Bytes that cannot be had: where they should lie, how many, and why.
    Lost(u64, u64, FindingCode),
    /// Bytes that were never recorded.
    Hole(u64),
}

/// Hands over the content part by part until `each` says that it is enough. Nothing is handed over of what lies after the last extent. Extents that together are longer
/// than the disc share its blocks: what would be read of them a second time is lost, and the content ends there.
pub(super) fn read(disc: &Disc<'_>, content: &Content, each: &mut dyn FnMut(Part<'_>) -> bool) {
    let mut reader = Reader {
        disc,
        buffer: Vec::new(),
        budget: disc.len(),
        each,
    };
    let mut position = 0;
    for extent in &content.extents {
        let gap = extent.logical_offset.saturating_sub(position);
        if gap > 0 && !(reader.each)(Part::Hole(gap)) {
            return;
        }
        position = extent.logical_offset.saturating_add(extent.len);
        if !reader.extent(extent) {
            return;
        }
    }
}

/// The whole content if it can be had and is no longer than `max`.
pub(super) fn whole(disc: &Disc<'_>, content: &Content, max: u64) -> Option<Vec<u8>> {
    if content.size_bytes > max || content.is_incomplete() {
        return None;
    }
    let mut bytes = Vec::new();
    let mut good = true;
    read(disc, content, &mut |part| {
        match part {
            Part::Bytes(_, part) => bytes.extend_from_slice(part),
            Part::Hole(len) => {
                let len = usize::try_from(len.min(max)).unwrap_or(0);
                bytes.resize(bytes.len().saturating_add(len), 0);
            }
            Part::Lost(..) => good = false,
        }
        good
    });
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|len| len == content.size_bytes);
    (good && is_whole).then_some(bytes)
}

struct Reader<'d, 's, 'e> {
    disc: &'d Disc<'s>,
    buffer: Vec<u8>,
    /// Bytes that may still be read.
    budget: u64,
    each: &'e mut dyn FnMut(Part<'_>) -> bool,
}

impl Reader<'_, '_, '_> {
    fn extent(&mut self, extent: &Extent) -> bool {
        if !matches!(extent.kind, ExtentKind::Data | ExtentKind::Inline) {
            return (self.each)(Part::Hole(extent.len));
        }
        let mut offset = extent.image_offset.saturating_sub(self.disc.in_image(0));
        let mut left = extent.len;
        while left > 0 {
            // An extent may claim any length: what lies beyond the end of the disc is lost at once, not sector by sector.
            let room = self.disc.len().saturating_sub(offset);
            if room == 0 {
                return (self.each)(Part::Lost(offset, left, FindingCode::BeyondEnd));
            }
            if self.budget == 0 {
                (self.each)(Part::Lost(offset, left, FindingCode::Limit));
                return false;
            }
            let step = left.min(STEP_BYTES).min(room).min(self.budget);
            self.budget = self.budget.saturating_sub(step);
            if !self.step(offset, step) {
                return false;
            }
            offset = offset.saturating_add(step);
            left = left.saturating_sub(step);
        }
        true
    }

    fn step(&mut self, offset: u64, len: u64) -> bool {
        if self.piece(offset, len).is_ok() {
            return (self.each)(Part::Bytes(offset, &self.buffer));
        }
        let mut done = 0;
        while done < len {
            let (at, step) = (
                offset.saturating_add(done),
                SECTOR_BYTES.min(len.saturating_sub(done)),
            );
            let go_on = match self.piece(at, step) {
                Ok(()) => (self.each)(Part::Bytes(at, &self.buffer)),
                Err(code) => (self.each)(Part::Lost(at, step, code)),
            };
            if !go_on {
                return false;
            }
            done = done.saturating_add(step);
        }
        true
    }

    fn piece(&mut self, offset: u64, len: u64) -> Result<(), FindingCode> {
        self.buffer.resize(usize::try_from(len).unwrap_or(0), 0);
        self.disc
            .fill(offset, &mut self.buffer)
            .map_err(|error| code_of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are had of content in a disc of 4000 bytes, which begins at byte 100 of the image, and what is lost.
    fn had_and_lost(extents: Vec<Extent>, size_bytes: u64) -> (usize, Vec<(u64, u64, FindingCode)>) {
        let disc = Disc::new(Box::new(vec![0_u8; 4000]), 100);
        let content = Content::of_extents(extents, size_bytes);
        let (mut had, mut lost) = (0, Vec::new());
        read(&disc, &content, &mut |part| {
            match part {
                Part::Bytes(_, bytes) => had += bytes.len(),
                Part::Lost(at, len, code) => lost.push((at, len, code)),
                Part::Hole(_) => {}
            }
            lost.len() < 10
        });
        (had, lost)
    }

    /// Every sector beyond the end was read for itself: 2^31 of them here.
    #[test]
    fn r22_what_lies_beyond_the_end_is_lost_at_once() {
        let extent = Extent {
            logical_offset: 0,
            image_offset: 100 + 2048,
            len: 1 << 40,
            kind: ExtentKind::Data,
        };
        let (had, lost) = had_and_lost(vec![extent], 1 << 40);
        assert_eq!(had, 4000 - 2048);
        assert_eq!(lost, [(4000, (1 << 40) - 1952, FindingCode::BeyondEnd)]);
    }

    /// A content whose extents all lie on the same blocks was read once for each.
    #[test]
    fn r22_no_more_is_read_than_the_disc_holds() {
        let extents = (0..1000).map(|number| Extent {
            logical_offset: number * 3000,
            image_offset: 100,
            len: 3000,
            kind: ExtentKind::Data,
        });
        let (had, lost) = had_and_lost(extents.collect(), 3_000_000);
        assert_eq!(had, 4000);
        assert_eq!(lost, [(1000, 2000, FindingCode::Limit)]);
    }
}
