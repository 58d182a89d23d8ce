//! `ntt identify`.

use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::archive::CataloguePlace;
use ntt_pipeline::identify::{self, Identification, Recognition};
use ntt_pipeline::image::Opener;
use ntt_pipeline::{Archive, Interrupt};

use crate::args::Global;
use crate::commands::withdrawn::since;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::{interrupt, session};

/// Say which known medium a device, image or directory is, and why.
///
/// Nothing is written. Of a device a few places are read that an earlier image has, and both ends; all of it only if that image is whole. Shows the
/// ids that the system before this one would have given, to find its records again. Exits with 1 if the medium is not known.
#[derive(Debug, Args)]
pub(crate) struct IdentifyArgs {
    /// A device, a disk image or a directory.
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
}

pub(crate) fn run(global: &Global, args: &IdentifyArgs) -> CommandResult {
    let root = session::archive_root(global)?;
    let config = session::config(global, &root, &[])?;
    let archive = if Archive::exists(&root, &CataloguePlace::of(&config)?) {
        Some(session::look(global)?)
    } else {
        None
    };
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let program = session::scan_program()?;
    let opener = Opener {
        config: &config,
        scan_program: &program,
        interrupt: &interrupt,
        scratch: None,
    };
    let found = identify::look(archive.as_ref(), &args.source, &opener)?;
    print(&mut Output::new(global), &found)?;
    Ok(if found.recognition == Recognition::New {
        Exit::NotFound
    } else {
        Exit::Done
    })
}

fn print(out: &mut Output, found: &Identification) -> std::io::Result<()> {
    if out.json() {
        return out.document("identification", found);
    }
    match &found.recognition {
        Recognition::New => out.line(format!("{}: not known", found.source))?,
        Recognition::Resume { medium, why, .. } | Recognition::Known { medium, why, .. } => {
            out.line(format!("{}: medium {medium}: {why}", found.source))?;
        }
    }
    if let Some(withdrawal) = &found.withdrawn {
        out.line(format!("withdrawn since {}", since(withdrawal)))?;
    }
    for alike in &found.alike {
        let shared = alike.shared.join(", ");
        let withdrawn = if alike.withdrawn { " [withdrawn]" } else { "" };
        out.line(format!(
            "like     {} {}{withdrawn}: the same {shared}",
            alike.medium, alike.name
        ))?;
    }
    for evidence in &found.evidence {
        out.line(format!(
            "evidence {:<14} {} ({})",
            evidence.kind, evidence.value, evidence.origin
        ))?;
    }
    let ids = found.old_ids.iter().flat_map(|ids| {
        [
            ("first MiB", &ids.head),
            ("first and last MiB", &ids.ends),
            ("size, model, serial, both ends", &ids.device),
        ]
    });
    for (what, id) in ids {
        let id = id.as_deref().unwrap_or("cannot be read");
        out.line(format!("old id   {id} ({what})"))?;
    }
    out.flush()
}
