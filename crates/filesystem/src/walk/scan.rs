//! Inodes, then directories from the root.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::pending::{Pending, Waiting};
use super::{Entry, Found, Item, Nodes, Visit};
use crate::name::path_safe;
use crate::report::{Report, left, odd_name};
use crate::seen::{Mark, Seen};
use crate::{ScanOptions, Stop, Visitor};

/// Number of the made-up directory of inodes without a name: no inode is 0.
pub(super) const LOST: u64 = 0;

/// The state of a scan.
pub(super) struct Walk<'s> {
    pub(super) nodes: &'s dyn Nodes,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) report: Report,
    pub(super) seen: Seen,
    pub(super) pending: Pending,
    budget: u64,
}

/// Walks everything. `found` are the findings made when the volume was opened.
pub(crate) fn run(
    nodes: &dyn Nodes,
    found: &[Finding],
    options: &ScanOptions,
    visitor: &mut dyn Visitor,
) -> Result<(), Stop> {
    let mut walk = Walk {
        nodes,
        options,
        visitor,
        report: Report::default(),
        seen: Seen::default(),
        pending: Pending::default(),
        budget: nodes.directory_budget(),
    };
    walk.note(found.to_vec());
    walk.flush()?;
    nodes.each_inode(&options.limits, &mut |found| walk.found(found))?;
    walk.root()?;
    walk.lost()?;
    walk.flush()?;
    for finding in walk.report.closing() {
        walk.visitor.visit(ScanEvent::Finding(finding))?;
    }
    Ok(())
}

