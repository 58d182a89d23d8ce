//! The maps of inodes and zones. Big-endian machines keep them in units of 8, 16 or 32 bits; nothing on the volume says in which.

/// In what units a map counts its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Bit 0 is the lowest of byte 0.
    Bytes,
    /// Bit 0 is the lowest of a big-endian unit of 16 bits: of byte 1.
    Halves,
    /// Of 32 bits: of byte 3.
    Words,
}

impl Order {
    const ALL: [Self; 3] = [Self::Bytes, Self::Halves, Self::Words];

    const fn mask(self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Halves => 1,
            Self::Words => 3,
        }
    }

    /// Whether a bit is set; `None` beyond the end.
    pub(super) fn bit(self, map: &[u8], bit: u64) -> Option<bool> {
        let byte = usize::try_from(bit / 8).ok()? ^ self.mask();
        let within = u32::try_from(bit % 8).ok()?;
        map.get(byte).map(|byte| byte.rotate_right(within) & 1 == 1)
    }

    /// The order in which the map of inodes agrees best with what the inodes say; the first of several.
    pub(super) fn guess(map: &[u8], used: &[bool]) -> Self {
        let agreeing = |order: &Self| {
            let bits = (1..).zip(used);
            bits.filter(|(bit, is_used)| order.bit(map, *bit) == Some(**is_used))
                .count()
        };
        let best = Self::ALL.iter().map(agreeing).max();
        let first = Self::ALL.into_iter().find(|order| Some(agreeing(order)) == best);
        first.unwrap_or(Self::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_one_that_agrees_with_the_inodes() {
        let used: Vec<bool> = (1..64).map(|number| number < 11 || number == 30).collect();
        for order in Order::ALL {
            let mut map = [0_u8; 8];
            for bit in (0..11).chain([30]) {
                map[(bit / 8) ^ order.mask()] |= 1 << (bit % 8);
            }
            assert_eq!(Order::guess(&map, &used), order);
            assert_eq!(
                (order.bit(&map, 30), order.bit(&map, 31)),
                (Some(true), Some(false))
            );
            assert_eq!(order.bit(&map, 64), None);
        }
    }
}
