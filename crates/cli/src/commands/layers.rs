//! The tree of layers, as an archivist wants to see it first.

use std::io;

use ntt_inspect::layer::{
    ContainerLayer, FileSystemLayer, LayerTree, ManagerLayer, TableLayer, Verdict, VolumeLayer,
};
use ntt_model::mapping::Place;
use ntt_model::name::escape;

use crate::output::Output;
use crate::units;

/// Width of the column of field names.
const FIELD_WIDTH: usize = 14;
/// Width at which long values continue on the next line.
const LINE_WIDTH: usize = 100;
/// Width of values however deep the tree is.
const ROOM_MIN: usize = 40;

/// Draws the layers: image, tables, volumes with their file systems and evidence, findings.
pub(crate) fn print(out: &mut Output, layers: &LayerTree) -> io::Result<()> {
    for container in &layers.containers {
        print_container(out, container)?;
    }
    out.line(format!("  image of {}", both_sizes(layers.image_bytes)))?;
    if layers.expected_bytes > layers.image_bytes {
        let missing = both_sizes(layers.expected_bytes - layers.image_bytes);
        out.line(format!("  incomplete: {missing} are missing at its end"))?;
    }
    print_volumes(out, layers)
}

/// Draws what several images make together.
pub(crate) fn print_set(out: &mut Output, layers: &LayerTree) -> io::Result<()> {
    let size = both_sizes(layers.image_bytes);
    out.line(format!("set of these images, together {size}"))?;
    print_volumes(out, layers)
}

fn print_volumes(out: &mut Output, layers: &LayerTree) -> io::Result<()> {
    Drawing { layers }.print_level(out, None, "  ")?;
    if !layers.findings.is_empty() {
        out.line("")?;
    }
    for finding in &layers.findings {
        print_field(out, "  ", units::severity(finding.severity), &finding.to_string())?;
    }
    Ok(())
}

/// A container: its format, its files, how it stores, what it states.
fn print_container(out: &mut Output, layer: &ContainerLayer) -> io::Result<()> {
    out.line(format!(
        "  {} container, {} stored",
        layer.format,
        both_sizes(layer.stored_bytes)
    ))?;
    let stem = "  │  ";
    let files = match layer.files.as_slice() {
        [first, .., last] => format!("{first} to {last} ({} files)", layer.files.len()),
        files => files.concat(),
    };
    print_field(out, stem, "files", &files)?;
    if !layer.missing.is_empty() {
        print_field(out, stem, "missing", &layer.missing.join(", "))?;
    }
    if layer.block_bytes > 0 {
        let compression = match layer.compression.as_str() {
            "" => String::new(),
            compression => format!(", {compression}"),
        };
        let blocks = format!("{}{compression}", both_sizes(layer.block_bytes));
        print_field(out, stem, "blocks", &blocks)?;
    }
    let whole = layer
        .hashes
        .iter()
        .filter(|hash| hash.range.offset == 0 && hash.range.len == layer.image_bytes);
    for hash in whole {
        print_field(out, stem, "states", &format!("{} {}", hash.algorithm, hash.hex))?;
    }
    for (name, value) in &layer.facts {
        print_field(out, stem, name, value)?;
    }
    out.line("  │")
}

/// `16.0 MiB (16,777,216 bytes)`; small ones only once.
fn both_sizes(bytes: u64) -> String {
    if bytes < 1024 {
        return units::counted(bytes, "byte", "bytes");
    }
    format!("{} ({} bytes)", units::bytes(bytes), units::count(bytes))
}

/// The tree of tables, groups and volumes, each below what holds it.
struct Drawing<'a> {
    layers: &'a LayerTree,
}

