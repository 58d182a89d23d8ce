//! ext against `debugfs`, `icat` and the kernel: contents, names in damaged directories, journals that a running system left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntt_filesystem::{Family, ScanOptions, State};
use ntt_model::{BlobHash, FindingCode, Kind, Severity};
use ntt_testkit::corpus::{corpus, corpus_image, decompressed, have};
use ntt_testkit::listing::{Listing, content_hash};

use crate::ext::VARIANTS;
use crate::ext_image::{Image, odd_tree, scan, sparse, tool_path};

/// Runs `debugfs` commands on an image, read-only; damage does not stop it.
fn debugfs(image: &Path, commands: &str) -> Vec<u8> {
    let script = tempfile::NamedTempFile::new().expect("a file");
    fs::write(script.path(), commands).expect("written");
    let output = Command::new("timeout")
        .env("PATH", tool_path())
        .args(["120", "debugfs", "-c", "-f"])
        .arg(script.path())
        .arg(image)
        .stderr(Stdio::null())
        .output();
    output.expect("debugfs runs").stdout
}

/// Path and content of every regular file below a folder.
fn files(root: &Path) -> Contents {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let kind = path.symlink_metadata().expect("metadata").file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(root).expect("inside").as_os_str().as_bytes();
                found.insert(name.to_vec(), BlobHash::of(&fs::read(&path).expect("read")));
            }
        }
    }
    found
}

/// What `debugfs` takes out of an image.
fn dumped(image: &Path) -> Contents {
    let folder = tempfile::tempdir().expect("a folder");
    debugfs(image, &format!("rdump / {}\n", folder.path().display()));
    files(folder.path())
}

type Contents = BTreeMap<Vec<u8>, BlobHash>;

/// Shows only what differs: there are hundreds of files.
fn same(ours: &Contents, theirs: &Contents, label: &str) {
    let only = |left: &Contents, right: &Contents| -> Vec<String> {
        let differ = left.iter().filter(|(path, hash)| right.get(*path) != Some(*hash));
        let shown = differ.map(|(path, _)| String::from_utf8_lossy(path).into_owned());
        shown.take(10).collect()
    };
    let differences = (only(ours, theirs), only(theirs, ours));
    assert_eq!(differences, (Vec::new(), Vec::new()), "{label}");
}

/// Holes that end inside the image: The Sleuth Kit takes longer ones for blocks beyond it, and `debugfs` writes them out.
fn odd_tree_with_small_holes(tree: &Path) {
    odd_tree(tree);
    sparse(&tree.join("sparse"), 10 << 20);
}

/// R27: the referee takes the same files with the same bytes out of every variant.
#[test]
fn r27_contents_agree_with_debugfs() {
    // The referee gives a file inside its inode the length of its place there.
    for (arguments, _) in VARIANTS
        .iter()
        .filter(|variant| !variant.0.contains(&"inline_data"))
    {
        let Some(image) = Image::new(arguments, "96M", odd_tree_with_small_holes) else {
            return;
        };
        let bytes = image.bytes();
        let theirs = dumped(&image.path());
        assert!(theirs.len() > 700, "{arguments:?}: {}", theirs.len());
        same(
            &scan(bytes.clone()).0.contents(&bytes),
            &theirs,
            &format!("{arguments:?}"),
        );
    }
}

/// R27: a second referee reads the same bytes inode by inode.
#[test]
fn r27_contents_agree_with_icat() {
    for (arguments, _) in VARIANTS {
        // The Sleuth Kit does not know clusters of blocks or data inside an inode.
        let is_foreign = |argument: &&str| argument.contains("bigalloc") || argument.contains("inline_data");
        let Some(image) = Image::new(arguments, "96M", odd_tree_with_small_holes).filter(|_| have("icat"))
        else {
            return;
        };
        if arguments.iter().any(is_foreign) {
            continue;
        }
        let bytes = image.bytes();
        let (listing, _) = scan(bytes.clone());
        let names = listing
            .preferred()
            .filter(|listed| !listed.path.starts_with(b"many/"));
        for number in names.map(|listed| listed.name.inode).collect::<BTreeSet<_>>() {
            let inode = &listing.inodes[&number];
            if inode.kind == Kind::File {
                let theirs = icat(&image.path(), number);
                assert_eq!(
                    content_hash(&bytes, inode),
                    theirs,
                    "{arguments:?}, inode {number}"
                );
            }
        }
    }
}

fn icat(image: &Path, inode: u64) -> BlobHash {
    let output = Command::new("icat").arg(image).arg(inode.to_string()).output();
    BlobHash::of(&output.expect("icat runs").stdout)
}

