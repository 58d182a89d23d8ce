//! SHA-256 of a finished image, in one pass: it cannot be had from pieces out of order.

use std::fmt::Write;

use ntt_host::{Disk, OpenMode};
use ntt_mapfile::Mapfile;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::paths::Paths;
use crate::sink::ImageReader;

const BLOCK_BYTES: u64 = 1 << 20;

/// SHA-256 of the image, unread bytes as zeros; hexadecimal.
pub(crate) fn sha256(disk: &dyn Disk, paths: &Paths, map: &Mapfile) -> Result<String, Error> {
    let image = disk
        .open(&paths.image, OpenMode::Read)
        .map_err(Error::target("opening", &paths.image))?;
    let reader = ImageReader {
        image: image.as_ref(),
        path: &paths.image,
    };
    let size_bytes = map.extent().end();
    let mut hasher = Sha256::new();
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or(0)];
    let mut position = 0;
    while position < size_bytes {
        let len = (size_bytes - position).min(BLOCK_BYTES);
        let window = block
            .get_mut(..usize::try_from(len).unwrap_or(0))
            .unwrap_or_default();
        reader.read(position, window, map)?;
        hasher.update(&*window);
        position += len;
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
