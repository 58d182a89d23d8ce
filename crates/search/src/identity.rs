/// What tells a scan from every other that the same file name could stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Number of the scan.
    pub scan: i64,
    /// When it began, in nanoseconds.
    pub begun: i64,
    /// When it was sealed, in nanoseconds.
    pub sealed: i64,
    /// Its directories.
    pub directories: u64,
    /// Its names; the segment holds as many.
    pub names: u64,
}

impl Identity {
    /// Bytes that are equal for equal identities only.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for number in [self.scan, self.begun, self.sealed] {
            hasher.update(&number.to_le_bytes());
        }
        for number in [self.directories, self.names] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}
