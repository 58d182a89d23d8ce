//! The arrows between the crates go down only (docs/architecture.md).

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Layers from the bottom up: a crate may use those before it that its row names, and no others.
const ARROWS: [(&str, &[&str]); 16] = [
    ("ntt-model", &[]),
    ("ntt-host", &["ntt-model"]),
    ("ntt-mapfile", &["ntt-model"]),
    ("ntt-source", &["ntt-model", "ntt-mapfile"]),
    ("ntt-codec", &["ntt-model", "ntt-source"]),
    ("ntt-container", &["ntt-model", "ntt-source", "ntt-codec"]),
    ("ntt-volume", &["ntt-model", "ntt-source"]),
    ("ntt-filesystem", &["ntt-model", "ntt-source", "ntt-codec"]),
    (
        "ntt-inspect",
        &[
            "ntt-model",
            "ntt-mapfile",
            "ntt-source",
            "ntt-codec",
            "ntt-container",
            "ntt-volume",
            "ntt-filesystem",
        ],
    ),
    ("ntt-store", &["ntt-model", "ntt-host", "ntt-source"]),
    ("ntt-rescue", &["ntt-model", "ntt-host", "ntt-mapfile"]),
    ("ntt-catalogue", &["ntt-model", "ntt-host"]),
    ("ntt-search", &["ntt-model", "ntt-host"]),
    (
        "ntt-report",
        &["ntt-model", "ntt-catalogue", "ntt-store", "ntt-search"],
    ),
    (
        "ntt-pipeline",
        &[
            "ntt-model",
            "ntt-host",
            "ntt-mapfile",
            "ntt-rescue",
            "ntt-source",
            "ntt-filesystem",
            "ntt-inspect",
            "ntt-store",
            "ntt-catalogue",
            "ntt-search",
            "ntt-report",
        ],
    ),
    (
        "ntt",
        &[
            "ntt-model",
            "ntt-host",
            "ntt-mapfile",
            "ntt-rescue",
            "ntt-source",
            "ntt-inspect",
            "ntt-store",
            "ntt-catalogue",
            "ntt-search",
            "ntt-report",
            "ntt-pipeline",
        ],
    ),
];

#[test]
fn dependencies_between_crates_go_down_only() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut seen = 0;
    for package in metadata.workspace_packages() {
        // The test tools and the benchmarks stand beside the layers: nothing but tests may use them.
        let name = package.name.as_str();
        let Some(allowed) = allowed.get(name) else {
            assert!(
                matches!(name, "ntt-testkit" | "ntt-bench"),
                "{name} has no row in ARROWS"
            );
            continue;
        };
        seen += 1;
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.name.starts_with("ntt"))
        {
            let is_normal = dependency.kind == DependencyKind::Normal;
            assert!(
                !is_normal || allowed.contains(&dependency.name.as_str()),
                "{name} must not use {}",
                dependency.name
            );
        }
    }
    assert_eq!(
        seen,
        ARROWS.len(),
        "a row of ARROWS names a crate that is not there"
    );
}
