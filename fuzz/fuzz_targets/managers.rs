#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ntt_fuzz::{Fixture, fixture, patched};
use ntt_model::ByteRange;
use ntt_source::ReadAt;
use ntt_volume::manager::{Member, assemble};

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

// Each half of the fixture is a member: the first of an LVM2 group, the second of a RAID5.
fuzz_target!(|patches: &[u8]| {
    let image = patched(fixture(&FIXTURE, "members.img"), patches);
    let half = image.len() / 2;
    let member = |number, offset| Member { number, range: ByteRange::new(offset, half) };
    let assembly = assemble(&image, &[member(1, 0), member(2, half)]);
    for volume in assembly.groups.iter().flat_map(|group| &group.volumes) {
        let Ok(mapping) = &volume.mapping else { continue };
        let mut position = 0;
        for _ in 0..10_000 {
            let Some(run) = mapping.run(position) else { break };
            assert!(run.len > 0, "a run without bytes");
            position = position.saturating_add(run.len);
        }
    }
});
