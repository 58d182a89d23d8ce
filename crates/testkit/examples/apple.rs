//! Writes a small volume with everything in it, or a disk image with one, as a fixture: `apple hfsplus|mfs|dmg FILE`.

use std::error::Error;
use std::fs::{self, File};

use macfs::{ImageFormat, MfsVolume};
use ntt_testkit::dmg::dmg;
use ntt_testkit::hfsplus::{Builder, JournalShape, ROOT, Shape, content};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hfsplus", path] => Ok(fs::write(path, hfsplus())?),
        ["mfs", path] => mfs(path),
        // Chunks that are stored as they are: a fuzzer turns them into others.
        ["dmg", path] => Ok(fs::write(path, dmg(&hfsplus(), 1, <[u8]>::to_vec))?),
        _ => Err("usage: apple hfsplus|mfs|dmg FILE".into()),
    }
}

/// Links of both kinds, forks in pieces, attributes, a compressed file, and a journal that holds two leaves.
fn hfsplus() -> Vec<u8> {
    let mut builder = Builder::new(
        "Everything",
        Shape {
            block_bytes: 512,
            blocks: 900,
            node_bytes: 1024,
            is_hfsx: false,
            catalog_pieces: 10,
            journal_blocks: 40,
        },
    );
    let directory = builder.directory(ROOT, "directory");
    let shared = builder.directory(directory, "shared");
    for number in 0..20 {
        let parent = if number % 2 == 0 { directory } else { shared };
        builder.file(parent, &format!("file {number}"), &content(number, 300));
    }
    let pieces = builder.fragmented(ROOT, "in pieces", &content(99, 9000), 18);
    builder.resource(pieces, &content(98, 2000), 2);
    builder.attribute(pieces, "com.example.big", &content(97, 6000));
    builder.attribute(directory, "com.example.small", b"value");
    builder.hard_links(pieces, &[(directory, "again")], Some(77));
    builder.directory_links(shared, &[(ROOT, "shared again")]);
    builder.symlink(ROOT, "link", "directory/file 1");
    let raw = builder.file(ROOT, "raw", b"");
    builder.compressed(raw, b"fpmc\x03\0\0\0\x05\0\0\0\0\0\0\0\xffhello");
    let mut built = builder.build();
    let leaves: Vec<_> = built
        .catalog_nodes
        .iter()
        .filter(|(_, kind)| *kind == "leaf")
        .map(|(place, _)| place.start..place.start + 512)
        .take(2)
        .collect();
    let shape = JournalShape {
        is_little: true,
        start: 40 * 512 - 1024,
        has_checksums: true,
    };
    built.hide_in_journal(&leaves, shape, 0xee);
    built.image
}

fn mfs(path: &str) -> Result<(), Box<dyn Error>> {
    let mut volume = MfsVolume::format(400 * 1024, "Desk", ImageFormat::Raw)?;
    for number in 0..20 {
        let name = format!("file {number}");
        volume.add_file(
            &name,
            *b"TEXT",
            *b"ttxt",
            &content(number, 3000),
            &content(number, 200),
        )?;
    }
    Ok(volume.save_to(File::create(path)?)?)
}
