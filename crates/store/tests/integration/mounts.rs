//! The store on file systems of its own: the power cut for real (R36, R38), the space used up (R39), no files left to open, nothing writable.
//!
//! All of it needs root, for mounting; without, the tests say that they skipped. What must happen in a process of its own is a test that is
//! ignored until its parent runs it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use ntt_host::{RealDisk, SystemRandom};
use ntt_store::Verified;
use ntt_testkit::corpus::have;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::*;

/// Where a child finds its archive.
const ARCHIVE: &str = "NTT_TEST_ARCHIVE";
/// The first content that a child makes.
const FIRST: &str = "NTT_TEST_FIRST";

const OPTIONS: StoreOptions = StoreOptions {
    pack_threshold_bytes: 8_000,
    pack_target_bytes: 400_000,
    batch_bytes: 1 << 20,
    batch_blobs: 12,
    journal_blobs: 200,
    barrier_files: 3,
};

fn store_in(root: &Path) -> Result<Store, Error> {
    Store::create(Arc::new(RealDisk), Arc::new(SystemRandom), root, OPTIONS)
}

/// A file system that is unmounted when dropped.
struct Mounted {
    dir: TempDir,
    arguments: Vec<String>,
}

impl Mounted {
    /// Mounts with these arguments of mount(8); `None`, and a word on stderr, if this process may not.
    fn new(dir: TempDir, arguments: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(dir.path().join("mnt")).expect("a directory");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mounted = Self { dir, arguments };
        if !rustix::process::geteuid().is_root() || !mounted.mount(&[]) {
            eprintln!("skipped: mounting is not allowed here");
            return None;
        }
        Some(mounted)
    }

    fn tmpfs(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        Self::new(dir, &["-t", "tmpfs", "-o", options, "none"])
    }

