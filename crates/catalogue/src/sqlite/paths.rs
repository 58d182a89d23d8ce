//! Paths: rebuilt from the directory rows, since no full path is stored.

use std::collections::HashMap;
use std::sync::Arc;

use ntt_model::ScanId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::code::{KINDS, NAMESPACES, name_facts, value_of};
use super::media::collect;
use crate::Error;
use crate::descent::{self, Directories, Located};
use crate::query::NameVisitor;
use crate::rows::{ChildRow, DirRow, PathRow};
use crate::tree::{DirectoryPaths, push_name};

/// Paths of the directories of one scan, and names of rules.
pub(super) struct Paths<'c> {
    connection: &'c Connection,
    scan: ScanId,
    rules: HashMap<i64, String>,
    directories: DirectoryPaths,
}

/// Columns and tables that [`Paths::row`] reads.
pub(super) fn select(scan: ScanId) -> String {
    format!(
        "SELECT p.id, p.dir, p.name, p.ino, p.flags, p.rule, i.bits, i.size \
         FROM path_{scan} p LEFT JOIN inode_{scan} i ON i.ino = p.ino"
    )
}

impl<'c> Paths<'c> {
    /// Paths of `scan`.
    pub(super) fn new(connection: &'c Connection, scan: ScanId) -> Result<Self, Error> {
        let rules = collect(connection, "SELECT id, name FROM rule", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(Self {
            connection,
            scan,
            rules: rules.into_iter().collect(),
            directories: DirectoryPaths::default(),
        })
    }

    /// Turns a row of [`select`].
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<PathRow, Error> {
        let (namespace, alternate, allocation) = name_facts(row.get(4)?)?;
        let bits: Option<i64> = row.get(6)?;
        Ok(PathRow {
            id: row.get(0)?,
            path: self.join(row.get::<_, i64>(1)?.cast_unsigned(), row.get_ref(2)?.as_blob()?)?,
            inode: row.get::<_, i64>(3)?.cast_unsigned(),
            kind: bits.map(|bits| value_of(&KINDS, bits & 7)).transpose()?,
            size_bytes: row.get::<_, Option<i64>>(7)?.map_or(0, i64::cast_unsigned),
            namespace,
            alternate,
            allocation,
            rule: self.rule(row.get(5)?)?,
        })
    }

    /// The name of a rule.
    pub(super) fn rule(&self, id: Option<i64>) -> Result<Option<String>, Error> {
        id.map(|id| {
            let name = self.rules.get(&id).cloned();
            name.ok_or_else(|| Error::Damaged(format!("there is no rule {id}")))
        })
        .transpose()
    }

    /// The path of a name in a directory.
    pub(super) fn join(&mut self, directory: u64, name: &[u8]) -> Result<Vec<u8>, Error> {
        let mut path = self.directory(directory)?.to_vec();
        push_name(&mut path, name);
        Ok(path)
    }

    /// The path of a directory.
    pub(super) fn directory(&mut self, directory: u64) -> Result<Arc<[u8]>, Error> {
        let (connection, scan) = (self.connection, self.scan);
        self.directories
            .get(directory, |directory| parent(connection, scan, directory))
    }
}

/// The parent and the name of a directory.
fn parent(connection: &Connection, scan: ScanId, directory: u64) -> Result<(Option<u64>, Vec<u8>), Error> {
    let sql = format!("SELECT parent, name FROM dir_{scan} WHERE ino = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let row = statement
        .query_row([directory.cast_signed()], |row| {
            Ok((row.get::<_, Option<i64>>(0)?.map(i64::cast_unsigned), row.get(1)?))
        })
        .optional()?;
    row.ok_or_else(|| Error::Damaged(format!("scan {scan} lacks directory {directory}")))
}

/// Visits all paths in the order of the scan.
pub(super) fn each(
    connection: &Connection,
    scan: ScanId,
    visit: &mut dyn FnMut(&PathRow) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut paths = Paths::new(connection, scan)?;
    let mut statement = connection.prepare(&format!("{} ORDER BY p.id", select(scan)))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(&paths.row(row)?)?;
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
    let mut statement = connection.prepare(&format!("SELECT dir, name FROM path_{scan} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut known: Option<(i64, Arc<[u8]>)> = None;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let directory = match known.take().filter(|(known, _)| *known == number) {
            Some((_, directory)) => directory,
            None => paths.directory(number.cast_unsigned())?,
        };
        visit(&directory, row.get_ref(1)?.as_blob()?)?;
        known = Some((number, directory));
    }
    Ok(())
}

/// Ids of the paths of an inode, in the order of the scan. Both halves of the index are searched.
fn ids_of(connection: &Connection, scan: ScanId, inode: u64) -> Result<Vec<i64>, Error> {
    let sql = format!(
        "SELECT id FROM path_{scan} WHERE ino = ?1 AND rule IS NULL AND flags < 16 UNION ALL \
         SELECT id FROM path_{scan} WHERE ino = ?1 AND (rule IS NOT NULL OR flags >= 16)"
    );
    let mut ids = collect(connection, &sql, params![inode.cast_signed()], |row| {
        Ok(row.get(0)?)
    })?;
    ids.sort_unstable();
    Ok(ids)
}

/// Paths of an inode, in the order of the scan.
pub(super) fn of_inode(paths: &mut Paths<'_>, inode: u64) -> Result<Vec<PathRow>, Error> {
    let connection = paths.connection;
    let sql = format!("{} WHERE p.id = ?1", select(paths.scan));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for id in ids_of(connection, paths.scan, inode)? {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()? {
            found.push(paths.row(row)?);
        }
    }
    Ok(found)
}

const PLACE: &str = "ino, parent, name, namespace, first_path, paths";

fn place(row: &Row<'_>) -> Result<Located, Error> {
    Ok(Located {
        row: DirRow {
            inode: row.get::<_, i64>(0)?.cast_unsigned(),
            parent: row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned),
            name: row.get(2)?,
            namespace: value_of(&NAMESPACES, row.get(3)?)?,
        },
        first_path: row.get(4)?,
        paths: row.get(5)?,
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
        collect(self.connection, &sql, params![], place)
    }

    fn place(&self, inode: u64) -> Result<Option<Located>, Error> {
        let sql = format!("SELECT {PLACE} FROM dir_{} WHERE ino = ?1", self.scan);
        let found = collect(self.connection, &sql, params![inode.cast_signed()], place)?;
        Ok(found.into_iter().next())
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
    let found = descent::entries(&Tree { connection, scan }, path)?;
    with_inodes(connection, scan, found)
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
    let rows = names_in(connection, scan, &place.page(after), None)?;
    with_inodes(connection, scan, rows)
}

fn names_in(
    connection: &Connection,
    scan: ScanId,
    place: &Located,
    name: Option<&[u8]>,
) -> Result<Vec<ChildRow>, Error> {
    let sql = format!(
        "SELECT p.id, p.name, p.flags, r.name, p.ino FROM path_{scan} p LEFT JOIN rule r ON r.id = p.rule \
         WHERE p.id >= ?1 AND p.id < ?2 AND (?3 IS NULL OR p.name = ?3) ORDER BY p.id"
    );
    collect(
        connection,
        &sql,
        params![place.first_path, place.end(), name],
        |row| {
            let (namespace, alternate, allocation) = name_facts(row.get(2)?)?;
            Ok(ChildRow {
                id: row.get(0)?,
                directory: place.row.inode,
                name: row.get(1)?,
                namespace,
                alternate,
                allocation,
                rule: row.get(3)?,
                number: row.get::<_, i64>(4)?.cast_unsigned(),
                inode: None,
            })
        },
    )
}

fn with_inodes(
    connection: &Connection,
    scan: ScanId,
    mut rows: Vec<ChildRow>,
) -> Result<Vec<ChildRow>, Error> {
    for row in &mut rows {
        row.inode = super::inodes::one(connection, scan, row.number)?;
    }
    Ok(rows)
}
