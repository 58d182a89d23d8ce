//! Builds UDF images with everything that the format has: plain, spared, virtual and metadata partitions, both kinds of file entries, all forms
//! of allocation descriptors, streams, attributes, links, deleted entries.
//!
//! `tree` says what is in the image, `volume` lays out the volume, `files` writes entries and content. What goes in is the ground truth for
//! what a reader must list.

mod files;
mod structure;
mod tree;
mod volume;

pub use tree::{Kind, Node, Piece, corpus, plain_corpus};
pub use volume::{Built, build};

/// How blocks are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One partition.
    Plain,
    /// A partition whose every third packet was moved.
    Spared,
    /// A write-once disc with a virtual allocation table.
    Virtual,
    /// A metadata partition; its mirror has blocks of its own.
    Metadata,
}

/// Forms of allocation descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptors {
    /// `short_ad` where the layout allows.
    Short,
    /// `long_ad`.
    Long,
    /// `ext_ad`.
    Extended,
}

/// What kind of image is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Sector and block size.
    pub block_bytes: u32,
    /// UDF revision, binary-coded decimal.
    pub revision: u16,
    /// How blocks are found.
    pub layout: Layout,
    /// Form of allocation descriptors.
    pub descriptors: Descriptors,
    /// Whether content that fits stands in its file entry.
    pub embed: bool,
    /// Extended file entries.
    pub extended: bool,
    /// Strategy 4096: every entry was replaced once.
    pub replaced: bool,
    /// Whether CRCs are recorded.
    pub crc: bool,
    /// Whether the integrity descriptor says that the volume was put away.
    pub closed: bool,
    /// Blocks of a run of content; 0 for content in one piece.
    pub fragment_blocks: usize,
    /// Blocks after the end of what was written.
    pub tail_blocks: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_bytes: 2048,
            revision: 0x0201,
            layout: Layout::Plain,
            descriptors: Descriptors::Short,
            embed: false,
            extended: false,
            replaced: false,
            crc: true,
            closed: true,
            fragment_blocks: 0,
            tail_blocks: 0,
        }
    }
}
