//! What cannot be read is said, counted and never called good (R11, R12, R14, R29, R32); see also [`crate::mapfiles`], [`crate::failures`] and [`crate::scans_cut_short`].

use std::fs;

use ntt_testkit::corpus::have;
use serde_json::Value;

use crate::environment::Environment;
use crate::images::{self, DEMO_EXT, noise};

/// R29: found = stored + damaged + excluded + failed + retryable + pending, in streams and in bytes.
pub(crate) fn assert_balance(census: &Value) {
    for unit in ["count", "bytes"] {
        let one = |name: &str| census[name][unit].as_u64().expect("a number");
        let many = |name: &str| -> u64 {
            let groups = census[name].as_array().expect("groups");
            groups
                .iter()
                .map(|group| group[1][unit].as_u64().expect("a number"))
                .sum()
        };
        let single: u64 = ["stored", "damaged", "retryable", "pending"]
            .map(one)
            .iter()
            .sum();
        assert_eq!(
            one("found"),
            single + many("excluded") + many("failed"),
            "{unit}: {census}"
        );
    }
}

pub(crate) fn volumes(summary: &Value) -> &Vec<Value> {
    summary["media"][0]["volumes"].as_array().expect("volumes")
}

/// What `medium list` calls the only medium.
pub(crate) fn completeness(environment: &Environment) -> String {
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    let media = list["media"].as_array().expect("media");
    assert_eq!(media.len(), 1, "{list}");
    let name = media[0]["id"].as_str().expect("an id");
    let shown = environment.ntt(["medium", "show", "--json", name]).document(0);
    assert_eq!(shown["completeness"], media[0]["completeness"]);
    media[0]["completeness"].as_str().expect("a word").to_owned()
}

