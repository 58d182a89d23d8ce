//! What a claim gives, from beside the chunk and from the inodes.

use ntt_model::entry::{Encoding, Inode, Stream, StreamKind};
use ntt_model::{Codec, Extent, ExtentKind, PackedUnit};

use super::*;

/// Inodes of which a claim needs more than a size and an extent, or less.
fn odd_inodes() -> Vec<Inode> {
    let many = (0..9).map(|part| Extent {
        logical_offset: part * 4096,
        image_offset: u64::MAX - part * 8192,
        len: 4096,
        kind: ExtentKind::Hole,
    });
    let unit = PackedUnit {
        logical_offset: 0,
        len: 9,
        stored_offset: 7,
        stored_len: 5,
        skip: 0,
        codec: Codec::Lznt1,
        is_whole: false,
    };
    let changes: [&dyn Fn(&mut Inode); 8] = [
        &|inode| inode.streams[0].extents.extend(many.clone()),
        &|inode| inode.streams[0].encoding = Encoding::Packed(vec![unit]),
        &|inode| inode.streams[0].encoding = Encoding::Encrypted,
        &|inode| inode.streams[0].extents_incomplete = true,
        &|inode| inode.streams[0].kind = StreamKind::Named(b"alone".to_vec()),
        &|inode| {
            inode.streams.push(Stream {
                kind: StreamKind::Named(b"rsrc".to_vec()),
                ..inode.streams[0].clone()
            });
        },
        &|inode| inode.streams[0].extents[0].image_offset = u64::MAX,
        &|inode| inode.streams[0].size_bytes = u64::MAX,
    ];
    let numbered = (20..).zip(changes).map(|(number, change)| {
        let mut inode = file(number, 5, number << 30);
        change(&mut inode);
        inode
    });
    numbered.collect()
}

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
