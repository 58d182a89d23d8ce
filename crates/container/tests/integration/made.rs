//! What the tests share: a raw image, containers made of it, and the comparison of the two.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ntt_container::{Opened, Opening, Part, Parts, Want, open, series};
use ntt_source::{FileSource, ReadAt, ReadError};
use ntt_testkit::lab::coverage::contribute_container;

/// Length of the raw image: not a whole number of clusters of any format.
pub(crate) const IMAGE_BYTES: usize = (3 << 20) + 7 * 512;

/// An image with runs of zeros, of text and of noise.
pub(crate) fn raw_image() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(IMAGE_BYTES);
    while bytes.len() < IMAGE_BYTES {
        let len = usize::try_from(noise() % 90_000).expect("small");
        match noise() % 3 {
            0 => bytes.resize(bytes.len() + len, 0),
            1 => bytes.extend((0..len).map(|at| b"no two things "[at % 14])),
            _ => bytes.extend((0..len).map(|_| noise().to_le_bytes()[3])),
        }
    }
    bytes.truncate(IMAGE_BYTES);
    bytes
}

/// A folder with `raw.img` in it.
pub(crate) fn folder() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = raw_image();
    fs::write(folder.path().join("raw.img"), &bytes).expect("written");
    (folder, bytes)
}

/// Runs a program in a folder; false, with a word about it, if it is not installed.
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: {program} is not installed");
        return false;
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    true
}

/// Opens an image with all companions that it asks for, as the supervisor would.
pub(crate) fn opening(path: &Path) -> Opening {
    let source = |path: PathBuf| -> Option<Arc<dyn ReadAt>> {
        FileSource::open(&path)
            .ok()
            .map(|file| Arc::new(file) as Arc<dyn ReadAt>)
    };
    let folder = path.parent().expect("a folder");
    let beside = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let last = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        source(folder.join(last))
    };
    let name = path.file_name().expect("a name").as_encoded_bytes().to_vec();
    let mut files = vec![Part {
        bytes: source(path.to_owned()),
        name: name.clone(),
    }];
    let mut series_given = false;
    for _ in 0..100 {
        match open(&Parts::new(files.clone(), series_given)) {
            Opening::Wants(Want::Named(name)) => files.push(Part {
                bytes: beside(&name),
                name,
            }),
            Opening::Wants(Want::Following) => {
                let mut found: Vec<Part> = series::names(&name)
                    .take(40)
                    .map(|name| Part {
                        bytes: beside(&name),
                        name,
                    })
                    .collect();
                while found.last().is_some_and(|part| part.bytes.is_none()) {
                    found.pop();
                }
                files.extend(found);
                series_given = true;
            }
            other => return other,
        }
    }
    panic!("it asks for files again and again");
}

pub(crate) fn opened(path: &Path) -> Opened {
    match opening(path) {
        Opening::Open(opened) => opened,
        Opening::Plain => panic!("{}: no container", path.display()),
        Opening::Packed(..) => panic!("{}: packed", path.display()),
        Opening::Wants(_) => panic!("{}: wants more", path.display()),
        Opening::NotFirst(reason) => panic!("{}: {reason}", path.display()),
        Opening::Refused { finding, .. } => panic!("{}: {finding}", path.display()),
    }
}

/// What a test compared, for the page of what is covered: per format how many containers, and the bytes in them.
pub(crate) struct Compared {
    maker: &'static str,
    formats: BTreeMap<String, (usize, u64)>,
}

impl Compared {
    /// Nothing yet, of containers that `maker` makes.
    pub(crate) fn made_by(maker: &'static str) -> Self {
        Self {
            maker,
            formats: BTreeMap::new(),
        }
    }

    /// As [`assert_equal`], noted under a format.
    pub(crate) fn equal(&mut self, format: &str, image: &dyn ReadAt, raw: &[u8]) {
        assert_equal(image, raw);
        let (containers, bytes) = self.formats.entry(format.to_owned()).or_default();
        *containers += 1;
        *bytes += image.len();
    }

    /// Puts it on the page, or compares it with what stands there.
    pub(crate) fn contribute(self) {
        for (format, (containers, bytes)) in self.formats {
            contribute_container(&format, containers, bytes, self.maker);
        }
    }
}

/// The whole image, and reads of every size at odd places, equal the raw bytes; what is behind them is zeros.
pub(crate) fn assert_equal(image: &dyn ReadAt, raw: &[u8]) {
    let len = usize::try_from(image.len()).expect("small");
    assert!(len >= raw.len(), "{len} bytes of {}", raw.len());
    let mut expected = raw.to_vec();
    expected.resize(len, 0);
    let mut whole = vec![0xaa; len];
    image.read_exact_at(0, &mut whole).expect("read");
    assert!(
        whole == expected,
        "the image differs at {:?}",
        whole.iter().zip(&expected).position(|(a, b)| a != b)
    );
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..200 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let offset = usize::try_from(state >> 20).expect("64 bits") % len;
        let wanted = (usize::try_from(state >> 44).expect("small") % 150_000).min(len - offset);
        let mut part = vec![0; wanted];
        image
            .read_exact_at(u64::try_from(offset).expect("small"), &mut part)
            .expect("read");
        assert!(
            part == expected[offset..offset + wanted],
            "{wanted} bytes at {offset}"
        );
    }
    let end = image.len();
    assert!(
        image.read_exact_at(end, &mut [0]).is_err(),
        "a read behind the end"
    );
}

/// How many bytes of an image cannot be read, looked at by the `step`; what can be read must be right.
pub(crate) fn lost_bytes(image: &dyn ReadAt, raw: &[u8], step: usize) -> usize {
    assert_eq!(image.len(), u64::try_from(raw.len()).expect("small"));
    let mut lost = 0;
    for (number, expected) in raw.chunks(step).enumerate() {
        let mut bytes = vec![0; expected.len()];
        match image.read_exact_at(u64::try_from(number * step).expect("small"), &mut bytes) {
            Ok(()) => assert!(
                bytes == expected,
                "{step} bytes at {} are wrong and nobody says so",
                number * step
            ),
            Err(ReadError::Corrupt { .. }) => lost += expected.len(),
            Err(other) => panic!("{other}"),
        }
    }
    lost
}
