//! ISO 9660 against genisoimage, xorriso, 7-Zip and the public corpus.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use ntt_filesystem::{ScanOptions, iso9660};
use ntt_model::{ByteRange, Kind};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::listing::Listing;

use crate::iso9660_made::{
    contents, file_extents, found, hash, listing, made, open, sample_tree, truth, two_sessions,
};

/// Rock Ridge gives back the folder it was made of: names, kinds, link targets, contents, and relocated directories where
/// they were.
#[test]
fn rock_ridge_gives_back_the_folder_it_was_made_of() {
    let dir = sample_tree();
    let tree = dir.path().join("tree");
    for (program, arguments) in [
        ("genisoimage", &["-R"][..]),
        ("genisoimage", &["-R", "-J"]),
        ("genisoimage", &["-R", "-D"]),
        ("xorriso", &["-R"]),
        ("xorriso", &["-R", "-J"]),
    ] {
        let Some(image) = made(program, arguments, &tree) else {
            continue;
        };
        let listing = listing(&image);
        assert_eq!(listing.findings, [], "{program} {arguments:?}");
        assert_eq!(found(&listing, &image), truth(&tree), "{program} {arguments:?}");
    }
}

#[test]
fn hard_links_are_one_inode_where_rock_ridge_says_so() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R", "-J"], &dir.path().join("tree")) else {
        return;
    };
    let listing = listing(&image);
    let inode = |path: &[u8]| {
        let name = listing
            .preferred()
            .find(|name| name.path == path)
            .expect("the name");
        name.name.inode
    };
    assert_eq!(inode(b"hello.txt"), inode(b"1/hard link"));
    assert_eq!(listing.inodes[&inode(b"hello.txt")].links, 2);
}

