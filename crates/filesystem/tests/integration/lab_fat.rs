//! FAT12, FAT16 and FAT32 in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make;
use ntt_testkit::lab::referee::{Referee, fls, mcopy, seven_zip, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// mtools cannot make names that need more entries than a cluster holds.
const SMALL: Spec = Spec {
    name_max: 190,
    ..Spec::windows(Size::Small)
};
const FULL: Spec = Spec::windows(Size::Full);
const FAT12: &[&str] = &["-F", "12", "1440"];
const FAT16: &[&str] = &["-F", "16", "-s", "1", "8192"];
const FAT32: &[&str] = &["-F", "32", "-s", "1", "40960"];

fn lab(name: &'static str, spec: &Spec, variants: &[&[&str]]) -> Option<Lab> {
    let images = variants.iter().map(|arguments| make::fat(arguments, spec));
    Some(Lab {
        name,
        family: Family::Fat,
        images: images.collect::<Option<_>>()?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn salvagers() -> Vec<Referee> {
    use ntt_testkit::lab::compare::Aspect::Contents;
    vec![
        tsk_recover(&["-e", "-f", "fat", "{image}", "{out}"]),
        seven_zip(&["x", "-y", "-tFAT", "-o{out}", "{image}"], &[Contents]),
        mcopy(),
    ]
}

/// What the referees do to names when they list or write them.
fn quirks(has_long_names: bool) -> Vec<Explained> {
    let is_long = |difference: &Difference| difference.path.len() > "names/".len() + 190;
    let explained = |judge, aspect, holds: fn(&Difference) -> bool, why| Explained {
        judge,
        aspect,
        holds,
        why,
    };
    let mut quirks = vec![explained(
        "fls",
        Aspect::Names,
        |difference| difference.path.ends_with(b"(Volume Label Entry)"),
        "it lists the label as a file",
    )];
    if has_long_names {
        quirks.extend([
            explained(
                "fls",
                Aspect::Names,
                is_long,
                "it loses characters of names longer than 195; mtools has them whole",
            ),
            explained(
                "tsk_recover",
                Aspect::Contents,
                is_long,
                "it loses characters of long names, so that one file overwrites another",
            ),
        ]);
    }
    quirks
}

fn compares(name: &'static str, spec: &Spec, variants: &[&[&str]]) {
    if let Some(lab) = lab(name, spec, variants) {
        let referees = vec![
            fls("fat"),
            tsk_recover(&["-a", "-f", "fat", "{image}", "{out}"]),
            mcopy(),
        ];
        Lab {
            referees,
            explained: quirks(spec.name_max > 250),
            ..lab
        }
        .compares();
    }
}

#[test]
fn r27_fat12_agrees_with_truth_and_referees() {
    compares("fat12", &SMALL, &[FAT12, &["-F", "12", "-s", "8", "12288"]]);
}

#[test]
fn r27_fat16_agrees_with_truth_and_referees() {
    compares("fat16", &FULL, &[&["-F", "16", "-s", "4", "65536"]]);
}

#[test]
fn r27_fat32_agrees_with_truth_and_referees() {
    compares("fat32", &FULL, &[&["-F", "32", "-s", "2", "98304"]]);
}

#[test]
fn r22_variants_of_fat() {
    if let Some(lab) = lab("fat", &SMALL, &[FAT12, FAT16, FAT32]) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_fat_loses_no_more_than_the_referees() {
    if let Some(lab) = lab("fat", &SMALL, &[FAT12, FAT16]) {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_fat() {
    for (name, arguments) in [("fat12", FAT12), ("fat16", FAT16), ("fat32", FAT32)] {
        if let Some(lab) = lab(name, &SMALL, &[arguments]) {
            lab.loss_of_100_seeds(&salvagers());
        }
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_fat_are_named() {
    if let Some(lab) = lab("fat16", &SMALL, &[FAT16]) {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let half = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let (tables, table_sectors) = (half(14), half(22));
    let root = tables + 2 * table_sectors;
    let sector = |number: u64| ByteRange::new(number * 512, 512);
    vec![
        Structure::new("boot sector", sector(0), Layer::FileSystem),
        Structure::new("table", sector(tables), Layer::FileSystem),
        Structure::new("root directory", sector(root), Layer::Directory),
        some_content(listing, 512),
    ]
}
