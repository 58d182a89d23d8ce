//! Store and catalogue that disagree: seen, told, put right (R37).

use std::fs;
use std::path::{Path, PathBuf};

use ntt_model::BlobHash;
use ntt_pipeline::RunOutcome::{Complete, DamageFound};
use ntt_pipeline::archive::CataloguePlace::Embedded;
use ntt_pipeline::doctor::{self, Agreement, CheckStatus, DoctorReport, fix};
use ntt_pipeline::observer::Silent;
use ntt_pipeline::rebuild::index;
use ntt_pipeline::verify::{self, VerifyRequest};
use ntt_pipeline::{Error, Interrupt, copy, ingest};
use ntt_store::ContentHasher;

use crate::world::World;

/// An archive of two small contents and one that is a file of its own.
fn archive() -> World {
    let world = World::new();
    let source = source(&world);
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), b"small").unwrap();
    fs::write(source.join("other"), b"other").unwrap();
    fs::write(source.join("large"), vec![7; 300_000]).unwrap();
    assert_eq!(world.ingest(&source).unwrap().outcome, Complete);
    world.reopened()
}

fn source(world: &World) -> PathBuf {
    world.dir.path().join("source")
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

fn remove_below(world: &World, directory: &str) {
    let files = files_below(&world.archive.root().join(directory));
    assert!(!files.is_empty());
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
}

fn examine(world: &World) -> DoctorReport {
    doctor::run(&world.context()).unwrap()
}

fn agreement_of(report: &DoctorReport) -> &Agreement {
    report.agreement.as_ref().expect("the index reads")
}

fn advice(report: &DoctorReport, name: &str) -> String {
    let found = report.checks.iter().find(|check| check.name == name);
    found.unwrap().advice.clone()
}

fn repair(world: &World) -> (fix::FixPlan, fix::FixSummary) {
    let plan = fix::plan(&world.context()).unwrap();
    let summary = fix::run(&world.context(), &plan).unwrap();
    (plan, summary)
}

fn copied(world: &World) -> copy::CopySummary {
    let medium = world.archive.catalogue().media().unwrap().remove(0);
    let plan = copy::plan(&world.archive, &medium).unwrap();
    copy::run(&world.context(), &medium, &plan).unwrap()
}

/// Everything agrees, balances, and can be read back.
fn assert_healthy(world: &World) {
    let report = examine(world);
    let bad: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.status == CheckStatus::Problem)
        .collect();
    assert_eq!((bad, report.outcome), (vec![], Complete));
    let agreement = agreement_of(&report);
    assert_eq!(agreement.store_blobs, agreement.catalogue_blobs);
    let plan = verify::plan(&world.archive, &VerifyRequest::default()).unwrap();
    let verified = verify::run(&world.context(), &plan).unwrap();
    assert_eq!((verified.good, verified.outcome), (3, Complete));
    let medium = world.archive.catalogue().media().unwrap().remove(0);
    for task in copy::plan(&world.archive, &medium).unwrap().tasks {
        ingest::balance(&world.archive.catalogue().census(task.scan).unwrap()).unwrap();
    }
}

#[test]
fn r37_an_archive_in_order_is_left_alone() {
    let world = archive();
    assert_healthy(&world);
    let (plan, summary) = repair(&world);
    assert!(plan.is_empty());
    assert_eq!(summary, fix::FixSummary::default());
}

/// R37, R40, R43: both counts and what is missing are told; a plan changes nothing; after the fix the next copy fetches only what is lost.
#[test]
fn r37_a_lost_file_is_told_and_fetched_again() {
    let world = archive();
    remove_below(&world, "blobs");
    let report = examine(&world);
    let agreement = agreement_of(&report);
    assert_eq!((agreement.store_blobs, agreement.catalogue_blobs), (2, 3));
    assert_eq!((agreement.missing, agreement.orphans), (1, 0));
    let large = BlobHash::of(&[7; 300_000]).to_hex();
    assert_eq!(agreement.missing_samples, std::slice::from_ref(&large));
    assert!(advice(&report, "contents").contains("doctor --fix"));
    assert_eq!(report.outcome, DamageFound);

    let plan = fix::plan(&world.context()).unwrap();
    assert_eq!(
        (&plan.strike, &plan.refetch),
        (&vec![large.clone()], &vec![large])
    );
    assert_eq!(
        examine(&world).agreement,
        report.agreement,
        "a plan changes nothing"
    );

    let (_, summary) = repair(&world);
    assert_eq!((summary.struck, summary.refetch[0].contents), (1, 1));
    assert_eq!(
        agreement_of(&examine(&world)).missing,
        1,
        "still lost until it is fetched"
    );
    assert_eq!(copied(&world).bytes_read, 300_000);
    assert_healthy(&world);
}

#[test]
fn r37_a_lost_pack_is_fetched_again() {
    let world = archive();
    remove_below(&world, "packs");
    let report = examine(&world);
    let agreement = agreement_of(&report);
    assert_eq!((agreement.store_blobs, agreement.missing), (1, 2));
    let (_, summary) = repair(&world);
    assert_eq!((summary.struck, summary.refetch[0].contents), (2, 2));
    assert_eq!(copied(&world).bytes_read, 10);
    assert_healthy(&world);
}

/// R37, R43: an index that is gone is made anew from the contents before anything else happens to them; nothing is copied again.
#[test]
fn r37_a_lost_index_is_made_anew() {
    let world = archive();
    remove_below(&world, "index");
    let world = world.reopened();
    assert_healthy(&world);
    assert_eq!(copied(&world).bytes_read, 0);
}

