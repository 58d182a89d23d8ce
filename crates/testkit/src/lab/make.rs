//! Images made by the tools of each system from a folder of files, without root where the tools allow it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::corpus::have;
use crate::lab::corpus::{Spec, fill};
use crate::lab::referee::tool_path;
use crate::lab::tree::Tree;

/// An image file under test.
#[derive(Debug)]
pub struct Image {
    /// How it was made, for messages.
    pub name: String,
    path: PathBuf,
    /// The files that it was made from, as far as the format keeps them.
    pub truth: Option<Tree>,
    _folder: Option<TempDir>,
}

impl Image {
    /// An image that lies somewhere; nothing of the lab but the loss score writes to it.
    pub fn at(name: &str, path: &Path, truth: Option<Tree>) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            truth,
            _folder: None,
        }
    }

    /// An image in a folder of its own, where `make` writes it; it gets the image's path and a second folder with the files of `spec`.
    /// What `make` returns is the truth.
    ///
    /// # Panics
    ///
    /// If the files cannot be written.
    pub fn made(
        name: &str,
        spec: &Spec,
        make: impl FnOnce(&Path, &Path, Tree) -> Option<Tree>,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, tree) = (folder.path().join("image"), folder.path().join("tree"));
        fs::create_dir(&tree).expect("a new folder");
        let truth = fill(&tree, spec);
        let truth = Some(make(&path, &tree, truth)?);
        fs::remove_dir_all(&tree).expect("removed");
        Some(Self {
            name: name.to_owned(),
            path,
            truth,
            _folder: Some(folder),
        })
    }

    /// An image in a folder of its own that `format` makes (empty) at the path it gets; it is mounted, filled and unmounted. `None` where that is
    /// not allowed.
    ///
    /// # Panics
    ///
    /// If the files cannot be written to it.
    pub fn mounted(
        name: &str,
        spec: &Spec,
        options: &str,
        format: impl FnOnce(&Path) -> bool,
    ) -> Option<Self> {
        let mount = |path: &Path, folder: &Path| {
            format(path).then_some(())?;
            Mounted::new(path, folder, options)
        };
        Self::filled(name, mount, |root| fill(root, spec))
    }

    /// An image in a folder of its own, where `make` writes it; it gets the image's path and the folder, and tells what the image holds.
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn in_folder(name: &str, make: impl FnOnce(&Path, &Path) -> Tree) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        let truth = make(&path, folder.path());
        Some(Self {
            name: name.to_owned(),
            path,
            truth: Some(truth),
            _folder: Some(folder),
        })
    }

    /// The same with any driver: `mount` gets the image's path and a folder for whatever it needs; `fill` the root of the mounted volume.
    fn filled(
        name: &str,
        mount: impl FnOnce(&Path, &Path) -> Option<Mounted>,
        fill: impl FnOnce(&Path) -> Tree,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        let mounted = mount(&path, folder.path())?;
        let truth = fill(mounted.path());
        drop(mounted);
        Some(Self {
            name: name.to_owned(),
            path,
            truth: Some(truth),
            _folder: Some(folder),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the image")
    }
}

/// Runs a tool that makes something, with the environment of [`crate::lab::referee::output`].
///
/// # Panics
///
/// If it fails, with what it said.
pub fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("PATH", tool_path())
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// ext by `mke2fs -d`: `None` without the tool.
pub fn ext(arguments: &[&str], size: &str, spec: &Spec) -> Option<Image> {
    have("mke2fs").then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let (image, tree) = (utf8(image), utf8(tree));
        let fixed = [
            "-q",
            "-F",
            "-U",
            "0d1f2a3b-4c5d-4e6f-8a9b-0c1d2e3f4a5b",
            "-d",
            tree,
        ];
        run(
            "mke2fs",
            &[&fixed[..], arguments, &[image, size]].concat(),
            Path::new("/"),
        );
        Some(truth.with_directories(&["lost+found"]))
    })
}

