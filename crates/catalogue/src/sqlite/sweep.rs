//! Reading rows of many inodes: each run of neighbouring numbers in one sweep, since to step over a row costs less than to search anew.

use rusqlite::{Connection, Row, params};

use crate::Error;
use crate::neighbours::are_near;

/// Visits the rows of the `wanted` inodes, given by number, with what each stands for. `sql` selects the numbers between `?1` and `?2` in ascending order; its first
/// column is the number, which may come in several rows or in none.
pub(super) fn each_row<T>(
    connection: &Connection,
    sql: &str,
    mut wanted: Vec<(i64, T)>,
    visit: &mut dyn FnMut(&Row<'_>, &mut T) -> Result<(), Error>,
) -> Result<(), Error> {
    wanted.sort_unstable_by_key(|(number, _)| *number);
    let mut statement = connection.prepare_cached(sql)?;
    for run in wanted.chunk_by_mut(|(left, _), (right, _)| are_near(*left, *right)) {
        let (Some(&(first, _)), Some(&(last, _))) = (run.first(), run.last()) else {
            continue;
        };
        let mut rows = statement.query(params![first, last])?;
        let mut reached = 0;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let ahead = run.get_mut(reached..).unwrap_or_default();
            let passed = ahead.iter().take_while(|(wanted, _)| *wanted < number).count();
            reached += passed;
            let these = ahead.iter_mut().skip(passed);
            for (_, what) in these.take_while(|(wanted, _)| *wanted == number) {
                visit(row, what)?;
            }
        }
    }
    Ok(())
}
