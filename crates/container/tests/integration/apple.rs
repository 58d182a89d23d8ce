//! Apple's disk images: built in every codec, and the real ones of the corpus.

use std::fs;
use std::io::Write;

use ntt_container::{HashAlgorithm, Opened, Opening};
use ntt_model::{Finding, Severity};
use ntt_source::ReadError;
use ntt_testkit::corpus::corpus_image;
use ntt_testkit::dmg::{CHUNK_SECTORS, Pack, dmg};

use crate::made::{Compared, folder, lost_bytes, opened, opening};

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
    assert_eq!(found.findings, []);
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
    assert!(sums_hold(&found, &bytes));
    let Some(udzo) = corpus_image("disktype/udif-udzo.image.gz") else {
        return;
    };
    let found = opened(udzo.path());
    assert_eq!(found.findings, []);
    assert!(!found.image.is_empty());
    let mut start = vec![0; 512];
    found.image.read_exact_at(0, &mut start).expect("read");
}

/// Whether the image has every checksum that is stated, as an ingest compares them.
fn sums_hold(found: &Opened, bytes: &[u8]) -> bool {
    let at = |byte: u64| usize::try_from(byte).expect("small");
    found.layers[0].hashes.iter().all(|sum| {
        let counted: Vec<u8> = (sum.range.offset..sum.range.end())
            .filter(|byte| {
                sum.leaves_out
                    .iter()
                    .all(|gap| *byte < gap.offset || *byte >= gap.end())
            })
            .map_while(|byte| bytes.get(at(byte)).copied())
            .collect();
        sum.hex == format!("{:08x}", crc32fast::hash(&counted))
    })
}

fn is_loss(finding: &Finding) -> bool {
    finding.severity == Severity::Loss
}

/// What is read of an image is right, or an error that a finding tells of; where nothing else can tell, a checksum is wrong.
fn right_or_told(found: &Opened, raw: &[u8], round: &str) {
    let is_told = found.findings.iter().any(is_loss);
    let mut bytes = vec![0; raw.len()];
    let (mut is_lost, mut wrong) = (false, None);
    for (number, expected) in raw.chunks(SECTOR).enumerate() {
        let at = number * SECTOR;
        match found.image.read_exact_at(at as u64, &mut bytes[at..at + SECTOR]) {
            Ok(()) if bytes[at..at + SECTOR] != *expected => wrong = Some(number),
            Ok(()) => {}
            Err(_) => is_lost = true,
        }
    }
    let is_same_length = found.image.len() == raw.len() as u64;
    assert!(
        is_same_length || is_told,
        "{round}: {} bytes, not a word",
        found.image.len()
    );
    let packed = &found.layers[0].compression;
    if let Some(sector) = wrong {
        assert!(
            packed.is_empty() && (is_told || !sums_hold(found, &bytes)),
            "{round}: sector {sector} is wrong"
        );
    }
    // A chunk whose place is wrong is found when it is read.
    assert!(
        !is_lost || is_told || !packed.is_empty(),
        "{round}: lost, not a word"
    );
}

/// Flips bits from a byte of the file on.
fn flip(path: &std::path::Path, good: &[u8], from: usize, raw: &[u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = from + usize::try_from(state >> 8).expect("64 bits") % (good.len() - from);
        let mut bytes = good.to_vec();
        bytes[at] ^= 1 << (state & 7);
        fs::write(path, &bytes).expect("written");
        if let Opening::Open(found) = opening(path) {
            right_or_told(&found, raw, &format!("bit {} of byte {at}", state & 7));
        }
    }
}

#[test]
fn r11_a_flipped_bit_in_tables_or_trailer_never_makes_zeros() {
    let (folder, raw) = folder();
    let raw = &raw[1_024_000..1_024_000 + 3 * SECTOR * CHUNK_SECTORS];
    for (kind, pack) in [(1, CODECS[0].2), (0x8000_0005, zlib as Pack)] {
        let path = folder.path().join("disk.dmg");
        let good = dmg(raw, kind, pack);
        let trailer = &good[good.len() - 512..];
        let plist = u64::from_be_bytes(trailer[216..224].try_into().expect("8 bytes"));
        flip(&path, &good, usize::try_from(plist).expect("small"), raw);
    }
}

#[test]
fn r11_a_flipped_bit_in_a_public_image_never_makes_zeros() {
    let Some(hfs) = corpus_image("dfvfs/hfsplus_zlib.dmg") else {
        return;
    };
    let image = opened(hfs.path()).image;
    let mut raw = vec![0; usize::try_from(image.len()).expect("small")];
    image.read_exact_at(0, &mut raw).expect("read");
    let good = fs::read(hfs.path()).expect("read");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.dmg");
    flip(&path, &good, 11_984, &raw);
    // The block table of the volume: it was left out without a word, and the volume was zeros.
    let mut bytes = good;
    bytes[15_942] = 0x11;
    fs::write(&path, bytes).expect("written");
    let found = opened(&path);
    let is_named = |finding: &Finding| is_loss(finding) && finding.detail.contains("Apple_HFS");
    assert!(found.findings.iter().any(is_named), "{:?}", found.findings);
    assert_eq!(lost_bytes(&found.image, &raw, SECTOR), 3744 * SECTOR);
}

/// An image of the generator, its property list changed without a change of its length.
fn changed_list(good: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = good
        .windows(from.len())
        .rposition(|bytes| bytes == from.as_bytes());
    let at = at.expect("it stands there");
    [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
}

#[test]
fn r14_what_no_table_covers_is_lost_and_told() {
    let (folder, raw) = folder();
    let path = folder.path().join("disk.dmg");
    let good = dmg(&raw, 1, CODECS[0].2);
    let half = raw.len() / SECTOR / 2 * SECTOR;
    let behind = raw.len() - half;
    for (what, bytes, lost) in [
        (
            "an entry",
            changed_list(&good, "<dict><key>Data", "<dicT><key>Data"),
            behind,
        ),
        ("data", changed_list(&good, "<data>", "<Data>"), behind),
        (
            "its key",
            changed_list(&good, "<key>Data</key>", "<key>data</key>"),
            behind,
        ),
        ("the end", changed_list(&good, "</plist>", "</plisT>"), 0),
        ("the array", changed_list(&good, "</array>", "</arraY>"), 0),
    ] {
        fs::write(&path, bytes).expect("written");
        let found = opened(&path);
        assert!(found.findings.iter().any(is_loss), "{what}");
        assert_eq!(lost_bytes(&found.image, &raw, SECTOR), lost, "{what}");
    }
    // The trailer: the image is longer than its tables say, or shorter, or their checksums are others.
    let end = good.len() - 512;
    let longer = raw.len() + (1 << 13) * SECTOR;
    for (what, at, bit, len, lost) in [
        ("longer", 498, 0x20, longer, longer - raw.len()),
        ("shorter", 498, 0x10, raw.len(), 0),
        ("master", 361, 1, raw.len(), 0),
    ] {
        let mut bytes = good.clone();
        bytes[end + at] ^= bit;
        fs::write(&path, bytes).expect("written");
        let found = opened(&path);
        assert!(found.findings.iter().any(is_loss), "{what}");
        let mut expected = raw.clone();
        expected.resize(len, 0);
        assert_eq!(lost_bytes(&found.image, &expected, SECTOR), lost, "{what}");
    }
}
