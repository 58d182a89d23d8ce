//! Cue sheets (CDRWIN): `FILE`, `TRACK`, `INDEX` lines.

use super::time::sectors;
use super::{Mode, SectorFormat, TRACKS_MAX, Track, format_of, lines, number, words};

/// A track while its lines are read: where it starts in its file, and where its pregap does.
struct Open {
    track: Track,
    gap: Option<u64>,
    start: Option<u64>,
}

/// The tracks of a cue sheet. Files of wave sound and the like are named, but their offsets are those of raw sectors.
pub fn cue(text: &[u8]) -> Vec<Track> {
    let mut open: Vec<Open> = Vec::new();
    let (mut file, mut session) = (Vec::new(), 1);
    for line in lines(text) {
        let words = words(line);
        let keyword = words
            .first()
            .map(|word| word.to_ascii_uppercase())
            .unwrap_or_default();
        match (keyword.as_slice(), &words[..]) {
            (b"FILE", [_, name, ..]) => file = name.to_vec(),
            (b"REM", [_, what, value, ..]) if what.eq_ignore_ascii_case(b"SESSION") => {
                session = number(value)
                    .and_then(|value| u32::try_from(value).ok())
                    .unwrap_or(session);
            }
            (b"TRACK", [_, index, kind, ..]) if open.len() < TRACKS_MAX => {
                open.extend(track(index, kind, &file, session));
            }
            (b"INDEX", [_, index, time]) => {
                if let Some(last) = open.last_mut() {
                    match number(index) {
                        Some(0) => last.gap = sectors(time),
                        Some(1) => last.start = sectors(time),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    placed(open)
}

fn track(index: &[u8], kind: &[u8], file: &[u8], session: u32) -> Option<Open> {
    let kind = kind.to_ascii_uppercase();
    let size = kind.split(|byte| *byte == b'/').nth(1).and_then(number);
    let (mode, format) = match kind.get(..5)? {
        b"AUDIO" => (Mode::Audio, SectorFormat::RAW),
        b"MODE1" => (Mode::Mode1, format_of(size?)?),
        b"MODE2" | b"CDI/2" => (Mode::Mode2, format_of(size?)?),
        _ => return None,
    };
    Some(Open {
        track: Track {
            number: u32::try_from(number(index)?).ok()?,
            session,
            mode,
            format,
            file: file.to_vec(),
            offset: 0,
            sectors: None,
        },
        gap: None,
        start: None,
    })
}

/// Times count sectors from the start of the file, whose tracks may have sectors of different lengths.
fn placed(open: Vec<Open>) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    let mut before: Option<(u64, u64)> = None;
    for one in open {
        let start = one.start.or(one.gap).unwrap_or(0);
        let mut track = one.track;
        let last = tracks.last_mut().filter(|last| last.file == track.file);
        track.offset = match (&last, before) {
            (Some(last), Some((sector, offset))) => {
                let sectors = start.saturating_sub(sector);
                offset.saturating_add(sectors.saturating_mul(last.format.stride_bytes))
            }
            _ => start.saturating_mul(track.format.stride_bytes),
        };
        if let (Some(last), Some((sector, _))) = (last, before) {
            last.sectors = Some(one.gap.unwrap_or(start).saturating_sub(sector));
        }
        before = Some((start, track.offset));
        tracks.push(track);
    }
    tracks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_disc_in_one_file() {
        let tracks = cue(b"REM made by hand\r\nFILE \"my disc.bin\" BINARY\r\n\
            TRACK 01 MODE1/2352\r\n  INDEX 01 00:00:00\r\n\
            TRACK 02 AUDIO\r\n  PREGAP 00:02:00\r\n  INDEX 00 00:10:00\r\n  INDEX 01 00:12:00\r\n\
            REM SESSION 02\r\nFILE second.iso BINARY\r\nTRACK 03 MODE2/2336\r\n INDEX 01 00:00:00\r\n");
        let shown: Vec<_> = tracks
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
            .collect();
        assert_eq!(
            shown,
            [
                (1, 1, Mode::Mode1, 0, Some(750)),
                (2, 1, Mode::Audio, 900 * 2352, None),
                (3, 2, Mode::Mode2, 0, None),
            ]
        );
        assert_eq!(tracks[0].file, b"my disc.bin");
        assert_eq!(tracks[2].format, SectorFormat::MODE_2);
        assert!(tracks[0].is_data() && !tracks[1].is_data());
    }

    #[test]
    fn sectors_of_different_lengths_are_added_up() {
        let tracks = cue(b"FILE a BINARY\nTRACK 1 MODE1/2048\nINDEX 1 0:0:0\nTRACK 2 AUDIO\nINDEX 1 0:0:10\nTRACK 3 AUDIO\nINDEX 1 0:0:20");
        assert_eq!(tracks[1].offset, 10 * 2048);
        assert_eq!(tracks[2].offset, 10 * 2048 + 10 * 2352);
    }

    #[test]
    fn nonsense_gives_no_track() {
        assert_eq!(cue(b"TRACK 01 MODE9/1\nINDEX 01 x\n\"\"\"\nTRACK\nFILE"), []);
        assert_eq!(cue(&[0xff; 1000]), []);
    }
}
