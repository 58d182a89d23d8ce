//! An index that cannot be read: told, refused, made anew (R37, R38).

use std::collections::BTreeMap;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::PathBuf;

use ntt_store::Problem;

use crate::*;

/// Contents in packs, and two that are files of their own.
fn contents() -> Vec<Vec<u8>> {
    let small = (0..20).map(|seed| content(seed, 900));
    small.chain([content(100, 5000), content(101, 7000)]).collect()
}

/// A store of [`contents`] with a segment and, of a writer that was killed, a journal.
fn filled(disk: &SimDisk) -> Result<(), Error> {
    let mut writer = create(disk, 1)?.writer()?;
    for bytes in contents() {
        put(&mut writer, &bytes)?;
        writer.commit()?;
    }
    drop(writer);
    let mut writer = create(disk, 2)?.writer()?;
    put(&mut writer, &content(200, 800))?;
    writer.commit()?;
    Ok(())
}

fn to_check(disk: &SimDisk) -> Result<Store, Error> {
    let random = Arc::new(SeededRandom::new(3));
    Store::open_to_check(Arc::new(disk.clone()), random, Path::new(ROOT))
}

/// A segment and its length.
fn segment(disk: &SimDisk) -> (PathBuf, usize) {
    let files = disk.files().into_iter();
    let mut segments = files.filter(|(path, _)| path.extension().is_some_and(|name| name == "seg"));
    let (path, bytes) = segments.next().expect("there is a segment");
    (path, bytes.len())
}

fn assert_whole(store: &Store, case: &str) {
    let expected = contents().into_iter().chain([content(200, 800)]);
    let mut count = 0;
    for bytes in expected {
        let found = read(store, &BlobHash::of(&bytes));
        assert_eq!(found.unwrap_or_else(|error| panic!("{case}: {error}")), bytes);
        count += 1;
    }
    assert_eq!(store.count().expect("the index reads"), count, "{case}");
    assert_eq!(store.check().expect("it reads").problems, [], "{case}");
}

fn on(_: u64) -> ControlFlow<()> {
    Continue(())
}

/// R37: wherever a segment is damaged, a check says so with the place, no question gets a silent no, and a rebuild brings everything back.
#[test]
fn r37_a_damaged_segment_is_told_and_made_anew() -> Result<(), Error> {
    let probe = SimDisk::new();
    filled(&probe)?;
    let (path, len) = segment(&probe);
    // In entries, the digest of the block, a fence, and the trailer.
    for at in [0, 100, 4090, 4097, len - 60, len - 1] {
        let disk = SimDisk::new();
        filled(&disk)?;
        disk.flip(&path, at).expect("the byte is there");
        let case = format!("byte {at}");
        let store = to_check(&disk)?;
        let report = store.check()?;
        assert!(report.index_is_damaged(), "{case}");
        assert!(report.packs > 0, "{case}: packs are looked at all the same");
        let told = report.problems.iter().any(|problem| match problem {
            Problem::DamagedIndex(damage) => damage.path == path && damage.offset <= at as u64,
            _ => false,
        });
        assert!(told, "{case}: {:?}", report.problems);
        assert!(
            matches!(store.count(), Err(Error::DamagedIndex(_))),
            "{case}: no partial answer"
        );
        let before = disk.files();
        let extent = Store::rebuild_extent(
            Arc::new(disk.clone()),
            Arc::new(SeededRandom::new(4)),
            Path::new(ROOT),
        )?;
        assert_eq!((extent.files, extent.packs), (2, report.packs), "{case}");
        assert!(extent.replaced.contains(&path), "{case}");
        assert_eq!(disk.files(), before, "R40, {case}");

        let mut gone_through = 0;
        let (rebuilt, report) = rebuild(&disk, &mut |bytes| {
            gone_through += bytes;
            Continue(())
        })?;
        assert_eq!((report.blobs, report.bad), (23, 0), "{case}");
        assert!(
            (report.bytes..=extent.bytes).contains(&gone_through),
            "{case}: {gone_through} of {}",
            extent.bytes
        );
        assert_whole(&rebuilt, &case);
        drop(rebuilt);
        assert_whole(&create(&disk, 9)?, &case);
        let kept = disk.files().into_keys();
        let kept = kept
            .filter(|path| path.starts_with("/archive/quarantine"))
            .count();
        assert!(kept >= 1, "R43, {case}: the old index is kept");
    }
    Ok(())
}

