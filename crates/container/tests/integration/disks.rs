//! Virtual disks that qemu-img made.

use std::path::Path;
use std::process::Command;

use ntt_container::Opening;
use ntt_model::{Finding, FindingCode, Severity};

use crate::made::{Compared, assert_equal, folder, lost_bytes, opened, opening, run};

/// Formats with their options, and how the layer is called.
const VARIANTS: [(&str, &str, &str); 17] = [
    ("qcow", "encryption=off", "qcow v1"),
    ("qcow2", "compat=0.10", "qcow2 v2"),
    ("qcow2", "compat=1.1", "qcow2 v3"),
    ("qcow2", "compat=1.1,cluster_size=512", "qcow2 v3"),
    ("qcow2", "compat=1.1,cluster_size=2M", "qcow2 v3"),
    ("qcow2", "compat=1.1,extended_l2=on,cluster_size=128k", "qcow2 v3"),
    ("vpc", "subformat=dynamic,force_size=on", "VHD dynamic"),
    ("vpc", "subformat=fixed,force_size=on", "VHD fixed"),
    ("vpc", "subformat=dynamic", "VHD dynamic"),
    ("vhdx", "subformat=dynamic,block_size=1M", "VHDX dynamic"),
    ("vhdx", "subformat=fixed,block_size=8M", "VHDX fixed"),
    ("vmdk", "subformat=monolithicSparse", "VMDK monolithicSparse"),
    ("vmdk", "subformat=monolithicFlat", "VMDK monolithicFlat"),
    (
        "vmdk",
        "subformat=twoGbMaxExtentSparse",
        "VMDK twoGbMaxExtentSparse",
    ),
    ("vmdk", "subformat=twoGbMaxExtentFlat", "VMDK twoGbMaxExtentFlat"),
    ("vmdk", "subformat=streamOptimized", "VMDK streamOptimized"),
    ("vdi", "static=off", "VDI dynamic"),
];

fn convert(folder: &Path, arguments: &[&str], name: &str) -> bool {
    let arguments = [&["convert", "-f", "raw"], arguments, &["raw.img", name]].concat();
    run(folder, "qemu-img", &arguments)
}

#[test]
fn every_variant_that_qemu_makes_equals_the_raw_image() {
    let (folder, raw) = folder();
    let mut compared = Compared::made_by("qemu-img");
    for (at, (format, options, expected)) in VARIANTS.iter().enumerate() {
        let name = format!("disk{at}.{format}");
        if !convert(folder.path(), &["-O", format, "-o", options], &name) {
            return;
        }
        let found = opened(&folder.path().join(&name));
        assert_eq!(found.layers.len(), 1, "{options}");
        assert_eq!(found.layers[0].format, *expected, "{options}");
        assert_eq!(found.findings, [], "{options}");
        compared.equal(expected, &found.image, &raw);
    }
    compared.contribute();
}

#[test]
fn compressed_clusters_are_decoded() {
    let (folder, raw) = folder();
    let mut compared = Compared::made_by("qemu-img");
    for (at, options) in ["compat=0.10", "compat=1.1", "compat=1.1,compression_type=zstd"]
        .iter()
        .enumerate()
    {
        let name = format!("packed{at}.qcow2");
        if !convert(folder.path(), &["-c", "-O", "qcow2", "-o", options], &name) {
            return;
        }
        let image = opened(&folder.path().join(&name)).image;
        compared.equal("qcow2, compressed clusters", &image, &raw);
    }
    // qemu-img 7.2 makes it, and then says that it failed; what it made is compared by itself first.
    let qemu = |arguments: &[&str]| {
        let run = Command::new("qemu-img")
            .args(arguments)
            .current_dir(folder.path())
            .output();
        run.expect("it was there before").status.success()
    };
    qemu(&[
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow",
        "raw.img",
        "packed.qcow",
    ]);
    assert!(qemu(&[
        "compare",
        "-q",
        "-f",
        "raw",
        "-F",
        "qcow",
        "raw.img",
        "packed.qcow"
    ]));
    let image = opened(&folder.path().join("packed.qcow")).image;
    compared.equal("qcow v1, compressed clusters", &image, &raw);
    compared.contribute();
}

