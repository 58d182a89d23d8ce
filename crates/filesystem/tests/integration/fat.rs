//! FAT as `mkfs.fat` and mtools write it: what was put in must come out, holes and damage cost only what they hit.

use ntt_filesystem::{Error, ScanOptions, Stop, fat};
use ntt_model::entry::Namespace;
use ntt_model::{ByteRange, FindingCode, ScanEvent};
use ntt_source::{Masked, ReadAt};
use ntt_testkit::listing::Listing;

use crate::fat_made::{FAT12, FAT16, FAT32, Made, open};

/// R23, R27: every name and every byte that mtools wrote comes back, for each type, and nothing else.
#[test]
fn r27_files_written_by_mtools_are_listed_with_their_content() {
    for (mkfs, type_name) in [
        (FAT12, "fat12"),
        (FAT16, "fat16"),
        (FAT32, "fat32"),
        (&["-F", "16", "-S", "2048", "-s", "1", "20000"], "fat16"),
    ] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let volume = open(&image);
        assert_eq!(volume.facts().type_name, type_name);
        assert_eq!(volume.facts().label, b"NTT TEST");
        assert_eq!(volume.facts().uuid.as_deref(), Some("12AB-34CD"));
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert_eq!(listing.findings, []);
        assert_eq!(listing.contents(&image), made.expected());
        let fragmented = listing
            .inodes
            .values()
            .filter(|inode| inode.data().is_some_and(|data| data.extents.len() > 1));
        assert!(
            fragmented.count() >= 1,
            "{type_name}: the test must hold a fragmented file"
        );
    }
}

/// R23: the 8.3 name beside a long one is an alternate, and names the same inode.
#[test]
fn r23_short_names_are_alternates_of_long_names() {
    let Some(made) = Made::new(FAT12) else { return };
    let listing = Listing::of(&*open(&made.image()), &ScanOptions::default());
    let long = listing
        .names
        .iter()
        .find(|listed| listed.path == b"fragmented one.bin")
        .expect("listed");
    let short = listing
        .names
        .iter()
        .find(|listed| listed.path == b"FRAGME~1.BIN")
        .expect("listed");
    assert_eq!(
        (long.name.namespace, long.name.alternate),
        (Namespace::Windows, false)
    );
    assert_eq!(
        (short.name.namespace, short.name.alternate),
        (Namespace::Dos, true)
    );
    assert_eq!(long.name.inode, short.name.inode);
}

/// What is in use according to `allocated` covers every extent, and ends where the tables say.
#[test]
fn allocated_runs_cover_every_extent() {
    for mkfs in [FAT12, FAT16, FAT32] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let volume = open(&image);
        let mut runs: Vec<ByteRange> = Vec::new();
        volume.allocated(&mut |run| runs.push(run)).expect("told");
        assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
        let listing = Listing::of(&*volume, &ScanOptions::default());
        for extent in listing
            .inodes
            .values()
            .flat_map(|inode| inode.data().map_or(&[][..], |data| &data.extents))
        {
            let needed = extent.image_range().expect("plain bytes");
            assert!(
                runs.iter().any(|run| run.contains_range(&needed)),
                "{needed} is not in use"
            );
        }
        assert!(runs.iter().map(|run| run.len).sum::<u64>() < ReadAt::len(&image) / 2);
        let in_clusters = runs.iter().map(|run| run.len).sum::<u64>() - metadata_bytes(&image);
        assert!(volume.facts().used_bytes.is_none_or(|used| used == in_clusters));
        assert_eq!(volume.facts().used_bytes.is_some(), mkfs == FAT32);
    }
}

/// Bytes before the first cluster.
fn metadata_bytes(image: &[u8]) -> u64 {
    let word = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let table = if word(22) == 0 { word(36) } else { word(22) };
    (word(14) + table * u64::from(image[16])) * word(11) + word(17) * 32
}

