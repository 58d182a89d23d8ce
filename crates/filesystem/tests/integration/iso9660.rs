//! ISO 9660 with Joliet, Rock Ridge and sessions against genisoimage, xorriso, 7-Zip and the public corpus.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_filesystem::{FileSystem, Limits, ScanOptions, iso9660};
use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{BlobHash, ByteRange, FindingCode, Kind, Namespace, Severity};
use ntt_source::Masked;
use ntt_source::extents::{Missing, Piece};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::listing::{Listing, content_hash};
use tempfile::TempDir;

fn open(image: &[u8]) -> Box<dyn FileSystem + 'static> {
    iso9660::open(Box::new(image.to_vec()), 0).expect("an ISO 9660 disc")
}

fn listing(image: &[u8]) -> Listing {
    Listing::of(&*open(image), &ScanOptions::default())
}

fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash::of(bytes)
}

/// A folder with what a disc may hold.
pub(crate) fn sample_tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join("tree").join(name);
    fs::create_dir_all(at("1/2/3/4/5/6/7/8/9/10")).unwrap();
    fs::create_dir_all(at("empty directory")).unwrap();
    fs::create_dir_all(at("many")).unwrap();
    fs::write(at("1/2/3/4/5/6/7/8/9/10/deep.txt"), "deep").unwrap();
    fs::write(at("hello.txt"), "hello").unwrap();
    fs::write(at("empty one"), "").unwrap();
    fs::write(at("empty two, with a long name.txt"), "").unwrap();
    fs::write(at("caf\u{e9} \u{3b1} \u{65e5}\u{672c}.txt"), "unicode").unwrap();
    fs::write(at(&"n".repeat(200)), "long").unwrap();
    fs::write(at("back\\slash-n \\n"), "odd").unwrap();
    fs::write(at("Random Data.bin"), noise(100_000)).unwrap();
    for number in 0..150 {
        fs::write(
            at(&format!("many/file number {number}.txt")),
            format!("content {number}"),
        )
        .unwrap();
    }
    fs::hard_link(at("hello.txt"), at("1/hard link")).unwrap();
    std::os::unix::fs::symlink("../hello.txt", at("1/link")).unwrap();
    std::os::unix::fs::symlink("/usr/./share/../lib", at("absolute link")).unwrap();
    dir
}

/// Bytes that look random and are the same in every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap()
    };
    (0..len).map(|_| next()).collect()
}

/// The image that a program makes of `tree`; `None` if the program is not installed.
pub(crate) fn made(program: &str, arguments: &[&str], tree: &Path) -> Option<Vec<u8>> {
    if !have(program) {
        return None;
    }
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("disc.iso");
    let mut command = Command::new(program);
    if program == "xorriso" {
        command.args(["-as", "mkisofs"]);
    }
    let status = command
        .args(["-quiet", "-V", "A Label"])
        .args(arguments)
        .arg("-o")
        .arg(&path)
        .arg(tree)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
    Some(fs::read(&path).unwrap())
}

/// Path, kind, link target and content of everything below a folder.
fn truth(root: &Path) -> BTreeMap<Vec<u8>, (Kind, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut queue = vec![root.to_path_buf()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let value = if kind.is_symlink() {
                (Kind::Symlink, bytes_of(&fs::read_link(&path).unwrap()))
            } else if kind.is_dir() {
                queue.push(path.clone());
                (Kind::Directory, Vec::new())
            } else {
                (
                    Kind::File,
                    hash(&fs::read(&path).unwrap()).to_string().into_bytes(),
                )
            };
            found.insert(bytes_of(path.strip_prefix(root).unwrap()), value);
        }
    }
    found
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

/// The same from a listing, of the preferred names.
fn found(listing: &Listing, image: &Vec<u8>) -> BTreeMap<Vec<u8>, (Kind, Vec<u8>)> {
    let value = |number: u64| {
        let inode = &listing.inodes[&number];
        let what = match inode.kind {
            Kind::File => content_hash(image, inode).to_string().into_bytes(),
            _ => inode.target.clone().unwrap_or_default(),
        };
        (inode.kind, what)
    };
    listing
        .preferred()
        .map(|name| (name.path.clone(), value(name.name.inode)))
        .collect()
}

