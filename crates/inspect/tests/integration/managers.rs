//! Volumes of md and LVM: listed, nested, and read through their extents in the image.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ntt_filesystem::{Family, ScanOptions, Stop};
use ntt_inspect::layer::{LayerTree, Verdict, VolumeLayer};
use ntt_inspect::tree::{build, build_set};
use ntt_model::space::member_base;
use ntt_model::{Device, FindingCode, ScanEvent, Severity};
use ntt_source::extents::{Missing, Piece, read_stream};
use ntt_source::{ReadAt, Space, SubRange};
use ntt_testkit::corpus::have;
use ntt_testkit::managers::{MdMember, disk_of, lvm2_members, md_members, md_resynced_to, md_without, raid5};

const MIB: usize = 1 << 20;

/// A file system of `mib` MiB with a few files of known content.
fn ext4(label: &str, mib: usize) -> Option<Vec<u8>> {
    if !have("mkfs.ext4") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..12_u8 {
        let content: Vec<u8> = (0..150_000_u32)
            .map(|at| at.to_le_bytes()[1].wrapping_mul(number).wrapping_add(number))
            .collect();
        std::fs::write(folder.path().join(format!("file{number}")), content).expect("a file");
    }
    let image = tempfile::NamedTempFile::new().expect("an image");
    image
        .as_file()
        .set_len(u64::try_from(mib * MIB).expect("small"))
        .expect("a size");
    let made = Command::new("mkfs.ext4")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-q", "-F", "-L", label, "-d"])
        .args([folder.path(), image.path()])
        .status();
    assert!(made.expect("a run").success());
    Some(std::fs::read(image.path()).expect("the image"))
}

/// Size and content of every file of a volume, read through the extents that the scan of it gives, and what was missing.
fn contents(image: &Vec<u8>, volume: &VolumeLayer) -> (BTreeMap<u64, blake3::Hash>, Vec<Missing>) {
    let mapping = volume.mapping.as_ref();
    let device = mapping.and_then(|mapping| Device::of(volume.number, mapping));
    contents_in(
        &Space::new(vec![(0, image)], device.into_iter().collect()),
        volume,
    )
}

/// As [`contents`], from the space of a medium.
fn contents_in(image: &dyn ReadAt, volume: &VolumeLayer) -> (BTreeMap<u64, blake3::Hash>, Vec<Missing>) {
    let mapping = volume.mapping.as_ref();
    let device = mapping.and_then(|mapping| Device::of(volume.number, mapping));
    let base = device.map(|device| device.base);
    let opened = match &volume.mapping {
        Some(mapping) => ntt_filesystem::open_mapped(Family::Ext, image, mapping, base),
        None => ntt_filesystem::open(
            Family::Ext,
            Box::new(SubRange::new(image, volume.range)),
            volume.range.offset,
        ),
    };
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    let scanned = opened
        .expect("a file system")
        .scan(&ScanOptions::default(), &mut |event: ScanEvent| {
            let ScanEvent::Inode(inode) = event else {
                return Ok::<(), Stop>(());
            };
            let Some(stream) = inode.data().filter(|stream| stream.size_bytes == 150_000) else {
                return Ok(());
            };
            let mut hasher = blake3::Hasher::new();
            let lost = read_stream::<Stop>(image, stream, &mut |piece| {
                match piece {
                    Piece::Bytes(bytes) => hasher.update(bytes),
                    Piece::Zeros(len) => hasher.update(&vec![0; usize::try_from(len).expect("small")]),
                };
                Ok(())
            })?;
            found.insert(inode.number, hasher.finalize());
            missing.extend((!lost.ranges.is_empty()).then_some(lost));
            Ok(())
        });
    scanned.expect("a scan");
    (found, missing)
}

/// The contents of the file system as it was made.
fn expected(image: &Vec<u8>) -> BTreeMap<u64, blake3::Hash> {
    let tree = build(image);
    let (found, missing) = contents(image, &tree.volumes[0]);
    assert_eq!((found.len(), missing), (12, Vec::new()));
    found
}

fn volume<'a>(tree: &'a LayerTree, found_by: &str) -> &'a VolumeLayer {
    let found = tree.volumes.iter().find(|volume| volume.found_by == found_by);
    found.unwrap_or_else(|| panic!("no {found_by} in {:#?}", tree.volumes))
}

