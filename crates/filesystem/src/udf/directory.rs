//! Directories: a sequence of file identifier descriptors (ECMA-167, 4/8.6 and 4/14.4; UDF 2.3.4).

use ntt_model::FindingCode;
use ntt_source::field::{le_u16, le_u32, u8_at};

use super::address::Allocated;
use super::allocation::Content;
use super::content::{Part, read};
use super::tag::{TAG_BYTES, Tag, id};
use super::text::unicode;
use crate::disc::Disc;

/// Bytes of a descriptor before its variable fields.
const FIXED_BYTES: usize = 38;

/// File characteristics (ECMA-167, 4/14.4.3).
pub(super) mod characteristic {
    pub(in super::super) const DIRECTORY: u8 = 0x02;
    pub(in super::super) const DELETED: u8 = 0x04;
    pub(in super::super) const PARENT: u8 = 0x08;
}

/// A file identifier descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identifier {
    /// Where it stands in the volume.
    pub(super) offset: u64,
    pub(super) characteristics: u8,
    pub(super) icb: Allocated,
    /// WTF-8.
    pub(super) name: Vec<u8>,
    /// Length in bytes, with padding.
    len: usize,
    is_intact: bool,
}

impl Identifier {
    /// The descriptor at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Parsed {
        let Some(head) = bytes.get(..FIXED_BYTES) else {
            return Parsed::Short;
        };
        let Some(tag) = Tag::parse(head).filter(|tag| tag.id == id::FILE_IDENTIFIER) else {
            return Parsed::Wrong;
        };
        match Self::body(tag, bytes, offset) {
            Some(identifier) => Parsed::Good(identifier),
            None => Parsed::Short,
        }
    }

    fn body(tag: Tag, bytes: &[u8], offset: u64) -> Option<Self> {
        let use_len = usize::from(le_u16(bytes, 36)?);
        let name_start = FIXED_BYTES.checked_add(use_len)?;
        let name_end = name_start.checked_add(usize::from(u8_at(bytes, 19)?))?;
        let len = name_end.next_multiple_of(4);
        let name = bytes.get(name_start..name_end)?;
        // The padding of the last one may be cut off.
        let own = bytes.get(..len.min(bytes.len()))?;
        Some(Self {
            offset,
            characteristics: u8_at(bytes, 18)?,
            icb: Allocated::long(bytes, 20)?,
            name: unicode(name),
            len,
            is_intact: tag.protects(own),
        })
    }

    pub(super) fn has(&self, characteristic: u8) -> bool {
        self.characteristics & characteristic != 0
    }

    /// Whether its CRC is right.
    pub(super) fn is_intact(&self) -> bool {
        self.is_intact
    }

    /// Length in bytes, with padding.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The length that a descriptor will have whose start is there; `None` if not enough of it is.
    pub(super) fn needed(bytes: &[u8]) -> Option<usize> {
        let tag = Tag::parse(bytes).filter(|tag| tag.id == id::FILE_IDENTIFIER);
        let fields = usize::from(le_u16(bytes, 36)?).checked_add(usize::from(u8_at(bytes, 19)?))?;
        tag.and_then(|_| FIXED_BYTES.checked_add(fields))
            .map(|len| len.next_multiple_of(4))
    }
}

/// What stands at a place of a directory.
pub(super) enum Parsed {
    Good(Identifier),
    /// More bytes are needed to tell.
    Short,
    Wrong,
}

/// One thing of a directory, in order.
#[derive(Debug)]
pub(super) enum Item {
    Identifier(Identifier),
    /// Bytes without a descriptor: where they start in the volume, how many, and why.
    Damaged(u64, u64, FindingCode),
}

/// Hands over what a directory holds until `each` says that it is enough. After damage the next descriptor is looked for at every fourth
/// byte; there only one whose CRC is right counts.
pub(super) fn each(disc: &Disc<'_>, content: &Content, each: &mut dyn FnMut(Item) -> bool) {
    let mut parser = Parser {
        buffer: Vec::new(),
        places: Vec::new(),
        damage: None,
        each,
    };
    let mut go_on = true;
    read(disc, content, &mut |part| {
        go_on = match part {
            Part::Bytes(offset, bytes) => parser.add(offset, bytes),
            Part::Lost(offset, len, code) => parser.gap(offset, len, code),
            Part::Hole(len) => parser.gap(0, len, FindingCode::Corrupt),
        };
        go_on
    });
    if go_on {
        parser.end();
    }
}

