//! BLAKE3 of a file of the host.

use std::fs::File;
use std::io::{self, Read};

use ntt_model::BlobHash;

use crate::{Error, Interrupt};

/// How much of a content is read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// Reads a file to its end; `read` is told how many bytes came. The outer error is an interruption, the inner one the file's.
pub(crate) fn of_file(
    mut file: &File,
    interrupt: &Interrupt,
    mut read: impl FnMut(u64),
) -> Result<io::Result<BlobHash>, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        interrupt.check()?;
        let len = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) => return Ok(Err(error)),
        };
        hasher.update(&buffer[..len]);
        read(u64::try_from(len).unwrap_or(0));
    }
    Ok(Ok(BlobHash::from_bytes(*hasher.finalize().as_bytes())))
}