impl Walk<'_> {
    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        if !self.report.is_empty() {
            self.flush()?;
        }
        self.visitor.visit(event)
    }

    fn note(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.report.push(finding);
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits an inode, once, or remembers that it is damaged.
    fn found(&mut self, found: Found) -> Result<(), Stop> {
        let is_new = found.number.is_none_or(|number| self.seen.kind(number).is_none());
        if !is_new {
            return Ok(());
        }
        self.note(found.findings);
        match (found.inode, found.number) {
            (Some(inode), Some(number)) => {
                if inode.allocation == Allocation::Allocated {
                    self.seen.set_kind(number, inode.kind);
                }
                self.emit(ScanEvent::Inode(Box::new(inode)))
            }
            (_, Some(number)) => {
                self.seen.mark(number, Mark::Absent);
                self.flush()
            }
            _ => self.flush(),
        }
    }

    fn root(&mut self) -> Result<(), Stop> {
        let root = self.nodes.root();
        if let Some(kind) = self.demand(root, None)?.filter(|kind| *kind != Kind::Directory) {
            let detail = format!("the root is no directory ({kind:?}): what it held has no names");
            let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
            self.report.push(finding.on_inode(root));
        }
        self.seen.mark(root, Mark::Named);
        self.seen.mark(root, Mark::Entered);
        self.pending.push(&Waiting {
            inode: root,
            parent: root,
            depth: 0,
            name: Vec::new(),
            namespace: Namespace::Native,
        });
        self.pending()
    }

    /// Enters all directories that wait, and those they hold.
    pub(super) fn pending(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        let root = self.nodes.root();
        self.emit(ScanEvent::Directory(Directory {
            inode: waiting.inode,
            parent: (waiting.inode != root).then_some(waiting.parent),
            name: waiting.name.clone(),
            namespace: waiting.namespace,
        }))?;
        let leave_after = self.options.leave_after.get(&waiting.inode).copied();
        let names_max = self.options.limits.entries_per_directory;
        let mut names = 0_u64;
        self.for_each_entry(waiting.inode, &mut |walk, entry| {
            if walk.is_dot(entry, waiting) {
                return Ok(ControlFlow::Continue(()));
            }
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                walk.report
                    .push(left(waiting.inode, names, leave_after.is_some()));
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            walk.name(entry, waiting).map(ControlFlow::Continue)
        })?;
        self.flush()
    }

    /// Calls `each` for every entry of a directory.
    pub(super) fn for_each_entry(
        &mut self,
        directory: u64,
        each: &mut dyn FnMut(&mut Self, &Entry<'_>) -> Visit,
    ) -> Result<(), Stop> {
        if self.seen.kind(directory) != Some(Kind::Directory) {
            return Ok(());
        }
        let mut budget = self.budget;
        let nodes = self.nodes;
        let visit = nodes.entries(directory, &mut budget, &mut |item| match item {
            Item::Entry(entry) => each(self, &entry),
            Item::Problem(finding) => {
                self.report.push(finding);
                Ok(ControlFlow::Continue(()))
            }
        });
        self.budget = budget;
        visit.map(|_| ())
    }

    /// Whether an entry is one of the two that a directory has of itself and of its parent.
    fn is_dot(&mut self, entry: &Entry<'_>, waiting: &Waiting) -> bool {
        let expected = match entry.name {
            b"." => waiting.inode,
            b".." => waiting.parent,
            _ => return false,
        };
        if entry.inode != expected && waiting.namespace == Namespace::Native {
            let shown = ntt_model::name::escape(entry.name);
            let detail = format!("`{shown}` leads to inode {}, expected {expected}", entry.inode);
            self.complain(
                Severity::Warning,
                FindingCode::Contradiction,
                detail,
                entry.at,
                waiting.inode,
            );
        }
        !entry.is_behind_dots || entry.inode == expected
    }

    /// Emits a name, and what it leads to if that was not emitted yet. A damaged number that no inode can have is told with the name instead.
    fn name(&mut self, entry: &Entry<'_>, waiting: &Waiting) -> Result<(), Stop> {
        if entry.inode >= Inode::NUMBERS {
            let shown = ntt_model::name::escape(entry.name);
            let detail = format!(
                "`{shown}` leads to inode {}, which no file system has",
                entry.inode
            );
            self.complain(
                Severity::Loss,
                FindingCode::Orphan,
                detail,
                entry.at,
                waiting.inode,
            );
            return Ok(());
        }
        let (name, changed) = path_safe(entry.name);
        let directory = waiting.inode;
        if changed {
            self.report
                .push(odd_name(entry.name).at(entry.at).on_inode(directory));
        }
        if let Some(kind) = self.demand(entry.inode, Some(entry.at))? {
            self.seen.mark(entry.inode, Mark::Named);
            self.compare(entry, kind, directory);
            if kind == Kind::Directory {
                self.wait(entry, &name, waiting);
            }
        }
        self.emit(ScanEvent::Name(Name {
            directory,
            name,
            inode: entry.inode,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// Says it if an entry tells of another kind than the inode has.
    fn compare(&mut self, entry: &Entry<'_>, kind: Kind, directory: u64) {
        let said = entry.kind.filter(|said| *said != Kind::Unknown && *said != kind);
        if let Some(said) = said {
            let detail = format!("the entry says {said:?}, the inode {} {kind:?}", entry.inode);
            // Whatever a directory held that is none any more has lost its names.
            let severity = match said {
                Kind::Directory => Severity::Loss,
                _ => Severity::Warning,
            };
            self.complain(severity, FindingCode::Contradiction, detail, entry.at, directory);
        }
    }

    /// Emits the inode that a name leads to, if that was not done yet; its kind, if there is such an inode.
    ///
    /// What names lead to is remembered only if it exists: they may claim every number there is.
    fn demand(&mut self, number: u64, image_offset: Option<u64>) -> Result<Option<Kind>, Stop> {
        if let Some(kind) = self.seen.kind(number) {
            return Ok(Some(kind));
        }
        let missing = if self.seen.has(number, Mark::Absent) {
            Some("is damaged".into())
        } else {
            let mut found = self.nodes.demand(number, &self.options.limits);
            found.number = found.number.filter(|_| found.inode.is_some());
            let missing = found.missing.take();
            self.found(found)?;
            missing
        };
        let kind = self.seen.kind(number);
        if let Some(problem) = missing.filter(|_| kind.is_none()) {
            self.orphan(number, &problem, image_offset);
        }
        Ok(kind)
    }

    /// Says that a name, or the superblock, leads to an inode that is not there.
    fn orphan(&mut self, number: u64, problem: &str, image_offset: Option<u64>) {
        let (layer, detail) = match image_offset {
            Some(_) => (
                Layer::Directory,
                format!("a name leads to inode {number}, which {problem}"),
            ),
            None => (Layer::Inode, format!("the root directory {problem}")),
        };
        let mut finding = Finding::new(Severity::Loss, layer, FindingCode::Orphan, detail).on_inode(number);
        finding.image_offset = image_offset;
        self.report.push(finding);
    }

    /// Lets a subdirectory wait, unless it was reached before or lies too deep.
    fn wait(&mut self, entry: &Entry<'_>, name: &[u8], waiting: &Waiting) {
        let inode = entry.inode;
        let depth = waiting.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let levels = self.options.limits.depth;
            let detail = format!("directory {inode} lies deeper than {levels} levels");
            return self.complain(
                Severity::Loss,
                FindingCode::Limit,
                detail,
                entry.at,
                waiting.inode,
            );
        }
        if !self.seen.mark(inode, Mark::Entered) {
            let detail = format!("directory {inode} has a second name");
            return self.complain(
                Severity::Warning,
                FindingCode::Loop,
                detail,
                entry.at,
                waiting.inode,
            );
        }
        self.pending.push(&Waiting {
            inode,
            parent: waiting.inode,
            depth,
            name: name.to_vec(),
            namespace: Namespace::Native,
        });
    }

    fn complain(&mut self, severity: Severity, code: FindingCode, detail: String, at: u64, inode: u64) {
        let finding = Finding::new(severity, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(inode));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EachFound, EachItem};
    use super::*;
    use crate::Limits;

    /// A root with two names.
    struct Names([(&'static [u8], u64); 2]);

    impl Nodes for Names {
        fn root(&self) -> u64 {
            2
        }

        fn directory_budget(&self) -> u64 {
            1
        }

        fn each_inode(&self, _limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
            each(Found::inode(Inode::bare(2, Kind::Directory), Vec::new()))?;
            each(Found::inode(Inode::bare(3, Kind::File), Vec::new()))
        }

        fn demand(&self, _number: u64, _limits: &Limits) -> Found {
            Found::missing("is free")
        }

        fn entries(&self, _directory: u64, _budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
            for (name, inode) in self.0 {
                let entry = Entry {
                    name,
                    inode,
                    kind: None,
                    at: 100,
                    is_behind_dots: false,
                };
                if each(Item::Entry(entry))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        }
    }

    /// One flipped bit of an entry ended the scan: the catalogue takes no such number.
    #[test]
    fn r22_a_name_that_leads_to_a_number_that_cannot_be_is_told() {
        let nodes = Names([(b"flipped", 3 | 1 << 63), (b"good", 3)]);
        let (mut names, mut told) = (Vec::new(), Vec::new());
        let mut visit = |event: ScanEvent| {
            match event {
                ScanEvent::Name(name) => names.push((name.name, name.inode)),
                ScanEvent::Finding(finding) => told.push(finding),
                _ => {}
            }
            Ok(())
        };
        run(&nodes, &[], &ScanOptions::default(), &mut visit).expect("to its end");
        assert_eq!(names, [(b"good".to_vec(), 3)]);
        let [finding] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!((finding.severity, finding.inode), (Severity::Loss, Some(2)));
        assert_eq!(
            finding.detail,
            "`flipped` leads to inode 9223372036854775811, which no file system has"
        );
    }

    /// A root and a subdirectory whose inodes say that they are none.
    struct NoDirectories;

    impl Nodes for NoDirectories {
        fn root(&self) -> u64 {
            2
        }

        fn directory_budget(&self) -> u64 {
            1
        }

        fn each_inode(&self, _limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
            each(Found::inode(Inode::bare(2, Kind::File), Vec::new()))
        }

        fn demand(&self, _number: u64, _limits: &Limits) -> Found {
            Found::missing("is free")
        }

        fn entries(&self, _directory: u64, _budget: &mut u64, _each: &mut EachItem<'_>) -> Visit {
            panic!("nothing is a directory");
        }
    }

    /// R14, R22: names that are lost with their directory are a loss, and are never passed over.
    #[test]
    fn r22_a_root_that_is_no_directory_is_a_loss() {
        let mut told = Vec::new();
        let mut visit = |event: ScanEvent| {
            if let ScanEvent::Finding(finding) = event {
                told.push((finding.severity, finding.inode, finding.detail));
            }
            Ok(())
        };
        run(&NoDirectories, &[], &ScanOptions::default(), &mut visit).expect("to its end");
        let detail = "the root is no directory (File): what it held has no names";
        assert_eq!(told, [(Severity::Loss, Some(2), detail.to_owned())]);
    }
}
