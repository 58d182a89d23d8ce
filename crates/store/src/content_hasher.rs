//! Both digests of a content in one pass over it.

use ntt_model::{BlobHash, Sha256};
use sha2::Digest;

use crate::tree_hasher::TreeHasher;
use crate::zeros;

/// Zeros of one content after which its SHA-256 is given up: beyond this it costs minutes and names nothing that anybody exchanges.
const ZEROS_MAX: u64 = 64 << 30;
/// BLAKE3 and SHA-256 of a content that comes in pieces; single-threaded.
#[derive(Debug, Clone)]
pub struct ContentHasher {
    blake3: TreeHasher,
    sha256: Option<sha2::Sha256>,
    zeros: u64,
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self {
            blake3: TreeHasher::default(),
            sha256: Some(sha2::Sha256::new()),
            zeros: 0,
        }
    }

    /// A hasher that has seen nothing and computes BLAKE3 only.
    pub fn without_sha256() -> Self {
        Self {
            sha256: None,
            ..Self::new()
        }
    }

    /// Both digests of a content that is wholly in memory.
    pub fn digest(content: &[u8]) -> (BlobHash, Option<Sha256>) {
        let mut hasher = Self::new();
        hasher.update(content);
        hasher.finish()
    }

    /// The BLAKE3 alone of a content that is wholly in memory.
    pub fn blake3(content: &[u8]) -> BlobHash {
        BlobHash::from_bytes(*blake3::hash(content).as_bytes())
    }

    /// The SHA-256 alone of a content that is wholly in memory.
    pub fn sha256(content: &[u8]) -> Sha256 {
        Sha256::from_bytes(sha2::Sha256::digest(content).into())
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Takes `len` zeros, which BLAKE3 gets nearly for nothing. Beyond 64 GiB of them in one content, SHA-256 is given up.
    pub fn zeros(&mut self, len: u64) {
        self.blake3.zeros(len);
        self.zeros = self.zeros.saturating_add(len);
        if self.zeros > ZEROS_MAX {
            self.sha256 = None;
        }
        if let Some(sha256) = &mut self.sha256 {
            let mut left = len;
            while left > 0 {
                let now = left.min(zeros::BLOCK.len() as u64);
                sha256.update(&zeros::BLOCK[..usize::try_from(now).unwrap_or(0)]);
                left -= now;
            }
        }
    }

    /// The digests; SHA-256 is `None` when it was given up.
    pub fn finish(self) -> (BlobHash, Option<Sha256>) {
        let sha256 = self
            .sha256
            .map(|sha256| Sha256::from_bytes(sha256.finalize().into()));
        (self.blake3.finish(), sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_zeros_hash_like_the_whole() {
        let mut hasher = ContentHasher::new();
        hasher.update(b"ab");
        hasher.zeros(200_000);
        hasher.update(b"c");
        let whole = [b"ab".to_vec(), vec![0; 200_000], b"c".to_vec()].concat();
        assert_eq!(hasher.finish(), ContentHasher::digest(&whole));
        let apart = (ContentHasher::blake3(&whole), Some(ContentHasher::sha256(&whole)));
        assert_eq!(apart, ContentHasher::digest(&whole));
        let (hash, sha256) = ContentHasher::digest(b"");
        assert_eq!(hash, BlobHash::EMPTY);
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256.map(|sha256| sha256.to_hex()).as_deref(), Some(of_nothing));
    }
}
