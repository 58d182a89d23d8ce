//! Apple's disk images: built in every codec, and the real ones of the corpus.

use std::fs;
use std::io::Write;

use ntt_container::{HashAlgorithm, Opening};
use ntt_source::ReadError;
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::dmg::{CHUNK_SECTORS, Pack, dmg};

use crate::made::{Compared, folder, opened, opening};

const SECTOR: usize = 512;

/// The kind of a chunk, and what makes one.
const CODECS: [(&str, u32, Pack); 6] = [
    ("", 1, |bytes| bytes.to_vec()),
    ("adc", 0x8000_0004, adc),
    ("zlib", 0x8000_0005, zlib),
    ("bzip2", 0x8000_0006, bzip2),
    ("lzfse", 0x8000_0007, lzfse),
    ("lzma", 0x8000_0008, xz),
];

/// Literals only.
fn adc(bytes: &[u8]) -> Vec<u8> {
    let literal = |run: &[u8]| {
        let head = 0x80 | u8::try_from(run.len() - 1).expect("at most 128");
        [&[head], run].concat()
    };
    bytes.chunks(128).flat_map(literal).collect()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn lzfse(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    lzfse_rust::encode_bytes(bytes, &mut out).expect("encoded");
    out
}

/// Nothing where the program `xz` is missing.
fn xz(bytes: &[u8]) -> Vec<u8> {
    ntt_testkit::dmg::xz(bytes).unwrap_or_default()
}

#[test]
fn every_codec_equals_the_raw_image() {
    let (folder, raw) = folder();
    let mut compared = Compared::made_by("the test, as the format is documented");
    for (name, kind, pack) in CODECS {
        if pack(&raw[..512]).is_empty() {
            continue;
        }
        let path = folder.path().join("disk.dmg");
        fs::write(&path, dmg(&raw, kind, pack)).expect("written");
        let found = opened(&path);
        assert_eq!(found.layers[0].compression, name);
        assert_eq!(found.findings, []);
        let how = if name.is_empty() { "stored" } else { name };
        compared.equal(&format!("UDIF, {how}"), &found.image, &raw);
        let sums = &found.layers[0].hashes;
        assert_eq!(sums.len(), 2, "{name}");
        for sum in sums {
            assert_eq!(sum.algorithm, HashAlgorithm::Crc32);
            let start = usize::try_from(sum.range.offset).expect("small");
            let end = usize::try_from(sum.range.end()).expect("small");
            assert_eq!(sum.hex, format!("{:08x}", crc32fast::hash(&raw[start..end])));
        }
    }
    compared.contribute();
}

#[test]
fn a_corrupt_chunk_costs_only_itself() {
    let (folder, raw) = folder();
    let mut bytes = dmg(&raw, 0x8000_0005, zlib);
    bytes[40_000] ^= 0x55;
    let path = folder.path().join("disk.dmg");
    fs::write(&path, bytes).expect("written");
    let image = opened(&path).image;
    let mut lost = 0;
    for (number, sector) in raw.chunks(SECTOR).enumerate() {
        let mut found = vec![0; SECTOR];
        match image.read_exact_at((number * SECTOR) as u64, &mut found) {
            Ok(()) => assert!(found == sector, "sector {number}"),
            Err(ReadError::Corrupt { .. }) => lost += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..=CHUNK_SECTORS).contains(&lost), "{lost} sectors");
}

#[test]
fn an_encrypted_image_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret.dmg");
    fs::write(&path, [&b"encrcdsa"[..], &[7; 4096]].concat()).expect("written");
    let Opening::Refused { finding, .. } = opening(&path) else {
        panic!("it is read");
    };
    assert_eq!(finding.code, ntt_model::FindingCode::Encrypted);
}

#[test]
fn the_public_images_hold_their_file_systems() {
    let Some(hfs) = corpus_image("dfvfs/hfsplus_zlib.dmg") else {
        return;
    };
    let found = opened(hfs.path());
    let mut bytes = vec![0; usize::try_from(found.image.len()).expect("small")];
    found.image.read_exact_at(0, &mut bytes).expect("read");
    let is_volume = |at: usize| {
        bytes
            .get(at..at + 2)
            .is_some_and(|magic| magic == b"H+" || magic == b"HX")
    };
    assert!(
        (0..bytes.len()).step_by(512).any(is_volume),
        "no HFS+ volume header"
    );
    for sum in &found.layers[0].hashes {
        let at = |byte: u64| usize::try_from(byte).expect("small");
        let counted: Vec<u8> = (sum.range.offset..sum.range.end())
            .filter(|byte| {
                sum.leaves_out
                    .iter()
                    .all(|gap| *byte < gap.offset || *byte >= gap.end())
            })
            .map(|byte| bytes[at(byte)])
            .collect();
        assert_eq!(
            sum.hex,
            format!("{:08x}", crc32fast::hash(&counted)),
            "{}",
            sum.range
        );
    }
    let Some(udzo) = corpus_image("disktype/udif-udzo.image.gz") else {
        return;
    };
    let found = opened(udzo.path());
    assert!(!found.image.is_empty());
    let mut start = vec![0; 512];
    found.image.read_exact_at(0, &mut start).expect("read");
}
