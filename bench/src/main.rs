//! Benchmarks of `ntt` against its peers: every figure is a ratio within one run, on one machine, over the same files.
//!
//! `cargo run --release -p ntt-bench -- copy` needs the Debian packages b3sum, restic, borgbackup, e2fsprogs and time.

#![allow(clippy::print_stdout, reason = "printing a table is what this program is for")]

mod copy;
mod corpus;
mod measure;

use std::io;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
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
        /// Runs of each; the median counts.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Where to work: needs five times the size of the corpus (2.5 GB for 150,000 files).
        #[arg(long)]
        work: Option<PathBuf>,
        /// The program to measure.
        #[arg(long, default_value = "target/release/ntt")]
        ntt: PathBuf,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse().command {
        Command::Corpus { root, files } => corpus::write(&root, files),
        Command::Copy {
            files,
            runs,
            work,
            ntt,
        } => copy::run(files, runs, work, &ntt),
    }
}
