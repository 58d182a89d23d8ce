//! FAT against mtools, The Sleuth Kit, public images with published contents, holes and random damage.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use ntt_filesystem::{Error, FileSystem, ScanOptions, Stop, fat};
use ntt_model::entry::{Allocation, Namespace};
use ntt_model::{BlobHash, ByteRange, FindingCode, Kind, ScanEvent};
use ntt_source::{Masked, ReadAt, SubRange};
use ntt_testkit::corpus::{corpus, corpus_image, decompressed, have};
use ntt_testkit::listing::Listing;
use tempfile::TempDir;

fn open(image: &[u8]) -> Box<dyn FileSystem + '_> {
    fat::open(Box::new(image.to_vec()), 0).expect("a FAT volume")
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn deleted() -> ScanOptions {
    ScanOptions {
        deleted: true,
        ..ScanOptions::default()
    }
}

/// Bytes that differ from file to file and from place to place.
fn content(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    (0..len).map(|_| random(&mut state).to_le_bytes()[3]).collect()
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// An image made by `mkfs.fat` and filled by mtools, with the content that every path must have.
struct Made {
    directory: TempDir,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Made {
    /// 24 files of which every third is deleted again, then two files that have to use the gaps; odd names; a deep folder.
    fn new(mkfs: &[&str]) -> Option<Self> {
        if !["mkfs.fat", "mcopy", "mmd", "mdel"]
            .iter()
            .all(|program| have(program))
        {
            return None;
        }
        let mut made = Self {
            directory: tempfile::tempdir().expect("a folder"),
            files: BTreeMap::new(),
        };
        run(
            "mkfs.fat",
            &[&["-n", "NTT TEST", "-i", "12ab34cd", "-C", "image"], mkfs].concat(),
            made.path(),
        );
        (0..24).for_each(|number| {
            made.put(
                &format!("FILE{number}.BIN"),
                &content(number, 700 * (1 + number as usize % 9)),
            );
        });
        for number in (0..24).step_by(3) {
            let name = format!("FILE{number}.BIN");
            run("mdel", &["-i", "image", &format!("::{name}")], made.path());
            made.files.remove(name.as_bytes());
        }
        made.search_from_the_start();
        made.put("fragmented one.bin", &content(100, 9000));
        made.put("Fragmented Two.bin", &content(101, 7001));
        made.put("EMPTY", b"");
        made.put("zażółć gęślą jaźń 日本.txt", b"unicode");
        made.put(&format!("{}.txt", "n".repeat(251)), b"long");
        made.put("trailing blank .a.b.c", b"dots");
        let mut folder = String::new();
        for name in ["Outer Folder", "INNER", "third level"] {
            folder = format!("{folder}{name}");
            run("mmd", &["-i", "image", &format!("::{folder}")], made.path());
            made.put(&format!("{folder}/file in {name}"), &content(7, 3000));
            folder.push('/');
        }
        Some(made)
    }

    /// Makes the next file go to the first free clusters: FAT32 remembers in FSInfo where it stopped.
    fn search_from_the_start(&self) {
        let mut image = self.image();
        if image[512..516] == *b"RRaA" {
            image[512 + 492..512 + 496].copy_from_slice(&2_u32.to_le_bytes());
            std::fs::write(self.path().join("image"), image).expect("written");
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join("staged"), bytes).expect("written");
        run(
            "mcopy",
            &["-i", "image", "staged", &format!("::{name}")],
            self.path(),
        );
        self.files.insert(name.as_bytes().to_vec(), bytes.to_vec());
    }

    fn image(&self) -> Vec<u8> {
        std::fs::read(self.path().join("image")).expect("read")
    }

    fn expected(&self) -> BTreeMap<Vec<u8>, BlobHash> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.clone(), BlobHash::of(bytes)))
            .collect()
    }
}

