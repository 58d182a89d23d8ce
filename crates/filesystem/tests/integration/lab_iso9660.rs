//! ISO 9660 with Rock Ridge and Joliet in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make;
use ntt_testkit::lab::referee::{Referee, bsdtar, seven_zip, tsk_recover, xorriso};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// Holes would be written out.
const fn posix(size: Size) -> Spec {
    Spec {
        sparse: false,
        ..Spec::posix(size)
    }
}

fn lab(name: &'static str, spec: &Spec, variants: &[(&str, &[&str])]) -> Option<Lab> {
    let images = variants
        .iter()
        .map(|(program, arguments)| make::disc(program, arguments, spec));
    Some(Lab {
        name,
        family: Family::Iso9660,
        images: images.collect::<Option<_>>()?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn salvagers() -> Vec<Referee> {
    vec![
        tsk_recover(&["-e", "-f", "iso9660", "{image}", "{out}"]),
        seven_zip(&["x", "-y", "-tIso", "-o{out}", "{image}"], &[Aspect::Contents]),
        bsdtar(&[Aspect::Contents]),
        xorriso(&[Aspect::Contents]),
    ]
}

/// What the referees do when they write what they read.
fn quirks() -> Vec<Explained> {
    let explained = |judge, aspect, holds: fn(&Difference) -> bool, why| Explained {
        judge,
        aspect,
        holds,
        why,
    };
    let is_link = |difference: &Difference| difference.path.starts_with(b"links/");
    vec![
        explained(
            "xorriso",
            Aspect::Times,
            is_link,
            "it does not set the times of links",
        ),
        explained(
            "xorriso",
            Aspect::Names,
            |difference| difference.path == b"rr_moved",
            "it shows the directory that holds nothing but relocated ones, which are listed where they belong",
        ),
        explained(
            "bsdtar",
            Aspect::Targets,
            is_link,
            "it forgets the `/` between two `SL` entries of a long target",
        ),
    ]
}

fn compares(name: &'static str, spec: &Spec, variants: &[(&str, &[&str])]) {
    if let Some(lab) = lab(name, spec, variants) {
        let referees = vec![
            bsdtar(&Aspect::ALL),
            xorriso(&Aspect::ALL),
            tsk_recover(&["-a", "-f", "iso9660", "{image}", "{out}"]),
        ];
        Lab {
            referees,
            explained: quirks(),
            ..lab
        }
        .compares();
    }
}

#[test]
fn r27_rock_ridge_agrees_with_truth_and_referees() {
    compares(
        "iso9660, Rock Ridge",
        &posix(Size::Full),
        &[("xorriso", &["-R"]), ("genisoimage", &["-R"])],
    );
}

#[test]
fn r22_variants_of_iso9660() {
    let discs: [(&str, &[&str]); 2] = [("xorriso", &["-R"]), ("xorriso", &["-J", "-joliet-long"])];
    if let Some(lab) = lab("iso9660", &posix(Size::Small), &discs) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_iso9660_loses_no_more_than_the_referees() {
    if let Some(lab) = lab("iso9660", &posix(Size::Small), &[("xorriso", &["-R", "-J"])]) {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_iso9660() {
    // Joliet has no room for more, and genisoimage makes no disc of names that it would have to cut to the same one.
    let plain = Spec {
        byte_names: false,
        name_max: 100,
        ..posix(Size::Small)
    };
    if let Some(lab) = lab(
        "iso9660, Rock Ridge",
        &posix(Size::Small),
        &[("xorriso", &["-R"])],
    ) {
        lab.loss_of_100_seeds(&salvagers());
    }
    if let Some(lab) = lab(
        "iso9660, Rock Ridge and Joliet",
        &plain,
        &[("genisoimage", &["-R", "-J", "-joliet-long"])],
    ) {
        lab.loss_of_100_seeds(&salvagers());
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_iso9660_are_named() {
    if let Some(lab) = lab("iso9660", &posix(Size::Small), &[("xorriso", &["-R"])]) {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: usize| u64::from(u32::from_le_bytes(image[at..at + 4].try_into().expect("four")));
    let sector = |number: u64| ByteRange::new(number * 2048, 2048);
    let descriptor = 16 * 2048;
    vec![
        Structure::new("primary descriptor", sector(16), Layer::FileSystem),
        Structure::new("path table", sector(word(descriptor + 140)), Layer::FileSystem),
        Structure::new(
            "root directory",
            sector(word(descriptor + 156 + 2)),
            Layer::Directory,
        ),
        some_content(listing, 2048),
    ]
}
