//! A volume that files fill to 40 %, on a medium with two dead zones: one in free space, one in the middle of files.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use ntt_filesystem::{Family, ScanOptions};
use ntt_model::{ByteRange, ScanEvent};
use ntt_source::{FileSource, ReadAt};

use crate::corpus::have;
use crate::faulty::FaultyMedium;
use crate::faulty::bars::SIZE_BYTES;
use crate::sim_disk::SeededRandom;

/// Files, and the bytes of each: together 40 % of the volume.
const FILES: u64 = 200;
const FILE_BYTES: u64 = SIZE_BYTES * 2 / 5 / FILES;
/// Both begin and end away from any round place.
const ZONE_IN_FILES: ByteRange = ByteRange::new((40 << 20) + 37 * 512, 8 << 20);
const ZONE_IN_FREE_SPACE: ByteRange = ByteRange::new((180 << 20) + 37 * 512, 8 << 20);

/// The file systems of case F.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ext4.
    Ext4,
    /// FAT.
    Fat,
}

/// Such a volume, as an unnamed file.
#[derive(Debug)]
pub struct PartFull {
    image: File,
    family: Family,
}

impl PartFull {
    /// Makes one with the usual programs; `None`, with a message, where they are not installed.
    pub fn new(kind: Kind) -> Option<Self> {
        let programs: &[&str] = match kind {
            Kind::Ext4 => &["mke2fs"],
            Kind::Fat => &["mkfs.fat", "mcopy"],
        };
        if let Some(missing) = programs.iter().find(|program| !have(program)) {
            eprintln!("skipped: {missing} is not installed");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tree = directory.path().join("tree");
        write_tree(&tree);
        let image = directory.path().join("image");
        let file = File::create(&image).expect("a file");
        file.set_len(SIZE_BYTES).expect("a sparse file");
        match kind {
            Kind::Ext4 => run(Command::new("mke2fs")
                .args(["-q", "-F", "-t", "ext4", "-d"])
                .arg(&tree)
                .arg(&image)),
            Kind::Fat => {
                run(Command::new("mkfs.fat").arg(&image));
                let mut copy = Command::new("mcopy");
                copy.env("MTOOLS_SKIP_CHECK", "1").arg("-s").arg("-i").arg(&image);
                run(copy.arg(tree.join("files")).arg("::"));
            }
        }
        Some(Self {
            image: File::open(&image).expect("the image"),
            family: match kind {
                Kind::Ext4 => Family::Ext,
                Kind::Fat => Family::Fat,
            },
        })
    }

    /// The medium.
    pub fn medium(&self) -> FaultyMedium {
        let image = self.image.try_clone().expect("a descriptor");
        FaultyMedium::new(SIZE_BYTES, 6)
            .holding(image)
            .bad(ZONE_IN_FILES)
            .bad(ZONE_IN_FREE_SPACE)
    }

    /// Where the content of all files lies that no dead zone touches.
    pub fn whole_files(&self) -> Vec<ByteRange> {
        let source = FileSource::from_file(self.image.try_clone().expect("a descriptor")).expect("a file");
        let boxed: Box<dyn ReadAt> = Box::new(source);
        let volume = ntt_filesystem::open(self.family, boxed, 0).expect("a good volume");
        let mut whole = Vec::new();
        let mut look = |event: ScanEvent| {
            if let ScanEvent::Inode(inode) = event {
                let extents = inode.streams.iter().flat_map(|stream| &stream.extents);
                let ranges: Vec<ByteRange> = extents.filter_map(|extent| extent.image_range()).collect();
                let is_hit = |range: &ByteRange| {
                    [ZONE_IN_FILES, ZONE_IN_FREE_SPACE]
                        .iter()
                        .any(|zone| zone.intersection(range).is_some())
                };
                if !ranges.iter().any(is_hit) {
                    whole.extend(ranges);
                }
            }
            Ok(())
        };
        volume
            .scan(&ScanOptions::default(), &mut look)
            .expect("a good volume");
        whole
    }
}

/// Ten directories of files whose bytes nothing can leave out.
fn write_tree(tree: &Path) {
    let random = SeededRandom::new(6);
    let block: Vec<u8> = (0..FILE_BYTES / 8)
        .flat_map(|_| (random.next() | 1).to_le_bytes())
        .collect();
    for at in 0..FILES {
        let directory = tree.join(format!("files/{:02}", at % 10));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut file = File::create(directory.join(format!("{at:03}.dat"))).expect("a file");
        file.write_all(&block).expect("written");
    }
}

fn run(command: &mut Command) {
    // Programs that make file systems are where only root looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let made = command.env("PATH", path).output().expect("it runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{command:?}: {said}");
}
