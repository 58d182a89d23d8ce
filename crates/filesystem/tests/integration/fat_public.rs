//! FAT against public images: published contents, The Sleuth Kit and `blkid`.

use std::collections::BTreeMap;
use std::path::Path;

use ntt_filesystem::{ScanOptions, fat};
use ntt_model::entry::{Allocation, Inode};
use ntt_model::{BlobHash, ByteRange, Kind};
use ntt_source::{FileSource, ReadAt, SubRange};
use ntt_testkit::corpus::{CorpusImage, corpus, corpus_image, decompressed, have};
use ntt_testkit::listing::{Listing, content_hash};

use crate::fat_made::{deleted, open, run};

/// Deleted files whose clusters are still free come back whole when they were in one piece.
#[test]
fn deleted_files_are_listed_only_on_request() {
    let Some(image) = corpus_image("dftt/6-undel-fat.zip") else {
        return;
    };
    let bytes = std::fs::read(image.path()).expect("read");
    let live = Listing::of(&*open(&bytes), &ScanOptions::default());
    assert!(live.names.is_empty());
    let listing = Listing::of(&*open(&bytes), &deleted());
    assert!(
        listing
            .names
            .iter()
            .all(|listed| listed.name.allocation == Allocation::Deleted)
    );
    // Sizes and MD5 of the published listing; for fragmented files what a contiguous copy gives.
    let published = [
        ("_ing.dat", 780, "59b20779f69ff9f0ac5fcd2c38835a79"),
        ("_ult1.dat", 3801, "ffd27bd782bdce67750b6b9ee069d2ef"),
        ("_rag1.dat", 1584, "c4f3b9a0f17d464f4fc61b94ecf6cc21"),
        ("_rag2.dat", 3873, "965370acfa85aa7e26ab04bbd45cdcae"),
        ("_ir1/mult2.dat", 1715, "59cf0e9cd107bc1e75afb7374f6e05bb"),
        ("_ir1/dir2/frag3.dat", 2027, "a7a14ac62f79fdea4056ed5e8bcf97ef"),
    ];
    for (path, size, md5) in published {
        let same =
            |listed: &&ntt_testkit::listing::ListedName| listed.path.eq_ignore_ascii_case(path.as_bytes());
        let listed = listing
            .names
            .iter()
            .find(same)
            .unwrap_or_else(|| panic!("{path} in {:?}", shown(&listing)));
        let data = listing.inodes[&listed.name.inode].data().expect("a file");
        assert_eq!(data.size_bytes, size, "{path}");
        assert_eq!(md5_of(&bytes, data), md5, "{path}");
    }
}

fn shown(listing: &Listing) -> Vec<String> {
    listing
        .names
        .iter()
        .map(|listed| String::from_utf8_lossy(&listed.path).into_owned())
        .collect()
}

fn md5_of(image: &[u8], data: &ntt_model::entry::Stream) -> String {
    let directory = tempfile::tempdir().expect("a folder");
    let pieces = data.extents.iter().map(|extent| {
        let start = usize::try_from(extent.image_offset).expect("small");
        &image[start..start + usize::try_from(extent.len).expect("small")]
    });
    std::fs::write(
        directory.path().join("content"),
        pieces.collect::<Vec<_>>().concat(),
    )
    .expect("written");
    let output = run("md5sum", &["content"], directory.path());
    String::from_utf8_lossy(&output[..32]).into_owned()
}

/// The floppy of a museum: 15 live files, 3 folders, 1 deleted file.
#[test]
fn a_real_floppy_has_its_published_listing() {
    let Some(image) = corpus_image("preservation/practical.floppy.dd.gz") else {
        return;
    };
    let bytes = std::fs::read(image.path()).expect("read");
    let listing = Listing::of(&*open(&bytes), &deleted());
    let count = |kind, allocation| {
        let inodes = listing
            .inodes
            .values()
            .filter(|inode| inode.number != fat::ROOT_INODE);
        inodes
            .filter(|inode| inode.kind == kind && inode.allocation == allocation)
            .count()
    };
    assert_eq!(
        count(Kind::File, Allocation::Allocated),
        15,
        "{:?}",
        shown(&listing)
    );
    assert_eq!(count(Kind::Directory, Allocation::Allocated), 3);
    assert_eq!(count(Kind::File, Allocation::Deleted), 1);
    agrees_with_tsk(image.path(), &bytes, &listing);
}