    /// A new file system of 96 (XFS: 320) MiB in a file.
    fn image(kind: &str) -> Option<Self> {
        let mkfs = format!("mkfs.{kind}");
        if !have(&mkfs) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let image = dir.path().join("image");
        let len = if kind == "xfs" { 320 << 20 } else { 96 << 20 };
        File::create(&image)
            .and_then(|file| file.set_len(len))
            .expect("an image");
        let made = Command::new(mkfs).arg("-q").arg(&image).status();
        assert!(made.expect("it runs").success());
        let image = image.display().to_string();
        Self::new(dir, &["-t", kind, "-o", "loop", &image])
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn archive(&self) -> PathBuf {
        self.path().join("archive")
    }

    fn mount(&self, more: &[&str]) -> bool {
        let mut command = Command::new("mount");
        command.args(&self.arguments).args(more).arg(self.path());
        command.status().is_ok_and(|status| status.success())
    }

    fn unmount(&self) {
        let done = Command::new("umount").arg(self.path()).status();
        assert!(done.expect("it runs").success());
    }

    /// Takes the file system down as a power cut does: nothing that is not durable reaches the disk any more.
    #[expect(unsafe_code, reason = "rustix has no safe wrapper for this ioctl")]
    fn cut_power(&self) {
        // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, _IOR('X', 125, u32), with NOLOGFLUSH: the log is not flushed first.
        const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        let root = File::open(self.path()).expect("the root opens");
        // SAFETY: the kernel reads one u32 through the pointer, which is what `Setter<_, u32>` passes, and keeps none of it.
        let done =
            unsafe { rustix::ioctl::ioctl(&root, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
        done.expect("ext4 and XFS can be shut down");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-q").arg(self.path()).status();
    }
}

fn run_child(test: &str, archive: &Path, first: u64) -> Child {
    let exe = std::env::current_exe().expect("this program");
    Command::new(exe)
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1", test])
        .env(ARCHIVE, archive)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn child_archive() -> PathBuf {
    std::env::var_os(ARCHIVE).expect("run by its parent").into()
}

/// Small contents and, one in four, a large one.
fn nth(seed: u64) -> Vec<u8> {
    let len = if seed.is_multiple_of(4) { 20_000 } else { 700 };
    content(seed, len + usize::try_from(seed % 97).unwrap_or(0) * 30)
}

#[test]
#[ignore = "run by r36_r38_a_real_power_cut_..."]
fn child_that_commits_until_the_power_is_cut() -> Result<(), Error> {
    let first: u64 = std::env::var(FIRST)
        .expect("run by its parent")
        .parse()
        .expect("a number");
    let mut writer = store_in(&child_archive())?.writer()?;
    for batch in 0.. {
        let seeds = first + batch * 10..first + batch * 10 + 10;
        for seed in seeds.clone() {
            put(&mut writer, &nth(seed))?;
        }
        writer.commit()?;
        let mut out = std::io::stdout().lock();
        for seed in seeds {
            writeln!(out, "stored {seed}").expect("the parent listens");
        }
        out.flush().expect("the parent listens");
    }
    Ok(())
}

/// The numbers of the contents that a child acknowledges.
fn acknowledged(out: ChildStdout) -> impl Iterator<Item = u64> {
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("stored ")?.parse().ok())
}

/// Everything that the index or a name promises is there, byte for byte.
fn assert_sound(store: &Store) -> Result<(), Error> {
    assert_eq!(store.check()?.problems, []);
    let mut hashes = Vec::new();
    store.each_blob(&mut |hash, _| hashes.push(hash))?;
    for hash in hashes {
        let verified = store.verifier().verify(&hash)?;
        assert!(matches!(verified, Verified::Good), "{hash}: {verified:?}");
    }
    for pack in store.packs()? {
        let report = store.verify_pack(pack)?;
        assert!(report.is_good(), "{report:?}");
    }
    Ok(())
}

fn survives_power_cuts(kind: &str) -> Result<(), Error> {
    let Some(mounted) = Mounted::image(kind) else {
        return Ok(());
    };
    let mut stored = Vec::new();
    // At other moments of the batch each time: what the child does while its lines are read is not in step with them.
    for (round, wanted) in [10, 60, 130, 210, 40, 90].into_iter().enumerate() {
        let test = "mounts::child_that_commits_until_the_power_is_cut";
        let mut child = run_child(test, &mounted.archive(), round as u64 * 100_000);
        let mut seeds = acknowledged(child.stdout.take().expect("a pipe"));
        stored.extend(seeds.by_ref().take(wanted));
        mounted.cut_power();
        stored.extend(seeds);
        assert!(!child.wait().expect("it ends").success(), "only the cut ends it");
        mounted.unmount();
        assert!(mounted.mount(&[]), "mounted again");
        let store = store_in(&mounted.archive())?;
        for seed in &stored {
            let bytes = nth(*seed);
            assert_eq!(
                read(&store, &BlobHash::of(&bytes))?,
                bytes,
                "content {seed}, round {round}"
            );
        }
        assert_sound(&store)?;
    }
    assert!(stored.len() >= 540, "{} were acknowledged", stored.len());
    Ok(())
}

#[test]
fn r36_r38_a_real_power_cut_on_ext4_loses_nothing_acknowledged() -> Result<(), Error> {
    survives_power_cuts("ext4")
}

#[test]
fn r36_r38_a_real_power_cut_on_xfs_loses_nothing_acknowledged() -> Result<(), Error> {
    survives_power_cuts("xfs")
}

/// Commits contents from `first` on until the space is used up; returns the first that is not stored.
fn fill(store: &Store, first: u64) -> Result<u64, Error> {
    let mut writer = store.writer()?;
    let mut stored = first;
    for seed in first.. {
        let done = put(&mut writer, &nth(seed)).and_then(|_| {
            if writer.should_commit() {
                writer.commit()?;
                stored = seed + 1;
            }
            Ok(())
        });
        match done {
            Err(Error::Full { .. }) => break,
            done => done?,
        }
    }
    assert!(matches!(writer.commit(), Err(Error::Poisoned)));
    Ok(stored)
}

fn resumes_after_full(mounted: &Mounted) -> Result<(), Error> {
    let ballast = mounted.path().join("ballast");
    std::fs::write(&ballast, vec![7; 4 << 20]).expect("there is space");
    let store = store_in(&mounted.archive())?;
    let next = fill(&store, 0)?;
    assert!(next > 100, "{next} contents fitted");
    std::fs::remove_file(&ballast).expect("it is there");
    let store = store_in(&mounted.archive())?;
    assert_sound(&store)?;
    let mut writer = store.writer()?;
    for seed in next..next + 100 {
        put(&mut writer, &nth(seed))?;
    }
    writer.seal()?;
    for seed in 0..next + 100 {
        assert_eq!(read(&store, &BlobHash::of(&nth(seed)))?, nth(seed));
    }
    assert_sound(&store)
}

#[test]
fn r39_a_full_tmpfs_stops_the_batch_and_it_goes_on_when_space_is_freed() -> Result<(), Error> {
    Mounted::tmpfs("size=16m").map_or(Ok(()), |mounted| resumes_after_full(&mounted))
}

#[test]
fn r39_a_full_ext4_stops_the_batch_and_it_goes_on_when_space_is_freed() -> Result<(), Error> {
    Mounted::image("ext4").map_or(Ok(()), |mounted| resumes_after_full(&mounted))
}

#[test]
fn r40_on_a_read_only_mount_the_store_reads_and_refuses_to_write() -> Result<(), Error> {
    let Some(mounted) = Mounted::tmpfs("size=16m") else {
        return Ok(());
    };
    let mut writer = store_in(&mounted.archive())?.writer()?;
    put(&mut writer, &nth(1))?;
    writer.commit()?;
    drop(writer);
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(mounted.path())
        .status();
    assert!(remounted.expect("it runs").success());
    let store = Store::open_read_only(Arc::new(RealDisk), Arc::new(SystemRandom), &mounted.archive())?;
    assert_eq!(read(&store, &BlobHash::of(&nth(1)))?, nth(1));
    assert_eq!(store.check()?.problems, []);
    let opened = Store::open(Arc::new(RealDisk), Arc::new(SystemRandom), &mounted.archive());
    let refused = opened.and_then(|store| store.writer().map(drop));
    assert!(
        matches!(&refused, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem),
        "{refused:?}"
    );
    Ok(())
}

/// A limit that the next open file would pass.
fn no_more_than_now(limit: &Rlimit) -> Rlimit {
    let open = std::fs::read_dir("/proc/self/fd")
        .expect("every Linux has it")
        .count();
    Rlimit {
        // The directory that was just read is closed again.
        current: Some(open as u64 - 1),
        maximum: limit.maximum,
    }
}

#[test]
#[ignore = "run by r39_without_files_left_to_open_..."]
fn child_that_has_no_files_left_to_open() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let store = store_in(&child_archive())?;
    let mut writer = store.writer()?;
    put(&mut writer, &nth(1))?;
    writer.commit()?;
    setrlimit(Resource::Nofile, no_more_than_now(&limit)).expect("less is allowed");
    let failed = (0..50).try_for_each(|seed| put(&mut writer, &nth(seed * 4)).map(drop));
    assert!(
        matches!(&failed, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(24)),
        "{failed:?}"
    );
    drop(writer);
    setrlimit(Resource::Nofile, limit).expect("the limit is raised again");
    let mut writer = store.writer()?;
    for seed in 0..50 {
        put(&mut writer, &nth(seed * 4))?;
    }
    writer.seal()
}

#[test]
fn r39_without_files_left_to_open_the_batch_fails_and_can_be_put_again() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = run_child("mounts::child_that_has_no_files_left_to_open", dir.path(), 0);
    assert!(child.wait().expect("it ends").success());
    let store = store_in(dir.path())?;
    assert_eq!(store.count()?, 51);
    assert_sound(&store)
}
