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

/// R15: the labels of other machines that parted makes, as `parted` lists them.
#[test]
fn r15_labels_of_parted_are_read_as_parted_reads_them() {
    if !have("parted") {
        return;
    }
    for (label, scheme) in [
        ("bsd", Scheme::Bsd),
        ("sun", Scheme::Sun),
        ("dvh", Scheme::Sgi),
        ("amiga", Scheme::Amiga),
        ("atari", Scheme::Atari),
    ] {
        let mut arguments = vec!["-s", "DISK", "mklabel", label];
        match label {
            "amiga" | "mac" => arguments.extend([
                "mkpart", "one", "8MiB", "16MiB", "mkpart", "two", "16MiB", "24MiB",
            ]),
            "dvh" | "atari" => {
                arguments.extend([
                    "mkpart", "primary", "8MiB", "16MiB", "mkpart", "primary", "16MiB", "24MiB",
                ]);
            }
            _ => arguments.extend(["mkpart", "8MiB", "16MiB", "mkpart", "16MiB", "24MiB"]),
        }
        let Some(disk) = made(64, "parted", &arguments, "") else {
            return;
        };
        let found = tables_of(disk.path());
        let schemes: Vec<Scheme> = found.tables.iter().map(|table| table.scheme).collect();
        assert_eq!(schemes, [scheme], "{label}");
        // parted's sum over a BSD label is not that of the systems; it reads it all the same.
        let expected_findings = usize::from(label == "bsd");
        assert_eq!(
            found.findings.len(),
            expected_findings,
            "{label}: {:?}",
            found.findings
        );
        assert!(!found.is_damaged());
        let theirs = parted(disk.path());
        assert!(theirs.len() >= 2, "{label}: {theirs:?}");
        for slot in ours(&found) {
            assert!(theirs.contains(&slot), "{label}: {slot:?} is not in {theirs:?}");
        }
        assert!(ours(&found).len() >= 2, "{label}: {found:?}");
    }
}

/// What parted lists, in sectors.
fn parted(path: &Path) -> Vec<(u64, u64)> {
    let output = Command::new("parted")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-m", "-s"])
        .arg(path)
        .args(["unit", "s", "print"])
        .output()
        .expect("a run");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            fields.first()?.parse::<u32>().ok()?;
            let number = |index: usize| fields.get(index)?.strip_suffix('s')?.parse::<u64>().ok();
            Some((number(1)?, number(3)?))
        })
        .collect()
}

/// R15: labels that sfdisk makes.
#[test]
fn r15_labels_of_sfdisk_are_read_back() {
    let scripts = [
        (
            "label: sun\nstart=0, size=16065, type=2\nstart=16065, size=32130, type=4\n",
            Scheme::Sun,
        ),
        (
            "label: sgi\nstart=4096, size=16065, type=7\nstart=32130, size=32130, type=a\n",
            Scheme::Sgi,
        ),
    ];
    for (script, scheme) in scripts {
        let Some(disk) = made(64, "sfdisk", &["-q", "DISK"], script) else {
            return;
        };
        let found = tables_of(disk.path());
        assert_eq!(found.tables[0].scheme, scheme);
        let theirs = sfdisk(disk.path());
        assert_eq!(ours(&found).len(), 2, "{found:?}");
        for slot in ours(&found) {
            assert!(theirs.contains(&slot), "{scheme}: {slot:?} is not in {theirs:?}");
        }
    }
}

/// The tables of the detection folder, with what blkid says of their partitions.
#[test]
fn tables_of_the_detection_folder_are_those_of_blkid() {
    let Some(folder) = ntt_testkit::corpus::corpus().map(|folder| folder.join("detect")) else {
        return;
    };
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).expect("the detect folder").flatten() {
        let path = entry.path();
        let Some(stem) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".expected"))
        else {
            continue;
        };
        let text = std::fs::read_to_string(&path).expect("an expectation");
        let Some(scheme) = text
            .split_once("PT: ")
            .and_then(|(_, rest)| rest.split(',').next())
        else {
            continue;
        };
        let image = ntt_testkit::corpus::decompressed(&folder.join(format!("{stem}.img.xz")));
        let found = tables_of(image.path());
        assert_eq!(found.tables[0].scheme.to_string(), scheme, "{stem}");
        let id = text
            .split_once("id=")
            .and_then(|(_, rest)| rest.lines().next())
            .unwrap_or_default();
        assert_eq!(found.tables[0].id, id.trim_start_matches("(null)"), "{stem}");
        let expected: Vec<(u64, u64)> = text
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(blkid_slot)
            .collect();
        assert_eq!(ours(&found), expected, "{stem}");
        for (slot, line) in found
            .slots()
            .zip(text.lines().filter(|line| line.starts_with('#')))
        {
            assert!(
                line.contains(&format!("type='{}'", slot.type_code)),
                "{stem}: {line}"
            );
            let name = format!("name='{}'", slot.name);
            assert!(slot.name.is_empty() || line.contains(&name), "{stem}: {line}");
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

/// `#1:  192  4032  0x0 ...`.
fn blkid_slot(line: &str) -> (u64, u64) {
    let mut fields = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok());
    (fields.next().expect("a start"), fields.next().expect("a size"))
}