/// Files made with names and sizes as `7z` and `xorriso` list them.
#[test]
fn referees_list_the_same_names_and_sizes() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let path = dir.path().join("disc.iso");
    fs::write(&path, &image).unwrap();
    let listing = listing(&image);
    let mut own: Vec<String> = listing
        .preferred()
        .map(|name| format!("/{}", String::from_utf8_lossy(&name.path)))
        .collect();
    own.push("/".to_owned());
    own.sort();
    if have("xorriso") {
        let output = Command::new("xorriso")
            .args(["-report_about", "FAILURE", "-indev"])
            .arg(&path)
            .args(["-find", "/", "-exec", "echo", "--"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut theirs: Vec<String> = text
            .lines()
            .map(|line| line.trim_matches('\'').to_owned())
            .filter(|line| line != "/rr_moved")
            .collect();
        theirs.sort();
        assert_eq!(own, theirs);
    }
    if have("7z") {
        let extracted = dir.path().join("extracted");
        // 7-Zip refuses links that leave the folder and then ends with an error: only the files are compared.
        let mut command = Command::new("7z");
        command
            .arg("x")
            .arg(format!("-o{}", extracted.display()))
            .arg(&path);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let theirs: BTreeSet<Vec<u8>> = truth(&extracted)
            .into_values()
            .filter(|(kind, _)| *kind == Kind::File)
            .map(|(_, hash)| hash)
            .collect();
        let own: BTreeSet<Vec<u8>> = found(&listing, &image)
            .into_values()
            .filter(|(kind, _)| *kind == Kind::File)
            .map(|(_, hash)| hash)
            .collect();
        assert!(own.is_subset(&theirs));
    }
}

/// The same folder in every variant of the public discs.
#[test]
fn the_public_discs_hold_the_same_contents_in_every_variant() {
    let Some(archive) = corpus_image("disktype/template-data.tar.gz") else {
        return;
    };
    let unpacked = archive.dir().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let status = Command::new("tar")
        .arg("-xf")
        .arg(archive.path())
        .arg("-C")
        .arg(&unpacked)
        .status()
        .unwrap();
    assert!(status.success());
    let mut expected: Vec<String> = truth(&unpacked)
        .into_values()
        .filter(|(kind, _)| *kind == Kind::File)
        .map(|(_, hash)| String::from_utf8(hash).unwrap())
        .collect();
    expected.sort();
    for (name, label) in [
        ("hybrid", "Hybrid"),
        ("joliet", "ISO9660 Joliet"),
        ("rockridge", "ISO9660_ROCKRIDGE"),
    ] {
        let image = corpus_image(&format!("disktype/iso9660-{name}.image.gz")).unwrap();
        let bytes = fs::read(image.path()).unwrap();
        let file_system = open(&bytes);
        assert_eq!(file_system.facts().label, label.as_bytes());
        let listing = Listing::of(&*file_system, &ScanOptions::default());
        assert_eq!(contents(&listing, &bytes), expected, "{name}");
        assert_eq!(listing.findings, [], "{name}");
    }
}

#[test]
fn facts_are_those_that_blkid_tells() {
    let (Some(image), Some(folder)) = (corpus_image("detect/iso.img.xz"), ntt_testkit::corpus::corpus())
    else {
        return;
    };
    let expected = fs::read_to_string(folder.join("detect/iso.expected")).unwrap();
    let field = |key: &str| {
        let line = expected
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.expect("the field").to_owned()
    };
    let file_system = open(&fs::read(image.path()).unwrap());
    let facts = file_system.facts();
    assert_eq!(String::from_utf8_lossy(&facts.label), field("ID_FS_LABEL"));
    assert_eq!(facts.uuid.as_deref(), Some(field("ID_FS_UUID").as_str()));
    assert_eq!(facts.size_bytes.to_string(), field("ID_FS_FSSIZE"));
    assert_eq!(facts.block_size_bytes.to_string(), field("ID_FS_BLOCK_SIZE"));
    assert_eq!(facts.type_name, field("ID_FS_TYPE"));
}

#[test]
fn the_public_plain_disc_is_listed_with_recorded_names() {
    let Some(image) = corpus_image("dfvfs/iso9660.raw.gz") else {
        return;
    };
    let bytes = fs::read(image.path()).unwrap();
    let listing = listing(&bytes);
    assert_eq!(listing.findings, []);
    let names: Vec<&[u8]> = listing.preferred().map(|name| &name.path[..]).collect();
    let expected: [&[u8]; 5] = [
        b"A_DIRECTORY",
        b"LOST_FOUND",
        b"PASSWORDS.TXT;1",
        b"A_DIRECTORY/ANOTHER_FILE.;1",
        b"A_DIRECTORY/A_FILE.;1",
    ];
    assert_eq!(names, expected);
}

/// Allocated ranges ascend without overlap and hold every byte of every file.
#[test]
fn allocated_ranges_hold_all_content() {
    let dir = sample_tree();
    let Some(image) = made("xorriso", &["-R", "-J"], &dir.path().join("tree")) else {
        return;
    };
    let file_system = open(&image);
    let mut ranges: Vec<ByteRange> = Vec::new();
    file_system.allocated(&mut |range| ranges.push(range)).unwrap();
    assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    let listing = listing(&image);
    for extent in listing
        .inodes
        .values()
        .filter_map(|inode| inode.data())
        .flat_map(|data| &data.extents)
    {
        let wanted = ByteRange::new(extent.image_offset, extent.len);
        assert!(
            ranges.iter().any(|range| range.contains_range(&wanted)),
            "{wanted}"
        );
    }
    assert!(ranges.last().unwrap().end() <= u64::try_from(image.len()).unwrap());
}

/// The place of the volume in the image moves every extent.
#[test]
fn extents_are_image_offsets() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let mut shifted = vec![0; 4096];
    shifted.extend(&image);
    let file_system = iso9660::open(Box::new(image), 4096).unwrap();
    let listing = Listing::of(&*file_system, &ScanOptions::default());
    assert!(
        listing
            .contents(&shifted)
            .values()
            .any(|content| *content == hash(b"deep"))
    );
}

/// The boot catalog of El Torito is told, not listed.
#[test]
fn the_boot_catalog_is_told() {
    let dir = sample_tree();
    let arguments = ["-R", "-b", "hello.txt", "-no-emul-boot", "-boot-load-size", "4"];
    let Some(image) = made("genisoimage", &arguments, &dir.path().join("tree")) else {
        return;
    };
    let file_system = open(&image);
    let told = file_system
        .facts()
        .details
        .iter()
        .find(|(label, _)| label == "el torito");
    let told = &told.expect("the boot catalog").1;
    let boot = file_extents(&listing(&image), b"hello.txt").offset / 2048;
    assert!(
        told.contains("x86, bootable, no emulation") && told.contains(&format!("sector {boot},")),
        "{told}"
    );
}

/// The same image gives the same events in the same order.
#[test]
fn scans_are_repeatable() {
    let dir = sample_tree();
    let Some(image) = two_sessions(dir.path()) else {
        return;
    };
    assert_eq!(listing(&image).events, listing(&image).events);
}