impl Drawing<'_> {
    /// What lies in a volume, or in the image itself.
    fn print_level(&self, out: &mut Output, holder: Option<u32>, stem: &str) -> io::Result<()> {
        for table in self.layers.tables.iter().filter(|table| table.inside == holder) {
            out.line(format!("{stem}{}", table_line(table)))?;
        }
        for group in self.layers.managers.iter().filter(|_| holder.is_some()) {
            if group.members.first().copied() == holder {
                self.print_group(out, group, stem)?;
            }
        }
        let volumes: Vec<&VolumeLayer> = self
            .layers
            .volumes
            .iter()
            .filter(|volume| holder_of(volume) == holder)
            .collect();
        for (at, volume) in volumes.iter().enumerate() {
            let (branch, below) = if at + 1 == volumes.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            out.line(format!("{stem}│"))?;
            out.line(format!(
                "{stem}{branch}volume {}: {}",
                volume.number,
                self.headline(volume)
            ))?;
            let stem = format!("{stem}{below}");
            print_volume(out, volume, &stem)?;
            self.print_level(out, Some(volume.number), &stem)?;
        }
        Ok(())
    }

    /// `lvm2 group `vg0` of volumes 1, 2`, and its facts.
    fn print_group(&self, out: &mut Output, group: &ManagerLayer, stem: &str) -> io::Result<()> {
        let members: Vec<String> = group.members.iter().map(u32::to_string).collect();
        let noun = if members.len() == 1 { "volume" } else { "volumes" };
        let name = quoted(group.name.as_bytes());
        out.line(format!(
            "{stem}{}{name} of {noun} {}",
            group.manager,
            members.join(", ")
        ))?;
        if !group.uuid.is_empty() {
            print_field(out, stem, "uuid", &group.uuid)?;
        }
        if !group.absent.is_empty() {
            print_field(out, stem, "not here", &group.absent.join("; "))?;
        }
        let facts: Vec<String> = group
            .facts
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        print_field(out, stem, "details", &facts.join("; "))
    }

    /// The group that has the volume as a member.
    fn group_of(&self, volume: &VolumeLayer) -> Option<&ManagerLayer> {
        let mut groups = self.layers.managers.iter();
        groups.find(|group| group.members.contains(&volume.number))
    }

    /// What the volume is, in one line.
    fn headline(&self, volume: &VolumeLayer) -> String {
        match (&volume.verdict, self.group_of(volume)) {
            (Verdict::Identified { .. } | Verdict::Table, Some(group)) => {
                format!(
                    "{}, member of {}{}",
                    volume.member_of,
                    group.manager,
                    quoted(group.name.as_bytes())
                )
            }
            _ => headline(volume),
        }
    }
}

/// The volume that holds another; one that comes behind it holds nothing.
fn holder_of(volume: &VolumeLayer) -> Option<u32> {
    volume.inside.filter(|holder| *holder < volume.number)
}

fn table_line(table: &TableLayer) -> String {
    let id = match table.id.as_str() {
        "" => String::new(),
        id => format!(", id {id}"),
    };
    format!(
        "{} table at {}{id}, sectors of {} bytes",
        table.scheme,
        units::address(table.image_offset),
        table.sector_size_bytes
    )
}

fn print_volume(out: &mut Output, volume: &VolumeLayer, stem: &str) -> io::Result<()> {
    print_field(out, stem, "place", &place(volume))?;
    if volume.available_bytes < volume.range.len {
        let missing = both_sizes(volume.range.len - volume.available_bytes);
        let why = match &volume.mapping {
            Some(_) => "not in this image",
            None => "beyond the end of the image",
        };
        print_field(out, stem, "missing", &format!("{missing} {why}"))?;
    }
    print_field(out, stem, "found by", &found_by(volume))?;
    if volume.file_systems.is_empty() {
        if let Some(size) = volume.size_bytes {
            print_field(out, stem, "size", &units::bytes(size))?;
        }
        if !volume.uuid.is_empty() {
            print_field(out, stem, "uuid", &volume.uuid)?;
        }
    }
    for (at, file_system) in volume.file_systems.iter().enumerate() {
        if at > 0 {
            out.line(format!("{stem}and {}", file_system_name(file_system)))?;
        }
        print_file_system(out, file_system, stem)?;
    }
    Ok(())
}

/// Length and first byte, and how it is spread where it is.
fn place(volume: &VolumeLayer) -> String {
    let size = both_sizes(volume.range.len);
    let first = units::address(volume.range.offset);
    let Some(mapping) = &volume.mapping else {
        return format!("{size} at {first}");
    };
    let how = match mapping.segments.as_slice() {
        [only] => spread(&only.place),
        segments => format!("in {} segments", segments.len()),
    };
    format!("{size} {how}, the first at {first}")
}

fn spread(place: &Place) -> String {
    match place {
        Place::Striped { columns, copies, .. } if *copies == columns.len() => {
            format!("mirrored on {} members", columns.len())
        }
        Place::Striped {
            columns, chunk_bytes, ..
        } => {
            format!(
                "in stripes of {} over {} columns",
                units::bytes(*chunk_bytes),
                columns.len()
            )
        }
        Place::Parity {
            columns, chunk_bytes, ..
        } => {
            let chunk = units::bytes(*chunk_bytes);
            format!("in stripes of {chunk} with parity over {} columns", columns.len())
        }
        _ => "in pieces".to_owned(),
    }
}