/// FAT by `mkfs.fat` and mtools: `None` without them. mtools keep no times of directories.
///
/// # Panics
///
/// If the tools fail.
pub fn fat(arguments: &[&str], spec: &Spec) -> Option<Image> {
    (have("mkfs.fat") && have("mcopy")).then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let image = utf8(image);
        let fixed = ["-n", "LAB", "-i", "12ab34cd", "-C", image];
        run("mkfs.fat", &[&fixed[..], arguments].concat(), Path::new("/"));
        let top: Vec<_> = fs::read_dir(tree)
            .expect("the files")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        let mut top: Vec<&str> = top
            .iter()
            .map(|name| name.to_str().expect("a plain name"))
            .collect();
        top.sort_unstable();
        run(
            "mcopy",
            &[&["-s", "-m", "-i", image][..], &top, &["::/"]].concat(),
            tree,
        );
        Some(truth.without(crate::lab::corpus::forget_directory_times))
    })
}

/// A disc by `xorriso -as mkisofs` or `genisoimage`: `None` without the program.
pub fn disc(program: &str, arguments: &[&str], spec: &Spec) -> Option<Image> {
    have(program).then_some(())?;
    Image::made(
        &format!("{program} {}", arguments.join(" ")),
        spec,
        |image, tree, truth| {
            let front: &[&str] = if program == "xorriso" {
                &["-as", "mkisofs"]
            } else {
                &[]
            };
            let fixed = ["-quiet", "-V", "LAB", "-o", utf8(image)];
            run(
                program,
                &[front, &fixed, arguments, &[utf8(tree)]].concat(),
                Path::new("/"),
            );
            Some(truth)
        },
    )
}

/// NTFS by `mkntfs`, filled through ntfs-3g: `None` without them, or where FUSE cannot be used.
///
/// # Panics
///
/// If `mkntfs` fails.
pub fn ntfs(arguments: &[&str], size_bytes: u64, spec: &Spec) -> Option<Image> {
    ["mkntfs", "ntfs-3g", "fusermount"]
        .iter()
        .all(|program| have(program))
        .then_some(())?;
    let mount = |path: &Path, folder: &Path| {
        let file = fs::File::create(path).expect("a new file");
        file.set_len(size_bytes).expect("a length");
        let fixed = ["-F", "-q", "-Q", "-L", "LAB"];
        run("mkntfs", &[&fixed[..], arguments, &[utf8(path)]].concat(), folder);
        Mounted::ntfs_3g(path, folder)
    };
    Image::filled(&arguments.join(" "), mount, |root| fill(root, spec))
}

/// exFAT by `mkfs.exfat`, filled through exfat-fuse: `None` without them, or where it cannot be mounted (it needs root and a loop device).
///
/// # Panics
///
/// If `mkfs.exfat` fails.
pub fn exfat(arguments: &[&str], size_bytes: u64, spec: &Spec) -> Option<Image> {
    (have("mkfs.exfat") && have("mount.exfat-fuse")).then_some(())?;
    let mount = |path: &Path, folder: &Path| {
        let file = fs::File::create(path).expect("a new file");
        file.set_len(size_bytes).expect("a length");
        run(
            "mkfs.exfat",
            &[&["-L", "LAB"][..], arguments, &[utf8(path)]].concat(),
            folder,
        );
        let at = folder.join("mounted");
        fs::create_dir(&at).expect("a new folder");
        Mounted::by(
            "mount",
            &["-t", "exfat-fuse", "-o", "loop"],
            path,
            at,
            &["umount"],
        )
    };
    Image::filled(&arguments.join(" "), mount, |root| fill(root, spec))
}

/// UFS by `makefs`, version 1 or 2, byte order `le` or `be`: `None` without the tool.
///
/// # Panics
///
/// If the tool fails.
pub fn ufs(version: u8, order: &str, blocks: &str, spec: &Spec) -> Option<Image> {
    have("makefs").then_some(())?;
    Image::made(
        &format!("version {version}, {order}, {blocks}"),
        spec,
        |image, tree, truth| {
            let options = format!("version={version},{blocks}");
            let arguments = [
                "-t",
                "ffs",
                "-B",
                order,
                "-o",
                &options,
                "-b",
                "10%",
                "-f",
                "10%",
                utf8(image),
                utf8(tree),
            ];
            run("makefs", &arguments, tree);
            Some(truth)
        },
    )
}

