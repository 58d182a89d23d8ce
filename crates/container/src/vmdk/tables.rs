//! The grain directory and the grain tables of a sparse extent, of which there may be two.
//!
//! Both are read and compared, a sector of entries (a *group*) at a time: damage comes by sectors, and one entry that is impossible makes its whole group doubtful.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, field};

use super::shared::{Phase, Slots, Tally};
use super::sparse::Header;
use super::{FORMAT, SECTOR};
use crate::layout::read_upto;
use crate::open::OpenError;

/// Tables of one extent: at the usual 32 MiB each, 32 TiB.
const TABLES_MAX: u64 = 1 << 20;
/// Entries of one sector of a table.
const GROUP_ENTRIES: u64 = 128;
/// Groups that are compared when the extent is opened: 4 TiB of grains of 64 KiB. The others are compared when they are needed.
const GROUPS_AT_OPEN: u64 = 1 << 19;
/// Groups kept.
const KEPT_MAX: usize = 256;
/// Bytes of a directory that are read at once.
const PIECE_BYTES: u64 = 64 * 1024;
/// What a file may hold beside its grains and tables.
const FILE_SLACK: u64 = 16 << 20;
/// Places between grains of a stream that are looked at when it is opened: each may cost a seek.
const GAPS_MAX: u32 = 1 << 14;
/// Markers without data that follow each other in a stream: a table, the directory, the footer.
const HOPS_MAX: u32 = 4;

/// Where a grain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nowhere in this extent.
    Hole,
    /// Nowhere: it is zeros.
    Zeros,
    /// At this byte of the file.
    At(u64),
    /// It cannot be told where.
    Lost(Why),
}

/// Why it cannot be told where a grain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The two tables name different places, and both are possible.
    Unsure,
    /// The entry names a place that no grain can have.
    Impossible,
    /// The file is cut short before the place.
    Cut,
    /// No table can be read that lists it.
    Unreadable,
    /// Another grain has the same place.
    Contested,
    /// The stream has a grain where the table has none.
    Torn,
}

impl Why {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unsure => "its two tables name different places for it",
            Self::Impossible => "its table names a place where no grain can be",
            Self::Cut => "its file ends before the place that its table names",
            Self::Unreadable => "its table cannot be read",
            Self::Contested => "another grain lies at the same place",
            Self::Torn => "its table has no place for it, but the stream has grains there",
        }
    }
}

/// Where a directory says that a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    At(u64),
    /// The place is impossible, or the directory could not be read there.
    Wrong,
}

/// A group of entries as one of the two tables has it.
#[derive(PartialEq, Eq)]
enum Half {
    Entries(Vec<u32>),
    Unreadable,
}

/// Directory and tables of an extent, and what was found out about them.
pub(super) struct Tables {
    source: Arc<dyn ReadAt>,
    header: Header,
    grains: u64,
    /// Where the tables are by the directory.
    first: Vec<Place>,
    /// Where they are by its copy, if there is one.
    second: Option<Vec<Place>>,
    /// Where directories and tables lie, ascending: no grain lies there.
    taken: Vec<Range<u64>>,
    slots: Option<Slots>,
    /// Grains that a stream has and its tables do not.
    torn: Vec<Range<u64>>,
    /// The groups used last, newest at the end.
    kept: Mutex<Vec<(u64, Arc<Vec<Entry>>)>>,
}

