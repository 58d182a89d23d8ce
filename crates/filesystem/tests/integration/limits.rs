//! The bounds of a scan hold for every reader: entries of a directory, extents of a stream, depth, and directories to leave early.

use std::path::Path;

use ntt_filesystem::{FileSystem, ScanOptions, iso9660};
use ntt_model::entry::Namespace;
use ntt_model::{FindingCode, Kind};
use ntt_testkit::listing::{ListedName, Listing};

use crate::ext_image::{Image, open as open_ext};
use crate::fat_laid::{DIRECTORY, Laid};
use crate::fat_made::open as open_fat;
use crate::iso9660_made::made;

/// `folder` with eight files and `a/b/c/d` beside them, in every format that can be made here.
fn volumes() -> Vec<(&'static str, Box<dyn FileSystem>)> {
    let fill = |tree: &Path| {
        std::fs::create_dir_all(tree.join("a/b/c/d")).expect("folders");
        std::fs::create_dir(tree.join("folder")).expect("a folder");
        (0..8).for_each(|number| std::fs::write(tree.join(format!("folder/{number}")), "x").expect("a file"));
    };
    let tree = tempfile::tempdir().expect("a folder");
    fill(tree.path());
    let fat = ntt_filesystem::fat::open(Box::new(fat().bytes), 0).expect("a FAT volume");
    let ext = Image::new(&["-t", "ext4"], "8M", fill).map(|image| open_ext(image.bytes()));
    let disc = made("xorriso", &["-R"], tree.path());
    let disc = disc.map(|disc| iso9660::open(Box::new(disc), 0).expect("a disc"));
    let all = [("fat", Some(fat)), ("ext", ext), ("iso9660", disc)];
    all.into_iter()
        .filter_map(|(name, volume)| Some((name, volume?)))
        .collect()
}

fn fat() -> Laid {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "FOLDER", DIRECTORY, 10, 0);
    let folder = laid.directory(10, 0);
    (0..8).for_each(|number| laid.entry(folder, 2 + number, &number.to_string(), 0x20, 0, 0));
    laid.entry(root, 1, "A", DIRECTORY, 20, 0);
    for (cluster, name) in [(20, "B"), (21, "C"), (22, "D")] {
        let at = laid.directory(cluster, if cluster == 20 { 0 } else { cluster - 1 });
        laid.entry(at, 2, name, DIRECTORY, cluster + 1, 0);
    }
    laid.directory(23, 22);
    laid
}

fn lower(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_lowercase()
}

/// Names in `folder`, and how many of them are the preferred ones. What lost its name because the scan left a directory has another one.
fn in_folder(listing: &Listing) -> (usize, usize) {
    let inside = |listed: &&ListedName| lower(&listed.path).starts_with("folder/");
    let preferred = listing.preferred().filter(inside).count();
    (listing.names.iter().filter(inside).count(), preferred)
}

fn is_told(listing: &Listing) -> bool {
    let codes = [FindingCode::Limit, FindingCode::Killed];
    listing
        .findings
        .iter()
        .any(|finding| codes.contains(&finding.code))
}

/// R22: no more than the given number of entries is read from one directory, and that is told.
#[test]
fn r22_entries_of_a_directory_are_bounded() {
    for (format, volume) in volumes() {
        let mut options = ScanOptions::default();
        options.limits.entries_per_directory = 8;
        let whole = Listing::of(&*volume, &options);
        assert_eq!((in_folder(&whole).1, is_told(&whole)), (8, false), "{format}");
        options.limits.entries_per_directory = 3;
        let cut = Listing::of(&*volume, &options);
        assert_eq!((in_folder(&cut).1, is_told(&cut)), (3, true), "{format}");
    }
}

/// R22: a directory that proved poisonous is left after the given number of names; all others are read.
#[test]
fn r22_a_poisonous_directory_is_left_early() {
    for (format, volume) in volumes() {
        let whole = Listing::of(&*volume, &ScanOptions::default());
        let folder = whole
            .names
            .iter()
            .find(|listed| lower(&listed.path) == "folder")
            .expect("listed");
        let mut options = ScanOptions::default();
        options.leave_after.insert(folder.name.inode, 5);
        let cut = Listing::of(&*volume, &options);
        assert_eq!((in_folder(&cut).0, is_told(&cut)), (5, true), "{format}");
        let elsewhere = |listing: &Listing| {
            let named = listing
                .names
                .iter()
                .filter(|listed| listed.name.namespace != Namespace::Lost);
            named.count() - in_folder(listing).0
        };
        assert_eq!(elsewhere(&cut), elsewhere(&whole), "{format}");
    }
}

/// R22: directories nested too deep are named but not entered, and that is told.
#[test]
fn r22_depth_is_bounded() {
    for (format, volume) in volumes() {
        let mut options = ScanOptions::default();
        options.limits.depth = 2;
        let cut = Listing::of(&*volume, &options);
        let has = |path: &str| cut.names.iter().any(|listed| lower(&listed.path) == path);
        assert!(has("a/b/c") && !has("a/b/c/d"), "{format}");
        assert!(is_told(&cut), "{format}");
    }
}

/// R22: the map of a file is cut at the given number of extents, marked incomplete, and that is told.
#[test]
fn r22_extents_of_a_stream_are_bounded() {
    let mut laid = Laid::fat16();
    let root = laid.root_at();
    laid.entry(root, 0, "FILE", 0x20, 10, 8 * 512);
    laid.chain(&[10, 12, 14, 16, 18, 20, 22, 24]);
    let sparse = |tree: &Path| crate::ext_image::sparse(&tree.join("FILE"), 1 << 20);
    let ext = Image::new(&["-t", "ext4", "-b", "1024"], "8M", sparse).map(|image| open_ext(image.bytes()));
    let both = [Some(open_fat(&laid.bytes)), ext];
    for volume in both.into_iter().flatten() {
        for (limit, cut) in [(2, true), (1000, false)] {
            let mut options = ScanOptions::default();
            options.limits.extents_per_stream = limit;
            let listing = Listing::of(&*volume, &options);
            let file = listing
                .inodes
                .values()
                .find(|inode| inode.kind == Kind::File)
                .expect("the file");
            let data = file.data().expect("a stream");
            assert!(data.extents.len() <= usize::try_from(limit).expect("small"));
            assert_eq!((data.extents_incomplete, is_told(&listing)), (cut, cut));
        }
    }
}
