//! The trees of public images and of images made with Debian's tools: what stands where, found without a hint.

use std::path::Path;
use std::process::{Command, Stdio};

use ntt_filesystem::Family;
use ntt_inspect::layer::{LayerTree, Verdict};
use ntt_inspect::tree::build;
use ntt_source::FileSource;
use ntt_testkit::corpus::{corpus_image, have};

fn tree_of(relative: &str) -> Option<LayerTree> {
    let image = corpus_image(relative)?;
    Some(build(&FileSource::open(image.path()).expect("an image")))
}

/// One line a volume: how it was found, first byte, verdict, types.
fn lines(tree: &LayerTree) -> Vec<String> {
    tree.volumes
        .iter()
        .map(|volume| {
            let types: Vec<&str> = volume
                .file_systems
                .iter()
                .filter_map(|layer| layer.facts.as_ref())
                .map(|facts| facts.type_name.as_str())
                .collect();
            let verdict = match &volume.verdict {
                Verdict::Identified { type_name, .. } => type_name.clone(),
                Verdict::Readable => types.join("+"),
                other => format!("{other:?}")
                    .split([' ', '{'])
                    .next()
                    .unwrap_or_default()
                    .to_lowercase(),
            };
            format!("{} at {}: {verdict}", volume.found_by, volume.range.offset)
        })
        .collect()
}

/// R15: the six FAT volumes of DFTT 1 in primaries and chained extended partitions.
#[test]
fn r15_dftt_1_has_six_fat_volumes() {
    let Some(tree) = tree_of("dftt/1-extend-part.zip") else {
        return;
    };
    let readable: Vec<String> = lines(&tree)
        .into_iter()
        .filter(|line| line.ends_with(": fat16"))
        .collect();
    assert_eq!(readable.len(), 6, "{:#?}", lines(&tree));
    assert!(
        tree.volumes
            .iter()
            .all(|volume| matches!(volume.verdict, Verdict::Readable | Verdict::Table))
    );
}

/// Superfloppies: the file system is the image, no table is invented.
#[test]
fn r15_superfloppies_are_one_volume() {
    for (image, expected) in [
        ("disktype/fat12-floppy.image.gz", "fat12"),
        ("preservation/practical.floppy.dd.gz", "fat12"),
        ("retro/test_fat16.img.zst", "fat16"),
        ("disktype/ext2.image.gz", "ext2"),
        ("disktype/ext3.image.gz", "ext3"),
        ("retro/test_ext4.img.zst", "ext4"),
        ("retro/test_ntfs.img.zst", "ntfs"),
        ("retro/test_exfat.img.zst", "exfat"),
        ("detect/jfs.img.xz", "jfs"),
        ("detect/minix-LE.img.xz", "minix"),
        ("disktype/reiserfs-3.5.image.gz", "reiserfs"),
        ("retro/test_reiserfs_v3_6.img.zst", "reiserfs"),
        ("retro/xfs_v5_modern_small.img.zst", "xfs"),
        ("disktype/iso9660-rockridge.image.gz", "iso9660"),
        ("dfvfs/apfs.raw.gz", "apfs"),
        ("retro/test_ufs2.img.zst", "ufs2"),
        ("disktype/ufs-darwin.image.gz", "ufs1"),
        ("disktype/hfs.image.gz", "hfs"),
        ("disktype/hfs-plus.image.gz", "hfsplus"),
        ("retro/test_hfsplus_journaled_dirty.img.zst", "hfsplus"),
        ("preservation/hello-world-hfs.img.gz", "hfs"),
    ] {
        let Some(tree) = tree_of(image) else { return };
        assert_eq!(lines(&tree), [format!("whole image at 0: {expected}")], "{image}");
        assert_eq!(tree.tables, [], "{image}");
    }
}

#[test]
fn foreign_file_systems_are_identified() {
    let image = "disktype/linux-swap-v2-i386-4k.image.gz";
    let Some(tree) = tree_of(image) else { return };
    assert_eq!(lines(&tree), ["whole image at 0: swap"], "{image}");
}

/// A fresh FAT file system of `kib` KiB.
fn fat(folder: &Path, kib: u64) -> Option<Vec<u8>> {
    if !have("mkfs.fat") {
        return None;
    }
    let path = folder.join("fat.img");
    let status = Command::new("mkfs.fat")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-C", "-n", "FOUND"])
        .arg(&path)
        .arg(kib.to_string())
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("a run").success());
    Some(std::fs::read(&path).expect("the image"))
}

