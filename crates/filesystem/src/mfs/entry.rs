//! Entries of the file directory (Inside Macintosh II, "The File Directory"): packed into sectors, never across them.

use ntt_model::Timestamp;
use ntt_source::field::{be_u16, be_u32, u8_at};

use crate::apple::time::time_at;

/// Bytes before the name.
const FIXED_LEN: usize = 51;
/// `flFlags`: the entry is in use.
const IN_USE: u8 = 0x80;

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry<'b> {
    pub(super) flags: u8,
    pub(super) version: u8,
    /// Type, creator, flags, position, folder.
    pub(super) finder: &'b [u8],
    pub(super) number: u32,
    /// First block and length of the data fork, and of the resource fork.
    pub(super) data: (u16, u32),
    pub(super) resource: (u16, u32),
    pub(super) created: Option<Timestamp>,
    pub(super) modified: Option<Timestamp>,
    pub(super) name: &'b [u8],
}

impl<'b> Entry<'b> {
    fn parse(bytes: &'b [u8]) -> Option<Self> {
        let name_len = usize::from(u8_at(bytes, FIXED_LEN.checked_sub(1)?)?);
        Some(Self {
            flags: u8_at(bytes, 0)?,
            version: u8_at(bytes, 1)?,
            finder: bytes.get(2..18)?,
            number: be_u32(bytes, 18)?,
            data: (be_u16(bytes, 22)?, be_u32(bytes, 24)?),
            resource: (be_u16(bytes, 32)?, be_u32(bytes, 34)?),
            created: time_at(bytes, 42),
            modified: time_at(bytes, 46),
            name: bytes
                .get(FIXED_LEN..FIXED_LEN.checked_add(name_len)?)
                .filter(|name| !name.is_empty())?,
        })
    }
}

/// The entries of a sector.
pub(super) struct Found<'b> {
    /// Each with its place in the sector.
    pub(super) entries: Vec<(u64, Entry<'b>)>,
    /// Where an entry starts that cannot be.
    pub(super) broken_at: Option<u64>,
}

/// Takes the entries of a sector; one that is not in use ends them.
pub(super) fn entries(sector: &[u8; 512]) -> Found<'_> {
    let mut found = Found {
        entries: Vec::new(),
        broken_at: None,
    };
    let mut at = 0_usize;
    while u8_at(sector, at).is_some_and(|flags| flags & IN_USE != 0) {
        let place = u64::try_from(at).unwrap_or(0);
        let Some(entry) = sector.get(at..).and_then(Entry::parse) else {
            found.broken_at = Some(place);
            break;
        };
        at = at
            .saturating_add(FIXED_LEN)
            .saturating_add(entry.name.len())
            .next_multiple_of(2);
        found.entries.push((place, entry));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(names: &[&[u8]]) -> [u8; 512] {
        let mut sector = [0; 512];
        let mut at = 0;
        for name in names {
            sector[at] = IN_USE;
            sector[at + 21] = 7;
            sector[at + 50] = u8::try_from(name.len()).expect("short");
            sector[at + 51..at + 51 + name.len()].copy_from_slice(name);
            at = (at + 51 + name.len()).next_multiple_of(2);
        }
        sector
    }

    #[test]
    fn entries_are_packed_to_even_places() {
        let sector = sector(&[b"ab", b"c", b"\x8e:"]);
        let found = entries(&sector);
        let shape: Vec<_> = found
            .entries
            .iter()
            .map(|(at, entry)| (*at, entry.name, entry.number))
            .collect();
        assert_eq!(shape, [(0, &b"ab"[..], 7), (54, b"c", 7), (106, b"\x8e:", 7)]);
        assert_eq!(found.broken_at, None);
    }

    #[test]
    fn r22_an_entry_that_passes_its_sector_ends_it() {
        let mut sector = sector(&[b"ab", b"c"]);
        for len in [0, 255] {
            sector[54 + 50] = len;
            sector[511] = IN_USE;
            let found = entries(&sector);
            let names = found.entries.len();
            assert!(names <= 2 && (len == 255 || found.broken_at == Some(54)));
        }
    }
}
