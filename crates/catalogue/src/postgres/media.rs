//! Media, evidence, images, volumes, findings and the event log.

use std::collections::BTreeMap;

use ntt_model::{BlobHash, ByteRange, Finding, MediumId, MediumKey, ScanId, Timestamp, VolumeKey};
use postgres::Row;

use super::connection::{Connection, get};
use super::value::text;
use crate::Error;
use crate::code::{from_word, word_of};
use crate::codec::{put_ranges, ranges};
use crate::rows::{
    EventRow, Evidence, FindingRow, Image, LastChanges, MediumRow, NewMedium, NewVolume, VolumeRow,
    Withdrawal,
};

/// Adds a medium, under the next key if none is given.
pub(super) fn add(
    connection: &Connection,
    key: Option<MediumKey>,
    medium: &NewMedium,
    added: Timestamp,
) -> Result<MediumKey, Error> {
    let key = match key {
        Some(key) => key.0,
        None => connection.one("SELECT nextval(pg_get_serial_sequence('medium', 'id'))", &[])?,
    };
    connection.execute(
        "INSERT INTO medium (id, uuid, kind, label, source_name, added) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            &key,
            &medium.id.as_bytes().as_slice(),
            &word_of(&medium.kind)?,
            &text(&medium.label),
            &text(&medium.source_name),
            &added.as_nanos(),
        ],
    )?;
    Ok(MediumKey(key))
}

/// The media, with the last word of the log on whether they are withdrawn.
const MEDIUM: &str = "SELECT m.id, m.uuid, m.kind, m.label, m.source_name, m.added, w.at, w.detail FROM medium m \
                      LEFT JOIN event w ON w.stage = 'withdraw' AND w.id = \
                      (SELECT max(e.id) FROM event e WHERE e.medium = m.id AND e.stage IN ('withdraw', 'reinstate'))";

/// All media, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<MediumRow>, Error> {
    connection.collect(&format!("{MEDIUM} ORDER BY m.id"), &[], medium_row)
}

/// One medium.
pub(super) fn one(connection: &Connection, medium: MediumKey) -> Result<MediumRow, Error> {
    let row = connection.first(&format!("{MEDIUM} WHERE m.id = $1"), &[&medium.0])?;
    medium_row(&row.ok_or_else(|| not_found("medium", medium.0))?)
}

fn medium_row(row: &Row) -> Result<MediumRow, Error> {
    let withdrawn = match get::<Option<i64>>(row, 6)? {
        Some(at) => Some(Withdrawal {
            at: Timestamp::from_nanos(at),
            reason: get(row, 7)?,
        }),
        None => None,
    };
    Ok(MediumRow {
        key: MediumKey(get(row, 0)?),
        medium: NewMedium {
            id: MediumId::from_bytes(fixed(get(row, 1)?)?),
            kind: from_word(get(row, 2)?)?,
            label: get(row, 3)?,
            source_name: get(row, 4)?,
        },
        added: Timestamp::from_nanos(get(row, 5)?),
        withdrawn,
    })
}

/// Bytes of a known number.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes
        .try_into()
        .map_err(|_| Error::Damaged(format!("a column has {} bytes, not {N}", bytes.len())))
}

/// A content digest.
pub(super) fn digest(row: &Row, column: usize) -> Result<Option<BlobHash>, Error> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes
        .map(|bytes| fixed(bytes).map(BlobHash::from_bytes))
        .transpose()
}

/// An error for a row that is not there.
pub(super) fn not_found(what: &str, key: i64) -> Error {
    Error::NotFound {
        what: format!("{what} {key}"),
    }
}

/// Keeps others from changing what belongs to a medium until the transaction ends, so that rows can be looked for before they are added.
fn lock(connection: &Connection, medium: MediumKey) -> Result<(), Error> {
    connection
        .first("SELECT id FROM medium WHERE id = $1 FOR UPDATE", &[&medium.0])?
        .map(drop)
        .ok_or_else(|| not_found("medium", medium.0))
}

/// Sets the label and logs the earlier words (R5).
pub(super) fn set_label(
    connection: &Connection,
    medium: MediumKey,
    label: &str,
    now: Timestamp,
) -> Result<(), Error> {
    lock(connection, medium)?;
    let earlier = one(connection, medium)?.medium.label;
    connection.execute(
        "UPDATE medium SET label = $2 WHERE id = $1",
        &[&medium.0, &text(label)],
    )?;
    add_event(connection, &EventRow::of_label(medium, earlier), now)
}

/// Adds evidence; equal evidence is kept once.
pub(super) fn add_evidence(
    connection: &Connection,
    medium: MediumKey,
    evidence: &[Evidence],
) -> Result<(), Error> {
    lock(connection, medium)?;
    for piece in evidence {
        connection.execute(
            "INSERT INTO evidence (medium, kind, value, origin) SELECT $1, $2, $3, $4 WHERE NOT EXISTS \
             (SELECT 1 FROM evidence WHERE medium = $1 AND kind = $2 AND value = $3 AND origin = $4)",
            &[
                &medium.0,
                &text(&piece.kind),
                &text(&piece.value),
                &text(&piece.origin),
            ],
        )?;
    }
    Ok(())
}

