//! Several images as one set, from the command line.

use std::process::Command;

use ntt_testkit::corpus::have;
use ntt_testkit::managers::{MdMember, disk_of, lvm2_members, md_members, raid0, raid5};

use crate::environment::Environment;
use crate::images::{self, DEMO_EXT, DEMO_FAT};

const CHUNK: usize = 65_536;
const MIB: usize = 1 << 20;

fn like(level: i32, layout: u32) -> MdMember {
    MdMember {
        level,
        layout,
        chunk_sectors: 128,
        raid_disks: 0,
        role: 0,
        events: 7,
    }
}

/// Disks with one partition each: the members of a RAID5 that holds the FAT file system of the demonstration image.
fn raid5_disks() -> Vec<Vec<u8>> {
    let members = md_members(like(5, 2), &raid5(&images::demo()[DEMO_FAT], CHUNK, 3));
    members.into_iter().map(|member| disk_of(&[member])).collect()
}

/// The names of the media, in order.
fn media(environment: &Environment) -> Vec<String> {
    listed(environment, "source_name")
}

/// The states of the media, in order.
fn states(environment: &Environment) -> Vec<String> {
    listed(environment, "completeness")
}

fn listed(environment: &Environment, key: &str) -> Vec<String> {
    let list = environment.ntt(["--json", "medium", "list"]).document(0);
    let media = list["media"].as_array().expect("media").iter();
    media
        .map(|medium| medium[key].as_str().expect("a text").to_owned())
        .collect()
}