/// What is asked of an index whose fences are damaged is refused, not answered from the rest of it.
#[test]
fn r37_nothing_is_answered_from_a_part_of_an_index() -> Result<(), Error> {
    let disk = SimDisk::new();
    filled(&disk)?;
    let (path, len) = segment(&disk);
    disk.flip(&path, len - 1).expect("the byte is there");
    let store = to_check(&disk)?;
    let hash = BlobHash::of(&content(200, 800));
    assert!(matches!(store.contains(&hash), Err(Error::DamagedIndex(_))));
    assert!(matches!(store.reader(&hash), Err(Error::DamagedIndex(_))));
    let verified = store.verifier().verify(&hash);
    assert!(matches!(verified, Err(Error::DamagedIndex(_))), "{verified:?}");
    assert!(matches!(
        store.each_blob(&mut |_, _| ()),
        Err(Error::DamagedIndex(_))
    ));
    assert!(matches!(store.writer(), Err(Error::ReadOnly)));
    disk.flip(&path, len - 1).expect("the byte is there");
    store.refresh()?;
    assert!(
        store.contains(&hash)?,
        "an index that reads again is believed again"
    );
    Ok(())
}

/// R38: a rebuild that is stopped, or whose power is cut after any step, is done again and comes to the same end.
#[test]
fn r38_a_rebuild_can_be_stopped_anywhere() -> Result<(), Error> {
    let damaged = || -> Result<SimDisk, Error> {
        let disk = SimDisk::new();
        filled(&disk)?;
        let (path, _) = segment(&disk);
        disk.flip(&path, 100).expect("the byte is there");
        Ok(disk)
    };
    for stop_at in 0..23 {
        let disk = damaged()?;
        let mut seen = 0;
        let stopped = rebuild(&disk, &mut |_| {
            seen += 1;
            if seen > stop_at { Break(()) } else { Continue(()) }
        });
        assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
        assert!(
            to_check(&disk)?.check()?.index_is_damaged(),
            "the old index is in force"
        );
        assert_whole(&rebuild(&disk, &mut on)?.0, &format!("stopped after {stop_at}"));
    }
    let whole = damaged()?;
    let before = whole.steps();
    rebuild(&whole, &mut on)?;
    let steps = whole.steps() - before;
    assert!(steps > 10, "{steps} steps");
    for at in 0..steps {
        let disk = damaged()?;
        disk.crash_after(disk.steps() + at);
        assert!(rebuild(&disk, &mut on).is_err(), "cut after step {at}");
        let disk = disk.reboot(at);
        assert_whole(&rebuild(&disk, &mut on)?.0, &format!("cut after step {at}"));
    }
    Ok(())
}

/// What is not what its name says does not come into the index, and stays where it is (R36, R43).
#[test]
fn r36_a_rebuild_takes_in_nothing_that_is_not_its_name() -> Result<(), Error> {
    let disk = SimDisk::new();
    filled(&disk)?;
    let hash = BlobHash::of(&content(100, 5000));
    let files: BTreeMap<PathBuf, Vec<u8>> = disk.files();
    let name = hash.to_hex();
    let path = files.keys().find(|path| path.ends_with(&name)).expect("a file");
    disk.flip(path, 10).expect("the byte is there");
    let (store, report) = rebuild(&disk, &mut on)?;
    assert_eq!((report.blobs, report.bad), (22, 1));
    assert!(!store.contains(&hash)?);
    assert!(disk.files().contains_key(path));
    Ok(())
}
