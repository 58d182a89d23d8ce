//! APFS in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::apfs::{BLOCK, Shape};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::apfs::{apfs, seven_zip, tsk_recover};
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::Image;
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// Names are Unicode there.
const fn spec(size: Size) -> Spec {
    Spec {
        byte_names: false,
        ..Spec::posix(size)
    }
}

fn lab(images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name: "apfs",
        family: Family::Apfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

/// As macOS makes them.
fn hashed() -> Shape {
    Shape {
        is_case_insensitive: true,
        ..Shape::default()
    }
}

fn small() -> Option<Lab> {
    let image = apfs("names with hashes", 1200, &hashed(), &spec(Size::Small))?;
    lab(Some(vec![image]))
}

fn salvagers() -> Vec<Referee> {
    vec![seven_zip(), tsk_recover()]
}

fn quirks() -> Vec<Explained> {
    let explained = |judge, aspect, holds: fn(&Difference) -> bool, why| Explained {
        judge,
        aspect,
        holds,
        why,
    };
    vec![
        explained(
            "tsk_recover",
            Aspect::Contents,
            |difference| difference.path == b"LAB/names/Case",
            "it takes names without a hash for names with one and cuts them: `Case` and `case` become one file",
        ),
        explained(
            "7z",
            Aspect::Contents,
            |difference| difference.path == b"LAB/sizes/sparse",
            "it reads a hole (block 0) as the superblock that lies in block 0",
        ),
        explained(
            "7z",
            Aspect::Kinds,
            is_link,
            "it writes links and pipes as empty files",
        ),
        explained(
            "7z",
            Aspect::Sizes,
            is_link,
            "it writes links and pipes as empty files",
        ),
        explained(
            "7z",
            Aspect::Contents,
            is_link,
            "it writes links and pipes as empty files",
        ),
    ]
}

fn is_link(difference: &Difference) -> bool {
    difference.path.starts_with(b"LAB/links/")
}

#[test]
fn r27_apfs_agrees_with_truth_and_referees() {
    let images = [
        apfs("plain", 9000, &Shape::default(), &spec(Size::Full)),
        apfs("names with hashes", 1200, &hashed(), &spec(Size::Small)),
    ];
    if let Some(lab) = lab(images.into_iter().collect()) {
        Lab {
            referees: salvagers(),
            explained: quirks(),
            ..lab
        }
        .compares();
    }
}

/// Sealed volumes, which the referees do not read.
#[test]
fn r27_sealed_apfs_agrees_with_truth() {
    let sealed = Shape {
        is_sealed: true,
        ..Shape::default()
    };
    if let Some(lab) = lab(apfs("sealed", 1200, &sealed, &spec(Size::Small)).map(|image| vec![image])) {
        Lab {
            name: "apfs, sealed",
            ..lab
        }
        .compares();
    }
}

#[test]
fn r22_variants_of_apfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_apfs_loses_no_more_than_the_referees() {
    if let Some(lab) = small() {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_apfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&salvagers());
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_apfs_are_named() {
    if let Some(lab) = small() {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let find = |is_it: &dyn Fn(&[u8]) -> bool| {
        let block = image.chunks(BLOCK).position(is_it).expect("there is one");
        ByteRange::new(u64::try_from(block * BLOCK).expect("small"), 4096)
    };
    let of = |kind: u8, subkind: u8| move |block: &[u8]| block[24] == kind && block[28] == subkind;
    vec![
        Structure::new("superblock", ByteRange::new(0, 4096), Layer::FileSystem),
        Structure::new("volume superblock", find(&of(0x0d, 0)), Layer::FileSystem),
        Structure::new("object map", find(&of(0x0b, 0)), Layer::FileSystem),
        Structure::new("root of the tree", find(&of(2, 0x0e)), Layer::Directory),
        Structure::new("leaf of the tree", find(&of(3, 0x0e)), Layer::Directory),
        some_content(listing, 512),
    ]
}
