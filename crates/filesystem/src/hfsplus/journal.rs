//! What a dirty journal holds, as runs of the volume whose newest bytes lie in the journal (TN1150, "Journal"; `vfs_journal.c` of Apple's xnu).
//!
//! Nothing is written: the copies are read where they lie. The journal's own structures have the byte order of the machine that wrote them.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{be_u16, be_u32, be_u64, le_u16, le_u32, le_u64};

use super::header::VolumeHeader;
use crate::apple::overlay::Overlay;
use crate::apple::volume::Volume;
use crate::report::Report;

/// Runs that are remembered at most; about 60 MB.
const RUNS_MAX: usize = 1 << 20;
/// Bytes of the journal's header that its checksum covers: all before the sequence number.
const HEADER_CHECKED: usize = 44;
/// Bytes of a block list's header that its checksum covers.
const LIST_CHECKED: usize = 32;
const LIST_HEADER: usize = 16;
const INFO: usize = 16;
/// Largest header of a block list.
const LIST_MAX: u64 = 1 << 20;
/// `BLHDR_CHECK_CHECKSUMS`: the blocks of the list have checksums.
const HAS_BLOCK_CHECKSUMS: u32 = 1;
/// A block that was freed after it was put into the journal.
const KILLED: u64 = u64::MAX;

/// Flags of the journal info block.
mod info_flag {
    pub(super) const IN_FILE_SYSTEM: u32 = 1;
    pub(super) const NEEDS_INIT: u32 = 4;
}

/// Reads the journal, if the volume has one. What became of it is said (R17), unless it is empty.
pub(super) fn overlay(volume: &Volume<'_>, header: &VolumeHeader, report: &mut Report) -> Overlay {
    if !header.is_journaled() {
        return Overlay::default();
    }
    let at = volume.home_in_image(volume.block_offset(header.journal_info_block));
    match Journal::open(volume, header)
        .and_then(|journal| journal.map(|journal| journal.replay()).transpose())
    {
        Ok(None) => Overlay::default(),
        Ok(Some(replayed)) => {
            report.push(replayed.finding().at(at));
            replayed.overlay
        }
        Err(why) => {
            let detail = format!("the journal was not replayed: {why}");
            let finding = Finding::new(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::DirtyJournal,
                detail,
            );
            report.push(finding.at(at));
            Overlay::default()
        }
    }
}

struct Replayed {
    overlay: Overlay,
    lists: u64,
    /// Why it ended before its end.
    stopped: Option<String>,
}

impl Replayed {
    fn finding(&self) -> Finding {
        let mut detail = format!(
            "the journal was replayed in memory: {} block lists, {} bytes",
            self.lists,
            self.overlay.bytes()
        );
        let mut severity = Severity::Info;
        if let Some(why) = &self.stopped {
            severity = Severity::Loss;
            detail.push_str(&format!("; it ends early: {why}"));
        }
        Finding::new(severity, Layer::FileSystem, FindingCode::DirtyJournal, detail)
    }
}

/// The checksum of the journal's structures (`calc_checksum`).
fn checksum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(0_u32, |sum, byte| (sum << 8) ^ sum.wrapping_add(u32::from(*byte)))
}

/// The checksum of `bytes` with zeros in the four bytes at `hole`.
fn checksum_without(bytes: &[u8], hole: usize) -> u32 {
    let mut copy = bytes.to_vec();
    if let Some(hole) = copy.get_mut(hole..hole.saturating_add(4)) {
        hole.fill(0);
    }
    checksum(&copy)
}

struct Journal<'j, 'a> {
    volume: &'j Volume<'a>,
    /// Where it starts in the source, and where the device starts that its block numbers count from.
    offset: u64,
    is_little: bool,
    start: u64,
    end: u64,
    size: u64,
    /// Size of the block list headers.
    list_bytes: u64,
    /// Size of its own header, and unit of its block numbers.
    sector_bytes: u64,
}

