//! Names that no entry can have, in a catalogue and in a manifest: whoever wrote them, nothing leads out of a destination (R20, R45).

use std::fs;
use std::path::{Path, PathBuf};

use ntt_pipeline::RunOutcome::{Complete, DamageFound, Losses};
use ntt_pipeline::archive::CataloguePlace;
use ntt_pipeline::observer::Silent;
use ntt_pipeline::{Error, Interrupt, compare, rebuild, restore};

use crate::world::World;

/// An archive of a directory with a file and a directory whose names need two bytes changed to lead elsewhere.
fn archive() -> World {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir_all(source.join("a")).unwrap();
    fs::create_dir_all(source.join("a-..-..-tree")).unwrap();
    fs::write(source.join("a-..-..-file"), b"planted").unwrap();
    fs::write(source.join("a-..-..-tree/inner"), b"planted too").unwrap();
    fs::write(source.join("sound"), b"sound").unwrap();
    assert_eq!(world.ingest(&source).unwrap().outcome, Complete);
    world
}

/// Replaces bytes by others of the same number wherever they stand.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    assert_eq!(old.len(), new.len());
    let mut count = 0;
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + new.len()].copy_from_slice(new);
            count += 1;
        }
    }
    count
}

/// The archive with such names in its catalogue.
fn misled() -> World {
    archive().reopened_after(|root| {
        let path = root.join("catalogue.db");
        let mut bytes = fs::read(&path).unwrap();
        for name in ["file", "tree"] {
            let old = format!("a-..-..-{name}");
            let new = format!("a/../../{name}");
            assert!(replace(&mut bytes, old.as_bytes(), new.as_bytes()) > 0);
        }
        fs::write(&path, bytes).unwrap();
    })
}

/// R45: a restore writes below its destination, whatever the catalogue says; the rest is restored, and what is not is told.
#[test]
fn r45_a_restore_writes_nothing_outside_its_destination() {
    let world = misled();
    let destination = world.dir.path().join("restored");
    // Whatever the order of the names, `a` is there when they are.
    fs::create_dir_all(destination.join("a")).unwrap();
    let request = restore::RestoreRequest {
        into_existing: true,
        streams: false,
        ..world.request(&destination)
    };
    let summary = restore::run(&world.context(), &request).unwrap();
    assert_eq!(summary.outcome, Losses);
    let mut problems: Vec<&str> = summary
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        ["1/a/../../file", "1/a/../../tree"],
        "{:?}",
        summary.problems
    );
    for planted in ["file", "tree"] {
        assert!(!world.dir.path().join(planted).exists(), "{planted}");
    }
    assert_eq!(fs::read(destination.join("sound")).unwrap(), b"sound");
}

/// R45: nor is anything outside compared with it.
#[test]
fn r45_a_comparison_looks_at_nothing_outside() {
    let world = misled();
    let destination = world.dir.path().join("restored");
    let request = world.request(&destination);
    restore::run(&world.context(), &request).unwrap();
    fs::write(world.dir.path().join("file"), b"planted").unwrap();
    let compared = compare::run(&world.context(), &request).unwrap();
    assert_eq!(compared.outcome, DamageFound);
    let missing = compared
        .listed
        .iter()
        .filter(|difference| difference.attribute == "missing");
    assert_eq!(missing.count(), 2);
}

fn manifest(root: &Path) -> PathBuf {
    let media = fs::read_dir(root.join("media")).unwrap();
    let mut manifests = media.map(|entry| entry.unwrap().path().join("manifest.jsonl.zst"));
    manifests.next().unwrap()
}

/// R37: a manifest with such a name is damaged; file and line are told, and the present catalogue stays.
#[test]
fn r37_a_manifest_with_a_misleading_name_is_damaged() {
    for name in ["..", "."] {
        let world = archive().reopened_after(|root| {
            let path = manifest(root);
            let text = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("sound\""), "{text}");
            let text = text.replace("sound\"", &format!("{name}\""));
            fs::write(&path, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
        });
        let root = world.archive.root().to_owned();
        drop(world.archive);
        let place = CataloguePlace::Embedded;
        let plan = rebuild::plan(&root, &place).unwrap();
        let result = rebuild::run(&root, &place, &plan, &Silent, &Interrupt::new());
        let Err(Error::Manifest { reason, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(reason, format!("no entry can have the name `{name}`"));
    }
}
