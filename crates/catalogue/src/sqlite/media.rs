//! Media, evidence, images, volumes, findings and the event log.

use std::collections::BTreeMap;

use ntt_model::{BlobHash, ByteRange, Finding, MediumId, MediumKey, ScanId, Timestamp, VolumeKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::code::{from_word, word_of};
use super::codec::{put_ranges, ranges};
use crate::Error;
use crate::rows::{
    EventRow, Evidence, FindingRow, Image, LastChanges, MediumRow, NewMedium, NewVolume, VolumeRow,
    Withdrawal,
};

/// Adds a medium.
pub(super) fn add(connection: &Connection, medium: &NewMedium, now: Timestamp) -> Result<MediumKey, Error> {
    insert(connection, None, medium, now)
}

/// Adds a medium under a key, or under the next one.
pub(super) fn insert(
    connection: &Connection,
    key: Option<MediumKey>,
    medium: &NewMedium,
    added: Timestamp,
) -> Result<MediumKey, Error> {
    connection.execute(
        "INSERT INTO medium (id, uuid, kind, label, source_name, added) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            key.map(|key| key.0),
            medium.id.as_bytes(),
            word_of(&medium.kind)?,
            medium.label,
            medium.source_name,
            added.as_nanos()
        ],
    )?;
    Ok(MediumKey(connection.last_insert_rowid()))
}

/// The media, with the last word of the log on whether they are withdrawn.
const MEDIUM: &str = "SELECT m.id, m.uuid, m.kind, m.label, m.source_name, m.added, w.at, w.detail FROM medium m \
                      LEFT JOIN event w ON w.stage = 'withdraw' AND w.id = \
                      (SELECT max(e.id) FROM event e WHERE e.medium = m.id AND e.stage IN ('withdraw', 'reinstate'))";

/// All media, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<MediumRow>, Error> {
    collect(
        connection,
        &format!("{MEDIUM} ORDER BY m.id"),
        params![],
        medium_row,
    )
}

/// One medium.
pub(super) fn one(connection: &Connection, medium: MediumKey) -> Result<MediumRow, Error> {
    let rows = collect(
        connection,
        &format!("{MEDIUM} WHERE m.id = ?1"),
        params![medium.0],
        medium_row,
    )?;
    rows.into_iter()
        .next()
        .ok_or_else(|| not_found("medium", medium.0))
}

fn medium_row(row: &Row<'_>) -> Result<MediumRow, Error> {
    let withdrawn = match row.get::<_, Option<i64>>(6)? {
        Some(at) => Some(Withdrawal {
            at: Timestamp::from_nanos(at),
            reason: row.get(7)?,
        }),
        None => None,
    };
    Ok(MediumRow {
        key: MediumKey(row.get(0)?),
        medium: NewMedium {
            id: MediumId::from_bytes(row.get(1)?),
            kind: from_word(row.get(2)?)?,
            label: row.get(3)?,
            source_name: row.get(4)?,
        },
        added: Timestamp::from_nanos(row.get(5)?),
        withdrawn,
    })
}

/// An error for a row that is not there.
pub(super) fn not_found(what: &str, key: i64) -> Error {
    Error::NotFound {
        what: format!("{what} {key}"),
    }
}

/// Runs a query and turns every row.
pub(super) fn collect<T>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    turn: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(turn(row)?);
    }
    Ok(found)
}

/// Sets the label and logs the earlier words (R5).
pub(super) fn set_label(
    connection: &Connection,
    medium: MediumKey,
    label: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let earlier = one(connection, medium)?.medium.label;
    connection.execute(
        "UPDATE medium SET label = ?2 WHERE id = ?1",
        params![medium.0, label],
    )?;
    add_event(connection, &EventRow::of_label(medium, earlier), now)
}

/// Adds evidence; equal evidence is kept once.
pub(super) fn add_evidence(
    connection: &Connection,
    medium: MediumKey,
    evidence: &[Evidence],
) -> Result<(), Error> {
    one(connection, medium)?;
    for piece in evidence {
        connection.execute(
            "INSERT OR IGNORE INTO evidence (medium, kind, value, origin) VALUES (?1, ?2, ?3, ?4)",
            params![medium.0, piece.kind, piece.value, piece.origin],
        )?;
    }
    Ok(())
}

/// Evidence of one medium, in the order in which it was added.
pub(super) fn evidence(connection: &Connection, medium: MediumKey) -> Result<Vec<Evidence>, Error> {
    one(connection, medium)?;
    let sql = "SELECT kind, value, origin FROM evidence WHERE medium = ?1 ORDER BY id";
    collect(connection, sql, params![medium.0], |row| {
        Ok(Evidence {
            kind: row.get(0)?,
            value: row.get(1)?,
            origin: row.get(2)?,
        })
    })
}

