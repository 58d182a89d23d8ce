//! A power cut at every step leaves the earlier segment, the new one, or none.

use std::path::Path;
use std::sync::Arc;

use ntt_host::Disk;
use ntt_search::{Error, Query};
use ntt_testkit::sim_disk::SimDisk;

use crate::tree::{build_on, found, identity, large, naive};

/// R38: whatever a power cut leaves is whole, or is not taken.
#[test]
fn r38_a_power_cut_leaves_a_whole_segment_or_none() {
    let root = Path::new("/archive");
    let tree = large(60, 5);
    let all = Query::default();
    let mut whole = 0;
    for seed in 0..4 {
        for step in 0.. {
            let disk = SimDisk::new();
            disk.create_dir_all(root).expect("the archive");
            disk.crash_after(disk.steps() + step);
            let built = build_on(Arc::new(disk.clone()), root, &tree);
            let done = built.is_ok();
            let after = disk.reboot(seed);
            let folder = ntt_search::SearchFolder::of_archive(Arc::new(after), root);
            match folder.open(&identity(&tree)) {
                Ok(Some(segment)) => {
                    segment.verify().expect("whole");
                    assert_eq!(found(&segment, &all), naive(&tree, &all));
                    whole += 1;
                }
                Ok(None) | Err(Error::Damaged { .. }) => assert!(!done, "what was promised is gone"),
                Err(other) => panic!("{other}"),
            }
            if done {
                break;
            }
        }
    }
    assert!(whole >= 4);
}
