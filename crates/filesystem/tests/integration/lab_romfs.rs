//! romfs in the lab for readers.

use ntt_filesystem::Family;
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::some_content;
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;

fn lab(images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name: "romfs",
        family: Family::Romfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small() -> Option<Lab> {
    lab(Some(vec![make::romfs(&[], &spec(Size::Small))?]))
}

/// The driver of Linux.
fn kernel() -> Referee {
    uml::referee("romfs", "ro", &Aspect::ALL)
}

/// The format has no holes.
const fn spec(size: Size) -> Spec {
    Spec {
        sparse: false,
        ..Spec::posix(size)
    }
}

#[test]
fn r27_romfs_agrees_with_truth() {
    let variants: [&[&str]; 2] = [&[], &["-a", "512"]];
    let sizes = [Size::Full, Size::Small];
    let images = variants
        .into_iter()
        .zip(sizes)
        .map(|(arguments, size)| make::romfs(arguments, &spec(size)));
    if let Some(lab) = lab(images.collect()) {
        lab.compares();
    }
}

#[test]
fn r22_variants_of_romfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_romfs_loses_no_more_than_the_kernel() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel()], 0..1);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_romfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

/// R11: the report names what a hole hits.
#[test]
fn r11_holes_in_romfs_are_named() {
    if let Some(lab) = small() {
        lab.names_what_is_hit(|_, listing| vec![some_content(listing, 512)]);
    }
}
