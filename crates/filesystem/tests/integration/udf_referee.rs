//! UDF against other writers and readers: genisoimage, mkudffs, 7z, and the public images.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_filesystem::{ScanOptions, State, iso9660};
use ntt_model::{BlobHash, FindingCode, Kind};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::listing::Listing;
use ntt_testkit::udf::{Options, build, plain_corpus};

use crate::iso9660_made::{made, sample_tree};
use crate::udf::{Truth, found, listing, opened, truth};

/// What 7z extracts of an image: paths with the hashes of their contents. What it refuses is empty.
fn extracted_by_7z(image: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, out) = (folder.path().join("image"), folder.path().join("out"));
    fs::write(&file, image).unwrap();
    fs::create_dir(&out).unwrap();
    // It ends with an error where it warns; what it wrote counts.
    Command::new("7z")
        .args(["x", "-tudf", "-y", "-bd"])
        .arg(format!("-o{}", out.display()))
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    files_below(&out)
}

fn files_below(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                queue.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(root).unwrap().as_os_str();
                let hash = BlobHash::of(&fs::read(&path).unwrap()).to_string();
                files.insert(
                    std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec(),
                    hash.into_bytes(),
                );
            }
        }
    }
    files
}

fn files_of(truth: &Truth) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let files = truth.iter().filter(|(_, (kind, _))| *kind == Kind::File);
    files
        .map(|(path, (_, hash))| (path.clone(), hash.clone()))
        .collect()
}

/// An independent reader agrees with the builder of the test images, where it reads them: it knows neither continued allocation descriptors nor
/// links, pipes, streams and write-once, sparable or metadata partitions made here. Names are compared where its notion of characters is ours.
#[test]
fn seven_zip_agrees_with_the_builder() {
    if !have("7z") {
        return;
    }
    for options in [
        Options::default(),
        Options {
            revision: 0x0102,
            ..Options::default()
        },
        Options {
            embed: true,
            ..Options::default()
        },
    ] {
        let tree = plain_corpus(200, 2048);
        let built = build(&tree, options);
        let by_7z = extracted_by_7z(&built.bytes);
        let ours = files_of(&truth(&tree, 2048));
        let is_plain = |path: &[u8]| !path.starts_with(b"names/");
        let of = |files: &BTreeMap<Vec<u8>, Vec<u8>>| -> BTreeMap<Vec<u8>, Vec<u8>> {
            let plain = files.iter().filter(|(path, _)| is_plain(path));
            plain.map(|(path, hash)| (path.clone(), hash.clone())).collect()
        };
        assert_eq!(of(&by_7z), of(&ours));
        let contents = |files: &BTreeMap<Vec<u8>, Vec<u8>>| files.values().cloned().collect::<BTreeSet<_>>();
        assert!(contents(&by_7z).is_subset(&contents(&ours)));
    }
}

/// A bridge disc: the UDF tree gives back the folder, and agrees with the ISO trees.
#[test]
fn a_bridge_disc_gives_back_the_folder_it_was_made_of() {
    let dir = sample_tree();
    let tree = dir.path().join("tree");
    let Some(image) = made("genisoimage", &["-udf", "-R", "-J"], &tree) else {
        return;
    };
    let listing = listing(&image);
    let ours = files_of(&found(&listing, &image));
    // genisoimage leaves links out of its UDF tree, and takes the UDF names from Joliet.
    let names = |files: &BTreeMap<Vec<u8>, Vec<u8>>| files.values().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&ours), names(&files_below(&tree)));
    assert!(ours.contains_key(&b"hello.txt"[..]));
    assert_eq!(listing.findings, []);
    let iso = iso9660::open(Box::new(&image), 0).expect("the other tree");
    assert_eq!(Listing::of(&*iso, &ScanOptions::default()).findings, []);
}

/// R18: what stands only in one tree of a bridge disc is reported, and listed where it stands.
#[test]
fn r18_contradictions_of_a_bridge_disc_are_reported() {
    let dir = sample_tree();
    let Some(mut image) = made("genisoimage", &["-udf", "-R"], &dir.path().join("tree")) else {
        return;
    };
    let whole = listing(&image);
    let name = whole
        .names
        .iter()
        .find(|name| name.path == b"hello.txt")
        .expect("the name");
    let other = whole
        .names
        .iter()
        .find(|name| name.path == b"1/hard link")
        .expect("the name");
    // Their entries name another length: other content than in the ISO tree.
    for entry in [name, other].map(|name| usize::try_from(name.name.inode).unwrap()) {
        let size = u64::from_le_bytes(image[entry + 56..entry + 64].try_into().unwrap());
        image[entry + 56..entry + 64].copy_from_slice(&(size - 1).to_le_bytes());
        image[entry + 8..entry + 12].fill(0);
        image[entry + 4] = 0;
        image[entry + 4] = image[entry..entry + 16]
            .iter()
            .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    }
    let listing = listing(&image);
    let details: Vec<&str> = listing
        .findings
        .iter()
        .filter(|finding| finding.code == FindingCode::Contradiction)
        .map(|finding| finding.detail.as_str())
        .collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(
        details[0].ends_with("stands only in the ISO 9660 tree, not in the UDF tree"),
        "{details:?}"
    );
    assert!(details[1].contains("hello.txt"), "{details:?}");
}

