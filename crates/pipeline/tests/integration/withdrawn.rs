//! A manifest tells who reads it that its medium is withdrawn.

use std::fs::{self, File};

use ntt_catalogue::rows::EventRow;
use ntt_pipeline::manifest;

use crate::world::World;

/// R31, R37: a program that does not know that a medium can be withdrawn would count it, and is refused; all other manifests stay what every program reads.
#[test]
fn r31_the_manifest_of_a_withdrawn_medium_asks_for_a_reader_that_knows_it() {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), b"content").unwrap();
    world.ingest(&source).unwrap();
    let catalogue = world.archive.catalogue();
    let medium = catalogue.media().unwrap().remove(0);
    let schema = || {
        manifest::refresh(&world.context()).unwrap();
        let path = manifest::path(world.archive.root(), medium.medium.id);
        let text = zstd::decode_all(File::open(path).unwrap()).unwrap();
        let line = text.split(|byte| *byte == b'\n').next().unwrap();
        let head: serde_json::Value = serde_json::from_slice(line).unwrap();
        head["schema"].clone()
    };
    assert_eq!(schema(), 1);
    let withdrawal = EventRow::of_withdrawal(medium.key, "a test".to_owned());
    catalogue.add_event(&withdrawal).unwrap();
    assert_eq!(schema(), 2);
    catalogue
        .add_event(&EventRow::of_reinstatement(medium.key))
        .unwrap();
    assert_eq!(schema(), 1);
}
