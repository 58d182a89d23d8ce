//! `ddrescuelog` (package gddrescue) accepts our maps and does to them what we do.

use std::process::Command;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

/// Runs ddrescuelog on a map; `None` if it is not installed.
fn ddrescuelog(arguments: &[&str], map: &Mapfile) -> Option<Vec<u8>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), map.to_bytes()).expect("a written map");
    let output = Command::new("ddrescuelog")
        .args(arguments)
        .arg(file.path())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: ddrescuelog is not installed");
        return None;
    };
    assert!(
        output.status.success(),
        "ddrescuelog refused our map: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

fn sample() -> Mapfile {
    let mut map = Mapfile::untried(1 << 40);
    map.comments.push(b" sector size: 512".to_vec());
    for (at, status) in (0_u64..).zip(Status::ALL.iter().cycle().take(200)) {
        map.set(ByteRange::new(at * 4096, 512 * (at % 7 + 1)), *status)
            .expect("few blocks");
    }
    map
}

#[test]
fn ddrescuelog_accepts_our_map() {
    let Some(shown) = ddrescuelog(&["--show-status"], &sample()) else {
        return;
    };
    assert!(String::from_utf8_lossy(&shown).contains("mapfile extent:"));
}

#[test]
fn inversion_is_ddrescuelogs() {
    let map = sample();
    let Some(inverted) = ddrescuelog(&["--invert-mapfile"], &map) else {
        return;
    };
    let theirs = Mapfile::parse(&inverted).expect("their map");
    assert_eq!(theirs.blocks(), map.inverted().blocks());
}

/// R11: the sectors that we call unread are those that ddrescuelog lists as not finished.
#[test]
fn r11_unread_sectors_are_those_that_ddrescuelog_lists() {
    let mut map = sample();
    map.set(ByteRange::new(1 << 20, (1 << 40) - (1 << 20)), Status::Finished)
        .expect("few blocks");
    let Some(listed) = ddrescuelog(&["--list-blocks=?*/-", "--block-size=512"], &map) else {
        return;
    };
    let theirs: Vec<u64> = String::from_utf8_lossy(&listed)
        .lines()
        .map(|line| line.trim().parse().expect("a sector number"))
        .collect();
    let ours: Vec<u64> = map
        .unread_ranges(1 << 40)
        .iter()
        .flat_map(|range| range.offset / 512..range.end() / 512)
        .collect();
    assert_eq!(ours, theirs);
}