impl Tables {
    pub(super) fn open(
        source: &Arc<dyn ReadAt>,
        header: Header,
        start: u64,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, OpenError> {
        let grains = header.capacity.div_ceil(header.grain_bytes.max(1));
        let count = grains.div_ceil(header.entries_per_table.max(1));
        if count > TABLES_MAX {
            return Err(OpenError::corrupt(
                FORMAT,
                format!("{count} grain tables are not believed"),
            ));
        }
        let mut tables = Self {
            first: directory(source, header.directory, count),
            second: header.copy().map(|at| directory(source, at, count)),
            taken: Vec::new(),
            slots: None,
            torn: Vec::new(),
            kept: Mutex::default(),
            source: source.clone(),
            header,
            grains,
        };
        tables.refuse_impossible_places(count);
        tables.compare(start, findings);
        Ok(tables)
    }

    /// Where a grain is.
    pub(super) fn entry(&self, grain: u64) -> Entry {
        let entries = self.header.group_entries();
        let number = grain.checked_div(entries).unwrap_or(0);
        let index = grain.checked_rem(entries).unwrap_or(0);
        let group = self.group(number);
        let entry = usize::try_from(index).ok().and_then(|index| group.get(index));
        match entry.copied().unwrap_or(Entry::Lost(Why::Unreadable)) {
            // A marker tells of a compressed grain which one it is.
            Entry::At(at) if !self.header.has_markers() && self.is_contested(at) => {
                Entry::Lost(Why::Contested)
            }
            Entry::Hole if self.is_torn(grain) => Entry::Lost(Why::Torn),
            entry => entry,
        }
    }

    fn is_contested(&self, at: u64) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.is_contested(at))
    }

    fn is_torn(&self, grain: u64) -> bool {
        let after = self.torn.partition_point(|torn| torn.start <= grain);
        let last = after.checked_sub(1).and_then(|last| self.torn.get(last));
        last.is_some_and(|torn| torn.contains(&grain))
    }

    fn group(&self, number: u64) -> Arc<Vec<Entry>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().rposition(|(kept, _)| *kept == number) {
            let found = kept.remove(at);
            let group = found.1.clone();
            kept.push(found);
            return group;
        }
        let group = Arc::new(self.resolve(number, &mut Tally::default()));
        // What cannot be read now is asked for again.
        if group.contains(&Entry::Lost(Why::Unreadable)) {
            return group;
        }
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push((number, group.clone()));
        group
    }

    /// The entries of a group, from both tables.
    fn resolve(&self, number: u64, tally: &mut Tally) -> Vec<Entry> {
        let grain = number.saturating_mul(self.header.group_entries());
        let first = self.half(&self.first, number);
        let Some(second) = &self.second else {
            return self.single(first, grain, tally);
        };
        match (first, self.half(second, number)) {
            (Half::Entries(first), Half::Entries(second)) if first != second => {
                self.decide(&first, &second, grain, tally)
            }
            (Half::Unreadable, Half::Entries(second)) => {
                tally.copy_used.add(self.counted(grain), grain);
                self.single(Half::Entries(second), grain, tally)
            }
            (first, Half::Unreadable) => {
                if first != Half::Unreadable {
                    tally.copy_wrong.add(self.counted(grain), grain);
                }
                self.single(first, grain, tally)
            }
            (first, _) => self.single(first, grain, tally),
        }
    }

    /// Grains of a group that there are.
    fn counted(&self, grain: u64) -> u64 {
        self.header.group_entries().min(self.grains.saturating_sub(grain))
    }

    /// The entries of two tables that differ.
    fn decide(&self, first: &[u32], second: &[u32], grain: u64, tally: &mut Tally) -> Vec<Entry> {
        let pairs: Vec<(Entry, Entry)> = first
            .iter()
            .zip(second)
            .map(|(one, other)| (self.meaning(*one), self.meaning(*other)))
            .collect();
        let doubts = [
            Doubt::of(pairs.iter().copied()),
            Doubt::of(pairs.iter().map(|(one, other)| (*other, *one))),
        ];
        let mut found = Vec::with_capacity(pairs.len());
        for ((one, other), grain) in pairs.into_iter().zip(grain..) {
            let entry = decided(one, other, &doubts);
            if one != other && entry == one {
                tally.copy_wrong.add(1, grain);
            } else if one != other && entry == other {
                tally.copy_used.add(1, grain);
            }
            tally.note(entry, grain);
            found.push(entry);
        }
        found
    }

    /// The entries of the only table there is.
    fn single(&self, half: Half, grain: u64, tally: &mut Tally) -> Vec<Entry> {
        let count = self.counted(grain);
        let Half::Entries(values) = half else {
            tally.unreadable.add(count, grain);
            let count = usize::try_from(count).unwrap_or(0);
            return vec![Entry::Lost(Why::Unreadable); count];
        };
        let entries = values
            .iter()
            .zip(grain..self.grains)
            .map(|(value, grain)| (self.meaning(*value), grain));
        let note = |(entry, grain)| {
            tally.note(entry, grain);
            entry
        };
        entries.map(note).collect()
    }

    /// What an entry means by itself.
    fn meaning(&self, value: u32) -> Entry {
        let at = u64::from(value).saturating_mul(SECTOR);
        match value {
            0 => Entry::Hole,
            1 if self.header.has_zeroed_grains() => Entry::Zeros,
            _ if at >= self.farthest() || self.is_taken(at) => Entry::Lost(Why::Impossible),
            _ if at >= self.source.len() => Entry::Lost(Why::Cut),
            _ => Entry::At(at),
        }
    }

    /// No grain of the whole file lies behind this byte of it, or much before: where it is cut short, tables that are good name places behind its end.
    fn farthest(&self) -> u64 {
        let capacity = self.header.capacity;
        let places = capacity.saturating_add(capacity >> 4).saturating_add(FILE_SLACK);
        places.max(self.source.len())
    }

    /// Whether a grain at a byte of the file would lie in the tables.
    fn is_taken(&self, at: u64) -> bool {
        let end = at.saturating_add(self.header.slot_bytes());
        let before_end = self.taken.partition_point(|taken| taken.start < end);
        let last = before_end.checked_sub(1).and_then(|last| self.taken.get(last));
        last.is_some_and(|taken| taken.end > at)
    }

    /// A group as the tables of one directory have it.
    fn half(&self, places: &[Place], number: u64) -> Half {
        let entries = self.header.group_entries();
        let grain = number.saturating_mul(entries);
        let table = grain.checked_div(self.header.entries_per_table).unwrap_or(0);
        let index = grain.checked_rem(self.header.entries_per_table).unwrap_or(0);
        let place = usize::try_from(table).ok().and_then(|table| places.get(table));
        let len = usize::try_from(self.counted(grain)).unwrap_or(0);
        let at = match place {
            Some(Place::Nowhere) => return Half::Entries(vec![0; len]),
            Some(Place::At(at)) => at.saturating_add(index.saturating_mul(4)),
            Some(Place::Wrong) | None => return Half::Unreadable,
        };
        let mut bytes = vec![0; len.saturating_mul(4)];
        match self.source.read_exact_at(at, &mut bytes) {
            Ok(()) => Half::Entries(le_u32s(&bytes).collect()),
            Err(_) => Half::Unreadable,
        }
    }

    /// The places that grains take.
    fn occupied(&self, slot_bytes: u64, phase: u64) -> Option<Slots> {
        let mut slots = Slots::new(self.source.len(), slot_bytes, phase)?;
        self.each_grain(&mut Tally::default(), |_, at| slots.take(at));
        slots.settled()
    }

    fn groups(&self) -> u64 {
        self.grains.div_ceil(self.header.group_entries())
    }

    /// Every grain that is stored, and where, as far as tables are compared at once.
    fn each_grain(&self, tally: &mut Tally, mut stored: impl FnMut(u64, u64)) {
        let entries = self.header.group_entries();
        for number in 0..self.groups().min(GROUPS_AT_OPEN) {
            let group = self.resolve(number, tally);
            for (entry, grain) in group.iter().zip(number.saturating_mul(entries)..) {
                if let Entry::At(at) = entry {
                    stored(grain, *at);
                }
            }
        }
    }

    /// Takes out places of tables that lie outside of the file, in a directory, or in each other.
    fn refuse_impossible_places(&mut self, count: u64) {
        let bytes = count.saturating_mul(4);
        let starts = [Some(self.header.directory), self.header.copy()];
        let header = 0..SECTOR;
        let mut taken = Vec::from([header]);
        taken.extend(
            starts
                .into_iter()
                .flatten()
                .map(|at| at..at.saturating_add(bytes)),
        );
        let table_bytes = self.header.entries_per_table.saturating_mul(4);
        let len = self.source.len();
        let is_possible = |at: u64| {
            let end = at.saturating_add(table_bytes);
            end <= len && taken.iter().all(|taken| end <= taken.start || taken.end <= at)
        };
        let mut all = Vec::new();
        let both = [Some(&mut self.first), self.second.as_mut()];
        for places in both.into_iter().flatten() {
            for (table, place) in places.iter_mut().enumerate() {
                let Place::At(at) = *place else { continue };
                if is_possible(at) {
                    all.push((at, table));
                } else {
                    *place = Place::Wrong;
                }
            }
        }
        all.sort_unstable();
        // The copy may name the same table; nobody else may.
        all.dedup();
        let mut shared: Vec<u64> = all
            .windows(2)
            .filter_map(|pair| match pair {
                [(at, _), (next, _)] if next.saturating_sub(*at) < table_bytes => Some([*at, *next]),
                _ => None,
            })
            .flatten()
            .collect();
        shared.dedup();
        let both = [Some(&mut self.first), self.second.as_mut()];
        for place in both.into_iter().flatten().flatten() {
            if matches!(place, Place::At(at) if shared.binary_search(at).is_ok()) {
                *place = Place::Wrong;
            }
        }
        taken.extend(all.iter().map(|(at, _)| *at..at.saturating_add(table_bytes)));
        self.taken = merged(taken);
    }

    /// Compares the tables as far as that is cheap, and says what was found.
    fn compare(&mut self, start: u64, findings: &mut Vec<Finding>) {
        let mut tally = Tally::default();
        let mut gaps = self.header.has_markers().then(|| Gaps::new(self.header.overhead));
        let mut phase = Phase::default();
        let slot_bytes = self.header.slot_bytes();
        self.each_grain(&mut tally, |grain, at| {
            phase.add(at.checked_rem(slot_bytes).unwrap_or(0));
            if let Some(gaps) = &mut gaps {
                gaps.next(&self.source, &self.header, grain, Some(at));
            }
        });
        if let Some(gaps) = &mut gaps
            && self.groups() <= GROUPS_AT_OPEN
        {
            gaps.next(&self.source, &self.header, self.grains, None);
        }
        // Where grains keep to no phase, two that begin at one place are found all the same.
        let slots = self
            .occupied(slot_bytes, phase.most)
            .or_else(|| self.occupied(SECTOR, 0));
        tally.shared = slots.as_ref().map_or(0, Slots::contested);
        self.slots = slots;
        self.torn = gaps.map(|gaps| gaps.torn).unwrap_or_default();
        tally.say(self.header.grain_bytes, start, findings);
        if let Some(torn) = self.torn.first() {
            let detail =
                format!("{FORMAT}: the stream has grains that its tables do not list: they are lost");
            let at = torn.start.saturating_mul(self.header.grain_bytes);
            findings.push(
                Finding::new(Severity::Loss, Layer::Image, FindingCode::Contradiction, detail)
                    .at(start.saturating_add(at)),
            );
        }
    }
}

