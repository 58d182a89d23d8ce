//! Values of attributes: put together from their parts, read, and turned into extents.

use ntt_model::extent::push_joined;
use ntt_model::{Codec, Extent, ExtentKind, PackedUnit};

use super::attribute::{Body, flag};
use super::gather::Held;
use super::mft::piece;
use super::runs::{Run, decode};
use super::volume::Volume;

/// Compression units have 2^4 clusters; larger ones than this are not believed.
const UNIT_SHIFT_MAX: u8 = 16;

/// A value whose parts were put together.
pub(super) struct Value<'g> {
    /// Length in bytes, as the first part says.
    pub(super) size: u64,
    /// Bytes that were ever written.
    initialized: u64,
    runs: Vec<Run>,
    /// Clusters of the value that no part maps: from, to.
    gaps: Vec<(u64, u64)>,
    /// The value itself, if it is in a record: the part and where it starts there.
    resident: Option<(Held<'g>, &'g [u8], usize)>,
    unit_shift: u8,
    flags: u16,
    /// What is wrong, in words.
    pub(super) faults: Vec<String>,
}

impl<'g> Value<'g> {
    /// Puts the parts together; there must be one at least. At most `runs_max` runs are kept.
    pub(super) fn of(volume: &Volume<'_>, parts: &[Held<'g>], runs_max: u64) -> Self {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| part.attribute.first_cluster());
        let mut value = Self {
            size: 0,
            initialized: 0,
            runs: Vec::new(),
            gaps: Vec::new(),
            resident: None,
            unit_shift: 0,
            flags: 0,
            faults: Vec::new(),
        };
        let mut covered = 0;
        for part in &parts {
            value.flags |= part.attribute.flags;
            covered = value.add(volume, part, covered, runs_max);
        }
        if value.resident.is_none() {
            let clusters = value.size.div_ceil(volume.geometry.cluster_bytes.max(1));
            value.gap(covered, clusters);
        }
        value
    }

    /// Adds a part behind cluster `covered` of the value; the first cluster that is not covered then.
    fn add(&mut self, volume: &Volume<'_>, part: &Held<'g>, covered: u64, runs_max: u64) -> u64 {
        let mapping = match part.attribute.body {
            Body::Resident { value, offset } => {
                if self.resident.is_none() && covered == 0 {
                    self.size = u64::try_from(value.len()).unwrap_or(0);
                    self.initialized = self.size;
                    self.resident = Some((*part, value, offset));
                }
                return covered;
            }
            Body::Mapped(mapping) => mapping,
        };
        if mapping.first == 0 && covered == 0 {
            (self.size, self.initialized, self.unit_shift) =
                (mapping.size, mapping.initialized, mapping.unit_shift);
        }
        if self.resident.is_some() || mapping.first < covered || (covered > 0 && mapping.end <= covered) {
            self.faults.push(format!(
                "a second part of a stream maps cluster {}",
                mapping.first
            ));
            return covered;
        }
        self.gap(covered, mapping.first);
        let range = (mapping.first, mapping.end);
        let before = self.runs.len();
        if let Err(fault) = decode(mapping.pairs, range, &volume.geometry, runs_max, &mut self.runs) {
            self.faults.push(fault);
            let reached = self
                .runs
                .get(before..)
                .and_then(<[Run]>::last)
                .map_or(mapping.first, Run::end);
            self.gap(reached, mapping.end);
        }
        // A value that was lost with its first part is at least as long as what the others map.
        if covered == 0 && mapping.first > 0 {
            self.size = volume.geometry.offset_of(mapping.end);
            self.initialized = self.size;
        }
        mapping.end
    }

    fn gap(&mut self, from: u64, to: u64) {
        if from < to {
            self.gaps.push((from, to));
        }
    }

    /// Whether parts of the map are missing.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// The runs of clusters.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The value, if it is in a record.
    pub(super) const fn resident(&self) -> Option<&'g [u8]> {
        match self.resident {
            Some((_, value, _)) => Some(value),
            None => None,
        }
    }

    /// Whether the content is encrypted.
    pub(super) const fn is_encrypted(&self) -> bool {
        self.flags & flag::ENCRYPTED != 0
    }

    /// Whether the content is kept in compression units.
    const fn is_compressed(&self) -> bool {
        self.flags & flag::COMPRESSION == 1 && self.unit_shift > 0 && self.unit_shift <= UNIT_SHIFT_MAX
    }

    /// Reads a value of at most `max` bytes.
    pub(super) fn read(&self, volume: &Volume<'_>, max: u64) -> Option<Vec<u8>> {
        (self.size <= max).then(|| self.front(volume, max))?
    }

    /// Reads a value, or the first `max` bytes of it.
    pub(super) fn front(&self, volume: &Volume<'_>, max: u64) -> Option<Vec<u8>> {
        if let Some(value) = self.resident() {
            let len = usize::try_from(max).map_or(value.len(), |max| max.min(value.len()));
            return value.get(..len).map(<[u8]>::to_vec);
        }
        (!self.is_incomplete()).then_some(())?;
        let len = usize::try_from(self.size.min(max)).ok()?;
        let mut bytes = vec![0; len];
        let written = usize::try_from(self.initialized).map_or(len, |written| written.min(len));
        volume.read_runs(&self.runs, 0, bytes.get_mut(..written)?).ok()?;
        Some(bytes)
    }

    /// Where the bytes lie: the extents of the value, or for compressed content those of the stored stream, with its units.
    pub(super) fn extents(&self, volume: &Volume<'_>) -> (Vec<Extent>, Option<Vec<PackedUnit>>) {
        if let Some((held, value, offset)) = &self.resident {
            return (resident_extents(volume, held, *offset, value.len()), None);
        }
        if self.is_compressed() {
            let (extents, units) = self.packed(volume);
            return (extents, Some(units));
        }
        (self.plain(volume), None)
    }

    fn plain(&self, volume: &Volume<'_>) -> Vec<Extent> {
        let written = self.initialized.min(self.size);
        let mut extents = Vec::new();
        for run in &self.runs {
            let Some(cluster) = run.cluster else { continue };
            let start = volume.geometry.offset_of(run.first);
            let end = volume.geometry.offset_of(run.end()).min(self.size);
            let image_offset = volume.in_image(volume.geometry.offset_of(cluster));
            let split = written.clamp(start.min(end), end);
            let mut add = |from: u64, to: u64, kind| {
                let extent = Extent {
                    logical_offset: from,
                    image_offset: image_offset.saturating_add(from.saturating_sub(start)),
                    len: to.saturating_sub(from),
                    kind,
                };
                push_joined(&mut extents, extent);
            };
            add(start, split, ExtentKind::Data);
            add(split, end, ExtentKind::Unwritten);
        }
        extents
    }

    fn packed(&self, volume: &Volume<'_>) -> (Vec<Extent>, Vec<PackedUnit>) {
        let unit_clusters = 1_u64.checked_shl(u32::from(self.unit_shift)).unwrap_or(1);
        let mut packer = Packer {
            cluster_bytes: volume.geometry.cluster_bytes,
            unit_clusters,
            end: self.size.min(self.initialized),
            gaps: &self.gaps,
            stored: 0,
            open: None,
            units: Vec::new(),
        };
        let mut extents = Vec::new();
        for run in &self.runs {
            let Some(cluster) = run.cluster else { continue };
            let extent = Extent {
                logical_offset: volume.geometry.offset_of(packer.stored),
                image_offset: volume.in_image(volume.geometry.offset_of(cluster)),
                len: volume.geometry.offset_of(run.len),
                kind: ExtentKind::Data,
            };
            push_joined(&mut extents, extent);
            packer.run(run);
        }
        packer.close();
        (extents, packer.units)
    }
}

