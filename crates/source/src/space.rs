//! The images of a medium and what is put together of them, in one space of addresses (see [`ntt_model::space`]).

use ntt_model::{ByteRange, Device};

use crate::mapped::{mapped_zeros_until, read_mapped};
use crate::{ReadAt, ReadError, buffer_len};

/// The bytes of a medium: images, each from an address of its own, and devices over them. What lies between is beyond the end.
#[derive(Debug)]
pub struct Space<S> {
    images: Images<S>,
    devices: Vec<Device>,
}

/// Images alone.
#[derive(Debug)]
struct Images<S>(Vec<(u64, S)>);

impl<S: ReadAt> Space<S> {
    /// A space of images and devices, both in the order of their first addresses. Devices count in the addresses of the images.
    pub fn new(images: Vec<(u64, S)>, devices: Vec<Device>) -> Self {
        Self {
            images: Images(images),
            devices,
        }
    }

    fn device(&self, offset: u64) -> Option<&Device> {
        let index = self.devices.partition_point(|device| device.base <= offset);
        self.devices.get(index.checked_sub(1)?)
    }
}

impl<S: ReadAt> Images<S> {
    fn part(&self, offset: u64) -> Option<&(u64, S)> {
        let index = self.0.partition_point(|(base, _)| *base <= offset);
        self.0.get(index.checked_sub(1)?)
    }
}

impl<S: ReadAt> ReadAt for Images<S> {
    fn len(&self) -> u64 {
        self.0
            .last()
            .map_or(0, |(base, image)| base.saturating_add(image.len()))
    }

    fn end_of(&self, offset: u64) -> u64 {
        self.part(offset).map_or(0, |(base, image)| {
            base.saturating_add(image.end_of(offset - base))
        })
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        self.part(offset).map_or(offset, |(base, image)| {
            base.saturating_add(image.zeros_until(offset - base))
        })
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let Some((base, image)) = self.part(offset) else {
            return Err(ReadError::beyond_end(offset, buffer_len(buffer), 0));
        };
        image
            .read_exact_at(offset - base, buffer)
            .map_err(|error| error.shifted_up(*base))
    }
}

impl<S: ReadAt> ReadAt for Space<S> {
    fn len(&self) -> u64 {
        match self.devices.last() {
            Some(device) => device.base.saturating_add(device.mapping.len()),
            None => self.images.len(),
        }
    }

    fn end_of(&self, offset: u64) -> u64 {
        match self.device(offset) {
            Some(device) => device.base.saturating_add(device.mapping.len()),
            None => self.images.end_of(offset),
        }
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        match self.device(offset) {
            Some(device) => device.base.saturating_add(mapped_zeros_until(
                &self.images,
                &device.mapping,
                offset - device.base,
            )),
            None => self.images.zeros_until(offset),
        }
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let Some(device) = self.device(offset) else {
            return self.images.read_exact_at(offset, buffer);
        };
        let inside = ByteRange::new(offset - device.base, buffer_len(buffer));
        read_mapped(&self.images, &device.mapping, inside.offset, buffer)
            .map_err(|error| error.shifted_up(device.base))
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::Mapping;
    use ntt_model::mapping::Place;
    use ntt_model::space::{device_base, member_base};

    use super::*;

    fn space() -> Space<Vec<u8>> {
        let base = |number| member_base(number).expect("room");
        let mut mapping = Mapping::default();
        let columns = vec![None, Some(base(2))];
        let (chunk_bytes, copies) = (4, 2);
        mapping.push(
            4,
            Place::Striped {
                chunk_bytes,
                columns,
                copies,
            },
        );
        let device = Device::of(3, &mapping).expect("a device");
        Space::new(vec![(base(1), vec![1; 10]), (base(2), vec![2; 6])], vec![device])
    }

    /// R12: what passes the end of one image of a set is not read from the next.
    #[test]
    fn r12_nothing_runs_from_one_image_into_another() {
        let space = space();
        let base = |number| member_base(number).expect("room");
        let mut two = [0; 2];
        assert!(space.read_exact_at(base(1) + 8, &mut two).is_ok());
        assert_eq!(two, [1, 1]);
        let beyond = space.read_exact_at(base(1) + 9, &mut two);
        assert!(matches!(beyond, Err(ReadError::BeyondEnd { end, .. }) if end == base(1) + 10));
        assert_eq!(space.end_of(base(1)), base(1) + 10);
        assert_eq!(space.end_of(base(1) + 4096), base(1) + 10);
        assert!(space.read_exact_at(0, &mut two).is_err());
    }

    #[test]
    fn a_device_is_read_at_its_address() {
        let space = space();
        let base = device_base(3).expect("room");
        let mut four = [0; 4];
        assert!(space.read_exact_at(base, &mut four).is_ok());
        assert_eq!((four, space.end_of(base + 1)), ([2; 4], base + 4));
        let beyond = space.read_exact_at(base + 1, &mut four);
        assert!(matches!(beyond, Err(ReadError::BeyondEnd { end, .. }) if end == base + 4));
        let other = device_base(2).expect("room");
        assert!(space.read_exact_at(other, &mut four).is_err());
    }
}
