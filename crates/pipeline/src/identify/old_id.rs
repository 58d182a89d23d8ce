//! The ids that the system before this one gave to media, to find its records again. Digests of filler are among them, which is why ids are not
//! made like this any more (R1).

use ntt_model::ByteRange;
use ntt_rescue::buffer::Buffer;
use ntt_rescue::device::Device;
use serde::{Deserialize, Serialize};

use crate::rescue::Hardware;

const EDGE_BYTES: u64 = 1 << 20;
/// An id is the first half of a BLAKE3 digest.
const HEX_DIGITS: usize = 32;

/// The three forms, as 32 hexadecimal digits; `None` where the bytes cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OldIds {
    /// BLAKE3 of the first MiB.
    pub head: Option<String>,
    /// BLAKE3 of the first and the last MiB.
    pub ends: Option<String>,
    /// BLAKE3 of `SIZE:n|MODEL:m|SERIAL:s|`, the first and the last MiB; model and serial are empty where the system names none.
    pub device: Option<String>,
}

/// Reads both ends of a device.
pub(super) fn old_ids(device: &mut dyn Device, hardware: &Hardware) -> OldIds {
    let size_bytes = device.geometry().size_bytes;
    let len = EDGE_BYTES.min(size_bytes);
    let head = read(device, ByteRange::new(0, len));
    let tail = read(device, ByteRange::new(size_bytes - len, len));
    let text = format!(
        "SIZE:{size_bytes}|MODEL:{}|SERIAL:{}|",
        hardware.fact("model").unwrap_or_default(),
        hardware.fact("serial").unwrap_or_default()
    );
    of_ends(&text, head.as_deref(), tail.as_deref())
}

fn of_ends(text: &str, head: Option<&[u8]>, tail: Option<&[u8]>) -> OldIds {
    let both = head.zip(tail);
    OldIds {
        head: head.map(|head| id(&[head])),
        ends: both.map(|(head, tail)| id(&[head, tail])),
        device: both.map(|(head, tail)| id(&[text.as_bytes(), head, tail])),
    }
}

fn id(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut digits = hasher.finalize().to_hex().to_string();
    digits.truncate(HEX_DIGITS);
    digits
}

/// Direct reads begin at sectors; the last MiB of a file of odd length does not.
fn read(device: &mut dyn Device, range: ByteRange) -> Option<Vec<u8>> {
    let unit = u64::from(device.geometry().sector_bytes);
    let before = range.offset % unit;
    let aligned = ByteRange::new(range.offset - before, range.len + before);
    let mut buffer = Buffer::default();
    buffer.resize(usize::try_from(aligned.len).ok()?);
    device.read(aligned, &mut buffer).ok()?;
    let skip = usize::try_from(before).ok()?;
    buffer.bytes().get(skip..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use ntt_rescue::real::RealDevice;

    use super::*;

    #[test]
    fn the_three_forms_of_old() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        let bytes: Vec<u8> = (0..3_000_123_u32).map(|at| (at / 7 % 253) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let mut device = RealDevice::open(&path).expect("a device");
        let found = old_ids(&mut device, &Hardware::default());
        let (head, tail) = (&bytes[..1 << 20], &bytes[bytes.len() - (1 << 20)..]);
        let digits = |parts: &[&[u8]]| blake3::hash(&parts.concat()).to_hex()[..32].to_owned();
        assert_eq!(found.head, Some(digits(&[head])));
        assert_eq!(found.ends, Some(digits(&[head, tail])));
        assert_eq!(
            found.device,
            Some(digits(&[b"SIZE:3000123|MODEL:|SERIAL:|", head, tail]))
        );
    }

    #[test]
    fn what_cannot_be_read_has_no_id() {
        let found = of_ends("", Some(b"head"), None);
        assert!(found.head.is_some());
        assert_eq!((found.ends, found.device), (None, None));
    }
}