struct Parser<'e> {
    buffer: Vec<u8>,
    /// Runs of the buffer: first byte in it, and where that lies in the volume.
    places: Vec<(usize, u64)>,
    /// Damage that was not handed over yet, because it may go on.
    damage: Option<(u64, u64, FindingCode)>,
    each: &'e mut dyn FnMut(Item) -> bool,
}

impl Parser<'_> {
    fn add(&mut self, offset: u64, bytes: &[u8]) -> bool {
        self.places.push((self.buffer.len(), offset));
        self.buffer.extend_from_slice(bytes);
        self.consume(false)
    }

    fn gap(&mut self, offset: u64, len: u64, code: FindingCode) -> bool {
        let go_on = self.consume(true);
        self.damaged(offset, len, code);
        go_on
    }

    fn end(&mut self) {
        if self.consume(true) {
            self.tell_damage();
        }
    }

    fn place(&self, at: usize) -> u64 {
        let after = self.places.partition_point(|(first, _)| *first <= at);
        let place = after.checked_sub(1).and_then(|index| self.places.get(index));
        place.map_or(0, |(first, offset)| {
            offset.saturating_add(u64::try_from(at.saturating_sub(*first)).unwrap_or(0))
        })
    }

    /// Takes the descriptors in the buffer; at the end of what follows without a gap (`is_last`) nothing is left over.
    fn consume(&mut self, is_last: bool) -> bool {
        let mut at = 0;
        while let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = self.place(at);
            let (go_on, step) = match Identifier::parse(rest, offset) {
                Parsed::Short if !is_last && rest.len() < usize::from(u16::MAX) => break,
                Parsed::Good(identifier) if self.damage.is_none() || identifier.is_intact => {
                    let step = identifier.len;
                    (
                        self.tell_damage() && (self.each)(Item::Identifier(identifier)),
                        step,
                    )
                }
                _ => {
                    let step = step_over(rest);
                    let len = u64::try_from(step.min(rest.len())).unwrap_or(0);
                    self.damaged(offset, len, FindingCode::Corrupt);
                    (true, step)
                }
            };
            at = at.saturating_add(step);
            if !go_on {
                return false;
            }
        }
        self.drop_front(at);
        true
    }

    fn drop_front(&mut self, at: usize) {
        if at >= self.buffer.len() {
            self.buffer.clear();
            self.places.clear();
            return;
        }
        let offset = self.place(at);
        self.places.retain(|(first, _)| *first > at);
        for (first, _) in &mut self.places {
            *first = first.saturating_sub(at);
        }
        self.places.insert(0, (0, offset));
        self.buffer.drain(..at);
    }

    /// Notes damage, joined with what goes right before. The parts of descriptors before and after bytes that cannot be read are lost because of
    /// those.
    fn damaged(&mut self, offset: u64, len: u64, code: FindingCode) {
        let (offset, length, old) = self.damage.take().unwrap_or((offset, 0, code));
        let code = if old == FindingCode::Corrupt { code } else { old };
        self.damage = Some((offset, length.saturating_add(len), code));
    }

    fn tell_damage(&mut self) -> bool {
        match self.damage.take() {
            Some((offset, len, code)) => (self.each)(Item::Damaged(offset, len, code)),
            None => true,
        }
    }
}

/// How far to the next place where a descriptor may start: past zeros at once.
fn step_over(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    (zeros & !3).max(4)
}

/// The ICB of the parent, of a block that starts as a directory does (ECMA-167, 4/8.6: the parent's descriptor is there).
pub(super) fn parent_in(bytes: &[u8], block: u32) -> Option<Allocated> {
    let tag = Tag::parse(bytes).filter(|_| bytes.len() >= TAG_BYTES)?;
    if le_u32(bytes, 12) != Some(block) || tag.id != id::FILE_IDENTIFIER {
        return None;
    }
    match Identifier::parse(bytes, 0) {
        Parsed::Good(identifier) if identifier.is_intact && identifier.has(characteristic::PARENT) => {
            Some(identifier.icb)
        }
        _ => None,
    }
}
