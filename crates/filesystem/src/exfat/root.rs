//! What the root directory says of the volume itself: label, GUID, bitmaps, upcase table.

use std::convert::Infallible;

use ntt_model::Extent;
use ntt_source::ReadAt;
use ntt_source::field::{array, le_u16, le_u32, u8_at};

use super::directory::{Item, entries};
use super::set::{Allocation, RawEntry, kind, names_zone};
use crate::name::wtf8_from_utf16;
use crate::uuid::uuid_text;

/// Entries of the root that are looked at: those of the volume stand at the front.
const LOOKED_AT: u32 = 32_768;
/// Units of a label, at most.
const LABEL_UNITS: usize = 11;

/// An upcase table as its entry describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Upcase {
    pub(super) place: Allocation,
    pub(super) checksum: u32,
    /// Where the entry stands in the volume.
    pub(super) entry_offset: u64,
}

/// The entries of the volume.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct System {
    /// WTF-8.
    pub(super) label: Vec<u8>,
    pub(super) guid: Option<[u8; 16]>,
    /// First and second bitmap; TexFAT has two.
    pub(super) bitmaps: [Option<Allocation>; 2],
    pub(super) upcase: Option<Upcase>,
    /// Whether the first file of the root says from where its times count.
    pub(super) has_zone: Option<bool>,
}

/// Reads them.
pub(super) fn read(source: &dyn ReadAt, image_offset: u64, extents: &[Extent]) -> System {
    let mut system = System::default();
    let mut left = LOOKED_AT;
    let done = entries::<Infallible>(source, image_offset, extents, &mut |item| {
        if let Item::Entry(raw, offset) = item {
            system.take(raw, offset);
        }
        left = left.saturating_sub(1);
        Ok(left > 0)
    });
    match done {
        Ok(()) => system,
        Err(never) => match never {},
    }
}

impl System {
    fn take(&mut self, raw: &RawEntry, offset: u64) {
        match u8_at(raw, 0) {
            Some(kind::LABEL) => self.label = label(raw),
            Some(kind::GUID) => self.guid = self.guid.or(array(raw, 6)),
            Some(kind::BITMAP) => {
                let [first, second] = &mut self.bitmaps;
                let is_second = u8_at(raw, 1).unwrap_or(0) & 1 == 1;
                let slot = if is_second { second } else { first };
                slot.get_or_insert(Allocation::of(raw));
            }
            Some(kind::UPCASE) => {
                self.upcase.get_or_insert(Upcase {
                    place: Allocation::of(raw),
                    checksum: le_u32(raw, 4).unwrap_or(0),
                    entry_offset: offset,
                });
            }
            Some(kind::FILE) => {
                self.has_zone.get_or_insert(names_zone(raw));
            }
            _ => {}
        }
    }
}

fn label(raw: &RawEntry) -> Vec<u8> {
    let len = usize::from(u8_at(raw, 1).unwrap_or(0)).min(LABEL_UNITS);
    let at = |index: usize| le_u16(raw, index.saturating_mul(2).saturating_add(2));
    wtf8_from_utf16((0..len).filter_map(at))
}

/// A GUID as Windows shows it: the first three fields are little-endian.
pub(super) fn guid_text(guid: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *guid;
    let [i, j, k, l, m, n, o, p] = rest;
    uuid_text(&[d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]).unwrap_or_default()
}
