//! Where things lie in a store's directory, and the two files that tell a reader so.

use std::path::{Path, PathBuf};

use ntt_model::BlobHash;

use crate::{BlobInfo, Location, PackId, StoreOptions};

/// First line of `FORMAT`.
const FORMAT_LINE: &str = "ntt store 1";

/// Text of `README.txt`: how to read a store without this program.
pub(crate) const README: &str = "\
This directory is an archive of files, each content once, named by its BLAKE3 digest (64 hexadecimal digits).

blobs/aa/bb/<digest>   a content as a plain file; aa and bb are the first four digits
packs/<id>.tar         smaller contents: a POSIX tar whose members are named by their digests (tar xf packs/<id>.tar)
packs/<id>.idx         text, one line a member: digest, byte offset of the content in the tar, length, SHA-256 (- if not known)
media/<medium>/        what was on each medium: names, times and the digest of each content
index/ journal/        where each content lies; can be made anew from blobs/ and packs/
search/                which names were on which medium, for fast searches; can be made anew from the catalogue
tmp/                   unfinished work, of no value
quarantine/            damaged files that were set aside

To check a content: b3sum FILE must print the file's name. A pack without .idx was still open; its members are valid all the same.

To restore a medium by hand: zstd -dc media/<medium>/manifest.jsonl.zst gives one JSON object a line. The first tells the medium's label. Each
line with \"line\":\"path\" is a name: its path, kind, mode (decimal), modified, target (of a symbolic link), inode (equal: hard links) and
blob, the digest of its content. A path that is not UTF-8 is {\"base64\":...} of its bytes. Leave out lines with \"alternate\":true, a
\"rule\", or an \"allocation\" other than \"allocated\". Ranges in \"missing\" could not be read and are zeros in the content.
A line with \"line\":\"volume\" and \"copy_of\":\"<medium>/<number>\" is a volume whose bytes equal that one's: its paths stand in the manifest of that
medium, as those whose \"volume\" is that number.
";

/// The paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    pub(crate) fn readme(&self) -> PathBuf {
        self.root.join("README.txt")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Held by whoever recovers the store or merges its index.
    pub(crate) fn maintenance_lock(&self) -> PathBuf {
        self.index().join("lock")
    }

    /// `blobs/aa/bb/<hash>`.
    pub(crate) fn blob(&self, hash: &BlobHash) -> PathBuf {
        self.blob_dir(hash).join(hash.to_hex())
    }

    /// `blobs/aa/bb`.
    pub(crate) fn blob_dir(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_hex();
        self.blobs().join(&name[..2]).join(&name[2..4])
    }

    pub(crate) fn pack(&self, pack: PackId) -> PathBuf {
        self.packs().join(format!("{pack}.tar"))
    }

    /// The file that holds a blob.
    pub(crate) fn file_of(&self, info: &BlobInfo) -> PathBuf {
        match info.location {
            Location::Loose { .. } => self.blob(&info.hash),
            Location::Packed { pack, .. } => self.pack(pack),
        }
    }

    pub(crate) fn pack_list(&self, pack: PackId) -> PathBuf {
        self.packs().join(format!("{pack}.idx"))
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.index().join(format!("{number:016}.seg"))
    }

    pub(crate) fn journal_of(&self, writer: &str) -> PathBuf {
        self.journal().join(format!("{writer}.log"))
    }

    /// A temporary file of a writer; it lives no longer than the writer's journal.
    pub(crate) fn temporary(&self, writer: &str, what: &str) -> PathBuf {
        self.tmp().join(format!("{writer}.{what}"))
    }

    /// All directories of the store.
    pub(crate) fn directories(&self) -> [PathBuf; 6] {
        [
            self.blobs(),
            self.packs(),
            self.index(),
            self.journal(),
            self.tmp(),
            self.quarantine(),
        ]
    }

    /// Folders in which something lies as soon as anything was stored.
    pub(crate) fn directories_of_contents(&self) -> [PathBuf; 4] {
        [self.blobs(), self.packs(), self.index(), self.journal()]
    }

    /// Folders that are empty in many a sound store: who copies one may leave them out. Packs and index are never missing for that reason.
    pub(crate) fn directories_that_may_be_empty(&self) -> [PathBuf; 4] {
        [self.blobs(), self.journal(), self.tmp(), self.quarantine()]
    }
}

/// Whether a name in one of the [`Layout::directories_of_contents`] is of what a store keeps there.
pub(crate) fn is_of_contents(name: &Path) -> bool {
    let is_folder_of_blobs =
        |name: &str| name.len() == 2 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    [".tar", ".idx", ".seg", ".log"]
        .iter()
        .any(|suffix| stem(name, suffix).is_some())
        || name.to_str().is_some_and(is_folder_of_blobs)
}

/// The part of `name` before `suffix`, if it ends so.
pub(crate) fn stem<'a>(name: &'a Path, suffix: &str) -> Option<&'a str> {
    name.to_str()?.strip_suffix(suffix)
}

/// Content of `FORMAT`.
pub(crate) fn format_text(options: &StoreOptions) -> String {
    format!(
        "{FORMAT_LINE}\npack_threshold_bytes {}\npack_target_bytes {}\n",
        options.pack_threshold_bytes, options.pack_target_bytes
    )
}

/// How a `FORMAT` that is damaged or gone is put right.
pub(crate) fn format_again() -> String {
    let whole = format_text(&StoreOptions::default());
    let lines: Vec<String> = whole.lines().map(|line| format!("{line:?}")).collect();
    format!(
        "write it again with the lines {} (the numbers count for new contents only)",
        lines.join(", ")
    )
}

/// Reads `FORMAT`; the error says what was found instead, and how a damaged one is put right: nothing else of the store depends on its numbers.
pub(crate) fn parse_format(text: &str) -> Result<StoreOptions, String> {
    let strange = |line: &str| {
        let again = format_again();
        format!("its file FORMAT has the line {line:?}; if it is damaged, {again}")
    };
    let mut lines = text.lines();
    match lines.next() {
        Some(FORMAT_LINE) => {}
        other => return Err(strange(other.unwrap_or_default())),
    }
    let mut options = StoreOptions::default();
    for line in lines {
        let (key, value) = line.split_once(' ').ok_or_else(|| strange(line))?;
        let value: u64 = value.parse().map_err(|_| strange(line))?;
        match key {
            "pack_threshold_bytes" => options.pack_threshold_bytes = value,
            "pack_target_bytes" => options.pack_target_bytes = value,
            _ => return Err(strange(line)),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_round_trips_and_refuses_the_unknown() {
        let options = StoreOptions {
            pack_threshold_bytes: 0,
            ..StoreOptions::default()
        };
        assert_eq!(parse_format(&format_text(&options)), Ok(options));
        let told = parse_format("ntX store 1\n").expect_err("it is damaged");
        assert!(told.contains("\"ntX store 1\"; if it is damaged"), "{told}");
        assert!(parse_format("ntt store 2\n").is_err());
        assert!(parse_format("").is_err());
        assert!(parse_format("ntt store 1\ncompression 9\n").is_err());
    }
}
