//! Members of RAIDs and volume groups.

use std::path::Path;

use crate::corpus::{decompressed, have};

/// What a member of an md array says of it, in superblock 1.x.
#[derive(Clone, Copy, Debug)]
pub struct MdMember {
    /// RAID level; -1 is linear.
    pub level: i32,
    /// Number of the layout.
    pub layout: u32,
    /// Sectors of a chunk.
    pub chunk_sectors: u32,
    /// Members that take part.
    pub raid_disks: u32,
    /// Which of them this is.
    pub role: u16,
    /// Changes that it has seen.
    pub events: u64,
}

/// Where data stands in a member of version 1.2.
pub const MD_DATA_OFFSET: usize = 8192;

impl MdMember {
    /// A member of version 1.2 with its data.
    pub fn version_1_2(&self, data: &[u8]) -> Vec<u8> {
        let mut member = vec![0; MD_DATA_OFFSET];
        member.extend_from_slice(data);
        let superblock = self.superblock(4096, MD_DATA_OFFSET, data.len());
        member[4096..4096 + superblock.len()].copy_from_slice(&superblock);
        member
    }

    /// A member of version 1.0, whose data comes first; `data` is a whole number of 4 KiB.
    pub fn version_1_0(&self, data: &[u8]) -> Vec<u8> {
        let mut member = data.to_vec();
        member.resize(data.len() + 8192, 0);
        let superblock = self.superblock(data.len(), 0, data.len());
        member[data.len()..data.len() + superblock.len()].copy_from_slice(&superblock);
        member
    }

    fn superblock(&self, at: usize, data_at: usize, data_len: usize) -> Vec<u8> {
        let sectors = |bytes: usize| (u64::try_from(bytes).expect("small") / 512).to_le_bytes();
        let mut block = vec![0; 256 + 2 * 8];
        let mut put = |at: usize, value: &[u8]| block[at..at + value.len()].copy_from_slice(value);
        put(0, &0xa92b_4efc_u32.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, b"0123456789abcdef");
        put(32, b"host:0");
        put(72, &self.level.to_le_bytes());
        put(76, &self.layout.to_le_bytes());
        // Stripes use all that each member has.
        let used = if self.level > 0 { data_len } else { 0 };
        put(80, &sectors(used));
        put(88, &self.chunk_sectors.to_le_bytes());
        put(92, &self.raid_disks.to_le_bytes());
        put(128, &sectors(data_at));
        put(136, &sectors(data_len));
        put(144, &sectors(at));
        put(160, &u32::from(self.role).to_le_bytes());
        put(168, &[u8::try_from(self.role).expect("small"); 16]);
        put(200, &self.events.to_le_bytes());
        put(208, &u64::MAX.to_le_bytes());
        put(220, &8_u32.to_le_bytes());
        for role in 0..8_u16 {
            let said = if u32::from(role) < self.raid_disks {
                role
            } else {
                0xffff
            };
            put(256 + 2 * usize::from(role), &said.to_le_bytes());
        }
        sign(&mut block);
        block
    }
}

/// Sets the checksum of a superblock of version 1.x and its roles.
fn sign(block: &mut [u8]) {
    block[216..220].fill(0);
    let sum = block
        .chunks_exact(4)
        .map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("four bytes"))))
        .sum::<u64>();
    let folded = u32::try_from(sum & 0xffff_ffff)
        .expect("low")
        .wrapping_add(u32::try_from(sum >> 32).expect("high"));
    block[216..220].copy_from_slice(&folded.to_le_bytes());
}

/// Says in a member of version 1.2 that its array is in step up to this sector of each member, and not behind it. An array in use has 0.
pub fn md_resynced_to(member: &mut [u8], sector: u64) {
    let block = &mut member[4096..4096 + 256 + 2 * 8];
    block[208..216].copy_from_slice(&sector.to_le_bytes());
    sign(block);
}