/// Every image is a medium of its own, and what they make together is one more; its contents are stored, found and given back. Given again, in any
/// order, it is known.
#[test]
fn r3_a_set_is_a_medium_beside_its_images() {
    let environment = Environment::new();
    let members = md_members(like(0, 0), &raid0(&images::demo()[DEMO_FAT], CHUNK, 2));
    for (name, member) in ["a.img", "b.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    let summary = environment
        .ntt(["--json", "ingest", "--set", "a.img", "b.img"])
        .summary(0);
    assert_eq!(media(&environment), ["a.img", "b.img", "a.img + b.img"]);
    for image in 0..2 {
        let volumes = &summary["media"][image]["volumes"];
        assert_eq!(volumes[0]["verdict"], "table", "{volumes:#}");
    }
    let set = summary["media"][2]["medium"].as_str().expect("an id").to_owned();
    let todo = format!("{set}/3/todo.txt");
    assert_eq!(environment.ntt(["cat", &todo]).bytes(0), b"buy floppies\n");
    environment.ntt(["verify", &set]).code(0);
    let places = environment.ntt(["where", &todo]).code(0);
    assert!(places.contains("a.img + b.img"), "{places}");
    let shown = environment.ntt(["medium", "show", &set]).code(0);
    assert!(
        shown.contains("state    complete") && shown.contains("of image 1"),
        "{shown}"
    );
    let shown = environment.ntt(["medium", "show", "b.img"]).code(0);
    assert!(shown.contains(&format!("member   of the set {set}")), "{shown}");
    for order in [["a.img", "b.img"], ["b.img", "a.img"]] {
        let again = environment
            .ntt(["--json", "ingest", "--set", order[0], order[1]])
            .summary(0);
        assert_eq!(again["media"][2]["medium"], set.as_str());
        assert_eq!(again["media"][2]["copied"]["stored_streams"], 0);
    }
    assert_eq!(media(&environment).len(), 3);
    environment.ntt(["restore", &format!("{set}/3"), "out"]).code(0);
    let restored = std::fs::read(environment.work().join("out/todo.txt")).expect("a file");
    assert_eq!(restored, b"buy floppies\n");
}

/// R14, R44: an image of which a set holds the bytes is no better than the set: whoever lets one disk go of an array of which nothing is stored loses the array.
#[test]
fn r44_an_image_of_a_set_is_no_better_than_the_set() {
    let environment = Environment::new();
    // Nothing here reads what is encrypted.
    let mut encrypted = vec![7; 2 * MIB];
    encrypted[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    let members = md_members(like(0, 0), &raid0(&encrypted, CHUNK, 2));
    for (name, member) in ["a.img", "b.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    let told = environment.ntt(["ingest", "--set", "a.img", "b.img"]).code(3);
    assert_eq!(told.matches("partial, as is the set").count(), 2, "{told}");
    assert_eq!(states(&environment), ["partial"; 3]);
    environment.ntt(["ingest", "a.img"]).code(3);

    let environment = Environment::new();
    let members = md_members(like(0, 0), &raid0(&images::demo()[DEMO_FAT], CHUNK, 2));
    for (name, member) in ["a.img", "b.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    environment
        .ntt(["ingest", "--set", "--no-copy", "a.img", "b.img"])
        .code(3);
    assert_eq!(states(&environment), ["unfinished"; 3]);
    environment.ntt(["copy", "a.img + b.img"]).code(0);
    assert_eq!(states(&environment), ["complete"; 3]);
    let summary = environment.ntt(["--json", "ingest", "a.img"]).summary(0);
    assert!(summary["media"][0]["by_set"].is_null(), "{summary:#}");
}

/// R14: a second image that says that it is the same member, and has other bytes, is left out of the array, and so it is not read.
#[test]
fn r14_a_second_member_in_one_place_is_not_complete() {
    let environment = Environment::new();
    let members = raid5_disks();
    for (number, disk) in members.iter().enumerate() {
        environment.write(format!("{number}.img"), disk);
    }
    let mut double = members[0].clone();
    double[MIB + 300_000..MIB + 300_004].copy_from_slice(b"mine");
    environment.write("double.img", &double);
    environment
        .ntt(["ingest", "--set", "0.img", "1.img", "2.img", "double.img"])
        .code(3);
    assert_eq!(
        states(&environment),
        ["partial", "partial", "partial", "partial", "partial"]
    );
}

/// R38: a set that is given again has its digests, and nothing is opened or logged for them.
#[test]
fn r38_a_known_set_is_not_digested_again() {
    let environment = Environment::new();
    let members = md_members(like(0, 0), &raid0(&images::demo()[DEMO_FAT], CHUNK, 2));
    for (name, member) in ["a.img", "b.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    environment.ntt(["ingest", "--set", "a.img", "b.img"]).code(0);
    assert!(environment.stages_since_identify().contains(&"verify".to_owned()));
    environment.ntt(["ingest", "--set", "a.img", "b.img"]).code(0);
    assert!(!environment.stages_since_identify().contains(&"verify".to_owned()));
}

/// R16: one member of a RAID5 less costs nothing; what parity gives is stored.
#[test]
fn r16_a_raid5_without_one_member_is_whole() {
    for absent in 0..3 {
        let environment = Environment::new();
        let mut names = Vec::new();
        for (number, disk) in raid5_disks()
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != absent)
        {
            let name = format!("{number}.img");
            environment.write(&name, disk);
            names.push(name);
        }
        let arguments = ["--json", "ingest", "--set"]
            .map(str::to_owned)
            .into_iter()
            .chain(names);
        let summary = environment.ntt(arguments).summary(0);
        let set = summary["media"][2]["medium"].as_str().expect("an id");
        // The set's third volume is the array.
        assert_eq!(files(&environment, set, 3), files_of_demo(), "without {absent}");
    }
}

/// Paths and contents of a volume.
fn files(environment: &Environment, medium: &str, volume: u32) -> Vec<(Vec<u8>, Option<String>)> {
    let contents = environment.contents(medium).into_iter();
    let wanted = contents.filter(|((number, ..), _)| *number == volume);
    wanted.map(|((_, _, path), blob)| (path, blob)).collect()
}

/// Paths and contents of the FAT file system of the demonstration image.
fn files_of_demo() -> Vec<(Vec<u8>, Option<String>)> {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    environment.ntt(["ingest", "demo.img"]).code(0);
    let files = files(&environment, "demo.img", 1);
    assert_eq!(files.len(), 4);
    files
}

/// R11: what was never rescued of one member is given by the others; the images stay incomplete, the set is whole.
#[test]
fn r11_holes_of_several_members_are_filled() {
    let environment = Environment::new();
    let disks = raid5_disks();
    for (number, disk) in disks.iter().enumerate() {
        let mut disk = disk.clone();
        // A third of each member, beside those of the others.
        let from = 2 * MIB + number * MIB / 2;
        disk[from..from + MIB / 2].fill(0x55);
        environment.write(format!("{number}.img"), &disk);
        let (end, len) = (from + MIB / 2, disk.len());
        let map = format!(
            "0x0 ? 1\n0x0 {from:#x} +\n{from:#x} {:#x} -\n{end:#x} {:#x} +\n",
            MIB / 2,
            len - end
        );
        environment.write(format!("{number}.img.map"), map.as_bytes());
    }
    let summary = environment
        .ntt(["--json", "ingest", "--set", "0.img", "1.img", "2.img"])
        .summary(3);
    let set = &summary["media"][3];
    assert_eq!(
        (&set["outcome"], &set["partial"]),
        (&"complete".into(), &false.into()),
        "{set:#}"
    );
    assert_eq!(summary["media"][0]["outcome"], "losses");
    let id = set["medium"].as_str().expect("an id");
    assert_eq!(files(&environment, id, 4), files_of_demo());
}

/// R16: strangers are not joined, and an image given twice is not two; both are said, and the exit status says so.
#[test]
fn r16_strangers_and_twins_are_no_set() {
    let environment = Environment::new();
    let disks = raid5_disks();
    environment.write("a.img", &disks[0]);
    environment.write("twin.img", &disks[0]);
    environment.write("demo.img", &images::demo());
    let run = environment.ntt(["ingest", "--dry-run", "--set", "a.img", "demo.img"]);
    assert!(!run.everything().contains("set of these images"));
    let said = run.stderr(1);
    assert!(
        said.contains("they are no set, and would be taken in each by itself"),
        "{said}"
    );
    let said = environment
        .ntt(["ingest", "--set", "a.img", "demo.img"])
        .stderr(1);
    assert!(said.contains("they are no set, and were taken in"), "{said}");
    assert_eq!(media(&environment), ["a.img", "demo.img"]);
    let said = environment
        .ntt(["ingest", "--set", "a.img", "twin.img"])
        .stderr(1);
    assert!(said.contains("was given twice"), "{said}");
    let said = environment.ntt(["inspect", "--set", "a.img", "a.img"]).stderr(1);
    assert!(said.contains("was given twice"), "{said}");
    environment.ntt(["ingest", "--set", "a.img"]).stderr(2);
}

/// An image that was taken in alone is a member that misses its siblings; with the set it is not any more, also where what it has of their volume begins on another one.
#[test]
fn an_image_that_came_before_its_siblings_is_complete_with_them() {
    let environment = Environment::new();
    let members = md_members(like(0, 0), &raid0(&images::demo()[DEMO_FAT], CHUNK, 3));
    for (name, member) in ["a.img", "b.img", "c.img"].iter().zip(&members) {
        environment.write(name, member);
    }
    environment.ntt(["ingest", "a.img", "b.img"]).code(3);
    environment
        .ntt(["ingest", "--set", "a.img", "b.img", "c.img"])
        .code(0);
    environment.ntt(["ingest", "b.img"]).code(0);
    let list = environment.ntt(["--json", "medium", "list"]).document(0);
    for medium in list["media"].as_array().expect("media") {
        assert_eq!(medium["completeness"], "complete", "{medium:#}");
    }
}

/// A volume group over two images, one of them in a container; what it says of a member that is gone names it.
#[test]
fn a_member_in_a_container_is_a_member() {
    let Some(mut members) = lvm2_members() else { return };
    if !have("qemu-img") {
        eprintln!("skipped: no qemu-img");
        return;
    }
    let environment = Environment::new();
    let demo = images::demo();
    members[0][MIB..MIB + DEMO_EXT.len()].copy_from_slice(&demo[DEMO_EXT]);
    for (number, chunk) in demo[DEMO_FAT].chunks(CHUNK).enumerate() {
        let at = MIB + [8, 0][number % 2] * MIB + number / 2 * CHUNK;
        members[number % 2][at..at + chunk.len()].copy_from_slice(chunk);
    }
    environment.write("first.img", &members[0]);
    environment.write("raw", &members[1]);
    let made = Command::new("qemu-img")
        .args(["convert", "-q", "-c", "-O", "qcow2", "raw", "second.qcow2"])
        .current_dir(environment.work())
        .status();
    assert!(made.expect("a run").success());
    let drawn = environment
        .ntt(["inspect", "--set", "first.img", "second.qcow2"])
        .code(0);
    assert!(
        drawn.contains("set of these images") && drawn.contains("lvm2 vg0/str"),
        "{drawn}"
    );
    let summary = environment
        .ntt([
            "--json",
            "ingest",
            "--set",
            "first.img",
            "second.qcow2",
            "--no-copy",
        ])
        .summary(3);
    let set = summary["media"][2]["medium"].as_str().expect("an id").to_owned();
    // Between the scan and the copy a member disappears.
    let (here, away) = (
        environment.work().join("second.qcow2"),
        environment.work().join("away"),
    );
    std::fs::rename(&here, &away).expect("moved");
    let said = environment.ntt(["copy", &set]).stderr(1);
    assert!(said.contains("second.qcow2"), "{said}");
    std::fs::rename(&away, &here).expect("moved");
    environment.ntt(["copy", &set]).code(0);
    let todo = format!("{set}/4/todo.txt");
    assert_eq!(environment.ntt(["cat", &todo]).bytes(0), b"buy floppies\n");
}
