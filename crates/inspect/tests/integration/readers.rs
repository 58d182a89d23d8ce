//! Real readers in the child: what crosses the socket is what the reader says in this process (R19), and the source stays as it is (R20, R21).

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ntt_inspect::layer::LayerTree;
use ntt_inspect::{ImageFiles, ScanRequest, ScanSummary};
use ntt_model::{ByteRange, FindingCode, Layer, ScanEvent, Severity};
use ntt_source::{FileSource, Masked, SubRange};
use ntt_testkit::corpus::{corpus_image, have};
use ntt_testkit::listing::Listing;

use crate::scan_child::supervisor;

/// Runs a program that makes or fills an image.
fn run(program: &str, arguments: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// A tree to put into images: directories, an empty file, a file of several blocks.
fn tree(folder: &Path) -> String {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("one/two")).expect("directories");
    fs::write(tree.join("one/empty"), b"").expect("a file");
    fs::write(tree.join("one/two/large"), vec![7; 70_000]).expect("a file");
    for index in 0..300 {
        fs::write(tree.join(format!("one/file{index}")), format!("{index}")).expect("a file");
    }
    tree.to_str().expect("a path in text").to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in text")
}

fn files(path: &Path, unread: &[ByteRange]) -> ImageFiles {
    let source = File::open(path).expect("the image");
    ImageFiles::raw(Arc::new(source), unread.to_vec())
}

fn inspect(path: &Path, unread: &[ByteRange]) -> LayerTree {
    supervisor().inspect(&files(path, unread)).expect("a tree")
}

fn scan(path: &Path, unread: &[ByteRange], request: &ScanRequest) -> (ScanSummary, Vec<ScanEvent>) {
    let mut events = Vec::new();
    let summary = supervisor().scan(&files(path, unread), request, &mut |batch| {
        events.extend(batch);
        Ok(())
    });
    (summary.expect("the scan ends well"), events)
}

/// A request for every file system that opens.
fn requests(tree: &LayerTree) -> Vec<ScanRequest> {
    let volumes = tree.volumes.iter();
    let layers = volumes.flat_map(|volume| volume.file_systems.iter().map(move |layer| (volume, layer)));
    layers
        .filter(|(_, layer)| layer.facts.is_some())
        .map(|(volume, layer)| ScanRequest {
            range: volume.range,
            mapping: volume.mapping.clone(),
            device: None,
            family: layer.family,
            options: ntt_filesystem::ScanOptions::default(),
        })
        .collect()
}

fn without_the_supervisors_own(events: Vec<ScanEvent>) -> Vec<ScanEvent> {
    let is_readers =
        |event: &ScanEvent| !matches!(event, ScanEvent::Finding(finding) if finding.layer == Layer::Scanner);
    events.into_iter().filter(is_readers).collect()
}

/// Inspects and scans an image in children and in this process; gives the events of every file system.
fn same_in_the_child(path: &Path, unread: &[ByteRange]) -> Vec<Vec<ScanEvent>> {
    let before = blake3::hash(&fs::read(path).expect("the image"));
    let found = inspect(path, unread);
    let source = Masked::new(
        FileSource::from_file(File::open(path).expect("the image")).expect("a source"),
        unread.to_vec(),
    );
    let mut expected = ntt_inspect::tree::build(&source);
    let mut actual = found.clone();
    actual.findings.retain(|finding| finding.layer != Layer::Scanner);
    expected
        .findings
        .retain(|finding| finding.layer != Layer::Scanner);
    assert_eq!(actual, expected);
    let all = requests(&found).into_iter().map(|request| {
        let volume = Box::new(SubRange::new(&source, request.range));
        let file_system =
            ntt_filesystem::open(request.family, volume, request.range.offset).expect("it opens");
        let here = Listing::of(file_system.as_ref(), &request.options);
        let (summary, events) = scan(path, unread, &request);
        assert_eq!((summary.complete, summary.restarts), (true, 0));
        assert_eq!(&summary.facts, file_system.facts());
        let events = without_the_supervisors_own(events);
        assert_eq!(events, here.events);
        events
    });
    let all: Vec<_> = all.collect();
    assert_eq!(blake3::hash(&fs::read(path).expect("the image")), before, "R21");
    all
}

