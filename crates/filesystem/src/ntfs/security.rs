//! Owners: security descriptors and the stream `$Secure:$SDS` that holds those of the whole volume since version 3.0.
//!
//! `SECURITY_DESCRIPTOR_HEADER` and `SECURITY_DESCRIPTOR_RELATIVE` in `layout.h`. Blocks of 256 KiB of descriptors are each followed by a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use ntt_source::field::{array, le_u32, u8_at};

/// Descriptors with their copies alternate in blocks of this size.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes before a descriptor.
const HEAD_BYTES: usize = 20;
/// Descriptors that are kept.
const OWNERS_MAX: usize = 1 << 18;
/// Different owners that are kept.
const SIDS_MAX: usize = 4096;
/// Parts of a SID behind its authority.
const PARTS_MAX: u8 = 15;

/// Owner SIDs by security id.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_id: BTreeMap<u32, Arc<str>>,
    /// Each SID once: a volume has thousands of descriptors of few owners.
    sids: BTreeSet<Arc<str>>,
}

impl Owners {
    /// Adds the descriptors of a block of the stream; the block may be the copy of one seen before.
    pub(super) fn add_block(&mut self, block: &[u8]) {
        let mut at = 0_usize;
        while let Some(head) = block.get(at..) {
            let Some(len) = le_u32(head, 16).and_then(|len| usize::try_from(len).ok()) else {
                return;
            };
            if len <= HEAD_BYTES {
                return;
            }
            if let (Some(id), Some(sid)) = (le_u32(head, 4), head.get(HEAD_BYTES..len).and_then(owner)) {
                self.add(id, sid);
            }
            at = at.saturating_add(len).next_multiple_of(16);
        }
    }

    fn add(&mut self, id: u32, sid: String) {
        if self.by_id.len() >= OWNERS_MAX || self.by_id.contains_key(&id) {
            return;
        }
        let known = self.sids.get(sid.as_str()).cloned();
        if known.is_none() && self.sids.len() >= SIDS_MAX {
            return;
        }
        let sid = known.unwrap_or_else(|| sid.into());
        self.sids.insert(sid.clone());
        self.by_id.insert(id, sid);
    }

    /// The owner of files with a security id.
    pub(super) fn get(&self, id: u32) -> Option<&str> {
        self.by_id.get(&id).map(AsRef::as_ref)
    }

    /// Bytes that a block of the stream has.
    pub(super) const fn block_bytes() -> usize {
        BLOCK_BYTES
    }
}

/// The owner that a self-relative descriptor names, as `S-1-...`.
pub(super) fn owner(descriptor: &[u8]) -> Option<String> {
    let at = usize::try_from(le_u32(descriptor, 4)?).ok()?;
    (at != 0).then_some(())?;
    sid(descriptor.get(at..)?)
}

/// Text form of a SID ([MS-DTYP], section 2.4.2.1).
fn sid(bytes: &[u8]) -> Option<String> {
    let (revision, parts) = (u8_at(bytes, 0)?, u8_at(bytes, 1)?);
    (revision == 1 && parts <= PARTS_MAX).then_some(())?;
    let authority: [u8; 6] = array(bytes, 2)?;
    let authority = authority
        .iter()
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let mut text = format!("S-1-{authority}");
    for part in 0..usize::from(parts) {
        let number = le_u32(bytes, part.saturating_mul(4).saturating_add(8))?;
        write!(text, "-{number}").ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor of `S-1-5-32-544`, as an entry of the stream.
    fn entry(id: u32) -> Vec<u8> {
        let sid = [
            &[1, 2, 0, 0, 0, 0, 0, 5][..],
            &32_u32.to_le_bytes(),
            &544_u32.to_le_bytes(),
        ]
        .concat();
        let descriptor = [&[1, 0, 0, 0x80][..], &20_u32.to_le_bytes(), &[0; 12], &sid].concat();
        let len = u32::try_from(HEAD_BYTES + descriptor.len()).expect("short");
        let mut entry = [
            &[0; 4][..],
            &id.to_le_bytes(),
            &[0; 8],
            &len.to_le_bytes(),
            &descriptor,
        ]
        .concat();
        entry.resize(entry.len().next_multiple_of(16), 0);
        entry
    }

    #[test]
    fn owners_are_found_by_security_id() {
        let mut owners = Owners::default();
        owners.add_block(&[entry(256), entry(257), vec![0; 64]].concat());
        assert_eq!(owners.get(257), Some("S-1-5-32-544"));
        assert_eq!(owners.get(258), None);
        assert_eq!(owners.sids.len(), 1);
    }

    #[test]
    fn descriptors_that_cannot_be_are_left_out() {
        let mut broken = entry(256);
        broken[HEAD_BYTES + 20] = 2;
        let mut owners = Owners::default();
        owners.add_block(&broken);
        owners.add_block(&[0xff; 40]);
        owners.add_block(&[]);
        assert_eq!(owners.get(256), None);
        assert_eq!(owner(&[0; 20]), None);
    }
}
