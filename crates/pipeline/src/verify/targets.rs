//! The contents to verify, sorted on disk: an archive may have more of them than fit into memory.

use std::collections::HashMap;
use std::ops::ControlFlow;

use ntt_model::{BlobHash, Timestamp};
use ntt_store::{Location, PackId};
use rusqlite::{Connection, Row, params};

use crate::Error;

/// One content to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) verified: Option<Timestamp>,
    /// See [`Places`].
    pub(super) place: u64,
    pub(super) hash: BlobHash,
    pub(super) bytes: u64,
}

/// Where contents lie, as numbers whose order is that of the disk: contents are read from one end of a pack to the other, one pack after the other. In
/// the order of their digests each would be somewhere else.
#[derive(Debug, Default)]
pub(super) struct Places {
    packs: HashMap<PackId, u64>,
}

impl Places {
    /// Bits of a number that are an offset in a pack.
    const OFFSET_BITS: u32 = 40;

    /// Files of their own come first, among themselves in the order of their names.
    pub(super) fn of(&mut self, location: Location) -> u64 {
        let Location::Packed { pack, offset } = location else {
            return 0;
        };
        let next = super::count(self.packs.len()).saturating_add(1);
        let pack = *self.packs.entry(pack).or_insert(next);
        let pack = pack.saturating_mul(1 << Self::OFFSET_BITS);
        pack | offset.min((1 << Self::OFFSET_BITS) - 1)
    }
}

/// Memory for sorting. The rest lies in files without a name in the folder that `SQLITE_TMPDIR` or `TMPDIR` names, `/var/tmp` if none does.
const CACHE_KIB: u32 = 32 << 10;

/// Contents that are being collected, in any order and perhaps more than once.
#[derive(Debug)]
pub(super) struct Gathering {
    rows: Connection,
}

impl Gathering {
    pub(super) fn begin() -> Result<Self, Error> {
        let rows = Connection::open("").map_err(Error::Sorting)?;
        rows.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -{CACHE_KIB}; \
             CREATE TABLE gathered (verified INT, place INT, bytes INT, hash BLOB); \
             CREATE TABLE target (verified INT, place INT, bytes INT, hash BLOB); BEGIN"
        ))
        .map_err(Error::Sorting)?;
        Ok(Self { rows })
    }

    pub(super) fn add(&self, target: &Target) -> Result<(), Error> {
        self.insert(target).map_err(Error::Sorting)
    }

    fn insert(&self, target: &Target) -> rusqlite::Result<()> {
        let sql = "INSERT INTO gathered (verified, place, bytes, hash) VALUES (?1, ?2, ?3, ?4)";
        self.rows.prepare_cached(sql)?.execute(params![
            target.verified.map(|time| time.as_nanos()),
            target.place.cast_signed(),
            target.bytes.cast_signed(),
            target.hash.as_bytes(),
        ])?;
        Ok(())
    }

    /// Each content once, those verified longest ago first and those of one age in the order of the disk. A sample is taken of what was verified longest ago;
    /// of all that is equally old in the order of digests, wherever that is on the disk.
    pub(super) fn sort(self, sample_percent: Option<u8>) -> Result<Targets, Error> {
        self.choose(sample_percent).map_err(Error::Sorting)?;
        Ok(Targets { rows: self.rows })
    }

    fn choose(&self, sample_percent: Option<u8>) -> rusqlite::Result<()> {
        // What is grouped needs no second sort for its order, and the sorter of SQLite merges on disk.
        let by_digest = "SELECT verified, place, bytes, hash FROM gathered GROUP BY verified, hash";
        let chosen = match sample_percent {
            None => "SELECT verified, place, bytes, hash FROM gathered GROUP BY verified, place, hash ORDER BY verified, place, hash".to_owned(),
            Some(percent) => {
                let count: i64 =
                    self.rows
                        .query_row(&format!("SELECT count(*) FROM ({by_digest})"), [], |row| row.get(0))?;
                let wanted = count.saturating_mul(i64::from(percent.min(100))).saturating_add(99) / 100;
                format!("SELECT * FROM ({by_digest} ORDER BY verified, hash LIMIT {wanted}) ORDER BY verified, place, hash")
            }
        };
        self.rows.execute_batch(&format!(
            "INSERT INTO target {chosen}; DROP TABLE gathered; COMMIT"
        ))
    }
}

