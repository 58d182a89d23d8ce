//! What the targets share: walking a fixture whose bytes the fuzzer has changed.
//!
//! An input is a list of patches. It is applied to a valid image, so that the fuzzer spends its time behind the superblock and not in
//! front of it. The image comes from `fuzz/fixtures/`, which `scripts/fuzz.sh` makes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ntt_container::{Opening, Part, Parts, Want};
use ntt_filesystem::{Family, ScanOptions, Stop};
use ntt_model::ScanEvent;
use ntt_source::ReadAt;

/// A scan may say at most this much about a fixture; more means that it runs in circles.
const EVENTS_MAX: u64 = 4_000_000;

/// The fixture of a family, read once.
pub fn fixture(slot: &'static OnceLock<Vec<u8>>, name: &str) -> &'static [u8] {
    slot.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run scripts/fuzz.sh", path.display()))
    })
}

/// Applies patches of six bytes: where (4 bytes), how (1), what (1). The last byte left over may cut the image.
pub fn patched(image: &[u8], patches: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    let chunks = patches.chunks_exact(6);
    let rest = chunks.remainder();
    for patch in chunks {
        let place = u32::from_le_bytes([patch[0], patch[1], patch[2], patch[3]]) as usize % image.len();
        match patch[4] % 4 {
            0 => image[place] = patch[5],
            1 => image[place] ^= 1 << (patch[5] % 8),
            2 => image[place..].iter_mut().take(usize::from(patch[5])).for_each(|byte| *byte = 0xff),
            _ => image[place..].iter_mut().take(usize::from(patch[5])).for_each(|byte| *byte = 0),
        }
    }
    if let [cut, ..] = rest {
        let len = image.len() * usize::from(*cut) / 255;
        image.truncate(len.max(1));
    }
    image
}

/// Probes, opens and scans; asks for the allocated ranges. Anything but a panic or an endless scan is good.
pub fn walk(family: Family, image: Vec<u8>) {
    let _ = ntt_filesystem::probe(&image);
    let Ok(file_system) = ntt_filesystem::open(family, Box::new(image), 0) else { return };
    let mut events = 0;
    let mut count = |_: ScanEvent| -> Result<(), Stop> {
        events += 1;
        assert!(events < EVENTS_MAX, "the scan does not end");
        Ok(())
    };
    let options = ScanOptions { deleted: true, ..ScanOptions::default() };
    let _ = file_system.scan(&options, &mut count);
    let mut end = 0;
    let _ = file_system.allocated(&mut |range| {
        assert!(range.offset >= end, "allocated ranges out of order");
        end = range.end();
    });
}

/// Opens a container and reads the start, the middle and the end of the image in it; files that it asks for do not exist.
pub fn read_container(name: &str, bytes: Vec<u8>) {
    let mut parts = vec![Part { name: name.as_bytes().to_vec(), bytes: Some(Arc::new(bytes)) }];
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