/// What speaks against the entries of one table in a group, beside those of the other.
struct Doubt {
    /// Some are impossible: it was written over.
    is_spoilt: bool,
    /// It has none where the other names a place: it may have been cleared.
    lacks: bool,
}

impl Doubt {
    /// Of pairs of its own entry and that of the other table.
    fn of(pairs: impl Iterator<Item = (Entry, Entry)>) -> Self {
        let mut found = Self {
            is_spoilt: false,
            lacks: false,
        };
        for (own, other) in pairs {
            found.is_spoilt |= own == Entry::Lost(Why::Impossible);
            found.lacks |= own == Entry::Hole && names_a_place(other);
        }
        found
    }
}

fn names_a_place(entry: Entry) -> bool {
    !matches!(entry, Entry::Hole | Entry::Lost(Why::Impossible))
}

/// Which of two entries for a grain is right. A place that is possible is better than none, none is better than one that is impossible, unless something
/// speaks against the table that says it.
fn decided(one: Entry, other: Entry, [first, second]: &[Doubt; 2]) -> Entry {
    const IMPOSSIBLE: Entry = Entry::Lost(Why::Impossible);
    match (one, other) {
        _ if one == other => one,
        (IMPOSSIBLE, Entry::Hole) if !second.lacks => other,
        (Entry::Hole, IMPOSSIBLE) if !first.lacks => one,
        (IMPOSSIBLE, place) if names_a_place(place) => place,
        (place, IMPOSSIBLE) if names_a_place(place) => place,
        (Entry::Hole, place) if names_a_place(place) && !second.is_spoilt => place,
        (place, Entry::Hole) if names_a_place(place) && !first.is_spoilt => place,
        _ => Entry::Lost(Why::Unsure),
    }
}