#[test]
fn what_an_image_lacks_is_in_the_one_below() {
    let (folder, mut raw) = folder();
    let path = folder.path();
    let mut compared = Compared::made_by("qemu-img, qemu-io");
    for (format, other) in [("qcow", "raw"), ("qcow2", "raw"), ("vmdk", "vmdk")] {
        let (base, top) = (format!("base.{other}"), format!("top-{format}.{format}"));
        if !convert(path, &["-O", other], &base) {
            return;
        }
        run(
            path,
            "qemu-img",
            &["create", "-q", "-f", format, "-b", &base, "-F", other, &top],
        );
        run(
            path,
            "qemu-io",
            &["-f", format, "-c", "write -P 0x5a 65536 70144", &top],
        );
        raw[65536..65536 + 70144].fill(0x5a);
        let found = opened(&path.join(&top));
        compared.equal(&format!("{format} over a backing file"), &found.image, &raw);
        assert_eq!(found.layers[0].files, [top.clone(), base.clone()]);
        // Without it, only the bytes that were written are there.
        std::fs::remove_file(path.join(&base)).expect("removed");
        let found = opened(&path.join(&top));
        assert_eq!(found.layers[0].missing, [base]);
        assert_eq!(found.findings.len(), 1);
        let mut bytes = [0; 512];
        assert!(found.image.read_exact_at(0, &mut bytes).is_err());
        found.image.read_exact_at(131_072, &mut bytes).expect("read");
        assert_eq!(bytes, [0x5a; 512]);
    }
    compared.contribute();
}

#[test]
fn snapshots_are_listed_and_the_current_state_is_read() {
    let (folder, mut raw) = folder();
    let path = folder.path();
    if !convert(path, &["-O", "qcow2"], "snap.qcow2") {
        return;
    }
    run(path, "qemu-img", &["snapshot", "-c", "before", "snap.qcow2"]);
    run(path, "qemu-io", &["-c", "write -P 0x11 0 4096", "snap.qcow2"]);
    raw[..4096].fill(0x11);
    let found = opened(&path.join("snap.qcow2"));
    assert_equal(&found.image, &raw);
    let snapshot = ("snapshot".to_owned(), "1 before".to_owned());
    assert!(
        found.layers[0].facts.contains(&snapshot),
        "{:?}",
        found.layers[0].facts
    );
}

#[test]
fn data_in_another_file_is_found_there() {
    let (folder, raw) = folder();
    let path = folder.path();
    if !convert(
        path,
        &["-O", "qcow2", "-o", "data_file=outside.raw"],
        "outside.qcow2",
    ) {
        return;
    }
    assert_equal(&opened(&path.join("outside.qcow2")).image, &raw);
    std::fs::remove_file(path.join("outside.raw")).expect("removed");
    assert!(matches!(
        opening(&path.join("outside.qcow2")),
        Opening::Refused { .. }
    ));
}

#[test]
fn an_encrypted_disk_is_said_to_be_one() {
    let (folder, _) = folder();
    let arguments = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=x",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s",
        "secret.qcow2",
        "1M",
    ];
    if !run(folder.path(), "qemu-img", &arguments) {
        return;
    }
    let Opening::Refused { finding, .. } = opening(&folder.path().join("secret.qcow2")) else {
        panic!("it is read");
    };
    assert_eq!(finding.code, ntt_model::FindingCode::Encrypted);
}

/// What is read of it as if it were raw is wrong, and looks right.
#[test]
fn r14_a_container_that_is_not_read_is_no_raw_image() {
    let (folder, _) = folder();
    let path = folder.path();
    for format in ["parallels", "qed"] {
        if !convert(path, &["-O", format], &format!("disk.{format}")) {
            return;
        }
        refused(&path.join(format!("disk.{format}")));
    }
    for magic in [
        &b"WithoutFreeSpace"[..],
        b"AFF10\r\n\0",
        b"MComprHD",
        b"MSWIM\0\0\0",
        b"partclone-image",
        b"LEF2\r\n\x81\0",
    ] {
        let file = path.join("disk.img");
        std::fs::write(&file, [magic, &[0; 4096]].concat()).expect("written");
        refused(&file);
    }
}

fn refused(path: &Path) {
    let Opening::Refused { finding, .. } = opening(path) else {
        panic!("{}: it is read", path.display());
    };
    let found = (finding.severity, finding.code);
    assert_eq!(
        found,
        (ntt_model::Severity::Loss, ntt_model::FindingCode::Unsupported)
    );
    let bytes = std::fs::read(path).expect("read");
    let len = u64::try_from(bytes.len()).expect("small");
    let head = &bytes[..bytes.len().min(1024)];
    assert!(ntt_container::looks_like_container(b"disk.img", head, &[], len));
}

