//! Benchmarks of `ntt` against its peers: every figure is a ratio within one run, on one machine, over the same files.
//!
//! `cargo build --release -p ntt -p ntt-bench -p ntt-inspect -p ntt-filesystem -p ntt-catalogue -p ntt-search --bins --examples`, then `target/release/ntt-bench all`. Needs the
//! Debian packages postgresql, b3sum, restic, borgbackup, e2fsprogs, sleuthkit, findutils, plocate and time; `scan` mounts an image and so needs root.

#![allow(clippy::print_stdout, reason = "printing a table is what this program is for")]

mod catalogue;
mod copy;
mod corpus;
mod machine;
mod measure;
mod readers;
mod rescue;
mod scan;
mod search;
mod server;
mod shell;

use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where the programs are, and how often they run.
#[derive(Debug, Clone, Args)]
struct Setting {
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where to work: needs four times the size of the corpus (12 GB for 150,000 files).
    #[arg(long)]
    work: Option<PathBuf>,
    /// Directory of the built programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the synthetic corpus.
    Corpus {
        /// Where to; must not exist.
        root: PathBuf,
        /// Number of files.
        #[arg(long, default_value_t = 150_000)]
        files: u64,
    },
    /// Ingest the corpus from a directory and from an ext4 image, beside b3sum, cp, restic and borg.
    Copy {
        /// Number of files.
        #[arg(long, default_value_t = 150_000)]
        files: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// Scan an ext4 image of small files, beside find on a mount and fls, and images of many entries for the memory.
    Scan {
        /// Number of files; ten times as many for the memory.
        #[arg(long, default_value_t = 1_000_000)]
        files: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// List and read an image of each format, beside the programs that can: needs root for mounts, and the packages of the tests.
    Readers {
        /// Number of files.
        #[arg(long, default_value_t = 20_000)]
        files: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// Load, size and claims of the embedded catalogue.
    Catalogue {
        /// Number of inodes.
        #[arg(long, default_value_t = 3_000_000)]
        inodes: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// Rescue of failing media, beside ddrescue and dd: needs FUSE and the Debian package gddrescue.
    Rescue {
        #[command(flatten)]
        arguments: rescue::RescueArgs,
        #[command(flatten)]
        setting: Setting,
    },
    /// Load, size, claims and drain of the catalogue in a PostgreSQL server, beside bare COPY and the SQL of the predecessor.
    Server {
        /// Number of inodes; claims are timed in scans of 1,000, 100,000, 3,000,000 and 30,000,000 inodes up to this.
        #[arg(long, default_value_t = 3_000_000)]
        inodes: u64,
        /// Loads of as many that the catalogue holds already when the last one is timed.
        #[arg(long, default_value_t = 5)]
        before: u8,
        /// Inodes that go from events to an empty queue first, after a million that do the same. 50,000,000 need 30 GB of disk.
        #[arg(long, default_value_t = 0)]
        end_to_end: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// The search index, beside plocate and pg_trgm over the same names: needs the Debian packages plocate and postgresql.
    Search {
        /// Number of paths.
        #[arg(long, default_value_t = 5_000_000)]
        paths: u64,
        /// Of these so many for pg_trgm.
        #[arg(long, default_value_t = 500_000)]
        rows: u64,
        #[command(flatten)]
        setting: Setting,
    },
    /// All of the above but rescue, in their full size.
    All {
        #[command(flatten)]
        setting: Setting,
    },
}

fn main() -> io::Result<()> {
    let command = Arguments::parse().command;
    if let Command::Corpus { root, files } = command {
        return corpus::write(&root, files);
    }
    println!("{}\n", machine::describe());
    match command {
        Command::Corpus { .. } => Ok(()),
        Command::Copy { files, setting } => copy::run(files, &setting),
        Command::Scan { files, setting } => scan::run(files, &setting),
        Command::Readers { files, setting } => readers::run(files, &setting),
        Command::Catalogue { inodes, setting } => catalogue::run(inodes, &setting),
        Command::Rescue { arguments, setting } => rescue::run(&arguments, &setting),
        Command::Server {
            inodes,
            before,
            end_to_end,
            setting,
        } => server::run(inodes, before, end_to_end, &setting),
        Command::Search { paths, rows, setting } => search::run(paths, rows, &setting),
        Command::All { setting } => {
            scan::run(1_000_000, &setting)?;
            readers::run(20_000, &setting)?;
            catalogue::run(3_000_000, &setting)?;
            server::run(3_000_000, 24, 0, &setting)?;
            search::run(5_000_000, 500_000, &setting)?;
            copy::run(150_000, &setting)
        }
    }
}
