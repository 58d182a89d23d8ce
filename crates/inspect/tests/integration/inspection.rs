//! One part of an image that kills the child must not cost the verdicts of the others (R14, R19).

use std::fs::File;
use std::time::Duration;

use ntt_filesystem::Family;
use ntt_inspect::child::rehearsal::PoisonKind;
use ntt_inspect::layer::{LayerTree, Verdict};
use ntt_inspect::tree::step::{Step, StepKind};
use ntt_inspect::{ImageFiles, Supervisor};
use ntt_model::{FindingCode, Layer, Severity};
use ntt_testkit::corpus::corpus_image;

use crate::scan_child::supervisor;

fn tight() -> Supervisor {
    let mut supervisor = supervisor();
    supervisor.budgets.memory_bytes = 128 << 20;
    supervisor.budgets.no_progress = Duration::from_secs(1);
    supervisor
}

/// A partitioned image, what is found in it, and where its second readable volume stands.
fn partitioned() -> Option<(tempfile::TempDir, ImageFiles, LayerTree, u64)> {
    let copy = corpus_image("dftt/1-extend-part.zip")?;
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("image");
    std::fs::copy(copy.path(), &path).expect("room");
    let source = ImageFiles::from(File::open(&path).expect("the image"));
    let sound = supervisor().inspect(&source).expect("a tree");
    let readable = |volume: &&ntt_inspect::layer::VolumeLayer| volume.verdict == Verdict::Readable;
    let second = sound
        .volumes
        .iter()
        .filter(readable)
        .nth(1)
        .expect("several volumes");
    let offset = second.range.offset;
    Some((folder, source, sound, offset))
}

fn poisoned(what: StepKind, kind: PoisonKind) {
    let Some((_folder, source, sound, offset)) = partitioned() else {
        return;
    };
    let step = Step {
        what,
        image_offset: offset,
    };
    let tree = tight()
        .rehearse_inspection(&source, &[(step, kind)])
        .expect("a tree");
    let others = |tree: &LayerTree| {
        let others = tree.volumes.iter().filter(|volume| volume.range.offset != offset);
        others
            .map(|volume| (volume.range, volume.verdict.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&tree), others(&sound));
    let own = tree.volumes.iter().find(|volume| volume.range.offset == offset);
    assert!(!matches!(own.expect("it is listed").verdict, Verdict::Readable));
    let told = tree.findings.iter().any(|finding| {
        finding.layer == Layer::Scanner
            && finding.severity == Severity::Loss
            && finding.image_offset == Some(offset)
            && matches!(finding.code, FindingCode::Killed | FindingCode::Limit)
    });
    assert!(told, "{:?}", tree.findings);
}

#[test]
fn r14_a_superblock_that_hangs_costs_its_own_volume() {
    poisoned(StepKind::Open(Family::Fat), PoisonKind::Hang);
}

#[test]
fn r14_a_superblock_that_aborts_costs_its_own_volume() {
    poisoned(StepKind::Open(Family::Fat), PoisonKind::Abort);
}

#[test]
fn r14_a_superblock_that_panics_costs_its_own_volume() {
    poisoned(StepKind::Open(Family::Fat), PoisonKind::Panic);
}

#[test]
fn r14_a_probe_that_allocates_costs_its_own_volume() {
    poisoned(StepKind::Probe, PoisonKind::Allocate);
}

/// R15: without its table the image is searched, and its volumes are found all the same.
#[test]
fn r15_a_table_that_kills_leaves_the_signature_scan() {
    let Some((_folder, source, _, offset)) = partitioned() else {
        return;
    };
    let step = Step {
        what: StepKind::Tables,
        image_offset: 0,
    };
    let tree = tight()
        .rehearse_inspection(&source, &[(step, PoisonKind::Abort)])
        .expect("a tree");
    assert!(tree.tables.is_empty());
    assert!(
        tree.volumes.iter().any(|volume| volume.range.offset == offset),
        "{tree:?}"
    );
}
