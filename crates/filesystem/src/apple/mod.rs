//! What HFS and HFS+ share: B-trees, the catalogue and the walk through it, forks.
//!
//! Both keep their directories in a **catalogue**, a B-tree whose records have the key (number of the directory, name). A reader that goes by the
//! index of the tree loses what hangs below a broken node, so this one does not use the index to find anything: `tree` reads **all** nodes of the
//! tree's file once, in order, and remembers for every leaf which numbers it holds (16 bytes a leaf). Looking up a directory is then a search in
//! memory and the reading of its leaves. Index, chain of leaves and allocation map of the nodes are only asked whether a leaf is in use, and are
//! compared (R22). What has lost its record but has a thread record gets its name back from there (`walk`, `lost`).
//!
//! Sources: Apple, *Technical Note TN1150: HFS Plus Volume Format* (B-trees, catalogue, extents overflow, attributes); Apple, *Inside Macintosh:
//! Files*, chapter 2 (HFS); `hfs_format.h` of Apple's hfs sources (hard links, attribute records).

pub(crate) mod allocated;
pub(crate) mod arrange;
pub(crate) mod catalog;
pub(crate) mod claims;
pub(crate) mod cnid_set;
pub(crate) mod finder;
pub(crate) mod fork;
pub(crate) mod guess;
pub(crate) mod key;
pub(crate) mod links;
pub(crate) mod lost;
pub(crate) mod node;
pub(crate) mod node_map;
pub(crate) mod overflow;
pub(crate) mod overlay;
pub(crate) mod returned;
pub(crate) mod sweep;
pub(crate) mod time;
pub(crate) mod tree;
pub(crate) mod unfold;
pub(crate) mod volume;
pub(crate) mod walk;
