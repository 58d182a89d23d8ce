//! Paths: rebuilt from the directory rows, since no full path is stored.

use std::collections::HashMap;
use std::sync::Arc;

use ntt_model::ScanId;
use postgres::Row;

use super::connection::{Connection, get};
use super::inodes;
use super::media::unsigned;
use crate::Error;
use crate::code::{KINDS, NAMESPACES, name_facts, value_of};
use crate::descent::{self, Directories, Located};
use crate::query::NameVisitor;
use crate::rows::{ChildRow, DirRow, PathRow};
use crate::tree::{DirectoryPaths, push_name};

/// Names read in one go.
pub(super) const PAGE: i64 = 4096;

/// Paths of the directories of one scan, and names of rules.
pub(super) struct Paths<'c> {
    connection: &'c Connection,
    scan: ScanId,
    rules: HashMap<i32, String>,
    known: DirectoryPaths,
    /// Paths of the directories that were prepared last, by their ordinals.
    prepared: HashMap<i32, Arc<[u8]>>,
}

/// What [`Paths::rows`] reads: the path, and what a listing shows of its inode.
pub(super) const COLUMNS: &str = "p.id, p.dir, p.name, p.ino, p.flags, l.rule, i.bits, i.size, i.mtime";
/// How many columns that are.
pub(super) const COLUMN_COUNT: usize = 9;

/// Tables of [`COLUMNS`].
pub(super) fn from(scan: ScanId) -> String {
    format!(
        "FROM path_{scan} p LEFT JOIN inode_{scan} i ON i.ino = p.ino LEFT JOIN label_{scan} l ON l.path = p.id"
    )
}

impl<'c> Paths<'c> {
    /// Paths of `scan`.
    pub(super) fn new(connection: &'c Connection, scan: ScanId) -> Result<Self, Error> {
        let rules = connection.collect("SELECT id, name FROM rule", &[], |row| {
            Ok((get(row, 0)?, get(row, 1)?))
        })?;
        Ok(Self {
            connection,
            scan,
            rules: rules.into_iter().collect(),
            known: DirectoryPaths::default(),
            prepared: HashMap::new(),
        })
    }

    /// Whether they are those of this scan.
    pub(super) fn is_of(&self, scan: ScanId) -> bool {
        self.scan == scan
    }

    /// Turns rows of [`COLUMNS`].
    pub(super) fn rows(&mut self, rows: &[Row]) -> Result<Vec<PathRow>, Error> {
        self.prepare(rows, 1)?;
        rows.iter().map(|row| self.row(row)).collect()
    }

    /// Turns a row whose directory was prepared.
    pub(super) fn row(&self, row: &Row) -> Result<PathRow, Error> {
        let (namespace, alternate, allocation) = name_facts(i64::from(get::<i16>(row, 4)?))?;
        let bits: Option<i16> = get(row, 6)?;
        let own = bits.is_some_and(|bits| bits & inodes::OWN_STREAM != 0);
        Ok(PathRow {
            id: i64::from(get::<i32>(row, 0)?),
            path: self.join(get(row, 1)?, get(row, 2)?)?,
            inode: unsigned(row, 3)?,
            kind: bits
                .map(|bits| value_of(&KINDS, i64::from(bits & 7)))
                .transpose()?,
            size_bytes: if own { unsigned(row, 7)? } else { 0 },
            namespace,
            alternate,
            allocation,
            rule: self.rule(get(row, 5)?)?,
        })
    }

    /// The name of a rule.
    fn rule(&self, id: Option<i32>) -> Result<Option<String>, Error> {
        id.map(|id| {
            let name = self.rules.get(&id).cloned();
            name.ok_or_else(|| Error::Damaged(format!("there is no rule {id}")))
        })
        .transpose()
    }

    /// The path of a name in a directory that was prepared.
    pub(super) fn join(&self, directory: i32, name: &[u8]) -> Result<Vec<u8>, Error> {
        let mut path = self
            .prepared
            .get(&directory)
            .ok_or_else(|| self.lacks(directory))?
            .to_vec();
        push_name(&mut path, name);
        Ok(path)
    }

    fn lacks(&self, directory: impl std::fmt::Display) -> Error {
        Error::Damaged(format!("scan {} lacks directory {directory}", self.scan))
    }