/// Media that share evidence, with the pieces shared.
pub(super) fn with_evidence(
    connection: &Connection,
    evidence: &[Evidence],
) -> Result<Vec<(MediumKey, Vec<Evidence>)>, Error> {
    let mut shared: BTreeMap<MediumKey, Vec<Evidence>> = BTreeMap::new();
    let sql = "SELECT DISTINCT medium FROM evidence WHERE kind = ?1 AND value = ?2 ORDER BY medium";
    for piece in evidence {
        let media = collect(connection, sql, params![piece.kind, piece.value], |row| {
            Ok(MediumKey(row.get(0)?))
        })?;
        for medium in media {
            shared.entry(medium).or_default().push(piece.clone());
        }
    }
    Ok(shared.into_iter().collect())
}

/// Records or replaces the image of a medium.
pub(super) fn set_image(connection: &Connection, medium: MediumKey, image: &Image) -> Result<(), Error> {
    one(connection, medium)?;
    connection.execute(
        "INSERT OR REPLACE INTO image (medium, path, imported, size, modified, digest, mapfile, unread, expected) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            medium.0,
            image.path,
            image.imported,
            image.size_bytes.cast_signed(),
            image.modified.map(|time| time.as_nanos()),
            image.digest.as_ref().map(BlobHash::as_bytes),
            image.mapfile,
            put_ranges(&image.unread),
            image.expected_bytes.cast_signed()
        ],
    )?;
    Ok(())
}

/// The image of a medium.
pub(super) fn image(connection: &Connection, medium: MediumKey) -> Result<Option<Image>, Error> {
    one(connection, medium)?;
    let sql = "SELECT path, imported, size, modified, digest, mapfile, unread, expected \
               FROM image WHERE medium = ?1";
    let images = collect(connection, sql, params![medium.0], |row| {
        Ok(Image {
            path: row.get(0)?,
            imported: row.get(1)?,
            size_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            modified: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_nanos),
            digest: row.get::<_, Option<[u8; 32]>>(4)?.map(BlobHash::from_bytes),
            mapfile: row.get(5)?,
            unread: ranges(&row.get::<_, Vec<u8>>(6)?)?,
            expected_bytes: row.get::<_, i64>(7)?.cast_unsigned(),
        })
    })?;
    Ok(images.into_iter().next())
}

/// Adds a volume, or replaces the facts of one.
pub(super) fn put_volume(
    connection: &Connection,
    medium: MediumKey,
    volume: &NewVolume,
) -> Result<VolumeKey, Error> {
    one(connection, medium)?;
    let key = connection.query_row(
        "INSERT INTO volume (medium, number, first, len, verdict, type_name, label, uuid, digest, same_as, layer_json) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (medium, number) DO UPDATE SET first = excluded.first, len = excluded.len, \
         verdict = excluded.verdict, type_name = excluded.type_name, label = excluded.label, uuid = excluded.uuid, \
         digest = excluded.digest, same_as = excluded.same_as, layer_json = excluded.layer_json RETURNING id",
        params![
            medium.0,
            volume.number,
            volume.range.offset.cast_signed(),
            volume.range.len.cast_signed(),
            volume.verdict,
            volume.type_name,
            volume.label,
            volume.uuid,
            volume.digest.as_ref().map(BlobHash::as_bytes),
            volume.same_as.map(|key| key.0),
            volume.layer_json
        ],
        |row| row.get(0),
    )?;
    Ok(VolumeKey(key))
}

/// The volumes of a medium, by number.
pub(super) fn volumes(connection: &Connection, medium: MediumKey) -> Result<Vec<VolumeRow>, Error> {
    one(connection, medium)?;
    let sql = "SELECT id, number, first, len, verdict, type_name, label, uuid, digest, same_as, layer_json \
               FROM volume WHERE medium = ?1 ORDER BY number";
    collect(connection, sql, params![medium.0], |row| {
        Ok(VolumeRow {
            key: VolumeKey(row.get(0)?),
            medium,
            volume: NewVolume {
                number: row.get(1)?,
                range: ByteRange::new(
                    row.get::<_, i64>(2)?.cast_unsigned(),
                    row.get::<_, i64>(3)?.cast_unsigned(),
                ),
                verdict: row.get(4)?,
                type_name: row.get(5)?,
                label: row.get(6)?,
                uuid: row.get(7)?,
                digest: row.get::<_, Option<[u8; 32]>>(8)?.map(BlobHash::from_bytes),
                same_as: row.get::<_, Option<i64>>(9)?.map(VolumeKey),
                layer_json: row.get(10)?,
            },
        })
    })
}

