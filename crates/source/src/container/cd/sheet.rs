//! Sheets: what lies beside an image of a CD and says where its tracks are.
//!
//! Each format has a pure function from bytes to [`Track`]s; who calls it opens the files that the tracks name. Numbers are hostile: arithmetic saturates, and a
//! track whose numbers make no sense is left out or ends at the end of its file.

mod ccd;
mod cue;
mod mds;
mod nrg;
mod time;
mod toc;

pub use ccd::ccd;
pub use cue::cue;
pub use mds::mds;
pub use nrg::nrg;
pub use toc::toc;

use super::SectorFormat;

/// Tracks of a disc; sheets that list more are cut.
pub const TRACKS_MAX: usize = 99;

/// What a track holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Sound.
    Audio,
    /// Data of mode 1.
    Mode1,
    /// Data of mode 2, of either form or none.
    Mode2,
}

/// A track of a disc, and where it lies in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Its number, from 1.
    pub number: u32,
    /// Its session, from 1.
    pub session: u32,
    /// What it holds.
    pub mode: Mode,
    /// How its sectors are stored; audio is stored whole.
    pub format: SectorFormat,
    /// Name of the file, as the sheet says; empty where the format has one file, of a name that follows from the sheet's own.
    pub file: Vec<u8>,
    /// First byte in the file.
    pub offset: u64,
    /// Number of sectors; `None` if the track goes to the end of the file.
    pub sectors: Option<u64>,
}

impl Track {
    /// Whether it may hold a file system.
    pub fn is_data(&self) -> bool {
        self.mode != Mode::Audio
    }
}

/// The form of sectors of so many stored bytes, if there is one.
fn format_of(stored_bytes: u64) -> Option<SectorFormat> {
    let all = [
        SectorFormat::COOKED,
        SectorFormat::MODE_2,
        SectorFormat::RAW,
        SectorFormat::RAW_WITH_SUBCHANNEL,
    ];
    all.into_iter().find(|format| format.stride_bytes == stored_bytes)
}

/// The lines of a text, without line ends and surrounding blanks; no line feeds are needed.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// Words of a line; what stands in quotes is one.
fn words(line: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        let (body, end): (&[u8], fn(&u8) -> bool) = match first {
            b'"' => (&rest[1..], |byte| *byte == b'"'),
            _ => (rest, u8::is_ascii_whitespace),
        };
        let len = body.iter().position(end).unwrap_or(body.len());
        words.push(&body[..len]);
        rest = body.get(len + 1..).unwrap_or_default().trim_ascii_start();
    }
    words
}

/// A decimal number.
fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks() {
        assert_eq!(
            words(b"FILE \"a b.bin\" BINARY"),
            [&b"FILE"[..], b"a b.bin", b"BINARY"]
        );
        assert_eq!(words(b"FILE \"cut"), [&b"FILE"[..], b"cut"]);
        assert_eq!(words(b"  "), Vec::<&[u8]>::new());
    }
}
