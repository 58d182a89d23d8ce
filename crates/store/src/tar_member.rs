//! Members of a pack: POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"), named by 64 hexadecimal digits.

use ntt_model::BlobHash;

use crate::Error;

/// Block of a tar; headers take one, contents are padded to whole ones.
pub(crate) const BLOCK_BYTES: u64 = 512;
/// Two zero blocks end a tar.
pub(crate) const END_BYTES: usize = 1024;
/// Largest size that the header's field holds (11 octal digits).
pub(crate) const SIZE_MAX: u64 = (1 << 33) - 1;

/// Header of a member, mode 0444, time 0, owner 0.
pub(crate) fn header(hash: &BlobHash, size: u64) -> Result<[u8; 512], Error> {
    let name = hash.to_hex();
    let mut header = tar::Header::new_ustar();
    header
        .set_path(&name)
        .map_err(|error| Error::io("name", name.as_ref(), error))?;
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
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
    fn headers_round_trip_and_any_flipped_bit_is_seen() -> Result<(), Error> {
        let hash = BlobHash::of(b"x");
        let block = header(&hash, 12_345)?;
        assert_eq!(parse_header(&block), Some((hash, 12_345)));
        for at in 0..512 {
            let mut flipped = block;
            flipped[at] ^= 1;
            assert!(parse_header(&flipped) != Some((hash, 12_345)), "byte {at}");
        }
        assert_eq!(parse_header(&[0; 512]), None);
        Ok(())
    }
}
