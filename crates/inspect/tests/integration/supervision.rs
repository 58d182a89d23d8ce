//! What happens when a reader goes wrong (R19), and what a child cannot do (R20, R21).

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ntt_filesystem::{Facts, ScanOptions, State, Stop, TimeZone};
use ntt_inspect::child::rehearsal::{Poison, PoisonKind, Rehearsal};
use ntt_inspect::protocol::Message;
use ntt_inspect::supervisor::{Cause, Error};
use ntt_inspect::{ImageFiles, ScanSummary, Supervisor};
use ntt_model::entry::{Name, ScanCounts};
use ntt_model::{FindingCode, Layer, ScanEvent, Severity};

use crate::scan_child::{supervisor, taken_over};

/// A memory budget under which a rehearsed disaster is noticed soon.
fn tight() -> Supervisor {
    let mut supervisor = supervisor();
    supervisor.budgets.memory_bytes = 128 << 20;
    supervisor
}

/// As [`tight`], with little patience; only for what really hangs, because on a loaded machine anything may stand still for a while.
fn impatient() -> Supervisor {
    let mut supervisor = tight();
    supervisor.budgets.no_progress = Duration::from_secs(2);
    supervisor
}

fn source() -> ImageFiles {
    File::open("/dev/null").expect("every Linux has it").into()
}

fn poisoned(kind: PoisonKind, inevitable: bool) -> Rehearsal {
    let poison = Poison {
        after_names: 700,
        kind,
        inevitable,
    };
    Rehearsal {
        directories: 3,
        names_per_directory: 2000,
        poisons: BTreeMap::from([(1, poison)]),
        poisoned_start: None,
    }
}

fn rehearse(supervisor: &Supervisor, rehearsal: &Rehearsal) -> (Result<ScanSummary, Error>, Vec<ScanEvent>) {
    let mut events = Vec::new();
    let summary = supervisor.rehearse(&source(), rehearsal, ScanOptions::default(), &mut |batch| {
        events.extend(batch);
        Ok(())
    });
    (summary, events)
}

fn without_findings(events: &[ScanEvent]) -> Vec<&ScanEvent> {
    events
        .iter()
        .filter(|event| !matches!(event, ScanEvent::Finding(_)))
        .collect()
}

/// What a sound reader emits up to the poison, and from the next directory on.
fn expected(events: &[ScanEvent], poisoned_directory: u64, names_kept: usize) -> Vec<&ScanEvent> {
    let (mut inside, mut names) = (false, 0);
    let is_kept = |event: &&ScanEvent| {
        match event {
            ScanEvent::Directory(directory) => inside = directory.inode == poisoned_directory,
            ScanEvent::Name(_) if inside => names += 1,
            _ => {}
        }
        !inside || names < names_kept || (names == names_kept)
    };
    events.iter().filter(is_kept).collect()
}

fn the_scan_goes_on_behind(supervisor: &Supervisor, kind: PoisonKind, cause_is: fn(&Cause) -> bool) {
    let rehearsal = poisoned(kind, false);
    let (summary, events) = rehearse(supervisor, &rehearsal);
    let summary = summary.expect("the scan ends well");
    let sound = Rehearsal {
        poisons: BTreeMap::new(),
        ..rehearsal
    };
    let (_, all) = rehearse(&tight(), &sound);
    let directory = rehearsal.directory_inode(1);
    assert_eq!(without_findings(&events), expected(&all, directory, 700));
    assert!(summary.complete);
    assert!(
        summary.killed.iter().all(|death| cause_is(&death.cause)),
        "{:?}",
        summary.killed
    );
    let told = events.iter().any(|event| {
        matches!(event, ScanEvent::Finding(finding) if finding.layer == Layer::Scanner
            && finding.severity == Severity::Loss && finding.inode == Some(directory)
            && matches!(finding.code, FindingCode::Killed | FindingCode::Limit))
    });
    assert!(told, "a finding names the poisoned directory");
    let mut counts = ScanCounts::default();
    events.iter().for_each(|event| counts.add(event));
    assert_eq!(counts, summary.counts);
}