fn codes(tree: &LayerTree) -> Vec<FindingCode> {
    tree.findings.iter().map(|finding| finding.code).collect()
}

fn write_lvm(members: &mut [Vec<u8>; 2], linear: &[u8], striped: &[u8]) {
    let mut done = 0;
    for (member, extent, count) in [(0, 0, 8), (0, 14, 25), (1, 6, 3)] {
        let at = MIB + extent * MIB;
        members[member][at..at + count * MIB].copy_from_slice(&linear[done..done + count * MIB]);
        done += count * MIB;
    }
    for (number, chunk) in striped.chunks(65_536).enumerate() {
        let at = MIB + [8, 0][number % 2] * MIB + number / 2 * 65_536;
        members[number % 2][at..at + chunk.len()].copy_from_slice(chunk);
    }
}

/// What the tools of LVM2 made is read: a volume in three segments over two members, and a striped one.
#[test]
fn volumes_of_lvm2_are_listed_and_read() {
    let Some(mut members) = lvm2_members() else { return };
    let (Some(linear), Some(striped)) = (ext4("lin", 36), ext4("str", 12)) else {
        return;
    };
    write_lvm(&mut members, &linear, &striped);
    let disk = disk_of(&members);
    let tree = build(&disk);
    assert_eq!(tree.findings, []);
    assert_eq!(tree.managers.len(), 1);
    assert_eq!(
        (
            tree.managers[0].name.as_str(),
            tree.managers[0].members.as_slice()
        ),
        ("vg0", [1, 2].as_slice())
    );
    assert!(
        tree.volumes[..2]
            .iter()
            .all(|member| member.verdict == Verdict::Table)
    );
    for (name, image, kind) in [
        ("lvm2 vg0/lin", &linear, "linear"),
        ("lvm2 vg0/str", &striped, "striped"),
    ] {
        let volume = volume(&tree, name);
        assert_eq!(
            (volume.verdict.clone(), volume.inside, volume.table_type.as_str()),
            (Verdict::Readable, Some(1), kind)
        );
        assert_eq!(volume.available_bytes, volume.range.len);
        assert_eq!(contents(&disk, volume), (expected(image), Vec::new()), "{name}");
    }
}

/// One member alone: what it has is read, what it has not is missing and never zeros, and the finding names the absent one.
#[test]
fn r11_a_member_alone_gives_what_it_has() {
    let Some(mut members) = lvm2_members() else { return };
    let (Some(linear), Some(striped)) = (ext4("lin", 36), ext4("str", 12)) else {
        return;
    };
    write_lvm(&mut members, &linear, &striped);
    let disk = disk_of(&members[..1]);
    let tree = build(&disk);
    let finding = tree
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::MissingMember)
        .expect("a finding");
    assert!(
        finding.detail.contains("9dgBPl-ZRVb-Gu1r-lrNr-y1Dv-bEm2-4ppglz"),
        "{}",
        finding.detail
    );
    let volume = volume(&tree, "lvm2 vg0/lin");
    assert_eq!(volume.available_bytes, 33 << 20);
    let (found, missing) = contents(&disk, volume);
    let expected = expected(&linear);
    let right = found
        .iter()
        .filter(|(number, hash)| expected.get(number) == Some(*hash))
        .count();
    assert!(
        right + missing.len() >= found.len(),
        "{right} of {} are right, {} have holes",
        found.len(),
        missing.len()
    );
    assert!(right > 0);
}

/// The first of three members of a RAID5.
const OF_RAID5: MdMember = MdMember {
    level: 5,
    layout: 2,
    chunk_sectors: 128,
    raid_disks: 3,
    role: 0,
    events: 7,
};

/// A member of a mirror of two.
fn mirror(role: u16, events: u64) -> MdMember {
    MdMember {
        level: 1,
        layout: 0,
        chunk_sectors: 0,
        raid_disks: 2,
        role,
        events,
    }
}

/// The three members of a RAID5.
fn raid5_members(data: &[u8]) -> Vec<Vec<u8>> {
    md_members(OF_RAID5, &raid5(data, 65_536, 3))
}

