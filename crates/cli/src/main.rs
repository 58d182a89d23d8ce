//! The command line program `ntt`: arguments in, use cases of `ntt-pipeline` and answers of `ntt-report` called, rows out.
//!
//! Data goes to stdout, everything else to stderr. The exit code tells the truth (R44); see [`exit`].

mod args;
mod commands;
mod exit;
mod interrupt;
mod logging;
mod output;
mod progress;
mod session;
mod shell;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The scan child is this same binary; it must not touch the environment, the configuration or the terminal.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ntt_inspect::child::ARGUMENT)
    {
        return ntt_inspect::child::main();
    }
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::report_arguments(&error),
    };
    logging::start(&arguments.global);
    allow_open_files();
    let outcome = commands::run(&arguments);
    exit::report(&arguments.global, outcome)
}

/// Lets the process open as many files as its user may: an image can be split over thousands, and the usual limit of 1,024 is there for programs that use `select`.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be, whoever opens too many is told.
    setrlimit(Resource::Nofile, limit).ok();
}