impl<'j, 'a> Journal<'j, 'a> {
    /// The journal; `None` if it is empty.
    fn open(volume: &'j Volume<'a>, header: &VolumeHeader) -> Result<Option<Self>, String> {
        let mut info = [0; 52];
        volume
            .read(volume.block_offset(header.journal_info_block), &mut info)
            .map_err(|error| format!("its info block: {error}"))?;
        let flags = be_u32(&info, 0).unwrap_or(0);
        if flags & info_flag::NEEDS_INIT != 0 {
            return Ok(None);
        }
        if flags & info_flag::IN_FILE_SYSTEM == 0 {
            return Err("it is on another device".to_owned());
        }
        let offset = be_u64(&info, 36).unwrap_or(0).saturating_add(volume.first_block);
        let mut head = [0; HEADER_CHECKED];
        volume
            .read(offset, &mut head)
            .map_err(|error| format!("its header: {error}"))?;
        let journal = Self::parse(volume, offset, &head)?;
        Ok((journal.start != journal.end).then_some(journal))
    }

    fn parse(volume: &'j Volume<'a>, offset: u64, head: &[u8]) -> Result<Self, String> {
        let is_little = le_u32(head, 4) == Some(0x1234_5678);
        let mut journal = Self {
            volume,
            offset,
            is_little,
            start: 0,
            end: 0,
            size: 0,
            list_bytes: 0,
            sector_bytes: 0,
        };
        let magic = journal.word(head, 0);
        if !matches!(magic, 0x4a4e_4c78 | 0x4a48_4452) {
            return Err(format!("magic of its header is {magic:#010x}"));
        }
        if magic == 0x4a4e_4c78 && checksum_without(head, 36) != journal.word(head, 36) {
            return Err("the checksum of its header is wrong".to_owned());
        }
        journal.size = journal.long(head, 24);
        journal.sector_bytes = u64::from(journal.word(head, 40));
        journal.list_bytes = u64::from(journal.word(head, 32));
        let at = |offset: u64| {
            if offset == journal.size {
                journal.sector_bytes
            } else {
                offset
            }
        };
        (journal.start, journal.end) = (at(journal.long(head, 8)), at(journal.long(head, 16)));
        let inside = journal.sector_bytes..journal.size;
        let is_sound = journal.sector_bytes.is_power_of_two()
            && (512..=65_536).contains(&journal.sector_bytes)
            && (512..=LIST_MAX).contains(&journal.list_bytes)
            && journal.size <= volume.len()
            && inside.contains(&journal.start)
            && inside.contains(&journal.end);
        is_sound
            .then_some(journal)
            .ok_or_else(|| "the numbers in its header contradict each other".to_owned())
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        if self.is_little {
            le_u32(bytes, at)
        } else {
            be_u32(bytes, at)
        }
        .unwrap_or(0)
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        if self.is_little {
            le_u16(bytes, at)
        } else {
            be_u16(bytes, at)
        }
        .unwrap_or(0)
    }

    fn long(&self, bytes: &[u8], at: usize) -> u64 {
        if self.is_little {
            le_u64(bytes, at)
        } else {
            be_u64(bytes, at)
        }
        .unwrap_or(0)
    }

    /// The place `len` bytes after `at` in the circular log.
    fn after(&self, at: u64, len: u64) -> u64 {
        let next = at.saturating_add(len);
        if next < self.size {
            next
        } else {
            next.saturating_sub(self.size).saturating_add(self.sector_bytes)
        }
    }

    /// The parts in which `len` bytes at `at` of the log lie: where in the log, and how many.
    fn parts(&self, at: u64, len: u64) -> [(u64, u64); 2] {
        let first = len.min(self.size.saturating_sub(at));
        [(at, first), (self.sector_bytes, len.saturating_sub(first))]
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for (at, len) in self.parts(at, len) {
            let mut part = vec![0; usize::try_from(len).map_err(|_| "too long".to_owned())?];
            self.volume
                .read(self.offset.saturating_add(at), &mut part)
                .map_err(|error| error.to_string())?;
            bytes.append(&mut part);
        }
        Ok(bytes)
    }

    /// Reads block lists from the start to the end of the log, and those after it that follow in sequence: the header is written late.
    fn replay(&self) -> Result<Replayed, String> {
        let mut replayed = Replayed {
            overlay: Overlay::default(),
            lists: 0,
            stopped: None,
        };
        let (mut at, mut used, mut sequence, mut is_past) = (self.start, 0_u64, 0, false);
        let room = self.size.saturating_sub(self.sector_bytes);
        loop {
            is_past |= at == self.end && replayed.lists > 0;
            match self.list(at, sequence, is_past) {
                Ok(list) => {
                    used = used.saturating_add(list.bytes);
                    if used > room {
                        break;
                    }
                    sequence = list.sequence;
                    self.add(&list, at, &mut replayed.overlay)?;
                    replayed.lists = replayed.lists.saturating_add(1);
                    at = self.after(at, list.bytes);
                }
                Err(_) if is_past => break,
                Err(why) if replayed.lists == 0 => return Err(why),
                Err(why) => {
                    replayed.stopped = Some(why);
                    break;
                }
            }
        }
        Ok(replayed)
    }

