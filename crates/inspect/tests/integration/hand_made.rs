//! Disks made byte by byte, whose verdicts need no file system reader.

use ntt_inspect::layer::{IdentifiedClass, LayerTree, Verdict};
use ntt_inspect::tree::build;
use ntt_model::{ByteRange, FindingCode};
use ntt_source::Masked;

const PARTITION_SECTORS: u32 = 2048;

/// An MBR whose partitions of 1 MiB start at 1, 2, 3 and 4 MiB; 5 MiB in all.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 5 << 20];
    for (index, kind) in [(0, 0x82), (1, 0x07), (2, 0x83), (3, 0x0c)] {
        let at = 446 + usize::try_from(index).expect("small") * 16;
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&((index + 1) * PARTITION_SECTORS).to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&PARTITION_SECTORS.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mib = 1 << 20;
    disk[mib + 4086..mib + 4096].copy_from_slice(b"SWAPSPACE2");
    disk[mib + 1052..mib + 1056].copy_from_slice(b"swap");
    disk[2 * mib..3 * mib].fill(0x55);
    disk[3 * mib..3 * mib + 8].copy_from_slice(b"whatever");
    disk[4 * mib + 3..4 * mib + 11].copy_from_slice(b"NTFS    ");
    disk[4 * mib + 12] = 2;
    disk
}

fn verdicts(tree: &LayerTree) -> Vec<&Verdict> {
    tree.volumes.iter().map(|volume| &volume.verdict).collect()
}

fn codes(tree: &LayerTree) -> Vec<FindingCode> {
    tree.findings.iter().map(|finding| finding.code).collect()
}

