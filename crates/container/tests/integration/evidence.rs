//! EWF images that ewfacquire made.

use std::fs;
use std::path::Path;

use ntt_container::{HashAlgorithm, Opening};
use ntt_model::{Finding, FindingCode};
use ntt_source::{FileSource, ReadAt};
use ntt_testkit::corpus::corpus_image;

use crate::made::{Compared, IMAGE_BYTES, assert_equal, folder, lost_bytes, opened, opening, run};

const CHUNK: usize = 32 * 1024;

/// Makes `case.E01` and its siblings of `raw.img`.
fn acquire(folder: &Path, compression: &str, format: &str) -> bool {
    let arguments = [
        "-u",
        "-q",
        "-c",
        compression,
        "-f",
        format,
        "-S",
        "1048576",
        "-t",
        "case",
        "-C",
        "7",
        "-D",
        "a disk",
        "-e",
        "Me",
        "-E",
        "3",
        "-N",
        "none",
        "-d",
        "sha1",
        "raw.img",
    ];
    run(folder, "ewfacquire", &arguments)
}

#[test]
fn segments_of_every_kind_equal_the_raw_image() {
    let mut compared = Compared::made_by("ewfacquire");
    for (compression, format, first) in [
        ("none", "encase6", "case.E01"),
        ("fast", "encase6", "case.E01"),
        ("best", "encase5", "case.E01"),
        ("fast", "ftk", "case.E01"),
        ("fast", "linen5", "case.E01"),
        ("fast", "smart", "case.s01"),
    ] {
        let (folder, raw) = folder();
        if !acquire(folder.path(), compression, format) {
            return;
        }
        let found = opened(&folder.path().join(first));
        let layer = &found.layers[0];
        assert_eq!(found.findings, [], "{format} {compression}");
        assert_eq!(found.image.len(), u64::try_from(raw.len()).expect("small"));
        compared.equal(&layer.format, &found.image, &raw);
        assert!(layer.files.len() >= 2, "{format}: {:?}", layer.files);
        let md5 = layer
            .hashes
            .iter()
            .find(|hash| hash.algorithm == HashAlgorithm::Md5);
        assert!(
            md5.is_some_and(|hash| hash.hex.len() == 32),
            "{format}: {:?}",
            layer.hashes
        );
        if format != "smart" {
            let case = ("case number".to_owned(), "7".to_owned());
            assert!(layer.facts.contains(&case), "{format}: {:?}", layer.facts);
        }
    }
    compared.contribute();
}

/// A wrong byte in a chunk costs that chunk, stored as it is or compressed.
#[test]
fn a_corrupt_chunk_costs_only_itself() {
    for compression in ["none", "fast"] {
        let (folder, raw) = folder();
        if !acquire(folder.path(), compression, "encase6") {
            return;
        }
        let path = folder.path().join("case.E01");
        let mut bytes = fs::read(&path).expect("read");
        // The first sections are short: this is inside of the chunks.
        bytes[300_000] ^= 0x10;
        fs::write(&path, bytes).expect("written");
        let lost = lost_bytes(&opened(&path).image, &raw, CHUNK);
        assert_eq!(lost, CHUNK, "{compression}");
    }
}

/// Makes `case.E01` and its siblings in a new folder, does something to them, and tells how many bytes cannot be read; what can be read is right.
fn lost_after(compression: &str, damage: impl FnOnce(&Path)) -> Option<(usize, Vec<Finding>)> {
    let (folder, raw) = folder();
    if !acquire(folder.path(), compression, "encase6") {
        return None;
    }
    damage(folder.path());
    let found = opened(&folder.path().join("case.E01"));
    let lost = lost_bytes(&found.image, &raw, CHUNK);
    // What a table does not list is told of where it is.
    let told = found.findings.iter().filter_map(|finding| finding.image_offset);
    assert!(told.count() >= usize::from(lost > 0), "{:?}", found.findings);
    Some((lost, found.findings))
}

fn has(findings: &[Finding], code: FindingCode, text: &str) -> bool {
    findings
        .iter()
        .any(|finding| finding.code == code && finding.detail.contains(text))
}

/// Segments of 1 MiB have 31 chunks that are stored as they are.
#[test]
fn r22_a_missing_segment_costs_what_was_in_it() {
    let removed = |folder: &Path| fs::remove_file(folder.join("case.E02")).expect("removed");
    let Some((lost, findings)) = lost_after("none", removed) else {
        return;
    };
    assert!((900_000..1_100_000).contains(&lost), "{lost}");
    assert!(
        has(&findings, FindingCode::BeyondEnd, "case.E02 is missing"),
        "{findings:?}"
    );
    let (folder, _) = folder();
    assert!(acquire(folder.path(), "none", "encase6"));
    let second = opening(&folder.path().join("case.E02"));
    assert!(matches!(second, Opening::NotFirst(_)), "a medium of its own");
}

