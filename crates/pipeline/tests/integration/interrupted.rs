//! Runs that were interrupted at every point, and the log that tells of runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ntt_catalogue::rows::EventRow;
use ntt_pipeline::RunOutcome::{Complete, Interrupted};
use ntt_pipeline::ingest::{self, IngestRequest};
use ntt_pipeline::observer::Done;
use ntt_pipeline::{Context, Error, Event, Interrupt, Stage, copy};

use crate::world::World;

fn source(world: &World) -> PathBuf {
    let root = world.dir.path().join("source");
    fs::create_dir_all(root.join("below")).unwrap();
    for number in 0..20 {
        fs::write(
            root.join(format!("file {number}")),
            format!("content {}", number % 15),
        )
        .unwrap();
        fs::write(root.join(format!("below/{number}")), vec![number; 70_000]).unwrap();
    }
    root
}

/// Ingests with an observer; tells how it ended.
fn ingest(
    world: &World,
    source: &Path,
    interrupt: &Interrupt,
    observer: &(dyn Fn(&Event) + Sync),
) -> ntt_pipeline::RunOutcome {
    let context = Context {
        observer: &observer,
        interrupt,
        ..world.context()
    };
    let request = IngestRequest {
        sources: vec![source.to_owned()],
        ..IngestRequest::default()
    };
    let summary = ingest::run(&context, &request).unwrap();
    assert_eq!(summary.failures, []);
    summary.outcome
}

/// Everything that a run leaves of the present, but for numbers and times that differ between any two runs: paths with their contents, the census, the
/// contents of the store.
fn state(world: &World) -> Vec<String> {
    let catalogue = world.archive.catalogue();
    let mut state = Vec::new();
    let media = catalogue.media().unwrap();
    assert_eq!(media.len(), 1);
    for volume in catalogue.volumes(media[0].key).unwrap() {
        let scans = catalogue.scans(volume.key).unwrap();
        // Whoever goes on scans a directory once more, in case that it changed; what that superseded is history.
        if let Some(scan) = scans.iter().max_by_key(|scan| scan.id) {
            state.push(format!("{:?}", catalogue.census(scan.id).unwrap()));
            let mut paths = Vec::new();
            catalogue
                .each_path(scan.id, &mut |path| {
                    paths.push((path.path.clone(), path.inode));
                    Ok(())
                })
                .unwrap();
            paths.sort();
            for (path, inode) in paths {
                let streams = catalogue.stream_states(scan.id, inode).unwrap();
                state.push(format!("{} {streams:?}", path.escape_ascii()));
            }
        }
    }
    let mut blobs = Vec::new();
    let store = world.archive.store();
    store
        .each_blob(&mut |hash, size| blobs.push(format!("{hash} {size}")))
        .unwrap();
    assert_eq!(
        u64::try_from(blobs.len()).unwrap(),
        catalogue.blob_count().unwrap()
    );
    assert_eq!(catalogue.check().unwrap(), Vec::<String>::new());
    assert_eq!(store.check().unwrap().problems, []);
    state.extend(blobs);
    state
}

/// R38, R44: interrupted after its first event, after its second, and so on until it is through, an ingest ends in the state of an undisturbed one.
#[test]
fn r38_interrupted_anywhere_the_final_state_is_that_of_an_undisturbed_run() {
    let undisturbed = World::new();
    let source = source(&undisturbed);
    let quiet = |_: &Event| {};
    assert_eq!(ingest(&undisturbed, &source, &Interrupt::new(), &quiet), Complete);
    let expected = state(&undisturbed);

    let (mut after, mut interrupted) = (1, 0);
    loop {
        let world = World::new();
        let interrupt = Interrupt::new();
        let seen = AtomicUsize::new(0);
        let outcome = ingest(&world, &source, &interrupt, &|_| {
            if seen.fetch_add(1, Ordering::Relaxed) + 1 == after {
                interrupt.raise();
            }
        });
        if outcome == Interrupted {
            interrupted += 1;
            assert_eq!(ingest(&world, &source, &Interrupt::new(), &quiet), Complete);
        }
        assert!(state(&world) == expected, "interrupted after event {after}");
        if seen.into_inner() < after {
            break;
        }
        after += 1;
    }
    assert!(interrupted >= 4, "only {interrupted} points were met");
}

