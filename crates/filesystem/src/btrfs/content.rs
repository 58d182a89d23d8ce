//! From the extents of a file to its stream.
//!
//! A file without compressed extents is plain. With the first compressed one it becomes packed: all its extents then are runs of a stored stream, those
//! that are not compressed among them. Parts of one compressed extent (what is left of it after it was written over) name the same stored run.

use std::collections::BTreeMap;

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Codec, Extent, ExtentKind, PackedUnit};

use super::chunk::Told;
use super::item::{FileExtent, INLINE_AT, Packing};
use super::node::Item;
use super::volume::Volume;

/// Pages of LZO's framing are sectors; the decoder knows those of 4096 bytes.
const LZO_SECTOR_BYTES: u32 = 4096;

/// The stream of a file while its extents come in.
#[derive(Debug, Default)]
pub(super) struct Content {
    size: u64,
    extents: Vec<Extent>,
    /// Once an extent was compressed.
    packed: Option<Stored>,
    /// End of what extents cover.
    pub(super) end: u64,
    pub(super) is_incomplete: bool,
    is_unsupported: bool,
    has_gap: bool,
    count: u64,
}

/// The stored stream of a packed one.
#[derive(Debug, Default)]
struct Stored {
    units: Vec<PackedUnit>,
    len: u64,
    /// Where compressed extents begin in it, by logical address.
    runs: BTreeMap<u64, u64>,
}

/// What adding an extent came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Added {
    Fine,
    /// It cannot be parsed.
    Corrupt,
    /// Parts lie on devices that are not here, or in no chunk.
    Absent,
    /// Compressed in an unknown way.
    Unsupported,
    /// There are too many.
    TooMany,
}

impl Content {
    /// The content of a file of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Adds the extent that an item describes.
    pub(super) fn add(&mut self, item: &Item<'_>, volume: &Volume<'_>, extents_max: u64) -> Added {
        self.count = self.count.saturating_add(1);
        if self.count > extents_max {
            self.is_incomplete = true;
            return Added::TooMany;
        }
        let Some(extent) = FileExtent::parse(item.data) else {
            self.is_incomplete = true;
            return Added::Corrupt;
        };
        let start = item.key.offset;
        if start < self.end {
            self.is_incomplete = true;
            return Added::Corrupt;
        }
        self.has_gap |= start > self.end && start < self.size;
        let len = match extent {
            FileExtent::Inline { len, .. } | FileExtent::Regular { len, .. } => len,
        };
        let Some(end) = start.checked_add(len) else {
            self.is_incomplete = true;
            return Added::Corrupt;
        };
        self.end = end;
        let len = len.min(self.size.saturating_sub(start));
        if len == 0 {
            return Added::Fine;
        }
        let added = match extent {
            FileExtent::Inline { packing, .. } => self.inline(start, len, packing, item, volume),
            FileExtent::Regular { .. } => self.regular((start, len), &extent, volume, extents_max),
        };
        self.is_incomplete |= matches!(added, Added::Absent | Added::TooMany);
        self.is_unsupported |= added == Added::Unsupported;
        added
    }

    fn inline(
        &mut self,
        start: u64,
        len: u64,
        packing: Packing,
        item: &Item<'_>,
        volume: &Volume<'_>,
    ) -> Added {
        let stored = item.data.get(INLINE_AT..).unwrap_or_default();
        let stored_len = u64::try_from(stored.len()).unwrap_or(0);
        let at = u64::try_from(INLINE_AT).unwrap_or(0).saturating_add(item.offset);
        let image_offset = volume.in_image(at);
        let data = Extent {
            logical_offset: start,
            image_offset,
            len: len.min(stored_len),
            kind: ExtentKind::Inline,
        };
        match packing {
            Packing::Unknown => Added::Unsupported,
            Packing::Plain => {
                self.is_incomplete |= stored_len < len;
                self.plain(data);
                Added::Fine
            }
            Packing::Packed(codec) if !can_decode(codec, volume) => Added::Unsupported,
            Packing::Packed(codec) => {
                let stored_offset = self.stored().len;
                self.extents.push(Extent {
                    logical_offset: stored_offset,
                    len: stored_len,
                    ..data
                });
                self.unit(start, len, stored_offset, stored_len, 0, codec);
                self.grow(stored_len);
                Added::Fine
            }
        }
    }

    fn regular(
        &mut self,
        (start, len): (u64, u64),
        extent: &FileExtent,
        volume: &Volume<'_>,
        extents_max: u64,
    ) -> Added {
        let FileExtent::Regular {
            logical,
            stored_len,
            skip,
            packing,
            is_unwritten,
            ..
        } = *extent
        else {
            return Added::Fine;
        };
        if logical == 0 {
            return Added::Fine;
        }
        // The extent itself was counted.
        let pieces_max = extents_max.saturating_sub(self.count).saturating_add(1);
        let within = (volume, pieces_max);
        match packing {
            Packing::Unknown => Added::Unsupported,
            Packing::Packed(codec) if !can_decode(codec, volume) => Added::Unsupported,
            Packing::Packed(codec) => self.compressed(start, len, (logical, stored_len, skip), codec, within),
            Packing::Plain => {
                let kind = if is_unwritten {
                    ExtentKind::Unwritten
                } else {
                    ExtentKind::Data
                };
                self.mapped(start, (logical.saturating_add(skip), len), kind, within)
            }
        }
    }

