//! A file system on a volume that is spread over the image: its extents and findings are counted in the image, as everyone expects; or in the device
//! that the volume is, where it is up to whoever reads which bytes of the image are taken.

use ntt_model::extent::push_joined;
use ntt_model::mapping::Found;
use ntt_model::{ByteRange, Extent, ExtentKind, Mapping, ScanEvent};
use ntt_source::{Mapped, ReadAt};

use crate::{Error, Facts, Family, FileSystem, ScanOptions, Stop, Visitor};

/// Extents of one stream after which the rest is given up, however a volume cuts them.
const EXTENTS_MAX: usize = 4_000_000;

/// Opens the volume that `mapping` makes of the image `source` as `family`. Extents are counted in the image, or from `device` on if that is given: the
/// address of the volume's first byte in the space of its medium (see [`ntt_model::space`]).
///
/// # Errors
///
/// As [`crate::open`].
pub fn open_mapped<'a>(
    family: Family,
    source: &'a dyn ReadAt,
    mapping: &Mapping,
    device: Option<u64>,
) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let volume = Mapped::new(source, mapping.clone());
    let inner = crate::open(family, Box::new(volume), 0)?;
    Ok(Box::new(OnMapping {
        inner,
        mapping: mapping.clone(),
        device,
    }))
}

struct OnMapping<'a> {
    /// Believes that the image starts where the volume does.
    inner: Box<dyn FileSystem + 'a>,
    mapping: Mapping,
    device: Option<u64>,
}

impl FileSystem for OnMapping<'_> {
    fn facts(&self) -> &Facts {
        self.inner.facts()
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let mut translator = Translator {
            mapping: &self.mapping,
            device: self.device,
            visitor,
        };
        self.inner.scan(options, &mut translator)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        self.inner
            .allocated(&mut |range| runs(&self.mapping, range, each))
    }
}

/// Calls `each` for what of the volume's `range` is in the image, or is needed to rebuild it.
fn runs(mapping: &Mapping, range: ByteRange, each: &mut dyn FnMut(ByteRange)) {
    let mut position = range.offset;
    while position < range.end() {
        let Some(run) = mapping.run(position) else { return };
        let len = run.len.min(range.end().saturating_sub(position));
        match run.found {
            Found::At(at) => each(ByteRange::new(at, len)),
            Found::Rebuilt(others) => others.into_iter().for_each(|at| each(ByteRange::new(at, len))),
            Found::Absent => {}
        }
        position = position.saturating_add(len);
    }
}

struct Translator<'a> {
    mapping: &'a Mapping,
    device: Option<u64>,
    visitor: &'a mut dyn Visitor,
}

impl Visitor for Translator<'_> {
    fn visit(&mut self, mut event: ScanEvent) -> Result<(), Stop> {
        match &mut event {
            ScanEvent::Inode(inode) => {
                for stream in &mut inode.streams {
                    let (extents, is_whole) = match self.device {
                        Some(base) => in_device(base, self.mapping.len(), &stream.extents),
                        None => translated(self.mapping, &stream.extents),
                    };
                    stream.extents = extents;
                    stream.extents_incomplete |= !is_whole;
                }
            }
            ScanEvent::Finding(finding) => {
                finding.image_offset = finding
                    .image_offset
                    .and_then(|offset| image_offset(self.mapping, offset));
            }
            ScanEvent::Directory(_) | ScanEvent::Name(_) => {}
        }
        self.visitor.visit(event)
    }
}

/// Where a byte of the volume lies in the image.
fn image_offset(mapping: &Mapping, offset: u64) -> Option<u64> {
    match mapping.run(offset)?.found {
        Found::At(at) => Some(at),
        _ => None,
    }
}

/// The extents in the device at `base`, and whether all of them are in it.
fn in_device(base: u64, len: u64, extents: &[Extent]) -> (Vec<Extent>, bool) {
    let mut found = Vec::with_capacity(extents.len());
    let mut is_whole = true;
    for extent in extents {
        let is_stored = matches!(extent.kind, ExtentKind::Data | ExtentKind::Inline);
        let room = len.saturating_sub(extent.image_offset);
        let kept = if is_stored {
            extent.len.min(room)
        } else {
            extent.len
        };
        is_whole &= kept == extent.len;
        push_joined(
            &mut found,
            Extent {
                image_offset: base.saturating_add(extent.image_offset.min(len)),
                len: kept,
                ..*extent
            },
        );
    }
    (found, is_whole)
}

/// The extents in the image, cut where the volume cuts them, and whether all of them are in it.
fn translated(mapping: &Mapping, extents: &[Extent]) -> (Vec<Extent>, bool) {
    let mut found = Vec::with_capacity(extents.len());
    let mut is_whole = true;
    for extent in extents {
        match extent.kind {
            ExtentKind::Hole | ExtentKind::Unwritten => found.push(*extent),
            ExtentKind::Data | ExtentKind::Inline => is_whole &= add(mapping, extent, &mut found),
        }
    }
    (found, is_whole)
}

/// Adds the runs of one extent; what is in none is left out.
fn add(mapping: &Mapping, extent: &Extent, found: &mut Vec<Extent>) -> bool {
    let mut is_whole = true;
    let mut done = 0;
    while done < extent.len {
        let run = extent
            .image_offset
            .checked_add(done)
            .and_then(|offset| mapping.run(offset));
        let Some(run) = run.filter(|_| found.len() < EXTENTS_MAX) else {
            return false;
        };
        let len = run.len.min(extent.len.saturating_sub(done));
        match run.found {
            Found::At(image_offset) => {
                let logical_offset = extent.logical_offset.saturating_add(done);
                push_joined(
                    found,
                    Extent {
                        logical_offset,
                        image_offset,
                        len,
                        kind: extent.kind,
                    },
                );
            }
            Found::Rebuilt(_) | Found::Absent => is_whole = false,
        }
        done = done.saturating_add(len);
    }
    is_whole
}

#[cfg(test)]
mod tests {
    use ntt_model::mapping::Place;

    use super::*;

    fn data(logical_offset: u64, image_offset: u64, len: u64) -> Extent {
        Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Data,
        }
    }

    #[test]
    fn extents_are_cut_where_the_volume_cuts_them() {
        let mut mapping = Mapping::default();
        mapping.push(100, Place::Linear(1000));
        mapping.push(100, Place::Linear(5000));
        mapping.push(100, Place::Absent);
        let (extents, is_whole) = translated(&mapping, &[data(0, 90, 20), data(20, 10, 5)]);
        assert_eq!(
            extents,
            [data(0, 1090, 10), data(10, 5000, 10), data(20, 1010, 5)]
        );
        assert!(is_whole);
        let (extents, is_whole) = translated(&mapping, &[data(0, 195, 20), data(20, 0, 1)]);
        assert_eq!(extents, [data(0, 5095, 5), data(20, 1000, 1)]);
        assert!(!is_whole);
        assert!(!translated(&mapping, &[data(0, 295, 20)]).1);
    }

    #[test]
    fn extents_in_a_device_end_with_it() {
        let (extents, is_whole) = in_device(1 << 62, 100, &[data(0, 90, 10), data(10, 0, 5)]);
        assert_eq!(extents, [data(0, (1 << 62) + 90, 10), data(10, 1 << 62, 5)]);
        assert!(is_whole);
        let (extents, is_whole) = in_device(1 << 62, 100, &[data(0, 95, 10), data(10, u64::MAX, 5)]);
        assert_eq!(extents, [data(0, (1 << 62) + 95, 5)]);
        assert!(!is_whole);
    }
}
