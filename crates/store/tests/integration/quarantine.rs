//! What is damaged is set aside and put anew, whatever ends in between (R36, R42, R43).

use std::ops::ControlFlow;
use std::path::PathBuf;

use ntt_host::{Disk, OpenMode};
use ntt_store::{Problem, Verified};

use crate::*;

/// A content in a pack and one that is a file of its own.
fn contents() -> [Vec<u8>; 2] {
    [content(3, 900), content(100, 5000)]
}

/// Both contents, sealed, each with a flipped byte.
fn damaged() -> Result<SimDisk, Error> {
    let disk = SimDisk::new();
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    for seed in 0..10 {
        put(&mut writer, &content(seed, 900))?;
    }
    put(&mut writer, &contents()[1])?;
    writer.commit()?;
    writer.seal()?;
    drop(store);
    for bytes in contents() {
        let (path, at) = place(&disk, &bytes).expect("it is stored");
        disk.flip(&path, at + 10).expect("the byte is there");
    }
    Ok(disk)
}

/// Where in which file bytes stand.
fn place(disk: &SimDisk, bytes: &[u8]) -> Option<(PathBuf, usize)> {
    disk.files().into_iter().find_map(|(path, held)| {
        let at = held.windows(bytes.len()).position(|window| window == bytes)?;
        Some((path, at))
    })
}

