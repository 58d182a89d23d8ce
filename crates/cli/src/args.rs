//! The arguments that every command shares, and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;

/// Where a newcomer starts; below the help of `-h`.
const START: &str = "\
Start with:
  ntt inspect IMAGE      see what is in it
  ntt ingest IMAGE       take it in
  ntt tree IMAGE/1       look around in its first volume
  ntt medium show IMAGE  see whether all of it is safe";

/// What `--help` has in the place of [`START`].
const START_AND_EXIT_CODES: &str = "\
Start with:
  ntt inspect IMAGE      see what is in it
  ntt ingest IMAGE       take it in
  ntt tree IMAGE/1       look around in its first volume
  ntt medium show IMAGE  see whether all of it is safe

Exit codes:
    0  all was done
    1  it could not be done, or the answer is no
    2  the arguments or settings are wrong
    3  finished, and something is recorded as lost, damaged or unread
   10  the catalogue or the store cannot be reached
   11  another run holds the archive
   12  verification or comparison found damage
  130  interrupted; the same command goes on from there";

/// No two things: the safe last stop for old media.
///
/// Turns disk images and directory trees into one archive in which every content is kept once, every occurrence stays visible,
/// and every answer can be proved. Needs no root, no mounts and no server.
#[derive(Debug, Parser)]
#[command(name = "ntt", version, max_term_width = 100, propagate_version = true, after_help = START, after_long_help = START_AND_EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Arguments that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    // The variable is read where the archive is looked for: clap would show the option in the usage of every error, as if it had to be given.
    /// Directory of the archive; made by the first ingest [default: NTT_ARCHIVE, else from the configuration, else the XDG data directory].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    /// URL of a catalogue in a PostgreSQL server [default: NTT_CATALOGUE, else from the configuration, else the catalogue lies in the archive].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) catalogue: Option<String>,
    /// Print JSON on stdout (schema version 1, see docs/json.md).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress and no hints, only results and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log what the program does to stderr: `warn`, `info`, `debug`, or a filter such as `ntt_inspect=debug`.
    #[arg(
        long,
        global = true,
        env = "NTT_LOG",
        hide_env_values = true,
        value_name = "FILTER"
    )]
    pub(crate) log: Option<String>,
}