#[test]
fn r19_a_hang_costs_the_rest_of_one_directory() {
    the_scan_goes_on_behind(&impatient(), PoisonKind::Hang, |cause| {
        matches!(cause, Cause::Hung(_))
    });
}

#[test]
fn r19_endless_allocation_costs_the_rest_of_one_directory() {
    the_scan_goes_on_behind(&tight(), PoisonKind::Allocate, |cause| *cause == Cause::Memory);
}

#[test]
fn r19_an_abort_costs_the_rest_of_one_directory() {
    the_scan_goes_on_behind(&tight(), PoisonKind::Abort, |cause| {
        matches!(cause, Cause::Signal(_))
    });
}

#[test]
fn r19_a_panic_costs_the_rest_of_one_directory_and_one_restart() {
    the_scan_goes_on_behind(&tight(), PoisonKind::Panic, |cause| *cause == Cause::Panicked);
}

#[test]
fn r19_processor_time_is_bounded() {
    let mut supervisor = supervisor();
    supervisor.budgets.cpu_seconds = 1;
    let (summary, _) = rehearse(&supervisor, &poisoned(PoisonKind::Hang, false));
    let summary = summary.expect("the scan ends well");
    assert!(
        summary.killed.iter().all(|death| death.cause == Cause::Cpu),
        "{:?}",
        summary.killed
    );
    assert!(summary.complete);
}

#[test]
fn r19_a_poison_that_cannot_be_left_ends_the_scan_with_what_there_is() {
    let (summary, events) = rehearse(&tight(), &poisoned(PoisonKind::Abort, true));
    let summary = summary.expect("a partial summary");
    assert!(!summary.complete);
    assert_eq!(
        summary.counts.directories, 3,
        "root, the sound one, the poisoned one"
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, ScanEvent::Name(_)))
            .count(),
        3 + 2000 + 700
    );
}

#[test]
fn r19_two_poisoned_directories_are_both_left() {
    let mut rehearsal = poisoned(PoisonKind::Abort, false);
    let second = rehearsal.poisons[&1];
    rehearsal.poisons.insert(2, second);
    let (summary, events) = rehearse(&tight(), &rehearsal);
    assert!(summary.expect("the scan ends well").complete);
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, ScanEvent::Name(_)))
            .count(),
        3 + 2000 + 1400
    );
}

#[test]
fn r19_a_death_before_any_directory_gives_a_partial_summary() {
    let rehearsal = Rehearsal {
        poisoned_start: Some(PoisonKind::Abort),
        ..poisoned(PoisonKind::Abort, false)
    };
    let (summary, _) = rehearse(&tight(), &rehearsal);
    assert!(!summary.expect("the facts are known").complete);
}

#[test]
fn r19_restarts_are_bounded() {
    let mut supervisor = tight();
    supervisor.budgets.restarts_max = 1;
    let (summary, _) = rehearse(&supervisor, &poisoned(PoisonKind::Abort, false));
    let summary = summary.expect("a partial summary");
    assert_eq!((summary.complete, summary.restarts), (false, 1));
}