/// Content hashes of the files, without their names.
fn contents(listing: &Listing, image: &Vec<u8>) -> Vec<String> {
    let mut hashes: Vec<String> = listing
        .contents(image)
        .values()
        .map(ToString::to_string)
        .collect();
    hashes.sort();
    hashes
}

fn codes(listing: &Listing) -> BTreeSet<String> {
    listing
        .findings
        .iter()
        .map(|finding| format!("{:?}", finding.code))
        .collect()
}

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

/// Plain ISO and Joliet trees hold the same contents; agreeing trees give no finding, and one inode a file.
#[test]
fn r18_agreeing_trees_give_one_inode_and_no_finding() {
    let dir = sample_tree();
    let tree = dir.path().join("tree");
    let files = truth(&tree)
        .values()
        .filter(|(kind, _)| *kind == Kind::File)
        .count();
    for arguments in [
        &["-D", "-J", "-l"][..],
        &["-D", "-l"],
        &["-D", "-J", "-joliet-long"],
    ] {
        let Some(image) = made("genisoimage", arguments, &tree) else {
            return;
        };
        let listing = listing(&image);
        assert_eq!(listing.findings, [], "{arguments:?}");
        assert_eq!(listing.contents(&image).len(), files, "{arguments:?}");
        let inodes = listing
            .inodes
            .values()
            .filter(|inode| inode.kind == Kind::File)
            .count();
        assert_eq!(inodes, files, "{arguments:?}");
        if arguments.contains(&"-J") {
            let joliet = listing
                .preferred()
                .find(|name| name.path == "caf\u{e9} \u{3b1} \u{65e5}\u{672c}.txt".as_bytes());
            assert_eq!(joliet.expect("the Joliet name").name.namespace, Namespace::Joliet);
            let iso = listing
                .names
                .iter()
                .find(|name| name.path.ends_with(b"HELLO.TXT;1"))
                .expect("the ISO name");
            assert!(iso.name.alternate && iso.name.namespace == Namespace::Iso);
        }
    }
}