/// Says in a member of version 1.2 that the member with this number takes no part in the array any more.
pub fn md_without(member: &mut [u8], role: usize) {
    let block = &mut member[4096..4096 + 256 + 2 * 8];
    block[256 + 2 * role..][..2].copy_from_slice(&0xffff_u16.to_le_bytes());
    sign(block);
}

/// The members of an array over `columns`, all with the same `events`; `like` says what the array is.
pub fn md_members(like: MdMember, columns: &[Vec<u8>]) -> Vec<Vec<u8>> {
    (0_u16..)
        .zip(columns)
        .map(|(role, column)| {
            let raid_disks = u32::try_from(columns.len()).expect("few");
            let member = MdMember {
                role,
                raid_disks,
                ..like
            };
            member.version_1_2(column)
        })
        .collect()
}

/// Data as the columns of a RAID 0.
pub fn raid0(data: &[u8], chunk: usize, disks: usize) -> Vec<Vec<u8>> {
    let mut columns = vec![Vec::new(); disks];
    for (number, part) in data.chunks(chunk).enumerate() {
        columns[number % disks].extend_from_slice(part);
        columns[number % disks].resize((number / disks + 1) * chunk, 0);
    }
    columns
}

/// Data as the columns of a RAID 5 in the layout left-symmetric.
pub fn raid5(data: &[u8], chunk: usize, disks: usize) -> Vec<Vec<u8>> {
    let rows = data.len().div_ceil(chunk * (disks - 1));
    let mut columns = vec![vec![0; rows * chunk]; disks];
    for (stripe, row) in data.chunks(chunk * (disks - 1)).enumerate() {
        let parity = disks - 1 - stripe % disks;
        let mut sum = vec![0_u8; chunk];
        for (index, part) in row.chunks(chunk).enumerate() {
            let place = &mut columns[(parity + 1 + index) % disks][stripe * chunk..];
            place[..part.len()].copy_from_slice(part);
            sum.iter_mut().zip(part).for_each(|(sum, byte)| *sum ^= byte);
        }
        columns[parity][stripe * chunk..(stripe + 1) * chunk].copy_from_slice(&sum);
    }
    columns
}

/// The two members of a volume group `vg0` that the tools of LVM2 2.03.16 made: `pvcreate`, `vgcreate -s 1M`, `lvcreate -L 8M -n lin`,
/// `lvcreate -L 12M -i 2 -I 64k -n str`, `lvextend -l +28 vg0/lin`. 40 MiB each, first extent at 1 MiB.
///
/// `lin` has 8 extents from extent 0 of the first, 25 from its extent 14, 3 from extent 6 of the second; `str` alternates between extent 8 of the
/// first and 0 of the second. `None` where `xz` is not installed.
pub fn lvm2_members() -> Option<[Vec<u8>; 2]> {
    if !have("xz") {
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data");
    let member = |name: &str| {
        let head = decompressed(&folder.join(name));
        let mut bytes = std::fs::read(head.path()).expect("a member");
        bytes.resize(40 << 20, 0);
        bytes
    };
    Some([member("lvm2-pv0.head.xz"), member("lvm2-pv1.head.xz")])
}

/// A disk whose MBR has the members as partitions, each on a boundary of 1 MiB.
pub fn disk_of(members: &[Vec<u8>]) -> Vec<u8> {
    const MIB: usize = 1 << 20;
    let mut disk = vec![0; MIB];
    for (index, member) in members.iter().enumerate() {
        let at = 446 + index * 16;
        let sectors = |bytes: usize| u32::try_from(bytes / 512).expect("small").to_le_bytes();
        disk[at + 4] = 0xfd;
        let start = disk.len();
        disk[at + 8..at + 12].copy_from_slice(&sectors(start));
        disk[at + 12..at + 16].copy_from_slice(&sectors(member.len()));
        disk.extend_from_slice(member);
        disk.resize(disk.len().next_multiple_of(MIB), 0);
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}
