//! Wide directories, deep trees, files in many pieces, volumes that claim to be huge. `crates/testkit/examples/extremes.rs` runs the
//! same at full size.

use ntt_filesystem::{FileSystem, ScanOptions, open, probe};
use ntt_model::entry::ScanCounts;
use ntt_model::{ExtentKind, FindingCode, Kind, ScanEvent};
use ntt_source::ReadAt;
use ntt_testkit::extremes::{ext, fat, hfsplus, iso9660, ntfs};
use ntt_testkit::listing::Listing;
use ntt_testkit::synthetic::Synthetic;

use crate::ext_image::{Image, odd_tree, scan};

fn volume(image: &Synthetic) -> Box<dyn FileSystem + '_> {
    let candidate = probe(image).into_iter().next().expect("recognised");
    open(candidate.family, Box::new(image), 0).expect("opens")
}

/// A directory with more entries than fit a FAT12 or FAT16 directory: each is listed once, and nothing is said.
#[test]
fn r22_a_wide_directory_is_listed_whole() {
    const ENTRIES: u64 = 70_000;
    for image in [
        fat::wide(ENTRIES),
        ext::wide(ENTRIES),
        iso9660::wide(ENTRIES),
        ntfs::wide(ENTRIES),
        hfsplus::wide(ENTRIES),
    ] {
        let mut counts = ScanCounts::default();
        let mut visit = |event: ScanEvent| {
            counts.add(&event);
            Ok(())
        };
        let volume = volume(&image);
        volume.scan(&ScanOptions::default(), &mut visit).expect("ends");
        let type_name = &volume.facts().type_name;
        assert_eq!((counts.directories, counts.names), (1, ENTRIES), "{type_name}");
        assert_eq!(counts.inodes, ENTRIES + 1, "{type_name}");
        // A disc without a path table says so.
        // A catalogue without an index says so, too.
        let expected = u64::from(matches!(type_name.as_str(), "iso9660" | "hfsplus"));
        assert_eq!(counts.findings, expected, "{type_name}");
    }
}

/// 4,096 directories in each other: every one is entered.
#[test]
fn r22_a_deep_tree_is_walked_to_its_bottom() {
    const LEVELS: usize = 4096;
    let levels = u64::try_from(LEVELS).expect("fits");
    for image in [
        fat::deep(levels),
        ext::deep(levels),
        iso9660::deep(levels),
        ntfs::deep(levels),
        hfsplus::deep(levels),
    ] {
        let listing = Listing::of(&*volume(&image), &ScanOptions::default());
        assert_eq!(listing.names.len(), LEVELS);
        let deepest = listing.names.iter().map(|listed| listed.path.len()).max();
        assert_eq!(deepest, Some(2 * LEVELS - 1));
        let unexpected = listing.findings.iter().find(|finding| {
            !finding.detail.contains("path table") && !finding.detail.contains("by its index")
        });
        assert_eq!(unexpected, None);
    }
}

/// A file in 100,000 pieces has as many extents, in order, none joined and none lost.
#[test]
fn r22_a_file_in_many_pieces_is_mapped_whole() {
    const PIECES: usize = 100_000;
    let pieces = u64::try_from(PIECES).expect("fits");
    for image in [
        fat::fragmented(pieces),
        ext::fragmented(pieces),
        hfsplus::fragmented(pieces),
    ] {
        let listing = Listing::of(&*volume(&image), &ScanOptions::default());
        let unexpected = listing
            .findings
            .iter()
            .find(|finding| !finding.detail.contains("by its index"));
        assert_eq!(unexpected, None);
        let file = listing
            .inodes
            .values()
            .find(|inode| inode.kind == Kind::File)
            .expect("a file");
        let data = file.data().expect("a stream");
        let extents: Vec<_> = data
            .extents
            .iter()
            .filter(|extent| extent.kind == ExtentKind::Data)
            .collect();
        assert_eq!((extents.len(), data.extents_incomplete), (PIECES, false));
        let ascending = |pair: &[&ntt_model::Extent]| {
            pair[0].logical_offset < pair[1].logical_offset && pair[0].image_offset < pair[1].image_offset
        };
        assert!(extents.windows(2).all(ascending));
        assert!(extents.iter().all(|extent| {
            extent
                .image_range()
                .is_some_and(|range| range.end() <= image.len())
        }));
    }
}

/// A volume that claims 16 EiB in an image of some megabytes: what is there is listed, and the claim is told.
#[test]
fn r22_a_claim_of_16_eib_costs_nothing() {
    let Some(image) = Image::new(
        &["-t", "ext4", "-O", "64bit,^metadata_csum", "-b", "4096"],
        "64M",
        odd_tree,
    ) else {
        return;
    };
    let mut bytes = image.bytes();
    let (whole, _) = scan(bytes.clone());
    // s_blocks_count_hi: 2^52 blocks of 4 KiB are 2^64 bytes; one less of the upper half still fits 64 bits.
    bytes[1024 + 0x150..1024 + 0x154].copy_from_slice(&0x000f_ffff_u32.to_le_bytes());
    let (listing, facts) = scan(bytes);
    assert!(facts.size_bytes > u64::MAX - (1 << 44));
    assert_eq!(listing.names, whole.names);
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
    // What follows the descriptors looks like more of them here and there; findings of one kind are bounded.
    assert!(listing.findings.len() <= 10_002, "{}", listing.findings.len());
}