/// R14, R44: a chunk of a forensic image whose checksum is wrong is a loss, whether a file lies in it or not, as it is if a mapfile tells of it.
#[test]
fn r14_a_damaged_chunk_outside_any_file_is_a_loss() {
    let environment = Environment::new();
    let Some(image) = images::ewf(&environment, &images::demo()) else {
        return;
    };
    let whole = fs::metadata(&image).expect("a file").len();
    // Free space at the end of the last file system: it lies before the digests that end the image.
    images::put(&image, whole - 100_000, b"rotten");
    let summary = environment.ntt(["ingest", "--json", "disk.E01"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true, "{summary}");
    assert_eq!(summary["media"][0]["findings"][2], 1, "{summary}");
    let said = environment
        .ntt(["medium", "show", "--findings", "disk.E01"])
        .code(0);
    assert!(said.contains("of the image in EWF (E01): "), "{said}");
    assert_eq!(completeness(&environment), "files-complete", "{said}");
    let _ = environment.ntt(["ingest", "disk.E01"]).code(3);
    assert_eq!(completeness(&environment), "files-complete");
}

/// R12: an image that ends before its tables do is incomplete; what lies before its end is read.
#[test]
fn r12_a_truncated_image_is_incomplete_and_read_to_its_end() {
    let environment = Environment::new();
    let demo = images::demo();
    environment.write("short.img", &demo[..DEMO_EXT.start + (2 << 20)]);
    let said = environment.ntt(["ingest", "short.img"]).code(3);
    assert!(said.contains("partial"), "{said}");
    let list = environment.ntt(["medium", "list", "--json"]).document(0);
    assert_ne!(list["media"][0]["completeness"], "complete");
    assert_eq!(
        environment.ntt(["cat", "short.img/1/todo.txt"]).bytes(0),
        b"buy floppies\n"
    );
    let shown = environment
        .ntt(["medium", "show", "--json", "short.img"])
        .document(0);
    assert!(shown["image"]["expected_bytes"].as_u64() > shown["image"]["size_bytes"].as_u64());
    for volume in shown["volumes_detail"].as_array().expect("volumes") {
        assert_balance(&volume["census"]);
    }
    let _ = environment.ntt(["inspect", "short.img"]).code(3);
}

/// R12: what says how long it is can be cut short although nothing here reads it.
#[test]
fn r12_a_truncated_image_of_what_is_not_read_is_incomplete() {
    let environment = Environment::new();
    let mut swap = vec![0; 600 << 10];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    environment.write("swap.img", &swap);
    let mut lvm = vec![0; 600 << 10];
    lvm[..4].copy_from_slice(b"HM\x01\0");
    lvm[444..448].copy_from_slice(&2048_u32.to_le_bytes());
    environment.write("lvm1.img", &lvm);
    for name in ["swap.img", "lvm1.img"] {
        let said = environment.ntt(["inspect", name]).code(3);
        assert!(
            said.contains("the image has 614400 bytes") && said.contains("need 1048576"),
            "{said}"
        );
        let summary = environment.ntt(["ingest", "--json", name]).summary(3);
        assert_eq!(summary["media"][0]["completeness"], "partial", "{summary}");
    }
    swap.resize(1 << 20, 0);
    environment.write("whole.img", &swap);
    environment.ntt(["inspect", "whole.img"]).code(0);
}

/// R12: the last sector of NTFS is the copy of the first.
#[test]
fn r12_ntfs_without_its_last_sector_is_incomplete() {
    let Some(image) = ntt_testkit::corpus::corpus_image("retro/test_ntfs.img.zst") else {
        return;
    };
    let environment = Environment::new();
    let whole = fs::read(image.path()).expect("read");
    environment.write("whole.img", &whole);
    environment.ntt(["inspect", "whole.img"]).code(0);
    environment.write("short.img", &whole[..whole.len() - 512]);
    let said = environment.ntt(["inspect", "short.img"]).code(3);
    let needed = format!("need {}", whole.len());
    assert!(said.contains(&needed), "{said}");
    environment.ntt(["ingest", "short.img"]).code(3);
    assert_eq!(completeness(&environment), "partial");
}

/// R14: every partition is listed with its verdict, whatever its neighbours are.
#[test]
fn r14_every_partition_is_listed_whatever_it_holds() {
    let environment = Environment::new();
    let disk = environment.work().join("disk.img");
    images::sparse(&disk, 12 << 20);
    let script = "label: dos\nstart=2048, size=2048, type=82\nstart=4096, size=4096, type=83\nstart=8192, size=2048, type=83\n";
    if !images::partition(&disk, script) {
        return;
    }
    let mut swap = vec![0; 4096];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..].copy_from_slice(b"SWAPSPACE2");
    images::put(&disk, 2048 * 512, &swap);
    let mut luks = b"LUKS\xba\xbe\0\x01aes".to_vec();
    luks.resize(592, 0);
    images::put(&disk, 4096 * 512, &luks);
    images::put(&disk, 8192 * 512, &noise("garbage", 1 << 20));
    // A fourth entry that lies beyond the end: type, first sector and length at their places of the table.
    images::put(&disk, 446 + 3 * 16 + 4, &[0x83]);
    images::put(&disk, 446 + 3 * 16 + 8, &100_000_u32.to_le_bytes());
    images::put(&disk, 446 + 3 * 16 + 12, &2048_u32.to_le_bytes());

    let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
    let listed: Vec<(&str, &str)> = volumes(&summary)
        .iter()
        .map(|volume| {
            (
                volume["verdict"].as_str().expect("a verdict"),
                volume["type_name"].as_str().expect("a type"),
            )
        })
        .collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert_eq!(listed[0], ("identified", "swap"));
    assert_eq!(listed[1], ("identified", "crypto_LUKS"), "{listed:?}");
    assert_eq!(listed[2].0, "unknown", "{listed:?}");
    assert!(listed[3].0.contains("beyond"), "{listed:?}");
    assert_eq!(summary["media"][0]["partial"], true);
    let _ = environment.ntt(["inspect", "disk.img"]).code(3);
}

