//! Volume descriptors (ECMA-119 8) and the sessions in which they stand.

use ntt_source::ReadAt;
use ntt_source::field::{array, le_u32, u8_at};

use super::disc::{Both, SECTOR_BYTES, both_u16, both_u32, read_sector};
use super::joliet;
use super::record::{Record, Section};

/// The first descriptor of a session stands this many sectors after its start (ECMA-119 6.2.1).
pub(super) const SYSTEM_AREA_SECTORS: u64 = 16;
/// Descriptors of one set that are looked at; real discs have fewer than ten.
const SET_MAX: u64 = 64;
/// Sessions that are looked at; a CD holds fewer than 50.
const SESSIONS_MAX: usize = 128;
/// Where libburn starts the first session on overwritable media, to keep its descriptors when those at sector 16 are updated.
const LIBBURN_FIRST_SESSION: u64 = 32;
/// How far after the end of a session the next one is looked for: lead-out, lead-in and pregap of a CD are 11,400 sectors.
const SEARCH_SECTORS: u64 = 12_000;
/// Sectors read at a time while searching.
const SEARCH_STEP: u64 = 128;

/// How the names of a tree are recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Charset {
    /// Bytes (primary, enhanced, and supplementary descriptors with other escape sequences).
    Bytes,
    /// Joliet, with its level 1 to 3.
    Joliet(u8),
}

/// A primary, supplementary or enhanced volume descriptor (ECMA-119 8.4, 8.5).
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    /// Where it stands, from the start of the volume.
    pub(super) offset: u64,
    /// 1 primary, 2 supplementary or enhanced.
    pub(super) kind: u8,
    pub(super) charset: Charset,
    pub(super) blocks: Both<u32>,
    pub(super) block_size: Both<u16>,
    pub(super) path_table_bytes: Both<u32>,
    /// Type L, optional L, type M, optional M; 0 where there is none.
    pub(super) path_tables: [u32; 4],
    pub(super) root: Section,
    /// Whether the root's location and length are recorded alike in both byte orders.
    pub(super) root_agrees: bool,
    bytes: Vec<u8>,
}

impl Descriptor {
    /// Reads a descriptor of type 1 or 2; `None` if it is not one or its root record is no directory record.
    pub(super) fn parse(bytes: Vec<u8>, offset: u64) -> Option<Self> {
        let kind = descriptor_kind(&bytes)?;
        if !matches!(kind, 1 | 2) {
            return None;
        }
        let root = Record::parse(bytes.get(156..190)?)?;
        let charset = match joliet::level(bytes.get(88..120)?) {
            Some(level) if kind == 2 => Charset::Joliet(level),
            _ => Charset::Bytes,
        };
        let descriptor = Self {
            offset,
            kind,
            charset,
            blocks: both_u32(&bytes, 80)?,
            block_size: both_u16(&bytes, 128)?,
            path_table_bytes: both_u32(&bytes, 132)?,
            path_tables: [
                le_u32(&bytes, 140)?,
                le_u32(&bytes, 144)?,
                u32::from_be_bytes(array(&bytes, 148)?),
                u32::from_be_bytes(array(&bytes, 152)?),
            ],
            root: root.section(u64::MAX),
            root_agrees: root.agrees(),
            bytes,
        };
        (descriptor.root.len > 0).then_some(descriptor)
    }

    /// Logical block size in bytes: 512, 1024 or 2048 (ECMA-119 6.2.2); 2048 if what is recorded is none of them.
    pub(super) fn block_bytes(&self) -> u64 {
        let good = |size: u16| matches!(size, 512 | 1024 | 2048);
        let size = self.block_size.choose(good);
        if good(size) { u64::from(size) } else { SECTOR_BYTES }
    }

    /// Length of the volume in bytes, as recorded.
    pub(super) fn size_bytes(&self, source_len: u64) -> u64 {
        let bytes = |blocks: u32| u64::from(blocks).saturating_mul(self.block_bytes());
        bytes(
            self.blocks
                .choose(|blocks| blocks > 0 && bytes(blocks) <= source_len),
        )
    }

    /// Where the root directory starts, from the start of the volume.
    pub(super) fn root_offset(&self) -> u64 {
        self.root.data_offset(self.block_bytes())
    }

    /// A padded text field, without its padding (spaces, and zeros that some writers use).
    pub(super) fn text(&self, at: usize, len: usize) -> Vec<u8> {
        let field = at.checked_add(len).and_then(|end| self.bytes.get(at..end));
        match self.charset {
            Charset::Joliet(_) => trimmed(&joliet::text(field.unwrap_or_default())),
            Charset::Bytes => trimmed(field.unwrap_or_default()),
        }
    }

