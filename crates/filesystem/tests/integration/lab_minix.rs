//! The file systems of Minix in the lab for readers.

use std::fs;
use std::path::Path;

use ntt_filesystem::Family;
use ntt_model::{ByteRange, Layer};
use ntt_testkit::lab::Lab;
use ntt_testkit::lab::compare::Aspect;
use ntt_testkit::lab::corpus::{Size, Spec, fill};
use ntt_testkit::lab::make::{Image, may_make_devices, run};
use ntt_testkit::lab::referee::Referee;
use ntt_testkit::lab::structure::{Structure, some_content};
use ntt_testkit::lab::uml;
use ntt_testkit::lab::variant::Amount;
use ntt_testkit::listing::Listing;

/// A volume of `mkfs.minix` with these arguments.
fn image(arguments: &[&str], bytes: u64, fill: impl FnOnce(&Path)) -> Option<Image> {
    let format = |path: &Path| {
        let file = fs::File::create(path).expect("a new file");
        file.set_len(bytes).expect("a length");
        let path = path.to_str().expect("a plain path");
        run("mkfs.minix", &[arguments, &[path]].concat(), Path::new("/"));
    };
    uml::made(&arguments.join(" "), ("minix", ""), format, fill, "true")
}

/// Names of 14 bytes at the most; files of every number of tables, holes, links, devices.
fn short_names(root: &Path) {
    for count in [3, 40, 200] {
        let folder = root.join(format!("names {count}"));
        fs::create_dir(&folder).expect("a new folder");
        for number in 0..count {
            let content = format!("{number}\n").repeat(number % 90);
            fs::write(folder.join(format!("\u{e9} file {number}")), content).expect("written");
        }
    }
    for kib in [6, 7, 8, 263, 264, 520, 900] {
        let content: Vec<u8> = (0..kib * 1024_u32).map(|at| (at / 1000) as u8).collect();
        fs::write(root.join(format!("{kib} KiB")), content).expect("written");
    }
    fs::hard_link(root.join("7 KiB"), root.join("second name")).expect("a link");
    std::os::unix::fs::symlink("7 KiB", root.join("link")).expect("a link");
    std::os::unix::fs::symlink("l/".repeat(300), root.join("long link")).expect("a link");
    run("mkfifo", &["pipe"], root);
    if may_make_devices() {
        run("mknod", &["disk", "b", "8", "3"], root);
    }
}

fn lab(name: &'static str, images: Option<Vec<Image>>) -> Option<Lab> {
    Some(Lab {
        name,
        family: Family::Minix,
        images: images?,
        referees: Vec::new(),
        explained: Vec::new(),
    })
}

fn kernel() -> Referee {
    uml::referee("minix", "ro", &Aspect::ALL)
}

fn spec(size: Size) -> Spec {
    Spec {
        name_max: 60,
        ..Spec::posix(size)
    }
}

fn small() -> Option<Lab> {
    let image = image(&["-3", "-i", "512"], 2 << 20, |root| {
        fill(
            root,
            &Spec {
                sparse: false,
                ..spec(Size::Small)
            },
        );
    });
    lab("minix", image.map(|image| vec![image]))
}

#[test]
fn r27_minix_agrees_with_truth_and_kernel() {
    if !may_make_devices() {
        eprintln!("skipped: the volumes hold devices, which only root can make");
        return;
    }
    let short: &[&[&str]] = &[&["-1", "-n", "14"], &["-1", "-n", "30"], &["-2", "-n", "30"]];
    let images = short
        .iter()
        .map(|arguments| image(arguments, 8 << 20, short_names))
        .chain([image(&["-3", "-i", "1000"], 8 << 20, |root| {
            fill(root, &spec(Size::Small));
        })]);
    if let Some(lab) = lab("minix", images.collect()) {
        Lab {
            referees: vec![kernel()],
            ..lab
        }
        .compares();
    }
}

#[test]
fn r11_r22_variants_and_holes_of_minix() {
    if let Some(lab) = small() {
        lab.survives(Amount::FULL);
        lab.names_what_is_hit(structures);
    }
}

#[test]
fn r22_minix_loses_no_more_than_the_kernel() {
    if let Some(lab) = small() {
        lab.loses_no_more(&[kernel()], 0..1);
    }
}

#[test]
#[ignore = "takes minutes: sh scripts/loss.sh"]
fn loss_score_of_minix() {
    if let Some(lab) = small() {
        lab.loss_of_100_seeds(&[kernel()]);
    }
}

fn structures(image: &[u8], listing: &Listing) -> Vec<Structure> {
    let half = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let maps = 2 * 1024;
    let table = maps + (half(1024 + 6) + half(1024 + 8)) * 1024;
    let root = u64::from(u32::from_le_bytes(
        image[usize::try_from(table).expect("small") + 24..][..4]
            .try_into()
            .expect("4"),
    )) * 1024;
    vec![
        Structure::new("superblock", ByteRange::new(1024, 512), Layer::FileSystem),
        Structure::new("inode map", ByteRange::new(maps, 1024), Layer::FileSystem),
        Structure::new("inodes", ByteRange::new(table + 512, 512), Layer::Inode),
        Structure::new("root directory", ByteRange::new(root, 1024), Layer::Directory),
        some_content(listing, 512),
    ]
}
