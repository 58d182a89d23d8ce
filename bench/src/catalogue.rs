//! The embedded catalogue by itself: its own example does the work.

use std::io;
use std::process::Command;

use crate::Setting;

/// Loads `inodes` inodes with one name each, then a fifth of them with five, and prints what the example says.
pub(crate) fn run(inodes: u64, setting: &Setting) -> io::Result<()> {
    let program = setting.program("examples/load_bench")?;
    println!("## Catalogue: {inodes} paths, SQLite\n");
    for (inodes, links) in [(inodes, 1), (inodes / 5, 5)] {
        let output = Command::new(&program)
            .args([inodes.to_string(), links.to_string()])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        println!("{inodes} inodes with {links} names each:\n");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("- {line}");
        }
        println!();
    }
    Ok(())
}
