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

/// The order of bytes of a volume of a format that has two; unlike the host's, it is known only once a superblock is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteOrder {
    /// The lowest byte comes first.
    Little,
    /// The highest byte comes first.
    Big,
}

impl ByteOrder {
    /// 16-bit integer at `offset`.
    pub fn half(self, bytes: &[u8], offset: usize) -> Option<u16> {
        match self {
            Self::Little => le_u16(bytes, offset),
            Self::Big => be_u16(bytes, offset),
        }
    }

    /// 32-bit integer at `offset`.
    pub fn word(self, bytes: &[u8], offset: usize) -> Option<u32> {
        match self {
            Self::Little => le_u32(bytes, offset),
            Self::Big => be_u32(bytes, offset),
        }
    }

    /// 64-bit integer at `offset`.
    pub fn long(self, bytes: &[u8], offset: usize) -> Option<u64> {
        match self {
            Self::Little => le_u64(bytes, offset),
            Self::Big => be_u64(bytes, offset),
        }
    }

    /// As facts of a volume say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        }
    }
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

    #[test]
    fn both_orders_of_bytes_are_read() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let [little, big] = [ByteOrder::Little, ByteOrder::Big];
        assert_eq!(
            [little, big].map(|order| order.half(&bytes, 1)),
            [Some(0x0302), Some(0x0203)]
        );
        assert_eq!(
            [little, big].map(|order| order.word(&bytes, 0)),
            [Some(0x0403_0201), Some(0x0102_0304)]
        );
        assert_eq!(
            [little, big].map(|order| order.long(&bytes, 0)),
            [Some(0x0807_0605_0403_0201), Some(0x0102_0304_0506_0708)]
        );
        assert_eq!(big.word(&bytes, 5), None);
    }
}
