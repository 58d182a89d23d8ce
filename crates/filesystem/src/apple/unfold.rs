//! How many paths there are when directories with several names are unfolded.
//!
//! Trees of Time Machine hold every unchanged directory once and name it in every backup, so that 8 million inodes have 43 million paths. They are
//! walked folded, each directory once. The number of paths follows from the graph of those directories alone: what is reached through one
//! directory with several names before the next such directory is a **part**, and a part has as many copies as there are ways to it.

use std::collections::HashMap;

/// Names of directories with several names that are remembered, 8 bytes each.
const EDGES_MAX: usize = 1 << 23;

/// The parts of a tree.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Part of a directory with several names.
    numbers: HashMap<u32, u32>,
    /// Names in each part; the first is that of the root.
    names: Vec<u64>,
    /// Part that holds a name, and part that the name leads to.
    edges: Vec<(u32, u32)>,
    overflow: bool,
}

/// The part of the root.
pub(crate) const ROOT_PART: u32 = 0;

impl Default for Parts {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            names: vec![0],
            edges: Vec::new(),
            overflow: false,
        }
    }
}

impl Parts {
    /// Counts a name in a part.
    pub(crate) fn name(&mut self, part: u32) {
        let count = usize::try_from(part)
            .ok()
            .and_then(|part| self.names.get_mut(part));
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
    }

    /// The part of a directory with several names.
    pub(crate) fn part(&mut self, cnid: u32) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let part = *self.numbers.entry(cnid).or_insert(next);
        if part == next {
            self.names.push(0);
        }
        part
    }

    /// Takes a name in `part` that leads to the directory `cnid`, which has several.
    pub(crate) fn link(&mut self, part: u32, cnid: u32) {
        let to = self.part(cnid);
        if self.edges.len() >= EDGES_MAX {
            self.overflow = true;
        } else {
            self.edges.push((part, to));
        }
    }

    /// Number of directories with several names.
    pub(crate) fn directories(&self) -> usize {
        self.numbers.len()
    }

    /// Number of names of such directories.
    pub(crate) fn links(&self) -> usize {
        self.edges.len()
    }

    /// Number of paths unfolded; `None` if there is no end to them, or too many names to tell.
    pub(crate) fn unfolded(mut self) -> Option<u64> {
        if self.overflow {
            return None;
        }
        self.edges.sort_unstable();
        let mut ways = vec![0_u64; self.names.len()];
        let mut waiting = vec![0_u32; self.names.len()];
        for (_, to) in &self.edges {
            let count = waiting.get_mut(usize::try_from(*to).ok()?)?;
            *count = count.saturating_add(1);
        }
        *ways.first_mut()? = 1;
        // Parts without a way in (lost ones) are starting points too.
        let mut ready: Vec<usize> = (0..ways.len())
            .filter(|part| waiting.get(*part) == Some(&0))
            .collect();
        let (mut done, mut paths) = (0_usize, 0_u64);
        while let Some(part) = ready.pop() {
            done = done.saturating_add(1);
            let own = (*ways.get(part)?).max(1);
            paths = paths.saturating_add(own.saturating_mul(*self.names.get(part)?));
            let number = u32::try_from(part).ok()?;
            let first = self.edges.partition_point(|(from, _)| *from < number);
            for (from, to) in self
                .edges
                .get(first..)?
                .iter()
                .take_while(|(from, _)| *from == number)
            {
                debug_assert_eq!(*from, number);
                let to = usize::try_from(*to).ok()?;
                let count = ways.get_mut(to)?;
                *count = count.saturating_add(own);
                let left = waiting.get_mut(to)?;
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(to);
                }
            }
        }
        (done == ways.len()).then_some(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_directories_multiply() {
        let mut parts = Parts::default();
        // Three backups in the root, each naming the same directory of 4 names, one of which leads to another of 10.
        (0..3).for_each(|_| parts.name(ROOT_PART));
        for _ in 0..3 {
            parts.name(ROOT_PART);
            parts.link(ROOT_PART, 100);
        }
        let shared = parts.part(100);
        (0..4).for_each(|_| parts.name(shared));
        parts.link(shared, 200);
        let inner = parts.part(200);
        (0..10).for_each(|_| parts.name(inner));
        assert_eq!((parts.directories(), parts.links()), (2, 4));
        assert_eq!(parts.unfolded(), Some(6 + 3 * 4 + 3 * 10));
    }

    #[test]
    fn a_ring_has_no_end() {
        let mut parts = Parts::default();
        parts.link(ROOT_PART, 100);
        let part = parts.part(100);
        parts.link(part, 100);
        assert_eq!(parts.unfolded(), None);
    }

    #[test]
    fn doubling_saturates() {
        let mut parts = Parts::default();
        let mut part = ROOT_PART;
        for level in 0..200 {
            parts.link(part, level);
            parts.link(part, level);
            part = parts.part(level);
            parts.name(part);
        }
        assert_eq!(parts.unfolded(), Some(u64::MAX));
    }
}
