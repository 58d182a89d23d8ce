//! Beginning, loading and dropping scans.

use ntt_model::entry::{Directory, Inode, Name, ScanCounts, Stream};
use ntt_model::{Finding, MediumKey, ScanEvent, ScanId, Timestamp, VolumeKey};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::code::{KINDS, NAMESPACES, code_of, encoding_code, name_flags, number, stream_code};
use super::codec::{plain_data, put_map, rare};
use super::inodes::{DELETED, MORE_STREAMS};
use super::{media, schema};
use crate::Error;
use crate::facts;
use crate::rows::NewScan;

/// Rows of one INSERT statement: fewer statements to start and reset; more gains nothing.
///
/// The statements are OR FAIL: what fails takes back the whole append with its transaction, so that SQLite need not keep the pages that each
/// statement changes to take back that statement alone.
const ROWS: usize = 32;

/// Where the loading of an unsealed scan stands.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) scan: ScanId,
    pub(super) volume: VolumeKey,
    pub(super) medium: MediumKey,
    pub(super) counts: ScanCounts,
    open: Option<DirRow>,
}

/// A row of `dir`, complete once the next directory begins.
#[derive(Clone, Debug)]
struct DirRow {
    directory: Directory,
    seq: u64,
    first_path: u64,
    paths: u64,
}

/// Begins a scan and creates its leaf tables.
pub(super) fn begin(connection: &Connection, scan: &NewScan, now: Timestamp) -> Result<Load, Error> {
    let medium = media::medium_of_volume(connection, scan.volume)?;
    if let Some(previous) = scan.previous {
        let volume: Option<i64> = connection
            .query_row(
                "SELECT volume FROM scan WHERE id = ?1 AND sealed IS NOT NULL",
                [previous.0],
                |row| row.get(0),
            )
            .optional()?;
        if volume != Some(scan.volume.0) {
            return Err(Error::Conflict(format!(
                "scan {previous} is no sealed scan of the volume"
            )));
        }
    }
    connection.execute(
        "INSERT INTO scan (volume, reader, root, previous, begun) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            scan.volume.0,
            scan.reader,
            scan.root.cast_signed(),
            scan.previous.map(|previous| previous.0),
            now.as_nanos()
        ],
    )?;
    let id = ScanId(connection.last_insert_rowid());
    schema::create_leaves(connection, id)?;
    Ok(Load::new(id, scan.volume, medium))
}

/// Drops an unsealed scan.
pub(super) fn drop_unsealed(connection: &Connection, scan: ScanId) -> Result<(), Error> {
    schema::drop_leaves(connection, scan)?;
    connection.execute("DELETE FROM finding WHERE scan = ?1", [scan.0])?;
    connection.execute("DELETE FROM scan WHERE id = ?1 AND sealed IS NULL", [scan.0])?;
    Ok(())
}

/// Drops what a run that ended without sealing left behind.
pub(super) fn drop_all_unsealed(connection: &Connection) -> Result<(), Error> {
    let mut statement = connection.prepare("SELECT id FROM scan WHERE sealed IS NULL")?;
    let scans = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for scan in scans {
        drop_unsealed(connection, ScanId(scan))?;
    }
    Ok(())
}

impl Load {
    /// A scan of which nothing was loaded yet.
    pub(super) fn new(scan: ScanId, volume: VolumeKey, medium: MediumKey) -> Self {
        Self {
            scan,
            volume,
            medium,
            counts: ScanCounts::default(),
            open: None,
        }
    }

    /// Appends events; `self` must be discarded if this fails.
    pub(super) fn append(&mut self, connection: &Connection, events: &[ScanEvent]) -> Result<(), Error> {
        let mut batch = Batch::default();
        for event in events {
            self.counts.add(event);
            match event {
                ScanEvent::Directory(directory) => batch.dirs.extend(self.enter(directory)?),
                ScanEvent::Name(name) => batch.names.push(self.accept(name)?),
                ScanEvent::Inode(inode) => batch.inodes.push(inode),
                ScanEvent::Finding(finding) => batch.findings.push(finding),
            }
        }
        // In the order of their numbers: a walk meets them in that of their names, each on another page of the table.
        batch.inodes.sort_unstable_by_key(|inode| inode.number);
        self.insert_dirs(connection, &batch.dirs)?;
        self.insert_names(connection, &batch.names)?;
        self.insert_inodes(connection, &batch.inodes)?;
        self.insert_streams(connection, &batch.inodes)?;
        for finding in batch.findings {
            media::insert_finding(
                connection,
                self.medium,
                Some(self.volume),
                Some(self.scan),
                finding,
            )?;
        }
        Ok(())
    }

    /// Writes the row of the last directory.
    pub(super) fn finish(&mut self, connection: &Connection) -> Result<(), Error> {
        let last = Vec::from_iter(self.open.take());
        self.insert_dirs(connection, &last)
    }

    fn enter(&mut self, directory: &Directory) -> Result<Option<DirRow>, Error> {
        number(directory.inode)?;
        if self.open.is_none() && directory.parent.is_some() {
            return Err(Error::Conflict(
                "the first directory of a scan is not its root".to_owned(),
            ));
        }
        let next = DirRow {
            directory: directory.clone(),
            seq: self.counts.directories,
            first_path: self.counts.names + 1,
            paths: 0,
        };
        Ok(self.open.replace(next))
    }

