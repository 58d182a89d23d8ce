//! BLAKE3 of the whole image, from pieces in any order.
//!
//! The image is cut into groups of 1 MiB. Each group keeps the chaining values of the subtrees that it has got so far (`blake3::hazmat`); when
//! it is whole, they are folded to one. Groups that came in pieces that are no subtrees are hashed from the image in the end. Bytes
//! that were never rescued count as zeros.

use std::collections::BTreeMap;

use blake3::Hasher;
use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use ntt_model::ByteRange;

/// Bytes of a group.
pub const GROUP_BYTES: u64 = 1 << 20;
/// BLAKE3's chunk: no smaller subtree exists.
const CHUNK_BYTES: u64 = 1024;

/// What a range is filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fill {
    /// There are no bytes.
    #[default]
    Nothing,
    /// All are this byte.
    Byte(u8),
    /// They differ.
    Mixed,
}

impl Fill {
    /// The fill of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Nothing,
            // Each byte equals its neighbour: the comparison runs at the speed of memory and ends at the first difference.
            [first, rest @ ..] if *rest == bytes[..bytes.len() - 1] => Self::Byte(*first),
            _ => Self::Mixed,
        }
    }

    /// The fill of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, fill) | (fill, Self::Nothing) => fill,
            (Self::Byte(left), Self::Byte(right)) if left == right => self,
            _ => Self::Mixed,
        }
    }
}

/// What is known of a whole group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its chaining value; its hash if it is the only one.
    pub value: ChainingValue,
    /// How many of its bytes are rescued; the others count as zeros.
    pub rescued_bytes: u64,
    /// What its rescued bytes are filled with.
    pub fill: Fill,
}

#[derive(Debug)]
enum Slot {
    /// Subtrees so far: offset to length and value.
    Pieces(BTreeMap<u64, (u64, ChainingValue)>, Fill),
    Known(Group),
    /// Must be hashed from the image.
    Unknown,
}

/// The groups of an image.
#[derive(Debug)]
pub struct HashTree {
    size_bytes: u64,
    slots: Vec<Slot>,
}

impl HashTree {
    /// A tree for an image of which nothing is known.
    pub fn new(size_bytes: u64) -> Self {
        let groups = size_bytes.div_ceil(GROUP_BYTES);
        Self {
            size_bytes,
            slots: (0..groups)
                .map(|_| Slot::Pieces(BTreeMap::new(), Fill::Nothing))
                .collect(),
        }
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.slots.len()
    }

    /// The bytes of a group.
    pub fn range(&self, group: usize) -> ByteRange {
        let start = (group as u64).saturating_mul(GROUP_BYTES).min(self.size_bytes);
        ByteRange::new(start, GROUP_BYTES.min(self.size_bytes - start))
    }

    /// What is known of a group.
    pub fn known(&self, group: usize) -> Option<&Group> {
        match self.slots.get(group) {
            Some(Slot::Known(group)) => Some(group),
            _ => None,
        }
    }

    /// Sets what is known of a group.
    pub fn set(&mut self, group: usize, known: Group) {
        if let Some(slot) = self.slots.get_mut(group) {
            *slot = Slot::Known(known);
        }
    }

    /// Forgets the groups that `range` touches: their bytes in the image are what counts.
    pub fn forget(&mut self, range: ByteRange) -> std::ops::Range<usize> {
        let groups = self.touched(range);
        for slot in self.slots.get_mut(groups.clone()).unwrap_or_default() {
            *slot = Slot::Unknown;
        }
        groups
    }

    fn touched(&self, range: ByteRange) -> std::ops::Range<usize> {
        let narrow = |group: u64| usize::try_from(group).unwrap_or(usize::MAX).min(self.slots.len());
        narrow(range.offset / GROUP_BYTES)..narrow(range.end().div_ceil(GROUP_BYTES))
    }

