//! Tables of public images and of images that parted, sgdisk and sfdisk make.

use std::path::Path;
use std::process::{Command, Stdio};

use ntt_source::FileSource;
use ntt_testkit::corpus::{corpus_image, have};
use ntt_volume::table::{Found, Scheme, find};

fn tables_of(path: &Path) -> Found {
    find(&FileSource::open(path).expect("an image"), 0)
}

/// Start and length in sectors of every slot that is no container, in the order of the image.
fn ours(found: &Found) -> Vec<(u64, u64)> {
    let mut slots: Vec<(u64, u64)> = found
        .slots()
        .filter(|slot| !slot.is_container)
        .map(|slot| (slot.range.offset / 512, slot.range.len / 512))
        .collect();
    slots.sort_unstable();
    slots
}

fn output_of(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(arguments)
        .arg(path)
        .output()
        .expect("a run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What mmls lists as allocated partitions.
fn mmls(path: &Path) -> Vec<(u64, u64)> {
    let mut slots: Vec<(u64, u64)> = output_of("mmls", &["-a"], path)
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
            fields.first()?.ends_with(':').then_some(())?;
            Some((number(2)?, number(4)?))
        })
        .collect();
    slots.sort_unstable();
    slots
}

/// What sfdisk dumps, without extended partitions.
fn sfdisk(path: &Path) -> Vec<(u64, u64)> {
    let field = |line: &str, name: &str| {
        let rest = line.split_once(name)?.1;
        rest.split(',').next()?.trim().parse::<u64>().ok()
    };
    let mut slots: Vec<(u64, u64)> = output_of("sfdisk", &["-d"], path)
        .lines()
        .filter(|line| {
            !["type=5", "type=f", "type=85"]
                .iter()
                .any(|kind| line.ends_with(kind) || line.contains(&format!("{kind},")))
        })
        .filter_map(|line| Some((field(line, "start=")?, field(line, "size=")?)))
        .collect();
    slots.sort_unstable();
    slots
}

/// A file of `mib` MiB made into a disk by `program`; `None` if it is not installed.
fn made(mib: u64, program: &str, arguments: &[&str], input: &str) -> Option<tempfile::NamedTempFile> {
    if !have(program) {
        return None;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(mib << 20).expect("a size");
    let mut command = Command::new(program);
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let path = file.path().to_str().expect("a plain path");
    for argument in arguments {
        command.arg(argument.replace("DISK", path));
    }
    let mut child = command.spawn().expect("a run");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), input.as_bytes()).expect("input");
    assert!(child.wait().expect("an end").success(), "{program} failed");
    Some(file)
}

/// R15: the chain of the DFTT disk gives its six FAT partitions, as mmls does.
#[test]
fn r15_the_extended_chain_of_dftt_1_gives_six_volumes() {
    let Some(image) = corpus_image("dftt/1-extend-part.zip") else {
        return;
    };
    let found = tables_of(image.path());
    assert_eq!(ours(&found).len(), 6);
    assert!(
        found
            .slots()
            .filter(|slot| !slot.is_container)
            .all(|slot| matches!(slot.type_code.as_str(), "0x04" | "0x06" | "0x01" | "0x0e"))
    );
    if have("mmls") {
        let theirs = mmls(image.path());
        assert!(
            ours(&found).iter().all(|slot| theirs.contains(slot)),
            "{theirs:?}"
        );
    }
}

#[test]
fn public_tables_are_read_as_sfdisk_reads_them() {
    for name in [
        "disktype/gpt.image.gz",
        "disktype/dos-partitions-extended.image.gz",
        "detect/gpt.img.xz",
    ] {
        let Some(image) = corpus_image(name) else { return };
        let found = tables_of(image.path());
        assert!(!found.tables.is_empty(), "{name}");
        if have("sfdisk") {
            assert_eq!(ours(&found), sfdisk(image.path()), "{name}");
        }
    }
}

#[test]
fn names_and_uuids_of_the_detection_gpt_are_those_of_blkid() {
    let Some(image) = corpus_image("detect/gpt.img.xz") else {
        return;
    };
    let found = tables_of(image.path());
    assert_eq!(found.tables[0].id, "dd27f98d-7519-4c9e-8041-f2bfa7b1ef61");
    let first = &found.tables[0].slots[0];
    assert_eq!(first.name, "ThisIsName");
    assert_eq!(first.uuid, "1dcf10bc-637e-4c52-8203-087ae10a820b");
    assert_eq!(first.type_code, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
}

/// R15: what sfdisk makes, sfdisk and we read alike: primaries, and logicals in a chain.
#[test]
fn r15_a_dos_disk_of_sfdisk_is_read_back() {
    let script = "label: dos\nstart=2048, size=4096, type=6\nstart=8192, size=40960, type=f\n\
                  start=10240, size=4096, type=83\nstart=20480, size=4096, type=82\nstart=30720, size=4096, type=7\n";
    let Some(disk) = made(32, "sfdisk", &["-q", "DISK"], script) else {
        return;
    };
    let found = tables_of(disk.path());
    assert_eq!(ours(&found), sfdisk(disk.path()));
    assert_eq!(ours(&found).len(), 4);
    assert_eq!(found.findings, []);
    let names: Vec<&str> = found.slots().map(|slot| slot.found_by.as_str()).collect();
    assert_eq!(
        names,
        [
            "mbr primary 1",
            "mbr primary 2",
            "mbr logical 5",
            "mbr logical 6",
            "mbr logical 7"
        ]
    );
}

/// R15: a GPT of sgdisk, whole and with its primary erased.
#[test]
fn r15_a_gpt_of_sgdisk_survives_the_loss_of_its_primary() {
    let arguments = ["-n", "1:2048:6143", "-c", "1:żółw", "-n", "4:8192:12287", "DISK"];
    let Some(disk) = made(16, "sgdisk", &arguments, "") else {
        return;
    };
    let whole = tables_of(disk.path());
    assert_eq!(whole.findings, []);
    assert_eq!(ours(&whole), [(2048, 4096), (8192, 4096)]);
    assert_eq!(whole.tables[0].slots[0].name, "żółw");
    let mut bytes = std::fs::read(disk.path()).expect("the disk");
    bytes[512..2048].fill(0);
    let found = find(&bytes, 0);
    assert_eq!(found.tables[0].scheme, Scheme::GptBackup);
    assert_eq!(found.tables[0].slots, whole.tables[0].slots);
}

/// R15: an Apple map of parted.
#[test]
fn r15_an_apple_map_of_parted_is_read() {
    let arguments = [
        "-s", "DISK", "mklabel", "mac", "mkpart", "one", "hfs", "1MiB", "4MiB", "mkpart", "two", "hfs",
        "4MiB", "8MiB",
    ];
    let Some(disk) = made(16, "parted", &arguments, "") else {
        return;
    };
    let found = tables_of(disk.path());
    assert_eq!(found.tables[0].scheme, Scheme::Apm);
    assert_eq!(ours(&found), [(2048, 6144), (8192, 8192)]);
    let names: Vec<&str> = found.slots().map(|slot| slot.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
}