    fn accept<'e>(&mut self, name: &'e Name) -> Result<&'e Name, Error> {
        let directory = name.directory;
        match &mut self.open {
            Some(open) if open.directory.inode == directory => open.paths += 1,
            _ => {
                return Err(Error::Conflict(format!(
                    "a name of directory {directory} came while another one was open"
                )));
            }
        }
        Ok(name)
    }

    fn insert_dirs(&self, connection: &Connection, rows: &[DirRow]) -> Result<(), Error> {
        let head = format!(
            "INSERT OR FAIL INTO dir_{} (ino, seq, parent, first_path, paths, namespace, name)",
            self.scan
        );
        insert_all(connection, &head, 7, rows, |row, values| {
            let directory = &row.directory;
            values.push(number(directory.inode)?)?;
            values.push(row.seq.cast_signed())?;
            values.push(directory.parent.map(u64::cast_signed))?;
            values.push(row.first_path.cast_signed())?;
            values.push(row.paths.cast_signed())?;
            values.push(code_of(&NAMESPACES, &directory.namespace)?)?;
            values.push(directory.name.as_slice())
        })
    }

    /// Row ids follow from the order: the n-th name of the scan gets id n.
    fn insert_names(&self, connection: &Connection, rows: &[&Name]) -> Result<(), Error> {
        let head = format!("INSERT OR FAIL INTO path_{} (dir, ino, flags, name)", self.scan);
        insert_all(connection, &head, 4, rows, |row, values| {
            values.push(number(row.directory)?)?;
            values.push(number(row.inode)?)?;
            values.push(name_flags(row)?)?;
            values.push(row.name.as_slice())
        })
    }

    fn insert_inodes(&self, connection: &Connection, rows: &[&Inode]) -> Result<(), Error> {
        let head = format!(
            "INSERT OR FAIL INTO inode_{} \
             (ino, bits, size, mtime, extents, facts, rare)",
            self.scan
        );
        let mut scratch = Vec::new();
        insert_all(connection, &head, 7, rows, |row, values| {
            bind_inode(row, values, &mut scratch)
        })
    }

    fn insert_streams(&self, connection: &Connection, inodes: &[&Inode]) -> Result<(), Error> {
        let rows: Vec<(u64, usize, &Stream)> = inodes
            .iter()
            .flat_map(|inode| {
                let further = inode
                    .streams
                    .iter()
                    .enumerate()
                    .skip(usize::from(plain_data(inode).is_some()));
                further.map(|(ordinal, stream)| (inode.number, ordinal, stream))
            })
            .collect();
        let head = format!(
            "INSERT OR FAIL INTO stream_{} (ino, stream, kind, size, encoding, incomplete, name, extents)",
            self.scan
        );
        let mut extents = Vec::new();
        insert_all(connection, &head, 8, &rows, |(ino, ordinal, stream), values| {
            let (kind, name) = stream_code(&stream.kind)?;
            values.push(number(*ino)?)?;
            values.push(i64::try_from(*ordinal).unwrap_or(i64::MAX))?;
            values.push(kind)?;
            values.push(stream.size_bytes.cast_signed())?;
            values.push(encoding_code(&stream.encoding)?)?;
            values.push(stream.extents_incomplete)?;
            values.push(name)?;
            extents.clear();
            put_map(&mut extents, stream)?;
            values.push(extents.as_slice())
        })
    }
}

/// The events of one append, sorted by table.
#[derive(Default)]
struct Batch<'e> {
    dirs: Vec<DirRow>,
    names: Vec<&'e Name>,
    inodes: Vec<&'e Inode>,
    findings: Vec<&'e Finding>,
}

fn inode_bits(inode: &Inode) -> Result<i64, Error> {
    let mut bits = code_of(&KINDS, &inode.kind)?;
    if inode.allocation == ntt_model::entry::Allocation::Deleted {
        bits |= DELETED;
    }
    let own = plain_data(inode);
    if let Some(stream) = own {
        bits |= encoding_code(&stream.encoding)? << 4;
        bits |= i64::from(stream.extents_incomplete) << 6;
    }
    if inode.streams.len() > usize::from(own.is_some()) {
        bits |= MORE_STREAMS;
    }
    Ok(bits)
}

fn bind_inode(inode: &Inode, values: &mut Values<'_, '_>, scratch: &mut Vec<u8>) -> Result<(), Error> {
    let data = plain_data(inode);
    values.push(number(inode.number)?)?;
    values.push(inode_bits(inode)?)?;
    values.push(data.map(|stream| stream.size_bytes.cast_signed()))?;
    values.push(inode.times.modified.map(|time| time.as_nanos()))?;
    scratch.clear();
    if let Some(stream) = data {
        put_map(scratch, stream)?;
    }
    values.push(non_empty(scratch))?;
    scratch.clear();
    facts::encode(scratch, inode);
    values.push(scratch.as_slice())?;
    values.push(non_empty(&rare(inode)?))
}

fn non_empty(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

/// Binds the values of a statement one after the other.
struct Values<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    next: usize,
}

impl Values<'_, '_> {
    fn push(&mut self, value: impl rusqlite::ToSql) -> Result<(), Error> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

/// Inserts rows of `columns` values, [`ROWS`] by one statement.
fn insert_all<T>(
    connection: &Connection,
    head: &str,
    columns: usize,
    rows: &[T],
    mut bind: impl FnMut(&T, &mut Values<'_, '_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (groups, rest) = rows.split_at(rows.len() - rows.len() % ROWS);
    for (rows, size) in [(groups, ROWS), (rest, 1)] {
        if rows.is_empty() {
            continue;
        }
        // The statement is kept from group to group: to look it up costs as much as to bind some rows.
        let mut statement = connection.prepare_cached(&insert_sql(head, columns, size))?;
        for group in rows.chunks(size) {
            let mut values = Values {
                statement: &mut statement,
                next: 1,
            };
            group.iter().try_for_each(|row| bind(row, &mut values))?;
            statement.raw_execute()?;
        }
    }
    Ok(())
}

fn insert_sql(head: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{head} VALUES {}", vec![row.as_str(); rows].join(","))
}
