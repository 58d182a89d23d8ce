//! CloneCD's control files: sections with `Key=Value` lines. The image (`.img`) has whole sectors of all tracks, from sector 0 of the disc on.

use super::{Mode, SectorFormat, TRACKS_MAX, Track, lines, number};

/// A line of the disc's table of contents.
#[derive(Default)]
struct Entry {
    session: u32,
    point: u64,
    control: u64,
    sector: u64,
}

/// The tracks of a control file.
pub fn ccd(text: &[u8]) -> Vec<Track> {
    let (mut entries, mut modes) = (Vec::<Entry>::new(), Vec::<(u64, u64)>::new());
    let mut section: &[u8] = b"";
    for line in lines(text) {
        if line.starts_with(b"[") {
            section = line;
            if line.starts_with(b"[Entry") && entries.len() < TRACKS_MAX * 4 {
                entries.push(Entry::default());
            }
            continue;
        }
        let Some((key, value)) = split(line) else {
            continue;
        };
        if section.starts_with(b"[Entry")
            && let Some(entry) = entries.last_mut()
        {
            entry.set(key, value);
        }
        let track = section
            .strip_prefix(b"[TRACK ")
            .and_then(|rest| number(rest.strip_suffix(b"]")?));
        if let Some(track) = track.filter(|_| key == b"MODE") {
            modes.push((track, value));
        }
    }
    tracks(&entries, &modes)
}

fn split(line: &[u8]) -> Option<(&[u8], u64)> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let value = line.get(at + 1..)?.trim_ascii();
    let value = match value.strip_prefix(b"0x") {
        Some(digits) => u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?,
        None => number(value)?,
    };
    Some((line.get(..at)?.trim_ascii(), value))
}

impl Entry {
    fn set(&mut self, key: &[u8], value: u64) {
        match key {
            b"Session" => self.session = u32::try_from(value).unwrap_or(0),
            b"Point" => self.point = value,
            b"Control" => self.control = value,
            b"PLBA" => self.sector = value,
            _ => {}
        }
    }
}

fn tracks(entries: &[Entry], modes: &[(u64, u64)]) -> Vec<Track> {
    let is_track = |entry: &&Entry| (1..=99).contains(&entry.point);
    let starts = entries
        .iter()
        .filter(|entry| is_track(entry) || entry.point == 0xa2);
    let mut starts: Vec<u64> = starts.map(|entry| entry.sector).collect();
    starts.sort_unstable();
    let track = |entry: &Entry| {
        let mode = modes.iter().find(|(number, _)| *number == entry.point);
        let next = starts.iter().find(|start| **start > entry.sector);
        Track {
            number: u32::try_from(entry.point).unwrap_or(0),
            session: entry.session,
            mode: match mode {
                Some((_, 2)) => Mode::Mode2,
                Some((_, 1)) => Mode::Mode1,
                // Bit 2 of the control field tells data from sound (ECMA-130, 22.3.1).
                None if entry.control & 4 != 0 => Mode::Mode1,
                _ => Mode::Audio,
            },
            format: SectorFormat::RAW,
            file: Vec::new(),
            offset: entry.sector.saturating_mul(SectorFormat::RAW.stride_bytes),
            sectors: next.map(|next| next.saturating_sub(entry.sector)),
        }
    };
    entries
        .iter()
        .filter(is_track)
        .take(TRACKS_MAX)
        .map(track)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_end_where_the_next_or_the_lead_out_starts() {
        let text = b"[CloneCD]\r\nVersion=3\r\n[Entry 0]\r\nSession=1\r\nPoint=0xa2\r\nControl=0x04\r\nPLBA=2000\r\n\
            [Entry 1]\r\nSession=1\r\nPoint=0x01\r\nControl=0x04\r\nPLBA=0\r\n\
            [Entry 2]\r\nSession=1\r\nPoint=0x02\r\nControl=0x00\r\nPLBA=500\r\n\
            [TRACK 1]\r\nMODE=2\r\nINDEX 1=0\r\n";
        let shown: Vec<_> = ccd(text)
            .iter()
            .map(|track| (track.number, track.mode, track.offset, track.sectors))
            .collect();
        assert_eq!(
            shown,
            [
                (1, Mode::Mode2, 0, Some(500)),
                (2, Mode::Audio, 500 * 2352, Some(1500))
            ]
        );
    }

    #[test]
    fn negative_and_broken_numbers_are_passed_over() {
        assert_eq!(ccd(b"[Entry 0]\nPoint=-1\nPLBA=x\n=\n[TRACK ]\nMODE"), []);
    }
}
