//! Tables of blocks that were struck: what the rest of the file contradicts is no hole (R13, R22).

use std::fs;
use std::path::Path;

use ntt_container::Opened;
use ntt_model::{FindingCode, Severity};
use ntt_source::ReadAt;

use crate::made::{folder, opened, run};

/// An image of `mib` MiB without a hole, in a format of qemu-img; `None` if that is not installed.
fn made(folder: &Path, mib: usize, format: &str, options: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let raw: Vec<u8> = (0..mib << 17)
        .flat_map(|word| u64::to_be_bytes(u64::try_from(word).expect("small") * 0x0001_0003 + 1))
        .collect();
    fs::write(folder.join("raw.img"), &raw).expect("written");
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    arguments.extend(["raw.img", "disk"]);
    run(folder, "qemu-img", &arguments).then(|| (raw, fs::read(folder.join("disk")).expect("read")))
}

fn struck(folder: &Path, file: &[u8], strike: impl FnOnce(&mut [u8])) -> Opened {
    let mut file = file.to_vec();
    strike(&mut file);
    fs::write(folder.join("struck"), file).expect("written");
    opened(&folder.join("struck"))
}

/// How many MiB of the image are as they were, cannot be read, and are wrong.
fn compared(image: &dyn ReadAt, raw: &[u8]) -> [usize; 3] {
    let mut counts = [0; 3];
    for (number, expected) in raw.chunks(1 << 20).enumerate() {
        let mut bytes = vec![0; expected.len()];
        let read = image.read_exact_at(u64::try_from(number << 20).expect("small"), &mut bytes);
        let kind = match read {
            Ok(()) if bytes == expected => 0,
            Ok(()) => 2,
            Err(_) => 1,
        };
        counts[kind] += 1;
    }
    counts
}

/// The losses that an opened image tells, by their text.
fn losses(found: &Opened) -> Vec<String> {
    let losses = found
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Loss);
    losses.map(|finding| finding.detail.clone()).collect()
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_le_bytes(
        bytes[at..at + 4].try_into().expect("four bytes"),
    ))
    .expect("small")
}

#[test]
fn r22_a_struck_map_of_a_vdi_is_told() {
    let (folder, _) = folder();
    let path = folder.path();
    let Some((raw, file)) = made(path, 8, "vdi", "") else {
        return;
    };
    let map = number(&file, 340);
    let found = struck(path, &file, |_| {});
    assert_eq!(
        (found.findings.len(), compared(&found.image, &raw)),
        (0, [8, 0, 0])
    );
    // Holes, told by the count of the header.
    let found = struck(path, &file, |file| file[map..map + 32].fill(0xff));
    let told = losses(&found);
    assert!(
        told[0].contains("8 blocks") && told[0].contains("names 0"),
        "{told:?}"
    );
    // All of them the first one.
    let found = struck(path, &file, |file| file[map..map + 32].fill(0));
    assert!(
        losses(&found)[0].contains("1 places are named more than once"),
        "{found:?}",
        found = found.findings
    );
    assert_eq!(compared(&found.image, &raw), [0, 8, 0]);
    // One that names the place of another, and one beyond the end.
    let found = struck(path, &file, |file| {
        file[map..map + 4].copy_from_slice(&1_u32.to_le_bytes());
        file[map + 8..map + 12].copy_from_slice(&700_u32.to_le_bytes());
    });
    assert_eq!(compared(&found.image, &raw), [5, 3, 0]);
    assert_eq!(losses(&found).len(), 1, "{:?}", found.findings);
    // A count that is too low is remarkable; a block that none of both knows is of a write that did not end.
    let found = struck(path, &file, |file| file[388] = 7);
    assert_eq!((losses(&found).len(), found.findings.len()), (0, 1));
    let found = struck(path, &file, |file| {
        file[388] = 7;
        file[map + 28..map + 32].fill(0xff);
    });
    assert_eq!(losses(&found), Vec::<String>::new());
    assert_eq!(found.findings[0].code, FindingCode::Contradiction);
}

