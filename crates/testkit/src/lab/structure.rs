//! A hole in each structure in turn: the report must name what was hit (R11).

use ntt_codec::read_stream;
use ntt_filesystem::{Error, Family, ScanOptions, open};
use ntt_model::{ByteRange, FindingCode, Kind, Layer};
use ntt_source::{Masked, ReadAt};

use crate::lab::watch::Bytes;
use crate::listing::Listing;

/// A structure of a volume, and where it lies.
#[derive(Debug, Clone)]
pub struct Structure {
    /// As the format calls it: `superblock`, `inode table`.
    pub name: &'static str,
    /// Its bytes in the image.
    pub range: ByteRange,
    /// Where the report must put it; `None` for the content of a file, which only its copy reports.
    pub layer: Option<Layer>,
}

impl Structure {
    /// Part of the metadata, reported in that layer.
    pub const fn new(name: &'static str, range: ByteRange, layer: Layer) -> Self {
        Self {
            name,
            range,
            layer: Some(layer),
        }
    }

    /// Content of a file.
    pub const fn content(range: ByteRange) -> Self {
        Self {
            name: "content",
            range,
            layer: None,
        }
    }
}

/// Punches each structure in turn and checks what is said: an unread finding of its layer within the hole, or an error that the volume cannot
/// be read there; for content that exactly these bytes of exactly that file are missing.
///
/// # Panics
///
/// If something else is said.
pub fn named(family: Family, image: &[u8], structures: &[Structure]) {
    for structure in structures {
        let source = Masked::new(Bytes(image), vec![structure.range]);
        match open(family, Box::new(&source), 0) {
            Ok(volume) => {
                let listing = Listing::of(&*volume, &ScanOptions::default());
                match structure.layer {
                    Some(layer) => finding(&listing, structure, layer),
                    None => missing(&listing, &source, structure),
                }
            }
            Err(Error::Read { source, .. }) => {
                let text = source.to_string();
                assert!(
                    text.contains("rescued") || text.contains("unread"),
                    "{}: {text}",
                    structure.name
                );
            }
            Err(other) => panic!("{}: {other}", structure.name),
        }
    }
}

fn finding(listing: &Listing, structure: &Structure, layer: Layer) {
    let is_inside = |offset: u64| offset >= structure.range.offset && offset < structure.range.end();
    let told = listing.findings.iter().any(|finding| {
        finding.code == FindingCode::Unread
            && finding.layer == layer
            && finding.image_offset.is_some_and(is_inside)
    });
    assert!(told, "{structure:?} is not told: {:#?}", listing.findings);
}

fn missing(listing: &Listing, source: &dyn ReadAt, structure: &Structure) {
    let mut lost = 0;
    for inode in listing.inodes.values().filter(|inode| inode.kind == Kind::File) {
        let data = inode.data().expect("a data stream");
        let missing = read_stream::<()>(source, data, &mut |_| Ok(())).expect("read");
        lost += missing.ranges.iter().map(|range| range.len).sum::<u64>();
    }
    assert_eq!(
        lost, structure.range.len,
        "bytes of the hole and bytes that are missing"
    );
}

/// The first whole `len` bytes of content in the image that belong to a file of at least that length.
///
/// # Panics
///
/// If there is none.
pub fn some_content(listing: &Listing, len: u64) -> Structure {
    let data = listing.inodes.values().filter_map(|inode| inode.data());
    let extent = data
        .flat_map(|stream| &stream.extents)
        .filter_map(ntt_model::Extent::image_range);
    let range = extent
        .clone()
        .find(|range| range.len >= len)
        .expect("a file that long");
    Structure::content(ByteRange::new(range.offset, len))
}
