//! Every file of real images has the bytes that an independent program extracts from the same image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ntt_testkit::corpus::{CorpusImage, corpus, corpus_image, have};

use crate::environment::{Environment, restored_code};
use crate::images::run;
use crate::trees;

/// A program that extracts all live files of a volume, and has no code in common with ours.
#[derive(Debug, Clone, Copy)]
enum Referee {
    Mtools,
    Sleuthkit,
    Debugfs,
    Xorriso,
    SevenZip,
}

impl Referee {
    fn program(self) -> &'static str {
        match self {
            Self::Mtools => "mcopy",
            Self::Sleuthkit => "tsk_recover",
            Self::Debugfs => "debugfs",
            Self::Xorriso => "xorriso",
            Self::SevenZip => "7z",
        }
    }

    /// Extracts the volume in `image` into the directory `to`.
    fn extract(self, image: &Path, to: &Path) {
        let (image, to) = (image.as_os_str(), to.as_os_str());
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect::<Vec<_>>();
        let mut arguments = Vec::new();
        match self {
            Self::Mtools => {
                arguments.extend(words(&["-i"]));
                arguments.push(image.to_owned());
                arguments.extend(words(&["-s", "-n", "-m", "::*"]));
                arguments.push(to.to_owned());
            }
            Self::Sleuthkit => {
                arguments.extend(words(&["-a"]));
                arguments.extend([image.to_owned(), to.to_owned()]);
            }
            Self::Debugfs => {
                let command = format!("rdump / {}", to.to_str().expect("a plain path"));
                arguments.extend(words(&["-R", &command]));
                arguments.push(image.to_owned());
            }
            Self::Xorriso => {
                arguments.extend(words(&["-osirrox", "on", "-indev"]));
                arguments.push(image.to_owned());
                arguments.extend(words(&["-extract", "/"]));
                arguments.push(to.to_owned());
            }
            Self::SevenZip => {
                let mut target = std::ffi::OsString::from("-o");
                target.push(to);
                arguments.extend(words(&["x", "-y"]));
                arguments.extend([target, image.to_owned()]);
            }
        }
        run(self.program(), arguments);
        // Directories of a disc come out read-only, and could not be removed.
        run("chmod", ["-R".as_ref(), "u+rwX".as_ref(), to]);
    }
}

/// Ingests `image` and compares every volume, its rows and its restored tree, with what each referee extracts. Gives the number of files
/// of each volume.
fn compare(image: &CorpusImage, referees: &[Referee]) -> BTreeMap<u32, usize> {
    let environment = Environment::new();
    let summary = environment
        .ntt([
            OsStr::new("ingest"),
            OsStr::new("--json"),
            image.path().as_os_str(),
        ])
        .summary(0);
    let id = summary["media"][0]["medium"].as_str().expect("an id").to_owned();
    let rows = environment.contents(&id);
    let shown = environment.ntt(["medium", "show", "--json", &id]).document(0);
    let mut files = BTreeMap::new();
    for volume in shown["volumes_detail"].as_array().expect("volumes") {
        if volume["census"].is_null() {
            continue;
        }
        let number = u32::try_from(volume["number"].as_u64().expect("a number")).expect("small");
        // A volume is told once for each of its file systems.
        if files.contains_key(&number) {
            continue;
        }
        let mut by_reader: BTreeMap<&str, BTreeMap<Vec<u8>, String>> = BTreeMap::new();
        for ((_, reader, path), blob) in rows.iter().filter(|((volume, ..), _)| *volume == number) {
            let blob = blob.clone().expect("stored");
            by_reader.entry(reader).or_default().insert(path.clone(), blob);
        }
        let restored = environment.work().join(format!("restored-{number}"));
        let target = format!("{id}/{number}");
        let run = environment.ntt([OsStr::new("restore"), OsStr::new(&target), restored.as_os_str()]);
        let whole = [Some(0), Some(restored_code())].contains(&run.exit());
        assert!(whole, "{}", run.everything());
        assert_eq!(
            trees::contents(&restored),
            laid_out(number, &by_reader),
            "{target} restored"
        );
        // What 7z and xorriso call the files of a hybrid disc are those of its ISO tree.
        let listed = by_reader
            .remove("iso9660")
            .or_else(|| by_reader.into_values().next())
            .unwrap_or_default();

        let cut = environment.work().join("volume.img");
        cut_volume(image.path(), volume, &cut);
        for referee in referees.iter().filter(|referee| have(referee.program())) {
            let extracted = environment.work().join(format!("{referee:?}-{number}"));
            fs::create_dir(&extracted).expect("a new directory");
            referee.extract(&cut, &extracted);
            assert_eq!(
                listed,
                trees::contents(&extracted),
                "volume {number} by {referee:?}"
            );
        }
        files.insert(number, listed.len());
    }
    files
}

/// Where the files of a volume are restored to: each of several file systems has a directory of its own.
fn laid_out(number: u32, trees: &BTreeMap<&str, BTreeMap<Vec<u8>, String>>) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    for (reader, files) in trees {
        for (path, blob) in files {
            let path = match trees.len() {
                1 => path.clone(),
                _ => [format!("{number}-{reader}/").as_bytes(), path].concat(),
            };
            all.insert(path, blob.clone());
        }
    }
    all
}

