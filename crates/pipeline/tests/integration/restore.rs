//! Restores that are interrupted and go on (R45).

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ntt_pipeline::restore::{self, RestoreRequest};
use ntt_pipeline::{Error, RunOutcome, compare};

use crate::world::World;

/// Small files before and after one that takes a while.
fn world() -> World {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir_all(source.join("folder")).unwrap();
    fs::write(source.join("folder/inside"), b"small").unwrap();
    fs::write(source.join("big"), b"sixteen bytes : ".repeat(3 << 20)).unwrap();
    for number in 0..20 {
        fs::write(source.join(format!("file {number}")), format!("content {number}")).unwrap();
    }
    fs::hard_link(source.join("big"), source.join("folder/big too")).unwrap();
    std::os::unix::fs::symlink("big", source.join("link")).unwrap();
    world.ingest(&source).unwrap();
    world
}

fn drafts(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let is_draft = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".ntt-restore-");
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| is_draft(&entry.file_name())))
        .count()
}

/// Raises the interrupt when the big file is being written.
fn interrupted(world: &World, request: &RestoreRequest, out: &Path) -> Error {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let is_big = |entry: std::io::Result<fs::DirEntry>| {
                entry
                    .and_then(|entry| entry.metadata())
                    .is_ok_and(|metadata| metadata.len() > 1 << 20)
            };
            while !ended.load(Ordering::Relaxed) && !fs::read_dir(out).into_iter().flatten().any(is_big) {
                thread::yield_now();
            }
            world.interrupt.raise();
        });
        let error = restore::run(&world.context(), request);
        ended.store(true, Ordering::Relaxed);
        error.unwrap_err()
    })
}

#[test]
fn r45_an_interrupted_restore_leaves_no_cut_file_and_goes_on() {
    let mut world = world();
    let out = world.dir.path().join("out");
    let mut request = world.request(&out);
    let error = interrupted(&world, &request, &out);
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert!(!out.join("big").exists(), "cut files have no final name");
    assert!(
        !out.join("folder/big too").exists(),
        "cut files have no final name"
    );
    assert_eq!(drafts(&out) + drafts(&out.join("folder")), 0);

    world.interrupt = ntt_pipeline::Interrupt::new();
    let refused = restore::run(&world.context(), &request).unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    request.into_existing = true;
    let summary = restore::run(&world.context(), &request).unwrap();
    assert_eq!(
        (summary.problems, summary.outcome),
        (Vec::new(), RunOutcome::Complete)
    );
    let compared = compare::run(&world.context(), &request).unwrap();
    assert_eq!((compared.listed, compared.differences), (Vec::new(), 0));
}

#[test]
fn r45_what_differs_is_never_replaced_and_what_is_equal_counts_as_restored() {
    let world = world();
    let out = world.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("file 3"), b"content 3").unwrap();
    fs::write(out.join("file 4"), b"mine").unwrap();
    fs::write(out.join("mine too"), b"mine").unwrap();
    std::os::unix::fs::symlink("elsewhere", out.join("link")).unwrap();
    let mut request = world.request(&out);
    request.into_existing = true;
    let summary = restore::run(&world.context(), &request).unwrap();
    let mut problems: Vec<&str> = summary.problems.iter().map(|problem| &*problem.path).collect();
    problems.sort_unstable();
    assert_eq!(problems, ["1/file 4", "1/link"]);
    assert_eq!(fs::read(out.join("file 4")).unwrap(), b"mine");
    assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("elsewhere"));
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let source = world.dir.path().join("source/file 3");
    assert_eq!(
        modified(&out.join("file 3")),
        modified(&source),
        "its metadata are finished"
    );
    let compared = compare::run(&world.context(), &request).unwrap();
    assert!(
        compared
            .listed
            .iter()
            .all(|difference| difference.attribute != "extra")
    );
}

/// Needs root: only `trusted.` and `security.` attributes can be on a link.
#[test]
fn r45_attributes_of_links_come_back_and_are_compared() {
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    std::os::unix::fs::symlink("nowhere", source.join("link")).unwrap();
    let (name, flags) = ("trusted.note", rustix::fs::XattrFlags::empty());
    if rustix::fs::lsetxattr(source.join("link"), name, b"of a link", flags).is_err() {
        return;
    }
    world.ingest(&source).unwrap();
    let out = world.dir.path().join("out");
    let request = world.request(&out);
    let summary = restore::run(&world.context(), &request).unwrap();
    assert_eq!(summary.problems, []);
    let mut value = [0; 16];
    let len = rustix::fs::lgetxattr(out.join("link"), name, &mut value[..]).unwrap();
    assert_eq!(&value[..len], b"of a link");
    let listed = || compare::run(&world.context(), &request).unwrap().listed;
    assert_eq!(listed(), []);
    rustix::fs::lsetxattr(out.join("link"), name, b"another", flags).unwrap();
    let listed = listed();
    assert_eq!((&*listed[0].attribute, listed.len()), ("xattr", 1), "{listed:?}");
}

#[test]
fn r45_the_directory_itself_comes_back_and_is_compared() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), b"content").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o751)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_049_522_828);
    let times = fs::FileTimes::new().set_modified(time);
    fs::File::open(&source).unwrap().set_times(times).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let noted = rustix::fs::setxattr(&source, "user.note", b"mine", flags).is_ok();
    world.ingest(&source).unwrap();

    let out = world.dir.path().join("out");
    let mut request = world.request(&out);
    let summary = restore::run(&world.context(), &request).unwrap();
    assert_eq!(summary.problems, []);
    let metadata = fs::metadata(&out).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
    assert_eq!(metadata.modified().unwrap(), time);
    let mut value = [0; 4];
    assert!(!noted || rustix::fs::getxattr(&out, "user.note", &mut value[..]).is_ok());
    let compare = |request: &RestoreRequest| compare::run(&world.context(), request).unwrap().listed;
    assert_eq!(compare(&request), []);
    fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
    let listed = compare(&request);
    assert_eq!(
        (&*listed[0].path, &*listed[0].attribute),
        ("1/", "mode"),
        "{listed:?}"
    );

    // A directory that held something is the user's.
    let mine = world.dir.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("besides"), b"mine").unwrap();
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o700)).unwrap();
    (request.destination, request.into_existing) = (mine.clone().into(), true);
    let summary = restore::run(&world.context(), &request).unwrap();
    assert_eq!(summary.problems, []);
    assert_eq!(fs::metadata(&mine).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(compare(&request), []);
}
