//! One file per command: an arguments struct whose doc comments are the help, and a function that runs it.

mod cat;
mod catalogue;
mod choice;
mod completions;
mod config;
mod copy;
mod doctor;
mod exclude;
mod export;
mod filter;
mod find;
mod identify;
mod ingest;
mod inspect;
mod layers;
mod ls;
mod man;
mod medium;
mod rescue;
mod restore;
mod retry;
mod scan;
mod status;
mod streams;
mod summary;
mod tree;
mod verify;
mod volume;
mod where_;
mod withdrawn;
mod worker;

pub(crate) use rescue::live;

use clap::Subcommand;
use ntt_model::entry::Allocation;

use crate::args::Arguments;
use crate::exit::CommandResult;

/// What is said of a content that the store does not have right any more, and what to do.
const DAMAGED_IN_STORE: &str = "damaged in the store: ingest its medium again, or any other that has it; `ntt verify` finds out what else is damaged";

/// What is said of a content that the catalogue calls stored, and whose file is not there or too short.
const GONE_FROM_STORE: &str =
    "gone from the store, though it was stored: `ntt doctor` says what else is, and what to do";

/// ` [deleted]` behind the name of an entry that is no longer in use; else nothing.
const fn deleted_note(allocation: Allocation) -> &'static str {
    match allocation {
        Allocation::Deleted => " [deleted]",
        Allocation::Allocated => "",
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ingest(ingest::IngestArgs),
    Rescue(rescue::RescueArgs),
    Identify(identify::IdentifyArgs),
    Inspect(inspect::InspectArgs),
    Scan(scan::ScanArgs),
    Copy(copy::CopyArgs),
    Verify(verify::VerifyArgs),
    Restore(restore::RestoreArgs),
    Retry(retry::RetryArgs),
    Exclude(exclude::ExcludeArgs),
    Medium(medium::MediumArgs),
    Ls(ls::LsArgs),
    Tree(tree::TreeArgs),
    Cat(cat::CatArgs),
    Find(find::FindArgs),
    Export(export::ExportArgs),
    Where(where_::WhereArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    Worker(worker::WorkerArgs),
    Catalogue(catalogue::CatalogueArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the command that was asked for.
pub(crate) fn run(arguments: &Arguments) -> CommandResult {
    let global = &arguments.global;
    match &arguments.command {
        Command::Ingest(args) => ingest::run(global, args),
        Command::Rescue(args) => rescue::run(global, args),
        Command::Identify(args) => identify::run(global, args),
        Command::Inspect(args) => inspect::run(global, args),
        Command::Scan(args) => scan::run(global, args),
        Command::Copy(args) => copy::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Restore(args) => restore::run(global, args),
        Command::Retry(args) => retry::run(global, args),
        Command::Exclude(args) => exclude::run(global, args),
        Command::Medium(args) => medium::run(global, args),
        Command::Ls(args) => ls::run(global, args),
        Command::Tree(args) => tree::run(global, args),
        Command::Cat(args) => cat::run(global, args),
        Command::Find(args) => find::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Where(args) => where_::run(global, args),
        Command::Status(args) => status::run(global, args),
        Command::Doctor(args) => doctor::run(global, args),
        Command::Worker(args) => worker::run(global, args),
        Command::Catalogue(args) => catalogue::run(global, args),
        Command::Config(args) => config::run(global, args),
        Command::Completions(args) => completions::run(global, args),
        Command::Man(args) => man::run(global, args),
    }
}
