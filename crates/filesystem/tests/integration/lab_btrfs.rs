//! btrfs in the lab for readers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Kind, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec, fill};
use ntt_testkit::lab::make::{self, Image, run};
use ntt_testkit::lab::referee::{Referee, output};
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::tree::Tree;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

const MIB: u64 = 1 << 20;

/// Everything that a driver writes: forms of extents, subvolumes and what snapshots share.
fn extremes(root: &Path, size: Size) -> Tree {
    fill(root, &Spec::posix(size));
    let compressible = b"all work and no play makes jack a dull boy\n".repeat(20_000);
    fs::write(root.join("compressible"), &compressible).expect("written");
    fs::write(root.join("short"), &compressible[..1500]).expect("written");
    let mixed = File::create(root.join("mixed")).expect("a new file");
    mixed.write_all_at(&compressible, 0).expect("written");
    mixed.sync_all().expect("synced");
    for piece in 0..12_u64 {
        mixed.write_all_at(&[7; 3000], piece * 50_000).expect("written");
        mixed.sync_all().expect("synced");
    }
    mixed.write_all_at(b"far", 3_000_000).expect("written");
    run("fallocate", &["-l", "300000", "unwritten"], root);
    fs::OpenOptions::new()
        .write(true)
        .open(root.join("unwritten"))
        .expect("the file")
        .write_all_at(b"written", 150_000)
        .expect("written");
    run("cp", &["--reflink=always", "mixed", "shared"], root);
    std::os::unix::fs::symlink("long/".repeat(500), root.join("long target")).expect("a link");
    run("btrfs", &["subvolume", "create", "subvolume"], root);
    run("btrfs", &["subvolume", "create", "subvolume/inner"], root);
    fs::write(root.join("subvolume/inner/file"), b"inner").expect("written");
    fs::write(root.join("subvolume/file"), &compressible[..70_000]).expect("written");
    run(
        "btrfs",
        &["subvolume", "snapshot", "-r", "subvolume", "snapshot"],
        root,
    );
    run(
        "btrfs",
        &["subvolume", "snapshot", ".", "subvolume/of the top"],
        root,
    );
    fs::write(root.join("subvolume/file"), b"changed").expect("written");
    forget_stand_ins(Tree::of_folder(root))
}

/// The driver gives the empty directories that stand for subvolumes in a snapshot the time of the day.
fn forget_stand_ins(tree: Tree) -> Tree {
    const STAND_INS: [&[u8]; 3] = [
        b"snapshot/inner",
        b"subvolume/of the top/snapshot",
        b"subvolume/of the top/subvolume",
    ];
    tree.without(|entry| {
        if STAND_INS.contains(&entry.path.as_slice()) {
            entry.modified = None;
        }
    })
}

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Btrfs,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

/// Nodes of 4 KiB, one copy of everything: 300 files take a tree of several levels.
const SMALL: &[&str] = &["-M", "-m", "single", "-d", "single", "-n", "4096"];

fn small() -> Option<Lab> {
    let image = make::btrfs_of_folder(SMALL, 40 * MIB, &Spec::posix(Size::Small))?;
    lab("btrfs", Some(vec![image]))
}

/// The driver of Linux.
fn kernel() -> Referee {
    Referee::new("kernel", &["mount"], &Aspect::ALL, |image, out| {
        let script = "mkdir mounted files
            mount -t btrfs -o loop,ro,rescue=all \"$0\" mounted && cp -a mounted/. files
            umount -l mounted; rmdir mounted";
        let image = image.to_str().expect("a temporary path").to_owned();
        output("sh", &["-c".to_owned(), script.to_owned(), image], out);
        forget_stand_ins(Tree::of_folder(&out.join("files")))
    })
}

/// `btrfs restore` keeps neither times nor links of files, and leaves out what is no file, directory or symbolic link.
fn restore() -> Referee {
    Referee::extracts(
        "btrfs restore",
        "btrfs",
        &["restore", "-s", "-S", "-m", "-i", "{image}", "{out}"],
        &[Aspect::Contents],
    )
}

#[test]
fn r27_btrfs_agrees_with_truth_and_referees() {
    let variants: [(&[&str], u64, &str); 4] = [
        (&["--csum", "xxhash"], 240, "compress-force=zlib"),
        (
            &["--csum", "sha256", "-n", "32768", "-O", "^no-holes"],
            240,
            "compress-force=zstd:9",
        ),
        (
            &["--csum", "blake2", "-m", "single", "-n", "4096"],
            240,
            "compress-force=lzo",
        ),
        (
            &["-M", "-n", "4096", "-O", "^extref,^skinny-metadata"],
            200,
            "max_inline=0",
        ),
    ];
    let sizes = [Size::Full].into_iter().chain(std::iter::repeat(Size::Small));
    let images = variants
        .into_iter()
        .zip(sizes)
        .map(|((arguments, mib, options), size)| {
            make::btrfs(arguments, mib * MIB, options, |root| extremes(root, size))
        });
    if let Some(lab) = lab("btrfs, by the driver", images.collect()) {
        Lab {
            referees: vec![kernel()],
            ..lab
        }
        .compares();
    }
}

/// What needs no root.
#[test]
fn r27_btrfs_of_mkfs_agrees_with_truth() {
    let variants: [(&[&str], Size); 2] = [(&["-m", "dup"], Size::Small), (SMALL, Size::Full)];
    let images = variants
        .into_iter()
        .map(|(arguments, size)| make::btrfs_of_folder(arguments, 130 * MIB, &Spec::posix(size)));
    if let Some(lab) = lab("btrfs, by mkfs", images.collect()) {
        lab.compares();
    }
}

#[test]
fn r22_variants_of_btrfs() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
    }
}

#[test]
fn r22_btrfs_loses_no_more_than_the_referees() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel(), restore()], 0..3);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_btrfs() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel(), restore()]);
    }
}

/// R11: the report names the structure that a hole hits.
#[test]
fn r11_holes_in_btrfs_are_named() {
    if let Some(lab) = small() {
        lab.names_what_is_hit(structures);
    }
}

fn structures(_image: &[u8], listing: &Listing) -> Vec<Structure> {
    let inline = listing
        .inodes
        .values()
        .filter(|inode| inode.kind == Kind::File)
        .find_map(|inode| {
            let extent = inode.data()?.extents.first()?;
            (extent.kind == ntt_model::ExtentKind::Inline).then_some(extent.image_offset)
        })
        .expect("a file in a node");
    vec![
        Structure::new("superblock", ByteRange::new(0x1_0000, 4096), Layer::FileSystem),
        Structure::new(
            "leaf",
            ByteRange::new(inline / 4096 * 4096, 4096),
            Layer::FileSystem,
        ),
        some_content(listing, 4096),
    ]
}
