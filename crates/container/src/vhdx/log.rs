//! The log: writes that never reached their place.
//!
//! The log is a ring of entries of whole 4 KiB sectors: a header, descriptors of what goes where, the bytes. The newest entry names the tail, from which on all are
//! to be applied (2.3.3). They are put over the file in memory; the file is never written.

use std::sync::Arc;

use ntt_model::{Finding, FindingCode};
use ntt_source::{ReadAt, field};

use super::FORMAT;
use super::header::{Header, is_sum_right};
use super::overlay::{Overlay, Writes};
use crate::layout::{bytes_of, read_upto};
use crate::open::warning;

const SECTOR: u64 = 4096;
/// Longest log that is replayed; programs make one of 1 MiB.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Runs of zeros that a log may write; a log of 1 MiB has room for 32,000.
const ZERO_RUNS_MAX: u32 = 1 << 16;
/// Logs' worth of bytes whose checksums are computed to find the newest entry: usually it is the first one.
const LOGS_SUMMED_MAX: u64 = 4;

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
        Some(writes) => {
            let sectors = writes.total_bytes().checked_div(SECTOR).unwrap_or(0);
            let detail = format!("its log was replayed in memory: {sectors} sectors of 4096 bytes");
            findings.push(warning(FORMAT, FindingCode::DirtyJournal, &detail));
            Arc::new(Overlay::new(source.clone(), writes))
        }
        None => {
            let detail = "its log is not empty and cannot be replayed: what was written last is missing";
            findings.push(warning(FORMAT, FindingCode::DirtyJournal, detail));
            source.clone()
        }
    }
}

/// What the newest entry and those from its tail on write; `None` if one of them is wrong.
fn overlay(source: &dyn ReadAt, header: &Header) -> Option<Writes> {
    let (log_at, log_bytes) = header.log;
    if log_bytes == 0 || log_bytes > LOG_BYTES_MAX {
        return None;
    }
    let log = read_upto(source, log_at, log_bytes).ok()?;
    let newest = newest(&log, &header.log_id)?;
    let mut writes = Writes::default();
    let mut zero_runs = ZERO_RUNS_MAX;
    let mut position = newest.tail;
    let mut sequence = None;
    let mut left = log_bytes;
    // From the tail to the newest, with no gap in their numbers. All of them together are no longer than the ring.
    loop {
        let head = Head::parse(&log, position, &header.log_id)?;
        left = left.checked_sub(head.len)?;
        if sequence.is_some_and(|before: u64| before.checked_add(1) != Some(head.sequence)) {
            return None;
        }
        head.entry(&log)?.apply(&mut writes, &mut zero_runs)?;
        if head.start == newest.start {
            return Some(writes);
        }
        sequence = Some(head.sequence);
        position = position.saturating_add(head.len).checked_rem(log_bytes)?;
    }
}

/// The whole entry with the highest number.
fn newest(log: &[u8], id: &[u8; 16]) -> Option<Head> {
    let log_bytes = bytes_of(log);
    let sectors = log_bytes.checked_div(SECTOR)?;
    let mut heads: Vec<Head> = (0..sectors)
        .filter_map(|sector| Head::parse(log, sector.saturating_mul(SECTOR), id))
        .collect();
    heads.sort_by_key(|head| head.sequence);
    let mut left = log_bytes.saturating_mul(LOGS_SUMMED_MAX);
    heads.into_iter().rev().find_map(|head| {
        left = left.checked_sub(head.len)?;
        head.entry(log).map(|_| head)
    })
}

/// The header of an entry, whose bytes may still be wrong.
#[derive(Clone, Copy)]
struct Head {
    start: u64,
    len: u64,
    tail: u64,
    sequence: u64,
}

impl Head {
    /// What stands at a byte of the log.
    fn parse(log: &[u8], start: u64, id: &[u8; 16]) -> Option<Self> {
        let head = log.get(usize::try_from(start).ok()?..)?;
        if !head.starts_with(b"loge") || field::array::<16>(head, 32)? != *id {
            return None;
        }
        let log_bytes = bytes_of(log);
        let len = u64::from(field::le_u32(head, 8)?);
        let tail = u64::from(field::le_u32(head, 12)?);
        let is_place = len > 0 && len.is_multiple_of(SECTOR) && len <= log_bytes;
        (is_place && tail.is_multiple_of(SECTOR) && tail < log_bytes).then_some(Self {
            start,
            len,
            tail,
            sequence: field::le_u64(head, 16)?,
        })
    }