/// R11: a hole in the first table costs nothing, a hole in a directory only its sectors, a hole in a file nothing in the scan.
#[test]
fn r11_holes_cost_only_what_they_hit() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let whole = Listing::of(&*open(&image), &ScanOptions::default());
    let scan = |hole: ByteRange| {
        let masked = Masked::new(image.clone(), vec![hole]);
        Listing::of(
            &*fat::open(Box::new(masked), 0).expect("opens"),
            &ScanOptions::default(),
        )
    };
    let sector = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let table = sector(14) * 512;
    let first_table = scan(ByteRange::new(table, 512));
    assert_eq!(first_table.contents(&image), made.expected());
    assert!(
        first_table
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Unread && finding.image_offset == Some(table))
    );
    assert!(
        first_table
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BackupUsed)
    );

    let root = table + sector(22) * 512 * 2;
    let directory = scan(ByteRange::new(root + 512, 512));
    let hole = directory
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .expect("reported");
    assert_eq!(
        (hole.image_offset, hole.inode),
        (Some(root + 512), Some(fat::ROOT_INODE))
    );
    let lost = |inode: u64| (root + 512..root + 1024).contains(&(inode * 32));
    let kept: Vec<u64> = whole
        .inodes
        .keys()
        .copied()
        .filter(|inode| !lost(*inode))
        .collect();
    assert!(kept.len() < whole.inodes.len());
    assert!(kept.iter().all(|inode| directory.inodes.contains_key(inode)));

    let victim = whole
        .names
        .iter()
        .find(|listed| listed.path == b"FILE8.BIN")
        .expect("listed")
        .name
        .inode;
    let extent = whole.inodes[&victim].data().expect("a file").extents[0];
    let file = scan(ByteRange::new(extent.image_offset, 512));
    assert_eq!(file.inodes, whole.inodes);
}

/// R11: with the same hole in both tables the chain is cut and the file marked.
#[test]
fn r11_a_hole_in_both_tables_marks_the_files_that_need_it() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let tables = [
        512 * u64::from(image[14]),
        512 * (u64::from(image[14]) + u64::from(u16::from_le_bytes([image[22], image[23]]))),
    ];
    let masked = Masked::new(image, tables.map(|at| ByteRange::new(at, 512)).to_vec());
    let listing = Listing::of(
        &*fat::open(Box::new(masked), 0).expect("opens"),
        &ScanOptions::default(),
    );
    let cut = listing
        .inodes
        .values()
        .filter(|inode| inode.data().is_some_and(|data| data.extents_incomplete));
    assert!(cut.count() > 3);
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Unread && finding.inode.is_some())
    );
}

/// R12: a truncated image is still listed as far as its directories reach.
#[test]
fn r12_a_truncated_image_is_reported_and_listed() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let listing = Listing::of(&*open(&image[..200 * 512]), &ScanOptions::default());
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
    assert!(
        listing
            .names
            .iter()
            .any(|listed| listed.path == b"Fragmented Two.bin")
    );
}

/// A lost boot sector of FAT32 is replaced by its backup, whether it is unread or overwritten.
#[test]
fn the_backup_boot_sector_replaces_a_lost_one() {
    let Some(made) = Made::new(FAT32) else { return };
    let image = made.image();
    let mut wiped = image.clone();
    wiped[..512].fill(0xf6);
    let sources: [Box<dyn ReadAt>; 2] = [
        Box::new(wiped),
        Box::new(Masked::new(image.clone(), vec![ByteRange::new(0, 512)])),
    ];
    for source in sources {
        assert!(
            fat::probe(&*source)
                .expect("recognised")
                .evidence
                .contains("backup")
        );
        let listing = Listing::of(&*fat::open(source, 0).expect("opens"), &ScanOptions::default());
        assert_eq!(
            listing
                .findings
                .iter()
                .map(|finding| finding.code)
                .collect::<Vec<_>>(),
            [FindingCode::BackupUsed]
        );
        assert_eq!(listing.contents(&image), made.expected());
    }
}

/// A poisonous directory is left after the given number of names, with a finding; the same scan twice is the same.
#[test]
fn a_directory_is_left_after_the_given_number_of_names() {
    let Some(made) = Made::new(FAT12) else { return };
    let image = made.image();
    let mut options = ScanOptions::default();
    options.leave_after.insert(fat::ROOT_INODE, 5);
    let first = Listing::of(&*open(&image), &options);
    let in_root = |listing: &Listing| {
        listing
            .names
            .iter()
            .filter(|listed| listed.name.directory == fat::ROOT_INODE)
            .count()
    };
    assert_eq!(in_root(&first), 5);
    assert!(
        first
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Limit)
    );
    assert_eq!(first.events, Listing::of(&*open(&image), &options).events);
    let mut depth = ScanOptions::default();
    depth.limits.depth = 1;
    let shallow = Listing::of(&*open(&image), &depth);
    assert!(
        !shallow
            .names
            .iter()
            .any(|listed| listed.path.starts_with(b"Outer Folder/INNER/"))
    );
    assert!(
        shallow
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Limit)
    );
}

#[test]
fn a_visitor_can_end_the_scan() {
    let Some(made) = Made::new(FAT12) else { return };
    let image = made.image();
    let mut left = 3;
    let mut visit = |_: ScanEvent| {
        left -= 1;
        if left == 0 { Err(Stop) } else { Ok(()) }
    };
    assert!(matches!(
        open(&image).scan(&ScanOptions::default(), &mut visit),
        Err(Error::Stopped)
    ));
}