#[test]
fn public_volumes_agree_with_the_sleuth_kit() {
    for name in [
        "dftt/2-kwsrch-fat.zip",
        "dftt/9-fat-label.zip",
        "retro/test_fat16.img.zst",
        "disktype/fat12-floppy.image.gz",
    ] {
        let Some(image) = corpus_image(name) else { return };
        let bytes = std::fs::read(image.path()).expect("read");
        let listing = Listing::of(&*open(&bytes), &ScanOptions::default());
        agrees_with_tsk(image.path(), &bytes, &listing);
    }
}

/// Content hidden behind a volume label is listed (R26), and the label of the root wins over that of the boot sector.
#[test]
fn r26_content_behind_a_volume_label_is_listed() {
    let Some(image) = corpus_image("dftt/9-fat-label.zip") else {
        return;
    };
    let bytes = std::fs::read(image.path()).expect("read");
    let volume = open(&bytes);
    assert_eq!(volume.facts().label, b"LABEL2");
    let listing = Listing::of(&*volume, &ScanOptions::default());
    for (path, md5) in [
        ("LABEL2", "8071eeaa52cd372a9bbb093e348e605c"),
        ("dir1/FILE2.DLL", "8aeca328aa6fbb7d2ec01f8c2f3e4bbd"),
    ] {
        let listed = listing
            .names
            .iter()
            .find(|listed| listed.path.eq_ignore_ascii_case(path.as_bytes()))
            .expect(path);
        assert_eq!(
            md5_of(&bytes, listing.inodes[&listed.name.inode].data().expect("a file")),
            md5
        );
    }
}

/// Where `fls` and `icat` find a volume, and what it must give.
struct Referee<'a> {
    image: &'a Path,
    /// First sector of the volume in the image.
    sector: String,
}

/// What a path is: a directory, or a file of that size and content.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Directory,
    File(u64, BlobHash),
}

impl<'a> Referee<'a> {
    fn at(image: &'a Path, sector: u64) -> Option<Self> {
        (have("fls") && have("icat")).then(|| Self {
            image,
            sector: sector.to_string(),
        })
    }

    fn run(&self, program: &str, arguments: &[&str], last: &[&str]) -> Vec<u8> {
        let image = self.image.to_str().expect("text");
        let folder = self.image.parent().expect("a folder");
        run(
            program,
            &[arguments, &["-o", &self.sector, image], last].concat(),
            folder,
        )
    }

    /// Every live path that `fls` lists with its size, and what `icat` reads of it.
    fn list(&self) -> BTreeMap<Vec<u8>, What> {
        let lines = String::from_utf8_lossy(&self.run("fls", &["-rplu"], &[])).into_owned();
        let live = |line: &&str| line.starts_with("r/r ") || line.starts_with("d/d ");
        lines
            .lines()
            .filter(live)
            .filter_map(|line| self.entry(line))
            .collect()
    }

    /// `r/r 12:`, name, four times, size, owner and group between tabs.
    fn entry(&self, line: &str) -> Option<(Vec<u8>, What)> {
        let fields: Vec<&str> = line.split('\t').collect();
        let (kind, number) = fields[0].trim_end_matches(':').split_once(' ').expect("a number");
        let (name, size) = (fields[1], fields[6].parse().expect("a size"));
        let is_own = name.contains("(Volume Label Entry)") || name.starts_with('$');
        let what = match kind {
            "d/d" => What::Directory,
            _ => What::File(size, BlobHash::of(&self.run("icat", &[], &[number]))),
        };
        (!is_own).then(|| (name.as_bytes().to_vec(), what))
    }
}

