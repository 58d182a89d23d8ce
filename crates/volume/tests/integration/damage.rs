//! Damaged tables and metadata of volume managers: no panic, no walk without end, whatever a byte says.

use ntt_model::ByteRange;
use ntt_source::ReadAt;
use ntt_testkit::managers::{MdMember, disk_of, lvm2_members};
use ntt_volume::identify::identify;
use ntt_volume::manager::{Member, assemble};
use ntt_volume::table::find;

const FLIPS: u64 = 500;
const CUTS: u64 = 50;

/// A sequence of numbers that is the same every time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % u64::try_from(bound).expect("small")).expect("small")
    }
}

/// Everything that this crate makes of an image whose members lie at `members`.
fn examine(image: &Vec<u8>, members: &[ByteRange]) -> usize {
    let found = find(image, 0);
    assert!(found.slots().count() <= 2048, "slots without end");
    assert!(identify(image).len() < 32);
    let members: Vec<Member> = (1_u32..)
        .zip(members)
        .map(|(number, range)| Member {
            number,
            range: *range,
        })
        .collect();
    let assembly = assemble(image, &members);
    for volume in assembly.groups.iter().flat_map(|group| &group.volumes) {
        let Ok(mapping) = &volume.mapping else { continue };
        assert!(mapping.segments.len() < 100_000);
        // A walk over the first runs of each volume stays in it.
        let mut position = 0;
        for _ in 0..1000 {
            let Some(run) = mapping.run(position) else { break };
            assert!(run.len > 0);
            position = position.saturating_add(run.len);
        }
    }
    assembly.groups.len() + found.tables.len()
}

fn damage(name: &str, image: &[u8], members: &[ByteRange], hot: &[ByteRange]) {
    let whole = image.to_vec();
    assert!(examine(&whole, members) > 0, "{name}");
    let mut numbers = Numbers(7);
    let mut bytes = whole.clone();
    for _ in 0..FLIPS {
        let area = hot[numbers.below(hot.len())];
        let places: Vec<(usize, u8)> = (0..=numbers.below(4))
            .map(|_| {
                let inside = numbers.below(usize::try_from(area.len).expect("small"));
                let at = usize::try_from(area.offset).expect("small") + inside;
                let old = bytes[at];
                bytes[at] = u8::try_from(numbers.below(256)).expect("a byte");
                (at, old)
            })
            .collect();
        examine(&bytes, members);
        for (at, old) in places.into_iter().rev() {
            bytes[at] = old;
        }
    }
    for _ in 0..CUTS {
        let mut cut = whole.clone();
        cut.truncate(numbers.below(whole.len()));
        examine(&cut, members);
    }
}

#[test]
fn r22_damaged_tables_of_every_scheme_end_and_never_panic() {
    // Every table that starts in the first sectors, one over the other: whichever magic survives is walked.
    let mut disk = vec![0_u8; 1 << 20];
    let put = |disk: &mut Vec<u8>, at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(&mut disk, 0, &0x0be5_a941_u32.to_be_bytes());
    put(&mut disk, 312, &[0, 0, 4, 0, 0, 0, 0, 8, 0, 0, 0, 10]);
    put(&mut disk, 508, &[0xda, 0xbe]);
    put(&mut disk, 436, &[0, 16, 0, 63]);
    put(&mut disk, 512, &0x8256_4557_u32.to_le_bytes());
    put(&mut disk, 512 + 132, &0x8256_4557_u32.to_le_bytes());
    put(&mut disk, 512 + 138, &[8, 0]);
    put(&mut disk, 1024, b"RDSK");
    put(&mut disk, 1024 + 28, &[0, 0, 0, 3]);
    put(&mut disk, 1536, b"PART");
    put(&mut disk, 1536 + 16, &[0, 0, 0, 4]);
    put(&mut disk, 2048, b"PART");
    put(&mut disk, 2048 + 16, &[0, 0, 0, 3]);
    put(&mut disk, 8192 + 4, b"\xe5\xd6\xd3\xf1");
    put(&mut disk, 29 * 512 + 4, &0xca5e_600d_u32.to_le_bytes());
    put(&mut disk, 29 * 512 + 156, &0x600d_deee_u32.to_le_bytes());
    put(&mut disk, 16_312, &[0x57, 0x29, 3, 0, 1, 0, 0, 0]);
    damage(
        "tables",
        &disk,
        &[],
        &[
            ByteRange::new(0, 4096),
            ByteRange::new(8192, 512),
            ByteRange::new(14_848, 512),
        ],
    );
}

#[test]
fn r22_damaged_superblocks_of_md_end_and_never_panic() {
    let members: Vec<Vec<u8>> = (0_u16..3)
        .map(|role| {
            let member = MdMember {
                level: 5,
                layout: 2,
                chunk_sectors: 8,
                raid_disks: 3,
                role,
                events: 7,
            };
            member.version_1_2(&vec![1; 65_536])
        })
        .collect();
    let len = u64::try_from(members[0].len()).expect("small");
    let disk = disk_of(&members);
    let places: Vec<ByteRange> = (1..4).map(|number| ByteRange::new(number << 20, len)).collect();
    let hot: Vec<ByteRange> = places
        .iter()
        .map(|place| ByteRange::new(place.offset + 4096, 272))
        .collect();
    damage("md", &disk, &places, &hot);
}

#[test]
fn r22_damaged_metadata_of_lvm2_ends_and_never_panics() {
    let Some(members) = lvm2_members() else { return };
    // The first MiB of each holds all metadata.
    let mut image = members[0][..1 << 20].to_vec();
    image.extend_from_slice(&members[1][..1 << 20]);
    let places = [ByteRange::new(0, 1 << 20), ByteRange::new(1 << 20, 1 << 20)];
    assert_eq!(ReadAt::len(&image), 2 << 20);
    let hot: Vec<ByteRange> = places
        .iter()
        .flat_map(|place| {
            [
                ByteRange::new(place.offset + 512, 512),
                ByteRange::new(place.offset + 4096, 8192),
            ]
        })
        .collect();
    damage("lvm2", &image, &places, &hot);
}
