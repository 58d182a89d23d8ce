//! The catalogue in a server: its own example does the work, with a server of its own.

use std::io;
use std::process::Command;

use crate::Setting;

/// Loads `inodes` inodes, `before` times as many and the same again, claims and drains them, and prints what the example says; before that
/// `end_to_end` inodes go from events to an empty queue.
pub(crate) fn run(inodes: u64, before: u8, end_to_end: u64, setting: &Setting) -> io::Result<()> {
    let program = setting.program("examples/postgres_bench")?;
    println!("## Catalogue in a PostgreSQL server\n");
    let status = Command::new(&program)
        .args([inodes.to_string(), before.to_string(), end_to_end.to_string()])
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{program}: {status}")))
}