    /// A 17-byte date field.
    pub(super) fn date(&self, at: usize) -> &[u8] {
        at.checked_add(17)
            .and_then(|end| self.bytes.get(at..end))
            .unwrap_or_default()
    }

    /// Whether every both-endian field is recorded alike.
    pub(super) fn agrees(&self) -> bool {
        self.blocks.agrees() && self.block_size.agrees() && self.path_table_bytes.agrees() && self.root_agrees
    }
}

fn trimmed(field: &[u8]) -> Vec<u8> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let end = field
        .iter()
        .rposition(|byte| !padding(byte))
        .map_or(0, |last| last.saturating_add(1));
    field.get(..end).unwrap_or_default().to_vec()
}

/// The type of a volume descriptor, if the sector is one (ECMA-119 8.1).
pub(super) fn descriptor_kind(sector: &[u8]) -> Option<u8> {
    (sector.get(1..6)? == b"CD001")
        .then(|| u8_at(sector, 0))
        .flatten()
}

/// Whether the sector is a descriptor of High Sierra, the forerunner of ISO 9660: eight bytes of block number come first.
pub(super) fn is_high_sierra(sector: &[u8]) -> bool {
    sector.get(9..14) == Some(b"CDROM")
}

/// A boot record of El Torito (El Torito 1.0, figure 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BootRecord {
    /// Sector of the boot catalog.
    pub(super) catalog: u32,
}

impl BootRecord {
    fn parse(sector: &[u8]) -> Option<Self> {
        let named = sector.get(7..30)? == b"EL TORITO SPECIFICATION";
        (descriptor_kind(sector)? == 0 && named)
            .then(|| le_u32(sector, 71))
            .flatten()
            .map(|catalog| Self { catalog })
    }
}

/// The volume descriptors of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// Sector where the session starts, 16 before its first descriptor.
    pub(super) start_sector: u64,
    /// Primary, supplementary and enhanced descriptors in the order in which they stand.
    pub(super) descriptors: Vec<Descriptor>,
    /// Boot records.
    pub(super) boot: Option<BootRecord>,
    /// Sectors of the set that could not be read.
    pub(super) unread: Vec<u64>,
    /// Sectors of the set, terminator included.
    pub(super) sectors: u64,
    /// Whether the set ends with a terminator (ECMA-119 8.3).
    pub(super) terminated: bool,
}

impl Session {
    /// Reads the set of descriptors of the session that starts at `start_sector`.
    pub(super) fn read(source: &dyn ReadAt, start_sector: u64) -> Self {
        let mut session = Self {
            start_sector,
            ..Self::default()
        };
        let first = start_sector.saturating_add(SYSTEM_AREA_SECTORS);
        for sector in first..first.saturating_add(SET_MAX) {
            let offset = sector.saturating_mul(SECTOR_BYTES);
            let Ok(bytes) = read_sector(source, offset) else {
                // A hole in the set is stepped over, but not the end of the image or a long run of nothing.
                session.unread.push(offset);
                if session.unread.len() > 4 {
                    break;
                }
                continue;
            };
            if !session.add(bytes, offset) {
                break;
            }
        }
        session.unread.retain(|offset| *offset < source.len());
        session
    }

    /// Takes one descriptor; false at the end of the set.
    fn add(&mut self, bytes: Vec<u8>, offset: u64) -> bool {
        let Some(kind) = descriptor_kind(&bytes) else {
            return false;
        };
        self.sectors = (offset / SECTOR_BYTES)
            .saturating_sub(self.start_sector.saturating_add(SYSTEM_AREA_SECTORS))
            .saturating_add(1);
        if kind == 255 {
            self.terminated = true;
            return false;
        }
        self.boot = self.boot.or_else(|| BootRecord::parse(&bytes));
        self.descriptors.extend(Descriptor::parse(bytes, offset));
        true
    }

    /// The primary descriptor, or what stands in for it when it is lost.
    pub(super) fn primary(&self) -> Option<&Descriptor> {
        let primary = self.descriptors.iter().find(|descriptor| descriptor.kind == 1);
        primary.or_else(|| self.descriptors.first())
    }

    /// The Joliet descriptor.
    pub(super) fn joliet(&self) -> Option<&Descriptor> {
        self.descriptors
            .iter()
            .find(|descriptor| matches!(descriptor.charset, Charset::Joliet(_)))
    }