/// R22, R44: a directory block of noise costs its names, and every ingest says so.
#[test]
fn r22_a_damaged_directory_keeps_a_medium_from_being_complete() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    images::write_tree(&tree, 40);
    environment.write("tree/needle in a directory", b"found by its name");
    let Some(path) = images::ext4(&environment.work().join("disk.img"), 16, &tree) else {
        return;
    };
    let image = fs::read(&path).expect("the image");
    let mut places = image.windows(21);
    let name = places.position(|window| window == b"needle in a directory");
    let block = name.expect("the name") / 1024 * 1024;
    images::put(&path, block as u64, &noise("damage", 1024));
    for _ in 0..2 {
        let summary = environment.ntt(["ingest", "--json", "disk.img"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
    // R3: a copy has lost what its original has lost.
    let mut copy = fs::read(&path).expect("the image");
    copy.extend_from_slice(&[0; 1024]);
    environment.write("copy.img", &copy);
    let summary = environment.ntt(["ingest", "--json", "copy.img"]).summary(3);
    assert!(volumes(&summary)[0]["same_as"].is_string(), "{summary}");
    let shown = environment
        .ntt(["medium", "show", "--json", "copy.img"])
        .document(0);
    assert_eq!(shown["completeness"], "partial", "{shown}");
    assert_eq!(shown["findings"]["loss"], summary["media"][0]["findings"][2]);
}

/// R22, R44: what a container lost is lost to the medium.
#[test]
fn r22_a_damaged_container_keeps_a_medium_from_being_complete() {
    if !have("gzip") {
        return;
    }
    let environment = Environment::new();
    environment.write("disk.img", &images::demo());
    images::run("gzip", [environment.work().join("disk.img")]);
    let packed = environment.work().join("disk.img.gz");
    let mut bytes = fs::read(&packed).expect("the container");
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    fs::write(&packed, bytes).expect("mine");
    for _ in 0..2 {
        let summary = environment.ntt(["ingest", "--json", "disk.img.gz"]).summary(3);
        assert_eq!(summary["media"][0]["partial"], true, "{summary}");
        assert_eq!(completeness(&environment), "partial");
    }
}

/// R14, R44: swap holds no files, and a disk with nothing else that was not read is complete; a file system that cannot be read is not.
#[test]
fn r14_what_holds_no_files_does_not_keep_a_medium_from_being_complete() {
    let environment = Environment::new();
    let mut swap = vec![0; 1 << 20];
    swap[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    swap[1028..1032].copy_from_slice(&255_u32.to_le_bytes());
    swap[4086..4096].copy_from_slice(b"SWAPSPACE2");
    environment.write("swap.img", &swap);
    let summary = environment.ntt(["ingest", "--json", "swap.img"]).summary(0);
    assert_eq!(volumes(&summary)[0]["type_name"], "swap", "{summary}");
    assert_eq!(completeness(&environment), "complete");

    let environment = Environment::new();
    let mut luks = b"LUKS\xba\xbe\0\x01aes".to_vec();
    luks.resize(1 << 20, 0);
    environment.write("luks.img", &luks);
    let summary = environment.ntt(["ingest", "--json", "luks.img"]).summary(3);
    assert_eq!(summary["media"][0]["partial"], true, "{summary}");
    assert_eq!(completeness(&environment), "partial");
    let said = environment.ntt(["ingest", "luks.img"]).code(3);
    assert!(said.contains("not scanned (identified)"), "{said}");
}

/// R12, R44: a part of a split image that lacks its end costs that, whatever can be listed.
#[test]
fn r12_a_short_part_of_a_split_image_is_a_loss() {
    let environment = Environment::new();
    for (number, part) in (1..).zip(images::demo().chunks(4 << 20)) {
        let len = if number == 3 {
            part.len() - (1 << 20)
        } else {
            part.len()
        };
        environment.write(format!("disk.{number:03}"), &part[..len]);
    }
    let said = environment.ntt(["ingest", "disk.001"]).code(3);
    assert!(said.contains("partial"), "{said}");
    let shown = environment
        .ntt(["medium", "show", "--findings", "disk.001"])
        .code(0);
    let told = shown
        .lines()
        .find(|line| line.contains("the rest of it is missing"));
    assert!(told.is_some_and(|line| line.starts_with("loss")), "{shown}");
}

/// R3, R44: a part of a split image that is gone is to be put back; what is left is no medium of its own.
#[test]
fn r03_a_split_image_whose_part_is_gone_is_no_new_medium() {
    let environment = Environment::new();
    for (number, part) in (1..).zip(images::demo().chunks(6 << 20)) {
        environment.write(format!("disk.{number:03}"), part);
    }
    let place = |name: &str| environment.work().join(name);
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    let parts = ["disk.002", "disk.003"];
    let gone: [&[&str]; 3] = [&parts[..1], &parts[1..], &parts];
    for gone in gone {
        for name in gone {
            fs::rename(place(name), place("kept").with_extension(name)).expect("moved");
        }
        for command in [
            ["verify", "--source", "disk.001"],
            ["scan", "--again", "disk.001"],
            ["ingest", "disk.001", "--label=again"],
        ] {
            let said = environment.ntt(command).stderr(1);
            assert!(said.contains(&format!("`{}`", gone[0])), "{command:?}: {said}");
            assert!(said.contains("put it back"), "{command:?}: {said}");
            assert!(!said.contains("ingest it again"), "{command:?}: {said}");
        }
        for name in gone {
            fs::rename(place("kept").with_extension(name), place(name)).expect("moved");
        }
    }
    let _ = environment.ntt(["verify", "--source", "disk.001"]).code(0);
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    assert_eq!(completeness(&environment), "complete");
    // The parts may be joined in the place of the first.
    fs::write(place("disk.001"), images::demo()).expect("written");
    for name in parts {
        fs::remove_file(place(name)).expect("mine");
    }
    let _ = environment.ntt(["ingest", "disk.001"]).code(0);
    assert_eq!(completeness(&environment), "complete");
}
