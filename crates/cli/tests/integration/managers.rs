//! Volumes of a volume manager, from inspection to content.

use ntt_testkit::managers::{disk_of, lvm2_members};

use crate::environment::Environment;
use crate::images::{self, DEMO_EXT, DEMO_FAT};
use crate::ingest_images::redacted;

const MIB: usize = 1 << 20;

/// A disk with the group of `lvm2_members`: an ext4 in its linear volume, a FAT in its striped one.
fn disk() -> Option<Vec<u8>> {
    let mut members = lvm2_members()?;
    let demo = images::demo();
    members[0][MIB..MIB + DEMO_EXT.len()].copy_from_slice(&demo[DEMO_EXT]);
    for (number, chunk) in demo[DEMO_FAT].chunks(65_536).enumerate() {
        let at = MIB + [8, 0][number % 2] * MIB + number / 2 * 65_536;
        members[number % 2][at..at + chunk.len()].copy_from_slice(chunk);
    }
    Some(disk_of(&members))
}

/// The tree nests as the layers do: disk, partition, group, volume, file system.
#[test]
fn inspect_draws_volumes_below_what_holds_them() {
    let Some(disk) = disk() else { return };
    let environment = Environment::new();
    environment.write("disk.img", &disk);
    let _guard = redacted(&environment);
    insta::assert_snapshot!("inspect_lvm2", environment.ntt(["inspect", "disk.img"]).code(0));
    let layers = environment.ntt(["inspect", "disk.img", "--json"]).document(0);
    let striped = &layers["layers"]["volumes"][3];
    assert_eq!(
        (&striped["found_by"], &striped["inside"]),
        (&"lvm2 vg0/str".into(), &1.into())
    );
}

/// Contents of a striped volume are stored, verified and given back as they were.
#[test]
fn contents_of_a_striped_volume_are_stored_and_verified() {
    let Some(disk) = disk() else { return };
    let environment = Environment::new();
    environment.write("disk.img", &disk);
    environment.ntt(["ingest", "disk.img"]).code(0);
    assert_eq!(
        environment.ntt(["cat", "disk.img/4/todo.txt"]).bytes(0),
        b"buy floppies\n"
    );
    environment.ntt(["verify"]).code(0);
    environment.write("demo.img", &images::demo());
    let summary = environment.ntt(["ingest", "demo.img", "--json"]).summary(0);
    // R3: the file system in the linear volume is that of the demo's second partition, known from elsewhere; so is the striped one.
    let copies = summary["media"][0]["volumes"].as_array().expect("volumes");
    assert!(
        copies.iter().all(|volume| !volume["same_as"].is_null()),
        "{copies:#?}"
    );
}
