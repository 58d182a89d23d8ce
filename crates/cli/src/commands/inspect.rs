//! `ntt inspect`.

use std::path::PathBuf;

use clap::Args;
use ntt_inspect::layer::{LayerTree, Verdict};
use ntt_model::Severity;
use ntt_pipeline::identify::Source;
use ntt_pipeline::image::Opener;
use ntt_pipeline::{Interrupt, inspect};

use crate::args::Global;
use crate::commands::layers;
use crate::exit::{CommandResult, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::{session, units};

/// Show what an image holds: tables, volumes, file systems, evidence.
///
/// Needs no archive and writes nothing.
///
/// Exits with 3 if a volume could not be read, the image is shorter than its tables say, or its mapfile says that some of it was never rescued.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Disk images or block devices.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Directory below which files that an image names (backing files, parents, extents) may be opened, besides those beside it.
    #[arg(long, value_name = "DIR")]
    allow_backing: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: &InspectArgs) -> CommandResult {
    let allowed = args
        .allow_backing
        .as_deref()
        .map(session::typed_path)
        .transpose()?;
    let flags: Vec<session::Flag<'_>> = allowed
        .iter()
        .map(|path| ("allow_backing", path.as_str()))
        .collect();
    let config = session::config(global, &session::archive_root(global)?, &flags)?;
    let program = session::scan_program()?;
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let mut out = Output::new(global);
    let opener = Opener {
        config: &config,
        scan_program: &program,
        interrupt: &interrupt,
        scratch: None,
    };
    let mut exit = Exit::Done;
    for (at, path) in args.images.iter().enumerate() {
        let source = Source::open(&opener, path)?;
        let Some(tree) = inspect::plan(&source, &config, &program, &interrupt)? else {
            return Err(crate::exit::Failure::usage(format!(
                "{} is a directory, not an image",
                path.display()
            ))
            .hint("`ntt ingest` takes directories as they are"));
        };
        if out.json() {
            out.json_line(
                "layers",
                &serde_json::json!({
                    "image": source.path,
                    "mapfile": source.mapfile,
                    "unread_bytes": unread_bytes(&source),
                    "layers": tree,
                }),
            )?;
        } else {
            if at > 0 {
                out.line("")?;
            }
            out.line(format!("{}", source.path))?;
            if let Some(mapfile) = source.mapfile.as_ref().filter(|_| source.container.is_none()) {
                let unread = units::bytes(unread_bytes(&source));
                out.line(format!("mapfile {mapfile}: {unread} never rescued"))?;
            }
            layers::print(&mut out, &tree)?;
        }
        if has_losses(&tree) || unread_bytes(&source) > 0 {
            exit = Exit::Losses;
        }
    }
    out.flush()?;
    Ok(exit)
}

/// Bytes of the image that its mapfile says were never rescued.
fn unread_bytes(source: &Source) -> u64 {
    let lens = source.unread.iter().map(|range| range.len);
    lens.fold(0, u64::saturating_add)
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
