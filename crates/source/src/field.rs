//! Integer fields of on-disk structures: bounds-checked, no casts, no panics.
//!
//! Every function gives `None` when the field does not lie wholly inside `bytes`.

/// `N` bytes at `offset`.
pub fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// One byte at `offset`.
pub fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

macro_rules! integer {
    ($($(#[$doc:meta])* $name:ident, $type:ty, $from:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(bytes: &[u8], offset: usize) -> Option<$type> {
            array(bytes, offset).map(<$type>::$from)
        })*
    };
}

integer! {
    /// Little-endian 16-bit integer at `offset`.
    le_u16, u16, from_le_bytes;
    /// Little-endian 32-bit integer at `offset`.
    le_u32, u32, from_le_bytes;
    /// Little-endian 64-bit integer at `offset`.
    le_u64, u64, from_le_bytes;
    /// Big-endian 16-bit integer at `offset`.
    be_u16, u16, from_be_bytes;
    /// Big-endian 32-bit integer at `offset`.
    be_u32, u32, from_be_bytes;
    /// Big-endian 64-bit integer at `offset`.
    be_u64, u64, from_be_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_outside_the_bytes_are_none() {
        assert_eq!(le_u16(&[1, 2, 3], 1), Some(0x0302));
        assert_eq!(be_u16(&[1, 2, 3], 1), Some(0x0203));
        assert_eq!(le_u32(&[1, 2, 3], 0), None);
        assert_eq!(u8_at(&[], 0), None);
        assert_eq!(le_u64(&[0; 8], usize::MAX), None);
    }
}