fn names(events: &[ScanEvent]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, ScanEvent::Name(_)))
        .count()
}

#[test]
fn r19_fat_is_the_same_in_the_child() {
    if !have("mkfs.fat") || !have("mcopy") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let image = folder.path().join("fat.img");
    let tree = tree(folder.path());
    run("mkfs.fat", &["-C", text(&image), "8192"]);
    run("mcopy", &["-s", "-i", text(&image), &format!("{tree}/one"), "::"]);
    let all = same_in_the_child(&image, &[]);
    assert_eq!(all.len(), 1);
    assert!(names(&all[0]) >= 304, "{}", names(&all[0]));
}

#[test]
fn r19_ext_is_the_same_in_the_child() {
    if !have("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let tree = tree(folder.path());
    for kind in ["ext2", "ext3", "ext4"] {
        let image = folder.path().join(kind);
        run("mke2fs", &["-q", "-t", kind, "-d", &tree, text(&image), "16M"]);
        let all = same_in_the_child(&image, &[]);
        assert_eq!(all.len(), 1);
        assert!(names(&all[0]) >= 304, "{}", names(&all[0]));
    }
}

#[test]
fn r19_iso_is_the_same_in_the_child() {
    if !have("xorriso") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let tree = tree(folder.path());
    let image = folder.path().join("disc.iso");
    run(
        "xorriso",
        &["-as", "mkisofs", "-quiet", "-R", "-J", "-o", text(&image), &tree],
    );
    let all = same_in_the_child(&image, &[]);
    assert_eq!(all.len(), 1);
    assert!(names(&all[0]) >= 304, "{}", names(&all[0]));
}

/// Partitions at an offset, logical ones among them, a floppy, hybrid and plain discs.
#[test]
fn r14_corpus_images_are_the_same_in_the_child() {
    for (image, file_systems_min) in [
        ("dftt/1-extend-part.zip", 4),
        ("preservation/practical.floppy.dd.gz", 1),
        ("disktype/iso9660-hybrid.image.gz", 1),
        ("disktype/iso9660-joliet.image.gz", 1),
        ("disktype/iso9660-rockridge.image.gz", 1),
        ("disktype/ext3.image.gz", 1),
    ] {
        let Some(copy) = corpus_image(image) else { return };
        let all = same_in_the_child(copy.path(), &[]);
        assert!(all.len() >= file_systems_min, "{image}: {}", all.len());
    }
}

/// R11: the mask crosses the socket; what lies in it is a finding, not zeros.
#[test]
fn r11_unread_ranges_are_unread_in_the_child() {
    if !have("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let tree = tree(folder.path());
    let image = folder.path().join("ext4");
    run(
        "mke2fs",
        &["-q", "-t", "ext4", "-b", "1024", "-d", &tree, text(&image), "16M"],
    );
    let whole = same_in_the_child(&image, &[]);
    let entries = directory_block(&image, &whole[0]);
    let unread = [ByteRange::new(entries, 1024)];
    let masked = same_in_the_child(&image, &unread);
    let listed = |events: &[ScanEvent]| {
        events
            .iter()
            .any(|event| matches!(event, ScanEvent::Name(name) if name.name == b"file0"))
    };
    assert!(listed(&whole[0]) && !listed(&masked[0]));
    let told = masked[0].iter().any(|event| {
        matches!(event, ScanEvent::Finding(finding) if finding.code == FindingCode::Unread
            && finding.severity == Severity::Loss)
    });
    assert!(told, "a finding names what was not read");
}

/// Where the entry of `file0` stands in the image: in the directory block that lists it.
fn directory_block(image: &Path, events: &[ScanEvent]) -> u64 {
    let number = events.iter().find_map(|event| match event {
        ScanEvent::Name(name) if name.name == b"file0" => Some(name.inode),
        _ => None,
    });
    let number = u32::try_from(number.expect("listed")).expect("ext has 32 bits");
    let bytes = fs::read(image).expect("the image");
    let entry = number.to_le_bytes();
    let at = bytes
        .windows(13)
        .position(|window| window.starts_with(&entry) && window.ends_with(b"file0"))
        .expect("its entry");
    u64::try_from(at & !1023).expect("small")
}