/// The same from a listing. A label that hides content is a file to us only.
fn ours(listing: &Listing, image: &dyn ReadAt) -> BTreeMap<Vec<u8>, What> {
    let what = |inode: &Inode| match inode.kind {
        Kind::Directory => What::Directory,
        _ => What::File(inode.size_bytes(), content_hash(image, inode)),
    };
    let listed = listing
        .preferred()
        .filter(|listed| !is_label(listing, &listed.path));
    listed
        .map(|listed| (listed.path.clone(), what(&listing.inodes[&listed.name.inode])))
        .collect()
}

fn agrees_with_tsk(path: &Path, bytes: &[u8], listing: &Listing) {
    if let Some(referee) = Referee::at(path, 0) {
        assert_eq!(
            ours(listing, &bytes.to_vec()),
            referee.list(),
            "{}",
            path.display()
        );
    }
}

fn is_label(listing: &Listing, path: &[u8]) -> bool {
    let listed = listing
        .names
        .iter()
        .find(|listed| listed.path == path)
        .expect("listed");
    listing.inodes[&listed.name.inode].flags & 8 != 0
}

/// The volumes that `mmls` finds: first sector and number of sectors of every FAT partition.
fn fat_partitions(image: &CorpusImage) -> Vec<(u64, u64)> {
    let path = image.path().to_str().expect("text");
    let table = String::from_utf8_lossy(&run("mmls", &["-r", path], image.dir())).into_owned();
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 5 && row[1].contains(':') && row[5..].join(" ").contains("FAT"))
        .map(|row| {
            (
                row[2].parse().expect("a sector"),
                row[4].parse().expect("a count"),
            )
        })
        .collect()
}

/// R14, R27: six FAT16 volumes in nested extended partitions give the names, sizes and contents that the referee gives.
#[test]
fn r27_volumes_inside_a_disk_agree_with_the_sleuth_kit() {
    let Some(image) = corpus_image("dftt/1-extend-part.zip") else {
        return;
    };
    if !have("mmls") {
        return;
    }
    let partitions = fat_partitions(&image);
    assert_eq!(partitions.len(), 6);
    let mut entries = 0;
    for (start, sectors) in partitions {
        let Some(referee) = Referee::at(image.path(), start) else {
            return;
        };
        let disk = FileSource::open(image.path()).expect("opens");
        let window = SubRange::new(&disk, ByteRange::new(start * 512, sectors * 512));
        let volume = fat::open(Box::new(window), start * 512).expect("a FAT volume");
        assert_eq!(volume.facts().type_name, "fat16");
        let listing = Listing::of(&*volume, &ScanOptions::default());
        let theirs = referee.list();
        assert_eq!(ours(&listing, &disk), theirs, "volume at sector {start}");
        entries += theirs.len();
    }
    assert!(entries >= 6, "{entries} entries in all");
}

/// Label, serial number and type as `blkid` finds them; images of other formats are not taken for FAT.
#[test]
fn identification_agrees_with_blkid() {
    let Some(corpus) = corpus() else { return };
    let mut seen = 0;
    for file in std::fs::read_dir(corpus.join("detect")).expect("a folder") {
        let path = file.expect("an entry").path();
        let Ok(expected) = std::fs::read_to_string(path.with_extension("").with_extension("expected")) else {
            continue;
        };
        if path.extension().is_none_or(|suffix| suffix != "xz") {
            continue;
        }
        let image = decompressed(&path);
        let source = ntt_source::FileSource::open(image.path()).expect("opens");
        let field = |name: &str| {
            let line = expected
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(str::to_owned)
        };
        if field("ID_FS_TYPE").as_deref() != Some("vfat") {
            assert_eq!(fat::probe(&source), None, "{}", path.display());
            continue;
        }
        let volume = fat::open(Box::new(source), 0).expect("a FAT volume");
        let facts = volume.facts();
        assert_eq!(Some(facts.type_name.to_uppercase()), field("ID_FS_VERSION"));
        assert_eq!(facts.uuid, field("ID_FS_UUID"));
        assert_eq!(
            String::from_utf8_lossy(&facts.label),
            field("ID_FS_LABEL").unwrap_or_default(),
            "{}",
            path.display()
        );
        assert_eq!(Some(facts.size_bytes.to_string()), field("ID_FS_FSSIZE"));
        seen += 1;
    }
    assert_eq!(seen, 8);
}
