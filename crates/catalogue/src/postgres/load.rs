//! Taking the events of a scan: encoded at once, kept aside until the seal.

use std::path::Path;

use ntt_model::entry::{Allocation, Directory, Inode, Name, ScanCounts, Stream};
use ntt_model::{Finding, MediumKey, ScanEvent, ScanId, Timestamp};

use super::connection::{Connection, get};
use super::inodes::{DELETED, HAS_MTIME, LEAN, MORE_STREAMS, OWN_STREAM};
use super::media::{leaf, medium_of_volume};
use super::paths::ordinal;
use super::spool::Spool;
use super::value::text;
use super::wire::Rows;
use crate::Error;
use crate::code::{KINDS, NAMESPACES, code_of, encoding_code, name_flags, number, stream_code, word_of};
use crate::codec::{plain_data, put_map, rare};
use crate::facts;
use crate::rows::NewScan;

/// A scan that is being loaded. Nothing of it is in the database before the seal.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) scan: ScanId,
    pub(super) new: NewScan,
    pub(super) medium: MediumKey,
    pub(super) begun: Timestamp,
    pub(super) tables: Tables<Spool>,
    at: At,
    /// Part of some events was kept and the rest was not.
    is_torn: bool,
}

/// Something for each table that a scan fills.
#[derive(Debug, Default)]
pub(super) struct Tables<T> {
    pub(super) dirs: T,
    pub(super) paths: T,
    pub(super) inodes: T,
    pub(super) streams: T,
    pub(super) findings: T,
}

/// How far the stream of events has come.
#[derive(Clone, Debug, Default)]
struct At {
    counts: ScanCounts,
    open: Option<OpenDir>,
}

/// A directory whose names are coming; its row is complete once the next one begins.
#[derive(Clone, Debug)]
struct OpenDir {
    directory: Directory,
    seq: i32,
    first_path: i32,
    paths: i32,
}

/// Takes a number for a scan and looks whether it can begin.
pub(super) fn begin(connection: &Connection, new: &NewScan, folder: Option<&Path>) -> Result<Load, Error> {
    let medium = medium_of_volume(connection, new.volume)?;
    if let Some(previous) = new.previous {
        let row = connection.first("SELECT volume FROM scan WHERE id = $1", &[&leaf(previous)?])?;
        let volume = row.map(|row| get::<i64>(&row, 0)).transpose()?;
        if volume != Some(new.volume.0) {
            return Err(Error::Conflict(format!(
                "scan {previous} is no sealed scan of the volume"
            )));
        }
    }
    let scan = connection.one("SELECT nextval(pg_get_serial_sequence('scan', 'id'))", &[])?;
    Ok(Load::new(
        ScanId(scan),
        new.clone(),
        medium,
        connection.now()?,
        folder,
    ))
}

impl Load {
    /// A scan of which nothing was taken yet.
    pub(super) fn new(
        scan: ScanId,
        new: NewScan,
        medium: MediumKey,
        begun: Timestamp,
        folder: Option<&Path>,
    ) -> Self {
        let spool = || Spool::new(folder.map(Path::to_owned));
        Self {
            scan,
            new,
            medium,
            begun,
            tables: Tables {
                dirs: spool(),
                paths: spool(),
                inodes: spool(),
                streams: spool(),
                findings: spool(),
            },
            at: At::default(),
            is_torn: false,
        }
    }

    /// What was taken.
    pub(super) const fn counts(&self) -> &ScanCounts {
        &self.at.counts
    }

    /// Takes events: all of them, or none if one is refused. If they cannot be kept, for want of room for example, the load takes none any more.
    pub(super) fn append(&mut self, events: &[ScanEvent]) -> Result<(), Error> {
        let mut batch = Batch {
            scan: leaf(self.scan)?,
            medium: self.medium.0,
            volume: self.new.volume.0,
            at: self.at.clone(),
            rows: Tables::default(),
            scratch: Vec::new(),
        };
        events.iter().try_for_each(|event| batch.take(event))?;
        let Batch { at, rows, .. } = batch;
        if std::mem::replace(&mut self.is_torn, true) {
            return Err(Error::Damaged(
                "an earlier part of this scan was not kept whole".to_owned(),
            ));
        }
        self.tables.dirs.append(&rows.dirs)?;
        self.tables.paths.append(&rows.paths)?;
        self.tables.inodes.append(&rows.inodes)?;
        self.tables.streams.append(&rows.streams)?;
        self.tables.findings.append(&rows.findings)?;
        self.is_torn = false;
        self.at = at;
        Ok(())
    }

    /// The row of the directory that came last, which no other one ended.
    pub(super) fn last_directory(&self) -> Result<Rows, Error> {
        let mut rows = Rows::default();
        if let Some(open) = &self.at.open {
            put_dir(&mut rows, leaf(self.scan)?, open)?;
        }
        Ok(rows)
    }
}

/// Columns of each table in the order in which rows are encoded.
pub(super) const COLUMNS: Tables<&str> = Tables {
    dirs: "(ino, parent, scan, seq, first_path, paths, namespace, name)",
    paths: "(ino, scan, id, dir, flags, name)",
    inodes: "(ino, size, mtime, scan, bits, facts, extents, rare)",
    streams: "(ino, size, scan, stream, kind, encoding, incomplete, name, extents)",
    findings: "(medium, volume, image_offset, ino, scan, severity, layer, code, detail)",
};

/// The rows of one append.
struct Batch {
    scan: i32,
    medium: i64,
    volume: i64,
    at: At,
    rows: Tables<Rows>,
    scratch: Vec<u8>,
}

