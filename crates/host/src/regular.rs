use std::io;
use std::path::Path;

/// Makes sure that a regular file is at `path`, before anything is opened: whoever opens a pipe waits for its writer, and a device may have no end.
///
/// # Errors
///
/// `InvalidInput` if it is something else, or what the system says.
pub fn expect_regular(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"))
    }
}

/// Reads a regular file as a whole.
///
/// # Errors
///
/// As [`expect_regular`], or what the system says when reading.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    expect_regular(path)?;
    std::fs::read(path)
}
