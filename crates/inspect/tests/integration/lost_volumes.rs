//! Volumes without any table are found by what stands at their start, whatever family they are of (R15).

use ntt_filesystem::Family;
use ntt_inspect::layer::Verdict;
use ntt_inspect::tree::build;
use ntt_testkit::lab::corpus::{Size, Spec};
use ntt_testkit::lab::make::{self, Image};

/// Where the volumes are put: no customary place.
const OFFSET: usize = 1999 * 512;

fn images() -> Vec<(Family, Option<Image>)> {
    let spec = Spec::posix(Size::Small);
    vec![
        (Family::Squashfs, make::squashfs(&[], &spec)),
        (Family::Cramfs, make::cramfs(&[], &spec)),
        (Family::Romfs, make::romfs(&[], &spec)),
        (Family::Ufs, make::ufs(1, "le", "bsize=8192,fsize=1024", &spec)),
        (
            Family::Btrfs,
            make::btrfs_of_folder(&["-M", "-m", "single", "-d", "single"], 80 << 20, &spec),
        ),
    ]
}

#[test]
fn r15_volumes_of_all_families_are_found_without_a_table() {
    for (family, image) in images() {
        // Without the tool that makes it there is nothing to look for.
        let Some(image) = image else { continue };
        let mut bytes = vec![0x41; OFFSET];
        bytes.extend_from_slice(&image.bytes());
        bytes.resize((bytes.len() + 8192).next_multiple_of(512), 0x42);
        let tree = build(&bytes);
        let found: Vec<_> = tree
            .volumes
            .iter()
            .filter(|volume| volume.verdict == Verdict::Readable)
            .map(|volume| {
                (
                    volume.found_by.as_str(),
                    volume.range.offset,
                    volume.file_systems[0].family,
                )
            })
            .collect();
        let offset = u64::try_from(OFFSET).expect("small");
        assert_eq!(found, [("signature scan", offset, family)], "{family:?}");
    }
}
