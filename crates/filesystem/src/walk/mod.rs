//! The walk that readers of file systems with inodes and directories share: all inodes in use, then all directories from the root, then what has
//! no name.
//!
//! A reader gives [`Nodes`]: its inodes, and the entries of a directory. What is emitted, once and in which order, what is said of names that
//! lead nowhere, of directories with two names, of poisonous ones and of inodes without a name is the same for all of them and stands here.

mod content;
mod device;
mod lost;
mod scan;
mod unix;

use std::ops::ControlFlow;

use ntt_model::Finding;
use ntt_model::entry::Inode;

use crate::{Limits, Stop};

pub(crate) use self::content::{Content, target_of};
pub(crate) use self::device::{Device, Ranges};
pub(crate) use self::scan::run;
pub(crate) use self::unix::{device_of, kind_of_mode, signed_time_of, time_of};

/// An inode that was looked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its number; `None` if nothing but findings is told.
    pub(crate) number: Option<u64>,
    /// What it holds; `None` if it is damaged or free, which `findings` say.
    pub(crate) inode: Option<Inode>,
    /// What is wrong with it.
    pub(crate) findings: Vec<Finding>,
}

impl Found {
    /// A finding that belongs to no inode.
    pub(crate) fn note(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            ..Self::default()
        }
    }
}

/// A name of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'e> {
    /// The bytes of the name as the volume has them; `.` and `..` are left out by the walk.
    pub(crate) name: &'e [u8],
    /// Where it leads.
    pub(crate) inode: u64,
    /// Where it lies in the image.
    pub(crate) at: u64,
}

/// What a directory is made of.
#[derive(Debug)]
pub(crate) enum Item<'e> {
    Entry(Entry<'e>),
    Problem(Finding),
}

/// Whether to go on with the directory.
pub(crate) type Visit = Result<ControlFlow<()>, Stop>;

/// The inodes of a volume.
pub(crate) trait Nodes {
    /// Number of the root directory.
    fn root(&self) -> u64;

    /// Blocks of directories that one scan may read, those of each counted as often as it is read. Directories that share blocks would else cost without end.
    fn directory_budget(&self) -> u64;

    /// Calls `each` for every inode in use, in an order that does not change.
    fn each_inode(
        &self,
        limits: &Limits,
        each: &mut dyn FnMut(Found) -> Result<(), Stop>,
    ) -> Result<(), Stop>;

    /// Looks for an inode that a name leads to, but that [`Nodes::each_inode`] did not give.
    fn demand(&self, number: u64, limits: &Limits) -> Found;

    /// Calls `each` for every entry of a directory. What is read is taken from `budget`.
    fn entries(&self, directory: u64, budget: &mut u64, each: &mut dyn FnMut(Item<'_>) -> Visit) -> Visit;
}