    /// Finds the paths of all directories named in a column of rows, by one query for them and all above them.
    pub(super) fn prepare(&mut self, rows: &[Row], column: usize) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for row in rows {
            let directory: i32 = get(row, column)?;
            if !self.prepared.contains_key(&directory) && wanted.last() != Some(&directory) {
                wanted.push(directory);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.prepared.clear();
        for row in rows {
            wanted.push(get(row, column)?);
        }
        wanted.sort_unstable();
        wanted.dedup();
        self.climb(&wanted)
    }

    /// Ends, because the seal made sure that every parent comes before its children, and UNION drops what is known.
    fn climb(&mut self, wanted: &Vec<i32>) -> Result<(), Error> {
        let scan = self.scan;
        let sql = format!(
            "WITH RECURSIVE up AS (SELECT seq, ino, parent, name FROM dir_{scan} WHERE seq = ANY ($1) UNION \
             SELECT d.seq, d.ino, d.parent, d.name FROM up JOIN dir_{scan} d ON d.ino = up.parent) \
             SELECT seq, ino, parent, name FROM up"
        );
        let rows = self.connection.query(&sql, &[wanted])?;
        let (mut numbers, mut above) = (HashMap::new(), HashMap::new());
        for row in &rows {
            let inode = unsigned(row, 1)?;
            numbers.insert(get::<i32>(row, 0)?, inode);
            let parent: Option<i64> = get(row, 2)?;
            above.insert(inode, (parent.map(i64::cast_unsigned), get::<&[u8]>(row, 3)?));
        }
        for directory in wanted {
            let inode = *numbers.get(directory).ok_or_else(|| self.lacks(directory))?;
            let path = self.known.get(inode, |inode| {
                let found = above.get(&inode).map(|(parent, name)| (*parent, name.to_vec()));
                found.ok_or_else(|| Error::Damaged(format!("scan {scan} lacks directory {inode}")))
            })?;
            self.prepared.insert(*directory, path);
        }
        Ok(())
    }
}

/// Visits the rows of a query over the names of a scan in the order of the scan, page by page.
pub(super) fn pages(
    connection: &Connection,
    scan: ScanId,
    columns: &str,
    tables: &str,
    condition: &str,
    visit: &mut dyn FnMut(&[Row]) -> Result<(), Error>,
) -> Result<(), Error> {
    pages_from(connection, (scan, 1), columns, tables, condition, visit)
}

/// As [`pages`], from a name on.
pub(super) fn pages_from(
    connection: &Connection,
    (scan, first): (ScanId, i64),
    columns: &str,
    tables: &str,
    condition: &str,
    visit: &mut dyn FnMut(&[Row]) -> Result<(), Error>,
) -> Result<(), Error> {
    let names: i64 = connection.one(&format!("SELECT names FROM scan WHERE id = {scan}"), &[])?;
    let sql = format!("SELECT {columns} {tables} WHERE p.id >= $1 AND p.id < $2 {condition} ORDER BY p.id");
    for first in (first..=names).step_by(usize::try_from(PAGE).unwrap_or(1)) {
        let (first, end) = (ordinal(first)?, ordinal(first.saturating_add(PAGE))?);
        visit(&connection.query(&sql, &[&first, &end])?)?;
    }
    Ok(())
}

/// Visits the rows of names by their ids, which ascend. Names that stand near each other are read by one query: the index by id is one of
/// ranges of pages.
pub(super) fn of_ids(
    connection: &Connection,
    columns: &str,
    tables: &str,
    condition: &str,
    ids: &[i64],
    visit: &mut dyn FnMut(&[Row]) -> Result<(), Error>,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT {columns} {tables} WHERE p.id >= $1 AND p.id <= $2 AND p.id = ANY ($3) {condition} ORDER BY p.id"
    );
    let ids: Vec<i32> = ids.iter().map(|id| ordinal(*id)).collect::<Result<_, _>>()?;
    let mut rest = ids.as_slice();
    while let Some(first) = rest.first() {
        let reach = i64::from(*first).saturating_add(PAGE);
        let (near, far) = rest.split_at(rest.partition_point(|id| i64::from(*id) < reach));
        let last = near.last().unwrap_or(first);
        visit(&connection.query(&sql, &[first, last, &near])?)?;
        rest = far;
    }
    Ok(())
}

/// Visits all names with the paths of their directories, in the order of the scan.
pub(super) fn each_name(
    connection: &Connection,
    scan: ScanId,
    visit: &mut NameVisitor<'_>,
) -> Result<(), Error> {
    let mut paths = Paths::new(connection, scan)?;
    let tables = format!("FROM path_{scan} p");
    pages(
        connection,
        scan,
        "p.id, p.dir, p.name",
        &tables,
        "",
        &mut |rows| {
            paths.prepare(rows, 1)?;
            for row in rows {
                let directory: i32 = get(row, 1)?;
                let path = paths
                    .prepared
                    .get(&directory)
                    .ok_or_else(|| paths.lacks(directory))?;
                visit(path, get(row, 2)?)?;
            }
            Ok(())
        },
    )
}

/// The ordinal of a name or directory as tables hold it.
pub(super) fn ordinal(number: i64) -> Result<i32, Error> {
    i32::try_from(number)
        .map_err(|_| Error::Conflict("this catalogue keeps at most 2^31 names of a scan".to_owned()))
}

/// Visits all paths in the order of the scan.
pub(super) fn each(
    connection: &Connection,
    scan: ScanId,
    visit: &mut dyn FnMut(&PathRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut paths = Paths::new(connection, scan)?;
    pages(connection, scan, COLUMNS, &from(scan), "", &mut |rows| {
        paths.rows(rows)?.iter().try_for_each(&mut *visit)
    })
}

/// Paths of inodes, in the order of the scan for each.
pub(super) fn of_inodes(paths: &mut Paths<'_>, inodes: &[i64]) -> Result<Vec<PathRow>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} {} WHERE p.ino = ANY ($1) ORDER BY p.ino, p.id",
        from(paths.scan)
    );
    let rows = paths.connection.query(&sql, &[&inodes])?;
    paths.rows(&rows)
}