/// A RAID5 whose members are partitions of one disk; the members in `absent` are left out.
fn raid5_disk(data: &[u8], absent: &[usize], events: [u64; 3]) -> Vec<u8> {
    let columns = raid5(data, 65_536, 3);
    let members: Vec<Vec<u8>> = (0_u16..)
        .zip(&columns)
        .filter(|(role, _)| !absent.contains(&usize::from(*role)))
        .map(|(role, column)| {
            let member = MdMember {
                level: 5,
                layout: 2,
                chunk_sectors: 128,
                raid_disks: 3,
                role,
                events: events[usize::from(role)],
            };
            member.version_1_2(column)
        })
        .collect();
    disk_of(&members)
}

/// R16: a RAID5 from all its members, and from all but one through parity.
#[test]
fn r16_raid5_is_read_whole_and_degraded() {
    let Some(image) = ext4("five", 8) else { return };
    let expected = expected(&image);
    let whole = raid5_disk(&image, &[], [7; 3]);
    let tree = build(&whole);
    assert_eq!(tree.findings, []);
    let device = volume(&tree, "md raid5 host:0");
    assert_eq!(
        device.file_systems[0]
            .facts
            .as_ref()
            .map(|facts| facts.label.clone()),
        Some(b"five".to_vec())
    );
    assert_eq!(contents(&whole, device), (expected.clone(), Vec::new()));

    let degraded = raid5_disk(&image, &[1], [7; 3]);
    let tree = build(&degraded);
    assert_eq!(codes(&tree), [FindingCode::MissingMember]);
    let device = volume(&tree, "md raid5 host:0");
    assert_eq!(device.verdict, Verdict::Readable);
    assert_eq!(
        tree.findings[0].severity,
        Severity::Warning,
        "{:#?}",
        tree.findings
    );
    // Names, extents and bytes come from what parity gives.
    assert_eq!(contents(&degraded, device), (expected, Vec::new()));
}

/// A volume group on a degraded array, as network storages have it: the volume is a part of the array, and read through its parity.
#[test]
fn a_partition_in_a_degraded_array_is_read() {
    let Some(image) = ext4("inner", 8) else { return };
    let expected = expected(&image);
    let degraded = raid5_disk(&disk_of(&[image]), &[2], [7; 3]);
    let tree = build(&degraded);
    let inside = volume(&tree, "mbr primary 1 in md raid5 host:0");
    assert_eq!(inside.verdict, Verdict::Readable);
    assert_eq!(contents(&degraded, inside), (expected, Vec::new()));
}

/// Members on several disks: each disk has its own tree, in which they hold what the set reads, and the set has the array.
#[test]
fn r16_members_on_several_images_make_a_set() {
    let Some(image) = ext4("set", 8) else { return };
    let expected = expected(&image);
    let members = raid5_members(&image);
    let disks: Vec<Vec<u8>> = members.into_iter().map(|member| disk_of(&[member])).collect();
    for absent in [None, Some(0), Some(1), Some(2)] {
        let given: Vec<Vec<u8>> = (0..3)
            .filter(|number| Some(*number) != absent)
            .map(|number| disks[number].clone())
            .collect();
        let trees = build_set(given.clone()).expect("a set");
        assert_eq!(trees.images.len(), given.len());
        for tree in &trees.images {
            assert_eq!((tree.volumes.len(), tree.findings.len()), (1, 0));
            assert_eq!(tree.volumes[0].verdict, Verdict::Table);
        }
        let device = volume(&trees.set, "md raid5 host:0");
        assert_eq!(
            (device.verdict.clone(), device.inside),
            (Verdict::Readable, Some(1))
        );
        assert_eq!(trees.set.volumes[1].found_by, "mbr primary 1 in image 2");
        assert_eq!(trees.set.findings.len(), usize::from(absent.is_some()));
        let bases = (1..).map(|number| member_base(number).expect("room"));
        let mapping = device.mapping.as_ref().expect("pieces");
        let known = Device::of(device.number, mapping).expect("a device");
        let space = Space::new(bases.zip(&given).collect(), vec![known]);
        assert_eq!(
            contents_in(&space, device),
            (expected.clone(), Vec::new()),
            "{absent:?}"
        );
    }
}