    /// The block list at `at`. Past the end of the log it must carry the sequence on.
    fn list(&self, at: u64, sequence: u32, is_past: bool) -> Result<BlockList, String> {
        let head = self.read(at, self.list_bytes)?;
        let checked = head.get(..LIST_CHECKED).unwrap_or_default();
        if checksum_without(checked, 8) != self.word(&head, 8) {
            return Err(format!(
                "the checksum of the block list at {at:#x} of the journal is wrong"
            ));
        }
        let count = usize::from(self.half(&head, 2));
        let next_sequence = self.word(&head, LIST_HEADER.saturating_add(12));
        let follows =
            sequence != 0 && (next_sequence == sequence || next_sequence == sequence.wrapping_add(1));
        if is_past && !follows {
            return Err("the log ends".to_owned());
        }
        let infos = head.get(LIST_HEADER.saturating_add(INFO)..).unwrap_or_default();
        let (infos, _) = infos.as_chunks::<INFO>();
        if count == 0 || count.saturating_sub(1) > infos.len() {
            return Err(format!(
                "the block list at {at:#x} of the journal claims {count} blocks"
            ));
        }
        let blocks = infos.iter().take(count.saturating_sub(1)).map(|info| Block {
            number: self.long(info, 0),
            len: u64::from(self.word(info, 8)),
            checksum: self.word(info, 12),
        });
        let list = BlockList {
            blocks: blocks.collect(),
            bytes: u64::from(self.word(&head, 4)),
            sequence: next_sequence,
            has_checksums: self.word(&head, 12) & HAS_BLOCK_CHECKSUMS != 0,
        };
        let held = list
            .blocks
            .iter()
            .fold(self.list_bytes, |sum, block| sum.saturating_add(block.len));
        if held > list.bytes || list.bytes > self.size || list.bytes == 0 {
            return Err(format!(
                "the block list at {at:#x} of the journal claims {} bytes",
                list.bytes
            ));
        }
        self.check_blocks(&list, at)?;
        Ok(list)
    }

    fn check_blocks(&self, list: &BlockList, at: u64) -> Result<(), String> {
        let mut place = self.after(at, self.list_bytes);
        for block in &list.blocks {
            if list.has_checksums
                && block.number != KILLED
                && checksum(&self.read(place, block.len)?) != block.checksum
            {
                return Err(format!(
                    "the checksum of a block at {place:#x} of the journal is wrong"
                ));
            }
            place = self.after(place, block.len);
        }
        Ok(())
    }

    /// Puts the blocks of a list over those of the volume.
    fn add(&self, list: &BlockList, at: u64, overlay: &mut Overlay) -> Result<(), String> {
        let mut place = self.after(at, self.list_bytes);
        for block in &list.blocks {
            let home = block.number.saturating_mul(self.sector_bytes);
            if block.number != KILLED && home.saturating_add(block.len) <= self.volume.len() {
                let mut home = home;
                for (part, len) in self.parts(place, block.len) {
                    overlay.insert(home, len, self.offset.saturating_add(part));
                    home = home.saturating_add(len);
                }
            }
            place = self.after(place, block.len);
        }
        if overlay.len() > RUNS_MAX {
            return Err(format!("it holds more than {RUNS_MAX} runs"));
        }
        Ok(())
    }
}

struct Block {
    number: u64,
    len: u64,
    checksum: u32,
}

struct BlockList {
    blocks: Vec<Block>,
    /// Bytes of the log that it takes, with its blocks.
    bytes: u64,
    sequence: u32,
    has_checksums: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_kernel() {
        // ((0 << 8) ^ (0 + 1)) = 1; ((1 << 8) ^ (1 + 2)) = 0x103; complemented.
        assert_eq!(checksum(&[1, 2]), !0x103);
        assert_eq!(
            checksum_without(&[1, 2, 9, 9, 9, 9], 2),
            checksum(&[1, 2, 0, 0, 0, 0])
        );
    }
}
