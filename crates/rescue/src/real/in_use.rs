//! Whether a block device is in use: mounted, swapped to, or held by another device; as a whole or a part of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why `device` (its number) must not be read, if so.
pub(super) fn reason(device: u64) -> Option<String> {
    let numbers = with_partitions(device);
    if let Some(place) = mounted_at(&numbers) {
        return Some(format!("it is mounted at {}; unmount it first", place.display()));
    }
    if let Some(path) = swap_on(&numbers) {
        return Some(format!("it holds active swap, {}", path.display()));
    }
    let holder = numbers.iter().find_map(|number| {
        fs::read_dir(sysfs(*number).join("holders"))
            .ok()?
            .flatten()
            .next()
    })?;
    Some(format!(
        "it is held by {}; stop that first",
        Path::new(&holder.file_name()).display()
    ))
}

fn sysfs(number: u64) -> PathBuf {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

/// The device and its partitions; sysfs lists them as directories with a `partition` file.
fn with_partitions(device: u64) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::from([device]);
    for entry in fs::read_dir(sysfs(device)).into_iter().flatten().flatten() {
        if entry.path().join("partition").exists()
            && let Ok(text) = fs::read_to_string(entry.path().join("dev"))
            && let Some(number) = parse_number(text.trim())
        {
            numbers.insert(number);
        }
    }
    numbers
}

fn parse_number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The mount point of the first of them: the third field of a line of `mountinfo` is the device, the fifth the place (proc(5)).
fn mounted_at(numbers: &BTreeSet<u64>) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let number = parse_number(fields.nth(2)?)?;
        numbers
            .contains(&number)
            .then(|| PathBuf::from(fields.nth(1).unwrap_or_default()))
    })
}

fn swap_on(numbers: &BTreeSet<u64>) -> Option<PathBuf> {
    let swaps = fs::read_to_string("/proc/swaps").ok()?;
    let paths = swaps.lines().skip(1).filter_map(|line| line.split(' ').next());
    paths
        .map(PathBuf::from)
        .find(|path| fs::metadata(path).is_ok_and(|metadata| numbers.contains(&metadata.rdev())))
}