fn readable_fats(tree: &LayerTree) -> Vec<(&str, u64)> {
    tree.volumes
        .iter()
        .filter(|volume| volume.verdict == Verdict::Readable)
        .filter(|volume| {
            volume
                .file_systems
                .iter()
                .any(|layer| layer.family == Family::Fat)
        })
        .map(|volume| (volume.found_by.as_str(), volume.range.offset))
        .collect()
}

/// R15: a volume without a usable table, at the places where Zip drives and today's tools put it, and at an odd sector.
#[test]
fn r15_volumes_without_a_table_are_found_without_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(fat) = fat(folder.path(), 1440) else {
        return;
    };
    for (offset, found_by) in [
        (16_384_usize, "zip offset"),
        (1 << 20, "1 MiB offset"),
        (63 * 512, "signature scan"),
    ] {
        let mut image = vec![0x41; offset];
        image.extend_from_slice(&fat);
        image.resize(offset + fat.len() + 4096, 0x42);
        let tree = build(&image);
        let offset = u64::try_from(offset).expect("small");
        assert_eq!(readable_fats(&tree), [(found_by, offset)]);
        assert_eq!(tree.volumes.len(), 1);
    }
}

/// R15: a volume 1 MiB into its partition.
#[test]
fn r15_a_volume_at_1_mib_inside_a_partition_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(fat) = fat(folder.path(), 1440) else {
        return;
    };
    let mut image = vec![0; 2 << 20];
    image.extend_from_slice(&fat);
    let sectors = u32::try_from(image.len() / 512 - 2048).expect("small");
    image[1 << 20] = 1;
    image[446 + 4] = 0x06;
    image[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    image[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(
        readable_fats(&build(&image)),
        [("1 MiB offset in mbr primary 1", 2 << 20)]
    );
}

/// R22: the first link of the chain is destroyed; every volume is still found, by its signature.
#[test]
fn r14_volumes_behind_a_broken_chain_are_found_by_the_scan() {
    let Some(image) = corpus_image("dftt/1-extend-part.zip") else {
        return;
    };
    let mut bytes = std::fs::read(image.path()).expect("the image");
    let intact = build(&bytes);
    let container = intact
        .volumes
        .iter()
        .find(|volume| volume.verdict == Verdict::Table)
        .expect("an extended partition");
    let at = usize::try_from(container.range.offset).expect("small");
    bytes[at..at + 512].fill(0);
    let damaged = build(&bytes);
    let starts = |tree: &LayerTree| {
        let mut starts: Vec<u64> = readable_fats(tree).iter().map(|(_, start)| *start).collect();
        starts.sort_unstable();
        starts
    };
    assert_eq!(starts(&damaged), starts(&intact));
    assert!(
        damaged
            .volumes
            .iter()
            .any(|volume| volume.found_by == "signature scan")
    );
}

/// R12: a FAT whose image was cut says what is missing.
#[test]
fn r12_a_cut_superfloppy_is_incomplete() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut fat) = fat(folder.path(), 1440) else {
        return;
    };
    fat.truncate(1_000_000);
    let tree = build(&fat);
    assert_eq!((tree.image_bytes, tree.expected_bytes), (1_000_000, 1_474_560));
    assert_eq!(readable_fats(&tree), [("whole image", 0)]);
}

/// R18: both sides of a hybrid disc are listed.
#[test]
fn r18_a_hybrid_disc_shows_both_sides() {
    let Some(tree) = tree_of("disktype/iso9660-hybrid.image.gz") else {
        return;
    };
    assert_eq!(lines(&tree), ["whole image at 0: iso9660+hfs"]);
}

/// A disc that starts from the image of a floppy: both are volumes.
#[test]
fn the_boot_image_of_a_disc_is_a_volume() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(floppy) = fat(folder.path(), 1440).filter(|_| have("genisoimage")) else {
        return;
    };
    let (tree, disc) = (folder.path().join("tree"), folder.path().join("disc.iso"));
    std::fs::create_dir(&tree).expect("a folder");
    std::fs::write(tree.join("boot.img"), &floppy).expect("written");
    std::fs::write(tree.join("loader"), b"no file system".repeat(200)).expect("written");
    let status = Command::new("genisoimage")
        .args(["-quiet", "-b", "boot.img", "-c", "boot.cat"])
        .args(["-eltorito-alt-boot", "-no-emul-boot", "-b", "loader", "-o"])
        .arg(&disc)
        .arg(&tree)
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("a run").success());
    let tree = build(&FileSource::open(&disc).expect("an image"));
    let [disc, boot] = lines(&tree).try_into().expect("two volumes");
    assert_eq!(disc, "whole image at 0: iso9660");
    assert!(
        boot.starts_with("el torito 1 at ") && boot.ends_with(": fat12"),
        "{boot}"
    );
    assert_eq!(tree.volumes[1].range.len, 1_474_560);
}