const FAT12: &[&str] = &["-F", "12", "1440"];
const FAT16: &[&str] = &["-F", "16", "-s", "1", "8192"];
const FAT32: &[&str] = &["-F", "32", "-s", "1", "40960"];

/// R23, R27: every name and every byte that mtools wrote comes back, for each type, and nothing else.
#[test]
fn r27_files_written_by_mtools_are_listed_with_their_content() {
    for (mkfs, type_name) in [
        (FAT12, "fat12"),
        (FAT16, "fat16"),
        (FAT32, "fat32"),
        (&["-F", "16", "-S", "2048", "-s", "1", "20000"], "fat16"),
    ] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let volume = open(&image);
        assert_eq!(volume.facts().type_name, type_name);
        assert_eq!(volume.facts().label, b"NTT TEST");
        assert_eq!(volume.facts().uuid.as_deref(), Some("12AB-34CD"));
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert_eq!(listing.findings, []);
        assert_eq!(listing.contents(&image), made.expected());
        let fragmented = listing
            .inodes
            .values()
            .filter(|inode| inode.data().is_some_and(|data| data.extents.len() > 1));
        assert!(
            fragmented.count() >= 1,
            "{type_name}: the test must hold a fragmented file"
        );
    }
}

/// R23: the 8.3 name beside a long one is an alternate, and names the same inode.
#[test]
fn r23_short_names_are_alternates_of_long_names() {
    let Some(made) = Made::new(FAT12) else { return };
    let listing = Listing::of(&*open(&made.image()), &ScanOptions::default());
    let long = listing
        .names
        .iter()
        .find(|listed| listed.path == b"fragmented one.bin")
        .expect("listed");
    let short = listing
        .names
        .iter()
        .find(|listed| listed.path == b"FRAGME~1.BIN")
        .expect("listed");
    assert_eq!(
        (long.name.namespace, long.name.alternate),
        (Namespace::Windows, false)
    );
    assert_eq!(
        (short.name.namespace, short.name.alternate),
        (Namespace::Dos, true)
    );
    assert_eq!(long.name.inode, short.name.inode);
}

/// What is in use according to `allocated` covers every extent, and ends where the tables say.
#[test]
fn allocated_runs_cover_every_extent() {
    for mkfs in [FAT12, FAT16, FAT32] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let volume = open(&image);
        let mut runs: Vec<ByteRange> = Vec::new();
        volume.allocated(&mut |run| runs.push(run)).expect("told");
        assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
        let listing = Listing::of(&*volume, &ScanOptions::default());
        for extent in listing
            .inodes
            .values()
            .flat_map(|inode| inode.data().map_or(&[][..], |data| &data.extents))
        {
            let needed = extent.image_range().expect("plain bytes");
            assert!(
                runs.iter().any(|run| run.contains_range(&needed)),
                "{needed} is not in use"
            );
        }
        assert!(runs.iter().map(|run| run.len).sum::<u64>() < ReadAt::len(&image) / 2);
        let in_clusters = runs.iter().map(|run| run.len).sum::<u64>() - metadata_bytes(&image);
        assert!(volume.facts().used_bytes.is_none_or(|used| used == in_clusters));
        assert_eq!(volume.facts().used_bytes.is_some(), mkfs == FAT32);
    }
}

/// Bytes before the first cluster.
fn metadata_bytes(image: &[u8]) -> u64 {
    let word = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let table = if word(22) == 0 { word(36) } else { word(22) };
    (word(14) + table * u64::from(image[16])) * word(11) + word(17) * 32
}

