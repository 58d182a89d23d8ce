//! UDF in the lab for readers: images of every layout from the builder, and bridge discs.

use std::fs;

use ntt_filesystem::{Family, ScanOptions, open};
use ntt_model::{ByteRange, FindingCode, Kind, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::referee::{Referee, seven_zip};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::lab::watch::Bytes;
use ntt_testkit::listing::Listing;
use ntt_testkit::udf::{Layout, Node, Options, build};

/// Names are Unicode, of up to 254 characters; hard links and holes are in the builder's own corpus.
const fn spec(size: Size) -> Spec {
    Spec {
        byte_names: false,
        name_max: 254,
        hard_links: false,
        sparse: false,
        ..Spec::posix(size)
    }
}

/// What 7z reads: it refuses a volume with anything but files and directories.
const fn plain(size: Size) -> Spec {
    Spec {
        symlinks: false,
        fifo: false,
        ..spec(size)
    }
}

/// The seconds of a time are kept; directories of the builder have their own.
fn built(name: &str, spec: &Spec, options: Options) -> Option<Image> {
    Image::made(name, spec, |image, folder, truth| {
        let nodes = Node::of_folder(folder);
        fs::write(image, build(&nodes, options).bytes).expect("written");
        Some(truth)
    })
}

fn layouts() -> [(&'static str, Options); 5] {
    let base = Options::default();
    [
        ("plain", base),
        (
            "512-byte sectors",
            Options {
                block_bytes: 512,
                fragment_blocks: 3,
                ..base
            },
        ),
        (
            "sparable",
            Options {
                layout: Layout::Spared,
                revision: 0x0150,
                embed: true,
                ..base
            },
        ),
        (
            "virtual",
            Options {
                layout: Layout::Virtual,
                tail_blocks: 300,
                ..base
            },
        ),
        (
            "metadata",
            Options {
                layout: Layout::Metadata,
                revision: 0x0250,
                extended: true,
                ..base
            },
        ),
    ]
}

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Udf,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn all(size: Size) -> Option<Lab> {
    let images = layouts().map(|(name, options)| built(name, &spec(size), options));
    lab("UDF, every layout", images.into_iter().collect())
}

/// What Linux reads: it looks for the table of a write-once disc at its end only.
fn readable_by_linux(size: Size) -> Option<Lab> {
    let images = layouts().map(|(name, options)| {
        let options = Options {
            tail_blocks: 0,
            ..options
        };
        built(name, &spec(size), options)
    });
    lab(
        "UDF, every layout, nothing displaced",
        images.into_iter().collect(),
    )
}

/// A bridge disc, and a plain image of the builder.
fn readable_by_7z(size: Size) -> Option<Lab> {
    let bridge = make::disc("genisoimage", &["-udf", "-R"], &plain(size));
    let bridge = bridge.map(|mut image| {
        // Its UDF tree shortens long names.
        image.truth = None;
        image
    });
    let own = built("plain", &plain(size), Options::default());
    lab("UDF, bridge and plain", [bridge, own].into_iter().collect())
}

/// Linux's own driver.
fn kernel() -> Referee {
    uml::referee("udf", "ro,iocharset=utf8", &Aspect::ALL)
}

fn archiver(judges: &[Aspect]) -> Referee {
    seven_zip(&["x", "-y", "-tUdf", "-o{out}", "{image}"], judges)
}

#[test]
fn r27_udf_of_every_layout_agrees_with_truth() {
    if let Some(lab) = all(Size::Full) {
        lab.compares();
    }
}

#[test]
fn r27_udf_agrees_with_linux() {
    if let Some(lab) = readable_by_linux(Size::Full) {
        Lab {
            referees: vec![kernel()],
            ..lab
        }
        .compares();
    }
}

#[test]
fn r27_udf_agrees_with_7z() {
    if let Some(lab) = readable_by_7z(Size::Full) {
        let judges = [Aspect::Names, Aspect::Kinds, Aspect::Sizes, Aspect::Contents];
        Lab {
            referees: vec![archiver(&judges)],
            ..lab
        }
        .compares();
    }
}

#[test]
fn r22_variants_of_udf() {
    if let Some(lab) = all(Size::Small) {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_udf_loses_no_more_than_7z() {
    if let Some(lab) = readable_by_7z(Size::Small) {
        lab.loses_no_more(&[archiver(&[Aspect::Contents])], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_udf() {
    if let Some(lab) = readable_by_7z(Size::Small) {
        lab.loss_of_100_seeds(&[archiver(&[Aspect::Contents])]);
    }
    if let Some(lab) = readable_by_linux(Size::Small) {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_udf_are_named() {
    let images = built("plain", &spec(Size::Small), Options::default()).map(|image| vec![image]);
    if let Some(lab) = lab("UDF", images) {
        lab.names_what_is_hit(structures);
    }
}

fn listed(image: &[u8]) -> Listing {
    let volume = open(Family::Udf, Box::new(Bytes(image)), 0).expect("a volume");
    Listing::of(&*volume, &ScanOptions::default())
}

/// Maps that all lead to the one partition of a disc: lost entries would be looked for in it once for each.
#[test]
fn r22_partitions_that_share_their_blocks_are_not_searched_without_end() {
    let Some(image) = built("plain", &spec(Size::Small), Options::default()) else {
        return;
    };
    let mut bytes = image.bytes();
    let before = listed(&bytes);
    let lost = before.inodes.values().find(|inode| inode.kind == Kind::Directory);
    let lost = usize::try_from(lost.expect("a directory").number).expect("fits");
    bytes[lost..lost + 2048].fill(0);
    for sector in [98, 114] {
        let maps = 40_u32;
        let descriptor = &mut bytes[sector * 2048..][..2048];
        descriptor[264..268].copy_from_slice(&(maps * 6).to_le_bytes());
        descriptor[268..272].copy_from_slice(&maps.to_le_bytes());
        let first: [u8; 6] = descriptor[440..446].try_into().expect("a map");
        descriptor[440..][..240].as_chunks_mut().0.fill(first);
        // A CRC over nothing, and the sum of the tag.
        descriptor[8..12].fill(0);
        descriptor[4] = 0;
        descriptor[4] = descriptor[..16]
            .iter()
            .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    }
    let after = listed(&bytes);
    let limits = after.findings.iter().filter(|finding| {
        finding.code == FindingCode::Limit && finding.detail.contains("looked through for lost entries")
    });
    assert_eq!(limits.count(), 1, "{:#?}", after.findings);
    // What is found is found nevertheless.
    assert!(after.inodes.len() + 1 >= before.inodes.len());
}

/// Where the builder puts them: descriptors in sectors 96 to 127, integrity in 128, the partition from 288 on with the file set first.
fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let sector = |number: u64| ByteRange::new(number * 2048, 2048);
    let word = |at: usize| u64::from(u32::from_le_bytes(image[at..at + 4].try_into().expect("four")));
    let entry = |kind| {
        let inode = listing
            .inodes
            .values()
            .find(|inode| inode.kind == kind)
            .expect("an entry");
        ByteRange::new(inode.number, 2048)
    };
    let partition = 97 * 2048;
    let root = usize::try_from(listing.inodes.keys().next().copied().expect("the root")).expect("fits");
    vec![
        Structure::new("main volume descriptor sequence", sector(98), Layer::FileSystem),
        Structure::new(
            "reserve volume descriptor sequence",
            sector(114),
            Layer::FileSystem,
        ),
        Structure::new("integrity descriptor", sector(128), Layer::FileSystem),
        Structure::new("file set descriptor", sector(288), Layer::FileSystem),
        Structure::new(
            "space bitmap",
            sector(288 + word(partition + 68)),
            Layer::FileSystem,
        ),
        Structure::new("file entry of a file", entry(Kind::File), Layer::Inode),
        Structure::new("directory", sector(288 + word(root + 176 + 4)), Layer::Directory),
        some_content(listing, 2048),
    ]
}
