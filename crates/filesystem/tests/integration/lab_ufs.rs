//! UFS1 and UFS2 in the lab for readers.

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::{Aspect, Difference, Explained};
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{Image, ufs};
use ntt_testkit::lab::referee::{Referee, fls, tsk_recover};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

const SMALL_BLOCKS: &str = "bsize=4096,fsize=512";
const LARGE_BLOCKS: &str = "bsize=16384,fsize=2048";

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Ufs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small(version: u8, name: &'static str) -> Option<Lab> {
    let image = ufs(version, "le", SMALL_BLOCKS, &Spec::posix(Size::Small))?;
    lab(name, Some(vec![image]))
}

fn recover() -> Referee {
    tsk_recover(&["-a", "-f", "ufs", "{image}", "{out}"])
}

fn quirks() -> Vec<Explained> {
    let is_control =
        |difference: &Difference| difference.path.iter().any(|byte| matches!(byte, b'^' | 0..32));
    vec![
        Explained {
            judge: "fls",
            aspect: Aspect::Names,
            holds: is_control,
            why: "it prints `^` for control characters; the truth is ours",
        },
        Explained {
            judge: "tsk_recover",
            aspect: Aspect::Contents,
            holds: |difference| difference.path.starts_with(b"links/"),
            why: "it writes targets of symbolic links as files",
        },
    ]
}

#[test]
fn r27_ufs1_agrees_with_truth_and_referees() {
    let images = [
        ufs(1, "le", LARGE_BLOCKS, &Spec::posix(Size::Full)),
        ufs(1, "be", SMALL_BLOCKS, &Spec::posix(Size::Small)),
    ];
    if let Some(lab) = lab("ufs1", images.into_iter().collect()) {
        Lab {
            referees: vec![fls("ufs"), recover()],
            explained: quirks(),
            ..lab
        }
        .compares();
    }
}

/// The Sleuth Kit refuses what makefs writes.
#[test]
fn r27_ufs2_agrees_with_truth() {
    let images = [
        ufs(2, "le", LARGE_BLOCKS, &Spec::posix(Size::Full)),
        ufs(2, "be", SMALL_BLOCKS, &Spec::posix(Size::Small)),
    ];
    if let Some(lab) = lab("ufs2", images.into_iter().collect()) {
        lab.compares();
    }
}

#[test]
fn r22_variants_of_ufs1() {
    if let Some(lab) = small(1, "ufs1") {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_variants_of_ufs2() {
    if let Some(lab) = small(2, "ufs2") {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_ufs1_loses_no_more_than_the_referees() {
    if let Some(lab) = small(1, "ufs1") {
        lab.loses_no_more(&[recover()], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_ufs() {
    if let Some(lab) = small(1, "ufs1") {
        lab.loss_of_100_seeds(&[recover(), uml::referee("ufs", "ro,ufstype=44bsd", &Aspect::ALL)]);
    }
    // makefs puts the superblock of UFS2 at 8 KiB, where neither Linux nor sleuthkit looks for it.
    if let Some(lab) = small(2, "ufs2") {
        lab.loss_of_100_seeds(&[]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_ufs_are_named() {
    if let Some(lab) = small(2, "ufs2") {
        lab.names_what_is_hit(structures);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let word = |at: usize| {
        u64::from(u32::from_le_bytes(
            image[8192 + at..][..4].try_into().expect("4 bytes"),
        ))
    };
    let fragment = word(52);
    vec![
        Structure::new("superblock", ByteRange::new(8192, 1376), Layer::FileSystem),
        Structure::new(
            "group",
            ByteRange::new(word(12) * fragment, 4096),
            Layer::FileSystem,
        ),
        Structure::new("inodes", ByteRange::new(word(16) * fragment, 4096), Layer::Inode),
        some_content(listing, 512),
    ]
}