/// R11, R22: parity that was never made to agree with the data gives something in the place of a member, and nobody knows what.
#[test]
fn r22_parity_that_is_not_in_step_is_doubtful_without_a_member() {
    let Some(image) = ext4("dirty", 8) else { return };
    let members = raid5_members(&image);
    let resynced_to = |sector: u64| -> Vec<Vec<u8>> {
        let mut members = members.clone();
        members
            .iter_mut()
            .for_each(|member| md_resynced_to(member, sector));
        members
    };
    let sectors = u64::try_from(members[0].len()).expect("small") / 512;
    for (sector, is_doubtful) in [(0, true), (2048, true), (sectors, false), (u64::MAX, false)] {
        let whole = resynced_to(sector);
        let trees = build_set(whole.clone()).expect("a set");
        assert_eq!(codes(&trees.set), [], "no parity is used");
        let trees = build_set(whole[1..].to_vec()).expect("a set");
        assert_eq!(
            volume(&trees.set, "md raid5 host:0").verdict,
            Verdict::Readable,
            "the best that can be had"
        );
        let doubt: Vec<&ntt_model::Finding> = trees
            .set
            .findings
            .iter()
            .filter(|finding| finding.code == FindingCode::Contradiction)
            .collect();
        assert_eq!(doubt.len(), usize::from(is_doubtful), "{sector}");
        for finding in doubt {
            assert_eq!(finding.severity, Severity::Loss);
            let place = format!("up to byte {} ", sector * 512);
            assert!(finding.detail.contains(&place), "{}", finding.detail);
        }
        // What is cut off a member comes from parity too.
        let mut cut = whole;
        let half = cut[1].len() / 2;
        cut[1].truncate(half);
        let trees = build_set(cut).expect("a set");
        assert_eq!(
            codes(&trees.set).contains(&FindingCode::Contradiction),
            is_doubtful
        );
    }
}

/// A RAID 4 whose column of parity is missing needs none.
#[test]
fn parity_that_is_not_in_step_matters_only_where_it_is_used() {
    let like = MdMember {
        level: 4,
        layout: 0,
        chunk_sectors: 128,
        raid_disks: 3,
        role: 0,
        events: 7,
    };
    let mut members = md_members(like, &vec![vec![1; 1 << 20]; 3]);
    members.iter_mut().for_each(|member| md_resynced_to(member, 0));
    let is_doubtful = |given: Vec<Vec<u8>>| {
        let trees = build_set(given).expect("a set");
        codes(&trees.set).contains(&FindingCode::Contradiction)
    };
    assert!(!is_doubtful(members[..2].to_vec()));
    assert!(is_doubtful(members[1..].to_vec()));
}

/// R12: what a member must have stands in its superblock. The set reads on through parity; the image says that it is not all of the disk.
#[test]
fn r12_an_image_of_a_member_that_is_cut_short_is_incomplete() {
    let Some(image) = ext4("short", 8) else { return };
    let expected = expected(&image);
    let mut disks = raid5_members(&image);
    let whole = disks[1].len();
    disks[1].truncate(whole / 2);
    let trees = build_set(disks.clone()).expect("a set");
    let lacking: Vec<usize> = trees.images.iter().map(|tree| tree.findings.len()).collect();
    assert_eq!(lacking, [0, 1, 0]);
    let cut = &trees.images[1];
    assert_eq!(codes(cut), [FindingCode::BeyondEnd]);
    assert_eq!(cut.findings[0].severity, Severity::Loss);
    assert_eq!(cut.expected_bytes, u64::try_from(whole).expect("small"));
    assert_eq!(codes(&trees.set), [FindingCode::MissingMember]);
    let device = volume(&trees.set, "md raid5 host:0");
    let bases = (1..).map(|number| member_base(number).expect("room"));
    let known = Device::of(device.number, device.mapping.as_ref().expect("pieces")).expect("a device");
    let space = Space::new(bases.zip(&disks).collect(), vec![known]);
    assert_eq!(contents_in(&space, device), (expected, Vec::new()));
}

/// R12: so does the label of a physical volume.
#[test]
fn r12_an_image_of_a_physical_volume_that_is_cut_short_is_incomplete() {
    let Some([mut member, _]) = lvm2_members() else {
        return;
    };
    let whole = build(&member);
    assert!(
        !codes(&whole).contains(&FindingCode::BeyondEnd),
        "{:#?}",
        whole.findings
    );
    let expected = u64::try_from(member.len()).expect("small");
    member.truncate(member.len() - 4096);
    let cut = build(&member);
    assert!(
        codes(&cut).contains(&FindingCode::BeyondEnd),
        "{:#?}",
        cut.findings
    );
    assert_eq!(cut.expected_bytes, expected);
}

