//! Writing blobs.

use std::marker::PhantomData;

use ntt_model::{BlobHash, Sha256};

use crate::{CommitReport, Error, Put};

/// Gathers new blobs into batches and commits them. One for each copying thread or process.
#[derive(Debug)]
pub struct Writer;

#[allow(unused_variables)]
impl Writer {
    /// Adds a content that is wholly in memory; `hash` must be its BLAKE3.
    pub fn put(&mut self, content: &[u8], hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        todo!()
    }
    /// Begins a content that comes in pieces.
    pub fn large(&mut self) -> Result<LargeBlob<'_>, Error> {
        todo!()
    }
    /// Whether the batch has reached its size.
    pub fn should_commit(&self) -> bool {
        todo!()
    }
    /// New blobs that are not committed yet.
    pub fn pending_blobs(&self) -> u64 {
        todo!()
    }
    /// Their bytes.
    pub fn pending_bytes(&self) -> u64 {
        todo!()
    }
    /// Makes the batch durable and visible.
    pub fn commit(&mut self) -> Result<CommitReport, Error> {
        todo!()
    }
    /// Ends the run: commits what is pending and seals the open pack if it is worth it.
    pub fn seal(self) -> Result<(), Error> {
        todo!()
    }
}

/// A content that is being written in pieces; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct LargeBlob<'a>(PhantomData<&'a mut Writer>);

#[allow(unused_variables)]
impl LargeBlob<'_> {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        todo!()
    }
    /// Adds zeros without storing them: a hole.
    pub fn zeros(&mut self, len: u64) -> Result<(), Error> {
        todo!()
    }
    /// Ends the content, whose BLAKE3 must be `hash`.
    pub fn finish(self, hash: BlobHash, sha256: Option<Sha256>) -> Result<Put, Error> {
        todo!()
    }
}
