//! The smallest program that can be a scan child; the integration tests start it.

fn main() -> std::process::ExitCode {
    ntt_inspect::child::main()
}
