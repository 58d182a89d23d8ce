//! The synthetic corpus: a tree like those that production met, the same at every run.
//!
//! 150,000 files by default: sizes log-normal with a median of 3 KB (30 % below 1 KB, 75 % below 10 KB), half of the directories copies of
//! earlier ones with 2 % of their files changed, five files of 100 MB and more. Contents are half random, so that they compress to about 70 %.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

const SEED: u64 = 0x6e74_7421;
const MEDIAN_BYTES: f64 = 3000.0;
const SIGMA: f64 = 1.8;
const LARGEST_SMALL_BYTES: f64 = 4e6;
const LARGE_FILES: u64 = 5;

/// xorshift64*: fixed by its seed, and good enough to look like data.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A size of a small file: Box and Muller's normal deviate, exponentiated.
    fn size(&mut self) -> u64 {
        let radius = (-2.0 * self.unit().max(1e-12).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        (MEDIAN_BYTES * (SIGMA * normal).exp()).min(LARGEST_SMALL_BYTES) as u64
    }
}

/// A file of the corpus: what decides its content, and its size.
#[derive(Clone, Copy)]
struct Content {
    seed: u64,
    size: u64,
}

/// Writes the corpus below `root`, which must not exist.
pub(crate) fn write(root: &Path, files: u64) -> io::Result<()> {
    fs::create_dir(root)?;
    let mut generator = Generator(SEED);
    let mut directories: Vec<Vec<Content>> = Vec::new();
    let mut written = 0;
    while written < files {
        let contents = next_directory(&mut generator, &directories);
        let medium = directories.len() / 400;
        let directory = root.join(format!("medium{medium:02}/folder {:05}", directories.len()));
        fs::create_dir_all(&directory)?;
        for (number, content) in contents.iter().enumerate() {
            write_file(&directory.join(format!("file {number:03}.dat")), *content)?;
        }
        written += contents.len() as u64;
        directories.push(contents);
    }
    for number in 0..LARGE_FILES {
        let content = Content {
            seed: generator.next(),
            size: 100_000_000 + 17_000_000 * number,
        };
        write_file(&root.join(format!("large {number}.bin")), content)?;
    }
    Ok(())
}

/// A new directory, or a copy of an earlier one with a few changes.
fn next_directory(generator: &mut Generator, earlier: &[Vec<Content>]) -> Vec<Content> {
    if !earlier.is_empty() && generator.below(2) == 0 {
        let original = usize::try_from(generator.below(earlier.len() as u64)).unwrap_or(0);
        let mut copy = earlier[original].clone();
        for content in &mut copy {
            if generator.below(50) == 0 {
                content.seed = generator.next();
            }
        }
        return copy;
    }
    let count = 5 + generator.below(50);
    (0..count)
        .map(|_| Content {
            seed: generator.next(),
            size: generator.size(),
        })
        .collect()
}

fn write_file(path: &Path, content: Content) -> io::Result<()> {
    let mut generator = Generator(content.seed | 1);
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
    let mut left = content.size;
    while left > 0 {
        // Eight random bytes, then four that repeat: compressible, but not trivially.
        let random = generator.next().to_le_bytes();
        let block = [
            random[0], random[1], random[2], random[3], random[4], random[5], random[6], random[7], 0x20,
            0x61, 0x62, 0x0a,
        ];
        let len = left.min(block.len() as u64);
        out.write_all(&block[..usize::try_from(len).unwrap_or(0)])?;
        left -= len;
    }
    out.flush()
}
