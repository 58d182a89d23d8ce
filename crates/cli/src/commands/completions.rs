//! `ntt completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::{Arguments, Global};
use crate::exit::{CommandResult, Exit};
use crate::output::Output;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(global: &Global, args: &CompletionsArgs) -> CommandResult {
    let mut out = Output::new(global);
    clap_complete::generate(args.shell, &mut Arguments::command(), "ntt", out.raw());
    out.flush()?;
    Ok(Exit::Done)
}
