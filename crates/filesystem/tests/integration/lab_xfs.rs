//! XFS in the lab for readers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Kind, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec, fill};
use ntt_testkit::lab::make::{self, Image};
use ntt_testkit::lab::referee::{Referee, output};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// Feature sets of version 5: block, directory block, inode, and what came when.
const MODERN: &[&[&str]] = &[
    &[
        "-m",
        "crc=1,reflink=1,rmapbt=1,inobtcount=1,bigtime=1",
        "-i",
        "sparse=1,nrext64=1",
        "-d",
        "agcount=3",
    ],
    &[
        "-b",
        "size=1024",
        "-n",
        "size=4096",
        "-i",
        "size=512",
        "-d",
        "agcount=5",
    ],
    &[
        "-m",
        "reflink=0,finobt=0,bigtime=0,inobtcount=0",
        "-i",
        "sparse=0",
        "-n",
        "size=16384",
        "-s",
        "size=4096",
    ],
];

fn images(size: Size, bytes: u64, variants: &[&[&str]]) -> Option<Vec<Image>> {
    let spec = Spec::posix(size);
    let fill = |root: &Path| {
        fill(root, &spec);
        if size == Size::Full {
            extremes(root);
        }
        Tree::of_folder(root)
    };
    variants
        .iter()
        .map(|arguments| make::xfs(arguments, bytes, fill))
        .collect()
}

/// Directories of every form, a content in hundreds of pieces, shared and unwritten blocks, targets in blocks of their own.
fn extremes(root: &Path) {
    for count in [3, 40, 300, 4000] {
        let folder = root.join(format!("names {count}"));
        fs::create_dir(&folder).expect("a new folder");
        for number in 0..count {
            // Blocks of content between those of the directory keep it in pieces.
            let content = if number % 50 == 0 {
                vec![7; 5000]
            } else {
                Vec::new()
            };
            fs::write(
                folder.join(format!("a name that takes some room {number}")),
                content,
            )
            .expect("written");
        }
    }
    let pieces = File::create(root.join("pieces")).expect("a new file");
    for piece in 0..400_u64 {
        pieces.write_all_at(&[3; 1000], piece * 16_384).expect("written");
    }
    std::os::unix::fs::symlink("long/".repeat(200), root.join("long target")).expect("a link");
    let _without_reflink = run("cp", &["--reflink=always", "pieces", "shared"], root);
    assert!(run("fallocate", &["-l", "300000", "unwritten"], root));
    fs::OpenOptions::new()
        .write(true)
        .open(root.join("unwritten"))
        .expect("the file")
        .write_all_at(b"written", 150_000)
        .expect("written");
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    output.is_ok_and(|output| output.status.success())
}

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Xfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn small() -> Option<Lab> {
    lab(
        "xfs",
        images(Size::Small, 32 << 20, &[&["-b", "size=1024", "-d", "agcount=2"]]),
    )
}

/// The driver of Linux, without a replay of the log: what `cp` gets out of it.
fn kernel() -> Referee {
    Referee::new("kernel", &["mount"], &Aspect::ALL, |image, out| {
        let script = "mkdir mounted files
            mount -t xfs -o loop,ro,norecovery,nouuid \"$0\" mounted && cp -a mounted/. files
            umount -l mounted; rmdir mounted";
        let image = image.to_str().expect("a temporary path").to_owned();
        output("sh", &["-c".to_owned(), script.to_owned(), image], out);
        Tree::of_folder(&out.join("files"))
    })
}

#[test]
fn r27_xfs_agrees_with_truth_and_referees() {
    if let Some(lab) = lab("xfs", images(Size::Full, 96 << 20, MODERN)) {
        Lab {
            referees: vec![kernel()],
            ..lab
        }
        .compares();
    }
}

/// Version 4 and its sizes, which the driver of Linux does not mount any more.
#[test]
fn r27_xfs_4_agrees_with_truth() {
    let variants: &[&[&str]] = &[
        &["-m", "crc=0", "-n", "ftype=0", "-i", "size=256"],
        &["-m", "crc=0", "-b", "size=512", "-n", "size=4096"],
        &["-m", "crc=0", "-b", "size=1024", "-n", "ftype=1"],
        &["-m", "crc=1", "-b", "size=1024", "-n", "size=8192"],
    ];
    let images = variants
        .iter()
        .map(|arguments| make::xfs_prototype(arguments, 40 << 20, plain));
    if let Some(lab) = lab("xfs, by mkfs", images.collect()) {
        lab.compares();
    }
}

/// Files with plain names, directories of every form.
fn plain(root: &Path) {
    for count in [2, 30, 200, 1500] {
        let folder = root.join(format!("names-{count}"));
        fs::create_dir(&folder).expect("a new folder");
        for number in 0..count {
            let content = format!("{number}\n").repeat(number % 90);
            fs::write(folder.join(format!("a-name-of-some-length-{number}")), content).expect("written");
        }
        std::os::unix::fs::symlink("t".repeat(count.min(900)), folder.join("link")).expect("a link");
    }
    fs::write(root.join("large"), vec![9; 3 << 20]).expect("written");
}

#[test]
fn r22_variants_of_xfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_xfs_loses_no_more_than_the_kernel() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel()], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_xfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_xfs_are_named() {
    if let Some(lab) = small() {
        lab.names_what_is_hit(structures);
    }
}

fn structures(_image: &[u8], listing: &Listing) -> Vec<Structure> {
    let inode = listing
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File && inode.size_bytes() > 0)
        .expect("a file");
    // The first group: an inode of 512 bytes lies where its number says.
    let at = inode.number * 512;
    vec![
        Structure::new("superblock", ByteRange::new(0, 512), Layer::FileSystem),
        Structure::new("AGI", ByteRange::new(1024, 512), Layer::FileSystem),
        Structure::new("inode", ByteRange::new(at, 512), Layer::Inode),
        some_content(listing, 512),
    ]
}
