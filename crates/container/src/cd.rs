//! Compact discs behind a sheet: cue, toc, ccd, mds, nrg.
//!
//! The image is the user data of the tracks, 2048 bytes a sector, one track after the other as they lie in the files; a track of sound is zeros in it, so that what comes
//! behind it keeps its place. Sound is told of and not read.

use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::container::cd::sheet::{self, Track};
use ntt_source::container::cd::{Cooked, USER_BYTES};
use ntt_source::{ReadAt, SubRange};

use crate::backing::plain_file;
use crate::concat::{Concat, Piece};
use crate::layer::shown;
use crate::layout::{image, read_upto};
use crate::open::{Found, OpenError, Subject};

const FORMAT: &str = "CD sheet";
/// Longest sheet that is read; an nrg has its sheet at its end.
const SHEET_BYTES_MAX: u64 = 1 << 20;

/// Sheets are text, or have a magic that is no better: they are known by their names too.
pub(crate) fn matches(name: &[u8], head: &[u8], tail: &[u8]) -> bool {
    let ends = |magic: &[u8], from_end: usize| {
        let at = tail.len().checked_sub(from_end);
        at.and_then(|at| tail.get(at..))
            .is_some_and(|end| end.starts_with(magic))
    };
    match extension(name).as_slice() {
        b"cue" => contains(head, b"FILE"),
        b"toc" => contains(head, b"CD_") || contains(head, b"CD-ROM") || contains(head, b"TRACK"),
        b"ccd" => contains(head, b"[CloneCD]"),
        b"mds" => head.starts_with(b"MEDIA DESCRIPTOR"),
        b"nrg" => ends(b"NER5", 12) || ends(b"NERO", 8),
        _ => false,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

fn extension(name: &[u8]) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let tail = dot
        .and_then(|dot| name.get(dot.saturating_add(1)..))
        .unwrap_or_default();
    tail.to_ascii_lowercase()
}

/// The name of the file that a sheet without names belongs to.
fn sibling(name: &[u8], extension: &[u8]) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
    [name.get(..dot).unwrap_or_default(), b".", extension].concat()
}

pub(crate) fn open(subject: &Subject<'_>) -> Result<Found, OpenError> {
    let kind = extension(subject.name);
    let tracks = match kind.as_slice() {
        b"nrg" => {
            sheet::nrg(subject.source).map_err(|error| OpenError::unreadable(FORMAT, "the sheet", &error))?
        }
        _ => {
            let bytes = read_upto(subject.source, 0, SHEET_BYTES_MAX)
                .map_err(|error| OpenError::unreadable(FORMAT, "the sheet", &error))?;
            match kind.as_slice() {
                b"cue" => sheet::cue(&bytes),
                b"toc" => sheet::toc(&bytes),
                b"ccd" => sheet::ccd(&bytes),
                _ => sheet::mds(&bytes),
            }
        }
    };
    if tracks.is_empty() {
        return Err(OpenError::corrupt(FORMAT, "it lists no tracks"));
    }
    let mut disc = Disc {
        layer: subject.layer(format!("CD {}", shown(&kind))),
        findings: Vec::new(),
        concat: Concat::default(),
        subject,
        kind: &kind,
    };
    disc.layer.block_bytes = USER_BYTES;
    for (at, track) in tracks.iter().enumerate() {
        let next = tracks.get(at.saturating_add(1));
        disc.track(track, next)?;
    }
    Ok(Found::new(disc.layer, disc.findings, image(disc.concat)))
}

struct Disc<'a> {
    layer: crate::ContainerLayer,
    findings: Vec<Finding>,
    concat: Concat,
    subject: &'a Subject<'a>,
    kind: &'a [u8],
}

impl Disc<'_> {
    /// The file of a track: the sheet's own for nrg, one of the same name where the sheet gives none.
    fn file(&mut self, track: &Track) -> Result<Option<Arc<dyn ReadAt>>, OpenError> {
        if self.kind == b"nrg" {
            return Ok(Some(self.subject.source.clone()));
        }
        let name = match (track.file.as_slice(), self.kind) {
            ([], b"ccd") => sibling(self.subject.name, b"img"),
            ([], _) => sibling(self.subject.name, b"mdf"),
            (b"*.mdf", _) => sibling(self.subject.name, b"mdf"),
            (name, _) => name.to_vec(),
        };
        let found = plain_file(self.subject, &name)?;
        let name = shown(&name);
        let (known, detail) = match &found {
            Some(file) => {
                if self.layer.files.contains(&name) {
                    return Ok(found);
                }
                self.layer.stored_bytes = self.layer.stored_bytes.saturating_add(file.len());
                (&mut self.layer.files, None)
            }
            None => (
                &mut self.layer.missing,
                Some(format!("{FORMAT}: the file {name} is missing")),
            ),
        };
        if !known.contains(&name) {
            known.push(name);
            self.findings
                .extend(detail.map(|detail| {
                    Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail)
                }));
        }
        Ok(found)
    }

    fn track(&mut self, track: &Track, next: Option<&Track>) -> Result<(), OpenError> {
        let file = self.file(track)?;
        let stride = track.format.stride_bytes.max(1);
        // A track without a length goes to the next one in the same file, or to the end of it.
        let end = next
            .filter(|next| next.file == track.file && next.offset > track.offset)
            .map(|next| next.offset)
            .or_else(|| file.as_ref().map(|file| file.len()));
        let stored = end.unwrap_or(0).saturating_sub(track.offset);
        let sectors = track
            .sectors
            .unwrap_or_else(|| stored.checked_div(stride).unwrap_or(0));
        let len = sectors.saturating_mul(USER_BYTES);
        let what = if track.is_data() { "data" } else { "sound" };
        self.layer.fact(
            &format!("track {}", track.number),
            format!(
                "{what}, session {}, {sectors} sectors of {stride} bytes",
                track.session
            ),
        );
        if !track.is_data() {
            let detail = format!("{FORMAT}: track {} is sound, which is not read", track.number);
            self.findings.push(
                Finding::new(Severity::Warning, Layer::Image, FindingCode::Unsupported, detail)
                    .at(self.concat_len()),
            );
        }
        let piece = |source: Option<Arc<dyn ReadAt>>, len, missing: &str| Piece {
            source,
            offset: 0,
            len,
            missing: missing.to_owned(),
        };
        match file {
            _ if !track.is_data() => self.concat.push(piece(None, len, "")),
            None => self.concat.push(piece(None, len, "its file is missing")),
            Some(file) => {
                let range = ByteRange::new(track.offset, sectors.saturating_mul(stride));
                let whole = SubRange::new(file.clone(), ByteRange::new(0, file.len()));
                let cooked: Arc<dyn ReadAt> = Arc::new(Cooked::new(whole, track.format, range));
                let there = cooked.len().min(len);
                self.concat.push(piece(Some(cooked), there, ""));
                self.concat
                    .push(piece(None, len.saturating_sub(there), "its file ends before"));
            }
        }
        Ok(())
    }

    fn concat_len(&self) -> u64 {
        use crate::layout::Layout as _;
        self.concat.len()
    }
}
