//! Discs with several trees of names, or several sessions.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use ntt_model::{BlobHash, FindingCode, Kind, Namespace, Severity};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::listing::content_hash;

use crate::iso9660_made::{
    hash, last_position, listing, made, open, redirect, sample_tree, truth, two_sessions,
};

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

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
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