/// The offset of the last occurrence of `needle`.
fn last_position(image: &[u8], needle: &[u8]) -> usize {
    image
        .windows(needle.len())
        .rposition(|window| window == needle)
        .expect("the needle")
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Lets a directory record point elsewhere: location and size in both byte orders.
fn redirect(image: &mut [u8], record: usize, block: u32, size: u32) {
    image[record + 2..record + 6].copy_from_slice(&block.to_le_bytes());
    image[record + 6..record + 10].copy_from_slice(&block.to_be_bytes());
    image[record + 10..record + 14].copy_from_slice(&size.to_le_bytes());
    image[record + 14..record + 18].copy_from_slice(&size.to_be_bytes());
}

/// R18: a Joliet record that leads elsewhere than the Rock Ridge record of the same name: both are listed, both can be read, and
/// the contradiction is reported.
#[test]
fn r18_contradictory_trees_are_both_listed_and_reported() {
    let dir = sample_tree();
    for program in ["genisoimage", "xorriso"] {
        let Some(mut image) = made(program, &["-R", "-J"], &dir.path().join("tree")) else {
            continue;
        };
        let record = last_position(&image, &utf16("hello.txt")) - 33;
        let hidden = u32::try_from(image.len() / 2048).unwrap();
        image.extend(b"hidden content");
        image.resize(image.len().next_multiple_of(2048), 0);
        redirect(&mut image, record, hidden, 14);
        let listing = listing(&image);
        let both: BTreeSet<BlobHash> = listing
            .preferred()
            .filter(|name| name.path == b"hello.txt")
            .map(|name| content_hash(&image, &listing.inodes[&name.name.inode]))
            .collect();
        assert_eq!(
            both,
            BTreeSet::from([hash(b"hello"), hash(b"hidden content")]),
            "{program}"
        );
        let contradictions: Vec<String> = listing
            .findings
            .iter()
            .filter(|finding| finding.code == FindingCode::Contradiction)
            .map(ToString::to_string)
            .collect();
        assert!(
            contradictions.iter().any(|text| text.contains("hello.txt")),
            "{contradictions:?}"
        );
        assert!(contradictions.len() <= 3, "{contradictions:?}");
    }
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

/// A second session (genisoimage -C -M) at its place after the first.
fn two_sessions(dir: &Path) -> Option<Vec<u8>> {
    let tree = dir.join("tree");
    let mut first = made("genisoimage", &["-R", "-J"], &tree)?;
    let start = first.len().div_ceil(2048) + 150;
    first.resize(start * 2048, 0);
    let path = dir.join("first.iso");
    fs::write(&path, &first).unwrap();
    fs::write(tree.join("hello.txt"), "hello again").unwrap();
    fs::write(tree.join("new.txt"), "new").unwrap();
    let more: Vec<String> = vec![
        "-C".into(),
        format!("0,{start}"),
        "-M".into(),
        path.display().to_string(),
    ];
    let mut arguments = vec!["-R", "-J"];
    arguments.extend(more.iter().map(String::as_str));
    first.extend(made("genisoimage", &arguments, &tree)?);
    Some(first)
}

/// The last session is the preferred tree; what only an earlier one holds is listed too.
#[test]
fn r18_all_sessions_are_listed_and_the_last_one_is_preferred() {
    let dir = sample_tree();
    let Some(image) = two_sessions(dir.path()) else {
        return;
    };
    let listing = listing(&image);
    let at = |path: &[u8]| -> BTreeSet<BlobHash> {
        let names = listing.preferred().filter(|name| name.path == path);
        names
            .map(|name| content_hash(&image, &listing.inodes[&name.name.inode]))
            .collect()
    };
    assert_eq!(
        at(b"hello.txt"),
        BTreeSet::from([hash(b"hello"), hash(b"hello again")])
    );
    assert_eq!(at(b"new.txt"), BTreeSet::from([hash(b"new")]));
    let first = listing.preferred().next().expect("a name");
    assert_eq!(first.name.directory, open(&image).facts().root);
    // Files that both sessions hold are one inode each, listed once.
    let random: Vec<_> = listing
        .preferred()
        .filter(|name| name.path == b"Random Data.bin")
        .collect();
    assert_eq!(random.len(), 1);
    assert!(
        listing
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Info),
        "{:?}",
        listing.findings
    );
}

#[test]
fn the_sessions_of_the_public_multi_session_disc_are_found() {
    let Some(image) = corpus_image("detect/iso-multi-0-174-348-genisoimage.img.xz") else {
        return;
    };
    let image = fs::read(image.path()).unwrap();
    let file_system = open(&image);
    let sessions = file_system
        .facts()
        .details
        .iter()
        .find(|(label, _)| label == "sessions at sectors");
    assert_eq!(sessions.map(|(_, value)| value.as_str()), Some("0, 174, 348"));
    assert_eq!(
        file_system.facts().size_bytes,
        u64::try_from(image.len()).unwrap()
    );
    let roots = listing(&image).inodes.len();
    assert_eq!(roots, 3);
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

fn file_extents(listing: &Listing, path: &[u8]) -> ByteRange {
    let name = listing
        .preferred()
        .find(|name| name.path == path)
        .expect("the name");
    let extent = listing.inodes[&name.name.inode].data().expect("data").extents[0];
    ByteRange::new(extent.image_offset, extent.len)
}

/// R11, R22: an unread sector of a big directory costs the records in it and nothing else.
#[test]
fn r22_an_unread_directory_sector_costs_only_its_records() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let whole = listing(&image);
    let many = whole
        .inodes
        .values()
        .filter(|inode| inode.kind == Kind::Directory)
        .map(|inode| inode.number >> 1);
    let directory = many
        .max_by_key(|at| {
            whole
                .names
                .iter()
                .filter(|name| name.name.directory == at << 1 | 1)
                .count()
        })
        .unwrap();
    let masked = Masked::new(image.clone(), vec![ByteRange::new(directory + 2048, 2048)]);
    let file_system = iso9660::open(Box::new(masked), 0).unwrap();
    let damaged = Listing::of(&*file_system, &ScanOptions::default());
    let lost = whole.preferred().count() - damaged.preferred().count();
    assert!((1..=2048 / 34).contains(&lost), "{lost} lost");
    assert!(codes(&damaged).contains("Unread"));
    let place = damaged
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .unwrap();
    assert_eq!(place.image_offset, Some(directory + 2048));
    assert!(
        found(&damaged, &image)
            .into_iter()
            .all(|entry| found(&whole, &image).get(&entry.0) == Some(&entry.1))
    );
}

/// R22: without the root directory, the directories are found through the path table.
#[test]
fn r22_an_unread_root_falls_back_on_the_path_table() {
    let dir = sample_tree();
    for arguments in [&["-R"][..], &["-D"], &["-R", "-J"]] {
        let Some(image) = made("genisoimage", arguments, &dir.path().join("tree")) else {
            return;
        };
        let root = open(&image).facts().root >> 1;
        let masked = Masked::new(image.clone(), vec![ByteRange::new(root, 2048)]);
        let file_system = iso9660::open(Box::new(masked), 0).unwrap();
        let damaged = Listing::of(&*file_system, &ScanOptions::default());
        let contents = damaged.contents(&image);
        assert!(
            contents.values().any(|content| *content == hash(b"content 149")),
            "{arguments:?}"
        );
        assert!(
            contents.values().any(|content| *content == hash(b"deep")),
            "{arguments:?}"
        );
        assert!(codes(&damaged).contains("BackupUsed"), "{arguments:?}");
        let mut ranges = Vec::new();
        file_system.allocated(&mut |range| ranges.push(range)).unwrap();
        assert_eq!(
            ranges[0].len,
            file_system.facts().size_bytes,
            "what is lost counts as allocated"
        );
    }
}

/// R22: without the primary descriptor the Joliet one serves.
#[test]
fn r22_a_lost_primary_descriptor_leaves_the_joliet_tree() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R", "-J"], &dir.path().join("tree")) else {
        return;
    };
    let masked = Masked::new(image.clone(), vec![ByteRange::new(16 * 2048, 2048)]);
    let file_system = iso9660::open(Box::new(masked), 0).unwrap();
    let listing = Listing::of(&*file_system, &ScanOptions::default());
    assert!(
        listing
            .contents(&image)
            .values()
            .any(|content| *content == hash(b"deep"))
    );
    assert!(codes(&listing).is_superset(&BTreeSet::from(["BackupUsed".to_owned(), "Unread".to_owned()])));
}