/// The places of a resident value: bytes that the update sequence number hides are in the record's head, and a record may lie in two
/// fragments of the MFT.
fn resident_extents(volume: &Volume<'_>, held: &Held<'_>, offset: usize, len: usize) -> Vec<Extent> {
    let geometry = &volume.geometry;
    let record_start = u64::from(held.record.number).saturating_mul(geometry.record_bytes);
    let mut extents = Vec::new();
    let mut logical_offset = 0_u64;
    for (place, len) in held.record.fixups.pieces(offset, len) {
        let mut at = record_start.saturating_add(u64::try_from(place).unwrap_or(0));
        let mut left = u64::try_from(len).unwrap_or(0);
        while left > 0 {
            let (in_volume, len) = piece(geometry, &volume.mft.runs, at, left);
            let len = len.clamp(1, left);
            if let Some(in_volume) = in_volume {
                let extent = Extent {
                    logical_offset,
                    image_offset: volume.in_image(in_volume),
                    len,
                    kind: ExtentKind::Inline,
                };
                push_joined(&mut extents, extent);
            }
            (at, left) = (at.saturating_add(len), left.saturating_sub(len));
            logical_offset = logical_offset.saturating_add(len);
        }
    }
    extents
}

/// Turns runs into compression units: a unit with all its clusters is stored as it is, one with none is a hole, one with fewer is compressed
/// (`layout.h`, "compressed attributes").
struct Packer<'v> {
    cluster_bytes: u64,
    unit_clusters: u64,
    /// Bytes of the value from here on read as zeros.
    end: u64,
    gaps: &'v [(u64, u64)],
    /// Clusters of the stored stream so far.
    stored: u64,
    /// The unit that may still grow: its number, its first stored cluster, its clusters.
    open: Option<(u64, u64, u64)>,
    units: Vec<PackedUnit>,
}