/// R14: swap, an erased, an unknown and a foreign partition are each listed with what they are.
#[test]
fn r14_every_partition_is_listed_whatever_its_neighbours_do() {
    let tree = build(&disk());
    assert_eq!(
        tree.volumes
            .iter()
            .map(|volume| volume.number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let mut first_bytes = vec![0; 64];
    first_bytes[..8].copy_from_slice(b"whatever");
    let identified = |class, type_name: &str| Verdict::Identified {
        class,
        type_name: type_name.to_owned(),
    };
    assert_eq!(
        verdicts(&tree),
        [
            &identified(IdentifiedClass::Swap, "swap"),
            &Verdict::Empty {
                fill: 0x55,
                examined_bytes: 1 << 20
            },
            &Verdict::Unknown { first_bytes },
            &identified(IdentifiedClass::FileSystem, "ntfs"),
        ]
    );
    assert_eq!(tree.volumes[0].label, "swap");
    assert_eq!(tree.volumes[0].found_by, "mbr primary 1");
    assert_eq!(tree.tables.len(), 1);
    assert_eq!(codes(&tree), []);
}

/// R12, R15: so does one that is cut before its first partition, unless something is recognised in what is left: then the table is one from before.
#[test]
fn r12_an_image_cut_before_its_first_partition_is_incomplete() {
    for bytes in [512, 4096, 1 << 20] {
        let mut cut = disk();
        cut.truncate(bytes);
        let tree = build(&cut);
        assert_eq!(tree.expected_bytes, 5 << 20, "{bytes} bytes");
        assert_eq!(tree.tables.len(), 1, "{bytes} bytes");
        assert_eq!(verdicts(&tree), [&Verdict::BeyondEnd; 4], "{bytes} bytes");
        assert_eq!(codes(&tree), [FindingCode::BeyondEnd; 5], "{bytes} bytes");
    }
    let mut swap = disk();
    swap.truncate(1 << 20);
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    swap[1024] = 1;
    swap[1028] = 255;
    let tree = build(&swap);
    assert_eq!(tree.tables, []);
    let is_swap = |volume: &Verdict| {
        matches!(
            volume,
            Verdict::Identified {
                class: IdentifiedClass::Swap,
                ..
            }
        )
    };
    assert!(tree.volumes.len() == 1 && is_swap(&tree.volumes[0].verdict));
}

/// R15: a boot sector is no table for ending as one does.
#[test]
fn r15_a_boot_sector_alone_is_no_table() {
    let mut boot = vec![0; 64 << 10];
    boot[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    boot[3..11].copy_from_slice(b"MSDOS5.0");
    boot[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(build(&boot).tables, []);
    for (at, byte) in boot.iter_mut().enumerate().take(510).skip(62) {
        *byte = b"Disk error, press any key"[at % 25];
    }
    assert_eq!(build(&boot).tables, []);
}

/// R12, R14: a cut image lists the partitions that it lost, and knows how long it should be.
#[test]
fn r12_a_cut_image_is_incomplete_and_keeps_its_volumes() {
    let mut bytes = disk();
    bytes.truncate((3 << 20) + 4096);
    let tree = build(&bytes);
    assert_eq!(tree.expected_bytes, 5 << 20);
    assert_eq!(tree.volumes.len(), 4);
    assert_eq!(tree.volumes[2].available_bytes, 4096);
    assert_eq!(tree.volumes[2].verdict, Verdict::BeyondEnd);
    assert_eq!(tree.volumes[3].available_bytes, 0);
    assert_eq!(tree.volumes[3].verdict, Verdict::BeyondEnd);
    assert!(codes(&tree).iter().all(|code| *code == FindingCode::BeyondEnd));
    assert_eq!(
        tree.findings.last().and_then(|finding| finding.image_offset),
        Some((3 << 20) + 4096)
    );
}

/// R13: the verdict of an erased partition counts the rescued bytes only; R11: a partition without one rescued byte is unread.
#[test]
fn r13_unread_bytes_are_not_examined() {
    let unread = vec![
        ByteRange::new((2 << 20) + 512, 1024),
        ByteRange::new(3 << 20, 1 << 20),
    ];
    let tree = build(&Masked::new(disk(), unread));
    assert_eq!(
        tree.volumes[1].verdict,
        Verdict::Empty {
            fill: 0x55,
            examined_bytes: (1 << 20) - 1024
        }
    );
    assert_eq!(tree.volumes[2].verdict, Verdict::Unread);
    assert_eq!(tree.volumes.len(), 4);
}

/// R11, R13: zeros behind a start that was never rescued may be the free space of a file system.
#[test]
fn r13_a_volume_whose_start_is_unread_is_not_empty() {
    let start = |len: u64| {
        let unread = vec![ByteRange::new(0, len)];
        build(&Masked::new(vec![0; 8 << 20], unread)).volumes[0]
            .verdict
            .clone()
    };
    assert_eq!(start(3 << 20), Verdict::Unread);
    assert!(matches!(start(512), Verdict::Empty { .. }));
}

#[test]
fn an_image_without_table_is_one_volume() {
    let tree = build(&vec![0xf6; 1_474_560]);
    assert_eq!(
        verdicts(&tree),
        [&Verdict::Empty {
            fill: 0xf6,
            examined_bytes: 1_474_560
        }]
    );
    assert_eq!(tree.volumes[0].found_by, "whole image");
    let mut unknown = vec![0; 4096];
    unknown[0] = 1;
    assert!(matches!(
        verdicts(&build(&unknown))[..],
        [Verdict::Unknown { .. }]
    ));
    assert!(matches!(
        verdicts(&build(&Masked::new(vec![0; 4096], vec![ByteRange::new(0, 4096)])))[..],
        [Verdict::Unread]
    ));
}

/// Who takes an archive for an image is told so.
#[test]
fn a_file_that_is_no_image_is_told_by_its_type() {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"name");
    assert!(build(&bytes).findings.is_empty());
    bytes[257..262].copy_from_slice(b"ustar");
    let tree = build(&bytes);
    assert!(matches!(verdicts(&tree)[..], [Verdict::Unknown { .. }]));
    assert_eq!(codes(&tree), [FindingCode::Unsupported]);
    assert!(tree.findings[0].detail.contains("application/x-tar"), "{tree:?}");
}

/// R15: a disk inside a partition: the table in the slot is read, its slots are placed in the image.
#[test]
fn r15_a_table_inside_a_partition_is_followed() {
    let inner = disk();
    let mut outer = vec![0; 7 << 20];
    outer[446 + 4] = 0x83;
    outer[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    outer[446 + 12..446 + 16].copy_from_slice(&(6 * 2048_u32).to_le_bytes());
    outer[510..512].copy_from_slice(&[0x55, 0xaa]);
    outer[1 << 20..6 << 20].copy_from_slice(&inner);
    let tree = build(&outer);
    assert_eq!(tree.volumes[0].verdict, Verdict::Table);
    assert_eq!(tree.volumes[1].found_by, "mbr primary 1 in mbr primary 1");
    assert_eq!(tree.volumes[1].range.offset, 2 << 20);
    assert_eq!((tree.volumes.len(), tree.tables.len()), (5, 2));
}

/// The boot code of a foreign file system is not taken for a partition table.
#[test]
fn a_boot_sector_is_not_a_partition_table() {
    let mut bytes = disk();
    bytes[3..11].copy_from_slice(b"EXFAT   ");
    let tree = build(&bytes);
    assert_eq!(tree.tables, []);
    assert!(matches!(
        verdicts(&tree)[..],
        [Verdict::Identified {
            class: IdentifiedClass::FileSystem,
            ..
        }]
    ));
}