/// R12: a cut image keeps its listing; files and the volume that pass its end say so.
#[test]
fn r12_a_cut_image_is_listed_and_said_to_be_cut() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let random = file_extents(&listing(&image), b"Random Data.bin");
    let cut = image[..usize::try_from(random.offset).unwrap() + 5000].to_vec();
    let file_system = open(&cut);
    assert_eq!(
        file_system.facts().size_bytes,
        u64::try_from(image.len()).unwrap()
    );
    let damaged = Listing::of(&*file_system, &ScanOptions::default());
    assert_eq!(damaged.preferred().count(), listing(&image).preferred().count());
    assert!(codes(&damaged).contains("BeyondEnd"));
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

#[test]
fn a_poisoned_directory_is_left_and_depth_is_bounded() {
    let dir = sample_tree();
    let Some(image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let file_system = open(&image);
    let root = file_system.facts().root;
    let mut options = ScanOptions::default();
    options.leave_after.insert(root, 3);
    let left = Listing::of(&*file_system, &options);
    assert_eq!(
        left.names
            .iter()
            .filter(|name| name.name.directory == root)
            .count(),
        3
    );
    assert!(codes(&left).contains("Limit"));
    let limits = Limits {
        depth: 2,
        ..Limits::default()
    };
    let shallow = Listing::of(
        &*file_system,
        &ScanOptions {
            limits,
            ..ScanOptions::default()
        },
    );
    let deepest = shallow
        .preferred()
        .map(|name| name.path.iter().filter(|byte| **byte == b'/').count())
        .max();
    assert_eq!(deepest, Some(2));
}

/// A directory that names its parent as its child is entered once.
#[test]
fn r22_a_directory_loop_is_a_finding() {
    let dir = sample_tree();
    let Some(mut image) = made("genisoimage", &["-R"], &dir.path().join("tree")) else {
        return;
    };
    let root = u32::try_from((open(&image).facts().root >> 1) / 2048).unwrap();
    let record = last_position(&image, b"\x04MANY") - 32;
    redirect(&mut image, record, root, 2048);
    assert!(codes(&listing(&image)).contains("Loop"));
}

/// What zisofs-tools and libisofs compress comes back byte for byte; holes cost no unit.
#[test]
fn zisofs_files_are_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let contents = compressible(dir.path());
    let mut images = Vec::from_iter(zisofs(dir.path()));
    images.extend(mkzftree(dir.path()));
    for image in &images {
        let listing = listing(image);
        assert_eq!(listing.findings, []);
        for name in listing.preferred().filter(|name| name.path != b"short") {
            let stream = listing.inodes[&name.name.inode].data().unwrap();
            let expected = &contents[&name.path];
            let (bytes, missing) = unpacked(image, stream);
            assert!(
                bytes == *expected && missing == Missing::default(),
                "{:?}",
                name.path
            );
            let Encoding::Packed(units) = &stream.encoding else {
                panic!("{:?}", name.path)
            };
            assert!(name.path != b"zeros" || units.len() <= 1, "{units:?}");
        }
    }
}

