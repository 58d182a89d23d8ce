//! Volumes are found without a hint, and no two of them are taken for one (R15, R18, R24).

use std::fs;
use std::path::{Path, PathBuf};

use ntt_testkit::corpus::have;

use crate::environment::Environment;
use crate::images::{self, DEMO_EXT, DEMO_FAT};

/// Reads the one file that the volume at `offset` of a new disk holds.
fn read_at(offset: usize, prepare: impl Fn(&Path)) {
    let environment = Environment::new();
    let mut disk = vec![0; offset];
    disk.extend_from_slice(&images::demo()[DEMO_FAT]);
    let path = environment.write("disk.img", &disk);
    prepare(&path);
    let run = environment.ntt(["ingest", "disk.img"]);
    let said = run.everything();
    assert!(matches!(run.exit(), Some(0 | 3)), "{said}");
    let places = environment.ntt(["find", "--json", "--glob", "todo.txt"]).json(0);
    assert_eq!(places.len(), 1, "{said}");
    let volume = places[0]["volume"].as_u64().expect("a number");
    let target = format!("disk.img/{volume}/todo.txt");
    assert_eq!(environment.ntt(["cat", &target]).bytes(0), b"buy floppies\n");
}

#[test]
fn r15_a_superfloppy_has_its_volume_at_the_start() {
    read_at(0, |_| {});
}

#[test]
fn r15_a_zip_disk_without_its_table_has_its_volume_at_16384() {
    read_at(16_384, |_| {});
}

#[test]
fn r15_a_volume_at_one_mebibyte_needs_no_table() {
    read_at(1 << 20, |_| {});
}

#[test]
fn r15_a_damaged_table_does_not_hide_what_it_described() {
    read_at(1 << 20, |path| {
        // A table with its signature and nothing sensible in it.
        images::put(path, 446, &[0xa5; 64]);
        images::put(path, 510, &[0x55, 0xaa]);
    });
}

/// R15: the backup at the end tells the partitions when the first header of a GPT is gone.
#[test]
fn r15_a_gpt_without_its_first_header_is_read_from_the_other() {
    let environment = Environment::new();
    let disk = environment.work().join("disk.img");
    images::sparse(&disk, 20 << 20);
    if !images::partition(
        &disk,
        "label: gpt\nstart=2048, size=12288\nstart=14336, size=16384\n",
    ) {
        return;
    }
    let demo = images::demo();
    images::put(&disk, 2048 * 512, &demo[DEMO_FAT]);
    images::put(&disk, 14336 * 512, &demo[DEMO_EXT]);
    images::put(&disk, 512, &[0; 512]);
    let run = environment.ntt(["ingest", "disk.img"]);
    assert!(matches!(run.exit(), Some(0 | 3)), "{}", run.everything());
    assert_eq!(
        environment.ntt(["cat", "disk.img/1/todo.txt"]).bytes(0),
        b"buy floppies\n"
    );
    assert_eq!(
        environment.ntt(["cat", "disk.img/2/todo"]).bytes(0),
        b"buy floppies\n"
    );
    let findings = environment
        .ntt(["medium", "show", "--findings", "disk.img"])
        .code(0);
    assert!(findings.contains("gpt"), "{findings}");
}

/// R24: the same inode number on two volumes is two files.
#[test]
fn r24_equal_inode_numbers_on_two_volumes_are_two_files() {
    let environment = Environment::new();
    let disk = environment.work().join("disk.img");
    images::sparse(&disk, 20 << 20);
    let partitions = "label: dos\nstart=2048, size=16384, type=83\nstart=18432, size=16384, type=83\n";
    if !images::partition(&disk, partitions) {
        return;
    }
    for (number, start) in [(1, 2048_u64), (2, 18432)] {
        let tree = environment.work().join(format!("tree{number}"));
        fs::create_dir(&tree).expect("a new directory");
        fs::write(
            tree.join(format!("only on {number}")),
            format!("content {number}"),
        )
        .expect("a new file");
        fs::write(tree.join("same name"), format!("other content {number}")).expect("a new file");
        let volume: PathBuf = environment.work().join(format!("volume{number}.img"));
        let Some(_) = images::ext4(&volume, 8, &tree) else {
            return;
        };
        images::put(&disk, start * 512, &fs::read(&volume).expect("an image"));
    }
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let found = environment.ntt(["find", "--json", "same name"]).json(0);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0]["inode"], found[1]["inode"],
        "the test needs equal numbers"
    );
    for number in [1, 2] {
        for (name, content) in [
            ("same name", "other content"),
            (&format!("only on {number}"), "content"),
        ] {
            let target = format!("disk.img/{number}/{name}");
            let expected = format!("{content} {number}");
            assert_eq!(environment.ntt(["cat", &target]).bytes(0), expected.as_bytes());
        }
    }
}

