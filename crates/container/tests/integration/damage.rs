//! Flipped and truncated containers: no panic, no endless loop, bounded memory, no wrong length, and of checked blocks no wrong byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ntt_container::{Opening, Part, Parts, open};
use ntt_source::ReadAt;

use ntt_testkit::dmg::dmg;

use crate::made::{folder, lost_bytes, raw_image, run};

const FLIPS: u64 = 500;
const CUTS: usize = 50;
/// Single bits that are flipped in blocks with a checksum.
const HITS: usize = 150;
/// Most bytes that are read of a damaged image: it may say that it has petabytes.
const READ_MAX: u64 = 1 << 20;

fn walk(name: &str, bytes: Vec<u8>) {
    let part = Part {
        name: name.as_bytes().to_vec(),
        bytes: Some(Arc::new(bytes) as Arc<dyn ReadAt>),
    };
    // Companions are not given: what asks for one asks in vain.
    let mut files = vec![part];
    for _ in 0..20 {
        match open(&Parts::new(files.clone(), true)) {
            Opening::Wants(ntt_container::Want::Named(name)) => files.push(Part { name, bytes: None }),
            Opening::Open(opened) => return read_some(&opened.image),
            _ => return,
        }
    }
}

/// Reads the start, the middle and the end.
fn read_some(image: &dyn ReadAt) {
    let len = image.len();
    for start in [0, len / 2, len.saturating_sub(READ_MAX)] {
        let mut buffer = vec![0; 4096];
        let mut offset = start;
        while offset < (start + READ_MAX).min(len) {
            let step = 4096.min(len - offset);
            buffer.resize(usize::try_from(step).expect("small"), 0);
            // An error is a good answer.
            let _ = image.read_exact_at(offset, &mut buffer);
            // Most of the image is like the part before it.
            offset += step * 16;
        }
    }
}

fn damage(name: &str, good: &[u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..FLIPS {
        let mut bytes = good.to_vec();
        for _ in 0..=round % 4 {
            // Half of them where headers and tables stand: the first KiB, the last KiB.
            let len = u64::try_from(bytes.len()).expect("small");
            let place = match next() % 4 {
                0 => next() % 1024.min(len),
                1 => len - 1 - next() % 1024.min(len),
                _ => next() % len,
            };
            bytes[usize::try_from(place).expect("small")] ^= next().to_le_bytes()[0] | 1;
        }
        walk(name, bytes);
    }
    for cut in 1..=CUTS {
        walk(name, good[..good.len() * cut / (CUTS + 1)].to_vec());
    }
}

fn damage_file(path: &Path) {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    damage(&name, &fs::read(path).expect("read"));
}

/// A raw image small enough that 550 walks over each container of it are quick.
fn small(folder: &Path) {
    let bytes = fs::read(folder.join("raw.img")).expect("read");
    fs::write(folder.join("raw.img"), &bytes[1_024_000..1_024_000 + 256_000]).expect("written");
}

#[test]
fn damaged_disks_never_panic() {
    let (folder, _) = folder();
    small(folder.path());
    for (at, (format, options)) in [
        ("qcow", "encryption=off"),
        ("qcow2", "compat=1.1"),
        ("qcow2", "compat=1.1,extended_l2=on,cluster_size=16k"),
        ("vpc", "subformat=dynamic"),
        ("vhdx", "block_size=1M"),
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vmdk", "subformat=monolithicFlat"),
        ("vdi", "static=off"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("disk{at}.{format}");
        let packed = if options.contains("compat") { "-c" } else { "-q" };
        let arguments = [
            "convert", packed, "-f", "raw", "-O", format, "-o", options, "raw.img", &name,
        ];
        if !run(folder.path(), "qemu-img", &arguments) {
            return;
        }
        damage_file(&folder.path().join(name));
    }
}

#[test]
fn damaged_images_of_apple_never_panic() {
    let raw = raw_image();
    for kind in [1, 0x8000_0005] {
        damage("disk.dmg", &dmg(&raw[..256_000], kind, <[u8]>::to_vec));
    }
}

#[test]
fn damaged_evidence_files_never_panic() {
    let (folder, _) = folder();
    small(folder.path());
    let arguments = ["-u", "-q", "-c", "fast", "-t", "case", "-d", "sha1", "raw.img"];
    if run(folder.path(), "ewfacquire", &arguments) {
        damage_file(&folder.path().join("case.E01"));
    }
}

/// A folder with a `raw.img` of nothing but text: every block of it is worth compressing.
fn text() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = (0..20_000_u64).map(|line| format!("line {line} of a text, {}\n", line * line % 977));
    let mut bytes = lines.collect::<String>().into_bytes();
    bytes.truncate(500 * 512);
    fs::write(folder.path().join("raw.img"), &bytes).expect("written");
    (folder, bytes)
}

/// Flips single bits of what is stored in these ranges: what can be read all the same is right, and most hits cost a block and no more.
fn hit(name: &str, good: &[u8], stored: &[std::ops::Range<usize>], raw: &[u8], block: usize) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).expect("64 bits") % below
    };
    let mut told = 0;
    for _ in 0..HITS {
        let range = &stored[next(stored.len())];
        let (place, bit) = (range.start + next(range.len()), next(8));
        let mut bytes = good.to_vec();
        bytes[place] ^= 1 << bit;
        let part = Part {
            name: name.as_bytes().to_vec(),
            bytes: Some(Arc::new(bytes) as Arc<dyn ReadAt>),
        };
        let Opening::Open(opened) = open(&Parts::new(vec![part], true)) else {
            panic!("{name}: bit {bit} of {place:#x} is no part of a header");
        };
        let lost = lost_bytes(&opened.image, raw, block);
        assert!(
            lost <= block,
            "{name}: bit {bit} of {place:#x} costs {lost} bytes"
        );
        told += usize::from(lost > 0);
    }
    assert!(
        told > HITS * 9 / 10,
        "{name}: only {told} of {HITS} hits are told"
    );
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    let bytes = bytes[at..at + len].iter().rev();
    bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// R22: damage may make the stream of a grain longer than the grain, and then its checksum stands behind the bytes that are wanted.
