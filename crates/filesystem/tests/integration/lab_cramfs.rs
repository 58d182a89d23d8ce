//! cramfs in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::Structure;
use ntt_testkit::lab::variant::Amount;

fn lab(images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name: "cramfs",
        family: Family::Cramfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small() -> Option<Lab> {
    lab(Some(vec![make::cramfs(&[], &spec(Size::Small))?]))
}

/// Names of at most 252 bytes; what `mkfs.cramfs` reads is all of a file, holes too.
const fn spec(size: Size) -> Spec {
    Spec {
        name_max: 252,
        hard_links: false,
        sparse: false,
        ..Spec::posix(size)
    }
}

fn seven_zip() -> Referee {
    Referee::extracts(
        "7z",
        "7z",
        &["x", "-y", "-o{out}", "{image}"],
        &[Aspect::Contents],
    )
}

#[test]
fn r27_cramfs_agrees_with_truth_and_referees() {
    let variants: [&[&str]; 3] = [&["-N", "little"], &["-N", "big"], &["-z"]];
    let sizes = [Size::Full].into_iter().chain(std::iter::repeat(Size::Small));
    let images = variants
        .into_iter()
        .zip(sizes)
        .map(|(arguments, size)| make::cramfs(arguments, &spec(size)));
    if let Some(lab) = lab(images.collect()) {
        Lab {
            referees: vec![seven_zip()],
            ..lab
        }
        .compares();
    }
}

#[test]
fn r22_variants_of_cramfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_cramfs_loses_no_more_than_the_referees() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[seven_zip()], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_cramfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[seven_zip()]);
    }
}

/// R11: the report names what a hole hits.
#[test]
fn r11_holes_in_cramfs_are_named() {
    if let Some(lab) = small() {
        // The root directory follows the superblock.
        let root = Structure::new("root directory", ByteRange::new(76, 64), Layer::Directory);
        lab.names_what_is_hit(|_, _| vec![root.clone()]);
    }
}
