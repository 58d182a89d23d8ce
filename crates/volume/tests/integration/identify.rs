//! The detection images of util-linux: our type names must be those of blkid.

use std::collections::BTreeMap;

use ntt_model::name::unescape;
use ntt_source::FileSource;
use ntt_testkit::corpus::{corpus, decompressed};
use ntt_volume::identify::identify;

/// Types that belong to a reader of `ntt-filesystem` alone.
const NOT_IDENTIFIED_HERE: [&str; 6] = ["vfat", "ext3", "iso9660", "hfsplus", "udf", "none"];

fn expectation(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn types_labels_and_uuids_are_those_of_blkid() {
    let Some(folder) = corpus().map(|folder| folder.join("detect")) else {
        return;
    };
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).expect("the detect folder").flatten() {
        let Some(stem) = entry
            .path()
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".expected").map(str::to_owned))
        else {
            continue;
        };
        let text = std::fs::read_to_string(entry.path()).expect("an expectation");
        let expected = expectation(&text);
        let Some(expected_type) = expected.get("ID_FS_TYPE") else {
            continue;
        };
        let image = decompressed(&folder.join(format!("{stem}.img.xz")));
        let source = FileSource::open(image.path()).expect("an image");
        let best = identify(&source).into_iter().next();
        let actual = best.as_ref().map_or("none", |best| best.type_name);
        eprintln!("{stem}: blkid {expected_type}, here {actual}");
        if NOT_IDENTIFIED_HERE.contains(expected_type) {
            assert_eq!(actual, "none", "{stem}");
            continue;
        }
        let best = best.unwrap_or_else(|| panic!("{stem}: {expected_type} is not recognised"));
        assert_eq!(best.type_name, *expected_type, "{stem}");
        let uuid = expected.get("ID_FS_UUID").copied().unwrap_or_default();
        assert_eq!(best.uuid, uuid, "{stem}");
        // Udev's plain form replaces blanks; the encoded one keeps them as \\x20.
        let label = expected.get("ID_FS_LABEL_ENC").copied().unwrap_or_default();
        assert_eq!(best.label.as_bytes(), unescape(label.as_bytes()), "{stem}");
        let size = expected.get("ID_FS_FSSIZE").and_then(|size| size.parse().ok());
        // blkid leaves the log out of the size of XFS.
        if size.is_some() && best.type_name != "xfs" {
            assert_eq!(best.size_bytes, size, "{stem}");
        }
        checked += 1;
    }
    assert!(checked >= 24, "only {checked} images were compared");
}
