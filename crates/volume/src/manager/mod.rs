//! Volume managers: from the members that are here to the volumes that they hold.
//!
//! - [`md`]: Linux software RAID, superblocks 0.90, 1.0, 1.1, 1.2 (R16).
//! - [`lvm2`], with its text in `text`: LVM2 volume groups.
//! - [`lvm1`]: the groups of its predecessor.
//!
//! Members are told apart by what they say of themselves; one that is older than its siblings is never joined with them, but named. What is not
//! here is a hole of the volume, and said.

pub mod lvm1;
pub mod lvm2;
pub mod md;
mod raid;
mod text;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Mapping, Severity};
use ntt_source::ReadAt;

/// Volumes made of one source; the rest is a finding.
const VOLUMES_MAX: usize = 1024;

/// A volume that says of itself that it belongs to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The number that the caller knows it by.
    pub number: u32,
    /// Where it lies in the source.
    pub range: ByteRange,
}

/// A group of members: a volume group, an array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// What manages it: `lvm2`, `lvm1`, `md raid1`.
    pub manager: String,
    /// Its name, escaped for display; empty if it has none.
    pub name: String,
    /// Its UUID in the form of the manager's tools.
    pub uuid: String,
    /// Numbers of the members that are here.
    pub members: Vec<u32>,
    /// Members that are not, by whatever names them.
    pub absent: Vec<String>,
    /// Facts for people: `level` -> `raid5, left-symmetric`, `events` -> `25`.
    pub facts: Vec<(String, String)>,
    /// Its volumes.
    pub volumes: Vec<GroupVolume>,
}

/// A volume of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupVolume {
    /// How it was found: `lvm2 vg0/root`, `md raid1 host:0`.
    pub found_by: String,
    /// Its kind: `linear`, `striped`, `raid5`, `thin`.
    pub kind: String,
    /// Its UUID; empty if it has none.
    pub uuid: String,
    /// Where its bytes lie, or why they cannot be had.
    pub mapping: Result<Mapping, String>,
}

/// What was made of the members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assembly {
    /// The groups, in the order of their first members.
    pub groups: Vec<Group>,
    /// What is missing, stale or wrong.
    pub findings: Vec<Finding>,
}

impl Assembly {
    fn report(&mut self, severity: Severity, code: FindingCode, at: u64, detail: impl Into<String>) {
        let finding = Finding::new(severity, Layer::Volume, code, detail);
        self.findings.push(finding.at(at));
    }
}

/// What tells the group of a member from others: members with the same key belong together, and one with an empty key does not say to whom it
/// belongs. `None` for what is no member. `source` is the member alone.
pub fn group_key(source: &dyn ReadAt) -> Option<String> {
    let keyed = |manager: &str, key: String| {
        if key.is_empty() {
            key
        } else {
            format!("{manager} {key}")
        }
    };
    md::key(source)
        .map(|key| keyed("md", key))
        .or_else(|| lvm2::key(source).map(|key| keyed("lvm2", key)))
        .or_else(|| lvm1::key(source).map(|key| keyed("lvm1", key)))
}

/// How many bytes a member must have to hold all that its group keeps on it (R12), where it says so itself. `source` is the member alone, or what there is of it.
pub fn member_end(source: &dyn ReadAt) -> Option<u64> {
    md::member_end(source)
        .or_else(|| lvm2::member_end(source))
        .or_else(|| lvm1::member_end(source))
}

/// Makes the volumes of all groups that members of `source` belong to.
///
/// Reads the metadata of each member, at most a few MiB.
pub fn assemble(source: &dyn ReadAt, members: &[Member]) -> Assembly {
    let mut assembly = Assembly::default();
    md::assemble(source, members, &mut assembly);
    lvm2::assemble(source, members, &mut assembly);
    lvm1::assemble(source, members, &mut assembly);
    let mut left = VOLUMES_MAX;
    let mut dropped = 0_usize;
    for group in &mut assembly.groups {
        dropped = dropped.saturating_add(group.volumes.len().saturating_sub(left));
        group.volumes.truncate(left);
        left = left.saturating_sub(group.volumes.len());
    }
    if dropped > 0 {
        let detail = format!("more than {VOLUMES_MAX} volumes of volume managers; {dropped} are not listed");
        let finding = Finding::new(Severity::Loss, Layer::Volume, FindingCode::Limit, detail);
        assembly.findings.push(finding);
    }
    assembly
}
