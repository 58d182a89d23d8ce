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
    let bat = bat_of(&file);
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
    // One entry that is gone is a loss.
    let found = struck(path, &file, |file| file[bat..bat + 8].fill(0));
    assert!(
        losses(&found)[0].contains("1 blocks of the file are in no entry"),
        "{:?}",
        found.findings
    );
    // A block that was unmapped gave its place back, also where others were never written.
    let found = struck(path, &file, |file| {
        file[bat..bat + 8].copy_from_slice(&3_u64.to_le_bytes());
    });
    assert_eq!((losses(&found).len(), found.findings.len()), (0, 1));
    let found = struck(path, &file, |file| {
        file[bat..bat + 8].copy_from_slice(&3_u64.to_le_bytes());
        file[bat + 8..bat + 16].fill(0);
    });
    assert_eq!(losses(&found).len(), 1, "{:?}", found.findings);
    // Two blocks that are one are lost.
    let found = struck(path, &file, |file| file.copy_within(bat..bat + 8, bat + 8));
    assert_eq!(compared(&found.image, &raw), [6, 2, 0]);
    assert_eq!(losses(&found).len(), 1, "{:?}", found.findings);
}

/// QEMU makes blocks that were never written blocks of zeros; a lost entry shows among them too, in blocks of any length.
#[test]
fn r22_one_lost_entry_of_a_vhdx_with_holes_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let mut raw = vec![0; 40 << 20];
    raw[1 << 20..2 << 20].fill(b'a');
    raw[33 << 20..34 << 20].fill(b'b');
    fs::write(path.join("raw.img"), &raw).expect("written");
    for options in [
        "block_size=1M",
        "block_size=8M",
        "block_size=1M,block_state_zero=off",
        "block_size=8M,subformat=fixed",
    ] {
        let convert = [
            "convert", "-f", "raw", "-O", "vhdx", "-o", options, "raw.img", "disk",
        ];
        if !run(path, "qemu-img", &convert) {
            return;
        }
        let file = fs::read(path.join("disk")).expect("read");
        assert_eq!(struck(path, &file, |_| {}).findings, [], "{options}");
        let bat = bat_of(&file);
        let is_present = |entry: &usize| file[bat + 8 * entry] & 7 == 6;
        let entry = bat + 8 * (1..40).rev().find(is_present).expect("an entry");
        let found = struck(path, &file, |file| file[entry..entry + 8].fill(0));
        assert_eq!(losses(&found).len(), 1, "{options}: {:?}", found.findings);
    }
}

/// Where the BAT of a VHDX stands.
fn bat_of(file: &[u8]) -> usize {
    let regions = &file[192 << 10..];
    let mut entries = (0..2).map(|entry| 16 + 32 * entry);
    let at = entries.find(|at| regions[*at..].starts_with(&[0x66, 0x77, 0xc2, 0x2d]));
    number(regions, at.expect("a BAT") + 16)
}

fn at(bytes: &[u8], at: usize) -> usize {
    let offset = u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    usize::try_from(offset & 0x00ff_ffff_ffff_fe00).expect("small")
}

#[test]
fn r22_struck_tables_of_a_qcow2_are_told() {
    let (folder, _) = folder();
    let path = folder.path();
    for options in [
        "compat=1.1",
        "compat=0.10",
        "compat=1.1,extended_l2=on",
        "refcount_bits=1",
    ] {
        let Some((raw, file)) = made(path, 8, "qcow2", options) else {
            return;
        };
        let entry_bytes = if options.contains("extended") { 16 } else { 8 };
        let l1 = at(&file, 40);
        let l2 = at(&file, l1);
        let found = struck(path, &file, |_| {});
        assert_eq!(
            (found.findings.len(), compared(&found.image, &raw)),
            (0, [8, 0, 0])
        );
        let found = struck(path, &file, |file| file[l1..l1 + 8].fill(0));
        assert!(losses(&found)[0].contains("129 clusters"), "{:?}", found.findings);
        let found = struck(path, &file, |file| file[l2..l2 + 512].fill(0));
        let lost = 512 / entry_bytes;
        assert!(
            losses(&found)[0].contains(&format!("{lost} clusters")),
            "{:?}",
            found.findings
        );
        // The last one alone may be of a write that did not end.
        let last = l2 + 127 * entry_bytes;
        let found = struck(path, &file, |file| file[last..last + entry_bytes].fill(0));
        assert_eq!(
            (losses(&found).len(), found.findings.len()),
            (0, 1),
            "{:?}",
            found.findings
        );
        let found = struck(path, &file, |file| file[l2..l2 + entry_bytes].fill(0));
        assert_eq!(losses(&found).len(), 1, "{:?}", found.findings);
        let offset = |at: usize| u64::try_from(at).expect("small");
        let other = offset(at(&file, l2 + 64 * entry_bytes));
        // Entries that name the file's own tables, a place in the middle of a cluster, another's cluster, nothing.
        for wrong in [
            offset(l1),
            offset(l2),
            1 << 16 | 1 << 9,
            other,
            1 << 40,
            1 << 63,
            !0 ^ 1 << 62,
        ] {
            let found = struck(path, &file, |file| {
                file[l2..l2 + 8].copy_from_slice(&wrong.to_be_bytes());
            });
            assert_eq!(compared(&found.image, &raw)[2], 0, "{options} {wrong:#x}");
            assert!(
                losses(&found)[0].contains("tables of clusters are damaged"),
                "{wrong:#x} {:?}",
                found.findings
            );
        }
        for wrong in [0_u64, offset(l1), 1 << 40, 1 << 9, !0] {
            let found = struck(path, &file, |file| {
                file[l1..l1 + 8].copy_from_slice(&wrong.to_be_bytes());
            });
            assert!(!losses(&found).is_empty(), "{wrong:#x}");
            assert_eq!(
                compared(&found.image, &raw)[1],
                if wrong == 0 { 0 } else { 8 },
                "{wrong:#x}"
            );
        }
        // An L1 that is too short has no holes behind its end.
        let found = struck(path, &file, |file| file[36..40].fill(0));
        assert_eq!(compared(&found.image, &raw), [0, 8, 0]);
    }
}

