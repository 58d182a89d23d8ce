//! Builds the layer tree of a source.
//!
//! File systems over the whole image are looked for first, because a boot sector may pass for a partition table; then the tables, each slot a
//! volume with a verdict of its own whatever its neighbours do (R14); then, where tables are damaged or nothing was recognised, the
//! signature scan (R15). A volume that lies in one already recognised is not listed again.

use ntt_filesystem::{Candidate, Error, Facts, Family};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError, SubRange};
use ntt_volume::el_torito::{self, Media};
use ntt_volume::identify::{Identified, identify};
use ntt_volume::{Found, Slot, fill, manager, scan, table};

pub use set::{build_set, build_set_watched};
use step::{Step, StepKind, Unwatched, Watch};

use crate::layer::{FileSystemLayer, LayerTree, TableLayer, Verdict, VolumeLayer};

mod assembly;
mod set;
pub mod step;

/// Tables inside slots inside tables that are followed.
const NESTING_MAX: u32 = 3;
/// Volumes of one image; the rest is a finding.
const VOLUMES_MAX: usize = 1024;
/// Bytes kept of a volume that is not recognised.
const FIRST_BYTES: u64 = 64;
/// Bytes by which a file tells its type; those of a tar archive stand last.
const HEAD_BYTES: u64 = 1024;
/// Where volumes stand inside partitions or images without a usable table: Zip drives, and today's alignment.
const CUSTOMARY_OFFSETS: [(u64, &str); 2] = [(16_384, "zip offset"), (1 << 20, "1 MiB offset")];

/// Finds everything that a source holds, without scanning any directory.
///
/// Never fails: what cannot be read or believed is a verdict or a finding of the tree. Reads little, except where an erased volume must be read
/// whole to be called empty (R13) and where the signature scan is needed, which is bounded by [`scan::BYTES_MAX`].
pub fn build(source: &dyn ReadAt) -> LayerTree {
    build_watched(source, &Unwatched)
}

/// As [`build`]; every step that could go wrong is announced to `watch`, which may have it left out.
pub fn build_watched(source: &dyn ReadAt, watch: &dyn Watch) -> LayerTree {
    let image = ByteRange::new(0, source.len());
    let mut builder = Builder::new(source, watch, 0);
    builder.build(image);
    builder.tree
}

struct Builder<'a> {
    source: &'a dyn ReadAt,
    watch: &'a dyn Watch,
    /// How many volume managers this source was put together by.
    depth: u32,
    /// Whether the source is the space of a set, whose images stand in slots.
    is_set: bool,
    tree: LayerTree,
}

/// The volume that holds tables: what slots are said to lie in.
#[derive(Clone, Copy)]
struct Holder<'a> {
    /// How it was found; empty for the image itself.
    found_by: &'a str,
    number: Option<u32>,
    depth: u32,
}

/// The image itself.
const IMAGE: Holder<'static> = Holder {
    found_by: "",
    number: None,
    depth: 0,
};

impl<'a> Builder<'a> {
    fn new(source: &'a dyn ReadAt, watch: &'a dyn Watch, depth: u32) -> Self {
        Self {
            source,
            watch,
            depth,
            is_set: false,
            tree: LayerTree {
                image_bytes: source.len(),
                expected_bytes: source.len(),
                ..LayerTree::default()
            },
        }
    }

    fn build(&mut self, image: ByteRange) {
        self.look(image);
        self.assemble();
        self.report_missing_tail();
    }

