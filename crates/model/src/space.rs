//! The addresses of a medium.
//!
//! Extents and volumes of a medium are counted in one space of addresses. A medium that is one image has its bytes from address 0 on. The images of a
//! set stand far apart, each in a slot of its own, so that nothing which passes the end of one runs into the next. Behind all images stand the
//! *devices*: volumes whose bytes can be had in more than one way (parity, mirrors), counted by themselves, because which way is taken is decided by
//! whoever reads.

use serde::{Deserialize, Serialize};

use crate::Mapping;

/// Distance of the slots of a set's images: as long as the longest image that is believed.
pub const IMAGE_SLOT: u64 = 1 << 46;
/// Images of a set at most.
pub const IMAGES_MAX: u32 = 4096;
/// First address of the devices.
pub const DEVICES: u64 = 1 << 62;
/// Distance of the slots of devices, and the longest one that is believed.
pub const DEVICE_SLOT: u64 = 1 << 52;
/// Devices of a medium at most.
const DEVICES_MAX: u32 = 1023;

/// A volume with redundancy, in the space of its medium.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Address of its first byte.
    pub base: u64,
    /// Where its bytes lie in the images.
    pub mapping: Mapping,
}

impl Device {
    /// The device that volume `number` (from 1) of a medium is, if it is one.
    pub fn of(number: u32, mapping: &Mapping) -> Option<Self> {
        let is_device = mapping.is_redundant() && mapping.len() <= DEVICE_SLOT;
        let base = device_base(number).filter(|_| is_device)?;
        Some(Self {
            base,
            mapping: mapping.clone(),
        })
    }
}

/// Where an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// In the only image of a medium.
    Image(u64),
    /// In an image of a set, by its number from 1.
    Member(u32, u64),
    /// In a volume, by its number.
    Device(u32, u64),
}

impl Address {
    /// Where `address` is.
    pub fn of(address: u64) -> Self {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        if let Some(inside) = address.checked_sub(DEVICES) {
            return Self::Device(
                number(inside / DEVICE_SLOT).saturating_add(1),
                inside % DEVICE_SLOT,
            );
        }
        match address / IMAGE_SLOT {
            0 => Self::Image(address),
            member => Self::Member(number(member), address % IMAGE_SLOT),
        }
    }
}

/// Address of the first byte of a set's image `number`, from 1; `None` for more images than there is room for.
pub fn member_base(number: u32) -> Option<u64> {
    (1..=IMAGES_MAX)
        .contains(&number)
        .then(|| u64::from(number) * IMAGE_SLOT)
}

/// Address of the first byte of the device that volume `number` is, from 1; `None` for volumes for which there is no room.
pub fn device_base(number: u32) -> Option<u64> {
    (1..=DEVICES_MAX)
        .contains(&number)
        .then(|| DEVICES + u64::from(number - 1) * DEVICE_SLOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_in_one_place() {
        assert_eq!(Address::of(5), Address::Image(5));
        let second = member_base(2).expect("room");
        assert_eq!(Address::of(second + 7), Address::Member(2, 7));
        let device = device_base(3).expect("room");
        assert_eq!(Address::of(device + 9), Address::Device(3, 9));
        assert!(member_base(IMAGES_MAX).expect("room") + IMAGE_SLOT <= DEVICES);
        let last = device_base(DEVICES_MAX).expect("room");
        assert!(
            i64::try_from(last + DEVICE_SLOT).is_ok(),
            "the catalogue keeps it"
        );
        assert_eq!(
            (member_base(0), device_base(0), device_base(1024)),
            (None, None, None)
        );
    }
}
