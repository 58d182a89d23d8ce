//! The images of a set: each by itself, and what they make together.

use std::collections::{BTreeMap, BTreeSet};

use ntt_model::ByteRange;
use ntt_model::space::member_base;
use ntt_source::{ReadAt, Space, SubRange};
use ntt_volume::manager::{self, Member};

use super::Builder;
use super::step::{Step, StepKind, Unwatched, Watch};
use crate::layer::{IdentifiedClass, LayerTree, SetTree, Verdict, VolumeLayer};

/// Finds everything that the images of a set hold, each by itself and all of them together; `None` for more images than a set can have.
pub fn build_set<S: ReadAt>(images: Vec<S>) -> Option<SetTree> {
    build_set_watched(images, &Unwatched)
}

/// As [`build_set`]; every step that could go wrong is announced to `watch`, which may have it left out. Steps are counted in the addresses of
/// the set.
pub fn build_set_watched<S: ReadAt>(images: Vec<S>, watch: &dyn Watch) -> Option<SetTree> {
    let numbered = (1..).zip(images);
    let based: Option<Vec<(u64, S)>> = numbered
        .map(|(number, image)| Some((member_base(number)?, image)))
        .collect();
    let based = based?;
    let places: Vec<ByteRange> = based
        .iter()
        .map(|(base, image)| ByteRange::new(*base, image.len()))
        .collect();
    let space = Space::new(based, Vec::new());
    Some(trees(&space, &places, watch))
}

/// A member of a group that spans images: the index of its image, and its volume there.
struct Spanning {
    image: usize,
    layer: VolumeLayer,
}

fn trees(space: &dyn ReadAt, places: &[ByteRange], watch: &dyn Watch) -> SetTree {
    let windows: Vec<SubRange<&dyn ReadAt>> =
        places.iter().map(|place| SubRange::new(space, *place)).collect();
    let watches: Vec<Shifted<'_>> = places
        .iter()
        .map(|place| Shifted {
            watch,
            by: place.offset,
        })
        .collect();
    let mut builders: Vec<Builder<'_>> = windows
        .iter()
        .zip(&watches)
        .map(|(window, watch)| {
            let mut builder = Builder::new(window, watch, 0);
            builder.look(ByteRange::new(0, window.len()));
            builder
        })
        .collect();
    let spanning = spanning(&builders);
    let mut taken = Vec::new();
    for (image, builder) in builders.iter_mut().enumerate() {
        let (shared, own): (Vec<Member>, Vec<Member>) = builder
            .members()
            .into_iter()
            .partition(|member| spanning.contains(&(image, member.number)));
        builder.assemble_of(&own);
        builder.report_missing_tail();
        let shared = shared.iter().filter_map(|member| builder.volume(member.number));
        taken.extend(shared.map(|layer| Spanning {
            image,
            layer: layer.clone(),
        }));
    }
    let mut images: Vec<LayerTree> = builders.into_iter().map(|builder| builder.tree).collect();
    let set = together(space, places, watch, &taken);
    for (member, layer) in taken.iter().zip(&set.volumes) {
        // What the set reads is not read from its members besides.
        let volumes = images.get_mut(member.image).map(|tree| tree.volumes.iter_mut());
        let volume =
            volumes.and_then(|mut volumes| volumes.find(|volume| volume.number == member.layer.number));
        if let Some(volume) = volume.filter(|_| layer.verdict == Verdict::Table) {
            volume.verdict = Verdict::Table;
            volume.file_systems.clear();
        }
    }
    SetTree { images, set }
}

/// The members, by image and number, whose groups have members in several images; with those that do not say to which group they belong, if
/// there is such a group.
fn spanning(builders: &[Builder<'_>]) -> BTreeSet<(usize, u32)> {
    let mut groups: BTreeMap<String, Vec<(usize, u32)>> = BTreeMap::new();
    for (image, builder) in builders.iter().enumerate() {
        for member in builder.members() {
            let window = SubRange::new(builder.source, member.range);
            let key = builder.step(StepKind::Assemble, member.range.offset, || {
                manager::group_key(&window)
            });
            if let Some(key) = key {
                groups.entry(key).or_default().push((image, member.number));
            }
        }
    }
    let silent = groups.remove("").unwrap_or_default();
    let spans = |members: &Vec<(usize, u32)>| {
        let first = members.first().map(|(image, _)| *image);
        members.iter().any(|(image, _)| Some(*image) != first)
    };
    let mut found: BTreeSet<(usize, u32)> = groups.into_values().filter(spans).flatten().collect();
    if !found.is_empty() {
        found.extend(silent);
    }
    found
}

/// What the members make together, which are the first volumes of the tree.
fn together(space: &dyn ReadAt, places: &[ByteRange], watch: &dyn Watch, members: &[Spanning]) -> LayerTree {
    let mut builder = Builder::new(space, watch, 0);
    builder.is_set = true;
    let bytes = places.iter().map(|place| place.len).fold(0, u64::saturating_add);
    (builder.tree.image_bytes, builder.tree.expected_bytes) = (bytes, bytes);
    for member in members {
        let base = places.get(member.image).map_or(0, |place| place.offset);
        builder.push(listed(member, base));
    }
    builder.assemble();
    builder.tree
}

/// A member as a volume of the set.
fn listed(member: &Spanning, base: u64) -> VolumeLayer {
    let layer = &member.layer;
    let image = format!("image {}", member.image.saturating_add(1));
    let found_by = match layer.found_by.as_str() {
        "whole image" => image,
        found_by => format!("{found_by} in {image}"),
    };
    let offset = layer.range.offset.saturating_add(base);
    let class = if layer.member_of == "linux_raid_member" {
        IdentifiedClass::Raid
    } else {
        IdentifiedClass::VolumeManager
    };
    VolumeLayer {
        inside: None,
        verdict: Verdict::Identified {
            class,
            type_name: layer.member_of.clone(),
        },
        member_of: layer.member_of.clone(),
        table_type: layer.table_type.clone(),
        table_name: layer.table_name.clone(),
        table_uuid: layer.table_uuid.clone(),
        label: layer.label.clone(),
        uuid: layer.uuid.clone(),
        ..VolumeLayer::new(found_by, ByteRange::new(offset, layer.range.len))
    }
}

/// Tells of steps in an image at their addresses in the set.
struct Shifted<'a> {
    watch: &'a dyn Watch,
    by: u64,
}

impl Watch for Shifted<'_> {
    fn begin(&self, step: Step) -> bool {
        let image_offset = step.image_offset.saturating_add(self.by);
        self.watch.begin(Step { image_offset, ..step })
    }

    fn end(&self) {
        self.watch.end();
    }
}