    /// Takes bytes that were rescued at `offset`; gives the groups that are whole now.
    pub fn add(&mut self, offset: u64, bytes: &[u8]) -> Vec<usize> {
        let range = ByteRange::new(offset, bytes.len() as u64);
        let mut whole = Vec::new();
        for group in self.touched(range) {
            let Some(part) = self.range(group).intersection(&range) else {
                continue;
            };
            let start = usize::try_from(part.offset - offset).unwrap_or(usize::MAX);
            let len = usize::try_from(part.len).unwrap_or(0);
            let part_bytes = bytes.get(start..start.saturating_add(len)).unwrap_or_default();
            if self.add_to_group(group, part.offset, part_bytes) {
                whole.push(group);
            }
        }
        whole
    }

    /// Whether the group is whole now.
    fn add_to_group(&mut self, group: usize, offset: u64, bytes: &[u8]) -> bool {
        let range = self.range(group);
        let is_only = self.slots.len() == 1;
        let Some(slot) = self.slots.get_mut(group) else {
            return false;
        };
        let Slot::Pieces(pieces, fill) = slot else {
            *slot = Slot::Unknown;
            return false;
        };
        let fits = add_pieces(pieces, range.end(), offset, bytes);
        *fill = fill.and(Fill::of(bytes));
        if !fits {
            *slot = Slot::Unknown;
            return false;
        }
        let got: u64 = pieces.values().map(|(len, _)| *len).sum();
        if got < range.len || is_only {
            return false;
        }
        let folded = fold(pieces, range);
        let fill = *fill;
        *slot = match folded {
            Some(value) => Slot::Known(Group {
                value,
                rescued_bytes: range.len,
                fill,
            }),
            None => Slot::Unknown,
        };
        folded.is_some()
    }

    /// The hash of the image and the fill of all rescued bytes, once every group is known.
    pub fn finish(&self) -> Option<(blake3::Hash, Fill)> {
        let mut values = Vec::with_capacity(self.slots.len());
        let mut fill = Fill::Nothing;
        for group in 0..self.slots.len() {
            let known = self.known(group)?;
            values.push(known.value);
            fill = fill.and(known.fill);
        }
        Some((self.root(&values)?, fill))
    }

    fn root(&self, values: &[ChainingValue]) -> Option<blake3::Hash> {
        match values {
            [] => None,
            [only] => Some(blake3::Hash::from_bytes(*only)),
            _ => {
                let left = hazmat::left_subtree_len(self.size_bytes);
                let (one, other) = self.halves(values, self.size_bytes, left)?;
                Some(hazmat::merge_subtrees_root(&one, &other, Mode::Hash))
            }
        }
    }

    fn halves(
        &self,
        values: &[ChainingValue],
        len: u64,
        left: u64,
    ) -> Option<(ChainingValue, ChainingValue)> {
        let (one, other) = values.split_at_checked(usize::try_from(left / GROUP_BYTES).ok()?)?;
        Some((self.subtree(one, left)?, self.subtree(other, len - left)?))
    }

    /// As deep as the binary logarithm of the number of groups.
    fn subtree(&self, values: &[ChainingValue], len: u64) -> Option<ChainingValue> {
        if let [only] = values {
            return Some(*only);
        }
        let (one, other) = self.halves(values, len, hazmat::left_subtree_len(len))?;
        Some(hazmat::merge_subtrees_non_root(&one, &other, Mode::Hash))
    }

    /// Hashes a group from its bytes, unread ones as zeros.
    pub fn hash(&self, group: usize, bytes: &[u8]) -> ChainingValue {
        if self.slots.len() == 1 {
            return *blake3::hash(bytes).as_bytes();
        }
        subtree_value(self.range(group).offset, bytes)
    }
}

fn subtree_value(offset: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new()
        .set_input_offset(offset)
        .update(bytes)
        .finalize_non_root()
}

/// Cuts bytes into subtrees and adds them; `false` if they are none, or were there before.
fn add_pieces(
    pieces: &mut BTreeMap<u64, (u64, ChainingValue)>,
    group_end: u64,
    offset: u64,
    bytes: &[u8],
) -> bool {
    let end = offset + bytes.len() as u64;
    let before = pieces.range(..end).next_back();
    if before.is_some_and(|(start, (len, _))| start + len > offset) {
        return false;
    }
    let (mut position, mut rest) = (offset, bytes);
    while position < end {
        let Some(len) = piece_len(position, end, group_end) else {
            return false;
        };
        let (piece, after) = rest.split_at(usize::try_from(len).unwrap_or(0).min(rest.len()));
        pieces.insert(position, (len, subtree_value(position, piece)));
        (position, rest) = (position + len, after);
    }
    true
}

