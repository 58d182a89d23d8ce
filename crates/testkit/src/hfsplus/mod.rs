//! A builder of HFS+ and HFSX volumes: no tool of Debian makes them with links, attributes and compressed files.
//!
//! B-trees have as many levels as they need, forks as many pieces as they are told, and the truth of what was put in is kept beside the image.

mod folder;
mod journal;
mod tree;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

pub use journal::JournalShape;

/// Number of the root directory.
pub const ROOT: u32 = 2;

/// What a volume is to be like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Bytes of an allocation block.
    pub block_bytes: usize,
    /// Number of allocation blocks.
    pub blocks: usize,
    /// Bytes of a node of the catalogue and of the attributes file.
    pub node_bytes: usize,
    /// HFSX, whose names differ by case.
    pub is_hfsx: bool,
    /// Pieces of the catalogue's file.
    pub catalog_pieces: usize,
    /// Blocks of a journal; 0 for none.
    pub journal_blocks: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            block_bytes: 4096,
            blocks: 1024,
            node_bytes: 4096,
            is_hfsx: false,
            catalog_pieces: 1,
            journal_blocks: 0,
        }
    }
}

/// A fork as it lies in the volume.
#[derive(Debug, Clone, Default)]
struct Fork {
    size: usize,
    /// First block and number of blocks.
    extents: Vec<(usize, usize)>,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Folder,
    File,
    /// A hard link, with the number it refers to.
    Link(u32),
    FolderLink(u32),
}

/// A file, directory or link.
#[derive(Debug, Clone)]
struct Object {
    cnid: u32,
    parent: u32,
    name: Vec<u16>,
    form: Form,
    mode: u16,
    special: u32,
    /// Time of the last change, in seconds since 1904.
    time: u32,
    owner_flags: u8,
    record_flags: u16,
    finder: [u8; 32],
    data: Fork,
    resource: Fork,
    attributes: Vec<(String, Value)>,
}

/// The value of an attribute.
#[derive(Debug, Clone)]
enum Value {
    Inline(Vec<u8>),
    Fork(Fork),
}

/// A volume that is being put together.
#[derive(Debug)]
pub struct Builder {
    shape: Shape,
    image: Vec<u8>,
    used: Vec<bool>,
    next_block: usize,
    next_cnid: u32,
    objects: BTreeMap<u32, Object>,
    file_store: Option<u32>,
    folder_store: Option<u32>,
    journal: Option<(usize, usize)>,
}

/// A finished volume.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its bytes.
    pub image: Vec<u8>,
    /// The nodes of the catalogue, in their order: each where it lies in the image, and its kind (`leaf`, `index`, `header`, `map`).
    pub catalog_nodes: Vec<(Range<usize>, &'static str)>,
    /// Where the journal lies.
    journal: Option<Range<usize>>,
}

/// Time of everything that gets no other: 2001-09-09T01:46:40Z.
pub const TIME: i64 = 1_000_000_000;
/// The same, in seconds since 1904.
const MAC_TIME: u32 = 3_082_844_800;

