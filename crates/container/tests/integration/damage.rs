//! Flipped and truncated containers: no panic, no endless loop, bounded memory, and no wrong length.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ntt_container::{Opening, Part, Parts, open};
use ntt_source::ReadAt;

use ntt_testkit::dmg::dmg;

use crate::made::{folder, raw_image, run};

const FLIPS: u64 = 500;
const CUTS: usize = 50;
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
