//! System Use Sharing Protocol (SUSP 1.12): the entries in the system use area of a record and its continuations.

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::field::u8_at;

use super::disc::{Disc, both_u32};

/// Continuation areas of one record; real ones need one or two.
const CONTINUATIONS_MAX: usize = 64;
/// Length of one continuation area; SUSP 5.1 keeps it inside a logical block.
const AREA_BYTES_MAX: u32 = 64 * 1024;

/// One system use entry: signature and what follows length and version.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemUseEntry<'a> {
    pub(super) signature: [u8; 2],
    pub(super) data: &'a [u8],
}

/// The entries of one area, up to its end, the terminator `ST`, or the first that is no entry.
pub(super) fn entries(area: &[u8]) -> impl Iterator<Item = SystemUseEntry<'_>> {
    let mut rest = area;
    std::iter::from_fn(move || {
        let len = usize::from(u8_at(rest, 2)?);
        let signature = [u8_at(rest, 0)?, u8_at(rest, 1)?];
        if signature == *b"ST" {
            return None;
        }
        let data = rest.get(4..len)?;
        rest = rest.get(len..)?;
        Some(SystemUseEntry { signature, data })
    })
}

/// The bytes to skip at the start of every system use area, if `area` (of the root's own record) has the entry `SP`
/// that says so (SUSP 5.3). CD-ROM XA discs have 14 bytes of their own before it.
pub(super) fn skip_of(area: &[u8]) -> Option<usize> {
    [0, 14].into_iter().find_map(|start| {
        let first = entries(area.get(start..)?).next()?;
        let [0xbe, 0xef, skip, ..] = *first.data else {
            return None;
        };
        (first.signature == *b"SP").then_some(usize::from(skip))
    })
}

/// Whether the area holds a Rock Ridge entry that every record has, for discs whose `SP` is lost.
pub(super) fn looks_like_rock_ridge(area: &[u8]) -> bool {
    entries(area).any(|entry| entry.signature == *b"PX" && entry.data.len() >= 32)
}

/// Calls `each` for every entry of a record's area and of the continuation areas that it leads to (`CE`, SUSP 5.1).
///
/// Each continuation is read once: one that was read before is a loop and becomes a finding. Returns the areas read.
pub(super) fn walk(
    disc: &Disc<'_>,
    block_bytes: u64,
    (record_offset, area): (u64, &[u8]),
    each: &mut dyn FnMut(SystemUseEntry<'_>),
    findings: &mut Vec<Finding>,
) -> Vec<ByteRange> {
    let mut read: Vec<ByteRange> = Vec::new();
    let mut next = entries_of(area, each, block_bytes);
    while let Some(range) = next.take() {
        if read.contains(&range) || read.len() >= CONTINUATIONS_MAX {
            let detail = "the continuation area of a system use area leads back to itself";
            let code = (Severity::Warning, Layer::Directory, FindingCode::Loop);
            findings.push(disc.finding(code, record_offset, detail));
            break;
        }
        read.push(range);
        let len = usize::try_from(range.len).unwrap_or(0);
        match disc.bytes(range.offset, len) {
            Ok(bytes) => next = entries_of(&bytes, each, block_bytes),
            Err(error) => {
                let what = "a continuation of a system use area (Rock Ridge name or attributes)";
                findings.push(disc.unreadable(Layer::Directory, range.offset, what, &error));
            }
        }
    }
    read
}

/// Hands out the entries of one area and returns where it is continued; `CE` may stand anywhere, the continuation follows last.
fn entries_of(area: &[u8], each: &mut dyn FnMut(SystemUseEntry<'_>), block_bytes: u64) -> Option<ByteRange> {
    let mut next = None;
    for entry in entries(area) {
        match &entry.signature {
            b"CE" => next = continuation(entry.data, block_bytes).or(next),
            _ => each(entry),
        }
    }
    next
}

fn continuation(data: &[u8], block_bytes: u64) -> Option<ByteRange> {
    let small = |len: u32| len <= AREA_BYTES_MAX;
    let block = both_u32(data, 0)?.choose(|_| true);
    let offset = both_u32(data, 8)?.choose(small);
    let len = both_u32(data, 16)?.choose(small).min(AREA_BYTES_MAX);
    let start = u64::from(block)
        .checked_mul(block_bytes)?
        .checked_add(u64::from(offset))?;
    (len > 0).then(|| ByteRange::new(start, u64::from(len)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn both(value: u32) -> Vec<u8> {
        [value.to_le_bytes(), value.to_be_bytes()].concat()
    }

    pub(in super::super) fn entry(signature: &[u8; 2], data: &[u8]) -> Vec<u8> {
        let len = u8::try_from(data.len() + 4).unwrap();
        [&signature[..], &[len, 1], data].concat()
    }

    fn ce(block: u32, offset: u32, len: u32) -> Vec<u8> {
        entry(b"CE", &[both(block), both(offset), both(len)].concat())
    }

    fn signatures(disc: &Disc<'_>, area: &[u8]) -> (Vec<[u8; 2]>, Vec<Finding>) {
        let (mut seen, mut findings) = (Vec::new(), Vec::new());
        let mut each = |entry: SystemUseEntry<'_>| seen.push(entry.signature);
        walk(disc, 2048, (0, area), &mut each, &mut findings);
        (seen, findings)
    }

    #[test]
    fn continuations_are_followed_after_the_area_that_names_them() {
        let more = [entry(b"NM", b"\0b"), entry(b"ST", b""), entry(b"ZZ", b"")].concat();
        let mut bytes = vec![0; 4096];
        bytes[2048 + 100..2048 + 100 + more.len()].copy_from_slice(&more);
        let disc = Disc::new(Box::new(bytes), 0);
        let len = u32::try_from(more.len()).unwrap();
        let area = [ce(1, 100, len), entry(b"PX", b"")].concat();
        let (seen, findings) = signatures(&disc, &area);
        assert_eq!(seen, [*b"PX", *b"NM"]);
        assert!(findings.is_empty());
    }

    /// R22: a continuation that leads to itself ends with a finding.
    #[test]
    fn r22_a_continuation_loop_is_a_finding() {
        let mut bytes = vec![0; 4096];
        let loop_entry = ce(1, 0, 28);
        bytes[2048..2048 + loop_entry.len()].copy_from_slice(&loop_entry);
        let disc = Disc::new(Box::new(bytes), 0);
        let (_, findings) = signatures(&disc, &loop_entry);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, FindingCode::Loop);
    }

    #[test]
    fn a_continuation_beyond_the_end_is_a_finding() {
        let disc = Disc::new(Box::new(vec![0; 2048]), 512);
        let (_, findings) = signatures(&disc, &ce(u32::MAX, 0, 28));
        assert_eq!(findings[0].code, FindingCode::BeyondEnd);
    }

    #[test]
    fn sp_gives_the_skip_with_or_without_xa_bytes_before_it() {
        let sp = entry(b"SP", &[0xbe, 0xef, 0]);
        assert_eq!(skip_of(&sp), Some(0));
        let mut xa = vec![1; 14];
        xa.extend(entry(b"SP", &[0xbe, 0xef, 14]));
        assert_eq!(skip_of(&xa), Some(14));
        assert_eq!(skip_of(&entry(b"PX", &[0; 32])), None);
    }
}