#[test]
fn public_images_have_the_contents_that_debugfs_takes_out() {
    for relative in [
        "disktype/ext2.image.gz",
        "disktype/ext3.image.gz",
        "retro/test_ext4.img.zst",
        "detect/ext3.img.xz",
    ] {
        let Some(image) = corpus_image(relative).filter(|_| have("debugfs")) else {
            return;
        };
        let bytes = fs::read(image.path()).expect("the image");
        let theirs = dumped(image.path());
        same(&scan(bytes.clone()).0.contents(&bytes), &theirs, relative);
    }
}

/// A name in a directory: inode of the directory, name, inode it leads to.
type Entry = (u64, Vec<u8>, u64);

/// Every entry that `debugfs ls -p` lists in the directories that can be reached from the root.
fn debugfs_entries(image: &Path) -> BTreeSet<Entry> {
    let mut entries = BTreeSet::new();
    let mut entered = BTreeSet::from([2]);
    let mut level = vec![2];
    while !level.is_empty() {
        let commands: String = level.iter().map(|inode| format!("ls -p <{inode}>\n")).collect();
        let output = debugfs(image, &commands);
        let mut directory = 0;
        level.clear();
        for line in output.split(|byte| *byte == b'\n') {
            if let Some(command) = line.strip_prefix(b"debugfs: ls -p <") {
                directory = number(command.strip_suffix(b">").unwrap_or_default());
            } else if let Some((is_directory, name, inode)) = listed(line) {
                if is_directory && entered.insert(inode) {
                    level.push(inode);
                }
                entries.insert((directory, name, inode));
            }
        }
    }
    entries
}

/// `/12/100644/0/0/name/size/`; entries that are not in use and the two dots are left out.
fn listed(line: &[u8]) -> Option<(bool, Vec<u8>, u64)> {
    let fields: Vec<&[u8]> = line.strip_prefix(b"/")?.split(|byte| *byte == b'/').collect();
    let (&inode, mode, name) = (fields.first()?, fields.get(1)?, fields.get(4)?);
    let is_name = number(inode) != 0 && !name.is_empty() && *name != b"." && *name != b"..";
    is_name.then(|| (mode.starts_with(b"04"), name.to_vec(), number(inode)))
}

fn number(digits: &[u8]) -> u64 {
    String::from_utf8_lossy(digits).parse().unwrap_or(0)
}

/// Entries that `debugfs` lists from a damaged image and we rightly do not. Each says why.
const ALLOWED: [(&str, u64, &[u8], &str); 0] = [];

/// R22: every entry that `debugfs` lists from a damaged image is listed too, in the same directory.
#[test]
fn r22_damaged_images_lose_no_more_than_debugfs() {
    let Some(corpus) = corpus().filter(|_| have("debugfs")) else {
        return;
    };
    let mut missing = Vec::new();
    for source in damaged(&corpus) {
        let image = decompressed(&source);
        let name = image
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let theirs = debugfs_entries(image.path());
        let ours = our_entries(image.path());
        let lacking: Vec<_> = theirs.difference(&ours).collect();
        eprintln!(
            "{name}: {} of {} entries of debugfs",
            theirs.len() - lacking.len(),
            theirs.len()
        );
        missing.extend(lacking.into_iter().filter_map(|(directory, entry, inode)| {
            let allowed = |known: &&(&str, u64, &[u8], &str)| {
                (known.0, known.1, known.2) == (&*name, *directory, &**entry)
            };
            let is_known = ALLOWED.iter().any(|known| allowed(&known));
            let shown = String::from_utf8_lossy(entry);
            (!is_known).then(|| format!("{name}: `{shown}` -> {inode} in directory {directory}"))
        }));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn damaged(corpus: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus.join("damaged-ext")).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut images: Vec<_> = paths
        .filter(|path| path.to_string_lossy().ends_with(".img.gz"))
        .collect();
    images.sort();
    images
}

fn our_entries(image: &Path) -> BTreeSet<Entry> {
    let bytes = fs::read(image).expect("the image");
    let Ok(file_system) = ntt_filesystem::open(Family::Ext, Box::new(bytes), 0) else {
        return BTreeSet::new();
    };
    let listing = Listing::of(&*file_system, &ScanOptions::default());
    let names = listing.names.into_iter().map(|listed| listed.name);
    names
        .map(|name| (name.directory, name.name, name.inode))
        .collect()
}

/// A mounted image, unmounted when dropped.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts an image through a loop device. Says that the test is skipped where that is not allowed.
    #[allow(clippy::print_stderr, reason = "a skipped test says so")]
    fn new(image: &Path, options: &str) -> Option<Self> {
        let at = image.with_extension("mounted");
        fs::create_dir_all(&at).expect("a folder");
        let status = Command::new("mount")
            .env("PATH", tool_path())
            .args(["-t", "ext4", "-o", &format!("loop,{options}")])
            .args([image, &at])
            .stderr(Stdio::null())
            .status();
        let is_mounted = status.is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("skipped: images cannot be mounted here");
        }
        is_mounted.then(|| Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount")
            .env("PATH", tool_path())
            .arg(&self.at)
            .status();
        if !std::thread::panicking() {
            assert!(status.is_ok_and(|status| status.success()), "unmounted");
        }
    }
}

