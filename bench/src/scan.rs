//! Listing a file system of many small files.

use std::io;

use crate::measure::{Candidate, Usage, rounds};
use crate::{Setting, shell};

/// Files of a directory.
const FILES_PER_DIRECTORY: u64 = 1000;

/// Measures everything and prints the tables.
pub(crate) fn run(files: u64, setting: &Setting) -> io::Result<()> {
    let temporary = setting.work_dir()?;
    let place = |name: &str| shell::text(&temporary.path().join(name));
    let (image, mount, target) = (place("small.ext4"), place("mount"), place("target"));
    make_image(files, &image, &mount)?;
    speed(files, setting, &image, &mount, &target)?;
    memory(files, setting, &place("wide.ext4"), &target)
}

/// Made by the kernel: `files` files of 100 bytes.
fn make_image(files: u64, image: &str, mount: &str) -> io::Result<()> {
    let directories = files.div_ceil(FILES_PER_DIRECTORY);
    shell::run(&format!(
        "truncate -s $(( {files} / 200 + 512 ))M {image} && mke2fs -q -t ext4 -b 4096 -N $(( {files} + {files} / 8 )) {image} && \
         mkdir {mount} && mount -o loop {image} {mount}"
    ))?;
    let filled = fill(mount, directories, FILES_PER_DIRECTORY, 100);
    let unmounted = shell::run(&format!("umount {mount}"));
    filled.and(unmounted)
}

/// So many directories of `files` files of `bytes` bytes each, no two alike.
pub(crate) fn fill(root: &str, directories: u64, files: u64, bytes: usize) -> io::Result<()> {
    for number in 0..directories {
        let directory = format!("{root}/directory {number:05}");
        std::fs::create_dir(&directory)?;
        for file in 0..files {
            let number = format!("{number} {file} ");
            let content = format!("{number:.<bytes$}");
            std::fs::write(format!("{directory}/small file {file:04}.txt"), content)?;
        }
    }
    Ok(())
}

fn speed(files: u64, setting: &Setting, image: &str, mount: &str, target: &str) -> io::Result<()> {
    let (ntt, measure) = (setting.program("ntt")?, setting.program("examples/measure")?);
    let cached = format!("cat {image} > /dev/null; rm -rf {target}; mkdir {target}; sync");
    let mounted = format!(
        "{cached}; umount {mount} 2> /dev/null; mount -o loop,ro {image} {mount}; find {mount} > /dev/null"
    );
    let candidate = |name, line: String, prepare: &str| Candidate {
        name,
        line,
        prepare: prepare.to_owned(),
        once: false,
    };
    let candidates = [
        candidate(
            "ntt, scan through the child",
            format!("{measure} scan {image}"),
            &cached,
        ),
        candidate("ntt, scan and load", load(&ntt, target, image), &cached),
        candidate(
            "find -printf, mounted",
            format!("find {mount} -printf '%p %i %s %m %T@\\n'"),
            &mounted,
        ),
        candidate("fls -r", format!("fls -r -p {image}"), &cached),
    ];
    let usages = rounds(setting.runs, &candidates);
    let unmounted = shell::run(&format!("umount {mount}"));
    let usages = usages?;
    println!(
        "## Scan: an ext4 image of {files} small files in the page cache, {} runs\n",
        setting.runs
    );
    print_table(files, &candidates, &usages);
    unmounted
}

/// Scans and loads; what is not copied makes the program end with 3.
fn load(ntt: &str, target: &str, image: &str) -> String {
    format!("{ntt} --quiet --archive {target}/archive ingest --no-copy {image} || [ $? -eq 3 ]")
}

/// Made-up volumes: all in one directory, and ten times as many.
fn memory(files: u64, setting: &Setting, image: &str, target: &str) -> io::Result<()> {
    let (ntt, extremes) = (setting.program("ntt")?, setting.program("examples/extremes")?);
    println!("## Memory of a scan: the largest process of supervisor with catalogue, and child\n");
    println!("| entries in one directory | CPU s | peak MiB | entries / CPU s |");
    println!("|---|---:|---:|---:|");
    for entries in [files, files * 10] {
        let candidate = Candidate {
            once: true,
            name: "wide",
            line: load(&ntt, target, image),
            prepare: format!(
                "rm -rf {target} {image}; mkdir {target}; {extremes} ext-wide {entries} {image}; sync"
            ),
        };
        for usage in rounds(1, &[candidate])? {
            println!(
                "| {entries} | {:.2} | {} | {:.0} |",
                usage.cpu_s,
                usage.rss_kib / 1024,
                entries as f64 / usage.cpu_s
            );
        }
    }
    println!();
    Ok(())
}

fn print_table(files: u64, candidates: &[Candidate], usages: &[Usage]) {
    println!("| run | CPU s | peak MiB | entries / CPU s | CPU / find |");
    println!("|---|---:|---:|---:|---:|");
    let find = candidates
        .iter()
        .position(|candidate| candidate.name.starts_with("find"));
    let find = find
        .and_then(|place| usages.get(place))
        .copied()
        .unwrap_or_default();
    for (candidate, usage) in candidates.iter().zip(usages) {
        println!(
            "| {} | {:.2} | {} | {:.0} | {:.2} |",
            candidate.name,
            usage.cpu_s,
            usage.rss_kib / 1024,
            files as f64 / usage.cpu_s,
            usage.cpu_s / find.cpu_s
        );
    }
    println!();
}
