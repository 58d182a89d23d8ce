//! The command line program `ntt`.

fn main() {}