impl Batch {
    fn take(&mut self, event: &ScanEvent) -> Result<(), Error> {
        self.at.counts.add(event);
        match event {
            ScanEvent::Directory(directory) => self.enter(directory),
            ScanEvent::Name(name) => self.name(name),
            ScanEvent::Inode(inode) => self.inode(inode),
            ScanEvent::Finding(finding) => self.finding(finding),
        }
    }

    fn enter(&mut self, directory: &Directory) -> Result<(), Error> {
        number(directory.inode)?;
        if self.at.open.is_none() && directory.parent.is_some() {
            return Err(Error::Conflict(
                "the first directory of a scan is not its root".to_owned(),
            ));
        }
        let next = OpenDir {
            directory: directory.clone(),
            seq: ordinal(self.at.counts.directories.cast_signed())?,
            first_path: ordinal(self.at.counts.names.cast_signed().saturating_add(1))?,
            paths: 0,
        };
        if let Some(done) = self.at.open.replace(next) {
            put_dir(&mut self.rows.dirs, self.scan, &done)?;
        }
        Ok(())
    }

    fn name(&mut self, name: &Name) -> Result<(), Error> {
        let directory = name.directory;
        let open = self
            .at
            .open
            .as_mut()
            .filter(|open| open.directory.inode == directory);
        let open = open.ok_or_else(|| {
            Error::Conflict(format!(
                "a name of directory {directory} came while another one was open"
            ))
        })?;
        open.paths += 1;
        self.rows
            .paths
            .row(6)
            .int8(number(name.inode)?)
            .int4(self.scan)
            .int4(ordinal(self.at.counts.names.cast_signed())?)
            .int4(open.seq)
            .int2(small(name_flags(name)?))
            .field(&name.name);
        Ok(())
    }

    fn inode(&mut self, inode: &Inode) -> Result<(), Error> {
        let data = plain_data(inode);
        let size = data.map_or(0, |stream| stream.size_bytes.cast_signed());
        let mtime = inode.times.modified.map_or(0, |time| time.as_nanos());
        let rare = rare(inode)?;
        let scratch = &mut self.scratch;
        scratch.clear();
        facts::encode(scratch, inode);
        self.rows
            .inodes
            .row(8)
            .int8(number(inode.number)?)
            .int8(size)
            .int8(mtime)
            .int4(self.scan)
            .int2(inode_bits(inode)?)
            .field(scratch);
        scratch.clear();
        if let Some(stream) = data {
            put_map(scratch, stream)?;
        }
        self.rows
            .inodes
            .field(scratch)
            .optional((!rare.is_empty()).then_some(rare.as_slice()), Rows::field);
        let further = usize::from(data.is_some());
        for (stream, ordinal) in inode.streams.iter().zip(0..).skip(further) {
            self.stream(inode.number, ordinal, stream)?;
        }
        Ok(())
    }

    fn stream(&mut self, inode: u64, ordinal: i32, stream: &Stream) -> Result<(), Error> {
        let (kind, name) = stream_code(&stream.kind)?;
        self.scratch.clear();
        put_map(&mut self.scratch, stream)?;
        self.rows
            .streams
            .row(9)
            .int8(number(inode)?)
            .int8(stream.size_bytes.cast_signed())
            .int4(self.scan)
            .int4(ordinal)
            .int2(small(kind))
            .int2(small(encoding_code(&stream.encoding)?))
            .boolean(stream.extents_incomplete)
            .field(name)
            .field(&self.scratch);
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> Result<(), Error> {
        self.rows
            .findings
            .row(9)
            .int8(self.medium)
            .int8(self.volume)
            .optional(finding.image_offset.map(u64::cast_signed), Rows::int8)
            .optional(finding.inode.map(u64::cast_signed), Rows::int8)
            .int4(self.scan)
            .field(word_of(&finding.severity)?.as_bytes())
            .field(word_of(&finding.layer)?.as_bytes())
            .field(word_of(&finding.code)?.as_bytes())
            .field(text(&finding.detail).as_bytes());
        Ok(())
    }
}

fn put_dir(rows: &mut Rows, scan: i32, open: &OpenDir) -> Result<(), Error> {
    let directory = &open.directory;
    rows.row(8)
        .int8(number(directory.inode)?)
        .optional(directory.parent.map(u64::cast_signed), Rows::int8)
        .int4(scan)
        .int4(open.seq)
        .int4(open.first_path)
        .int4(open.paths)
        .int2(small(code_of(&NAMESPACES, &directory.namespace)?))
        .field(&directory.name);
    Ok(())
}

/// Codes and flags are small.
fn small(code: i64) -> i16 {
    i16::try_from(code).unwrap_or(i16::MAX)
}

fn inode_bits(inode: &Inode) -> Result<i16, Error> {
    let mut bits = small(code_of(&KINDS, &inode.kind)?) | LEAN;
    let mut set = |bit, holds: bool| bits |= if holds { bit } else { 0 };
    let own = plain_data(inode);
    set(DELETED, inode.allocation == Allocation::Deleted);
    set(64, own.is_some_and(|stream| stream.extents_incomplete));
    set(MORE_STREAMS, inode.streams.len() > usize::from(own.is_some()));
    set(OWN_STREAM, own.is_some());
    set(HAS_MTIME, inode.times.modified.is_some());
    if let Some(stream) = own {
        bits |= small(encoding_code(&stream.encoding)?) << 4;
    }
    Ok(bits)
}
