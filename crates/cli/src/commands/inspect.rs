//! `ntt inspect`.

use std::path::{Path, PathBuf};

use clap::Args;
use ntt_inspect::layer::{LayerTree, Verdict};
use ntt_model::Severity;
use ntt_pipeline::identify::{Source, SourceKind};
use ntt_pipeline::image::Opener;
use ntt_pipeline::{Interrupt, inspect};

use crate::args::Global;
use crate::commands::layers;
use crate::exit::{self, CommandResult, Exit, Failure};
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
    /// Take the images as one set, and show what several of them make together (RAID, volume groups).
    #[arg(long)]
    set: bool,
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
    if args.set {
        let sources = args.images.iter().map(|path| image(&opener, path));
        let trees = set_trees(sources.collect::<Result<_, _>>()?, &opener)?;
        return show(global, &mut out, trees.into_iter().map(Ok));
    }
    let trees = args
        .images
        .iter()
        .map(|path| one_tree(image(&opener, path)?, &opener));
    show(global, &mut out, trees)
}

/// Prints what each image holds. One that cannot be shown keeps no other from it; the last that could not says the exit code.
fn show(global: &Global, out: &mut Output, trees: impl Iterator<Item = Looked>) -> CommandResult {
    let mut exit = Exit::Done;
    let mut failed: Option<Failure> = None;
    let mut is_first = true;
    for looked in trees {
        let (source, tree) = match looked {
            Err(failure) if failure.ends_all() => return Err(failure),
            Err(failure) => {
                out.flush()?;
                if let Some(earlier) = failed.replace(failure) {
                    exit::tell_failure(global, &earlier);
                }
                continue;
            }
            Ok(looked) => looked,
        };
        if out.json() {
            print_json(out, &source, &tree)?;
        } else {
            if !std::mem::take(&mut is_first) {
                out.line("")?;
            }
            print(out, &source, &tree)?;
        }
        if has_losses(&tree) || unread_bytes(&source) > 0 {
            exit = Exit::Losses;
        }
    }
    out.flush()?;
    failed.map_or(Ok(exit), Err)
}

type Looked = Result<(Source, LayerTree), Failure>;

fn image(opener: &Opener<'_>, path: &Path) -> Result<Source, Failure> {
    let source = Source::open(opener, path)?;
    if source.kind == SourceKind::Directory {
        let text = format!("{} is a directory, not an image", path.display());
        return Err(Failure::usage(text).hint("`ntt ingest` takes directories as they are"));
    }
    Ok(source)
}

fn one_tree(source: Source, opener: &Opener<'_>) -> Looked {
    let tree = inspect::plan(&source, opener.config, opener.scan_program, opener.interrupt)?;
    Ok((source, tree.unwrap_or_default()))
}

/// The trees of the images, and of what they make together.
fn set_trees(sources: Vec<Source>, opener: &Opener<'_>) -> Result<Vec<(Source, LayerTree)>, Failure> {
    let set = inspect::set_of(sources)?;
    let trees = inspect::plan_set(&set, opener.config, opener.scan_program, opener.interrupt)?;
    let images = set.members.clone().into_iter().zip(trees.images);
    Ok(images.chain([(set, trees.set)]).collect())
}

fn print_json(out: &mut Output, source: &Source, tree: &LayerTree) -> std::io::Result<()> {
    out.json_line(
        "layers",
        &serde_json::json!({
            "image": source.path,
            "mapfile": source.mapfile,
            "unread_bytes": unread_bytes(source),
            "layers": tree,
        }),
    )
}

fn print(out: &mut Output, source: &Source, tree: &LayerTree) -> std::io::Result<()> {
    if source.kind == SourceKind::Set {
        return layers::print_set(out, tree);
    }
    out.line(format!("{}", source.path))?;
    if let Some(mapfile) = source.mapfile.as_ref().filter(|_| source.container.is_none()) {
        let unread = units::bytes(unread_bytes(source));
        out.line(format!("mapfile {mapfile}: {unread} never rescued"))?;
    }
    layers::print(out, tree)
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