#[test]
fn an_image_below_itself_ends_somewhere() {
    let (folder, _) = folder();
    let path = folder.path();
    if !convert(path, &["-O", "qcow2"], "a.qcow2") {
        return;
    }
    run(
        path,
        "qemu-img",
        &[
            "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2",
        ],
    );
    run(
        path,
        "qemu-img",
        &[
            "rebase", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2",
        ],
    );
    let found = opened(&path.join("b.qcow2"));
    let is_loop = |finding: &ntt_model::Finding| finding.code == ntt_model::FindingCode::Loop;
    assert!(found.findings.iter().any(is_loop), "{:?}", found.findings);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |state, byte| {
        (0..8).fold(state ^ u32::from(*byte), |state, _| {
            (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg())
        })
    })
}

/// Sets the checksum at byte 4 of a structure of a VHDX.
fn sign(structure: &mut [u8]) {
    put(structure, 4, &[0; 4]);
    let sum = crc32c(structure);
    put(structure, 4, &sum.to_le_bytes());
}

/// A write that stands only in the log is read, and the file stays as it is.
#[test]
fn r17_the_log_of_a_vhdx_is_replayed_in_memory() {
    const AT: usize = 65_536;
    let (folder, mut raw) = folder();
    raw[AT..AT + 4096].fill(0xc3);
    std::fs::write(folder.path().join("raw.img"), &raw).expect("written");
    if !convert(folder.path(), &["-O", "vhdx", "-o", "block_size=1M"], "disk.vhdx") {
        return;
    }
    let path = folder.path().join("disk.vhdx");
    let mut file = std::fs::read(&path).expect("read");
    let target = file
        .windows(4096)
        .position(|window| window == [0xc3; 4096])
        .expect("the marked sectors");
    let id = [7; 16];
    for header in [64 << 10, 128 << 10] {
        put(&mut file, header + 48, &id);
        sign(&mut file[header..header + 4096]);
    }
    let log = usize::try_from(u64::from_le_bytes(
        file[(64 << 10) + 72..][..8].try_into().expect("8 bytes"),
    ));
    let log = log.expect("small");
    let mut entry = vec![0; 8192];
    let sequence = 1_u64.to_le_bytes();
    for (at, value) in [
        (0, &b"loge"[..]),
        (8, &8192_u32.to_le_bytes()),
        (16, &sequence),
        (24, &1_u32.to_le_bytes()),
        (32, &id),
        (64, b"desc"),
        (68, &[0x77; 4]),
        (72, &[0x77; 8]),
        (80, &u64::try_from(target).expect("small").to_le_bytes()),
        (88, &sequence),
        (4096, b"data"),
        (4104, &[0x77; 4084]),
        (8188, &1_u32.to_le_bytes()),
    ] {
        put(&mut entry, at, value);
    }
    sign(&mut entry);
    put(&mut file, log, &entry);
    std::fs::write(&path, &file).expect("written");
    raw[AT..AT + 4096].fill(0x77);
    let found = opened(&path);
    assert_equal(&found.image, &raw);
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].code, ntt_model::FindingCode::DirtyJournal);
    assert!(std::fs::read(&path).expect("read") == file);
    // A log that is cut is not replayed by halves.
    file[log + 5000] ^= 1;
    std::fs::write(&path, &file).expect("written");
    let found = opened(&path);
    raw[AT..AT + 4096].fill(0xc3);
    assert_equal(&found.image, &raw);
    assert!(found.findings[0].detail.contains("cannot be replayed"));
}