/// R16: members of different arrays, and a stale one, are not joined; what nobody else belongs to stays with its image.
#[test]
fn r16_strangers_make_no_set() {
    let Some(image) = ext4("one", 4) else { return };
    let columns = raid5(&image, 65_536, 3);
    let [first, second, third] = md_members(OF_RAID5, &columns).try_into().expect("three members");
    let foreign = OF_RAID5.version_1_2(&columns[1]);
    let foreign = of_another_array(foreign);
    let trees = build_set(vec![first.clone(), foreign]).expect("a set");
    assert_eq!((trees.set.volumes.len(), trees.set.findings.len()), (0, 0));
    for tree in &trees.images {
        assert_eq!(codes(tree), [FindingCode::MissingMember]);
    }
    let stale = MdMember {
        role: 1,
        events: 5,
        ..OF_RAID5
    };
    let trees = build_set(vec![first.clone(), stale.version_1_2(&columns[1]), third]).expect("a set");
    let text: Vec<String> = trees
        .set
        .findings
        .iter()
        .map(|finding| finding.detail.clone())
        .collect();
    assert!(text[0].contains("volume 2 is a stale member"), "{text:?}");
    assert_eq!(trees.set.managers[0].members, [1, 3]);
    // A member given twice is named.
    let trees = build_set(vec![first.clone(), second, first]).expect("a set");
    assert!(codes(&trees.set).contains(&FindingCode::Contradiction));
}

/// The member with another UUID of its array.
fn of_another_array(mut member: Vec<u8>) -> Vec<u8> {
    member[4096 + 16] ^= 1;
    let sum = u32::from_le_bytes(member[4096 + 216..4096 + 220].try_into().expect("four bytes"));
    let first = i64::from(member[4096 + 16]) - i64::from(member[4096 + 16] ^ 1);
    let sum = u32::try_from(i64::from(sum) + first).expect("a sum");
    member[4096 + 216..4096 + 220].copy_from_slice(&sum.to_le_bytes());
    member
}

/// R16: a member that has seen fewer changes is not joined; the finding names both numbers.
#[test]
fn r16_a_stale_member_is_left_out_and_named() {
    let Some(image) = ext4("five", 8) else { return };
    let disk = raid5_disk(&image, &[], [7, 5, 7]);
    let tree = build(&disk);
    let stale = &tree.findings[0];
    assert_eq!(stale.code, FindingCode::MissingMember);
    assert!(
        stale.detail.contains("5 changes") && stale.detail.contains('7'),
        "{}",
        stale.detail
    );
    assert_eq!(volume(&tree, "md raid5 host:0").verdict, Verdict::Readable);
    assert_eq!(tree.managers[0].members, [1, 3]);
}

/// R3, R16: the halves of a mirror, each of which was used while the other was away, are no mirror of each other: what only one of them holds must be found, whatever their
/// numbers of changes.
#[test]
fn r16_halves_that_went_on_without_each_other_are_arrays_of_their_own() {
    let (Some(first), Some(second)) = (ext4("one", 4), ext4("two", 4)) else {
        return;
    };
    for events in [[7, 7], [9, 7], [7, 9]] {
        let half = |role: u16, data: &[u8]| {
            let mut member = mirror(role, events[usize::from(role)]).version_1_2(data);
            md_without(&mut member, 1 - usize::from(role));
            member
        };
        let halves = [half(0, &first), half(1, &second)];
        let disk = disk_of(&halves);
        let tree = build(&disk);
        let (newer, older) = if events[1] > events[0] { (2, 1) } else { (1, 2) };
        let found = [
            volume(&tree, "md raid1 host:0"),
            volume(&tree, &format!("md raid1 host:0 as of volume {older}")),
        ];
        let labels = found.map(|volume| {
            volume.file_systems[0]
                .facts
                .as_ref()
                .map(|facts| facts.label.clone())
        });
        let mut expected = [b"one".to_vec(), b"two".to_vec()].map(Some);
        if newer == 2 {
            expected.reverse();
        }
        assert_eq!(labels, expected);
        let told: Vec<&str> = tree
            .findings
            .iter()
            .map(|finding| finding.detail.as_str())
            .collect();
        let states = format!("in 2 states, of volumes {newer}, {older}");
        assert!(told.iter().any(|detail| detail.contains(&states)), "{told:?}");
        assert!(!told.iter().any(|detail| detail.contains("left out")), "{told:?}");
        // On images of their own they make a set, in which both are read.
        let [first, second] = halves;
        let set = build_set(vec![first, second]).expect("a set").set;
        assert!(
            set.volumes
                .iter()
                .all(|volume| matches!(volume.verdict, Verdict::Table | Verdict::Readable)),
            "{:?}",
            set.volumes
        );
    }
}