/// What a volume is by itself, in one line.
fn headline(volume: &VolumeLayer) -> String {
    match (volume.file_systems.first(), &volume.verdict) {
        (Some(file_system), Verdict::Readable) => file_system_name(file_system),
        (_, verdict) => verdict_text(verdict, &volume.label),
    }
}

fn file_system_name(layer: &FileSystemLayer) -> String {
    match &layer.facts {
        Some(facts) => format!("{}{}", facts.type_name, quoted(&facts.label)),
        None => format!("{}, could not be opened", units::word(&layer.family)),
    }
}

/// A label behind a blank and in quotes; nothing if it is empty.
fn quoted(label: &[u8]) -> String {
    if label.is_empty() {
        return String::new();
    }
    format!(" `{}`", escape(label))
}

fn verdict_text(verdict: &Verdict, label: &str) -> String {
    match verdict {
        Verdict::Readable => "readable".to_owned(),
        Verdict::Empty { fill, examined_bytes } => format!(
            "empty: nothing but {fill:#04x} in the {} examined",
            units::counted(*examined_bytes, "byte", "bytes")
        ),
        Verdict::Identified { type_name, .. } => {
            format!("{type_name}{}, identified but not read", quoted(label.as_bytes()))
        }
        Verdict::Table => "holds volumes of its own".to_owned(),
        Verdict::Unknown { first_bytes } => unknown_text(first_bytes),
        Verdict::BeyondEnd => "beyond the end of the image".to_owned(),
        Verdict::Unread => "unread: the bytes that decide were never rescued".to_owned(),
        Verdict::SameAs { number } => format!("the same bytes as volume {number}"),
        _ => "unknown".to_owned(),
    }
}

/// `unknown, starts with 73 68 6f 72 "shor"`.
fn unknown_text(first_bytes: &[u8]) -> String {
    let start = &first_bytes[..first_bytes.len().min(16)];
    let hexadecimal: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = start
        .iter()
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        })
        .collect();
    format!("unknown, starts with {} |{text}|", hexadecimal.join(" "))
}

fn found_by(volume: &VolumeLayer) -> String {
    let mut text = volume.found_by.clone();
    for (what, value) in [("type", &volume.table_type), ("name", &volume.table_name)] {
        if !value.is_empty() {
            text.push_str(&format!(", {what} {}", escape(value.as_bytes())));
        }
    }
    text
}

fn print_file_system(out: &mut Output, layer: &FileSystemLayer, stem: &str) -> io::Result<()> {
    if let Some(facts) = &layer.facts {
        let size = match facts.used_bytes {
            Some(used) => format!("{}, {} used", units::bytes(facts.size_bytes), units::bytes(used)),
            None => units::bytes(facts.size_bytes),
        };
        print_field(out, stem, "size", &size)?;
        if let Some(uuid) = &facts.uuid {
            print_field(out, stem, "uuid", uuid)?;
        }
        for (field, time) in [("made", facts.created), ("last written", facts.written)] {
            if time.is_some() {
                print_field(out, stem, field, &units::time(time))?;
            }
        }
        print_field(out, stem, "state", &units::word(&facts.state))?;
    }
    print_field(out, stem, "evidence", &layer.evidence)?;
    let Some(facts) = &layer.facts else { return Ok(()) };
    let details: Vec<String> = facts
        .details
        .iter()
        .map(|(name, value)| format!("{name} {}", escape(value.as_bytes())))
        .collect();
    if details.is_empty() {
        return Ok(());
    }
    print_field(out, stem, "details", &details.join("; "))
}

/// A field and its value; a long value continues below itself.
fn print_field(out: &mut Output, stem: &str, field: &str, value: &str) -> io::Result<()> {
    // A deep tree still gets some room.
    let room = LINE_WIDTH
        .saturating_sub(FIELD_WIDTH + stem.chars().count())
        .max(ROOM_MIN);
    for (at, line) in wrap(value, room).iter().enumerate() {
        let field = if at == 0 { field } else { "" };
        out.line(format!("{stem}{field:<FIELD_WIDTH$}{line}"))?;
    }
    Ok(())
}

/// Lines of at most `width` characters, broken at blanks; a longer word stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_broken_at_blanks() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn unknown_content_is_shown_both_ways() {
        assert_eq!(unknown_text(b"hi\0"), "unknown, starts with 68 69 00 |hi.|");
    }
}
