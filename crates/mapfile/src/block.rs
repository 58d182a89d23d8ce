//! A block of the map and the two alphabets of the format.

use ntt_model::ByteRange;

macro_rules! alphabet {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $letter:literal,)* }) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The character in the file.
            pub const fn letter(self) -> char {
                match self { $(Self::$variant => $letter,)* }
            }

            /// The meaning of a character, if it has one.
            pub const fn from_letter(letter: char) -> Option<Self> {
                match letter { $($letter => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

alphabet! {
    /// State of a block, from least to most processed; `Finished` is the only one whose bytes are real.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
    Status {
        /// Not tried yet.
        NonTried = '?',
        /// A large read failed in it; its edges are not known yet.
        NonTrimmed = '*',
        /// Its edges were trimmed; it was not read sector by sector yet.
        NonScraped = '/',
        /// Sectors that failed one by one.
        BadSector = '-',
        /// Rescued.
        Finished = '+',
    }
}

alphabet! {
    /// What a rescue was doing when it wrote the map.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    Activity {
        /// Copying untried blocks.
        #[default]
        Copying = '?',
        /// Trimming failed blocks.
        Trimming = '*',
        /// Scraping, sector by sector.
        Scraping = '/',
        /// Retrying bad sectors.
        Retrying = '-',
        /// Filling blocks with a pattern.
        Filling = 'F',
        /// Generating an approximate map.
        Generating = 'G',
        /// Done.
        Finished = '+',
    }
}

/// A run of bytes in one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Which bytes of the image.
    pub range: ByteRange,
    /// Their state.
    pub status: Status,
}

impl Block {
    /// A block of `range`.
    pub const fn new(range: ByteRange, status: Status) -> Self {
        Self { range, status }
    }

    /// The part of the block that lies in `window`.
    pub(crate) fn within(&self, window: &ByteRange) -> Option<Self> {
        self.range
            .intersection(window)
            .map(|range| Self::new(range, self.status))
    }
}

/// Appends a block that starts where the last one ends, joining the two if their status is the same.
pub(crate) fn push(blocks: &mut Vec<Block>, block: Block) {
    if block.range.is_empty() {
        return;
    }
    match blocks.last_mut() {
        Some(last) if last.status == block.status => {
            last.range.len = last.range.len.saturating_add(block.range.len);
        }
        _ => blocks.push(block),
    }
}