/// R37: a content that the index does not know is hashed and taken in; one that is not what its name says is refused and kept.
#[test]
fn r37_a_file_that_returns_is_taken_in() {
    let world = archive();
    let file = files_below(&world.archive.root().join("blobs")).remove(0);
    let aside = world.dir.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    assert_eq!(repair(&world).1.struck, 1);
    fs::write(&file, b"something else").unwrap();
    assert_eq!(repair(&world).1.refused, 1);
    assert!(file.exists());

    fs::rename(&aside, &file).unwrap();
    assert!(advice(&examine(&world), "bytes without index").contains("doctor --fix"));
    let (plan, summary) = repair(&world);
    assert_eq!((plan.adopt.len(), plan.refetch.len()), (1, 0));
    assert_eq!((summary.adopted, summary.refused), (1, 0));
    assert_eq!(copied(&world).new_blobs, 0);
    assert_healthy(&world);
}

/// R37, R43: a content that no medium refers to is told and kept, and the copy that meets it adopts it.
#[test]
fn r37_orphans_are_kept_until_they_are_adopted() {
    let world = archive();
    let mut writer = world.archive.store().writer().unwrap();
    let (hash, sha256) = ContentHasher::digest(b"orphan");
    writer.put(b"orphan", hash, sha256).unwrap();
    writer.commit().unwrap();
    writer.seal().unwrap();
    let report = examine(&world);
    assert_eq!((agreement_of(&report).orphans, report.outcome), (1, Complete));
    assert!(advice(&report, "orphans").contains("nothing is deleted"));
    repair(&world);
    assert!(world.archive.store().contains(&hash).unwrap());

    fs::write(source(&world).join("late"), b"orphan").unwrap();
    assert_eq!(
        world.ingest(&source(&world)).unwrap().media[0].copied.new_blobs,
        0
    );
    assert_eq!(agreement_of(&examine(&world)).orphans, 0);
}

/// R38, R46: a rebuild of the index that is interrupted leaves the index in force, says so in the log, and is simply done again. While another
/// run has the archive there is none.
#[test]
fn r38_an_interrupted_rebuild_of_the_index_is_done_again() {
    let world = archive();
    let root = world.archive.root().to_owned();
    let plan = index::plan(&root, &Embedded).unwrap();
    assert_eq!((plan.files, plan.packs), (1, 1));
    let run = |interrupt: &Interrupt| index::run(&root, &Embedded, &plan, &Silent, interrupt);
    assert!(matches!(run(&Interrupt::new()), Err(Error::Held { .. })));

    let interrupt = Interrupt::new();
    interrupt.raise();
    let world = world.reopened_after(|_| assert!(matches!(run(&interrupt), Err(Error::Interrupted))));
    assert_healthy(&world);
    let world = world.reopened_after(|_| {
        let summary = run(&Interrupt::new()).unwrap();
        assert_eq!(
            (summary.contents, summary.refused, summary.outcome),
            (3, 0, Complete)
        );
    });
    assert_healthy(&world);
    let log = world.archive.catalogue().events(None).unwrap();
    let results: Vec<&str> = log
        .iter()
        .filter(|event| event.stage == "reindex")
        .map(|event| event.result.as_str())
        .collect();
    assert_eq!(results, ["interrupted", "ok"]);
}

/// R37: what another run stores and records while the doctor looks is not missing.
#[test]
fn r37_what_is_copied_meanwhile_is_not_missing() {
    let world = archive();
    let access = ntt_pipeline::archive::Access::ReadOnly;
    let looking = ntt_pipeline::Archive::open(world.archive.root(), access, 0, &Embedded).unwrap();
    let later = world.dir.path().join("later");
    fs::create_dir(&later).unwrap();
    fs::write(later.join("new"), b"stored after the look began").unwrap();
    assert_eq!(world.ingest(&later).unwrap().outcome, Complete);
    let context = ntt_pipeline::Context {
        archive: &looking,
        ..world.context()
    };
    let report = doctor::run(&context).unwrap();
    assert_eq!(agreement_of(&report).missing, 0, "{:?}", report.checks);
    assert_eq!(agreement_of(&report).store_blobs, 4);
}

/// R37, R38: an open pack that ends in the middle of a member is what a killed run leaves, and the next one cuts it. In the middle of a pack it is damage.
#[test]
fn r37_the_end_of_a_killed_run_is_no_damage() {
    let torn = |damage: &dyn Fn(&mut Vec<u8>)| {
        let world = archive();
        let packs = files_below(&world.archive.root().join("packs"));
        let pack = packs
            .iter()
            .find(|path| path.extension().is_some_and(|suffix| suffix == "tar"))
            .expect("a pack");
        assert!(!pack.with_extension("idx").exists(), "it is open");
        let mut bytes = fs::read(pack).unwrap();
        damage(&mut bytes);
        fs::write(pack, bytes).unwrap();
        let access = ntt_pipeline::archive::Access::ReadOnly;
        let looking = ntt_pipeline::Archive::open(world.archive.root(), access, 0, &Embedded).unwrap();
        let context = ntt_pipeline::Context {
            archive: &looking,
            ..world.context()
        };
        let report = doctor::run(&context).unwrap();
        let status = |name: &str| {
            let found = report.checks.iter().find(|check| check.name == name);
            found.map(|check| check.status)
        };
        (status("store"), status("unfinished work"))
    };
    let cut = torn(&|bytes| bytes.extend([0xa5; 700]));
    assert_eq!(cut, (Some(CheckStatus::Ok), Some(CheckStatus::Warning)));
    let damaged = torn(&|bytes| bytes[..512].fill(0xa5));
    assert_eq!(damaged.0, Some(CheckStatus::Problem));
}
