//! squashfs in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Squashfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small(arguments: &[&str]) -> Option<Lab> {
    let image = make::squashfs(
        &[&["-b", "4096"][..], arguments].concat(),
        &Spec::posix(Size::Small),
    )?;
    lab("squashfs", Some(vec![image]))
}

/// Tables that are not compressed, so that they take several blocks.
const OPEN_TABLES: &[&str] = &["-noI"];

fn unsquashfs() -> Referee {
    Referee::extracts(
        "unsquashfs",
        "unsquashfs",
        &["-no-progress", "-ignore-errors", "-f", "-d", "{out}", "{image}"],
        &Aspect::ALL,
    )
}

#[test]
fn r27_squashfs_agrees_with_truth_and_referees() {
    let variants: [&[&str]; 7] = [
        &["-comp", "gzip"],
        &["-comp", "xz", "-b", "65536", "-Xbcj", "x86"],
        &["-comp", "lzma", "-no-exports"],
        &["-comp", "lz4", "-b", "4096"],
        &["-comp", "zstd", "-b", "1048576", "-always-use-fragments"],
        &["-comp", "lzo", "-no-fragments", "-b", "32768"],
        &["-noI", "-noD", "-noF", "-noX", "-b", "16384"],
    ];
    let sizes = [Size::Full].into_iter().chain(std::iter::repeat(Size::Small));
    let images = variants
        .into_iter()
        .zip(sizes)
        .map(|(arguments, size)| make::squashfs(arguments, &Spec::posix(size)));
    if let Some(lab) = lab("squashfs", images.collect()) {
        Lab {
            referees: vec![unsquashfs()],
            ..lab
        }
        .compares();
    }
}

#[test]
fn r22_variants_of_squashfs() {
    if let Some(lab) = small(&[]) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_squashfs_loses_no_more_than_unsquashfs() {
    if let Some(lab) = small(OPEN_TABLES) {
        lab.loses_no_more(&[unsquashfs()], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_squashfs() {
    if let Some(lab) = small(OPEN_TABLES) {
        lab.loss_of_100_seeds(&[unsquashfs()]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_squashfs_are_named() {
    if let Some(lab) = small(&[]) {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
    vec![
        Structure::new("inode table", ByteRange::new(word(64), 1024), Layer::Inode),
        Structure::new(
            "directory table",
            ByteRange::new(word(72), 1024),
            Layer::Directory,
        ),
        some_content(listing, 512),
    ]
}
