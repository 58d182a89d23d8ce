//! `ntt inspect`.

use std::path::PathBuf;

use clap::Args;
use ntt_inspect::layer::{FileSystemLayer, LayerTree, Verdict, VolumeLayer};
use ntt_model::Severity;
use ntt_model::name::escape;
use ntt_pipeline::identify::Source;
use ntt_pipeline::{Interrupt, inspect};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::session;
use crate::units;

/// Show what an image holds: partition tables, volumes and file systems, each with its evidence. Needs no archive and writes nothing.
///
/// Exits with 3 if a volume could not be read or the image is shorter than its tables say.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Disk images or block devices.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub(crate) fn run(global: &Global, args: &InspectArgs) -> CommandResult {
    let config = session::config(&session::archive_root(global)?, &[])?;
    let program = session::scan_program()?;
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let mut out = Output::new(global);
    let mut exit = Exit::Done;
    for path in &args.images {
        let source = Source::open(path)?;
        let Some(layers) = inspect::plan(&source, &config, &program, &interrupt)? else {
            return Err(crate::exit::Failure::usage(format!(
                "{} is a directory, not an image",
                path.display()
            ))
            .hint("`ntt ingest` takes directories as they are"));
        };
        if out.json() {
            out.json_line(
                "layers",
                &serde_json::json!({ "image": source.path, "layers": layers }),
            )?;
        } else {
            out.line(format!("{}", source.path))?;
            print_layers(&mut out, &layers)?;
        }
        if has_losses(&layers) {
            exit = Exit::Losses;
        }
    }
    out.flush()?;
    Ok(exit)
}

fn has_losses(layers: &LayerTree) -> bool {
    layers.expected_bytes > layers.image_bytes
        || layers
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Loss)
        || layers
            .volumes
            .iter()
            .any(|volume| matches!(volume.verdict, Verdict::Unread | Verdict::BeyondEnd))
}

/// The tree of layers, as an archivist wants to see it first.
pub(crate) fn print_layers(out: &mut Output, layers: &LayerTree) -> std::io::Result<()> {
    let size = format!(
        "{} ({} bytes)",
        units::bytes(layers.image_bytes),
        units::count(layers.image_bytes)
    );
    out.line(format!("  image, {size}"))?;
    if layers.expected_bytes > layers.image_bytes {
        let missing = layers.expected_bytes - layers.image_bytes;
        out.line(format!(
            "  incomplete: {} bytes are missing at its end",
            units::count(missing)
        ))?;
    }
    for table in &layers.tables {
        let id = if table.id.is_empty() {
            String::new()
        } else {
            format!(", id {}", table.id)
        };
        let sector = table.sector_size_bytes;
        out.line(format!(
            "  {} table at {}{id}, sectors of {sector} bytes",
            table.scheme,
            units::count(table.image_offset)
        ))?;
    }
    for (at, volume) in layers.volumes.iter().enumerate() {
        print_volume(out, volume, at + 1 == layers.volumes.len())?;
    }
    for finding in &layers.findings {
        out.line(format!("  ! {}", escape(finding.to_string().as_bytes())))?;
    }
    Ok(())
}

fn print_volume(out: &mut Output, volume: &VolumeLayer, last: bool) -> std::io::Result<()> {
    let (branch, stem) = if last {
        ("└─", "  ")
    } else {
        ("├─", "│ ")
    };
    let mut head = format!(
        "  {branch} volume {}: {} at {}, {}",
        volume.number,
        units::bytes(volume.range.len),
        units::count(volume.range.offset),
        volume.found_by,
    );
    for (what, text) in [("type", &volume.table_type), ("name", &volume.table_name)] {
        if !text.is_empty() {
            head.push_str(&format!(", {what} {}", escape(text.as_bytes())));
        }
    }
    out.line(head)?;
    if volume.available_bytes < volume.range.len {
        let missing = volume.range.len - volume.available_bytes;
        out.line(format!(
            "  {stem}   {} bytes of it lie beyond the end of the image",
            units::count(missing)
        ))?;
    }
    if volume.file_systems.is_empty() || volume.verdict != Verdict::Readable {
        out.line(format!("  {stem}   {}", verdict_text(volume)))?;
    }
    for file_system in &volume.file_systems {
        print_file_system(out, file_system, stem)?;
    }
    Ok(())
}

fn verdict_text(volume: &VolumeLayer) -> String {
    let label = if volume.label.is_empty() {
        String::new()
    } else {
        format!(" `{}`", escape(volume.label.as_bytes()))
    };
    match &volume.verdict {
        Verdict::Readable => "readable".to_owned(),
        Verdict::Empty { fill, examined_bytes } => {
            format!(
                "empty: nothing but {fill:#04x} in {} bytes examined",
                units::count(*examined_bytes)
            )
        }
        Verdict::Identified { type_name, .. } => {
            format!("{type_name}{label} {}: identified, not read", volume.uuid)
        }
        Verdict::Table => "holds volumes of its own".to_owned(),
        Verdict::Unknown { first_bytes } => {
            let start: Vec<String> = first_bytes
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("unknown content, starts with {}", start.join(" "))
        }
        Verdict::BeyondEnd => "beyond the end of the image".to_owned(),
        Verdict::Unread => "unread: what decides was never rescued".to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn print_file_system(out: &mut Output, layer: &FileSystemLayer, stem: &str) -> std::io::Result<()> {
    let Some(facts) = &layer.facts else {
        return out.line(format!(
            "  {stem}   {:?}: could not be opened ({})",
            layer.family, layer.evidence
        ));
    };
    let label = if facts.label.is_empty() {
        String::new()
    } else {
        format!(" `{}`", escape(&facts.label))
    };
    let uuid = facts
        .uuid
        .as_ref()
        .map(|uuid| format!(" {uuid}"))
        .unwrap_or_default();
    let used = facts
        .used_bytes
        .map(|used| format!(", {} used", units::bytes(used)))
        .unwrap_or_default();
    out.line(format!(
        "  {stem}   {}{label}{uuid}: {}{used}",
        facts.type_name,
        units::bytes(facts.size_bytes)
    ))?;
    out.line(format!("  {stem}     {}", layer.evidence))?;
    for (name, value) in &facts.details {
        out.line(format!("  {stem}     {name}: {}", escape(value.as_bytes())))?;
    }
    Ok(())
}
