//! Rows of blobs.

use std::collections::{BTreeMap, HashMap};

use ntt_model::{BlobHash, ScanId, Sha256, Timestamp};
use postgres::Row;

use super::connection::{Connection, Target, get};
use super::media::{fixed, time, unsigned};
use super::wire::Rows;
use crate::Error;
use crate::rows::BlobRow;

/// Blobs read in one go.
const PAGE: u32 = 2048;

/// What is known of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NewBlob<'b> {
    pub(super) size: u64,
    pub(super) sha256: Option<&'b Sha256>,
    pub(super) content_type: Option<&'b str>,
}

/// Adds blobs, or completes what is known of them; returns their row ids. Every hash is looked for once, and what is new is loaded in the order of
/// the hashes, so that two transactions that bring the same ones do not wait for each other crosswise: the later one meets a unique index, and is run
/// again.
///
/// # Errors
///
/// [`Error::Conflict`] if a name is known with another length.
pub(super) fn keep(
    connection: &Connection,
    blobs: &BTreeMap<BlobHash, NewBlob<'_>>,
) -> Result<HashMap<BlobHash, i64>, Error> {
    let mut ids = known(connection, blobs)?;
    let new: Vec<(&BlobHash, &NewBlob<'_>)> = blobs
        .iter()
        .filter(|(hash, _)| !ids.contains_key(*hash))
        .collect();
    add(connection, &new, &mut ids)?;
    Ok(ids)
}

/// Ids of those that are there; what is told of them now and was not known is added.
fn known(
    connection: &Connection,
    blobs: &BTreeMap<BlobHash, NewBlob<'_>>,
) -> Result<HashMap<BlobHash, i64>, Error> {
    let mut ids = HashMap::with_capacity(blobs.len());
    if blobs.is_empty() {
        return Ok(ids);
    }
    let hashes: Vec<&[u8]> = blobs.keys().map(|hash| hash.as_bytes().as_slice()).collect();
    // Behind a SELECT: a planner that sees the hashes weighs every one of them.
    let sql = "SELECT hash, id, size, sha256 IS NULL, content_type IS NULL FROM blob \
               WHERE hash = ANY ((SELECT $1)::bytea[])";
    let mut more = Vec::new();
    for row in connection.query(sql, &[&hashes])? {
        let hash = BlobHash::from_bytes(fixed(get(&row, 0)?)?);
        let (id, size) = (get(&row, 1)?, unsigned(&row, 2)?);
        let Some(blob) = blobs.get(&hash) else {
            continue;
        };
        if blob.size != size {
            return Err(Error::Conflict(format!(
                "blob {hash} has {size} bytes, not {}",
                blob.size
            )));
        }
        if (get(&row, 3)? && blob.sha256.is_some()) || (get(&row, 4)? && blob.content_type.is_some()) {
            more.push((id, blob));
        }
        ids.insert(hash, id);
    }
    // In one order, for the same reason as new ones.
    more.sort_unstable_by_key(|(id, _)| *id);
    complete(connection, &more)?;
    Ok(ids)
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

fn add(
    connection: &Connection,
    blobs: &[(&BlobHash, &NewBlob<'_>)],
    ids: &mut HashMap<BlobHash, i64>,
) -> Result<(), Error> {
    if blobs.is_empty() {
        return Ok(());
    }
    let new_ids = connection.new_ids("blob", blobs.len())?;
    let mut rows = Rows::default();
    for ((hash, blob), id) in blobs.iter().zip(new_ids) {
        rows.row(5)
            .int8(id)
            .field(hash.as_bytes())
            .int8(blob.size.cast_signed())
            .optional(
                blob.sha256.map(|digest| digest.as_bytes().as_slice()),
                Rows::field,
            )
            .optional(blob.content_type.map(str::as_bytes), Rows::field);
        ids.insert(**hash, id);
    }
    let columns = "blob (id, hash, size, sha256, content_type)";
    connection.load_rows(&Target::table(columns), &rows)?;
    Ok(())
}

const BLOB: &str = "SELECT hash, size, sha256, content_type, verified, bad FROM blob";

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
    let row = connection.first(&format!("{BLOB} WHERE hash = $1"), &[&hash.as_bytes().as_slice()])?;
    row.map(|row| blob_row(&row)).transpose()
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
    let pages = connection.pages(&format!("{BLOB} {used} ORDER BY hash"), PAGE)?;
    loop {
        let rows = pages.next()?;
        if rows.is_empty() {
            return pages.close();
        }
        for row in &rows {
            visit(&blob_row(row)?)?;
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
    let sorted: BTreeMap<&BlobHash, bool> = verified.iter().map(|(hash, matched)| (hash, *matched)).collect();
    let hashes: Vec<&[u8]> = sorted.keys().map(|hash| hash.as_bytes().as_slice()).collect();
    let matched: Vec<bool> = sorted.values().copied().collect();
    let sql = "UPDATE blob SET bad = NOT v.matched, verified = CASE WHEN v.matched THEN $3 ELSE verified END \
               FROM unnest($1::bytea[], $2::bool[]) AS v (hash, matched) WHERE blob.hash = v.hash";
    let touched = connection.execute(sql, &[&hashes, &matched, &now.as_nanos()])?;
    if touched == u64::try_from(sorted.len()).unwrap_or(u64::MAX) {
        return Ok(());
    }
    for hash in sorted.keys() {
        if one(connection, hash)?.is_none() {
            return Err(Error::NotFound {
                what: format!("blob {hash}"),
            });
        }
    }
    Ok(())
}
