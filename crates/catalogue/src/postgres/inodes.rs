//! Reading inodes and their streams back.

use std::collections::HashMap;

use ntt_model::ScanId;
use ntt_model::entry::{Inode, Stream, StreamKind};
use postgres::Row;

use super::connection::{Connection, get};
use super::kept::{self, Statement};
use super::media::{small, unsigned};
use crate::Error;
use crate::code::{KINDS, allocation, encoding, value_of};
use crate::codec::{self, Rare};
use crate::facts;
use crate::neighbours::runs;
use crate::rows::WantedStream;
use crate::standing::stream_kind;

/// Columns of `inode_{n}`, in the order that [`from_row`] reads.
pub(super) const COLUMNS: [&str; 7] = ["ino", "bits", "size", "mtime", "facts", "extents", "rare"];
/// Bit of `inode.bits`: deleted.
pub(super) const DELETED: i16 = 8;
/// Bit of `inode.bits`: further streams.
pub(super) const MORE_STREAMS: i16 = 128;
/// Bit of `inode.bits`: stream 0 is the data stream and lies in the row itself.
pub(super) const OWN_STREAM: i16 = 256;
/// Bit of `inode.bits`: the modification time is known.
pub(super) const HAS_MTIME: i16 = 512;
/// Bit of `inode.bits`: the facts are of the newer form.
pub(super) const LEAN: i16 = 1024;
/// Inodes read in one go: their extents may be long.
const PAGE: usize = 512;

/// [`COLUMNS`] of the table `alias`.
pub(super) fn columns(alias: &str) -> String {
    COLUMNS.map(|column| format!("{alias}.{column}")).join(", ")
}

/// Inodes from rows in which [`COLUMNS`] stand from column `first` on, those without an inode passed over; further streams are fetched
/// together. Each with its place among the rows.
pub(super) fn from_rows(
    connection: &Connection,
    scan: ScanId,
    rows: &[Row],
    first: usize,
) -> Result<Vec<(usize, Inode)>, Error> {
    let mut found = Vec::with_capacity(rows.len());
    let mut numbers = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let Some(bits) = get::<Option<i16>>(row, first + 1)? else {
            continue;
        };
        if bits & MORE_STREAMS != 0 {
            numbers.push(get(row, first)?);
        }
        found.push((place, from_row(row, bits, first)?));
    }
    let mut further = further_streams(connection, scan, &numbers)?;
    if !further.is_empty() {
        for (_, inode) in &mut found {
            // Several names of one inode may stand in one page.
            if let Some(further) = further.get_mut(&inode.number) {
                inode
                    .streams
                    .extend(further.iter().map(|further| further.stream.clone()));
            }
        }
    }
    Ok(found)
}

fn from_row(row: &Row, bits: i16, first: usize) -> Result<Inode, Error> {
    let mtime = (bits & HAS_MTIME != 0).then(|| get(row, first + 3)).transpose()?;
    let facts = facts::decode(get(row, first + 4)?, bits & LEAN != 0, mtime)?;
    let rare: Option<&[u8]> = get(row, first + 6)?;
    let rare = match rare {
        None | Some([]) => Rare::default(),
        Some(rare) => postcard::from_bytes(rare).map_err(|error| Error::Damaged(error.to_string()))?,
    };
    Ok(Inode {
        number: unsigned(row, first)?,
        generation: facts.generation,
        kind: value_of(&KINDS, i64::from(bits & 7))?,
        mode: facts.mode,
        uid: facts.uid,
        gid: facts.gid,
        links: facts.links,
        times: facts.times,
        target: rare.target,
        device: rare.device,
        flags: facts.flags,
        streams: Vec::from_iter(own_stream(row, bits, first + 2, first + 5)?),
        xattrs: rare.xattrs,
        allocation: allocation(bits & DELETED != 0),
    })
}

/// Stream 0, if it stands in the inode's own row: its size and its extents in these columns.
fn own_stream(
    row: &Row,
    bits: i16,
    size_column: usize,
    extents_column: usize,
) -> Result<Option<Stream>, Error> {
    if bits & OWN_STREAM == 0 {
        return Ok(None);
    }
    let (extents, units) = codec::map(get(row, extents_column)?)?;
    Ok(Some(Stream {
        kind: StreamKind::Data,
        size_bytes: unsigned(row, size_column)?,
        extents,
        encoding: encoding(i64::from((bits >> 4) & 3), units)?,
        extents_incomplete: bits & 64 != 0,
    }))
}