/// Evidence of one medium, in the order in which it was added.
pub(super) fn evidence(connection: &Connection, medium: MediumKey) -> Result<Vec<Evidence>, Error> {
    one(connection, medium)?;
    let sql = "SELECT kind, value, origin FROM evidence WHERE medium = $1 ORDER BY id";
    connection.collect(sql, &[&medium.0], |row| {
        Ok(Evidence {
            kind: get(row, 0)?,
            value: get(row, 1)?,
            origin: get(row, 2)?,
        })
    })
}

/// Media that share evidence, with the pieces shared.
pub(super) fn with_evidence(
    connection: &Connection,
    evidence: &[Evidence],
) -> Result<Vec<(MediumKey, Vec<Evidence>)>, Error> {
    let mut shared: BTreeMap<MediumKey, Vec<Evidence>> = BTreeMap::new();
    let sql = "SELECT DISTINCT medium FROM evidence WHERE kind = $1 AND md5(value) = md5($2) AND value = $2 ORDER BY medium";
    for piece in evidence {
        let media = connection.collect(sql, &[&text(&piece.kind), &text(&piece.value)], |row| {
            Ok(MediumKey(get(row, 0)?))
        })?;
        for medium in media {
            shared.entry(medium).or_default().push(piece.clone());
        }
    }
    Ok(shared.into_iter().collect())
}

/// Records or replaces the image of a medium.
pub(super) fn set_image(connection: &Connection, medium: MediumKey, image: &Image) -> Result<(), Error> {
    lock(connection, medium)?;
    connection.execute("DELETE FROM image WHERE medium = $1", &[&medium.0])?;
    connection.execute(
        "INSERT INTO image (medium, path, imported, size, modified, digest, mapfile, unread, expected) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        &[
            &medium.0,
            &image.path.as_slice(),
            &image.imported,
            &image.size_bytes.cast_signed(),
            &image.modified.map(|time| time.as_nanos()),
            &image.digest.as_ref().map(|digest| digest.as_bytes().as_slice()),
            &image.mapfile.as_deref(),
            &put_ranges(&image.unread),
            &image.expected_bytes.cast_signed(),
        ],
    )?;
    Ok(())
}

/// The image of a medium.
pub(super) fn image(connection: &Connection, medium: MediumKey) -> Result<Option<Image>, Error> {
    one(connection, medium)?;
    let sql = "SELECT path, imported, size, modified, digest, mapfile, unread, expected FROM image WHERE medium = $1";
    let row = connection.first(sql, &[&medium.0])?;
    row.map(|row| {
        Ok(Image {
            path: get(&row, 0)?,
            imported: get(&row, 1)?,
            size_bytes: get::<i64>(&row, 2)?.cast_unsigned(),
            modified: time(&row, 3)?,
            digest: digest(&row, 4)?,
            mapfile: get(&row, 5)?,
            unread: ranges(get(&row, 6)?)?,
            expected_bytes: get::<i64>(&row, 7)?.cast_unsigned(),
        })
    })
    .transpose()
}

/// A time column.
pub(super) fn time(row: &Row, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_nanos))
}

/// An unsigned column.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, Error> {
    get::<i64>(row, column).map(i64::cast_unsigned)
}

/// A small unsigned column.
pub(super) fn small(row: &Row, column: usize) -> Result<u32, Error> {
    let value: i32 = get(row, column)?;
    u32::try_from(value).map_err(|_| Error::Damaged(format!("column {column} is {value}")))
}

/// Adds a volume, or replaces the facts of one. A new one gets `key`, if that is given.
pub(super) fn put_volume(
    connection: &Connection,
    key: Option<VolumeKey>,
    medium: MediumKey,
    volume: &NewVolume,
) -> Result<VolumeKey, Error> {
    lock(connection, medium)?;
    let sql = "SELECT id FROM volume WHERE medium = $1 AND number = $2";
    let number = i64::from(volume.number);
    let known = connection.first(sql, &[&medium.0, &number])?;
    let id: i64 = match (known, key) {
        (Some(row), _) => get(&row, 0)?,
        (None, Some(key)) => key.0,
        (None, None) => connection.one("SELECT nextval(pg_get_serial_sequence('volume', 'id'))", &[])?,
    };
    connection.execute(
        "DELETE FROM volume WHERE id = $1 AND medium = $2",
        &[&id, &medium.0],
    )?;
    connection.execute(
        "INSERT INTO volume (id, medium, number, first, len, verdict, type_name, label, uuid, digest, same_as, layer_json) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        &[
            &id,
            &medium.0,
            &number,
            &volume.range.offset.cast_signed(),
            &volume.range.len.cast_signed(),
            &text(&volume.verdict),
            &text(&volume.type_name),
            &text(&volume.label),
            &text(&volume.uuid),
            &volume.digest.as_ref().map(|digest| digest.as_bytes().as_slice()),
            &volume.same_as.map(|key| key.0),
            &text(&volume.layer_json),
        ],
    )?;
    Ok(VolumeKey(id))
}

