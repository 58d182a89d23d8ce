//! EWF images that ewfacquire made.

use std::fs;
use std::path::Path;

use ntt_container::{HashAlgorithm, Opening};
use ntt_model::FindingCode;
use ntt_source::{FileSource, ReadAt, ReadError};
use ntt_testkit::corpus::corpus_image;

use crate::made::{Compared, assert_equal, folder, opened, opening, run};

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
        let image = opened(&path).image;
        let mut lost = Vec::new();
        for (number, expected) in raw.chunks(CHUNK).enumerate() {
            let mut chunk = vec![0; expected.len()];
            match image.read_exact_at(u64::try_from(number * CHUNK).expect("small"), &mut chunk) {
                Ok(()) => assert!(chunk == expected, "chunk {number} is wrong and nobody says so"),
                Err(ReadError::Corrupt { .. }) => lost.push(number),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(lost.len(), 1, "{compression}: {lost:?}");
    }
}

#[test]
fn a_missing_segment_costs_what_was_in_it() {
    let (folder, raw) = folder();
    if !acquire(folder.path(), "none", "encase6") {
        return;
    }
    fs::remove_file(folder.path().join("case.E03")).expect("removed");
    let found = opened(&folder.path().join("case.E01"));
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
    let second = opening(&folder.path().join("case.E02"));
    assert!(matches!(second, Opening::NotFirst(_)), "a medium of its own");
    let mut start = vec![0; CHUNK];
    found.image.read_exact_at(0, &mut start).expect("read");
    assert!(start == raw[..CHUNK]);
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
