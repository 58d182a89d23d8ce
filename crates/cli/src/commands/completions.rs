//! `ntt completions`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::{Arguments, Global};
use crate::exit::{CommandResult, Exit};
use crate::output::Output;

/// Print a completion script for a shell.
///
/// For example: `ntt completions bash > ~/.local/share/bash-completion/completions/ntt`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(global: &Global, args: &CompletionsArgs) -> CommandResult {
    let mut out = Output::new(global);
    // The generator panics when its writer fails, and a reader of stdout may go away: it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "ntt", &mut script);
    out.raw().write_all(&script)?;
    out.flush()?;
    Ok(Exit::Done)
}
