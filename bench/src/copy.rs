//! Scan and copy of the synthetic corpus against the programs that people use today.

use std::io;
use std::path::Path;

use crate::measure::{Candidate, Usage, rounds};
use crate::{Setting, corpus, shell};

/// How long after many files were removed new ones are made at the usual speed again (ext4, `recently_deleted`).
const SECONDS_AFTER_REMOVAL: u32 = 65;

/// Measures everything and prints the table.
pub(crate) fn run(files: u64, setting: &Setting) -> io::Result<()> {
    let ntt = setting.program("ntt")?;
    let temporary = setting.work_dir()?;
    let place = |name: &str| shell::text(&temporary.path().join(name));
    let (tree, image, target) = (place("corpus"), place("corpus.ext4"), place("target"));
    corpus::write(Path::new(&tree), files)?;
    make_image(&tree, &image)?;
    // The sources are in the page cache, the targets are new, and the disk is quiet. What a round wrote is removed before the next one, and
    // then some time must pass: ext4 makes new files slowly where others were deleted within the last minute.
    let again = format!(
        "test ! -d {target} || {{ rm -rf {target}; sync; sleep {SECONDS_AFTER_REMOVAL}; }}; mkdir {target}"
    );
    let read =
        format!("find {tree} -type f -print0 | xargs -0 cat > /dev/null; cat {image} > /dev/null; sync");
    let candidate = |name, line: String| Candidate {
        name,
        line,
        prepare: read.clone(),
        once: false,
    };
    let ingest = |archive: &str| format!("{ntt} --quiet --archive {target}/{archive} ingest --no-verify");
    let restic = format!("RESTIC_PASSWORD=x restic --no-cache -q -r {target}/restic");
    let borg = format!("BORG_BASE_DIR={target} BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes borg");
    let candidates = [
        Candidate {
            name: "b3sum",
            line: format!("find {tree} -type f -print0 | xargs -0 b3sum --num-threads 1"),
            prepare: format!("{again}; {read}"),
            once: false,
        },
        // As it runs when nobody says otherwise.
        candidate(
            "b3sum, all threads",
            format!("find {tree} -type f -print0 | xargs -0 b3sum"),
        ),
        candidate("ntt, directory", format!("{} {tree}", ingest("directory"))),
        Candidate {
            name: "its manifest",
            // Any change of a medium writes its manifest anew, and does nothing else that counts.
            line: format!("{ntt} --quiet --archive {target}/directory medium label corpus again"),
            prepare: String::new(),
            once: false,
        },
        candidate("cp -a", format!("cp -a {tree} {target}/copy")),
        candidate("ntt, ext4 image", format!("{} {image}", ingest("image"))),
        candidate(
            "ntt, directory, packs to 64 KiB",
            format!("{} --pack-threshold 64KiB {tree}", ingest("packed")),
        ),
        Candidate {
            once: true,
            ..candidate("restic", format!("{restic} init && {restic} backup {tree}"))
        },
        Candidate {
            once: true,
            ..candidate(
                "borg",
                format!("{borg} init -e none {target}/borg && {borg} create {target}/borg::a {tree}"),
            )
        },
    ];
    let usages = rounds(setting.runs, &candidates)?;
    println!(
        "## Copy: {files} files, median of {} runs (restic and borg: 1)\n",
        setting.runs
    );
    print_table(&candidates, &usages);
    Ok(())
}

/// An ext4 image of the tree, with room to spare.
fn make_image(tree: &str, image: &str) -> io::Result<()> {
    shell::run(&format!(
        "truncate -s $(( $(du -s --block-size=1M {tree} | cut -f1) * 2 + 512 ))M {image} && \
         mke2fs -q -t ext4 -N 400000 -d {tree} {image}"
    ))
}

fn print_table(candidates: &[Candidate], usages: &[Usage]) {
    println!("| run | CPU s | wall s | peak MiB | CPU / b3sum | wall / ntt directory |");
    println!("|---|---:|---:|---:|---:|---:|");
    let of = |name: &str| {
        let place = candidates.iter().position(|candidate| candidate.name == name);
        place
            .and_then(|place| usages.get(place))
            .copied()
            .unwrap_or_default()
    };
    let (hash, ntt) = (of("b3sum"), of("ntt, directory"));
    for (candidate, usage) in candidates.iter().zip(usages) {
        println!(
            "| {} | {:.2} | {:.2} | {} | {:.2} | {:.2} |",
            candidate.name,
            usage.cpu_s,
            usage.wall_s,
            usage.rss_kib / 1024,
            usage.cpu_s / hash.cpu_s,
            usage.wall_s / ntt.wall_s,
        );
    }
    println!();
}
