//! R45: a restored tree is the tree that was, and `--compare` sees every way in which it is not.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ntt_testkit::corpus::{corpus_image, have};

use crate::environment::{Environment, as_nobody, restored_code};
use crate::images::{self, noise};
use crate::trees;

/// A tree with every attribute that a restore must bring back. Gives its path's name in the working directory.
fn write_attributed(environment: &Environment) -> &'static str {
    let tree = environment.work().join("tree");
    images::write_tree(&tree, 5);
    fs::set_permissions(tree.join("twice"), fs::Permissions::from_mode(0o640)).expect("mine");
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o4755)).expect("mine");
    fs::set_permissions(tree.join("deep/deeper"), fs::Permissions::from_mode(0o1770)).expect("mine");
    set_modified(&tree.join("twice"), 1_049_522_828, 123_456_789);
    set_modified(&tree.join("hole"), 1, 1);
    set_modified(&tree.join("deep"), 1_000_000_000, 999_999_999);
    if rustix::process::geteuid().is_root() {
        chown(tree.join("empty"), Some(1234), Some(4321)).expect("root may");
        fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o4755)).expect("mine");
    }
    "tree"
}

fn set_modified(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    let times = FileTimes::new().set_modified(time);
    File::open(path)
        .and_then(|file| file.set_times(times))
        .expect("mine");
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

#[test]
fn r45_names_modes_times_links_holes_and_owners_come_back() {
    let environment = Environment::new();
    let tree = write_attributed(&environment);
    let _ = environment.ntt(["ingest", tree]).code(0);
    let _ = environment.ntt(["restore", tree, "out"]).code(0);
    let _ = environment.ntt(["restore", "--compare", tree, "out"]).code(0);
    let (tree, out) = (environment.work().join(tree), environment.work().join("out"));
    trees::assert_equal(&tree, &out);
    assert_eq!(
        inode(&out.join("twice")),
        inode(&out.join("deep/twice too")),
        "hard link"
    );
    assert_ne!(
        inode(&out.join("twice")),
        inode(&out.join("deep/deeper/file 1")),
        "equal files are no link"
    );
    let hole = fs::metadata(out.join("hole")).expect("a file");
    assert!(
        hole.blocks() * 512 < hole.len() / 4,
        "{} blocks of a sparse file",
        hole.blocks()
    );
    let (had, has) = (fs::metadata(tree.join("empty")), fs::metadata(out.join("empty")));
    let owner =
        |metadata: std::io::Result<fs::Metadata>| metadata.map(|one| (one.uid(), one.gid())).expect("a file");
    assert_eq!(owner(had), owner(has));
}

/// A change to a restored tree.
type Change = fn(&Path);

#[test]
fn r45_compare_sees_every_kind_of_change() {
    let environment = Environment::new();
    let tree = write_attributed(&environment);
    let _ = environment.ntt(["ingest", tree]).code(0);
    let changes: [(&str, Change); 9] = [
        ("twice", |out| change_one_byte(&out.join("twice"))),
        ("deep/file 0", |out| {
            let path = out.join("deep/file 0");
            let old = fs::read(&path).expect("a file");
            fs::write(&path, [&old[..], b"more"].concat()).expect("mine");
        }),
        ("empty", |out| {
            fs::set_permissions(out.join("empty"), fs::Permissions::from_mode(0o600)).expect("mine");
        }),
        ("hole", |out| set_modified(&out.join("hole"), 1, 2)),
        ("link", |out| {
            fs::remove_file(out.join("link")).expect("mine");
            symlink("elsewhere", out.join("link")).expect("mine");
        }),
        ("deep/deeper/file 1", |out| {
            fs::remove_file(out.join("deep/deeper/file 1")).expect("mine");
        }),
        ("added", |out| fs::write(out.join("added"), b"new").expect("mine")),
        ("twice too", |out| {
            let path = out.join("deep/twice too");
            let content = fs::read(&path).expect("a file");
            let metadata = fs::metadata(&path).expect("a file");
            fs::remove_file(&path).expect("mine");
            fs::write(&path, content).expect("mine");
            fs::set_permissions(&path, metadata.permissions()).expect("mine");
            set_modified(&path, 1_049_522_828, 123_456_789);
        }),
        ("deep/deeper", |out| {
            fs::remove_dir_all(out.join("deep/deeper")).expect("mine");
            fs::write(out.join("deep/deeper"), b"a file now").expect("mine");
        }),
    ];
    for (number, (named, change)) in changes.into_iter().enumerate() {
        let name = format!("out-{number}");
        let _ = environment.ntt(["restore", tree, &name]).code(0);
        change(&environment.work().join(&name));
        let said = environment.ntt(["restore", "--compare", tree, &name]).code(12);
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// Changes content and nothing else: size and time stay.
fn change_one_byte(path: &Path) {
    let modified = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .expect("a file");
    let mut content = fs::read(path).expect("a file");
    content[100] ^= 1;
    fs::write(path, content).expect("mine");
    let times = FileTimes::new().set_modified(modified);
    File::open(path)
        .and_then(|file| file.set_times(times))
        .expect("mine");
}

#[test]
fn a_destination_that_is_not_empty_is_refused_and_nothing_in_it_replaced() {
    let environment = Environment::new();
    environment.write("tree/file", b"from the archive");
    environment.write("tree/other", b"also");
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let mine = environment.write("out/file", b"mine");
    let refused = environment.ntt(["restore", "tree", "out"]);
    assert!(!matches!(refused.exit(), Some(0)), "{}", refused.everything());
    assert!(!environment.work().join("out/other").exists());
    let existing = environment.ntt(["restore", "--into-existing", "tree", "out"]);
    assert!(
        existing.everything().contains("file"),
        "{}",
        existing.everything()
    );
    assert_ne!(existing.exit(), Some(0), "one file could not be restored");
    assert_eq!(fs::read(mine).expect("a file"), b"mine");
    assert_eq!(
        fs::read(environment.work().join("out/other")).expect("restored"),
        b"also"
    );
}

#[test]
fn a_path_a_volume_and_a_medium_can_be_restored() {
    let environment = Environment::new();
    environment.write("demo.img", &images::demo());
    let _ = environment.ntt(["ingest", "demo.img"]).code(0);
    let all = environment.work().join("all");
    let _ = environment
        .ntt(["restore", "demo.img", "all"])
        .code(restored_code());
    let _ = environment
        .ntt(["restore", "--compare", "demo.img", "all"])
        .code(0);
    assert_eq!(
        trees::contents(&all).len(),
        10,
        "both volumes, each in a directory of its own"
    );

    let _ = environment
        .ntt(["restore", "demo.img/2", "second"])
        .code(restored_code());
    let _ = environment
        .ntt(["restore", "--compare", "demo.img/2", "second"])
        .code(0);
    assert_eq!(trees::contents(&environment.work().join("second")).len(), 6);

    let _ = environment
        .ntt(["restore", "demo.img/2/old/letters", "letters"])
        .code(restored_code());
    let letters = trees::contents(&environment.work().join("letters"));
    assert_eq!(letters.len(), 2, "{letters:?}");
    let raw = [
        OsStr::new("restore"),
        OsStr::new("demo.img/1/todo.txt"),
        OsStr::new("one"),
    ];
    let _ = environment.ntt(raw).code(0);
    let one = trees::contents(&environment.work().join("one"));
    let digest = blake3::hash(b"buy floppies\n").to_hex().to_string();
    assert_eq!(one.into_values().collect::<Vec<_>>(), [digest]);
}

#[test]
fn r45_an_ext4_image_comes_back_as_the_tree_it_was_made_of() {
    let environment = Environment::new();
    let tree = environment.work().join(write_attributed(&environment));
    let Some(_) = images::ext4(&environment.work().join("disk.img"), 16, &tree) else {
        return;
    };
    let _ = environment.ntt(["ingest", "disk.img"]).code(0);
    let _ = environment
        .ntt(["restore", "disk.img", "out"])
        .code(restored_code());
    let _ = environment
        .ntt(["restore", "--compare", "disk.img", "out"])
        .code(0);
    assert_eq!(
        trees::contents(&environment.work().join("out")),
        trees::contents(&tree)
    );
    assert_eq!(
        inode(&environment.work().join("out/twice")),
        inode(&environment.work().join("out/deep/twice too"))
    );
}

#[test]
fn large_and_small_contents_come_back() {
    let environment = Environment::new();
    for len in [0, 1, 511, 65_536, 65_537, 5 << 20] {
        environment.write(format!("tree/{len}"), &noise(&len.to_string(), len));
    }
    let _ = environment.ntt(["ingest", "tree"]).code(0);
    let _ = environment.ntt(["restore", "tree", "out"]).code(0);
    assert_eq!(
        trees::contents(&environment.work().join("out")),
        trees::contents(&environment.work().join("tree"))
    );
}

/// Restores `image` and compares at once, in an environment of its own.
fn restored_is_equal(image: &[u8], restored: &[i32]) {
    let environment = Environment::new();
    environment.write("disk.img", image);
    let ingest = environment.ntt(["ingest", "disk.img"]);
    assert!(matches!(ingest.exit(), Some(0 | 3)), "{}", ingest.everything());
    let restore = environment.ntt(["restore", "disk.img", "out"]);
    let code = restore.exit().expect("an exit code");
    assert!(restored.contains(&code), "{}", restore.everything());
    let _ = environment
        .ntt(["restore", "--compare", "disk.img", "out"])
        .code(0);
}

#[test]
fn r45_every_naming_tree_of_a_disc_is_expected_by_compare() {
    if !have("genisoimage") {
        return;
    }
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    images::write_tree(&tree, 5);
    let image = environment.work().join("disc.iso");
    for options in [&["-J"][..], &["-J", "-R"], &["-R"]] {
        let arguments = options
            .iter()
            .map(OsStr::new)
            .chain([OsStr::new("-quiet"), OsStr::new("-o")])
            .chain([image.as_os_str(), tree.as_os_str()]);
        images::run("genisoimage", arguments);
        restored_is_equal(&fs::read(&image).expect("a disc"), &[0]);
    }
}

#[test]
fn r45_entries_without_a_place_are_expected_by_compare() {
    for name in ["f_badroot", "f_lpffile"] {
        let Some(image) = corpus_image(&format!("damaged-ext/{name}.img.gz")) else {
            return;
        };
        restored_is_equal(&fs::read(image.path()).expect("an image"), &[0, 3]);
    }
}

/// R44: who may not give files away is told so in one line, and the exit status says it.
#[test]
fn r45_owners_that_a_user_cannot_set_are_one_problem() {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !have("setpriv") {
        return;
    }
    let environment = Environment::new();
    environment.open_to_all();
    let tree = environment.work().join("tree");
    images::write_tree(&tree, 5);
    if images::ext4(&environment.work().join("disk.img"), 16, &tree).is_none() {
        return;
    }
    let _ = as_nobody(&environment, &["ingest", "disk.img"]).code(0);
    let said = as_nobody(&environment, &["restore", "disk.img", "out"]).code(3);
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("owners not set"))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    let compared = as_nobody(&environment, &["restore", "--compare", "disk.img", "out"]).code(0);
    assert!(
        compared.contains("equal"),
        "only root can have restored owners: {compared}"
    );
    if is_root {
        let compared = environment
            .ntt(["restore", "--compare", "disk.img", "out"])
            .code(12);
        assert!(
            compared.contains("1/empty: owner is 65534, should be 0"),
            "{compared}"
        );
        assert!(
            compared.contains("1/empty: group is 65534, should be 0"),
            "{compared}"
        );
    }
}

#[test]
fn r45_a_time_that_was_not_kept_is_told() {
    let environment = Environment::new();
    let tree = environment.work().join("tree");
    fs::create_dir(&tree).expect("a new directory");
    fs::write(tree.join("late"), b"from the year 2310").expect("a file");
    let image = environment.work().join("disk.img");
    if images::ext4(&image, 16, &tree).is_none() || !have("debugfs") {
        return;
    }
    for field in ["mtime @0x7fffffff", "mtime_extra 3"] {
        let request = format!("set_inode_field /late {field}");
        let arguments = [
            OsStr::new("-w"),
            OsStr::new("-R"),
            OsStr::new(&request),
            image.as_os_str(),
        ];
        images::run("debugfs", arguments);
    }
    let _ = environment.ntt(["ingest", "disk.img"]);
    let said = environment.ntt(["restore", "disk.img", "out"]).code(3);
    assert!(
        said.contains("1/late: times: no time of last change is known"),
        "{said}"
    );
}

#[test]
fn r45_hints_can_be_pasted() {
    let environment = Environment::new();
    environment.write("the tree/file", b"content");
    let _ = environment.ntt(["ingest", "the tree"]).code(0);
    let said = environment
        .ntt(["restore", "the tree", "an out's place"])
        .stderr(0);
    let hint = r"ntt restore --compare 'the tree' 'an out'\''s place'";
    assert!(said.contains(hint), "{said}");
}

/// R27, R45: alternate streams come back as files of their own: where a file came from is evidence.
#[test]
fn r45_alternate_streams_are_restored_as_files() {
    if !have("mkntfs") || !have("ntfscp") {
        return;
    }
    let environment = Environment::new();
    let (data, zone) = (&b"a document"[..], &b"[ZoneTransfer]\r\nZoneId=3\r\n"[..]);
    let image = environment.work().join("windows.img");
    images::sparse(&image, 8 << 20);
    let _ = images::run("mkntfs", [OsStr::new("-qF"), image.as_os_str()]);
    let place = OsStr::new("report.doc");
    let written = environment.write("data", data);
    let _ = images::run("ntfscp", [image.as_os_str(), written.as_os_str(), place]);
    let written = environment.write("zone", zone);
    let named = ["-N", "Zone.Identifier"].map(OsStr::new);
    let into = [image.as_os_str(), written.as_os_str(), place];
    let _ = images::run("ntfscp", named.into_iter().chain(into));

    let _ = environment.ntt(["ingest", "windows.img"]).code(0);
    let _ = environment
        .ntt(["restore", "--streams", "windows.img", "out"])
        .code(0);
    let restored = |name: &str| fs::read(environment.work().join("out").join(name)).expect("restored");
    assert_eq!(restored("report.doc"), data);
    assert_eq!(restored("report.doc:Zone.Identifier"), zone);
    let _ = environment
        .ntt(["restore", "--compare", "--streams", "windows.img", "out"])
        .code(0);
    // Without the option a stream is a difference, and its file is one too many.
    let said = environment
        .ntt(["restore", "--compare", "windows.img", "out"])
        .code(12);
    assert!(said.contains("2 differences"), "{said}");
}