#[test]
fn a_cancelled_scan_ends() {
    let supervisor = tight();
    let cancel = supervisor.cancel.clone();
    let result = supervisor.rehearse(
        &source(),
        &poisoned(PoisonKind::Hang, false),
        ScanOptions::default(),
        &mut |_| {
            cancel.store(true, Ordering::Relaxed);
            Ok(())
        },
    );
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn a_sink_that_has_enough_ends_the_scan() {
    let result = tight().rehearse(
        &source(),
        &poisoned(PoisonKind::Hang, false),
        ScanOptions::default(),
        &mut |_| Err(Stop),
    );
    assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
}

/// R20, R21: the child can open nothing, reach nobody, start nothing, and not write to its source.
#[test]
fn r20_the_child_cannot_get_out() {
    let (confinement, attempts) = supervisor().try_escape(&source()).expect("a child");
    assert!(attempts.len() >= 9);
    eprintln!(
        "in force: {}; missing: {}",
        confinement.in_force().join(", "),
        confinement.missing().join(", ")
    );
    for attempt in &attempts {
        if attempt.is_guarded(&confinement) {
            assert!(
                !attempt.escaped && !attempt.refusal.is_empty(),
                "{attempt:?} under {confinement}"
            );
        } else {
            eprintln!("not held back here: {} ({:?})", attempt.what, attempt.guards);
        }
    }
    // What the file permissions of the descriptor hold back needs nothing of the kernel.
    let written = attempts
        .iter()
        .find(|attempt| attempt.what == "write to the source");
    assert!(written.is_some_and(|attempt| attempt.is_guarded(&confinement)));
}

#[test]
fn r21_a_source_open_for_writing_is_refused() {
    let file = tempfile::tempfile().expect("a temporary file");
    let result = supervisor().inspect(&file.into());
    assert!(matches!(result, Err(Error::Writable)), "{result:?}");
}

#[test]
fn r14_the_tree_of_layers_comes_from_the_child() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(1 << 20).expect("room");
    let source = file
        .reopen()
        .and_then(|_| File::open(file.path()))
        .expect("read-only");
    let tree = supervisor().inspect(&source.into()).expect("a tree");
    assert_eq!(tree.image_bytes, 1 << 20);
}

#[test]
fn r19_the_self_test_passes_here() {
    let report = supervisor().self_test().expect("children can be started");
    assert!(report.passed(), "{report:?}");
    assert_eq!(report.trials.len(), PoisonKind::ALL.len());
}

/// R20: a name that would lead out of its directory, or a number that no catalogue takes, shows that the child is no reader any more. It costs the
/// rest, is told, and goes nowhere.
#[test]
fn r20_a_child_that_says_what_cannot_be_is_not_believed() {
    let names = ["..", ".", "", "a/../../b", "a\0b"].map(|name| (name, 3, "a name that no entry can have"));
    let number = ("a", 1 << 63, "an inode number that no file system has");
    for (name, inode, expected) in names.into_iter().chain([number]) {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, sound) = rehearse(
            &tight(),
            &Rehearsal {
                directories: 1,
                ..Rehearsal::default()
            },
        );
        let [
            ScanEvent::Directory(root),
            ScanEvent::Inode(_),
            ScanEvent::Name(first),
            ..,
        ] = sound.as_slice()
        else {
            panic!("{sound:?}");
        };
        let events = [
            ScanEvent::Directory(root.clone()),
            ScanEvent::Name(Name {
                name: name.into(),
                inode,
                ..first.clone()
            }),
        ];
        let says = [
            Message::Facts(Box::new(facts())),
            Message::Events {
                first: 0,
                events: events[..1].to_vec(),
            },
            Message::Events {
                first: 1,
                events: events[1..].to_vec(),
            },
            Message::Done(ScanCounts::default()),
        ];
        let (summary, events) = rehearse(&taken_over(dir.path(), &says), &Rehearsal::default());
        let summary = summary.expect("what came before counts");
        assert!(!summary.complete);
        assert!(summary.killed.iter().all(|death| death.cause == Cause::Babble));
        assert!(!events.iter().any(|event| matches!(event, ScanEvent::Name(_))));
        let told = events.iter().any(|event| {
            matches!(event, ScanEvent::Finding(finding) if finding.severity == Severity::Loss
                && finding.code == FindingCode::Killed && finding.detail.contains(expected))
        });
        assert!(told, "{events:?}");
    }
}

/// What a child says of a volume.
fn facts() -> Facts {
    Facts {
        type_name: "made up".to_owned(),
        label: Vec::new(),
        uuid: None,
        block_size_bytes: 512,
        size_bytes: 0,
        used_bytes: None,
        created: None,
        written: None,
        state: State::Clean,
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: 1,
        details: Vec::new(),
    }
}
