//! The list of a sealed pack's members, `packs/<id>.idx`.
//!
//! Text, one line a member: hash, byte offset of the content, length, SHA-256 or `-`. Then `pack <BLAKE3 of the tar> <length>` and
//! `list <BLAKE3 of all lines before>`.

use ntt_model::blob::{hex, unhex};
use ntt_model::{BlobHash, Sha256};

use crate::{BlobInfo, Location, PackId};

/// One member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) hash: BlobHash,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) sha256: Option<Sha256>,
}

impl Line {
    /// What the index says of it.
    pub(crate) const fn info(&self, pack: PackId) -> BlobInfo {
        BlobInfo {
            hash: self.hash,
            size: self.size,
            sha256: self.sha256,
            location: Location::Packed {
                pack,
                offset: self.offset,
            },
        }
    }
}

/// The whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackList {
    pub(crate) lines: Vec<Line>,
    pub(crate) pack_bytes: u64,
    pub(crate) pack_digest: [u8; 32],
}

impl PackList {
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let sha256 = line
                .sha256
                .map_or_else(|| "-".to_owned(), |sha256| sha256.to_hex());
            text.push_str(&format!("{} {} {} {sha256}\n", line.hash, line.offset, line.size));
        }
        text.push_str(&format!("pack {} {}\n", hex(&self.pack_digest), self.pack_bytes));
        let digest = blake3::hash(text.as_bytes());
        text.push_str(&format!("list {}\n", digest.to_hex()));
        text
    }

    /// Reads and checks the list; the error says what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "bytes that are no text".to_owned())?;
        let body = text.trim_end_matches('\n');
        let (body, last) = body.rsplit_once('\n').ok_or("no trailer")?;
        let covered = text.get(..body.len() + 1).unwrap_or_default();
        let digest = last
            .strip_prefix("list ")
            .and_then(unhex::<32>)
            .ok_or("no digest of the list")?;
        if blake3::hash(covered.as_bytes()).as_bytes() != &digest
            || text.len() != covered.len() + last.len() + 1
        {
            return Err("another digest of the list".to_owned());
        }
        let (lines, pack) = body.rsplit_once('\n').unwrap_or(("", body));
        let pack = pack
            .strip_prefix("pack ")
            .and_then(|pack| pack.split_once(' '))
            .ok_or("no digest of the pack")?;
        let pack_digest = unhex(pack.0).ok_or("no digest of the pack")?;
        let pack_bytes = pack.1.parse().map_err(|_| "no length of the pack")?;
        let lines = lines
            .lines()
            .map(|line| parse_line(line).ok_or_else(|| format!("line {line:?}")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            lines,
            pack_bytes,
            pack_digest,
        })
    }
}

fn parse_line(line: &str) -> Option<Line> {
    let mut fields = line.split(' ');
    let (hash, offset, size) = (
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
    );
    let sha256 = match fields.next()? {
        "-" => None,
        digest => Some(digest.parse().ok()?),
    };
    fields.next().is_none().then_some(Line {
        hash,
        offset,
        size,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip_and_any_flipped_bit_is_seen() {
        let line = Line {
            hash: BlobHash::of(b"x"),
            offset: 512,
            size: 1,
            sha256: Some(Sha256::from_bytes([3; 32])),
        };
        let list = PackList {
            lines: vec![line, Line { sha256: None, ..line }],
            pack_bytes: 3072,
            pack_digest: [7; 32],
        };
        let text = list.to_text().into_bytes();
        assert_eq!(PackList::parse(&text), Ok(list));
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 1;
            assert!(PackList::parse(&flipped).is_err(), "byte {at}");
        }
        let empty = PackList {
            lines: Vec::new(),
            pack_bytes: 1024,
            pack_digest: [0; 32],
        };
        assert_eq!(PackList::parse(empty.to_text().as_bytes()), Ok(empty));
    }
}
