//! Containers of APFS by our builder, and referees that read them.

use std::fs;

use crate::apfs::{Builder, Shape};
use crate::lab::compare::Aspect;
use crate::lab::corpus::Spec;
use crate::lab::make::Image;
use crate::lab::referee::{Referee, output};
use crate::lab::tree::{Entry, Tree};

/// Name of the volume that holds the files.
const VOLUME: &str = "LAB";

/// A container of so many blocks with one volume; `None` never.
pub fn apfs(name: &str, blocks: usize, shape: &Shape, spec: &Spec) -> Option<Image> {
    Image::made(name, spec, |image, tree, truth| {
        let mut builder = Builder::new(blocks);
        let volume = builder.volume(VOLUME, shape.clone());
        builder.add_folder(volume, tree);
        fs::write(image, builder.build()).expect("written");
        Some(under_volume(truth))
    })
}

/// A tree below the directory that stands for its volume.
fn under_volume(tree: Tree) -> Tree {
    let below = tree.entries.into_iter().map(|entry| Entry {
        path: [VOLUME.as_bytes(), b"/", &entry.path].concat(),
        ..entry
    });
    let volume = Entry {
        path: VOLUME.as_bytes().to_vec(),
        kind: Some(ntt_model::Kind::Directory),
        ..Entry::default()
    };
    Tree {
        entries: below.chain([volume]).collect(),
    }
}

/// 7-Zip, which knows no volumes where there is only one.
pub fn seven_zip() -> Referee {
    let judges = [Aspect::Names, Aspect::Kinds, Aspect::Sizes, Aspect::Contents];
    Referee::new("7z", &["7z"], &judges, |image, out| {
        let image = image.to_str().expect("a temporary path").to_owned();
        let arguments = ["x", "-y", "-snl", "-tAPFS", "-ofiles", &image].map(String::from);
        output("7z", &arguments, out);
        let files = out.join("files");
        if files.is_dir() {
            under_volume(Tree::of_folder(&files))
        } else {
            Tree::default()
        }
    })
}

/// The Sleuth Kit's contents of the newest volume; it changes names when it writes them.
pub fn tsk_recover() -> Referee {
    Referee::new(
        "tsk_recover",
        &["tsk_recover"],
        &[Aspect::Contents],
        |image, out| {
            let bytes = fs::read(image).expect("an image");
            let is_superblock = |(_, block): &(usize, &[u8])| block.get(32..36) == Some(b"APSB");
            let mut blocks = bytes.chunks(crate::apfs::BLOCK).enumerate();
            let Some((block, _)) = blocks.rfind(is_superblock) else {
                return Tree::default();
            };
            let image = image.to_str().expect("a temporary path").to_owned();
            let arguments = ["-a", "-P", "apfs", "-B", &block.to_string(), &image, "files"].map(String::from);
            output("tsk_recover", &arguments, out);
            let files = out.join("files");
            if files.is_dir() {
                Tree::of_folder(&files)
            } else {
                Tree::default()
            }
        },
    )
}
