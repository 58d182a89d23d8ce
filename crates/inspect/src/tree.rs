//! Builds the tree of layers of a source; runs inside the scan child.

use ntt_filesystem::{Candidate, probe};
use ntt_model::ByteRange;
use ntt_source::ReadAt;

use crate::layer::{FileSystemLayer, LayerTree, Verdict, VolumeLayer};

/// Looks at the whole image as one volume.
pub fn build(source: &dyn ReadAt) -> LayerTree {
    let file_systems: Vec<_> = probe(source)
        .into_iter()
        .map(|found| layer(source, found))
        .collect();
    let verdict = match file_systems.is_empty() {
        true => Verdict::Unknown {
            first_bytes: Vec::new(),
        },
        false => Verdict::Readable,
    };
    let volume = VolumeLayer {
        number: 1,
        found_by: "whole image".to_owned(),
        range: ByteRange::new(0, source.len()),
        available_bytes: source.len(),
        table_type: String::new(),
        table_name: String::new(),
        table_uuid: String::new(),
        verdict,
        label: String::new(),
        uuid: String::new(),
        file_systems,
    };
    LayerTree {
        image_bytes: source.len(),
        expected_bytes: source.len(),
        volumes: vec![volume],
        ..LayerTree::default()
    }
}

fn layer(source: &dyn ReadAt, found: Candidate) -> FileSystemLayer {
    let opened = ntt_filesystem::open(found.family, Box::new(source), 0).ok();
    FileSystemLayer {
        family: found.family,
        evidence: found.evidence,
        facts: opened.map(|file_system| file_system.facts().clone()),
    }
}