#[test]
fn r22_a_hit_grain_of_a_vmdk_is_never_wrong_bytes() {
    let (folder, raw) = text();
    let arguments = [
        "convert",
        "-f",
        "raw",
        "-O",
        "vmdk",
        "-o",
        "subformat=streamOptimized",
        "raw.img",
        "disk.vmdk",
    ];
    if !run(folder.path(), "qemu-img", &arguments) {
        return;
    }
    let good = fs::read(folder.path().join("disk.vmdk")).expect("read");
    // Behind the header and what comes with it: markers, of which those with a length are grains.
    let (mut at, mut grains) = (number(&good, 64, 8) * 512, Vec::new());
    while at + 512 <= good.len() {
        let (value, len) = (number(&good, at, 8), number(&good, at + 8, 4));
        if len > 0 {
            grains.push(at + 12..at + 12 + len);
            at += (12 + len).next_multiple_of(512);
        } else {
            at += (1 + value) * 512;
        }
    }
    assert_eq!(grains.len(), raw.len().div_ceil(65_536));
    hit("disk.vmdk", &good, &grains, &raw, 65_536);
}

/// R22: as for VMDK. Chunks are small; nearly every hit in a well compressed one makes it longer or shorter.
#[test]
fn r22_a_hit_chunk_of_an_ewf_is_never_wrong_bytes() {
    let (folder, raw) = text();
    let arguments = ["-u", "-q", "-c", "best", "-t", "case", "-d", "sha1", "raw.img"];
    if !run(folder.path(), "ewfacquire", &arguments) {
        return;
    }
    let good = fs::read(folder.path().join("case.E01")).expect("read");
    let (mut at, mut chunks) = (13, Vec::new());
    loop {
        let next = number(&good, at + 16, 8);
        if good[at..].starts_with(b"sectors\0") {
            chunks.push(at + 76..next);
        }
        if next <= at {
            break;
        }
        at = next;
    }
    assert_eq!(chunks.len(), 1);
    hit("case.E01", &good, &chunks, &raw, 32_768);
}