/// R46: every stage that wrote stands in the log, with its time, counts and bytes, interrupted ones too.
#[test]
fn r46_the_log_tells_stages_times_counts_and_bytes() {
    let world = World::new();
    let source = source(&world);
    ingest(&world, &source, &Interrupt::new(), &|_| {});
    let medium = world.archive.catalogue().media().unwrap().remove(0);
    let log = world.archive.catalogue().events(None).unwrap();
    let of = |stage: &str| -> EventRow { log.iter().find(|event| event.stage == stage).unwrap().clone() };
    for stage in ["identify", "inspect", "scan", "copy", "verify", "ingest"] {
        let event = of(stage);
        assert!(event.at.is_some(), "{stage}");
        assert_eq!(event.result, Complete.as_str(), "{stage}");
    }
    assert_eq!(of("copy").medium, Some(medium.key));
    assert_eq!((of("copy").count, of("copy").bytes), (40, 20 * 70_000 + 185));
    assert_eq!(of("scan").count, 41, "names: 40 files and a directory");
    assert_eq!((of("verify").count, of("verify").bytes), (35, 20 * 70_000 + 140));

    let world = World::new();
    let interrupt = Interrupt::new();
    ingest(&world, &source, &interrupt, &|event| {
        let copying = matches!(
            event,
            Event::StageStarted {
                stage: Stage::Copy,
                ..
            }
        );
        if copying {
            interrupt.raise();
        }
    });
    let log = world.archive.catalogue().events(None).unwrap();
    let copy = log.iter().find(|event| event.stage == "copy").unwrap();
    assert_eq!(copy.result, Interrupted.as_str());
}

/// R41: the totals that a stage tells are those that it reaches; what it cannot know it leaves open.
#[test]
fn r41_stages_reach_the_totals_that_they_tell() {
    let world = World::new();
    let source = source(&world);
    let ended: Mutex<Vec<(Stage, Done)>> = Mutex::default();
    ingest(&world, &source, &Interrupt::new(), &|event| {
        if let Event::StageEnded { stage, done, .. } = event {
            ended.lock().unwrap().push((*stage, *done));
        }
    });
    let ended = ended.into_inner().unwrap();
    let of = |wanted: Stage| ended.iter().find(|(stage, _)| *stage == wanted).unwrap().1;
    for stage in [Stage::Copy, Stage::Verify] {
        let done = of(stage);
        assert_eq!(
            (Some(done.items), Some(done.bytes)),
            (done.total_items, done.total_bytes),
            "{stage:?}"
        );
        assert!(done.items > 0 && done.bytes > 0);
    }
    assert_eq!(of(Stage::Scan).total_items, None);
}

/// R34: a run that waits for what another one holds is one worker, and opens nothing in the store, however long it waits.
#[test]
fn r34_waiting_for_others_leaves_nothing_behind() {
    let world = World::new();
    let source = source(&world);
    let context = world.context();
    let request = IngestRequest {
        sources: vec![source],
        skip_copy: true,
        ..IngestRequest::default()
    };
    ingest::run(&context, &request).unwrap();
    let catalogue = world.archive.catalogue();
    let medium = catalogue.media().unwrap().remove(0);
    let plan = copy::plan(&world.archive, &medium).unwrap();
    let other = catalogue.register_worker("another host").unwrap();
    while catalogue
        .claim_chunk(plan.tasks[0].scan, other)
        .unwrap()
        .is_some()
    {}
    let journals = || {
        fs::read_dir(world.archive.root().join("journal"))
            .unwrap()
            .count()
    };
    let (workers, before) = (catalogue.workers().unwrap().len(), journals());
    let interrupt = Interrupt::default();
    let copied = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(3500));
            interrupt.raise();
        });
        let context = Context {
            interrupt: &interrupt,
            ..world.context()
        };
        copy::run(&context, &medium, &plan)
    });
    assert!(matches!(copied, Err(Error::Interrupted)), "{copied:?}");
    assert_eq!(catalogue.workers().unwrap().len(), workers + 1);
    assert_eq!(journals(), before);
}