/// `N` bytes, different for every seed, that do not repeat soon.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Builder {
    /// An empty volume.
    ///
    /// # Panics
    ///
    /// As all methods of the builder: if something does not fit.
    pub fn new(label: &str, shape: Shape) -> Self {
        let image = vec![0; shape.block_bytes * shape.blocks];
        let mut used = vec![false; shape.blocks];
        let reserved = 1536_usize.div_ceil(shape.block_bytes);
        used[..reserved].fill(true);
        used[shape.blocks - 1024_usize.div_ceil(shape.block_bytes)..].fill(true);
        let mut builder = Self {
            image,
            used,
            next_block: reserved,
            next_cnid: 16,
            objects: BTreeMap::new(),
            file_store: None,
            folder_store: None,
            journal: None,
            shape,
        };
        if builder.shape.journal_blocks > 0 {
            let info = builder.allocate(1);
            let journal = builder.allocate(builder.shape.journal_blocks);
            builder.journal = Some((info, journal));
        }
        let root = builder.object(1, label, Form::Folder);
        let mut root = builder.objects.remove(&root).expect("just made");
        root.cnid = ROOT;
        builder.objects.insert(ROOT, root);
        builder
    }

    /// Blocks that lie together.
    fn allocate(&mut self, blocks: usize) -> usize {
        let first = self.next_block;
        let run = self.used[first..first + blocks].iter();
        assert!(run.clone().all(|used| !used), "the volume is full");
        self.used[first..first + blocks].fill(true);
        self.next_block += blocks;
        first
    }

    /// Writes a fork in so many pieces, one free block between every two.
    fn fork(&mut self, bytes: &[u8], pieces: usize) -> Fork {
        let block = self.shape.block_bytes;
        let blocks = bytes.len().div_ceil(block);
        let each = blocks.div_ceil(pieces.max(1)).max(1);
        let mut fork = Fork {
            size: bytes.len(),
            extents: Vec::new(),
        };
        for chunk in bytes.chunks(each * block) {
            let count = chunk.len().div_ceil(block);
            let first = self.allocate(count);
            self.next_block += usize::from(pieces > 1);
            self.image[first * block..first * block + chunk.len()].copy_from_slice(chunk);
            fork.extents.push((first, count));
        }
        fork
    }

    fn object(&mut self, parent: u32, name: &str, form: Form) -> u32 {
        let cnid = self.next_cnid;
        self.next_cnid += 1;
        let is_folder = form == Form::Folder;
        self.objects.insert(
            cnid,
            Object {
                cnid,
                parent,
                name: name.encode_utf16().collect(),
                form,
                mode: if is_folder { 0o040_755 } else { 0o100_644 },
                special: 0,
                time: MAC_TIME,
                owner_flags: 0,
                record_flags: if is_folder { 0 } else { 2 },
                finder: [0; 32],
                data: Fork::default(),
                resource: Fork::default(),
                attributes: Vec::new(),
            },
        );
        cnid
    }

    fn get(&mut self, cnid: u32) -> &mut Object {
        self.objects.get_mut(&cnid).expect("an object of this volume")
    }

    /// Adds a directory; its number.
    pub fn directory(&mut self, parent: u32, name: &str) -> u32 {
        self.object(parent, name, Form::Folder)
    }

    /// Adds a file; its number.
    pub fn file(&mut self, parent: u32, name: &str, content: &[u8]) -> u32 {
        self.fragmented(parent, name, content, 1)
    }

    /// Adds a file whose content lies in so many pieces.
    pub fn fragmented(&mut self, parent: u32, name: &str, content: &[u8], pieces: usize) -> u32 {
        let cnid = self.object(parent, name, Form::File);
        let fork = self.fork(content, pieces);
        self.get(cnid).data = fork;
        cnid
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, parent: u32, name: &str, target: &str) -> u32 {
        let cnid = self.file(parent, name, target.as_bytes());
        let link = self.get(cnid);
        link.mode = 0o120_755;
        link.finder[..8].copy_from_slice(b"slnkrhap");
        cnid
    }

    /// Gives a file a resource fork, in so many pieces.
    pub fn resource(&mut self, cnid: u32, content: &[u8], pieces: usize) {
        let fork = self.fork(content, pieces);
        self.get(cnid).resource = fork;
    }

    /// Gives a file or directory an attribute; one that does not fit into a node gets extents.
    pub fn attribute(&mut self, cnid: u32, name: &str, value: &[u8]) {
        let fits = value.len() + 16 + 14 + 2 * name.len() < self.shape.node_bytes / 2;
        let value = if fits {
            Value::Inline(value.to_vec())
        } else {
            Value::Fork(self.fork(value, 10))
        };
        let object = self.get(cnid);
        object.record_flags |= 4;
        object.attributes.push((name.to_owned(), value));
    }

    /// Marks a file as compressed (`UF_COMPRESSED`) by the `com.apple.decmpfs` attribute `value`.
    pub fn compressed(&mut self, cnid: u32, value: &[u8]) {
        self.attribute(cnid, "com.apple.decmpfs", value);
        self.get(cnid).owner_flags |= 0x20;
    }

    /// Sets the Finder's information.
    pub fn finder(&mut self, cnid: u32, info: [u8; 32]) {
        self.get(cnid).finder = info;
    }

    /// Sets the mode with the bits of the type, and the number of a device.
    pub fn mode(&mut self, cnid: u32, mode: u16, device: u32) {
        let object = self.get(cnid);
        (object.mode, object.special) = (mode, device);
    }

    /// Sets the time of the last change, in seconds since 1970.
    pub fn modified(&mut self, cnid: u32, seconds: i64) {
        self.get(cnid).time = u32::try_from(seconds - TIME + i64::from(MAC_TIME)).expect("until 2040");
    }

    /// Gives a file more names: it moves to the store, and every name becomes a link. `reference` is the number in its name there.
    pub fn hard_links(&mut self, cnid: u32, names: &[(u32, &str)], reference: Option<u32>) {
        let store = match self.file_store {
            Some(store) => store,
            None => {
                let store = self.directory(ROOT, "\0\0\0\0HFS+ Private Data");
                *self.file_store.insert(store)
            }
        };
        let reference = reference.unwrap_or(cnid);
        let file = self.get(cnid);
        let first = (file.parent, String::from_utf16(&file.name).expect("a name"));
        file.parent = store;
        file.name = format!("iNode{reference}").encode_utf16().collect();
        file.special = u32::try_from(names.len() + 1).expect("few");
        let names = names.iter().map(|(parent, name)| (*parent, (*name).to_owned()));
        for (parent, name) in std::iter::once(first).chain(names) {
            let link = self.object(parent, &name, Form::Link(reference));
            let link = self.get(link);
            link.special = reference;
            link.finder[..8].copy_from_slice(b"hlnkhfs+");
        }
    }

    /// Gives a directory more names, as Time Machine does.
    pub fn directory_links(&mut self, cnid: u32, names: &[(u32, &str)]) {
        let store = match self.folder_store {
            Some(store) => store,
            None => {
                let store = self.directory(ROOT, ".HFS+ Private Directory Data\r");
                *self.folder_store.insert(store)
            }
        };
        let folder = self.get(cnid);
        let first = (folder.parent, String::from_utf16(&folder.name).expect("a name"));
        folder.parent = store;
        folder.name = format!("dir_{cnid}").encode_utf16().collect();
        folder.special = u32::try_from(names.len() + 1).expect("few");
        folder.record_flags |= 0x20;
        let names = names.iter().map(|(parent, name)| (*parent, (*name).to_owned()));
        for (parent, name) in std::iter::once(first).chain(names) {
            let link = self.object(parent, &name, Form::FolderLink(cnid));
            let link = self.get(link);
            link.special = cnid;
            link.record_flags |= 0x20;
            link.finder[..8].copy_from_slice(b"fdrpMACS");
            link.finder[8] = 0x80;
        }
    }
}
