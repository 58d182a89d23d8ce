//! What the targets share: walking a fixture whose bytes the fuzzer has changed.
//!
//! An input is a list of patches. It is applied to a valid image, so that the fuzzer spends its time behind the superblock and not in
//! front of it. The image comes from `fuzz/fixtures/`, which `scripts/fuzz.sh` makes.

mod fixture;

use std::sync::Arc;

use ntt_container::{Opening, Part, Parts, Want};
use ntt_filesystem::{Family, ScanOptions, Stop};
use ntt_model::ScanEvent;
use ntt_source::ReadAt;

pub use fixture::{Fixture, Patched, fixture, patched};

/// A scan may say at most this much about a fixture; more means that it runs in circles.
const EVENTS_MAX: u64 = 4_000_000;

/// Probes, opens and scans; asks for the allocated ranges. Anything but a panic, an endless scan or a number that no catalogue takes is good.
pub fn walk(family: Family, image: Patched) {
    let _ = ntt_filesystem::probe(&image);
    let Ok(file_system) = ntt_filesystem::open(family, Box::new(image), 0) else { return };
    let mut events = 0;
    let mut count = |event: ScanEvent| -> Result<(), Stop> {
        events += 1;
        assert_eq!(event.impossible_number(), None, "{event:?}");
        assert!(events < EVENTS_MAX, "the scan does not end");
        Ok(())
    };
    let options = ScanOptions { deleted: true, verify_content: true, ..ScanOptions::default() };
    let _ = file_system.scan(&options, &mut count);
    let mut end = 0;
    let _ = file_system.allocated(&mut |range| {
        assert!(range.offset >= end, "allocated ranges out of order");
        end = range.end();
    });
}

/// Opens a container and reads the start, the middle and the end of the image in it; files that it asks for do not exist.
pub fn read_container(name: &str, file: impl ReadAt + 'static) {
    let mut parts = vec![Part { name: name.as_bytes().to_vec(), bytes: Some(Arc::new(file)) }];
    for _ in 0..8 {
        let opened = match ntt_container::open(&Parts::new(parts.clone(), true)) {
            Opening::Wants(Want::Named(name)) => {
                parts.push(Part { name, bytes: None });
                continue;
            }
            Opening::Open(opened) => opened,
            _ => return,
        };
        let len = opened.image.len();
        for start in [0, len / 2, len.saturating_sub(65_536)] {
            let mut buffer = vec![0; usize::try_from(65_536.min(len - start)).unwrap_or(0)];
            let _ = opened.image.read_exact_at(start, &mut buffer);
        }
        return;
    }
}
