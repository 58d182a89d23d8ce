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
        store.verify_blob(&BlobHash::of(&content(100, 5000)))?,
        Verified::Good
    ))
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
            assert!(matches!(store.verify_blob(&hash)?, Verified::Bad { .. }));
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