/// R11: a hole in the first table costs nothing, a hole in a directory only its sectors, a hole in a file nothing in the scan.
#[test]
fn r11_holes_cost_only_what_they_hit() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let whole = Listing::of(&*open(&image), &ScanOptions::default());
    let scan = |hole: ByteRange| {
        let masked = Masked::new(image.clone(), vec![hole]);
        Listing::of(
            &*fat::open(Box::new(masked), 0).expect("opens"),
            &ScanOptions::default(),
        )
    };
    let sector = |at: usize| u64::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let table = sector(14) * 512;
    let first_table = scan(ByteRange::new(table, 512));
    assert_eq!(first_table.contents(&image), made.expected());
    assert!(
        first_table
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Unread && finding.image_offset == Some(table))
    );
    assert!(
        first_table
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BackupUsed)
    );

    let root = table + sector(22) * 512 * 2;
    let directory = scan(ByteRange::new(root + 512, 512));
    let hole = directory
        .findings
        .iter()
        .find(|finding| finding.code == FindingCode::Unread)
        .expect("reported");
    assert_eq!(
        (hole.image_offset, hole.inode),
        (Some(root + 512), Some(fat::ROOT_INODE))
    );
    let lost = |inode: u64| (root + 512..root + 1024).contains(&(inode * 32));
    let kept: Vec<u64> = whole
        .inodes
        .keys()
        .copied()
        .filter(|inode| !lost(*inode))
        .collect();
    assert!(kept.len() < whole.inodes.len());
    assert!(kept.iter().all(|inode| directory.inodes.contains_key(inode)));

    let victim = whole
        .names
        .iter()
        .find(|listed| listed.path == b"FILE8.BIN")
        .expect("listed")
        .name
        .inode;
    let extent = whole.inodes[&victim].data().expect("a file").extents[0];
    let file = scan(ByteRange::new(extent.image_offset, 512));
    assert_eq!(file.inodes, whole.inodes);
}

/// R11: with the same hole in both tables the chain is cut and the file marked.
#[test]
fn r11_a_hole_in_both_tables_marks_the_files_that_need_it() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let tables = [
        512 * u64::from(image[14]),
        512 * (u64::from(image[14]) + u64::from(u16::from_le_bytes([image[22], image[23]]))),
    ];
    let masked = Masked::new(image, tables.map(|at| ByteRange::new(at, 512)).to_vec());
    let listing = Listing::of(
        &*fat::open(Box::new(masked), 0).expect("opens"),
        &ScanOptions::default(),
    );
    let cut = listing
        .inodes
        .values()
        .filter(|inode| inode.data().is_some_and(|data| data.extents_incomplete));
    assert!(cut.count() > 3);
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Unread && finding.inode.is_some())
    );
}

/// R12: a truncated image is still listed as far as its directories reach.
#[test]
fn r12_a_truncated_image_is_reported_and_listed() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let listing = Listing::of(&*open(&image[..200 * 512]), &ScanOptions::default());
    assert!(
        listing
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::BeyondEnd)
    );
    assert!(
        listing
            .names
            .iter()
            .any(|listed| listed.path == b"Fragmented Two.bin")
    );
}

/// A lost boot sector of FAT32 is replaced by its backup, whether it is unread or overwritten.
#[test]
fn the_backup_boot_sector_replaces_a_lost_one() {
    let Some(made) = Made::new(FAT32) else { return };
    let image = made.image();
    let mut wiped = image.clone();
    wiped[..512].fill(0xf6);
    let sources: [Box<dyn ReadAt>; 2] = [
        Box::new(wiped),
        Box::new(Masked::new(image.clone(), vec![ByteRange::new(0, 512)])),
    ];
    for source in sources {
        assert!(
            fat::probe(&*source)
                .expect("recognised")
                .evidence
                .contains("backup")
        );
        let listing = Listing::of(&*fat::open(source, 0).expect("opens"), &ScanOptions::default());
        assert_eq!(
            listing
                .findings
                .iter()
                .map(|finding| finding.code)
                .collect::<Vec<_>>(),
            [FindingCode::BackupUsed]
        );
        assert_eq!(listing.contents(&image), made.expected());
    }
}