/// Writes, renames and deletes, with a commit of the journal in between: blocks of directories become blocks of files.
fn work(root: &Path) {
    let commit = || {
        let status = Command::new("sync").arg("-f").arg(root).status();
        assert!(status.is_ok_and(|status| status.success()), "synced");
    };
    let file = |path: &str, len: usize| fs::write(root.join(path), vec![b'k'; len]).expect("written");
    fs::create_dir_all(root.join("old/deeper")).expect("folders");
    (0..300).for_each(|number| file(&format!("old/deeper/file with a long name {number}"), number * 10));
    commit();
    fs::remove_dir_all(root.join("old")).expect("removed");
    fs::create_dir(root.join("new")).expect("a folder");
    (0..200).for_each(|number| file(&format!("new/{number}"), number * 97));
    file("big", 3_000_000);
    fs::rename(root.join("new/7"), root.join("moved")).expect("renamed");
    commit();
    fs::remove_file(root.join("new/8")).expect("removed");
    file("new/last", 10);
    commit();
}

/// R17: the image of a mounted volume, with a journal that the kernel has not played back, gives the tree as the kernel sees it.
#[test]
fn r17_a_journal_left_by_the_kernel_is_read_through() {
    for (arguments, options) in [
        (&["-t", "ext4"][..], "data=ordered"),
        (
            &["-t", "ext4", "-O", "^metadata_csum,^64bit", "-b", "1024"],
            "data=journal",
        ),
        (&["-t", "ext4", "-O", "fast_commit"], "data=ordered"),
        (&["-t", "ext3"], "data=journal"),
    ] {
        let Some(image) = Image::new(arguments, "64M", |_| {}) else {
            return;
        };
        let Some(mounted) = Mounted::new(&image.path(), options) else {
            return;
        };
        work(&mounted.at);
        let bytes = image.bytes();
        let expected = files(&mounted.at);
        drop(mounted);
        let (listing, facts) = scan(bytes.clone());
        assert_eq!(facts.state, State::Dirty, "{arguments:?}");
        let told: Vec<_> = listing.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(
            told,
            [FindingCode::DirtyJournal],
            "{arguments:?}: {:?}",
            listing.findings
        );
        same(
            &listing.contents(&bytes),
            &expected,
            &format!("{arguments:?}, {options}"),
        );
    }
}

/// The blocks of an index have checksums of their own: right ones are no findings, wrong ones are.
#[test]
fn checksums_of_indexed_directories_are_checked() {
    for arguments in [&["-t", "ext4", "-b", "1024"][..], &["-t", "ext4", "-b", "4096"]] {
        let Some(image) = Image::new(arguments, "96M", odd_tree).filter(|_| have("e2fsck")) else {
            return;
        };
        let mut e2fsck = Command::new("e2fsck");
        let status = e2fsck
            .env("PATH", tool_path())
            .args(["-fyD"])
            .arg(image.path())
            .output();
        assert!(status.is_ok_and(|output| output.status.code() < Some(4)));
        let mut bytes = image.bytes();
        let (listing, _) = scan(bytes.clone());
        assert_eq!(listing.findings, []);
        let many = listing
            .names
            .iter()
            .find(|listed| listed.path == b"many")
            .expect("listed");
        let at = index_root(&bytes, many.name.inode).expect("an index");
        bytes[at + 40] ^= 1;
        let (listing, _) = scan(bytes);
        let told: Vec<_> = listing
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.code, finding.image_offset))
            .collect();
        // No name hangs on the hashes.
        let place = u64::try_from(at).expect("small");
        assert_eq!(told, [(Severity::Warning, FindingCode::Corrupt, Some(place))]);
    }
}

/// Where the first block of an indexed directory lies: its entry of itself, and the fixed fields of the index.
fn index_root(image: &[u8], inode: u64) -> Option<usize> {
    let number = u32::try_from(inode).expect("small").to_le_bytes();
    let is_root = |block: &&[u8]| {
        block[..4] == number
            && block[4..10] == [12, 0, 1, 2, b'.', 0]
            && block[24..28] == [0; 4]
            && block[29] == 8
    };
    let at = image.chunks_exact(1024).position(|block| is_root(&block))?;
    Some(at * 1024)
}