/// Copies the bytes of a volume out of its image.
fn cut_volume(image: &Path, volume: &serde_json::Value, to: &Path) {
    let offset = volume["image_offset"].as_u64().expect("an offset");
    let size = volume["size_bytes"].as_u64().expect("a size");
    let mut image = File::open(image).expect("the image");
    image.seek(SeekFrom::Start(offset)).expect("a place");
    let mut cut = File::create(to).expect("a new file");
    std::io::copy(&mut image.take(size), &mut cut).expect("room");
}

#[test]
fn the_six_volumes_of_a_disk_with_a_chain_of_logical_partitions() {
    let Some(image) = corpus_image("dftt/1-extend-part.zip") else {
        return;
    };
    let files = compare(&image, &[Referee::Mtools]);
    assert_eq!(files.len(), 6, "{files:?}");
    assert!(files.values().all(|files| *files > 0));
}

#[test]
fn the_live_files_of_a_real_floppy() {
    let Some(image) = corpus_image("preservation/practical.floppy.dd.gz") else {
        return;
    };
    let files = compare(&image, &[Referee::Mtools, Referee::Sleuthkit]);
    assert_eq!(files, BTreeMap::from([(1, 15)]));
}

#[test]
fn fat_as_mtools_and_sleuthkit_read_it() {
    let Some(image) = corpus_image("retro/test_fat16.img.zst") else {
        return;
    };
    assert_eq!(compare(&image, &[Referee::Mtools, Referee::Sleuthkit])[&1], 2);
}

#[test]
fn ext_as_debugfs_reads_it() {
    for name in [
        "retro/test_ext4.img.zst",
        "disktype/ext2.image.gz",
        "disktype/ext3.image.gz",
    ] {
        let Some(image) = corpus_image(name) else { return };
        assert_eq!(compare(&image, &[Referee::Debugfs]).len(), 1, "{name}");
    }
}

#[test]
fn an_empty_floppy_has_no_files_and_says_so() {
    let Some(image) = corpus_image("disktype/fat12-floppy.image.gz") else {
        return;
    };
    assert_eq!(compare(&image, &[Referee::Sleuthkit]), BTreeMap::from([(1, 0)]));
}

#[test]
fn iso_with_rock_ridge_joliet_and_apple_trees() {
    for (name, referees) in [
        ("rockridge", &[Referee::Xorriso, Referee::SevenZip][..]),
        ("joliet", &[Referee::Xorriso, Referee::SevenZip]),
        // 7z takes the Apple side of a hybrid disc.
        ("hybrid", &[Referee::Xorriso]),
    ] {
        let Some(image) = corpus_image(&format!("disktype/iso9660-{name}.image.gz")) else {
            return;
        };
        assert_eq!(compare(&image, referees)[&1], 8, "{name}");
    }
}

/// The same contents meet as the same blobs, whatever carried them here.
#[test]
fn the_iso_variants_and_the_directory_hold_the_same_contents() {
    let Some(folder) = corpus() else { return };
    let environment = Environment::new();
    let template = environment.work().join("template");
    fs::create_dir(&template).expect("a new directory");
    let mut tar = Vec::new();
    let packed = File::open(folder.join("disktype/template-data.tar.gz")).expect("the template");
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut tar)
        .expect("a gzip file");
    let archive = environment.write("template.tar", &tar);
    let words = [
        OsStr::new("-xf"),
        archive.as_os_str(),
        OsStr::new("-C"),
        template.as_os_str(),
    ];
    run("tar", words);
    // The HFS tree of the hybrid disc has two files of its own: `Desktop DB` and `Desktop DF`.
    let isos: Vec<(CorpusImage, u64)> = [("rockridge", 0), ("joliet", 0), ("hybrid", 2)]
        .iter()
        .filter_map(|(name, own)| Some((corpus_image(&format!("disktype/iso9660-{name}.image.gz"))?, *own)))
        .collect();

    let first = environment.ntt(["ingest", "--json", "template"]).summary(0);
    assert_eq!(first["media"][0]["copied"]["new_blobs"], 8);
    for (iso, own) in &isos {
        let arguments = [OsStr::new("ingest"), OsStr::new("--json"), iso.path().as_os_str()];
        let summary = environment.ntt(arguments).summary(0);
        assert_eq!(summary["media"][0]["copied"]["new_blobs"], *own, "{summary}");
    }
    for (path, blob) in trees::contents(&template) {
        let lines = environment.ntt(["where", "--json", &blob]).json(0);
        let media: std::collections::BTreeSet<&str> = lines
            .iter()
            .filter(|line| line["message_type"] == "place" && line["alternate"] == false)
            .map(|line| line["medium"].as_str().expect("an id"))
            .collect();
        assert_eq!(media.len(), 4, "{}: {lines:?}", String::from_utf8_lossy(&path));
    }
}
