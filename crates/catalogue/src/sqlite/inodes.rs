//! Reading inodes and their streams back.

use ntt_model::entry::{Inode, Stream, StreamKind};
use ntt_model::{BlobHash, ScanId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::code::{KINDS, allocation, encoding, value_of};
use super::codec::{self, Member, Rare};
use super::media::collect;
use super::sweep;
use crate::Error;
use crate::facts;
use crate::rows::WantedStream;
pub(super) use crate::standing::stream_kind;

/// Columns of `inode_{n}`, in the order that [`from_row`] reads.
pub(super) const COLUMNS: [&str; 7] = ["ino", "bits", "size", "mtime", "extents", "facts", "rare"];
/// Columns of `inode_{n}`, in the order that [`streams_of`] reads.
const STREAM_COLUMNS: &str = "ino, bits, size, extents";
/// Bit of `inode.bits`: deleted.
pub(super) const DELETED: i64 = 8;
/// Bit of `inode.bits`: further streams.
pub(super) const MORE_STREAMS: i64 = 128;

/// Turns a row of [`COLUMNS`]; further streams are fetched.
pub(super) fn from_row(connection: &Connection, scan: ScanId, row: &Row<'_>) -> Result<Inode, Error> {
    from_row_at(connection, scan, row, 0)
}

/// As [`from_row`], for a row in which [`COLUMNS`] stand from column `first` on.
pub(super) fn from_row_at(
    connection: &Connection,
    scan: ScanId,
    row: &Row<'_>,
    first: usize,
) -> Result<Inode, Error> {
    let bits: i64 = row.get(first + 1)?;
    let number = row.get::<_, i64>(first)?.cast_unsigned();
    let rare = match row.get_ref(first + 6)?.as_blob_or_null()? {
        Some(bytes) => postcard::from_bytes(bytes).map_err(|error| Error::Damaged(error.to_string()))?,
        None => Rare::default(),
    };
    let mut streams = Vec::from_iter(data_stream(row, bits, first + 2, first + 4)?);
    if bits & MORE_STREAMS != 0 {
        let further = further_streams(connection, scan, number)?;
        streams.extend(further.into_iter().map(|further| further.stream));
    }
    let facts = facts::decode(row.get_ref(first + 5)?.as_blob()?, true, row.get(first + 3)?)?;
    Ok(Inode {
        number,
        generation: facts.generation,
        kind: value_of(&KINDS, bits & 7)?,
        mode: facts.mode,
        uid: facts.uid,
        gid: facts.gid,
        links: facts.links,
        times: facts.times,
        target: rare.target,
        device: rare.device,
        flags: facts.flags,
        streams,
        xattrs: rare.xattrs,
        allocation: allocation(bits & DELETED != 0),
    })
}

/// Stream 0, if it stands in the inode's own row: its size and its extents in these columns.
fn data_stream(
    row: &Row<'_>,
    bits: i64,
    size_column: usize,
    extents_column: usize,
) -> Result<Option<Stream>, Error> {
    let Some(size) = row.get::<_, Option<i64>>(size_column)? else {
        return Ok(None);
    };
    let extents = row.get_ref(extents_column)?.as_blob_or_null()?;
    let (extents, units) = codec::map(extents.unwrap_or(&[]))?;
    Ok(Some(Stream {
        kind: StreamKind::Data,
        size_bytes: size.cast_unsigned(),
        extents,
        encoding: encoding((bits >> 4) & 3, units)?,
        extents_incomplete: bits & 64 != 0,
    }))
}

fn further_streams(connection: &Connection, scan: ScanId, inode: u64) -> Result<Vec<WantedStream>, Error> {
    let sql = format!(
        "SELECT kind, size, encoding, incomplete, name, extents, stream FROM stream_{scan} WHERE ino = ?1 ORDER BY stream"
    );
    collect(connection, &sql, params![inode.cast_signed()], |row| {
        let (extents, units) = codec::map(row.get_ref(5)?.as_blob()?)?;
        let stream = Stream {
            kind: stream_kind(row.get(0)?, row.get(4)?),
            size_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
            extents,
            encoding: encoding(row.get(2)?, units)?,
            extents_incomplete: row.get(3)?,
        };
        Ok(WantedStream {
            ordinal: row.get(6)?,
            stream,
        })
    })
}

/// Of the inode in a row of [`STREAM_COLUMNS`] the streams with these ordinals, as far as it has them.
fn streams_of(
    connection: &Connection,
    scan: ScanId,
    row: &Row<'_>,
    ordinals: &[u32],
) -> Result<Vec<WantedStream>, Error> {
    let bits: i64 = row.get(1)?;
    let mut streams = Vec::with_capacity(ordinals.len());
    if let Some(stream) = data_stream(row, bits, 2, 3)? {
        streams.push(WantedStream { ordinal: 0, stream });
    }
    if bits & MORE_STREAMS != 0 {
        let inode: i64 = row.get(0)?;
        streams.append(&mut further_streams(connection, scan, inode.cast_unsigned())?);
    }
    streams.retain(|stream| ordinals.contains(&stream.ordinal));
    Ok(streams)
}

/// One inode.
pub(super) fn one(connection: &Connection, scan: ScanId, inode: u64) -> Result<Option<Inode>, Error> {
    let sql = format!("SELECT {} FROM inode_{scan} WHERE ino = ?1", COLUMNS.join(", "));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![inode.cast_signed()])?;
    rows.next()?
        .map(|row| from_row(connection, scan, row))
        .transpose()
}

/// Looks up the streams of those members of a chunk of which none are known yet. What is not there stays unknown.
pub(super) fn look_up(
    connection: &Connection,
    scan: ScanId,
    members: &[Member],
    streams: &mut [Vec<WantedStream>],
) -> Result<(), Error> {
    let unknown = members
        .iter()
        .zip(streams.iter_mut())
        .filter(|(_, known)| known.is_empty());
    let unknown = unknown
        .map(|(member, known)| (member.inode.cast_signed(), (member, known)))
        .collect();
    let sql = format!("SELECT {STREAM_COLUMNS} FROM inode_{scan} WHERE ino BETWEEN ?1 AND ?2 ORDER BY ino");
    sweep::each_row(connection, &sql, unknown, &mut |row, (member, known)| {
        **known = streams_of(connection, scan, row, &member.streams)?;
        Ok(())
    })
}

/// Visits all inodes by number.
pub(super) fn each(
    connection: &Connection,
    scan: ScanId,
    visit: &mut dyn FnMut(&Inode) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut statement = connection.prepare(&format!(
        "SELECT {} FROM inode_{scan} ORDER BY ino",
        COLUMNS.join(", ")
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(&from_row(connection, scan, row)?)?;
    }
    Ok(())
}

/// A content digest column.
pub(super) fn hash(row: &Row<'_>, column: usize) -> Result<Option<BlobHash>, Error> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(BlobHash::from_bytes))
}

/// A time column.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_nanos))
}