/// The largest subtree that begins at `position` and ends at or before `end`.
fn piece_len(position: u64, end: u64, group_end: u64) -> Option<u64> {
    let left = end - position;
    if !position.is_multiple_of(CHUNK_BYTES) {
        return None;
    }
    let aligned = if position == 0 {
        GROUP_BYTES
    } else {
        1 << position.trailing_zeros().min(20)
    };
    let fitting = aligned.min(1 << left.ilog2());
    if fitting >= CHUNK_BYTES {
        Some(fitting)
    } else if end == group_end {
        Some(left)
    } else {
        None
    }
}

/// The chaining value of a range that its pieces cover.
fn fold(pieces: &BTreeMap<u64, (u64, ChainingValue)>, range: ByteRange) -> Option<ChainingValue> {
    if let Some((len, value)) = pieces.get(&range.offset)
        && *len == range.len
    {
        return Some(*value);
    }
    if range.len <= CHUNK_BYTES {
        return None;
    }
    let left = hazmat::left_subtree_len(range.len);
    let one = fold(pieces, ByteRange::new(range.offset, left))?;
    let other = fold(pieces, ByteRange::new(range.offset + left, range.len - left))?;
    Some(hazmat::merge_subtrees_non_root(&one, &other, Mode::Hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    /// Hashes what is missing from the bytes, as the end of a rescue does, and gives the root and how many groups that were.
    fn finished(mut tree: HashTree, bytes: &[u8]) -> (blake3::Hash, usize) {
        let mut hashed = 0;
        for group in 0..tree.groups() {
            if tree.known(group).is_none() {
                let range = tree.range(group);
                let part = &bytes[range.offset as usize..range.end() as usize];
                let value = tree.hash(group, part);
                let known = Group {
                    value,
                    rescued_bytes: range.len,
                    fill: Fill::of(part),
                };
                tree.set(group, known);
                hashed += 1;
            }
        }
        (tree.finish().expect("all groups are known").0, hashed)
    }

    #[test]
    fn any_size_gives_blake3s_own_hash() {
        for len in [
            1,
            1000,
            1 << 20,
            (1 << 20) + 1,
            (3 << 20) + 1537,
            5 << 20,
            (7 << 20) + 1023,
        ] {
            let bytes = content(len);
            let mut tree = HashTree::new(len as u64);
            for (at, piece) in bytes
                .chunks(128 << 10)
                .enumerate()
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                let _ = tree.add(at as u64 * (128 << 10), piece);
            }
            let (root, hashed) = finished(tree, &bytes);
            assert_eq!(root, blake3::hash(&bytes), "{len}");
            assert!(hashed <= 1, "{len}: only a lone group is read again");
        }
    }

    #[test]
    fn an_image_of_one_byte_says_so() {
        let mut tree = HashTree::new(3 << 20);
        for group in 0..3_u64 {
            let _ = tree.add(group << 20, &vec![0x55; 1 << 20]);
        }
        assert_eq!(tree.finish().map(|(_, fill)| fill), Some(Fill::Byte(0x55)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        /// Pieces of any size in any order, some of them twice.
        #[test]
        fn any_order_gives_blake3s_own_hash(len in 1..5000_usize, cuts in proptest::collection::vec(0..5000_usize, 0..12), seed in any::<u64>()) {
            let unit = 512;
            let bytes = content(len * unit + seed as usize % unit);
            let mut edges: Vec<usize> = cuts.iter().map(|cut| (cut * unit).min(bytes.len())).chain([0, bytes.len()]).collect();
            edges.sort_unstable();
            let mut pieces: Vec<(usize, usize)> = edges.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let turn = seed as usize % pieces.len();
            pieces.rotate_left(turn);
            let mut tree = HashTree::new(bytes.len() as u64);
            for (start, end) in &pieces {
                let _ = tree.add(*start as u64, &bytes[*start..*end]);
            }
            let (start, end) = pieces[0];
            let _ = tree.add(start as u64, &bytes[start..end]);
            prop_assert_eq!(finished(tree, &bytes).0, blake3::hash(&bytes));
        }
    }
}