impl Header {
    /// Entries that are compared as one: those of a sector, if a table has as many.
    fn group_entries(&self) -> u64 {
        self.entries_per_table.clamp(1, GROUP_ENTRIES)
    }

    /// Bytes that a grain takes at least.
    fn slot_bytes(&self) -> u64 {
        if self.is_compressed() {
            SECTOR
        } else {
            self.grain_bytes
        }
    }
}

/// Looks between the grains of a stream for those that no table lists: each grain begins with a marker that says which one it is, and the next follows it.
struct Gaps {
    /// The grain that may come next, and where the marker behind the last one is.
    next: u64,
    last: Option<u64>,
    overhead: u64,
    looked: u32,
    torn: Vec<Range<u64>>,
}

impl Gaps {
    fn new(overhead: u64) -> Self {
        Self {
            next: 0,
            last: None,
            overhead,
            looked: 0,
            torn: Vec::new(),
        }
    }

    /// The next grain that a table lists; the end of them, if it is nowhere.
    fn next(&mut self, source: &Arc<dyn ReadAt>, header: &Header, grain: u64, at: Option<u64>) {
        let holes = self.next..grain;
        if !holes.is_empty() && self.looked < GAPS_MAX {
            self.looked = self.looked.saturating_add(1);
            let behind = match self.last {
                Some(last) => behind_grain(source, last),
                None => Some(self.overhead),
            };
            let stored = behind.and_then(|at| grain_of_marker(source, header, at));
            if let Some(stored) = stored.filter(|stored| holes.contains(stored)) {
                self.torn.push(stored..grain);
            }
        }
        self.next = grain.saturating_add(1);
        self.last = at;
    }
}

