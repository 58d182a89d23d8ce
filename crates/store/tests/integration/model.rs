//! Random work against a map, two writers at once, and the index on disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use crate::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u64, usize),
    Large(u64, usize),
    Commit,
    NewWriter { seal: bool },
    Reopen,
    PowerCut(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_u64, 0..2500_usize).prop_map(|(seed, len)| Step::Put(seed, len)),
        1 => (0..10_u64, 0..400_000_usize).prop_map(|(seed, len)| Step::Large(seed, len)),
        3 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|seal| Step::NewWriter { seal }),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The store says what a map says, whatever is done in whatever order.
    #[test]
    fn r37_the_store_equals_a_map(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut disk = SimDisk::new();
        let mut store = create(&disk, 0)?;
        let mut writer = store.writer()?;
        let (mut committed, mut pending) = (BTreeMap::new(), BTreeMap::new());
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Put(seed, len) | Step::Large(seed, len) => {
                    let bytes = content(seed, len);
                    let hash = BlobHash::of(&bytes);
                    let known = committed.contains_key(&hash) || pending.contains_key(&hash);
                    let done = if matches!(step, Step::Put(..)) { put(&mut writer, &bytes)? } else { put_large(&mut writer, &bytes)? };
                    prop_assert_eq!(done, if known { Put::Present } else { Put::New });
                    if !known {
                        pending.insert(hash, bytes);
                    }
                    prop_assert_eq!(writer.pending_blobs(), pending.len() as u64);
                }
                Step::Commit => {
                    prop_assert_eq!(writer.commit()?.blobs, pending.len() as u64);
                    committed.append(&mut pending);
                }
                Step::NewWriter { seal } => {
                    if seal {
                        writer.seal()?;
                        committed.append(&mut pending);
                    } else {
                        drop(writer);
                        pending.clear();
                    }
                    writer = store.writer()?;
                }
                Step::Reopen | Step::PowerCut(_) => {
                    drop((writer, store));
                    pending.clear();
                    if let Step::PowerCut(seed) = step {
                        disk = disk.reboot(seed);
                    }
                    store = create(&disk, number)?;
                    writer = store.writer()?;
                }
            }
            let mut found = BTreeMap::new();
            store.each_blob(&mut |hash, size| assert!(found.insert(hash, size).is_none()))?;
            let expected = committed.iter().map(|(hash, bytes): (&BlobHash, &Vec<u8>)| (*hash, bytes.len() as u64));
            prop_assert_eq!(found, expected.collect());
        }
        for (hash, bytes) in &committed {
            prop_assert_eq!(&read(&store, hash)?, bytes);
        }
    }
}

#[test]
fn r37_two_writers_of_the_same_content_end_right() -> Result<(), Error> {
    let disk = SimDisk::new();
    let (one, two) = (create(&disk, 1)?, create(&disk, 2)?);
    let (mut first, mut second) = (one.writer()?, two.writer()?);
    let (small, large) = (content(1, 500), content(2, 50_000));
    for writer in [&mut first, &mut second] {
        assert_eq!(put(writer, &small)?, Put::New);
        assert_eq!(put(writer, &large)?, Put::New);
    }
    first.commit()?;
    assert!(!two.contains(&BlobHash::of(&small))?);
    second.commit()?;
    for store in [&one, &two] {
        store.refresh()?;
        assert_eq!(store.count()?, 2);
        assert_eq!(read(store, &BlobHash::of(&large))?, large);
    }
    // A third opens the store while both live: it takes nothing from them.
    let third = create(&disk, 3)?;
    assert_eq!(third.check()?.problems, []);
    let more = content(3, 500);
    put(&mut first, &more)?;
    first.commit()?;
    third.refresh()?;
    assert!(third.contains(&BlobHash::of(&more))?);
    first.seal()?;
    second.seal()?;
    assert_eq!(create(&disk, 4)?.check()?.problems, []);
    Ok(())
}

