//! Nero's images: the tracks come first, the descriptions after them, found from the end. Layout as cdemu's libmirage documents it.

use super::{Mode, TRACKS_MAX, Track, format_of};
use crate::field::{be_u32, be_u64, u8_at};
use crate::{ReadAt, ReadError};

/// Chunks and bytes of descriptions that are read; real ones have some hundred bytes.
const CHUNKS_MAX: usize = 1024;
const BYTES_MAX: u64 = 1 << 20;
/// What stands before the tracks of a `DAO` chunk.
const DAO_HEAD: usize = 22;

/// The tracks of an image; none if it is not Nero's.
///
/// # Errors
///
/// When its end cannot be read.
pub fn nrg(image: &dyn ReadAt) -> Result<Vec<Track>, ReadError> {
    let Some(start) = description_start(image)? else {
        return Ok(Vec::new());
    };
    let len = image.len().saturating_sub(start).min(BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    image.read_exact_at(start, &mut bytes)?;
    Ok(chunks(&bytes))
}

/// Where descriptions start, by the last 12 bytes (`NER5`) or the last 8 (`NERO`).
fn description_start(image: &dyn ReadAt) -> Result<Option<u64>, ReadError> {
    let Some(at) = image.len().checked_sub(12) else {
        return Ok(None);
    };
    let mut end = [0; 12];
    image.read_exact_at(at, &mut end)?;
    Ok(match (end.starts_with(b"NER5"), end.get(4..8)) {
        (true, _) => be_u64(&end, 4),
        (false, Some(b"NERO")) => be_u32(&end, 8).map(u64::from),
        _ => None,
    })
}

fn chunks(bytes: &[u8]) -> Vec<Track> {
    let mut tracks = Vec::new();
    let (mut session, mut rest) = (1, bytes);
    for _ in 0..CHUNKS_MAX {
        let (Some(id), Some(len)) = (rest.get(..4), be_u32(rest, 4)) else {
            break;
        };
        let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(8);
        let body = rest.get(8..end).unwrap_or_default();
        match id {
            b"DAOX" => at_once(body, 42, session, &mut tracks),
            b"DAOI" => at_once(body, 30, session, &mut tracks),
            b"ETN2" => one_by_one(body, 32, session, &mut tracks),
            b"ETNF" => one_by_one(body, 20, session, &mut tracks),
            // How many tracks the session had that was described before.
            b"SINF" => session += 1,
            b"END!" => break,
            _ => {}
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    tracks
}

/// A disc written at once: per track its code, sector size, mode, and where its pregap, its start and its end are.
fn at_once(body: &[u8], step: usize, session: u32, tracks: &mut Vec<Track>) {
    let first = u8_at(body, 20).unwrap_or(1);
    let wide = step == 42;
    let blocks = body.get(DAO_HEAD..).unwrap_or_default().chunks_exact(step);
    for (number, block) in (u32::from(first)..).zip(blocks) {
        let place = |index: usize| {
            if wide {
                be_u64(block, 18 + index * 8)
            } else {
                be_u32(block, 18 + index * 4).map(u64::from)
            }
        };
        let range = place(1)
            .zip(place(2))
            .map(|(start, end)| (start, end.saturating_sub(start)));
        push((number, session), u8_at(block, 14), range, tracks);
    }
}

/// A disc written track by track: where each starts, how long it is, its mode.
fn one_by_one(body: &[u8], step: usize, session: u32, tracks: &mut Vec<Track>) {
    for block in body.chunks_exact(step) {
        let number = u32::try_from(tracks.len()).unwrap_or(0) + 1;
        let (range, mode) = if step == 32 {
            (be_u64(block, 0).zip(be_u64(block, 8)), be_u32(block, 16))
        } else {
            let range = be_u32(block, 0).zip(be_u32(block, 4));
            (
                range.map(|(start, len)| (start.into(), len.into())),
                be_u32(block, 8),
            )
        };
        let mode = mode.and_then(|mode| u8::try_from(mode).ok());
        push((number, session), mode, range, tracks);
    }
}

fn push((number, session): (u32, u32), code: Option<u8>, range: Option<(u64, u64)>, tracks: &mut Vec<Track>) {
    let (mode, stored) = match code {
        Some(0x00) => (Mode::Mode1, 2048),
        Some(0x02) => (Mode::Mode2, 2048),
        Some(0x03) => (Mode::Mode2, 2336),
        Some(0x05) => (Mode::Mode1, 2352),
        Some(0x06) => (Mode::Mode2, 2352),
        Some(0x07) => (Mode::Audio, 2352),
        Some(0x0f) => (Mode::Mode1, 2448),
        Some(0x10) => (Mode::Audio, 2448),
        Some(0x11) => (Mode::Mode2, 2448),
        _ => return,
    };
    let (Some((offset, len)), Some(format)) = (range, format_of(stored)) else {
        return;
    };
    if tracks.len() < TRACKS_MAX {
        tracks.push(Track {
            number,
            session,
            mode,
            format,
            file: Vec::new(),
            offset,
            sectors: Some(len / format.stride_bytes),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(chunks: &[u8], wide: bool) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        bytes.extend(chunks);
        if wide {
            bytes.extend(b"NER5");
            bytes.extend(100_u64.to_be_bytes());
        } else {
            bytes.extend(b"NERO");
            bytes.extend(100_u32.to_be_bytes());
        }
        bytes
    }

    fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
        [id, &u32::try_from(body.len()).expect("short").to_be_bytes(), body].concat()
    }

    fn shown(bytes: &Vec<u8>) -> Vec<(u32, u32, Mode, u64, Option<u64>)> {
        nrg(bytes)
            .expect("read")
            .iter()
            .map(|track| {
                (
                    track.number,
                    track.session,
                    track.mode,
                    track.offset,
                    track.sectors,
                )
            })
            .collect()
    }

    #[test]
    fn discs_written_at_once() {
        let mut body = vec![0; DAO_HEAD + 42];
        body[20] = 1;
        body[DAO_HEAD + 12..DAO_HEAD + 14].copy_from_slice(&2352_u16.to_be_bytes());
        body[DAO_HEAD + 14] = 5;
        body[DAO_HEAD + 26..DAO_HEAD + 34].copy_from_slice(&300_u64.to_be_bytes());
        body[DAO_HEAD + 34..DAO_HEAD + 42].copy_from_slice(&(300_u64 + 2352 * 4).to_be_bytes());
        let bytes = image(
            &[
                chunk(b"CUEX", &[1, 2]),
                chunk(b"DAOX", &body),
                chunk(b"END!", b""),
            ]
            .concat(),
            true,
        );
        assert_eq!(shown(&bytes), [(1, 1, Mode::Mode1, 300, Some(4))]);
    }

    #[test]
    fn discs_written_track_by_track_in_two_sessions() {
        let track = |offset: u32, len: u32, mode: u32| {
            let mut body = [offset, len, mode].map(u32::to_be_bytes).concat();
            body.resize(20, 0);
            chunk(b"ETNF", &body)
        };
        let chunks = [
            track(0, 2048 * 9, 0),
            chunk(b"SINF", &[0, 0, 0, 1]),
            track(40_000, 2336 * 2, 3),
            chunk(b"END!", b""),
        ];
        let bytes = image(&chunks.concat(), false);
        assert_eq!(
            shown(&bytes),
            [
                (1, 1, Mode::Mode1, 0, Some(9)),
                (2, 2, Mode::Mode2, 40_000, Some(2))
            ]
        );
    }

    #[test]
    fn others_have_no_tracks() {
        assert_eq!(shown(&vec![0; 100]), []);
        assert_eq!(shown(&vec![0; 3]), []);
        assert_eq!(shown(&image(&[0xff; 40], true)), []);
    }
}