/// XFS by `mkfs.xfs`, mounted by the kernel and filled by `fill`: `None` without the tool, or where that is not allowed (it needs root).
pub fn xfs(arguments: &[&str], size_bytes: u64, fill: impl FnOnce(&Path) -> Tree) -> Option<Image> {
    have("mkfs.xfs").then_some(())?;
    let mount = |path: &Path, folder: &Path| {
        mkfs_xfs(path, size_bytes, arguments, folder);
        Mounted::new(path, folder, "")
    };
    Image::filled(&arguments.join(" "), mount, fill)
}

/// btrfs by `mkfs.btrfs`, mounted by the kernel with `options` and filled by `fill`: `None` without the tool, or where that is not allowed (it needs
/// root).
pub fn btrfs(
    arguments: &[&str],
    size_bytes: u64,
    options: &str,
    fill: impl FnOnce(&Path) -> Tree,
) -> Option<Image> {
    have("mkfs.btrfs").then_some(())?;
    let mount = |path: &Path, folder: &Path| {
        mkfs_btrfs(path, size_bytes, arguments, folder);
        Mounted::new(path, folder, options)
    };
    Image::filled(&format!("{} {options}", arguments.join(" ")), mount, fill)
}

/// btrfs by `mkfs.btrfs --rootdir`, which needs no root: `None` without the tool.
///
/// # Panics
///
/// If it fails.
pub fn btrfs_of_folder(arguments: &[&str], size_bytes: u64, spec: &Spec) -> Option<Image> {
    have("mkfs.btrfs").then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let with_folder = [arguments, &["--rootdir", utf8(tree)]].concat();
        mkfs_btrfs(image, size_bytes, &with_folder, Path::new("/"));
        Some(truth)
    })
}

fn mkfs_btrfs(path: &Path, size_bytes: u64, arguments: &[&str], directory: &Path) {
    let file = fs::File::create(path).expect("a new file");
    file.set_len(size_bytes).expect("a length");
    let fixed = ["-q", "-f", "-L", "LAB"];
    run(
        "mkfs.btrfs",
        &[&fixed[..], arguments, &[utf8(path)]].concat(),
        directory,
    );
}

/// squashfs by `mksquashfs`: `None` without the tool.
///
/// # Panics
///
/// If it fails.
pub fn squashfs(arguments: &[&str], spec: &Spec) -> Option<Image> {
    have("mksquashfs").then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let fixed = [utf8(tree), utf8(image), "-quiet", "-no-progress", "-noappend"];
        run("mksquashfs", &[&fixed[..], arguments].concat(), Path::new("/"));
        Some(truth)
    })
}

/// cramfs by `mkfs.cramfs`: `None` without the tool. It keeps no times, and no names that share an inode.
///
/// # Panics
///
/// If it fails.
pub fn cramfs(arguments: &[&str], spec: &Spec) -> Option<Image> {
    have("mkfs.cramfs").then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let paths = [utf8(tree), utf8(image)];
        run(
            "mkfs.cramfs",
            &[&["-n", "LAB"][..], arguments, &paths].concat(),
            Path::new("/"),
        );
        Some(truth.without(|entry| entry.modified = None))
    })
}

/// romfs by `genromfs`: `None` without the tool. The format has no times.
///
/// # Panics
///
/// If it fails.
pub fn romfs(arguments: &[&str], spec: &Spec) -> Option<Image> {
    have("genromfs").then_some(())?;
    Image::made(&arguments.join(" "), spec, |image, tree, truth| {
        let fixed = ["-V", "LAB", "-d", utf8(tree), "-f", utf8(image)];
        run("genromfs", &[&fixed[..], arguments].concat(), Path::new("/"));
        Some(truth.without(|entry| entry.modified = None))
    })
}

/// XFS by `mkfs.xfs -p`, which needs no root and makes version 4 too: `None` without the tool. The tool keeps no times; names hold no blanks.
///
/// # Panics
///
/// If it fails.
pub fn xfs_prototype(arguments: &[&str], size_bytes: u64, fill: impl FnOnce(&Path)) -> Option<Image> {
    have("mkfs.xfs").then_some(())?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, tree) = (folder.path().join("image"), folder.path().join("tree"));
    fs::create_dir(&tree).expect("a new folder");
    fill(&tree);
    let prototype = folder.path().join("prototype");
    let mut lines = "boot\n0 0\nd--755 0 0\n".to_owned();
    prototype_of(&tree, &mut lines);
    fs::write(&prototype, lines).expect("written");
    let with_prototype = [arguments, &["-p", utf8(&prototype)]].concat();
    mkfs_xfs(&path, size_bytes, &with_prototype, folder.path());
    let truth = Tree::of_folder(&tree).without(|entry| entry.modified = None);
    Some(Image {
        name: arguments.join(" "),
        path,
        truth: Some(truth),
        _folder: Some(folder),
    })
}