    /// The entry, if its checksum holds. It may go on at the start of the ring.
    fn entry(&self, log: &[u8]) -> Option<Entry> {
        let (before, from) = log.split_at_checked(usize::try_from(self.start).ok()?)?;
        let wanted = usize::try_from(self.len).ok()?;
        let (first, second) = (from.len().min(wanted), wanted.saturating_sub(from.len()));
        let bytes = [from.get(..first)?, before.get(..second)?].concat();
        is_sum_right(&bytes).then_some(Entry {
            sequence: self.sequence,
            bytes,
        })
    }
}

/// One entry of the log.
struct Entry {
    sequence: u64,
    bytes: Vec<u8>,
}

impl Entry {
    /// Adds what the entry writes; `None` if a part of it is wrong, or `zero_runs` are used up.
    fn apply(&self, writes: &mut Writes, zero_runs: &mut u32) -> Option<()> {
        let count = usize::try_from(field::le_u32(&self.bytes, 24)?).ok()?;
        let descriptors = self.bytes.get(64..)?.chunks_exact(32).take(count);
        let described = u64::try_from(count.checked_mul(32)?.checked_add(64)?).ok()?;
        let mut data_at = described.div_ceil(SECTOR).checked_mul(SECTOR)?;
        for descriptor in descriptors {
            let offset = field::le_u64(descriptor, 16).filter(|offset| offset.is_multiple_of(SECTOR))?;
            match descriptor.get(..4)? {
                b"zero" => {
                    *zero_runs = zero_runs.checked_sub(1)?;
                    let len = field::le_u64(descriptor, 8).filter(|len| len.is_multiple_of(SECTOR))?;
                    writes.zeros(offset, len)?;
                }
                b"desc" => {
                    writes.bytes(offset, self.sector(descriptor, data_at)?)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vhdx::header::sum;

    const ID: [u8; 16] = [7; 16];

    enum Write {
        Zeros(u64, u64),
        Sector(u64, u8),
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// An entry of the log.
    fn entry(sequence: u64, tail: u64, writes: &[Write]) -> Vec<u8> {
        let described = (64 + 32 * writes.len()).next_multiple_of(4096);
        let mut bytes = vec![0; described];
        put(&mut bytes, 0, b"loge");
        put(&mut bytes, 12, &u32::try_from(tail).expect("small").to_le_bytes());
        put(&mut bytes, 16, &sequence.to_le_bytes());
        let count = u32::try_from(writes.len()).expect("small");
        put(&mut bytes, 24, &count.to_le_bytes());
        put(&mut bytes, 32, &ID);
        for (index, write) in writes.iter().enumerate() {
            let at = 64 + 32 * index;
            match write {
                Write::Zeros(offset, len) => {
                    put(&mut bytes, at, b"zero");
                    put(&mut bytes, at + 8, &len.to_le_bytes());
                    put(&mut bytes, at + 16, &offset.to_le_bytes());
                }
                Write::Sector(offset, fill) => {
                    put(&mut bytes, at, b"desc");
                    put(&mut bytes, at + 4, &[*fill; 12]);
                    put(&mut bytes, at + 16, &offset.to_le_bytes());
                    let mut sector = vec![*fill; 4096];
                    let sequence = sequence.to_le_bytes();
                    put(&mut sector, 0, b"data");
                    put(&mut sector, 4, &sequence[4..]);
                    put(&mut sector, 4092, &sequence[..4]);
                    bytes.extend(sector);
                }
            }
        }
        let len = u32::try_from(bytes.len()).expect("small");
        put(&mut bytes, 8, &len.to_le_bytes());
        let sum = sum(&bytes);
        put(&mut bytes, 4, &sum.to_le_bytes());
        bytes
    }

    /// A file of a MiB of `0x11`, and behind it a log of these entries that is `log_bytes` long.
    fn file(entries: &[Vec<u8>], log_bytes: u64) -> (Arc<dyn ReadAt>, Header) {
        let mut bytes = vec![0x11; 1 << 20];
        bytes.extend(entries.concat());
        let len = (1 << 20) + usize::try_from(log_bytes).expect("small");
        assert!(bytes.len() <= len, "the log holds its entries");
        bytes.resize(len, 0);
        let header = Header {
            data_id: [0; 16],
            log_id: ID,
            log: (1 << 20, log_bytes),
        };
        (Arc::new(bytes), header)
    }

    fn read(source: &dyn ReadAt, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        source.read_exact_at(offset, &mut bytes).expect("read");
        bytes
    }

    /// What a file is through its log, and what is said of it.
    fn through(entries: &[Vec<u8>]) -> (Arc<dyn ReadAt>, String) {
        let (source, header) = file(entries, 1 << 20);
        let mut findings = Vec::new();
        let replayed = replayed(&source, &header, &mut findings);
        (replayed, findings.remove(0).detail)
    }

    #[test]
    fn later_entries_write_over_earlier_ones() {
        let first = entry(
            5,
            0,
            &[
                Write::Sector(8192, 0xaa),
                Write::Zeros(16384, 16384),
                Write::Sector(40960, 0xbb),
            ],
        );
        let second = entry(6, 0, &[Write::Sector(20480, 0xcc), Write::Zeros(40960, 4096)]);
        let (file, said) = through(&[first, second]);
        assert_eq!(
            said,
            "VHDX: its log was replayed in memory: 6 sectors of 4096 bytes"
        );
        let expected: Vec<u8> = [
            (0x11, 4096),
            (0xaa, 4096),
            (0x11, 4096),
            (0, 4096),
            (0xcc, 4096),
            (0, 8192),
            (0x11, 8192),
            (0, 4096),
            (0x11, 4096),
        ]
        .iter()
        .flat_map(|(fill, count)| vec![*fill; *count])
        .collect();
        assert_eq!(read(&file, 4096, expected.len()), expected);
        for (offset, len) in [
            (8191, 2),
            (12287, 2),
            (18000, 3000),
            (20481, 4096),
            (24000, 20000),
        ] {
            let start = offset - 4096;
            let wanted = &expected[start..start + len];
            let offset = u64::try_from(offset).expect("small");
            assert_eq!(read(&file, offset, len), wanted, "from {offset}");
        }
    }

    #[test]
    fn a_gap_in_the_numbers_is_no_log() {
        let entries = [
            entry(5, 0, &[Write::Sector(8192, 0xaa)]),
            entry(7, 0, &[Write::Sector(8192, 0xbb)]),
        ];
        assert!(through(&entries).1.contains("cannot be replayed"));
    }

    #[test]
    fn a_torn_entry_is_passed_over() {
        let whole = entry(5, 0, &[Write::Sector(8192, 0xaa)]);
        let mut torn = entry(6, 0, &[Write::Sector(8192, 0xbb)]);
        torn[5000] ^= 1;
        let (file, _) = through(&[whole, torn]);
        assert_eq!(read(&file, 8192, 4096), vec![0xaa; 4096]);
    }

    /// Runs of zeros cost what they are said to be, not what they cover.
    #[test]
    fn zeros_of_a_petabyte_are_a_few_ranges() {
        let zeros: Vec<Write> = (0..30_000).map(|run| Write::Zeros(run << 40, 1 << 40)).collect();
        let (file, said) = through(&[entry(5, 0, &zeros)]);
        assert!(said.contains("its log was replayed"), "{said}");
        assert_eq!(file.len(), 30_000 << 40);
        assert_eq!(read(&file, 29_999 << 40, 100), vec![0; 100]);
    }

    #[test]
    fn more_runs_of_zeros_than_any_program_writes_are_no_log() {
        let zeros: Vec<Write> = (0..=u64::from(ZERO_RUNS_MAX))
            .map(|run| Write::Zeros(run << 13, 4096))
            .collect();
        let (source, header) = file(&[entry(5, 0, &zeros)], 4 << 20);
        assert!(overlay(&source, &header).is_none());
    }

    /// A log in which every sector says that it is a long entry is not summed from each of them.
    #[test]
    fn a_log_of_nothing_but_heads_is_given_up() {
        let mut log = vec![0; 16 << 20];
        let len = u32::try_from(log.len()).expect("small");
        for sector in log.chunks_exact_mut(4096) {
            put(sector, 0, b"loge");
            put(sector, 8, &len.to_le_bytes());
            put(sector, 32, &ID);
        }
        let (source, header) = file(&[log], 16 << 20);
        assert!(overlay(&source, &header).is_none());
    }
}