/// R18: a disc whose trees contradict each other hides neither: here a Joliet tree lists a file that the ISO tree does not.
#[test]
fn r18_contradicting_trees_are_told_and_both_can_be_read() {
    if !have("genisoimage") {
        return;
    }
    let environment = Environment::new();
    environment.write("tree/both.txt", b"in both");
    environment.write("tree/joliet.txt", b"in Joliet only");
    let image = environment.work().join("disc.iso");
    let place = image.to_str().expect("a plain path");
    let tree = environment.work().join("tree");
    let tree = tree.to_str().expect("a plain path");
    let words = ["-quiet", "-J", "-hide", "joliet.txt", "-o", place, tree];
    images::run("genisoimage", words);
    let run = environment.ntt(["ingest", "disc.iso"]);
    assert!(matches!(run.exit(), Some(0 | 3)), "{}", run.everything());
    for (name, content) in [("both.txt", &b"in both"[..]), ("joliet.txt", b"in Joliet only")] {
        let found = environment.ntt(["find", "--json", "--ignore-case", name]).json(0);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let hash = blake3::hash(content).to_hex().to_string();
        assert_eq!(found[0]["content"]["blob"], hash.as_str());
    }
    let findings = environment
        .ntt(["medium", "show", "--findings", "disc.iso"])
        .code(0);
    assert!(findings.to_lowercase().contains("joliet"), "{findings}");
}

/// An image that has only its second volume in common with the demonstration image.
pub(crate) fn with_same_second_volume() -> Vec<u8> {
    let mut image = images::demo();
    image[images::DEMO_FAT.start + 269_312] ^= 0x20;
    image
}

/// R3, R44: what waits of a volume that is a copy of another medium's is told, and where it is copied.
#[test]
fn r44_a_copy_of_a_volume_tells_what_is_wanting_of_it() {
    let environment = Environment::new();
    environment.write("a.img", &images::demo());
    environment.write("b.img", &with_same_second_volume());
    let _ = environment.ntt(["ingest", "a.img", "b.img"]).code(0);
    let original = environment.medium("a.img")[..12].to_owned();
    let map = b"0x0 + 1\n0x0 0xe00000 +\n0xe00000 0x200 -\n0xe00200 0x1ffe00 +\n";
    environment.write("a.img.map", map);
    let again = ["ingest", "--no-copy", "a.img"];
    let _ = environment.ntt(again).code(3);
    let waits = format!("contents wait of a volume that is the same as {original}/2: ntt copy {original}");
    let said = environment.ntt(["copy", "b.img"]).code(3);
    assert!(said.contains(&waits), "{said}");
    let _ = environment.ntt(["copy", "a.img"]).code(0);
    let said = environment.ntt(["copy", "b.img"]).code(0);
    assert!(!said.contains("contents wait"), "{said}");
}

/// R26, R28: rules are those of the medium that they were given for. A volume of which they keep something out is no substitute for the same one elsewhere.
#[test]
fn r26_what_one_medium_excludes_is_stored_of_another() {
    let environment = Environment::new();
    environment.write("a.img", &images::demo());
    environment.write("b.img", &with_same_second_volume());
    environment.write("rules.toml", b"[[rule]]\nname = \"big\"\nglob = \"*.raw\"\n");
    let _ = environment
        .ntt(["ingest", "--rules", "rules.toml", "a.img"])
        .code(0);
    let _ = environment.ntt(["ingest", "b.img"]).code(0);
    let stored = environment
        .ntt(["find", "--state", "stored", "--glob", "*.raw"])
        .code(0);
    let other = environment.medium("b.img")[..12].to_owned();
    assert_eq!(stored.lines().count(), 1, "{stored}");
    assert!(stored.starts_with(&other), "{stored}");
}

/// R3, R11: a volume of which a map says that it was not read to its end is no substitute for one that was, whatever it was taken for before.
#[test]
fn r11_a_volume_that_a_map_damages_is_no_substitute_for_a_whole_one() {
    let environment = Environment::new();
    let image = images::demo();
    environment.write("a.img", &image);
    // Another one is known as a copy of it already.
    let mut earlier = with_same_second_volume();
    earlier[images::DEMO_FAT.start + 269_313] ^= 0x20;
    environment.write("earlier.img", &earlier);
    let _ = environment.ntt(["ingest", "a.img", "earlier.img"]).code(0);
    let bytes = environment.ntt(["cat", "a.img/2/todo"]).bytes(0);
    let mut places = image[images::DEMO_EXT].windows(bytes.len());
    let at = images::DEMO_EXT.start + places.position(|window| window == bytes).expect("it is there");
    let (at, rest) = (at / 512 * 512, image.len() - at / 512 * 512 - 512);
    let map = format!(
        "0x0 + 1\n0x0 {at:#x} +\n{at:#x} 0x200 -\n{:#x} {rest:#x} +\n",
        at + 512
    );
    environment.write("a.img.map", map.as_bytes());
    let _ = environment.ntt(["ingest", "a.img"]).code(3);
    let _ = environment.ntt(["cat", "a.img/2/todo"]).bytes(3);
    environment.write("b.img", &with_same_second_volume());
    let _ = environment.ntt(["ingest", "b.img"]).code(0);
    assert_eq!(environment.ntt(["cat", "b.img/2/todo"]).bytes(0), bytes);
    let _ = environment.ntt(["ingest", "earlier.img"]).code(0);
    assert_eq!(environment.ntt(["cat", "earlier.img/2/todo"]).bytes(0), bytes);
}
