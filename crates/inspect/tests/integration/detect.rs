//! The detection images of util-linux, through everything that looks at an image: the type is that of blkid, whoever tells it.

use ntt_inspect::layer::{LayerTree, Verdict};
use ntt_source::FileSource;
use ntt_testkit::corpus::{corpus, decompressed};

/// Our reader's name of a type, as blkid has it.
fn blkid_name(name: &str) -> &str {
    match name {
        "fat12" | "fat16" | "fat32" => "vfat",
        "ufs1" | "ufs2" => "ufs",
        other => other,
    }
}

/// The types, labels and UUIDs of the first volume, whether read or only identified.
fn told(tree: &LayerTree) -> Vec<(String, String, String)> {
    let Some(volume) = tree.volumes.first() else {
        return Vec::new();
    };
    let mut told: Vec<(String, String, String)> = volume
        .file_systems
        .iter()
        .filter_map(|layer| layer.facts.as_ref())
        .map(|facts| {
            let label = String::from_utf8_lossy(&facts.label).into_owned();
            (
                blkid_name(&facts.type_name).to_owned(),
                label,
                facts.uuid.clone().unwrap_or_default(),
            )
        })
        .collect();
    if let Verdict::Identified { type_name, .. } = &volume.verdict {
        told.push((type_name.clone(), volume.label.clone(), volume.uuid.clone()));
    }
    if !volume.member_of.is_empty() {
        told.push((
            volume.member_of.clone(),
            volume.label.clone(),
            volume.uuid.clone(),
        ));
    }
    told
}

#[test]
fn every_detection_image_is_what_blkid_says() {
    let Some(folder) = corpus().map(|folder| folder.join("detect")) else {
        return;
    };
    let mut wrong = Vec::new();
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
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or_default()
        };
        if value("ID_FS_TYPE").is_empty() {
            continue;
        }
        checked += 1;
        let image = decompressed(&folder.join(format!("{stem}.img.xz")));
        let tree = ntt_inspect::tree::build(&FileSource::open(image.path()).expect("an image"));
        let label = ntt_model::name::unescape(value("ID_FS_LABEL_ENC").as_bytes());
        let label = String::from_utf8_lossy(&label).into_owned();
        let expected = (
            value("ID_FS_TYPE").to_owned(),
            label,
            value("ID_FS_UUID").to_owned(),
        );
        let told = told(&tree);
        if !told.contains(&expected) {
            wrong.push(format!("{stem}: blkid {expected:?}, here {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 40, "only {checked} images were compared");
}