/// Contents in the order in which they are read.
#[derive(Debug)]
pub(super) struct Targets {
    rows: Connection,
}

impl Targets {
    /// Visits all, until a visitor has seen enough.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Target) -> ControlFlow<()>) -> Result<(), Error> {
        self.read(visit).map_err(Error::Sorting)
    }

    fn read(&self, visit: &mut dyn FnMut(Target) -> ControlFlow<()>) -> rusqlite::Result<()> {
        let sql = "SELECT verified, place, bytes, hash FROM target ORDER BY rowid";
        let mut statement = self.rows.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if visit(target(row)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn target(row: &Row<'_>) -> rusqlite::Result<Target> {
    Ok(Target {
        verified: row.get::<_, Option<i64>>(0)?.map(Timestamp::from_nanos),
        place: row.get::<_, i64>(1)?.cast_unsigned(),
        bytes: row.get::<_, i64>(2)?.cast_unsigned(),
        hash: BlobHash::from_bytes(row.get(3)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(verified: Option<i64>, place: u64, digest: u8) -> Target {
        Target {
            verified: verified.map(Timestamp::from_nanos),
            place,
            hash: BlobHash::from_bytes([digest; 32]),
            bytes: u64::MAX - u64::from(digest),
        }
    }

    fn sorted(gathered: &[Target], sample_percent: Option<u8>) -> Vec<Target> {
        let gathering = Gathering::begin().unwrap();
        for target in gathered {
            gathering.add(target).unwrap();
        }
        let mut found = Vec::new();
        gathering
            .sort(sample_percent)
            .unwrap()
            .each(&mut |target| {
                found.push(target);
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    #[test]
    fn r42_the_oldest_come_first_and_those_of_one_age_in_the_order_of_the_disk() {
        let (new, old) = (target(Some(7), 1, 1), target(Some(-7), 9, 2));
        let (never, never_behind) = (target(None, 5, 4), target(None, 6, 3));
        let gathered = [new, never_behind, old, never, never_behind];
        assert_eq!(sorted(&gathered, None), [never, never_behind, old, new]);
    }

    #[test]
    fn a_sample_is_of_the_oldest_and_not_of_one_end_of_the_disk() {
        let never: Vec<Target> = (0..100_u8)
            .map(|digest| target(None, u64::from(100 - digest), digest))
            .collect();
        let new = target(Some(1), 0, 200);
        let sample = sorted(&[never.clone(), vec![new]].concat(), Some(10));
        // The least digests of those never verified (11 of 101), in the order of the disk.
        let mut expected = never[..11].to_vec();
        expected.reverse();
        assert_eq!(sample, expected);
        assert_eq!(sorted(&[new], Some(1)), [new]);
        assert_eq!(sorted(&[], Some(1)), []);
    }

    #[test]
    fn a_visitor_may_have_seen_enough() {
        let gathering = Gathering::begin().unwrap();
        (0..10).for_each(|digest| gathering.add(&target(None, 0, digest)).unwrap());
        let mut seen = 0;
        let targets = gathering.sort(None).unwrap();
        targets
            .each(&mut |_| {
                seen += 1;
                if seen == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(seen, 3);
    }

    #[test]
    fn r39_a_full_folder_for_temporary_files_is_told() {
        let gathering = Gathering::begin().unwrap();
        gathering
            .rows
            .execute_batch("PRAGMA max_page_count = 20")
            .unwrap();
        let added = (0..10_000_u64).try_for_each(|place| gathering.add(&target(None, place, 0)));
        let error = added.expect_err("80 KiB do not hold them");
        assert_eq!(error.kind(), crate::ErrorKind::Unreachable);
        assert!(error.to_string().contains("TMPDIR"), "{error}");
    }

    proptest! {
        /// As a sort in memory does it, whatever is gathered and how often.
        #[test]
        fn what_is_gathered_is_sorted_and_there_once(
            gathered in proptest::collection::vec((proptest::option::of(any::<i64>()), 0..1_u64 << 63, 0..20_u8), 0..100)
        ) {
            let gathered: Vec<Target> = gathered.into_iter().map(|(verified, place, digest)| target(verified, place, digest)).collect();
            let mut expected = gathered.clone();
            expected.sort_unstable_by_key(|target| (target.verified, target.place, target.hash));
            expected.dedup();
            prop_assert_eq!(sorted(&gathered, None), expected);
        }
    }
}