    /// Lists what the image holds by itself.
    fn look(&mut self, image: ByteRange) {
        let file_systems = self.open_all(image);
        let mut found = if self.first_sector_is_taken(image, &file_systems) {
            Found::default()
        } else {
            self.find_tables(image, "")
        };
        let is_doubtful = found.lies_behind(image.end());
        let mut unrecognised = None;
        if !file_systems.is_empty() || found.tables.is_empty() || is_doubtful {
            let whole = self.judged(VolumeLayer::new("whole image", image), file_systems);
            // What stands in the first sector is left from before.
            if is_doubtful && is_recognised(&whole.verdict) {
                found = Found::default();
            }
            if is_recognised(&whole.verdict) {
                self.push(whole);
            } else {
                unrecognised = Some(whole);
            }
        }
        let damaged = found.is_damaged();
        self.add_tables(found, IMAGE);
        // A volume that was put together is no medium whose tables were lost.
        let may_scan = self.depth == 0;
        if may_scan
            && (damaged
                || !self
                    .tree
                    .volumes
                    .iter()
                    .any(|volume| is_recognised(&volume.verdict)))
        {
            self.scan_gaps(image);
        }
        // An image in which volumes were found is not itself a volume.
        if let Some(whole) = unrecognised.filter(|_| self.tree.volumes.is_empty()) {
            // What was put together from volumes was not given by anybody.
            if self.depth == 0 {
                self.note_file(image);
            }
            self.push(whole);
        }
        self.add_boot_images(image);
    }

    /// Lists the boot images of a disc that hold a file system or a partition table. Others are programs, which its facts tell.
    fn add_boot_images(&mut self, image: ByteRange) {
        let is_disc = |volume: &VolumeLayer| {
            let mut layers = volume.file_systems.iter();
            volume.range.offset == image.offset
                && layers.any(|layer| layer.family == Family::Iso9660 && layer.facts.is_some())
        };
        if !self.tree.volumes.iter().any(is_disc) {
            return;
        }
        let images = self.step(StepKind::Tables, image.offset, || {
            el_torito::boot_images(&self.window(image))
        });
        for boot in images {
            let found_by = format!("el torito {}", boot.number);
            let room = image.end().saturating_sub(boot.offset);
            match boot.media {
                Media::HardDisk => {
                    let found = self.find_tables(ByteRange::new(boot.offset, room), "");
                    let holder = Holder {
                        found_by: &found_by,
                        number: None,
                        depth: 1,
                    };
                    self.add_tables(found, holder);
                }
                Media::Floppy(_) | Media::NoEmulation => {
                    self.add_boot_volume(&found_by, ByteRange::new(boot.offset, room));
                }
            }
        }
    }

    /// A boot image is as long as the file system in it says; without one it is not listed.
    fn add_boot_volume(&mut self, found_by: &str, room: ByteRange) {
        let size = self
            .probe(room)
            .into_iter()
            .map(|candidate| candidate.size_bytes)
            .max();
        let Some(size) = size else {
            return;
        };
        let range = ByteRange::new(room.offset, size.min(room.len));
        let file_systems = self.open_all(range);
        // Hybrid discs name it in a partition table too.
        if self.same_as(range, &file_systems).is_some() {
            return;
        }
        let volume = self.judged(VolumeLayer::new(found_by, range), file_systems);
        if volume.verdict == Verdict::Readable {
            self.push(volume);
        }
    }

    /// Whether sector 0 is the boot sector of a file system or the head of a container, and so no partition table.
    fn first_sector_is_taken(&self, image: ByteRange, file_systems: &[FileSystemLayer]) -> bool {
        let fat = file_systems
            .iter()
            .any(|layer| layer.family == Family::Fat && layer.facts.is_some());
        fat || self
            .identify(image)
            .iter()
            .any(|known| matches!(known.type_name, "ntfs" | "exfat" | "BitLocker" | "crypto_LUKS"))
    }

