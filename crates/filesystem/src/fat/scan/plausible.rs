//! Whether bytes look like part of a directory when nothing but themselves says so.

use crate::fat::entry::{ENTRY_BYTES, Entry, Slot, classify};
use crate::fat::geometry::Geometry;

/// Whether every slot of a piece could stand in a directory, and at least one is an entry in use.
pub(super) fn holds_entries(piece: &[u8], geometry: &Geometry) -> bool {
    let mut entries: u32 = 0;
    let mut slots = piece.as_chunks::<ENTRY_BYTES>().0.iter();
    while let Some(raw) = slots.next() {
        match classify(raw) {
            Slot::End => return entries > 0 && slots.all(|raw| *raw == [0; ENTRY_BYTES]),
            Slot::LongName { .. } if !is_long_name(raw) => return false,
            Slot::LongName { .. } | Slot::Stale | Slot::Label => {}
            Slot::Entry { deleted } => {
                if !Entry::parse(raw, geometry.variant)
                    .doubts(geometry, deleted)
                    .is_empty()
                {
                    return false;
                }
                entries = entries.saturating_add(u32::from(!deleted));
            }
            Slot::Itself | Slot::Parent => entries = entries.saturating_add(1),
        }
    }
    entries > 0
}

/// The type of a slot of a long name and its cluster number are always 0.
fn is_long_name(raw: &[u8; ENTRY_BYTES]) -> bool {
    matches!(raw, [_, _, _, _, _, _, _, _, _, _, _, _, 0, .., 0, 0, _, _, _, _])
}
