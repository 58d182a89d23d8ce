//! The loss score: random blocks of metadata are zeroed, and what is still listed and rightly read is counted, ours and the referees'.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ntt_filesystem::{Family, ScanOptions, open};

use crate::lab::referee::Referee;
use crate::lab::tree::{Sum, Tree};
use crate::lab::watch::{Bytes, MetadataMap};
use crate::listing::Listing;
use crate::sim_disk::SeededRandom;

/// Blocks zeroed at the most in one variant; never more than an eighth of all.
const BLOCKS_MAX: usize = 16;

/// Files found, summed over all seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Files whose content was read rightly, under whatever name.
    pub contents: usize,
    /// Those of them that had their own name (the last part of the path).
    pub named: usize,
}

/// Who found how much on the same variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// How many variants.
    pub seeds: u64,
    /// Blocks of metadata in the image.
    pub blocks: usize,
    /// Files that are not empty, times variants: what a reader without any loss would find.
    pub whole: usize,
    /// What we found.
    pub ours: Found,
    /// What each referee found.
    pub referees: Vec<(&'static str, Found)>,
}

impl Score {
    /// Adds the score of another image of the same format.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.blocks += other.blocks;
        self.whole += other.whole;
        self.ours.add(other.ours);
        for ((_, found), (_, more)) in self.referees.iter_mut().zip(&other.referees) {
            found.add(*more);
        }
    }

    /// Checks that no referee found more.
    ///
    /// # Panics
    ///
    /// If one did.
    pub fn check(&self) {
        for (name, found) in &self.referees {
            let lost = found.contents > self.ours.contents || found.named > self.ours.named;
            assert!(!lost, "{name} finds more than we do: {self:?}");
        }
    }
}

impl Found {
    fn add(&mut self, more: Self) {
        self.contents += more.contents;
        self.named += more.named;
    }
}

/// Runs the reader and the referees that are installed on variants of an image file, whose blocks are zeroed in place and put back.
///
/// # Panics
///
/// If the intact image cannot be scanned or the file cannot be written.
pub fn score(family: Family, path: &Path, referees: &[Referee], seeds: Range<u64>) -> Score {
    let image = fs::read(path).expect("the image");
    let map = MetadataMap::of(family, &image);
    let truth = ours(family, &image);
    let files = truth.named_contents();
    let referees: Vec<_> = referees.iter().filter(|referee| referee.is_here()).collect();
    let mut score = Score {
        seeds: seeds.end - seeds.start,
        blocks: map.blocks.len(),
        whole: 0,
        ours: Found::default(),
        referees: referees
            .iter()
            .map(|referee| (referee.name, Found::default()))
            .collect(),
    };
    let file = File::options().write(true).open(path).expect("writable");
    for seed in seeds {
        let mut damaged = image.clone();
        let blocks = chosen(&map, seed);
        for at in &blocks {
            let block = block_range(*at, &map, damaged.len());
            damaged[block.clone()].fill(0);
            file.write_all_at(&damaged[block], *at).expect("written");
        }
        score.whole += files.len();
        score.ours.add(found(&files, &ours(family, &damaged)));
        for (referee, (_, sum)) in referees.iter().zip(&mut score.referees) {
            sum.add(found(&files, &referee.read(path)));
        }
        for at in &blocks {
            let block = block_range(*at, &map, image.len());
            file.write_all_at(&image[block], *at).expect("put back");
        }
    }
    score
}

fn block_range(at: u64, map: &MetadataMap, len: usize) -> Range<usize> {
    let start = usize::try_from(at).expect("fits");
    start..(start + usize::try_from(map.block_bytes).expect("fits")).min(len)
}

fn chosen(map: &MetadataMap, seed: u64) -> BTreeSet<u64> {
    let random = SeededRandom::new(seed ^ 0x6c6f_7373);
    let count = 1 + random.below(BLOCKS_MAX.min(map.blocks.len() / 8).max(1));
    (0..count)
        .map(|_| map.blocks[random.below(map.blocks.len())])
        .collect()
}

/// What we list; nothing if the volume does not open.
fn ours(family: Family, image: &[u8]) -> Tree {
    let Ok(volume) = open(family, Box::new(Bytes(image)), 0) else {
        return Tree::default();
    };
    Tree::of_listing(&Listing::of(&*volume, &ScanOptions::default()), &Bytes(image))
}

fn found(files: &BTreeSet<(Sum, &[u8])>, tree: &Tree) -> Found {
    let (contents, named) = (tree.contents(), tree.named_contents());
    Found {
        contents: files.iter().filter(|(sum, _)| contents.contains(sum)).count(),
        named: files.intersection(&named).count(),
    }
}