    fn window(&self, range: ByteRange) -> SubRange<&'a dyn ReadAt> {
        SubRange::new(self.source, range)
    }

    /// What a step gives; nothing if it is left out.
    fn step<T: Default>(&self, what: StepKind, image_offset: u64, act: impl FnOnce() -> T) -> T {
        if !self.watch.begin(Step { what, image_offset }) {
            return T::default();
        }
        let found = act();
        self.watch.end();
        found
    }

    /// The tables in a slot of a type, or in the image.
    fn find_tables(&self, range: ByteRange, type_code: &str) -> Found {
        self.step(StepKind::Tables, range.offset, || {
            table::find_in(&self.window(range), range.offset, type_code)
        })
    }

    /// What is left of a volume that nothing recognises.
    fn probe_deep(&self, range: ByteRange) -> Vec<Candidate> {
        self.step(StepKind::Probe, range.offset, || {
            ntt_filesystem::probe_deep(&self.window(range))
        })
    }

    fn probe(&self, range: ByteRange) -> Vec<Candidate> {
        self.step(StepKind::Probe, range.offset, || {
            ntt_filesystem::probe(&self.window(range))
        })
    }

    /// The facts of a file system, or why it cannot be opened; `None` if that is left out.
    fn facts(&self, family: Family, range: ByteRange) -> Option<Result<Facts, Error>> {
        self.step(StepKind::Open(family), range.offset, || {
            let file_system = ntt_filesystem::open(family, Box::new(self.window(range)), range.offset);
            Some(file_system.map(|file_system| file_system.facts().clone()))
        })
    }

    fn identify(&self, range: ByteRange) -> Vec<Identified> {
        self.step(StepKind::Identify, range.offset, || identify(&self.window(range)))
    }

    fn available(&self, range: ByteRange) -> u64 {
        self.window(range).len()
    }

    /// Opens every file system that is recognised at the start of `range`; those that open come first.
    fn open_all(&mut self, range: ByteRange) -> Vec<FileSystemLayer> {
        let mut layers: Vec<FileSystemLayer> = self
            .probe(range)
            .into_iter()
            .map(|candidate| self.open_one(candidate, range))
            .collect();
        layers.sort_by_key(|layer| layer.facts.is_none());
        layers
    }

    fn open_one(&mut self, candidate: Candidate, range: ByteRange) -> FileSystemLayer {
        let facts = match self.facts(candidate.family, range) {
            None => None,
            Some(Ok(facts)) => Some(facts),
            Some(Err(error)) => {
                self.tree
                    .findings
                    .push(open_finding(&candidate, &error, range.offset));
                None
            }
        };
        if let Some(facts) = &facts {
            self.expect(range.offset.saturating_add(facts.size_bytes));
        }
        FileSystemLayer {
            family: candidate.family,
            evidence: candidate.evidence,
            facts,
        }
    }

    fn expect(&mut self, end: u64) {
        self.tree.expected_bytes = self.tree.expected_bytes.max(end);
    }

    /// Lists the tables and their slots.
    fn add_tables(&mut self, found: Found, holder: Holder<'_>) {
        self.tree.findings.extend(found.findings);
        if holder.depth == 0 {
            self.expect(found.expected_bytes);
        }
        for table in found.tables {
            self.tree.tables.push(TableLayer {
                scheme: table.scheme.to_string(),
                image_offset: table.image_offset,
                id: table.id,
                sector_size_bytes: table.sector_size_bytes,
                inside: holder.number,
            });
            // Logical partitions lie in the extended one that came before them.
            let mut container: Option<(ByteRange, u32)> = None;
            for slot in table.slots {
                let (range, is_container) = (slot.range, slot.is_container);
                let within = container.filter(|(outer, _)| outer.contains_range(&range));
                let inside = within.map(|(_, number)| number).or(holder.number);
                let number = self.add_slot(
                    slot,
                    Holder {
                        number: inside,
                        ..holder
                    },
                );
                if is_container {
                    container = number.map(|number| (range, number));
                }
            }
        }
    }

    /// Lists a slot and what it holds; gives its number.
    fn add_slot(&mut self, slot: Slot, holder: Holder<'_>) -> Option<u32> {
        let found_by = if holder.found_by.is_empty() {
            slot.found_by
        } else {
            format!("{} in {}", slot.found_by, holder.found_by)
        };
        let range = slot.range;
        let mut volume = VolumeLayer::new(&found_by, range);
        volume.inside = holder.number;
        volume.table_type = slot.type_code;
        volume.table_name = slot.name;
        volume.table_uuid = slot.uuid;
        if slot.is_container {
            volume.verdict = Verdict::Table;
            return self.push(volume);
        }
        let file_systems = self.open_all(range);
        if let Some(number) = self.same_as(range, &file_systems) {
            volume.verdict = Verdict::SameAs { number };
            return self.push(volume);
        }
        let mut volume = self.judged(volume, file_systems);
        let is_open_question = matches!(
            volume.verdict,
            Verdict::Unknown { .. } | Verdict::BeyondEnd | Verdict::Unread
        );
        let may_nest = is_open_question || table::holds_table(&volume.table_type);
        let mut nested = if may_nest && holder.depth < NESTING_MAX {
            self.find_tables(range, &volume.table_type)
        } else {
            Found::default()
        };
        // Remains of an old table in a volume that is something else are just that.
        let believed = |table: &table::Table| is_open_question || table.scheme.lies_in_partitions();
        nested.tables.retain(believed);
        let has_tables = !nested.tables.is_empty();
        if has_tables {
            volume.verdict = Verdict::Table;
            volume.file_systems.clear();
        }
        let number = self.push(volume);
        if has_tables {
            let inner = Holder {
                found_by: &found_by,
                number,
                depth: holder.depth.saturating_add(1),
            };
            self.add_tables(nested, inner);
        } else if is_open_question {
            self.look_at_customary_offsets(range, &found_by, number);
        }
        number
    }

    /// The number of a volume that already holds the same file systems at the same place.
    fn same_as(&self, range: ByteRange, file_systems: &[FileSystemLayer]) -> Option<u32> {
        let families =
            |layers: &[FileSystemLayer]| layers.iter().map(|layer| layer.family).collect::<Vec<_>>();
        let wanted = families(file_systems);
        let same = |volume: &&VolumeLayer| {
            volume.range.offset == range.offset && families(&volume.file_systems) == wanted
        };
        (!wanted.is_empty())
            .then(|| self.tree.volumes.iter().find(same))
            .flatten()
            .map(|volume| volume.number)
    }

    /// The volume with its verdict.
    fn judged(&mut self, mut volume: VolumeLayer, mut file_systems: Vec<FileSystemLayer>) -> VolumeLayer {
        volume.available_bytes = self.available(volume.range);
        let all_known = self.identify(volume.range);
        if let Some(member) = all_known.iter().find(|known| assembly::is_member(known)) {
            volume.member_of = member.type_name.to_owned();
            if let Some(end) = manager::member_end(&self.window(volume.range)) {
                self.expect(volume.range.offset.saturating_add(end));
            }
            if !file_systems.is_empty() && self.is_part(&volume) {
                self.report_part(&volume);
                file_systems.clear();
            }
        }
        let is_read = |known: &Identified| {
            let facts = file_systems.iter().filter_map(|layer| layer.facts.as_ref());
            // Readers tell versions apart that are one type elsewhere: `ufs1`, `ufs2`.
            let without_version =
                |name: &str| name.trim_end_matches(|sign: char| sign.is_ascii_digit()) == known.type_name;
            facts
                .into_iter()
                .any(|facts| facts.type_name == known.type_name || without_version(&facts.type_name))
        };
        let known = all_known.into_iter().find(|known| !is_read(known));
        let is_readable = file_systems.iter().any(|layer| layer.facts.is_some());
        volume.file_systems = file_systems;
        volume.verdict = match known {
            _ if volume.available_bytes == 0 && volume.range.len > 0 => Verdict::BeyondEnd,
            Some(known) if is_readable => {
                self.report_also(&known, volume.range.offset);
                Verdict::Readable
            }
            None if is_readable => Verdict::Readable,
            Some(known) => {
                volume.label = known.label;
                volume.uuid = known.uuid;
                volume.size_bytes = known.size_bytes;
                // What is not read can be cut short all the same (R12).
                if let Some(size) = known.size_bytes {
                    self.expect(volume.range.offset.saturating_add(size));
                }
                Verdict::Identified {
                    class: known.class,
                    type_name: known.type_name.to_owned(),
                }
            }
            None => self.unrecognised(&volume),
        };
        if matches!(
            volume.verdict,
            Verdict::Unknown { .. } | Verdict::BeyondEnd | Verdict::Unread
        ) {
            self.look_deeper(&mut volume);
        }
        volume
    }

    /// Whether something is left of a file system that nothing recognises at the start of its volume.
    fn look_deeper(&mut self, volume: &mut VolumeLayer) {
        let remains = self.probe_deep(volume.range);
        let layers: Vec<_> = remains
            .into_iter()
            .map(|candidate| self.open_one(candidate, volume.range))
            .collect();
        if layers.iter().any(|layer| layer.facts.is_some()) {
            volume.file_systems = layers;
            volume.verdict = Verdict::Readable;
        }
    }

    /// Something else is recognised over the same bytes: hybrid discs, RAID1 members, remains of an earlier use.
    fn report_also(&mut self, known: &Identified, image_offset: u64) {
        let detail = format!(
            "the same bytes are also recognised as {}, which is not read",
            known.type_name
        );
        self.tree.findings.push(
            Finding::new(Severity::Info, Layer::Volume, FindingCode::Unsupported, detail).at(image_offset),
        );
    }

    /// Empty, unread, cut off or unknown.
    fn unrecognised(&self, volume: &VolumeLayer) -> Verdict {
        let window = self.window(volume.range);
        let filled = self.step(StepKind::Fill, volume.range.offset, || fill::detect(&window));
        if let Some(fill) = filled {
            if fill.unread_bytes > HIDDEN_BYTES {
                return Verdict::Unread;
            }
            return Verdict::Empty {
                fill: fill.byte,
                examined_bytes: fill.examined_bytes,
            };
        }
        let wanted = usize::try_from(FIRST_BYTES.min(window.len())).unwrap_or(0);
        let mut first_bytes = vec![0; wanted];
        match window.read_exact_at(0, &mut first_bytes) {
            Err(_) => Verdict::Unread,
            Ok(()) if volume.available_bytes < volume.range.len => Verdict::BeyondEnd,
            Ok(()) => Verdict::Unknown { first_bytes },
        }
    }

    /// Notes that what was given as an image begins as a file does: an archive to unpack, most likely.
    fn note_file(&mut self, image: ByteRange) {
        let window = self.window(image);
        let mut head = vec![0; usize::try_from(HEAD_BYTES.min(window.len())).unwrap_or(0)];
        if window.read_exact_at(0, &mut head).is_err() {
            return;
        }
        let Some(kind) = infer::get(&head) else {
            return;
        };
        let detail = format!(
            "begins as a file of the type {} does: no image of a medium, unless by chance",
            kind.mime_type()
        );
        self.tree.findings.push(
            Finding::new(Severity::Info, Layer::Volume, FindingCode::Unsupported, detail).at(image.offset),
        );
    }

    /// Volumes that stand a customary distance into a partition.
    fn look_at_customary_offsets(&mut self, range: ByteRange, found_by: &str, inside: Option<u32>) {
        for (distance, name) in CUSTOMARY_OFFSETS {
            let offset = range.offset.saturating_add(distance);
            let inner = ByteRange::new(offset, range.len.saturating_sub(distance));
            let file_systems = if inner.is_empty() {
                Vec::new()
            } else {
                self.open_all(inner)
            };
            if file_systems.iter().any(|layer| layer.facts.is_some()) {
                let mut volume = VolumeLayer::new(format!("{name} in {found_by}"), inner);
                volume.inside = inside;
                let volume = self.judged(volume, file_systems);
                self.push(volume);
                return;
            }
        }
    }

    /// Looks for volumes outside those already recognised.
    fn scan_gaps(&mut self, image: ByteRange) {
        let mut budget = scan::BYTES_MAX;
        for gap in self.gaps(image) {
            let region = ByteRange::new(gap.offset, gap.len.min(budget));
            budget = budget.saturating_sub(region.len);
            let scanned = scan::scan(self.source, region, &mut |offset| {
                self.volume_bytes_at(offset, gap.end())
            });
            for found in scanned.volumes {
                self.add_scanned(found.offset, gap.end());
            }
            if let Some(at) = scanned
                .stopped_at
                .or((region.len < gap.len).then_some(region.end()))
            {
                let detail = "the signature scan reached its bound; volumes after this byte may be missing";
                self.tree
                    .findings
                    .push(Finding::new(Severity::Warning, Layer::Volume, FindingCode::Limit, detail).at(at));
            }
        }
    }

    /// The parts of the image that no recognised volume covers.
    fn gaps(&self, image: ByteRange) -> Vec<ByteRange> {
        let mut taken: Vec<ByteRange> = self
            .tree
            .volumes
            .iter()
            .filter(|volume| is_recognised(&volume.verdict))
            .map(|volume| volume.range)
            .collect();
        taken.sort_unstable();
        let mut gaps = Vec::new();
        let mut position = image.offset;
        for range in taken.into_iter().chain([ByteRange::new(image.end(), 0)]) {
            if range.offset > position {
                gaps.push(ByteRange::new(position, range.offset.saturating_sub(position)));
            }
            position = position.max(range.end());
        }
        gaps
    }

    /// Length of the file system that starts at `offset`, if one does and opens.
    fn volume_bytes_at(&self, offset: u64, end: u64) -> Option<u64> {
        let range = ByteRange::new(offset, end.saturating_sub(offset));
        self.probe(range).into_iter().find_map(|candidate| {
            let facts = self.facts(candidate.family, range)?.ok()?;
            Some(facts.size_bytes)
        })
    }

    fn add_scanned(&mut self, offset: u64, end: u64) {
        let file_systems = self.open_all(ByteRange::new(offset, end.saturating_sub(offset)));
        let size = file_systems
            .iter()
            .filter_map(|layer| layer.facts.as_ref())
            .map(|facts| facts.size_bytes)
            .max();
        let found_by = CUSTOMARY_OFFSETS
            .iter()
            .find(|(customary, _)| *customary == offset)
            .map_or("signature scan", |(_, name)| name);
        let volume = VolumeLayer::new(found_by, ByteRange::new(offset, size.unwrap_or(0)));
        let volume = self.judged(volume, file_systems);
        self.push(volume);
    }

    fn volume(&self, number: u32) -> Option<&VolumeLayer> {
        self.tree.volumes.iter().find(|volume| volume.number == number)
    }

    /// Adds a volume under the next number, which it gives.
    fn push(&mut self, mut volume: VolumeLayer) -> Option<u32> {
        if self.tree.volumes.len() >= VOLUMES_MAX {
            let detail = format!(
                "more than {VOLUMES_MAX} volumes; {} is not listed",
                volume.found_by
            );
            let finding = Finding::new(Severity::Loss, Layer::Volume, FindingCode::Limit, detail);
            self.tree.findings.push(finding.at(volume.range.offset));
            return None;
        }
        volume.number = u32::try_from(self.tree.volumes.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        volume.available_bytes = match &volume.mapping {
            Some(mapping) => mapping.available_bytes(|at| self.source.end_of(at)),
            None => self.available(volume.range),
        };
        let number = volume.number;
        self.tree.volumes.push(volume);
        Some(number)
    }

    /// R12: says once that the image is shorter than what it holds.
    fn report_missing_tail(&mut self) {
        let (actual, expected) = (self.tree.image_bytes, self.tree.expected_bytes);
        if actual < expected {
            let detail = format!("the image has {actual} bytes; its tables and file systems need {expected}");
            let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
            self.tree.findings.push(finding.at(actual));
        }
    }
}

