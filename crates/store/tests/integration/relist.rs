//! Lists of packs that are damaged (R36, R43).

use std::path::PathBuf;

use crate::*;

/// A store with a sealed pack; gives the disk and the pack's list.
fn sealed() -> Result<(SimDisk, PathBuf), Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    for seed in 0..40 {
        put(&mut writer, &content(seed, 900))?;
    }
    writer.commit()?;
    // The next commit begins a pack, because this one has its size.
    for seed in 40..44 {
        put(&mut writer, &content(seed, 900))?;
    }
    writer.commit()?;
    writer.seal()?;
    let list = disk
        .files()
        .into_keys()
        .find(|path| path.extension().is_some_and(|extension| extension == "idx"));
    Ok((disk, list.expect("a sealed pack")))
}

fn file(disk: &SimDisk, path: &PathBuf) -> Vec<u8> {
    disk.files().remove(path).expect("it is there")
}

#[test]
fn r36_a_damaged_list_is_made_again_from_its_pack() -> Result<(), Error> {
    let (disk, list) = sealed()?;
    let right = file(&disk, &list);
    disk.flip(&list, 70).expect("the byte is there");
    let wrong = file(&disk, &list);
    let whole = disk.reboot(1);
    let before = whole.steps();
    let store = create(&whole, 2)?;
    let bad = store.check()?.bad_lists;
    assert_eq!(bad.len(), 1);
    assert!(store.relist(bad[0])?);
    assert!(!store.relist(bad[0])?, "nothing is left to do");
    let steps = whole.steps() - before;
    for cut in 0..=steps {
        let disk = disk.reboot(cut);
        disk.crash_after(disk.steps() + cut);
        let done = create(&disk, 2).and_then(|store| store.relist(bad[0])).is_ok();
        let disk = disk.reboot(cut + 1);
        let now = file(&disk, &list);
        assert!(now == right || now == wrong && !done, "cut after {cut}");
        let store = create(&disk, 4)?;
        store.relist(bad[0])?;
        assert_eq!(store.check()?.problems, [], "cut after {cut}");
        assert!(file(&disk, &list) == right, "cut after {cut}");
        let files = disk.files();
        let mut kept = files
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains("quarantine"));
        assert!(kept.any(|(_, bytes)| *bytes == wrong), "cut after {cut}");
    }
    Ok(())
}

/// What a damaged pack was meant to have stands nowhere else.
#[test]
fn r43_the_list_of_a_damaged_pack_stays_as_it_is() -> Result<(), Error> {
    let (disk, list) = sealed()?;
    disk.flip(&list, 70).expect("the byte is there");
    disk.flip(&list.with_extension("tar"), 1000)
        .expect("the byte is there");
    let wrong = file(&disk, &list);
    let store = create(&disk, 2)?;
    let bad = store.check()?.bad_lists;
    assert!(!store.relist(bad[0])?);
    assert_eq!(file(&disk, &list), wrong);
    Ok(())
}