/// The medium of a volume.
pub(super) fn medium_of_volume(connection: &Connection, volume: VolumeKey) -> Result<MediumKey, Error> {
    connection
        .query_row("SELECT medium FROM volume WHERE id = ?1", [volume.0], |row| {
            row.get(0)
        })
        .optional()?
        .map(MediumKey)
        .ok_or_else(|| not_found("volume", volume.0))
}

/// Adds one finding.
pub(super) fn insert_finding(
    connection: &Connection,
    medium: MediumKey,
    volume: Option<VolumeKey>,
    scan: Option<ScanId>,
    finding: &Finding,
) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO finding (medium, volume, scan, severity, layer, code, image_offset, ino, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        medium.0,
        volume.map(|key| key.0),
        scan.map(|key| key.0),
        word_of(&finding.severity)?,
        word_of(&finding.layer)?,
        word_of(&finding.code)?,
        finding.image_offset.map(u64::cast_signed),
        finding.inode.map(u64::cast_signed),
        finding.detail
    ])?;
    Ok(())
}

/// Findings of a medium, those of unsealed scans left out.
pub(super) fn findings(connection: &Connection, medium: MediumKey) -> Result<Vec<FindingRow>, Error> {
    one(connection, medium)?;
    let sql = "SELECT volume, scan, severity, layer, code, image_offset, ino, detail FROM finding f \
               WHERE medium = ?1 AND (scan IS NULL OR \
                   EXISTS (SELECT 1 FROM scan s WHERE s.id = f.scan AND s.sealed IS NOT NULL)) ORDER BY id";
    collect(connection, sql, params![medium.0], |row| {
        Ok(FindingRow {
            volume: row.get::<_, Option<i64>>(0)?.map(VolumeKey),
            scan: row.get::<_, Option<i64>>(1)?.map(ScanId),
            finding: Finding {
                severity: from_word(row.get(2)?)?,
                layer: from_word(row.get(3)?)?,
                code: from_word(row.get(4)?)?,
                image_offset: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
                inode: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
                detail: row.get(7)?,
            },
        })
    })
}

/// Adds to the log.
pub(super) fn add_event(connection: &Connection, event: &EventRow, now: Timestamp) -> Result<(), Error> {
    let at = match event.at {
        Some(at) => at,
        None => changes_before(connection, event.medium)?.next(event.medium, now),
    };
    connection.execute(
        "INSERT INTO event (at, medium, stage, result, elapsed_ms, count, bytes, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            at.as_nanos(),
            event.medium.map(|key| key.0),
            event.stage,
            event.result,
            event.elapsed_ms.cast_signed(),
            event.count.cast_signed(),
            event.bytes.cast_signed(),
            event.detail
        ],
    )?;
    Ok(())
}

/// The latest time of every medium in the log.
pub(super) fn last_changes(connection: &Connection) -> Result<LastChanges, Error> {
    latest(connection, "")
}

/// As much of [`last_changes`] as a new event has to come after: what concerns its medium, by index; everything if it concerns none, which is rare.
fn changes_before(connection: &Connection, medium: Option<MediumKey>) -> Result<LastChanges, Error> {
    let concern = medium.map(|key| format!("WHERE medium IS NULL OR medium = {}", key.0));
    latest(connection, &concern.unwrap_or_default())
}

fn latest(connection: &Connection, concern: &str) -> Result<LastChanges, Error> {
    let sql = format!("SELECT medium, max(at) FROM event {concern} GROUP BY medium");
    let latest = collect(connection, &sql, [], |row| {
        let medium = row.get::<_, Option<i64>>(0)?.map(MediumKey);
        Ok((medium, Timestamp::from_nanos(row.get(1)?)))
    })?;
    Ok(LastChanges(latest.into_iter().collect()))
}

/// The log of a medium, or of everything, oldest first.
pub(super) fn events(connection: &Connection, medium: Option<MediumKey>) -> Result<Vec<EventRow>, Error> {
    let sql = "SELECT at, medium, stage, result, elapsed_ms, count, bytes, detail FROM event \
               WHERE ?1 IS NULL OR medium = ?1 ORDER BY id";
    collect(connection, sql, params![medium.map(|key| key.0)], |row| {
        Ok(EventRow {
            at: Some(Timestamp::from_nanos(row.get(0)?)),
            medium: row.get::<_, Option<i64>>(1)?.map(MediumKey),
            stage: row.get(2)?,
            result: row.get(3)?,
            elapsed_ms: row.get::<_, i64>(4)?.cast_unsigned(),
            count: row.get::<_, i64>(5)?.cast_unsigned(),
            bytes: row.get::<_, i64>(6)?.cast_unsigned(),
            detail: row.get(7)?,
        })
    })
}
