//! MFS, HFS and HFS+ in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::hfsplus::Shape;
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::apple::{hcopy, hfs, hfsplus, mfs};
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::Image;
use ntt_testkit::lab::referee::{Referee, fls, seven_zip, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

const fn plus_spec(size: Size) -> Spec {
    Spec {
        byte_names: false,
        sparse: false,
        case_sensitive: false,
        ..Spec::posix(size)
    }
}

const fn classic_spec(size: Size) -> Spec {
    Spec {
        unicode_names: false,
        name_max: 31,
        ..Spec::windows(size)
    }
}

fn shape(blocks: usize, node_bytes: usize) -> Shape {
    Shape {
        blocks,
        node_bytes,
        ..Shape::default()
    }
}

fn lab(name: &'static str, family: Family, images: Vec<Image>) -> Lab {
    Lab {
        name,
        family,
        images,
        referees: Vec::new(),
        explained: Vec::new(),
    }
}

fn small_plus() -> Option<Lab> {
    let image = hfsplus("hfsplus", shape(700, 2048), &plus_spec(Size::Small))?;
    Some(lab("hfsplus", Family::HfsPlus, vec![image]))
}

fn small_classic() -> Option<Lab> {
    let image = hfs(2048, &classic_spec(Size::Small))?;
    Some(lab("hfs", Family::Hfs, vec![image]))
}

fn seven_zip_plus() -> Referee {
    seven_zip(
        &["x", "-y", "-snl", "-tHFS", "-o{out}", "{image}"],
        &[Aspect::Contents],
    )
}

fn plus_salvagers() -> Vec<Referee> {
    vec![
        tsk_recover(&["-e", "-f", "hfs", "{image}", "{out}"]),
        seven_zip_plus(),
    ]
}

fn explained(
    judge: &'static str,
    aspect: Aspect,
    holds: fn(&Difference) -> bool,
    why: &'static str,
) -> Explained {
    Explained {
        judge,
        aspect,
        holds,
        why,
    }
}

fn plus_quirks() -> Vec<Explained> {
    let is_store = |difference: &Difference| {
        difference.path.starts_with(b"^^^^HFS+ Private Data") && difference.detail == "missing"
    };
    vec![
        explained(
            "fls",
            Aspect::Names,
            is_store,
            "it lists the hidden directory of hard-linked files and what is in it; here those files have only their own names",
        ),
        explained(
            "tsk_recover",
            Aspect::Contents,
            |difference| difference.path.starts_with(b"links/"),
            "it writes targets of symbolic links as files",
        ),
        explained(
            "tsk_recover",
            Aspect::Contents,
            |difference| difference.path.starts_with(b"$"),
            "it writes the files that the volume itself consists of (catalogue, bitmap) as if they were somebody's",
        ),
    ]
}

#[test]
fn r27_hfsplus_agrees_with_truth_and_referees() {
    let hfsx = Shape {
        is_hfsx: true,
        catalog_pieces: 12,
        ..shape(12_000, 8192)
    };
    let with_case = Spec {
        case_sensitive: true,
        ..plus_spec(Size::Full)
    };
    let images = [
        hfsplus("hfsplus", shape(1200, 4096), &plus_spec(Size::Small)),
        hfsplus("hfsx", hfsx, &with_case),
    ];
    if let Some(images) = images.into_iter().collect::<Option<_>>() {
        Lab {
            referees: vec![
                fls("hfs"),
                tsk_recover(&["-a", "-f", "hfs", "{image}", "{out}"]),
                seven_zip_plus(),
            ],
            explained: plus_quirks(),
            ..lab("hfsplus", Family::HfsPlus, images)
        }
        .compares();
    }
}

#[test]
fn r27_hfs_agrees_with_truth_and_hfsutils() {
    if let Some(image) = hfs(8192, &classic_spec(Size::Small)) {
        Lab {
            referees: vec![hcopy()],
            ..lab("hfs", Family::Hfs, vec![image])
        }
        .compares();
    }
}

#[test]
fn r27_mfs_agrees_with_truth() {
    let folder = tempfile::tempdir().expect("a directory");
    lab(
        "mfs",
        Family::Mfs,
        vec![mfs(folder.path(), &classic_spec(Size::Small))],
    )
    .compares();
}

#[test]
fn r22_variants_of_hfsplus() {
    if let Some(lab) = small_plus() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_variants_of_hfs() {
    if let Some(lab) = small_classic() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_variants_of_mfs() {
    let folder = tempfile::tempdir().expect("a directory");
    lab(
        "mfs",
        Family::Mfs,
        vec![mfs(folder.path(), &classic_spec(Size::Small))],
    )
    .survives(Amount::FULL);
}

#[test]
fn r22_hfsplus_loses_no_more_than_the_referees() {
    if let Some(lab) = small_plus() {
        lab.loses_no_more(&plus_salvagers(), 0..3);
    }
}

#[test]
fn r22_hfs_loses_no_more_than_hfsutils() {
    if let Some(lab) = small_classic() {
        lab.loses_no_more(&[hcopy()], 0..2);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_apple() {
    if let Some(lab) = small_plus() {
        lab.loss_of_100_seeds(&plus_salvagers());
    }
    if let Some(lab) = small_classic() {
        lab.loss_of_100_seeds(&[hcopy()]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_hfsplus_are_named() {
    if let Some(lab) = small_plus() {
        lab.names_what_is_hit(plus_structures);
    }
}

fn plus_structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: usize| u64::from(u32::from_be_bytes(image[at..at + 4].try_into().expect("four")));
    let block = |number: u64| ByteRange::new(number * 4096, 4096);
    // The first extent of each file of the volume header.
    let [overflow, catalog] = [192, 272].map(|fork| word(1024 + fork + 16));
    vec![
        Structure::new("extents overflow header", block(overflow), Layer::FileSystem),
        Structure::new("catalogue header", block(catalog), Layer::FileSystem),
        Structure::new("catalogue leaf", block(catalog + 2), Layer::FileSystem),
        some_content(listing, 4096),
    ]
}

#[test]
fn r11_holes_in_mfs_are_named() {
    let folder = tempfile::tempdir().expect("a directory");
    lab(
        "mfs",
        Family::Mfs,
        vec![mfs(folder.path(), &classic_spec(Size::Small))],
    )
    .names_what_is_hit(|image, listing| {
        let half = |at: usize| u64::from(u16::from_be_bytes([image[at], image[at + 1]]));
        vec![
            Structure::new("block map", ByteRange::new(1536, 512), Layer::FileSystem),
            Structure::new(
                "directory",
                ByteRange::new(half(1024 + 14) * 512, 512),
                Layer::Directory,
            ),
            some_content(listing, 1024),
        ]
    });
}