/// mkudffs makes every revision for every kind of medium; each opens clean, with the label and identifier that it was given.
#[test]
fn empty_volumes_of_every_kind_open() {
    if !have("mkudffs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for media in ["hd", "dvd", "dvdram", "cdrw", "cdr", "mo", "worm", "bdr"] {
        for revision in ["1.02", "1.50", "2.01", "2.50", "2.60"] {
            for block in ["512", "2048", "4096"] {
                let path = folder.path().join("udf.img");
                let _ = fs::remove_file(&path);
                let status = Command::new("mkudffs")
                    .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                    .args([
                        "--new-file",
                        "-l",
                        "A label",
                        "-u",
                        "0123456789abcdef",
                        "--closed",
                    ])
                    .arg(format!("--media-type={media}"))
                    .args(["-r", revision, "-b", block])
                    .arg(&path)
                    .arg("8000")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                // Not every medium goes with every revision and block size.
                if status.unwrap().success() {
                    let what = format!("{media} {revision} {block}");
                    check_empty(&fs::read(&path).unwrap(), &what, block.parse().unwrap(), revision);
                }
            }
        }
    }
}

fn check_empty(image: &Vec<u8>, what: &str, block_bytes: u32, revision: &str) {
    let volume = opened(image);
    let facts = volume.facts();
    assert_eq!(facts.label, b"A label", "{what}");
    assert_eq!(facts.uuid.as_deref(), Some("0123456789abcdef"), "{what}");
    assert_eq!(facts.block_size_bytes, block_bytes, "{what}");
    assert_eq!(facts.state, State::Clean, "{what}");
    let told = facts
        .details
        .iter()
        .find(|(label, _)| label == "revision")
        .expect("the revision");
    // The revision of the domain may be lower than the one asked for: 2.50 for 2.60.
    assert!(told.1.as_str() <= revision, "{what}: {}", told.1);
    let listing = Listing::of(&*volume, &ScanOptions::default());
    assert_eq!(listing.findings, [], "{what}");
    assert!(listing.names.len() <= 2, "{what}");
}

/// A value of the expected results beside a public image.
fn expected(image: &str, key: &str) -> Option<String> {
    let path = ntt_testkit::corpus::corpus()?.join(image.replace(".img.xz", ".expected"));
    let text = fs::read_to_string(path).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}=")))?;
    Some(value.to_owned())
}

/// Labels, identifiers and block sizes of the public images are those that blkid tells.
#[test]
fn public_images_are_told_as_by_blkid() {
    for image in [
        "detect/udf-bdr-2.60-nero.img.xz",
        "detect/udf-hdd-macosx-2.60-4096.img.xz",
        "detect/udf-hdd-mkudffs-1.3-1.img.xz",
        "detect/udf-hdd-mkudffs-1.3-4.img.xz",
        "detect/udf-hdd-mkudffs-1.3-7.img.xz",
        "detect/udf-hdd-udfclient-0.7.5.img.xz",
    ] {
        let Some(copy) = corpus_image(image) else {
            return;
        };
        let bytes = fs::read(copy.path()).unwrap();
        let volume = opened(&bytes);
        let facts = volume.facts();
        let told = |key| expected(image, key).unwrap_or_default();
        assert_eq!(
            facts.label.escape_ascii().to_string(),
            told("ID_FS_LABEL_ENC").replace("\\x20", " "),
            "{image}"
        );
        assert_eq!(
            facts.uuid.clone().unwrap_or_default(),
            told("ID_FS_UUID"),
            "{image}"
        );
        assert_eq!(
            facts.block_size_bytes.to_string(),
            told("ID_FS_BLOCK_SIZE"),
            "{image}"
        );
        assert_eq!(facts.state, State::Clean, "{image}");
        let listing = Listing::of(&*volume, &ScanOptions::default());
        let losses = listing
            .findings
            .iter()
            .filter(|finding| finding.code != FindingCode::BeyondEnd);
        assert_eq!(losses.count(), 0, "{image}: {:?}", listing.findings);
    }
}

/// Nero's write-once Blu-ray disc: a virtual allocation table, and a file.
#[test]
fn the_file_on_the_write_once_disc_is_read() {
    let Some(copy) = corpus_image("detect/udf-bdr-2.60-nero.img.xz") else {
        return;
    };
    let bytes = fs::read(copy.path()).unwrap();
    let files = files_of(&found(&listing(&bytes), &bytes));
    assert_eq!(files.keys().collect::<Vec<_>>(), [&b"test.txt".to_vec()]);
}

/// All sessions of a disc are opened; the last one counts.
#[test]
fn every_session_is_opened() {
    let Some(copy) = corpus_image("detect/udf-multi-0-320-640-mkudffs.img.xz") else {
        return;
    };
    let bytes = fs::read(copy.path()).unwrap();
    let volume = opened(&bytes);
    assert_eq!(volume.facts().label, b"third session");
    let details = &volume.facts().details;
    let sessions = details.iter().find(|(label, _)| label.starts_with("sessions"));
    assert_eq!(sessions.map(|(_, places)| places.as_str()), Some("896, 576, 256"));
    let roots = listing(&bytes).inodes.len();
    assert_eq!(roots, 3);
}
