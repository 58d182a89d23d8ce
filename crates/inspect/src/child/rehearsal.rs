//! A made-up file system that can be poisoned: proves on this machine that budgets and resumption work.
//!
//! A root directory holds `directories` directories with `names_per_directory` empty files each. A [`Poison`] makes the scan of one of them
//! hang, eat memory, panic or abort, as a broken reader on a broken medium would. `ntt doctor` runs it
//! ([`Supervisor::self_test`](crate::Supervisor::self_test)), and so do the tests of the supervisor.

use std::collections::BTreeMap;

use ntt_filesystem::{Error, Facts, FileSystem, ScanOptions, State, Stop, TimeZone, Visitor};
use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Stream, StreamKind};
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, Namespace, ScanEvent, Severity};
use serde::{Deserialize, Serialize};

/// Inode number of the root.
pub const ROOT: u64 = 1;
/// How much a poisoned directory allocates at a time.
const GULP_BYTES: usize = 16 << 20;

/// What to make up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Number of directories below the root.
    pub directories: u64,
    /// Number of files in each.
    pub names_per_directory: u64,
    /// What goes wrong: index of the directory (from 0) -> the poison in it.
    pub poisons: BTreeMap<u64, Poison>,
    /// What goes wrong before the root is entered.
    pub poisoned_start: Option<PoisonKind>,
}

/// Something that goes wrong in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Poison {
    /// Names of the directory that are emitted before it goes wrong.
    pub after_names: u64,
    /// What goes wrong.
    pub kind: PoisonKind,
    /// Whether it goes wrong even when the reader is told to leave the directory early.
    pub inevitable: bool,
}

/// Ways to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum PoisonKind {
    /// Computes for ever.
    Hang,
    /// Allocates for ever.
    Allocate,
    /// Panics.
    Panic,
    /// Aborts the process.
    Abort,
}

impl Rehearsal {
    /// Inode number of the directory with this index.
    pub fn directory_inode(&self, index: u64) -> u64 {
        ROOT.saturating_add(1).saturating_add(index)
    }

    /// The file system that scans as described.
    pub fn file_system(&self) -> impl FileSystem + use<> {
        Stage {
            facts: facts(),
            rehearsal: self.clone(),
        }
    }

    fn file_inode(&self, directory: u64, file: u64) -> u64 {
        let first = self.directory_inode(self.directories);
        first
            .saturating_add(directory.saturating_mul(self.names_per_directory))
            .saturating_add(file)
    }
}

struct Stage {
    facts: Facts,
    rehearsal: Rehearsal,
}

impl FileSystem for Stage {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        if let Some(kind) = self.rehearsal.poisoned_start {
            kind.strike();
        }
        self.root(visitor)?;
        for index in 0..self.rehearsal.directories {
            self.directory(index, options, visitor)?;
        }
        Ok(())
    }

    fn allocated(&self, _each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        Ok(())
    }
}

impl Stage {
    fn root(&self, visitor: &mut dyn Visitor) -> Result<(), Stop> {
        visitor.visit(entered(ROOT, None, Vec::new()))?;
        visitor.visit(ScanEvent::Inode(Box::new(inode(ROOT, Kind::Directory))))?;
        for index in 0..self.rehearsal.directories {
            let number = self.rehearsal.directory_inode(index);
            visitor.visit(named(ROOT, directory_name(index), number))?;
            visitor.visit(ScanEvent::Inode(Box::new(inode(number, Kind::Directory))))?;
        }
        Ok(())
    }

    fn directory(&self, index: u64, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Stop> {
        let number = self.rehearsal.directory_inode(index);
        let leave_after = options.leave_after.get(&number).copied();
        visitor.visit(entered(number, Some(ROOT), directory_name(index)))?;
        for file in 0..=self.rehearsal.names_per_directory {
            self.strike(index, file, leave_after.is_some());
            if leave_after == Some(file) {
                return visitor.visit(left_early(number, file));
            }
            if file < self.rehearsal.names_per_directory {
                let inode_number = self.rehearsal.file_inode(index, file);
                visitor.visit(named(number, format!("file {file}").into_bytes(), inode_number))?;
                visitor.visit(ScanEvent::Inode(Box::new(inode(inode_number, Kind::File))))?;
            }
        }
        Ok(())
    }

    fn strike(&self, index: u64, file: u64, told_to_leave: bool) {
        if let Some(poison) = self.rehearsal.poisons.get(&index)
            && poison.after_names == file
            && (poison.inevitable || !told_to_leave)
        {
            poison.kind.strike();
        }
    }
}

impl PoisonKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Hang, Self::Allocate, Self::Panic, Self::Abort];

    #[expect(clippy::panic, reason = "that is what is rehearsed")]
    pub(crate) fn strike(self) {
        match self {
            Self::Hang => loop {
                std::hint::spin_loop();
            },
            Self::Allocate => allocate_for_ever(),
            Self::Panic => panic!("rehearsed panic"),
            Self::Abort => std::process::abort(),
        }
    }
}

fn allocate_for_ever() {
    let mut gulps = Vec::new();
    loop {
        gulps.push(std::hint::black_box(vec![1_u8; GULP_BYTES]));
    }
}

fn facts() -> Facts {
    Facts {
        type_name: "rehearsal".to_owned(),
        label: Vec::new(),
        uuid: None,
        block_size_bytes: 512,
        size_bytes: 0,
        used_bytes: None,
        created: None,
        written: None,
        state: State::Clean,
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: ROOT,
        details: Vec::new(),
    }
}

fn directory_name(index: u64) -> Vec<u8> {
    format!("directory {index}").into_bytes()
}

fn entered(inode: u64, parent: Option<u64>, name: Vec<u8>) -> ScanEvent {
    ScanEvent::Directory(Directory {
        inode,
        parent,
        name,
        namespace: Namespace::Native,
    })
}

fn named(directory: u64, name: Vec<u8>, inode: u64) -> ScanEvent {
    ScanEvent::Name(Name {
        directory,
        name,
        inode,
        namespace: Namespace::Native,
        alternate: false,
        allocation: Allocation::Allocated,
    })
}

fn left_early(directory: u64, names: u64) -> ScanEvent {
    let detail = format!("left after {names} names, as told");
    let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Limit, detail);
    ScanEvent::Finding(finding.on_inode(directory))
}

/// An empty inode of a kind.
pub(crate) fn inode(number: u64, kind: Kind) -> Inode {
    let data = Stream {
        kind: StreamKind::Data,
        size_bytes: 0,
        extents: Vec::new(),
        encoding: Encoding::Plain,
        extents_incomplete: false,
    };
    Inode {
        streams: if kind == Kind::File {
            vec![data]
        } else {
            Vec::new()
        },
        ..Inode::bare(number, kind)
    }
}
