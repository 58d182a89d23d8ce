//! Maps by digest. A digest is as good as random: what it begins with will do as its hash, where the map of the standard library would hash it once more.
//!
//! Who wants to can make contents that begin alike. A map holds what one transaction writes, some thousand contents: were all of them made so, each
//! would be compared with the others, no more.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use ntt_model::BlobHash;

/// Values by digest.
pub(super) type DigestMap<V> = HashMap<BlobHash, V, BuildHasherDefault<Beginning>>;
/// Values by row id: the beginning of a digest, see [`super::blob_id`].
pub(super) type IdMap<V> = HashMap<i64, V, BuildHasherDefault<Beginning>>;
/// Row ids.
pub(super) type IdSet = HashSet<i64, BuildHasherDefault<Beginning>>;

/// The first eight bytes of a key, or all of a shorter one.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Beginning(u64);

impl Hasher for Beginning {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(beginning) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*beginning);
        }
    }

    /// The length of a digest says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
