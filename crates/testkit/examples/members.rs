//! Writes a member of an LVM2 group and one of a RAID5, 64 KiB each, for the fuzzer: `members OUT`.

use ntt_testkit::managers::{MdMember, lvm2_members};

const HALF: usize = 64 << 10;

fn main() {
    let path = std::env::args_os().nth(1).expect("a path");
    let [first, _] = lvm2_members().expect("xz");
    let mut image = first[..HALF].to_vec();
    let member = MdMember {
        level: 5,
        layout: 2,
        chunk_sectors: 8,
        raid_disks: 3,
        role: 0,
        events: 7,
    };
    image.extend(member.version_1_2(&vec![1; HALF - 8192]));
    std::fs::write(path, image).expect("written");
}
