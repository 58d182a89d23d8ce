//! Walks of trees: the leaves of a range of keys in their order, and the ranges that are lost.
//!
//! Below a pointer only keys of its own range count. So nothing is met twice, whatever the pointers say, and since levels only fall every walk ends.
//!
//! Where a node is lost, leaves of the same tree that hold keys of its range are looked for in all metadata chunks (`sweep`). They may be older than
//! what is lost: btrfs never writes over a node, so the versions before it are often still there.

use std::collections::VecDeque;
use std::rc::Rc;

use super::key::{Key, KeyRange};
use super::node::{LEVELS_MAX, Node};
use super::superblock::Root;
use super::sweep::{self, Found};
use super::volume::{Expected, Volume};
use crate::report::Report;

/// Nodes that are kept, each of at most 64 KiB.
const CACHE_NODES: u64 = 256;

/// Reads nodes, keeps some, and collects what is wrong with them.
pub(super) struct Nodes<'v, 'a> {
    pub(super) volume: &'v Volume<'a>,
    pub(super) report: Report,
    cache: Vec<Option<(Expected, Rc<Node>)>>,
    swept: Option<Rc<[Found]>>,
}

impl<'v, 'a> Nodes<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>) -> Self {
        Self {
            volume,
            report: Report::default(),
            cache: vec![None; usize::try_from(CACHE_NODES).unwrap_or(1)],
            swept: None,
        }
    }

    fn node(&mut self, expected: Expected) -> Option<Rc<Node>> {
        let slot = expected
            .logical
            .checked_div(self.volume.node_bytes())
            .map_or(0, |number| number % CACHE_NODES);
        let slot = usize::try_from(slot).unwrap_or(0);
        if let Some(Some((held, node))) = self.cache.get(slot)
            && (held.logical, held.generation, held.level)
                == (expected.logical, expected.generation, expected.level)
        {
            return Some(Rc::clone(node));
        }
        let node = Rc::new(self.volume.node(expected, &mut self.report)?);
        // A wrong node is not kept, so that whoever meets it is told.
        if node.is_right
            && let Some(place) = self.cache.get_mut(slot)
        {
            *place = Some((expected, Rc::clone(&node)));
        }
        Some(node)
    }

    /// Everything that looks like a node, by a search that is made once.
    pub(super) fn swept(&mut self) -> Rc<[Found]> {
        let volume = self.volume;
        let report = &mut self.report;
        Rc::clone(
            self.swept
                .get_or_insert_with(|| sweep::sweep(volume, report).into()),
        )
    }
}

/// What a walk comes to next.
#[derive(Debug)]
pub(super) enum Step {
    /// A leaf, of which the keys in the range count.
    Leaf(Rc<Node>, KeyRange),
    /// Keys of this range may be missing. What can be had of them all the same follows.
    Lost(KeyRange),
}

/// A node that is still to be visited.
#[derive(Clone, Copy, Debug)]
struct Visit {
    expected: Expected,
    range: KeyRange,
    /// It was found by a search: what is wrong with it is no loss.
    is_found: bool,
}

/// A walk through a range of a tree.
#[derive(Debug)]
pub(super) struct Cursor {
    owner: u64,
    /// The next one last.
    stack: Vec<Visit>,
    ready: VecDeque<Step>,
}

impl Cursor {
    /// A walk through `range` of the tree `owner`.
    pub(super) fn new(owner: u64, root: Root, range: KeyRange) -> Self {
        let expected = Expected {
            logical: root.logical,
            generation: root.generation,
            level: root.level.min(LEVELS_MAX),
        };
        Self {
            owner,
            stack: vec![Visit {
                expected,
                range,
                is_found: false,
            }],
            ready: VecDeque::new(),
        }
    }

    /// The next step; `None` at the end.
    pub(super) fn next(&mut self, nodes: &mut Nodes<'_, '_>) -> Option<Step> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            let visit = self.stack.pop()?;
            match nodes.node(visit.expected) {
                None if visit.is_found => {}
                None => {
                    self.ready.push_back(Step::Lost(visit.range));
                    self.replace(visit, nodes);
                }
                Some(node) => self.visit(visit, node),
            }
        }
    }

    fn visit(&mut self, visit: Visit, node: Rc<Node>) {
        if !node.is_right || !node.is_whole() {
            self.ready.push_back(Step::Lost(visit.range));
        }
        let Some(below) = visit.expected.level.checked_sub(1) else {
            self.ready.push_back(Step::Leaf(node, visit.range));
            return;
        };
        let first = self.stack.len();
        let mut pointers = node.pointers().peekable();
        let mut start = visit.range.start;
        while let Some(pointer) = pointers.next() {
            let end = pointers.peek().map_or(visit.range.end, |next| next.key);
            let range = KeyRange {
                start,
                end: end.min(visit.range.end),
            };
            if range.start < range.end && pointer.key < visit.range.end {
                self.stack.push(Visit {
                    expected: Expected {
                        logical: pointer.logical,
                        generation: pointer.generation,
                        level: below,
                    },
                    range,
                    is_found: false,
                });
            }
            start = start.max(end);
        }
        if let Some(added) = self.stack.get_mut(first..) {
            added.reverse();
        }
    }

    /// Puts leaves that a search found in place of a lost node.
    fn replace(&mut self, lost: Visit, nodes: &mut Nodes<'_, '_>) {
        let found = nodes.swept();
        let leaves = sweep::leaves_for(&found, self.owner, lost.range, lost.expected.generation);
        for leaf in leaves.into_iter().rev() {
            self.stack.push(Visit {
                expected: Expected {
                    logical: leaf.logical,
                    generation: leaf.generation,
                    level: 0,
                },
                range: KeyRange {
                    start: lost.range.start.max(leaf.first),
                    end: lost.range.end.min(after(leaf.last)),
                },
                is_found: true,
            });
        }
    }
}

/// The key that follows.
fn after(key: Key) -> Key {
    match key.offset.checked_add(1) {
        Some(offset) => Key { offset, ..key },
        None => Key {
            kind: key.kind.saturating_add(1),
            offset: 0,
            ..key
        },
    }
}