#[test]
fn r22_a_struck_table_of_a_vhd_is_told() {
    let (folder, _) = folder();
    let path = folder.path();
    let Some((raw, file)) = made(path, 8, "vpc", "subformat=dynamic,force_size=on") else {
        return;
    };
    let table = file[512 + 16..512 + 24].try_into().expect("eight bytes");
    let table = usize::try_from(u64::from_be_bytes(table)).expect("small");
    let found = struck(path, &file, |_| {});
    assert_eq!(
        (found.findings.len(), compared(&found.image, &raw)),
        (0, [8, 0, 0])
    );
    let found = struck(path, &file, |file| file[table..table + 512].fill(0xff));
    assert!(
        losses(&found)[0].contains("4 blocks of the file are in no entry"),
        "{:?}",
        found.findings
    );
    // Blocks in the file's own header are none.
    let found = struck(path, &file, |file| file[table..table + 512].fill(0));
    assert!(
        losses(&found)[0].contains("table of blocks is damaged"),
        "{:?}",
        found.findings
    );
    assert_eq!(compared(&found.image, &raw), [0, 8, 0]);
    // One entry alone; the place of the second.
    let found = struck(path, &file, |file| file[table..table + 4].fill(0xff));
    assert!(
        losses(&found)[0].contains("1 blocks of the file"),
        "{:?}",
        found.findings
    );
    let found = struck(path, &file, |file| file.copy_within(table + 4..table + 8, table));
    assert_eq!(compared(&found.image, &raw), [4, 4, 0]);
    assert_eq!(
        losses(&found).len(),
        2,
        "named twice, and not at all: {:?}",
        found.findings
    );
    // What was written as zeros and is not named is no loss.
    let found = struck(path, &file, |file| {
        let at = u32::from_be_bytes(file[table..table + 4].try_into().expect("four bytes"));
        let at = usize::try_from(at).expect("small") * 512;
        file[at..at + (2 << 20) + 512].fill(0);
        file[table..table + 4].fill(0xff);
    });
    assert_eq!(found.findings, []);
}

#[test]
fn r22_a_struck_table_of_a_vhdx_is_told() {
    let (folder, _) = folder();
    let path = folder.path();
    let Some((raw, file)) = made(path, 8, "vhdx", "block_size=1M") else {
        return;
    };
    let regions = &file[192 << 10..];
    let bat = (0..2)
        .map(|entry| 16 + 32 * entry)
        .find(|at| regions[*at..].starts_with(&[0x66, 0x77, 0xc2, 0x2d]))
        .map(|at| number(regions, at + 16))
        .expect("a BAT");
    let found = struck(path, &file, |_| {});
    assert_eq!(
        (found.findings.len(), compared(&found.image, &raw)),
        (0, [8, 0, 0])
    );
    let found = struck(path, &file, |file| file[bat..bat + 512].fill(0));
    assert!(
        losses(&found)[0].contains("8 blocks of the file are in no entry"),
        "{:?}",
        found.findings
    );
    let found = struck(path, &file, |file| file[bat..bat + 512].fill(0xff));
    assert!(
        losses(&found)[0].contains("table of blocks is damaged"),
        "{:?}",
        found.findings
    );
    assert_eq!(compared(&found.image, &raw), [0, 8, 0]);
    // One block that is not named may have been given back; two that are one are lost.
    let found = struck(path, &file, |file| file[bat..bat + 8].fill(0));
    assert_eq!((losses(&found).len(), found.findings.len()), (0, 1));
    let found = struck(path, &file, |file| file.copy_within(bat..bat + 8, bat + 8));
    assert_eq!(compared(&found.image, &raw), [6, 2, 0]);
    assert_eq!(losses(&found).len(), 1, "{:?}", found.findings);
}
