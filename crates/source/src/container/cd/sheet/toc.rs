//! Tables of contents of cdrdao: `TRACK`, `DATAFILE` and `FILE` lines.

use super::time::sectors;
use super::{Mode, SectorFormat, TRACKS_MAX, Track, lines, number, words};

/// Bytes of a sample of sound, which lengths without colons count in `FILE` lines.
const SAMPLE_BYTES: u64 = 4;

/// The tracks of a table of contents.
pub fn toc(text: &[u8]) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    for line in lines(text) {
        let words = words(line);
        match &words[..] {
            [b"TRACK", kind, rest @ ..] if tracks.len() < TRACKS_MAX => {
                let count = u32::try_from(tracks.len()).unwrap_or(0);
                tracks.extend(track(kind, !rest.is_empty(), count.saturating_add(1)));
            }
            [b"DATAFILE", name, rest @ ..] => place(tracks.last_mut(), name, rest, 1),
            [b"FILE" | b"AUDIOFILE", name, rest @ ..] => place(tracks.last_mut(), name, rest, SAMPLE_BYTES),
            _ => {}
        }
    }
    tracks
}

fn track(kind: &[u8], has_subchannel: bool, number: u32) -> Option<Track> {
    let raw = if has_subchannel {
        SectorFormat::RAW_WITH_SUBCHANNEL
    } else {
        SectorFormat::RAW
    };
    let (mode, format) = match kind {
        b"AUDIO" => (Mode::Audio, raw),
        b"MODE1" => (Mode::Mode1, SectorFormat::COOKED),
        b"MODE1_RAW" => (Mode::Mode1, raw),
        b"MODE2" | b"MODE2_FORM_MIX" => (Mode::Mode2, SectorFormat::MODE_2),
        b"MODE2_FORM1" => (Mode::Mode2, SectorFormat::COOKED),
        b"MODE2_RAW" => (Mode::Mode2, raw),
        _ => return None,
    };
    Some(Track {
        number,
        session: 1,
        mode,
        format,
        file: Vec::new(),
        offset: 0,
        sectors: None,
    })
}

/// `#offset` in bytes, then for sound the start, then the length: as a time, or in bytes (samples for sound).
fn place(track: Option<&mut Track>, name: &[u8], rest: &[&[u8]], unit_bytes: u64) {
    // The first file of a track counts: others continue it.
    let Some(track) = track.filter(|track| track.file.is_empty()) else {
        return;
    };
    track.file = name.to_vec();
    let stride = track.format.stride_bytes;
    let bytes = |word: &[u8]| match sectors(word) {
        Some(sectors) => Some(sectors.saturating_mul(stride)),
        None => number(word).map(|number| number.saturating_mul(unit_bytes)),
    };
    let start = rest.iter().find_map(|word| number(word.strip_prefix(b"#")?));
    let mut times = rest
        .iter()
        .filter(|word| !word.starts_with(b"#") && !word.starts_with(b"//"))
        .map_while(|word| bytes(word));
    track.offset = start.unwrap_or(0);
    if unit_bytes > 1 {
        track.offset = track.offset.saturating_add(times.next().unwrap_or(0));
    }
    track.sectors = times.next().map(|bytes| bytes / stride);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_sound_are_placed() {
        let tracks = toc(b"CD_ROM\n\nTRACK MODE1_RAW\nNO COPY\nDATAFILE \"data.bin\" 00:10:00 // length\n\nTRACK AUDIO\nFILE \"data.bin\" #1764000 0 00:03:00\nTRACK MODE2_FORM1\nDATAFILE \"x\" #100\n");
        let shown: Vec<_> = tracks
            .iter()
            .map(|track| (track.number, track.mode, track.offset, track.sectors))
            .collect();
        assert_eq!(
            shown,
            [
                (1, Mode::Mode1, 0, Some(750)),
                (2, Mode::Audio, 1_764_000, Some(225)),
                (3, Mode::Mode2, 100, None),
            ]
        );
        assert_eq!(tracks[0].format, SectorFormat::RAW);
        assert_eq!(tracks[2].format, SectorFormat::COOKED);
    }

    #[test]
    fn subchannels_make_sectors_longer() {
        assert_eq!(
            toc(b"TRACK MODE1_RAW RW_RAW")[0].format,
            SectorFormat::RAW_WITH_SUBCHANNEL
        );
        assert_eq!(toc(b"TRACK NONSENSE\nFILE \"a\" 99999999999999999999 1"), []);
    }
}
