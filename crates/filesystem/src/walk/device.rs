//! The bytes of a volume, and where they lie in the image.

use ntt_model::{ByteRange, Finding, Layer};
use ntt_source::ReadError;

use crate::VolumeSource;
use crate::report::unreadable;

/// What a reader sees of the medium.
pub(crate) struct Device<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
}

impl<'a> Device<'a> {
    pub(crate) fn new(source: VolumeSource<'a>, image_offset: u64) -> Self {
        Self { source, image_offset }
    }

    pub(crate) fn len(&self) -> u64 {
        self.source.len()
    }

    /// A byte of the volume as a byte of the image.
    pub(crate) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// `len` bytes, which the caller bounds; if they cannot be read the finding that says so.
    pub(crate) fn read_vec(
        &self,
        offset: u64,
        len: usize,
        (layer, what): (Layer, &str),
    ) -> Result<Vec<u8>, Finding> {
        let mut buffer = vec![0; len];
        match self.read(offset, &mut buffer) {
            Ok(()) => Ok(buffer),
            Err(error) => Err(unreadable(&error, layer, what, self.in_image(offset))),
        }
    }
}

/// Joins ranges on their way to whoever asked what is allocated.
pub(crate) struct Ranges<'e> {
    each: &'e mut dyn FnMut(ByteRange),
    run: ByteRange,
}

impl<'e> Ranges<'e> {
    pub(crate) fn new(each: &'e mut dyn FnMut(ByteRange)) -> Self {
        Self {
            each,
            run: ByteRange::new(0, 0),
        }
    }

    /// Adds a range, which must not start before the end of the last one.
    pub(crate) fn add(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        if !self.run.is_empty() && self.run.end() == offset {
            self.run.len = self.run.len.saturating_add(len);
            return;
        }
        self.finish();
        self.run = ByteRange::new(offset, len);
    }

    /// Gives the last range.
    pub(crate) fn finish(&mut self) {
        let run = std::mem::replace(&mut self.run, ByteRange::new(0, 0));
        if !run.is_empty() {
            (self.each)(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut told = Vec::new();
        let mut each = |range: ByteRange| told.push((range.offset, range.len));
        let mut ranges = Ranges::new(&mut each);
        for (offset, len) in [(0, 5), (5, 5), (20, 0), (30, 1)] {
            ranges.add(offset, len);
        }
        ranges.finish();
        assert_eq!(told, [(0, 10), (30, 1)]);
    }
}