/// The volumes of a medium, by number.
pub(super) fn volumes(connection: &Connection, medium: MediumKey) -> Result<Vec<VolumeRow>, Error> {
    one(connection, medium)?;
    let sql = "SELECT id, number, first, len, verdict, type_name, label, uuid, digest, same_as, layer_json \
               FROM volume WHERE medium = $1 ORDER BY number";
    connection.collect(sql, &[&medium.0], |row| {
        Ok(VolumeRow {
            key: VolumeKey(get(row, 0)?),
            medium,
            volume: NewVolume {
                number: u32::try_from(get::<i64>(row, 1)?).unwrap_or(u32::MAX),
                range: ByteRange::new(unsigned(row, 2)?, unsigned(row, 3)?),
                verdict: get(row, 4)?,
                type_name: get(row, 5)?,
                label: get(row, 6)?,
                uuid: get(row, 7)?,
                digest: digest(row, 8)?,
                same_as: get::<Option<i64>>(row, 9)?.map(VolumeKey),
                layer_json: get(row, 10)?,
            },
        })
    })
}

/// The medium of a volume.
pub(super) fn medium_of_volume(connection: &Connection, volume: VolumeKey) -> Result<MediumKey, Error> {
    let row = connection.first("SELECT medium FROM volume WHERE id = $1", &[&volume.0])?;
    let row = row.ok_or_else(|| not_found("volume", volume.0))?;
    get(&row, 0).map(MediumKey)
}

/// Adds one finding.
pub(super) fn insert_finding(
    connection: &Connection,
    medium: MediumKey,
    volume: Option<VolumeKey>,
    scan: Option<ScanId>,
    finding: &Finding,
) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO finding (medium, volume, scan, severity, layer, code, image_offset, ino, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        &[
            &medium.0,
            &volume.map(|key| key.0),
            &scan.map(leaf).transpose()?,
            &word_of(&finding.severity)?,
            &word_of(&finding.layer)?,
            &word_of(&finding.code)?,
            &finding.image_offset.map(u64::cast_signed),
            &finding.inode.map(u64::cast_signed),
            &text(&finding.detail),
        ],
    )?;
    Ok(())
}

/// The number of a scan as its leaf tables hold it.
pub(super) fn leaf(scan: ScanId) -> Result<i32, Error> {
    i32::try_from(scan.0).map_err(|_| not_found("scan", scan.0))
}

/// Findings of a medium.
pub(super) fn findings(connection: &Connection, medium: MediumKey) -> Result<Vec<FindingRow>, Error> {
    one(connection, medium)?;
    let sql = "SELECT volume, scan, severity, layer, code, image_offset, ino, detail FROM finding \
               WHERE medium = $1 ORDER BY id";
    connection.collect(sql, &[&medium.0], |row| {
        Ok(FindingRow {
            volume: get::<Option<i64>>(row, 0)?.map(VolumeKey),
            scan: get::<Option<i32>>(row, 1)?.map(|scan| ScanId(i64::from(scan))),
            finding: Finding {
                severity: from_word(get(row, 2)?)?,
                layer: from_word(get(row, 3)?)?,
                code: from_word(get(row, 4)?)?,
                image_offset: get::<Option<i64>>(row, 5)?.map(i64::cast_unsigned),
                inode: get::<Option<i64>>(row, 6)?.map(i64::cast_unsigned),
                detail: get(row, 7)?,
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
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            &at.as_nanos(),
            &event.medium.map(|key| key.0),
            &text(&event.stage),
            &text(&event.result),
            &event.elapsed_ms.cast_signed(),
            &event.count.cast_signed(),
            &event.bytes.cast_signed(),
            &text(&event.detail),
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
    let latest = connection.collect(&sql, &[], |row| {
        let medium = get::<Option<i64>>(row, 0)?.map(MediumKey);
        Ok((medium, Timestamp::from_nanos(get(row, 1)?)))
    })?;
    Ok(LastChanges(latest.into_iter().collect()))
}

/// The log of a medium, or of everything, oldest first.
pub(super) fn events(connection: &Connection, medium: Option<MediumKey>) -> Result<Vec<EventRow>, Error> {
    let sql = "SELECT at, medium, stage, result, elapsed_ms, count, bytes, detail FROM event \
               WHERE $1 IS NULL OR medium = $1 ORDER BY id";
    connection.collect(sql, &[&medium.map(|key| key.0)], |row| {
        Ok(EventRow {
            at: time(row, 0)?,
            medium: get::<Option<i64>>(row, 1)?.map(MediumKey),
            stage: get(row, 2)?,
            result: get(row, 3)?,
            elapsed_ms: unsigned(row, 4)?,
            count: unsigned(row, 5)?,
            bytes: unsigned(row, 6)?,
            detail: get(row, 7)?,
        })
    })
}