    /// Adds bytes that are stored as they are, in so many pieces at most.
    fn mapped(
        &mut self,
        start: u64,
        run: (u64, u64),
        kind: ExtentKind,
        (volume, pieces_max): (&Volume<'_>, u64),
    ) -> Added {
        let (mut position, mut is_absent) = (start, false);
        let told = volume.pieces(run, pieces_max, &mut |place, part| {
            match place {
                Some(place) => self.plain(Extent {
                    logical_offset: position,
                    image_offset: volume.in_image(place),
                    len: part,
                    kind,
                }),
                None => is_absent |= kind != ExtentKind::Unwritten,
            }
            position = position.saturating_add(part);
        });
        self.added(told, is_absent)
    }

    /// Counts the pieces of an extent, which was counted as one; what became of it.
    fn added(&mut self, (told, pieces): (Told, u64), is_absent: bool) -> Added {
        self.count = self.count.saturating_add(pieces.saturating_sub(1));
        match told {
            Told::TooMany => Added::TooMany,
            Told::Whole if !is_absent => Added::Fine,
            Told::Whole | Told::Part => Added::Absent,
        }
    }

    fn plain(&mut self, extent: Extent) {
        let Some(stored) = &self.packed else {
            return push_joined(&mut self.extents, extent);
        };
        if extent.kind == ExtentKind::Unwritten {
            return;
        }
        let stored_offset = stored.len;
        self.unit(
            extent.logical_offset,
            extent.len,
            stored_offset,
            extent.len,
            0,
            Codec::Stored,
        );
        self.extents.push(Extent {
            logical_offset: stored_offset,
            ..extent
        });
        self.grow(extent.len);
    }

    fn compressed(
        &mut self,
        start: u64,
        len: u64,
        (logical, stored_len, skip): (u64, u64, u64),
        codec: Codec,
        (volume, pieces_max): (&Volume<'_>, u64),
    ) -> Added {
        let stored = self.stored();
        if let Some(stored_offset) = stored.runs.get(&logical).copied() {
            self.unit(start, len, stored_offset, stored_len, skip, codec);
            return Added::Fine;
        }
        let stored_offset = stored.len;
        stored.runs.insert(logical, stored_offset);
        self.unit(start, len, stored_offset, stored_len, skip, codec);
        let (mut position, mut is_absent) = (stored_offset, false);
        let extents = &mut self.extents;
        let told = volume.pieces((logical, stored_len), pieces_max, &mut |place, part| {
            match place {
                Some(place) => push_joined(
                    extents,
                    Extent {
                        logical_offset: position,
                        image_offset: volume.in_image(place),
                        len: part,
                        kind: ExtentKind::Data,
                    },
                ),
                None => is_absent = true,
            }
            position = position.saturating_add(part);
        });
        self.grow(stored_len);
        self.added(told, is_absent)
    }

    /// The stored stream; what was plain until now becomes a part of it.
    fn stored(&mut self) -> &mut Stored {
        let extents = &mut self.extents;
        self.packed.get_or_insert_with(|| {
            let mut stored = Stored::default();
            extents.retain(|extent| extent.kind != ExtentKind::Unwritten);
            for extent in extents {
                stored.units.push(PackedUnit {
                    logical_offset: extent.logical_offset,
                    len: extent.len,
                    stored_offset: stored.len,
                    stored_len: extent.len,
                    skip: 0,
                    codec: Codec::Stored,
                    is_whole: false,
                });
                extent.logical_offset = stored.len;
                stored.len = stored.len.saturating_add(extent.len);
            }
            stored
        })
    }

    fn unit(
        &mut self,
        logical_offset: u64,
        len: u64,
        stored_offset: u64,
        stored_len: u64,
        skip: u64,
        codec: Codec,
    ) {
        self.stored().units.push(PackedUnit {
            logical_offset,
            len,
            stored_offset,
            stored_len,
            skip,
            codec,
            // What was written over of an extent stays in it, and its last page is filled up.
            is_whole: false,
        });
    }

    fn grow(&mut self, len: u64) {
        let stored = self.stored();
        stored.len = stored.len.saturating_add(len);
    }

    /// The stream. Where holes are written down as extents too, a gap between extents is damage.
    pub(super) fn finish(self, gaps_are_holes: bool) -> Stream {
        let encoding = match self.packed {
            _ if self.is_unsupported => Encoding::Unsupported,
            Some(stored) => Encoding::Packed(stored.units),
            None => Encoding::Plain,
        };
        Stream {
            kind: StreamKind::Data,
            size_bytes: self.size,
            extents: self.extents,
            encoding,
            extents_incomplete: self.is_incomplete || (self.has_gap && !gaps_are_holes),
        }
    }
}

fn can_decode(codec: Codec, volume: &Volume<'_>) -> bool {
    codec != Codec::LzoBtrfs || volume.superblock.sector_bytes == LZO_SECTOR_BYTES
}
