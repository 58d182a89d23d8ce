//! The search index beside plocate and PostgreSQL's pg_trgm, over the same names.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ntt_testkit::postgres::PostgresServer;

use crate::Setting;
use crate::measure::{Candidate, Usage, rounds};
use crate::shell::{run as shell, text};

/// What each is asked: parts of names, rare to common.
const NEEDLES: [&str; 5] = ["budget_ba", "IMG_0007", "invoice", "zzzzzz", ".jpg"];

/// Makes the index of `paths` invented paths and searches it; then plocate does the same, and pg_trgm with the first `rows` of them.
pub(crate) fn run(paths: u64, rows: u64, setting: &Setting) -> io::Result<()> {
    let work = setting.work_dir()?;
    let names = work.path().join("names");
    println!("## Search: {paths} paths\n");
    let program = setting.program("examples/search_bench")?;
    let status = Command::new(&program)
        .arg(work.path())
        .arg(paths.to_string())
        .arg(&names)
        .args(NEEDLES)
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("{program}: {status}")));
    }
    plocate(work.path(), &names, setting.runs)?;
    trigrams(&names, rows)
}

/// plocate's own builder takes a list of paths.
fn plocate(work: &Path, names: &Path, runs: usize) -> io::Result<()> {
    let database = work.join("plocate.db");
    let (names, database) = (text(names), text(&database));
    let candidate = |name, line| Candidate {
        name,
        line,
        prepare: String::new(),
        once: false,
    };
    let build = candidate(
        "plocate-build",
        // The paths are invented: without `-l no` plocate would hide them, since nobody can look into their directories.
        format!("/usr/sbin/plocate-build -l no -p '{names}' '{database}'"),
    );
    let mut candidates = vec![Candidate { once: true, ..build }];
    for needle in NEEDLES {
        candidates.push(candidate(
            needle,
            // Nothing found is no failure.
            format!("plocate -d '{database}' -b '{needle}' || [ $? -eq 1 ]"),
        ));
    }
    let usages = rounds(runs, &candidates)?;
    let bytes = std::fs::metadata(&database)?.len();
    println!("\nplocate: {bytes} bytes\n");
    for (candidate, usage) in candidates.iter().zip(&usages) {
        let hits = match candidate.name {
            "plocate-build" => String::new(),
            needle => format!(", {} found", hits(&database, needle)?),
        };
        println!("- {}{hits}", line(candidate.name, usage));
    }
    Ok(())
}

/// How many names plocate finds: as many as the index, or the comparison is of different things.
fn hits(database: &str, needle: &str) -> io::Result<String> {
    let output = Command::new("plocate")
        .args(["-d", database, "-c", "-b", needle])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn line(name: &str, usage: &Usage) -> String {
    format!(
        "{name}: {:.2} s CPU, {:.2} s wall, {} MiB",
        usage.cpu_s,
        usage.wall_s,
        usage.rss_kib / 1024
    )
}

/// A GIN index over the paths as LATIN1 text, as a site without an index of its own would make it.
fn trigrams(names: &Path, rows: u64) -> io::Result<()> {
    // As a site would set it for an index of this size.
    let settings = [
        "shared_buffers=1GB",
        "maintenance_work_mem=1GB",
        "max_wal_size=4GB",
    ];
    let Some(server) = PostgresServer::start_with(&settings) else {
        println!("\npg_trgm: no server binaries here");
        return Ok(());
    };
    let _ = server.create_database("search", None);
    let few = text(&names.with_extension("few"));
    shell(&format!(
        "head -n {rows} '{}' | tr '\\\\' '?' | iconv -f LATIN1 -t UTF-8 > '{few}'",
        text(names)
    ))?;
    println!("\npg_trgm, {rows} rows, wall with the start of psql:\n");
    let ask = |what: &str, sql: &str| {
        let begun = Instant::now();
        let answer = server.psql("search", sql);
        println!("- {what}: {:.2?} {answer}", begun.elapsed());
    };
    ask("extension", "CREATE EXTENSION pg_trgm");
    ask("table", "CREATE TABLE p (path text)");
    ask("rows", &format!("\\copy p FROM '{few}'"));
    ask("index", "CREATE INDEX p_gin ON p USING gin (path gin_trgm_ops)");
    ask("statistics", "ANALYZE p");
    ask("bytes of the index", "SELECT pg_relation_size('p_gin')");
    for needle in NEEDLES {
        ask(
            needle,
            &format!(
                "SELECT count(*) FROM p WHERE path LIKE '%{}%'",
                needle.replace('_', "\\_")
            ),
        );
    }
    Ok(())
}