/// Where the marker behind a grain is.
fn behind_grain(source: &Arc<dyn ReadAt>, at: u64) -> Option<u64> {
    let size = field::le_u32(&read_upto(source, at, 12).ok()?, 8)?;
    let end = at.saturating_add(12).saturating_add(u64::from(size));
    end.checked_next_multiple_of(SECTOR)
}

/// The grain whose marker is at a byte of the file, or behind markers of tables there.
fn grain_of_marker(source: &Arc<dyn ReadAt>, header: &Header, mut at: u64) -> Option<u64> {
    for _ in 0..HOPS_MAX {
        let marker = read_upto(source, at, 16).ok()?;
        let value = field::le_u64(&marker, 0)?.checked_mul(SECTOR)?;
        let size = u64::from(field::le_u32(&marker, 8)?);
        if size > 0 {
            let is_grain =
                size <= header.packed_bytes_max() && value.checked_rem(header.grain_bytes) == Some(0);
            return is_grain.then(|| value.checked_div(header.grain_bytes)).flatten();
        }
        // An end of the stream has nothing behind it.
        if !(1..=3).contains(&field::le_u32(&marker, 12)?) {
            return None;
        }
        at = at.checked_add(SECTOR)?.checked_add(value)?;
    }
    None
}

/// The places of all tables by a directory.
fn directory(source: &Arc<dyn ReadAt>, at: u64, count: u64) -> Vec<Place> {
    let len = count.saturating_mul(4);
    let mut places = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut done = 0;
    while done < len {
        let piece = PIECE_BYTES.min(len.saturating_sub(done));
        read_places(source, at.saturating_add(done), piece, &mut places);
        done = done.saturating_add(piece);
    }
    places
}

/// A piece of a directory; sector by sector, if something of it cannot be read.
fn read_places(source: &Arc<dyn ReadAt>, at: u64, len: u64, places: &mut Vec<Place>) {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if source.read_exact_at(at, &mut bytes).is_ok() {
        places.extend(le_u32s(&bytes).map(|sector| match sector {
            0 => Place::Nowhere,
            sector => Place::At(u64::from(sector).saturating_mul(SECTOR)),
        }));
    } else if len > SECTOR {
        let mut done = 0;
        while done < len {
            let piece = SECTOR.min(len.saturating_sub(done));
            read_places(source, at.saturating_add(done), piece, places);
            done = done.saturating_add(piece);
        }
    } else {
        places.extend((0..len.div_euclid(4)).map(|_| Place::Wrong));
    }
}

fn le_u32s(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .chunks_exact(4)
        .filter_map(|chunk| chunk.try_into().ok().map(u32::from_le_bytes))
}

/// Ranges in order, those that touch as one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut found: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match found.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => found.push(range),
        }
    }
    found
}