/// Sectors whose bit is set are the disk's own, others are its parent's.
#[test]
fn a_differencing_vhd_lies_over_its_parent() {
    let (folder, mut raw) = folder();
    let path = folder.path();
    if !convert(
        path,
        &["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
        "base.vhd",
    ) {
        return;
    }
    let base = std::fs::read(path.join("base.vhd")).expect("read");
    let complement = |bytes: &[u8]| {
        !bytes
            .iter()
            .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)))
    };
    let mut footer = base[..512].to_vec();
    put(&mut footer, 60, &4_u32.to_be_bytes());
    put(&mut footer, 64, &[0; 4]);
    let sum = complement(&footer);
    put(&mut footer, 64, &sum.to_be_bytes());
    let mut header = base[512..1536].to_vec();
    put(&mut header, 16, &1536_u64.to_be_bytes());
    let name: Vec<u8> = "..\\vm\\base.vhd"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    put(&mut header, 576, b"W2ru");
    put(
        &mut header,
        584,
        &u32::try_from(name.len()).expect("small").to_be_bytes(),
    );
    put(&mut header, 592, &2048_u64.to_be_bytes());
    put(&mut header, 40, &base[68..84]);
    put(&mut header, 36, &[0; 4]);
    let sum = complement(&header);
    put(&mut header, 36, &sum.to_be_bytes());
    let mut table = vec![0xff; 512];
    put(&mut table, 0, &5_u32.to_be_bytes());
    let mut locator = vec![0; 512];
    put(&mut locator, 0, &name);
    let mut block = vec![0; 512 + (2 << 20)];
    for sector in [3, 10] {
        block[sector / 8] |= 0x80 >> (sector % 8);
        block[512 + sector * 512..][..512].fill(0x99);
        raw[sector * 512..][..512].fill(0x99);
    }
    let file = [&footer, &header, &table, &locator, &block, &footer]
        .map(Vec::as_slice)
        .concat();
    std::fs::write(path.join("top.vhd"), file).expect("written");
    let found = opened(&path.join("top.vhd"));
    assert_eq!(found.findings, []);
    assert_eq!(found.layers[0].format, "VHD differencing");
    let mut compared = Compared::made_by("qemu-img and the test, as the specification says");
    compared.equal("VHD differencing", &found.image, &raw);
    compared.contribute();
    // R22: over another disk than the one that it names, it is no disk of any time.
    let mut other = base;
    let end = other.len() - 512;
    for footer in [0, end] {
        other[footer + 68] ^= 0xff;
        put(&mut other, footer + 64, &[0; 4]);
        let sum = complement(&other[footer..footer + 512]);
        put(&mut other, footer + 64, &sum.to_be_bytes());
    }
    std::fs::write(path.join("base.vhd"), other).expect("written");
    assert_contradiction(&opened(&path.join("top.vhd")).findings, "disk id");
}

/// That the one below is another than it was is said, as a loss, with both ids.
fn assert_contradiction(findings: &[ntt_model::Finding], fact: &str) {
    let [finding] = findings else {
        panic!("{findings:?}");
    };
    assert_eq!(
        (finding.severity, finding.code),
        (ntt_model::Severity::Loss, ntt_model::FindingCode::Contradiction)
    );
    assert!(finding.detail.contains(fact), "{}", finding.detail);
}

/// R22: a disk of changes over a parent that was written to since is neither the old state nor the new one.
#[test]
fn r22_a_vmdk_over_a_parent_that_was_changed_since_is_a_contradiction() {
    let (folder, _) = folder();
    let path = folder.path();
    if !convert(path, &["-O", "vmdk"], "base.vmdk") {
        return;
    }
    let create = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-b",
        "base.vmdk",
        "-F",
        "vmdk",
        "top.vmdk",
    ];
    run(path, "qemu-img", &create);
    let found = opened(&path.join("top.vmdk"));
    assert_eq!(found.findings, []);
    let id = |found: &ntt_container::Opened| {
        let mut facts = found.layers[0].facts.iter();
        let found = facts.find(|(name, _)| name == "content id");
        found.expect("an id").1.clone()
    };
    let before = id(&opened(&path.join("base.vmdk")));
    run(
        path,
        "qemu-io",
        &["-f", "vmdk", "-c", "write -P 0x55 0 64k", "base.vmdk"],
    );
    let after = id(&opened(&path.join("base.vmdk")));
    assert_ne!(before, after);
    let found = opened(&path.join("top.vmdk"));
    assert_contradiction(&found.findings, "content id");
    let detail = &found.findings[0].detail;
    assert!(detail.contains(&before) && detail.contains(&after), "{detail}");
}

