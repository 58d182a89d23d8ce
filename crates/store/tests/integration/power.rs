//! Power cuts and errors after every step (R36, R38, R39).

use crate::*;

/// What has been acknowledged as durable.
type Acknowledged = Vec<Vec<u8>>;

/// Two runs with several commits of small and large contents; `acknowledged` grows with each commit that returned.
fn workload(disk: &SimDisk, seed: u64, acknowledged: &mut Acknowledged) -> Result<(), Error> {
    for run in 0..2 {
        let store = create(disk, seed + run)?;
        let mut writer = store.writer()?;
        for batch in 0..4 {
            let from = run * 1000 + batch * 10;
            let mut contents: Vec<Vec<u8>> = (0..3)
                .map(|at| content(from + at, 300 + usize::try_from(at).unwrap_or(0) * 350))
                .collect();
            contents.push(Vec::new());
            contents.push(content(7, 900));
            contents.push(content(from + 5, 9000));
            for bytes in &contents {
                put(&mut writer, bytes)?;
            }
            contents.push(content(from + 6, 300_000));
            put_large(&mut writer, &contents[6])?;
            writer.commit()?;
            acknowledged.extend(contents);
        }
        if run == 1 {
            writer.seal()?;
        }
    }
    Ok(())
}

/// Opens what is left, checks it, runs the workload again and checks that too.
fn assert_converges(disk: &SimDisk, acknowledged: &[Vec<u8>], seed: u64, case: &str) {
    let store = create(disk, seed).unwrap_or_else(|error| panic!("{case}: reopening: {error}"));
    for bytes in acknowledged {
        let hash = BlobHash::of(bytes);
        let found = read(&store, &hash).unwrap_or_else(|error| panic!("{case}: lost {hash}: {error}"));
        assert_eq!(&found, bytes, "{case}");
    }
    assert_names_are_true(&store, disk);
    drop(store);
    let mut again = Vec::new();
    workload(disk, seed + 100, &mut again).unwrap_or_else(|error| panic!("{case}: again: {error}"));
    let store = create(disk, seed + 200).unwrap_or_else(|error| panic!("{case}: at last: {error}"));
    assert_eq!(store.count().expect("the index reads"), 2 * 4 * 5 + 2, "{case}");
    assert_eq!(store.check().expect("it is readable").problems, [], "{case}");
    assert_names_are_true(&store, disk);
}

/// A disk on which every file is synced on its own, and one with a barrier.
const DISKS: [fn() -> SimDisk; 2] = [SimDisk::new, SimDisk::with_barrier];

/// Steps of the workload on such a disk.
fn steps_on(new: fn() -> SimDisk) -> u64 {
    let whole = new();
    workload(&whole, 1, &mut Vec::new()).expect("nothing goes wrong");
    assert!(whole.steps() > 150, "{} steps", whole.steps());
    whole.steps()
}

#[test]
fn r36_r38_power_cut_after_every_step_loses_nothing_acknowledged() {
    for new in DISKS {
        let steps = steps_on(new);
        // Twice what survives is drawn anew.
        for (at, seed) in (0..=steps).flat_map(|at| [(at, 2 * at), (at, 2 * at + 1)]) {
            let (disk, mut acknowledged) = (new(), Vec::new());
            disk.crash_after(at);
            let done = workload(&disk, 1, &mut acknowledged);
            assert_eq!(done.is_ok(), at >= steps);
            assert_converges(
                &disk.reboot(seed),
                &acknowledged,
                seed,
                &format!("cut after step {at}, seed {seed}"),
            );
        }
    }
}

#[test]
fn r38_a_killed_process_keeps_what_it_committed() {
    for new in DISKS {
        for at in (0..steps_on(new)).step_by(3) {
            // An error that ends the process: everything in the cache stays.
            let (disk, mut acknowledged) = (new(), Vec::new());
            disk.fail_at(at, 4);
            assert!(workload(&disk, 1, &mut acknowledged).is_err() || at > 0);
            assert_converges(&disk, &acknowledged, 9, &format!("killed at step {at}"));
        }
    }
}

#[test]
fn r39_an_error_at_every_step_fails_the_batch_cleanly() {
    for (new, at) in DISKS
        .into_iter()
        .flat_map(|new| (0..steps_on(new)).map(move |at| (new, at)))
    {
        // ENOSPC, EIO, EMFILE, EROFS in turn.
        let errno = [28, 5, 24, 30][usize::try_from(at % 4).unwrap_or(0)];
        let (disk, mut acknowledged) = (new(), Vec::new());
        disk.fail_at(at, errno);
        match workload(&disk, 1, &mut acknowledged) {
            Err(Error::Full { .. }) => assert_eq!(errno, 28),
            Err(Error::Io { source, .. }) => assert_eq!(source.raw_os_error(), Some(errno)),
            other => assert!(other.is_ok(), "{other:?}"),
        }
        let case = format!("error {errno} at step {at}");
        assert_converges(
            &disk.reboot(at),
            &acknowledged,
            5,
            &format!("{case}, then a power cut"),
        );
        assert_converges(&disk, &acknowledged, 5, &case);
    }
}

#[test]
fn r39_a_failed_batch_poisons_its_writer_and_shows_nothing() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    let kept = content(1, 100);
    put(&mut writer, &kept)?;
    writer.commit()?;
    let lost = content(2, 100);
    put(&mut writer, &lost)?;
    disk.fail_at(disk.steps() + 1, 28);
    assert!(matches!(writer.commit(), Err(Error::Full { .. })));
    assert!(matches!(put(&mut writer, &kept), Err(Error::Poisoned)));
    assert!(matches!(writer.commit(), Err(Error::Poisoned)));
    store.refresh()?;
    assert!(store.contains(&BlobHash::of(&kept))?);
    assert!(!store.contains(&BlobHash::of(&lost))?);
    drop(writer);
    let mut next = store.writer()?;
    assert_eq!(put(&mut next, &lost)?, Put::New);
    next.commit()?;
    assert_eq!(read(&store, &BlobHash::of(&lost))?, lost);
    assert_eq!(store.check()?.problems, []);
    Ok(())
}
