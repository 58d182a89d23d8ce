//! Which record has a name in which directory, as the MFT says: eight bytes a name.
//!
//! Indexes of names can be damaged; the names in the records cannot be lost with them. Ten million names take 80 MB.

/// Names a chunk; also the distance of record numbers within one.
const CHUNK: usize = 1 << 20;
/// Bits of a name's hash.
const HASH_BITS: u32 = 12;
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;

/// A name of a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Link {
    /// The record that has the name.
    pub(super) child: u32,
    /// See [`super::file_name::FileName::hash`].
    pub(super) hash: u16,
}

/// All names. Children that are added in ascending order take the least space.
#[derive(Debug, Default)]
pub(super) struct Links {
    chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    first_child: u32,
    /// Parent (32 bits), child less the first of the chunk (20), hash (12).
    entries: Vec<u64>,
}

impl Chunk {
    fn link(&self, entry: u64) -> Link {
        let distance = u32::try_from((entry & 0xffff_ffff) >> HASH_BITS).unwrap_or(0);
        Link {
            child: self.first_child.saturating_add(distance),
            hash: u16::try_from(entry & HASH_MASK).unwrap_or(0),
        }
    }
}

impl Links {
    /// Adds a name.
    pub(super) fn add(&mut self, parent: u32, link: Link) {
        let fits = |chunk: &Chunk| {
            let distance = link.child.checked_sub(chunk.first_child);
            chunk.entries.len() < CHUNK
                && distance
                    .is_some_and(|distance| usize::try_from(distance).is_ok_and(|distance| distance < CHUNK))
        };
        if !self.chunks.last().is_some_and(fits) {
            self.chunks.push(Chunk {
                first_child: link.child,
                entries: Vec::new(),
            });
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return;
        };
        let distance = u64::from(link.child.saturating_sub(chunk.first_child));
        let entry = (u64::from(parent) << 32) | (distance << HASH_BITS) | (u64::from(link.hash) & HASH_MASK);
        chunk.entries.push(entry);
    }

    /// Adds the chunks of `others`, whose children may be any.
    pub(super) fn append(&mut self, others: Self) {
        self.chunks.extend(others.chunks);
    }

    /// Makes [`Links::children`] possible, once all were added.
    pub(super) fn sort(&mut self) {
        for chunk in &mut self.chunks {
            chunk.entries.sort_unstable();
            chunk.entries.shrink_to_fit();
        }
    }

    /// The names of a directory, by child.
    pub(super) fn children(&self, parent: u32) -> Vec<Link> {
        let mut links = Vec::new();
        let first = u64::from(parent) << 32;
        for chunk in &self.chunks {
            let start = chunk.entries.partition_point(|entry| *entry < first);
            let entries = chunk.entries.get(start..).unwrap_or_default();
            let own = entries
                .iter()
                .take_while(|entry| **entry >> 32 == u64::from(parent));
            links.extend(own.map(|entry| chunk.link(*entry)));
        }
        links.sort_unstable();
        links
    }

    /// Every name with its directory.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Link)> {
        self.chunks.iter().flat_map(|chunk| {
            let entries = chunk.entries.iter();
            entries.map(|entry| (u32::try_from(*entry >> 32).unwrap_or(0), chunk.link(*entry)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn link(child: u32, hash: u16) -> Link {
        Link { child, hash }
    }

    #[test]
    fn children_come_in_their_order_from_all_chunks() {
        let mut links = Links::default();
        for (parent, link) in [
            (5, link(30, 7)),
            (9, link(30, 8)),
            (5, link(31, 0xfff)),
            (5, link(40_000_000, 1)),
            (u32::MAX, link(u32::MAX, 2)),
        ] {
            links.add(parent, link);
        }
        links.sort();
        assert_eq!(links.chunks.len(), 3);
        assert_eq!(
            links.children(5),
            [link(30, 7), link(31, 0xfff), link(40_000_000, 1)]
        );
        assert_eq!(links.children(u32::MAX), [link(u32::MAX, 2)]);
        assert_eq!(links.children(4), []);
        assert_eq!(links.iter().count(), 5);
    }
}