/// A poisonous directory is left after the given number of names, with a finding; the same scan twice is the same.
#[test]
fn a_directory_is_left_after_the_given_number_of_names() {
    let Some(made) = Made::new(FAT12) else { return };
    let image = made.image();
    let mut options = ScanOptions::default();
    options.leave_after.insert(fat::ROOT_INODE, 5);
    let first = Listing::of(&*open(&image), &options);
    let in_root = |listing: &Listing| {
        listing
            .names
            .iter()
            .filter(|listed| listed.name.directory == fat::ROOT_INODE)
            .count()
    };
    assert_eq!(in_root(&first), 5);
    assert!(
        first
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Limit)
    );
    assert_eq!(first.events, Listing::of(&*open(&image), &options).events);
    let mut depth = ScanOptions::default();
    depth.limits.depth = 1;
    let shallow = Listing::of(&*open(&image), &depth);
    assert!(
        !shallow
            .names
            .iter()
            .any(|listed| listed.path.starts_with(b"Outer Folder/INNER/"))
    );
    assert!(
        shallow
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::Limit)
    );
}

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

/// Every live file that `fls` names has the content that `icat` gives, and we list no others.
fn agrees_with_tsk(path: &Path, bytes: &[u8], listing: &Listing) {
    if !have("fls") || !have("icat") {
        return;
    }
    let directory = path.parent().expect("a folder");
    let image = path.to_str().expect("text");
    let lines = String::from_utf8_lossy(&run("fls", &["-rpuF", image], directory)).into_owned();
    let mut theirs = BTreeMap::new();
    for line in lines.lines().filter(|line| line.starts_with("r/r")) {
        let (head, name) = line.split_once('\t').expect("a name");
        let number = head.trim_start_matches("r/r ").trim_end_matches(':');
        if !name.contains("(Volume Label Entry)") {
            theirs.insert(
                name.as_bytes().to_vec(),
                BlobHash::of(&run("icat", &[image, number], directory)),
            );
        }
    }
    let mut ours = listing.contents(&bytes.to_vec());
    ours.retain(|name, _| theirs.contains_key(name) || !is_label(listing, name));
    assert_eq!(ours, theirs, "{image}");
}

fn is_label(listing: &Listing, path: &[u8]) -> bool {
    let listed = listing
        .names
        .iter()
        .find(|listed| listed.path == path)
        .expect("listed");
    listing.inodes[&listed.name.inode].flags & 8 != 0
}

