//! The containers of an image in the tree of its layers.

use ntt_inspect::layer::{ContainerLayer, IdentifiedClass, LayerTree, Verdict, VolumeLayer};
use ntt_model::ByteRange;

use crate::image::Contained;

/// Puts the containers around the tree.
pub(super) fn add(tree: &mut LayerTree, contained: &Contained) {
    tree.containers.clone_from(&contained.layers);
    let inner = std::mem::replace(&mut tree.findings, contained.findings.clone());
    tree.findings.extend(inner);
}

/// The tree of an image whose container cannot be read: what it is, and why (R14).
pub(super) fn unread(contained: &Contained, stored_bytes: u64) -> LayerTree {
    let format = contained.layers.last().map_or("", |layer| &layer.format);
    let range = ByteRange::new(0, stored_bytes);
    let volume = VolumeLayer {
        number: 1,
        available_bytes: stored_bytes,
        verdict: Verdict::Identified {
            class: IdentifiedClass::Other,
            type_name: format.to_owned(),
        },
        ..VolumeLayer::new("whole image", range)
    };
    LayerTree {
        containers: contained.layers.clone(),
        image_bytes: stored_bytes,
        expected_bytes: stored_bytes,
        tables: Vec::new(),
        managers: Vec::new(),
        volumes: vec![volume],
        findings: contained.findings.clone(),
    }
}

/// One line that describes a container.
pub(super) fn description(layer: &ContainerLayer) -> String {
    let mut text = layer.format.clone();
    let mut add = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    if layer.files.len() > 1 {
        add(format!("{} files", layer.files.len()));
    }
    if !layer.compression.is_empty() {
        add(layer.compression.clone());
    }
    if layer.block_bytes > 0 {
        add(format!("blocks of {} bytes", layer.block_bytes));
    }
    add(format!(
        "{} bytes stored for {}",
        layer.stored_bytes, layer.image_bytes
    ));
    text
}
