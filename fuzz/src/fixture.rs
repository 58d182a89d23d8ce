//! Valid images, and what becomes of them when the fuzzer's patches are applied.

use std::path::Path;
use std::sync::OnceLock;

use ntt_source::{ReadAt, ReadError};

const BLOCK: usize = 1024;

/// A valid image. Only blocks that are not all zeros are kept: file systems of many MiB, which no driver makes smaller, have some dozen of them, and
/// only those are copied and patched for each input.
pub struct Fixture {
    /// Where each block starts in `stored`; `None` for zeros.
    places: Vec<Option<usize>>,
    stored: Vec<u8>,
    len: usize,
}

impl From<Vec<u8>> for Fixture {
    fn from(image: Vec<u8>) -> Self {
        let mut stored = Vec::new();
        let places = image.chunks(BLOCK).map(|block| {
            let place = block.iter().any(|byte| *byte != 0).then_some(stored.len());
            if place.is_some() {
                stored.extend_from_slice(block);
            }
            place
        });
        Self { places: places.collect(), stored, len: image.len() }
    }
}

/// The fixture of a target, read once.
pub fn fixture(slot: &'static OnceLock<Fixture>, name: &str) -> &'static Fixture {
    slot.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let image = std::fs::read(&path);
        image.unwrap_or_else(|error| panic!("{}: {error}: run scripts/fuzz.sh", path.display())).into()
    })
}

/// A fixture with patches.
pub struct Patched {
    fixture: &'static Fixture,
    stored: Vec<u8>,
    len: usize,
}

/// Applies patches of six bytes: where among the blocks that are kept (4 bytes), how (1), what (1). The last byte left over may cut the image.
pub fn patched(fixture: &'static Fixture, patches: &[u8]) -> Patched {
    let mut stored = fixture.stored.clone();
    let chunks = patches.chunks_exact(6);
    let rest = chunks.remainder();
    for patch in chunks {
        let place = u32::from_le_bytes([patch[0], patch[1], patch[2], patch[3]]) as usize % stored.len();
        let run = stored[place..].iter_mut().take(usize::from(patch[5]));
        match patch[4] % 4 {
            0 => stored[place] = patch[5],
            1 => stored[place] ^= 1 << (patch[5] % 8),
            2 => run.for_each(|byte| *byte = 0xff),
            _ => run.for_each(|byte| *byte = 0),
        }
    }
    let len = match rest {
        [cut, ..] => (fixture.len * usize::from(*cut) / 255).max(1),
        [] => fixture.len,
    };
    Patched { fixture, stored, len }
}

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len as u64);
        if end.is_none() {
            return Err(ReadError::BeyondEnd { offset, len: buffer.len() as u64, end: self.len as u64 });
        }
        let mut at = offset as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = at % BLOCK;
            let len = (BLOCK - within).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            match self.fixture.places[at / BLOCK] {
                Some(place) => now.copy_from_slice(&self.stored[place + within..place + within + len]),
                None => now.fill(0),
            }
            at += len;
            rest = later;
        }
        Ok(())
    }
}
