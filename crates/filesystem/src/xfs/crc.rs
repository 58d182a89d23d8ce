//! The checksums of version 5: CRC-32C over a structure in which the checksum itself is zero, stored little-endian.

use ntt_source::field::le_u32;

use crate::ext::checksum::crc32c;

/// What a checksum says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Crc {
    /// There is none: version 4.
    None,
    Right,
    Wrong {
        stored: u32,
        computed: u32,
    },
}

impl Crc {
    pub(super) fn is_wrong(self) -> bool {
        matches!(self, Self::Wrong { .. })
    }

    /// What a finding says of a wrong one; `None` if it is not wrong.
    pub(super) fn complaint(self, what: &str) -> Option<String> {
        match self {
            Self::Wrong { stored, computed } => Some(format!(
                "checksum of {what} is {stored:#010x}, computed {computed:#010x}"
            )),
            Self::None | Self::Right => None,
        }
    }
}

/// Checks `bytes`, whose checksum stands at `at`.
pub(super) fn checked(bytes: &[u8], at: usize) -> Crc {
    let Some(stored) = le_u32(bytes, at) else {
        return Crc::None;
    };
    let (before, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
    let after = rest.get(4..).unwrap_or_default();
    let crc = crc32c(crc32c(crc32c(u32::MAX, before), &[0; 4]), after);
    let computed = !crc;
    if computed == stored {
        Crc::Right
    } else {
        Crc::Wrong { stored, computed }
    }
}
