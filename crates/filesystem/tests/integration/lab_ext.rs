//! ext2, ext3 and ext4 in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make;
use ntt_testkit::lab::referee::{Referee, debugfs, fls, seven_zip, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

const SMALL: Spec = Spec::posix(Size::Small);
const FULL: Spec = Spec::posix(Size::Full);

fn lab(name: &'static str, spec: &Spec, size: &str, variants: &[&[&str]]) -> Option<Lab> {
    let images = variants.iter().map(|arguments| make::ext(arguments, size, spec));
    Some(Lab {
        name,
        family: Family::Ext,
        images: images.collect::<Option<_>>()?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn salvagers() -> Vec<Referee> {
    use ntt_testkit::lab::compare::Aspect::Contents;
    vec![
        tsk_recover(&["-e", "-f", "ext4", "{image}", "{out}"]),
        seven_zip(&["x", "-y", "-tExt", "-o{out}", "{image}"], &[Contents]),
        debugfs(),
    ]
}

const EXT2: &[&str] = &["-t", "ext2", "-b", "1024"];
const EXT3: &[&str] = &["-t", "ext3", "-b", "1024"];
const EXT4: &[&str] = &["-t", "ext4", "-b", "1024"];

/// What the referees do to names and links when they list or write them.
fn quirks() -> Vec<Explained> {
    let is_control =
        |difference: &Difference| difference.path.iter().any(|byte| matches!(byte, b'^' | 0..32));
    let explained = |judge, aspect, holds: fn(&Difference) -> bool, why| Explained {
        judge,
        aspect,
        holds,
        why,
    };
    vec![
        explained(
            "fls",
            Aspect::Names,
            is_control,
            "it prints `^` for control characters; debugfs has the true names",
        ),
        explained(
            "tsk_recover",
            Aspect::Contents,
            |difference| difference.path.starts_with(b"links/"),
            "it writes targets of symbolic links as files",
        ),
        explained(
            "debugfs",
            Aspect::Names,
            |difference| difference.path.ends_with(b"links/fifo"),
            "`rdump` leaves out pipes",
        ),
    ]
}

fn compares(name: &'static str, variants: &[&[&str]]) {
    if let Some(lab) = lab(name, &FULL, "64M", variants) {
        let referees = vec![
            fls("ext4"),
            tsk_recover(&["-a", "-f", "ext4", "{image}", "{out}"]),
            debugfs(),
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
fn r27_ext2_agrees_with_truth_and_referees() {
    compares("ext2", &[EXT2]);
}

#[test]
fn r27_ext3_agrees_with_truth_and_referees() {
    compares("ext3", &[EXT3]);
}

#[test]
fn r27_ext4_agrees_with_truth_and_referees() {
    compares("ext4", &[EXT4, &["-t", "ext4", "-b", "4096"]]);
}

/// One image for each feature that moves structures or content about.
#[test]
fn r27_features_of_ext4_agree_with_truth() {
    let features = [
        "inline_data",
        "bigalloc",
        "meta_bg,^resize_inode",
        "sparse_super2",
        "^64bit,^flex_bg,^metadata_csum,uninit_bg",
        "metadata_csum_seed,large_dir",
        "orphan_file",
        "casefold",
        "quota,project",
        "ea_inode,encrypt,verity,stable_inodes",
        "^has_journal,^extent,^64bit,^metadata_csum",
        "fast_commit",
    ];
    let variants: Vec<Vec<&str>> = features
        .iter()
        .map(|features| vec!["-t", "ext4", "-b", "1024", "-I", "256", "-O", *features])
        .collect();
    let variants: Vec<&[&str]> = variants.iter().map(Vec::as_slice).collect();
    if let Some(lab) = lab("ext4, features", &SMALL, "12M", &variants) {
        lab.compares();
    }
}

#[test]
fn r22_variants_of_ext() {
    if let Some(lab) = lab(
        "ext",
        &SMALL,
        "6M",
        &[EXT2, EXT3, &["-t", "ext4", "-b", "1024", "-O", "inline_data"]],
    ) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_ext_loses_no_more_than_the_referees() {
    if let Some(lab) = lab("ext4", &SMALL, "6M", &[EXT2, EXT4]) {
        lab.loses_no_more(&salvagers(), 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_ext() {
    for (name, arguments) in [("ext2", EXT2), ("ext3", EXT3), ("ext4", EXT4)] {
        if let Some(lab) = lab(name, &SMALL, "6M", &[arguments]) {
            lab.loss_of_100_seeds(&salvagers());
        }
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_ext_are_named() {
    if let Some(lab) = lab("ext2", &SMALL, "6M", &[EXT2]) {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: u64| {
        let at = usize::try_from(at).expect("small");
        u64::from(u32::from_le_bytes(image[at..at + 4].try_into().expect("four")))
    };
    let block = |number: u64| ByteRange::new(number * 1024, 1024);
    let inode_at = |number: u64| word(2048 + 8) * 1024 + (number - 1) * 256;
    let named = |path: &[u8]| {
        listing
            .names
            .iter()
            .find(|name| name.path == path)
            .expect("listed")
            .name
            .inode
    };
    vec![
        Structure::new("superblock", block(1), Layer::FileSystem),
        Structure::new("group descriptors", block(2), Layer::FileSystem),
        Structure::new("inode bitmap", block(word(2048 + 4)), Layer::FileSystem),
        Structure::new(
            "inode table",
            block(inode_at(named(b"deep")) / 1024),
            Layer::FileSystem,
        ),
        Structure::new(
            "directory",
            block(word(inode_at(named(b"deep")) + 0x28)),
            Layer::Directory,
        ),
        some_content(listing, 1024),
    ]
}