const PLACE: &str = "ino, parent, name, namespace, first_path, paths";

/// A directory from its first four columns of [`PLACE`].
pub(super) fn dir_row(row: &Row) -> Result<DirRow, Error> {
    Ok(DirRow {
        inode: unsigned(row, 0)?,
        parent: get::<Option<i64>>(row, 1)?.map(i64::cast_unsigned),
        name: get(row, 2)?,
        namespace: value_of(&NAMESPACES, i64::from(get::<i16>(row, 3)?))?,
    })
}

fn place(row: &Row) -> Result<Located, Error> {
    Ok(Located {
        row: dir_row(row)?,
        first_path: get::<i32>(row, 4)?.into(),
        paths: get::<i32>(row, 5)?.into(),
    })
}

/// The directories of a scan.
struct Tree<'c> {
    connection: &'c Connection,
    scan: ScanId,
}

impl Directories for Tree<'_> {
    fn roots(&self) -> Result<Vec<Located>, Error> {
        let scan = self.scan;
        let sql = format!("SELECT {PLACE} FROM dir_{scan} WHERE parent IS NULL ORDER BY seq");
        self.connection.collect(&sql, &[], place)
    }

    fn place(&self, inode: u64) -> Result<Option<Located>, Error> {
        let sql = format!("SELECT {PLACE} FROM dir_{} WHERE ino = $1", self.scan);
        let row = self.connection.first(&sql, &[&inode.cast_signed()])?;
        row.map(|row| place(&row)).transpose()
    }

    fn named(&self, place: &Located, name: &[u8]) -> Result<Vec<ChildRow>, Error> {
        names_in(self.connection, self.scan, place, Some(name))
    }
}

/// Directories that stand under a path.
pub(super) fn resolve_dirs(connection: &Connection, scan: ScanId, path: &[u8]) -> Result<Vec<DirRow>, Error> {
    descent::directories(&Tree { connection, scan }, path)
}

/// One directory by its inode number.
pub(super) fn directory(connection: &Connection, scan: ScanId, inode: u64) -> Result<Option<DirRow>, Error> {
    Ok(Tree { connection, scan }.place(inode)?.map(|place| place.row))
}

/// Entries that stand under a path; none for the root, which has no name.
pub(super) fn resolve(connection: &Connection, scan: ScanId, path: &[u8]) -> Result<Vec<ChildRow>, Error> {
    descent::entries(&Tree { connection, scan }, path)
}

/// A page of what a directory holds, in the order of the medium.
pub(super) fn children(
    connection: &Connection,
    scan: ScanId,
    directory: u64,
    after: i64,
) -> Result<Vec<ChildRow>, Error> {
    let place = Tree { connection, scan }.place(directory)?;
    let place = place.ok_or_else(|| Error::NotFound {
        what: format!("directory {directory} in scan {scan}"),
    })?;
    names_in(connection, scan, &place.page(after), None)
}

fn names_in(
    connection: &Connection,
    scan: ScanId,
    place: &Located,
    name: Option<&[u8]>,
) -> Result<Vec<ChildRow>, Error> {
    let sql = format!(
        "SELECT p.id, p.name, p.flags, r.name, p.ino, {} FROM path_{scan} p LEFT JOIN inode_{scan} i ON i.ino = p.ino \
         LEFT JOIN label_{scan} l ON l.path = p.id LEFT JOIN rule r ON r.id = l.rule \
         WHERE p.id >= $1 AND p.id < $2 AND ($3 IS NULL OR p.name = $3) ORDER BY p.id",
        inodes::columns("i")
    );
    let end = place.end();
    let mut found = Vec::new();
    let step = usize::try_from(PAGE).unwrap_or(1);
    for first in (place.first_path..end).step_by(step) {
        let last = first.saturating_add(PAGE).min(end);
        let rows = connection.query(&sql, &[&ordinal(first)?, &ordinal(last)?, &name])?;
        let mut inodes = inodes::from_rows(connection, scan, &rows, 5)?
            .into_iter()
            .peekable();
        for (index, row) in rows.iter().enumerate() {
            let inode = inodes.next_if(|(place, _)| *place == index);
            found.push(child(row, place.row.inode, inode.map(|(_, inode)| inode))?);
        }
    }
    Ok(found)
}

fn child(row: &Row, directory: u64, inode: Option<crate::rows::InodeRow>) -> Result<ChildRow, Error> {
    let (namespace, alternate, allocation) = name_facts(i64::from(get::<i16>(row, 2)?))?;
    Ok(ChildRow {
        id: i64::from(get::<i32>(row, 0)?),
        directory,
        name: get(row, 1)?,
        namespace,
        alternate,
        allocation,
        rule: get(row, 3)?,
        number: unsigned(row, 4)?,
        inode,
    })
}
