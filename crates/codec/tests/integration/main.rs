//! The decoders against independent encoders, and packed streams against flat arrays.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod garbage;
mod packed;
mod round_trips;
mod sample;

/// Every file of this folder is part of the binary.
#[test]
fn every_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration");
    let main = std::fs::read_to_string(format!("{folder}/main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name}"
        );
    }
}