/// What was never read may hide as much of a volume that is nothing but filler otherwise, and it still counts as empty (R13): a bad sector or two of an
/// erased partition. The smallest file systems are not much larger, and only the start of one need be lost for the rest to look empty.
const HIDDEN_BYTES: u64 = 64 << 10;

/// Whether the content of the volume is accounted for, so that nothing needs to be looked for in it.
fn is_recognised(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Readable | Verdict::Identified { .. } | Verdict::Empty { .. } | Verdict::SameAs { .. }
    )
}

fn open_finding(candidate: &Candidate, error: &Error, image_offset: u64) -> Finding {
    let code = match error {
        Error::Read {
            source: ReadError::Unread { .. },
            ..
        } => FindingCode::Unread,
        Error::Read {
            source: ReadError::BeyondEnd { .. },
            ..
        } => FindingCode::BeyondEnd,
        Error::Read {
            source: ReadError::Corrupt { .. },
            ..
        } => FindingCode::Corrupt,
        Error::Read { .. } => FindingCode::Io,
        Error::Unsupported(_) => FindingCode::Unsupported,
        _ => FindingCode::Corrupt,
    };
    let detail = format!("{} cannot be opened: {error}", candidate.type_name);
    Finding::new(Severity::Loss, Layer::FileSystem, code, detail).at(image_offset)
}