/// Damaged block pointers cost the blocks that they lead to; a file without the magic is given as it is.
#[test]
fn r22_zisofs_damage_costs_its_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let contents = compressible(dir.path());
    let Some(image) = mkzftree(dir.path()) else { return };
    let text = &contents[b"text".as_slice()];
    let found = |image: &[u8]| {
        let listing = listing(image);
        let name = listing
            .preferred()
            .find(|name| name.path == b"text")
            .expect("text")
            .clone();
        (
            listing.inodes[&name.name.inode].data().unwrap().clone(),
            codes(&listing),
        )
    };
    let start = usize::try_from(found(&image).0.extents[0].image_offset).unwrap();
    let mut backwards = image.clone();
    backwards[start + 16 + 4..start + 16 + 8].copy_from_slice(&3_u32.to_le_bytes());
    let (bytes, missing) = unpacked(&backwards, &found(&backwards).0);
    assert_eq!(missing.ranges, [ByteRange::new(0, 65_536)]);
    assert!(bytes[65_536..] == text[65_536..]);
    let mut other = image.clone();
    other[start] ^= 1;
    let (stream, codes) = found(&other);
    assert!(stream.encoding == Encoding::Plain && codes.contains("Corrupt"));
    let cut = &image[..start + 20];
    let (stream, codes) = found(cut);
    let (_, missing) = unpacked(cut, &stream);
    assert_eq!(
        missing.ranges,
        [ByteRange::new(0, u64::try_from(text.len()).unwrap())]
    );
    assert!(
        codes.contains("Limit") || codes.contains("BeyondEnd"),
        "{codes:?}"
    );
}

/// Contents that compress, by the path they get on the disc; written below `dir`.
fn compressible(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let text = (0..40_000)
        .map(|line| format!("line {line}\n"))
        .collect::<String>();
    let mut holes = vec![0; 150_000];
    holes.extend(text.as_bytes());
    holes.extend(vec![0; 70_000]);
    let contents = [
        ("zeros", vec![0; 200_000]),
        ("text", text.into_bytes()),
        ("holes", holes),
        ("short", b"not worth it".to_vec()),
    ];
    fs::create_dir_all(dir.join("plain")).unwrap();
    for (name, content) in &contents {
        fs::write(dir.join("plain").join(name), content).unwrap();
    }
    contents
        .map(|(name, content)| (name.as_bytes().to_vec(), content))
        .into()
}

fn unpacked(image: &[u8], stream: &Stream) -> (Vec<u8>, Missing) {
    let mut bytes = Vec::new();
    let missing = ntt_codec::read_stream::<Infallible>(&image.to_vec(), stream, &mut |piece| {
        match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).unwrap(), 0),
        }
        Ok(())
    });
    (bytes, missing.unwrap_or_else(|never| match never {}))
}

