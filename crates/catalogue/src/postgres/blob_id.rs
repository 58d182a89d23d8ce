//! The row ids of contents: the first 63 bits of the digest, so that one small index finds a content by digest and by row.
//!
//! Two digests may begin alike: by chance 100 million contents have such a pair in one of 2,000 catalogues, and whoever wants to can make one.
//! The content that comes later takes the next free id. Ids are never given back, so all ids before that of a content were taken when it came; a
//! search goes up from the first until it meets the content or a free id. Two transactions that give the same id meet at the primary key, and the
//! later one is run again.

use std::collections::BTreeMap;

use ntt_model::BlobHash;
use postgres::Row;

use super::connection::{Connection, get};
use super::digest_map::{DigestMap, IdMap, IdSet};
use super::media::unsigned;
use crate::Error;

/// Ids that a content can have. To fill all of one content's takes more than 2^50 attempts.
pub(super) const CHOICES: i64 = 8;

/// What is known of a content that is there.
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) size: u64,
    pub(super) lacks_sha256: bool,
    pub(super) lacks_type: bool,
}

/// Where a content is, or where it goes.
pub(super) enum Place {
    /// It is there.
    Known(Known),
    /// It is not there; this is its id.
    Free(i64),
}

/// The id of a content unless its digest begins like an earlier one.
pub(super) fn first(hash: &BlobHash) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1).cast_signed()
}

/// Looks for contents, which come ascending, each once; tells the place of each. One that is `expected` to be new goes unseen to the first of its ids;
/// if something is there, it meets the primary key.
///
/// # Errors
///
/// [`Error::Conflict`] if [`CHOICES`] others begin like one of them.
pub(super) fn look(
    connection: &Connection,
    hashes: &[&BlobHash],
    expected: impl Fn(usize) -> bool,
) -> Result<Vec<Place>, Error> {
    let mut search = Search::new(hashes);
    let mut wanted: Vec<usize> = (0..hashes.len())
        .filter(|index| !(expected(*index) && search.expect(*index)))
        .collect();
    for step in 0..CHOICES {
        if wanted.is_empty() {
            break;
        }
        wanted = search.step(connection, &wanted, step)?;
    }
    search.finish()
}

/// Ids of those contents that are there.
pub(super) fn ids<'h>(
    connection: &Connection,
    hashes: impl IntoIterator<Item = &'h BlobHash>,
) -> Result<DigestMap<i64>, Error> {
    let mut hashes: Vec<&BlobHash> = hashes.into_iter().collect();
    hashes.sort_unstable();
    hashes.dedup();
    let places = look(connection, &hashes, |_| false)?;
    let known = hashes.iter().zip(places).filter_map(|(hash, place)| match place {
        Place::Known(known) => Some((**hash, known.id)),
        Place::Free(_) => None,
    });
    Ok(known.collect())
}

/// A search for contents by their positions in a list.
struct Search<'h> {
    hashes: &'h [&'h BlobHash],
    places: Vec<Option<Place>>,
    /// Free ids that one of them has now.
    given: IdSet,
}

impl<'h> Search<'h> {
    fn new(hashes: &'h [&'h BlobHash]) -> Self {
        Self {
            hashes,
            places: hashes.iter().map(|_| None).collect(),
            given: IdSet::default(),
        }
    }

    /// The id that is `step` after the first of a content.
    fn id(&self, index: usize, step: i64) -> i64 {
        self.hashes
            .get(index)
            .map_or(0, |hash| first(hash).saturating_add(step))
    }

    fn put(&mut self, index: usize, found: Place) {
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(found);
        }
    }

    /// Gives a content the first of its ids, unless another of these has it.
    fn expect(&mut self, index: usize) -> bool {
        let id = self.id(index, 0);
        let is_free = self.given.insert(id);
        if is_free {
            self.put(index, Place::Free(id));
        }
        is_free
    }

    /// Looks at the id that is `step` after the first of each; returns those for which it is another's.
    fn step(&mut self, connection: &Connection, wanted: &[usize], step: i64) -> Result<Vec<usize>, Error> {
        let ids: Vec<i64> = wanted.iter().map(|index| self.id(*index, step)).collect();
        // Behind a SELECT: a planner that sees the ids weighs every one of them.
        let sql = "SELECT id, hash, size, sha256 IS NULL, content_type IS NULL FROM blob \
                   WHERE id = ANY ((SELECT $1)::int8[])";
        let mut there = IdMap::default();
        for row in connection.query(sql, &[&ids])? {
            there.insert(get::<i64>(&row, 0)?, row);
        }
        let mut others = Vec::new();
        for (index, id) in wanted.iter().zip(ids) {
            let hash = self.hashes.get(*index).map(|hash| hash.as_bytes().as_slice());
            match there.get(&id) {
                Some(row) if Some(get::<&[u8]>(row, 1)?) == hash => {
                    self.put(*index, Place::Known(known(row)?));
                }
                None if self.given.insert(id) => self.put(*index, Place::Free(id)),
                _ => others.push(*index),
            }
        }
        Ok(others)
    }

    fn finish(self) -> Result<Vec<Place>, Error> {
        let crowded = |hash: &BlobHash| Error::Conflict(format!("{CHOICES} contents begin like {hash}"));
        let places = self.places.into_iter().zip(self.hashes);
        places
            .map(|(place, hash)| place.ok_or_else(|| crowded(hash)))
            .collect()
    }
}

fn known(row: &Row) -> Result<Known, Error> {
    Ok(Known {
        id: get(row, 0)?,
        size: unsigned(row, 2)?,
        lacks_sha256: get(row, 3)?,
        lacks_type: get(row, 4)?,
    })
}

/// Brings rows that come by id into the order of their digests, which is the same but for digests that begin alike.
pub(super) struct ByDigest<T> {
    waiting: BTreeMap<BlobHash, T>,
}

impl<T> Default for ByDigest<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> ByDigest<T> {
    /// Takes the next row; returns those that no later one can come before.
    pub(super) fn push(&mut self, id: i64, hash: BlobHash, row: T) -> Vec<T> {
        self.waiting.insert(hash, row);
        let mut ready = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if first(entry.key()).saturating_add(CHOICES) > id {
                break;
            }
            ready.push(entry.remove());
        }
        ready
    }

    /// What is left, in order.
    pub(super) fn finish(self) -> impl Iterator<Item = T> {
        self.waiting.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(first: u64, last: u8) -> BlobHash {
        let mut bytes = [last; 32];
        bytes[..8].copy_from_slice(&(first << 1).to_be_bytes());
        BlobHash::from_bytes(bytes)
    }

    #[test]
    fn ids_are_the_first_63_bits_and_never_negative() {
        assert_eq!(first(&hash(5, 0)), 5);
        assert_eq!(first(&BlobHash::from_bytes([0xFF; 32])), i64::MAX);
        assert_eq!(first(&BlobHash::from_bytes([0; 32])), 0);
    }

    #[test]
    fn rows_by_id_come_out_by_digest() {
        // The second begins like the first and came later; the third begins with the id that the second has.
        let rows = [
            (7, hash(7, 9)),
            (8, hash(7, 1)),
            (9, hash(8, 0)),
            (50, hash(50, 0)),
        ];
        let mut sorted = ByDigest::default();
        let mut out: Vec<BlobHash> = Vec::new();
        for (id, hash) in rows {
            out.extend(sorted.push(id, hash, hash));
        }
        assert_eq!(out.len(), 3, "what no other can come before does not wait");
        out.extend(sorted.finish());
        assert_eq!(out, [hash(7, 1), hash(7, 9), hash(8, 0), hash(50, 0)]);
    }
}