#[test]
fn r22_struck_tables_of_a_qcow_are_told() {
    let (folder, _) = folder();
    let path = folder.path();
    let Some((raw, file)) = made(path, 8, "qcow", "") else {
        return;
    };
    let l1 = at(&file, 40);
    // L1 need not begin with a sector.
    let l1 = l1 + usize::from(file[47]) + (usize::from(file[46]) & 1) * 256;
    let l2 = at(&file, l1);
    let found = struck(path, &file, |_| {});
    assert_eq!(
        (found.findings.len(), compared(&found.image, &raw)),
        (0, [8, 0, 0])
    );
    for place in [l1..l1 + 32, l2..l2 + 512] {
        let found = struck(path, &file, |file| file[place].fill(0));
        assert!(
            losses(&found)[0].contains("are in no entry"),
            "{:?}",
            found.findings
        );
    }
    let found = struck(path, &file, |file| {
        file[l2..l2 + 8].copy_from_slice(&1_u64.to_be_bytes());
    });
    assert_eq!(compared(&found.image, &raw), [7, 1, 0]);
    assert!(losses(&found)[0].contains("damaged"), "{:?}", found.findings);
    let found = struck(path, &file, |file| file.copy_within(l2 + 8..l2 + 16, l2));
    assert_eq!(compared(&found.image, &raw), [7, 1, 0]);
}

/// Whatever qemu leaves in a file that is whole is no finding; `qemu-img check` says that it is.
#[test]
fn what_is_whole_is_told_to_be() {
    let (folder, _) = folder();
    let path = folder.path();
    for options in [
        "preallocation=metadata",
        "preallocation=falloc",
        "lazy_refcounts=on",
        "refcount_bits=1",
        "refcount_bits=64",
        "cluster_size=512",
        "cluster_size=2M",
        "extended_l2=on",
        "data_file=outside.raw",
    ] {
        let create = ["create", "-q", "-f", "qcow2", "-o", options, "disk.qcow2", "64M"];
        if !run(path, "qemu-img", &create) {
            return;
        }
        let io = |command: &str| {
            run(
                path,
                "qemu-io",
                &[
                    "-f",
                    "qcow2",
                    "-d",
                    "unmap",
                    "-t",
                    "unsafe",
                    "-c",
                    command,
                    "disk.qcow2",
                ],
            )
        };
        for command in [
            "write -P 1 5M 3M",
            "write -P 2 48M 1M",
            "write -c -P 3 30M 64k",
            "write -z 6M 1M",
            "discard 7M 1M",
            "write -P 4 63M 12k",
        ] {
            // What is allocated or smaller than a cluster is not compressed.
            if command.starts_with("write -c")
                && (options.contains("2M")
                    || options.contains("preallocation")
                    || options.contains("data_file"))
            {
                continue;
            }
            io(command);
        }
        let unsaid = |when: &str| {
            let found = opened(&path.join("disk.qcow2"));
            let said = found
                .findings
                .iter()
                .filter(|finding| !finding.detail.contains("snapshots are listed"));
            assert_eq!(said.count(), 0, "{options} {when} {:?}", found.findings);
        };
        unsaid("written");
        // A count of one bit has no room for snapshots.
        if options.ends_with("bits=1") || options.starts_with("data_file") {
            continue;
        }
        run(path, "qemu-img", &["snapshot", "-c", "first", "disk.qcow2"]);
        unsaid("with a snapshot");
        io("write -P 5 5M 1M");
        io("discard 48M 1M");
        run(path, "qemu-img", &["snapshot", "-c", "second", "disk.qcow2"]);
        io("write -P 5 40M 1M");
        unsaid("with two snapshots");
        run(path, "qemu-img", &["snapshot", "-d", "first", "disk.qcow2"]);
        run(path, "qemu-img", &["snapshot", "-a", "second", "disk.qcow2"]);
        unsaid("set back");
        run(path, "qemu-img", &["snapshot", "-d", "second", "disk.qcow2"]);
        run(path, "qemu-img", &["resize", "-q", "disk.qcow2", "80M"]);
        unsaid("longer");
        run(
            path,
            "qemu-img",
            &["resize", "-q", "--shrink", "disk.qcow2", "20M"],
        );
        unsaid("shorter");
        run(path, "qemu-img", &["bitmap", "--add", "disk.qcow2", "bits"]);
        unsaid("with a bitmap");
    }
}

/// R22: of an image with snapshots nothing is leaked when its own table is struck.
#[test]
fn r22_an_empty_table_beside_those_of_snapshots_is_told() {
    let (folder, _) = folder();
    let path = folder.path();
    let Some((..)) = made(path, 8, "qcow2", "") else {
        return;
    };
    run(path, "qemu-img", &["snapshot", "-c", "first", "disk"]);
    let file = fs::read(path.join("disk")).expect("read");
    let l1 = at(&file, 40);
    let found = struck(path, &file, |file| file[l1..l1 + 8].fill(0));
    assert!(
        losses(&found)[0].contains("those of its snapshots"),
        "{:?}",
        found.findings
    );
}