/// A disc of files that mkzftree compressed.
fn mkzftree(dir: &Path) -> Option<Vec<u8>> {
    if !have("mkzftree") || !have("genisoimage") {
        return None;
    }
    let (packed, image) = (dir.join("packed"), dir.join("mkzftree.iso"));
    let run = |command: &mut Command| assert!(command.status().unwrap().success());
    run(Command::new("mkzftree").arg(dir.join("plain")).arg(&packed));
    run(Command::new("genisoimage")
        .args(["-quiet", "-R", "-z", "-o"])
        .arg(&image)
        .arg(&packed));
    fs::read(image).ok()
}

/// A disc of files that libisofs compressed.
fn zisofs(dir: &Path) -> Option<Vec<u8>> {
    if !have("xorriso") {
        return None;
    }
    let image: PathBuf = dir.join("z.iso");
    let status = Command::new("xorriso")
        .args(["-report_about", "FATAL", "-outdev"])
        .arg(&image)
        .arg("-map")
        .arg(dir.join("plain"))
        .args([
            "/",
            "-find",
            "/",
            "-type",
            "f",
            "-exec",
            "set_filter",
            "--zisofs",
            "--",
            "-commit",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    fs::read(image).ok()
}

/// An associated file is the resource fork of the file of the same name, and files of several sections are one (hand-made).
#[test]
fn sections_and_associated_files_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("AAA"), vec![1; 2048]).unwrap();
    fs::write(dir.path().join("AAB"), vec![2; 100]).unwrap();
    let Some(image) = made("genisoimage", &[], dir.path()) else {
        return;
    };
    let flags = |flag: u8| {
        let mut image = image.clone();
        let (first, second) = (
            last_position(&image, b"AAA.;1") - 33,
            last_position(&image, b"AAB.;1") - 33,
        );
        image[first + 25] = flag;
        image[second + 33 + 2] = b'A';
        let listing = listing(&image);
        assert_eq!(listing.preferred().count(), 1, "{:?}", listing.findings);
        assert_eq!(listing.findings, []);
        listing
    };
    let whole = flags(0x80);
    let inode = whole
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File)
        .unwrap();
    assert_eq!(inode.size_bytes(), 2148);
    let forked = flags(0x04);
    let inode = forked
        .inodes
        .values()
        .find(|inode| inode.kind == Kind::File)
        .unwrap();
    assert_eq!(inode.size_bytes(), 100);
    assert_eq!(inode.streams[1].kind, StreamKind::Named(b"rsrc".to_vec()));
    assert_eq!(inode.streams[1].size_bytes, 2048);
}

/// R22: flipped bytes and cuts never panic, never break the order of events, and never give more than a bounded number of them.
#[test]
fn r22_mutated_discs_end_with_bounded_events() {
    let dir = sample_tree();
    let Some(image) = two_sessions(dir.path()) else {
        return;
    };
    let metadata: Vec<usize> = metadata_sectors(&image);
    let mut random = noise(300 * 64).into_iter().map(usize::from);
    let mut next = |below: usize| {
        let mut value = || random.next().unwrap_or(0);
        (value() * 65_536 + value() * 256 + value()) % below
    };
    let events = listing(&image).events.len();
    for round in 0..300 {
        let mut mutated = image.clone();
        for _ in 0..=round % 7 {
            let at = metadata[next(metadata.len())] * 2048 + next(2048);
            mutated[at] ^= 1 << (round % 8);
        }
        if round % 10 == 0 {
            mutated.truncate(next(image.len()));
        }
        if let Ok(file_system) = iso9660::open(Box::new(mutated), 0) {
            let count = Listing::of(&*file_system, &ScanOptions::default()).events.len();
            assert!(count < events * 4 + 5000, "round {round}: {count} events");
            file_system.allocated(&mut |_| {}).expect("ranges");
        }
    }
}