/// A VHDX whose metadata say that it lies over `base.vhdx` with this id of its data.
fn over_base(mut file: Vec<u8>, linkage: &str) -> Vec<u8> {
    let starts: Vec<usize> = (1..file.len() >> 20).map(|mib| mib << 20).collect();
    let table = starts.into_iter().find(|at| file[*at..].starts_with(b"metadata"));
    let table = table.expect("a table of metadata");
    let count = u16::from_le_bytes(file[table + 10..table + 12].try_into().expect("two bytes"));
    put(&mut file, table + 10, &(count + 1).to_le_bytes());
    let parameters = (0..usize::from(count))
        .map(|number| table + 32 + number * 32)
        .find(|entry| file[*entry..].starts_with(&[0x37, 0x67, 0xa1, 0xca]))
        .expect("parameters");
    let place = u32::from_le_bytes(
        file[parameters + 16..parameters + 20]
            .try_into()
            .expect("four bytes"),
    );
    file[table + usize::try_from(place).expect("small") + 4] |= 2;
    let entry = table + 32 + usize::from(count) * 32;
    let parent = [
        0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
    ];
    put(&mut file, entry, &parent);
    put(&mut file, entry + 16, &0x8_0000_u32.to_le_bytes());
    let locator = table + 0x8_0000;
    let (mut head, mut text) = (vec![0; 20 + 2 * 12], Vec::new());
    put(&mut head, 18, &2_u16.to_le_bytes());
    for (at, pair) in [
        (20, ["parent_linkage", linkage]),
        (32, ["relative_path", ".\\base.vhdx"]),
    ] {
        for (number, word) in pair.iter().enumerate() {
            let units: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let place = u32::try_from(head.len() + text.len()).expect("small");
            put(&mut head, at + 4 * number, &place.to_le_bytes());
            let len = u16::try_from(units.len()).expect("small");
            put(&mut head, at + 8 + 2 * number, &len.to_le_bytes());
            text.extend(units);
        }
    }
    head.extend(text);
    put(
        &mut file,
        entry + 20,
        &u32::try_from(head.len()).expect("small").to_le_bytes(),
    );
    put(&mut file, locator, &head);
    file
}

/// R22: the same for VHDX, whose parent has an id of its data.
#[test]
fn r22_a_vhdx_over_a_parent_that_was_changed_since_is_a_contradiction() {
    let (folder, raw) = folder();
    let path = folder.path();
    if !convert(path, &["-O", "vhdx", "-o", "block_size=1M"], "base.vhdx") {
        return;
    }
    let create = [
        "create",
        "-q",
        "-f",
        "vhdx",
        "-o",
        "block_size=1M,block_state_zero=off",
        "empty.vhdx",
    ];
    let len = raw.len().to_string();
    run(path, "qemu-img", &[&create[..], &[len.as_str()]].concat());
    let empty = std::fs::read(path.join("empty.vhdx")).expect("read");
    let base = opened(&path.join("base.vhdx"));
    let mut facts = base.layers[0].facts.iter();
    let id = &facts.find(|(name, _)| name == "data id").expect("an id").1;
    let linkage = format!("{{{}}}", id.to_uppercase());
    std::fs::write(path.join("top.vhdx"), over_base(empty.clone(), &linkage)).expect("written");
    let found = opened(&path.join("top.vhdx"));
    assert_eq!(found.findings, []);
    assert_equal(&found.image, &raw);
    let linkage = linkage.replace(&id.to_uppercase()[..8], "DEADBEEF");
    std::fs::write(path.join("top.vhdx"), over_base(empty, &linkage)).expect("written");
    assert_contradiction(&opened(&path.join("top.vhdx")).findings, "data id");
}

const GRAIN: usize = 65_536;
const VMDK_SECTOR: usize = 512;

/// An image of three grain tables, with data and holes in each.
fn wide_image(folder: &Path, raw: &[u8]) -> Vec<u8> {
    let mut wide = vec![0; 70 << 20];
    for (at, len) in [
        (0, 1 << 20),
        (4 << 20, 300_000),
        (40 << 20, 1 << 20),
        (66 << 20, 500_000),
    ] {
        put(&mut wide, at, &raw[..len]);
    }
    std::fs::write(folder.join("raw.img"), &wide).expect("written");
    wide
}

fn is_loss(finding: &Finding) -> bool {
    finding.severity == Severity::Loss
}

/// Sectors in which directories and tables of a wide image begin, and those of them in which something stands about a grain that there is.
fn table_sectors(bytes: &[u8], raw: &[u8]) -> (usize, Vec<usize>) {
    let field = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let grains = raw.len().div_ceil(GRAIN);
    let mut used = Vec::new();
    for directory in [field(48), field(56)] {
        used.push(directory);
        // The tables of 512 entries stand behind their directory.
        used.extend((0..grains.div_ceil(128)).map(|sector| directory + 1 + sector));
    }
    (field(48).min(field(56)), used)
}

