//! UDF 1.02 to 2.60 (OSTA), which is a profile of ECMA-167; see `docs/formats/udf.md` for what is read and what is not.
//!
//! `anchor` recognises a disc and reads its descriptors, `session` opens a logical volume, `space` and `tables` map partitions, `icb`, `allocation`,
//! `attributes` and `inode` read files, `directory` directories; `walk` emits the trees, `lost` what no name leads to after damage.
//!
//! Memory does not follow the size of the disc: what remains of a scan are sparse bitmaps of the sectors of file entries and directories, and the
//! directories that wait to be entered.

mod address;
mod allocation;
mod anchor;
mod attributes;
mod bridge;
mod content;
mod descriptor;
mod directory;
mod facts;
mod free;
mod icb;
mod inode;
mod lost;
mod numbers;
mod session;
mod space;
mod tables;
mod tag;
mod text;
mod walk;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use crate::disc::Disc;
use crate::{Candidate, Error, Facts, Family, FileSystem, ScanOptions, Visitor, VolumeSource};
use anchor::{Anchor, anchor_in};
use session::Session;
use space::{Ground, Map};
use walk::Walk;

/// How far after the end of a session the anchor of the next one is looked for: lead-out, lead-in and pregap of a CD are 11,400
/// sectors, and the anchor is 256 sectors after the start.
const SEARCH_SECTORS: u64 = 12_256;
/// Sessions that are looked at; a CD holds fewer than 50.
const SESSIONS_MAX: usize = 128;
/// Sectors read at a time while searching.
const STEP_SECTORS: u64 = 64;

/// Recognises a disc by its volume recognition sequence or by an anchor; either is enough.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let recognised = anchor::recognised(source);
    let anchors = anchor::anchors(source);
    if recognised.is_none() && anchors.is_empty() {
        return None;
    }
    Some(Candidate {
        family: Family::Udf,
        type_name: "udf".to_owned(),
        evidence: facts::evidence(recognised.map(|(name, _)| name), &anchors),
        size_bytes: source.len(),
    })
}

/// Opens a disc: the logical volumes of all its sessions.
///
/// # Errors
///
/// When no anchor leads to a logical volume descriptor and the descriptors of its partitions, in the main or the reserve sequence, and none
/// are found without an anchor.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let disc = Disc::new(source, image_offset);
    let sessions = sessions(&disc);
    let Some(last) = sessions.first() else {
        return Err(no_volume(&disc));
    };
    let facts = facts::facts(&disc, &sessions, last);
    let findings = beyond_end(&disc, facts.size_bytes);
    Ok(Box::new(Volume {
        disc,
        sessions,
        facts,
        findings,
    }))
}

fn no_volume(disc: &Disc<'_>) -> Error {
    let structure = "UDF volume descriptors";
    let place = 256 * 2048;
    match disc.fill(place, &mut [0; 512]) {
        Err(error @ (ReadError::Unread { .. } | ReadError::Io { .. })) => Error::Read {
            structure,
            source: error,
        },
        _ => Error::Corrupt {
            structure,
            detail: "no anchor leads to a logical volume".to_owned(),
            image_offset: disc.in_image(place),
        },
    }
}

/// R12: the image is shorter than the file system.
fn beyond_end(disc: &Disc<'_>, size_bytes: u64) -> Vec<Finding> {
    let detail = format!("the volume has {size_bytes} bytes, the image only {}", disc.len());
    let kind = (Severity::Loss, Layer::FileSystem, FindingCode::BeyondEnd);
    let finding = (size_bytes > disc.len()).then(|| disc.finding(kind, disc.len(), detail));
    finding.into_iter().collect()
}

/// All sessions, the last one first.
fn sessions(disc: &Disc<'_>) -> Vec<Session> {
    let source = disc.source();
    let mut sessions: Vec<Session> = Vec::new();
    for anchors in by_sequence(anchor::anchors(source)) {
        sessions.extend(Session::open(disc, source, anchors));
    }
    if sessions.is_empty() {
        sessions.extend(Session::without_anchor(disc, source));
    }
    sessions.sort_by_key(start_of);
    let mut index = 0;
    while let Some(session) = sessions.get(index).filter(|_| index < SESSIONS_MAX) {
        let next = next_anchor(disc, session);
        let is_new = |anchor: &Anchor| {
            let known = sessions.iter().flat_map(|session| &session.anchors);
            known.into_iter().all(|known| known.main != anchor.main)
        };
        if let Some(anchor) = next.filter(is_new) {
            sessions.extend(Session::open(disc, source, vec![anchor]));
            sessions.sort_by_key(start_of);
        }
        index = index.saturating_add(1);
    }
    sessions.reverse();
    sessions
}

