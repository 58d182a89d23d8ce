//! Makes `src/zeros.bin`: the chaining values of BLAKE3 of zeros, one of 32 bytes a GiB.
//!
//! `cargo run --release -p ntt-store --example zeros -- crates/store/src/zeros.bin 2048` goes on where the file ends, up to so many GiB; each takes
//! a third of a second.

use std::fs::OpenOptions;
use std::io::Write;

use blake3::Hasher;
use blake3::hazmat::HasherExt;

const SUBTREE_BYTES: u64 = 1 << 30;
const VALUE_BYTES: u64 = 32;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, path, count] = words.as_slice() else {
        panic!("usage: zeros FILE GIBIBYTES");
    };
    let count: u64 = count.parse().expect("a number");
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let block = vec![0; 1 << 20];
    for subtree in file.metadata()?.len() / VALUE_BYTES..count {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(subtree * SUBTREE_BYTES);
        for _ in 0..SUBTREE_BYTES >> 20 {
            hasher.update(&block);
        }
        file.write_all(&hasher.finalize_non_root())?;
    }
    Ok(())
}