fn further_streams(
    connection: &Connection,
    scan: ScanId,
    inodes: &Vec<i64>,
) -> Result<HashMap<u64, Vec<WantedStream>>, Error> {
    let mut further: HashMap<u64, Vec<WantedStream>> = HashMap::new();
    if inodes.is_empty() {
        return Ok(further);
    }
    let sql = format!(
        "SELECT ino, kind, size, encoding, incomplete, name, extents, stream FROM stream_{scan} WHERE ino = ANY ($1) \
         ORDER BY ino, stream"
    );
    for row in connection.query(&sql, &[inodes])? {
        let (extents, units) = codec::map(get(&row, 6)?)?;
        let stream = Stream {
            kind: stream_kind(i64::from(get::<i16>(&row, 1)?), get(&row, 5)?),
            size_bytes: unsigned(&row, 2)?,
            extents,
            encoding: encoding(i64::from(get::<i16>(&row, 3)?), units)?,
            extents_incomplete: get(&row, 4)?,
        };
        further.entry(unsigned(&row, 0)?).or_default().push(WantedStream {
            ordinal: small(&row, 7)?,
            stream,
        });
    }
    Ok(further)
}

/// One inode.
pub(super) fn one(connection: &Connection, scan: ScanId, inode: u64) -> Result<Option<Inode>, Error> {
    let sql = format!("SELECT {} FROM inode_{scan} i WHERE ino = $1", columns("i"));
    let rows = connection.query(&sql, &[&inode.cast_signed()])?;
    let found = from_rows(connection, scan, &rows, 0)?.pop();
    Ok(found.map(|(_, inode)| inode))
}

/// The streams of inodes with their extents, by inode and in the order of their ordinals; perhaps of some neighbours too.
pub(super) fn streams_with_extents(
    connection: &Connection,
    scan: ScanId,
    numbers: &[i64],
) -> Result<HashMap<u64, Vec<WantedStream>>, Error> {
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let runs = runs(numbers);
    // No run has more rows than numbers: the limit tells the planner how short they are, and that the index is the way. Rounded, so that the server keeps few
    // such statements.
    let longest = runs
        .iter()
        .map(|(first, last)| last.abs_diff(*first).saturating_add(1));
    let longest = longest.max().unwrap_or(0).checked_next_power_of_two();
    let statement = Statement {
        sql: format!(
            "SELECT i.ino, i.bits, i.size, i.extents FROM unnest($1, $2) AS run (first, last), \
             LATERAL (SELECT * FROM inode_{scan} WHERE ino BETWEEN run.first AND run.last ORDER BY ino LIMIT {}) i",
            longest.unwrap_or(u64::MAX >> 1)
        ),
        types: "int8[], int8[]",
    };
    let (first, last): (Vec<i64>, Vec<i64>) = runs.into_iter().unzip();
    let literals = format!("'{{{}}}', '{{{}}}'", joined(&first), joined(&last));
    let mut found = HashMap::with_capacity(numbers.len());
    let mut with_more = Vec::new();
    for row in kept::query(connection, &statement, &literals, &[&first, &last])? {
        let bits: i16 = get(&row, 1)?;
        if bits & MORE_STREAMS != 0 {
            with_more.push(get(&row, 0)?);
        }
        let own = own_stream(&row, bits, 2, 3)?;
        let own = own.map(|stream| WantedStream { ordinal: 0, stream });
        found.insert(unsigned(&row, 0)?, Vec::from_iter(own));
    }
    for (inode, mut further) in further_streams(connection, scan, &with_more)? {
        found.entry(inode).or_default().append(&mut further);
    }
    Ok(found)
}

/// Numbers as the inner part of an array in SQL.
fn joined(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// Visits all inodes by number.
pub(super) fn each(
    connection: &Connection,
    scan: ScanId,
    visit: &mut dyn FnMut(&Inode) -> Result<(), Error>,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT {} FROM inode_{scan} i WHERE ino > $1 ORDER BY ino LIMIT {PAGE}",
        columns("i")
    );
    let mut last = -1_i64;
    loop {
        let rows = connection.query(&sql, &[&last])?;
        for (_, inode) in from_rows(connection, scan, &rows, 0)? {
            last = inode.number.cast_signed();
            visit(&inode)?;
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// Kinds and sizes of the streams of inodes, by inode: those in the inodes' own rows and the further ones.
pub(super) fn streams(
    connection: &Connection,
    scan: ScanId,
    inodes: &[i64],
) -> Result<HashMap<i64, Vec<crate::standing::StreamRow>>, Error> {
    let sql = format!(
        "SELECT ino, 0 AS stream, 0::int2 AS kind, ''::bytea AS name, size FROM inode_{scan} \
         WHERE ino = ANY ($1) AND bits & {OWN_STREAM} <> 0 UNION ALL \
         SELECT ino, stream, kind, name, size FROM stream_{scan} WHERE ino = ANY ($1) ORDER BY ino, stream"
    );
    let mut streams: HashMap<i64, Vec<_>> = HashMap::new();
    for row in connection.query(&sql, &[&inodes])? {
        let stream = crate::standing::StreamRow {
            ordinal: small(&row, 1)?,
            kind: stream_kind(i64::from(get::<i16>(&row, 2)?), get(&row, 3)?),
            size: unsigned(&row, 4)?,
        };
        streams.entry(get(&row, 0)?).or_default().push(stream);
    }
    Ok(streams)
}
