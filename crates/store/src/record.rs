//! One entry of the index in 97 bytes, the same in journals and segments.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..32 | BLAKE3 of the content |
//! | 32..40 | length, big-endian |
//! | 40..72 | SHA-256, or zeros |
//! | 72 | flags: 1 SHA-256 is known, 2 packed, 4 removed (the location was quarantined) |
//! | 73..89 | pack id, or zeros |
//! | 89..97 | byte offset of the content in the pack, or the generation of the loose file; big-endian |

use ntt_model::{BlobHash, Sha256};

use crate::{BlobInfo, Location, PackId};

/// Length of an encoded entry.
pub(crate) const RECORD_BYTES: usize = 97;

const HAS_SHA256: u8 = 1;
const PACKED: u8 = 2;
const REMOVED: u8 = 4;

/// What a journal or a segment says of one blob at one location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) info: BlobInfo,
    /// The blob does not lie there any more, whatever other entries say.
    pub(crate) removed: bool,
}

impl Entry {
    pub(crate) const fn stored(info: BlobInfo) -> Self {
        Self { info, removed: false }
    }

    /// An entry that strikes the location of another.
    pub(crate) const fn struck(info: BlobInfo) -> Self {
        Self { info, removed: true }
    }

    /// An entry that tells nothing but a pack.
    pub(crate) fn of_pack(pack: PackId) -> Self {
        Self::stored(BlobInfo {
            hash: BlobHash::from_bytes([0; 32]),
            size: 0,
            sha256: None,
            location: Location::Packed { pack, offset: 0 },
        })
    }

    /// Appends the 97 bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let info = &self.info;
        let (packed, pack, place) = match info.location {
            Location::Loose { generation } => (0, [0; 16], generation),
            Location::Packed { pack, offset } => (PACKED, pack.0, offset),
        };
        let known = if info.sha256.is_some() { HAS_SHA256 } else { 0 };
        let removed = if self.removed { REMOVED } else { 0 };
        out.extend_from_slice(info.hash.as_bytes());
        out.extend_from_slice(&info.size.to_be_bytes());
        out.extend_from_slice(
            info.sha256
                .map_or([0; 32], |sha256| *sha256.as_bytes())
                .as_slice(),
        );
        out.push(known | packed | removed);
        out.extend_from_slice(&pack);
        out.extend_from_slice(&place.to_be_bytes());
    }

    /// Reads 97 bytes; `None` if they are no entry.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk::<32>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (sha256, rest) = rest.split_first_chunk::<32>()?;
        let (&flags, rest) = rest.split_first()?;
        let (pack, rest) = rest.split_first_chunk::<16>()?;
        let place = u64::from_be_bytes(rest.try_into().ok()?);
        if flags & !(HAS_SHA256 | PACKED | REMOVED) != 0 {
            return None;
        }
        let location = if flags & PACKED == 0 {
            Location::Loose { generation: place }
        } else {
            Location::Packed {
                pack: PackId(*pack),
                offset: place,
            }
        };
        let info = BlobInfo {
            hash: BlobHash::from_bytes(*hash),
            size: u64::from_be_bytes(*size),
            sha256: (flags & HAS_SHA256 != 0).then(|| Sha256::from_bytes(*sha256)),
            location,
        };
        Some(Self {
            info,
            removed: flags & REMOVED != 0,
        })
    }
}

/// The entries at which the blob still lies: those whose location no other entry removes.
pub(crate) fn live(entries: &[Entry]) -> impl Iterator<Item = BlobInfo> + '_ {
    let removed = |location: Location| {
        entries
            .iter()
            .any(|entry| entry.removed && entry.info.location == location)
    };
    entries
        .iter()
        .filter(move |entry| !entry.removed && !removed(entry.info.location))
        .map(|entry| entry.info)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        let location = prop_oneof![
            any::<u64>().prop_map(|generation| Location::Loose { generation }),
            (any::<[u8; 16]>(), any::<u64>()).prop_map(|(id, offset)| Location::Packed {
                pack: PackId(id),
                offset
            }),
        ];
        (
            any::<[u8; 32]>(),
            any::<u64>(),
            any::<Option<[u8; 32]>>(),
            location,
            any::<bool>(),
        )
            .prop_map(|(hash, size, sha256, location, removed)| {
                let (hash, sha256) = (BlobHash::from_bytes(hash), sha256.map(Sha256::from_bytes));
                Entry {
                    info: BlobInfo {
                        hash,
                        size,
                        sha256,
                        location,
                    },
                    removed,
                }
            })
    }

    proptest! {
        #[test]
        fn entries_round_trip(entry in any_entry()) {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), RECORD_BYTES);
            prop_assert_eq!(Entry::decode(&bytes), Some(entry));
        }

        #[test]
        fn other_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let decoded = Entry::decode(&bytes);
            prop_assert!(decoded.is_none() || bytes.len() == RECORD_BYTES);
        }
    }
}
