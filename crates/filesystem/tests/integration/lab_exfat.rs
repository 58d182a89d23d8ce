//! exFAT in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make;
use ntt_testkit::lab::referee::{Referee, fls, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

fn lab(size_bytes: u64, spec: &Spec, variants: &[&[&str]]) -> Option<Lab> {
    let images = variants
        .iter()
        .map(|arguments| make::exfat(arguments, size_bytes, spec));
    Some(Lab {
        name: "exfat",
        family: Family::ExFat,
        images: images.collect::<Option<_>>()?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small() -> Option<Lab> {
    lab(6 << 20, &Spec::windows(Size::Small), &[&["-c", "4096"]])
}

fn salvagers() -> Vec<Referee> {
    vec![tsk_recover(&["-e", "-f", "exfat", "{image}", "{out}"])]
}

#[test]
fn r27_exfat_agrees_with_truth_and_referees() {
    let variants: &[&[&str]] = &[&["-c", "4096"], &["-c", "512"], &["-c", "32768"]];
    if let Some(lab) = lab(128 << 20, &Spec::windows(Size::Full), variants) {
        Lab {
            referees: vec![
                fls("exfat"),
                tsk_recover(&["-a", "-f", "exfat", "{image}", "{out}"]),
            ],
            explained: quirks(),
            ..lab
        }
        .compares();
    }
}

/// What The Sleuth Kit makes of exFAT.
fn quirks() -> Vec<Explained> {
    let is_system = |difference: &Difference| difference.path.starts_with(b"$");
    let is_in_bulk = |difference: &Difference| difference.path.starts_with(b"bulk/directory ");
    let is_label = |difference: &Difference| difference.path.starts_with(b"LAB");
    let misread = "where an entry set goes on in a cluster that does not follow, it reads on in the cluster that does; the truth is ours";
    let quirk = |judge, aspect, holds, why| Explained {
        judge,
        aspect,
        holds,
        why,
    };
    vec![
        quirk("fls", Aspect::Names, is_label, "it lists the label as a file"),
        quirk("fls", Aspect::Sizes, is_in_bulk, misread),
        quirk("tsk_recover", Aspect::Contents, is_in_bulk, misread),
        quirk(
            "tsk_recover",
            Aspect::Contents,
            is_system,
            "it writes bitmap and upcase table as if they were somebody's files",
        ),
    ]
}

#[test]
fn r22_variants_of_exfat() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_exfat_loses_no_more_than_the_referee() {
    if let Some(lab) = small() {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_exfat() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&salvagers());
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_exfat_are_named() {
    if let Some(lab) = small() {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: usize| u64::from(u32::from_le_bytes(image[at..at + 4].try_into().expect("4 bytes")));
    let cluster = |number: u64| word(88) * 512 + (number - 2) * 4096;
    // The bitmap is the first thing in the clusters.
    vec![
        Structure::new("boot sector", ByteRange::new(0, 512), Layer::FileSystem),
        Structure::new(
            "allocation table",
            ByteRange::new(word(80) * 512, 512),
            Layer::FileSystem,
        ),
        Structure::new("bitmap", ByteRange::new(cluster(2), 512), Layer::FileSystem),
        Structure::new(
            "root directory",
            ByteRange::new(cluster(word(96)), 512),
            Layer::Directory,
        ),
        some_content(listing, 512),
    ]
}
