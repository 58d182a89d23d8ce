//! One flipped byte anywhere is found (R42); what is damaged is set aside, never deleted.

use std::path::PathBuf;

use ntt_store::Verified;

use crate::*;

/// A store with a sealed pack, a loose blob, a segment and, of a writer that was killed, a journal.
fn store_of_all_kinds(disk: &SimDisk) -> Result<Store, Error> {
    let store = create(disk, 1)?;
    let mut writer = store.writer()?;
    for seed in 0..10 {
        put(&mut writer, &content(seed, 900))?;
    }
    writer.commit()?;
    put(&mut writer, &content(100, 5000))?;
    writer.commit()?;
    drop(writer);
    create(disk, 2)
}

fn is_sound(store: &Store) -> Result<bool, Error> {
    if !store.check()?.problems.is_empty() {
        return Ok(false);
    }
    for pack in store.packs()? {
        if !store.verify_pack(pack)?.is_good() {
            return Ok(false);
        }
    }
    Ok(matches!(
        store.verifier().verify(&BlobHash::of(&content(100, 5000)))?,
        Verified::Good
    ))
}

/// R42: contents that follow each other in a pack are read in one sweep; the file of one between them does not close the pack.
#[test]
fn r42_a_pack_is_opened_once_for_contents_that_follow_each_other() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = store_of_all_kinds(&disk)?;
    let mut verifier = store.verifier();
    let before = disk.opened();
    for (seed, len) in [(0, 900), (1, 900), (100, 5000), (2, 900), (3, 900)] {
        let verified = verifier.verify(&BlobHash::of(&content(seed, len)))?;
        assert!(matches!(verified, Verified::Good), "{verified:?}");
    }
    assert_eq!(disk.opened() - before, 2);
    let verified = verifier.verify(&BlobHash::of(b"never put"))?;
    assert!(matches!(verified, Verified::Missing), "{verified:?}");
    Ok(())
}

#[test]
fn r42_a_flipped_byte_is_found_wherever_it_is() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = store_of_all_kinds(&disk)?;
    assert!(is_sound(&store)?);
    let kept = |path: &PathBuf| {
        ["blobs", "packs", "index", "journal"]
            .iter()
            .any(|dir| path.starts_with(Path::new(ROOT).join(dir)))
    };
    let files: Vec<(PathBuf, usize)> = disk
        .files()
        .into_iter()
        .filter(|(path, _)| kept(path))
        .map(|(path, bytes)| (path, bytes.len()))
        .collect();
    for (path, len) in files {
        for at in (0..len).step_by(41) {
            disk.flip(&path, at).expect("the byte is there");
            let fresh = Store::open_read_only(
                Arc::new(disk.clone()),
                Arc::new(SeededRandom::new(2)),
                Path::new(ROOT),
            );
            let sound = fresh.and_then(|store| is_sound(&store));
            assert!(!matches!(sound, Ok(true)), "byte {at} of {}", path.display());
            disk.flip(&path, at).expect("the byte is there");
        }
    }
    assert!(is_sound(&store)?);
    Ok(())
}

#[test]
fn r36_a_quarantined_blob_is_put_again() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = store_of_all_kinds(&disk)?;
    for bytes in [content(100, 5000), content(3, 900)] {
        let hash = BlobHash::of(&bytes);
        for _ in 0..2 {
            assert_eq!(store.quarantine(&hash)?, 0, "nothing good is struck");
            let holds = |(path, held): (PathBuf, Vec<u8>)| {
                let at = held.windows(bytes.len()).position(|window| window == bytes);
                at.filter(|_| !path.starts_with("/archive/quarantine"))
                    .map(|at| (path, at))
            };
            let (path, at) = disk.files().into_iter().find_map(holds).expect("it is stored");
            disk.flip(&path, at + 10).expect("the byte is there");
            assert!(matches!(store.verifier().verify(&hash)?, Verified::Bad { .. }));
            assert_eq!(store.quarantine(&hash)?, 1);
            assert!(!store.contains(&hash)?);
            assert!(matches!(store.reader(&hash), Err(Error::NotFound(_))));
            let mut writer = store.writer()?;
            assert_eq!(put(&mut writer, &bytes)?, Put::New);
            writer.commit()?;
            assert_eq!(read(&store, &hash)?, bytes);
            drop(writer);
            let reopened = create(&disk, at as u64)?;
            assert_eq!(read(&reopened, &hash)?, bytes);
            store.refresh()?;
        }
    }
    let aside = disk
        .files()
        .keys()
        .filter(|path| path.starts_with("/archive/quarantine"))
        .count();
    assert_eq!(aside, 2, "both damaged files are kept");
    Ok(())
}

