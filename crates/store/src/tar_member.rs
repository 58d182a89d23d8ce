//! Members of a pack: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), named by 64 hexadecimal digits.

use std::sync::LazyLock;

use ntt_model::BlobHash;

/// Block of a tar; headers take one, contents are padded to whole ones.
pub(crate) const BLOCK_BYTES: u64 = 512;
/// Two zero blocks end a tar.
pub(crate) const END_BYTES: usize = 1024;
/// Largest size that the header's field holds (11 octal digits).
pub(crate) const SIZE_MAX: u64 = (1 << 33) - 1;

/// What the headers of all members have in common: mode 0444, time 0, owner 0.
static COMMON: LazyLock<[u8; 512]> = LazyLock::new(|| {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    *header.as_bytes()
});

/// Header of a member. `size` must not exceed [`SIZE_MAX`].
///
/// Only what differs is put into the common header: making all of it anew costs several times as much, for each small content.
pub(crate) fn header(hash: &BlobHash, size: u64) -> [u8; 512] {
    debug_assert!(size <= SIZE_MAX, "a size that the field does not hold");
    let mut header = *COMMON;
    header[..64].copy_from_slice(hash.to_hex().as_bytes());
    put_octal(&mut header[124..136], size);
    // The sum is taken with spaces in its own place.
    header[148..156].fill(b' ');
    let sum = header.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    put_octal(&mut header[148..156], sum.into());
    header
}

/// Fills a field with octal digits and the zero that ends it.
fn put_octal(field: &mut [u8], mut value: u64) {
    let Some((end, digits)) = field.split_last_mut() else {
        return;
    };
    *end = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7).to_le_bytes()[0];
        value >>= 3;
    }
}

/// Name and size of a member, if `block` is the valid header of one.
pub(crate) fn parse_header(block: &[u8; 512]) -> Option<(BlobHash, u64)> {
    if block.get(257..265) != Some(b"ustar\x0000") {
        return None;
    }
    let header = tar::Header::from_byte_slice(block);
    let sum = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum::<u32>();
    let (name, rest) = block.split_at(64);
    if header.cksum().ok()? != sum || rest.first() != Some(&0) {
        return None;
    }
    let size = header.entry_size().ok().filter(|size| *size <= SIZE_MAX)?;
    Some((std::str::from_utf8(name).ok()?.parse().ok()?, size))
}

/// `size` and the padding after it.
pub(crate) const fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_any_flipped_bit_is_seen() {
        let hash = BlobHash::of(b"x");
        let block = header(&hash, 12_345);
        assert_eq!(parse_header(&block), Some((hash, 12_345)));
        for at in 0..512 {
            let mut flipped = block;
            flipped[at] ^= 1;
            assert!(parse_header(&flipped) != Some((hash, 12_345)), "byte {at}");
        }
        assert_eq!(parse_header(&[0; 512]), None);
    }

    #[test]
    fn headers_are_those_of_the_tar_crate() {
        for size in [0, 1, 7, 8, 65_536, 0o1234_5670, SIZE_MAX] {
            let hash = BlobHash::of(&size.to_le_bytes());
            let mut theirs = tar::Header::from_byte_slice(COMMON.as_slice()).clone();
            theirs.set_path(hash.to_hex()).expect("a short name");
            theirs.set_size(size);
            theirs.set_cksum();
            assert_eq!(header(&hash, size), *theirs.as_bytes(), "{size}");
        }
    }
}
