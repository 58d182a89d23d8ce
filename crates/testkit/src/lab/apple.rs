//! Images of MFS, HFS and HFS+, and hfsutils as a referee.

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use macfs::{ImageFormat, MfsVolume};
use ntt_model::Kind;

use crate::corpus::have;
use crate::hfsplus::{Builder, Shape};
use crate::lab::compare::Aspect;
use crate::lab::corpus::{Spec, fill, forget_directory_times};
use crate::lab::make::Image;
use crate::lab::referee::Referee;
use crate::lab::tree::{Entry, Tree};

/// Longest name of HFS.
const HFS_NAME_MAX: usize = 31;

/// HFS+ by our builder.
pub fn hfsplus(name: &str, shape: Shape, spec: &Spec) -> Option<Image> {
    Image::made(name, spec, |image, tree, truth| {
        let mut builder = Builder::new("LAB", shape);
        builder.add_folder(tree);
        fs::write(image, builder.build().image).expect("written");
        Some(truth)
    })
}

/// A tool of hfsutils; which volume it works on stands in its home. Its output, `None` if it failed.
///
/// # Panics
///
/// If it cannot be started.
pub fn hfsutils(home: &Path, program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(arguments)
        .env("HOME", home)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("timeout runs");
    output.status.success().then_some(output.stdout)
}

/// The end of a name that HFS has room for.
fn short(name: &str) -> &str {
    &name[name.len().saturating_sub(HFS_NAME_MAX)..]
}

/// A path below `root` as HFS has it, with `separator` before each name.
fn hfs_path(root: &Path, path: &Path, separator: &str) -> String {
    let parts = path.strip_prefix(root).expect("below the root").iter();
    parts
        .map(|part| format!("{separator}{}", short(part.to_str().expect("ASCII"))))
        .collect()
}

/// HFS by hformat and hcopy, `kib` KiB: `None` without them. Names are cut at their front, times are not kept.
///
/// # Panics
///
/// If the tools fail.
pub fn hfs(kib: u64, spec: &Spec) -> Option<Image> {
    (have("hformat") && have("hcopy")).then_some(())?;
    Image::made("hformat", spec, |image, tree, truth| {
        let home = image.parent().expect("a folder");
        let run = |program: &str, arguments: &[&str]| {
            hfsutils(home, program, arguments).unwrap_or_else(|| panic!("{program} {arguments:?} failed"));
        };
        let file = fs::File::create(image).expect("a new file");
        file.set_len(kib * 1024).expect("a length");
        run("hformat", &["-l", "LAB", image.to_str().expect("plain")]);
        let mut waiting = vec![tree.to_owned()];
        while let Some(folder) = waiting.pop() {
            let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            paths.sort();
            for path in paths {
                let target = hfs_path(tree, &path, ":");
                if path.is_dir() {
                    run("hmkdir", &[&target]);
                    waiting.push(path);
                } else {
                    run("hcopy", &["-r", path.to_str().expect("plain"), &target]);
                }
            }
        }
        run("humount", &[]);
        let root = Path::new("");
        let renamed = truth.entries.into_iter().map(|entry| Entry {
            path: hfs_path(root, Path::new(std::ffi::OsStr::from_bytes(&entry.path)), "/").as_bytes()[1..]
                .to_vec(),
            modified: None,
            ..entry
        });
        Some(Tree {
            entries: renamed.collect(),
        })
    })
}

/// MFS by the crate `macfs`: as many files of `spec` as a floppy of 400 KB has room for, in its only directory.
///
/// # Panics
///
/// If the crate refuses.
pub fn mfs(folder: &Path, spec: &Spec) -> Image {
    let tree = folder.join("tree");
    fs::create_dir(&tree).expect("a new folder");
    let mut volume = MfsVolume::format(400 * 1024, "LAB", ImageFormat::Raw).expect("a volume");
    let mut truth = Tree::default();
    let mut room = 300_000;
    // The last made first: lengths on the edges, names, deep folders. The order in which the host's disk lists them is anyone's.
    let mut entries = fill(&tree, spec).entries;
    entries.sort_by(|one, other| (other.modified, &other.path).cmp(&(one.modified, &one.path)));
    for entry in entries {
        let size = entry
            .size_bytes
            .filter(|_| entry.kind == Some(Kind::File))
            .unwrap_or(u64::MAX);
        if size > room.min(40_000) || truth.entries.len() >= 60 {
            continue;
        }
        room -= size.next_multiple_of(1024);
        let content = fs::read(tree.join(std::ffi::OsStr::from_bytes(&entry.path))).expect("a file");
        let last = String::from_utf8_lossy(entry.path.rsplit(|byte| *byte == b'/').next().expect("a name"))
            .into_owned();
        let name = format!("{} {}", truth.entries.len(), short(&last));
        volume
            .add_file(&name, *b"TEXT", *b"ttxt", &content, b"")
            .expect("room");
        truth.entries.push(Entry {
            path: name.into_bytes(),
            modified: None,
            ..entry
        });
    }
    let mut bytes = Cursor::new(Vec::new());
    volume.save_to(&mut bytes).expect("in memory");
    let path = folder.join("image");
    fs::write(&path, bytes.into_inner()).expect("written");
    Image::at("macfs", &path, Some(truth))
}

/// hfsutils: every file copied out, one by one. Its names are those of the volume.
pub fn hcopy() -> Referee {
    let judges = [Aspect::Names, Aspect::Kinds, Aspect::Sizes, Aspect::Contents];
    Referee::new("hfsutils", &["hls", "hcopy", "hmount"], &judges, |image, out| {
        // hmount opens for writing and marks the volume as mounted: it gets a copy.
        let copy = out.join("copy");
        fs::copy(image, &copy).expect("a copy");
        let mut entries = Vec::new();
        if hfsutils(out, "hmount", &[copy.to_str().expect("plain")]).is_some() {
            copy_out(out, &mut entries);
        }
        Tree { entries }.without(forget_directory_times)
    })
}

fn copy_out(home: &Path, entries: &mut Vec<Entry>) {
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        // Damage may make rings.
        if folder.len() > 4000 || entries.len() > 20_000 {
            continue;
        }
        let listed = hfsutils(home, "hls", &["-1aFN", &format!("{folder}:")]).unwrap_or_default();
        for line in listed
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line = String::from_utf8_lossy(line).into_owned();
            let name = line.trim_end_matches([':', '*']);
            let path = format!("{folder}:{name}");
            let mut entry = Entry {
                path: path[1..]
                    .replace('/', "\0")
                    .replace(':', "/")
                    .replace('\0', ":")
                    .into_bytes(),
                kind: Some(Kind::Directory),
                ..Entry::default()
            };
            if line.ends_with(':') {
                waiting.push(path);
            } else {
                let target = home.join("file");
                entry.kind = Some(Kind::File);
                if hfsutils(home, "hcopy", &["-r", &path, target.to_str().expect("plain")]).is_some() {
                    let content = fs::read(&target).unwrap_or_default();
                    entry.size_bytes = u64::try_from(content.len()).ok();
                    entry.content = Some(crate::lab::tree::sum_of(&content));
                }
            }
            entries.push(entry);
        }
    }
}