    /// Whether a later session is one, and not an image of a disc that is a file on this disc: its block numbers count from the
    /// start of this disc. The first session is taken as it is.
    fn is_at_home(&self, source: &dyn ReadAt) -> bool {
        let start = self.start_sector.saturating_mul(SECTOR_BYTES);
        let Some(primary) = self.primary().filter(|_| start > 0) else {
            return true;
        };
        let root = primary.root_offset();
        let names_itself = |sector: Vec<u8>| {
            Record::parse(&sector).is_some_and(|record| {
                let section = record.section(u64::MAX);
                record.is_self() && section.data_offset(primary.block_bytes()) == root
            })
        };
        root >= start && read_sector(source, root).map_or(true, names_itself)
    }

    /// Where the session's volume ends, in bytes from the start of the image's volume.
    pub(super) fn end(&self, source_len: u64) -> u64 {
        let start = self.start_sector.saturating_mul(SECTOR_BYTES);
        self.primary().map_or(start, |primary| {
            start.saturating_add(primary.size_bytes(source_len))
        })
    }
}

/// All sessions that can be found, in the order in which they stand.
///
/// The next session is looked for after the end of the one before: at most the lead-out, lead-in and pregap of a CD away. On
/// overwritable media the descriptors at sector 16 are those of the last session; then the originals are found just before that
/// session's path table (growisofs), and the first session's at sector 48 (libburn).
pub(super) fn sessions(source: &dyn ReadAt) -> Vec<Session> {
    let mut found = Vec::new();
    chain(source, 0, &mut found);
    let updated = found.first().and_then(|first| original_of(source, first));
    for start in [Some(LIBBURN_FIRST_SESSION), updated].into_iter().flatten() {
        chain(source, start, &mut found);
    }
    found.sort_by_key(|session| session.start_sector);
    found
}

/// Adds the session that starts at `start` and those that follow it, up to one that was found already.
fn chain(source: &dyn ReadAt, start: u64, found: &mut Vec<Session>) {
    let mut next = Some(start);
    while let Some(start) = next
        && found.len() < SESSIONS_MAX
        && found.iter().all(|session| session.start_sector != start)
    {
        let session = Session::read(source, start);
        if session.descriptors.is_empty() || !session.is_at_home(source) {
            return;
        }
        let end = session.end(source.len());
        next = next_session(source, end).filter(|next| *next > start);
        found.push(session);
    }
}

/// The start of a session whose primary descriptor stands within [`SEARCH_SECTORS`] after `end` (bytes).
fn next_session(source: &dyn ReadAt, end: u64) -> Option<u64> {
    let first = end.div_ceil(SECTOR_BYTES);
    let last = first
        .saturating_add(SEARCH_SECTORS)
        .min(source.len() / SECTOR_BYTES);
    let mut at = first;
    while at < last {
        let count = SEARCH_STEP.min(last.saturating_sub(at));
        if let Some(sector) = find_primary(source, at, count) {
            return sector.checked_sub(SYSTEM_AREA_SECTORS);
        }
        at = at.saturating_add(count);
    }
    None
}

/// The first sector of `count` from `first` that is a primary descriptor.
fn find_primary(source: &dyn ReadAt, first: u64, count: u64) -> Option<u64> {
    let len = usize::try_from(count.checked_mul(SECTOR_BYTES)?).ok()?;
    let mut bytes = vec![0; len];
    let offset = first.checked_mul(SECTOR_BYTES)?;
    if source.read_exact_at(offset, &mut bytes).is_err() {
        return if count > 1 {
            find_one_by_one(source, first, count)
        } else {
            None
        };
    }
    let index = bytes.chunks(2048).position(is_primary)?;
    first.checked_add(u64::try_from(index).ok()?)
}

/// As [`find_primary`], where some sectors cannot be read.
fn find_one_by_one(source: &dyn ReadAt, first: u64, count: u64) -> Option<u64> {
    (first..first.saturating_add(count)).find(|sector| find_primary(source, *sector, 1).is_some())
}

fn is_primary(sector: &[u8]) -> bool {
    descriptor_kind(sector) == Some(1) && Descriptor::parse(sector.to_vec(), 0).is_some()
}

/// The session whose descriptors the first session's are a copy of: it stands in the 64 sectors before its path table.
fn original_of(source: &dyn ReadAt, first: &Session) -> Option<u64> {
    let primary = first.primary()?;
    let scale = primary.block_bytes();
    let [little, _, big, _] = primary.path_tables;
    let table = u64::from(little.min(big)).checked_mul(scale)? / SECTOR_BYTES;
    let from = table.saturating_sub(SET_MAX);
    if from <= SYSTEM_AREA_SECTORS.saturating_add(SET_MAX) {
        return None;
    }
    find_primary(source, from, SET_MAX)?.checked_sub(SYSTEM_AREA_SECTORS)
}
