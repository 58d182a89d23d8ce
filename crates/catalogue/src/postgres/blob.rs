//! Rows of blobs.

use std::collections::HashMap;

use ntt_model::{BlobHash, ScanId, Sha256, Timestamp};
use postgres::Row;

use super::blob_id::{self, ByDigest, Known, Place};
use super::connection::{Connection, Target, get};
use super::digest_map::DigestMap;
use super::media::{fixed, time, unsigned};
use super::wire::Rows;
use crate::Error;
use crate::rows::BlobRow;

/// Blobs read in one go.
const PAGE: u32 = 2048;

/// What is known of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NewBlob<'b> {
    pub(super) hash: BlobHash,
    pub(super) size: u64,
    pub(super) sha256: Option<&'b Sha256>,
    pub(super) content_type: Option<&'b str>,
    /// Whether it is expected not to be there, and need not be looked for.
    pub(super) is_expected: bool,
}

/// Adds blobs, or completes what is known of them; returns their row ids. They come in the order of the hashes, each once. Every one that is not expected
/// to be new is looked for once, and what is new is loaded in that order, so that two transactions that bring the same ones do not wait for each other
/// crosswise: the later one meets the primary key, and is run again.
///
/// # Errors
///
/// [`Error::Conflict`] if a name is known with another length, or too many begin alike.
pub(super) fn keep(connection: &Connection, blobs: &[NewBlob<'_>]) -> Result<DigestMap<i64>, Error> {
    let hashes: Vec<&BlobHash> = blobs.iter().map(|blob| &blob.hash).collect();
    let expected = |index| {
        blobs
            .get(index)
            .is_some_and(|blob: &NewBlob<'_>| blob.is_expected)
    };
    let places = blob_id::look(connection, &hashes, expected)?;
    let (mut more, mut rows) = (Vec::new(), Rows::default());
    let mut ids = DigestMap::with_capacity_and_hasher(blobs.len(), Default::default());
    for (blob, place) in blobs.iter().zip(places) {
        let id = match place {
            Place::Known(known) => {
                if blob.adds_to(&known)? {
                    more.push((known.id, blob));
                }
                known.id
            }
            Place::Free(id) => {
                put(&mut rows, id, blob);
                id
            }
        };
        ids.insert(blob.hash, id);
    }
    complete(connection, &more)?;
    connection.load_rows(
        &Target::table("blob (id, hash, size, sha256, content_type)"),
        &rows,
    )?;
    Ok(ids)
}

impl NewBlob<'_> {
    /// Whether it tells something of a content that is there that was not known.
    fn adds_to(&self, known: &Known) -> Result<bool, Error> {
        if self.size != known.size {
            return Err(Error::Conflict(format!(
                "blob {} has {} bytes, not {}",
                self.hash, known.size, self.size
            )));
        }
        Ok(
            (known.lacks_sha256 && self.sha256.is_some())
                || (known.lacks_type && self.content_type.is_some()),
        )
    }
}

fn complete(connection: &Connection, blobs: &[(i64, &NewBlob<'_>)]) -> Result<(), Error> {
    if blobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = blobs.iter().map(|(id, _)| *id).collect();
    let sha256: Vec<Option<&[u8]>> = blobs
        .iter()
        .map(|(_, blob)| blob.sha256.map(|digest| digest.as_bytes().as_slice()))
        .collect();
    let types: Vec<Option<&str>> = blobs.iter().map(|(_, blob)| blob.content_type).collect();
    connection.execute(
        "UPDATE blob SET sha256 = coalesce(blob.sha256, n.sha256), content_type = coalesce(blob.content_type, n.content_type) \
         FROM unnest($1::int8[], $2::bytea[], $3::text[]) AS n (id, sha256, content_type) WHERE blob.id = n.id",
        &[&ids, &sha256, &types],
    )?;
    Ok(())
}

fn put(rows: &mut Rows, id: i64, blob: &NewBlob<'_>) {
    rows.row(5)
        .int8(id)
        .field(blob.hash.as_bytes())
        .int8(blob.size.cast_signed())
        .optional(
            blob.sha256.map(|digest| digest.as_bytes().as_slice()),
            Rows::field,
        )
        .optional(blob.content_type.map(str::as_bytes), Rows::field);
}

const BLOB: &str = "SELECT hash, size, sha256, content_type, verified, bad, id FROM blob";

fn blob_row(row: &Row) -> Result<BlobRow, Error> {
    let sha256: Option<&[u8]> = get(row, 2)?;
    Ok(BlobRow {
        hash: BlobHash::from_bytes(fixed(get(row, 0)?)?),
        size_bytes: unsigned(row, 1)?,
        sha256: sha256
            .map(|bytes| fixed(bytes).map(Sha256::from_bytes))
            .transpose()?,
        content_type: get(row, 3)?,
        verified: time(row, 4)?,
        bad: get(row, 5)?,
    })
}

/// One blob.
pub(super) fn one(connection: &Connection, hash: &BlobHash) -> Result<Option<BlobRow>, Error> {
    let Some(id) = id(connection, hash)? else {
        return Ok(None);
    };
    let row = connection.first(&format!("{BLOB} WHERE id = $1"), &[&id])?;
    row.map(|row| blob_row(&row)).transpose()
}

/// The row id of one blob.
pub(super) fn id(connection: &Connection, hash: &BlobHash) -> Result<Option<i64>, Error> {
    Ok(blob_id::ids(connection, [hash])?.remove(hash))
}

/// Visits blobs in ascending order of hash.
pub(super) fn each(
    connection: &Connection,
    scan: Option<ScanId>,
    visit: &mut dyn FnMut(&BlobRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let used = scan.map_or(String::new(), |scan| {
        format!("WHERE id IN (SELECT blob FROM result_{scan})")
    });
    let pages = connection.pages(&format!("{BLOB} {used} ORDER BY id"), PAGE)?;
    let mut sorted = ByDigest::default();
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            sorted.finish().try_for_each(|row| visit(&row))?;
            return pages.close();
        }
        for row in &rows {
            let blob = blob_row(row)?;
            for ready in sorted.push(get(row, 6)?, blob.hash, blob) {
                visit(&ready)?;
            }
        }
    }
}

/// Blobs on record as not matching, ascending by hash. They are few: the partial index has them all.
pub(super) fn bad(connection: &Connection, scan: Option<ScanId>) -> Result<Vec<BlobHash>, Error> {
    let used = scan.map_or(String::new(), |scan| {
        format!("AND EXISTS (SELECT FROM result_{scan} r WHERE r.blob = b.id)")
    });
    let sql = format!("SELECT hash FROM blob b WHERE bad {used} ORDER BY hash");
    connection.collect(&sql, &[], |row| Ok(BlobHash::from_bytes(fixed(get(row, 0)?)?)))
}

/// Number of blobs.
pub(super) fn count(connection: &Connection) -> Result<u64, Error> {
    let count: i64 = connection.one("SELECT count(*) FROM blob", &[])?;
    Ok(count.cast_unsigned())
}

/// Records re-reads. A match also clears an earlier mismatch.
pub(super) fn record_verified(
    connection: &Connection,
    verified: &[(BlobHash, bool)],
    now: Timestamp,
) -> Result<(), Error> {
    let matched: HashMap<&BlobHash, bool> = verified.iter().map(|(hash, matched)| (hash, *matched)).collect();
    let mut rows = Vec::with_capacity(matched.len());
    let ids = blob_id::ids(connection, matched.keys().copied())?;
    for (hash, matched) in matched {
        let id = ids.get(hash).ok_or_else(|| Error::NotFound {
            what: format!("blob {hash}"),
        })?;
        rows.push((*id, matched));
    }
    // In one order: two that wait for each other's rows do not do so crosswise.
    rows.sort_unstable();
    let (ids, matched): (Vec<i64>, Vec<bool>) = rows.into_iter().unzip();
    connection.execute(
        "UPDATE blob SET bad = NOT v.matched, verified = CASE WHEN v.matched THEN $3 ELSE verified END \
         FROM unnest($1::int8[], $2::bool[]) AS v (id, matched) WHERE blob.id = v.id",
        &[&ids, &matched, &now.as_nanos()],
    )?;
    Ok(())
}
