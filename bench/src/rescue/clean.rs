//! A clean 2 GB file: the price of hashing and keeping books.

use std::io;
use std::path::Path;

use crate::measure::{Candidate, rounds};
use crate::shell;

/// Compares with dd in the same run; all in memory, so that no disk decides.
pub(super) fn run(ntt: &str, work: &Path, runs: usize) -> io::Result<()> {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in(work))?;
    let [source, target] = ["source", "target"].map(|name| shell::text(&memory.path().join(name)));
    shell::run(&format!(
        "openssl enc -aes-128-ctr -K 0 -iv 0 < /dev/zero 2>/dev/null | head -c 2000000000 > {source}"
    ))?;
    let candidate = |name, line: String| Candidate {
        name,
        line,
        prepare: format!("rm -f {target}*"),
        once: false,
    };
    let candidates = [
        candidate("dd bs=1M", format!("dd bs=1M if={source} of={target}")),
        candidate(
            "ntt rescue",
            format!("{ntt} --quiet rescue {source} --output {target}"),
        ),
        candidate("ddrescue", format!("ddrescue -q {source} {target} {target}.map")),
        candidate("b3sum, for comparison", format!("b3sum --num-threads 1 {source}")),
    ];
    let usages = rounds(runs, &candidates)?;
    let dd = usages.first().map_or(1.0, |usage| usage.wall_s);
    println!("| clean 2 GB, memory to memory | wall s | CPU s | MB/s | of dd's rate |");
    println!("|---|---:|---:|---:|---:|");
    for (candidate, usage) in candidates.iter().zip(&usages) {
        println!(
            "| {} | {:.2} | {:.2} | {:.0} | {:.2} |",
            candidate.name,
            usage.wall_s,
            usage.cpu_s,
            2000.0 / usage.wall_s,
            dd / usage.wall_s
        );
    }
    println!();
    Ok(())
}
