//! The mapfile beside an image (R11).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ntt_mapfile::{FILE_BYTES_MAX, Mapfile};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};

use super::lost_map;
use crate::{Error, HostPath};

/// How much of a file tells whether it means to be a mapfile.
const HEAD_BYTES: u64 = 256;
/// What the first line of every mapfile says that ddrescue or ntt wrote; the second name is that of versions before 1.20.
const TITLES: [&[u8]; 2] = [b"# Mapfile.", b"# Rescue Logfile."];

/// What the files beside an image say of it.
#[derive(Default)]
pub(super) struct Beside {
    /// The mapfile.
    pub(super) path: Option<HostPath>,
    /// What it calls unread.
    pub(super) unread: Vec<ByteRange>,
    /// Files that could be mapfiles by their names, and are none; that the map is missing, if something says that there was one; and that the image is shorter than it.
    pub(super) notes: Vec<Finding>,
}

/// Where the mapfile of an image may lie: the name that is its own, and the one that it may share.
pub(super) fn places(image: &HostPath) -> [HostPath; 2] {
    let shared = HostPath::from(image.as_path().with_extension("map"));
    [image.with_suffix(".map"), shared]
}

/// Looks for the mapfile of an image: `X.map` for `X`, or `X.map` for `X.img`. A map that cannot be understood is an error: taking the image for good
/// would turn holes into zeros. But the second name is one that others use too, say for the map of a linker.
pub(super) fn beside(image: &HostPath, len: u64) -> Result<Beside, Error> {
    let mut found = Beside::default();
    let [own, shared] = places(image);
    for candidate in [&own, &shared]
        .into_iter()
        .filter(|candidate| *candidate != image)
    {
        match read(candidate.as_path()) {
            Ok(None) => {}
            Ok(Some(map)) => {
                found.path = Some(candidate.clone());
                found.unread = map.unread_ranges(len);
                found.notes.extend(cut_short(candidate, &map, len));
                return Ok(found);
            }
            Err(Unusable {
                error: Error::Source { reason, .. },
                is_foreign: true,
            }) if *candidate == shared => {
                found.notes.push(no_map(candidate, &reason));
            }
            Err(unusable) => return Err(unusable.error),
        }
    }
    found.notes.extend(lost_map::told_by_record(image));
    Ok(found)
}

/// Why a file gives no map.
struct Unusable {
    error: Error,
    /// Whether it can be taken for something that never was a map.
    is_foreign: bool,
}

