//! Measures the walk over a directory (`measure walk DIRECTORY`) and the scan of an image through the child (`measure scan IMAGE [MEMORY_MIB]`).
//!
//! Prints what was found; processor time and memory are for the caller to take, say with `/usr/bin/time -v`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to people"
)]

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use ntt_inspect::live::{LiveOptions, LiveTree};
use ntt_inspect::{ImageFiles, ScanRequest, Supervisor};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|argument| argument == ntt_inspect::child::ARGUMENT)
    {
        return ntt_inspect::child::main();
    }
    let result = match arguments.as_slice() {
        [what, path] if what == "walk" => walk(Path::new(path)),
        [what, path] if what == "scan" => scan(Path::new(path), None),
        [what, path, memory] if what == "scan" => scan(Path::new(path), memory.to_str()),
        _ => Err("usage: measure walk DIRECTORY | scan IMAGE [MEMORY_MIB]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn walk(path: &Path) -> Result<(), Box<dyn Error>> {
    let tree = LiveTree::open(path)?;
    let summary = tree.scan(&LiveOptions::default(), &mut |_| Ok(()), &AtomicBool::new(false))?;
    println!("{:?}", summary.counts);
    Ok(())
}

fn scan(path: &Path, memory_mib: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut supervisor = Supervisor::new(std::env::current_exe()?);
    if let Some(mib) = memory_mib {
        supervisor.budgets.memory_bytes = mib.parse::<u64>()? << 20;
    }
    let source = File::open(path)?;
    let source = ImageFiles::from(source);
    let tree = supervisor.inspect(&source)?;
    for volume in tree.volumes {
        for layer in volume.file_systems.iter().filter(|layer| layer.facts.is_some()) {
            let request = ScanRequest {
                range: volume.range,
                mapping: volume.mapping.clone(),
                device: None,
                family: layer.family,
                options: ntt_filesystem::ScanOptions::default(),
            };
            let summary = supervisor.scan(&source, &request, &mut |_| Ok(()))?;
            println!(
                "{:?} complete={} killed={:?}",
                summary.counts, summary.complete, summary.killed
            );
        }
    }
    Ok(())
}