/// Sectors of descriptors, path tables and directories.
fn metadata_sectors(image: &[u8]) -> Vec<usize> {
    let content: Vec<ByteRange> = listing(image)
        .inodes
        .values()
        .filter_map(|inode| inode.data())
        .flat_map(|data| {
            data.extents
                .iter()
                .map(|extent| ByteRange::new(extent.image_offset, extent.len))
        })
        .collect();
    let mut sectors = Vec::new();
    open(image)
        .allocated(&mut |range| {
            let from = usize::try_from(range.offset / 2048).unwrap();
            let to = usize::try_from(range.end() / 2048).unwrap();
            sectors.extend(from.max(16)..to);
        })
        .unwrap();
    let is_content = |sector: &usize| {
        let at = u64::try_from(*sector).unwrap() * 2048;
        content
            .iter()
            .any(|range| (range.offset..range.end()).contains(&at))
    };
    sectors.retain(|sector| !is_content(sector));
    sectors
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

/// Sessions that xorriso appends to an image: it updates the descriptors at sector 16, and keeps the first session's own.
#[test]
fn r18_an_updated_first_descriptor_hides_no_session() {
    let dir = sample_tree();
    if !have("xorriso") {
        return;
    }
    let image = dir.path().join("grown.iso");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("xorriso");
        command
            .args(["-report_about", "FATAL", "-dev"])
            .arg(&image)
            .args(arguments);
        assert!(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
    };
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::write(&old, "old content").unwrap();
    fs::write(&new, "new content").unwrap();
    run(&["-map", old.to_str().unwrap(), "/old", "-commit"]);
    run(&[
        "-rm",
        "/old",
        "--",
        "-map",
        new.to_str().unwrap(),
        "/new",
        "-commit",
    ]);
    let bytes = fs::read(&image).unwrap();
    let listing = listing(&bytes);
    let contents = listing.contents(&bytes);
    assert_eq!(contents.get(&b"new"[..]), Some(&hash(b"new content")));
    assert_eq!(
        contents.get(&b"old"[..]),
        Some(&hash(b"old content")),
        "{:?}",
        open(&bytes).facts().details
    );
    let first = listing.preferred().next().expect("a name");
    assert_eq!(first.path, b"new");
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

/// Type, creator and resource fork of a Macintosh file, with Rock Ridge and beside the attributes of CD-ROM XA.
#[test]
fn type_and_creator_of_macintosh_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("hello.txt"), "the data fork").unwrap();
    fs::write(
        tree.join("._hello.txt"),
        apple_double(b"TEXTttxt", b"the resource fork"),
    )
    .unwrap();
    for form in ["-R", "-XA"] {
        let Some(image) = made("genisoimage", &["-apple", "--osx-double", form], &tree) else {
            return;
        };
        let listing = listing(&image);
        assert_eq!(listing.findings, [], "{form}");
        let [name] = listing.preferred().collect::<Vec<_>>()[..] else {
            panic!("{form}: {:?}", listing.names);
        };
        let inode = &listing.inodes[&name.name.inode];
        assert_eq!(inode.xattrs.len(), 1, "{form}");
        assert_eq!(inode.xattrs[0].name, b"com.apple.FinderInfo");
        assert_eq!(
            (&inode.xattrs[0].value[..8], inode.xattrs[0].value.len()),
            (&b"TEXTttxt"[..], 32)
        );
        let sizes: Vec<u64> = inode.streams.iter().map(|stream| stream.size_bytes).collect();
        assert_eq!(sizes, [13, 17], "{form}");
    }
}

/// An AppleDouble file: Finder info and resource fork.
fn apple_double(type_and_creator: &[u8], fork: &[u8]) -> Vec<u8> {
    let mut bytes = [0x0005_1607_u32, 0x0002_0000].map(u32::to_be_bytes).concat();
    bytes.extend(b"Mac OS X        \0\x02");
    let fork_len = u32::try_from(fork.len()).unwrap();
    bytes.extend([9_u32, 50, 32, 2, 82, fork_len].map(u32::to_be_bytes).concat());
    bytes.extend(type_and_creator);
    bytes.resize(82, 0);
    bytes.extend(fork);
    bytes
}
