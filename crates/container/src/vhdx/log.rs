//! The log: writes that never reached their place.
//!
//! The log is a ring of entries of whole 4 KiB sectors: a header, descriptors of what goes where, the bytes. The newest entry names the tail, from which on all are
//! to be applied (2.3.3). They are put over the file in memory; the file is never written.

use std::collections::BTreeMap;
use std::sync::Arc;

use ntt_model::{ByteRange, Finding, FindingCode};
use ntt_source::{ReadAt, ReadError, field};

use super::header::{Header, is_sum_right};
use super::warning;
use crate::layout::{bytes_of, read_upto};

const SECTOR: u64 = 4096;
/// Longest log that is replayed; programs make one of 1 MiB.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Longest run of zeros that a log may write, in sectors.
const ZERO_SECTORS_MAX: u64 = 16 << 10;

/// The file as it would be if its log had been applied.
pub(super) fn replayed(
    source: &Arc<dyn ReadAt>,
    header: &Header,
    findings: &mut Vec<Finding>,
) -> Arc<dyn ReadAt> {
    if header.log_id == [0; 16] {
        return source.clone();
    }
    match overlay(source, header) {
        Some(sectors) => {
            let detail = format!(
                "its log was replayed in memory: {} sectors of 4096 bytes",
                sectors.len()
            );
            findings.push(warning(FindingCode::DirtyJournal, &detail));
            Arc::new(Overlay {
                source: source.clone(),
                sectors,
            })
        }
        None => {
            let detail = "its log is not empty and cannot be replayed: what was written last is missing";
            findings.push(warning(FindingCode::DirtyJournal, detail));
            source.clone()
        }
    }
}

/// One entry of the log.
struct Entry {
    start: u64,
    len: u64,
    tail: u64,
    sequence: u64,
    bytes: Vec<u8>,
}

fn overlay(source: &dyn ReadAt, header: &Header) -> Option<BTreeMap<u64, Arc<Vec<u8>>>> {
    let (log_at, log_bytes) = header.log;
    if log_bytes == 0 || log_bytes > LOG_BYTES_MAX {
        return None;
    }
    let log = read_upto(source, log_at, log_bytes).ok()?;
    let sectors = log_bytes.checked_div(SECTOR)?;
    let entry_at = |start: u64| Entry::parse(&log, start, &header.log_id);
    let newest = (0..sectors)
        .filter_map(|sector| entry_at(sector.saturating_mul(SECTOR)))
        .max_by_key(|entry| entry.sequence)?;
    let mut found = BTreeMap::new();
    let mut position = newest.tail;
    // From the tail to the newest, with no gap in their numbers.
    for _ in 0..sectors {
        let entry = entry_at(position)?;
        entry.apply(&mut found)?;
        if entry.start == newest.start {
            return Some(found);
        }
        position = position.saturating_add(entry.len).checked_rem(log_bytes)?;
    }
    None
}

impl Entry {
    /// The whole entry that begins at a byte of the log.
    fn parse(log: &[u8], start: u64, id: &[u8; 16]) -> Option<Self> {
        let at = usize::try_from(start).ok()?;
        let (before, head) = log.split_at_checked(at)?;
        if !head.starts_with(b"loge") || field::array::<16>(head, 32)? != *id {
            return None;
        }
        let len = u64::from(field::le_u32(head, 8)?);
        let wanted = usize::try_from(len).ok()?;
        let fits = len > 0 && len.is_multiple_of(SECTOR) && wanted <= log.len();
        // It may go on at the start of the ring.
        let (first, second) = (head.len().min(wanted), wanted.saturating_sub(head.len()));
        let bytes = [head.get(..first)?, before.get(..second)?].concat();
        (fits && is_sum_right(&bytes)).then_some(Self {
            start,
            len,
            tail: u64::from(field::le_u32(head, 12)?),
            sequence: field::le_u64(head, 16)?,
            bytes,
        })
    }

    /// Puts what the entry writes over the file; `None` if a part of it is wrong.
    fn apply(&self, found: &mut BTreeMap<u64, Arc<Vec<u8>>>) -> Option<()> {
        let count = usize::try_from(field::le_u32(&self.bytes, 24)?).ok()?;
        let descriptors = self.bytes.get(64..)?.chunks_exact(32).take(count);
        let described = u64::try_from(count.checked_mul(32)?.checked_add(64)?).ok()?;
        let mut data_at = described.div_ceil(SECTOR).checked_mul(SECTOR)?;
        for descriptor in descriptors {
            let offset = field::le_u64(descriptor, 16)?;
            match descriptor.get(..4)? {
                b"zero" => {
                    let sectors = field::le_u64(descriptor, 8)?.checked_div(SECTOR)?;
                    if sectors > ZERO_SECTORS_MAX {
                        return None;
                    }
                    let zeros = Arc::new(vec![0; usize::try_from(SECTOR).ok()?]);
                    for sector in 0..sectors {
                        found.insert(offset.checked_add(sector.checked_mul(SECTOR)?)?, zeros.clone());
                    }
                }
                b"desc" => {
                    found.insert(offset, Arc::new(self.sector(descriptor, data_at)?));
                    data_at = data_at.checked_add(SECTOR)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// A sector of data: its first 8 and last 4 bytes are kept in the descriptor.
    fn sector(&self, descriptor: &[u8], at: u64) -> Option<Vec<u8>> {
        let start = usize::try_from(at).ok()?;
        let stored = self.bytes.get(start..start.checked_add(4096)?)?;
        let sequence = u64::from(field::le_u32(stored, 4)?) << 32 | u64::from(field::le_u32(stored, 4092)?);
        if !stored.starts_with(b"data") || sequence != self.sequence {
            return None;
        }
        let (leading, trailing) = (descriptor.get(8..16)?, descriptor.get(4..8)?);
        Some([leading, stored.get(8..4092)?, trailing].concat())
    }
}

/// A file with sectors over it.
struct Overlay {
    source: Arc<dyn ReadAt>,
    sectors: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl ReadAt for Overlay {
    fn len(&self) -> u64 {
        let last = self
            .sectors
            .keys()
            .next_back()
            .map_or(0, |at| at.saturating_add(SECTOR));
        self.source.len().max(last)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let range = ByteRange::new(offset, bytes_of(buffer));
        let (mut position, mut rest) = (offset, buffer);
        let first = offset.saturating_sub(SECTOR.saturating_sub(1));
        for (at, sector) in self.sectors.range(first..range.end()) {
            let below = at.saturating_sub(position);
            let (now, later) =
                rest.split_at_mut(usize::try_from(below).unwrap_or(usize::MAX).min(rest.len()));
            self.source.read_exact_at(position, now)?;
            position = position.saturating_add(below);
            let skip = usize::try_from(position.saturating_sub(*at)).unwrap_or(usize::MAX);
            let over = sector.get(skip..).unwrap_or_default();
            let (now, later) = later.split_at_mut(over.len().min(later.len()));
            now.copy_from_slice(over.get(..now.len()).unwrap_or_default());
            position = position.saturating_add(bytes_of(now));
            rest = later;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            self.source.read_exact_at(position, rest)
        }
    }
}
