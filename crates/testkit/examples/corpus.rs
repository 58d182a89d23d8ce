//! Fills an empty folder (of a mounted volume, for one) with the lab's files, and lists the truth about them.
//!
//!     corpus FOLDER small|full posix|windows

#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::error::Error;
use std::path::Path;

use ntt_testkit::lab::corpus::{Size, Spec, fill};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, size, names] = words.as_slice() else {
        return Err("usage: corpus FOLDER small|full posix|windows".into());
    };
    let size = if size == "full" { Size::Full } else { Size::Small };
    let spec = if names == "windows" {
        Spec::windows(size)
    } else {
        Spec::posix(size)
    };
    for entry in fill(Path::new(folder), &spec).entries {
        let (path, kind) = (entry.path.escape_ascii(), entry.kind);
        let content = entry
            .content
            .map(|sum| format!("{:02x}{:02x}{:02x}{:02x}", sum[0], sum[1], sum[2], sum[3]));
        println!(
            "{path} {kind:?} {:?} {:?} {content:?}",
            entry.size_bytes, entry.modified
        );
    }
    Ok(())
}
