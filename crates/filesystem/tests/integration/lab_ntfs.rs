//! NTFS in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make;
use ntt_testkit::lab::referee::{Referee, fls, seven_zip, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// What ntfs-3g can write. It keeps pipes as empty system files, which Windows has too.
const fn spec(size: Size) -> Spec {
    Spec {
        hard_links: true,
        symlinks: true,
        sparse: true,
        case_sensitive: true,
        ..Spec::windows(size)
    }
}

fn lab(name: &'static str, size_bytes: u64, spec: &Spec, variants: &[&[&str]]) -> Option<Lab> {
    let images = variants
        .iter()
        .map(|arguments| make::ntfs(arguments, size_bytes, spec));
    Some(Lab {
        name,
        family: Family::Ntfs,
        images: images.collect::<Option<_>>()?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

/// What the referees make of links that ntfs-3g writes, and of names.
fn quirks() -> Vec<Explained> {
    let is_link = |difference: &Difference| difference.path.starts_with(b"links/");
    let link = |judge, aspect| Explained {
        judge,
        aspect,
        holds: is_link,
        why: "it takes the links of Interix for system files; ntfs-3g shows them as links",
    };
    vec![
        link("fls", Aspect::Kinds),
        link("fls", Aspect::Sizes),
        link("tsk_recover", Aspect::Contents),
    ]
}

fn salvagers() -> Vec<Referee> {
    vec![
        tsk_recover(&["-e", "-f", "ntfs", "{image}", "{out}"]),
        seven_zip(&["x", "-y", "-tNTFS", "-o{out}", "{image}"], &[Aspect::Contents]),
    ]
}

#[test]
fn r27_ntfs_agrees_with_truth_and_referees() {
    let variants: &[&[&str]] = &[
        &[],
        &["-c", "512"],
        &["-c", "65536"],
        &["-s", "4096", "-c", "4096"],
    ];
    if let Some(lab) = lab("ntfs", 192 << 20, &spec(Size::Full), variants) {
        Lab {
            referees: vec![
                fls("ntfs"),
                tsk_recover(&["-a", "-f", "ntfs", "{image}", "{out}"]),
            ],
            explained: quirks(),
            ..lab
        }
        .compares();
    }
}

#[test]
fn r22_variants_of_ntfs() {
    if let Some(lab) = lab("ntfs", 6 << 20, &spec(Size::Small), &[&[]]) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_ntfs_loses_no_more_than_the_referees() {
    if let Some(lab) = lab("ntfs", 6 << 20, &spec(Size::Small), &[&[]]) {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_ntfs() {
    if let Some(lab) = lab("ntfs", 6 << 20, &spec(Size::Small), &[&[]]) {
        lab.loss_of_100_seeds(&salvagers());
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_ntfs_are_named() {
    if let Some(lab) = lab("ntfs", 6 << 20, &spec(Size::Small), &[&[]]) {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let quad = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("8 bytes"));
    let cluster = u64::from(image[0x0d]) * 512;
    let table = quad(0x30) * cluster;
    let file = listing.inodes.values().find(|inode| inode.size_bytes() > 8192);
    let record = table + file.map_or(64, |inode| inode.number) * 1024;
    vec![
        Structure::new("boot sector", ByteRange::new(0, 512), Layer::FileSystem),
        Structure::new(
            "first record of the MFT",
            ByteRange::new(table, 1024),
            Layer::FileSystem,
        ),
        Structure::new("record of a file", ByteRange::new(record, 1024), Layer::Inode),
        some_content(listing, 512),
    ]
}
