//! Images of compact discs: raw sectors, and the sheets that say where tracks lie.
//!
//! A sector of a CD has 2352 bytes: 12 of synchronisation, a header of 4 (minute, second, frame, mode), user data, and error correction (ECMA-130,
//! clause 14; CD-ROM XA adds a subheader of 8). Programs store them whole, without the first 16 bytes (2336), or with 96 bytes of
//! subchannel (2448). [`Cooked`] shows the 2048 bytes of user data of each sector as one source, and says where they lie in the image; [`sheet`] reads
//! cue, toc, ccd, mds and nrg files.

mod cooked;
mod format;
pub mod sheet;

pub use cooked::Cooked;
pub use format::SectorFormat;

/// User data of a data sector.
pub const USER_BYTES: u64 = 2048;