fn start_of(session: &Session) -> u32 {
    session.anchors.first().map_or(0, |anchor| anchor.main.sector)
}

/// Anchors in groups that lead to the same main sequence.
fn by_sequence(anchors: Vec<Anchor>) -> Vec<Vec<Anchor>> {
    let mut groups: Vec<Vec<Anchor>> = Vec::new();
    for anchor in anchors {
        let same = |group: &&mut Vec<Anchor>| group.first().is_some_and(|first| first.main == anchor.main);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(anchor),
            None => groups.push(vec![anchor]),
        }
    }
    groups
}

/// The first anchor after the end of a session that leads to a sequence which is also after it.
fn next_anchor(disc: &Disc<'_>, session: &Session) -> Option<Anchor> {
    let size = session.sector_bytes;
    let first = session.end().div_ceil(size.into());
    let end = first
        .saturating_add(SEARCH_SECTORS)
        .min(disc.len().checked_div(size.into())?);
    let sector_len = usize::try_from(size).ok()?;
    let mut sector = first;
    while sector < end {
        let count = STEP_SECTORS.min(end.saturating_sub(sector));
        let len = usize::try_from(count.saturating_mul(size.into())).ok()?;
        let bytes = disc
            .bytes(sector.saturating_mul(size.into()), len)
            .unwrap_or_default();
        let found = bytes
            .chunks(sector_len)
            .zip(sector..)
            .find_map(|(bytes, sector)| {
                let anchor = anchor_in(bytes, size, u32::try_from(sector).ok()?)?;
                (u64::from(anchor.main.sector) >= first).then_some(anchor)
            });
        if found.is_some() {
            return found;
        }
        sector = sector.saturating_add(count);
    }
    None
}

/// An open disc.
struct Volume<'a> {
    disc: Disc<'a>,
    sessions: Vec<Session>,
    facts: Facts,
    findings: Vec<Finding>,
}

impl Volume<'_> {
    /// The partition in which everything lies, and its map, if there is just one.
    fn only_partition(&self) -> Option<(&Session, u16, Ground)> {
        let [session] = self.sessions.as_slice() else {
            return None;
        };
        let mut lower = session
            .space
            .maps
            .iter()
            .zip(0_u16..)
            .filter_map(|(map, reference)| match map {
                Map::Plain(ground) | Map::Spared { ground, .. } => Some((session, reference, *ground)),
                _ => None,
            });
        let first = lower.next()?;
        lower.next().is_none().then_some(first)
    }
}

impl FileSystem for Volume<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let mut bridge = bridge::Bridge::new(&self.disc);
        let mut watched = |event| {
            bridge.see(&event);
            visitor.visit(event)
        };
        let mut walk = Walk::new(&self.disc, options, &mut watched);
        for finding in &self.findings {
            walk.out.finding(finding.clone())?;
        }
        for (index, session) in self.sessions.iter().enumerate() {
            walk.session(session, index > 0)?;
        }
        walk.finish()?;
        bridge.report(options, visitor)?;
        Ok(())
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let (disc, end) = (&self.disc, self.facts.size_bytes.min(self.disc.len()));
        let mut tell = |from: u64, to: u64| {
            if from < to {
                each(ByteRange::new(disc.in_image(from), to.saturating_sub(from)));
            }
        };
        let Some((session, reference, ground)) = self.only_partition() else {
            tell(0, end);
            return Ok(());
        };
        let size = session.space.block_bytes;
        let at = |block: u64| ground.offset.saturating_add(block.saturating_mul(size)).min(end);
        tell(0, ground.offset.min(end));
        free::used(disc, session, reference, &mut |first, count| {
            tell(at(first), at(first.saturating_add(count)));
        });
        tell(ground.range(size).end().min(end), end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_not_recognised() {
        assert_eq!(probe(&vec![0x42; 2 << 20]), None);
        assert_eq!(probe(&vec![0; 100]), None);
        assert!(matches!(
            open(Box::new(vec![0; 2 << 20]), 0),
            Err(Error::Corrupt { .. })
        ));
    }

    #[test]
    fn a_recognition_sequence_alone_is_named_but_cannot_be_opened() {
        let mut bytes = vec![0; 2 << 20];
        for (at, name) in [(32_768, b"BEA01"), (34_816, b"NSR03"), (36_864, b"TEA01")] {
            bytes[at + 1..at + 6].copy_from_slice(name);
        }
        let candidate = probe(&bytes).expect("a candidate");
        assert_eq!(candidate.evidence, "NSR03 in the volume recognition sequence");
        assert!(open(Box::new(bytes), 0).is_err());
    }
}
