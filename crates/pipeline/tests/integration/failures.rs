//! Files that cannot be read: failures settle, and can be reopened.

use std::fs;

use ntt_catalogue::rows::MediumRow;
use ntt_model::FailureClass;
use ntt_pipeline::RunOutcome::{Complete, Losses};
use ntt_pipeline::{Error, copy, ingest, retry, scan};

use crate::world::World;

/// A scanned directory of which one of two files has vanished since.
fn with_a_vanished_file(world: &World) -> MediumRow {
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("stays"), b"stays").unwrap();
    fs::write(source.join("vanishes"), b"vanishes").unwrap();
    let request = ingest::IngestRequest {
        sources: vec![source.clone()],
        skip_copy: true,
        ..ingest::IngestRequest::default()
    };
    ingest::run(&world.context(), &request).unwrap();
    fs::rename(source.join("vanishes"), world.dir.path().join("elsewhere")).unwrap();
    world.archive.catalogue().media().unwrap().remove(0)
}

fn copy(world: &World, medium: &MediumRow) -> copy::CopySummary {
    let plan = copy::plan(&world.archive, medium).unwrap();
    copy::run(&world.context(), medium, &plan).unwrap()
}

/// R32, R33, R44: three equal failures settle within one run, told as a loss; a retry after the cause is gone stores the content.
#[test]
fn r33_a_file_that_keeps_failing_settles_within_one_run() {
    let world = World::new();
    let medium = with_a_vanished_file(&world);
    let copied = copy(&world, &medium);
    assert_eq!((copied.stored_streams, copied.failed_streams), (1, 1));
    assert_eq!(copied.outcome, Losses);

    let task = copy::plan(&world.archive, &medium).unwrap().tasks.remove(0);
    assert_eq!((task.queue.pending_streams, task.queue.next_retry), (0, None));
    let census = world.archive.catalogue().census(task.scan).unwrap();
    ingest::balance(&census).unwrap();
    assert_eq!(census.retryable.count, 0);
    let failed: Vec<_> = census
        .failed
        .iter()
        .map(|(class, tally)| (*class, tally.count))
        .collect();
    assert_eq!(failed, [(FailureClass::Path, 1)]);

    fs::rename(
        world.dir.path().join("elsewhere"),
        world.dir.path().join("source/vanishes"),
    )
    .unwrap();
    assert_eq!(
        copy(&world, &medium).stored_streams,
        0,
        "nobody asked for a retry"
    );
    let plan = retry::plan(&world.archive, &medium, Some(FailureClass::Path)).unwrap();
    assert_eq!(retry::run(&world.context(), &medium, &plan).unwrap().reopened, 1);
    let copied = copy(&world, &medium);
    assert_eq!((copied.stored_streams, copied.outcome), (1, Complete));
}

/// R33, R38: an empty directory where a medium was, as the place of a file system that is not mounted, is not the medium: nothing of it is given up, nothing scanned, and
/// all is stored when it is back.
#[test]
fn r33_another_directory_in_its_place_is_not_the_medium() {
    let world = World::new();
    let (source, away) = (world.dir.path().join("source"), world.dir.path().join("away"));
    let medium = with_a_vanished_file(&world);
    fs::rename(world.dir.path().join("elsewhere"), source.join("vanishes")).unwrap();
    fs::rename(&source, &away).unwrap();
    fs::create_dir(&source).unwrap();

    let plan = copy::plan(&world.archive, &medium).unwrap();
    let refused = copy::run(&world.context(), &medium, &plan).unwrap_err();
    assert!(matches!(&refused, Error::Source { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("not the directory that was taken in"),
        "{refused}"
    );
    let again = scan::ScanSettings {
        again: true,
        ..scan::ScanSettings::default()
    };
    let scan = scan::plan(&world.context(), &medium, None, again).unwrap();
    assert!(
        scan::run(&world.context(), &medium, &scan).is_err(),
        "nor is it scanned as empty"
    );
    assert_eq!(copy::plan(&world.archive, &medium).unwrap(), plan);

    fs::remove_dir(&source).unwrap();
    fs::rename(&away, &source).unwrap();
    let copied = copy(&world, &medium);
    assert_eq!((copied.stored_streams, copied.outcome), (2, Complete));
}

/// R33: a failure that passes before the third strike is no loss.
#[test]
fn r33_a_file_that_comes_back_in_time_is_stored() {
    let world = World::new();
    let medium = with_a_vanished_file(&world);
    let (from, to) = (
        world.dir.path().join("elsewhere"),
        world.dir.path().join("source/vanishes"),
    );
    // The second attempt begins when the first pause is over: the catalogue shows the failure before it does.
    let observed = std::thread::scope(|scope| {
        let catalogue = world.archive.catalogue();
        let scan = copy::plan(&world.archive, &medium).unwrap().tasks[0].scan;
        let copying = scope.spawn(|| copy(&world, &medium));
        while catalogue.census(scan).unwrap().retryable.count == 0 {
            std::thread::yield_now();
        }
        fs::rename(&from, &to).unwrap();
        copying.join().unwrap()
    });
    assert_eq!(
        (observed.stored_streams, observed.failed_streams, observed.outcome),
        (2, 0, Complete)
    );
}
