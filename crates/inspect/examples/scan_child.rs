//! The scan child as a program of its own: what the tests of the supervisor start.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ntt_inspect::child::ARGUMENT)
    {
        return ntt_inspect::child::main();
    }
    ExitCode::FAILURE
}