/// Sets what is damaged aside, as one does who finds that it is or learns that it is gone, and puts it anew.
fn repair(disk: &SimDisk, seed: u64) -> Result<(), Error> {
    let store = create(disk, seed)?;
    for bytes in contents() {
        match store.quarantine(&BlobHash::of(&bytes)) {
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut writer = store.writer()?;
    for bytes in contents() {
        put(&mut writer, &bytes)?;
    }
    writer.commit()?;
    writer.seal()
}

/// Whether no content reads as good that is not, and those that are not damaged are all there.
fn assert_true_or_absent(disk: &SimDisk, seed: u64, case: &str) {
    let store = create(disk, seed).unwrap_or_else(|error| panic!("{case}: {error}"));
    let mut verifier = store.verifier();
    for seed in (0..10).filter(|seed| *seed != 3) {
        let hash = BlobHash::of(&content(seed, 900));
        let verified = verifier.verify(&hash);
        assert!(matches!(verified, Ok(Verified::Good)), "{case}: {verified:?}");
    }
    for bytes in contents() {
        let hash = BlobHash::of(&bytes);
        let verified = verifier.verify(&hash).expect("the index reads");
        match verified {
            Verified::Good => assert_eq!(read(&store, &hash).expect("it is good"), bytes, "{case}"),
            Verified::Bad { .. } | Verified::Missing => {}
            Verified::Io { error } => panic!("{case}: {error}"),
        }
    }
}

/// Whatever has happened: when it is done again both are right, and nothing of the damaged bytes is deleted.
fn assert_repaired(disk: &SimDisk, seed: u64, case: &str) {
    repair(disk, seed).unwrap_or_else(|error| panic!("{case}: again: {error}"));
    let store = create(disk, seed + 1).expect("it opens");
    assert_eq!(store.count().expect("the index reads"), 11, "{case}");
    assert_eq!(store.check().expect("it is readable").problems, [], "{case}");
    assert_names_are_true(&store, disk);
    let aside = |path: &PathBuf| path.starts_with("/archive/quarantine");
    let kept = disk.files().keys().filter(|path| aside(path)).count();
    assert_eq!(kept, 1, "{case}: the damaged file is kept");
    for bytes in contents() {
        assert_eq!(
            store.quarantine(&BlobHash::of(&bytes)).expect("it reads"),
            0,
            "{case}"
        );
    }
}

fn steps() -> Result<u64, Error> {
    let whole = damaged()?;
    let before = whole.steps();
    repair(&whole, 2)?;
    Ok(whole.steps() - before)
}

#[test]
fn r43_a_power_cut_while_damage_is_set_aside_and_put_anew() -> Result<(), Error> {
    let steps = steps()?;
    assert!(steps > 20, "{steps} steps");
    for (at, seed) in (0..=steps).flat_map(|at| [(at, 2 * at), (at, 2 * at + 1)]) {
        let disk = damaged()?;
        disk.crash_after(disk.steps() + at);
        assert_eq!(repair(&disk, 2).is_ok(), at >= steps);
        let (disk, case) = (disk.reboot(seed), format!("cut after step {at}, seed {seed}"));
        assert_true_or_absent(&disk, 3, &case);
        assert_repaired(&disk, 5, &case);
    }
    Ok(())
}

#[test]
fn r39_an_error_while_damage_is_set_aside_strikes_nothing_that_is_good() -> Result<(), Error> {
    for at in 0..steps()? {
        let disk = damaged()?;
        disk.fail_at(disk.steps() + at, [28, 5][usize::try_from(at % 2).unwrap_or(0)]);
        let _ = repair(&disk, 2);
        let case = format!("error at step {at}");
        assert_true_or_absent(&disk, 3, &case);
        assert_repaired(&disk, 5, &case);
    }
    Ok(())
}

/// R43: what was struck and lies in a pack does not return, neither as an orphan nor when the index is made anew.
#[test]
fn r43_struck_members_do_not_return() -> Result<(), Error> {
    let disk = damaged()?;
    let store = create(&disk, 2)?;
    for bytes in contents() {
        assert_eq!(store.quarantine(&BlobHash::of(&bytes))?, 1);
    }
    drop(store);
    let store = create(&disk, 3)?;
    assert_eq!(store.adopt_orphans()?.blobs, 0);
    for bytes in contents() {
        assert!(!store.contains(&BlobHash::of(&bytes))?);
    }
    assert_eq!(store.check()?.problems, []);
    Ok(())
}

/// R36: whoever comes later with an index of before does not strike what came in the place of the damaged file.
#[test]
fn r36_what_was_put_anew_is_not_struck_by_another() -> Result<(), Error> {
    let disk = damaged()?;
    let late = create(&disk, 2)?;
    repair(&disk, 3)?;
    for bytes in contents() {
        let hash = BlobHash::of(&bytes);
        assert_eq!(late.quarantine(&hash)?, 0);
        assert_eq!(read(&late, &hash)?, bytes);
    }
    Ok(())
}

/// R42: the digest of what is handed over tells whether it is right.
#[test]
fn r42_whoever_reads_learns_what_was_read() -> Result<(), Error> {
    let disk = damaged()?;
    let store = create(&disk, 2)?;
    for (bytes, is_right) in [(content(4, 900), true), (content(3, 900), false)] {
        let (hash, mut read) = (BlobHash::of(&bytes), Vec::new());
        let digest = store
            .reader(&hash)?
            .hashed_pieces::<std::io::Error>(&mut |piece| {
                if let ntt_store::Piece::Bytes(bytes) = piece {
                    read.extend_from_slice(bytes);
                }
                Ok(())
            })
            .expect("it reads");
        assert_eq!(digest, BlobHash::of(&read));
        assert_eq!(digest == hash, is_right);
    }
    Ok(())
}

/// Three contents in an open pack, whose file is there as well.
fn open_pack() -> Result<(SimDisk, PathBuf, [Vec<u8>; 3]), Error> {
    let disk = SimDisk::new();
    let contents = [content(1, 900), content(2, 500), content(3, 900)];
    let store = create(&disk, 1)?;
    let mut writer = store.writer()?;
    for bytes in &contents {
        put(&mut writer, bytes)?;
    }
    writer.commit()?;
    writer.seal()?;
    drop(store);
    let (pack, _) = place(&disk, &contents[0]).expect("it is stored");
    Ok((disk, pack, contents))
}

/// Sets aside what is not good and puts it anew, then opens the store once more: all is there.
fn heal(disk: &SimDisk, contents: &[Vec<u8>]) -> Result<Store, Error> {
    let store = create(disk, 2)?;
    for bytes in contents {
        store.quarantine(&BlobHash::of(bytes))?;
    }
    let mut writer = store.writer()?;
    for bytes in contents {
        put(&mut writer, bytes)?;
    }
    put(&mut writer, &content(4, 900))?;
    writer.commit()?;
    writer.seal()?;
    drop(store);
    let store = create(disk, 3)?;
    let mut verifier = store.verifier();
    for bytes in contents {
        let hash = BlobHash::of(bytes);
        assert!(matches!(verifier.verify(&hash)?, Verified::Good), "{hash}");
        assert_eq!(read(&store, &hash)?, *bytes);
    }
    assert_names_are_true(&store, disk);
    drop(verifier);
    Ok(store)
}

/// R36, R43: what was struck from a pack that was cut short comes again to the very places where it was, and is not struck with it.
#[test]
fn r36_what_a_pack_lost_can_be_put_into_it_again() -> Result<(), Error> {
    let (_, pack, contents) = open_pack()?;
    let whole = open_pack()?.0.files()[&pack].len();
    for len in (0..whole).step_by(256) {
        let (disk, pack, _) = open_pack()?;
        let len = len as u64;
        disk.open(&pack, OpenMode::Write)
            .and_then(|mut file| file.set_len(len))
            .expect("it is a file");
        let store = heal(&disk, &contents)?;
        assert_eq!(store.check()?.problems, [], "cut to {len}");
    }
    Ok(())
}

/// R43: a damaged header at the end of an open pack costs no byte of the content behind it, be that right or wrong.
#[test]
fn r43_a_damaged_header_cuts_nothing_off() -> Result<(), Error> {
    let (disk, pack, contents) = open_pack()?;
    let (_, at) = place(&disk, &contents[2]).expect("it is stored");
    disk.flip(&pack, at - 500).expect("the byte is there");
    let problems = create(&disk, 2)?.check()?.problems;
    assert!(
        matches!(problems.as_slice(), [Problem::Damaged { .. }]),
        "{problems:?}"
    );
    assert_eq!(place(&disk, &contents[2]), Some((pack.clone(), at)));
    let mut verifier = create(&disk, 2)?.verifier();
    let hash = BlobHash::of(&contents[2]);
    assert!(matches!(verifier.verify(&hash)?, Verified::Good));
    disk.flip(&pack, at + 10).expect("the byte is there");
    let held = disk.files()[&pack][at..][..900].to_vec();
    let problems = heal(&disk, &contents)?.check()?.problems;
    assert!(
        matches!(problems.as_slice(), [Problem::Remains { .. }]),
        "{problems:?}"
    );
    assert_eq!(disk.files()[&pack][at..][..900], held);
    Ok(())
}

/// R42: what another process stores is there for whoever opened the store before.
#[test]
fn r42_what_others_store_meanwhile_is_found() -> Result<(), Error> {
    let disk = SimDisk::new();
    let early = create(&disk, 1)?;
    let hash = BlobHash::of(&contents()[0]);
    assert!(matches!(early.reader(&hash), Err(Error::NotFound(_))));
    let mut writer = create(&disk, 2)?.writer()?;
    put(&mut writer, &contents()[0])?;
    writer.commit()?;
    assert_eq!(read(&early, &hash)?, contents()[0]);
    let late = BlobHash::of(&contents()[1]);
    put(&mut writer, &contents()[1])?;
    writer.commit()?;
    assert!(matches!(early.verifier().verify(&late)?, Verified::Good));
    Ok(())
}

/// R36, R43: a content whose header is damaged is hidden from whoever has nothing but the pack, until it is stored elsewhere.
#[test]
fn r36_what_a_damaged_header_hides_is_stored_elsewhere() -> Result<(), Error> {
    let (disk, pack, contents) = open_pack()?;
    let (_, at) = place(&disk, &contents[1]).expect("it is stored");
    disk.flip(&pack, at - 500).expect("the byte is there");
    let whole = disk.reboot(1);
    let before = whole.steps();
    let store = create(&whole, 2)?;
    let hidden = store.check()?.in_damage;
    assert_eq!(hidden.len(), 1);
    assert_eq!(store.rehome(&hidden)?, 1);
    let steps = whole.steps() - before;
    assert!(steps > 5, "{steps} steps");
    for cut in 0..=steps {
        let disk = disk.reboot(cut);
        disk.crash_after(disk.steps() + cut);
        let rehomed = create(&disk, 2)
            .and_then(|store| store.rehome(&store.check()?.in_damage))
            .is_ok();
        let disk = disk.reboot(cut + 1);
        let store = create(&disk, 4)?;
        if !rehomed {
            store.rehome(&store.check()?.in_damage)?;
        }
        let report = store.check()?;
        assert!(
            matches!(report.problems.as_slice(), [Problem::Remains { .. }]) && report.in_damage.is_empty(),
            "cut after {cut}: {report:?}"
        );
        for bytes in &contents {
            assert_eq!(read(&store, &BlobHash::of(bytes))?, *bytes);
        }
        let (rebuilt, _) = rebuild(&disk, &mut |_| ControlFlow::Continue(()))?;
        assert!(
            rebuilt.contains(&BlobHash::of(&contents[1]))?,
            "the pack alone has it"
        );
    }
    Ok(())
}
