//! The tree of layers that a source was found to hold.

pub use ntt_container::{ContainerLayer, StoredHash};
use ntt_filesystem::{Facts, Family};
use ntt_model::{ByteRange, Finding, Mapping};
pub use ntt_volume::identify::Class as IdentifiedClass;
use serde::{Deserialize, Serialize};

/// What a partition or a whole image turned out to be (R14).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// At least one file system in it can be read.
    Readable,
    /// Nothing but one filler byte in what was looked at.
    Empty {
        /// The filler byte.
        fill: u8,
        /// How many bytes were looked at (R13).
        examined_bytes: u64,
    },
    /// A known type that this version does not read: a file system, swap, an encrypted volume, a RAID or LVM member.
    Identified {
        /// The class, for people and summaries.
        class: IdentifiedClass,
        /// The type as `blkid` names it: `ntfs`, `swap`, `crypto_LUKS`, `linux_raid_member`, `LVM2_member`.
        type_name: String,
    },
    /// Holds a partition table of its own (an extended partition, a nested disk).
    Table,
    /// Nothing recognised; the first bytes are kept for people.
    Unknown {
        /// Up to 64 bytes from the start.
        first_bytes: Vec<u8>,
    },
    /// The table says that it lies (partly or wholly) beyond the end of the image, and what is there could not be read (R12).
    BeyondEnd,
    /// What decides could not be read.
    Unread,
    /// The same file system at the same place as another volume, which is the one to scan: the partition entry of a hybrid disc that
    /// covers the disc itself, or one partition in two tables.
    SameAs {
        /// Number of the other volume.
        number: u32,
    },
}

/// One file system found in a volume; several over the same bytes are normal on hybrid media.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileSystemLayer {
    /// Who reads it.
    pub family: Family,
    /// Why the probe thinks so.
    pub evidence: String,
    /// Facts of the validated superblock; `None` if it could not be opened, and then a finding says why.
    pub facts: Option<Facts>,
}

/// A volume: a range of the image that holds, or should hold, file systems.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeLayer {
    /// Number of the volume on its medium, from 1, in the order of the tables; how people name it: `MEDIUM/2`.
    pub number: u32,
    /// How it was found: `whole image`, `mbr primary 2`, `mbr logical 5`, `gpt 1`, `apm 3`, `signature scan`, `zip offset`,
    /// `1 MiB offset`; a slot of a table inside a volume as `mbr primary 1 in gpt 2`.
    pub found_by: String,
    /// Where it lies in the image, as its table says.
    pub range: ByteRange,
    /// How many of those bytes the image really has; less than `range.len` makes the volume incomplete (R12).
    pub available_bytes: u64,
    /// Type field of the table, as text: `0x06`, a GPT type GUID; empty if there is none.
    pub table_type: String,
    /// Name in the table (GPT); empty if there is none.
    pub table_name: String,
    /// UUID in the table (GPT PARTUUID, MBR disk id and index); empty if there is none.
    pub table_uuid: String,
    /// What it turned out to be.
    pub verdict: Verdict,
    /// Label of something identified but not read, when it is known; empty otherwise.
    pub label: String,
    /// UUID of something identified but not read, when it is known; empty otherwise.
    pub uuid: String,
    /// The file systems found in it, best first. More than one on hybrid media.
    pub file_systems: Vec<FileSystemLayer>,
    /// Length that something identified but not read says it has, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Number of the volume that holds it: an extended partition, a slice with a label, the first member of its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<u32>,
    /// The type of member that it says it is, as `blkid` names it; empty if it belongs to no group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member_of: String,
    /// Where its bytes lie when they are not one range of the image; `range` then has the first byte and the length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
}

impl VolumeLayer {
    /// A volume of which nothing is known yet but its place.
    pub fn new(found_by: impl Into<String>, range: ByteRange) -> Self {
        Self {
            number: 0,
            found_by: found_by.into(),
            range,
            available_bytes: 0,
            table_type: String::new(),
            table_name: String::new(),
            table_uuid: String::new(),
            verdict: Verdict::Unread,
            label: String::new(),
            uuid: String::new(),
            file_systems: Vec::new(),
            size_bytes: None,
            inside: None,
            member_of: String::new(),
            mapping: None,
        }
    }
}

/// A partition table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableLayer {
    /// `mbr`, `gpt`, `gpt (backup header)`, `apm`.
    pub scheme: String,
    /// Where it lies in the image.
    pub image_offset: u64,
    /// Identifier of the table (disk signature, disk GUID); empty if there is none.
    pub id: String,
    /// Sector size that its numbers count in.
    pub sector_size_bytes: u32,
    /// Number of the volume that holds it; none for the tables of the image itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<u32>,
}

/// A group of a volume manager: a RAID array, a volume group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManagerLayer {
    /// `lvm2`, `lvm1`, `md raid1`.
    pub manager: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its UUID in the form of the manager's tools.
    pub uuid: String,
    /// Numbers of the volumes that are its members.
    pub members: Vec<u32>,
    /// Members that are not in this image.
    pub absent: Vec<String>,
    /// Numbers of the volumes that it makes.
    pub volumes: Vec<u32>,
    /// Facts for people, as label and value.
    pub facts: Vec<(String, String)>,
}

/// Everything found in one source.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LayerTree {
    /// The containers that the image lies in, the outermost first; none for a raw one.
    #[serde(default)]
    pub containers: Vec<ContainerLayer>,
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Length that its tables and file systems say it should have; more than `image_bytes` makes it incomplete (R12).
    pub expected_bytes: u64,
    /// The tables, outermost first.
    pub tables: Vec<TableLayer>,
    /// The groups of volume managers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<ManagerLayer>,
    /// The volumes, numbered from 1.
    pub volumes: Vec<VolumeLayer>,
    /// What is wrong or remarkable with the layers.
    pub findings: Vec<Finding>,
}

/// Everything found in the images of a set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetTree {
    /// What each image holds by itself, in the order of the images. Members of what is put together in [`SetTree::set`] are tables there.
    pub images: Vec<LayerTree>,
    /// What the images make together: the members, and behind them the volumes of their groups, in the addresses of
    /// [`ntt_model::space`]. Without volumes if nothing spans the images.
    pub set: LayerTree,
}
