//! What lies behind the checksums, for fuzzing: whatever bytes come, nothing panics and no memory is taken that they do not back.

use crate::blocks::Names;
use crate::directories::Walk;
use crate::format::{BlockPlace, Footer, PartKind, PartPlace};
use crate::{postings, read};

/// Reads the bytes as every piece of a segment.
pub fn parse(bytes: &[u8]) {
    for kind in [PartKind::Names, PartKind::Directories] {
        let place = PartPlace {
            kind,
            footer_at: 0,
            footer_len: bytes.len(),
            first_path: 0,
            paths: 3,
        };
        if let Some(footer) = Footer::decode(bytes, &place) {
            assert!(footer.blocks.len() <= bytes.len() && footer.fences.len() <= bytes.len());
        }
    }
    let _ = postings::find(bytes, 5, 0x61_6263);
    let _ = read::decode_list(bytes, 3);
    let mut names = Names::default();
    if names.parse(bytes, 4).is_some() {
        let held: usize = names.each(bytes, 0..9).map(|(_, name)| name.len()).sum();
        assert!(held <= bytes.len());
    }
    let place = BlockPlace {
        at: 0,
        len: bytes.len(),
        texts: 4,
        first_path: 0,
        paths: 1 << 20,
    };
    let mut walk = Walk::default();
    if walk.open(bytes, &place).is_some() {
        while walk.step(bytes) == Some(true) {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            super::parse(&bytes);
        }

        #[test]
        fn small_numbers_are_read_without_a_panic(bytes in prop::collection::vec(0_u8..9, 0..60)) {
            super::parse(&bytes);
        }
    }
}
