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
    let outcome = commands::run(&arguments);
    exit::report(&arguments.global, outcome)
}