/// The lines of a prototype for what a folder holds, up to the `$` that ends it.
fn prototype_of(folder: &Path, lines: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a plain name");
        if path.is_symlink() {
            let target = fs::read_link(&path).expect("a target");
            lines.push_str(&format!("{name} l--777 0 0 {}\n", utf8(&target)));
        } else if path.is_dir() {
            lines.push_str(&format!("{name} d--755 0 0\n"));
            prototype_of(&path, lines);
        } else {
            lines.push_str(&format!("{name} ---644 0 0 {}\n", utf8(&path)));
        }
    }
    lines.push_str("$\n");
}

/// Small file systems are refused but to the tests of XFS itself, which say so in the environment.
fn mkfs_xfs(path: &Path, size_bytes: u64, arguments: &[&str], directory: &Path) {
    let file = fs::File::create(path).expect("a new file");
    file.set_len(size_bytes).expect("a length");
    let as_their_tests = ["TEST_DIR=1", "TEST_DEV=1", "QA_CHECK_FS=1", "mkfs.xfs"];
    let fixed = ["-q", "-f", "-L", "LAB"];
    run(
        "env",
        &[&as_their_tests[..], &fixed, arguments, &[utf8(path)]].concat(),
        directory,
    );
}

/// A path of this lab as text.
///
/// # Panics
///
/// Never: temporary paths are plain.
pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("temporary paths are plain")
}

/// Whether this user may make device files.
pub fn may_make_devices() -> bool {
    rustix::process::geteuid().is_root()
}

/// A mounted image. Unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    /// Program and option that unmount it.
    unmount: &'static [&'static str],
}

impl Mounted {
    /// Mounts an image in a new folder below `folder`; says so on stderr and gives `None` where that is not allowed (it needs root).
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn new(image: &Path, folder: &Path, options: &str) -> Option<Self> {
        let at = folder.join("mounted");
        fs::create_dir(&at).expect("a new folder");
        let options = if options.is_empty() {
            "loop".to_owned()
        } else {
            format!("loop,{options}")
        };
        Self::by("mount", &["-o", &options], image, at, &["umount"])
    }

    /// Mounts an NTFS image through FUSE: streams as `file:stream`, folders may compress.
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn ntfs_3g(image: &Path, folder: &Path) -> Option<Self> {
        let at = folder.join("mounted");
        fs::create_dir(&at).expect("a new folder");
        let options = "streams_interface=windows,compression";
        Self::by("ntfs-3g", &["-o", options], image, at, &["fusermount", "-u"])
    }

    fn by(
        program: &str,
        arguments: &[&str],
        image: &Path,
        at: PathBuf,
        unmount: &'static [&'static str],
    ) -> Option<Self> {
        let status = Command::new(program)
            .env("PATH", tool_path())
            .args(arguments)
            .args([image, &at])
            .stderr(Stdio::null())
            .status();
        let is_mounted = status.is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("skipped: images cannot be mounted here");
        }
        // Not `then_some`: what was not mounted must not be made, for dropping it unmounts.
        is_mounted.then(|| Self { at, unmount })
    }

    /// Where its root is.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let (program, options) = self.unmount.split_first().expect("a program");
        let status = Command::new(program)
            .env("PATH", tool_path())
            .args(options)
            .arg(&self.at)
            .status();
        if !std::thread::panicking() {
            assert!(status.is_ok_and(|status| status.success()), "unmounted");
        }
    }
}

impl Tree {
    /// The same with directories that a maker adds.
    #[must_use]
    pub fn with_directories(mut self, names: &[&str]) -> Self {
        self.entries
            .extend(names.iter().map(|name| crate::lab::tree::Entry {
                path: Path::new(name).as_os_str().as_bytes().to_vec(),
                kind: Some(ntt_model::Kind::Directory),
                ..Default::default()
            }));
        self
    }
}
