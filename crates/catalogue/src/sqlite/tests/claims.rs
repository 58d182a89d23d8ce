//! What a claim gives, from beside the chunk and from the inodes.

use super::*;
use crate::conformance::odd_inodes;

/// What stands beside the members of a chunk is what the inodes say.
#[test]
fn a_claim_finds_the_same_beside_the_chunk_and_in_the_inodes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut inodes = odd_inodes();
    inodes.extend((100..700).map(|number| file(number, number % 3, number << 20)));
    let claimed = |is_looked_up: bool| {
        let catalogue = open(&path);
        let scan = sealed_scan(&catalogue, &inodes);
        if is_looked_up {
            let raw = rusqlite::Connection::open(&path).unwrap();
            assert!(raw.execute("UPDATE chunk_members SET layout = NULL", []).unwrap() > 0);
        }
        let worker = catalogue.register_worker("w").unwrap();
        let mut items = Vec::new();
        while let Some(chunk) = catalogue.claim_chunk(scan, worker).unwrap() {
            items.extend(chunk.items);
        }
        drop(catalogue);
        std::fs::remove_file(&path).unwrap();
        items
    };
    let beside = claimed(false);
    assert!(beside.len() > 600);
    assert_eq!(beside, claimed(true));
}
