//! What every part of the reader needs: the superblock, the chunks, and nodes by their logical address.

use std::sync::OnceLock;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadError;
use ntt_source::field::le_u64;

use super::chunk::{ChunkMap, Told};
use super::copies::Copies;
use super::node::{HEADER_LEN, Node};
use super::superblock::Superblock;
use crate::VolumeSource;
use crate::report::{Report, unreadable};

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    pub(super) superblock: Superblock,
    pub(super) chunks: ChunkMap,
    /// Found once, by the first scan; see [`Volume::settle_copies`].
    copies: OnceLock<Copies>,
}

/// What the pointer to a node says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) logical: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

impl<'a> Volume<'a> {
    /// A volume that knows only the chunks in its superblock.
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, superblock: Superblock) -> Self {
        let chunks = ChunkMap::system(&superblock.system_chunks, superblock.device);
        Self {
            source,
            image_offset,
            superblock,
            chunks,
            copies: OnceLock::new(),
        }
    }

    pub(super) fn node_bytes(&self) -> u64 {
        self.superblock.node_bytes.into()
    }

    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// Says which copies of content are read from now on.
    pub(super) fn settle_copies(&self, copies: Copies) {
        self.copies.get_or_init(|| copies);
    }

    /// Calls `each` with place and length of every piece of a run of content; see [`ChunkMap::pieces`].
    pub(super) fn pieces(
        &self,
        run: (u64, u64),
        pieces_max: u64,
        each: &mut dyn FnMut(Option<u64>, u64),
    ) -> (Told, u64) {
        let none = Copies::default();
        let copies = self.copies.get().unwrap_or(&none);
        self.chunks
            .pieces(run, copies, (self.source_len(), pieces_max), each)
    }

    /// A byte of the volume as a byte of the image.
    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// The node that lies at `offset` of the volume, whatever it is.
    pub(super) fn node_at(&self, offset: u64) -> Result<Node, ReadError> {
        let len = usize::try_from(self.superblock.node_bytes).unwrap_or(16_384);
        let mut bytes = vec![0; len].into_boxed_slice();
        self.source.read_exact_at(offset, &mut bytes)?;
        let is_right = self.superblock.checksum.is_right(&bytes);
        Ok(Node {
            bytes,
            offset,
            is_right,
        })
    }

    /// Whether what lies at `offset` of the volume has the header of a node that belongs at `logical`: cheap, before all of it is read.
    pub(super) fn begins_a_node(&self, offset: u64, logical: u64) -> bool {
        let mut header = [0; HEADER_LEN];
        let is_read = self.source.read_exact_at(offset, &mut header).is_ok();
        is_read
            && le_u64(&header, 0x30) == Some(logical)
            && header.get(0x20..0x30) == Some(&self.superblock.metadata_uuid)
    }

    /// Whether a node is one of this file system and says that it belongs at `logical`.
    pub(super) fn is_at_home(&self, node: &Node, logical: u64) -> bool {
        node.logical() == logical && node.uuid() == self.superblock.metadata_uuid
    }

    /// Reads a node: the first copy that is right, or else what can be used of a wrong one. Says what is wrong.
    pub(super) fn node(&self, expected: Expected, report: &mut Report) -> Option<Node> {
        let what = format!("the node at logical address {:#x}", expected.logical);
        let places = self.chunks.map(expected.logical).map(|mapped| mapped.places);
        let Some(places) = places.filter(|places| !places.is_empty()) else {
            let detail = format!("{what} does not lie on this device");
            report.push(Finding::new(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::BeyondEnd,
                detail,
            ));
            return None;
        };
        let (mut usable, mut faults) = (None, Vec::new());
        for offset in places {
            let at = self.in_image(offset);
            let node = match self.node_at(offset) {
                Ok(node) => node,
                Err(error) => {
                    faults.push(unreadable(&error, Layer::FileSystem, &what, at));
                    continue;
                }
            };
            let fault = self.fault(&node, expected);
            let Some(fault) = fault else {
                self.tell_of_copies(faults, report);
                return Some(node);
            };
            let detail = format!("{what} {fault}");
            faults.push(Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail).at(at));
            if self.is_at_home(&node, expected.logical) && node.level() == expected.level && usable.is_none()
            {
                usable = Some(Node {
                    is_right: false,
                    ..node
                });
            }
        }
        for fault in faults {
            report.push(fault);
        }
        usable
    }

    /// What is wrong with a node.
    fn fault(&self, node: &Node, expected: Expected) -> Option<String> {
        if !self.is_at_home(node, expected.logical) {
            return Some("is none of this file system".to_owned());
        }
        if !node.is_right {
            return Some("has a wrong checksum".to_owned());
        }
        if node.level() != expected.level {
            return Some(format!("is of level {}, not {}", node.level(), expected.level));
        }
        (node.generation() != expected.generation).then(|| {
            let (is, should) = (node.generation(), expected.generation);
            format!("is of generation {is}, not {should}")
        })
    }

    /// Copies that were passed over, since another one is right.
    fn tell_of_copies(&self, faults: Vec<Finding>, report: &mut Report) {
        for mut fault in faults {
            fault.severity = Severity::Warning;
            if fault.code == FindingCode::Corrupt {
                fault.code = FindingCode::BackupUsed;
            }
            fault.detail.push_str("; another copy of it was used");
            report.push(fault);
        }
    }
}
