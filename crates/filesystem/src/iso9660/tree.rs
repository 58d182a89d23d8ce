//! The naming trees of a disc: which there are, in which order they are preferred, and how their records are named.

use std::collections::HashSet;

use ntt_model::{ByteRange, Namespace};

use super::descriptor::{Charset, Descriptor, Session};
use super::directory::{DirectoryReader, Entry, Item, RecordFormat};
use super::disc::{Disc, SECTOR_BYTES};
use super::joliet;
use super::record::{Place, Record};
use super::susp;

/// One naming tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// What its preferred names are.
    pub(super) namespace: Namespace,
    pub(super) format: RecordFormat,
    /// The root directory, in volume offsets.
    pub(super) root: ByteRange,
    /// Sector where its session starts.
    pub(super) session: u64,
    /// Its descriptor, for the path tables and for findings.
    pub(super) descriptor: Descriptor,
}

/// The names of one entry.
pub(super) struct EntryNames {
    /// The name people expect.
    pub(super) preferred: (Namespace, Vec<u8>),
    /// The ISO identifier beside a Rock Ridge name.
    pub(super) second: Option<Vec<u8>>,
}

impl Tree {
    fn new(disc: &Disc<'_>, descriptor: &Descriptor, session: u64) -> Self {
        let block_bytes = descriptor.block_bytes();
        let root = ByteRange::new(descriptor.root_offset(), u64::from(descriptor.root.len));
        let joliet = matches!(descriptor.charset, Charset::Joliet(_));
        let susp_skip = if joliet { None } else { susp_skip(disc, descriptor) };
        Self {
            namespace: match susp_skip {
                _ if joliet => Namespace::Joliet,
                Some(_) => Namespace::RockRidge,
                None => Namespace::Iso,
            },
            format: RecordFormat {
                block_bytes,
                susp_skip,
            },
            root,
            session,
            descriptor: descriptor.clone(),
        }
    }

    /// How the tree is called in findings.
    pub(super) fn label(&self) -> String {
        let name = match self.namespace {
            Namespace::Joliet => "Joliet",
            Namespace::RockRidge => "Rock Ridge",
            _ => "ISO 9660",
        };
        match self.session {
            0 => name.to_owned(),
            start => format!("{name} (session at sector {start})"),
        }
    }

    /// Where the tree's blocks lie in the image.
    pub(super) fn place(&self, disc: &Disc<'_>) -> Place {
        Place {
            base: disc.in_image(0),
            block_bytes: self.format.block_bytes,
        }
    }

    /// The names of an entry of this tree.
    pub(super) fn names(&self, entry: &Entry) -> EntryNames {
        match (&entry.rock_ridge.name, self.namespace) {
            (_, Namespace::Joliet) => EntryNames {
                preferred: (Namespace::Joliet, joliet::name(&entry.identifier)),
                second: None,
            },
            (Some(name), _) => EntryNames {
                preferred: (Namespace::RockRidge, name.clone()),
                second: Some(entry.identifier.clone()),
            },
            (None, _) => EntryNames {
                preferred: (Namespace::Iso, entry.identifier.clone()),
                second: None,
            },
        }
    }

    /// The directory that an entry leads to, at its real place if it was relocated (RRIP 4.1.5); `None` for other entries.
    pub(super) fn directory_of(&self, disc: &Disc<'_>, entry: &Entry) -> Option<ByteRange> {
        if let Some(block) = entry.rock_ridge.child {
            let offset = u64::from(block).saturating_mul(self.format.block_bytes);
            let len = itself(disc, self.format, offset).map_or(SECTOR_BYTES, |own| own.size_bytes());
            return Some(ByteRange::new(offset, len));
        }
        if !entry.is_directory() {
            return None;
        }
        let section = entry.sections.first()?;
        Some(ByteRange::new(
            section.data_offset(self.format.block_bytes),
            u64::from(section.len),
        ))
    }

    /// Whether a directory holds nothing but directories that are shown elsewhere (`RE`): the `rr_moved` of mkisofs.
    pub(super) fn holds_only_relocated(&self, disc: &Disc<'_>, range: ByteRange) -> bool {
        let mut relocated = 0_u64;
        for item in DirectoryReader::new(disc, self.format, range) {
            match item {
                Item::Entry(entry) if entry.rock_ridge.relocated => relocated = relocated.saturating_add(1),
                Item::Itself(_) => {}
                Item::Entry(_) | Item::Finding(_) => return false,
            }
        }
        relocated > 0
    }
}

/// The record of a directory of itself, the first of its extent.
pub(super) fn itself(disc: &Disc<'_>, format: RecordFormat, offset: u64) -> Option<Box<Entry>> {
    let mut reader = DirectoryReader::new(disc, format, ByteRange::new(offset, SECTOR_BYTES));
    reader.find_map(|item| match item {
        Item::Itself(entry) => Some(entry),
        _ => None,
    })
}

/// Where SUSP entries start, from the `SP` of the root's own record; without it Rock Ridge attributes must be there to see,
/// in the root or, if that is unreadable or lost, in the first directory of the path table.
fn susp_skip(disc: &Disc<'_>, descriptor: &Descriptor) -> Option<usize> {
    let from = |offset: u64| {
        let sector = disc.sector(offset).ok()?;
        let record = Record::parse(&sector).filter(Record::is_self)?;
        let area = record.system_use();
        Some(susp::skip_of(area).or_else(|| susp::looks_like_rock_ridge(area).then_some(0)))
    };
    if let Some(skip) = from(descriptor.root_offset()) {
        return skip;
    }
    let table = super::path_table::PathTable::read(disc, descriptor, |_, _| ())?;
    table
        .directories
        .iter()
        .skip(1)
        .take(16)
        .find_map(|entry| from(entry.offset)?)
}

/// All trees, the preferred one first: those of the last session before those of earlier ones, and within a session Rock
/// Ridge before Joliet before plain ISO. A tree whose root is that of an earlier one in the list is left out.
pub(super) fn trees(disc: &Disc<'_>, sessions: &[Session]) -> Vec<Tree> {
    let mut ordered: Vec<&Session> = sessions.iter().collect();
    // The session written last has its directories last, wherever its descriptors stand (growisofs updates those at sector 16).
    ordered.sort_by_key(|session| {
        let root = session.primary().map_or(0, Descriptor::root_offset);
        (std::cmp::Reverse(root), std::cmp::Reverse(session.start_sector))
    });
    let mut roots = HashSet::new();
    let mut trees = Vec::new();
    for session in ordered {
        let mut own: Vec<Tree> = session
            .descriptors
            .iter()
            .map(|descriptor| Tree::new(disc, descriptor, session.start_sector))
            .collect();
        own.sort_by_key(|tree| preference(tree.namespace));
        trees.extend(own.into_iter().filter(|tree| roots.insert(tree.root.offset)));
    }
    trees
}

fn preference(namespace: Namespace) -> u8 {
    match namespace {
        Namespace::RockRidge => 0,
        Namespace::Joliet => 1,
        _ => 2,
    }
}