/// Zeros and 0xEE over each sector from the descriptor to the tables: what is read is right, or an error that a finding tells of. Returns the bytes
/// that each sector costs at most, from the directory on.
fn damage_tables(path: &Path, file: &Path, raw: &[u8]) -> Vec<usize> {
    let good = std::fs::read(file).expect("read");
    assert_eq!(opened(path).findings, []);
    let (directory, used) = table_sectors(&good, raw);
    let mut costs = Vec::new();
    for sector in 1..50 {
        let mut cost = 0;
        for fill in [0, 0xee] {
            let mut bytes = good.clone();
            bytes[sector * VMDK_SECTOR..(sector + 1) * VMDK_SECTOR].fill(fill);
            let must_tell = used.contains(&sector) && bytes != good;
            std::fs::write(file, &bytes).expect("written");
            let found = opened(path);
            let lost = lost_bytes(&found.image, raw, GRAIN);
            let round = format!("sector {sector}, {fill:#x}: {lost} lost, {:?}", found.findings);
            assert_eq!(lost > 0, found.findings.iter().any(is_loss), "{round}");
            assert!(!must_tell || !found.findings.is_empty(), "{round}");
            cost = cost.max(lost);
        }
        if sector >= directory {
            costs.push(cost);
        }
    }
    std::fs::write(file, &good).expect("written");
    costs
}

#[test]
fn r22_a_damaged_grain_table_costs_nothing_where_there_is_a_copy() {
    let (folder, raw) = folder();
    let raw = wide_image(folder.path(), &raw);
    for (subformat, file) in [
        ("monolithicSparse", "disk.vmdk"),
        ("twoGbMaxExtentSparse", "disk-s001.vmdk"),
        ("streamOptimized", "disk.vmdk"),
    ] {
        let option = format!("subformat={subformat}");
        if !convert(folder.path(), &["-O", "vmdk", "-o", &option], "disk.vmdk") {
            return;
        }
        let path = folder.path().join("disk.vmdk");
        let costs = damage_tables(&path, &folder.path().join(file), &raw);
        assert!(costs.iter().all(|cost| *cost == 0), "{subformat}: {costs:?}");
    }
}

/// A stream without a copy of its tables: its markers tell that they lack something.
#[test]
fn r22_what_the_tables_of_a_stream_lack_is_lost_and_no_hole() {
    let (folder, raw) = folder();
    let raw = wide_image(folder.path(), &raw);
    let path = folder.path().join("disk.vmdk");
    if !convert(
        folder.path(),
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
        "disk.vmdk",
    ) {
        return;
    }
    let mut bytes = std::fs::read(&path).expect("read");
    assert_eq!(bytes[8] & 2, 2, "no copy");
    bytes[8] &= !2;
    std::fs::write(&path, bytes).expect("written");
    let good = std::fs::read(&path).expect("read");
    let (_, used) = table_sectors(&good, &raw);
    let mut costs = 0;
    for sector in used {
        for fill in [0, 0xee] {
            let mut bytes = good.clone();
            bytes[sector * VMDK_SECTOR..(sector + 1) * VMDK_SECTOR].fill(fill);
            std::fs::write(&path, &bytes).expect("written");
            let found = opened(&path);
            let lost = lost_bytes(&found.image, &raw, GRAIN);
            assert_eq!(
                lost > 0,
                found.findings.iter().any(is_loss),
                "sector {sector}, {fill:#x}: {:?}",
                found.findings
            );
            costs += lost;
        }
    }
    assert!(costs > 0, "nothing is lost");
}

/// Sectors of the grain table and of its copy in an image of one table that qemu-img makes.
fn tables_of(bytes: &[u8]) -> [usize; 2] {
    let sector = |at: usize| {
        usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4"))).expect("small")
    };
    [56, 48].map(|field| sector(sector(field) * VMDK_SECTOR) * VMDK_SECTOR)
}

