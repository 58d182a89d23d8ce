//! The digits by which a catalogue in a server knows its archive: in `archive-id`, 32 hexadecimal ones, made when the archive first has such a catalogue.
//! The path of the archive is no evidence: it differs from host to host.

use std::io;
use std::path::{Path, PathBuf};

use ntt_host::{Disk, OpenMode, Random, RealDisk, SystemRandom};

use crate::Error;

const DIGITS: usize = 32;

/// Where they stand.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join("archive-id")
}

/// The digits, if the archive has any.
pub(super) fn of(root: &Path) -> Result<Option<String>, Error> {
    let path = path(root);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("reading", &path))?,
    };
    let digits = text.trim_end();
    if digits.len() != DIGITS || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not {DIGITS} hexadecimal digits"),
        );
        return Err(Error::io("reading", &path)(error));
    }
    Ok(Some(digits.to_owned()))
}

/// The digits; made, and durable, if there are none. Of two that make them at once the later one takes the other's.
pub(super) fn made(root: &Path) -> Result<String, Error> {
    if let Some(digits) = of(root)? {
        return Ok(digits);
    }
    let mut bytes = [0; DIGITS / 2];
    let path = path(root);
    SystemRandom
        .fill(&mut bytes)
        .map_err(Error::io("making", &path))?;
    let digits = ntt_model::blob::hex(&bytes);
    let temporary = path.with_extension(&digits);
    match put(&temporary, &path, &digits) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&temporary).map_err(Error::io("removing", &temporary))?;
        }
        done => done.map_err(Error::io("making", &path))?,
    }
    RealDisk.sync_dir(root).map_err(Error::io("syncing", root))?;
    Ok(of(root)?.unwrap_or(digits))
}

fn put(temporary: &Path, path: &Path, digits: &str) -> io::Result<()> {
    let mut file = RealDisk.open(temporary, OpenMode::CreateNew)?;
    file.write_all_at(0, format!("{digits}\n").as_bytes())?;
    file.sync_data()?;
    RealDisk.rename_new(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_stay_and_damaged_ones_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(of(folder.path()).expect("read"), None);
        let digits = made(folder.path()).expect("made");
        assert_eq!(digits.len(), DIGITS);
        assert_eq!(made(folder.path()).expect("there"), digits);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
        std::fs::write(path(folder.path()), "12").expect("written");
        assert!(of(folder.path()).is_err() && made(folder.path()).is_err());
    }
}