/// R22: a chain that loops, ends early or leads to a free, bad or impossible cluster is cut there and told; the rest is listed.
#[test]
fn r22_a_broken_chain_costs_only_its_file() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let whole = Listing::of(&*open(&image), &ScanOptions::default());
    let number = whole
        .names
        .iter()
        .find(|listed| listed.path == b"FILE8.BIN")
        .expect("listed")
        .name
        .inode;
    let start = whole.inodes[&number].data().expect("a file").extents[0].image_offset;
    let first = u16::try_from((start - metadata_bytes(&image)) / 512 + 2).expect("small");
    for (second, code, kept) in [
        (first, FindingCode::Loop, 1024),
        (0, FindingCode::Corrupt, 512),
        (0xfff7, FindingCode::Corrupt, 512),
        (0xfff0, FindingCode::Corrupt, 1024),
        (0xffff, FindingCode::Corrupt, 1024),
    ] {
        let mut broken = image.clone();
        let table = 512 * usize::from(image[14]);
        let copy = 512 * usize::from(u16::from_le_bytes([image[22], image[23]]));
        for at in [table, table + copy].map(|table| table + 2 * (usize::from(first) + 1)) {
            broken[at..at + 2].copy_from_slice(&second.to_le_bytes());
        }
        let listing = Listing::of(&*open(&broken), &ScanOptions::default());
        let data = listing.inodes[&number].data().expect("a file");
        assert!(data.extents_incomplete);
        assert_eq!(
            data.extents.iter().map(|extent| extent.len).sum::<u64>(),
            kept,
            "{second:#x}"
        );
        assert_eq!(
            listing
                .findings
                .iter()
                .map(|finding| (finding.code, finding.inode))
                .collect::<Vec<_>>(),
            [(code, Some(number)), (FindingCode::Orphan, None)]
        );
        // What followed is listed as a lost chain.
        let (lost, named): (Vec<_>, Vec<_>) = listing
            .names
            .into_iter()
            .partition(|listed| listed.name.namespace == Namespace::Lost);
        assert_eq!(named, whole.names);
        let rest = listing.inodes[&lost[0].name.inode].data().expect("a file");
        assert_eq!((lost.len(), rest.size_bytes % 512), (1, 0));
    }
}

/// R15: a volume that begins later, as on a Zip disk, is no volume at 0 that lost its boot sector.
#[test]
fn r15_a_boot_sector_further_on_is_not_lost() {
    for mkfs in [&["-F", "12", "2000"][..], FAT16] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        for sectors in [1, 31, 32] {
            let mut later = vec![0; sectors * 512];
            later.extend_from_slice(&image);
            assert_eq!(ntt_filesystem::probe_deep(&later), [], "{mkfs:?}: {sectors}");
            // Without it, the tables are all there is to go by.
            later[sectors * 512..][..512].fill(0);
            assert_eq!(ntt_filesystem::probe_deep(&later).len(), 1, "{mkfs:?}: {sectors}");
        }
    }
}

/// R22: FAT12 and FAT16 keep no copy of the boot sector; tables and directories tell the layout.
#[test]
fn r22_a_volume_without_a_boot_sector_is_read() {
    for mkfs in [
        &["-F", "12", "2000"][..],
        FAT16,
        &["-F", "16", "-s", "4", "-r", "256", "-R", "8", "32768"],
        &["-F", "12", "-s", "8", "-r", "96", "8000"],
    ] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let whole = Listing::of(&*open(&image), &ScanOptions::default());
        let mut wiped = image.clone();
        wiped[..512].fill(0);
        assert_eq!(ntt_filesystem::probe(&wiped), [], "{mkfs:?}");
        let found = ntt_filesystem::probe_deep(&wiped);
        assert_eq!(found.len(), 1, "{mkfs:?}");
        let listing = Listing::of(&*open(&wiped), &ScanOptions::default());
        assert_eq!(listing.names, whole.names, "{mkfs:?}");
        assert_eq!(listing.contents(&wiped), made.expected(), "{mkfs:?}");
        assert_eq!(listing.findings.len(), 1);
        let holed = Masked::new(image, vec![ByteRange::new(0, 512)]);
        let volume = fat::open(Box::new(holed), 0).expect("opens");
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert_eq!(listing.findings[0].code, FindingCode::Unread);
        // Without directories nothing can be told.
        let mut tables_only = wiped;
        tables_only[60_000..].fill(0);
        assert_eq!(ntt_filesystem::probe_deep(&tables_only), []);
    }
}
