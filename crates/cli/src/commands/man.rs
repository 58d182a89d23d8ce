//! `ntt man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::args::{Arguments, Global};
use crate::exit::{CommandResult, Exit};
use crate::output::Output;

/// Write the manual pages.
///
/// All of them into a directory, or the main one to stdout.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory for `ntt.1`, `ntt-ingest.1` and so on; made if it is not there.
    directory: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: &ManArgs) -> CommandResult {
    match &args.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            clap_mangen::generate_to(Arguments::command(), directory)?;
        }
        None => {
            let mut out = Output::new(global);
            clap_mangen::Man::new(Arguments::command()).render(out.raw())?;
            out.flush()?;
        }
    }
    Ok(Exit::Done)
}
