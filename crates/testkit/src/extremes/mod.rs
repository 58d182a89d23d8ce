//! Volumes at the edge of what formats allow, computed as they are read: millions of entries, deep trees, files in a million pieces.
//!
//! Every entry of a wide directory is an empty file.

pub mod ext;
pub mod fat;
pub mod hfsplus;
pub mod iso9660;
pub mod ntfs;

/// Writes little-endian bytes into a record.
fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    record[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The low 32 bits of a number that fits.
fn word(number: u64) -> [u8; 4] {
    u32::try_from(number).expect("32 bits").to_le_bytes()
}

/// The low 16 bits of a number that fits.
fn half(number: u64) -> [u8; 2] {
    u16::try_from(number).expect("16 bits").to_le_bytes()
}