/// R16: a half that was thrown out of a mirror, and did not go on since, is stale, and so is one that its sibling does not count any more in spite of equal numbers.
#[test]
fn r16_a_half_that_its_sibling_does_not_count_is_left_out() {
    let Some(image) = ext4("one", 4) else { return };
    for events in [7, 6] {
        let mut first = mirror(0, 7).version_1_2(&image);
        md_without(&mut first, 1);
        let disk = disk_of(&[first, mirror(1, events).version_1_2(&image)]);
        let tree = build(&disk);
        assert_eq!(tree.managers.len(), 1);
        assert_eq!(tree.managers[0].members, [1]);
        assert!(codes(&tree).contains(&FindingCode::MissingMember));
        assert!(
            tree.findings
                .iter()
                .any(|finding| finding.detail.contains("left out"))
        );
    }
}

/// R16: a mirror is read from one member, whether its data comes first or not.
#[test]
fn r16_raid1_is_read_from_one_member() {
    let Some(image) = ext4("one", 4) else { return };
    let expected = expected(&image);
    let member = mirror(1, 3);
    let disk = disk_of(&[member.version_1_2(&image)]);
    let tree = build(&disk);
    let device = volume(&tree, "md raid1 host:0");
    assert!(device.mapping.is_none(), "one range of the image");
    assert_eq!(contents(&disk, device), (expected.clone(), Vec::new()));
    // With its data first, the member itself is the file system; the array is the same bytes.
    let disk = disk_of(&[member.version_1_0(&image)]);
    let tree = build(&disk);
    assert_eq!(
        volume(&tree, "md raid1 host:0").verdict,
        Verdict::SameAs { number: 1 }
    );
    assert_eq!(contents(&disk, &tree.volumes[0]), (expected, Vec::new()));
}

/// Volumes nest: a striped array whose first chunk looks like a file system is not read from one member, and a partition table in an array is found.
#[test]
fn stripes_and_tables_nest() {
    let Some(image) = ext4("zero", 8) else { return };
    let expected = expected(&image);
    let inner = disk_of(&[image]);
    let mut columns = vec![Vec::new(), Vec::new()];
    let mut padded = inner;
    padded.resize(padded.len().next_multiple_of(131_072), 0);
    for (number, chunk) in padded.chunks(65_536).enumerate() {
        columns[number % 2].extend_from_slice(chunk);
    }
    let members: Vec<Vec<u8>> = (0_u16..)
        .zip(&columns)
        .map(|(role, column)| {
            let member = MdMember {
                level: 0,
                layout: 0,
                chunk_sectors: 128,
                raid_disks: 2,
                role,
                events: 1,
            };
            member.version_1_0(column)
        })
        .collect();
    let disk = disk_of(&members);
    let tree = build(&disk);
    let device = volume(&tree, "md raid0 host:0");
    assert_eq!(device.verdict, Verdict::Table);
    let inside = volume(&tree, "mbr primary 1 in md raid0 host:0");
    assert_eq!(
        (inside.verdict.clone(), inside.inside),
        (Verdict::Readable, Some(device.number))
    );
    assert_eq!(contents(&disk, inside), (expected, Vec::new()));
}

/// What `mdadm` says of the members that these tests make.
#[test]
fn members_made_here_are_members_to_mdadm() {
    if !have("mdadm") {
        return;
    }
    let data = vec![1; 1 << 20];
    let member = MdMember {
        level: 5,
        layout: 2,
        chunk_sectors: 128,
        raid_disks: 3,
        role: 1,
        events: 7,
    };
    let text = examined(&member.version_1_2(&data));
    for line in [
        "Raid Level : raid5",
        "left-symmetric",
        "Events : 7",
        "Chunk Size : 64K",
        "- correct",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

fn examined(member: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), member).expect("a member");
    run_examine(file.path())
}

fn run_examine(path: &Path) -> String {
    let output = Command::new("mdadm")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg("--examine")
        .arg(path)
        .output()
        .expect("a run");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