#[test]
fn r22_grains_of_which_nobody_can_tell_where_they_are_are_lost() {
    let (folder, raw) = folder();
    let path = folder.path().join("disk.vmdk");
    if !convert(folder.path(), &["-O", "vmdk"], "disk.vmdk") {
        return;
    }
    let good = std::fs::read(&path).expect("read");
    let [table, copy] = tables_of(&good);
    let stored: Vec<usize> = (0..raw.len() / GRAIN)
        .filter(|grain| good[table + grain * 4..table + grain * 4 + 4] != [0; 4])
        .collect();
    let entry = |grain: usize| good[table + grain * 4..table + grain * 4 + 4].to_vec();
    let (one, other) = (stored[0], stored[1]);
    // The two tables name different places, and both are possible.
    let mut bytes = good.clone();
    put(&mut bytes, table + one * 4, &entry(other));
    std::fs::write(&path, &bytes).expect("written");
    let found = opened(&path);
    assert_eq!(lost_bytes(&found.image, &raw, 512), GRAIN);
    let is_told = |finding: &Finding| is_loss(finding) && finding.code == FindingCode::Contradiction;
    assert!(found.findings.iter().any(is_told), "{:?}", found.findings);
    // Two grains are at one place by both tables.
    put(&mut bytes, copy + one * 4, &entry(other));
    std::fs::write(&path, &bytes).expect("written");
    let found = opened(&path);
    assert_eq!(lost_bytes(&found.image, &raw, 512), 2 * GRAIN);
    let is_told = |finding: &Finding| is_loss(finding) && finding.code == FindingCode::Loop;
    assert!(found.findings.iter().any(is_told), "{:?}", found.findings);
    // A grain lies in a table.
    for table in [table, copy] {
        let place = u32::try_from(copy / VMDK_SECTOR).expect("small");
        put(&mut bytes, table + one * 4, &place.to_le_bytes());
    }
    std::fs::write(&path, &bytes).expect("written");
    let found = opened(&path);
    assert_eq!(lost_bytes(&found.image, &raw, 512), GRAIN);
    assert!(found.findings.iter().any(is_loss), "{:?}", found.findings);
}

/// A file that is cut short, and one of its tables is cleared: what lay behind its end is no hole.
#[test]
fn r22_tables_of_a_disk_that_is_cut_short_are_believed() {
    let (folder, raw) = folder();
    let path = folder.path().join("disk.vmdk");
    if !convert(folder.path(), &["-O", "vmdk"], "disk.vmdk") {
        return;
    }
    let good = std::fs::read(&path).expect("read");
    let [table, copy] = tables_of(&good);
    let cut = good.len() - 1_000_000 / GRAIN * GRAIN;
    std::fs::write(&path, &good[..cut]).expect("written");
    let expected = lost_bytes(&opened(&path).image, &raw, 512);
    assert!(expected > 0);
    for (table, other) in [(table, copy), (copy, table)] {
        let mut bytes = good[..cut].to_vec();
        put(&mut bytes, table, &[0; VMDK_SECTOR]);
        std::fs::write(&path, &bytes).expect("written");
        let found = opened(&path);
        assert_eq!(lost_bytes(&found.image, &raw, 512), expected);
        let is_told = |finding: &Finding| is_loss(finding) && finding.code == FindingCode::BeyondEnd;
        assert!(found.findings.iter().any(is_told), "{:?}", found.findings);
        // An entry of the other one is wrong too.
        put(&mut bytes, other + 3, &[0xee]);
        std::fs::write(&path, &bytes).expect("written");
        assert!(lost_bytes(&opened(&path).image, &raw, 512) >= expected);
    }
}

#[test]
fn r22_a_flipped_bit_in_a_grain_table_gives_no_wrong_byte() {
    let (folder, raw) = folder();
    let raw = wide_image(folder.path(), &raw);
    let path = folder.path().join("disk.vmdk");
    if !convert(folder.path(), &["-O", "vmdk"], "disk.vmdk") {
        return;
    }
    let good = std::fs::read(&path).expect("read");
    let (_, used) = table_sectors(&good, &raw);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 8).expect("64 bits") % below
    };
    for _ in 0..200 {
        let at = used[next(used.len())] * VMDK_SECTOR + next(VMDK_SECTOR);
        let bit = next(8);
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).expect("written");
        let found = opened(&path);
        let lost = lost_bytes(&found.image, &raw, GRAIN);
        let round = format!("bit {bit} of byte {at}: {lost} lost, {:?}", found.findings);
        assert_eq!(lost > 0, found.findings.iter().any(is_loss), "{round}");
    }
}