/// Six FAT16 volumes in nested extended partitions, at the offsets that `mmls` tells.
#[test]
fn volumes_inside_a_disk_agree_with_the_sleuth_kit() {
    let Some(image) = corpus_image("dftt/1-extend-part.zip") else {
        return;
    };
    if !have("mmls") {
        return;
    }
    let table = String::from_utf8_lossy(&run(
        "mmls",
        &["-r", image.path().to_str().expect("text")],
        image.dir(),
    ))
    .into_owned();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let mut volumes = 0;
    for row in rows
        .iter()
        .filter(|row| row.len() > 5 && row[1].contains(':') && row[5..].join(" ").contains("FAT"))
    {
        let (start, sectors): (u64, u64) = (
            row[2].parse().expect("a number"),
            row[4].parse().expect("a number"),
        );
        let disk = ntt_source::FileSource::open(image.path()).expect("opens");
        let window = SubRange::new(disk, ByteRange::new(start * 512, sectors * 512));
        let volume = fat::open(Box::new(window), start * 512).expect("a FAT volume");
        assert_eq!(volume.facts().type_name, "fat16");
        let disk = ntt_source::FileSource::open(image.path()).expect("opens");
        let listing = Listing::of(&*volume, &ScanOptions::default());
        assert!(listing.contents(&disk).len() <= listing.names.len());
        assert!(
            listing
                .findings
                .iter()
                .all(|finding| finding.image_offset.is_none_or(|at| at >= start * 512))
        );
        volumes += 1;
    }
    assert_eq!(volumes, 6, "{table}");
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

/// R22: flipped bytes and cut images never panic, never run away, and never make a scan fail.
#[test]
fn r22_damaged_images_are_scanned_to_the_end() {
    let mut state = 0x006e_7474;
    for mkfs in [FAT12, FAT16, FAT32] {
        let Some(made) = Made::new(mkfs) else { return };
        let image = made.image();
        let clean = count_events(&image).expect("opens");
        for round in 0..120 {
            let mut damaged = image.clone();
            // Metadata and the first clusters lie in the first part of these images.
            let hot = if mkfs == FAT32 { 700_000 } else { 60_000 };
            for _ in 0..1 + random(&mut state) % 60 {
                let at = random(&mut state) % hot;
                damaged[usize::try_from(at).expect("small")] ^= random(&mut state).to_le_bytes()[0];
            }
            if round % 5 == 0 {
                damaged.truncate(usize::try_from(random(&mut state) % hot).expect("small"));
            }
            let Some(events) = count_events(&damaged) else {
                continue;
            };
            assert!(
                events < clean * 40 + 10_000,
                "{events} events, {clean} without damage"
            );
        }
    }
}

/// The number of events with deleted entries; `None` if the volume cannot be opened.
fn count_events(image: &[u8]) -> Option<u64> {
    let volume = fat::open(Box::new(image.to_vec()), 0).ok()?;
    let mut events = 0;
    let mut visit = |_: ScanEvent| {
        events += 1;
        Ok(())
    };
    volume.scan(&deleted(), &mut visit).expect("the scan ends");
    volume.allocated(&mut |_| ()).expect("told");
    Some(events)
}

#[test]
fn a_visitor_can_end_the_scan() {
    let Some(made) = Made::new(FAT12) else { return };
    let image = made.image();
    let mut left = 3;
    let mut visit = |_: ScanEvent| {
        left -= 1;
        if left == 0 { Err(Stop) } else { Ok(()) }
    };
    assert!(matches!(
        open(&image).scan(&ScanOptions::default(), &mut visit),
        Err(Error::Stopped)
    ));
}

/// R22: a chain that loops, ends early or leads to a free, bad or impossible cluster is cut there and told; the rest is listed.
#[test]
fn r22_a_broken_chain_costs_only_its_file() {
    let Some(made) = Made::new(FAT16) else { return };
    let image = made.image();
    let whole = Listing::of(&*open(&image), &ScanOptions::default());
    let number = whole
        .names
        .iter()
        .find(|listed| listed.path == b"FILE8.BIN")
        .expect("listed")
        .name
        .inode;
    let start = whole.inodes[&number].data().expect("a file").extents[0].image_offset;
    let first = u16::try_from((start - metadata_bytes(&image)) / 512 + 2).expect("small");
    for (second, code, kept) in [
        (first, FindingCode::Loop, 1024),
        (0, FindingCode::Corrupt, 512),
        (0xfff7, FindingCode::Corrupt, 512),
        (0xfff0, FindingCode::Corrupt, 1024),
        (0xffff, FindingCode::Corrupt, 1024),
    ] {
        let mut broken = image.clone();
        let table = 512 * usize::from(image[14]);
        let copy = 512 * usize::from(u16::from_le_bytes([image[22], image[23]]));
        for at in [table, table + copy].map(|table| table + 2 * (usize::from(first) + 1)) {
            broken[at..at + 2].copy_from_slice(&second.to_le_bytes());
        }
        let listing = Listing::of(&*open(&broken), &ScanOptions::default());
        let data = listing.inodes[&number].data().expect("a file");
        assert!(data.extents_incomplete);
        assert_eq!(
            data.extents.iter().map(|extent| extent.len).sum::<u64>(),
            kept,
            "{second:#x}"
        );
        assert_eq!(
            listing
                .findings
                .iter()
                .map(|finding| (finding.code, finding.inode))
                .collect::<Vec<_>>(),
            [(code, Some(number))]
        );
        assert_eq!(listing.names, whole.names);
    }
}