/// The table of a segment stands behind its chunks: one that is cut short lists none.
#[test]
fn r22_a_segment_that_is_cut_short_moves_nothing_behind_it() {
    for compression in ["none", "fast"] {
        let cut = |folder: &Path| {
            let path = folder.join("case.E02");
            let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
            let len = file.metadata().expect("a length").len();
            file.set_len(len / 2).expect("cut");
        };
        let Some((lost, findings)) = lost_after(compression, cut) else {
            return;
        };
        assert!(lost > 0 && lost < 2 << 20, "{compression}: {lost}");
        assert!(
            has(&findings, FindingCode::BeyondEnd, "in no table"),
            "{findings:?}"
        );
    }
}

/// A bad sector over the end of the first table and the begin of the second.
#[test]
fn r22_tables_that_are_both_wrong_move_nothing_behind_them() {
    let wipe = |folder: &Path| {
        let path = folder.join("case.E02");
        let mut bytes = fs::read(&path).expect("read");
        let find = |name: &[u8]| bytes.windows(name.len()).position(|window| window == name);
        let (first, second) = (
            find(b"table\0\0\0").expect("a table"),
            find(b"table2\0\0").expect("a copy"),
        );
        bytes[first..second + 110].fill(0xee);
        fs::write(&path, bytes).expect("written");
    };
    let Some((lost, _)) = lost_after("none", wipe) else {
        return;
    };
    assert!((900_000..1_100_000).contains(&lost), "{lost}");
}

#[test]
fn r22_a_segment_of_another_image_is_not_read() {
    let mix = |folder: &Path| {
        let second = folder.join("case.E02");
        let kept = folder.join("kept");
        fs::rename(&second, &kept).expect("moved");
        for name in ["case.E01", "case.E03", "case.E04"] {
            fs::rename(folder.join(name), folder.join(format!("{name}.kept"))).expect("moved");
        }
        fs::write(folder.join("raw.img"), vec![7; 2 << 20]).expect("written");
        assert!(acquire(folder, "none", "encase6"));
        for name in ["case.E01", "case.E03", "case.E04"] {
            let (from, to) = (folder.join(format!("{name}.kept")), folder.join(name));
            fs::rename(from, to).expect("moved back");
        }
    };
    let Some((lost, findings)) = lost_after("none", mix) else {
        return;
    };
    assert!((900_000..1_100_000).contains(&lost), "{lost}");
    assert!(
        has(&findings, FindingCode::Contradiction, "of another image"),
        "{findings:?}"
    );
}

/// Of what stands between two missing segments nobody knows where it belongs.
#[test]
fn r22_between_two_missing_segments_nothing_is_guessed() {
    let removed = |folder: &Path| {
        fs::remove_file(folder.join("case.E02")).expect("removed");
        fs::remove_file(folder.join("case.E04")).expect("removed");
    };
    let Some((lost, findings)) = lost_after("none", removed) else {
        return;
    };
    assert!((2 << 20..=IMAGE_BYTES - (1 << 19)).contains(&lost), "{lost}");
    assert!(
        has(&findings, FindingCode::BeyondEnd, "not known by their place"),
        "{findings:?}"
    );
}

/// The second table of each pair stands in for the first.
#[test]
fn a_wrong_table_is_replaced_by_its_copy() {
    let (folder, raw) = folder();
    if !acquire(folder.path(), "fast", "encase6") {
        return;
    }
    let path = folder.path().join("case.E01");
    let mut bytes = fs::read(&path).expect("read");
    let table = bytes
        .windows(8)
        .position(|window| window == b"table\0\0\0")
        .expect("a table");
    bytes[table + 76 + 24 + 4] ^= 0xff;
    fs::write(&path, bytes).expect("written");
    let found = opened(&path);
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BackupUsed),
        "{:?}",
        found.findings
    );
    assert_equal(&found.image, &raw);
}

#[test]
fn the_public_ext2_image_is_the_same_in_each_of_its_containers() {
    let Some(evidence) = corpus_image("dfvfs/ext2.E01") else {
        return;
    };
    let mut compared = Compared::made_by("others: the same file system as an E01");
    let image = opened(evidence.path()).image;
    let mut bytes = vec![0; usize::try_from(image.len()).expect("small")];
    image.read_exact_at(0, &mut bytes).expect("read");
    assert_eq!(&bytes[1024 + 56..1024 + 58], &[0x53, 0xef], "the magic of ext2");
    for other in ["dfvfs/ext2.qcow2.gz", "dfvfs/ext2.vhd.gz"] {
        let Some(other) = corpus_image(other) else { return };
        assert!(FileSource::open(other.path()).is_ok());
        let found = opened(other.path());
        let format = format!("{}, public images", found.layers[0].format);
        compared.equal(&format, &found.image, &bytes);
    }
    compared.contribute();
}
