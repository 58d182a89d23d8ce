//! Scan and copy of the synthetic corpus against the programs that people use today.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::corpus;
use crate::measure::{Usage, median};

/// One row of the table.
struct Row {
    name: &'static str,
    usage: Usage,
}

/// Measures everything and prints the table.
pub(crate) fn run(files: u64, runs: usize, work: Option<PathBuf>, ntt: &Path) -> io::Result<()> {
    let ntt = std::path::absolute(ntt)?;
    let ntt = text(&ntt);
    let temporary = match work {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let place = |name: &str| text(&temporary.path().join(name));
    let (tree, image, target) = (place("corpus"), place("corpus.ext4"), place("target"));
    corpus::write(Path::new(&tree), files)?;
    make_image(&tree, &image)?;

    let mut rows = Vec::new();
    let mut add = |name: &'static str, line: String| -> io::Result<()> {
        let usage = median(runs, &["sh", "-c", &line], &mut || prepare(&target))?;
        eprintln_row(name, &usage);
        rows.push(Row { name, usage });
        Ok(())
    };
    add(
        "b3sum",
        format!("find {tree} -type f -print0 | xargs -0 b3sum --num-threads 1"),
    )?;
    add("cp -a", format!("cp -a {tree} {target}/copy"))?;
    let ingest = format!("{ntt} --quiet --archive {target}/archive ingest --no-verify");
    add("ntt, directory", format!("{ingest} {tree}"))?;
    add("ntt, ext4 image", format!("{ingest} {image}"))?;
    let restic = format!("RESTIC_PASSWORD=x restic --no-cache -q -r {target}/restic");
    add("restic", format!("{restic} init && {restic} backup {tree}"))?;
    let borg = format!("BORG_BASE_DIR={target} BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes borg");
    add(
        "borg",
        format!("{borg} init -e none {target}/borg && {borg} create {target}/borg::a {tree}"),
    )?;
    print_table(&rows);
    Ok(())
}

/// An ext4 image of the tree, with room to spare.
fn make_image(tree: &str, image: &str) -> io::Result<()> {
    let script = format!(
        "truncate -s $(( $(du -s --block-size=1M {tree} | cut -f1) * 2 + 512 ))M {image} && \
         mke2fs -q -t ext4 -N 400000 -d {tree} {image}"
    );
    let status = Command::new("sh").args(["-c", &script]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("mke2fs cannot make the image"))
    }
}

/// An empty target on a quiet disk; the source stays in the page cache.
fn prepare(target: &str) -> io::Result<()> {
    let status = Command::new("sh")
        .args(["-c", &format!("rm -rf {target}; mkdir {target}; sync")])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("the target cannot be emptied"))
    }
}

fn print_table(rows: &[Row]) {
    println!("| run | CPU s | wall s | peak MiB | CPU / b3sum | wall / ntt directory |");
    println!("|---|---:|---:|---:|---:|---:|");
    let of = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.usage);
    let (Some(hash), Some(ntt)) = (of("b3sum"), of("ntt, directory")) else {
        return;
    };
    for Row { name, usage } in rows {
        println!(
            "| {name} | {:.2} | {:.2} | {} | {:.2} | {:.2} |",
            usage.cpu_s,
            usage.wall_s,
            usage.rss_kib / 1024,
            usage.cpu_s / hash.cpu_s,
            usage.wall_s / ntt.wall_s,
        );
    }
}

#[allow(clippy::print_stderr, reason = "a long benchmark says how far it is")]
fn eprintln_row(name: &str, usage: &Usage) {
    eprintln!("{name}: {:.2} s CPU, {:.2} s wall", usage.cpu_s, usage.wall_s);
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