/// Writers of one store know what the others have not committed yet; what a writer leaves uncommitted is free again.
#[test]
fn r35_writers_of_one_store_keep_a_content_once() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let (mut first, mut second) = (store.writer()?, store.writer()?);
    let (small, large) = (content(1, 500), content(2, 50_000));
    assert_eq!(put(&mut first, &small)?, Put::New);
    assert_eq!(put_large(&mut first, &large)?, Put::New);
    let batch = first.batch();
    assert_eq!(put(&mut second, &small)?, Put::Pending(batch));
    assert_eq!(put_large(&mut second, &large)?, Put::Pending(batch));
    let hash = BlobHash::of(&small);
    let sha256 = Some(ContentHasher::sha256(&small));
    let pending = second.look_up(&hash)?.expect("it is in a running batch");
    assert_eq!((pending.sha256, pending.batch), (sha256, Some(batch)));
    assert!(!store.contains(&hash)?);
    first.commit()?;
    assert_ne!(first.batch(), batch);
    assert_eq!(put(&mut second, &small)?, Put::Present);
    let stored = second.look_up(&hash)?.expect("it is stored");
    assert_eq!((stored.sha256, stored.batch), (sha256, None));
    let lost = content(3, 500);
    put(&mut first, &lost)?;
    drop(first);
    assert_eq!(put(&mut second, &lost)?, Put::New);
    second.seal()?;
    assert_eq!(store.count()?, 3);
    assert_eq!(store.check()?.problems, []);
    Ok(())
}

#[test]
fn the_index_outgrows_its_memory_and_is_rebuilt_equal() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    for seed in 0..1000 {
        put(
            &mut writer,
            &content(seed, 10 + usize::try_from(seed % 30).unwrap_or(0) * 40),
        )?;
        if writer.should_commit() {
            writer.commit()?;
        }
    }
    writer.seal()?;
    let mut before = Vec::new();
    assert_eq!(
        store.each_blob(&mut |hash, size| before.push((hash, size)))?,
        1000
    );
    assert!(before.is_sorted());
    let segments = disk
        .files()
        .keys()
        .filter(|path| path.starts_with("/archive/index"))
        .count();
    assert!((2..40).contains(&segments), "{segments} files of the index");
    for (hash, size) in &before {
        assert_eq!(store.size_of(hash)?, Some(*size));
    }
    assert_eq!(store.size_of(&BlobHash::of(b"another"))?, None);
    drop(store);
    let (rebuilt, report) = rebuild(&disk, &mut |_| ControlFlow::Continue(()))?;
    let mut after = Vec::new();
    rebuilt.each_blob(&mut |hash, size| after.push((hash, size)))?;
    assert_eq!(after, before);
    assert_eq!((report.blobs, report.bad), (1000, 0));
    assert_eq!(rebuilt.check()?.problems, []);
    Ok(())
}

#[test]
fn an_index_is_not_rebuilt_under_a_living_writer() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let _writer = store.writer()?;
    let rebuilt = rebuild(&disk, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(rebuilt, Err(Error::Busy { .. })));
    Ok(())
}

#[test]
fn r40_a_read_only_store_changes_nothing() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    put(&mut writer, &content(1, 10))?;
    writer.commit()?;
    put(&mut writer, &content(2, 5000))?;
    let before = (disk.files(), disk.steps());
    let store = Store::open_read_only(
        Arc::new(disk.clone()),
        Arc::new(SeededRandom::new(2)),
        Path::new(ROOT),
    )?;
    assert_eq!(store.count()?, 1);
    assert_eq!(read(&store, &BlobHash::of(&content(1, 10)))?, content(1, 10));
    store.refresh()?;
    store.check()?;
    assert!(matches!(store.writer(), Err(Error::ReadOnly)));
    assert!(matches!(store.quarantine(&BlobHash::EMPTY), Err(Error::ReadOnly)));
    assert_eq!((disk.files(), disk.steps()), before);
    Ok(())
}

#[test]
fn a_directory_without_format_is_no_store() {
    let disk = SimDisk::new();
    let open = Store::open(Arc::new(disk), Arc::new(SeededRandom::new(2)), Path::new(ROOT));
    assert!(matches!(open, Err(Error::Unsupported { .. })));
}