#[test]
fn r37_orphans_are_seen_and_adopted_if_good() -> Result<(), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    let bytes = content(1, 5000);
    put(&mut writer, &bytes)?;
    // The journal's sync is the last step of the commit.
    let before = disk.steps();
    let steps_of_commit = {
        let probe = SimDisk::new();
        let mut writer = create(&probe, 1)?.writer()?;
        put(&mut writer, &bytes)?;
        let before = probe.steps();
        writer.commit()?;
        probe.steps() - before
    };
    disk.fail_at(before + steps_of_commit - 1, 5);
    assert!(writer.commit().is_err());
    drop(writer);
    assert!(!store.contains(&BlobHash::of(&bytes))?);
    assert!(matches!(
        store.check()?.problems[..],
        [ntt_store::Problem::Orphan { .. }]
    ));
    assert_eq!(store.adopt_orphans()?.blobs, 1);
    assert_eq!(read(&store, &BlobHash::of(&bytes))?, bytes);
    assert_eq!(store.check()?.problems, []);
    Ok(())
}

/// A writer that was killed after it had filled and sealed packs, continued one, and named files.
fn killed_writer(disk: &SimDisk) -> Result<Vec<Vec<u8>>, Error> {
    let store = Store::create(
        Arc::new(disk.clone()),
        Arc::new(SeededRandom::new(1)),
        Path::new(ROOT),
        StoreOptions {
            journal_blobs: 100,
            ..SMALL
        },
    )?;
    let mut writer = store.writer()?;
    let mut acknowledged = Vec::new();
    for batch in 0..4 {
        // The first batch fills a pack, which is sealed when the second begins.
        let small = if batch == 0 { 7 } else { 2 };
        let mut contents: Vec<Vec<u8>> = (0..small).map(|at| content(batch * 10 + at, 950)).collect();
        contents.push(content(batch * 10 + 9, 3000));
        for bytes in &contents {
            put(&mut writer, bytes)?;
        }
        writer.commit()?;
        acknowledged.extend(contents);
    }
    Ok(acknowledged)
}

#[test]
fn r38_a_flipped_byte_in_a_dead_writers_journal_loses_nothing() -> Result<(), Error> {
    let whole = SimDisk::new();
    let acknowledged = killed_writer(&whole)?;
    let journals = whole.files();
    let mut journals = journals
        .iter()
        .filter(|(path, bytes)| path.starts_with("/archive/journal") && !bytes.is_empty());
    let (path, bytes) = journals.next().expect("a journal");
    for at in 0..bytes.len() {
        let disk = whole.reboot(1);
        disk.flip(path, at).expect("the byte is there");
        let store = create(&disk, 2)?;
        for bytes in &acknowledged {
            let found = read(&store, &BlobHash::of(bytes));
            assert_eq!(found.as_ref().ok(), Some(bytes), "byte {at}: {found:?}");
        }
        assert_eq!(store.check()?.problems, [], "byte {at}");
        assert_eq!(create(&disk, 3)?.count()?, acknowledged.len() as u64, "byte {at}");
    }
    Ok(())
}

#[test]
fn r38_a_commit_that_did_not_end_leaves_no_orphan_after_the_next_open() -> Result<(), Error> {
    let contents = [content(1, 5000), content(2, 5000), content(3, 100)];
    let commit = |disk: &SimDisk| -> Result<Writer, Error> {
        let mut writer = create(disk, 1)?.writer()?;
        for bytes in &contents {
            put(&mut writer, bytes)?;
        }
        Ok(writer)
    };
    let (from, to) = {
        let probe = SimDisk::new();
        let mut writer = commit(&probe)?;
        let from = probe.steps();
        writer.commit()?;
        (from, probe.steps())
    };
    for at in from..to {
        let disk = SimDisk::new();
        let mut writer = commit(&disk)?;
        disk.fail_at(at, 5);
        assert!(writer.commit().is_err(), "step {at}");
        drop(writer);
        for disk in [disk.reboot(at), disk] {
            let store = create(&disk, 2)?;
            assert_eq!(store.check()?.problems, [], "step {at}");
            assert_names_are_true(&store, &disk);
        }
    }
    Ok(())
}
