//! Alcohol's media descriptors (version 1): binary; the image is the `.mdf` beside it. Layout as cdemu's libmirage documents it.

use super::{Mode, TRACKS_MAX, Track, format_of};
use crate::field::{le_u16, le_u32, le_u64, u8_at};

const SESSION_BYTES: usize = 24;
const TRACK_BYTES: usize = 80;

/// The tracks of a media descriptor; none if it is none.
pub fn mds(bytes: &[u8]) -> Vec<Track> {
    sessions(bytes).unwrap_or_default()
}

fn sessions(bytes: &[u8]) -> Option<Vec<Track>> {
    // From version 2 on they are encrypted.
    if !bytes.starts_with(b"MEDIA DESCRIPTOR") || u8_at(bytes, 16)? != 1 {
        return None;
    }
    let first = usize::try_from(le_u32(bytes, 0x50)?).ok()?;
    let mut tracks = Vec::new();
    for index in 0..usize::from(le_u16(bytes, 0x14)?).min(TRACKS_MAX) {
        let at = first.checked_add(index.checked_mul(SESSION_BYTES)?)?;
        session(bytes, at, &mut tracks);
    }
    Some(tracks)
}

fn session(bytes: &[u8], at: usize, tracks: &mut Vec<Track>) -> Option<()> {
    let number = le_u16(bytes, at.checked_add(8)?)?;
    let blocks = usize::from(u8_at(bytes, at.checked_add(10)?)?);
    let first = usize::try_from(le_u32(bytes, at.checked_add(20)?)?).ok()?;
    for index in 0..blocks {
        let start = first.checked_add(index.checked_mul(TRACK_BYTES)?)?;
        let block = bytes.get(start..start.checked_add(TRACK_BYTES)?)?;
        if tracks.len() < TRACKS_MAX {
            tracks.extend(track(bytes, block, number.into()));
        }
    }
    Some(())
}

fn track(bytes: &[u8], block: &[u8], session: u32) -> Option<Track> {
    let number = u8_at(block, 4).filter(|point| (1..=99).contains(point))?;
    let mode = match u8_at(block, 0)? & 7 {
        1 => Mode::Audio,
        2 => Mode::Mode1,
        3..=7 => Mode::Mode2,
        _ => return None,
    };
    let extra = usize::try_from(le_u32(block, 12)?).ok()?;
    Some(Track {
        number: number.into(),
        session,
        mode,
        format: format_of(le_u16(block, 16)?.into())?,
        file: Vec::new(),
        offset: le_u64(block, 40)?,
        sectors: le_u32(bytes, extra.checked_add(4)?).map(u64::from),
    })
}

#[cfg(test)]
mod tests {
    use super::super::SectorFormat;
    use super::*;

    #[test]
    fn tracks_are_found_through_their_session() {
        let mut bytes = vec![0; 400];
        bytes[..16].copy_from_slice(b"MEDIA DESCRIPTOR");
        bytes[16] = 1;
        bytes[0x14] = 1;
        bytes[0x50] = 0x58;
        bytes[0x58 + 8] = 1;
        bytes[0x58 + 10] = 2;
        bytes[0x58 + 20] = 120;
        // The lead-in's block is no track.
        bytes[120 + 4] = 0xa0;
        let block = 200;
        bytes[block] = 0xaa;
        bytes[block + 4] = 1;
        bytes[block + 12..block + 14].copy_from_slice(&300_u16.to_le_bytes());
        bytes[block + 16..block + 18].copy_from_slice(&2448_u16.to_le_bytes());
        bytes[block + 40] = 7;
        bytes[304] = 99;
        let tracks = mds(&bytes);
        assert_eq!(tracks.len(), 1);
        assert_eq!(
            (tracks[0].number, tracks[0].offset, tracks[0].sectors),
            (1, 7, Some(99))
        );
        assert_eq!(
            (tracks[0].mode, tracks[0].format),
            (Mode::Mode1, SectorFormat::RAW_WITH_SUBCHANNEL)
        );
        bytes[16] = 2;
        assert_eq!(mds(&bytes), []);
        assert_eq!(mds(b"MEDIA DESCRIPTOR\x01"), []);
    }
}