/// Reads a mapfile; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Mapfile>, Unusable> {
    let refuse = |reason: String, is_foreign: bool| Unusable {
        error: Error::Source {
            path: path.to_owned(),
            reason,
        },
        is_foreign,
    };
    let fail = |error: io::Error| Unusable {
        error: Error::io("reading the mapfile", path)(error),
        is_foreign: false,
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link that leads nowhere says that there is a map, and not what it says.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if !metadata.is_file() {
        return Err(refuse("no regular file, and so no mapfile".to_owned(), true));
    }
    let mut file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(HEAD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if metadata.len() > FILE_BYTES_MAX {
        let reason = format!("{} bytes are too many for a mapfile", metadata.len());
        return Err(refuse(reason, !is_titled(&bytes)));
    }
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
    Mapfile::parse(&bytes).map(Some).map_err(|error| {
        // An empty one is what a full disk makes of a map, and one with blocks is a map that somebody edited.
        let is_other = matches!(error, ntt_mapfile::Error::Syntax { .. });
        refuse(error.to_string(), is_other && !is_titled(&bytes))
    })
}

/// What is to be said of an image that is shorter than its map: what the map tells of behind its end is not there, rescued or not.
fn cut_short(path: &HostPath, map: &Mapfile, len: u64) -> Option<Finding> {
    let end = map.extent().end();
    let missing = end.checked_sub(len).filter(|missing| *missing > 0)?;
    let name = path.as_path().file_name().unwrap_or_default();
    let name = ntt_model::name::escape(name.as_encoded_bytes()).into_owned();
    let detail = format!("{name} tells of {end} bytes, the image has {len}: its last {missing} are missing");
    Some(Finding::new(
        Severity::Loss,
        Layer::Image,
        FindingCode::BeyondEnd,
        detail,
    ))
}

/// Whether a file calls itself a mapfile.
fn is_titled(head: &[u8]) -> bool {
    TITLES.iter().any(|title| head.starts_with(title))
}

fn no_map(path: &HostPath, reason: &str) -> Finding {
    let name = path.as_path().file_name().unwrap_or_default();
    let name = ntt_model::name::escape(name.as_encoded_bytes()).into_owned();
    let detail = format!("{name} beside the image is no mapfile ({reason}); the image is taken to be whole");
    Finding::new(Severity::Info, Layer::Image, FindingCode::Unsupported, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[u8] = b"# Mapfile. Created by ntt\n0x0 + 1\n0x0 0x200 +\n0x200 0x200 -\n0x400 0x200 +\n";

    /// An image `disk.img` of 1,536 bytes with these files beside it.
    fn look(files: &[(&str, &[u8])]) -> Result<Beside, Error> {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).expect("written");
        }
        beside(&HostPath::from(dir.path().join("disk.img").as_path()), 1536)
    }

    #[test]
    fn r11_a_map_of_either_name_is_honoured() -> Result<(), Error> {
        for name in ["disk.img.map", "disk.map"] {
            let found = look(&[(name, MAP)])?;
            assert_eq!(found.unread, [ByteRange::new(512, 512)]);
            assert!(found.path.is_some() && found.notes.is_empty());
        }
        Ok(())
    }

    /// R11: a link that leads nowhere says that there is a map.
    #[test]
    fn r11_a_link_that_leads_nowhere_is_not_taken_for_no_map() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("gone", dir.path().join("disk.img.map")).expect("a link");
        let image = HostPath::from(dir.path().join("disk.img").as_path());
        assert!(beside(&image, 1536).is_err());
    }

    /// R12: an image that is shorter than its map is not whole.
    #[test]
    fn r12_an_image_that_is_shorter_than_its_map_is_told() -> Result<(), Error> {
        let longer = b"# Mapfile.\n0x0 + 1\n0x0 0x800 +\n";
        let found = look(&[("disk.img.map", longer)])?;
        assert_eq!(found.unread, []);
        let [note] = found.notes.as_slice() else {
            panic!("{:?}", found.notes)
        };
        assert_eq!(note.severity, Severity::Loss);
        assert!(note.detail.contains("its last 512 are missing"), "{note}");
        Ok(())
    }

    /// R11: what calls itself a map, or has the name that is for maps alone, is never taken for none.
    #[test]
    fn r11_a_damaged_map_refuses_the_image() {
        let cut = &MAP[..MAP.len() - 2];
        let bad: [(&str, &[u8]); 4] = [
            ("disk.map", cut),
            ("disk.img.map", cut),
            ("disk.img.map", b"Memory map"),
            ("disk.map", b""),
        ];
        for (name, content) in bad {
            assert!(
                matches!(look(&[(name, content)]), Err(Error::Source { .. })),
                "{name}"
            );
        }
    }

    /// R11: the map of a linker beside an image of the same stem is noted, and no map.
    #[test]
    fn r11_a_file_that_only_has_the_name_is_a_note() -> Result<(), Error> {
        let found = look(&[("disk.map", b"Archive member included to satisfy reference\n")])?;
        assert_eq!((found.path, found.unread), (None, Vec::new()));
        assert!(
            found.notes[0]
                .detail
                .starts_with("disk.map beside the image is no mapfile")
        );
        Ok(())
    }

    /// A file of a terabyte is refused before it is read.
    #[test]
    fn a_map_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = File::create(dir.path().join("disk.img.map")).expect("a file");
        file.set_len(1 << 40).expect("a length");
        let refused = beside(&HostPath::from(dir.path().join("disk.img").as_path()), 1536);
        assert!(matches!(refused, Err(Error::Source { .. })));
    }
}