impl Packer<'_> {
    fn run(&mut self, run: &Run) {
        let unit_clusters = self.unit_clusters.max(1);
        let mut at = run.first;
        while at < run.end() {
            let unit = at.checked_div(unit_clusters).unwrap_or(0);
            let whole = self.whole(unit, at, run.end());
            if whole > 0 {
                self.stored_units(unit, whole);
                at = at.saturating_add(whole.saturating_mul(unit_clusters));
                continue;
            }
            let unit_end = unit.saturating_add(1).saturating_mul(unit_clusters);
            let len = unit_end.min(run.end()).saturating_sub(at);
            match &mut self.open {
                Some((open, _, clusters)) if *open == unit => *clusters = clusters.saturating_add(len),
                _ => {
                    self.close();
                    self.open = Some((unit, self.stored, len));
                }
            }
            self.stored = self.stored.saturating_add(len);
            at = at.saturating_add(len);
        }
    }

    /// How many units from `unit` on have all their clusters from `at` to `end` and no gap; none if `at` is within a unit, or the unit has others.
    fn whole(&self, unit: u64, at: u64, end: u64) -> u64 {
        let is_begun = self.open.is_some_and(|(open, _, _)| open == unit);
        if is_begun || unit.saturating_mul(self.unit_clusters) != at {
            return 0;
        }
        let gaps = self.gaps.iter().filter(|(_, to)| at < *to);
        let end = gaps.map(|(from, _)| *from).min().map_or(end, |gap| gap.min(end));
        let clusters = end.saturating_sub(at);
        clusters.checked_div(self.unit_clusters).unwrap_or(0)
    }

    /// Adds `count` units that are stored as they are, in one go: a run may claim any number of them.
    fn stored_units(&mut self, unit: u64, count: u64) {
        self.close();
        let clusters = count.saturating_mul(self.unit_clusters);
        let first = unit.saturating_mul(self.unit_clusters);
        let logical_offset = first.saturating_mul(self.cluster_bytes);
        let bytes = clusters.saturating_mul(self.cluster_bytes);
        let len = bytes.min(self.end.saturating_sub(logical_offset));
        if len > 0 {
            self.add(PackedUnit {
                logical_offset,
                len,
                stored_offset: self.stored.saturating_mul(self.cluster_bytes),
                stored_len: len,
                skip: 0,
                codec: Codec::Stored,
                is_whole: false,
            });
        }
        self.stored = self.stored.saturating_add(clusters);
    }

    fn close(&mut self) {
        let Some((unit, stored_first, clusters)) = self.open.take() else {
            return;
        };
        let first = unit.saturating_mul(self.unit_clusters);
        let last = first.saturating_add(self.unit_clusters);
        if self.gaps.iter().any(|(from, to)| *from < last && first < *to) {
            return;
        }
        let logical_offset = first.saturating_mul(self.cluster_bytes);
        let unit_bytes = self.unit_clusters.saturating_mul(self.cluster_bytes);
        let len = unit_bytes.min(self.end.saturating_sub(logical_offset));
        if len == 0 {
            return;
        }
        let is_stored = clusters >= self.unit_clusters;
        let stored_len = clusters.saturating_mul(self.cluster_bytes);
        self.add(PackedUnit {
            logical_offset,
            len,
            stored_offset: stored_first.saturating_mul(self.cluster_bytes),
            stored_len: if is_stored { len } else { stored_len },
            skip: 0,
            codec: if is_stored { Codec::Stored } else { Codec::Lznt1 },
            is_whole: false,
        });
    }

    /// Adds a unit; stored ones that continue each other become one.
    fn add(&mut self, unit: PackedUnit) {
        if let Some(last) = self.units.last_mut()
            && (last.codec, unit.codec) == (Codec::Stored, Codec::Stored)
            && last.logical_offset.checked_add(last.len) == Some(unit.logical_offset)
            && last.stored_offset.checked_add(last.stored_len) == Some(unit.stored_offset)
        {
            last.len = last.len.saturating_add(unit.len);
            last.stored_len = last.stored_len.saturating_add(unit.stored_len);
            return;
        }
        self.units.push(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(
        runs: &[(u64, u64, Option<u64>)],
        end: u64,
        gaps: &[(u64, u64)],
    ) -> Vec<(u64, u64, u64, u64, Codec)> {
        let mut packer = Packer {
            cluster_bytes: 4096,
            unit_clusters: 16,
            end,
            gaps,
            stored: 0,
            open: None,
            units: Vec::new(),
        };
        for (first, len, cluster) in runs {
            if cluster.is_some() {
                packer.run(&Run {
                    first: *first,
                    len: *len,
                    cluster: *cluster,
                });
            }
        }
        packer.close();
        let shape = packer.units.iter().map(|unit| {
            (
                unit.logical_offset / 4096,
                unit.len,
                unit.stored_offset / 4096,
                unit.stored_len / 4096,
                unit.codec,
            )
        });
        shape.collect()
    }

    /// A unit whose clusters lie in several runs, a hole, and units that are stored as they are.
    #[test]
    fn units_are_told_by_how_many_clusters_they_have() {
        let runs = [
            (0, 3, Some(50)),
            (3, 2, Some(90)),
            (5, 11, None),
            (16, 16, None),
            (32, 40, Some(200)),
            (72, 8, None),
        ];
        assert_eq!(
            units(&runs, 80 * 4096, &[]),
            [
                (0, 65536, 0, 5, Codec::Lznt1),
                (32, 131_072, 5, 32, Codec::Stored),
                (64, 65536, 37, 8, Codec::Lznt1),
            ]
        );
    }

    #[test]
    fn what_was_never_written_has_no_units() {
        let runs = [(0, 16, Some(50)), (16, 2, Some(90)), (32, 2, Some(99))];
        assert_eq!(
            units(&runs, 70_000, &[]),
            [(0, 65536, 0, 16, Codec::Stored), (16, 4464, 16, 2, Codec::Lznt1),]
        );
    }

    /// A run of compressed content that claims clusters without end was taken unit by unit.
    #[test]
    fn r22_a_run_without_end_is_taken_in_one_go() {
        let runs = [(0, 1 << 50, Some(50)), (1 << 50, 3, Some(7))];
        let end = (1 << 50) * 4096;
        assert_eq!(units(&runs, end, &[]), [(0, end, 0, 1 << 50, Codec::Stored)]);
        assert_eq!(
            units(&runs, end + 1, &[]),
            [
                (0, end, 0, 1 << 50, Codec::Stored),
                (1 << 50, 1, 1 << 50, 3, Codec::Lznt1)
            ]
        );
        assert_eq!(
            units(&[(3, 1 << 50, Some(50))], 70_000, &[]),
            [(0, 65536, 0, 13, Codec::Lznt1), (16, 4464, 13, 1, Codec::Stored)]
        );
    }

    #[test]
    fn a_unit_with_a_gap_is_no_unit() {
        let runs = [(0, 3, Some(50)), (16, 3, Some(60))];
        assert_eq!(
            units(&runs, 1 << 20, &[(5, 16)]),
            [(16, 65536, 3, 3, Codec::Lznt1)]
        );
    }
}
