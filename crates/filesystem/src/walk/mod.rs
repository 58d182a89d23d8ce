//! The walk that readers of file systems with inodes and directories share: all inodes in use, then all directories from the root, then what has
//! no name.
//!
//! A reader gives [`Nodes`]: its inodes, and the entries of a directory. What is emitted, once and in which order, what is said of names that
//! lead nowhere, of directories with two names, of poisonous ones and of inodes without a name is the same for all of them and stands here.

mod content;
mod device;
mod listing;
mod lost;
mod pending;
mod scan;
mod unix;

use std::borrow::Cow;
use std::ops::ControlFlow;

use ntt_model::entry::Inode;
use ntt_model::{Finding, Kind};

use crate::{Limits, Stop};

pub(crate) use self::content::{Content, target_of};
pub(crate) use self::device::{Device, Ranges};
pub(crate) use self::listing::Listing;
pub(crate) use self::scan::run;
pub(crate) use self::unix::{device_of, signed_time_of, time_of};

/// An inode that was looked for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its number; `None` if nothing but findings is told.
    pub(crate) number: Option<u64>,
    /// What it holds; `None` if it is damaged or free, which `findings` say.
    pub(crate) inode: Option<Inode>,
    /// What is wrong with it.
    pub(crate) findings: Vec<Finding>,
    /// Of an inode that a name leads to and that is not there, why: `is free`. Without a reason nothing is said of it.
    pub(crate) missing: Option<Cow<'static, str>>,
}

impl Found {
    /// An inode.
    pub(crate) fn inode(inode: Inode, findings: Vec<Finding>) -> Self {
        Self {
            number: Some(inode.number),
            inode: Some(inode),
            findings,
            missing: None,
        }
    }

    /// An inode that is in use and damaged.
    pub(crate) fn damaged(number: u64, finding: Finding) -> Self {
        Self {
            number: Some(number),
            findings: vec![finding.on_inode(number)],
            ..Self::default()
        }
    }

    /// No inode, although a name leads to it.
    pub(crate) fn missing(why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            missing: Some(why.into()),
            ..Self::default()
        }
    }

    /// A finding that belongs to no inode.
    pub(crate) fn note(finding: Finding) -> Self {
        Self::notes(vec![finding])
    }

    /// Findings that belong to no inode.
    pub(crate) fn notes(findings: Vec<Finding>) -> Self {
        Self {
            findings,
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
    /// What it leads to, as far as the entry says that.
    pub(crate) kind: Option<Kind>,
    /// Where it lies in the image.
    pub(crate) at: u64,
    /// `.` and `..` stand elsewhere, so that such a name here is one like others unless it leads where they do.
    pub(crate) is_behind_dots: bool,
}

/// What a directory is made of.
#[derive(Debug)]
pub(crate) enum Item<'e> {
    Entry(Entry<'e>),
    Problem(Finding),
}

/// Whether to go on with the directory.
pub(crate) type Visit = Result<ControlFlow<()>, Stop>;
/// Takes inodes, and findings that belong to none.
pub(crate) type EachFound<'f> = dyn FnMut(Found) -> Result<(), Stop> + 'f;
/// Takes what a directory is made of.
pub(crate) type EachItem<'f> = dyn FnMut(Item<'_>) -> Visit + 'f;

/// The inodes of a volume.
pub(crate) trait Nodes {
    /// Number of the root directory.
    fn root(&self) -> u64;

    /// Blocks of directories that one scan may read, those of each counted as often as it is read. Directories that share blocks would else cost without end.
    fn directory_budget(&self) -> u64;

    /// Calls `each` for every inode in use, in an order that does not change.
    fn each_inode(&self, limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop>;

    /// Looks for an inode that a name leads to, but that [`Nodes::each_inode`] did not give. It may be asked for again and again.
    fn demand(&self, number: u64, limits: &Limits) -> Found;

    /// Calls `each` for every entry of a directory, among them perhaps `.` and `..`. What is read is taken from `budget`.
    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit;
}
